"""Opaque tokens: RFC 7662 and RFC 9701 (INT-1 to INT-7) against a real endpoint that answers, hangs and lies."""

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import ssl
from urllib.parse import parse_qsl

import httpx
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from secure_asgi._fetch import Fetcher, Posted
from secure_asgi.bearer.claims import ClaimRules
from secure_asgi.bearer.client_authentication import PrivateKeyJWT
from secure_asgi.bearer.introspection import MAX_CALLS, Introspection
from secure_asgi.bearer.jws import verify_jws
from secure_asgi.bearer.keys import ASYMMETRIC, KeySet
from secure_asgi.bearer.signed_answer import AnswerError, SignedAnswers
from secure_asgi.bearer.source import RemoteKeys, StaticKeys
from secure_asgi.bearer.unavailable import UnavailableError
from secure_asgi.errors import ConfigurationError, TokenError
from secure_asgi.secrets import Secret
from secure_asgi.testing import TokenFactory
from secure_asgi.testing.certificates import CertificateAuthority

from .issuer import Issuer

TOKEN = b"mF_9.B5f-4.1JqM"
SECRET = "p%w+\u00fc: x"
JSON = {"content-type": "application/json"}
SIGNED = {"content-type": "application/token-introspection+jwt"}
ISSUER = "https://id.example.com"
NOW = 1_790_000_015.0
ACTIVE = {
    "active": True,
    "aud": ["orders"],
    "sub": "u-1",
    "client_id": "web",
    "scope": "orders:read",
    "exp": NOW + 300,
}


def digest(token):
    return hashlib.sha256(token).digest()


class Endpoint(Issuer):
    """Keeps ``posted``: request line, fields and form of each call; ``answer`` is given to all."""

    def __init__(self, answer=ACTIVE, *, tls=None):
        super().__init__()
        self.posted, self._tls = [], tls
        self.says(answer)

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def says(self, answer, status=200, **headers):
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.answers["/introspect"] = (status, {**JSON, **headers}, body)

    async def _serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            line, *lines = head.decode().strip().split("\r\n")
            fields = {name.lower(): value for name, _, value in (text.partition(": ") for text in lines)}
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            if line.startswith("POST"):
                self.posted.append((line, fields, parse_qsl(body.decode(), strict_parsing=True)))
            again = asyncio.StreamReader()
            again.feed_data(head)
            await super()._serve(again, writer)


class World:
    """An endpoint, what asks it, and two clocks to turn."""

    def __init__(self, endpoint, **options):
        self.endpoint, self.now = endpoint, 0.0
        known = {} if {"private_key", "http"} & options.keys() else {"client_secret": Secret(SECRET)}
        self.introspection = Introspection(
            f"{endpoint.url}/introspect", **{"client_id": "orders api", "timeout": 0.5, **known, **options}
        )
        self.introspection._now = lambda: self.now
        self.introspection._clock = lambda: NOW + self.now

    async def ask(self, token=TOKEN):
        return await self.introspection.ask(token, digest(token))

    async def reason(self, token=TOKEN):
        """Why it was refused, with its log text; None if it was not."""
        try:
            await self.ask(token)
        except (TokenError, UnavailableError) as error:
            shown = repr(error)
            told = str(error.reason), str(error)
        else:
            return None
        assert token.decode() not in shown
        return told

    @property
    def calls(self):
        return self.endpoint.asked["/introspect"]


def with_world(test, answer=ACTIVE, **options):
    async def run():
        async with Endpoint(answer) as endpoint:
            world = World(endpoint, **options)
            await world.introspection.open()
            await test(world)
            await world.introspection.close()

    asyncio.run(run())


# --- asking --------------------------------------------------------------------------------------------------------


def test_what_is_sent():
    """INT-1: a POST of a form, never a GET; the secret form-encoded first (RFC 6749 section 2.3.1)."""

    async def test(world):
        assert await world.ask() == ACTIVE
        ((line, fields, form),) = world.endpoint.posted
        assert line == "POST /introspect HTTP/1.1"
        assert fields["content-type"] == "application/x-www-form-urlencoded"
        assert fields["accept"] == "application/json"
        assert fields["accept-encoding"] == "identity"
        assert form == [("token", TOKEN.decode()), ("token_type_hint", "access_token")]
        scheme, _, credentials = fields["authorization"].partition(" ")
        assert scheme == "Basic"
        assert base64.b64decode(credentials) == b"orders+api:p%25w%2B%C3%BC%3A+x"

    with_world(test)


def test_a_token_of_any_token68_arrives_as_it_was():
    async def test(world):
        await world.ask(b"a+b/c~d-e_f.g==")
        assert dict(world.endpoint.posted[0][2])["token"] == "a+b/c~d-e_f.g=="

    with_world(test)


