"""Certificates of every kind, good ones by default and wrong in whatever a test asks for; keys are made once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)

NAMES = {
    "dns": x509.DNSName,
    "uri": x509.UniformResourceIdentifier,
    "email": x509.RFC822Name,
}


@dataclass(frozen=True)
class Made:
    """A certificate and its private key (None where only the public half was made up)."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def make(
    subject: str | x509.Name = "client",
    issuer: Made | None = None,
    *,
    key: Any = None,
    ca: bool | None = False,
    ca_is_critical: bool = True,
    path_length: int | None = None,
    usage: str | None = "",
    usage_is_critical: bool = True,
    purposes: Sequence[x509.ObjectIdentifier] | None = (CLIENT,),
    purposes_are_critical: bool = False,
    names: Sequence[str | x509.GeneralName] = ("dns:client.example",),
    names_are_critical: bool = False,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    not_before: datetime = NOW - DAY,
    not_after: datetime = NOW + 30 * DAY,
    signed_by: Any = None,
    digest: Any = SHA256,
    key_identifiers: bool = True,
) -> Made:
    """One certificate, from ``issuer`` or by itself.

    ``usage`` lists key usages as ``x509.KeyUsage`` names them, by default those that fit ``ca``; None, as for
    ``purposes`` and ``ca``, leaves the extension out. ``signed_by`` is a key other than the issuer's.
    """
    key = key if key is not None else new_key(str(subject))
    above = issuer.certificate.subject if issuer else named(subject)
    signer = issuer.key if issuer else key
    if usage == "":
        usage = "key_cert_sign crl_sign" if ca else "digital_signature"
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(above)
        .public_key(public(key))
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    if key_identifiers:
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(public(signer)), critical=False
        ).add_extension(x509.SubjectKeyIdentifier.from_public_key(public(key)), critical=False)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=ca_is_critical)
    if usage is not None:
        builder = builder.add_extension(key_usage(usage), critical=usage_is_critical)
    if purposes is not None and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=purposes_are_critical)
    if names and not ca:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([general_name(name) for name in names]), critical=names_are_critical
        )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signer = signed_by if signed_by is not None else signer
    has_no_digest = isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return Made(builder.sign(signer, None if has_no_digest else digest()), key)


def authority(subject: str = "Root", issuer: Made | None = None, **options: Any) -> Made:
    return make(subject, issuer, **{"ca": True, "not_after": NOW + 365 * DAY, **options})


@cache
def new_key(kind: str) -> Any:
    """A key by its kind (``rsa-2048``, ``secp192r1``, ``dsa`` ...); for any other text, a P-256 key of its own."""
    family, _, size = kind.partition("-")
    simple = {
        "dsa": lambda: dsa.generate_private_key(1024),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ed448": ed448.Ed448PrivateKey.generate,
        "x25519": x25519.X25519PrivateKey.generate,
        "rsa": lambda: rsa.generate_private_key(65537, int(size)),
    }
    curves = (ec.SECP192R1, ec.SECP224R1, ec.SECP256K1, ec.SECP256R1, ec.SECP384R1, ec.SECP521R1, ec.BrainpoolP256R1)
    simple |= {curve.name: lambda curve=curve: ec.generate_private_key(curve()) for curve in curves}
    return simple.get(family, simple["secp256r1"])()


def rsa_of(bits: int, exponent: int = 65537) -> rsa.RSAPublicKey:
    """A public key without a private half, made up: generating one of that size takes minutes."""
    return rsa.RSAPublicNumbers(exponent, (1 << (bits - 1)) | 1).public_key()


def public(key: Any) -> Any:
    return key.public_key() if hasattr(key, "public_key") else key


def key_usage(names: str) -> x509.KeyUsage:
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: name in names.split() for name in every.split()})


def general_name(text: str | x509.GeneralName) -> x509.GeneralName:
    if isinstance(text, x509.GeneralName):
        return text
    kind, _, value = text.partition(":")
    return NAMES[kind](value)


def named(text: str | x509.Name) -> x509.Name:
    if isinstance(text, x509.Name):
        return text
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def with_broken_signature(made: Made) -> x509.Certificate:
    der = made.der
    return x509.load_der_x509_certificate(der[:-1] + bytes([der[-1] ^ 1]))


def permit(*names: str) -> tuple[x509.ExtensionType, bool]:
    return x509.NameConstraints([general_name(name) for name in names], None), True


def exclude(*names: str) -> tuple[x509.ExtensionType, bool]:
    return x509.NameConstraints(None, [general_name(name) for name in names]), True


def with_digest(made: Made, issuer: Made, digest: HashAlgorithm, *, last_arc: int) -> x509.Certificate:
    """The same certificate signed by an RSA key with a digest that cryptography no longer signs with.

    ``last_arc`` is what the algorithm's identifier ends in: 1.2.840.113549.1.1.4 is MD5, .5 is SHA-1, .11 is SHA-256.
    """
    algorithm = bytes.fromhex("2a864886f70d0101")
    tbs = made.certificate.tbs_certificate_bytes.replace(algorithm + b"\x0b", algorithm + bytes([last_arc]))
    signature = issuer.key.sign(tbs, PKCS1v15(), digest)
    der = made.der.replace(algorithm + b"\x0b", algorithm + bytes([last_arc]))
    return x509.load_der_x509_certificate(der[: -len(signature)] + signature)
