"""The gate: certificate → validity now → allowed name → principal. Every refusal is a 403 that looks the same."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import date
from inspect import iscoroutinefunction
from typing import ClassVar, Literal

from .._asgi import ASGIApp, Scope
from ..denial import Denial, Reason
from ..errors import CertificateError, ConfigurationError
from ..exchange import Exchange, PeerCertificate, Principal
from ..flow import Layer
from .certificate import Given, read_certificates
from .fields import strip_certificate_fields
from .names import NameRules, own_name
from .source import TLSExtension

logger = logging.getLogger("secure_asgi")

Identity = Callable[[PeerCertificate], Principal | None]

DETAIL = "This service requires a TLS client certificate that it accepts."

NO_TLS_EXTENSION = (
    "mutual_tls refuses every request, because this server tells applications nothing about TLS (ASGI TLS extension): "
    'run uvicorn with http="secure_asgi.servers.uvicorn:AutoProtocol"; '
    "where a server has no such hook, verify client certificates in a proxy in front of it"
)

MAX_KNOWN = 1024
"""Certificates remembered; past that all are forgotten, and read once more (10 µs each)."""

MAX_KNOWN_SIZE = 16 * 1024
"""Bytes of a chain that is remembered: what a client sends must not add up to much memory."""


class MutualTLSMiddleware(Layer):
    """Requires a client certificate that the TLS handshake has verified, and makes a principal of it.

    ``source`` says where the certificate comes from: ``TLSExtension()``, the connection to this server.
    ``required=False`` lets requests without a certificate pass; one that is presented must be acceptable all the same.
    ``allow`` names whose certificates are accepted, one rule or several: ``"dns:client.example"``,
    ``"dns:*.clients.example"``, ``"uri:spiffe://example.org/ns/*"``, ``"email:ops@example.org"``; one matching subject
    alternative name is enough, the common name never is. Without rules every certificate that the handshake verified
    is accepted.

    ``identity`` maps the ``PeerCertificate`` to a ``Principal``, or to None to refuse; it is called on every request.
    By default the subject is the certificate's only URI name, or if it has none its only DNS name, or its only e-mail
    address; a certificate with several, or with none, is refused. ``exchange.peer_certificate``,
    ``exchange.principal``, ``scope["user"]`` and ``scope["auth"]`` are set.

    Validity times are checked on every request, as a connection may outlive its certificate. Request header fields that
    could pass for a certificate are removed, on exempt paths and in shadow mode too.

    Not checked here: the chain, the extended key usage and the signature (the handshake did), and revocation.
    """

    name: ClassVar[str] = "mutual_tls"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        source: TLSExtension | None = None,
        required: bool = True,
        allow: str | Iterable[str] | None = None,
        identity: Identity | None = None,
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        from starlette.authentication import AuthCredentials, UnauthenticatedUser

        if source is not None and not isinstance(source, TLSExtension):
            raise ConfigurationError(f"source= is TLSExtension(), got {source!r}")
        if not isinstance(required, bool):
            raise ConfigurationError(f"required= is True or False, got {required!r}")
        if identity is not None and (not callable(identity) or iscoroutinefunction(identity)):
            raise ConfigurationError(
                f"identity= is a plain function from PeerCertificate to Principal or None, got {identity!r}"
            )
        self._source = source if source is not None else TLSExtension()
        self._is_required = required
        self._rules = NameRules(allow) if allow is not None else None
        self._identity = identity
        self._credentials = AuthCredentials
        self._nobody = UnauthenticatedUser()
        self._known: dict[tuple[Given, ...], _Known] = {}
        self._clock: Callable[[], float] = time.time
        self._has_told = False
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt)

    def on_request(self, exchange: Exchange, scope: Scope) -> Denial | None:
        strip_certificate_fields(exchange, scope)
        try:
            given = self._source.read(exchange, scope)
            if given:
                return self._admit(self._read(given), exchange, scope)
            return MISSING if self._is_required else None
        except CertificateError as refused:
            if refused.reason == Reason.TLS_UNKNOWN:
                self._tell_the_way_out()
            return _denial(refused.reason, refused.note)
        finally:
            self._set_a_user(scope)

    def on_exempt(self, exchange: Exchange, scope: Scope) -> None:
        strip_certificate_fields(exchange, scope)
        self._set_a_user(scope)

    def _set_a_user(self, scope: Scope) -> None:
        """Nobody, unless somebody is known: in shadow mode and on exempt paths the application asks for a user too."""
        if "auth" not in scope:
            scope["user"] = self._nobody
            scope["auth"] = self._credentials()

    def _read(self, given: tuple[Given, ...]) -> "_Known":
        try:
            known = self._known.get(given)
        except TypeError:
            raise CertificateError(Reason.CERTIFICATE_MALFORMED, "neither PEM text nor DER bytes") from None
        if known is None:
            known = _Known(read_certificates(given), self._rules)
            if sum(map(len, given)) <= MAX_KNOWN_SIZE:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known[given] = known
        return known

    def _admit(self, known: "_Known", exchange: Exchange, scope: Scope) -> Denial | None:
        peer = known.peer
        now = self._clock()
        if now > known.not_after:
            return _denial(Reason.CERTIFICATE_EXPIRED, known.note)
        if now < known.not_before:
            return _denial(Reason.CERTIFICATE_NOT_YET_VALID, known.note)
        exchange.peer_certificate = peer
        if not known.is_allowed:
            return _denial(Reason.CERTIFICATE_NOT_ALLOWED, f"no name is allowed: {known.note}")
        principal = known.principal if self._identity is None else self._identity(peer)
        if principal is None:
            return _denial(Reason.CERTIFICATE_NOT_ALLOWED, f"no identity in it: {known.note}")
        if not isinstance(principal, Principal):
            raise TypeError(f"identity= answered with {type(principal).__name__}, not with a Principal or None")
        exchange.principal = principal
        scope["user"] = principal
        scope["auth"] = self._credentials(("authenticated", *sorted(principal.scopes)))
        return None

    def _tell_the_way_out(self) -> None:
        """Once: what is missing is missing for every request."""
        if not self._has_told:
            self._has_told = True
            logger.error(NO_TLS_EXTENSION)


class _Known:
    """A certificate that has been read, with everything about it that time does not change."""

    __slots__ = ("is_allowed", "not_after", "not_before", "note", "peer", "principal")

    def __init__(self, peer: PeerCertificate, rules: NameRules | None) -> None:
        self.peer = peer
        self.not_before = peer.not_before.timestamp()
        self.not_after = peer.not_after.timestamp()
        self.note = f"sha256={peer.sha256} issuer={peer.issuer[:256]}"
        self.is_allowed = rules is None or rules.admit(peer)
        subject = own_name(peer)
        self.principal = Principal(method="mtls", subject=subject, issuer=peer.issuer) if subject else None


def _denial(reason: str, note: str = "") -> Denial:
    return Denial(reason, 403, DETAIL, note=note)


MISSING = _denial(Reason.CERTIFICATE_MISSING)
