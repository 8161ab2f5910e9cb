"""Lifespan: resources open before the application starts, close after it has stopped, and nothing here ever raises."""

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest
import trio
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Route, Router

from secure_asgi import ConfigurationError, Layer
from secure_asgi.flow import Claim, bind

from . import asgi


class Resource(Layer):
    """Notes in ``log`` what it is told; raises what it is given."""

    name = "resource"

    def __init__(self, app=None, *, log, place, opening=None, closing=None):
        self.log, self.opening, self.closing = log, opening, closing
        super().__init__(app, place=place)

    async def on_startup(self, scope):
        self.log.append(f"open {self.place}")
        if self.opening is not None:
            raise self.opening

    async def on_shutdown(self):
        self.log.append(f"close {self.place}")
        if self.closing is not None:
            raise self.closing


def application(log, *, startup="complete", shutdown="complete"):
    """Takes part in lifespan; ``failed`` is what it says where it fails."""

    async def app(scope, receive, send):
        for moment, result in (("startup", startup), ("shutdown", shutdown)):
            assert (await receive())["type"] == f"lifespan.{moment}"
            log.append(f"{moment} of the application")
            await send({"type": f"lifespan.{moment}.{result}"})
            if result == "failed":
                return

    return app


async def drive(app, scope=None, events=("lifespan.startup", "lifespan.shutdown"), log=None):
    """The server's side of the protocol: what it was told; it fails a test that asks for more than it has."""
    told, waiting = [], list(events)

    async def receive():
        return {"type": waiting.pop(0)}

    async def send(message):
        told.append(message)
        if log is not None:
            log.append(message["type"])

    await app(scope if scope is not None else {"type": "lifespan", "state": {}}, receive, send)
    assert waiting == [] or told[0]["type"] == "lifespan.startup.failed", "it left before it was told to stop"
    return told


def lifespan(app, **options):
    return asyncio.run(drive(app, **options))


def kinds(told):
    return [message["type"].removeprefix("lifespan.") for message in told]


def test_without_resources_it_is_untouched():
    """ASGI-2: passed through, the same objects."""
    seen = []

    async def app(scope, receive, send):
        seen.extend((scope, receive, send))

    class Stamp(Layer):
        def on_response(self, exchange, headers):
            raise AssertionError("no response here")

    given = ({"type": "lifespan"}, object(), object())
    asyncio.run(Stamp(app)(*given))
    assert all(mine is theirs for mine, theirs in zip(seen, given, strict=True))


def stack(app, log, **options):
    """Two resources, merged, around a foreign layer with a third behind it."""
    inner = Resource(GZipMiddleware(app), log=log, place="c")
    return Resource(Resource(GZipMiddleware(inner), log=log, place="b"), log=log, place="a", **options)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_the_order(loop):
    """Opened outermost first, before the application; closed innermost first, after it, before the server hears."""
    log = []
    app = stack(application(log), log)
    told = trio.run(lambda: drive(app, log=log)) if loop == "trio" else lifespan(app, log=log)
    assert kinds(told) == ["startup.complete", "shutdown.complete"]
    assert log == [
        "open a",
        "open b",
        "open c",
        "startup of the application",
        "lifespan.startup.complete",
        "shutdown of the application",
        "close c",
        "close b",
        "close a",
        "lifespan.shutdown.complete",
    ]


@pytest.mark.parametrize("wrap", [lambda app: app, GZipMiddleware], ids=["merged", "split"])
def test_a_failed_start(wrap, caplog):
    """“raising sends `lifespan.startup.failed`, never an exception”, and what was open is closed."""
    log = []
    inner = wrap(Resource(application(log), log=log, place="b", opening=OSError("no route to the issuer")))
    told = lifespan(Resource(inner, log=log, place="a"))
    assert told == [{"type": "lifespan.startup.failed", "message": "OSError: no route to the issuer"}]
    assert log == ["open a", "open b", "close a"]
    assert "start-up failed" in caplog.text


