"""Which path the router will route on, which route answered, and where a layer is exempt."""

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette._utils import get_route_path
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route

from secure_asgi import ConfigurationError, Layer
from secure_asgi._paths import PathSet, route_path, route_template

from . import asgi

ROUTED = [
    ("no root path", "/orders", "", "/orders"),
    ("below the root path", "/api/orders", "/api", "/orders"),
    ("the root path itself", "/api", "/api", ""),
    ("a longer first segment", "/apiary", "/api", "/apiary"),
    ("elsewhere", "/orders", "/api", "/orders"),
    ("a root path that ends in a slash", "/api/orders", "/api/", "/api/orders"),
]


@pytest.mark.parametrize(("path", "root", "routed"), [row[1:] for row in ROUTED], ids=[row[0] for row in ROUTED])
def test_the_path_the_router_routes_on(path, root, routed):
    """“exempt paths and rules match the path the router will route on”: the same as Starlette's."""
    scope = {"path": path, "root_path": root}
    assert route_path(scope) == routed == get_route_path(scope)


def test_root_path_may_be_missing():
    assert route_path({"path": "/orders"}) == "/orders"


MATCHES = [
    ("exact", "/health", "/health", True),
    ("not below it", "/health", "/health/x", False),
    ("not with a slash", "/health", "/health/", False),
    ("not a longer word", "/health", "/healthz", False),
    ("not in another case", "/health", "/Health", False),
    ("below a prefix", "/public/", "/public/a/b", True),
    ("the prefix itself", "/public/", "/public/", True),
    ("not without its slash", "/public/", "/public", False),
    ("not a longer segment", "/public/", "/publicity", False),
    ("up and out", "/public/", "/public/../admin", False),
    ("up at the end", "/public/", "/public/a/..", False),
    ("a dot segment", "/public/", "/public/./a", False),
    ("a dot at the end", "/public/", "/public/.", False),
    ("an empty segment", "/public/", "/public//admin", False),
    ("a backslash", "/public/", "/public/..\\admin", False),
    ("a file with dots", "/public/", "/public/..a/b.txt", True),
    ("a hidden file", "/public/", "/public/.well-known/x", True),
    ("written with dots, and so asked for", "/a/../b", "/a/../b", True),
    ("the root document", "/", "/", True),
    ("the root is no prefix", "/", "/admin", False),
    ("an empty path", "/", "", False),
    ("several", ("/health", "/public/"), "/public/x", True),
    ("none", (), "/health", False),
    ("a generator", (path for path in ("/health",)), "/health", True),
]


@pytest.mark.parametrize(("paths", "path", "expected"), [row[1:] for row in MATCHES], ids=[row[0] for row in MATCHES])
def test_exempt_paths(paths, path, expected):
    """“Exempt paths are exact strings or whole path segments, never a regex search.”"""
    exempt = PathSet(paths, option="exempt")
    assert (path in exempt) is expected
    assert bool(exempt) is (paths != ())


@pytest.mark.parametrize("paths", ["health", "", ("/health", "x"), (1,), None, 7, b"/health"], ids=repr)
def test_wrong_paths(paths):
    with pytest.raises(ConfigurationError, match='exempt= takes paths that begin with "/"'):
        PathSet(paths, option="exempt")


# The template of the route that answered


def text(request):
    return PlainTextResponse("x")


def starlette():
    inner = Starlette(routes=[Route("/r/{number:int}", text)])
    return Starlette(
        routes=[
            Route("/plain/{name}", text),
            Mount("/mount", routes=[Route("/r", text), Mount("/{tenant}", routes=[Route("/r", text)])]),
            Mount("/app", inner),
        ]
    )


def fastapi():
    app, sub = FastAPI(), FastAPI()
    outer, inner = APIRouter(), APIRouter(prefix="/own")

    @app.get("/plain/{name}")
    async def plain(name: str):
        return name

    @outer.get("/r/{number}")
    async def included(number: int):
        return number

    @inner.get("/r")
    async def included_twice():
        return 1

    @inner.websocket("/ws/{name}")
    async def websocket(websocket: WebSocket, name: str):
        await websocket.accept()
        await websocket.close()

    @sub.get("/r")
    async def mounted():
        return 1

    router = APIRouter()

    @router.get("/r")
    async def included_in_mounted():
        return 1

    sub.include_router(router, prefix="/v1")
    outer.include_router(inner, prefix="/second")
    app.include_router(outer, prefix="/first")
    app.mount("/sub/{tenant}", sub)
    return app


