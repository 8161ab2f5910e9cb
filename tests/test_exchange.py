"""The exchange: what it takes from a scope, how it reads header fields, and how it is found."""

import asyncio
import re
import uuid
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from secure_asgi import ConfigurationError, Exchange, Layer, PeerCertificate, Principal, exchange_of
from secure_asgi import exchange as exchange_module
from secure_asgi._asgi import HOST_FIELD, read_fields
from secure_asgi.errors import CertificateError, ForwardedError, RejectedError, SecureASGIError, TokenError
from secure_asgi.exchange import MAX_DECISIONS, Decision, new_uuid, today

from . import asgi

FOLDED = [
    ("none", [], {}),
    ("as servers send them", [(b"host", b"a"), (b"accept", b"*/*")], {b"host": b"a", b"accept": b"*/*"}),
    ("mixed case", [(b"Host", b"a")], {b"host": b"a"}),
    ("without a letter", [(b"1-2", b"a")], {b"1-2": b"a"}),
    ("twice", [(b"host", b"a"), (b"host", b"b")], {b"host": (b"a", b"b")}),
    ("twice the same", [(b"host", b"a"), (b"host", b"a")], {b"host": (b"a", b"a")}),
    ("twice, in two cases", [(b"Host", b"a"), (b"host", b"b")], {b"host": (b"a", b"b")}),
    ("three times", [(b"x", b"1"), (b"y", b"2"), (b"X", b"3"), (b"x", b"")], {b"x": (b"1", b"3", b""), b"y": b"2"}),
]


@pytest.mark.parametrize(("raw", "fields"), [row[1:] for row in FOLDED], ids=[row[0] for row in FOLDED])
def test_fields_never_choose(raw, fields):
    """“A duplicated single-valued header is *ambiguous* and refused, never silently”
    the last: all lines are kept."""
    assert read_fields(raw) == fields
    assert Exchange({"type": "http"}).fields({"headers": raw}) == fields


def test_fields_are_read_once_and_again_when_replaced():
    exchange = Exchange({"type": "http"})
    scope = {"headers": [(b"a", b"1")]}
    first = exchange.fields(scope)
    assert exchange.fields(scope) is first
    scope["headers"] = [(b"a", b"2")]
    assert exchange.fields(scope) == {b"a": b"2"}
    exchange.forget_fields()
    scope["headers"][:] = []
    assert exchange.fields(scope) == {}


@pytest.mark.parametrize("host", [b"a", b"api.example.com:8443", b"[::1]:80", b"[::ffff:10.0.0.1]", b"10.0.0.1"])
def test_host_fields(host):
    assert HOST_FIELD.fullmatch(host)


@pytest.mark.parametrize("host", [b"", b"a b", b"a:", b"a:123456", b"::1", b"[::1", b"user@a", b"a/b", b"a_b", b"a\n"])
def test_no_host_fields(host):
    assert not HOST_FIELD.fullmatch(host)


HOOK = {"secure_asgi": {"peer": ("192.0.2.1", 40000)}}
CLIENTS = [
    ("the socket's", {"client": ("192.0.2.9", 1)}, "192.0.2.9", None),
    ("none known", {}, None, None),
    ("none said", {"client": None}, None, None),
    ("a Unix socket", {"client": ("", 0)}, None, None),
    (
        "a recorded peer goes first",
        {"client": ("198.51.100.1", 0), "extensions": HOOK},
        "192.0.2.1",
        ("192.0.2.1", 40000),
    ),
    ("recorded as unknown", {"client": ("198.51.100.1", 0), "extensions": {"secure_asgi": {"peer": None}}}, None, None),
    ("gone before it was asked", {"extensions": {"secure_asgi": {"peer": ("unknown", 1)}}}, None, ("unknown", 1)),
    ("other extensions", {"client": ("192.0.2.9", 1), "extensions": {"tls": {}}}, "192.0.2.9", None),
    ("no extensions", {"client": ("192.0.2.9", 1), "extensions": None}, "192.0.2.9", None),
]


@pytest.mark.parametrize(("scope", "client", "peer"), [row[1:] for row in CLIENTS], ids=[row[0] for row in CLIENTS])
def test_the_client_as_trusted(scope, client, peer):
    """“It carries scheme and client **as trusted** (not as claimed)”"""
    exchange = Exchange({"type": "http", **scope})
    assert (exchange.client, exchange.peer) == (client, peer)