def test_an_active_token_is_not_kept_here():
    """The cache of good tokens is the middleware's."""

    async def test(world):
        await world.ask()
        await world.ask()
        assert world.calls == 2

    with_world(test)


NOT_ACTIVE = {
    "false": {"active": False},
    "text": {"active": "true"},
    "one": {"active": 1},
    "null": {"active": None},
    "an object": {"active": {}},
    "false, with all else": {**ACTIVE, "active": False},
}


@pytest.mark.parametrize("answer", NOT_ACTIVE.values(), ids=NOT_ACTIVE)
def test_only_true_is_active(answer):
    """INT-2, EX-7."""

    async def test(world):
        assert await world.reason() == ("token_inactive", "token_inactive")

    with_world(test, answer)


def test_an_inactive_token_is_remembered_for_a_while():
    """INT-4."""

    async def test(world):
        for now, calls in ((0.0, 1), (4.9, 1), (5.0, 2)):
            world.now = now
            assert (await world.reason())[0] == "token_inactive"
            assert world.calls == calls

    with_world(test, {"active": False})


def test_none_is_remembered_with_zero_seconds():
    async def test(world):
        await world.reason()
        await world.reason()
        assert (world.calls, len(world.introspection._inactive)) == (2, 0)

    with_world(test, {"active": False}, negative_ttl=0)


def test_junk_is_remembered_within_bounds():
    async def test(world):
        for number in range(30):
            await world.reason(b"junk-%d" % number)
        assert len(world.introspection._inactive) <= 10
        assert await world.reason(b"junk-29")
        assert world.calls == 30

    with_world(test, {"active": False}, cache_size=10)


# --- one call for all ----------------------------------------------------------------------------------------------


def held(world):
    """The endpoint answers as it would have, once the event is set."""
    go, (status, headers, body) = asyncio.Event(), world.endpoint.answers["/introspect"]

    async def answer(writer):
        await go.wait()
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{fields}\r\n".encode() + body)
        await writer.drain()

    world.endpoint.answers["/introspect"] = answer
    return go


async def until(condition):
    while True:
        if condition():
            return
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(ACTIVE, None), ({"active": False}, "token_inactive"), (b"garbage", "introspection_unavailable")],
    ids=["active", "inactive", "no answer"],
)
def test_five_hundred_askers_of_one_token_are_one_call(answer, expected):
    """INT-4: single flight; and each has an exception of its own."""

    async def test(world):
        go = held(world)
        askers = [asyncio.create_task(world.ask()) for _ in range(500)]
        await until(lambda: world.calls)
        go.set()
        outcomes = await asyncio.gather(*askers, return_exceptions=True)
        assert world.calls == 1
        if expected is None:
            assert outcomes == [ACTIVE] * 500
        else:
            assert {str(outcome.reason) for outcome in outcomes} == {expected}
            assert len(set(map(id, outcomes))) == 500
        assert not world.introspection._calls

    with_world(test, answer, timeout=5.0)


def test_the_first_that_asks_may_go_away():
    async def test(world):
        go = held(world)
        first, second = (asyncio.create_task(world.ask()) for _ in range(2))
        await until(lambda: world.calls)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go.set()
        assert await second == ACTIVE
        assert world.calls == 1

    with_world(test, timeout=5.0)


def test_calls_under_way_are_bounded():
    async def test(world):
        go = held(world)
        askers = [asyncio.create_task(world.ask(b"t%d" % number)) for number in range(MAX_CALLS)]
        await asyncio.sleep(0)
        known = asyncio.create_task(world.ask(b"t0"))  # one more asker of a call under way is none of them
        assert await world.reason(b"one more") == ("introspection_unavailable", "256 introspections under way")
        go.set()
        assert await asyncio.gather(*askers, known) == [ACTIVE] * (MAX_CALLS + 1)
        assert await world.reason(b"one more") is None

    with_world(test, timeout=30.0)


def test_closing_leaves_nobody_waiting():
    async def test(world):
        held(world)
        asker = asyncio.create_task(world.reason())
        await until(lambda: world.calls)
        await world.introspection.close()
        assert await asker == ("introspection_unavailable", "closed")

    with_world(test, timeout=30.0)


def test_another_event_loop_starts_anew():
    introspection = Introspection("http://127.0.0.1:9/introspect", client_id="orders", client_secret=Secret("x"))

    async def asked(go_on):
        task = asyncio.create_task(introspection.ask(TOKEN, digest(TOKEN)))
        await asyncio.sleep(0)
        if go_on:
            with pytest.raises(UnavailableError):
                await task

    async def closed():
        introspection._calls = left_over
        await introspection.close()  # tasks of another loop are not waited for

    asyncio.run(asked(False))
    left_over = dict(introspection._calls)
    asyncio.run(asked(True))
    asyncio.run(closed())


