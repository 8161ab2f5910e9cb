"""How certificates are written into request fields. All decoders are strict, and none knows which proxy wrote.

Each takes a field's value and gives DER, leaf first where there are several. What is not exactly such a value raises
``ValueError``; the caller bounds its size before. RFC 9440 section 2, RFC 4648 section 4, RFC 7468 section 2.
"""

import re
from base64 import b64decode
from collections.abc import Iterable
from itertools import islice
from string import ascii_letters, digits
from typing import Any
from urllib.parse import unquote_to_bytes

from ..._der import span
from ..certificate import MAX_CERTIFICATES
from ..pem import certificates

Certificates = tuple[bytes, ...]

MAX_PUNCTUATION = 512
"""Characters of a structured field that are not base64; a chain of ten certificates has forty."""

_BASE64_ALPHABET = (ascii_letters + digits + "+/=").encode()

_ESCAPED = re.compile(rb"[A-Za-z0-9+/=._~-]*+(?:%[0-9A-Fa-f]{2}[A-Za-z0-9+/=._~-]*+)*+")

_DER_SEQUENCE = 0x30
_INDEFINITE = 0x80
"""A length of BER that DER does not know."""


def structured_item(value: bytes) -> Certificates:
    """``Client-Cert``: one byte sequence, ``:MIIB...:`` (RFC 9440 section 2.2); parameters are ignored."""
    return (_byte_sequence(_structured(value, "item")),)


def structured_list(value: bytes) -> Certificates:
    """``Client-Cert-Chain``: a list of byte sequences (RFC 9440 section 2.3)."""
    return few(map(_byte_sequence, _structured(value, "list")))


def base64_der(value: bytes) -> Certificates:
    """base64 of DER, nothing around it."""
    return (_base64(value),)


def base64_ders(value: bytes) -> Certificates:
    """base64 of DER, several joined by commas, as Traefik 3 does."""
    return few(map(_base64, value.split(b",")))


def escaped_base64_ders(value: bytes) -> Certificates:
    """The same with each percent-encoded, as Traefik 1 and 2 do."""
    return few(_base64(unescaped(one)) for one in value.split(b","))


def base64_concatenated(value: bytes) -> Certificates:
    """base64 of several DER certificates one after the other, as HAProxy writes a chain."""
    return few(_sequences(_base64(value)))


def pem(value: bytes) -> Certificates:
    """One PEM certificate. Blanks may stand for its line feeds, as Apache has it."""
    (certificate,) = pems(value)
    return (certificate,)


def escaped_pem(value: bytes) -> Certificates:
    """One PEM certificate, percent-encoded. ``+`` is itself: this is no HTML form."""
    return pem(unescaped(value))


def escaped_pems(value: bytes) -> Certificates:
    """Several of them, percent-encoded."""
    return pems(unescaped(value))


def pems(text: bytes) -> Certificates:
    """PEM certificates, white space between them and nothing else."""
    return few(certificates(text))


def unescaped(value: bytes) -> bytes:
    """Percent-decoded. What is neither unreserved (RFC 3986 section 2.3), nor of base64, nor an escape, is refused."""
    if not _ESCAPED.fullmatch(value):
        raise ValueError("not percent-encoded")
    return unquote_to_bytes(value)


def few(all_: Iterable[bytes]) -> Certificates:
    """All of them, unless there are more than are ever read."""
    kept = tuple(islice(all_, MAX_CERTIFICATES + 1))
    if len(kept) > MAX_CERTIFICATES:
        raise ValueError(f"more than {MAX_CERTIFICATES} certificates")
    return kept


def _structured(value: bytes, kind: str) -> Any:
    """By the letter of RFC 9651 section 4.2."""
    # The parser goes from item to item in Python: 64 KiB of commas would hold up everybody else for 50 ms.
    if len(value.translate(None, _BASE64_ALPHABET)) > MAX_PUNCTUATION:
        raise ValueError("too many parts")
    from http_sf import parse  # only here: whoever reads no RFC 9440 does not load it

    return parse(value, tltype=kind)


def _byte_sequence(member: object) -> bytes:
    match member:
        case (bytes(content), dict()):
            return content
    raise ValueError("not a byte sequence")


def _base64(value: bytes) -> bytes:
    return b64decode(value, validate=True)


def _sequences(data: bytes) -> Iterable[bytes]:
    """The DER sequences of which ``data`` consists; what is in them is left to the parser of certificates."""
    while data:
        end = _end_of_sequence(data)
        yield data[:end]
        data = data[end:]


def _end_of_sequence(data: bytes) -> int:
    if len(data) < 2 or data[0] != _DER_SEQUENCE or data[1] == _INDEFINITE:
        raise ValueError("not a sequence of DER certificates")
    end = span(data, 0)[1]
    if end > len(data):
        raise ValueError("a DER certificate that is cut off")
    return end