SCHEMES = [
    ("said", {"type": "http", "scheme": "https"}, "https", True),
    ("plain", {"type": "http", "scheme": "http"}, "http", False),
    ("left out, HTTP", {"type": "http"}, "http", False),
    ("left out, WebSocket", {"type": "websocket"}, "ws", False),
    ("WebSocket over TLS", {"type": "websocket", "scheme": "wss"}, "wss", True),
    (
        "a header against the TLS extension",
        {"type": "http", "scheme": "http", "extensions": {"tls": {}}},
        "https",
        True,
    ),
    (
        "a header against our hook, which saw no TLS",
        {"type": "http", "scheme": "https", "extensions": HOOK},
        "http",
        False,
    ),
    ("the hook and TLS", {"type": "websocket", "scheme": "ws", "extensions": {**HOOK, "tls": {}}}, "wss", True),
    ("the same, WebSocket", {"type": "websocket", "scheme": "ws", "extensions": {"tls": {}}}, "wss", True),
]


@pytest.mark.parametrize(("scope", "scheme", "secure"), [row[1:] for row in SCHEMES], ids=[row[0] for row in SCHEMES])
def test_the_scheme_as_trusted(scope, scheme, secure):
    """As above."""
    exchange = Exchange(scope)
    assert (exchange.scheme, exchange.is_secure) == (scheme, secure)


def test_at_the_start():
    """Nothing decided, nothing shared with another request."""
    one, two = Exchange({"type": "http"}), Exchange({"type": "http"})
    assert (one.principal, one.peer_certificate, one.denial, one.status, one.route, one.outcome) == (None,) * 6
    assert (one.decisions, one.memo, one.host, one.client_request_id, one.error_type, one.bytes_sent) == (
        [],
        {},
        "",
        "",
        "",
        0,
    )
    assert one.decisions is not two.decisions
    assert one.memo is not two.memo
    assert one.started <= two.started
    with pytest.raises(AttributeError):
        one.scope = {}


def test_the_request_id():
    """RID-1: a UUID unless somebody who may has said otherwise, and always the same one."""
    exchange = Exchange({"type": "http"})
    assert uuid.UUID(exchange.request_id).version == 4
    assert exchange.request_id == exchange.request_id
    exchange.request_id = "from-the-proxy"
    assert exchange.request_id == "from-the-proxy"


def test_the_request_id_is_echoed_once():
    """RID-1: but not over the application's own."""
    exchange = Exchange({"type": "http"})
    headers = [(b"content-type", b"text/plain")]
    exchange.echo_request_id(headers)
    assert headers[1:] == [(b"x-request-id", exchange.request_id.encode())]
    exchange.echo_request_id(headers)
    assert len(headers) == 2


def test_new_uuids():
    """RFC 9562 section 5.4: version 4, variant 10."""
    made = {new_uuid() for _ in range(200)}
    assert len(made) == 200
    assert all(
        re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", text) for text in made
    )
    assert {text[19] for text in made} == set("89ab")


def test_records():
    exchange = Exchange({"type": "http"})
    exchange.record("gate", "deny", "test.no", "private")
    exchange.record("gate", "pass")
    assert exchange.decisions == [Decision("gate", "deny", "test.no", "private"), Decision("gate", "pass", "", "")]


def test_records_are_bounded():
    """A WebSocket may be asked about a million messages."""
    exchange = Exchange({"type": "http"})
    for number in range(MAX_DECISIONS + 1):
        exchange.record("gate", "shadow", "test.no", str(number))
    assert [decision.note for decision in exchange.decisions] == [str(number) for number in range(MAX_DECISIONS)]


def test_shadowed_is_decided_once(monkeypatch):
    """“evaluated once per request”, layer by layer."""
    days = [date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3)]
    monkeypatch.setattr(exchange_module, "today", lambda: days.pop(0))
    exchange = Exchange({"type": "http"})
    enforced, shadowed = Layer(), Layer(mode="shadow")
    first = Layer(mode="shadow", shadow_until=date(2026, 1, 1))
    second = Layer(mode="shadow", shadow_until=date(2026, 1, 1))
    for _ in range(2):
        assert [exchange.shadowed(layer) for layer in (enforced, shadowed, first, second)] == [False, True, True, False]
    assert days == [date(2026, 1, 3)]


