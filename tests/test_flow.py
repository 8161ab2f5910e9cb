"""What the pass promises, beyond what the comparison of flat, nested and split stacks shows."""

import asyncio
import gc
from datetime import date

import pytest
import trio
import trio.lowlevel
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from secure_asgi import ConfigurationError, Denial, Layer, Principal, exchange_of
from secure_asgi.exchange import Exchange, PeerCertificate
from secure_asgi.flow import Claim, Flow

from . import asgi


class Watch(Layer):
    """Remembers the exchange it saw, and what it was at the end."""

    name = "watch"

    def __init__(self, app=None):
        self.seen = []
        super().__init__(app)

    def on_end(self, exchange):
        self.seen.append((exchange.route, exchange.status, exchange.outcome))


class Refuse(Layer):
    name = "refuse"

    def on_request(self, exchange, scope):
        return Denial("acme.no", 403, "No.")


class RefuseMessages(Layer):
    name = "refuse_messages"
    says = Denial("acme.no", 403)

    def on_message(self, exchange, message):
        if message["text"] == "crash":
            raise ValueError
        return self.says if message["text"] == "bad" else None


def test_the_hooks_of_the_base_do_nothing():
    layer, exchange = Layer(), Exchange(asgi.http_scope())
    assert layer.on_request(exchange, {}) is layer.on_exempt(exchange, {}) is layer.on_response(exchange, []) is None
    assert layer.on_message(exchange, {}) is layer.on_error(exchange, ValueError()) is layer.on_sent(exchange) is None
    assert layer.on_end(exchange) is None


WRONG = [
    ({"mode": "observe"}, 'mode= is "enforce" or "shadow"'),
    ({"shadow_until": date(2027, 1, 1)}, 'goes with mode="shadow"'),
    ({"mode": "shadow", "shadow_until": "2027-01-01"}, "is a datetime.date"),
    ({"exempt": "health"}, 'paths that begin with "/"'),
    ({"exempt": (1,)}, "got 1"),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG, ids=[row[1] for row in WRONG])
def test_wrong_options(options, sentence):
    with pytest.raises(ConfigurationError) as caught:
        Refuse(asgi.hello, **options)
    assert sentence in str(caught.value)


def test_a_layer_without_an_application_says_so():
    assert "wraps no application" in str(asgi.http(Refuse()).error)


def test_an_unknown_scope_type_raises():
    """ "A scope type we do not know raises, only lifespan passes." """
    answer = asyncio.run(asgi.drive(Watch(asgi.hello), {"type": "webtransport"}, []))
    assert isinstance(answer.error, RuntimeError)
    assert not answer.messages


def test_two_of_one_place():
    with pytest.raises(ConfigurationError, match="two layers of the kind 'refuse'"):
        Refuse(Refuse(asgi.hello))

    class Repeatable(Refuse):
        repeatable = True

    assert len(Repeatable(Repeatable(asgi.hello)).app.layers) == 2


EXEMPT = [
    ("exact", "/health", "/health", "", 200),
    ("not below an exact path", "/health", "/health/x", "", 403),
    ("below a prefix", "/public/", "/public/x/y", "", 200),
    ("the prefix itself", "/public/", "/public/", "", 200),
    ("not what only begins alike", "/public/", "/publicity", "", 403),
    ("not the prefix without its slash", "/public/", "/public", "", 403),
    ("the root is the root alone", "/", "/x", "", 403),
    ("no dot segment", "/public/", "/public/../admin", "", 403),
    ("no empty segment", "/public/", "/public//admin", "", 403),
    ("no backslash", "/public/", "/public/\\admin", "", 403),
    ("no dots at the end", "/public/", "/public/..", "", 403),
    ("below a root path", "/health", "/api/health", "/api", 200),
    ("a root path that only begins alike", "/health", "/apihealth", "/api", 403),
    ("exactly the root path", "/health", "/api", "/api", 403),
]


@pytest.mark.parametrize(("exempt", "path", "root", "status"), [row[1:] for row in EXEMPT], ids=[r[0] for r in EXEMPT])
def test_exempt_paths(exempt, path, root, status):
    assert asgi.http(Refuse(asgi.hello, exempt=exempt), path, root_path=root).status == status


