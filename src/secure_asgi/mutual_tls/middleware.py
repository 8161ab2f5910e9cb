"""The gate: certificate → verdict → principal. Every refusal is a 403 that looks the same."""

import logging
from collections.abc import Awaitable, Iterable, Mapping
from datetime import date
from typing import ClassVar, Literal

from .._asgi import ASGIApp, Scope
from .._certificate_names import NameRules
from .._pins import Pin, PinSet
from ..denial import Denial, Reason
from ..errors import CertificateError, ConfigurationError
from ..exchange import Exchange, Principal
from ..flow import Layer
from .certificate import describe, describe_given
from .fields import CertificateFields
from .identity import Identity, identity_of
from .path import MAX_DEPTH
from .source import CertificateSource, TLSExtension, asks_for_none, is_resumed
from .trust import Anchors, TrustAnchors
from .verdict import Admitted, Judge, Refused, Revocation, Verdict

logger = logging.getLogger("secure_asgi")

DETAIL = "This service requires a TLS client certificate that it accepts."

RESUMED = "a resumed TLS session verifies nobody: give trust_anchors=, so that its certificate is verified here"


UNASKED = (
    "mutual_tls refuses every request, because the server's TLS context asks no client for a certificate: make it with "
    'server_context(..., client_ca="clients.pem", client_auth="optional"), or set its verify_mode (on the command line '
    "uvicorn --ssl-cert-reqs 1, hypercorn --verify-mode CERT_OPTIONAL)"
)

_DECIDED = (Admitted, Refused)

_AUTHENTICATED = ("authenticated",)


