"""The middleware: who runs, who waits, who is refused and how; and that no slot is ever lost."""

import asyncio
import enum
import http.client
import socket
import struct
import time
from datetime import date

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from starlette.middleware import Middleware

from secure_asgi import Adaptive, ConfigurationError, Denial, Layer, Principal, ThrottleMiddleware, secure
from secure_asgi.throttle import Load

from .asgi import drive, hello, http_scope, websocket_scope
from .serving import uvicorn_serving

FREE = (0, 0)


class Spy(Layer):
    """Stands outside, and keeps what became of each request: reasons by path."""

    name = "spy"

    def __init__(self, app):
        self.reasons = []
        self.verdicts = []
        super().__init__(app)

    def on_end(self, exchange):
        self.reasons.append(exchange.denial and str(exchange.denial.reason))
        self.verdicts.append([(d.verdict, d.reason, d.note) for d in exchange.decisions])


class SignIn(Layer):
    name = "sign_in"

    def on_request(self, exchange, scope):
        user = exchange.fields(scope).get(b"user")
        exchange.principal = Principal(subject=user.decode()) if user else None


class Site:
    """An application that answers when it is told to, behind a throttle; ``order`` is who began, by path."""

    def __init__(self, *, outside=lambda app: app, **options):
        self.order = []
        self.open = []
        self.throttle = ThrottleMiddleware(self.app, **{"max_concurrent": 1} | options)
        self.spy = Spy(outside(self.throttle))

    async def app(self, scope, receive, send):
        self.order.append(scope["path"])
        told = asyncio.get_running_loop().create_future()
        self.open.append(told)
        how = await told
        if how == "crash":
            raise RuntimeError("boom")
        if how != "silence":
            await hello(scope, receive, send)

    async def ask(self, path="/", **options):
        """A request that has got as far as it can."""
        scope = http_scope(path, **options)
        task = asyncio.ensure_future(drive(self.spy, scope, [{"type": "http.request"}]))
        await settle()
        return task

    async def tell(self, how="answer"):
        """The oldest that runs ends."""
        self.open.pop(0).set_result(how)
        await settle()

    @property
    def load(self):
        return self.throttle.load[:2]


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def client(number):
    return {"client": (f"203.0.113.{number}", 50000)}


# Refusals on the wire


def test_the_503():
    """RL-10, RL-11: the server's capacity; never cached, told when to come back."""

    async def scene():
        site = Site()
        first = await site.ask()
        refused = await (await site.ask())
        assert site.load == (1, 0)
        await site.tell()
        assert (await first).status == 200
        assert site.throttle.load == Load(0, 0, 1)
        assert site.spy.reasons == ["throttled", None]
        return refused

    answer = asyncio.run(scene())
    document = answer.problem
    del document["request_id"]
    assert document == {
        "type": "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
        "title": "Temporary Reduced Capacity",
        "status": 503,
        "detail": "The server is busy. Wait as long as Retry-After says, and repeat this request.",
    }
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["cache-control"] == "no-store"


def test_the_429_of_a_client():
    """RL-11, RFC 6585 section 4: its own quota is used up, and nobody else's; RL-15: a /56 is one client."""

    async def scene():
        site = Site(per="client")
        held = [await site.ask(client=("2001:db8::1", 1)), await site.ask(**client(1))]
        refused = await (await site.ask(client=("2001:db8:0:ff::2", 2)))
        assert len(next(iter(site.throttle._counts.values())).gates) == 2
        other = await site.ask(client=("2001:db8:0:100::1", 1))
        for _ in range(3):
            await site.tell()
        assert [(await one).status for one in (*held, other)] == [200, 200, 200]
        assert next(iter(site.throttle._counts.values())).gates == {}
        return refused

    answer = asyncio.run(scene())
    document = answer.problem
    assert (document["type"], document["title"], document["status"]) == (
        "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "Quota Exceeded",
        429,
    )
    assert answer.headers["retry-after"] == "1"


def test_each_principal_has_slots_and_who_has_not_signed_in_has_the_address_s():
    async def scene():
        site = Site(per="principal", outside=SignIn)
        for user in ("a", "b", "203.0.113.9", None):
            await site.ask(headers={"user": user} if user else {})
        assert site.load == (4, 0)
        refused = [await (await site.ask(headers={"user": "a"}, **client(7))), await (await site.ask())]
        assert [one.status for one in refused] == [429, 429]

    asyncio.run(scene())


