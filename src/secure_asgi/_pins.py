"""Pins on public keys: ``"sha256/<base64>"`` of a SubjectPublicKeyInfo (RFC 7469 section 2.4).

A pin names a key, not a certificate: it goes on matching when a certificate is renewed with the same key.
"""

import logging
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from ._der import span, tbs_parts
from ._files import StrPath
from ._pem import certificates_in_file
from .errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

logger = logging.getLogger("secure_asgi")

ENDS_SOON = timedelta(days=30)
"""Before the last day of what still matches, from when on the log says so."""

_PREFIX = "sha256/"


@dataclass(frozen=True, slots=True)
class Pin:
    """A public key, and the last day (UTC) on which it counts: from the day after it matches nothing.

    Raises ``ConfigurationError`` if ``value`` is not ``"sha256/"`` and the base64 of 32 bytes, or ``until`` no date.
    """

    value: str
    until: date | None = None

    def __post_init__(self) -> None:
        if not _is_pin(self.value):
            raise ConfigurationError(
                f'a pin is written "sha256/" and the base64 of the SHA-256 of the public key (SPKI), got {self.value!r}'
            )
        # A datetime is a date to isinstance, and cannot be compared with one.
        if self.until is not None and (not isinstance(self.until, date) or isinstance(self.until, datetime)):
            raise ConfigurationError(f"until= is the last day of a pin, date(2027, 3, 31) or None, got {self.until!r}")


class PinSet:
    """Keys of which one must be there. ``option`` is what the caller's option is called, for messages.

    Two keys at least, because one that is lost or replaced locks everybody out; ``is_single_ok`` is the caller's
    ``insecure_single_pin``, the confession that this is wanted. Dates do not count here: what starts today starts on
    every other day too. Once the last pin has lapsed everything is refused. Raises ``ConfigurationError``.
    """

    __slots__ = ("_has_warned", "_option", "_until")

    def __init__(self, pins: str | Pin | Iterable[str | Pin], *, option: str, is_single_ok: bool) -> None:
        if not isinstance(is_single_ok, bool):
            raise ConfigurationError(f"insecure_single_pin= is True or False, got {is_single_ok!r}")
        self._option = option
        self._until: dict[str, date | None] = {}
        self._has_warned = False
        for pin in _several(pins, option):
            if self._until.setdefault(pin.value, pin.until) != pin.until:
                raise ConfigurationError(f"{option}= has {pin.value} with two different dates: leave one of them out")
        if len(self._until) < (1 if is_single_ok else 2):
            raise ConfigurationError(
                f"{option}= takes two pins at least, of the key in use and of a spare one kept elsewhere, "
                f"got {len(self._until)}; insecure_single_pin=True accepts one"
            )

    def match(self, keys: Iterable[str], today: date) -> bool:
        """One of ``keys`` (pins, as ``spki_pin`` writes them) is pinned, and its last day (UTC) has not passed."""
        ends = [self._until[key] for key in keys if key in self._until]
        dates = [end for end in ends if end is not None]
        if len(dates) < len(ends):
            return True
        if not dates or (last := max(dates)) < today:
            return False
        self._tell_of_the_end(last, today)
        return True

    def shown(self, keys: Collection[str]) -> str:
        """``keys``, which did not match, for a message: with the last day of those whose pin has lapsed."""
        return ", ".join(f"{key} (pinned until {self._until[key]})" if key in self._until else key for key in keys)

    def _tell_of_the_end(self, last: date, today: date) -> None:
        """Once: the other side still uses a key whose time is nearly up, and is refused from then on."""
        if not self._has_warned and last - today <= ENDS_SOON:
            self._has_warned = True
            logger.warning(
                "%s=: what matches is pinned until %s and refused from the day after: pin the key that comes next",
                self._option,
                last,
            )


def pins_of(certfile: StrPath) -> tuple[str, ...]:
    """The pin of every certificate in a PEM file, in the order of the file.

    Raises ``ConfigurationError`` for a file without one.
    """
    return tuple(map(spki_pin, certificates_in_file(certfile, repr(str(certfile)))))


def spki_pin(certificate: "Certificate") -> str:
    """The pin of a certificate's public key."""
    return pin_of(_spki(certificate.tbs_certificate_bytes, 0))


def certificate_pin(der: bytes) -> str:
    """The same for DER, of a certificate that has been read or verified before: nothing is checked here."""
    return pin_of(_spki(der, span(der, 0)[0]))


def pin_of(spki: bytes) -> str:
    """The pin of a public key given as DER SubjectPublicKeyInfo."""
    return _PREFIX + b64encode(sha256(spki).digest()).decode()


def _spki(der: bytes, tbs_certificate: int) -> bytes:
    """The public key as it stands in the certificate, of which the TBSCertificate begins at that place.

    A key that was decoded and written anew may have got other octets (RSASSA-PSS, compressed points), so another pin
    than everybody else computes; and what OpenSSL has verified, another library may not be able to decode at all.
    """
    return tbs_parts(der, tbs_certificate)[-1]


def _several(pins: str | Pin | Iterable[str | Pin], option: str) -> list[Pin]:
    if isinstance(pins, str | Pin):
        pins = (pins,)
    if not isinstance(pins, Iterable):
        raise ConfigurationError(f'{option}= is "sha256/...", Pin(...), or several of them, got {pins!r}')
    return [pin if isinstance(pin, Pin) else Pin(pin) for pin in pins]


def _is_pin(text: object) -> bool:
    if not (isinstance(text, str) and text.startswith(_PREFIX)):
        return False
    digest = text.removeprefix(_PREFIX)
    try:
        octets = b64decode(digest)
    except ValueError:
        return False
    # Written back: another spelling of the same octets (a stray bit, a blank) would never match.
    return len(octets) == 32 and b64encode(octets).decode() == digest