class MutualTLSMiddleware(Layer):
    """Requires a client certificate, verifies what it must, and makes a principal of it.

    ``source`` says where the certificate comes from: ``TLSExtension()``, the connection to this server, or
    ``ForwardedCertificate(preset, trusted=...)``, a proxy that ends TLS in front of it.
    ``required=False`` lets requests without a certificate pass; one that is presented must be acceptable all the same.

    ``trust_anchors``, a PEM file of authorities (or several, or certificates; or one bundle per SPIFFE trust domain in
    a mapping), has the path verified in this process, now and not at the handshake (RFC 5280 section 6): needed for
    resumed sessions, as TLS 1.2 has them, and for proxies that may forward what they have not verified. Replaced files
    are read again. ``max_depth`` intermediates may stand in the path; ``require_client_eku=False`` accepts a leaf
    that says nothing of its purpose. ``revocation``, ``CRLs(...)`` or ``OCSP(...)``, goes with it. ``pins`` name public
    keys, ``"sha256/..."``: that of the leaf or of a verified authority must be one of them. There are two at least, or
    ``insecure_single_pin=True``.

    ``allow`` names whose certificates are accepted, one rule or several: ``"dns:client.example"``,
    ``"dns:*.clients.example"``, ``"spiffe://example.org/ns/*"``, ``"uri:..."``, ``"email:ops@example.org"``,
    ``"dn:O=Example,CN=client"``; one matching rule is enough. Without rules every verified certificate is accepted.

    ``identity`` says who it is: ``"spiffe"``, ``"uri"``, ``"dns"``, ``"email"``, ``"fingerprint"`` or ``"dn:CN"``, the
    only name of that kind; or a function from ``PeerCertificate`` to ``Principal``, or to None to refuse, called on
    every request. By default the subject is the certificate's only URI name, or if it has none its only DNS name, or
    its only e-mail address; a certificate with several, or with none, is refused. ``exchange.peer_certificate``,
    ``exchange.principal``, ``scope["user"]`` and ``scope["auth"]`` are set.

    Validity times are checked on every request, as a connection may outlive its certificate. Request header fields that
    could pass for a certificate are removed, on exempt paths and in shadow mode too.

    Not checked here without ``trust_anchors``: the chain, the extended key usage and the signature (the handshake or
    the proxy did).
    """

    name: ClassVar[str] = "mutual_tls"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        source: CertificateSource | None = None,
        required: bool = True,
        trust_anchors: Anchors | Mapping[str, Anchors] | None = None,
        max_depth: int = MAX_DEPTH,
        require_client_eku: bool = True,
        revocation: Revocation | None = None,
        pins: str | Pin | Iterable[str | Pin] | None = None,
        insecure_single_pin: bool = False,
        allow: str | Iterable[str] | None = None,
        identity: str | Identity | None = None,
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        from starlette.authentication import AuthCredentials, UnauthenticatedUser

        if source is None:
            source = TLSExtension()
        elif not hasattr(source, "read") or isinstance(source, type):
            raise ConfigurationError(f"source= is TLSExtension() or ForwardedCertificate(...), got {source!r}")
        if not isinstance(required, bool):
            raise ConfigurationError(f"required= is True or False, got {required!r}")
        if trust_anchors is None and source.needs_trust_anchors:
            raise ConfigurationError(
                f"source={source!r} forwards certificates that nobody has verified: give trust_anchors="
            )
        if trust_anchors is None and revocation is not None:
            raise ConfigurationError("revocation= goes with trust_anchors=: only in a verified path is an issuer known")
        if revocation is not None and (not hasattr(revocation, "check") or isinstance(revocation, type)):
            raise ConfigurationError(f"revocation= is CRLs(...) or OCSP(...), got {revocation!r}")
        anchors = None
        if trust_anchors is not None:
            anchors = TrustAnchors(trust_anchors, max_depth=max_depth, require_client_eku=require_client_eku)
        elif max_depth != MAX_DEPTH or not require_client_eku:
            raise ConfigurationError("max_depth= and require_client_eku= are about trust_anchors=: give those too")
        own_hatch = ("insecure_single_pin",) if pins is not None and insecure_single_pin else ()
        self.escape_hatches = (*own_hatch, *getattr(source, "escape_hatches", ()))
        self._source = source
        self._fields = CertificateFields(source.field_names)
        self.required = required
        # Of a proxy's own session nothing follows for the certificate that it forwards.
        self._needs_handshake = source.rests_on_handshake and anchors is None
        own_name, self._identity = identity_of(identity)
        self._judge = Judge(
            anchors=anchors,
            pins=PinSet(pins, option="pins", is_single_ok=insecure_single_pin) if pins is not None else None,
            revocation=revocation,
            rules=NameRules(allow) if allow is not None else None,
            own_name=own_name,
        )
        self._credentials = AuthCredentials
        self._nobody = UnauthenticatedUser()
        self._has_told: set[str] = set()
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt)

    def on_request(self, exchange: Exchange, scope: Scope) -> Denial | Awaitable[Denial | None] | None:
        try:
            given = self._source.read(exchange, scope)
            if not given:
                return self._refuse_nobody(scope) if self.required else None
            if self._needs_handshake and is_resumed(scope):
                self._tell(RESUMED)
                return _denial(Reason.CERTIFICATE_UNVERIFIED, f"{describe_given(given)}: {RESUMED}")
            verdict = self._judge.judge(given)
            if isinstance(verdict, _DECIDED):
                return self._admit(verdict, exchange, scope)
            return self._admit_later(verdict, exchange, scope)
        except CertificateError as refused:
            if refused.reason == Reason.TLS_UNKNOWN:
                self._tell(self._source.way_out)
            return _denial(refused.reason, refused.note)
        finally:
            self._fields.strip(scope)
            if "auth" not in scope:
                self._set_nobody(scope)

    def on_exempt(self, exchange: Exchange, scope: Scope) -> None:
        self._fields.strip(scope)
        if "auth" not in scope:
            self._set_nobody(scope)

    async def on_startup(self, scope: Scope) -> None:
        await self._judge.start()

    async def on_shutdown(self) -> None:
        await self._judge.close()

    def _refuse_nobody(self, scope: Scope) -> Denial:
        if self._source.rests_on_handshake and asks_for_none(scope):
            self._tell(UNASKED)
        return MISSING

    def _set_nobody(self, scope: Scope) -> None:
        """Where nobody is known: in shadow mode and on exempt paths the application asks for a user too."""
        scope["user"] = self._nobody
        scope["auth"] = self._credentials()

    async def _admit_later(self, verdict: Awaitable[Verdict], exchange: Exchange, scope: Scope) -> Denial | None:
        return self._admit(await verdict, exchange, scope)

    def _admit(self, verdict: Verdict, exchange: Exchange, scope: Scope) -> Denial | None:
        exchange.peer_certificate = verdict.peer
        if isinstance(verdict, Refused):
            return _denial(verdict.reason, verdict.note)
        principal = verdict.principal
        if self._identity is not None:
            principal = self._identity(verdict.peer)
            if not (principal is None or isinstance(principal, Principal)):
                raise TypeError(f"identity= answered with {type(principal).__name__}, not with a Principal or None")
        if principal is None:
            return _denial(Reason.CERTIFICATE_NOT_ALLOWED, f"{describe(verdict.peer)}: no identity in it")
        exchange.principal = scope["user"] = principal
        granted = ("authenticated", *sorted(principal.scopes)) if principal.scopes else _AUTHENTICATED
        scope["auth"] = self._credentials(granted)
        return None

    def _tell(self, what_is_missing: str) -> None:
        """Once: what is missing is missing for every request."""
        if what_is_missing not in self._has_told:
            self._has_told.add(what_is_missing)
            logger.error(what_is_missing)


def _denial(reason: str, note: str = "") -> Denial:
    return Denial(reason, 403, DETAIL, note=note)


MISSING = _denial(Reason.CERTIFICATE_MISSING)
