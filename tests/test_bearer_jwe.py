"""Encrypted access tokens (RFC 7516): JWT-1, JWT-11, AT-3, JWE-1, ENC-1 to ENC-8."""

import base64
import json
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from joserfc import jwe, jwk

from secure_asgi import ConfigurationError, TokenError
from secure_asgi.bearer import verify_access_token
from secure_asgi.bearer.jwe import Decryption
from secure_asgi.testing import TokenFactory

from .test_bearer_vectors import needs_vectors, vector


def private(kind, what, **members):
    return kind.generate_key(what, members).as_dict(private=True)


TOKENS = TokenFactory()
TOKEN = TOKENS.token()
RSA = private(jwk.RSAKey, 2048, kid="rsa")
CURVES = {
    **{name: private(jwk.ECKey, name, kid="k") for name in ("P-256", "P-384", "P-521")},
    **{name: private(jwk.OKPKey, name, kid="k") for name in ("X25519", "X448")},
}
EC, OKP = CURVES["P-256"], CURVES["X25519"]
KEYS = {"RSA": RSA, **CURVES}
WRAPPED = ("ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW")
CONTENTS = ("A128GCM", "A192GCM", "A256GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512")
SIZE = 16 * 1024


def base64url(octets):
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def opened(token, keys, **options):
    return Decryption(keys, **options).open(token.encode(), SIZE).decode()


def refusal(token, keys, **options):
    with pytest.raises(TokenError) as refused:
        opened(token, keys, **options)
    return refused.value


def encrypted(key=EC, token=TOKEN, content="A256GCM", **header):
    return TOKENS.encrypted(token, key, header=header, content_algorithm=content)


def without(key, *names, **members):
    return {**{name: value for name, value in key.items() if name not in names}, **members}


def seal(header, shared, plaintext=TOKEN):
    """ECDH-ES with A256GCM by hand, under a header that no library would write. ``shared`` as both sides have it."""
    text = header if isinstance(header, str) else json.dumps(header)
    info = b"".join(len(part).to_bytes(4, "big") + part for part in (b"A256GCM", b"", b"")) + (256).to_bytes(4, "big")
    key = ConcatKDFHash(SHA256(), 32, info).derive(shared)
    protected = base64url(text.encode())
    sealed = AESGCM(key).encrypt(bytes(12), plaintext.encode(), protected.encode())
    return ".".join((protected, "", base64url(bytes(12)), base64url(sealed[:-16]), base64url(sealed[-16:])))


EPHEMERAL = ec.generate_private_key(ec.SECP256R1())
SHARED = EPHEMERAL.exchange(ec.ECDH(), jwk.ECKey.import_key(EC).public_key)
EPK = jwk.ECKey.import_key(EPHEMERAL).as_dict(private=False)
HEADER = {"alg": "ECDH-ES", "enc": "A256GCM", "cty": "JWT", "kid": "k", "epk": EPK}


# --- what is opened --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_token_to_every_kind_of_key(key):
    assert opened(encrypted(key), key) == TOKEN


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("key", [RSA, EC], ids=["RSA", "EC"])
def test_every_content_encryption_by_its_option(key, content):
    """ENC-1: A256GCM unless told otherwise."""
    token = encrypted(key, content=content)
    assert opened(token, key, content_algorithms=content) == TOKEN
    if content != "A256GCM":
        assert refusal(token, key).reason == "token_algorithm_refused"


@pytest.mark.parametrize("algorithm", WRAPPED)
@pytest.mark.parametrize("key", CURVES.values(), ids=CURVES)
def test_an_agreed_key_that_wraps_another(key, algorithm):
    token = encrypted(key, alg=algorithm, content="A128CBC-HS256")
    options = {"key_algorithms": [algorithm], "content_algorithms": ["A128CBC-HS256"]}
    assert opened(token, key, **options) == TOKEN


def test_what_is_inside_is_verified_like_any_token():
    """ENC-8, JWT-11: everybody can encrypt, so the signature decides."""
    rules = {"issuer": TOKENS.issuer, "audience": TOKENS.audience}
    inside = opened(encrypted(), EC)
    assert verify_access_token(inside, TOKENS.jwks, **rules).subject == "user-1"
    with pytest.raises(TokenError, match="token_signature_invalid"):
        verify_access_token(opened(encrypted(token=TOKENS.forged()), EC), TOKENS.jwks, **rules)


