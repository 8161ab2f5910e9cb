"""What a key is called outside this process: short, and of no use to who reads the storage."""

from collections.abc import Hashable
from hashlib import blake2b


def identity(key: Hashable, secret: bytes) -> str:
    """The same for the same key and secret, in every process. Text and octets are never mistaken for each other.

    With a ``secret`` nobody without it can try out who a name stands for. Raises ``TypeError`` for another kind of key.
    """
    if isinstance(key, str):
        content = b"s" + key.encode("utf-8", "surrogatepass")
    elif isinstance(key, bytes):
        content = b"b" + key
    else:
        raise TypeError(f"a key is text or octets, got {type(key).__name__}")
    if len(secret) > blake2b.MAX_KEY_SIZE:
        secret = blake2b(secret).digest()
    return blake2b(content, digest_size=16, key=secret).hexdigest()