def test_trio_is_refused_at_start_up():
    introspection = Introspection("https://id.example/introspect", client_id="orders", client_secret=Secret("x"))
    with pytest.raises(ConfigurationError, match="asyncio"):
        trio.run(introspection.open)


# --- an endpoint at fault ------------------------------------------------------------------------------------------


async def hangs(writer):
    await asyncio.sleep(30)


async def drips(writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
    for _ in range(300):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.1)


async def hangs_up(writer):
    writer.close()


async def floods(writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10485760\r\n\r\n")
    for _ in range(160):
        writer.write(b" " * 65536)
        await writer.drain()


GOOD = json.dumps(ACTIVE).encode()
FAULTS = {
    "slow": (hangs, "TimeoutError|ReadTimeout"),
    "drips": (drips, "TimeoutError"),
    "hangs up": (hangs_up, "RemoteProtocolError|ReadError"),
    "10 MB": (floods, "more than 65536 bytes"),
    "HTML": ((200, {"content-type": "text/html"}, GOOD), "content type 'text/html'"),
    "a JWT that was not asked for": ((200, SIGNED, GOOD), "content type 'application/token-introspection+jwt'"),
    "a redirect": ((302, {"location": "/other"}, b""), "status 302"),
    "a redirect that keeps the method": ((307, {"location": "/other"}, b""), "status 307"),
    "bad request": ((400, JSON, b'{"error":"invalid_request"}'), "status 400"),
    "forbidden": ((403, JSON, b"{}"), "status 403"),
    "too many": ((429, JSON, b"{}"), "status 429"),
    "its own outage": ((503, JSON, GOOD), "status 503"),
    "no content": ((204, JSON, b""), "status 204"),
    "compressed": ((200, {**JSON, "content-encoding": "gzip"}, GOOD), "a content encoding"),
    "garbage": ((200, JSON, b"\xff\xfe{"), "no JSON object"),
    "empty": ((200, JSON, b""), "no JSON object"),
    "a list": ((200, JSON, b"[true]"), "no JSON object"),
    "cut off": ((200, JSON, GOOD[:-1]), "no JSON object"),
    "active twice": ((200, JSON, b'{"active":false,"active":true}'), "no JSON object"),
    "NaN": ((200, JSON, b'{"active":true,"exp":NaN}'), "no JSON object"),
    "deep": ((200, JSON, b'{"active":true,"x":' + b"[" * 5000 + b"]" * 5000 + b"}"), "no JSON object"),
    "without active": ((200, JSON, b'{"sub":"u-1"}'), "an answer without active"),
}


@pytest.mark.parametrize(("answer", "complaint"), FAULTS.values(), ids=FAULTS)
def test_an_endpoint_at_fault_is_an_outage_and_no_verdict(answer, complaint):
    """BRR-8: 503, never 401; nothing of it is remembered, and a redirect is not followed."""

    async def test(world):
        world.endpoint.answers["/introspect"] = answer
        reason, why = await world.reason()
        assert reason == "introspection_unavailable"
        assert any(part in why for part in complaint.split("|")), why
        world.endpoint.says(ACTIVE)
        assert await world.ask() == ACTIVE
        assert not world.endpoint.asked["/other"]

    with_world(test)


def test_nobody_listens():
    async def test(world):
        world.endpoint._server.close()
        assert await world.reason() == ("introspection_unavailable", "ConnectError")

    with_world(test)


def test_a_refusal_of_ourselves_is_an_outage_and_an_alert(caplog):
    """INT-5: said once a minute, without the query of the endpoint or any credential."""

    async def test(world):
        world.introspection._endpoint += "?key=hidden"
        world.endpoint.answers["/introspect?key=hidden"] = (401, JSON, b'{"error":"invalid_client"}')
        for now, alerts in ((0.0, 1), (59.0, 1), (60.0, 2)):
            world.now = now
            with pytest.raises(UnavailableError, match=r"^the endpoint refuses this service: status 401$") as raised:
                await world.ask()
            assert raised.value.wait == 30.0
            assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == alerts
        assert "/introspect refuses this service itself: check client_id=" in caplog.text
        assert "hidden" not in "".join(record.getMessage() for record in caplog.records if record.name == "secure_asgi")

    with_world(test)


@pytest.mark.parametrize("answer", [FAULTS["cut off"][0], FAULTS["bad request"][0], (401, JSON, b""), hangs_up])
def test_nothing_of_token_or_secret_is_logged_or_told(answer, caplog):
    caplog.set_level(logging.DEBUG)

    async def test(world):
        world.endpoint.answers["/introspect"] = answer
        with pytest.raises(UnavailableError) as raised:
            await world.ask()
        told = repr(raised.value) + repr(raised.value.__cause__) + repr(vars(world.introspection)) + caplog.text
        for hidden in (TOKEN.decode(), SECRET, "p%25w", base64.b64encode(b"orders+api:p%25w").decode()[:12]):
            assert hidden not in told

    with_world(test)


def test_a_post_shows_neither_body_nor_fields():
    assert repr(Posted("text/plain", b"token", {"authorization": "Basic x"})) == "Posted(media_type='text/plain')"


def test_a_post_says_its_own_media_type():
    async def test(world):
        await Fetcher().get(
            f"{world.endpoint.url}/introspect",
            types=("application/json",),
            max_bytes=1000,
            posted=Posted("application/x-www-form-urlencoded", b"a=b", {"content-type": "text/plain", "x-one": "1"}),
        )
        ((_, fields, _),) = world.endpoint.posted
        assert (fields["content-type"], fields["x-one"]) == ("application/x-www-form-urlencoded", "1")

    with_world(test)


# --- who we are ----------------------------------------------------------------------------------------------------


def pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


RSA_KEY, SMALL = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 1024)
P256, P384, P521 = (ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1))
ED25519, ED448 = ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()


