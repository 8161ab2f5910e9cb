"""Pins on public keys: ``"sha256/<base64>"`` of a SubjectPublicKeyInfo (RFC 7469 section 2.4).

A pin names a key, not a certificate: it goes on matching when a certificate is renewed with the same key.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING

from .errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_PREFIX = "sha256/"


@dataclass(frozen=True, slots=True)
class Pin:
    """One key, and the last day (UTC) on which it counts: after that it matches nothing any more.

    Raises ``ConfigurationError`` if ``value`` is not ``"sha256/"`` and the base64 of 32 bytes.
    """

    value: str
    until: date | None = None

    def __post_init__(self) -> None:
        if not _is_pin(self.value):
            raise ConfigurationError(
                f'a pin is written "sha256/" and the base64 of the SHA-256 of the public key (SPKI), got {self.value!r}'
            )


class PinSet:
    """Keys of which one must be there. ``option`` is what the caller's option is called, for the error messages.

    Two keys at least, because a single one that is lost or replaced locks everybody out; ``is_single_ok`` is the
    caller's confession that this is wanted. Raises ``ConfigurationError``.
    """

    __slots__ = ("_until",)

    def __init__(self, pins: str | Pin | Iterable[str | Pin], *, option: str, is_single_ok: bool) -> None:
        given = (pins,) if isinstance(pins, str | Pin) else tuple(pins)
        read = [pin if isinstance(pin, Pin) else Pin(pin) for pin in given]
        self._until = {pin.value: pin.until for pin in read}
        if len(self._until) < (1 if is_single_ok else 2):
            raise ConfigurationError(
                f"{option}= takes two pins at least, the key in use and a spare one kept elsewhere; "
                f"got {len(self._until)} (insecure_single_pin=True accepts one)"
            )

    def match(self, keys: Iterable[str], today: date) -> bool:
        """One of ``keys`` (pins, as ``spki_pin`` writes them) is pinned, and its last day has not passed."""
        return any(key in self._until and _counts(self._until[key], today) for key in keys)


def spki_pin(certificate: "Certificate") -> str:
    """The pin of a certificate's public key."""
    return pin_of(_spki(certificate))


def pin_of(spki: bytes) -> str:
    """The pin of a public key given as DER SubjectPublicKeyInfo."""
    return _PREFIX + b64encode(sha256(spki).digest()).decode()


def _spki(certificate: "Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _counts(until: date | None, today: date) -> bool:
    return until is None or today <= until


def _is_pin(text: object) -> bool:
    if not (isinstance(text, str) and text.startswith(_PREFIX)):
        return False
    try:
        return len(b64decode(text.removeprefix(_PREFIX), validate=True)) == 32
    except ValueError:
        return False
