"""One row for each advisory of 2025 and 2026 against a library like this: what went through there is refused here."""

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from secure_asgi import ConfigurationError, TokenError
from secure_asgi._fetch import FetchError, is_fetchable
from secure_asgi.bearer import KeySet, verify_access_token, verify_jws
from secure_asgi.testing import TokenFactory

from . import asgi
from .test_bearer import layer

NOW = 1_790_000_000
TOKENS = TokenFactory(clock=lambda: NOW)
EC = TOKENS.jwks["keys"][0]
RSA_KEY = rsa.generate_private_key(65537, 2048)


def base64url(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def segment(value):
    return base64url(value if isinstance(value, bytes) else json.dumps(value).encode())


def hmac_token(secret, header):
    """What an attacker makes who has the public key, and whose victim takes it for a secret."""
    signed = f"{segment(header)}.{segment(TOKENS._claims({}))}"
    return f"{signed}.{base64url(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def public_key_forms():
    """The one public key, as text and octets that could pass for an HMAC secret."""
    public = RSA_KEY.public_key()
    jwk = {"kty": "RSA", "n": base64url(public.public_numbers().n.to_bytes(256, "big")), "e": "AQAB"}
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return {
        "PEM": public.public_bytes(serialization.Encoding.PEM, spki),
        "DER": public.public_bytes(serialization.Encoding.DER, spki),
        "OpenSSH": public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
        "JWK": json.dumps(jwk).encode(),
        "JWK after a byte order mark": b"\xef\xbb\xbf" + json.dumps(jwk).encode(),
        "JWK in an array": json.dumps([jwk]).encode(),
        "JWK Set": json.dumps({"keys": [jwk]}).encode(),
    }


@pytest.mark.parametrize("form", public_key_forms())
def test_a_public_key_is_no_secret(form):
    """CVE-2026-48526 and its five successors (PyJWT), and python-jose's open one, from both sides.

    A set of public keys never verifies HS256; and an operator who gives the public key as a secret has no key.
    """
    secret = public_key_forms()[form]
    token = hmac_token(secret, {"alg": "HS256", "kid": EC["kid"]})
    with pytest.raises(TokenError) as caught:
        verify_jws(token, TOKENS.jwks, algorithms=["ES256", "RS256"])
    assert caught.value.reason == "token_algorithm_refused"
    assert not KeySet({"keys": [{"kty": "oct", "k": base64url(secret)}]}, algorithms="HS256")


def test_symmetric_and_public_key_algorithms_never_together():
    with pytest.raises(ConfigurationError):
        KeySet(TOKENS.jwks, algorithms=["HS256", "ES256"])


def good_parts():
    return TOKENS.token().split(".")


def resigned(header):
    """Signed well by the issuer's key, under any header."""
    key = TOKENS._keys[-1]
    signed = f"{segment(header)}.{segment(TOKENS._claims({}))}"
    return f"{signed}.{base64url(key._signer.sign(signed.encode(), key._private))}"


BASE = {"alg": "ES256", "kid": EC["kid"], "typ": "at+jwt"}
CRITICAL = [["exp"], ["b64"], ["unknown"], [], None, True, "exp", [1], {"exp": 1}]


@pytest.mark.parametrize("crit", CRITICAL, ids=json.dumps)
def test_crit_in_every_shape(crit):
    """CVE-2026-32597 (PyJWT), CVE-2025-59420 (Authlib), joserfc's TypeError, python-jose 413: signed well, refused."""
    with pytest.raises(TokenError) as caught:
        verify_jws(resigned({**BASE, "crit": crit}), TOKENS.jwks, algorithms="ES256")
    assert caught.value.reason == "token_critical_header"


def with_its_own_key():
    """Signed by a stranger, whose key comes along in the header."""
    stranger = TokenFactory(clock=lambda: NOW)
    return stranger.token(header={"kid": EC["kid"], "jwk": stranger.jwks["keys"][0]})


def der_signature():
    """The signature as X.509 has it instead of R and S."""
    head, body, _ = good_parts()
    key = TOKENS._keys[-1]._private
    from cryptography.hazmat.primitives.hashes import SHA256

    return f"{head}.{body}.{base64url(key.sign(f'{head}.{body}'.encode(), ec.ECDSA(SHA256())))}"


def with_signature(change):
    head, body, tail = good_parts()
    return f"{head}.{body}.{change(tail)}"


P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ROWS = [
    ("CVE-2026-27962 (Authlib): the token's own jwk", with_its_own_key, "token_signature_invalid"),
    ("GHSA-jq35 (PyJWT): alg not the key's", lambda: resigned({**BASE, "alg": "ES384"}), "token_key_mismatch"),
    ("GHSA-w7vc (PyJWT): b64 false", lambda: resigned({**BASE, "b64": False}), "token_critical_header"),
    ("GHSA-wphv (joserfc): b64 for the size limit", lambda: resigned({**BASE, "b64": 0}), "token_critical_header"),
    ("CVE-2026-101918 (PyJWT): nested header", lambda: f"{segment(b'[' * 5000)}.e30.AA", "token_malformed"),
    (
        "CVE-2026-102265 (PyJWT): nested objects",
        lambda: f"{segment(b'{%ca%c:' % (34, 34) * 700)}.e30.AA",
        "token_malformed",
    ),
    ("CVE-2026-102269 (PyJWT): padding", lambda: with_signature(lambda tail: tail + "=="), "token_malformed"),
    ("CVE-2026-102269: junk inside", lambda: with_signature(lambda tail: tail[:9] + "!" + tail[9:]), "token_malformed"),
    ("CVE-2026-102269: the other alphabet", lambda: with_signature(lambda tail: tail[:-4] + "+/+A"), "token_malformed"),
    ("a newline at the end", lambda: TOKENS.token() + "\n", "token_malformed"),
    ("DER in place of R and S (JWT-6)", der_signature, "token_signature_invalid"),
    ("CVE-2022-21449: r = s = 0", lambda: with_signature(lambda tail: base64url(bytes(64))), "token_signature_invalid"),
    (
        "CVE-2022-21449: r = s = n",
        lambda: with_signature(lambda tail: base64url(P256_ORDER.to_bytes(32, "big") * 2)),
        "token_signature_invalid",
    ),
    ("a lone surrogate as kid (PyJWT: 500)", lambda: f"{segment(rb'{%s}' % KID_HALF)}.e30.AA", "token_malformed"),
    ("alg a list (Authlib: TypeError)", lambda: resigned({**BASE, "alg": ["ES256"]}), "token_header_invalid"),
    (
        "UTF-16 header (PyJWT, joserfc)",
        lambda: f"{segment(json.dumps(BASE).encode('utf-16-le'))}.e30.AA",
        "token_malformed",
    ),
]
KID_HALF = rb'"alg":"ES256","kid":"\udc00"'


@pytest.mark.parametrize(("make", "reason"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_advisories_of_the_token(make, reason):
    with pytest.raises(TokenError) as caught:
        verify_jws(make(), TOKENS.jwks, algorithms=["ES256", "ES384"])
    assert caught.value.reason == reason


@pytest.mark.parametrize("claims", [b'{"exp":NaN}', b'{"exp":Infinity}', b'{"exp":-Infinity}', b'{"exp":1e400}'])
def test_numbers_that_never_end(claims):
    """joserfc before 1.8, Authlib: such a token never expired."""
    key = TOKENS._keys[-1]
    signed = f"{segment(BASE)}.{segment(claims)}"
    token = f"{signed}.{base64url(key._signer.sign(signed.encode(), key._private))}"
    with pytest.raises(TokenError) as caught:
        verify_access_token(token, TOKENS.jwks, issuer=TOKENS.issuer, audience="orders", now=NOW)
    assert caught.value.reason == "token_malformed"


@pytest.mark.parametrize(
    ("member", "algorithm"),
    [
        ({"kty": "oct", "k": ""}, "HS256"),
        ({"kty": "oct", "k": base64url(b"short")}, "HS256"),
        ({"kty": "RSA", "n": base64url(b"\xff" * 256), "e": "AQ"}, "RS256"),
        ({"kty": "RSA", "n": base64url(b"\xff" * 256), "e": "Ag"}, "RS256"),
        ({"kty": "EC", "crv": "P-256", "x": base64url(bytes(32)), "y": base64url(bytes(32))}, "ES256"),
        ({"kty": "OKP", "crv": "Ed25519", "x": base64url(bytes(31))}, "Ed25519"),
        ({"kty": "OKP", "crv": "X25519", "x": base64url(bytes(32))}, "Ed25519"),
    ],
    ids=["empty secret", "short secret", "e = 1", "e = 2", "point at nothing", "short Ed25519", "X25519"],
)
def test_keys_that_are_none(member, algorithm):
    """CVE-2026-49852 (joserfc: empty HMAC key), CVE-2026-102275 (PyJWT: OKP halves), JWT-6."""
    keys = KeySet({"keys": [member]}, algorithms=algorithm)
    assert not keys
    assert keys.dropped


def test_an_okp_key_is_its_public_half():
    """CVE-2026-102275: a private half that belongs to another key changes nothing, for it is not looked at."""
    one, other = TokenFactory(algorithm="Ed25519"), TokenFactory(algorithm="Ed25519")
    mixed = {"keys": [{**one.jwks["keys"][0], "d": other.jwks["keys"][0]["x"]}]}
    assert verify_jws(one.token(), mixed, algorithms="Ed25519")
    with pytest.raises(TokenError):
        verify_jws(other.token(), mixed, algorithms="Ed25519")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://id.example.com/k", "data:application/json,{}", "/etc/passwd"]
)
def test_only_https_is_fetched(url):
    """CVE-2026-48522 (PyJWKClient read files)."""
    assert not is_fetchable(url)


def test_two_tokens_are_none():
    """CVE-2025-64527 (Envoy): refused before any key is asked for."""
    field = (b"authorization", b"Bearer " + TOKENS.token().encode())
    assert asgi.http(layer(), headers=[(b"host", b"x"), field, field]).status == 400


def test_an_exempt_path_is_not_decided_by_the_host():
    """CVE-2026-48710 (Starlette): ``request.url`` is built from the Host field, and decides nothing here."""
    guarded = layer(exempt="/health")
    for host in (b"x/health?", b"api.example.com/health", b"/health"):
        assert asgi.http(guarded, "/orders", headers=[(b"host", host)]).status == 401
    assert asgi.http(guarded, "/health").status == 200


def test_fetch_errors_are_no_token_errors():
    """Envoy and others answered an outage with 401; ours cannot even be mistaken for one."""
    assert not issubclass(FetchError, TokenError)