def test_shadow_ends_by_itself_and_is_decided_once_a_request(monkeypatch):
    monkeypatch.setattr("secure_asgi.exchange.today", lambda: date(2027, 3, 31))
    shadow = Refuse(asgi.hello, mode="shadow", shadow_until=date(2027, 3, 31))
    assert asgi.http(shadow).status == 200
    exchange = Exchange(asgi.http_scope())
    assert exchange.shadowed(shadow)
    monkeypatch.setattr("secure_asgi.exchange.today", lambda: date(2027, 4, 1))
    assert exchange.shadowed(shadow)
    assert asgi.http(shadow).status == 403


async def answer(request):
    return PlainTextResponse("x")


def routed():
    included = APIRouter(prefix="/orders")
    included.add_api_route("/{number}", lambda number: number)
    fastapi = FastAPI()
    fastapi.include_router(included, prefix="/v1")
    return Starlette(
        routes=[
            Route("/plain/{x}", answer),
            Mount("/mounted", routes=[Route("/{x}", answer), Mount("/static", app=asgi.hello)]),
            Mount("/fast", app=fastapi),
            WebSocketRoute("/ws/{x}", lambda websocket: websocket.accept()),
        ]
    )


ROUTES = [
    ("/plain/1", "/plain/{x}"),
    ("/mounted/1", "/mounted/{x}"),
    ("/mounted/static/x", None),
    ("/fast/v1/orders/7", "/fast/v1/orders/{number}"),
    ("/nowhere", None),
]


@pytest.mark.parametrize(("path", "template"), ROUTES)
def test_route_templates(path, template):
    """ "exchange.route (the template) is set at the response head"; and the caller's scope learns of the route."""
    watch = Watch(routed())
    got = asgi.http(watch, path)
    assert watch.seen[0][0] == template
    if template == "/plain/{x}":
        assert got.scope["path_params"] == {"x": "1"}
        assert got.scope["route"].path == template


def test_a_route_without_a_template_has_none():
    class Odd:
        endpoint = answer

    async def app(scope, receive, send):
        scope["route"] = Odd()
        await asgi.hello(scope, receive, send)

    watch = Watch(app)
    asgi.http(watch)
    assert watch.seen == [(None, 200, "complete")]


def test_headers_in_any_shape():
    """Tuples, one-shot iterables, mixed case; a repeated field keeps all its lines."""

    class Read(Layer):
        name = "read"

        def on_request(self, exchange, scope):
            self.fields = exchange.fields(scope)

    read = Read(asgi.hello)
    scope = asgi.http_scope()
    scope["headers"] = iter([(b"X-A", b"1"), (b"x-a", b"2"), (b"X-A", b"3"), (b"Host", b"h")])
    asyncio.run(asgi.drive(read, scope, []))
    assert read.fields == {b"x-a": (b"1", b"2", b"3"), b"host": b"h"}


def test_exchange_of():
    async def app(scope, receive, send):
        assert exchange_of(scope) is exchange_of(Request(scope))
        await asgi.hello(scope, receive, send)

    assert asgi.http(Watch(app)).status == 200
    with pytest.raises(ConfigurationError, match="no secure_asgi layer stands outside"):
        exchange_of({})


def test_principal_and_certificate():
    principal = Principal(subject="ann")
    assert (principal.is_authenticated, principal.display_name, principal.identity) == (True, "ann", "ann")
    about = {"der": b"", "sha256": "", "subject": "", "issuer": "", "serial": 1, "not_before": None, "not_after": None}
    assert PeerCertificate(**about, uris=("spiffe://a/b",)).spiffe_id == "spiffe://a/b"
    assert PeerCertificate(**about, uris=("spiffe://a/b", "spiffe://a/c")).spiffe_id is None
    assert PeerCertificate(**about, uris=("https://a",)).spiffe_id is None


MESSAGES = [
    ("good", ["good"], ["websocket.accept", "websocket.send"], None),
    ("bad", ["bad", "good"], ["websocket.accept", "websocket.close"], 1008),
    ("a crash", ["crash", "good"], ["websocket.accept", "websocket.close"], 1011),
]


@pytest.mark.parametrize(("texts", "sent", "code"), [row[1:] for row in MESSAGES], ids=[row[0] for row in MESSAGES])
def test_messages(texts, sent, code):
    """ "a denial closes with 1008 and the application receives websocket.disconnect"."""
    got = asgi.websocket(RefuseMessages(asgi.hello), texts=texts)
    assert [message["type"] for message in got.messages] == sent
    assert code is None or got.close_code == code
    assert isinstance(got.error, ValueError) == (code == 1011)


