"""Envoy's ``x-forwarded-client-cert`` (XFCC), as text and as JSON.

Envoy writes the names of a certificate into the text without quoting them, so whoever chooses a name can go on writing
after it: more pairs, and, after a comma, more elements. Hence: exactly one element, no key twice of those that matter,
and of it only the certificate, whose hash Envoy wrote *before* anything the client can choose. The names are then
read from the certificate itself. Only ``forward_client_cert_details: SANITIZE_SET`` sends one element.
"""

import json
import re
from hashlib import sha256
from typing import Any

from .encodings import Certificates, escaped_pem, escaped_pems, few, pem

MAX_PAIRS = 512
"""Pairs of an element: one for each alternative name, and a few more."""

# A quoted value, in which a backslash takes the next character along, or one without any character of the grammar.
_PAIR = re.compile(rb'([A-Za-z]+)=(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"|([^",;]*+))(;|\Z)', re.DOTALL)

_SINGLE = frozenset((b"hash", b"cert", b"chain", b"subject"))
_REPEATABLE = frozenset((b"by", b"uri", b"dns"))


def xfcc_text(value: bytes) -> Certificates:
    """The certificate, then the rest of its chain. Raises ``ValueError`` or ``KeyError`` for all but one element."""
    found = _pairs(value)
    leaf = _vouched(escaped_pem(found[b"cert"]), found[b"hash"].decode("ascii"))
    return _with_chain(leaf, escaped_pems(found[b"chain"]) if b"chain" in found else ())


def xfcc_json(value: bytes) -> Certificates:
    """The same of Envoy's JSON format: a list of one object, in which no name can end a value."""
    (element,) = json.loads(value.decode("utf-8"), object_pairs_hook=_object)
    leaf = _vouched(pem(element["cert"].encode("ascii")), element["hash"])
    return _with_chain(leaf, few(pem(one.encode("ascii"))[0] for one in element.get("chain", ())))


def _pairs(value: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    at = 0
    for _ in range(MAX_PAIRS):
        pair = _PAIR.match(value, at)
        if pair is None:
            raise ValueError("not exactly one element of pairs")
        key = pair[1].lower()
        if key in _SINGLE:
            if key in found:
                raise ValueError("a key twice")
            found[key] = pair[3] if pair[2] is None else pair[2]
        elif key not in _REPEATABLE:
            raise ValueError("an unknown key")
        at = pair.end()
        if not pair[4]:
            return found
    raise ValueError("too many pairs")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _vouched(leaf: Certificates, hash_: str) -> bytes:
    (der,) = leaf
    if sha256(der).hexdigest() != hash_.lower():
        raise ValueError("the hash is not that of the certificate")
    return der


def _with_chain(leaf: bytes, chain: Certificates) -> Certificates:
    """Envoy's chain begins with the leaf."""
    return (leaf, *chain[1:]) if chain[:1] == (leaf,) else (leaf, *chain)
