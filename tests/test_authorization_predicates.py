"""Predicates: only True lets pass, only False refuses, and nobody waits for ever."""

import asyncio
import contextvars
import functools
import threading
import time

import anyio
import pytest

from secure_asgi import Rule
from secure_asgi.authorization import predicates
from secure_asgi.authorization.predicates import MAX_THREADS, Access, Predicates
from secure_asgi.exchange import Exchange

from . import asgi
from .test_authorization import ANN, behind, reason_of

VARIABLE = contextvars.ContextVar("variable", default="unset")
REFUSED, FAILED = (403, "predicate_refused"), (503, "predicate_failed")


async def yes(access):
    return True


async def no(access):
    return False


async def crash(access):
    raise ValueError("password: hunter2")


async def hang(access):
    await anyio.sleep_forever()


class Callable:
    async def __call__(self, access):
        return access.principal is ANN


def raises(access):
    raise KeyError("password: hunter2")


def says(what):
    return lambda access: what


ASKED = {
    "True": (says(True), (200, "")),
    "False": (says(False), REFUSED),
    "async True": (yes, (200, "")),
    "async False": (no, REFUSED),
    "an object": (Callable(), (200, "")),
    "a partial of one": (functools.partial(functools.partial(yes)), (200, "")),
    "a lambda around one": (lambda access: yes(access), (200, "")),
    "all of them": ((says(True), yes), (200, "")),
    "one of them not": ((says(True), no, raises), REFUSED),
    "1": (says(1), FAILED),
    "None": (says(None), FAILED),
    "a text": (says("yes"), FAILED),
    "raises": (raises, FAILED),
    "async raises": (crash, FAILED),
    "does not fit": (lambda: True, FAILED),
}


@pytest.mark.parametrize("case", ASKED.values(), ids=ASKED)
def test_what_a_predicate_says(case, caplog):
    """ASVS 8.2.2, 16.5.3."""
    when, expected = case
    app = behind(Rule("GET", "/a", when=when), deadline=30)
    assert reason_of(app) == expected


def test_what_fails_is_on_record_and_tells_the_client_nothing(caplog):
    answer = asgi.http(behind(Rule("GET", "/a", when=crash), deadline=30), "/a")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert b"hunter2" not in answer.body
    assert "ValueError" in caplog.text


@pytest.mark.parametrize("when", [hang, lambda access: time.sleep(1)], ids=["async", "thread"])
def test_who_hangs_is_not_waited_for(when, caplog):
    began = time.monotonic()
    assert reason_of(behind(Rule("GET", "/a", when=when), deadline=0.05)) == FAILED
    assert time.monotonic() - began < 10
    assert "did not answer in time" in caplog.text


def access():
    scope = asgi.http_scope("/a", headers={"x-tenant": "acme"})
    exchange = Exchange(scope)
    exchange.principal = ANN
    return Access(exchange, scope, "GET", "/a", {})


def test_what_a_predicate_is_given():
    given = access()
    assert given.principal is ANN
    assert given.connection.headers["x-tenant"] == "acme"
    assert given.connection is given.connection
    assert (given.method, given.path, given.params) == ("GET", "/a", {})


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_threads_are_bounded_and_come_back(backend, monkeypatch):
    """One that is stuck keeps its thread, but no request; others are refused at once while there is none."""
    monkeypatch.setattr(predicates, "MAX_THREADS", 2)
    gate, asked = threading.Event(), Predicates(0.2)
    stuck = Rule("GET", "/a", when=lambda access: gate.wait(30))

    async def run():
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(asked.ask, stuck, access())
        denial = await asked.ask(stuck, access())
        assert (denial.reason, "BusyError" in denial.note) == ("predicate_failed", True)
        gate.set()
        while len(asked._places) < 2:  # noqa: ASYNC110 -- a thread gives it back, which no event of ours tells
            await anyio.sleep(0.001)
        assert await asked.ask(Rule("GET", "/a", when=says(True)), access()) is None
        with anyio.CancelScope() as scope:
            scope.cancel()
            await asked.ask(Rule("GET", "/a", when=says(True)), access())
        assert len(asked._places) == 2

    anyio.run(run, backend=backend)
    assert MAX_THREADS == 32


def test_a_thread_has_the_context_of_its_request():
    seen = []
    asked = Predicates(30)

    async def run():
        VARIABLE.set("this request")
        await asked.ask(Rule("GET", "/a", when=lambda access: seen.append(VARIABLE.get()) or True), access())

    asyncio.run(run())
    assert seen == ["this request"]
