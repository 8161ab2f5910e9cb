"""How a key is written: ``<prefix>_<id>_<secret><checksum>``, all in base62 but for the prefix.

The prefix says to people and to secret scanners what this is; the id finds the record and names the key in logs; the
secret has 256 bits. The checksum, a CRC-32 of all before it, proves nothing: it spares the store typos and junk.
"""

import re
import secrets
from zlib import crc32

from ..errors import ConfigurationError

MAX_BYTES = 512
"""Octets of the field that are looked at; a key has at most 99."""
ID_LENGTH = 16
"""95 bits: two ids are never the same, and nobody can try them all."""
SECRET_LENGTH = 43
"""62 ** 43 is more than 2 ** 256 (ASVS 11.5.1 asks for 128 bits)."""

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = tuple((first + second).encode() for first in _BASE62 for second in _BASE62)
_PREFIX = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_MAX_PREFIX = 32
_ID = re.compile(r"[0-9A-Za-z]{16}")
_KEY = re.compile(rb"[a-z][a-z0-9_]{0,31}_([0-9A-Za-z]{16})_[0-9A-Za-z]{43}([0-9A-Za-z]{6})")


def new_text(prefix: str) -> tuple[str, str]:
    """A new key and its id; ``prefix`` as ``checked_prefix`` gives it."""
    key_id = _random(ID_LENGTH)
    body = f"{prefix}_{key_id}_{_random(SECRET_LENGTH)}"
    return body + _checksum(body.encode()).decode(), key_id


def id_of(text: bytes) -> str | None:
    """The id of a key whose form and checksum are right; None for everything else."""
    found = _KEY.fullmatch(text)
    if found is None or _checksum(text[:-6]) != found[2]:
        return None
    return found[1].decode()


def checked_prefix(prefix: object) -> str:
    """Raises ``ConfigurationError`` for what is no prefix."""
    if not isinstance(prefix, str) or len(prefix) > _MAX_PREFIX or not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            f'prefix= is lower-case letters and digits, with single "_" between, such as "shop_live", '
            f"at most {_MAX_PREFIX} characters; got a {type(prefix).__name__} that is not"
        )
    return prefix


def is_id(text: object) -> bool:
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def _random(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))


def _checksum(data: bytes) -> bytes:
    """CRC-32 as six digits in base62: two at a time, from a table."""
    rest, last = divmod(crc32(data), 3844)
    first, middle = divmod(rest, 3844)
    return _PAIRS[first] + _PAIRS[middle] + _PAIRS[last]