def jwk(key, **more):
    name = type(key).__name__
    kind = RSAAlgorithm if name.startswith("RSA") else OKPAlgorithm if name.startswith("Ed") else ECAlgorithm
    members = kind.to_jwk(key, as_dict=True)
    members.pop("key_ops", None)
    return {**members, **more}


KEYS = {
    "RSA, PEM": (pem(RSA_KEY).decode(), RSA_KEY, "RS256"),
    "RSA, JWK": (jwk(RSA_KEY, kid="k1"), RSA_KEY, "RS256"),
    "RSA, JWK with alg": (jwk(RSA_KEY, alg="PS384"), RSA_KEY, "PS384"),
    "P-256, PEM": (pem(P256), P256, "ES256"),
    "P-256, JWK with alg": (jwk(P256, alg="ES256", kid="k1"), P256, "ES256"),
    "P-384, JWK": (jwk(P384), P384, "ES384"),
    "P-521, PEM": (pem(P521), P521, "ES512"),
    "Ed25519, JWK with its new name": (jwk(ED25519, alg="Ed25519", kid="k1"), ED25519, "EdDSA"),
    "Ed448, PEM": (pem(ED448), ED448, "EdDSA"),
}


@pytest.mark.parametrize(("given", "key", "algorithm"), KEYS.values(), ids=KEYS)
def test_private_key_jwt(given, key, algorithm):
    """RFC 7523 section 3: iss and sub are the client, aud the issuer, a short exp, a jti of its own each time."""
    made = PrivateKeyJWT("orders", given, now=lambda: NOW)
    kid = {"kid": given["kid"]} if isinstance(given, dict) and "kid" in given else {}
    public = {"keys": [jwk(key.public_key(), **kid)]}
    seen = set()
    for _ in range(2):
        fields, members = made.credentials(ISSUER)
        assert fields == {}
        assert members["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        header, payload = verify_jws(members["client_assertion"], public, algorithms=algorithm)
        assert header == {"alg": algorithm, "typ": "JWT", **kid}
        claims = json.loads(payload)
        seen.add(claims.pop("jti"))
        assert claims == {"iss": "orders", "sub": "orders", "aud": ISSUER, "iat": int(NOW), "exp": int(NOW) + 60}
    assert len(seen) == 2
    assert all(len(jti) >= 22 for jti in seen)


@pytest.mark.parametrize(
    ("options", "has_issuer", "audience"),
    [
        ({}, True, ISSUER),
        ({"assertion_audience": "https://id.example.com/token"}, True, "https://id.example.com/token"),
        ({}, False, "the endpoint"),
    ],
    ids=["the issuer", "as told", "the endpoint, until the issuer is known"],
)
def test_whom_an_assertion_is_for(options, has_issuer, audience):
    async def test(world):
        if has_issuer:
            world.introspection.use_keys(ISSUER, StaticKeys(TokenFactory().jwks, ASYMMETRIC))
        await world.ask()
        ((_, fields, form),) = world.endpoint.posted
        assert "authorization" not in fields
        assert [name for name, _ in form] == ["token", "token_type_hint", "client_assertion_type", "client_assertion"]
        _, payload = verify_jws(
            dict(form)["client_assertion"], {"keys": [jwk(P256.public_key())]}, algorithms=ASYMMETRIC
        )
        expected = f"{world.endpoint.url}/introspect" if audience == "the endpoint" else audience
        assert json.loads(payload)["aud"] == expected

    with_world(test, private_key=pem(P256), **options)


def test_a_client_certificate(tmp_path):
    """RFC 8705 section 2: the connection is the proof; the form names the client, and there is no other credential."""
    authority = CertificateAuthority()
    authority.issue("ip:127.0.0.1", usage="server").write(tmp_path / "s.pem", tmp_path / "s.key")
    authority.issue("dns:orders.example").write(tmp_path / "c.pem", tmp_path / "c.key")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.certificate_pem.decode())
    server.load_cert_chain(tmp_path / "s.pem", tmp_path / "s.key")
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    client.load_cert_chain(tmp_path / "c.pem", tmp_path / "c.key")

    async def run():
        async with Endpoint(tls=server) as endpoint, httpx.AsyncClient(verify=client) as http:
            world = World(endpoint, http=http)
            assert await world.ask() == ACTIVE
            ((_, fields, form),) = endpoint.posted
            assert "authorization" not in fields
            assert form == [
                ("token", TOKEN.decode()),
                ("token_type_hint", "access_token"),
                ("client_id", "orders api"),
            ]
            stranger = World(endpoint)
            reason, why = await stranger.reason()  # the server's certificate is of no authority that it knows
            assert (reason, why) == ("introspection_unavailable", "ConnectError")
            assert len(endpoint.posted) == 1

    asyncio.run(run())