ANSWERED = [
    ("a route", starlette, "/plain/x", 200, "/plain/{name}"),
    ("the wrong method", starlette, "/plain/x", 405, "/plain/{name}"),
    ("below a mount", starlette, "/mount/r", 200, "/mount/r"),
    ("below two, one a parameter", starlette, "/mount/acme/r", 200, "/mount/acme/r"),
    ("an application mounted", starlette, "/app/r/1", 200, "/app/r/{number}"),
    ("nothing", starlette, "/nothing", 404, None),
    ("nothing below a mount", starlette, "/mount/a/nothing", 404, None),
    ("nothing in an application mounted", starlette, "/app/nothing", 404, None),
    ("FastAPI's route", fastapi, "/plain/x", 200, "/plain/{name}"),
    ("included", fastapi, "/first/r/1", 200, "/first/r/{number}"),
    ("included, the wrong method", fastapi, "/first/r/1", 405, "/first/r/{number}"),
    ("included, invalid", fastapi, "/first/r/x", 422, "/first/r/{number}"),
    ("included twice", fastapi, "/first/second/own/r", 200, "/first/second/own/r"),
    ("an application mounted in FastAPI", fastapi, "/sub/acme/r", 200, "/sub/acme/r"),
    ("included there", fastapi, "/sub/acme/v1/r", 200, "/sub/acme/v1/r"),
    ("nothing in FastAPI", fastapi, "/nothing", 404, None),
    ("nothing in an application mounted there", fastapi, "/sub/acme/nothing", 404, None),
]


class Seen(Layer):
    name = "seen"

    def on_response(self, exchange, headers):
        headers.append((b"x-route", str(exchange.route).encode()))


@pytest.mark.parametrize(
    ("app", "path", "status", "route"), [row[1:] for row in ANSWERED], ids=[row[0] for row in ANSWERED]
)
@pytest.mark.parametrize("root", ["", "/root"])
def test_the_route_that_answered(app, path, status, route, root):
    """“`exchange.route` (the template) is set at the response head”: below the server's root path, None for a 404."""
    method = "DELETE" if status == 405 else "GET"
    got = asgi.http(Seen(app()), root + path, root_path=root, method=method)
    assert got.status == status
    assert got.headers["x-route"] == str(route)


def test_the_route_of_one_host():
    hosted = Starlette(routes=[Route("/hosted/{name}", text)])
    got = asgi.http(Seen(Starlette(routes=[Host("api.example.com", hosted)])), "/hosted/x")
    assert got.headers["x-route"] == "/hosted/{name}"


def test_the_route_of_a_websocket():
    got = asgi.websocket(Seen(fastapi()), "/first/second/own/ws/x")
    assert (b"x-route", b"/first/second/own/ws/{name}") in got.messages[0]["headers"]


TEMPLATES = [
    ("no route", {}),
    ("no endpoint", {"route": type("R", (), {"path_format": "/x"})()}),
    ("no path format", {"route": type("R", (), {"endpoint": text})()}),
    ("a path format that is no text", {"route": type("R", (), {"endpoint": text, "path_format": b"/x"})()}),
]


@pytest.mark.parametrize("scope", [row[1] for row in TEMPLATES], ids=[row[0] for row in TEMPLATES])
def test_no_template(scope):
    """Another framework's route is not guessed at."""
    assert route_template(scope) is None


def test_an_unrelated_context_is_not_believed():
    """The context beside the scope is another route's."""
    route = type("R", (), {"endpoint": text, "path_format": "/mine"})()
    other = type("C", (), {"original_route": object(), "path_format": "/other"})()
    assert route_template({"route": route, "fastapi": {"effective_route_context": other}}) == "/mine"
