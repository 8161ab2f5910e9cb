"""How long certificates last, and who is told before they end."""

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from ..errors import ConfigurationError

logger = logging.getLogger("secure_asgi")

StrPath = str | os.PathLike[str]

ALARM_DAYS = (30, 14, 7, 0)
"""Days before the end at which an alarm is raised, once each; 0 is a certificate that has ended."""


@dataclass(frozen=True, slots=True)
class CertificateExpiry:
    """One certificate of a file, and what is left of it.

    ``subject`` is RFC 4514 text, ``sha256`` that of the DER in lower-case hex, ``not_after`` aware, UTC, and
    ``remaining`` the time until then from the moment that was asked about, negative once it has passed.
    """

    subject: str
    sha256: str
    not_after: datetime
    remaining: timedelta
    file: str

    def as_of(self, at: datetime) -> "CertificateExpiry":
        return CertificateExpiry(self.subject, self.sha256, self.not_after, self.not_after - at, self.file)


def certificates_in(file: StrPath, *, at: datetime | None = None) -> tuple[CertificateExpiry, ...]:
    """Every certificate of a PEM file, in its order; keys and revocation lists in it are passed over.

    ``at`` is the moment to count from, aware, by default now. Raises ``ConfigurationError`` for a file that cannot be
    read or holds no certificate. Nothing is verified.
    """
    from cryptography import x509  # only here: a server that never asks does not load it
    from cryptography.hazmat.primitives.serialization import Encoding

    moment = at or datetime.now(UTC)
    try:
        certificates = x509.load_pem_x509_certificates(Path(file).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{str(file)!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{str(file)!r} holds no readable PEM certificate") from error
    return tuple(
        CertificateExpiry(
            one.subject.rfc4514_string(),
            sha256(one.public_bytes(Encoding.DER)).hexdigest(),
            one.not_valid_after_utc,
            one.not_valid_after_utc - moment,
            str(file),
        )
        for one in certificates
    )


def expires_in(certfile: StrPath, *, at: datetime | None = None) -> timedelta:
    """How long until the first of the certificates in ``certfile`` (PEM) expires; negative once one has.

    ``at`` is the moment to count from, aware, by default now. Raises ``ConfigurationError`` for a file without one.
    """
    return min(one.remaining for one in certificates_in(certfile, at=at))
