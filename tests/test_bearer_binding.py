"""Tokens bound to a client certificate (RFC 8705 section 3): TOK-1 to TOK-5, with mutual TLS in front."""

import base64
import hashlib
import json
import ssl

import pytest

from secure_asgi import (
    BearerAuthMiddleware,
    ConfigurationError,
    MutualTLSMiddleware,
    TokenError,
    exchange_of,
    verify_access_token,
)
from secure_asgi.flow import Layer
from secure_asgi.mutual_tls.certificate import read_certificates
from secure_asgi.testing import TokenFactory
from secure_asgi.testing.certificates import CertificateAuthority

from . import asgi

AUTHORITY = CertificateAuthority("Test CA")
SHOP, OTHER = AUTHORITY.issue("dns:shop.example"), AUTHORITY.issue("dns:other.example")
PEM = SHOP.certificate_pem.decode()
DER = ssl.PEM_cert_to_DER_cert(PEM)
PEER = read_certificates((DER,))
DIGEST = hashlib.sha256(DER).digest()
TOKENS = TokenFactory()
RULES = {"issuer": TOKENS.issuer, "audience": TOKENS.audience, "jwks": TOKENS.jwks}


def base64url(octets):
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


THUMBPRINT = base64url(DIGEST)


async def whoami(scope, receive, send):
    """Answers with who is asking, by token or by certificate."""
    if scope["type"] == "websocket":
        return await asgi.hello(scope, receive, send)
    principal = exchange_of(scope).principal
    body = json.dumps([principal.method, principal.subject] if principal else None).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
    return None


class Watch(Layer):
    """Keeps why the last request was refused."""

    def on_end(self, exchange):
        self.denial = exchange.denial


class Stack:
    """Bearer tokens behind client certificates, none of which is required."""

    def __init__(self, *, certificates=True, **options):
        app = self.bearer = BearerAuthMiddleware(whoami, **{**RULES, **options})
        app = MutualTLSMiddleware(app, required=False) if certificates else app
        self.app = self.watch = Watch(app)

    def ask(self, token, issued=None, ask=asgi.http, **options):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        tls = issued.tls_extension() if issued else {"client_cert_chain": ()}
        return ask(self.app, headers=headers, extensions={"tls": tls}, **options)

    def reason(self, token, issued=None, **options):
        self.ask(token, issued, **options)
        return self.watch.denial and self.watch.denial.reason


def bound(to=THUMBPRINT, **claims):
    return TOKENS.token(cnf={"x5t#S256": to}, **claims)


INVALID_TOKEN = (
    'Bearer realm="api", error="invalid_token", error_description="the access token is not valid here"'  # TOK-4
)


# --- who may use it ------------------------------------------------------------------------------------------------


def test_the_client_that_the_token_was_issued_to():
    """TOK-2."""
    answer = Stack().ask(bound(), SHOP)
    assert answer.status == 200
    assert json.loads(answer.body) == ["bearer", "user-1"]


@pytest.mark.parametrize("issued", [OTHER, None], ids=["another client", "no certificate"])
@pytest.mark.parametrize("ask", [asgi.http, asgi.websocket])
def test_nobody_else(issued, ask):
    """TOK-4, TOK-5: 401 as for every bad token, and no word of the certificate."""
    stack = Stack()
    assert stack.ask(bound(), SHOP, ask=ask).error is None
    assert stack.watch.denial is None
    answer = stack.ask(bound(), issued, ask=ask)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == INVALID_TOKEN
    assert answer.problem["detail"] == "The access token is not valid here."
    assert stack.watch.denial.reason == "token_binding_mismatch"


def test_the_audit_log_says_which_certificates_they_are():
    stack = Stack()
    stack.ask(bound(), OTHER)
    shown = base64url(hashlib.sha256(ssl.PEM_cert_to_DER_cert(OTHER.certificate_pem.decode())).digest())
    assert stack.watch.denial.note == f"bound to certificate {THUMBPRINT}, and {shown} was shown"
    stack.ask(bound(), None)
    assert stack.watch.denial.note == "bound to a client certificate, and none was shown"


def test_a_websocket_of_the_client():
    opened = Stack().ask(bound(), SHOP, ask=asgi.websocket)
    assert opened.messages[0]["type"] == "websocket.accept"


def test_a_token_that_is_remembered_is_still_one_clients():
    """The cache remembers the signature, never the binding; and whoever has stolen it does not push it out."""
    stack, token = Stack(), bound()
    for _ in range(2):
        assert stack.ask(token, SHOP).status == 200
        assert stack.ask(token, OTHER).status == 401
        assert stack.ask(token, None).status == 401
        stack.bearer._rules = None  # nothing can be verified any more
    assert len(stack.bearer._verified) == 1


