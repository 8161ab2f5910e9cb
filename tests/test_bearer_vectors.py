"""Public test vectors of RFC 7515, 7520, 7797 and 8037, read from beside the project."""

import json
import os
from pathlib import Path

import pytest

from secure_asgi import TokenError
from secure_asgi.bearer import verify_jws

VECTORS = Path(os.environ.get("SECURE_ASGI_VECTORS") or Path(__file__).parents[2] / "shared" / "vectors")
ANY = ("RS256", "PS384", "ES256", "ES512", "Ed25519", "EdDSA")

needs_vectors = pytest.mark.skipif(
    not VECTORS.is_dir(), reason=f"no test vectors at {VECTORS}: say where they are with SECURE_ASGI_VECTORS"
)


def vector(name):
    return json.loads((VECTORS / name).read_text())


def example(name):
    (found,) = (row for row in vector("rfc_examples.json")["examples"] if row["id"] == name)
    return found


def allowed_for(jwk):
    return "HS256" if jwk["kty"] == "oct" else ANY


@needs_vectors
@pytest.mark.parametrize("name", ["rfc7515-A.1", "rfc7515-A.3", "rfc8037-A.4"])
def test_rfc_examples(name):
    row = example(name)
    header, _ = verify_jws(row["compact"], {"keys": [row["jwk"]]}, algorithms=allowed_for(row["jwk"]))
    assert header["alg"] == row["alg"]


@needs_vectors
def test_the_unsecured_example_is_refused():
    with pytest.raises(TokenError) as caught:
        verify_jws(example("rfc7515-A.5")["compact"], {"keys": [example("rfc7515-A.3")["jwk"]]}, algorithms=ANY)
    assert caught.value.reason == "token_algorithm_refused"


COOKBOOK = [
    "rfc7520/jws/4_1.rsa_v15_signature.json",
    "rfc7520/jws/4_2.rsa-pss_signature.json",
    "rfc7520/jws/4_3.ecdsa_signature.json",
    "rfc7520/jws/4_4.hmac-sha2_integrity_protection.json",
    "rfc7520/curve25519/jws.json",
]


@needs_vectors
@pytest.mark.parametrize("name", COOKBOOK)
def test_the_cookbook(name):
    """RFC 7520 section 4: the keys come with their private halves, which play no part."""
    case = vector(name)
    key = case["input"]["key"]
    _, payload = verify_jws(case["output"]["compact"], {"keys": [key]}, algorithms=allowed_for(key))
    assert payload.decode() == case["input"]["payload"]


@needs_vectors
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rfc7520/jws/4_5.signature_with_detached_content.json", "token_signature_invalid"),
        ("rfc7520/rfc7797/hmac-sha2_b64_false.json", "token_critical_header"),
    ],
)
def test_what_is_not_for_us(name, reason):
    """Detached content is none, and ``b64`` is an extension we do not know (JWT-7)."""
    case = vector(name)
    with pytest.raises(TokenError) as caught:
        verify_jws(case["output"]["compact"], {"keys": [case["input"]["key"]]}, algorithms="HS256")
    assert caught.value.reason == reason


@needs_vectors
def test_encrypted_tokens_are_not_signed_ones():
    """JWT-11."""
    key = example("rfc7515-A.3")["jwk"]
    compact = [vector(path)["output"].get("compact") for path in sorted((VECTORS / "rfc7520" / "jwe").glob("*.json"))]
    assert any(compact)
    for token in filter(None, compact):
        with pytest.raises(TokenError) as caught:
            verify_jws(token, {"keys": [key]}, algorithms=ANY)
        assert caught.value.reason == "token_malformed"