def test_a_client_s_slots_are_the_same_whoever_signs_in_there():
    async def scene():
        site = Site(per="client", outside=SignIn)
        await site.ask(headers={"user": "a"})
        assert (await (await site.ask(headers={"user": "b"}))).status == 429

    asyncio.run(scene())


@pytest.mark.parametrize(("retry_after", "told"), [(1, "1 2 1 2 1"), (3, "3 4 5 6 3")])
def test_not_all_are_told_to_come_back_at_once(retry_after, told):
    """RL-7."""

    async def scene():
        site = Site(retry_after=retry_after)
        await site.ask()
        return " ".join([(await (await site.ask())).headers["retry-after"] for _ in range(5)])

    assert asyncio.run(scene()) == told


@pytest.mark.parametrize("can_answer", [True, False], ids=["as a response", "by a close code"])
def test_a_refused_websocket(can_answer):
    async def scene():
        site = Site()
        await site.ask()
        scope = websocket_scope(denial_response=can_answer)
        return await drive(site.spy, scope, [{"type": "websocket.connect"}])

    answer = asyncio.run(scene())
    assert (answer.status if can_answer else answer.close_code) == (503 if can_answer else 1013)


def test_a_websocket_holds_its_slot_while_it_lives():
    async def scene():
        throttle = ThrottleMiddleware(hello, max_concurrent=1)
        going = asyncio.get_running_loop().create_future()
        inbound = [{"type": "websocket.connect"}]

        async def receive():
            return inbound.pop() if inbound else await going

        async def send(message):
            pass

        task = asyncio.ensure_future(throttle(websocket_scope(), receive, send))
        await settle()
        assert throttle.load == (1, 0, 1)
        assert (await drive(throttle, http_scope(), [])).status == 503
        going.set_result({"type": "websocket.disconnect", "code": 1001})
        await task
        assert throttle.load == (0, 0, 1)

    asyncio.run(scene())


# The queue


def test_who_waits_is_let_in_in_order():
    async def scene():
        site = Site(queue=2, queue_timeout=60)
        tasks = [await site.ask(path) for path in ("/1", "/2", "/3")]
        assert site.load == (1, 2)
        assert (await (await site.ask("/4"))).status == 503
        for _ in range(3):
            await site.tell()
        assert [(await task).status for task in tasks] == [200] * 3
        assert site.order == ["/1", "/2", "/3"]
        assert all(timer.cancelled() for timer in asyncio.get_running_loop()._scheduled)
        assert site.load == FREE

    asyncio.run(scene())


def test_who_waits_too_long_is_refused():
    async def scene():
        site = Site(queue=1, queue_timeout=0.01)
        first = await site.ask()
        assert (await (await site.ask())).status == 503
        assert site.spy.reasons == ["throttle_timeout"]
        assert site.load == (1, 0)
        await site.tell()
        assert (await first).status == 200
        assert site.load == FREE

    asyncio.run(scene())


def test_clients_take_turns_and_nobody_fills_the_queue_alone():
    async def scene():
        site = Site(queue=4, queue_timeout=60)
        tasks = [await site.ask(f"/a{number}", **client(1)) for number in range(5)]
        tasks.append(await site.ask("/b", **client(2)))
        assert site.load == (1, 4)
        while site.open:
            await site.tell()
        assert [(await task).status for task in tasks] == [200, 200, 200, 200, 503, 200]
        assert site.order == ["/a0", "/a1", "/b", "/a2", "/a3"]
        assert site.spy.reasons[0] == "throttled"

    asyncio.run(scene())


def test_the_low_are_shed_first():
    async def scene():
        classes = {"/health": "critical", "/reports/": "low"}
        site = Site(max_concurrent=2, queue=2, queue_timeout=60, priority=classes, shares={"low": 0.5, "normal": 1})
        await site.ask("/reports/1")
        low = await site.ask("/reports/2")  # a slot is free, and not for its class
        assert site.load == (1, 1)
        assert (await (await site.ask("/reports/3"))).status == 503
        await site.ask("/orders")
        normal = await site.ask("/orders")
        critical = await site.ask("/health")
        assert (await low).status == 503
        assert site.spy.reasons == ["throttle_shed", "throttle_shed"]
        await site.tell()
        assert site.order[-1] == "/health"
        await site.tell()
        await site.tell()
        await site.tell()
        assert [(await one).status for one in (critical, normal)] == [200, 200]
        assert site.load == FREE

    asyncio.run(scene())