KEYS_REFUSED = {
    "public JWK": (jwk(P256.public_key()), "cannot be loaded"),
    "secret JWK": ({"kty": "oct", "k": "c2VjcmV0"}, "cannot be loaded"),
    "no JWK": ({"hello": "secret"}, "cannot be loaded"),
    "no PEM": ("secret", "cannot be loaded"),
    "no text": (7, "cannot be loaded"),
    "public PEM": (P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "cannot be loaded"),
    "encrypted PEM": (pem(P256, BestAvailableEncryption(b"secret")), "cannot be loaded"),
    "RSA of 1024 bits": (pem(SMALL), "has 1024 bits"),
    "RSA for ES256": (jwk(RSA_KEY, alg="ES256"), "cannot be loaded|has an alg or a curve"),
    "RSA for HS256": (jwk(RSA_KEY, alg="HS256"), "cannot be loaded|has an alg or a curve"),
    "P-256 for ES384": (jwk(P256, alg="ES384"), "cannot be loaded|has an alg or a curve"),
    "secp256k1": (pem(ec.generate_private_key(ec.SECP256K1())), "has an alg or a curve"),
}


@pytest.mark.parametrize(("key", "complaint"), KEYS_REFUSED.values(), ids=KEYS_REFUSED)
def test_keys_that_are_refused(key, complaint):
    with pytest.raises(ConfigurationError, match=complaint) as raised:
        PrivateKeyJWT("orders", key)
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


# --- signed answers ------------------------------------------------------------------------------------------------

TOKENS = TokenFactory(issuer=ISSUER, audience="orders api", clock=lambda: NOW)
NOT_THERE = {"sub": None, "client_id": None, "exp": None, "jti": None}


def signed_answer(answer=ACTIVE, *, tokens=TOKENS, header=None, **claims):
    header = {"typ": "token-introspection+jwt", **(header or {})}
    return tokens.token(header=header, token_introspection=answer, **{**NOT_THERE, **claims}).encode()


def with_signed(test, answer, *, jwks=None, headers=SIGNED, **options):
    async def run(world):
        source = StaticKeys(jwks or TOKENS.jwks, ASYMMETRIC)
        world.introspection.use_keys(ISSUER, source)
        world.endpoint.answers["/introspect"] = (200, headers, answer)
        await test(world)

    with_world(run, signed=True, **options)


@pytest.mark.parametrize(
    "answer",
    [
        signed_answer(),
        signed_answer(header={"typ": "application/Token-Introspection+JWT"}),
        signed_answer(aud=["billing", "orders api"]),
        signed_answer(iat=NOW - 329),
        signed_answer(iat=NOW + 29),
        signed_answer(exp=NOW + 1),
    ],
    ids=["plain", "typ in full", "several audiences", "old", "clocks differ", "with exp"],
)
def test_a_signed_answer(answer):
    """INT-6."""

    async def test(world):
        assert await world.ask() == ACTIVE
        assert world.endpoint.posted[0][1]["accept"] == "application/token-introspection+jwt"

    with_signed(test, answer)


def test_a_signed_no():
    async def test(world):
        assert (await world.reason())[0] == "token_inactive"

    with_signed(test, signed_answer({"active": False}))


