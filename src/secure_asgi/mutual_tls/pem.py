"""PEM certificates as requests bring them, read strictly (RFC 7468 section 2): white space between, nothing else."""

from base64 import b64decode
from collections.abc import Iterator

_HEAD = b"-----BEGIN CERTIFICATE-----"
_FOOT = b"-----END CERTIFICATE-----"


def certificates(text: bytes) -> Iterator[bytes]:
    """The DER of each, one at least. Raises ``ValueError`` when it comes to what is none."""
    before, *blocks = text.split(_HEAD)
    if before.strip() or not blocks:
        raise ValueError("not PEM")
    for block in blocks:
        content, foot, after = block.partition(_FOOT)
        if not foot or after.strip():
            raise ValueError("not PEM")
        yield b64decode(b"".join(content.split()), validate=True)
