"""The pass, sentence by sentence: each docstring quotes the promise that its test holds to.

That every promise holds however a stack is cut is for ``test_flow_equivalence.py``; lifespan, paths, the exchange and
reference cycles have files of their own.
"""

import asyncio
import contextvars
import gc
import json
from contextlib import suppress
from datetime import date

import anyio
import anyio.lowlevel
import pytest
import trio
from fastapi import Body, FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.websockets import WebSocketDisconnect

from secure_asgi import ConfigurationError, Denial, Layer, Reply, exchange_of
from secure_asgi import exchange as exchange_module
from secure_asgi.exchange import Decision
from secure_asgi.flow import Claim, Flow, bind, refuse

from . import asgi

NO = Denial("test.no", 403, "No.", note="private")
OUTAGE = Denial("test.outage", 503, "Later.", headers=((b"retry-after", b"5"),))
SORRY = Denial("test.sorry", 500, "Sorry.")
HOOKS = ("on_request", "on_exempt", "on_response", "on_message", "on_error", "on_sent", "on_end")


def layer(name, repeatable=False, **hooks):
    """A layer class from plain functions that take what the hook takes, less ``self``."""
    attributes = {hook: staticmethod(function) for hook, function in hooks.items()}
    return type(name, (Layer,), {"name": name, "repeatable": repeatable, "budget": 5.0, **attributes})


def witness(log, name, **hooks):
    """A layer that notes the hooks it is called by, and then does what ``hooks`` say."""

    def noting(hook):
        def noted(*args):
            log.append(f"{hook} {name}")
            return hooks[hook](*args) if hook in hooks else None

        return noted

    listening = (hook for hook in HOOKS if hook not in ("on_exempt", "on_message") or hook in hooks)
    return layer(name, **{hook: noting(hook) for hook in listening})


class Last(Layer):
    """Outermost: keeps the exchange for the test to look at."""

    name = "last"
    exchange = None

    def on_end(self, exchange):
        type(self).exchange = exchange


@pytest.fixture
def ended():
    """The exchange of the last request that passed ``Last``."""
    Last.exchange = None
    return lambda: Last.exchange


def stamp(name):
    return layer(name, on_response=lambda exchange, headers: headers.append((b"x-passed", name.encode())))


def passed(answer):
    """Whose stamps are on the head, in order."""
    return [value for name, value in answer.lines if name == "x-passed"]


def later(value=None, error=None):
    async def waiting():
        await asyncio.sleep(0)
        if error is not None:
            raise error
        return value

    return waiting()


def crash(error):
    def hook(*args):
        raise error

    return hook


def say(*messages):
    """An application that sends these, and raises those that are exceptions."""

    async def app(scope, receive, send):
        for message in messages:
            if isinstance(message, BaseException):
                raise message
            await send(message)

    return app