def test_the_application_fails_to_start():
    """Its own word is passed on; resources are closed before."""
    log = []
    told = lifespan(stack(application(log, startup="failed"), log), log=log)
    assert kinds(told) == ["startup.failed"]
    assert log[-4:] == ["close c", "close b", "close a", "lifespan.startup.failed"]


def test_starlette_fails_to_start():
    """Starlette says so, and raises as well: the server sees both."""
    log = []

    @asynccontextmanager
    async def failing(app):
        raise RuntimeError("database")
        yield

    with pytest.raises(RuntimeError, match="database"):
        lifespan(Resource(Starlette(lifespan=failing), log=log, place="a"), log=log)
    assert log == ["open a", "close a", "lifespan.startup.failed"]


async def raises(scope, receive, send):
    raise NotImplementedError("HTTP only")


async def raises_after_reading(scope, receive, send):
    await receive()
    raise NotImplementedError("HTTP only")


async def returns(scope, receive, send):
    pass


async def returns_after_reading(scope, receive, send):
    await receive()


async def returns_when_started(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})


async def returns_when_stopped(scope, receive, send):
    await returns_when_started(scope, receive, send)
    assert (await receive())["type"] == "lifespan.shutdown"


@pytest.mark.parametrize(
    "app",
    [raises, raises_after_reading, returns, returns_after_reading, returns_when_started, returns_when_stopped],
    ids=lambda app: app.__name__,
)
def test_an_application_that_takes_no_part(app):
    """“a flow whose application rejects lifespan completes the protocol itself”"""
    log = []
    told = lifespan(stack(app, log), log=log)
    assert kinds(told) == ["startup.complete", "shutdown.complete"]
    assert log == [
        "open a",
        "open b",
        "open c",
        "lifespan.startup.complete",
        "close c",
        "close b",
        "close a",
        "lifespan.shutdown.complete",
    ]


