"""DPoP proofs (RFC 9449 section 4.3): DPOP-1 to DPOP-9, DPOP-12, DPOP-14, and every attack on them."""

import asyncio
import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt import get_algorithm_by_name

from secure_asgi import ConfigurationError, TokenError
from secure_asgi.bearer.dpop import ProofRules, normal_uri, thumbprint_of
from secure_asgi.bearer.nonces import Nonces
from secure_asgi.bearer.replay import MemoryReplayStore
from secure_asgi.bearer.unavailable import UnavailableError
from secure_asgi.exchange import Exchange
from secure_asgi.secrets import Secret
from secure_asgi.testing.dpop import DPoPKey

from . import asgi

NOW = 1_800_000_000
TOKEN = "2YotnFZFEjr1zCsicMWpAA.e30.c2ln"
URI = "https://api.example.com/orders"
KEY = DPoPKey(clock=lambda: NOW)
OTHER = DPoPKey(clock=lambda: NOW)


def base64url(octets):
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def rules(clock=NOW, **options):
    made = ProofRules(**{"store": MemoryReplayStore(), **options})
    made._clock = lambda: clock
    return made


def verify(
    proof, *, ruled=None, token=TOKEN, bound_to=None, scheme="https", make=asgi.http_scope, path="/orders", **more
):
    """The proof as the request carries it: text, several texts, or None."""
    proofs = [] if proof is None else [proof] if isinstance(proof, str) else proof
    headers = more.pop("headers", [("host", "api.example.com")])
    scope = make(path, scheme=scheme, headers=asgi.encode([*headers, *(("dpop", text) for text in proofs)]), **more)
    ruled = ruled or rules()
    return ruled.verify(Exchange(scope), scope, token.encode(), KEY.thumbprint if bound_to is None else bound_to)


def reason(proof, **options):
    with pytest.raises(TokenError) as refused:
        verify(proof, **options)
    return refused.value.reason


def note(proof, **options):
    with pytest.raises(TokenError) as refused:
        verify(proof, **options)
    assert refused.value.reason == "dpop_proof_invalid"
    return refused.value.note


def proof(method="GET", uri=URI, token=TOKEN, **more):
    return KEY.proof(method, uri, token, **more)


def resigned(head, payload, key=KEY):
    """Segments as given, signed."""
    signed = f"{head}.{payload}"
    return f"{signed}.{base64url(key._signer.sign(signed.encode(), key._private))}"


# --- what holds ----------------------------------------------------------------------------------------------------

RFC_TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
RFC_JWK = {
    "kty": "EC",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    "crv": "P-256",
}
RFC_THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
RFC_PROOF = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo"
    "RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
    ".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0"
    "ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9"
    ".2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)
RFC_REQUEST = {
    "token": RFC_TOKEN,
    "bound_to": RFC_THUMBPRINT,
    "path": "/protectedresource",
    "headers": [("host", "resource.example.org")],
}


def test_the_rfcs_own_proof():
    """RFC 9449 section 7.1."""
    assert verify(RFC_PROOF, ruled=rules(1562262618), **RFC_REQUEST).thumbprint == RFC_THUMBPRINT
    assert "iat" in note(RFC_PROOF, **RFC_REQUEST)


def test_the_thumbprints_of_the_rfcs():
    """DPOP-8: RFC 9449 section 6.1; order and other members make no difference."""
    assert thumbprint_of(RFC_JWK) == RFC_THUMBPRINT
    assert thumbprint_of({"use": "sig", **dict(reversed(RFC_JWK.items())), "kid": "k"}) == RFC_THUMBPRINT
    # RFC 8037 appendix A.3.
    okp = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint_of(okp) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize(
    "jwk", [None, [], {}, {"kty": 1}, {"kty": "oct", "k": "AA"}, {"kty": "RSA", "n": "AQ", "e": 3}]
)
def test_what_is_no_public_key_has_no_thumbprint(jwk):
    assert thumbprint_of(jwk) is None


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "ES512", "Ed25519"])
def test_every_kind_of_key(algorithm):
    """DPOP-2, and again from the prepared key."""
    key, ruled = DPoPKey(algorithm, clock=lambda: NOW), rules()
    for _ in range(2):
        held = verify(key.proof("GET", URI, TOKEN), ruled=ruled, bound_to=key.thumbprint)
        assert held.thumbprint == key.thumbprint
    assert len(ruled._prepared) == 1