NOT_BELIEVED = {
    "plain JSON": (GOOD, JSON, "content type 'application/json'"),
    "plain JSON under the other name": (GOOD, SIGNED, "token_malformed"),
    "a JWT under the name of JSON": (signed_answer(), JSON, "content type"),
    "a JWT under the plain name": (signed_answer(), {"content-type": "application/jwt"}, "content type"),
    "of another key": (
        TOKENS.forged(token_introspection=ACTIVE, **NOT_THERE).encode(),
        SIGNED,
        "token_signature_invalid",
    ),
    "unsigned": (TOKENS.unsigned(token_introspection=ACTIVE).encode(), SIGNED, "token_algorithm_refused"),
    "an unknown key": (TOKENS.unknown_key(token_introspection=ACTIVE).encode(), SIGNED, "token_key_unknown"),
    "an access token": (signed_answer(header={"typ": "at+jwt"}), SIGNED, "another typ"),
    "typ JWT": (signed_answer(header={"typ": "JWT"}), SIGNED, "another typ"),
    "of another issuer": (signed_answer(iss="https://evil.example"), SIGNED, "another iss"),
    "without an issuer": (signed_answer(iss=None), SIGNED, "another iss"),
    "for another": (signed_answer(aud="billing"), SIGNED, "another aud"),
    "for several others": (signed_answer(aud=["billing"]), SIGNED, "another aud"),
    "for nobody": (signed_answer(aud=None), SIGNED, "another aud"),
    "for who has our name inside": (signed_answer(aud="not orders api"), SIGNED, "another aud"),
    "without a date": (signed_answer(iat=None), SIGNED, "without iat"),
    "a date in words": (signed_answer(iat="today"), SIGNED, "without iat"),
    "a true date": (signed_answer(iat=True), SIGNED, "without iat"),
    "too old": (signed_answer(iat=NOW - 331), SIGNED, "another time"),
    "of tomorrow": (signed_answer(iat=NOW + 31), SIGNED, "another time"),
    "run out": (signed_answer(exp=NOW - 30), SIGNED, "another time"),
    "without an answer": (signed_answer(None), SIGNED, "without token_introspection"),
    "an answer that is a list": (signed_answer([ACTIVE]), SIGNED, "without token_introspection"),
    "an answer without active": (signed_answer({"sub": "u-1"}), SIGNED, "an answer without active"),
}


@pytest.mark.parametrize(("body", "headers", "complaint"), NOT_BELIEVED.values(), ids=NOT_BELIEVED)
def test_signed_answers_that_are_not_believed(body, headers, complaint):
    """INT-6: neither a downgrade, nor somebody else's answer, nor an access token; it says nothing about the token."""

    async def test(world):
        reason, why = await world.reason()
        assert reason == "introspection_unavailable"
        assert complaint in why

    with_signed(test, body, headers=headers)


def test_claims_that_are_no_object():
    key = TOKENS._keys[-1]
    segments = [b'{"alg":"ES256","typ":"token-introspection+jwt","kid":"%s"}' % key.kid.encode(), b"[]"]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in segments)
    signature = base64.urlsafe_b64encode(key._signer.sign(signed, key._private)).rstrip(b"=")

    async def test(world):
        assert (await world.reason())[1] == "a signed answer without claims: not one JSON object"

    with_signed(test, signed + b"." + signature)


def test_a_signed_answer_and_nobody_to_say_whose_keys():
    async def test(world):
        world.endpoint.answers["/introspect"] = (200, SIGNED, signed_answer())
        assert "no keys" in (await world.reason())[1]

    with_world(test, signed=True)


def test_keys_that_are_fetched_and_rotated():
    """An answer under a new key makes the keys be looked at again; no keys are an outage."""

    async def test(world):
        tokens = TokenFactory(issuer=world.endpoint.url, audience="orders api", clock=lambda: NOW)
        keys = f"{world.endpoint.url}/jwks"
        world.endpoint.answers["/jwks"] = (503, {}, b"")
        source = RemoteKeys(
            tokens.issuer, keys, ASYMMETRIC, Fetcher(), ttl=600, cooldown=30, timeout=5, now=lambda: world.now
        )
        world.introspection.use_keys(tokens.issuer, source)
        world.endpoint.answers["/introspect"] = (200, SIGNED, signed_answer(tokens=tokens))
        assert await world.reason() == (
            "introspection_unavailable",
            "no keys for a signed answer: status 503",
        )
        world.endpoint.publish(tokens.jwks)
        world.now = 60.0
        world.introspection._clock = lambda: NOW
        assert await world.ask() == ACTIVE
        assert await world.ask() == ACTIVE
        assert world.endpoint.asked["/jwks"] == 2
        tokens.rotate()
        world.endpoint.publish(tokens.jwks)
        world.endpoint.answers["/introspect"] = (200, SIGNED, signed_answer(tokens=tokens))
        assert await world.ask() == ACTIVE
        assert world.endpoint.asked["/jwks"] == 3
        await source.close()

    with_world(test, signed=True)


def test_one_introspection_is_of_one_issuer():
    source = StaticKeys(TOKENS.jwks, ASYMMETRIC)
    introspection = Introspection("https://id.example/introspect", client_id="orders", client_secret=Secret("x"))
    introspection.use_keys(ISSUER, source)
    introspection.use_keys(ISSUER, source)
    with pytest.raises(ConfigurationError, match="one issuer"):
        introspection.use_keys("https://other.example", source)