def test_an_outage_closes_with_1013():
    class Outage(RefuseMessages):
        says = Denial("acme.down", 503)

    assert asgi.websocket(Outage(asgi.hello), texts=["bad"]).close_code == 1013


def test_decisions_are_bounded():
    class Shadow(RefuseMessages):
        def __init__(self, app):
            self.watched = None
            super().__init__(app, mode="shadow")

        def on_end(self, exchange):
            self.watched = exchange

    layer = Shadow(asgi.hello)
    asgi.websocket(layer, texts=["bad"] * 150)
    assert len(layer.watched.decisions) == 100


async def keeps_talking(scope, receive, send):
    """Does not heed the disconnect at once, closes after it, and then reports it as Starlette does."""
    await receive()
    await send({"type": "websocket.accept"})
    for _ in range(3):
        await receive()
        await send({"type": "websocket.send", "text": "still here"})
    await send({"type": "websocket.close", "code": 1000})
    raise WebSocketDisconnect(1008)


@pytest.mark.parametrize("text", ["bad", "crash"])
def test_after_a_refusal_nothing_more_is_sent(text):
    got = asgi.websocket(RefuseMessages(keeps_talking), texts=[text, "good"])
    assert [message["type"] for message in got.messages] == ["websocket.accept", "websocket.close"]


def test_who_has_closed_is_not_closed_again():
    async def closes_first(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
        await receive()

    assert asgi.websocket(RefuseMessages(closes_first), texts=["bad"]).close_code == 1000


def test_a_client_that_leaves_before_it_connects_is_not_answered():
    scope = asgi.websocket_scope()
    got = asyncio.run(asgi.drive(Refuse(asgi.hello), scope, []))
    assert got.messages == []


def test_an_answer_ends_once():
    async def ends_twice(scope, receive, send):
        await asgi.hello(scope, receive, send)
        await send({"type": "http.response.body", "body": b""})

    sent = []

    class Count(Layer):
        name = "count"

        def on_sent(self, exchange):
            sent.append(exchange.outcome)

    asgi.http(Count(ends_twice))
    assert sent == ["complete"]


class Slotted:
    __slots__ = ()


def test_a_claim_holds_whoever_came_first():
    claim, first = Claim(), Slotted()
    claim.take(first)
    claim.take(first)
    with pytest.raises(ConfigurationError, match="call secure_stack"):
        claim.take(Slotted())


def test_trio():
    """Floors 0 to 2 use nothing of asyncio's."""

    class Waits(Layer):
        name = "waits"
        ended = False

        async def on_request(self, exchange, scope):
            await trio.lowlevel.checkpoint()

        async def on_end(self, exchange):
            await trio.lowlevel.checkpoint()
            self.ended = True

    layer, sent = Waits(asgi.hello), []

    async def send(message):
        sent.append(message["type"])

    trio.run(layer, asgi.http_scope(), None, send)
    assert sent == ["http.response.start", "http.response.body"]
    assert layer.ended


class Gate(Layer):
    def on_request(self, exchange, scope):
        exchange.fields(scope)
        exchange.memo[self] = 1


class Stamp(Layer):
    def on_response(self, exchange, headers):
        headers.append((b"x-a", b"b"))


class Envelope(Layer):
    def on_error(self, exchange, error):
        return None

    def on_sent(self, exchange):
        pass

    def on_end(self, exchange):
        pass


def eight(app):
    for number, cls in enumerate([Gate, Gate, Gate, Envelope, Envelope, Stamp, Stamp]):
        app = type(f"{cls.__name__}{number}", (cls,), {"name": str(number)})(app)
    return app


@pytest.mark.parametrize("refuses", [False, True])
def test_no_cyclic_object_more_than_without_us(refuses):
    """ "It adds no reference cycle (scope, exchange, send, scope)": counted with the collector off."""

    async def requests(app, count):
        for _ in range(count):
            await asgi.drive(app, asgi.http_scope(), [])

    def cyclic(app):
        asyncio.run(requests(app, 20))
        gc.collect()
        gc.disable()
        try:
            asyncio.run(requests(app, 200))
            return gc.collect() // 200
        finally:
            gc.enable()

    assert cyclic(eight(Refuse(asgi.hello) if refuses else asgi.hello)) == cyclic(asgi.hello)


def test_layers_that_stand_side_by_side_are_one_flow():
    flow = eight(asgi.hello).app
    assert isinstance(flow, Flow)
    assert len(flow.layers) == 7
    assert flow.app is asgi.hello