def test_a_key_id_beside_the_key_says_nothing():
    for kid, inside in (("a", {}), ("a", {"kid": "b"})):
        assert verify(proof(header={"kid": kid, "jwk": {**KEY.jwk, **inside}}))
    assert verify(proof(header={"jwk": {**KEY.jwk, "kid": "b", "alg": "ES256", "use": "sig"}}))


def test_the_method_is_the_requests():
    """DPOP-4."""
    assert verify(proof("POST"), method="POST")
    assert verify(proof("PATCH"), method="PATCH")


def test_a_websocket():
    """DPOP-14: GET, and the https form of its URI only."""
    options = {"make": asgi.websocket_scope, "scheme": "wss"}
    assert verify(proof(), **options)
    assert "htu" in note(proof(uri="wss://api.example.com/orders"), **options)
    assert "htm" in note(proof("CONNECT"), **options)
    assert verify(proof(uri="http://api.example.com/orders"), make=asgi.websocket_scope, scheme="ws")


# --- attacks -------------------------------------------------------------------------------------------------------


def test_no_proof():
    """DPOP-1."""
    assert reason(None) == "dpop_proof_missing"


def test_two_proofs():
    """DPOP-1: lines are counted, and a comma makes no second one."""
    assert note([proof(), proof()]) == "more than one DPoP field"
    one = proof()
    assert note([one, one]) == "more than one DPoP field"
    for joined in (f"{one},{one}", f"{one}, {proof()}", f"{one},", f",{one}"):
        assert reason(joined) == "dpop_proof_invalid"


def test_a_key_of_the_thiefs_own():
    """DPOP-8: a stolen token with a proof that is good in itself; the key is not even prepared."""
    ruled = rules()
    assert reason(OTHER.proof("GET", URI, TOKEN), ruled=ruled) == "token_binding_mismatch"
    assert len(ruled._prepared) == 0
    # Nor is a key that is known from its own tokens good for another's.
    assert verify(OTHER.proof("GET", URI, TOKEN), ruled=ruled, bound_to=OTHER.thumbprint)
    assert reason(OTHER.proof("GET", URI, TOKEN), ruled=ruled) == "token_binding_mismatch"


def test_a_thief_costs_no_key(monkeypatch):
    monkeypatch.setattr("secure_asgi.bearer.dpop.KeySet", None)
    assert reason(OTHER.proof("GET", URI, TOKEN)) == "token_binding_mismatch"


def test_the_clients_key_without_its_private_half():
    """DPOP-2: the public key is no secret."""
    ruled = rules()
    forged = OTHER.proof("GET", URI, TOKEN, header={"jwk": KEY.jwk})
    for _ in range(2):
        assert "token_signature_invalid" in note(forged, ruled=ruled)
        assert len(ruled._prepared) == 0
    assert verify(proof(), ruled=ruled)
    assert "token_signature_invalid" in note(forged, ruled=ruled)  # from the prepared key too


def private_jwk(key):
    return key._signer.to_jwk(key._private, as_dict=True)


RSA_KEY = DPoPKey("RS256", clock=lambda: NOW)
WEAK = DPoPKey("RS256", clock=lambda: NOW)
WEAK._private = rsa.generate_private_key(65537, 1024)
WEAK.jwk = {
    name: value
    for name, value in WEAK._signer.to_jwk(WEAK._private.public_key(), as_dict=True).items()
    if name in "kty n e"
}
OCT = {"kty": "oct", "k": base64url(b"s" * 32)}


def signed_by_hmac(jwk, secret):
    head = base64url(json.dumps({"typ": "dpop+jwt", "alg": "HS256", "jwk": jwk}).encode())
    signed = f"{head}.{proof().split('.')[1]}"
    return f"{signed}.{base64url(get_algorithm_by_name('HS256').sign(signed.encode(), secret))}"