# Classes


PATHS = [
    ("/reports", "normal"),
    ("/reports/", "low"),
    ("/reports/2024", "low"),
    ("/reports/urgent/1", "critical"),
    ("/reports/urgent", "normal"),
    ("/", "critical"),
    ("/orders", "normal"),
    ("/reports//1", "low"),
    ("/orders/../health", "low"),
]


@pytest.mark.parametrize(("path", "name"), PATHS, ids=[path for path, _ in PATHS])
def test_classes_by_path(path, name):
    """The most particular decides; a path that routers may read in two ways wins nothing by it."""
    rules = {"/reports/": "low", "/reports/urgent/": "critical", "/reports/urgent": "normal", "/": "critical"}
    rank = ThrottleMiddleware(max_concurrent=1, priority=rules)._rank
    assert ("critical", "normal", "low")[rank(None, http_scope(path))] == name


class Urgency(str, enum.Enum):
    HIGH = "critical"
    LOW = "low"


@pytest.mark.parametrize("made", [str, Urgency])
def test_a_class_by_function(made):
    async def scene():
        site = Site(max_concurrent=2, priority=lambda exchange, scope: made(scope["path"][1:]))
        await site.ask("/low")
        assert (await (await site.ask("/low"))).status == 503
        await site.ask("/critical")
        assert site.load == (2, 0)

    asyncio.run(scene())


def test_a_class_that_there_is_not_is_an_error_and_never_a_pass():
    async def scene():
        site = Site(priority=lambda exchange, scope: "urgent")
        answer = await (await site.ask())
        assert answer.status == 500
        assert "returned 'urgent'" in str(answer.error)
        assert site.load == FREE
        assert site.order == []

    asyncio.run(scene())


# No slot is lost


@pytest.mark.parametrize("how", ["answer", "crash", "silence", "cancel"])
@pytest.mark.parametrize("adaptive", [False, True], ids=["fixed", "adaptive"])
@pytest.mark.parametrize("waited", [False, True], ids=["at once", "after waiting"])
def test_a_slot_comes_back(how, adaptive, waited):
    async def scene():
        site = Site(queue=1, queue_timeout=60, shed=Adaptive(min_limit=1) if adaptive else None)
        if waited:
            await site.ask()
        task = await site.ask()
        if waited:
            await site.tell()
        assert site.load == (1, 0)
        if how == "cancel":
            task.cancel()
            await settle()
        else:
            await site.tell(how)
        await asyncio.wait([task])
        assert site.load == FREE

    asyncio.run(scene())


@pytest.mark.parametrize("good", [1, 2, 3], ids=["at the slot", "at the end", "at the slot after waiting"])
def test_a_clock_that_fails_takes_no_slot_with_it(good):
    async def scene():
        times = iter([0.0] * good)
        site = Site(queue=1, queue_timeout=60, shed=Adaptive(min_limit=1), clock=lambda: next(times))
        await site.ask()
        await site.ask()
        while site.open:
            await site.tell("silence")
        assert site.load == FREE

    asyncio.run(scene())


def test_one_who_is_cancelled_while_waiting_leaves_the_queue():
    async def scene():
        site = Site(queue=1, queue_timeout=60)
        await site.ask()
        task = await site.ask()
        task.cancel()
        await settle()
        assert site.load == (1, 0)
        assert (await task).error is not None

    asyncio.run(scene())


@pytest.mark.parametrize("first", ["cancelled", "granted"])
def test_one_who_is_cancelled_as_it_is_let_in_passes_its_slot_on(first):
    async def scene():
        site = Site(queue=2, queue_timeout=60)
        await site.ask("/1")
        gone = await site.ask("/2")
        next_one = await site.ask("/3")
        if first == "cancelled":
            gone.cancel()
            next(iter(site.throttle._counts.values())).server.release()
        else:
            next(iter(site.throttle._counts.values())).server.release()
            gone.cancel()
        await settle()
        assert site.order == ["/1", "/3"]
        assert site.load == (1, 0)
        next_one.cancel()
        await settle()
        assert site.load == FREE

    asyncio.run(scene())