START = {"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]}
BODY = {"type": "http.response.body", "body": b"hello"}
MORE = {"type": "http.response.body", "body": b"hel", "more_body": True}
ACCEPT = {"type": "websocket.accept", "headers": [(b"x-app", b"1")]}
WS_START = {"type": "websocket.http.response.start", "status": 401, "headers": []}
WS_BODY = {"type": "websocket.http.response.body", "body": b"no"}


def foreign(inner):
    async def passing_on(scope, receive, send):
        await inner(scope, receive, send)

    return passing_on


def told(app):
    """``app``, and the list of what it has received."""
    heard = []

    async def hearing(scope, receive, send):
        async def receive_on():
            message = await receive()
            heard.append(message)
            return message

        await app(scope, receive_on, send)

    return hearing, heard


def asking_first(app):
    """``app``, after it has received one message."""

    async def asking(scope, receive, send):
        await receive()
        await app(scope, receive, send)

    return asking


# Entered, and the way out


def test_entered_layers_end():
    """“A layer is *entered* when its `on_request` is called or the request gets past it.”"""
    log = []
    stack = witness(log, "a")(
        layer("without a gate", on_end=lambda exchange: log.append("on_end without a gate"))(
            witness(log, "b", on_request=lambda exchange, scope: NO)(witness(log, "c")(asgi.hello))
        )
    )
    assert asgi.http(stack).status == 403
    assert log == [
        "on_request a",
        "on_request b",
        "on_response b",
        "on_response a",
        "on_sent b",
        "on_sent a",
        "on_end b",
        "on_end without a gate",
        "on_end a",
    ]


def test_a_layer_without_a_gate_is_not_entered_by_a_request_that_ended_before_it():
    """As above: nothing was called, and nothing got past it."""
    log = []
    ending = layer("inner", on_end=lambda exchange: log.append("on_end"))
    assert asgi.http(layer("gate", on_request=lambda exchange, scope: NO)(ending(asgi.hello))).status == 403
    assert log == []


@pytest.mark.parametrize(
    ("answer", "stamps"),
    [
        (None, ["c", "b", "a"]),
        (NO, ["b", "a"]),
        (later(NO), ["b", "a"]),
        (Reply(PlainTextResponse("reply")), ["b", "a"]),
    ],
    ids=["the application's", "a refusal", "a refusal that waited", "a reply"],
)
def test_whose_stamps_an_answer_passes(answer, stamps):
    """“A reply made at layer *i* passes `on_response` of *i … 0*; the application's reply passes all.”"""
    gate = type("b", (stamp("b"),), {"on_request": lambda self, exchange, scope: answer})
    assert passed(asgi.http(stamp("a")(gate(stamp("c")(asgi.hello))))) == stamps


def test_stamps_stand_outside_the_error_layer():
    """“So stamps stand outside the error layer.”"""
    errors = layer("errors", on_error=lambda exchange, error: SORRY)
    got = asgi.http(stamp("outside")(errors(stamp("inside")(say(RuntimeError())))))
    assert got.status == 500
    assert passed(got) == ["outside"]


TRAILERS = {"type": "http.response.trailers", "headers": []}
WITH_TRAILERS = {**START, "trailers": True}
PATHSEND = {"type": "http.response.pathsend", "path": "/x"}
ZEROCOPY = {"type": "http.response.zerocopysend", "file": 3}
CLOSE = {"type": "websocket.close", "code": 1000}
LASTS = [
    ("a whole body", "http", [START], [BODY]),
    ("a streamed body", "http", [START, MORE, MORE], [{"type": "http.response.body"}]),
    ("trailers", "http", [WITH_TRAILERS, BODY, {**TRAILERS, "more_trailers": True}], [TRAILERS]),
    ("pathsend", "http", [START], [PATHSEND]),
    ("pathsend, then trailers", "http", [WITH_TRAILERS, PATHSEND], [TRAILERS]),
    ("zero-copy send", "http", [START, {**ZEROCOPY, "more_body": True}], [ZEROCOPY]),
    ("zero-copy send, then trailers", "http", [WITH_TRAILERS, ZEROCOPY], [TRAILERS]),
    ("what is no answer yet", "http", [{"type": "http.response.early_hint", "links": []}, START], [BODY]),
    ("a second last message", "http", [START], [BODY, BODY]),
    ("a refused handshake", "websocket", [WS_START, {**WS_BODY, "more_body": True}], [WS_BODY]),
    ("a close", "websocket", [ACCEPT, {"type": "websocket.send", "text": "x"}], [CLOSE]),
    ("a close instead of accept", "websocket", [], [CLOSE]),
]


@pytest.mark.parametrize(("kind", "before", "after"), [row[1:] for row in LASTS], ids=[row[0] for row in LASTS])
def test_on_sent_before_the_last_message(kind, before, after, ended):
    """“`on_sent` runs at most once, before the last message is handed on”"""
    log = []
    app = Last(layer("sent", on_sent=lambda exchange: log.append("on_sent"))(say(*before, *after)))

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        log.append(message["type"])

    asyncio.run(app({"type": kind, "path": "/", "headers": []}, receive, send))
    kinds = [message["type"] for message in before], [message["type"] for message in after]
    assert log == [*kinds[0], "on_sent", *kinds[1]]
    assert ended().outcome == "complete"


def test_a_background_task_delays_on_end_and_not_on_sent():
    """“(a background task can delay `on_end` by seconds)”"""
    log = []

    async def app(scope, receive, send):
        await asgi.hello(scope, receive, send)
        log.append("background")

    asgi.http(witness(log, "a")(app))
    assert log[-3:] == ["on_sent a", "background", "on_end a"]


ENDINGS = [
    ("complete", "http", [START, BODY], "complete", ""),
    ("nothing said", "http", [], "aborted", ""),
    ("a body cut short", "http", [START, MORE], "aborted", ""),
    ("a crash before the head", "http", [RuntimeError()], "failed", "RuntimeError"),
    ("a crash in the body", "http", [START, MORE, RuntimeError()], "failed", "RuntimeError"),
    ("a crash after the answer", "http", [START, BODY, RuntimeError()], "complete", "RuntimeError"),
    ("a disconnect", "http", [START, MORE, ClientDisconnect()], "aborted", "ClientDisconnect"),
    ("a client gone", "http", [OSError()], "failed", "OSError"),
    ("cancellation", "http", [START, asyncio.CancelledError()], "cancelled", "CancelledError"),
    ("cancelled after the answer", "http", [START, BODY, asyncio.CancelledError()], "complete", "CancelledError"),
    ("a closed WebSocket", "websocket", [ACCEPT, CLOSE], "complete", ""),
    ("a WebSocket whose client left", "websocket", [ACCEPT], "complete", ""),
    ("the same, raised", "websocket", [ACCEPT, WebSocketDisconnect(1001)], "aborted", "WebSocketDisconnect"),
    ("a handshake not answered", "websocket", [], "aborted", ""),
    ("a refused handshake cut short", "websocket", [WS_START], "aborted", ""),
]


@pytest.mark.parametrize(
    ("kind", "said", "outcome", "error_type"), [row[1:] for row in ENDINGS], ids=[row[0] for row in ENDINGS]
)
def test_outcomes(kind, said, outcome, error_type, ended):
    """“A received disconnect, an aborted stream, a crash or a cancellation has no `on_sent`: the flow sets
    `exchange.outcome` […] and `exchange.error_type` (a name: an exception object would make a cycle)”"""
    log = []
    app = Last(layer("sent", on_sent=lambda exchange: log.append("on_sent"))(say(*said)))
    got = asgi.http(app) if kind == "http" else asgi.websocket(app)
    assert type(got.error).__name__ == (error_type or "NoneType")
    assert (ended().outcome, ended().error_type) == (outcome, error_type)
    heads = {"http.response.start": 200, "websocket.accept": 101, "websocket.http.response.start": 401}
    assert ended().status == (heads[said[0]["type"]] if said and isinstance(said[0], dict) else None)
    assert log == (["on_sent"] if BODY in said or CLOSE in said else [])


# Unwinding


def test_unwinding_goes_layer_by_layer():
    """“Unwinding goes layer by layer, innermost entered first: `on_error` while no head has left this flow or the
    outermost one, then `on_end`, once, for entered layers only.”"""
    log = []
    b = witness(log, "b", on_error=lambda exchange, error: SORRY)
    got = asgi.http(witness(log, "a")(b(witness(log, "c")(say(RuntimeError("secret"))))))
    assert got.problem["detail"] == "Sorry."
    assert log[3:] == [
        "on_error c",
        "on_end c",
        "on_error b",
        "on_response b",
        "on_response a",
        "on_sent b",
        "on_sent a",
        "on_end b",
        "on_end a",
    ]


def test_a_server_error_goes_on_outward():
    """“A 5xx answer is sent and the error then goes on outward, so that the server's log, Sentry and a test client
    still see it.”"""
    error = RuntimeError("secret")
    got = asgi.http(layer("errors", on_error=lambda exchange, error: SORRY)(say(error)))
    assert got.status == 500
    assert got.error is error


def test_a_client_error_is_settled(ended):
    """As above: below 500 the exception was an answer in disguise."""
    got = asgi.http(Last(layer("errors", on_error=lambda exchange, error: NO)(say(HTTPException(403)))))
    assert got.status == 403
    assert got.error is None
    assert (ended().outcome, ended().denial) == ("complete", NO)


@pytest.mark.parametrize(("status", "outcome"), [(403, "aborted"), (500, "failed")])
def test_nobody_is_left_to_hear_of_an_error(status, outcome, ended):
    """A client that went away while an error was answered is no second error; what failed has failed."""
    app = Last(layer("errors", on_error=lambda exchange, error: Denial("test.no", status))(say(RuntimeError())))

    async def send(message):
        raise OSError("gone")

    async def run():
        with pytest.raises(RuntimeError) if status == 500 else anyio.CancelScope():
            await app(asgi.http_scope(), None, send)

    asyncio.run(run())
    assert ended().outcome == outcome


def test_a_refusal_that_nobody_reads(ended):
    """Neither is it one when the refusal of a gate was on its way."""

    async def send(message):
        raise OSError("gone")

    asyncio.run(Last(layer("gate", on_request=lambda exchange, scope: NO)(asgi.hello))(asgi.http_scope(), None, send))
    assert (ended().outcome, ended().error_type) == ("aborted", "")


def test_an_error_answer_that_cannot_be_written(ended):
    """A layer whose denial has no form on the wire has raised; the next one out may answer."""
    broken = layer("broken", on_error=lambda exchange, error: Denial("test.no", 404, members={"x": object()}))
    errors = layer("errors", on_error=lambda exchange, error: SORRY)
    got = asgi.http(Last(errors(broken(say(RuntimeError())))))
    assert got.status == 500
    assert [(d.layer, d.verdict, d.note) for d in ended().decisions] == [("broken", "error", "on_error: TypeError")]
    assert ended().outcome == "failed"
    assert asgi.http(Last(broken(say(RuntimeError())))).messages == []
    assert ended().outcome == "failed"


@pytest.mark.parametrize("hook", ["on_response", "on_error", "on_sent", "on_end"])
@pytest.mark.parametrize("error", [ValueError("secret"), KeyError("secret")], ids=repr)
def test_hooks_that_fail_in_silence(hook, error, ended, caplog):
    """“A raising `on_response`, `on_error`, `on_sent` or `on_end` is silent and recorded.”"""
    broken = layer("broken", **{hook: crash(error)})
    errors = layer("errors", on_error=lambda exchange, error: SORRY)
    app = say(RuntimeError()) if hook == "on_error" else asgi.hello
    got = asgi.http(Last(stamp("a")(errors(broken(app)))))
    assert got.status == (500 if hook == "on_error" else 200)
    assert passed(got) == ["a"]
    assert ended().decisions == [Decision("broken", "error", "internal_error", f"{hook}: {type(error).__name__}")]
    assert f"{hook} of broken failed" in caplog.text
    assert b"secret" not in got.body


def test_the_awaitable_of_on_end_fails_in_silence(ended):
    """As above."""
    got = asgi.http(Last(layer("broken", on_end=lambda exchange: later(error=ValueError()))(asgi.hello)))
    assert got.error is None
    assert ended().decisions[0].note == "on_end: ValueError"


CRASHES = [
    ("on_request", crash(ValueError("secret"))),
    ("on_request, later", lambda exchange, scope: later(error=ValueError("secret"))),
    ("on_request answers nonsense", lambda exchange, scope: True),
    ("on_request answers nonsense, later", lambda exchange, scope: later("secret")),
    ("a refusal that cannot be written", lambda exchange, scope: Denial("x.y", 403, members={"x": object()})),
    ("a reply that crashes after connect", lambda exchange, scope: Reply(asking_first(say(ValueError("secret"))))),
    ("a reply that crashes", lambda exchange, scope: Reply(say(ValueError("secret")))),
]


@pytest.mark.parametrize("on_request", [row[1] for row in CRASHES], ids=[row[0] for row in CRASHES])
@pytest.mark.parametrize("where", ["alone", "by itself", "errors", "errors further out"])
@pytest.mark.parametrize("drive", [asgi.http, asgi.websocket])
def test_a_raising_gate_never_passes(on_request, where, drive, ended):
    """“A raising `on_request`, `on_exempt` or `on_message` is an error from that layer: never a pass, answered 500 by
    the flow itself where no error layer stands outside it.”"""

    async def unreachable(scope, receive, send):
        raise AssertionError("passed")

    own = {"on_error": lambda exchange, error: SORRY} if where == "by itself" else {}
    app = layer("gate", on_request=on_request, **own)(layer("inner", on_error=lambda exchange, error: NO)(unreachable))
    if where.startswith("errors"):
        app = layer("errors", on_error=lambda exchange, error: SORRY)(foreign(app) if "out" in where else app)
    got = drive(Last(app))
    assert got.status == 500
    assert got.error is not None
    assert got.problem["detail"] == ("The request could not be processed." if where == "alone" else "Sorry.")
    assert b"secret" not in got.body
    assert ended().outcome == "failed"


def test_a_raising_on_exempt_never_passes(ended):
    """As above, on an exempt path."""
    gate = layer("gate", on_exempt=crash(ValueError()))
    got = asgi.http(Last(gate(asgi.hello, exempt="/health")), "/health")
    assert got.status == 500
    assert ended().decisions == [Decision("gate", "error", "internal_error", "ValueError")]


def test_a_reply_that_crashes_after_its_head():
    """Never two starts."""
    gate = layer("gate", on_request=lambda exchange, scope: Reply(say(START, RuntimeError())))
    got = asgi.http(gate(asgi.hello))
    assert [message["type"] for message in got.messages] == ["http.response.start"]
    assert type(got.error) is RuntimeError


class Subclass(ClientDisconnect):
    pass


@pytest.mark.parametrize(
    "error", [WebSocketDisconnect(), ClientDisconnect(), Subclass(), asyncio.CancelledError(), KeyboardInterrupt()]
)
def test_endings_are_no_errors(error):
    """“`WebSocketDisconnect`, `ClientDisconnect` and cancellation are endings, not errors.”"""
    log = []

    async def run():
        sent = []
        app = witness(log, "a", on_error=lambda exchange, error: SORRY)(say(error))
        with pytest.raises(type(error)) as raised:
            await app(asgi.http_scope(), None, sent.append)
        assert raised.value is error
        return sent

    with asyncio.Runner() as runner:
        assert runner.run(run()) == []
    assert log == ["on_request a", "on_end a"]


@pytest.mark.parametrize("error", [ClientDisconnect(), asyncio.CancelledError()])
def test_endings_in_a_gate_are_no_errors(error):
    """As above, while a gate waits."""
    log = []
    gate = layer("gate", on_request=crash(error), on_end=lambda exchange: log.append(exchange.outcome))
    got = asgi.http(gate(asgi.hello))
    assert got.messages == []
    assert got.error is error
    assert log == ["aborted" if isinstance(error, Exception) else "cancelled"]


# Exempt paths


@pytest.mark.parametrize(
    ("hooks", "expected"),
    [
        ({"on_request": lambda exchange, scope: NO}, 200),
        ({"on_exempt": lambda exchange, scope: NO}, 403),
        ({"on_exempt": lambda exchange, scope: later(NO), "on_request": crash(ValueError())}, 403),
        ({"on_exempt": lambda exchange, scope: None, "on_request": crash(ValueError())}, 200),
    ],
    ids=["no hook", "refuses", "refuses later", "passes"],
)
def test_on_exempt_instead_of_on_request(hooks, expected, ended):
    """“On an exempt path `on_exempt(exchange, scope)`, if there is one, runs instead of `on_request` […]; an exempt
    layer counts as entered.”"""
    log = []
    gate = layer("gate", **hooks, on_end=lambda exchange: log.append("on_end"))
    assert asgi.http(Last(gate(asgi.hello, exempt=("/health", "/public/"))), "/public/x").status == expected
    assert log == ["on_end"]
    assert [decision.verdict for decision in ended().decisions] == ["exempt" if expected == 200 else "deny"]


def test_elsewhere_on_exempt_is_not_asked(ended):
    """As above."""
    gate = layer("gate", on_exempt=lambda exchange, scope: NO)
    assert asgi.http(Last(gate(asgi.hello, exempt="/health"))).status == 200
    assert ended().decisions == [Decision("gate", "pass")]


# The scope, the messages, and the sender


def test_the_scope_is_copied_once():
    """“The first flow copies the scope once; hooks get that copy, and the exchange never holds it.”"""
    seen = []

    def gate(name):
        return layer(name, on_request=lambda exchange, scope: seen.append((exchange, scope)))

    async def app(scope, receive, send):
        seen.append((exchange_of(scope), scope))
        await asgi.hello(scope, receive, send)

    answer = asgi.http(gate("a")(gate("b")(foreign(gate("c")(app)))))
    exchanges, scopes = zip(*seen, strict=True)
    assert len({id(scope) for scope in scopes}) == 1
    assert len({id(exchange) for exchange in exchanges}) == 1
    assert scopes[0] is not answer.scope
    assert "secure_asgi" not in answer.scope
    held = [getattr(exchanges[0], name) for name in type(exchanges[0]).__slots__]
    assert not any(value is scope for value in held for scope in (scopes[0], answer.scope))


@pytest.mark.parametrize("error", [None, RuntimeError()], ids=["returns", "raises"])
def test_the_route_is_copied_back(error):
    """“When the application returns or raises, `route`, `endpoint` and `path_params` are copied back to the caller's
    scope”"""
    route = object()

    async def app(scope, receive, send):
        scope.update(route=route, endpoint=app, path_params={"id": "1"}, private=1)
        await say(*([error] if error else [START, BODY]))(scope, receive, send)

    scope = asgi.http(stamp("a")(app)).scope
    assert (scope["route"], scope["endpoint"], scope["path_params"]) == (route, app, {"id": "1"})
    assert "private" not in scope
    assert "route" not in asgi.http(stamp("a")(asgi.hello)).scope


def test_the_route_is_known_at_the_head():
    """“and `exchange.route` (the template) is set at the response head.”"""
    seen = []
    note = layer(
        "note",
        on_request=lambda exchange, scope: seen.append(exchange.route),
        on_response=lambda exchange, headers: seen.append(exchange.route),
    )
    app = Starlette(routes=[Route("/orders/{number:int}", lambda request: PlainTextResponse("x"))])
    asgi.http(note(app), "/orders/7")
    assert seen == [None, "/orders/{number}"]


def test_a_body_chunk_costs_no_coroutine():
    """“The `send` wrapper is an object of its own per flow”: it hands on the server's own awaitable."""
    mine = object()
    seen = []

    async def app(scope, receive, send):
        await send(START)
        seen.append(send({"type": "http.response.body", "body": b"", "more_body": True}) is mine)

    async def run():
        def send(message):
            return mine if message["type"] == "http.response.body" else later()

        await Flow(Flow(app, (stamp("a")(),)), (stamp("b")(),))(asgi.http_scope(), None, send)

    asyncio.run(run())
    assert seen == [True]


HEADS = [
    ("mixed case", {"headers": [(b"X-Mixed", b"Value")]}, [("x-mixed", "Value")]),
    ("a tuple", {"headers": ((b"x-a", b"1"),)}, [("x-a", "1")]),
    ("missing", {}, []),
    ("None", {"headers": None}, []),
]


@pytest.mark.parametrize(("more", "lines"), [row[1:] for row in HEADS], ids=[row[0] for row in HEADS])
def test_messages_are_copied(more, lines):
    """“Messages are copied, never edited; `headers` may be missing, a tuple, or in mixed case.”"""
    head = {"type": "http.response.start", "status": 200, "extra": 1, **more}
    before = {**head}
    got = asgi.http(stamp("a")(say(head, BODY)))
    assert head == before
    assert got.lines == [*lines, ("x-passed", "a")]
    assert got.messages[0]["extra"] == 1


def test_request_headers_may_be_a_tuple():
    """As above, on the way in: hooks find a list, in the first flow and in the next."""
    seen = []

    def gate(name):
        return layer(name, on_request=lambda exchange, scope: seen.append(scope["headers"]))

    def rewriting(inner):
        async def app(scope, receive, send):
            await inner({**scope, "headers": ((b"x-b", b"2"),)}, receive, send)

        return app

    scope = {"type": "http", "path": "/", "headers": ((b"x-a", b"1"),)}
    asyncio.run(asgi.drive(gate("a")(rewriting(gate("b")(asgi.hello))), scope, []))
    assert seen == [[(b"x-a", b"1")], [(b"x-b", b"2")]]


# What the exchange keeps, and what each flow reads


def test_each_flow_reads_the_scope_it_is_handed():
    """“Method, path, root path and headers are read from the scope each flow is handed (a Mount or a foreign layer may
    have rewritten them)”"""
    seen = []

    def gate(name):
        def on_request(exchange, scope):
            seen.append((name, scope["path"], exchange.fields(scope)))

        return layer(name, on_request=on_request)

    def rewriting(inner):
        async def app(scope, receive, send):
            scope["headers"][:] = [(b"x-a", b"2")]  # in place: the list is the same object
            await inner({**scope, "path": "/rewritten"}, receive, send)

        return app

    inner = gate("exempt there")(gate("inner")(asgi.hello), exempt="/rewritten")
    asgi.http(gate("outer")(rewriting(inner)), "/sent", headers=[(b"x-a", b"1")])
    assert seen == [("outer", "/sent", {b"x-a": b"1"}), ("inner", "/rewritten", {b"x-a": b"2"})]


def test_headers_are_one_dictionary_until_replaced():
    """“the headers as one dictionary per flow, rebuilt when a layer replaces them”"""
    seen = []

    def look(exchange, scope):
        seen.append(exchange.fields(scope))

    def strip(exchange, scope):
        scope["headers"] = [line for line in scope["headers"] if line[0] != b"x-a"]

    app = layer("one", on_request=look)(
        layer("two", on_request=look)(layer("strip", on_request=strip)(layer("three", on_request=look)(asgi.hello)))
    )
    asgi.http(app, headers=[(b"x-a", b"1"), (b"x-b", b"2")])
    assert seen[0] is seen[1]
    assert seen == [{b"x-a": b"1", b"x-b": b"2"}] * 2 + [{b"x-b": b"2"}]


def test_exempt_paths_match_what_the_router_routes_on():
    """“exempt paths and rules match the path the router will route on”: below a Mount, below it alone."""
    gate = layer("gate", on_request=lambda exchange, scope: NO)
    app = Starlette()
    app.mount("/sub", gate(asgi.hello, exempt="/health"))
    assert asgi.http(app, "/sub/health").status == 200
    assert asgi.http(app, "/sub/sub/health").status == 403
    assert asgi.http(app, "/root/sub/health", root_path="/root").status == 200


def test_memo_is_a_layers_own():
    """“What a layer must remember for its own stamp or end lives in `exchange.memo.get(self)` ([…] empty after an
    exemption or a raise […])”"""
    seen = []

    class Remembers(Layer):
        name = "remembers"

        def on_request(self, exchange, scope):
            if scope["path"] == "/raise":
                raise ValueError
            exchange.memo[self] = scope["path"]

        def on_response(self, exchange, headers):
            seen.append(exchange.memo.get(self))

    app = Remembers(asgi.hello, exempt="/health")
    for path in ("/a", "/health", "/raise", "/b"):
        asgi.http(app, path)
    assert seen == ["/a", None, None, "/b"]


# Replies and messages


@pytest.mark.parametrize("drive", [asgi.http, asgi.websocket])
def test_a_reply_runs_with_the_flows_send(drive, ended):
    """“`on_request` may also answer `Reply(asgi_app)` […]: it runs with the flow's `send`, so stamps and
    audit see it.”"""
    log = []
    gate = layer("gate", on_request=lambda exchange, scope: Reply(PlainTextResponse("ours")))
    sent = layer("sent", on_sent=lambda exchange: log.append(exchange.status))
    got = drive(Last(stamp("a")(sent(gate(asgi.hello)))))
    assert got.body == b"ours"
    assert passed(got) == ["a"]
    assert log == [200]
    assert ended().decisions == [Decision("gate", "reply")]
    assert ended().denial is None


@pytest.mark.parametrize(
    ("denial", "code"),
    [(NO, 1008), (OUTAGE, 1013), (later(NO), 1008), (SORRY, 1011), (Denial("test.no", 403, close_code=4403), 4403)],
    ids=["a refusal", "an outage", "a refusal that waited", "a failure", "a code of its own"],
)
def test_a_refused_message(denial, code, ended):
    """“`on_message(exchange, message) -> Denial | None` (or an awaitable) sees inbound `websocket.receive`; a denial
    closes with 1008 (1013 on an outage) and the application receives `websocket.disconnect`”"""
    seen = []

    def on_message(exchange, message):
        seen.append(message["text"])
        return denial if message["text"] == "two" else None

    app, heard = told(asgi.hello)
    got = asgi.websocket(Last(layer("gate", on_message=on_message)(app)), texts=["one", "two", "three"])
    assert got.close_code == code
    assert seen == ["one", "two"]
    assert [message["type"] for message in heard] == ["websocket.connect", "websocket.receive", "websocket.disconnect"]
    assert heard[-1]["code"] == code
    assert ended().denial is not None
    assert (ended().status, ended().outcome, got.error) == (101, "complete", None)


def test_after_a_refused_message_nothing_more_comes_through(ended):
    """As above: neither in nor out, and every layer hears once that it is over."""
    log = []

    async def stubborn(scope, receive, send):
        await receive()
        await send(ACCEPT)
        for _ in range(3):
            log.append((await receive())["type"])
            await send({"type": "websocket.send", "text": "still here"})
        await send(CLOSE)

    app = Last(
        layer("outer", on_sent=lambda exchange: log.append("on_sent outer"))(
            layer("gate", on_message=lambda exchange, message: NO)(
                layer("inner", on_sent=lambda exchange: log.append("on_sent inner"))(stubborn)
            )
        )
    )
    got = asgi.websocket(app, texts=["one", "two"])
    assert [message["type"] for message in got.messages] == ["websocket.accept", "websocket.close"]
    assert log == ["on_sent outer", *["websocket.disconnect"] * 3, "on_sent inner"]


@pytest.mark.parametrize(
    "app", [asgi.hello, say(ACCEPT, WebSocketDisconnect())], ids=["the app returns", "the app raises its disconnect"]
)
@pytest.mark.parametrize("on_message", [crash(ValueError()), lambda exchange, message: later(error=ValueError())])
def test_a_raising_on_message_is_an_error_from_its_layer_outwards(app, on_message, ended):
    """“A raising […] `on_message` is an error from that layer: never a pass”: closed, told, raised."""
    log = []

    async def listening(scope, receive, send):
        if app is asgi.hello:
            return await asgi.hello(scope, receive, send)
        await receive()
        await send(ACCEPT)
        await receive()
        raise WebSocketDisconnect

    def end(name):
        return layer(name, on_end=lambda exchange: log.append((name, exchange.error_type)))

    gate = layer("gate", on_message=on_message, on_error=lambda exchange, error: SORRY)
    got = asgi.websocket(Last(end("outer")(gate(end("inner")(listening)))), texts=["one"])
    assert type(got.error) is ValueError
    assert got.close_code == 1011
    inner = "" if app is asgi.hello else "WebSocketDisconnect"
    assert log == [("inner", inner), ("outer", "ValueError")]
    assert ended().outcome == "failed"
    assert ended().decisions[0] == Decision("gate", "error", "internal_error", "ValueError")


def test_what_the_application_raises_itself_stands():
    """An error of the application's own is not covered by an earlier one of a layer."""

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()
        raise RuntimeError

    got = asgi.websocket(layer("gate", on_message=crash(ValueError()))(app), texts=["one"])
    assert type(got.error) is RuntimeError


@pytest.mark.parametrize("error", [WebSocketDisconnect(), RuntimeError()], ids=repr)
def test_listening_changes_nothing_of_how_it_ends(error):
    """An application that raises, behind layers that have let all messages through."""
    log = []
    listens = layer("listens", on_message=lambda exchange, message: None, on_end=lambda exchange: log.append("on_end"))
    got = asgi.websocket(listens(say(ACCEPT, error)))
    assert got.error is error
    assert log == ["on_end"]


def test_a_raising_on_message_leaves_no_cycle_behind():
    """The error that the inbox has kept leads to the frame that holds the inbox."""

    def on_message(exchange, message):
        raise ValueError

    async def receive():
        return {"type": "websocket.receive", "text": "one"}

    async def send(message):
        pass

    async def once():
        with suppress(ValueError):
            await app(asgi.websocket_scope(), receive, send)

    async def count():
        await once()
        gc.collect()
        gc.disable()
        try:
            await once()
            return gc.collect()
        finally:
            gc.enable()

    app = layer("gate", on_message=on_message)(asking_first(say()))
    assert asyncio.run(count()) == 0


def test_a_message_refused_before_accept():
    """No server hands one on so early; an error layer outside is not asked about what comes of it."""
    asked = []
    errors = layer("errors", on_error=lambda exchange, error: asked.append(error))
    gate = layer("gate", on_message=lambda exchange, message: NO)
    app = errors(gate(asking_first(say(RuntimeError()))))
    for stack, kinds in ((app, ["websocket.close"]), (stamp("a")(keeping(app)), [])):
        inbound = [{"type": "websocket.receive", "text": "one"}]
        got = asyncio.run(asgi.drive(stack, asgi.websocket_scope(), inbound))
        assert [message["type"] for message in got.messages] == kinds
    assert asked == []


def test_a_message_is_not_refused_twice():
    """A WebSocket that the application has closed is not closed again."""

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await send(CLOSE)
        await receive()

    got = asgi.websocket(layer("gate", on_message=lambda exchange, message: NO)(app), texts=["one"])
    assert got.close_code == 1000


def test_messages_on_exempt_paths_are_not_asked_about():
    """An exempt layer listens to nothing."""
    gate = layer("gate", on_message=lambda exchange, message: NO)
    got = asgi.websocket(gate(asgi.hello, exempt="/ws"), texts=["one"])
    assert got.messages[-1] == {"type": "websocket.send", "text": "one"}


@pytest.mark.parametrize(
    ("kind", "hook", "is_wrapped"),
    [
        ("websocket", "on_message", True),
        ("websocket", "on_request", False),
        ("http", "on_message", False),
    ],
)
def test_receive_is_wrapped_only_for_those_who_listen(kind, hook, is_wrapped):
    """“`receive` is wrapped only if some layer overrides it.”"""
    seen = []

    async def receive():
        return {"type": "websocket.connect"}

    async def app(scope, inbound, send):
        seen.append(inbound is not receive)

    stack = layer("a", **{hook: lambda *args: None})(app)
    asyncio.run(stack({"type": kind, "path": "/", "headers": []}, receive, None))
    assert seen == [is_wrapped]


# A head that a stamp will not have


def plain_500(exchange, headers):
    return SORRY if exchange.status == 500 and (b"content-type", b"application/problem+json") not in headers else None


def test_a_replaced_head(ended):
    """“`on_response` may return a `Denial` for a 500 head that is not problem+json: the flow sends that and drops the
    application's body.”"""
    log = []

    def sent(name):
        return layer(name, on_sent=lambda exchange: log.append(f"on_sent {name}"))

    head = {**START, "status": 500, "trailers": True}
    app = say(head, {**MORE, "body": b"secret"}, BODY, TRAILERS)
    cleaner = layer("cleaner", on_response=plain_500, on_sent=lambda exchange: log.append("on_sent cleaner"))
    got = asgi.http(Last(sent("outer")(stamp("outside")(cleaner(sent("inner")(stamp("inside")(app)))))))
    assert got.problem["detail"] == "Sorry."
    assert passed(got) == ["outside"]
    assert log == ["on_sent cleaner", "on_sent outer", "on_sent inner"]
    assert (ended().outcome, ended().denial) == ("failed", SORRY)


def test_under_debug_starlette_tells_no_traceback():
    """“(under `secure(FastAPI())` Starlette's own error page, with the traceback in debug mode, is sent inside our
    flow)”"""

    async def crashing(request):
        raise RuntimeError("secret")

    app = layer("cleaner", on_response=plain_500)(Starlette(debug=True, routes=[Route("/", crashing)]))
    got = asgi.http(app, headers={"accept": "text/html"})
    assert got.problem["detail"] == "Sorry."
    assert type(got.error) is RuntimeError


def test_an_accept_that_is_refused(ended):
    """The handshake too can be taken back, while it has not left."""
    got = asgi.websocket(Last(layer("late", on_response=lambda exchange, headers: NO)(asgi.hello)))
    assert got.status == 403
    assert (ended().status, ended().outcome) == (403, "complete")
    got = asgi.websocket(
        Last(layer("late", on_response=lambda exchange, headers: NO)(asgi.hello)), denial_response=False
    )
    assert [message["type"] for message in got.messages] == ["websocket.close"]
    assert ended().status == 403


def test_an_answer_taken_over_is_over_once_it_has_left(ended):
    """What the application fails to say afterwards changes nothing; and no message is refused on it."""

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()

    listens = layer("listens", on_message=lambda exchange, message: NO)
    late = layer("late", on_response=lambda exchange, headers: OUTAGE)
    for stack in (Last(late(listens(app))), late(listens(app))):
        got = asgi.websocket(stack, texts=["one"])
        assert got.status == 503
        assert [message["type"] for message in got.messages] == [WS_START["type"], WS_BODY["type"]]
    assert ended().outcome == "failed"


@pytest.mark.parametrize("error", [None, RuntimeError(), asyncio.CancelledError()], ids=repr)
def test_nor_does_what_it_raises_afterwards(error, ended):
    """As above."""
    late = layer("late", on_response=lambda exchange, headers: NO)
    got = asgi.http(Last(late(say(START, MORE, *([error] if error else [])))))
    assert got.status == 403
    assert got.error is error
    assert ended().outcome == "complete"


# Where stamps run, and how a WebSocket is refused


@pytest.mark.parametrize(
    ("kind", "head"), [("http", START), ("websocket", ACCEPT), ("websocket", WS_START)], ids=lambda value: str(value)
)
def test_stamps_run_on_three_heads(kind, head, ended):
    """“Stamps run on `http.response.start`, `websocket.http.response.start` and `websocket.accept`”"""
    app = Last(stamp("a")(say(head)))
    got = asgi.http(app) if kind == "http" else asgi.websocket(app)
    assert (b"x-passed", b"a") in got.messages[0]["headers"]
    assert ended().status == head.get("status", 101)


@pytest.mark.parametrize("denial_response", [True, False])
@pytest.mark.parametrize("who", ["a gate", "a raising gate", "an error layer"])
def test_a_denial_waits_for_connect(denial_response, who):
    """“A WebSocket denial waits for `websocket.connect` first.”"""
    gate = layer("gate", on_request=crash(ValueError()) if "raising" in who or "error" in who else lambda *args: NO)
    app = gate(asgi.hello)
    if who == "an error layer":
        app = layer("errors", on_error=lambda exchange, error: SORRY)(foreign(app))
    log = []

    async def receive():
        log.append("receive")
        return {"type": "websocket.connect"}

    async def send(message):
        log.append(message["type"])

    async def run():
        try:
            await app(asgi.websocket_scope(denial_response=denial_response), receive, send)
        except ValueError:
            log.append("raised")

    asyncio.run(run())
    if denial_response:
        expected = ["receive", "websocket.http.response.start", "websocket.http.response.body"]
    else:
        expected = ["receive", "websocket.close"]
    assert log == (expected if who == "a gate" else [*expected, "raised"])


def test_an_error_layer_does_not_wait_again():
    """The application has had ``websocket.connect``; nobody waits for another."""

    async def app(scope, receive, send):
        await receive()
        raise RuntimeError

    got = asgi.websocket(layer("errors", on_error=lambda exchange, error: SORRY)(app))
    assert got.status == 500


@pytest.mark.parametrize("status", [403, 500])
def test_a_client_that_left_before_connect(status, ended):
    """Nobody to refuse."""

    async def receive():
        return {"type": "websocket.disconnect", "code": 1001}

    async def send(message):
        raise AssertionError(message)

    denial = Denial("test.no", status)
    gate = layer("gate", on_request=lambda exchange, scope: denial)
    asyncio.run(Last(gate(asgi.hello))(asgi.websocket_scope(), receive, send))
    assert ended().outcome == "aborted"

    asked = []
    outer = layer("outer", on_error=lambda exchange, error: asked.append(error))
    errors = layer("errors", on_error=lambda exchange, error: NO)
    gate = layer("gate", on_request=crash(ValueError()))
    asyncio.run(Last(outer(errors(gate(asgi.hello))))(asgi.websocket_scope(), receive, send))
    assert (ended().outcome, asked) == ("aborted", [])


def test_a_long_title_fits_the_close_frame():
    """ASGI-10, RFC 6455 section 5.5: 123 bytes of reason, and no half character."""
    denial = Denial("test.no", 403, title="é" * 100)
    gate = layer("gate", on_request=lambda exchange, scope: denial)
    got = asgi.websocket(gate(asgi.hello), denial_response=False)
    assert got.messages[0]["reason"] == "é" * 61


def test_head_is_refused_without_content():
    """RFC 9110 section 9.3.2, ASGI-1: same status and fields as GET, no body."""
    gate = layer("gate", on_request=lambda exchange, scope: OUTAGE)
    get, head = (asgi.http(gate(asgi.hello), method=method) for method in ("GET", "HEAD"))
    assert head.body == b""
    assert head.status == get.status == 503
    assert head.headers == get.headers
    assert get.headers == {
        "content-type": "application/problem+json",
        "content-length": str(len(get.body)),
        "cache-control": "no-store",
        "retry-after": "5",
    }
    assert list(json.loads(get.body)) == ["type", "title", "status", "detail", "request_id"]


# Transforms


class TooLarge(HTTPException):
    def __init__(self):
        super().__init__(413)


class Limit(Layer):
    """The shape of a body limit: what the application makes of the refusal is replaced by it."""

    name = "limit"
    error: type[Exception] = TooLarge

    async def __call__(self, scope, receive, send):
        denial = None

        async def limited():
            nonlocal denial
            message = await receive()
            if len(message.get("body", b"")) > 4:
                denial = Denial("test.large", 413, "Too large.")
                raise self.error
            return message

        async def guarded(message):
            if denial is None:
                await send(message)

        try:
            await self.app(scope, limited, guarded)
        finally:
            if denial is not None:
                await refuse(denial, exchange_of(scope), scope, receive, send)


class ForeignLimit(Limit):
    error = ValueError


@pytest.mark.parametrize("limit", [Limit, ForeignLimit])
def test_a_refused_body(limit):
    """“After a body refusal by a transform, whatever the application sends is replaced by the refusal, whichever shape
    it took (FastAPI turns a foreign exception from `receive` into a 400 […])”"""
    app = FastAPI()

    @app.post("/")
    async def take(item: dict = Body()):  # noqa: B008 - FastAPI's own way
        return item

    got = asgi.http(stamp("a")(limit(app)), method="POST", body=b'{"a": 1}')
    assert got.problem["detail"] == "Too large."
    assert passed(got) == ["a"]


def test_what_merges():
    """“Merging is decided in `__init_subclass__`: a class whose body defines `__call__` is a transform and never merges
    (tracing tools patch `__call__` later)”"""
    traced = stamp("traced")
    traced.__call__ = lambda self, scope, receive, send: Layer.__call__(self, scope, receive, send)
    merged = bind(traced(asgi.hello), stamp("b")())
    assert [item.place for item in merged.layers] == ["b", "traced"]
    transform = Limit(stamp("inner")(asgi.hello))
    assert not transform.merges
    assert Limit(asgi.hello).app is asgi.hello
    around = bind(transform, stamp("outer")())
    assert around.app is transform
    assert not type("Child", (Limit,), {}).merges
    assert passed(asgi.http(around)) == ["inner", "outer"]


def test_a_transform_keeps_the_gates_it_inherits():
    """A subclass that only wanted to look at the call must not have lost its refusal by it."""
    gate = layer("gate", on_request=lambda exchange, scope: NO)
    log = []

    class Logged(gate):
        async def __call__(self, scope, receive, send):
            log.append(scope["path"])
            await super().__call__(scope, receive, send)

    assert asgi.http(Logged(asgi.hello)).status == 403
    assert asgi.http(stamp("a")(Logged(stamp("b")(asgi.hello)))).status == 403
    assert log == ["/", "/"]


def test_a_layer_without_an_application():
    with pytest.raises(ConfigurationError, match="bare wraps no application: give it one"):
        asyncio.run(layer("bare")()({"type": "http"}, None, None))


def test_bind_takes_a_layer_that_has_no_application_as_any_other():
    """It says so itself when it is called."""
    inner = layer("bare")()
    assert bind(inner, stamp("a")()).app is inner


# Shadow


class Effective(Layer):
    """A gate with an effect, which it has whether or not its refusal is sent."""

    name = "effective"

    def on_request(self, exchange, scope):
        scope["auth"] = "set"
        return NO


@pytest.mark.parametrize("drive", [asgi.http, asgi.websocket])
def test_shadow_suspends_the_refusal_never_the_effect(drive, ended):
    """“Shadow […] suspends the refusal, never the effect: certificate headers are still stripped, `scope['auth']` is
    still set.”"""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["auth"])
        await asgi.hello(scope, receive, send)

    got = drive(Last(Effective(app, mode="shadow")))
    assert got.messages[0]["type"] in ("http.response.start", "websocket.accept")
    assert seen == ["set"]
    assert ended().decisions == [Decision("effective", "shadow", "test.no", "private")]
    assert ended().denial is None


