"""What a user needs to test an application that is protected by this library."""

from .audit import recorded_audit
from .certificates import issue_certificate
from .dpop import DPoPKey
from .tokens import TokenFactory

__all__ = ["DPoPKey", "TokenFactory", "issue_certificate", "recorded_audit"]
