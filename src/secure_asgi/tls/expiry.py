"""How long certificates last, and who is told before they end."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from .._files import StrPath
from .._pem import certificates_in_file

logger = logging.getLogger("secure_asgi")

ALARM_DAYS = (30, 14, 7, 0)
"""Days before the end at which an alarm is raised, once each; 0 is a certificate that has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateExpiry:
    """One certificate of a file, and what is left of it.

    ``subject`` is RFC 4514 text, ``sha256`` that of the DER in lower-case hex; ``not_before`` and ``not_after`` are
    aware, UTC; ``remaining`` is the time until ``not_after`` from the moment that was asked about, negative once it
    has passed; ``file`` is where it is.
    """

    subject: str
    sha256: str
    not_before: datetime
    not_after: datetime
    remaining: timedelta
    file: str


OnExpiry = Callable[[CertificateExpiry], object]


class Alarms:
    """Rung once for each certificate and number of days, in the log and to ``hook``, which may raise unheard.

    Except in the first third of a certificate's life: thirty days' notice of thirty days is none.
    """

    def __init__(self, hook: OnExpiry | None) -> None:
        self._hook = hook
        self._rung: dict[str, int] = {}

    def ring(self, certificates: Sequence[CertificateExpiry], now: datetime) -> None:
        """For those of ``certificates``, all that there are, whose time has come."""
        due = {one.sha256: (days, one) for one in certificates if (days := _alarm(one, now)) is not None}
        # Before anybody is told, as who is told may ask again. What is not there any more is forgotten.
        rung, self._rung = self._rung, {digest: days for digest, (days, _) in due.items()}
        for digest, (days, one) in due.items():
            if days != rung.get(digest):
                self._tell(replace(one, remaining=one.not_after - now))

    def _tell(self, one: CertificateExpiry) -> None:
        if one.remaining > timedelta(0):
            logger.warning("certificate expires in %s: %s", _days(one.remaining), _describe(one))
        else:
            logger.error("certificate has expired: %s", _describe(one))
        if self._hook is None:
            return
        try:
            self._hook(one)
        except Exception:
            logger.exception("on_expiry= raised")


def certificates_in(file: StrPath, *, at: datetime | None = None) -> tuple[CertificateExpiry, ...]:
    """Every certificate of a PEM file, in its order; keys and revocation lists in it are passed over.

    ``at`` is the moment to count from, aware, by default now. Raises ``ConfigurationError`` for a file that cannot be
    read or holds no certificate. Nothing is verified.
    """
    from cryptography.hazmat.primitives.serialization import (
        Encoding,  # only here: a server that never asks does not load it
    )

    moment = at or datetime.now(UTC)
    return tuple(
        CertificateExpiry(
            subject=one.subject.rfc4514_string(),
            sha256=sha256(one.public_bytes(Encoding.DER)).hexdigest(),
            not_before=one.not_valid_before_utc,
            not_after=one.not_valid_after_utc,
            remaining=one.not_valid_after_utc - moment,
            file=str(file),
        )
        for one in certificates_in_file(file, repr(str(file)))
    )


def expires_in(certfile: StrPath, *, at: datetime | None = None) -> timedelta:
    """How long until the first of the certificates in ``certfile`` (PEM) expires; negative once one has.

    ``at`` is the moment to count from, aware, by default now. Raises ``ConfigurationError`` for a file without one.
    """
    return min(one.remaining for one in certificates_in(certfile, at=at))


def _alarm(one: CertificateExpiry, now: datetime) -> int | None:
    """The last of the alarms whose time has come."""
    left, lifetime = one.not_after - now, one.not_after - one.not_before
    return min((days for days in ALARM_DAYS if left <= timedelta(days=days) <= lifetime * 2 / 3), default=None)


def _days(remaining: timedelta) -> str:
    return f"{remaining.days} days" if remaining.days > 1 else f"{remaining.total_seconds() / 3600:.1f} hours"


def _describe(one: CertificateExpiry) -> str:
    return f"{one.subject} in {one.file!r}, {one.not_after:%Y-%m-%d %H:%M} UTC, sha256 {one.sha256}"
