"""The external decision point: what is asked, what counts as an answer, and that an outage is no refusal."""

import asyncio
import json
import logging
import threading

import httpx
import pytest
import trio

from secure_asgi import AuthorizationMiddleware, ConfigurationError, DecisionPoint, Rule, Secret
from secure_asgi.authorization.decision_point import MAX_BYTES, MAX_FAILURES, MAX_QUESTIONS, OutageError
from secure_asgi.authorization.predicates import Access
from secure_asgi.exchange import Exchange

from . import asgi
from .test_authorization import ANN, behind, reason_of
from .web import Web

JSON = {"content-type": "application/json"}


@pytest.fixture
def web():
    with Web() as running:
        yield running


def access(*, principal=ANN, path="/orders/7", params=None):
    scope = asgi.http_scope(path)
    exchange = Exchange(scope)
    exchange.principal = principal
    return Access(exchange, scope, "GET", path, {"id": "7"} if params is None else params)


def says(body, status=200, headers=JSON):
    return (status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def decide(point, **options):
    async def run():
        try:
            return await point.decide(access(**options))
        finally:
            await point.close()

    denial = asyncio.run(run())
    return None if denial is None else (denial.status, denial.reason)


REFUSED, OUTAGE = (403, "decision_point_refused"), (503, "decision_point_unavailable")

ANSWERS = {
    "yes": (says({"decision": True}), None),
    "yes, with a context": (says({"decision": True, "context": {"reason": "x"}}), None),
    "no": (says({"decision": False}), REFUSED),
    "a word": (says({"decision": "true"}), OUTAGE),
    "a number": (says({"decision": 1}), OUTAGE),
    "null": (says({"decision": None}), OUTAGE),
    "nothing": (says({}), OUTAGE),
    "a list": (says([True]), OUTAGE),
    "two decisions": (says(b'{"decision": false, "decision": true}'), OUTAGE),
    "another encoding": (says('{"decision": true}'.encode("utf-16")), OUTAGE),
    "no JSON": (says(b"yes"), OUTAGE),
    "very deep": (says(b'{"decision":' + b"[" * 60_000), OUTAGE),
    "HTML": (says(b"<p>yes", headers={"content-type": "text/html"}), OUTAGE),
    "too large": (says({"decision": True, "x": "x" * MAX_BYTES}), OUTAGE),
    "compressed": (says(b"\x1f\x8b", headers={**JSON, "content-encoding": "gzip"}), OUTAGE),
    "a redirect": (says({"decision": True}, 302, {**JSON, "location": "/yes"}), OUTAGE),
    "an error": (says({"decision": True}, 500), OUTAGE),
    "another success": (says({"decision": True}, 201), OUTAGE),
    "drips": (Web.drips_its_head, OUTAGE),
    "hangs": (Web.hangs, OUTAGE),
    "down": (None, OUTAGE),
}


@pytest.mark.parametrize("case", ANSWERS.values(), ids=ANSWERS)
def test_what_counts_as_an_answer(case, web, caplog):
    answer, expected = case
    if answer is None:
        web.stop()
    web.answers["/decide"] = (lambda handler, posted: answer(web, handler, posted)) if callable(answer) else answer
    point = DecisionPoint(f"{web.url}/decide", timeout=0.3 if callable(answer) else 30)
    assert decide(point) == expected
    assert not web.asked["/yes"]
    assert "ann" not in caplog.text


OPA = {
    "yes": ({"result": True}, None),
    "yes, in an object": ({"result": {"allow": True}}, None),
    "a decision in an object": ({"result": {"decision": False, "allow": True}}, REFUSED),
    "an allow that a decision contradicts": ({"result": {"decision": True, "allow": False}}, REFUSED),
    "a decision, and no boolean beside it": ({"result": {"decision": True, "allow": 1}}, OUTAGE),
    "no": ({"result": False}, REFUSED),
    "undefined": ({}, REFUSED),
    "an object without it": ({"result": {}}, OUTAGE),
    "text": ({"result": "true"}, OUTAGE),
}


@pytest.mark.parametrize("case", OPA.values(), ids=OPA)
def test_open_policy_agent(case, web):
    answer, expected = case
    web.answers["/v1/data/orders/allow"] = says(answer)
    assert decide(DecisionPoint(f"{web.url}/v1/data/orders/allow", dialect="opa", timeout=30)) == expected
    ((_, body),) = web.bodies
    assert json.loads(body)["input"]["action"] == {"name": "GET"}


def test_what_is_asked(web):
    """AuthZEN Authorization API 1.0 section 6.1."""
    web.answers["/decide"] = says({"decision": True})
    assert decide(DecisionPoint(f"{web.url}/decide", timeout=30)) is None
    assert decide(DecisionPoint(f"{web.url}/decide", timeout=30), principal=None) is None
    point = DecisionPoint(
        f"{web.url}/decide",
        timeout=30,
        subject=lambda access: {"type": "employee", "id": access.principal.subject},
        resource=lambda access: {"type": "order", "id": access.params["id"]},
        context=lambda access: {},
    )
    assert decide(point) is None
    ((kind, first), (_, second), (_, third)) = web.bodies
    assert kind == "application/json"
    assert json.loads(first) == {
        "subject": {
            "type": "user",
            "id": "ann",
            "properties": {
                "issuer": "https://id.example.com",
                "client_id": "",
                "scopes": ["orders:read"],
                "roles": ["clerk"],
                "method": "bearer",
            },
        },
        "action": {"name": "GET"},
        "resource": {"type": "route", "id": "/orders/7", "properties": {"id": "7"}},
        "context": {"client": "203.0.113.9"},
    }
    assert json.loads(second)["subject"] == {"type": "anonymous", "id": "anonymous"}
    assert json.loads(third) == {
        "subject": {"type": "employee", "id": "ann"},
        "action": {"name": "GET"},
        "resource": {"type": "order", "id": "7"},
        "context": {},
    }


def test_its_own_credentials(web):
    seen = []

    def answer(handler, posted):
        seen.append((handler.headers["authorization"], handler.headers["x-request-id"]))
        handler.answer(*says({"decision": True}))

    web.answers["/decide"] = answer
    point = DecisionPoint(f"{web.url}/decide", timeout=30, token=Secret("between us"))
    assert decide(point) is None
    ((credentials, request_id),) = seen
    assert credentials == "Bearer between us"
    assert len(request_id) == 36
    assert "between us" not in repr(point)


def test_equal_questions_are_one_and_survive_the_first_that_asked(web):
    web.answers["/decide"] = says({"decision": True})
    point = DecisionPoint(f"{web.url}/decide", timeout=30)

    async def run():
        first = asyncio.ensure_future(point.decide(access()))
        rest = [asyncio.ensure_future(point.decide(access())) for _ in range(100)]
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*rest) == [None] * 100
        assert first.cancelled()
        assert web.asked["/decide"] == 1
        assert await point.decide(access()) is None  # an answer is not kept
        assert web.asked["/decide"] == 2
        await point.close()

    asyncio.run(run())
    asyncio.run(run_again(point))


