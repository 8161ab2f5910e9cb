"""One pass, however it is cut: flat, nested and split stacks say and do the same.

"Measured … flat, nested and split by foreign middlewares gave the same messages, exceptions and hook order."
A stack is data (``LayerSpec``), built afresh for every run. Foreign layers that keep the head back change what leaves
when; for them, ``test_buffering`` asks for what must hold all the same.
"""

import asyncio
import logging
import os
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure_asgi import Denial, Layer, Reply
from secure_asgi import exchange as exchange_module
from secure_asgi.flow import Flow, bind

from . import asgi

MAX_EXAMPLES = int(os.environ.get("EQUIVALENCE_EXAMPLES", "300"))


class WebSocketDisconnect(Exception):
    """By the name that the flow knows."""


class ClientDisconnect(Exception):
    """By the name that the flow knows."""


class HTTPException(Exception):
    status_code = 404


# What a stack is made of


@dataclass(frozen=True)
class LayerSpec:
    """One layer: what each hook does; None leaves the hook out of the class."""

    gate: str | None = None
    exempt: str | None = None
    shadow: bool = False
    stamp: str | None = None
    error: str | None = None
    sent: str | None = None
    end: str | None = None
    message: str | None = None


GATES = (
    "pass",
    "pass later",
    "deny",
    "deny later",
    "deny 503",
    "deny unsendable",
    "reply",
    "reply 500",
    "reply for a reason",
    "reply nothing",
    "reply crash",
    "raise",
    "raise later",
    "nonsense",
)
# Most layers pass, or no request would come far through seven of them.
layer_specs = st.builds(
    LayerSpec,
    gate=st.sampled_from((None, "pass", "pass later") * 36 + GATES[2:]),
    exempt=st.sampled_from((None,) * 16 + ("no hook", "pass", "elsewhere") * 2 + ("deny", "raise")),
    shadow=st.sampled_from((False, False, True)),
    stamp=st.sampled_from((None, "edit", "edit", "raise", "replace 500", "replace 500 by 503")),
    error=st.sampled_from((None, None, "404", "500", "none", "raise", "unsendable")),
    sent=st.sampled_from((None, "log", "raise")),
    end=st.sampled_from((None, None, "log", "log", "raise", "wait", "wait and raise", "cancelled")),
    message=st.sampled_from(
        (None,) * 12 + ("pass", "pass later") * 2 + ("deny", "deny later", "deny the second", "raise", "raise later")
    ),
)


@dataclass
class Log:
    """What the hooks of one run saw."""

    calls: list[tuple] = field(default_factory=list)
    exchange: object = None

    def note(self, hook, layer, exchange):
        self.exchange = exchange
        self.calls.append((hook, layer.place, exchange.status, exchange.outcome, exchange.error_type))


async def later(value=None, error=None):
    await asyncio.sleep(0)
    if error is not None:
        raise error
    return value


def text(status, kind="text/plain", crash=False):
    async def app(scope, receive, send):
        prefix = ""
        if scope["type"] == "websocket":
            await receive()
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": 1000})
                return
            prefix = "websocket."
        headers = [(b"Content-Type", kind.encode())]
        await send({"type": prefix + "http.response.start", "status": status, "headers": headers})
        if crash:
            raise RuntimeError("reply")
        await send({"type": prefix + "http.response.body", "body": b"reply"})

    return app


async def nothing(scope, receive, send):
    pass


def no(name, status=403, **more):
    return Denial(f"test.{name}", status, "No.", note=f"by {name}", **more)


UNSENDABLE = {"members": {"what": object()}}