def test_who_steals_it_first_gains_nothing():
    stack, token = Stack(), bound()
    assert stack.ask(token, OTHER).status == 401
    assert stack.ask(token, OTHER).status == 401
    assert stack.ask(token, SHOP).status == 200


def test_without_mutual_tls_nobody_can_use_it():
    """TOK-5: no downgrade to a bearer token where client certificates are not looked at, nor on their exempt paths."""
    assert Stack(certificates=False).reason(bound(), SHOP) == "token_binding_mismatch"
    exempt = MutualTLSMiddleware(BearerAuthMiddleware(whoami, **RULES), exempt="/open")
    headers = {"authorization": f"Bearer {bound()}"}
    assert asgi.http(exempt, "/open", headers=headers, extensions={"tls": SHOP.tls_extension()}).status == 401


def test_a_header_that_looks_like_a_certificate_is_none():
    stack = Stack()
    client_cert = f":{base64.b64encode(DER).decode()}:"
    headers = {"authorization": f"Bearer {bound()}", "client-cert": client_cert}
    assert asgi.http(stack.app, headers=headers, extensions={"tls": {"client_cert_chain": ()}}).status == 401


def test_a_token_that_is_bound_to_nothing_needs_no_certificate_and_may_come_with_one():
    for issued in (None, SHOP):
        assert Stack().ask(TOKENS.token(), issued).status == 200


def test_every_other_check_comes_first():
    assert Stack().reason(bound(aud="billing"), OTHER) == "token_audience_wrong"
    assert Stack().reason(TOKENS.forged(cnf={"x5t#S256": THUMBPRINT}), SHOP) == "token_signature_invalid"


@pytest.mark.parametrize(
    ("options", "status", "who"),
    [
        ({"required": False}, 401, None),
        ({"exempt": "/"}, 200, ["mtls", "other.example"]),
        ({"mode": "shadow"}, 200, ["mtls", "other.example"]),
    ],
    ids=["not required", "exempt", "shadow"],
)
def test_who_passes_all_the_same_is_who_the_certificate_says(options, status, who):
    """Never who a token says that belongs to another client."""
    answer = Stack(**options).ask(bound(), OTHER)
    assert answer.status == status
    if status == 200:
        assert json.loads(answer.body) == who


# --- what it is bound to -------------------------------------------------------------------------------------------

REFUSED = {
    "DPoP": {"jkt": base64url(DIGEST)},
    "a certificate and DPoP": {"x5t#S256": THUMBPRINT, "jkt": base64url(DIGEST)},
    "a certificate and something else": {"x5t#S256": THUMBPRINT, "x5t#uri": "spiffe://example.org/shop"},
    "a key id": {"kid": "k1"},
    "SHA-1 under its own name": {"x5t": base64url(hashlib.sha1(DER).digest())},
    "the name in lower case": {"x5t#s256": THUMBPRINT},
    "nothing": {},
    "null": None,
    "false": False,
    "text": THUMBPRINT,
    "empty text": "",
    "a list": ["x5t#S256"],
    "a list of one": [{"x5t#S256": THUMBPRINT}],
    "hex": {"x5t#S256": DIGEST.hex()},
    "base64url of the hex": {"x5t#S256": base64url(DIGEST.hex().encode())},
    "SHA-1": {"x5t#S256": base64url(hashlib.sha1(DER).digest())},
    "SHA-512": {"x5t#S256": base64url(hashlib.sha512(DER).digest())},
    "padded": {"x5t#S256": THUMBPRINT + "="},
    "base64, padded": {"x5t#S256": base64.b64encode(b"\xff" * 32).decode()},
    "base64, without padding": {"x5t#S256": base64.b64encode(b"\xff" * 32).decode().rstrip("=")},
    "a blank after it": {"x5t#S256": THUMBPRINT + " "},
    "a line feed inside": {"x5t#S256": THUMBPRINT[:20] + "\n" + THUMBPRINT[20:]},
    "one character short": {"x5t#S256": THUMBPRINT[:-1]},
    "a stray bit at the end": {"x5t#S256": "A" * 42 + "B"},
    "no ASCII": {"x5t#S256": "é" + THUMBPRINT[1:]},
    "an empty thumbprint": {"x5t#S256": ""},
    "null inside": {"x5t#S256": None},
    "a number inside": {"x5t#S256": 7},
    "a list inside": {"x5t#S256": [THUMBPRINT]},
    "an object inside": {"x5t#S256": {"x5t#S256": THUMBPRINT}},
}


