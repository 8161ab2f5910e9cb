"""Every token an attacker can write gets one and the same answer; every good one its principal."""

import base64
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_asgi import BearerAuthMiddleware, ConfigurationError, Principal, TokenError, exchange_of
from secure_asgi.bearer import KeySet, verify_access_token, verify_jws
from secure_asgi.testing import TokenFactory

from . import asgi

NOW = 1_790_000_000
TOKENS = TokenFactory(clock=lambda: NOW)
RULES = {"issuer": TOKENS.issuer, "audience": "orders", "jwks": TOKENS.jwks}


async def who(scope, receive, send):
    """Answers with what the layer has found."""
    principal = exchange_of(scope).principal
    found = {
        "principal": principal.subject if principal else None,
        "user": scope["user"].is_authenticated,
        "scopes": list(scope["auth"].scopes),
    }
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(found).encode()})


def layer(app=who, **options):
    made = BearerAuthMiddleware(app, **{**RULES, **options})
    made._clock = lambda: NOW
    return made


def ask(token, **options):
    return asgi.http(layer(**options), headers={"authorization": f"Bearer {token}"})


def reason_of(answer_or_app, **options):
    seen = []

    class Spy(BearerAuthMiddleware):
        def on_end(self, exchange):
            seen.append(exchange.denial.reason if exchange.denial else "")

    made = Spy(who, **{**RULES, **options.pop("rules", {})})
    made._clock = lambda: NOW
    answer = asgi.http(made, **options)
    return answer, seen[0]


