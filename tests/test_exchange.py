"""The exchange and its values: what a request is to every layer, whatever stands around the application."""

import asyncio

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from secure_asgi import ConfigurationError, Denial, Layer, Principal, exchange_of
from secure_asgi.exchange import Exchange, PeerCertificate

from . import asgi


class Watch(Layer):
    """Remembers the exchange it saw, and what it was at the end."""

    name = "watch"

    def __init__(self, app=None):
        self.seen = []
        super().__init__(app)

    def on_end(self, exchange):
        self.seen.append((exchange.route, exchange.status, exchange.outcome))


def test_the_hooks_of_the_base_do_nothing():
    layer, exchange = Layer(), Exchange(asgi.http_scope())
    assert layer.on_request(exchange, {}) is layer.on_exempt(exchange, {}) is layer.on_response(exchange, []) is None
    assert layer.on_message(exchange, {}) is layer.on_error(exchange, ValueError()) is layer.on_sent(exchange) is None
    assert layer.on_end(exchange) is None


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


def test_decisions_are_bounded():
    """A long WebSocket whose messages are refused in shadow mode must not grow without end."""

    class Shadow(Layer):
        name = "shadow"

        def on_message(self, exchange, message):
            return Denial("acme.no", 403)

        def on_end(self, exchange):
            self.watched = exchange

    layer = Shadow(asgi.hello, mode="shadow")
    asgi.websocket(layer, texts=["bad"] * 150)
    assert len(layer.watched.decisions) == 100


SCHEMES = [
    ("as the server says", "https", {}, "https", "203.0.113.9"),
    ("TLS seen by the server", "http", {"tls": {}}, "https", "203.0.113.9"),
    ("our hook saw TLS", "http", {"tls": {}, "secure_asgi": {"peer": ("10.0.0.1", 5)}}, "https", "10.0.0.1"),
    ("our hook saw none, a header claimed it", "https", {"secure_asgi": {"peer": ("10.0.0.1", 5)}}, "http", "10.0.0.1"),
    ("a Unix socket", "https", {"secure_asgi": {"peer": None}}, "http", None),
    ("a peer that has gone", "http", {"secure_asgi": {"peer": ("unknown", 0)}}, "http", None),
]


@pytest.mark.parametrize(
    ("claimed", "extensions", "scheme", "client"), [row[1:] for row in SCHEMES], ids=[row[0] for row in SCHEMES]
)
def test_scheme_and_client_are_what_the_socket_says(claimed, extensions, scheme, client):
    """HTTPS-1, FWD-12: as trusted, not as claimed."""
    exchange = Exchange(asgi.http_scope(scheme=claimed, extensions=extensions))
    assert (exchange.scheme, exchange.client) == (scheme, client)
    websocket = Exchange(asgi.websocket_scope(scheme=claimed.replace("http", "ws"), extensions=extensions))
    assert websocket.scheme == scheme.replace("http", "ws")