def test_enforced_it_is_recorded_too(ended):
    asgi.http(Last(Effective(asgi.hello)))
    assert ended().decisions == [Decision("effective", "deny", "test.no", "private")]
    assert ended().denial is NO


def test_shadow_is_evaluated_once_per_request(monkeypatch):
    """“It is evaluated once per request (`exchange.shadowed(layer)`; RateLimit asks it before it writes fields).”"""
    days = [date(2026, 3, 31), date(2026, 4, 1)]
    monkeypatch.setattr(exchange_module, "today", lambda: days.pop(0))
    seen = []

    class Asking(Layer):
        name = "asking"

        def on_request(self, exchange, scope):
            seen.append(exchange.shadowed(self))
            return NO

        def on_response(self, exchange, headers):
            seen.append(exchange.shadowed(self))

    app = Asking(asgi.hello, mode="shadow", shadow_until=date(2026, 3, 31))
    assert asgi.http(app).status == 200
    assert asgi.http(app).status == 403
    assert seen == [True, True, False, False]


@pytest.mark.parametrize(
    ("today", "status"), [(date(2026, 3, 30), 200), (date(2026, 3, 31), 200), (date(2026, 4, 1), 403)], ids=str
)
def test_after_the_date_it_enforces(today, status, monkeypatch):
    """“After the date it enforces.”"""
    monkeypatch.setattr(exchange_module, "today", lambda: today)
    assert asgi.http(Effective(asgi.hello, mode="shadow", shadow_until=date(2026, 3, 31))).status == status


