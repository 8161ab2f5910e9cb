"""API keys, for clients without OAuth: a key in, a principal out.

The story, file by file: ``text`` (how a key is written, and what cannot be one) → ``records`` (what is kept of it, how
it is made and rotated) → ``stores`` (where records live: memory, a file) and ``redis_store`` → ``middleware``.
"""

from .middleware import APIKeyMiddleware
from .records import KeyRecord, NewKey, create_key, rotate
from .redis_store import RedisKeys
from .stores import FileKeys, KeysUnavailableError, MemoryKeys

__all__ = [
    "APIKeyMiddleware",
    "FileKeys",
    "KeyRecord",
    "KeysUnavailableError",
    "MemoryKeys",
    "NewKey",
    "RedisKeys",
    "create_key",
    "rotate",
]