def test_today_is_utc(monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, zone=None):
            assert zone is UTC
            return cls(2026, 3, 31, 23, 59, tzinfo=zone)

    monkeypatch.setattr(exchange_module, "datetime", Clock)
    assert today() == date(2026, 3, 31)


# Found by whoever holds a connection


@pytest.mark.parametrize("drive", [asgi.http, asgi.websocket])
def test_found_through_the_connection(drive):
    """“is found by later flows and handlers through the scope, and is public: `exchange_of(connection)`”"""
    found = []

    async def answer(request: Request):
        found.extend((exchange_of(request), exchange_of(request.scope)))
        return PlainTextResponse("x")

    async def accept(websocket: WebSocket):
        found.extend((exchange_of(websocket), exchange_of(websocket.scope)))
        await websocket.accept()
        await websocket.close()

    app = Starlette(routes=[Route("/", answer), WebSocketRoute("/", accept)])
    drive(Layer(app), "/")
    assert found[0] is found[1]
    assert type(found[0]) is Exchange


@pytest.mark.parametrize("connection", [{"type": "http"}, Request({"type": "http"})], ids=["scope", "request"])
def test_not_found(connection):
    with pytest.raises(
        ConfigurationError, match="no secure_asgi layer stands outside this code: wrap the app"
    ) as caught:
        exchange_of(connection)
    assert caught.value.__suppress_context__


def test_two_requests_have_two():
    seen = []

    async def app(scope, receive, send):
        seen.append(exchange_of(scope))
        await asyncio.sleep(0)
        await asgi.hello(scope, receive, send)

    async def both():
        layer = Layer(app)
        await asyncio.gather(*(asgi.drive(layer, asgi.http_scope(), []) for _ in range(2)))

    asyncio.run(both())
    assert seen[0] is not seen[1]
    assert [exchange.status for exchange in seen] == [200, 200]


def test_bytes_are_counted_once():
    """By the outermost flow alone, and body bytes alone."""
    seen = []

    class Count(Layer):
        name = "count"

        def on_end(self, exchange):
            seen.append(exchange.bytes_sent)

    async def foreign(scope, receive, send):
        await Count(streaming)(scope, receive, send)

    async def streaming(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": memoryview(b"de"), "more_body": True})
        await send({"type": "http.response.body"})

    asgi.http(Count(foreign))
    assert seen == [5, 5]


# Values


def test_a_principal_is_a_starlette_user():
    """“also Starlette's `is_authenticated, display_name, identity`”"""
    principal = Principal(subject="alice", scopes=frozenset({"orders:read"}), claims={"secret": 1})
    assert principal.is_authenticated
    assert principal.display_name == principal.identity == "alice"
    assert "secret" not in repr(principal)
    with pytest.raises(TypeError):
        Principal(subject="bob").claims["x"] = 1


def certificate(*uris):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return PeerCertificate(
        der=b"secret", sha256="00", subject="CN=a", issuer="CN=b", serial=1, not_before=at, not_after=at, uris=uris
    )


def test_a_peer_certificate_names_itself_as_tokens_do():
    """TOK-1, with the certificate of RFC 9440 appendix A."""
    bound = replace(certificate(), sha256="bfaf1f7e070f9fa8dd62905f158da73f84a1136624fbafcc9393c8f7287a69eb")
    assert bound.thumbprint == "v68ffgcPn6jdYpBfFY2nP4ShE2Yk-6_Mk5PI9yh6aes"
    assert "secret" not in repr(bound)


@pytest.mark.parametrize("kind", [RejectedError, TokenError, CertificateError, ForwardedError])
def test_errors_carry_their_reason(kind):
    error = kind("token_expired", "exp is 3")
    assert (error.reason, error.note, str(error)) == ("token_expired", "exp is 3", "token_expired: exp is 3")
    assert str(kind("token_expired")) == "token_expired"
    assert isinstance(error, SecureASGIError)


def test_a_configuration_error_is_a_value_error():
    assert issubclass(ConfigurationError, SecureASGIError)
    assert issubclass(ConfigurationError, ValueError)
