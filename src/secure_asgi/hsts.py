"""HSTS: browsers that have seen it come back over HTTPS only. RFC 6797; OWASP ASVS 5.0 V3.4.1."""

import re

from ._asgi import ASGIApp, RawHeaders, Scope
from .errors import ConfigurationError
from .exchange import Exchange
from .flow import Layer

FIELD = b"strict-transport-security"
TWO_YEARS = 63_072_000
"""Seconds: what the OWASP Secure Headers Project and Mozilla ask for."""
PRELOAD_MINIMUM = 31_536_000
"""Seconds: what the browsers' preload list asks for (hstspreload.org)."""

_IP_HOST = re.compile(rb"(?:\[.*\]|[0-9.]+)(?::[0-9]*)?")
"""An IPv6 literal in brackets, or what a URL parser reads as an IPv4 address: nothing but digits and dots."""


class HSTSMiddleware(Layer):
    """Sets ``Strict-Transport-Security`` on every response over a secure connection (RFC 6797 section 7).

    ``max_age`` is in seconds, two years by default; 0 makes browsers forget the host. ``include_subdomains`` extends it
    to all names below the host. ``preload`` consents to the browsers' built-in list, from which a name is removed only
    over months; it needs at least one year and all subdomains. Raises ``ConfigurationError`` otherwise.

    Exactly one field leaves: one that the application set is replaced, and removed where none may be sent, which is on
    plain HTTP and for a host that is an IP address (sections 7.2 and 8.1.1). It does not redirect
    (``HTTPSRedirectMiddleware`` does) and does not check that the subdomains answer over HTTPS.
    """

    name = "hsts"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        max_age: int = TWO_YEARS,
        include_subdomains: bool = True,
        preload: bool = False,
    ) -> None:
        if type(max_age) is not int or max_age < 0:
            raise ConfigurationError(f"max_age= is in whole seconds, 0 or more, got {max_age!r}")
        for option, switch in (("include_subdomains", include_subdomains), ("preload", preload)):
            if type(switch) is not bool:
                raise ConfigurationError(f"{option}= is True or False, got {switch!r}")
        if preload and (max_age < PRELOAD_MINIMUM or not include_subdomains):
            raise ConfigurationError(
                f"preload=True needs max_age= of at least {PRELOAD_MINIMUM} and include_subdomains=True, "
                f"got max_age={max_age} and include_subdomains={include_subdomains}"
            )
        value = f"max-age={max_age}"
        if include_subdomains:
            value += "; includeSubDomains"
        if preload:
            value += "; preload"
        self._line = (FIELD, value.encode())
        super().__init__(app)

    def on_request(self, exchange: Exchange, scope: Scope) -> None:
        # A stamp sees no request: what is rare, and what only the request knows, is remembered here.
        host = exchange.fields(scope).get(b"host")
        if isinstance(host, bytes) and _IP_HOST.fullmatch(host):
            exchange.memo[self] = True

    def on_response(self, exchange: Exchange, headers: RawHeaders) -> None:
        if FIELD in dict(headers):
            headers[:] = [line for line in headers if line[0] != FIELD]
        if exchange.is_secure and self not in exchange.memo:
            headers.append(self._line)
