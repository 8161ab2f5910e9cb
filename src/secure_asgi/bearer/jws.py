"""One compact JWS against prepared keys (RFC 7515 sections 3.1 and 5.2, RFC 8725 section 3).

The order is cheapest first: nothing is decoded of a token over the size limit, and no payload before its signature
holds, so that junk costs little more than the signature it fails. ``alg`` comes from the caller's
list and must be the key's own; ``jwk``, ``jku``, ``x5u`` and ``x5c`` in a header are not looked at, so a token never
brings its own key. No critical header extension is understood, so every ``crit`` is refused.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ..denial import Reason
from ..errors import TokenError
from .encoding import decode_base64url, parse_header
from .keys import MAX_RSA_BITS, Key, KeySet, named_algorithms

MAX_TOKEN_BYTES = 16 * 1024
"""The most any token may have; access tokens are held to half of it unless told otherwise."""
MAX_HEADER_TEXT = -(-4 * 1024 * 4 // 3)
"""Characters: those of 4 KiB."""
MAX_KID_BYTES = 256
MAX_SIGNATURE_TEXT = -(-MAX_RSA_BITS // 6)
"""Characters: no key makes a longer one."""


def verify_jws(
    token: str | bytes, jwks: Mapping[str, Any] | KeySet, *, algorithms: str | Iterable[str]
) -> tuple[dict[str, Any], bytes]:
    """The header and the payload of a compact JWS whose signature holds.

    ``jwks`` a JWK Set as a ``dict``, or a ``KeySet`` prepared once. ``algorithms`` the ``alg`` values allowed:
    RS, PS and ES 256 to 512, Ed25519, Ed448, EdDSA; or HS 256 to 512, with no others beside them. Raises
    ``TokenError`` (with a ``Reason``) for every token that does not verify, and ``ConfigurationError`` for what is no
    JWK Set or no known algorithm. It does not look at the payload, nor at ``typ``.
    """
    keys = jwks if isinstance(jwks, KeySet) else KeySet(jwks, algorithms=algorithms)
    header, payload = verify(as_bytes(token), keys, MAX_TOKEN_BYTES)
    if keys is jwks and header["alg"] not in named_algorithms(algorithms):
        raise TokenError(Reason.TOKEN_ALGORITHM_REFUSED)
    return dict(header), payload


def as_bytes(token: str | bytes) -> bytes:
    if isinstance(token, bytes):
        return token
    try:
        return token.encode("ascii")
    except UnicodeEncodeError as error:
        raise TokenError(Reason.TOKEN_MALFORMED, "not ASCII") from error


def verify(token: bytes, keys: KeySet, max_bytes: int) -> tuple[dict[str, Any], bytes]:
    """As ``verify_jws``; the header may be shared with other tokens and must not be changed."""
    if len(token) > max_bytes:
        raise TokenError(Reason.TOKEN_TOO_LARGE, f"{len(token)} bytes")
    segments = token.split(b".", 3)
    if len(segments) != 3:
        raise TokenError(Reason.TOKEN_MALFORMED, "not three segments")
    head, body, tail = segments
    known = keys.memo.get(head)
    header, key = known or _resolve(head, keys)
    if len(tail) > MAX_SIGNATURE_TEXT:
        raise TokenError(Reason.TOKEN_SIGNATURE_INVALID, "longer than any")
    try:
        signature = decode_base64url(tail)
    except ValueError as error:
        raise TokenError(Reason.TOKEN_MALFORMED, str(error)) from error
    if not key.verify(token[: -len(tail) - 1], key.material, signature):
        raise TokenError(Reason.TOKEN_SIGNATURE_INVALID)
    try:
        payload = decode_base64url(body)
    except ValueError as error:
        raise TokenError(Reason.TOKEN_MALFORMED, str(error)) from error
    if known is None:
        keys.remember(head, header, key)  # after the signature: junk cannot push the genuine ones out
    return header, payload


def read_header(segment: bytes) -> dict[str, Any]:
    """The JOSE header in a first segment, of a JWE too. Raises ``ValueError``."""
    if len(segment) > MAX_HEADER_TEXT:
        raise ValueError("too long")
    return parse_header(decode_base64url(segment))


def _resolve(segment: bytes, keys: KeySet) -> tuple[dict[str, Any], Key]:
    """The header, and the key it names."""
    try:
        header = read_header(segment)
    except ValueError as error:
        raise TokenError(Reason.TOKEN_MALFORMED, f"header: {error}") from error
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise TokenError(Reason.TOKEN_HEADER_INVALID, "alg is not a string")
    if algorithm not in keys.algorithms:
        raise TokenError(Reason.TOKEN_ALGORITHM_REFUSED)
    if "crit" in header or header.get("b64", True) is not True:
        raise TokenError(Reason.TOKEN_CRITICAL_HEADER)
    if "enc" in header:
        raise TokenError(Reason.TOKEN_HEADER_INVALID, "enc belongs to an encrypted token")
    for name in ("typ", "cty"):
        if not isinstance(header.get(name, ""), str):
            raise TokenError(Reason.TOKEN_HEADER_INVALID, f"{name} is not a string")
    if "kid" in header and (not isinstance(kid, str) or len(kid.encode()) > MAX_KID_BYTES):
        raise TokenError(Reason.TOKEN_HEADER_INVALID, "kid is not a string of at most 256 bytes")
    return header, keys.find(algorithm, kid)
