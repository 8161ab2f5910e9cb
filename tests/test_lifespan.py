"""Resources open before the application and close after it, whatever the application thinks of lifespan."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware

from secure_asgi import Layer, Middleware, secure, secure_stack

from . import asgi

LOG = []


class Resource(Layer):
    name = "resource"
    fails = ""

    async def on_startup(self, scope):
        LOG.append(f"open {self.place}")
        self.app_seen = scope["app"]
        if self.fails == "startup":
            raise OSError("no disk")

    async def on_shutdown(self):
        LOG.append(f"close {self.place}")
        if self.fails == "shutdown":
            raise OSError("no disk")


def resource(place, fails=""):
    return type(place, (Resource,), {"name": place, "fails": fails})


async def takes_part(scope, receive, send):
    LOG.append((await receive())["type"])
    await send({"type": "lifespan.startup.complete"})
    LOG.append((await receive())["type"])
    await send({"type": "lifespan.shutdown.complete"})


async def rejects(scope, receive, send):
    raise AssertionError("http only")


async def ignores(scope, receive, send):
    return


async def fails_to_start(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
    raise RuntimeError("no database")


async def leaves_without_a_word(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()


async def leaves_early(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})


async def says_more(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.progress"})
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def fails_to_stop(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "x"})


STARTED, STOPPED = "lifespan.startup.complete", "lifespan.shutdown.complete"
LIVES = [
    ("takes part", takes_part, ("", ""), [STARTED, STOPPED]),
    ("rejects it", rejects, ("", ""), [STARTED, STOPPED]),
    ("ignores it", ignores, ("", ""), [STARTED, STOPPED]),
    ("fails to start", fails_to_start, ("", ""), ["lifespan.startup.failed"]),
    ("stops without a word", leaves_without_a_word, ("", ""), [STARTED, STOPPED]),
    ("leaves early", leaves_early, ("", ""), [STARTED, STOPPED]),
    ("says more than we know", says_more, ("", ""), ["lifespan.startup.progress", STARTED, STOPPED]),
    ("fails to stop", fails_to_stop, ("", ""), [STARTED, "lifespan.shutdown.failed"]),
    ("a resource fails to open", takes_part, ("", "startup"), ["lifespan.startup.failed"]),
    ("a resource fails to close", takes_part, ("shutdown", "shutdown"), [STARTED, "lifespan.shutdown.failed"]),
    ("both fail to stop", fails_to_stop, ("shutdown", ""), [STARTED, "lifespan.shutdown.failed"]),
]


@pytest.mark.parametrize(("app", "fails", "sent"), [row[1:] for row in LIVES], ids=[row[0] for row in LIVES])
def test_lives(app, fails, sent):
    LOG.clear()
    stack = resource("outer", fails[0])(resource("inner", fails[1])(app))
    inbound = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    got = asyncio.run(asgi.drive(stack, {"type": "lifespan", "asgi": {}, "state": {}}, inbound))
    assert [message["type"] for message in got.messages] == sent
    assert isinstance(got.error, RuntimeError) == (app is fails_to_start)
    opened = [entry for entry in LOG if entry.startswith("open")]
    assert opened == ["open outer", "open inner"]
    closed = ["close outer"] if fails[1] == "startup" else ["close inner", "close outer"]
    assert [entry for entry in LOG if entry.startswith("close")] == closed
    if app is takes_part and fails == ("", ""):
        assert LOG == [
            "open outer",
            "open inner",
            "lifespan.startup",
            "lifespan.shutdown",
            "close inner",
            "close outer",
        ]


def test_without_resources_it_passes_untouched():
    class Stamp(Layer):
        def on_response(self, exchange, headers):
            return None

    got = asyncio.run(asgi.drive(Stamp(rejects), {"type": "lifespan"}, []))
    assert isinstance(got.error, AssertionError)


def live(app):
    inbound = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    return asyncio.run(asgi.drive(app, {"type": "lifespan", "asgi": {}, "state": {}}, inbound))


def test_the_application_is_in_hand():
    """ "in lifespan, with the routes in hand (scope["app"] or the wrapped app)"."""
    seen = []

    class Look(Resource):
        async def on_startup(self, scope):
            seen.append(scope["app"])

    starlette = Starlette(middleware=secure_stack(Middleware(Look)))
    live(starlette)
    inside = Starlette()
    live(secure(GZipMiddleware(inside), Middleware(Look)))
    live(secure(ignores, Middleware(Look)))
    assert seen == [starlette, inside, ignores]


def test_a_stack_of_another_application_fails_the_start():
    stack = secure_stack(Middleware(Resource))
    assert live(Starlette(middleware=stack)).messages[0]["type"] == STARTED
    first = Starlette(middleware=stack)
    live(first)
    second = live(Starlette(middleware=stack))
    assert second.messages[0]["type"] == "lifespan.startup.failed"
    assert "call secure_stack() again" in second.messages[0]["message"]