class Refuse(Layer):
    name = "refuse"

    def on_request(self, exchange, scope):
        return Denial("acme.no", 403)


def test_a_refusal_further_in_takes_no_slot_with_it():
    async def scene():
        throttle = ThrottleMiddleware(Refuse(hello), max_concurrent=1)
        assert [(await drive(throttle, http_scope(), [])).status for _ in range(3)] == [403] * 3
        assert throttle.load == (0, 0, 1)

    asyncio.run(scene())


@pytest.mark.parametrize("inner", ["/inner", "/exempt"])
def test_a_request_that_is_handed_to_the_whole_application_again_keeps_its_slot(inner):
    """It waits for nobody, and the second pass does not give back what the first one holds."""

    async def scene():
        async def again(scope, receive, send):
            if scope["path"] == "/":
                await throttle({**scope, "path": inner}, receive, send)
                await throttle({**scope, "path": inner}, receive, nobody)
                loads.append(throttle.load)
            else:
                await hello(scope, receive, send)

        async def nobody(message):
            pass

        loads = []
        throttle = ThrottleMiddleware(again, max_concurrent=1, shed=Adaptive(min_limit=1), exempt="/exempt")
        assert (await drive(throttle, http_scope(), [])).status == 200
        assert [*loads, throttle.load] == [(1, 0, 1), (0, 0, 1)]
        assert throttle._counts_of(asyncio.get_running_loop()).gradient._count == 1  # and is timed once

    asyncio.run(scene())


def test_each_event_loop_counts_for_itself():
    """One that was given up with a request in it holds no slot of the next, and wakes nobody in it."""
    site = Site(queue=1, queue_timeout=60)
    loop = asyncio.new_event_loop()
    tasks = [loop.run_until_complete(site.ask()), loop.run_until_complete(site.ask())]
    left = site.throttle._counts[loop].server
    for task in tasks:
        task._log_destroy_pending = False
    loop.close()

    async def scene():
        task = await site.ask()
        assert len(site.order) == 2
        site.open.pop().set_result("answer")
        return (await task).status

    assert asyncio.run(scene()) == 200
    left.release()
    assert (left.running, left.waiting) == (1, 0)


def test_shadow_delays_nobody_and_counts_all():
    async def scene():
        site = Site(queue=1, mode="shadow", shadow_until=date(2999, 1, 1))
        tasks = [await site.ask() for _ in range(3)]
        assert site.load == (3, 0)
        for _ in range(3):
            await site.tell()
        assert [(await task).status for task in tasks] == [200] * 3
        assert site.load == FREE
        return site.spy.verdicts

    assert asyncio.run(scene()) == [
        [("pass", "", "")],
        [("shadow", "throttled", "would have waited")],
        [("shadow", "throttled", "3 of 1 run, 0 of 1 wait")],
    ]


def test_exempt_paths_take_no_slot():
    async def scene():
        site = Site(exempt="/health")
        await site.ask()
        await site.ask("/health")
        assert len(site.order) == 2
        assert site.load == (1, 0)

    asyncio.run(scene())


