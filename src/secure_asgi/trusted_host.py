"""Only requests for a host we serve: the Host field against a list (RFC 9112 section 3.2, RFC 9110 section 7.4)."""

from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Literal, NamedTuple

from ._asgi import HOST_FIELD, ASGIApp, Scope
from .denial import Denial, Reason
from .errors import ConfigurationError
from .exchange import Exchange
from .flow import Layer

CACHED = 1024
"""Host values whose outcome is remembered."""
MAX_BYTES = 260
"""A name of 253 characters, a dot at its end, a colon and five digits."""

_BAD_HOST = "The request needs one valid Host field."
_MISSING = Denial(Reason.HOST_MISSING, 400, _BAD_HOST)
_AMBIGUOUS = Denial(Reason.HOST_AMBIGUOUS, 400, _BAD_HOST)
_MALFORMED = Denial(Reason.HOST_MALFORMED, 400, _BAD_HOST)
_UNKNOWN = Denial(Reason.HOST_UNKNOWN, 421, "This host is not served here.")


class TrustedHostMiddleware(Layer):
    """Refuses requests whose Host is missing, repeated or malformed (400), or is not ours to answer for (421).

    ``allowed_hosts``: names (``"api.example.com"``), IP addresses (IPv6 in brackets), or everything below a name
    (``"*.example.com"``: at any depth, never ``example.com`` itself). With a port it must be that port; without one any
    port will do. A Host without a port has its scheme's: 443 or 80. Case and one trailing dot make no difference.

    The host that passed is left in ``exchange.host``, where HTTPSRedirect takes it from. HTTP/2 servers put
    ``:authority`` into the Host field. Reason codes: ``host_missing``, ``host_ambiguous``, ``host_malformed``,
    ``host_unknown``. Raises ``ConfigurationError`` for a pattern that is no host, and for ``"*"``.

    Does not look at X-Forwarded-Host, nor at the authority of an absolute-form target, which the server resolves.
    """

    name = "trusted_host"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        allowed_hosts: str | Iterable[str],
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        given = (allowed_hosts,) if isinstance(allowed_hosts, str) else tuple(allowed_hosts)
        if not given:
            raise ConfigurationError('allowed_hosts= names no host: give the ones you serve, "api.example.com"')
        patterns = [_read_pattern(pattern) for pattern in given]
        self._names = frozenset((host.name, host.port) for is_wildcard, host in patterns if not is_wildcard)
        self._suffixes = tuple((f".{host.name}", host.port) for is_wildcard, host in patterns if is_wildcard)
        self._judge = lru_cache(CACHED)(self._judge_host)
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt)

    def on_request(self, exchange: Exchange, scope: Scope) -> Denial | None:
        value = exchange.fields(scope).get(b"host")
        if value is None:
            return _MISSING
        if isinstance(value, tuple):
            return _AMBIGUOUS
        if len(value) > MAX_BYTES:
            return _MALFORMED
        verdict = self._judge(value, exchange.is_secure)
        if isinstance(verdict, Denial):
            return verdict
        exchange.host = verdict
        return None

    def _judge_host(self, value: bytes, is_secure: bool) -> str | Denial:
        """The host by its plain name, or why it is refused."""
        host = _read_host(value)
        if host is None:
            return _MALFORMED
        name, port = host.name, host.port or (443 if is_secure else 80)
        if (name, None) in self._names or (name, port) in self._names:
            return name
        for suffix, wanted in self._suffixes:
            if name.endswith(suffix) and wanted in (None, port):
                return name
        return _UNKNOWN


class _Host(NamedTuple):
    """``name`` in lower case, without a trailing dot, an IPv6 address in brackets and shortest form."""

    name: str
    port: int | None


def _read_host(value: bytes) -> _Host | None:
    """A Host field; None if it is malformed."""
    match = HOST_FIELD.fullmatch(value)
    if match is None:
        return None
    name = _plain_name(match[1].decode().lower())
    port = int(match[2]) if match[2] else None
    return None if not name or port == 0 or (port or 0) > 65535 else _Host(name, port)


def _plain_name(name: str) -> str:
    """The one spelling of a host that is compared; empty if it is none."""
    if name.startswith("["):
        try:
            return f"[{IPv6Address(name[1:-1])}]"
        except ValueError:
            return ""
    name = name.removesuffix(".")
    return name if name and len(name) <= 253 and all(0 < len(label) < 64 for label in name.split(".")) else ""


def _read_pattern(pattern: str) -> tuple[bool, _Host]:
    text = pattern.lower() if isinstance(pattern, str) else ""
    is_wildcard = text.startswith("*.")
    host = _read_host(text.removeprefix("*.").encode())
    if host is None or (is_wildcard and host.name.startswith("[")):
        raise ConfigurationError(
            'allowed_hosts= takes hosts as in the Host field, "api.example.com", "*.example.com" (all below it) or '
            f'"api.example.com:8443"; not a URL, not "*", and names beyond ASCII in their "xn--" form; got {pattern!r}'
        )
    return is_wildcard, host
