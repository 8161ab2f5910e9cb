"""The walk over an application's routes: what the coverage gate sees is what the router will do (ASVS 8.3.1)."""

import os
import subprocess
import sys
from functools import partial

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute, Host, Mount, Route, Router, WebSocketRoute

from secure_asgi._routes import routes_of
from secure_asgi.flow import Layer


async def handler(request):
    """Routes are looked at here, and never asked: this holds for all below."""


async def bare(scope, receive, send): ...


class Endpoint(HTTPEndpoint):
    get = post = handler


class Dispatching(Endpoint):
    async def dispatch(self): ...


class Custom(StringConvertor):
    regex = "[a-z]+"


class Unknown(BaseRoute):
    pass


class Narrower(Route):
    def matches(self, scope): ...


GET = "GET,HEAD"
router_with_default = Router([Route("/a", handler)], default=bare)
mounted_in_itself = Router([Route("/a", handler)])
mounted_in_itself.routes.append(Mount("/self", app=mounted_in_itself))
mount_of_itself = Mount("/m", app=bare)
mount_of_itself.app = mount_of_itself


def shown(entries):
    return [
        " ".join(
            filter(
                None,
                [
                    entry.kind,
                    ",".join(sorted(entry.methods)) if entry.methods is not None else "any",
                    entry.template.text,
                    entry.host and f"@{entry.host}",
                ],
            )
        )
        for entry in entries
        if entry.kind != "barrier"
    ]