class Slots(RuleBasedStateMachine):
    """Requests that begin, end, crash, say nothing and are cancelled, in any order and within one turn of the loop."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.site = Site(
            max_concurrent=2, queue=3, queue_timeout=1000, priority={"/critical": "critical", "/low": "low"}
        )
        self.tasks = []

    def run(self, turns):
        async def wait():
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(wait())

    @rule(path=st.sampled_from(["/critical", "/normal", "/low"]), number=st.integers(1, 3), turns=st.integers(0, 20))
    def begin(self, path, number, turns):
        scope = http_scope(path, **client(number))
        self.tasks.append(self.loop.create_task(drive(self.site.spy, scope, [])))
        self.run(turns)

    @rule(data=st.data(), how=st.sampled_from(["answer", "crash", "silence"]), turns=st.integers(0, 3))
    def end(self, data, how, turns):
        if self.site.open:
            told = self.site.open.pop(data.draw(st.integers(0, len(self.site.open) - 1)))
            if not told.done():
                told.set_result(how)
        self.run(turns)

    @rule(data=st.data(), turns=st.integers(0, 3))
    def cancel(self, data, turns):
        if self.tasks:
            data.draw(st.sampled_from(self.tasks)).cancel()
        self.run(turns)

    @rule()
    def come_to_rest(self):
        self.run(25)
        running = sum(not told.done() for told in self.site.open)
        assert self.site.throttle.load.running == running <= 2
        assert self.site.throttle.load.waiting == sum(not task.done() for task in self.tasks) - running <= 3

    def teardown(self):
        self.run(25)
        while self.site.open:
            told = self.site.open.pop()
            if not told.done():
                told.set_result("answer")
            self.run(25)
        assert self.site.load == FREE
        assert all(task.done() for task in self.tasks)
        self.loop.close()


Slots.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSlots = Slots.TestCase


def test_aborted_connections_over_a_real_server():
    """Half of the clients go away while they wait or are served; nothing is held in the end."""

    async def slow(scope, receive, send):
        await asyncio.sleep(0.02)
        await hello(scope, receive, send)

    throttle = ThrottleMiddleware(slow, max_concurrent=2, queue=50, queue_timeout=20)
    with uvicorn_serving(throttle) as port:
        connections = []
        for number in range(24):
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            connection.sendall(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
            if number % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
            else:
                connections.append(connection)
        for connection in connections:
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.status == 200
            response.close()
            connection.close()
        deadline = time.monotonic() + 20
        while throttle.load[:2] != FREE and time.monotonic() < deadline:
            time.sleep(0.01)
        assert throttle.load == (0, 0, 2)


# The limit that follows latency


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def adaptive_site(clock, statuses=(200,), **options):
    async def app(scope, receive, send):
        clock.now += float(scope["path"][1:])
        if scope["query_string"] == b"crash":
            raise RuntimeError("boom")
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        await send({"type": "http.response.start", "status": int(scope["query_string"] or 200), "headers": []})
        clock.now += 100  # a stream takes its time, which says nothing
        await send({"type": "http.response.body", "body": b""})

    shed = Adaptive(min_limit=1, initial=20, min_samples=2, remeasure=1e9)
    return ThrottleMiddleware(app, max_concurrent=100, shed=shed, clock=clock, **options)


@pytest.mark.parametrize(("most", "limit"), [(100, 20), (9, 9)])
def test_a_limit_that_nobody_has_asked_of_yet(most, limit):
    assert ThrottleMiddleware(max_concurrent=most, shed=Adaptive()).load == (0, 0, limit)


def test_the_time_to_the_head_moves_the_limit():
    async def scene():
        clock = Clock()
        throttle = adaptive_site(clock)

        async def ask(path, times, **options):
            for _ in range(times):
                await drive(throttle, http_scope(path, **options), [])
            return throttle.load.limit

        gradient = throttle._counts_of(asyncio.get_running_loop()).gradient
        assert throttle._counts_of(asyncio.get_running_loop()).server.ceilings == (20,) * 3
        assert await ask("/0.1", 2) == 20  # fast, and too little load to learn from
        assert gradient._fast == pytest.approx(0.1)
        for how in ("500", "404", "crash"):
            assert await ask("/0.01", 10, query=how) == 20  # failures at once say nothing
            assert (gradient._fast, gradient._count) == (pytest.approx(0.1), 0)
        for _ in range(5):
            await drive(throttle, websocket_scope("/7"), [{"type": "websocket.connect"}])
        assert throttle.load.limit == 20
        limits = [await ask("/1", 20, query=how) for how in ("200", "404", "crash")]
        assert 14 > limits[0] > limits[1] > limits[2]
        assert throttle._counts_of(asyncio.get_running_loop()).server.ceilings == (limits[2],) * 3

    asyncio.run(scene())


def test_who_has_waited_is_timed_from_the_slot_on():
    async def scene():
        clock = Clock()
        site = Site(queue=1, queue_timeout=60, shed=Adaptive(min_limit=1, initial=1), clock=clock)
        await site.ask()
        await site.ask()
        for seconds in (5, 2):
            clock.now += seconds
            await site.tell()
        gradient = site.throttle._counts_of(asyncio.get_running_loop()).gradient
        assert (gradient._sum, gradient._count) == (7, 2)

    asyncio.run(scene())


def test_only_a_limit_that_follows_latency_looks_at_heads():
    assert [
        bool(throttle.app.stamps[0])
        for throttle in (ThrottleMiddleware(hello, max_concurrent=1), adaptive_site(Clock()))
    ] == [False, True]


# Options and the stack


WRONG = [
    ({"max_concurrent": 0}, "max_concurrent= is a number of requests, at least 1"),
    ({"max_concurrent": True}, "max_concurrent="),
    ({"queue": 1.5}, "queue= is a number of requests that may wait"),
    ({"queue": -1}, "queue= is a number of requests that may wait"),
    ({"queue_timeout": "1"}, "queue_timeout= is a number of seconds above 0"),
    ({"queue_timeout": 0}, "queue_timeout= is a number of seconds above 0"),
    ({"queue_timeout": float("inf")}, "queue_timeout="),
    ({"retry_after": 1.5}, "retry_after= is a whole number of seconds"),
    ({"retry_after": 0}, "retry_after= is a whole number of seconds"),
    ({"per": "host"}, 'per= is "server", "client" or "principal"'),
    ({"shed": "on"}, r"shed= is Adaptive\(...\) or None"),
    ({"shed": Adaptive(), "per": "client"}, 'it goes with per="server"'),
    ({"shed": Adaptive(), "max_concurrent": 3}, "max_concurrent= is the ceiling of Adaptive"),
    ({"priority": 3}, "priority= is a mapping of paths"),
    ({"priority": settle}, "priority= is a mapping of paths"),
    ({"priority": {"orders": "low"}}, "priority= takes paths"),
    ({"priority": {3: "low"}}, "priority= takes paths"),
    ({"priority": {"/orders": "lowest"}}, "each with one of critical, normal, low"),
    ({"shares": {"low": 0.5}}, "shares= divides slots among the classes of priority="),
    ({"priority": {}, "shares": {"critical": 0.5}}, "shares= is a mapping like"),
    ({"priority": {}, "shares": 0.5}, "shares= is a mapping like"),
    ({"priority": {}, "shares": {"low": "0.5"}}, "shares= are parts of 1"),
    ({"priority": {}, "shares": {"low": 0}}, "shares= are parts of 1"),
    ({"priority": {}, "shares": {"normal": 1.1}}, "shares= are parts of 1"),
    ({"priority": {}, "shares": {"low": 0.95}}, "that of low no more than that of normal"),
    ({"ipv6_prefix": 16}, "ipv6_prefix= is a number of bits"),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG, ids=[f"{i} {next(iter(o))}" for i, (o, _) in enumerate(WRONG)])
def test_wrong_options(options, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        ThrottleMiddleware(**{"max_concurrent": 10} | options)


SHARES = [
    ({}, (100, 100, 100), "no classes"),
    ({"priority": {}}, (100, 90, 50), "defaults"),
    ({"priority": {}, "shares": {"low": 0.9}}, (100, 90, 90), "low as much as normal"),
]


@pytest.mark.parametrize(("options", "parts"), [row[:2] for row in SHARES], ids=[row[2] for row in SHARES])
def test_what_each_class_may_use(options, parts):
    throttle = ThrottleMiddleware(max_concurrent=100, queue=100, **options)
    assert (throttle._ceilings, throttle._rooms) == (parts, parts)


def test_a_client_s_own_slots_stand_outside_the_server_s():
    """Nobody holds one of the server's slots while it waits for one of its own."""

    async def scene():
        app = secure(
            hello,
            Middleware(ThrottleMiddleware, max_concurrent=2),
            Middleware(ThrottleMiddleware, max_concurrent=1, per="client"),
            Middleware(ThrottleMiddleware, max_concurrent=1, per="principal"),
        )
        assert (await drive(app, http_scope(), [])).status == 200
        return app

    assert [layer.place for layer in asyncio.run(scene()).layers] == [
        "throttle:client",
        "throttle:principal",
        "throttle:server",
    ]


def test_trio_is_refused_at_start_up():
    sent = []

    async def lifespan():
        async def receive():
            return {"type": "lifespan.startup"}

        async def send(message):
            sent.append(message)

        await ThrottleMiddleware(hello, max_concurrent=1)({"type": "lifespan"}, receive, send)

    trio.run(lifespan)
    assert sent[0]["type"] == "lifespan.startup.failed"
    assert "ThrottleMiddleware needs asyncio" in sent[0]["message"]


def test_asyncio_is_not():
    asyncio.run(ThrottleMiddleware(max_concurrent=1).on_startup({}))