def segment(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def with_header(header):
    """A good token under another header, given as bytes or as an object; the signature is over the old one."""
    _, claims, signature = TOKENS.token().split(".")
    return f"{segment(header)}.{claims}.{signature}"


def with_raw_claims(text, typ="at+jwt"):
    """Signed well, whatever the claims are."""
    key = TOKENS._keys[-1]
    header = {"alg": "ES256", "kid": key.kid} | ({"typ": typ} if typ else {})
    signed = f"{segment(header)}.{segment(text)}"
    return f"{signed}.{segment(key._signer.sign(signed.encode(), key._private))}"


KID = TOKENS._keys[-1].kid
GOOD = TOKENS.token()
HEAD, BODY, TAIL = GOOD.split(".")
BAD = [
    ("expired (JWT-14)", TOKENS.token(exp=NOW - 31), "token_expired"),
    ("exp missing", TOKENS.token(exp=None), "token_claim_missing"),
    ("exp as text", TOKENS.token(exp=str(NOW + 60)), "token_claim_invalid"),
    ("exp true", TOKENS.token(exp=True), "token_claim_invalid"),
    ("exp negative", TOKENS.token(exp=-1), "token_claim_invalid"),
    ("exp beyond time", TOKENS.token(exp=10**15), "token_claim_invalid"),
    ("exp 1e999", with_raw_claims(b'{"exp":1e999}'), "token_malformed"),
    ("exp NaN", with_raw_claims(b'{"exp":NaN}'), "token_malformed"),
    ("nbf ahead (JWT-15)", TOKENS.token(nbf=NOW + 31), "token_not_yet_valid"),
    ("nbf as text", TOKENS.token(nbf="0"), "token_claim_invalid"),
    ("iat ahead", TOKENS.token(iat=NOW + 31), "token_not_yet_valid"),
    ("iss with a slash (JWT-12)", TOKENS.token(iss=TOKENS.issuer + "/"), "token_issuer_wrong"),
    ("iss missing", TOKENS.token(iss=None), "token_claim_missing"),
    ("aud of another (JWT-13)", TOKENS.token(aud="billing"), "token_audience_wrong"),
    ("aud by prefix", TOKENS.token(aud="order"), "token_audience_wrong"),
    ("aud nested", TOKENS.token(aud=[["orders"]]), "token_claim_invalid"),
    ("aud missing", TOKENS.token(aud=None), "token_claim_missing"),
    ("aud empty", TOKENS.token(aud=[]), "token_audience_wrong"),
    ("sub missing (JWT-16)", TOKENS.token(sub=None), "token_claim_missing"),
    ("sub empty", TOKENS.token(sub=""), "token_claim_invalid"),
    ("sub a number", TOKENS.token(sub=7), "token_claim_invalid"),
    ("jti a number", TOKENS.token(jti=7), "token_claim_invalid"),
    ("scope a list (BRR-9)", TOKENS.token(scope=["a"]), "token_claim_invalid"),
    ("bound to a key (TOK-5)", TOKENS.token(cnf={"jkt": "x"}), "token_binding_unverified"),
    ("an ID token", TOKENS.token(header={"typ": "JWT"}, nonce="n"), "token_type_wrong"),
    ("a logout token", TOKENS.token(header={"typ": "logout+jwt"}), "token_type_wrong"),
    ("a DPoP proof", TOKENS.token(header={"typ": "dpop+jwt"}), "token_type_wrong"),
    ("a token in a token (JWT-11)", TOKENS.token(header={"cty": "JWT"}), "token_type_wrong"),
    ("alg none (JWT-4)", TOKENS.unsigned(), "token_algorithm_refused"),
    ("alg nOnE", with_header({"alg": "nOnE"}), "token_algorithm_refused"),
    ("alg HS256, the public key as secret", with_header({"alg": "HS256", "kid": KID}), "token_algorithm_refused"),
    ("alg of another key type (JWT-5)", with_header({"alg": "RS256", "kid": KID}), "token_key_mismatch"),
    ("alg a list", with_header({"alg": ["ES256"]}), "token_header_invalid"),
    ("alg missing", with_header({}), "token_header_invalid"),
    ("alg twice (JWT-3)", with_header(b'{"alg":"none","alg":"ES256"}'), "token_malformed"),
    ("crit (JWT-7)", with_header({"alg": "ES256", "kid": KID, "crit": ["exp"]}), "token_critical_header"),
    ("crit null", with_header({"alg": "ES256", "kid": KID, "crit": None}), "token_critical_header"),
    ("b64 false", with_header({"alg": "ES256", "kid": KID, "b64": False}), "token_critical_header"),
    ("enc", with_header({"alg": "ES256", "kid": KID, "enc": "A256GCM"}), "token_header_invalid"),
    ("typ a number", with_header({"alg": "ES256", "kid": KID, "typ": 1}), "token_header_invalid"),
    ("kid null", with_header({"alg": "ES256", "kid": None}), "token_header_invalid"),
    ("kid of 1 kB (JWT-9)", with_header({"alg": "ES256", "kid": "x" * 1024}), "token_header_invalid"),
    ("kid a path", with_header({"alg": "ES256", "kid": "../../dev/null"}), "token_key_unknown"),
    ("its own jwk (JWT-8)", with_header({"alg": "ES256", "jwk": TOKENS.jwks["keys"][0]}), "token_signature_invalid"),
    ("header over 4 kB", with_header({"alg": "ES256", "x": "y" * 4100}), "token_malformed"),
    ("header an array", with_header(b"[]"), "token_malformed"),
    ("header UTF-16", with_header('{"alg":"ES256"}'.encode("utf-16")), "token_malformed"),
    ("header with a byte order mark", with_header(b'\xef\xbb\xbf{"alg":"ES256"}'), "token_malformed"),
    ("half a surrogate pair", with_header(b'{"alg":"ES256","kid":"\\ud800"}'), "token_malformed"),
    ("nested deep", with_header(b'{"a":' * 9 + b"1" + b"}" * 9), "token_malformed"),
    ("nested deeper than Python goes", with_header(b'{"a":' + b"[" * 1500 + b"]" * 1500 + b"}"), "token_malformed"),
    ("an array in claims", with_raw_claims(b'{"a":' + b"[" * 9 + b"]" * 9 + b"}"), "token_malformed"),
    ("claims twice", with_raw_claims(b'{"sub":"a","sub":"b"}'), "token_malformed"),
    ("a key nobody published", TOKENS.unknown_key(), "token_key_unknown"),
    ("another key's signature", TOKENS.forged(), "token_signature_invalid"),
    ("signature cut", f"{HEAD}.{BODY}.{TAIL[:84]}", "token_signature_invalid"),
    ("signature empty", f"{HEAD}.{BODY}.", "token_signature_invalid"),
    ("signature of zeros (CVE-2022-21449)", f"{HEAD}.{BODY}.{segment(bytes(64))}", "token_signature_invalid"),
    ("payload swapped", f"{HEAD}.{segment({'sub': 'root'})}.{TAIL}", "token_signature_invalid"),
    ("stray bits at the end (JWT-2)", f"{HEAD}.{BODY}.{TAIL[:-1]}{'B' if TAIL[-1] != 'B' else 'C'}", "token_malformed"),
    ("two segments (JWT-1)", f"{HEAD}.{BODY}", "token_malformed"),
    ("five segments", f"{GOOD}.a.b", "token_malformed"),
    ("a character of another alphabet", f"{HEAD}.{BODY}+.{TAIL}", "token_signature_invalid"),
    ("9 kB", "a" * 9000, "token_too_large"),
]


@pytest.mark.parametrize(("token", "reason"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_tokens(token, reason):
    answer, found = reason_of(None, headers={"authorization": f"Bearer {token}"})
    assert (answer.status, found) == (401, reason)
    assert token not in answer.body.decode()


def test_all_bad_tokens_get_the_same_answer():
    """No oracle: the reason is in the audit log alone."""
    answers = {
        (answer.headers["www-authenticate"], json.dumps({**answer.problem, "request_id": ""}))
        for answer in (ask(row[1]) for row in BAD)
    }
    assert len(answers) == 1
    assert next(iter(answers))[0].startswith('Bearer realm="api", error="invalid_token"')


GOODS = [
    ("as issued", GOOD),
    ("within the leeway", TOKENS.token(exp=NOW - 29)),
    ("not before, within the leeway", TOKENS.token(nbf=NOW + 29, iat=NOW + 29)),
    ("one audience of several", TOKENS.token(aud=["billing", "orders"])),
    ("dates with fractions", TOKENS.token(exp=NOW + 0.5)),
    ("typ JWT", TOKENS.token(header={"typ": "JWT"})),
    ("typ as a media type", TOKENS.token(header={"typ": "application/AT+JWT"})),
    (
        "no typ",
        with_raw_claims(
            json.dumps({"iss": TOKENS.issuer, "aud": "orders", "sub": "u", "exp": NOW + 9}).encode(), typ=None
        ),
    ),
    ("unknown header members are ignored", TOKENS.token(header={"x5t": "abc"})),
    ("unicode", TOKENS.token(name="\u00e4\U0001f600")),
    (
        "an escaped pair",
        with_raw_claims(
            json.dumps({"iss": TOKENS.issuer, "aud": "orders", "sub": "\U0001f600", "exp": NOW + 9}).encode()
        ),
    ),
    ("arrays of some depth", TOKENS.token(groups=[["a"], ["b"], ["c"], ["d"], ["e"], ["f"], ["g"], ["h"]])),
]


@pytest.mark.parametrize("token", [row[1] for row in GOODS], ids=[row[0] for row in GOODS])
def test_good_tokens(token):
    assert ask(token).status == 200


CREDENTIALS = [
    ("none (BRR-4)", {}, 401, "token_missing"),
    ("of another scheme", {"authorization": "Basic dTpw"}, 401, "token_missing"),
    ("of a longer scheme", {"authorization": f"BearerX {GOOD}"}, 401, "token_missing"),
    ("another scheme, long", {"authorization": "Basic " + "a" * 9000}, 401, "token_missing"),
    ("the scheme alone", {"authorization": "Bearer"}, 400, "credentials_malformed"),
    ("the scheme and a space", {"authorization": "Bearer "}, 400, "credentials_malformed"),
    ("a tab for a space", {"authorization": f"Bearer\t{GOOD}"}, 400, "credentials_malformed"),
    ("two tokens", {"authorization": f"Bearer {GOOD} {GOOD}"}, 400, "credentials_malformed"),
    ("a comma", {"authorization": f"Bearer {GOOD},"}, 400, "credentials_malformed"),
    ("padding alone", {"authorization": "Bearer =="}, 400, "credentials_malformed"),
    (
        "two fields (BRR-2)",
        [("authorization", f"Bearer {GOOD}"), ("authorization", f"Bearer {GOOD}")],
        400,
        "credentials_ambiguous",
    ),
    ("lower-case scheme (BRR-1)", {"authorization": f"bearer {GOOD}"}, 200, ""),
    ("several spaces", {"authorization": f"Bearer   {GOOD}"}, 200, ""),
]


@pytest.mark.parametrize(
    ("headers", "status", "reason"), [row[1:] for row in CREDENTIALS], ids=[r[0] for r in CREDENTIALS]
)
def test_credentials(headers, status, reason):
    raw = [
        (name.encode(), value.encode()) for name, value in (headers if isinstance(headers, list) else headers.items())
    ]
    answer, found = reason_of(None, headers=raw)
    assert (answer.status, found) == (status, reason)
    challenge = answer.headers.get("www-authenticate", "")
    assert ("error=" in challenge) == (status == 400)
    assert bool(challenge) == (status != 200)


def test_a_token_in_the_query_is_not_looked_at():
    """BRR-3."""
    assert asgi.http(layer(), query=f"access_token={GOOD}").status == 401


def test_websockets():
    assert asgi.websocket(layer(asgi.hello)).status == 401
    assert asgi.websocket(layer(asgi.hello), denial_response=False).close_code == 1008
    opened = asgi.websocket(layer(asgi.hello), headers={"authorization": f"Bearer {GOOD}"})
    assert opened.messages[0]["type"] == "websocket.accept"


def test_the_principal():
    token = TOKENS.token(scope="orders:write orders:read", roles=["admin", {"value": "x"}], jti="t-1")
    assert json.loads(ask(token).body) == {
        "principal": "user-1",
        "user": True,
        "scopes": ["orders:read", "orders:write"],
    }
    claims = verify_access_token(token, TOKENS.jwks, issuer=TOKENS.issuer, audience=["orders"], now=NOW)
    assert (claims.subject, claims.token_id, claims.client_id) == ("user-1", "t-1", "client-1")
    assert claims.roles == {"admin"}
    assert claims.audience == ("orders",)
    with pytest.raises(TypeError):
        claims.all["sub"] = "root"


NOBODY = {"principal": None, "user": False, "scopes": []}


@pytest.mark.parametrize(
    ("options", "headers", "status"),
    [
        ({"required": False}, {}, 200),
        ({"required": False}, {"authorization": "Bearer junk"}, 401),
        ({"exempt": "/"}, {}, 200),
        ({"exempt": "/"}, {"authorization": "Bearer junk"}, 200),
        ({"mode": "shadow"}, {}, 200),
        ({"mode": "shadow"}, {"authorization": "Bearer junk"}, 200),
    ],
)
def test_who_passes_as_nobody(options, headers, status):
    """``requires()`` must find a user to ask, on every path that is let through."""
    answer = asgi.http(layer(**options), headers=headers)
    assert answer.status == status
    if status == 200:
        assert json.loads(answer.body) == NOBODY


def test_somebody_known_already_stays():
    """A client certificate, on a path where no token is needed."""

    class Certificate(BearerAuthMiddleware):
        def on_exempt(self, exchange, scope):
            exchange.principal = Principal(subject="shop", method="mtls", scopes=frozenset({"a"}))
            super().on_exempt(exchange, scope)

    answer = asgi.http(Certificate(who, **RULES, exempt="/"))
    assert json.loads(answer.body) == {"principal": "shop", "user": True, "scopes": ["a"]}


def test_profiles_and_lifetimes(caplog):
    """AT-1, AT-8."""
    strict = {"profile": "rfc9068"}
    assert ask(GOOD, **strict).status == 200
    for missing in ("client_id", "jti", "iat"):
        assert ask(TOKENS.token(**{missing: None}), **strict).status == 401
    assert ask(TOKENS.token(header={"typ": "JWT"}), **strict).status == 401
    assert ask(GOOD, max_lifetime=300).status == 200
    assert ask(TOKENS.token(exp=NOW + 301), max_lifetime=300).status == 401
    assert "longer than a day" not in caplog.text
    assert ask(TOKENS.token(exp=NOW + 90_000)).status == 200
    assert caplog.text.count("longer than a day") == 1


def test_a_verified_token_is_remembered_and_never_beyond_its_time():
    made, now = layer(), [1000.0]
    made._now = lambda: now[0]
    headers = {"authorization": f"Bearer {TOKENS.token(exp=NOW + 100)}"}
    assert asgi.http(made, headers=headers).status == 200
    made._judge = None  # nothing can be verified any more
    now[0] += 129
    assert asgi.http(made, headers=headers).status == 200
    now[0] += 2
    assert asgi.http(made, headers=headers).status == 500


def test_junk_is_not_remembered():
    made = layer()
    for count in range(100):
        asgi.http(made, headers={"authorization": f"Bearer {HEAD}.{BODY}.{count}"})
    assert len(made._verified) == 0


def test_a_token_is_remembered_once_however_its_scheme_is_spelt():
    """Else the holder of one token could push those of all others out."""
    made = layer()
    for spelling in ("Bearer ", "bearer ", "BEARER  ", "Bearer   "):
        assert asgi.http(made, headers={"authorization": spelling + GOOD}).status == 200
    assert len(made._verified) == 1


ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "ES512", "Ed25519"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithms(algorithm):
    issuer = TokenFactory(algorithm=algorithm)
    assert verify_jws(issuer.token(), issuer.jwks, algorithms=algorithm)[0]["alg"] == algorithm
    with pytest.raises(TokenError) as caught:
        verify_jws(issuer.forged(), issuer.jwks, algorithms=ALGORITHMS)
    assert caught.value.reason == "token_signature_invalid"


def test_a_prepared_key_set_serves_its_own_algorithms_only():
    keys = KeySet(TOKENS.jwks, algorithms=["ES256", "RS256"])
    assert verify_jws(GOOD, keys, algorithms="ES256")[1]
    with pytest.raises(TokenError) as caught:
        verify_jws(GOOD, keys, algorithms="RS256")
    assert caught.value.reason == "token_algorithm_refused"


def test_a_token_that_is_no_ascii():
    with pytest.raises(TokenError) as caught:
        verify_jws("t\u00f6ken", TOKENS.jwks, algorithms="ES256")
    assert caught.value.reason == "token_malformed"


def test_a_single_key_needs_no_kid_and_two_do():
    """JWT-9."""
    issuer = TokenFactory()
    token = issuer.token(header={"kid": None})
    nameless = {"keys": [{k: v for k, v in issuer.jwks["keys"][0].items() if k != "kid"}]}
    without = issuer._keys[-1]
    signed = f"{segment({'alg': 'ES256'})}.{segment({'sub': 'x'})}"
    bare = f"{signed}.{segment(without._signer.sign(signed.encode(), without._private))}"
    assert verify_jws(bare, nameless, algorithms="ES256")
    issuer.rotate()
    for refused in (bare, token):
        with pytest.raises(TokenError):
            verify_jws(refused, issuer.jwks, algorithms="ES256")


EC = TOKENS.jwks["keys"][0]
RSA = TokenFactory(algorithm="RS256").jwks["keys"][0]
SECRET = {"kty": "oct", "kid": "s", "k": segment(b"k" * 32)}
KEYS = [
    ("good", EC, True),
    ("no object", "key", False),
    ("kid a number", {**EC, "kid": 1}, False),
    ("unknown kty", {**EC, "kty": "PQ"}, False),
    ("kty a list", {**EC, "kty": ["EC"]}, False),
    ("use enc", {**EC, "use": "enc"}, False),
    ("key_ops without verify", {**EC, "key_ops": ["encrypt"]}, False),
    ("key_ops verify", {**EC, "key_ops": ["verify"]}, True),
    ("unknown curve", {**EC, "crv": "P-192"}, False),
    ("curve a number", {**EC, "crv": 1}, False),
    ("alg that does not fit", {**EC, "alg": "ES384"}, False),
    ("no alg", {k: v for k, v in EC.items() if k != "alg"}, True),
    ("a point off the curve", {**EC, "y": EC["x"]}, False),
    ("a member missing", {k: v for k, v in EC.items() if k != "x"}, False),
    ("padded", {**EC, "x": EC["x"] + "="}, False),
    ("published with its private half", {**EC, "d": EC["x"]}, False),
    ("a published secret", SECRET, False),
    ("RSA", RSA, True),
    ("RSA of 1024 bits (JWT-6)", {**RSA, "n": segment(b"\x80" + b"\x01" * 127)}, False),
    ("RSA too long", {**RSA, "n": segment(b"\x80" + b"\x01" * 2100)}, False),
]


@pytest.mark.parametrize(("member", "is_usable"), [row[1:] for row in KEYS], ids=[row[0] for row in KEYS])
@pytest.mark.parametrize("order", [1, -1])
def test_one_bad_key_never_takes_the_good_ones_with_it(member, is_usable, order):
    """GHSA of 2026: one bad member killed the set; here it is left out and named."""
    other = TokenFactory()
    keys = KeySet({"keys": [member, *other.jwks["keys"]][::order]}, algorithms=["ES256", "RS256"], remote=True)
    assert verify_jws(other.token(), keys, algorithms="ES256")
    assert len(keys.dropped) == (not is_usable)


def test_two_keys_of_one_name_are_ambiguous():
    first, second = TokenFactory(), TokenFactory()
    twins = [{**first.jwks["keys"][0], "kid": "k"}, {**second.jwks["keys"][0], "kid": "k"}]
    keys = KeySet({"keys": twins}, algorithms="ES256")
    assert not keys
    assert keys.dropped


def test_hmac_alone_with_a_long_secret():
    """JWT-6, and never beside public-key algorithms."""
    header, claims = segment({"alg": "HS256", "kid": "s"}), segment({"sub": "x"})
    import hashlib
    import hmac

    mac = hmac.digest(b"k" * 32, f"{header}.{claims}".encode(), hashlib.sha256)
    assert verify_jws(f"{header}.{claims}.{segment(mac)}", {"keys": [SECRET]}, algorithms="HS256")
    assert not KeySet({"keys": [{**SECRET, "k": segment(b"short")}]}, algorithms="HS256")
    assert not KeySet({"keys": [{**SECRET, "k": ""}]}, algorithms="HS256")


def test_the_header_memo_is_bounded():
    keys = KeySet(TOKENS.jwks, algorithms="ES256")
    for count in range(130):
        verify_jws(TOKENS.token(header={"n": count}), keys, algorithms="ES256")
    assert len(keys.memo) <= 64


WRONG = [
    ({"issuer": ""}, "issuer= is the iss of your tokens"),
    ({"audience": ()}, "audience= is the name your tokens have"),
    ({"profile": "oidc"}, 'profile= is "jwt" or "rfc9068"'),
    ({"leeway": 301}, "leeway= is seconds from 0 to 300"),
    ({"leeway": True}, "leeway="),
    ({"max_lifetime": 0}, "max_lifetime="),
    ({"max_bytes": 10**6}, "max_bytes="),
    ({"realm": 'a"b'}, "realm="),
    ({"algorithms": "none"}, "algorithms= takes some of"),
    ({"algorithms": ()}, "got none"),
    ({"algorithms": ("HS256", "RS256")}, "keep one kind"),
    ({"jwks_uri": "https://id.example.com/jwks"}, "not from both"),
    ({"jwks": {}}, "a dict with a list of keys"),
    ({"jwks": {"keys": []}}, "no key that can verify"),
    ({"jwks": {"keys": [EC] * 101}}, "at most 100 keys"),
    ({"jwks": {"keys": [{**EC, "d": EC["x"]}]}}, "the private key"),
    ({"jwks": None, "jwks_uri": "http://id.example.com/jwks"}, "jwks_uri= is an https URL"),
    ({"jwks": None, "issuer": "id.example.com"}, "issuer= is an https URL"),
    ({"jwks": None, "algorithms": "HS256"}, "HMAC keys are never published"),
    ({"jwks": None, "jwks_ttl": 0}, "jwks_ttl= is a positive number"),
    ({"jwks": None, "refresh_cooldown": float("inf")}, "refresh_cooldown="),
    ({"jwks": None, "fetch_timeout": True}, "fetch_timeout="),
    ({"jwks": None, "http": "client"}, "http= is an httpx.AsyncClient"),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG, ids=[row[1] for row in WRONG])
def test_wrong_options(options, sentence):
    with pytest.raises(ConfigurationError) as caught:
        BearerAuthMiddleware(who, **{**RULES, **options})
    assert sentence in str(caught.value)


def test_small_rsa_keys_are_used_and_said(caplog):
    """ASVS 11.2.3."""
    BearerAuthMiddleware(who, **{**RULES, "jwks": {"keys": [RSA]}})
    assert "less than 3072 bits" in caplog.text


def test_no_token_is_over_16_kib():
    with pytest.raises(TokenError) as caught:
        verify_jws("a" * 16_385, TOKENS.jwks, algorithms="ES256")
    assert caught.value.reason == "token_too_large"


def test_bytes_are_tokens_too():
    assert verify_jws(GOOD.encode(), TOKENS.jwks, algorithms="ES256")


def test_without_pyjwt(monkeypatch):
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'pyjwt\[crypto\]'"):
        BearerAuthMiddleware(who, **RULES)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.binary(max_size=200), st.builds("{}.{}.{}".format, st.just(HEAD), st.text(), st.text())))
def test_only_token_errors_escape(token):
    with pytest.raises(TokenError):
        verify_access_token(token, TOKENS.jwks, issuer=TOKENS.issuer, audience="orders")
