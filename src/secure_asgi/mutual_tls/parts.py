"""Parts of a certificate, taken out as they are needed: an extension that may be absent, the two names as bytes."""

from typing import TYPE_CHECKING, TypeVar

from .._der import tbs_parts
from ..denial import Reason
from ..errors import CertificateError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Extension, Extensions, ExtensionType

T = TypeVar("T", bound="ExtensionType")


def find(kind: type[T], extensions: "Extensions") -> "Extension[T] | None":
    """The extension of that kind, with its criticality."""
    from cryptography.x509 import ExtensionNotFound

    try:
        return extensions.get_extension_for_class(kind)
    except ExtensionNotFound:
        return None


def value(kind: type[T], extensions: "Extensions") -> T | None:
    """What that extension says."""
    found = find(kind, extensions)
    return found.value if found is not None else None


def extension_of(certificate: "Certificate", kind: type[T]) -> T | None:
    """The same of a certificate. Raises ``CertificateError`` where its extensions cannot be read."""
    try:
        return value(kind, certificate.extensions)
    except Exception as error:
        # Any exception at all: not all that an extension can fail to be is a ValueError.
        raise CertificateError(Reason.CERTIFICATE_MALFORMED, f"extensions: {type(error).__name__}") from error


def raw_names(certificate: "Certificate") -> tuple[bytes, bytes]:
    """Issuer and subject in DER: equal as names exactly if equal as bytes, and never taken apart.

    As objects they cost microseconds an attribute, and a stranger may send thousands.
    """
    _, _, issuer, _, subject, _ = tbs_parts(certificate.tbs_certificate_bytes)
    return issuer, subject