def test_an_application_that_crashes_when_started():
    """That is no rejection: it goes to the server, and resources are closed."""
    log = []

    async def app(scope, receive, send):
        await returns_when_started(scope, receive, send)
        raise RuntimeError("the task group fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        lifespan(stack(app, log))
    assert log[-3:] == ["close c", "close b", "close a"]


def test_a_failed_stop(caplog):
    """“shutdown order and failure”: told to the server, and no reason to leave the others open."""
    log = []
    told = lifespan(stack(application(log), log, closing=OSError("disk full")))
    assert told[-1] == {"type": "lifespan.shutdown.failed", "message": "a: OSError: disk full"}
    assert log[-3:] == ["close c", "close b", "close a"]
    assert "on_shutdown of a failed" in caplog.text


def test_the_first_of_two_failures_is_told():
    log = []
    inner = Resource(application(log), log=log, place="b", closing=OSError("first"))
    told = lifespan(Resource(inner, log=log, place="a", closing=OSError("second")))
    assert told[-1]["message"] == "b: OSError: first"
    assert log[-2:] == ["close b", "close a"]


def test_the_applications_own_failure_to_stop_is_not_covered():
    log = []
    told = lifespan(Resource(application(log, shutdown="failed"), log=log, place="a", closing=OSError("ours")))
    assert told[-1] == {"type": "lifespan.shutdown.failed"}
    assert log[-1] == "close a"


def test_what_we_do_not_know_is_passed_on():
    log = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.progress"})
        await send({"type": "lifespan.startup.complete"})

    told = lifespan(Resource(app, log=log, place="a"))
    assert kinds(told) == ["startup.progress", "startup.complete", "shutdown.complete"]


def test_a_cancelled_stop_closes_all():
    log = []
    app = application(log)
    for place in ("c", "b"):
        app = Resource(app, log=log, place=place, closing=asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        lifespan(Resource(app, log=log, place="a"))
    assert log[-3:] == ["close c", "close b", "close a"]


def test_only_one_of_the_two_hooks():
    """What a class leaves out is nothing to do."""
    log = []

    class Opens(Layer):
        name = "opens"

        async def on_startup(self, scope):
            log.append("open")

    class Closes(Layer):
        name = "closes"

        async def on_shutdown(self):
            log.append("close")

    assert kinds(lifespan(Opens(Closes(application(log))))) == ["startup.complete", "shutdown.complete"]
    assert log == ["open", "startup of the application", "shutdown of the application", "close"]


class Looks(Layer):
    """Keeps what it is shown at the start."""

    name = "looks"
    seen = None

    async def on_startup(self, scope):
        self.seen = scope


def test_the_routes_in_hand():
    """“in lifespan, with the routes in hand (`scope["app"]` or the wrapped app)”"""
    routed = Starlette(routes=[Route("/", lambda request: None)])
    for app in (routed, FastAPI(), Router(), GZipMiddleware(GZipMiddleware(routed))):
        looks = Looks()
        lifespan(bind(app, looks))
        assert looks.seen["app"] is (app if hasattr(app, "routes") else routed)
    looks, routeless = Looks(), application([])
    lifespan(bind(routeless, looks))
    assert looks.seen["app"] is routeless
    lifespan(bind(GZipMiddleware(routeless), looks))
    assert isinstance(looks.seen["app"], GZipMiddleware)
    lifespan(bind(routeless, looks), scope={"type": "lifespan", "app": routed})
    assert looks.seen["app"] is routed


def test_inside_starlette_it_has_the_app():
    """Installed by ``add_middleware``, a layer is shown the application it was added to."""
    looks = Looks()
    app = Starlette()
    app.add_middleware(bind, looks)
    lifespan(app)
    assert looks.seen["app"] is app


def test_state_passes_through():
    """The application's state is the server's, and the layers' too."""
    looks = Looks()

    @asynccontextmanager
    async def with_pool(app):
        yield {"pool": "open"}

    scope = {"type": "lifespan", "state": {}}
    lifespan(bind(Starlette(lifespan=with_pool), looks), scope=scope)
    assert scope["state"] == {"pool": "open"}
    assert looks.seen["state"] is scope["state"]


def test_layers_under_a_mount_do_not_see_it():
    """“Resources open on first use, or at lifespan startup where the layer sees it (layers under a Mount do not)”"""
    looks = Looks()
    app = Starlette()
    app.mount("/sub", bind(asgi.hello, looks))
    lifespan(app)
    assert looks.seen is None
    assert asgi.http(app, "/sub/").status == 200


def test_one_result_serves_one_application_from_the_start():
    """A claim that is taken fails the start-up, with the sentence that says the fix."""
    layer = Layer()
    layer.claim = Claim()
    first, second = Starlette(), Starlette()
    for app in (first, second):
        app.add_middleware(bind, layer)
    assert kinds(lifespan(first)) == ["startup.complete", "shutdown.complete"]
    told = lifespan(second)
    assert kinds(told) == ["startup.failed"]
    assert told[0]["message"].startswith(ConfigurationError.__name__ + ": one secure_stack() result")


def test_it_is_said_that_an_application_takes_no_part(caplog):
    caplog.set_level(logging.INFO)
    lifespan(stack(raises, []))
    assert "takes no part in lifespan" in caplog.text


def test_hooks_that_are_not_overridden_may_be_called():
    """A subclass calls ``super()`` without asking whether there is something to call."""
    layer, nothing = Layer(), object()
    assert layer.on_request(nothing, {}) is None
    assert layer.on_exempt(nothing, {}) is None
    assert layer.on_response(nothing, []) is None
    assert layer.on_message(nothing, {}) is None
    assert layer.on_error(nothing, ValueError()) is None
    assert layer.on_sent(nothing) is None
    assert layer.on_end(nothing) is None
    assert asyncio.run(layer.on_startup({})) is None
    assert asyncio.run(layer.on_shutdown()) is None
