"""One extension of a certificate, or None: an absent extension is no exception here."""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from cryptography.x509 import Extension, Extensions, ExtensionType

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
