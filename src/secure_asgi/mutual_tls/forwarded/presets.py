"""The ways of forwarding, as data: which fields, in which encoding, and what in them says that all is well.

``docs/reference/forwarded_certificates.md`` shows for each preset the configuration of the proxy that goes with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .encodings import (
    Certificates,
    base64_concatenated,
    base64_der,
    base64_ders,
    escaped_base64_ders,
    escaped_pem,
    escaped_pems,
    pem,
    structured_item,
    structured_list,
)
from .xfcc import xfcc_json, xfcc_text

Decoder = Callable[[bytes], Certificates]


@dataclass(frozen=True, slots=True)
class Certificate:
    """The field with the client's certificate, or with all of its chain, leaf first.

    ``placeholders`` are values that mean that there is none; so do an empty value and no field. ``max_size`` is in
    bytes of the value.
    """

    name: str
    decode: Decoder
    placeholders: tuple[bytes, ...] = ()
    max_size: int = 16 * 1024


@dataclass(frozen=True, slots=True)
class Chain:
    """The field with the rest of the chain; ``may_repeat``: several lines of it are one list (RFC 9110 section 5.3)."""

    name: str
    decode: Decoder
    may_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """A field in which the proxy says what it thinks of the certificate.

    ``good`` is the one value with which a certificate counts; ``idle`` are those that may stand there without one.
    """

    name: str
    good: bytes
    idle: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One way of forwarding.

    ``renamable``: the names are chosen in the proxy's configuration. ``needs_trust_anchors``: that a certificate comes
    along does not mean that anybody has verified it.
    """

    certificate: Certificate
    chain: Chain | None = None
    signals: Mapping[str, Signal] = field(default_factory=lambda: MappingProxyType({}))
    renamable: bool = False
    needs_trust_anchors: bool = False

    @property
    def names(self) -> dict[str, str]:
        """The fields' names by the part they play: ``certificate``, ``chain`` and the signals'."""
        names = {"certificate": self.certificate.name}
        if self.chain is not None:
            names["chain"] = self.chain.name
        return names | {part: signal.name for part, signal in self.signals.items()}


LONG = 64 * 1024
"""Bytes of a field that holds a whole chain."""

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "rfc9440": Preset(
            certificate=Certificate("client-cert", structured_item),
            chain=Chain("client-cert-chain", structured_list, may_repeat=True),
        ),
        "nginx": Preset(
            certificate=Certificate("x-ssl-client-cert", escaped_pem),
            signals={"verify": Signal("x-ssl-client-verify", b"SUCCESS", (b"NONE",))},
            renamable=True,
        ),
        "ingress_nginx": Preset(
            certificate=Certificate("ssl-client-cert", escaped_pem),
            signals={"verify": Signal("ssl-client-verify", b"SUCCESS", (b"NONE",))},
        ),
        # ssl_c_verify is 0 for a good certificate and for none: it means something only together with ssl_c_used.
        "haproxy": Preset(
            certificate=Certificate("x-ssl-client-cert", base64_der),
            chain=Chain("x-ssl-client-chain", base64_concatenated),
            signals={
                "used": Signal("x-ssl-client-used", b"1", (b"0",)),
                "verify": Signal("x-ssl-client-verify", b"0", (b"0",)),
            },
            renamable=True,
        ),
        "apache": Preset(
            certificate=Certificate("x-ssl-client-cert", pem, placeholders=(b"(null)",)),
            signals={"verify": Signal("x-ssl-client-verify", b"SUCCESS", (b"NONE", b"(null)"))},
            renamable=True,
        ),
        "caddy": Preset(
            certificate=Certificate(
                "client-cert",
                structured_item,
                placeholders=(b":{http.request.tls.client.certificate_der_base64}:", b"::"),
            ),
            renamable=True,
            # Of its modes, "request" and "require" verify nothing, and what is forwarded looks the same.
            needs_trust_anchors=True,
        ),
        "envoy_xfcc": Preset(certificate=Certificate("x-forwarded-client-cert", xfcc_text, max_size=LONG)),
        "envoy_xfcc_json": Preset(certificate=Certificate("x-forwarded-client-cert", xfcc_json, max_size=LONG)),
        # Traefik forwards what clientAuthType let pass, verified or not, and leaves the client's own field where the
        # client has no certificate.
        "traefik2": Preset(
            certificate=Certificate("x-forwarded-tls-client-cert", escaped_base64_ders, max_size=LONG),
            needs_trust_anchors=True,
        ),
        "traefik3": Preset(
            certificate=Certificate("x-forwarded-tls-client-cert", base64_ders, max_size=LONG),
            needs_trust_anchors=True,
        ),
        "aws_alb_verify": Preset(certificate=Certificate("x-amzn-mtls-clientcert-leaf", escaped_pem)),
        "aws_alb_passthrough": Preset(
            certificate=Certificate("x-amzn-mtls-clientcert", escaped_pems, max_size=LONG), needs_trust_anchors=True
        ),
        "gcp": Preset(
            certificate=Certificate("x-client-cert-leaf", structured_item),
            chain=Chain("x-client-cert-chain", structured_list),
            signals={
                "present": Signal("x-client-cert-present", b"true", (b"false",)),
                "verified": Signal("x-client-cert-chain-verified", b"true", (b"false",)),
            },
            renamable=True,
        ),
        "azure_app_service": Preset(certificate=Certificate("x-arr-clientcert", base64_der), needs_trust_anchors=True),
        "cloudflare": Preset(
            certificate=Certificate("cf-client-cert-der-base64", base64_der),
            signals={
                "verified": Signal("cf-cert-verified", b"true", (b"false",)),
                "revoked": Signal("cf-cert-revoked", b"false", (b"false",)),
            },
        ),
        "kong": Preset(certificate=Certificate("x-client-cert", escaped_pem), renamable=True, needs_trust_anchors=True),
    }
)
