"""The name of a key outside this process: short whatever the key is, and nothing that can be read back.

Keys are client addresses, accounts, API keys: who can list a storage must not learn them from it.
"""

from collections.abc import Hashable
from hashlib import blake2b

from ..errors import ConfigurationError
from ..secrets import Secret

MIN_SECRET = 16
MAX_SECRET = 64
"""Octets of a secret: at least what cannot be tried out, at most what BLAKE2b takes as its key."""

LENGTH = 32
"""Characters of an identity: 16 octets in hexadecimal."""


def identity(key: Hashable, secret: bytes = b"") -> str:
    """BLAKE2b of the key, 16 octets in hexadecimal; keyed where there is a ``secret`` (at most ``MAX_SECRET`` octets).

    Without one, whoever reads the storage can try all IPv4 addresses until the digest is the same. Text and octets
    never share an identity. Raises ``TypeError`` for a key that is neither, and ``ValueError`` for too long a secret.
    """
    if isinstance(key, str):
        # A lone surrogate is a key like another: it must not turn into an error that a client can choose.
        raw = b"s" + key.encode("utf-8", "surrogatepass")
    elif isinstance(key, bytes):
        raw = b"b" + key
    else:
        raise TypeError(f"a key is text or octets, got {type(key).__name__}")
    return blake2b(raw, digest_size=LENGTH // 2, key=secret).hexdigest()


def read_secret(secret: str | Secret | None) -> bytes:
    """The octets of ``identifier_secret=``; none where none is given. Raises ``ConfigurationError``."""
    text = secret.reveal() if isinstance(secret, Secret) else secret
    if text is None:
        return b""
    if not isinstance(text, str) or not MIN_SECRET <= len(text.encode()) <= MAX_SECRET:
        raise ConfigurationError(
            f"identifier_secret= is a Secret of {MIN_SECRET} to {MAX_SECRET} octets, the same in every process"
        )
    return text.encode()
