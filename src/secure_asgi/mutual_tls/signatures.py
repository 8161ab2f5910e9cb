"""What ``cryptography`` leaves to us of revocation lists and OCSP answers: whether somebody has signed them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

STRONG_HASHES = frozenset(("sha256", "sha384", "sha512"))
"""CERT-5: SHA-1 proves nothing any more."""


def is_signed_by(
    key: "CertificatePublicKeyTypes", signature: bytes, signed: bytes, hash_algorithm: Any, padding: Any
) -> bool:
    """``signed`` was signed with ``key``: RSA (with ``padding``), ECDSA, Ed25519 or Ed448; all others are refused.

    ``hash_algorithm`` is ``Prehashed`` where ``signed`` is a digest already, and None with the Edwards curves.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding, hash_algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(hash_algorithm))
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey) and hash_algorithm is None:
            key.verify(signature, signed)
        else:
            return False
    except Exception:
        # InvalidSignature, and TypeError, ValueError, UnsupportedAlgorithm where key and algorithm do not go together.
        return False
    return True