HEADERS = {
    "typ JWT": ({"typ": "JWT"}, "typ"),
    "typ of an access token": ({"typ": "at+jwt"}, "typ"),
    "typ in another case": ({"typ": "DPoP+JWT"}, "typ"),
    "typ as a media type": ({"typ": "application/dpop+jwt"}, "typ"),
    "typ absent": ({"typ": None}, "typ"),
    "typ a list": ({"typ": ["dpop+jwt"]}, "typ"),
    "alg none": ({"alg": "none"}, "alg"),
    "alg None": ({"alg": "None"}, "alg"),
    "alg absent": ({"alg": None}, "alg"),
    "alg a list": ({"alg": ["ES256"]}, "alg"),
    "alg HS256": ({"alg": "HS256"}, "alg"),
    "alg unknown": ({"alg": "ES256K"}, "alg"),
    "alg of another curve": ({"alg": "ES384"}, "jwk: not for this alg"),
    "alg of another kind of key": ({"alg": "RS256"}, "jwk: not for this alg"),
    "the key is for another alg": ({"jwk": {**KEY.jwk, "alg": "ES384"}}, "jwk: alg does not fit the key"),
    "the key is for encryption": ({"jwk": {**KEY.jwk, "use": "enc"}}, "jwk: use is not sig"),
    "the key may not verify": ({"jwk": {**KEY.jwk, "key_ops": ["encrypt"]}}, "jwk: key_ops without verify"),
    "no key": ({"jwk": None}, "jwk is no public key"),
    "a key by URL": ({"jwk": None, "jku": "https://evil.example/jwks"}, "jwk is no public key"),
    "a key by name": ({"jwk": None, "kid": "k1"}, "jwk is no public key"),
    "the key as text": ({"jwk": json.dumps(KEY.jwk)}, "jwk is no public key"),
    "a key set": ({"jwk": {"keys": [KEY.jwk]}}, "jwk is no public key"),
    "a key without y": ({"jwk": {**KEY.jwk, "y": None}}, "jwk is no public key"),
    "the private key": ({"jwk": private_jwk(KEY)}, "jwk: a secret in a published set"),
    "the private key, null": ({"jwk": {**KEY.jwk, "d": None}}, "jwk: a secret in a published set"),
    "k beside it": ({"jwk": {**KEY.jwk, "k": "AA"}}, "jwk: a secret in a published set"),
    "critical extension": ({"crit": ["exp"], "exp": 1}, "token_critical_header"),
    "payload not encoded": ({"b64": False, "crit": ["b64"]}, "token_critical_header"),
    "encrypted": ({"enc": "A256GCM"}, "token_header_invalid"),
    "cty a number": ({"cty": 1}, "token_header_invalid"),
    "kid a number": ({"kid": 1}, "jwk: kid is not a string"),
    "kid long": ({"kid": "k" * 257}, "token_header_invalid"),
    "header long": ({"x5c": ["A" * 4096]}, "header: too long"),
    "header deep": ({"x": [[[[[[[[[]]]]]]]]]}, "header: nested too deep"),
}


@pytest.mark.parametrize(("header", "why"), HEADERS.values(), ids=HEADERS)
def test_headers(header, why):
    """DPOP-2."""
    ruled = rules()
    assert why in note(proof(header=header), ruled=ruled)
    assert len(ruled._prepared) == 0


PRIVATE = [name for name in private_jwk(RSA_KEY) if name in ("d", "p", "q", "dp", "dq", "qi")]


@pytest.mark.parametrize("member", [*PRIVATE, "oth"])
def test_any_one_private_member(member):
    """DPOP-2."""
    assert len(PRIVATE) == 6
    jwk = {**RSA_KEY.jwk, member: private_jwk(RSA_KEY).get(member, [])}
    made = RSA_KEY.proof("GET", URI, TOKEN, header={"jwk": jwk})
    assert note(made, bound_to=RSA_KEY.thumbprint) == "jwk: a secret in a published set"


