"""Strict decoding of what a token is made of: base64url (RFC 7515 section 2) and JSON objects (RFC 8259).

One text has one encoding here: no padding, no stray bits, no member twice. Two spellings of one token would be two
tokens to whoever revokes, counts or caches them.
"""

import json
from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Any

MAX_DEPTH = 8
"""Levels of objects and arrays in a header or a set of claims."""


def decode_base64url(text: bytes) -> bytes:
    """The octets, or ``ValueError``: foreign characters, padding, an impossible length, bits set after the end."""
    beyond = len(text) & 3
    if beyond and text[-1] not in _LAST[beyond]:  # nothing is in _LAST[1]: no octet has so short a text
        raise ValueError("not canonical base64url")
    try:
        return a2b_base64(text.translate(_TO_BASE64) + _PADDING[beyond], strict_mode=True)
    except Base64Error as error:
        raise ValueError("not base64url") from error


_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_PADDING = (b"", b"", b"==", b"=")
_LAST = (b"", b"", _ALPHABET[::16], _ALPHABET[::4])
"""Last characters whose bits beyond the last whole octet are zero, which strict_mode does not check."""


def _base64_table() -> bytes:
    """Base64url to base64 by ``bytes.translate``, and every other octet, ``=`` too, to one the decoder refuses."""
    table = bytearray(b"!" * 256)
    for octet in _ALPHABET:
        table[octet] = octet
    table[ord("-")], table[ord("_")] = b"+/"
    return bytes(table)


_TO_BASE64 = _base64_table()


def parse_object(text: bytes) -> dict[str, Any]:
    """A JSON object, or ``ValueError``.

    UTF-8 without a byte order mark; no member name twice at any level, no NaN or infinity (``1e999`` is one), no lone
    surrogate, at most ``MAX_DEPTH`` levels. Python's own parser accepts all of these.
    """
    document = text.decode("utf-8").strip(" \t\r\n")
    try:
        value, end = _decode(document)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if type(value) is not dict or end != len(document):
        raise ValueError("not one JSON object")
    # Each level opens with a bracket: with no more brackets than levels there is nothing to walk through.
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH and not _is_shallow(value, MAX_DEPTH):
        raise ValueError("nested too deep")
    if b"\\" in text:
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # UnicodeEncodeError, a ValueError, for half a pair
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0.0:
        raise ValueError("a number out of range")
    return number


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant).raw_decode
"""Not ``decode``, which spends as long again on looking for white space."""


def _is_shallow(value: Any, levels: int) -> bool:
    if type(value) is dict:
        return levels > 0 and all(_is_shallow(member, levels - 1) for member in value.values())
    if type(value) is list:
        return levels > 0 and all(_is_shallow(element, levels - 1) for element in value)
    return True