@pytest.mark.parametrize(
    ("hook", "path"), [("on_request", "/"), ("on_exempt", "/health"), ("on_message", "/")], ids=lambda value: value
)
def test_a_gate_that_raises_in_shadow_passes(hook, path, ended):
    """“A gate that raises in shadow is recorded and passes.”"""
    gate = layer("gate", **{hook: crash(ValueError())})
    got = asgi.websocket(Last(gate(asgi.hello, mode="shadow", exempt="/health")), path, texts=["one"])
    assert got.messages[-1] == {"type": "websocket.send", "text": "one"}
    assert ended().decisions == [Decision("gate", "shadow", "internal_error", "ValueError")]


def test_a_message_refused_in_shadow_passes(ended):
    """As the refusal of a request."""
    gate = layer("gate", on_message=lambda exchange, message: NO)
    got = asgi.websocket(Last(gate(asgi.hello, mode="shadow")), texts=["one"])
    assert got.messages[-1] == {"type": "websocket.send", "text": "one"}
    assert ended().decisions == [Decision("gate", "shadow", "test.no", "private")]


@pytest.mark.parametrize(("reason", "body"), [("", b"ours"), ("test.moved", b"hello")])
def test_a_reply_in_shadow(reason, body):
    """A reply with a reason stands for a refusal; one without is an ordinary answer."""
    reply = Reply(PlainTextResponse("ours"), reason=reason)
    gate = layer("gate", on_request=lambda exchange, scope: reply)
    assert asgi.http(gate(asgi.hello, mode="shadow")).body == body
    assert asgi.http(gate(asgi.hello)).body == b"ours"


