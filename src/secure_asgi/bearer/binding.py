"""Tokens bound to a client certificate (RFC 8705 section 3): of no use to a thief who does not have its key.

``cnf`` says what a token is bound to (RFC 7800). One kind is verified here; a token with any other is refused, because
whoever passes over a binding makes it a bearer token again, without anybody noticing.
"""

from collections.abc import Mapping
from hmac import compare_digest
from typing import Any

from ..denial import Reason
from ..errors import TokenError
from .encoding import decode_base64url

_THUMBPRINT = "x5t#S256"
_DIGEST_SIZE = 32
"""Octets of a SHA-256."""


def bound_certificate(claims: Mapping[str, Any]) -> str | None:
    """The thumbprint of the certificate that a token is bound to, None for one that is bound to nothing.

    Raises ``TokenError(TOKEN_BINDING_UNVERIFIED)`` for every other binding: another method, one more beside this, a
    thumbprint that is not the base64url of 32 octets.
    """
    if "cnf" not in claims:
        return None
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or list(confirmation) != [_THUMBPRINT]:
        raise TokenError(Reason.TOKEN_BINDING_UNVERIFIED, f"cnf is not {_THUMBPRINT} and nothing else")
    thumbprint: str = confirmation[_THUMBPRINT]
    if not is_thumbprint(thumbprint):
        raise TokenError(Reason.TOKEN_BINDING_UNVERIFIED, f"{_THUMBPRINT} is not the base64url of a SHA-256")
    return thumbprint


def check_certificate(bound_to: str, shown: str | None) -> None:
    """The client has shown the certificate of that thumbprint (TOK-2, TOK-4), or ``TOKEN_BINDING_MISMATCH`` is raised.

    ``shown`` is the thumbprint of the one that the TLS handshake, or a proxy that is believed, has seen; None for none.
    """
    if shown is None:
        raise TokenError(Reason.TOKEN_BINDING_MISMATCH, "bound to a client certificate, and none was shown")
    if not compare_digest(bound_to.encode(), shown.encode()):
        raise TokenError(Reason.TOKEN_BINDING_MISMATCH, f"bound to certificate {bound_to}, and {shown} was shown")


def is_thumbprint(text: object) -> bool:
    """The base64url of a SHA-256, without padding: neither hex, nor base64, nor of SHA-1."""
    if not isinstance(text, str):
        return False
    try:
        return len(decode_base64url(text.encode())) == _DIGEST_SIZE
    except ValueError:
        return False