def build(spec, number, log):
    """A layer of its own class, which has the hooks that ``spec`` names."""
    name = f"layer{number}"
    hooks = {"name": name, "budget": 60.0}

    def act(what, later_too=True):
        """The answer of a gate."""
        match what:
            case "pass" | "pass the first":
                return None
            case "pass later":
                return later()
            case "deny":
                return no(name)
            case "deny later":
                return later(no(name))
            case "deny 503":
                return no(name, 503)
            case "deny unsendable":
                return no(name, **UNSENDABLE)
            case "reply":
                return Reply(text(200))
            case "reply 500":
                return Reply(text(500))
            case "reply for a reason":
                return later(Reply(text(308), reason="test.moved"))
            case "reply nothing":
                return Reply(nothing)
            case "reply crash":
                return Reply(text(200, crash=True))
            case "raise":
                raise ValueError(name)
            case "raise later":
                return later(error=LookupError(name))
            case "nonsense":
                return 42

    def on_request(self, exchange, scope):
        log.note("on_request", self, exchange)
        return act(spec.gate)

    def on_exempt(self, exchange, scope):
        log.note("on_exempt", self, exchange)
        return act(spec.exempt)

    def on_response(self, exchange, headers):
        log.note("on_response", self, exchange)
        if spec.stamp == "raise":
            raise ValueError(name)
        headers.append((b"x-stamp", name.encode()))
        is_foreign_500 = exchange.status == 500 and (b"content-type", b"application/problem+json") not in headers
        if spec.stamp.startswith("replace") and is_foreign_500:
            return no(name, 503 if spec.stamp.endswith("503") else 500)
        return None

    def on_error(self, exchange, error):
        log.note(f"on_error {type(error).__name__}", self, exchange)
        match spec.error:
            case "404" | "500":
                return no(name, int(spec.error))
            case "raise":
                raise ValueError(name)
            case "unsendable":
                return no(name, 404, **UNSENDABLE)

    def on_sent(self, exchange):
        log.note("on_sent", self, exchange)
        if spec.sent == "raise":
            raise ValueError(name)

    def on_end(self, exchange):
        log.note("on_end", self, exchange)
        match spec.end:
            case "raise":
                raise ValueError(name)
            case "wait":
                return later()
            case "wait and raise":
                return later(error=ValueError(name))
            case "cancelled":
                return later(error=asyncio.CancelledError())

    def on_message(self, exchange, message):
        log.note(f"on_message {message['text']}", self, exchange)
        if spec.message == "deny the second":
            return no(name) if message["text"] == "two" else None
        return act(spec.message)

    for wanted, hook in (
        (spec.gate, on_request),
        (spec.exempt not in (None, "no hook", "elsewhere"), on_exempt),
        (spec.stamp, on_response),
        (spec.error, on_error),
        (spec.sent, on_sent),
        (spec.end, on_end),
        (spec.message, on_message),
    ):
        if wanted:
            hooks[hook.__name__] = hook
    exempt = {None: (), "elsewhere": "/elsewhere"}.get(spec.exempt, "/ws")
    return type(name, (Layer,), hooks)(mode="shadow" if spec.shadow else "enforce", exempt=exempt)


# Applications


def start(status=200, **more):
    return {"type": "http.response.start", "status": status, "headers": [(b"X-App", b"1")], **more}