def test_a_short_rsa_key():
    """DPOP-2."""
    made = WEAK.proof("GET", URI, TOKEN)
    assert note(made, bound_to=WEAK.thumbprint) == "jwk: too short for RS256"


def test_hmac():
    """DPOP-2: with a secret that is in the proof, and with the public key as the secret."""
    assert "alg" in note(signed_by_hmac(OCT, b"s" * 32))
    assert "alg" in note(signed_by_hmac(KEY.jwk, json.dumps(KEY.jwk).encode()))
    assert note(proof(header={"jwk": OCT})) == "jwk is no public key"


def test_an_algorithm_that_is_not_allowed_here():
    assert "alg" in note(proof(), ruled=rules(algorithms="PS256"))
    assert verify(proof(), ruled=rules(algorithms=["ES256"]))


GOOD = proof()
HEAD, PAYLOAD, SIGNATURE = GOOD.split(".")
TWICE = base64url(b'{"htm":"POST",' + base64.urlsafe_b64decode(PAYLOAD + "==")[1:])
TWO_KEYS = base64url(b'{"jwk":{},' + base64.urlsafe_b64decode(HEAD + "==")[1:])

TEXTS = {
    "empty": "",
    "two segments": f"{HEAD}.{PAYLOAD}",
    "four segments": f"{GOOD}.AA",
    "five segments, an encrypted one": f"{GOOD}.AA.AA",
    "no signature": f"{HEAD}.{PAYLOAD}.",
    "no payload": resigned(HEAD, ""),
    "quoted": f'"{GOOD}"',
    "blank after it": f"{GOOD} ",
    "padded": f"{GOOD}==",
    "padded header": f"{HEAD}=.{PAYLOAD}.{SIGNATURE}",
    "a scheme before it": f"DPoP {GOOD}",
    "no ASCII": f"{GOOD}é",
    "JSON": base64.urlsafe_b64decode(HEAD + "==").decode(),
    "a payload that is a list": resigned(HEAD, base64url(b"[]")),
    "a payload that is no JSON": resigned(HEAD, base64url(b"htm")),
    "a payload with a claim twice": resigned(HEAD, TWICE),
    "a header with a member twice": resigned(TWO_KEYS, PAYLOAD),
    "a header that is no JSON": resigned(base64url(b"jwk"), PAYLOAD),
    "another payload under the signature": f"{HEAD}.{TWICE}.{SIGNATURE}",
    "too long": "A" * 8193,
    "too long, and good": proof(pad="A" * 8192),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_texts(text):
    """DPOP-1."""
    assert reason(text) == "dpop_proof_invalid"


def test_size_is_looked_at_first(monkeypatch):
    def never(*_):
        raise AssertionError("looked at")

    monkeypatch.setattr("secure_asgi.bearer.dpop.read_header", never)
    assert note("A" * 8193) == "8193 bytes"


CLAIMS = {
    "no jti": {"jti": None},
    "jti a number": {"jti": 1},
    "jti empty": {"jti": ""},
    "jti a list": {"jti": ["a"]},
    "no htm": {"htm": None},
    "another method": {"htm": "POST"},
    "the method in lower case": {"htm": "get"},
    "htm a list": {"htm": ["GET"]},
    "no htu": {"htu": None},
    "htu a list": {"htu": [URI]},
    "no iat": {"iat": None},
    "iat as text": {"iat": str(NOW)},
    "iat true": {"iat": True},
    "iat a list": {"iat": [NOW]},
    "iat 0": {"iat": 0},
    "iat negative": {"iat": -NOW},
    "iat in milliseconds": {"iat": NOW * 1000},
    "iat beyond every float": {"iat": 10**400},
    "iat below every float": {"iat": -(10**400)},
    "too old": {"iat": NOW - 60.5},
    "made for later": {"iat": NOW + 10.5},
    "exp does not make it younger": {"iat": NOW - 61, "exp": NOW + 60},
    "no ath": {"ath": None},
    "ath of another token": {"ath": base64url(hashlib.sha256(b"another").digest())},
    "ath in hex": {"ath": hashlib.sha256(TOKEN.encode()).hexdigest()},
    "ath padded": {"ath": base64url(hashlib.sha256(TOKEN.encode()).digest()) + "="},
    "ath of SHA-512": {"ath": base64url(hashlib.sha512(TOKEN.encode()).digest())},
    "ath a list": {"ath": [base64url(hashlib.sha256(TOKEN.encode()).digest())]},
    "ath no ASCII": {"ath": "é" * 43},
    "ath empty": {"ath": ""},
}


@pytest.mark.parametrize("claims", CLAIMS.values(), ids=CLAIMS)
def test_claims(claims):
    """DPOP-3, DPOP-4, DPOP-6, DPOP-7."""
    # The factory hashes the token into ath; None leaves it out.
    assert reason(KEY.proof("GET", URI, TOKEN, **claims)) == "dpop_proof_invalid"


@pytest.mark.parametrize("iat", [NOW - 60, NOW - 59.9, NOW, NOW + 10], ids=lambda at: f"{at - NOW:+g}")
def test_the_window(iat):
    """DPOP-6."""
    held = verify(proof(iat=iat))
    assert held.seconds == pytest.approx(iat + 60 - NOW + 10)


def test_a_method_override_overrides_nothing():
    """DPOP-4."""
    headers = [("host", "api.example.com"), ("x-http-method-override", "DELETE"), ("x-method-override", "DELETE")]
    assert "htm" in note(proof("DELETE"), method="POST", headers=headers)
    assert verify(proof("POST"), method="POST", headers=headers)


# --- where it is valid ---------------------------------------------------------------------------------------------

SAME = {
    "upper case, default port, dot segments": ("HTTPS://API.EXAMPLE.COM:443/a/../orders", "/orders"),
    "a query in the claim": (URI + "?a=b", "/orders"),
    "a fragment in the claim": (URI + "#x", "/orders"),
    "a fragment that looks like a query": (URI + "#?x", "/orders"),
    "an empty port": ("https://api.example.com:/orders", "/orders"),
    "a port with zeros": ("https://api.example.com:0443/orders", "/orders"),
    "no path": ("https://api.example.com", "/"),
    "no path but a query": ("https://api.example.com?x", "/"),
    "unreserved, encoded in the claim": ("https://api.example.com/%6frders/%7E%2d", "/orders/~-"),
    "unreserved, encoded in the request": ("https://api.example.com/orders", "/%6Frders"),
    "hex in lower case": ("https://api.example.com/a%2fb", "/a%2Fb"),
    "encoded dot segments": ("https://api.example.com/a/%2e%2E/orders", "/orders"),
    "dot segments in the request": (URI, "/x/.././orders"),
    "a dot segment at the end": ("https://api.example.com/orders/", "/orders/."),
    "two at the end": ("https://api.example.com/", "/orders/.."),
    "above the root": ("https://api.example.com/../../orders", "/orders"),
    "not ASCII": ("https://api.example.com/caf\xe9", "/caf%C3%A9"),
    "blank": ("https://api.example.com/a b", "/a%20b"),
    "empty segments stay": ("https://api.example.com//a//", "//a//"),
    "one of them goes with dots": ("https://api.example.com/a//../b", "/a/b"),
}


@pytest.mark.parametrize(("claim", "path"), SAME.values(), ids=SAME)
def test_one_place_in_other_words(claim, path):
    """DPOP-5."""
    assert verify(proof(uri=claim), path=path)


DIFFERENT = {
    "another path": ("https://api.example.com/order", "/orders"),
    "a slash more": (URI + "/", "/orders"),
    "the path in another case": ("https://api.example.com/Orders", "/orders"),
    "http": ("http://api.example.com/orders", "/orders"),
    "wss": ("wss://api.example.com/orders", "/orders"),
    "another port": ("https://api.example.com:8443/orders", "/orders"),
    "the port of http": ("https://api.example.com:80/orders", "/orders"),
    "port 0": ("https://api.example.com:0/orders", "/orders"),
    "no port there is": ("https://api.example.com:65979/orders", "/orders"),
    "no number": ("https://api.example.com:https/orders", "/orders"),
    "another host": ("https://evil.example/orders", "/orders"),
    "a host that begins so": ("https://api.example.com.evil.example/orders", "/orders"),
    "a dot after it": ("https://api.example.com./orders", "/orders"),
    "userinfo": ("https://x@api.example.com/orders", "/orders"),
    "ours is the userinfo": ("https://api.example.com@evil.example/orders", "/orders"),
    "a backslash": ("https://api.example.com\\@evil.example/orders", "/orders"),
    "%2F is no slash": ("https://api.example.com/a/b", "/a%2Fb"),
    "%252F is no %2F": ("https://api.example.com/a%252Fb", "/a%2Fb"),
    "a question mark in the path": ("https://api.example.com/a?b", "/a%3Fb"),
    "a percent sign alone": ("https://api.example.com/%orders", "/orders"),
    "half an octet": ("https://api.example.com/orders%4", "/orders"),
    "the path alone": ("/orders", "/orders"),
    "no scheme": ("//api.example.com/orders", "/orders"),
    "one slash": ("https:/api.example.com/orders", "/orders"),
    "blank before": (" " + URI, "/orders"),
    "blank after": (URI + " ", "/orders"),
    "a line after": (URI + "\n", "/orders"),
    "a line in the host": ("https://api.example.com\n/orders", "/orders"),
    "a host beyond ASCII": ("https://api.example.c\xf6m/orders", "/orders"),
    "empty": ("", "/orders"),
    "everywhere": ("*", "/orders"),
    "the query moved into the path": ("https://api.example.com/orders%3Fid=1", "/orders"),
}


@pytest.mark.parametrize(("claim", "path"), DIFFERENT.values(), ids=DIFFERENT)
def test_another_place(claim, path):
    """DPOP-5."""
    assert "htu" in note(proof(uri=claim), path=path, query="id=1")


REQUESTS = {
    "raw path with its query": ({"raw_path": b"/orders?a=b"}, URI),
    "no raw path": ({"raw_path": None, "path": "/caf\xe9 %"}, "https://api.example.com/caf%C3%A9%20%25"),
    "a slash that was encoded": ({"raw_path": b"/a%2Fb", "path": "/a/b"}, "https://api.example.com/a%2Fb"),
    "octets": ({"raw_path": b"/\xff"}, "https://api.example.com/%FF"),
    "root_path, in front of the path": (
        {"path": "/v1/orders", "root_path": "/v1"},
        "https://api.example.com/v1/orders",
    ),
    "root_path, cut off by a proxy": ({"root_path": "/v1/"}, "https://api.example.com/v1/orders"),
    "root_path is the path": ({"path": "/v1", "root_path": "/v1"}, "https://api.example.com/v1"),
    "root_path is half a segment": ({"path": "/v10", "root_path": "/v1"}, "https://api.example.com/v1/v10"),
    "http": ({"scheme": "http"}, "http://api.example.com/orders"),
    "a port": ({"headers": [("host", "API.example.com:8443")]}, "https://api.example.com:8443/orders"),
    "an address": ({"headers": [("host", "[::1]:8443")]}, "https://[::1]:8443/orders"),
    "the port of https": ({"headers": [("host", "api.example.com:443")]}, URI),
    "X-Forwarded-Host is not believed": (
        {"headers": [("host", "api.example.com"), ("x-forwarded-host", "evil.example"), ("forwarded", "host=evil")]},
        URI,
    ),
}


@pytest.mark.parametrize(("request_", "claim"), REQUESTS.values(), ids=REQUESTS)
def test_requests(request_, claim):
    """DPOP-5: the address that the client used."""
    if "path" in request_ and "raw_path" not in request_:
        request_ = {**request_, "raw_path": request_["path"].encode()}
    assert verify(proof(uri=claim), **request_)


UNKNOWN_PLACES = {
    "no Host": {"headers": []},
    "two Hosts": {"headers": [("host", "api.example.com"), ("host", "api.example.com")]},
    "a malformed Host": {"headers": [("host", "api.example.com/orders#")]},
    "a Host with a userinfo": {"headers": [("host", "evil@api.example.com")]},
    "an empty Host": {"headers": [("host", "")]},
    "port 0": {"headers": [("host", "api.example.com:0")]},
    "no path": {"raw_path": b"*"},
    "a URI": {"raw_path": b"https://evil.example/orders"},
    "a percent sign alone": {"raw_path": b"/%orders"},
    "another scheme": {"scheme": "ftp"},
}


@pytest.mark.parametrize("request_", UNKNOWN_PLACES.values(), ids=UNKNOWN_PLACES)
def test_a_request_for_no_place(request_):
    assert "the request" in note(proof(), **request_)


def test_the_layers_outside_say_which_scheme_it_is():
    """DPOP-5: TLS ended at a proxy that TrustedProxy believes."""
    scope = asgi.http_scope("/orders", scheme="http", headers={"dpop": proof()})
    exchange = Exchange(scope)
    exchange.scheme = "https"
    assert rules().verify(exchange, scope, TOKEN.encode(), KEY.thumbprint)


@pytest.mark.parametrize("origin", ["https://shop.example", "HTTPS://Shop.Example:443/"])
def test_origin_is_where_clients_find_us(origin):
    ruled = rules(origin=origin)
    for headers in ([("host", "10.0.0.1:8000")], []):
        assert verify(proof(uri="https://shop.example/orders"), ruled=ruled, scheme="http", headers=headers)
        assert "htu" in note(proof(uri="http://10.0.0.1:8000/orders"), ruled=ruled, scheme="http", headers=headers)


@given(st.text(max_size=60) | st.text(alphabet="htps:/.%2eEfF@[]?#\\ ", max_size=40).map("https://a".__add__))
def test_normalising_is_done_once(text):
    """Whatever is a URI has one normal form; everything else is a ValueError."""
    try:
        normal = normal_uri(text)
    except ValueError:
        return
    assert normal_uri(normal) == normal
    assert normal.isascii()


# --- nonces --------------------------------------------------------------------------------------------------------


def nonces(clock=NOW, secret="s" * 32):
    made = Nonces(Secret(secret))
    made._clock = lambda: clock
    return made


NONCES = nonces()


@pytest.mark.parametrize(
    ("nonce", "refused"),
    [
        pytest.param(nonces().current(), False, id="of now"),
        pytest.param(nonces(NOW - 60).current(), False, id="of before"),
        pytest.param(None, True, id="none: no downgrade"),
        pytest.param(nonces(NOW - 120).current(), True, id="expired"),
        pytest.param(nonces(NOW + 60).current(), True, id="of later"),
        pytest.param(nonces(secret="t" * 32).current(), True, id="of somebody else"),
        pytest.param("", True, id="empty"),
        pytest.param(7, True, id="a number"),
        pytest.param([nonces().current()], True, id="a list"),
    ],
)
def test_nonces(nonce, refused):
    """DPOP-12."""
    made = proof(nonce=nonce)
    if refused:
        assert reason(made, ruled=rules(nonces=NONCES)) == "dpop_nonce_required"
    else:
        assert verify(made, ruled=rules(nonces=NONCES))
    assert verify(made)  # where none is demanded, none is looked at


@pytest.mark.parametrize(
    ("iat", "holds"),
    [(NOW - 300, True), (NOW - 300.5, False), (NOW + 10, True), (NOW + 10.5, False)],
    ids=lambda value: f"{value - NOW:+g}" if value > 1 else str(value),
)
def test_with_a_nonce_the_clients_clock_may_be_late(iat, holds):
    """DPOP-6."""
    made = proof(nonce=NONCES.current(), iat=iat)
    if holds:
        assert verify(made, ruled=rules(nonces=NONCES)).seconds <= 2 * 60 + 10  # then its nonce is gone
    else:
        assert "iat" in note(made, ruled=rules(nonces=NONCES))


# --- replay --------------------------------------------------------------------------------------------------------


def test_a_proof_is_used_once():
    """DPOP-9."""
    ruled = rules()
    made = proof()
    assert ruled.remember(verify(made, ruled=ruled)) is None
    with pytest.raises(TokenError) as refused:
        ruled.remember(verify(made, ruled=ruled))
    assert refused.value.reason == "dpop_proof_replayed"


def test_what_makes_a_proof_another():
    """DPOP-9: the client's key, the place and the jti; another iat or spelling of the place does not."""
    first = verify(proof(jti="a")).replay_key
    assert verify(proof(jti="a", iat=NOW + 1, uri=URI + "?x")).replay_key == first
    assert verify(proof("POST", jti="a"), method="POST").replay_key == first
    others = (
        verify(proof(jti="b")),
        verify(proof(jti="a", uri=URI + "/2"), path="/orders/2"),
        verify(OTHER.proof("GET", URI, TOKEN, jti="a"), bound_to=OTHER.thumbprint),
    )
    assert len({first, *(other.replay_key for other in others)}) == 4
    assert first.startswith(KEY.thumbprint + ":")
    assert len(verify(proof(jti="j" * 4000)).replay_key) == 87


def test_a_proof_that_is_refused_is_not_remembered():
    """DPOP-9: only what was signed gets into the store."""
    store = MemoryReplayStore()
    ruled = rules(store=store)
    reason(OTHER.proof("GET", URI, TOKEN, header={"jwk": KEY.jwk}), ruled=ruled)
    verify(proof(), ruled=ruled)
    assert len(store._seen) == 0


class Store:
    """Answers, or raises, what it is given; at once or awaited."""

    def __init__(self, answer, later):
        self.answer, self.later = answer, later

    def add(self, key, seconds):
        self.asked = key, seconds
        return self.give_later() if self.later else self.give()

    def give(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def give_later(self):
        return self.give()


def remember(store):
    ruled = rules(store=store)
    held = verify(proof(), ruled=ruled)

    async def run():
        waiting = ruled.remember(held)
        if waiting is not None:
            await waiting

    asyncio.run(run())
    assert store.asked == (held.replay_key, held.seconds)


FULL = UnavailableError("replay_store_unavailable", "full", 7.0)


@pytest.mark.parametrize("later", [False, True], ids=["at once", "awaited"])
def test_stores(later):
    remember(Store(True, later))
    for answer in (False, None, 1, "yes"):  # nothing but True lets a proof pass
        with pytest.raises(TokenError) as refused:
            remember(Store(answer, later))
        assert refused.value.reason == "dpop_proof_replayed"
    with pytest.raises(UnavailableError) as down:
        remember(Store(FULL, later))
    assert down.value is FULL
    assert down.value.__cause__ is None
    with pytest.raises(UnavailableError) as down:
        remember(Store(OSError("redis://user:password@host"), later))
    assert down.value.reason == "replay_store_unavailable"
    assert str(down.value) == "OSError"


# --- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"store": None}, "store= remembers proofs"),
        ({"store": {}}, "store= remembers proofs"),
        ({"nonces": "s" * 32}, r"nonces= is Nonces\(secret\), or None for none; got str"),
        ({"algorithms": "HS256"}, "signed with a private key"),
        ({"algorithms": ["none"]}, "algorithms= takes some of"),
        ({"algorithms": ()}, "algorithms= takes some of"),
        ({"origin": "api.example.com"}, "origin= is where clients find us"),
        ({"origin": "https://api.example.com/v1"}, "origin= is where clients find us"),
        ({"origin": "https://api.example.com?x"}, "origin= is where clients find us"),
        ({"origin": "wss://api.example.com"}, "origin= is where clients find us"),
        ({"origin": "https://"}, "origin= is where clients find us"),
        ({"origin": 7}, "origin= is where clients find us"),
    ],
)
def test_options(options, says):
    with pytest.raises(ConfigurationError, match=says):
        rules(**options)


def test_a_password_in_the_origin_is_not_repeated():
    with pytest.raises(ConfigurationError) as refused:
        rules(origin="https://user:hunter2@api.example.com")
    assert "hunter2" not in str(refused.value)


def test_no_refusal_repeats_the_proof_or_the_token():
    for text in TEXTS.values():
        with pytest.raises(TokenError) as refused:
            verify(text)
        said = str(refused.value)
        assert TOKEN not in said
        assert not [part for part in text.split(".") if len(part) > 16 and part in said]
