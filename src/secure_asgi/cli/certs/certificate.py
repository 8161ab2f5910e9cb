"""One certificate as a server sent it, taken apart for people."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

from ..._pins import spki_pin
from ..printable import printable
from .endpoint import NoAnswerError, is_address

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "secp224r1": "P-224", "secp192r1": "P-192"}

_SIGNATURES = {
    oid: name.replace("_WITH_", " with ") for name, oid in vars(SignatureAlgorithmOID).items() if name[0].isalpha()
}

_KINDS: dict[type[x509.GeneralName], str] = {
    x509.DNSName: "dns",
    x509.IPAddress: "ip",
    x509.UniformResourceIdentifier: "uri",
    x509.RFC822Name: "email",
}


@dataclass(frozen=True, slots=True)
class SentCertificate:
    """``key`` reads ``"EC P-256"`` or ``"RSA 2048"``, ``bits`` is its size; ``hash`` that of the signature, if any.

    Texts are as the certificate has them: escape them before a terminal sees them. ``names`` holds the subject
    alternative names, ``dns:...``, ``ip:...``, ``uri:...`` or ``email:...``.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    key: str
    bits: int
    signature: str
    hash: str
    not_before: datetime
    not_after: datetime
    serial: str
    sha256: str
    spki_pin: str
    is_own_issuer: bool

    def is_for(self, host: str) -> bool:
        """RFC 9525 section 6: an address as it is, a name with at most a whole left-most label as ``*``."""
        if is_address(host):
            return f"ip:{ip_address(host)}" in self.names
        _, _, parent = host.partition(".")
        names = {name.lower().removesuffix(".") for name in self.names}
        return f"dns:{host}" in names or ("." in parent and f"dns:*.{parent}" in names)


def read_certificate(der: bytes) -> SentCertificate:
    """Raises ``NoAnswerError`` for what cannot be read."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        key, bits = _key(certificate.public_key())
        algorithm = certificate.signature_hash_algorithm
        return SentCertificate(
            subject=certificate.subject.rfc4514_string(),
            issuer=certificate.issuer.rfc4514_string(),
            names=_names(certificate),
            key=key,
            bits=bits,
            signature=_SIGNATURES.get(
                certificate.signature_algorithm_oid, certificate.signature_algorithm_oid.dotted_string
            ),
            hash=algorithm.name if algorithm is not None else "",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            serial=f"{certificate.serial_number:x}",
            sha256=sha256(der).hexdigest(),
            spki_pin=spki_pin(certificate),
            is_own_issuer=certificate.subject == certificate.issuer,
        )
    except Exception as error:  # cryptography has many words for what it cannot read
        raise NoAnswerError(f"a certificate that it sends cannot be read: {printable(str(error))}") from error


def _key(key: Any) -> tuple[str, int]:
    match key:
        case ec.EllipticCurvePublicKey():
            return f"EC {_CURVES.get(key.curve.name, key.curve.name)}", key.key_size
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}", key.key_size
        case dsa.DSAPublicKey():
            return f"DSA {key.key_size}", key.key_size
        case ed25519.Ed25519PublicKey():
            return "Ed25519", 256
        case ed448.Ed448PublicKey():
            return "Ed448", 456
    return type(key).__name__, 0


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(f"{_KINDS[type(name)]}:{name.value}" for name in names if type(name) in _KINDS)