def body(data=b"", more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


def saying(*steps):
    """Sends the messages among ``steps``, raises the exceptions, calls the rest."""

    async def app(scope, receive, send):
        for step in steps:
            if isinstance(step, dict):
                await send(dict(step))
            elif isinstance(step, BaseException):
                raise type(step)(*step.args)
            elif step == "receive":
                await receive()
            else:
                await step(scope, receive, send)

    return app


async def echo(scope, receive, send):
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def echo_like_starlette(scope, receive, send):
    await echo(scope, receive, send)
    raise WebSocketDisconnect


async def echo_and_trip(scope, receive, send):
    await echo(scope, receive, send)
    raise RuntimeError("after the disconnect")


TRAILERS = {"type": "http.response.trailers", "headers": [(b"x-t", b"1")]}
CRASH = RuntimeError("app")
HTTP_APPS = {
    "whole": (start(), body(b"hello")),
    "streaming": (start(), body(b"a", True), body(b"b", True), body()),
    "trailers": (start(trailers=True), body(b"a"), {**TRAILERS, "more_trailers": True}, TRAILERS),
    "trailers, then a crash": (start(500, trailers=True), body(b"a"), CRASH),
    "pathsend": (start(), {"type": "http.response.pathsend", "path": "/x"}),
    "pathsend with trailers": (start(trailers=True), {"type": "http.response.pathsend", "path": "/x"}, TRAILERS),
    "zerocopysend": (start(), {"type": "http.response.zerocopysend", "file": 3, "more_body": False}),
    "early hint": ({"type": "http.response.early_hint", "links": []}, start(), body()),
    "no headers key": ({"type": "http.response.start", "status": 204}, body()),
    "headers as a tuple": (start(headers=((b"X-Mixed", b"1"), (b"x-mixed", b"2"))), body()),
    "its own 500": (start(500), body(b"trace")),
    "its own 500, then a crash": (start(500), body(b"trace", True), body(), CRASH),
    "its own problem": (start(500, headers=[(b"Content-Type", b"application/problem+json")]), body(b"{}")),
    "silent": (),
    "an unfinished body": (start(), body(b"a", True)),
    "two last bodies": (start(), body(b"a"), body(b"b")),
    "crash before the head": (CRASH,),
    "crash after the head": (start(), CRASH),
    "crash in the body": (start(), body(b"a", True), CRASH),
    "crash of a background task": (start(), body(b"a"), CRASH),
    "HTTPException": (HTTPException(),),
    "ClientDisconnect": ("receive", "receive", ClientDisconnect()),
    "ClientDisconnect in the body": (start(), body(b"a", True), ClientDisconnect()),
    "cancelled": (asyncio.CancelledError(),),
    "cancelled in the body": (start(), body(b"a", True), asyncio.CancelledError()),
    "cancelled afterwards": (start(), body(), asyncio.CancelledError()),
    "exit": (start(), SystemExit()),
}
ACCEPT = {"type": "websocket.accept", "subprotocol": None, "headers": [(b"X-Ws", b"1")]}
CLOSE = {"type": "websocket.close", "code": 1000, "reason": "bye"}
DENY = ({"type": "websocket.http.response.start", "status": 500, "headers": []},)
WEBSOCKET_APPS = {
    "echo": ("receive", ACCEPT, echo),
    "echo, then close": ("receive", ACCEPT, echo, CLOSE),
    "echo, then the disconnect raised": ("receive", ACCEPT, echo_like_starlette),
    "echo, then a crash": ("receive", ACCEPT, echo_and_trip),
    "close at once": ("receive", ACCEPT, CLOSE),
    "close before accept": ("receive", CLOSE),
    "deny": ("receive", *DENY, {"type": "websocket.http.response.body", "body": b"no"}),
    "deny without an end": (
        "receive",
        *DENY,
        {"type": "websocket.http.response.body", "body": b"n", "more_body": True},
    ),
    "accept only": ("receive", ACCEPT),
    "silent": ("receive",),
    "not even connect": (),
    "crash before accept": ("receive", CRASH),
    "crash before connect": (CRASH,),
    "crash after accept": ("receive", ACCEPT, CRASH),
    "crash after close": ("receive", ACCEPT, CLOSE, CRASH),
    "cancelled": ("receive", ACCEPT, "receive", asyncio.CancelledError()),
    "HTTPException": ("receive", HTTPException()),
}


@dataclass(frozen=True)
class Request:
    """A connection, and what the server does with it."""

    kind: str
    app: str
    denial_response: bool = True
    method: str = "GET"
    gone_at: int | None = None
    """The message at which ``send`` finds the client gone (ASGI 2.4: an ``OSError``)."""


requests = st.one_of(
    st.builds(
        Request,
        kind=st.just("http"),
        app=st.sampled_from(sorted(HTTP_APPS)),
        method=st.sampled_from(("GET", "HEAD")),
        gone_at=st.sampled_from((None, None, None, 0, 1, 2)),
    ),
    st.builds(
        Request,
        kind=st.just("websocket"),
        app=st.sampled_from(sorted(WEBSOCKET_APPS)),
        denial_response=st.booleans(),
        gone_at=st.sampled_from((None, None, None, 0, 1, 2)),
    ),
)


# Three ways to put a stack together


def foreign(inner):
    async def passing_on(scope, receive, send):
        await inner(scope, receive, send)

    return passing_on


def copying(inner):
    """As a foreign layer does that has rewritten the scope and wraps both channels."""

    async def wrapped(scope, receive, send):
        async def receive_on():
            return await receive()

        async def send_on(message):
            await send(message)

        await inner(dict(scope), receive_on, send_on)

    return wrapped


def flat(app, layers):
    for layer in reversed(layers):
        app = bind(app, layer)
    assert len(app.layers) == len(layers)
    return app


def nested(app, layers):
    for layer in reversed(layers):
        app = foreign(bind(app, layer))
    return app


def flows(app, layers):
    for layer in reversed(layers):
        app = Flow(app, (layer,))
    return app


def split(where, wrapper):
    def compose(app, layers):
        for number, layer in reversed(list(enumerate(layers))):
            app = bind(app, layer)
            if where >> number & 1:
                app = wrapper(app)
        return app

    return compose


def run(compose, specs, request, runner):
    """Everything that one run shows: to the server, to the hooks, to the record."""
    log = Log()
    apps = HTTP_APPS if request.kind == "http" else WEBSOCKET_APPS
    layers = tuple(build(spec, number, log) for number, spec in enumerate(specs))
    answer = saying(*apps[request.app])

    async def application(scope, receive, send):
        log.calls.append(("application", ""))
        await answer(scope, receive, send)

    app = compose(application, layers)
    sent, received = [], []
    if request.kind == "http":
        scope = asgi.http_scope("/ws", method=request.method)
        inbound = [{"type": "http.request", "body": b""}]
        gone = {"type": "http.disconnect"}
    else:
        scope = asgi.websocket_scope("/ws", denial_response=request.denial_response)
        inbound = [{"type": "websocket.connect"}]
        inbound += [{"type": "websocket.receive", "text": word} for word in ("one", "two")]
        gone = {"type": "websocket.disconnect", "code": 1001}

    async def receive():
        message = inbound.pop(0) if inbound else gone
        received.append(message["type"])
        return message

    async def send(message):
        sent.append(message)
        if request.gone_at is not None and len(sent) > request.gone_at:
            raise OSError("gone")

    async def drive():
        try:
            await app(scope, receive, send)
        except BaseException as error:
            return type(error)
        return None

    raised = runner.run(drive())
    exchange = log.exchange
    return {
        "messages": sent,
        "raised": raised,
        "hooks": log.calls,
        "received": received,
        "decisions": exchange and exchange.decisions,
        "record": exchange
        and (
            exchange.status,
            exchange.outcome,
            exchange.error_type,
            exchange.denial and exchange.denial.reason,
            exchange.bytes_sent,
            exchange.error_layers,
        ),
    }


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    """Request ids that do not differ between two runs, and no thousand logged tracebacks."""
    logger = logging.getLogger("secure_asgi")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange_module, "new_uuid", lambda: "00000000-0000-4000-8000-000000000000")
        patch.setattr(logger, "disabled", True)
        yield


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as runner:
        runner.get_loop()
        yield runner