@pytest.mark.parametrize("cty", ["JWT", "jwt", "application/jwt", "at+jwt", "application/AT+JWT"])
def test_ways_to_say_that_a_jwt_is_inside(cty):
    assert opened(encrypted(cty=cty, typ=cty), EC) == TOKEN


def test_other_members_of_the_header_are_not_looked_at():
    """JWT-8: no key comes from the token, and an address in it is not asked."""
    evil = private(jwk.ECKey, "P-256")
    more = {"jwk": without(evil, "d"), "jku": "http://127.0.0.1:1/", "p2c": 2**31, "p2s": "AA", "x": [1], "apu": "QQ"}
    assert opened(encrypted(**more), EC) == TOKEN


def test_a_header_of_real_length():
    assert opened(encrypted(filler="x" * 2500), EC) == TOKEN


def test_claims_repeated_in_the_header_are_the_tokens():
    """RFC 7519 section 5.3."""
    assert opened(encrypted(iss=TOKENS.issuer, aud="orders", sub="user-1"), EC) == TOKEN


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        pytest.param(encrypted(iss="https://evil.example"), "token_header_invalid", id="another issuer"),
        pytest.param(encrypted(aud=["orders"]), "token_header_invalid", id="the same in another form"),
        pytest.param(
            encrypted(token=TOKENS.token(sub=None), sub="user-1"), "token_header_invalid", id="not in the token"
        ),
        pytest.param(encrypted(token="a.!.b", iss="x"), "token_malformed", id="no claims to compare with"),
    ],
)
def test_and_a_token_that_contradicts_its_header_is_refused(token, reason):
    assert refusal(token, EC).reason == reason


# --- what is not -----------------------------------------------------------------------------------------------------

FLAT = '{"alg":"ECDH-ES","enc":"A256GCM","cty":"JWT","kid":"k","kid":"k","epk":' + json.dumps(EPK) + "}"
NAMELESS = {"alg": "RSA-OAEP-256", "enc": "A256GCM", "cty": "JWT"}


def junk(**header):
    return f"{base64url(json.dumps({**NAMELESS, **header}).encode())}.AA.AA.AA.AA"


REFUSED = {
    "empty": ("", "token_malformed"),
    "opaque": ("mF_9B5f41JqM", "token_malformed"),
    "four segments": (encrypted().rpartition(".")[0], "token_malformed"),
    "six segments": (encrypted() + ".AA", "token_malformed"),
    "a dot too many": (encrypted() + ".", "token_malformed"),
    "a line feed": (encrypted() + "\n", "token_malformed"),
    "padding": (encrypted() + "=", "token_malformed"),
    "not base64url": (encrypted().replace(".", ".+", 1), "token_malformed"),
    "JSON serialisation": ('{"protected":"e30","ciphertext":"AA"}', "token_malformed"),
    "a header that is no JSON": ("AAAA.AA.AA.AA.AA", "token_malformed"),
    "a member twice": (seal(FLAT, SHARED), "token_malformed"),
    "a header nested too deep": (junk(x=[[[[[[[[1]]]]]]]]), "token_malformed"),
    "a header too long": (encrypted(filler="x" * 4100), "token_malformed"),
    "only signed": (TOKEN, "token_not_encrypted"),
    "crit": (seal({**HEADER, "crit": ["exp"]}, SHARED), "token_critical_header"),
    "crit, empty": (junk(crit=[]), "token_critical_header"),
    "zip": (encrypted(zip="DEF"), "token_header_invalid"),
    "zip, unknown": (junk(zip=None), "token_header_invalid"),
    "no alg": (junk(alg=None), "token_header_invalid"),
    "alg in a list": (junk(alg=["dir"]), "token_header_invalid"),
    "no enc": (junk(enc=None), "token_header_invalid"),
    "kid a number": (junk(kid=7), "token_header_invalid"),
    "kid null": (junk(kid=None), "token_header_invalid"),
    "kid too long": (junk(kid="k" * 257), "token_header_invalid"),
    "kid of nobody": (encrypted(kid="other"), "token_key_unknown"),
    "kid a path": (junk(kid="../../dev/null"), "token_key_unknown"),
    "no kid, no key for it": (junk(), "token_key_unknown"),
    "another kind of key": (junk(kid="k"), "token_key_mismatch"),
    "no cty": (encrypted(cty=None), "token_type_wrong"),
    "cty of something else": (encrypted(cty="json"), "token_type_wrong"),
    "cty a list": (junk(cty=["JWT"]), "token_type_wrong"),
    "typ of something else": (encrypted(typ="dpop+jwt"), "token_type_wrong"),
    "claims, not signed": (encrypted(token='{"sub":"ann"}'), "token_malformed"),
    "encrypted twice": (encrypted(token=encrypted()), "token_malformed"),
}