async def run_again(point):
    """In another event loop."""
    assert await point.decide(access()) is None
    await point.close()


def test_questions_are_bounded(web):
    web.answers["/decide"] = web.hangs
    point = DecisionPoint(f"{web.url}/decide", timeout=30)

    async def run():
        asked = [asyncio.ensure_future(point.decide(access(path=f"/{n}"))) for n in range(MAX_QUESTIONS)]
        await asyncio.sleep(0)
        denial = await point.decide(access(path="/another"))
        assert (denial.status, denial.headers) == (503, ((b"retry-after", b"1"),))
        assert "under way" in denial.note
        await point.close()
        await asyncio.wait(asked)

    asyncio.run(run())


def test_who_fails_again_and_again_is_left_alone_for_a_second(web, caplog):
    web.answers["/decide"] = says({}, 500)
    point, now = DecisionPoint(f"{web.url}/decide", timeout=30), [100.0]
    point._now = lambda: now[0]

    async def run():
        for _ in range(MAX_FAILURES + 3):
            assert (await point.decide(access())).status == 503
        assert web.asked["/decide"] == MAX_FAILURES
        now[0] += 1.0
        web.answers["/decide"] = says({"decision": True})
        assert await point.decide(access()) is None
        await point.close()

    asyncio.run(run())
    assert caplog.text.count("status 500") == MAX_FAILURES


def test_who_is_still_down_after_the_pause_is_left_alone_at_once(web):
    web.answers["/decide"] = says({}, 500)
    point, now = DecisionPoint(f"{web.url}/decide", timeout=30), [100.0]
    point._now = lambda: now[0]

    async def run():
        for _ in range(MAX_FAILURES):
            await point.decide(access())
        now[0] += 1.0
        for _ in range(3):
            await point.decide(access())
        assert web.asked["/decide"] == MAX_FAILURES + 1
        await point.close()

    asyncio.run(run())


def test_a_client_cannot_shut_out_others_by_questions_that_are_not_taken(web):
    web.answers["/decide"] = lambda handler, posted: handler.answer(
        *says({"decision": True}, 400 if b"bad" in posted else 200)
    )
    point = DecisionPoint(f"{web.url}/decide", timeout=30)

    async def run():
        for number in range(MAX_FAILURES + 1):
            assert (await point.decide(access(path=f"/bad/{number}"))).status == 503
        assert await point.decide(access()) is None
        await point.close()

    asyncio.run(run())


