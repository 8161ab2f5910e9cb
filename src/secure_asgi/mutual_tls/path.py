"""Interim."""

from dataclasses import dataclass

from cryptography.x509 import Certificate


@dataclass(frozen=True, slots=True)
class VerifiedPath:
    certificates: tuple[Certificate, ...]
    not_before: float
    not_after: float