@pytest.mark.parametrize(("token", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(token, reason):
    """JWT-1, JWT-2, JWT-3, JWT-9, JWT-11, AT-3, ENC-5, ENC-7."""
    assert refusal(token, EC).reason == reason


@pytest.mark.parametrize(
    "algorithm",
    [
        "dir",
        "A256KW",
        "A256GCMKW",
        "PBES2-HS512+A256KW",
        "RSA1_5",
        "RSA-OAEP",
        "ECDH-ES+A128KW",
        "none",
        "rsa-oaep-256",
    ],
)
def test_algorithms_that_are_not_allowed(algorithm):
    """ENC-1, ENC-6: whatever the password's iteration count."""
    token = junk(alg=algorithm, kid="rsa", p2c=2**31 - 1, p2s="AAAAAAAAAAA")
    assert refusal(token, RSA).reason == "token_algorithm_refused"


def test_the_size_comes_before_everything():
    decryption, token = Decryption(EC), encrypted().encode()
    assert decryption.open(token, len(token)) == TOKEN.encode()
    for large in (token, b"." * 10_000_000):
        with pytest.raises(TokenError, match="token_too_large"):
            decryption.open(large, len(token) - 1)


def test_signed_tokens_pass_unchanged_where_encryption_is_not_required():
    """AT-3."""
    assert opened(TOKEN, EC, required=False) == TOKEN
    assert opened(encrypted(), EC, required=False) == TOKEN
    assert Decryption(EC).required
    assert not Decryption(EC, required=False).required


# --- no oracle -------------------------------------------------------------------------------------------------------


def changed(token, segment, change):
    segments = [base64.urlsafe_b64decode(part + "==") for part in token.split(".")]
    segments[segment] = change(segments[segment])
    return ".".join(map(base64url, segments))


def flipped(octets):
    return octets[:-1] + bytes((octets[-1] ^ 1,))


def undecipherable():
    by_rsa, agreed = encrypted(RSA), encrypted(EC)
    wrapped, hmac = encrypted(EC, alg="ECDH-ES+A256KW"), encrypted(EC, content="A256CBC-HS512")
    names = ("header", "encrypted key", "IV", "ciphertext", "tag")
    for kind, token, key in (
        ("RSA", by_rsa, RSA),
        ("wrapped", wrapped, EC),
        ("agreed", agreed, EC),
        ("HMAC", hmac, EC),
    ):
        for segment, name in enumerate(names):
            if segment and token.split(".")[segment]:
                yield f"{kind}: {name} flipped", changed(token, segment, flipped), key
                yield f"{kind}: {name} without its end", changed(token, segment, lambda octets: octets[:-1]), key
                yield f"{kind}: {name} longer", changed(token, segment, lambda octets: octets + b"\0"), key
                yield f"{kind}: no {name}", changed(token, segment, lambda octets: b""), key
        yield f"{kind}: tag of 12 octets", changed(token, 4, lambda octets: octets[:12]), key
    yield "agreed: an encrypted key all the same", changed(agreed, 1, lambda octets: bytes(40)), EC
    yield "RSA: all zero", changed(by_rsa, 1, lambda octets: bytes(256)), RSA
    yield "RSA: above the modulus", changed(by_rsa, 1, lambda octets: b"\xff" * 256), RSA
    yield "RSA: to somebody else", encrypted(private(jwk.RSAKey, 2048, kid="rsa")), RSA
    yield "EC: to somebody else", encrypted(private(jwk.ECKey, "P-256", kid="k")), EC
    yield "jku: no address", seal({**HEADER, "jku": 7}, SHARED), EC


UNDECIPHERABLE = list(undecipherable())


@pytest.mark.parametrize(("token", "key"), [row[1:] for row in UNDECIPHERABLE], ids=[row[0] for row in UNDECIPHERABLE])
def test_every_failure_of_the_cryptography_is_the_same(token, key):
    """ENC-2, ENC-3: no word and no cause that would tell one from another."""
    error = refusal(token, key, content_algorithms=["A256GCM", "A256CBC-HS512"])
    assert str(error) == "token_undecipherable"
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


LOW_ORDER = {
    "zero": bytes(32),
    "one": (1).to_bytes(32, "little"),
    "order 8": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "p": (2**255 - 19).to_bytes(32, "little"),
}
BAD_EPK = {
    "none": None,
    "text": "P-256",
    "empty": {},
    "with its private half": jwk.ECKey.import_key(EPHEMERAL).as_dict(private=True),
    "another curve": {**EPK, "crv": "P-384"},
    "another kind": {**EPK, "kty": "OKP"},
    "no y": {name: value for name, value in EPK.items() if name != "y"},
    "x a number": {**EPK, "x": 7},
    "x not ASCII": {**EPK, "x": "é"},
    "x not base64url": {**EPK, "x": EPK["x"][:-1] + "="},
    "x longer than the curve's": {**EPK, "x": base64url(b"\0" + base64.urlsafe_b64decode(EPK["x"] + "="))},
    "x without its end": {**EPK, "x": EPK["x"][:-2]},
}
NO_POINTS = {
    "off the curve": {**EPK, "y": base64url(bytes(31) + b"\1")},
    "the point at infinity": {**EPK, "x": base64url(bytes(32)), "y": base64url(bytes(32))},
}


def test_a_token_made_by_hand_is_opened():
    """So that what is refused below is refused for the one thing that is wrong with it."""
    assert opened(seal(HEADER, SHARED), EC) == TOKEN


def refused_before_the_key_is_used(token, key):
    decryption = Decryption(key)
    decryption._decrypt = lambda *_, **__: pytest.fail("the key was used")
    with pytest.raises(TokenError) as refused:
        decryption.open(token.encode(), SIZE)
    return str(refused.value) == "token_undecipherable"


@pytest.mark.parametrize("epk", BAD_EPK.values(), ids=BAD_EPK)
def test_ephemeral_keys_that_are_none(epk):
    """ENC-4: each sealed as whoever takes the key all the same would open it."""
    assert refused_before_the_key_is_used(seal({**HEADER, "epk": epk}, SHARED), EC)


@pytest.mark.parametrize("more", [{"apu": 7}, {"apv": "é"}, {"apu": "A"}, {"apv": "QR"}, {"apu": None}])
def test_what_the_parties_say_of_themselves_is_base64url(more):
    assert refused_before_the_key_is_used(seal({**HEADER, **more}, SHARED), EC)


@pytest.mark.parametrize("segment", [1, 2, 4], ids=["encrypted key", "IV", "tag"])
@pytest.mark.parametrize("key", [RSA, EC], ids=["RSA", "EC"])
def test_junk_of_the_wrong_length_costs_no_private_key(key, segment):
    """ENC-2."""
    assert refused_before_the_key_is_used(changed(encrypted(key), segment, lambda octets: octets + b"\0"), key)


@pytest.mark.parametrize("epk", NO_POINTS.values(), ids=NO_POINTS)
def test_points_that_are_not_on_the_curve(epk):
    """ENC-4."""
    assert str(refusal(seal({**HEADER, "epk": epk}, SHARED), EC)) == "token_undecipherable"


@pytest.mark.parametrize("point", LOW_ORDER.values(), ids=LOW_ORDER)
def test_a_shared_secret_of_zeros_is_no_secret(point):
    """ENC-4 (RFC 8037): anybody could have made it without our public key."""
    epk = {"kty": "OKP", "crv": "X25519", "x": base64url(point)}
    assert str(refusal(seal({**HEADER, "epk": epk}, bytes(32)), OKP)) == "token_undecipherable"


def test_a_bad_encrypted_key_takes_the_way_of_a_bad_tag(monkeypatch):
    """ENC-3, RFC 7516 section 11.5: a random content key stands in, and the tag is what fails."""
    decryption, used = Decryption(RSA), []
    model = jwe.JWERegistry.algorithms["enc"]["A256GCM"]
    monkeypatch.setattr(model, "decrypt", lambda text, tag, key, iv, aad: used.append(key) or 1 / 0)
    token = encrypted(RSA)
    for bad in (changed(token, 4, flipped), changed(token, 1, flipped), changed(token, 1, flipped)):
        with pytest.raises(TokenError, match="token_undecipherable"):
            decryption.open(bad.encode(), SIZE)
    assert [len(key) for key in used] == [32, 32, 32]
    assert len(set(used)) == 3


def test_no_character_can_be_changed():
    """JWT-2: nor can the same token be written in two ways."""
    decryption, token = Decryption(OKP), encrypted(OKP).encode()
    for place in range(len(token)):
        other = token[:place] + (b"B" if token[place : place + 1] != b"B" else b"C") + token[place + 1 :]
        with pytest.raises(TokenError):
            decryption.open(other, SIZE)


# --- which key -------------------------------------------------------------------------------------------------------


def test_the_key_that_the_token_names():
    old, new = private(jwk.ECKey, "P-256", kid="old"), private(jwk.ECKey, "P-256", kid="new")
    for key in (old, new):
        assert opened(encrypted(key), {"keys": [old, new]}) == TOKEN
    assert str(refusal(encrypted(old, kid="new"), {"keys": [old, new]})) == "token_undecipherable"
    assert refusal(encrypted(old, kid=None), {"keys": [old, new]}).reason == "token_key_unknown"


def test_without_a_name_the_only_key_for_the_algorithm():
    """JWT-9."""
    assert opened(encrypted(kid=None), EC) == TOKEN
    assert opened(encrypted(kid=None), without(EC, "kid")) == TOKEN
    assert opened(encrypted(kid=None), {"keys": [RSA, EC]}) == TOKEN
    assert refusal(encrypted(), without(EC, "kid")).reason == "token_key_unknown"


def test_a_key_serves_the_algorithm_that_it_names_and_no_other():
    """ENC-1, JWT-5."""
    key = without(EC, alg="ECDH-ES+A256KW")
    assert opened(encrypted(key), key) == TOKEN
    assert refusal(encrypted(EC), key).reason == "token_key_mismatch"


@pytest.mark.parametrize("names", [["unwrapKey"], ("decrypt",)])
def test_operations_of_a_key(names):
    assert opened(encrypted(RSA), without(RSA, use="enc", key_ops=names)) == TOKEN


def test_an_rsa_key_without_its_prime_factors():
    assert opened(encrypted(RSA), without(RSA, "p", "q", "dp", "dq", "qi")) == TOKEN


def test_it_shows_no_key():
    decryption = Decryption(RSA)
    shown = repr(decryption) + repr(decryption._keys) + str(decryption)
    for member in ("n", "d", "p"):
        assert RSA[member] not in shown
    assert str(decryption._keys[0].material.raw_value.private_numbers().d) not in shown


def small_rsa():
    numbers = rsa.generate_private_key(65537, 1024).private_numbers()
    values = {"n": numbers.public_numbers.n, "e": 65537, "d": numbers.d}
    return {"kty": "RSA", **{k: base64url(v.to_bytes((v.bit_length() + 7) // 8, "big")) for k, v in values.items()}}


LARGE = {**RSA, "n": base64url(b"\xff" * 513)}
WRONG_KEYS = {
    "no dict": ("secret", "takes a private JWK or a JWK Set"),
    "an empty set": ({"keys": []}, "with 1 to 100 keys"),
    "a set that is none": ({"keys": "secret"}, "takes a private JWK or a JWK Set"),
    "too many": ({"keys": [EC] * 101}, "with 1 to 100 keys"),
    "a member that is no key": ({"keys": ["secret"]}, "JWKs as dicts, whose kid is a string"),
    "a kid that is none": (without(EC, kid=7), "JWKs as dicts, whose kid is a string"),
    "the same kid twice": ({"keys": [EC, EC]}, "give each a kid of its own"),
    "several without": ({"keys": [EC, without(OKP, "kid")]}, "give each a kid of its own"),
    "symmetric": ({"kty": "oct", "k": "c2VjcmV0"}, "has to be RSA, EC on P-256"),
    "kty a list": ({"kty": ["RSA"]}, "has to be RSA, EC on P-256"),
    "no curve": (without(EC, "crv"), "has to be RSA, EC on P-256"),
    "a curve of signatures": (private(jwk.OKPKey, "Ed25519"), "or OKP on X25519 or X448"),
    "a curve of the other kind": (without(EC, crv="X25519"), "or OKP on X25519 or X448"),
    "for signatures": (without(EC, use="sig"), "'k' of keys= is not for decryption"),
    "operations of signatures": (without(EC, key_ops=["sign"]), "is not for decryption"),
    "operations that are none": (without(EC, key_ops=7), "is not for decryption"),
    "alg not allowed": (without(EC, alg="ECDH-ES+A128KW"), "serves none of key_algorithms="),
    "alg of the other kind": (without(EC, alg="RSA-OAEP-256"), "serves none of key_algorithms="),
    "alg with SHA-1": (without(RSA, alg="RSA-OAEP"), "serves none of key_algorithms="),
    "alg a list": (without(EC, alg=["ECDH-ES"]), "serves none of key_algorithms="),
    "public": (without(EC, "d"), "is public: the private one is needed"),
    "too small": (small_rsa(), "the key of keys= has 1024 bits: an RSA key here has 2048 to 4096"),
    "too large": (LARGE, "has 4104 bits"),
    "not base64url": (without(EC, d=EC["d"] + "="), "cannot be loaded"),
    "a coordinate short": (without(EC, x=EC["x"][:-2]), "cannot be loaded"),
    "a coordinate longer": (
        without(EC, y=base64url(b"\0" + base64.urlsafe_b64decode(EC["y"] + "="))),
        "cannot be loaded",
    ),
    "a member a number": (without(RSA, p=7), "cannot be loaded"),
    "EC halves that do not fit": (without(EC, d=private(jwk.ECKey, "P-256")["d"]), "cannot be loaded"),
    "OKP halves that do not fit": (without(OKP, d=private(jwk.OKPKey, "X25519")["d"]), "cannot be loaded"),
    "RSA factors that do not fit": (without(RSA, p=RSA["q"]), "cannot be loaded"),
}


@pytest.mark.parametrize(("keys", "message"), WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_keys_that_cannot_serve(keys, message):
    """JWT-6, and never a word of the key."""
    with pytest.raises(ConfigurationError) as refused:
        Decryption(keys)
    text = str(refused.value)
    assert message in text
    assert "secret" not in text
    for key in (EC, RSA, OKP):
        assert key["d"] not in text
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"required": 1}, "required= is True or False, got 1"),
        ({"key_algorithms": ()}, "key_algorithms= takes some of RSA-OAEP-256, .* got none"),
        ({"key_algorithms": "dir"}, "got 'dir'"),
        ({"key_algorithms": ["RSA-OAEP-256", "RSA1_5"]}, "got 'RSA1_5'"),
        ({"content_algorithms": "A256CTR"}, "content_algorithms= takes some of A128GCM, .* got 'A256CTR'"),
    ],
)
def test_options_that_are_wrong(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Decryption(EC, **options)


def test_without_joserfc(monkeypatch):
    for name in ("joserfc", "joserfc.jwe", "joserfc.jwk"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'secure-asgi\[jwe\]'"):
        Decryption(EC)


# --- other people's vectors ------------------------------------------------------------------------------------------

COOKBOOK = {
    "rfc7520/jwe/5_4.key_agreement_with_key_wrapping_using_ecdh-es_and_aes-keywrap_with_aes-gcm.json": "A128GCM",
    "rfc7520/jwe/5_5.key_agreement_using_ecdh-es_with_aes-cbc-hmac-sha2.json": "A128CBC-HS256",
    "rfc7520/curve25519/ecdh-es.json": "A128GCM",
}


@needs_vectors
@pytest.mark.parametrize(("name", "content"), COOKBOOK.items())
def test_the_cookbook(name, content):
    """RFC 7520 sections 5.4 and 5.5: their text is no token, so they are opened up to the check of that."""
    row = vector(name)
    decryption = Decryption(
        row["input"]["key"], key_algorithms=row["input"]["alg"], content_algorithms=row["input"]["enc"]
    )
    token = row["output"]["compact"].encode()
    assert content == row["input"]["enc"]
    assert decryption._plaintext(token, decryption._keys[0]).decode() == row["input"]["plaintext"]
    with pytest.raises(TokenError, match="token_type_wrong"):
        decryption.open(token, SIZE)


@needs_vectors
def test_the_nested_token_of_the_cookbook():
    """RFC 7520 section 6 encrypts with RSA-OAEP and its SHA-1."""
    row = vector("rfc7520/6.nesting_signatures_and_encryption.json")["encrypt"]
    key = without(row["input"]["key"], "alg")
    assert refusal(row["output"]["compact"], key).reason == "token_algorithm_refused"
    again = encrypted(key, row["input"]["plaintext"])
    assert opened(again, key) == row["input"]["plaintext"]