def test_who_waits_at_the_close_is_told_of_an_outage(web):
    arrived = threading.Event()

    def hangs(handler, posted):
        arrived.set()
        web.hangs(handler, posted)

    web.answers["/decide"] = hangs
    point = DecisionPoint(f"{web.url}/decide", timeout=30)

    async def run():
        asked = asyncio.ensure_future(point.decide(access()))
        assert await asyncio.to_thread(arrived.wait, 30)
        await point.close()
        denial = await asked
        assert (denial.status, denial.reason) == OUTAGE
        assert "closed" in denial.note

    asyncio.run(run())


def test_a_close_in_another_event_loop_awaits_nothing_of_the_first(web):
    web.answers["/decide"] = says({"decision": True})

    async def run():
        async with httpx.AsyncClient(trust_env=False) as client:
            point = DecisionPoint(f"{web.url}/decide", http=client, timeout=30)
            assert await point.decide(access()) is None
            return point

    point = asyncio.run(run())
    asyncio.run(point.close())
    assert point._open is None


def test_questions_that_come_first_and_together_share_one_client(web):
    web.answers["/decide"] = says({"decision": True})
    point, made = DecisionPoint(f"{web.url}/decide", timeout=30), []
    point._fetcher = Opener(point._fetcher, made)

    async def run():
        assert await asyncio.gather(*(point.decide(access(path=f"/{n}")) for n in range(5))) == [None] * 5
        await point.close()

    asyncio.run(run())
    assert len(made) == 1
    assert made[0]._client.is_closed


class Opener:
    def __init__(self, fetcher, made):
        self._fetcher, self._made = fetcher, made

    async def kept_open(self):
        self._made.append(await self._fetcher.kept_open())
        return self._made[-1]


def test_no_client_is_an_outage():
    class Broken:
        async def kept_open(self):
            raise OSError("the CA bundle")

    point = DecisionPoint("https://pdp.example/")
    point._fetcher = Broken()
    assert decide(point) == OUTAGE


def test_an_outage_for_many_is_an_exception_of_ones_own(web):
    """One exception raised by all who wait would tie their frames together."""
    web.answers["/decide"] = says({}, 500)
    point = DecisionPoint(f"{web.url}/decide", timeout=30)

    async def run():
        errors = await asyncio.gather(point(access()), point(access()), return_exceptions=True)
        await point.close()
        return errors

    first, second = asyncio.run(run())
    assert isinstance(first, OutageError)
    assert first is not second
    assert web.asked["/decide"] == 1


def test_as_a_rule_asks_it(web, caplog):
    caplog.set_level(logging.CRITICAL)
    web.answers["/decide"] = says({"decision": True})
    rule = Rule("GET", "/a", when=(DecisionPoint(f"{web.url}/decide", timeout=30), lambda access: True))
    app = behind(rule, deadline=30)
    assert reason_of(app) == (200, "")
    web.answers["/decide"] = says({"decision": False})
    assert reason_of(app) == REFUSED
    web.answers["/decide"] = says({}, 500)
    assert reason_of(app) == OUTAGE


def test_the_middleware_opens_and_closes_it(web):
    web.answers["/decide"] = says({"decision": True})
    point = DecisionPoint(f"{web.url}/decide", timeout=30)
    rules = [Rule("GET", "/a", when=point), Rule("POST", "/a", when=[point, lambda access: True])]
    layer = AuthorizationMiddleware(None, rules=rules)

    async def run():
        await layer.on_startup({})
        await layer.on_shutdown()  # before it was ever asked
        assert await point.decide(access()) is None
        kept = point._open
        await layer.on_shutdown()
        assert kept._client.is_closed
        assert await point.decide(access()) is None
        await layer.on_shutdown()

    asyncio.run(run())


def test_a_client_of_ones_own_stays_open(web):
    web.answers["/decide"] = says({"decision": True})

    async def run():
        async with httpx.AsyncClient(trust_env=False) as client:
            point = DecisionPoint(f"{web.url}/decide", http=client, timeout=30)
            assert await point.decide(access()) is None
            await point.close()
            assert not client.is_closed

    asyncio.run(run())


def test_trio_is_refused_at_start_up():
    async def run():
        with pytest.raises(ConfigurationError, match="asyncio"):
            await DecisionPoint("https://pdp.example/").open()

    trio.run(run)


WRONG = {
    "plain http": ({"url": "http://pdp.example/"}, "https URL"),
    "no URL": ({"url": None}, "https URL"),
    "a token in the clear": ({"token": "x"}, "Secret"),
    "another dialect": ({"dialect": "cedar"}, "dialect="),
    "a token with the end of its line": ({"token": Secret("x\n")}, "strip"),
    "no time": ({"timeout": 0}, "timeout="),
    "no function": ({"subject": {}}, "subject="),
    "no client": ({"http": 5}, "http="),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_wrong_options(case):
    options, complaint = case
    with pytest.raises(ConfigurationError, match=complaint):
        DecisionPoint(**{"url": "https://pdp.example/", **options})
