"""SPIFFE IDs, and the certificates that carry one (SPIFFE-ID and X509-SVID of the SPIFFE project)."""

from typing import TYPE_CHECKING

from ..denial import Reason
from ..errors import CertificateError
from .parts import find, value

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Extensions

MAX_SPIFFE_ID = 2048
MAX_TRUST_DOMAIN = 255
"""Bytes."""

_SCHEME = "spiffe://"
_DOMAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_")
_SEGMENT = _DOMAIN | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def is_spiffe_id(text: str) -> bool:
    """``spiffe://``, a trust domain in lower case, and path segments of letters, digits and ``.-_``: nothing else.

    No port, user, query, fragment, escape, dot segment, empty segment or slash at the end; at most 2048 bytes, 255 of
    them for the trust domain. An ID without a path, which names the trust domain itself, is one too.
    """
    if len(text) > MAX_SPIFFE_ID or not text.startswith(_SCHEME):
        return False
    domain, *segments = text.removeprefix(_SCHEME).split("/")
    return is_trust_domain(domain) and all(
        segment not in ("", ".", "..") and _SEGMENT.issuperset(segment) for segment in segments
    )


def is_trust_domain(text: str) -> bool:
    """The name of a trust domain, without ``spiffe://``."""
    return 0 < len(text) <= MAX_TRUST_DOMAIN and _DOMAIN.issuperset(text)


def names_a_workload(spiffe_id: str) -> bool:
    """It has a path. One without stands for the trust domain itself, which only signs."""
    return "/" in spiffe_id.removeprefix(_SCHEME)


def trust_domain_of(spiffe_id: str) -> str:
    """``spiffe://example.org/ns/pay`` → ``example.org``."""
    return spiffe_id.removeprefix(_SCHEME).partition("/")[0]


def require_svid(leaf: "Certificate") -> str:
    """The SPIFFE ID of a leaf that is an X.509-SVID. Its signature is not looked at.

    Exactly one URI among the alternative names, which is the SPIFFE ID of a workload; not a certificate authority; a
    critical key usage with digitalSignature, without keyCertSign and cRLSign; an extended key usage, if there is one,
    with both serverAuth and clientAuth; critical alternative names where there is no subject.

    Raises ``CertificateError(Reason.CERTIFICATE_NOT_SVID)``.
    """
    try:
        extensions = leaf.extensions
        complaint = _purpose_complaint(extensions)
        uris = _uris(extensions, has_subject=bool(leaf.subject.rdns))
    except Exception as error:
        # Any exception at all: not all that an extension can fail to be is a ValueError.
        raise CertificateError(Reason.CERTIFICATE_NOT_SVID, f"unreadable: {error}"[:256]) from error
    if complaint:
        raise CertificateError(Reason.CERTIFICATE_NOT_SVID, complaint)
    if len(uris) != 1:
        raise CertificateError(Reason.CERTIFICATE_NOT_SVID, f"{len(uris)} URI names, not one")
    if not (is_spiffe_id(uris[0]) and names_a_workload(uris[0])):
        raise CertificateError(Reason.CERTIFICATE_NOT_SVID, f"no SPIFFE ID of a workload: {uris[0][:128]!r}")
    return uris[0]


def _purpose_complaint(extensions: "Extensions") -> str:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    constraints = value(x509.BasicConstraints, extensions)
    if constraints is not None and constraints.ca:
        return "a certificate authority"
    usage = find(x509.KeyUsage, extensions)
    if usage is None or not usage.critical:
        return "no critical key usage"
    if not usage.value.digital_signature:
        return "a key usage without digitalSignature"
    if usage.value.key_cert_sign or usage.value.crl_sign:
        return "a key usage with keyCertSign or cRLSign"
    purposes = value(x509.ExtendedKeyUsage, extensions)
    if purposes is not None and not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}.issubset(
        purposes
    ):
        return "an extended key usage without both serverAuth and clientAuth"
    return ""


def _uris(extensions: "Extensions", *, has_subject: bool) -> list[str]:
    from cryptography import x509

    names = find(x509.SubjectAlternativeName, extensions)
    if names is None:
        return []
    if not (names.critical or has_subject):
        raise ValueError("no subject, and alternative names that are not critical")
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)