COMMON = settings(
    max_examples=MAX_EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
stacks = st.lists(layer_specs, min_size=1, max_size=7)


@COMMON
@given(specs=stacks, request=requests, where=st.integers(0, 127))
def test_flat_nested_and_split_are_one(runner, specs, request, where):
    """“A `Layer` that wraps another `Layer` directly does not nest a second time”: and nobody can tell."""
    expected = run(nested, specs, request, runner)
    for name, compose in (
        ("flat", flat),
        ("flows", flows),
        ("split", split(where, foreign)),
        ("split, scope copied", split(where, copying)),
    ):
        got = run(compose, specs, request, runner)
        for aspect, value in expected.items():
            assert got[aspect] == value, f"{name}: {aspect}"


def test_the_driver_shows_what_happens(runner):
    """The comparison above is not between empty things."""
    specs = [LayerSpec(stamp="edit", end="log"), LayerSpec(gate="pass"), LayerSpec(error="500", sent="log")]
    shown = run(flat, specs, Request("http", "crash before the head"), runner)
    assert [message["type"] for message in shown["messages"]] == ["http.response.start", "http.response.body"]
    assert shown["raised"] is RuntimeError
    assert [call[0] for call in shown["hooks"]] == [
        "on_request",
        "application",
        "on_error RuntimeError",
        "on_response",
        "on_sent",
        "on_end",
    ]
    assert shown["record"][:3] == (500, "failed", "RuntimeError")


# Foreign layers that keep the head back


def until_the_body(inner):
    """Sends the head only with what follows it: GZip, and whoever wants to see the body first."""

    async def holding(scope, receive, send):
        held = []

        async def send_on(message):
            if message["type"].endswith("response.start"):
                held.append(message)
                return
            while held:
                await send(held.pop())
            await send(message)

        await inner(scope, receive, send_on)

    return holding


def until_the_end(inner):
    """Sends nothing before the application has returned; drops it all when it raises."""

    async def holding(scope, receive, send):
        held = []

        async def send_on(message):
            held.append(message)

        await inner(scope, receive, send_on)
        for message in held:
            await send(message)

    return holding


def whatever_happens(inner):
    """Sends all it holds at the end, even of an application that has raised."""

    async def holding(scope, receive, send):
        held = []

        async def send_on(message):
            held.append(message)

        try:
            await inner(scope, receive, send_on)
        finally:
            for message in held:
                await send(message)

    return holding


GATE_HOOKS = ("on_request", "on_exempt")
HEADS = ("http.response.start", "websocket.accept", "websocket.http.response.start")


@COMMON
@given(
    specs=stacks,
    request=requests.filter(lambda request: request.app != "two last bodies"),
    where=st.integers(0, 127),
    holder=st.sampled_from((until_the_body, until_the_end, whatever_happens)),
)
def test_buffering(runner, specs, request, where, holder):
    """“on_error while no head has left this flow or the outermost one”: never two starts, each ``on_end`` once.

    “entered layers only”: those whose gate was asked, or that the request got past."""
    shown = run(split(where, holder), specs, request, runner)
    kinds = [message["type"] for message in shown["messages"]]
    assert len([kind for kind in kinds if kind in HEADS]) <= 1
    lasts = [
        message
        for message in shown["messages"]
        if (message["type"].endswith("response.body") and not message.get("more_body"))
        or message["type"] == "websocket.close"
    ]
    assert len(lasts) <= 1
    calls = [call[:2] for call in shown["hooks"]]
    asked = [number for number in range(len(specs)) if any((hook, f"layer{number}") in calls for hook in GATE_HOOKS)]
    innermost = len(specs) - 1 if ("application", "") in calls else max(asked, default=-1)
    for number, spec in enumerate(specs):
        assert calls.count(("on_sent", f"layer{number}")) <= 1
        times = calls.count(("on_end", f"layer{number}"))
        assert times == 1 if spec.end and number <= innermost else times == 0
