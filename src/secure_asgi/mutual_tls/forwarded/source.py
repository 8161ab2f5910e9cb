"""Reading a forwarded certificate: is it our proxy, is there exactly one of each field, is it verified, what is it."""

from collections.abc import Iterable, Mapping

from ..._asgi import Fields, Scope
from ..._cache import TwoGenerations
from ..._trailers import CHUNKED, mixes_in_trailers
from ...denial import Reason
from ...errors import CertificateError, ConfigurationError
from ...exchange import Exchange
from ..certificate import MAX_CERTIFICATES, Given, describe_given, digest
from ..fields import DASHED
from .presets import LONG, PRESETS, Preset
from .trust import ProxyCertificate, ProxyPeers, ProxySecret, Trust, field_name

MAX_KNOWN = 1024
"""Field values whose outcome is remembered, so that they are decoded once per client and not once per request."""

MAX_KNOWN_SIZE = 16 * 1024
"""Bytes of the values that are remembered."""

TRAILERS = (
    "a field may be a trailer, which a client can write past the proxy: run uvicorn with "
    'http="secure_asgi.servers.uvicorn:AutoProtocol", or with http="h11"'
)

_Value = bytes | tuple[bytes, ...] | None


class ForwardedCertificate:
    """The client's certificate as our proxy forwards it; for ``MutualTLSMiddleware(source=...)``.

    ``preset`` is the one way of forwarding that is read: ``"rfc9440"``, ``"nginx"``, ``"ingress_nginx"``,
    ``"haproxy"``, ``"apache"``, ``"caddy"``, ``"envoy_xfcc"``, ``"envoy_xfcc_json"``, ``"traefik2"``, ``"traefik3"``,
    ``"aws_alb_verify"``, ``"aws_alb_passthrough"``, ``"gcp"``, ``"azure_app_service"``, ``"cloudflare"``, ``"kong"``.
    The reference page shows the proxy's configuration that goes with each.

    ``trusted`` is how the proxy is known: ``ProxyCertificate(pins)``, ``ProxySecret(header, secret)``, ``"unix"``, its
    networks (``"10.0.0.0/8"``), or several of the last two. Addresses are those that our server hook recorded;
    ``insecure_scope_client=True`` takes ``scope["client"]`` where there is no hook.

    ``fields`` renames fields whose name is chosen in the proxy's configuration, by the part they play:
    ``{"certificate": "x-client-pem", "verify": "x-client-ok"}``.

    ``needs_trust_anchors`` is True where nobody has verified what is forwarded. ``field_names`` are the names of all
    fields that this source reads, lower-case; none of them may reach the application. ``way_out`` is what to tell the
    operator when ``read`` raises ``TLS_UNKNOWN``.

    Raises ``ConfigurationError`` for an unknown preset, for what is no proxy, and for fields that the preset does not
    have or that cannot be renamed. It cannot check that the proxy removes what clients send; that is its configuration.
    """

    rests_on_handshake = False

    def __init__(
        self,
        preset: str,
        *,
        trusted: ProxyCertificate | ProxySecret | str | Iterable[str],
        insecure_scope_client: bool = False,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ConfigurationError(f"preset= is one of {', '.join(PRESETS)}; got {preset!r}")
        self._name = preset
        self._preset = PRESETS[preset]
        self._trusted = _trust(trusted, insecure_scope_client)
        own_hatch = ("insecure_scope_client",) if insecure_scope_client else ()
        self.escape_hatches = (*own_hatch, *getattr(self._trusted, "escape_hatches", ()))
        names = _names(preset, self._preset, fields)
        if self._trusted.field in names.values():
            raise ConfigurationError(
                f"header={self._trusted.field.decode()!r} is a field of the certificate: rename it"
            )
        self._parts = tuple(names)
        self._fields = tuple(names.values())
        self._nothing: tuple[_Value, ...] = (None,) * len(names)
        self._known: TwoGenerations[tuple[_Value, ...], tuple[Given, ...]] = TwoGenerations(MAX_KNOWN)
        self.needs_trust_anchors = self._preset.needs_trust_anchors
        self.field_names = (*self._fields, self._trusted.field) if self._trusted.field else self._fields
        self.way_out = self._trusted.way_out

    def __repr__(self) -> str:
        return f"ForwardedCertificate({self._name!r}, trusted={self._trusted!r})"

    def read(self, exchange: Exchange, scope: Scope) -> tuple[Given, ...]:
        """The certificates in DER, leaf first; empty if the proxy says that the client has none.

        Raises ``CertificateError``: ``PROXY_UNTRUSTED`` for fields that are not our proxy's, ``TLS_UNKNOWN`` where this
        server does not tell whose they are, ``CERTIFICATE_FIELD_AMBIGUOUS`` for one on several lines, under another
        spelling, or of a server that takes trailers for fields, ``CERTIFICATE_UNVERIFIED`` where the proxy says so,
        ``CERTIFICATE_MALFORMED`` for all else.
        """
        fields = exchange.fields(scope)
        values = tuple(map(fields.get, self._fields))
        alias = self._alias(fields)
        try:
            self._trusted.authenticate(exchange, scope)
        except CertificateError as refused:
            if refused.reason == Reason.PROXY_UNTRUSTED and alias is None and values == self._nothing:
                return ()
            raise
        if alias is not None:
            raise CertificateError(Reason.CERTIFICATE_FIELD_AMBIGUOUS, f"{alias!r} could pass for another"[:256])
        if CHUNKED in fields and values != self._nothing and mixes_in_trailers(scope):
            raise CertificateError(Reason.CERTIFICATE_FIELD_AMBIGUOUS, TRAILERS)
        known = self._known.get(values)
        if known is None:
            known = self._decode(values)
            if _size(values) <= MAX_KNOWN_SIZE:
                self._known.put(values, known)
        return known

    def _alias(self, fields: Fields) -> bytes | None:
        """A field under another spelling of a name that is read here: what folds ``_`` into ``-`` takes it for ours."""
        together = b"\n".join(fields)
        if b"_" in together or b"." in together:
            for name in fields:
                plain = name.translate(DASHED)
                if plain != name and plain in self._fields:
                    return name
        return None

    def _decode(self, values: tuple[_Value, ...]) -> tuple[Given, ...]:
        given = self._single_values(values)
        certificate = given.pop("certificate")
        chain = given.pop("chain", b"")
        if certificate in (b"", *self._preset.certificate.placeholders):
            self._must_be_idle(given, chain)
            return ()
        self._must_be_good(given, certificate)
        try:
            return self._certificates(certificate, chain)
        except Exception as error:
            # Any exception at all: what is decoded here a stranger may have written.
            raise _malformed(f"{digest((certificate,))}: {self._name}: {type(error).__name__}: {error}") from error

    def _single_values(self, values: tuple[_Value, ...]) -> dict[str, bytes]:
        """The values by part; one that is not there is empty."""
        given: dict[str, bytes] = {}
        for part, value in zip(self._parts, values, strict=True):
            if isinstance(value, tuple):
                if not (part == "chain" and self._preset.chain is not None and self._preset.chain.may_repeat):
                    raise CertificateError(Reason.CERTIFICATE_FIELD_AMBIGUOUS, f"{part}: on several lines")
                value = b",".join(value)
            given[part] = value or b""
        return given

    def _must_be_idle(self, signals: Mapping[str, bytes], chain: bytes) -> None:
        """Without a certificate: nothing that speaks of one."""
        if chain:
            raise _malformed(f"{self._name}: a chain without a certificate")
        for part, value in signals.items():
            if value and value not in self._preset.signals[part].idle:
                raise CertificateError(Reason.CERTIFICATE_UNVERIFIED, f"no certificate, but {part} is {value[:128]!r}")

    def _must_be_good(self, signals: Mapping[str, bytes], certificate: bytes) -> None:
        for part, value in signals.items():
            if value != self._preset.signals[part].good:
                note = f"{self._describe(certificate)}: {part} is {value[:128]!r}"
                raise CertificateError(Reason.CERTIFICATE_UNVERIFIED, note[:256])

    def _describe(self, certificate: bytes) -> str:
        """For the audit log."""
        try:
            given = self._certificates(certificate, b"")
        except Exception:
            given = (certificate,)
        return describe_given(given)

    def _certificates(self, certificate: bytes, chain: bytes) -> tuple[bytes, ...]:
        if len(certificate) > self._preset.certificate.max_size or len(certificate) + len(chain) > LONG:
            raise ValueError("too long")
        certificates = self._preset.certificate.decode(certificate)
        if chain and self._preset.chain is not None:
            certificates = (*certificates, *self._preset.chain.decode(chain))
        if len(certificates) > MAX_CERTIFICATES:
            raise ValueError(f"more than {MAX_CERTIFICATES} certificates")
        return certificates


def _trust(trusted: object, insecure_scope_client: bool) -> Trust:
    if not isinstance(insecure_scope_client, bool):
        raise ConfigurationError(f"insecure_scope_client= is True or False, got {insecure_scope_client!r}")
    if isinstance(trusted, ProxyCertificate | ProxySecret):
        if insecure_scope_client:
            raise ConfigurationError(
                f'insecure_scope_client= goes with networks and "unix"; {trusted!r} needs no address'
            )
        return trusted
    named = (trusted,) if isinstance(trusted, str) else tuple(trusted) if isinstance(trusted, Iterable) else None
    if named is None or not all(isinstance(text, str) for text in named):
        raise ConfigurationError(
            'trusted= is ProxyCertificate(pins), ProxySecret(header, secret), "unix" or networks such as "10.0.0.0/8"; '
            f"got {trusted!r}"
        )
    return ProxyPeers(named, trusts_scope_client=insecure_scope_client)


def _names(name: str, preset: Preset, renamed: Mapping[str, str] | None) -> dict[str, bytes]:
    names = {part: field.encode() for part, field in preset.names.items()}
    if renamed is None:
        return names
    if not preset.renamable:
        raise ConfigurationError(f"fields= cannot rename what {name!r} forwards: its names are fixed; leave it out")
    if not isinstance(renamed, Mapping):
        raise ConfigurationError(f'fields= renames parts, {{"certificate": "x-client-pem"}}; got {renamed!r}')
    for part, field in renamed.items():
        if part not in names:
            raise ConfigurationError(f"fields= of {name!r} has the parts {', '.join(names)}; got {part!r}")
        names[part] = field_name(field, option="fields")
    if len(set(names.values())) < len(names):
        raise ConfigurationError(f"fields= gives one name to two parts: {renamed!r}")
    return names


def _size(values: tuple[_Value, ...]) -> int:
    return sum(len(value) if isinstance(value, bytes) else sum(map(len, value)) for value in values if value)


def _malformed(note: str) -> CertificateError:
    return CertificateError(Reason.CERTIFICATE_MALFORMED, note[:256])
