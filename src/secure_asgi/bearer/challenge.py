"""What the client sent in ``Authorization``, and what it is told: RFC 6750 sections 2.1 and 3, RFC 9110 section 11.

The answers are made once. Every bad token gets the same bytes: which check failed is for the audit log alone.
"""

import re
from math import ceil
from typing import Final

from ..denial import Denial, Reason
from ..errors import ConfigurationError

_IS_BEARER = re.compile(rb"bearer(?![!#$%&'*+.^_`|~0-9A-Za-z-])", re.IGNORECASE)
_TOKEN68 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
_QUOTABLE = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")

MALFORMED: Final = b""
"""Credentials of the Bearer scheme that hold no token."""


def is_bearer(credentials: bytes) -> bool:
    """The scheme is Bearer, in any case; at a cost that does not depend on what follows."""
    return _IS_BEARER.match(credentials) is not None


def bearer_token(credentials: bytes) -> bytes | None:
    """The token; ``MALFORMED``; or None where the credentials are of another scheme, which is none of our business.

    The scheme's case does not matter, at least one space follows it, then one token68 and nothing else (BRR-1).
    """
    if not is_bearer(credentials):
        return None
    token = credentials[6:].lstrip(b" ")
    if credentials[6:7] != b" " or token.startswith(b"=") or token.rstrip(b"=").translate(None, _TOKEN68):
        return MALFORMED
    return token


class Challenges:
    """The refusals of one protected service, prepared: ``realm`` names it in each challenge."""

    __slots__ = ("_invalid_token", "ambiguous", "malformed", "missing")

    def __init__(self, realm: str) -> None:
        if not isinstance(realm, str) or not _QUOTABLE.fullmatch(realm):
            raise ConfigurationError(f'realm= is printable ASCII without " and \\, got {realm!r}')
        challenge = f'Bearer realm="{realm}"'.encode("ascii")

        def field(error: str, description: str) -> tuple[tuple[bytes, bytes], ...]:
            more = f', error="{error}", error_description="{description}"'.encode("ascii")
            return ((b"www-authenticate", challenge + more),)

        # BRR-4: a client that sent no token is told how to, and of no error.
        self.missing = Denial(
            Reason.TOKEN_MISSING,
            401,
            "This needs an access token in the Authorization field.",
            headers=((b"www-authenticate", challenge),),
        )
        self.ambiguous = Denial(
            Reason.CREDENTIALS_AMBIGUOUS,
            400,
            "The request has more than one Authorization field.",
            headers=field("invalid_request", "more than one Authorization field"),
        )
        self.malformed = Denial(
            Reason.CREDENTIALS_MALFORMED,
            400,
            "The Authorization field does not hold one bearer token.",
            headers=field("invalid_request", "not one bearer token"),
        )
        self._invalid_token = field("invalid_token", "the access token is not valid here")

    def invalid(self, reason: str, note: str) -> Denial:
        """BRR-6: one answer for every token that does not hold."""
        return Denial(reason, 401, "The access token is not valid here.", headers=self._invalid_token, note=note)


def unavailable(wait: float, note: str) -> Denial:
    """BRR-8: the token was not judged, so it is not called invalid. ``wait`` in seconds."""
    return Denial(
        Reason.KEYS_UNAVAILABLE,
        503,
        "Access tokens cannot be checked at the moment. Try again later.",
        headers=((b"retry-after", b"%d" % max(1, ceil(wait))),),
        note=note,
    )
