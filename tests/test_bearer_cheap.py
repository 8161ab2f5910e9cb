"""What a stranger's token may cost, and ECDSA signatures: forms refused before there is anything to pay for."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from secure_asgi import TokenError
from secure_asgi.bearer import jws, keys, verify_jws
from secure_asgi.bearer.ecdsa import ORDERS, ecdsa_verifier
from secure_asgi.bearer.encoding import parse_header, parse_object
from secure_asgi.bearer.keys import KeySet
from secure_asgi.testing import TokenFactory

CURVES = {"P-256": (ec.SECP256R1(), SHA256()), "P-384": (ec.SECP384R1(), SHA384()), "P-521": (ec.SECP521R1(), SHA512())}


def numbers(curve, r, s):
    size = len(ORDERS[curve])
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


@pytest.mark.parametrize("curve", CURVES)
def test_the_orders_of_the_curves(curve):
    """Order - 1 times the base point is its mirror image: the same x."""
    order = int.from_bytes(ORDERS[curve], "big")
    one, last = (ec.derive_private_key(n, CURVES[curve][0]).public_key().public_numbers() for n in (1, order - 1))
    assert one.x == last.x
    assert one.y != last.y


class Caught:
    """A key that takes every signature, and keeps it."""

    def verify(self, signature, signed, algorithm):
        self.signature = signature


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("small", [1, 0x7F, 0x80, 0xFF, 0x100, 2**255 - 1])
def test_the_der_of_r_and_s(curve, small):
    """As ``cryptography`` writes it: the fewest octets, the first bit clear, the long form of a length."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    largest, caught = int.from_bytes(ORDERS[curve], "big") - 1, Caught()
    verify = ecdsa_verifier(curve, CURVES[curve][1])
    for r, s in ((small, largest), (largest, small), (largest, largest), (small, small)):
        assert verify(b"", caught, numbers(curve, r, s))
        assert caught.signature == encode_dss_signature(r, s)


@pytest.mark.parametrize("curve", CURVES)
def test_r_and_s_out_of_range_are_not_even_tried(curve):
    """JWT-6, CVE-2022-21449."""
    order = int.from_bytes(ORDERS[curve], "big")
    verify = ecdsa_verifier(curve, CURVES[curve][1])
    good = numbers(curve, 1, 1)
    bad = [numbers(curve, *pair) for pair in ((0, 1), (1, 0), (order, 1), (1, order), (order + 1, 1), (1, order + 1))]
    caught = Caught()
    for signature in (*bad, good[1:], good + b"\0", b"\0" + good, b""):
        assert not verify(b"", caught, signature)
    assert not hasattr(caught, "signature")


@pytest.mark.parametrize("curve", CURVES)
def test_signatures_hold_for_what_was_signed(curve):
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    kind, digest = CURVES[curve]
    private, verify = ec.generate_private_key(kind), ecdsa_verifier(curve, digest)
    signature = numbers(curve, *decode_dss_signature(private.sign(b"text", ec.ECDSA(digest))))
    assert verify(b"text", private.public_key(), signature)
    assert not verify(b"Text", private.public_key(), signature)


def header(value):
    return b'{"alg":"ES256","x":%s}' % value


@pytest.mark.parametrize(
    "text",
    [
        header(b"[" + b",".join([b"{}"] * 9) + b"]"),
        header(b"[" + b",".join([b"1"] * 65) + b"]"),
        header(b'"' + rb"\u00e9" * 65 + b'"'),
        header(b"1" * 21),
        header(b"0." + b"1" * 19),
        header(b"1e999"),
        header(b"NaN"),
        b"",
    ],
    ids=["objects", "values", "escapes", "long integer", "long fraction", "out of range", "no number", "nothing"],
)
def test_headers_that_are_slow_to_parse(text):
    """JWT-3: within 4 kB, and refused."""
    with pytest.raises(ValueError):
        parse_header(text)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (b"[" + b",".join([b"{}"] * 7) + b"]", [{}] * 7),
        (b"[" + b",".join([b"1"] * 63) + b"]", [1] * 63),
        (rb'"\u00e9"', "\u00e9"),
        (b"1" * 20, int("1" * 20)),
        (b"0.5", 0.5),
    ],
    ids=["objects", "values", "an escape", "integer", "fraction"],
)
def test_headers_within_the_limits(value, read):
    assert parse_header(header(value))["x"] == read


def test_claims_have_no_such_limit():
    """They are parsed once the signature holds."""
    assert len(parse_object(b'{"roles":[' + b",".join([b"{}"] * 100) + b"]}")["roles"]) == 100


def test_claims_nested_deeper_than_python_goes():
    with pytest.raises(ValueError):
        parse_object(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


TOKENS = TokenFactory()
KEYS = KeySet(TOKENS.jwks, algorithms="ES256")


def refused(token):
    with pytest.raises(TokenError) as caught:
        verify_jws(token, KEYS, algorithms="ES256")
    return caught.value.reason


def test_a_payload_is_decoded_once_its_signature_holds(monkeypatch):
    decoded = []

    def decode(text):
        decoded.append(text)
        return decode_base64url(text)

    decode_base64url = jws.decode_base64url
    monkeypatch.setattr(jws, "decode_base64url", decode)
    head, body, tail = TOKENS.token().encode().split(b".")
    verify_jws(b".".join((head, body, tail)), KEYS, algorithms="ES256")
    assert body in decoded
    decoded.clear()
    assert refused(b".".join((head, body[:-4] + b"AAAA", tail))) == "token_signature_invalid"
    assert refused(b".".join((head, body[:-4] + b"AA+A", tail))) == "token_signature_invalid"
    assert decoded == [tail, tail]


def test_a_signed_payload_that_is_no_base64url():
    key = TOKENS._keys[-1]
    signed = TOKENS.token().encode().split(b".")[0] + b".A"
    signature = base64.urlsafe_b64encode(key._signer.sign(signed, key._private)).rstrip(b"=")
    assert refused(signed + b"." + signature) == "token_malformed"


def test_a_signature_longer_than_any(monkeypatch):
    """Neither decoded nor tried with a key."""
    head, body, _ = TOKENS.token().encode().split(b".")
    monkeypatch.setattr(jws, "decode_base64url", lambda text: pytest.fail("decoded") if len(text) > 2800 else b"")
    KEYS.memo[head] = ({"alg": "ES256"}, keys.Key(None, "ES256", lambda signed, material, tail: tail != b"", None))
    try:
        assert refused(b".".join((head, body, b"A" * 2800))) == "token_signature_invalid"
    finally:
        KEYS.memo.clear()


@pytest.mark.parametrize(("size", "reason"), [(4096, "token_key_unknown"), (4097, "token_malformed")])
def test_the_largest_header(size, reason):
    """JWT-3."""
    text = json.dumps({"alg": "ES256", "kid": "x", "y": ""})
    text = text[:-2] + "y" * (size - len(text)) + '"}'
    head = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    assert refused(f"{head}.e30.AA") == reason
