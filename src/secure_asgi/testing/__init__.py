"""What tests of an application that uses this library need: tokens without an issuer."""

from .tokens import TokenFactory

__all__ = ["TokenFactory"]
