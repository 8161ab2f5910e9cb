"""A verified certification path (RFC 5280 section 6)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


@dataclass(frozen=True, slots=True)
class VerifiedPath:
    """``certificates`` leaf first, trust anchor last; valid from ``not_before`` to ``not_after``, unix seconds."""

    certificates: "tuple[Certificate, ...]"
    not_before: float
    not_after: float