EX_3 = (
    b"eyJ0eXAiOiJ0b2tlbi1pbnRyb3NwZWN0aW9uK2p3dCIsImFsZyI6IkVTMjU2Iiwia2lkIjoiYXMxIn0."
    b"eyJpc3MiOiJodHRwczovL2FzLmV4YW1wbGUiLCJhdWQiOiJodHRwczovL2FwaS5leGFtcGxlLmNvbSIsImlhdCI6MTc5MDAwMDAwMCwidG9r"
    b"ZW5faW50cm9zcGVjdGlvbiI6eyJhY3RpdmUiOnRydWUsInNjb3BlIjoib3JkZXJzOnJlYWQiLCJzdWIiOiJ1LTEiLCJjbGllbnRfaWQiOiJ3"
    b"ZWIiLCJleHAiOjE3OTAwMDAzMDB9fQ."
    b"dfj9vXjzvZ0SQMeDq3C5yEGtP0IPmBRZ4pvwKN-pdcv6XVuFBBDe36aK2R5FIyvzIupaw9vhVc2squMcmnDtuA"
)
EX_KEYS = {
    "keys": [
        {
            "kty": "EC",
            "crv": "P-256",
            "kid": "as1",
            "x": "eY-nUlTyveY-F8hXHzCcCbaCMag73rPyFqlSJSVC36c",
            "y": "t4opMljoFt3x0zXWX-GPjIeY1lm-cpOqjHvufxlw_Lk",
        }
    ]
}


def test_a_vector_and_its_replay_as_an_access_token():
    """EX-3, AT-11: what the issuer says about a token is no token."""
    answers = SignedAnswers("https://as.example", "https://api.example.com", StaticKeys(EX_KEYS, ASYMMETRIC), 30.0)
    answer = asyncio.run(answers.read(EX_3, 0.0, NOW))
    assert answer == {
        "active": True,
        "scope": "orders:read",
        "sub": "u-1",
        "client_id": "web",
        "exp": 1790000300,
    }
    with pytest.raises(AnswerError):
        asyncio.run(answers.read(EX_3[:-4] + b"AAAA", 0.0, NOW))
    rules = ClaimRules("https://as.example", "https://api.example.com", "jwt", 30.0, None)
    with pytest.raises(TokenError, match="token_type_wrong"):
        rules.read(EX_3, KeySet(EX_KEYS, algorithms=ASYMMETRIC), 8192, NOW)


# --- what the answer claims ----------------------------------------------------------------------------------------


def read_answer(answer, **options):
    options = {"profile": "jwt", "leeway": 30.0, "max_lifetime": None, **options}
    return ClaimRules(ISSUER, "orders", **options).read_answer(answer, NOW)


def test_the_claims_of_an_answer():
    """INT-3, INT-7: all members are claims, but for active; the issuer is who was asked."""
    answer = {**ACTIVE, "acr": "gold", "auth_time": NOW - 10, "token_type": "Bearer"}
    expected = {"iss": ISSUER, **answer}
    del expected["active"]
    assert read_answer(answer) == expected
    assert "iss" not in answer


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ({"iss": ISSUER}, {}),
        ({"aud": "orders"}, {}),
        ({"aud": ["billing", "orders"]}, {}),
        ({"iat": NOW - 60, "nbf": NOW + 29, "jti": "1"}, {}),
        ({}, {"profile": "rfc9068"}),
        ({"cnf": {"jkt": "x"}, "token_type": "DPoP"}, {"require_bound": True}),
        ({"iat": NOW - 60}, {"max_lifetime": 360.0}),
        ({"token_type": "access_token", "token_use": "access_token", "typ": "Bearer"}, {}),
    ],
    ids=["iss", "one audience", "audiences", "dates", "no JWT", "bound", "short lived", "kinds"],
)
def test_answers_that_hold(more, options):
    assert read_answer({**ACTIVE, **more}, **options)["sub"] == "u-1"


def test_a_client_for_itself_is_the_subject():
    answer = {name: value for name, value in ACTIVE.items() if name != "sub"}
    assert read_answer(answer)["sub"] == "web"


