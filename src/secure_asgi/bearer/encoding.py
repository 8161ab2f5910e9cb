"""Strict decoding of what a token is made of: base64url (RFC 7515 section 2) and JSON objects (RFC 8259).

One text has one encoding here: no padding, no stray bits, no member twice. Two spellings of one token would be two
tokens to whoever revokes, counts or caches them.
"""

import json
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 8
"""Levels of objects and arrays in a header or a set of claims."""
_Scan = Callable[[str, int], tuple[Any, int]]

MAX_HEADER_VALUES = 64
"""Commas, arrays and escapes in a header, together; ``MAX_DEPTH`` objects."""
MAX_HEADER_NUMBER = 20
"""Characters of a number in a header."""


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
    return _parse(text, _scan)


def parse_header(text: bytes) -> dict[str, Any]:
    """As ``parse_object``, for what nobody has signed: what is slow to parse is refused before it is parsed.

    Thirteen hundred empty objects fit into 4 kB, and cost as much as twenty signatures.
    """
    if len(text) - len(text.translate(None, b",[\\")) > MAX_HEADER_VALUES or text.count(b"{") > MAX_DEPTH:
        raise ValueError("too many values")
    return _parse(text, _scan_header)


def _parse(text: bytes, scan: _Scan) -> dict[str, Any]:
    document = text.decode().strip(" \t\r\n")
    try:
        value, end = scan(document, 0)
    except StopIteration as error:
        raise ValueError("not JSON") from error
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if type(value) is not dict or end != len(document):
        raise ValueError("not one JSON object")
    # Each level opens with a bracket: with no more brackets than levels there is nothing to walk through.
    if len(text) - len(text.translate(None, b"{[")) > MAX_DEPTH and not _is_shallow(value, MAX_DEPTH):
        raise ValueError("nested too deep")
    if b"\\u" in text:
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


def _short_integer(text: str) -> int:
    if len(text) > MAX_HEADER_NUMBER:
        raise ValueError("a number too long")
    return int(text)


def _short_fraction(text: str) -> float:
    if len(text) > MAX_HEADER_NUMBER:
        raise ValueError("a number too long")
    return _finite(text)


def _scanner(parse_float: Callable[[str], float], parse_int: Callable[[str], int]) -> _Scan:
    """What ``json`` parses with. Not its ``loads``, which spends as long again on looking for white space."""
    decoder = json.JSONDecoder(
        object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=parse_float, parse_int=parse_int
    )
    # Documented nowhere but in json.decoder itself, which calls it: the type stubs leave it out.
    scan: _Scan = decoder.scan_once  # type: ignore[attr-defined]
    return scan


_scan = _scanner(_finite, int)
_scan_header = _scanner(_short_fraction, _short_integer)


def _is_shallow(value: Any, levels: int) -> bool:
    if type(value) is dict:
        return levels > 0 and all(_is_shallow(member, levels - 1) for member in value.values())
    if type(value) is list:
        return levels > 0 and all(_is_shallow(element, levels - 1) for element in value)
    return True
