"""Tokens bound to a key of the client's: of no use to a thief who does not have it.

``cnf`` says what a token is bound to (RFC 7800). Two kinds are verified here: the client's TLS certificate (RFC 8705
section 3) and the key of its DPoP proofs (RFC 9449 section 6). A token with any other is refused, because whoever
passes over a binding makes it a bearer token again, without anybody noticing.
"""

from collections.abc import Mapping
from hmac import compare_digest
from typing import Any, NamedTuple

from ..denial import Reason
from ..errors import TokenError
from .encoding import decode_base64url

_CERTIFICATE = "x5t#S256"
_KEY = "jkt"
_DIGEST_SIZE = 32
"""Octets of a SHA-256."""


class Binding(NamedTuple):
    """Thumbprints of what a token is bound to: a client certificate, the key of DPoP proofs, or both of them."""

    certificate: str | None
    key: str | None


def binding_of(claims: Mapping[str, Any]) -> Binding | None:
    """What a token is bound to, None for one that is bound to nothing.

    Raises ``TokenError(TOKEN_BINDING_UNVERIFIED)`` for a method that is not verified here, also beside one that is, and
    for a thumbprint that is not the base64url of 32 octets.
    """
    if "cnf" not in claims:
        return None
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or not confirmation:
        raise TokenError(Reason.TOKEN_BINDING_UNVERIFIED, "cnf names nothing")
    for method, thumbprint in confirmation.items():
        if method not in (_CERTIFICATE, _KEY):
            raise TokenError(Reason.TOKEN_BINDING_UNVERIFIED, f"cnf with {method[:32]!a}")
        if not is_thumbprint(thumbprint):
            raise TokenError(Reason.TOKEN_BINDING_UNVERIFIED, f"{method} is not the base64url of a SHA-256")
    return Binding(confirmation.get(_CERTIFICATE), confirmation.get(_KEY))


def bound_certificate(claims: Mapping[str, Any]) -> str | None:
    """The thumbprint of the certificate that a token is bound to, where no DPoP proof can be looked at.

    Raises as ``binding_of``, and for a token that is bound to the key of DPoP proofs.
    """
    binding = binding_of(claims)
    if binding is None:
        return None
    if binding.key is not None:
        raise TokenError(Reason.TOKEN_BINDING_UNVERIFIED, "bound to a DPoP key, and no proof is looked at")
    return binding.certificate


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
