"""What this library raises.

::

    SecureASGIError
    ├── ConfigurationError     an option is wrong; the sentence says the fix
    └── RejectedError          an input is refused; carries the stable reason code
        ├── TokenError         a token
        ├── CertificateError   a certificate
        └── ForwardedError     a forwarding header

``RejectedError`` and its children are raised by the pure functions behind the middlewares only. The middlewares
themselves answer: a refusal there is a value (``Denial``), never an exception.
"""


class SecureASGIError(Exception):
    """Base of everything raised here on purpose."""


class ConfigurationError(SecureASGIError, ValueError):
    """An option is wrong. The message is one sentence that says what to write instead."""


class RejectedError(SecureASGIError):
    """An input from outside is refused.

    ``reason`` is a stable code (a member of ``Reason``); ``note`` is for the audit log only
    and must not be shown to whoever sent the input.
    """

    def __init__(self, reason: str, note: str = "") -> None:
        super().__init__(f"{reason}: {note}" if note else str(reason))
        self.reason = reason
        self.note = note


class TokenError(RejectedError):
    """A token is malformed, not ours, or no longer valid."""


class CertificateError(RejectedError):
    """A certificate is malformed, not trusted, or not allowed here."""


class ForwardedError(RejectedError):
    """A forwarding header cannot be believed."""
