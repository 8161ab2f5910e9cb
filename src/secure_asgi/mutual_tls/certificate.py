"""What is in a certificate: PEM text or DER bytes in, ``PeerCertificate`` out (RFC 5280). Nothing is verified here."""

from hashlib import sha256
from typing import TYPE_CHECKING

from .._certificate_names import lower_domain
from .._pins import spki_pin
from ..denial import Reason
from ..errors import CertificateError
from ..exchange import PeerCertificate
from . import pem
from .parts import value
from .spiffe import is_spiffe_id, names_a_workload

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name

Given = str | bytes
"""A certificate as it comes: PEM text, or DER bytes."""

MAX_CERTIFICATES = 10
MAX_SIZE = 64 * 1024
"""Characters or bytes of all of them together."""

MAX_CERTIFICATE_SIZE = 16 * 1024
"""Bytes of one (MTLS-5): thousands of names in it would take the event loop longer than a request may."""

MAX_NAMES = 512
"""Alternative names of one: each is held against every rule."""


def read_certificates(given: tuple[Given, ...]) -> PeerCertificate:
    """The leaf, which comes first, with the rest of the chain.

    DNS names, and the domains of e-mail addresses, are in lower case: RFC 5280 section 7 compares them without.

    Raises ``CertificateError(Reason.CERTIFICATE_MALFORMED)`` for more than 10 certificates, 64 KiB, or 16 KiB of one
    or 512 names in it, and for anything that does not read as a certificate.
    """
    try:
        _check_size(given)
        return _read(tuple(map(_der, given)))
    except Exception as error:
        # Any exception at all: the parser sees what a stranger sent, and has more ways to fail than it documents.
        raise CertificateError(Reason.CERTIFICATE_MALFORMED, f"{type(error).__name__}: {error}"[:256]) from error


def describe(peer: PeerCertificate) -> str:
    """For the audit log, which keeps some 250 characters of a note: which certificate it was, before anything else."""
    return f"sha256={peer.sha256} issuer={peer.issuer[:96]}"


def describe_given(given: tuple[Given, ...]) -> str:
    """The same of what has not been read yet, and perhaps cannot be."""
    try:
        return describe(read_certificates(given))
    except CertificateError:
        return digest(given)


def digest(given: tuple[Given, ...]) -> str:
    """Of what should have been the leaf, as it came."""
    leaf: object = given[0] if given else None
    data = leaf.encode("utf-8", "surrogatepass") if isinstance(leaf, str) else leaf
    return f"sha256={sha256(data).hexdigest() if isinstance(data, bytes) else 'none'}"


def _check_size(given: tuple[Given, ...]) -> None:
    if len(given) > MAX_CERTIFICATES:
        raise ValueError(f"more than {MAX_CERTIFICATES} certificates")
    if sum(map(len, given)) > MAX_SIZE:
        raise ValueError(f"more than {MAX_SIZE} bytes of certificates")


def _der(given: Given) -> bytes:
    (der,) = (given,) if isinstance(given, bytes) else pem.certificates(given.encode("ascii"))
    if len(der) > MAX_CERTIFICATE_SIZE:
        raise ValueError(f"more than {MAX_CERTIFICATE_SIZE} bytes of one certificate")
    return der


def _read(ders: tuple[bytes, ...]) -> PeerCertificate:
    from cryptography.x509 import load_der_x509_certificate  # only here: loaded with the first certificate

    leaf, *_ = map(load_der_x509_certificate, ders)
    dns, uris, emails = _alternative_names(leaf)
    return PeerCertificate(
        der=ders[0],
        sha256=sha256(ders[0]).hexdigest(),
        subject=leaf.subject.rfc4514_string(),
        issuer=leaf.issuer.rfc4514_string(),
        serial=leaf.serial_number,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        dns=tuple(name.lower() for name in dns),
        uris=uris,
        emails=tuple(map(lower_domain, emails)),
        chain=ders[1:],
        attributes=_attributes(leaf.subject),
        spki_pin=spki_pin(leaf),
        spiffe_id=_spiffe_id(uris),
    )


def _attributes(name: "Name") -> tuple[tuple[str, str], ...]:
    return tuple((attribute.rfc4514_attribute_name, _text(attribute.value)) for attribute in name)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else f"#{value.hex()}"


def _spiffe_id(uris: tuple[str, ...]) -> str | None:
    is_one = len(uris) == 1 and is_spiffe_id(uris[0]) and names_a_workload(uris[0])
    return uris[0] if is_one else None


def _alternative_names(leaf: "Certificate") -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    from cryptography import x509

    names = value(x509.SubjectAlternativeName, leaf.extensions)
    if names is None:
        return (), (), ()
    if len(names) > MAX_NAMES:
        raise ValueError(f"more than {MAX_NAMES} alternative names")
    kinds = (x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name)
    dns, uris, emails = (tuple(names.get_values_for_type(kind)) for kind in kinds)
    for name in (*dns, *uris, *emails):
        # A NUL or a line feed in a name has only ever served to be read differently by somebody else. (ASCII they are.)
        if not (name and name.isprintable()):
            raise ValueError("an alternative name with characters no name has")
    return dns, uris, emails
