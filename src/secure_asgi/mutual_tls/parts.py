"""Parts of a certificate, taken out as they are needed: an extension that may be absent, the two names as bytes."""

from typing import TYPE_CHECKING, TypeVar

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


def raw_names(certificate: "Certificate") -> tuple[bytes, bytes]:
    """Issuer and subject in DER: equal as names exactly if equal as bytes, and never taken apart.

    As objects they cost microseconds an attribute, and a stranger may send thousands. Of a certificate of version 1,
    which says no version and has no part in any path, something else comes back.
    """
    tbs = certificate.tbs_certificate_bytes
    starts = [_content(tbs, 0)[0]]
    for _ in range(6):  # version, serial number, signature algorithm, issuer, validity, subject
        starts.append(_content(tbs, starts[-1])[1])
    return tbs[starts[3] : starts[4]], tbs[starts[5] : starts[6]]


def _content(der: bytes, start: int) -> tuple[int, int]:
    """Where the content of the element at ``start`` begins and starts; the parser has seen that it is well-formed."""
    length = der[start + 1]
    begin = start + 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[start + 2 : begin])
    return begin, begin + length