@pytest.mark.parametrize(
    ("name", "app", "expected"),
    [
        (
            "routes",
            Starlette(routes=[Route("/a", handler), Route("/b/{x}", handler, methods=["POST"])]),
            [f"http {GET} /a", "http POST /b/{x}"],
        ),
        ("a WebSocket", Router([WebSocketRoute("/w", bare)]), ["websocket any /w"]),
        ("a class of handlers", Router([Route("/a", Endpoint)]), ["http GET,HEAD,POST /a"]),
        ("some of its methods", Router([Route("/a", Endpoint, methods=["POST", "PUT"])]), ["http POST,PUT /a"]),
        ("a class that dispatches", Router([Route("/a", Dispatching)]), ["http any /a"]),
        ("a partial", Router([Route("/a", partial(handler))]), [f"http {GET} /a"]),
        ("an ASGI object", Router([Route("/a", Layer(bare))]), ["http any /a"]),
        (
            "mounted routes",
            Router([Mount("/m", routes=[Route("/a", handler), Route("/", handler)])]),
            [f"http {GET} /m/a", f"http {GET} /m/"],
        ),
        (
            "mounted at nothing",
            Router([Mount("", routes=[Route("/a", handler)]), Route("/b", handler)]),
            [f"http {GET} /a", f"http {GET} /b"],
        ),
        (
            "a mount with parameters",
            Router([Mount("/{x}", routes=[Route("/{x}/{y:int}", handler)])]),
            [f"http {GET} /{{x}}/{{x}}/{{y:int}}"],
        ),
        (
            "a mounted application",
            Router([Mount("/m", app=Starlette(routes=[Route("/a", handler)]))]),
            [f"http {GET} /m/a"],
        ),
        (
            "wrapped",
            Router([Mount("/m", app=GZipMiddleware(Layer(Starlette(routes=[Route("/a", handler)]))))]),
            [f"http {GET} /m/a"],
        ),
        (
            "mount middleware",
            Router([Mount("/m", routes=[Route("/a", handler)], middleware=[Middleware(GZipMiddleware)])]),
            [f"http {GET} /m/a"],
        ),
        ("all in layers", Layer(GZipMiddleware(Layer(Router([Route("/a", handler)])))), [f"http {GET} /a"]),
        (
            "a mounted stranger",
            Router([Mount("/s", app=bare), Route("/s/x", handler), Route("/s", handler)]),
            ["opaque any /s/{path:path}", f"http {GET} /s/x", f"http {GET} /s"],
        ),
        ("a mounted route", Router([Mount("/s", app=Route("/x", handler))]), [f"http {GET} /s/x"]),
        ("a route alone", Route("/x", handler), [f"http {GET} /x"]),
        (
            "hosts",
            Router([Host("h", Router([Route("/a", handler), Host("h", Host("i", bare))]))]),
            [f"http {GET} /a @h", "opaque any /{path:path} @h, i"],
        ),
        ("a default", router_with_default, [f"http {GET} /a", "opaque any /{path:path}"]),
        ("an unknown route", Router([Unknown(), Route("/a", handler)]), ["opaque any /{path:path}", f"http {GET} /a"]),
        (
            "a route that matches by itself",
            Router([Mount("/m", routes=[Narrower("/a", handler)])]),
            ["opaque any /m/{path:path}"],
        ),
        ("no route at all", Router([object()]), ["opaque any /{path:path}"]),
        ("mounted in itself", mounted_in_itself, [f"http {GET} /a", "opaque any /self/{path:path}"]),
        ("a mount of itself", mount_of_itself, ["opaque any /m/{path:path}"]),
        ("a star stands for itself", Router([Route("/s/*", handler)]), [f"http {GET} /s/*"]),
        ("braces", Router([Route("/s/{a-b}/c", handler)]), [f"http {GET} /s/{{a-b}}/c"]),
        ("not plain", Router([Route("/s//c", handler)]), [f"http {GET} /s//c"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_starlette(name, app, expected):
    assert shown(routes_of(app)) == expected


@pytest.mark.parametrize(
    "app", [bare, None, Layer(), type("Odd", (), {"routes": {}})()], ids=["bare", "none", "layer", "odd"]
)
def test_no_routes(app):
    assert routes_of(app) is None


def test_an_application_that_wraps_itself():
    loop = type("Loop", (), {})()
    loop.app = loop
    assert routes_of(loop) is None


def test_a_convertor_of_their_own_may_refuse():
    register_url_convertor("lower_case", Custom())
    app = Router([Mount("/{m:lower_case}", app=bare), Route("/{x:lower_case}/{y}", handler)])
    assert shown(routes_of(app)) == [
        "opaque any /{m:lower_case}/{path:path}",
        f"http {GET} /{{x:lower_case}}/{{y}}",
    ]


def test_a_mount_answers_for_all_below_it():
    app = Router([Mount("/m", routes=[Route("/a", handler)])])
    (inside, barrier) = routes_of(app)
    assert (barrier.kind, barrier.template.text) == ("barrier", "/m/{path:path}")
    assert [one.takes("GET") for one in (inside, barrier)] == [True, True]
    assert [one.takes("WEBSOCKET") for one in (inside, barrier)] == [False, True]


def test_names():
    app = Router([Route("/a", partial(handler)), Route("/b", Layer(bare)), Mount("/c", app=Layer(bare))])
    assert [entry.name for entry in routes_of(app) if entry.kind != "barrier"] == [
        "tests.test_routes:handler",
        "secure_asgi.flow:Layer",
        "secure_asgi.flow:Layer",
    ]


def fastapi_app(directory):
    inner, outer = APIRouter(), APIRouter(prefix="/outer")
    inner.add_api_route("/{x:int}", handler, methods=["GET", "POST"], include_in_schema=False)
    inner.add_api_websocket_route("/ws", handler)
    inner.mount("/files", bare)
    inner.routes.append(Host("h", app=Router([Route("/hosted", handler)])))
    inner.add_route("/plain", handler)
    inner.frontend("/ui", directory=directory)
    outer.include_router(inner, prefix="/inner")
    app = FastAPI(openapi_url=None)
    app.include_router(outer, prefix="/v1")
    sub = FastAPI(openapi_url=None)
    sub.add_api_route("/s", handler)
    app.mount("/sub", sub)
    app.frontend("/", directory=directory)
    return app


def test_fastapi(tmp_path):
    app = fastapi_app(tmp_path)
    entries = routes_of(app)
    assert shown(entries) == [
        "http GET,POST /v1/outer/inner/{x:int}",
        "websocket any /v1/outer/inner/ws",
        "opaque any /v1/outer/inner/files/{path:path}",
        "http GET,HEAD /v1/outer/inner/hosted @h",
        "http GET,HEAD /v1/outer/inner/plain",
        "http GET /sub/s",
        "http GET,HEAD /v1/outer/inner/ui",
        "http GET,HEAD /v1/outer/inner/ui/{path:path}",
        "http GET,HEAD /{path:path}",
    ]
    listed = {entry.template.text: entry.include_in_schema for entry in entries}
    assert not listed["/v1/outer/inner/{x:int}"]
    assert listed["/v1/outer/inner/plain"]


def test_another_low_priority_route_is_an_ordinary_one():
    router = APIRouter()
    router._low_priority_routes.append(Route("/late", handler))
    router.add_api_route("/early", handler)
    assert shown(routes_of(router)) == ["http GET /early", f"http {GET} /late"]


def test_fastapi_is_not_imported():
    program = (
        "import sys; from starlette.routing import Router, Mount; from secure_asgi._routes import routes_of; "
        "assert len(routes_of(Router([Mount('/a', app=print)]))) == 2; sys.exit('fastapi' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": "src"}
    assert subprocess.run([sys.executable, "-c", program], env=env, check=False).returncode == 0