ANSWERS_REFUSED = {
    "another issuer": ({"iss": "https://evil.example"}, "token_issuer_wrong"),
    "an issuer that is null": ({"iss": None}, "token_issuer_wrong"),
    "another audience": ({"aud": "billing"}, "token_audience_wrong"),
    "no audience": ({"aud": ...}, "token_claim_missing: aud"),
    "a nested audience": ({"aud": [["orders"]]}, "token_claim_invalid: aud"),
    "nobody": ({"sub": ..., "client_id": ...}, "token_claim_missing: sub"),
    "an empty subject": ({"sub": ""}, "token_claim_invalid: sub"),
    "a client id that is no text": ({"sub": ..., "client_id": 7}, "token_claim_invalid: sub"),
    "run out": ({"exp": NOW - 30}, "token_expired"),
    "no end": ({"exp": ...}, "token_claim_missing: exp"),
    "an end in words": ({"exp": "tomorrow"}, "token_claim_invalid: exp"),
    "not yet": ({"nbf": NOW + 31}, "token_not_yet_valid: nbf"),
    "issued tomorrow": ({"iat": NOW + 31}, "token_not_yet_valid: iat"),
    "scopes in a list": ({"scope": ["orders:read"]}, "token_claim_invalid: scope"),
    "a refresh token": ({"token_type": "refresh_token"}, "token_type_wrong: token_type refresh_token"),
    "a refresh token by another name": ({"token_use": "refresh_token"}, "token_type_wrong: token_use refresh_token"),
    "an ID token": ({"typ": "ID"}, "token_type_wrong: typ id"),
    "a kind that is no text": ({"token_type": ["Bearer"]}, "token_claim_invalid: token_type"),
    "DPoP without a key": ({"token_type": "dpop"}, "token_binding_unverified"),
    "bound to nothing": ({}, "token_claim_missing: cnf", {"require_bound": True}),
    "too long": ({"iat": NOW - 60}, "token_lifetime_exceeded", {"max_lifetime": 359.0}),
}


@pytest.mark.parametrize("row", ANSWERS_REFUSED.values(), ids=ANSWERS_REFUSED)
def test_answers_that_do_not_hold_here(row):
    """INT-3: active is the issuer's word, and not enough."""
    more, complaint, options = (*row, {})[:3]
    answer = {name: value for name, value in {**ACTIVE, **more}.items() if value is not ...}
    with pytest.raises(TokenError, match=complaint):
        read_answer(answer, **options)


# --- options -------------------------------------------------------------------------------------------------------

OPTIONS = {
    "plain http": ({"endpoint": "http://id.example/introspect"}, "an https URL"),
    "a password in it": ({"endpoint": "https://me:hidden@id.example/"}, "an https URL"),
    "no URL": ({"endpoint": 7}, "got int"),
    "no client": ({"client_id": ""}, "client_id="),
    "a client that is no text": ({"client_id": None}, "client_id="),
    "a client beyond ASCII": ({"client_id": "b\u00fccher"}, "client_id="),
    "a client of two lines": ({"client_id": "a\nb"}, "client_id="),
    "no proof": ({"client_secret": None}, "who asks"),
    "two proofs": ({"private_key": pem(P256)}, "not both"),
    "a secret that anybody prints": ({"client_secret": "hidden"}, "is a Secret"),
    "a secret that cannot be sent": ({"client_secret": Secret("hidden\ud800")}, "surrogate"),
    "an audience that is none": ({"assertion_audience": ""}, "assertion_audience="),
    "an audience that is no text": ({"assertion_audience": 7}, "assertion_audience="),
    "signed as text": ({"signed": "yes"}, "signed="),
    "every_token as text": ({"every_token": "yes"}, "every_token="),
    "ttl too long": ({"ttl": 301}, "ttl= is seconds from 0 to 300"),
    "ttl below zero": ({"ttl": -1}, "ttl="),
    "ttl true": ({"ttl": True}, "ttl="),
    "negative ttl too long": ({"negative_ttl": 61}, "negative_ttl= is seconds from 0 to 60"),
    "no timeout": ({"timeout": 0}, "timeout="),
    "timeout as text": ({"timeout": "5"}, "timeout="),
    "no room": ({"cache_size": 1}, "cache_size="),
    "room in fractions": ({"cache_size": 10.5}, "cache_size="),
    "no client of httpx": ({"http": object()}, "httpx.AsyncClient"),
}


@pytest.mark.parametrize(("options", "complaint"), OPTIONS.values(), ids=OPTIONS)
def test_wrong_options(options, complaint):
    options = {
        "endpoint": "https://id.example/introspect",
        "client_id": "orders",
        "client_secret": Secret("hidden"),
        **options,
    }
    with pytest.raises(ConfigurationError, match=complaint) as raised:
        Introspection(options.pop("endpoint"), **options)
    assert "hidden" not in str(raised.value)


def test_what_the_middleware_reads():
    introspection = Introspection("https://id.example/introspect", client_id="orders", client_secret=Secret("x"))
    assert (introspection.ttl, introspection.cache_size) == (30.0, 10_000)
    with_proxy = Introspection("https://id.example/introspect", client_id="orders", http=httpx.AsyncClient(), ttl=0)
    assert with_proxy.ttl == 0