WRONG = [
    ("a mode", {"mode": "observe"}, 'mode= is "enforce" or "shadow", got \'observe\''),
    ("a date without shadow", {"shadow_until": date(2026, 1, 1)}, 'goes with mode="shadow"'),
    ("a date as text", {"mode": "shadow", "shadow_until": "2026-01-01"}, "is a datetime.date"),
    ("an exempt path", {"exempt": "health"}, 'exempt= takes paths that begin with "/"'),
]


@pytest.mark.parametrize(("options", "sentence"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_wrong_options(options, sentence):
    with pytest.raises(ConfigurationError) as caught:
        stamp("a")(asgi.hello, **options)
    assert sentence in str(caught.value)


# Slots and claims


def test_two_of_one_place():
    """“Within […] one merged flow, a second layer in the same slot is a `ConfigurationError` unless the class allows
    it.”"""
    with pytest.raises(ConfigurationError, match="two layers of the kind 'a' wrap one application: keep one a,"):
        stamp("a")(stamp("b")(stamp("a")(asgi.hello)))
    two = layer("a", repeatable=True)
    assert len(bind(two(asgi.hello), two()).layers) == 2
    assert asgi.http(stamp("a")(foreign(stamp("a")(asgi.hello)))).status == 200


def test_options_may_change_the_slot(ended):
    """“Every layer has a `slot(**options)` in the order”"""

    class Keyed(Layer):
        name = "keyed"

        def __init__(self, app=None, *, key):
            super().__init__(app, place=self.slot(key=key))

        @classmethod
        def slot(cls, *, key):
            return f"keyed:{key}"

        def on_request(self, exchange, scope):
            return None

    asgi.http(Last(Keyed(Keyed(asgi.hello, key="b"), key="a")))
    assert [decision.layer for decision in ended().decisions] == ["keyed:a", "keyed:b"]
    with pytest.raises(ConfigurationError, match="'keyed:a'"):
        Keyed(Keyed(asgi.hello, key="a"), key="a")


class Slotted:
    """An application that no weak reference can point to."""

    __slots__ = ()


@pytest.mark.parametrize("kind", [Starlette, Slotted])
def test_one_result_serves_one_application(kind):
    """“One result serves one application: binding it to another `scope['app']` is a `ConfigurationError`.”"""
    claimed = stamp("a")()
    claimed.claim = Claim()
    app = bind(asgi.hello, claimed)
    first, second = kind(), kind()

    def ask(**more):
        return asyncio.run(asgi.drive(app, {**asgi.http_scope(), **more}, []))

    assert ask(app=first).status == ask(app=first).status == 200
    assert "call secure_stack() again for the second" in str(ask(app=second).error)
    assert ask().status == 200


def test_an_application_that_is_gone_lets_go():
    """A claim does not keep its application alive."""
    claim = Claim()
    claim.take(Starlette())
    claim.take(Starlette())


# Every kind of scope


@pytest.mark.parametrize("kind", ["webtransport", "http.2", ""])
def test_unknown_scope_types_raise(kind):
    """“a scope type we do not know raises, only `lifespan` passes”"""
    with pytest.raises(RuntimeError, match=f"does not know the scope type {kind!r}"):
        asyncio.run(stamp("a")(asgi.hello)({"type": kind}, None, None))


# Waiting, cancellation, and other event loops


def test_context_variables_pass_through():
    """“Streaming, background tasks, context variables and disconnects pass through untouched.”"""
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    async def app(scope, receive, send):
        seen.append(variable.get())
        variable.set("by the application")
        await asgi.hello(scope, receive, send)

    gate = layer(
        "gate",
        on_request=lambda exchange, scope: variable.set("by the gate") and None,
        on_end=lambda exchange: seen.append(variable.get()),
    )
    asgi.http(gate(app))
    assert seen == ["by the gate", "by the application"]


def run_on(backend, function):
    return trio.run(function) if backend == "trio" else asyncio.run(function())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_either_event_loop(backend):
    """“Floors 0-2 […] use no asyncio-only primitive”"""
    log = []

    async def passing(*args):
        await anyio.lowlevel.checkpoint()

    stack = witness(log, "a", on_request=passing, on_end=passing, on_error=lambda exchange, error: SORRY)
    sent = []

    async def send(message):
        await anyio.lowlevel.checkpoint()
        sent.append(message["type"])

    async def receive():
        return {"type": "websocket.connect"}

    async def run():
        await stack(asgi.hello)(asgi.http_scope(), None, send)
        with pytest.raises(RuntimeError):
            await stack(say(RuntimeError()))(asgi.http_scope(), None, send)
        await layer("gate", on_request=lambda *args: NO)(asgi.hello)(asgi.websocket_scope(), receive, send)

    run_on(backend, run)
    assert sent == ["http.response.start", "http.response.body"] * 2 + [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert log.count("on_end a") == 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_request_ends_in_every_layer(backend):
    """“The awaitable of `on_end` is awaited after the reply, shielded”: also when the request is cancelled."""
    log = []

    async def settle(exchange):
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        log.append((exchange.outcome, exchange.error_type))

    async def app(scope, receive, send):
        await send(START)
        scope["cancel"]()
        await anyio.sleep(5)

    async def send(message):
        await anyio.lowlevel.checkpoint()

    async def run():
        stack = layer("a", on_end=settle)(layer("b", on_end=settle)(app))
        with anyio.CancelScope() as cancelling:
            await stack({**asgi.http_scope(), "cancel": cancelling.cancel}, None, send)
        return cancelling.cancelled_caught

    assert run_on(backend, run)
    assert log == [("cancelled", "CancelledError" if backend == "asyncio" else "Cancelled")] * 2


def test_a_cancelled_task_ends_in_every_layer():
    """As above, by asyncio's own means, which no shield keeps off: the layers further out end all the same."""
    log = []

    async def run():
        waits = asyncio.Event()

        async def settle():
            waits.set()
            await asyncio.sleep(5)

        stack = layer("a", on_end=lambda exchange: log.append((exchange.outcome, exchange.error_type)))(
            layer("b", on_end=lambda exchange: settle())(asgi.hello)
        )
        task = asyncio.create_task(asgi.drive(stack, asgi.http_scope(), []))
        await waits.wait()
        task.cancel()
        return (await task).error

    assert type(asyncio.run(run())) is asyncio.CancelledError
    assert log == [("complete", "CancelledError")]


@pytest.mark.parametrize("where", ["gate", "on_error"])
def test_cancelled_while_an_error_is_answered(where):
    """As above: the answer is given up, every ``on_end`` is not."""
    log = []

    def end(name, **hooks):
        return layer(name, on_end=lambda exchange: log.append(name), **hooks)

    async def send(message):
        raise asyncio.CancelledError

    if where == "gate":
        stack = end("a")(end("b", on_request=crash(ValueError()))(asgi.hello))
    else:
        stack = end("a")(end("b", on_error=lambda exchange, error: SORRY)(say(RuntimeError())))

    async def run():
        try:
            await stack(asgi.http_scope(), None, send)
        except asyncio.CancelledError:
            log.append("cancelled")

    asyncio.run(run())
    assert log == ["b", "a", "cancelled"]


def test_on_end_has_a_budget(ended):
    """“within the storage budget”: after it the awaitable is given up, on record."""
    slow = layer("slow", on_end=lambda exchange: asyncio.sleep(60))()
    slow.budget = 0.001
    got = asgi.http(Last(bind(asgi.hello, slow)))
    assert got.error is None
    assert ended().decisions[0].note == "on_end: TimeoutError"


# Foreign layers that do more than pass on


def keeping(inner):
    """Lets nothing out."""

    async def app(scope, receive, send):
        async def hold(message):
            pass

        await inner(scope, receive, hold)

    return app


def test_a_head_that_a_foreign_layer_kept(ended):
    """“while no head has left this flow or the outermost one”: a kept head is no answer, and its status no status."""
    log = []

    inner = layer(
        "inner",
        on_error=lambda exchange, error: log.append("asked"),
        on_end=lambda exchange: log.append(("inner", exchange.status)),
    )(say(START, RuntimeError()))
    outer = layer("outer", on_error=lambda exchange, error: log.append(("outer", exchange.status)))
    got = asgi.http(Last(outer(keeping(inner))))
    assert got.messages == []
    assert log == [("inner", 200), ("outer", None)]
    assert ended().status is None
    got = asgi.http(Last(layer("errors", on_error=lambda exchange, error: SORRY)(keeping(inner))))
    assert got.status == 500
    asgi.http(Last(keeping(stamp("a")(asgi.hello))))
    assert ended().outcome == "aborted"
    asgi.websocket(Last(keeping(stamp("a")(asgi.hello))))
    assert ended().outcome == "aborted"


def test_an_answer_that_a_foreign_layer_keeps_for_a_while():
    """“complete” is said where the last message has left, and stands when the rest goes well."""
    log = []
    inner = layer("inner", on_end=lambda exchange: log.append(exchange.outcome))
    crashing = inner(say(START, BODY, RuntimeError()))
    asgi.http(layer("outer", on_end=lambda exchange: log.append(exchange.outcome))(keeping(crashing)))
    asgi.http(inner(keeping(asgi.hello)))
    asgi.http(stamp("a")(keeping(inner(asgi.hello))))
    assert log == ["complete", "failed", "aborted", "complete"]


def test_a_head_that_a_foreign_layer_sent_itself(ended):
    """“while no head has left […] the outermost one”: what a layer further in would answer comes too late."""
    asked = []

    async def impatient(scope, receive, send):
        await send(START)
        await layer("errors", on_error=lambda exchange, error: asked.append(error))(say(RuntimeError()))(
            scope, receive, send
        )

    got = asgi.http(Last(impatient))
    assert got.messages == [START]
    assert type(got.error) is RuntimeError
    assert asked == []
    assert ended().status == 200


def test_a_foreign_layer_that_tries_again():
    """An error layer guards what stands inside it, and only as long as that runs."""

    async def retrying(scope, receive, send):
        with suppress(RuntimeError):
            await layer("errors", on_error=lambda exchange, error: None)(say(RuntimeError()))(scope, receive, send)
        await layer("gate", on_request=crash(ValueError()))(asgi.hello)(scope, receive, send)

    got = asgi.http(stamp("a")(retrying))
    assert got.status == 500
    assert type(got.error) is ValueError


@pytest.mark.parametrize("crashes", [False, True])
def test_starlettes_base_http_middleware_between(crashes, ended):
    """A task of its own, a stream of its own: the promises hold on both sides of it."""
    log = []

    async def dispatch(request, call_next):
        response = await call_next(request)
        response.headers["x-between"] = "1"
        return response

    inner = layer("inner", on_end=lambda exchange: log.append("inner"))
    errors = layer("errors", on_error=lambda exchange, error: SORRY, on_end=lambda exchange: log.append("errors"))
    app = inner(say(RuntimeError()) if crashes else asgi.hello)
    got = asgi.http(Last(errors(BaseHTTPMiddleware(app, dispatch))))
    assert got.status == (500 if crashes else 200)
    assert log == ["inner", "errors"]
    assert ended().outcome == ("failed" if crashes else "complete")


# Hooks that one layer does without


def test_an_idle_hook_is_as_if_it_were_not_there():
    """The application of a WebSocket gets the server's own ``receive`` where nobody listens."""
    called = []
    received = []

    class Sometimes(Layer):
        name = "sometimes"

        def __init__(self, app, idle):
            self.idle_hooks = frozenset(idle)
            super().__init__(app)

        def on_message(self, exchange, message):
            called.append("on_message")

        def on_end(self, exchange):
            called.append("on_end")

    async def app(scope, receive, send):
        received.append(receive)
        await send({"type": "websocket.accept"})
        await receive()
        await receive()

    def run(idle):
        called.clear()
        asgi.websocket(Sometimes(app, idle), texts=["a"])
        return called.copy(), type(received[-1]).__name__

    assert run(()) == (["on_message", "on_end"], "_Inbox")
    assert run(("on_message",)) == (["on_end"], "function")
    assert run(("on_message", "on_end")) == ([], "function")