@pytest.mark.parametrize("confirmation", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("issued", [SHOP, None], ids=["certificate", "none"])
def test_every_binding_that_is_not_verified_is_refused(confirmation, issued):
    """TOK-1, TOK-5: with the certificate or without, remembered or not."""
    # Signed by hand: the factory leaves out what is None.
    token = TOKENS._keys[-1].sign(TOKENS._header(None), {**TOKENS._claims({}), "cnf": confirmation})
    stack = Stack()
    for _ in range(2):
        assert stack.reason(token, issued) == "token_binding_unverified"


WRONG_HASHES = {
    "of the PEM": hashlib.sha256(PEM.encode()).digest(),
    "of the base64": hashlib.sha256("".join(PEM.split("\n")[1:-2]).encode()).digest(),
    "of the public key": base64.b64decode(PEER.spki_pin.removeprefix("sha256/")),
    "of the base64url of the hash": hashlib.sha256(THUMBPRINT.encode()).digest(),
    "of the authority": hashlib.sha256(ssl.PEM_cert_to_DER_cert(AUTHORITY.certificate_pem.decode())).digest(),
    "the octets turned round": DIGEST[::-1],
}


@pytest.mark.parametrize("digest", WRONG_HASHES.values(), ids=WRONG_HASHES)
def test_a_hash_of_anything_but_the_der_is_another_certificates(digest):
    assert Stack().reason(bound(base64url(digest)), SHOP) == "token_binding_mismatch"


def test_the_rfcs_own_certificate():
    """RFC 8705 appendix A."""
    rfc = b"""-----BEGIN CERTIFICATE-----
MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx
ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ
/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID
SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV
bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=
-----END CERTIFICATE-----"""
    thumbprint = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"
    assert read_certificates((rfc.decode(),)).thumbprint == thumbprint
    assert judge(bound(thumbprint), certificate_thumbprint=thumbprint).all["cnf"] == {"x5t#S256": thumbprint}


# --- nothing but bound tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["jwt", "rfc9068"])
def test_a_token_without_a_binding_is_refused_where_one_is_required(profile):
    """TOK-3."""
    stack = Stack(require_bound=True, profile=profile)
    assert stack.reason(TOKENS.token(), SHOP) == "token_claim_missing"
    assert stack.ask(TOKENS.token(), SHOP).headers["www-authenticate"] == INVALID_TOKEN
    assert stack.ask(bound(), SHOP).status == 200
    assert stack.ask(bound(), OTHER).status == 401


@pytest.mark.parametrize("value", [1, "yes", None])
def test_require_bound_is_true_or_false(value):
    with pytest.raises(ConfigurationError, match=f"require_bound= is True or False, got {value!r}"):
        BearerAuthMiddleware(**RULES, require_bound=value)


# --- without ASGI --------------------------------------------------------------------------------------------------


def judge(token, **options):
    return verify_access_token(token, TOKENS.jwks, issuer=TOKENS.issuer, audience=TOKENS.audience, **options)


def test_the_pure_function():
    assert judge(bound(), certificate_thumbprint=PEER.thumbprint, require_bound=True).subject == "user-1"
    assert judge(TOKENS.token(), certificate_thumbprint=PEER.thumbprint).subject == "user-1"


@pytest.mark.parametrize(
    ("token", "options", "reason"),
    [
        pytest.param(bound(), {}, "token_binding_mismatch", id="no certificate"),
        pytest.param(bound("A" * 43), {"certificate_thumbprint": THUMBPRINT}, "token_binding_mismatch", id="another"),
        pytest.param(TOKENS.token(cnf={"jkt": THUMBPRINT}), {}, "token_binding_unverified", id="DPoP"),
        pytest.param(TOKENS.token(), {"require_bound": True}, "token_claim_missing", id="not bound"),
    ],
)
def test_the_pure_function_refuses(token, options, reason):
    with pytest.raises(TokenError) as refused:
        judge(token, **options)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "thumbprint", [PEER.sha256, THUMBPRINT + "=", DIGEST, ""], ids=["hex", "padded", "raw", "empty"]
)
def test_a_thumbprint_in_another_form_is_a_mistake_of_the_caller(thumbprint):
    with pytest.raises(
        ConfigurationError, match="certificate_thumbprint= is the base64url of the certificate's SHA-256"
    ):
        judge(bound(), certificate_thumbprint=thumbprint)
