"""Counters in memcached, as limits keeps them: what they decide, and what becomes of it when there is no answer."""

import asyncio
import gc
import logging
import sys
import threading
import time
from itertools import count
from types import ModuleType

import pytest
from limits.aio.storage import MemoryStorage

from secure_asgi.errors import ConfigurationError
from secure_asgi.rate_limit.counting import Bucket
from secure_asgi.rate_limit.limits import NANOSECONDS, Limit
from secure_asgi.rate_limit.limits_store import LimitsStore
from secure_asgi.rate_limit.outage import StoreUnavailableError

from .memcached_server import running_memcached

HOUR = 3600
STRATEGIES = ("fixed-window", "sliding-window")
NUMBERS = count()


@pytest.fixture(scope="module")
def server():
    with running_memcached() as running:
        yield running


@pytest.fixture
def killable():
    with running_memcached() as running:
        yield running


class ToyStorage(MemoryStorage):
    """A storage of the user's own for limits, which knows moving windows. What happens to it is decided by the test."""

    STORAGE_SCHEME = ["async+toy"]
    made: list["ToyStorage"] = []

    def __init__(self, uri, **options):
        super().__init__(uri, **options)
        self.is_closed = False
        self.made.append(self)

    async def close(self):
        self.is_closed = True
        self.timer = None


class PlainStorage(MemoryStorage):
    STORAGE_SCHEME = ["async+plain"]


def store(uri, strategy="fixed-window", *, timeout=10.0, namespace=None, **options):
    """Of a namespace of its own, unless one is given."""
    return LimitsStore(uri, strategy=strategy, namespace=namespace or f"t{next(NUMBERS)}", timeout=timeout, **options)


def bucket(amount, seconds=HOUR, name=""):
    return Bucket(name or f"client-{seconds}s", Limit(amount, seconds), amount)


def running(uri, scenario, **options):
    """Runs ``scenario`` with a store, which is closed afterwards."""

    async def run():
        opened = store(uri, **options)
        try:
            await scenario(opened)
        finally:
            await opened.close()

    asyncio.run(run())


def no_connections(server):
    deadline = time.monotonic() + 10
    while server.connections():
        assert time.monotonic() < deadline, "a connection is still open"
        time.sleep(0.05)


async def unavailable(counter, key="somebody"):
    with pytest.raises(StoreUnavailableError) as refused:
        await counter.hit(key, 1)
    return str(refused.value)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("cost", [1, 2])
def test_counts(server, strategy, cost):
    """RL-14: all that fits passes, and nothing more; a refusal charges nothing; others are not concerned."""

    async def scenario(opened):
        counter = opened.counter([bucket(5)])
        for number in range(5 // cost):
            admitted, (standing,), _ = await counter.hit("somebody", cost)
            assert admitted
            free, wait = counter.read(0, standing, cost)
            assert free == 5 - cost * (number + 1)
            assert 0 < wait <= 2 * HOUR * NANOSECONDS
        for _ in range(3):
            admitted, ((free, wait),), _ = await counter.hit("somebody", cost)
            assert not admitted
            assert free == 5 % cost
            assert 0 < wait <= 2 * HOUR * NANOSECONDS
        assert (await counter.hit("somebody else", 5))[0]
        assert (await counter.hit(b"somebody", 5))[0]
        assert (await counter.hit("somebody", 1))[0] is (5 % cost > 0)

    running(server.uri, scenario, strategy=strategy)


def test_no_more_to_come(server):
    """A reading of an untouched limit, or of one that never holds another request of that cost, has no wait."""

    async def scenario(opened):
        counter = opened.counter([bucket(5), bucket(9, 60)])
        _, readings, _ = await counter.hit("somebody", 5)
        assert readings[0][0] == 0 < readings[0][1]
        assert readings[1] == (4, readings[1][1])
        _, readings, _ = await opened.counter([bucket(5, 50)]).hit("another", 3)
        assert readings == [(2, readings[0][1])]
        admitted, readings, _ = await opened.counter([bucket(5, 50), bucket(9, 60)]).hit("another", 3)
        assert not admitted
        assert readings[1] == (9, 0)

    for strategy in STRATEGIES:
        running(server.uri, scenario, strategy=strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_several_limits_are_charged_all_or_none(server, strategy):
    async def scenario(opened):
        counter = opened.counter([bucket(10), bucket(3, 60 * HOUR)])
        for _ in range(3):
            assert (await counter.hit("somebody", 1))[0]
        for _ in range(3):
            admitted, (first, second), _ = await counter.hit("somebody", 1)
            assert not admitted
            assert (first[0], second[0]) == (7, 0)

    running(server.uri, scenario, strategy=strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("cost", [1, 2])
def test_who_waits_as_long_as_is_said_gets_in(server, strategy, cost):
    async def scenario(opened):
        counter = opened.counter([bucket(4, 2)])
        admitted = True
        while admitted:
            admitted, ((_, wait),), _ = await counter.hit("somebody", cost)
        assert 0 < wait <= 4 * NANOSECONDS
        await asyncio.sleep(wait / NANOSECONDS)
        # memcached's clock has whole seconds, and is set when it comes to it.
        admitted = (await counter.hit("somebody", cost))[0]
        for _ in range(100 if strategy == "fixed-window" else 0):
            if not admitted:
                await asyncio.sleep(0.1)
                admitted = (await counter.hit("somebody", cost))[0]
        assert admitted

    running(server.uri, scenario, strategy=strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_never_more_than_the_limit_at_once(server, strategy):
    async def scenario(opened):
        counter = opened.counter([bucket(50)])
        verdicts = await asyncio.gather(*(counter.hit("somebody", 1) for _ in range(300)))
        admitted = sum(verdict[0] for verdict in verdicts)
        assert admitted == 50 if strategy == "fixed-window" else 0 < admitted <= 50

    running(server.uri, scenario, strategy=strategy)


def test_stores_of_one_namespace_and_secret_count_together(server):
    """Workers do; whoever has another name, secret or bucket does not."""

    async def scenario(opened):
        assert (await opened.counter([bucket(1)]).hit("somebody", 1))[0]
        for other, alike in (
            (store(server.uri, namespace="shared", secret=b"x"), True),
            (store(server.uri, namespace="shared", secret=b"y"), False),
            (store(server.uri, namespace="another", secret=b"x"), False),
        ):
            assert (await other.counter([bucket(1)]).hit("somebody", 1))[0] is not alike
            await other.close()
        assert (await opened.counter([bucket(1, name="another")]).hit("somebody", 1))[0]

    running(server.uri, scenario, namespace="shared", secret=b"x")


def test_what_is_kept_says_nothing_of_who_it_is(killable):
    """RL-15: a key of 100 kB, of octets or of control characters costs what an address costs."""

    async def scenario(opened):
        counter = opened.counter([bucket(1, name="a name of 50 %")])
        for key in ("x" * 100_000, "two\r\nlines", b"\xff" * 16, "é\ud800", ""):
            assert (await counter.hit(key, 1))[0]
            assert not (await counter.hit(key, 1))[0]

    running(killable.uri, scenario, namespace="here", secret=b"s")
    kept = killable.keys()
    assert len(kept) == 2 * 5
    assert all(name.startswith("here") and len(name) < 200 for name in kept)


@pytest.mark.parametrize("key", [7, None, ("a", "b")])
def test_a_key_is_text_or_octets(server, key):
    async def scenario(opened):
        with pytest.raises(TypeError, match="a key is text or octets"):
            opened.counter([bucket(1)]).hit(key, 1)

    running(server.uri, scenario)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_settle(server, strategy):
    """More is charged, less is not given back."""

    async def scenario(opened):
        counter = opened.counter([bucket(10), bucket(20, 60 * HOUR)])
        verdict = await counter.hit("somebody", 2)
        assert counter.settle("somebody", verdict, 2, 1) is None
        assert counter.settle("somebody", verdict, 2, 2) is None
        await counter.settle("somebody", verdict, 2, 5)
        _, (first, second), _ = await counter.hit("somebody", 1)
        assert (first[0], second[0]) == (4, 14)
        await counter.settle("somebody", verdict, 2, 100)
        admitted, (first, second), _ = await counter.hit("somebody", 1)
        assert not admitted
        assert (first[0], second[0]) == (0, 0)
        await counter.settle("somebody", verdict, 2, 100)

    running(server.uri, scenario, strategy=strategy)


def test_a_moving_window_in_a_storage_of_the_user_s_own(monkeypatch):
    async def scenario(opened):
        counter = opened.counter([bucket(4), bucket(9, 60)])
        for left in (2, 0):
            admitted, (first, second), _ = await counter.hit("somebody", 2)
            assert admitted
            assert first[0] == left
            assert 0 < first[1] <= HOUR * NANOSECONDS
        admitted, (first, second), _ = await counter.hit("somebody", 2)
        assert not admitted
        assert (first[0], second[0]) == (0, 5)
        _, (first, second), _ = await counter.hit("another", 1)
        await counter.settle("another", None, 1, 3)
        assert (await counter.hit("another", 1))[1][0][0] == 0
        monkeypatch.setattr(ToyStorage, "acquire_entry", None)
        await opened.counter([bucket(4)]).settle("another", None, 1, 3)  # nothing is left that could be charged
        monkeypatch.undo()
        unused = opened.counter([bucket(1, 50), bucket(4)])
        assert (await unused.hit("somebody", 1))[1][0] == (1, 0)

    running("toy://", scenario, strategy="moving-window")
    assert ToyStorage.made[-1].is_closed


def test_full_by_the_time_it_is_charged(monkeypatch):
    """Somebody came in between: refused, about the limit that was full, and with a wait."""

    async def scenario(opened):
        counter = opened.counter([bucket(4), bucket(5, 60), bucket(6, 70)])
        monkeypatch.setattr(ToyStorage, "incr", competed)
        admitted, readings, _ = await counter.hit("somebody", 2)
        assert not admitted
        assert [free for free, _ in readings] == [4 - 2, 1, 6]
        assert readings[1][1] > 0

    plain = ToyStorage.incr

    async def competed(self, key, expiry, amount=1):
        if expiry == 60:
            return 6
        return await plain(self, key, expiry, amount=amount)

    running("toy://", scenario)


def test_a_storage_that_cannot_be_closed_need_not_be():
    async def scenario(opened):
        assert (await opened.counter([bucket(1)]).hit("somebody", 1))[0]

    running("plain://", scenario)


async def nothing(*arguments, **options):
    return None


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "many",
        {},
        OSError(),
        KeyError(),
        RecursionError(),
        TimeoutError(),
        ExceptionGroup("", [OSError()]),
    ],
)
def test_whatever_goes_wrong_is_one_error_and_the_next_decision_begins_anew(monkeypatch, answer):
    async def scenario(opened):
        counter = opened.counter([bucket(1)])
        with monkeypatch.context() as patched:
            patched.setattr(ToyStorage, "get", wrong)
            said = await unavailable(counter)
        assert said == (type(answer).__name__ if isinstance(answer, Exception) else "TypeError")
        broken = ToyStorage.made[-1]
        assert broken.is_closed
        assert (await counter.hit("somebody", 1))[0]
        assert ToyStorage.made[-1] is not broken

    async def wrong(*_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    running("toy://", scenario)


def test_one_failure_does_not_end_what_others_are_asking(monkeypatch):
    """The last one to leave closes."""
    answered = asyncio.Event()

    async def slow(self, *_):
        await answered.wait()
        assert not self.is_closed
        return 0

    async def wrong(*_):
        raise OSError

    async def scenario(opened):
        counter = opened.counter([bucket(1)])
        with monkeypatch.context() as patched:
            patched.setattr(ToyStorage, "get", slow)
            waiting = asyncio.ensure_future(counter.hit("somebody", 1))
            await asyncio.sleep(0)
            patched.setattr(ToyStorage, "get", wrong)
            await unavailable(counter)
        shared = ToyStorage.made[-1]
        assert not shared.is_closed
        answered.set()
        assert (await waiting)[0]
        assert shared.is_closed

    running("toy://", scenario)


@pytest.mark.parametrize("ahead", [-(10**9), 10**9], ids=["long past", "in 30 years"])
def test_a_wait_is_within_the_window_whatever_the_clocks_say(monkeypatch, ahead):
    async def expiry(*_):
        return time.time() + ahead

    async def scenario(opened):
        counter = opened.counter([bucket(1)])
        monkeypatch.setattr(ToyStorage, "get_expiry", expiry)
        await counter.hit("somebody", 1)
        admitted, ((_, wait),), _ = await counter.hit("somebody", 1)
        assert not admitted
        assert wait == (HOUR * NANOSECONDS if ahead > 0 else 1)

    running("toy://", scenario)


@pytest.mark.parametrize(
    ("kept", "free"), [(-5, 5), (10**12, 0), (2**63, 0)], ids=["below 0", "more than there is", "more than fits"]
)
def test_numbers_that_nobody_charged(monkeypatch, kept, free):
    """What stands there is taken for what it can be."""

    async def scenario(opened):
        async def window(*_):
            return kept, 5.0, kept, HOUR + 5.0

        async def number(*_):
            return kept

        monkeypatch.setattr(ToyStorage, "get_sliding_window", window)
        monkeypatch.setattr(ToyStorage, "get", number)
        monkeypatch.setattr(ToyStorage, "acquire_sliding_window_entry", nothing)
        for strategy in STRATEGIES:
            counter = store("toy://", strategy).counter([bucket(5)])
            _, ((left, wait),), _ = await counter.hit("somebody", 5)
            assert left in (free, 4)
            assert 0 <= wait <= 2 * HOUR * NANOSECONDS

    running("toy://", scenario)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed_and_started_again(killable, strategy):
    async def scenario(opened):
        counter = opened.counter([bucket(1)])
        assert (await counter.hit("somebody", 1))[0]
        killable.kill()
        for _ in range(3):
            said = await unavailable(counter)
            assert str(killable.port) not in said
        await asyncio.to_thread(killable.start)
        assert (await counter.hit("somebody", 1))[0]

    running(killable.uri, scenario, strategy=strategy)


def test_killed_with_decisions_under_way(killable):
    async def scenario(opened):
        counter = opened.counter([bucket(100)])
        await opened.open()
        killable.pause()
        waiting = [asyncio.ensure_future(counter.hit("somebody", 1)) for _ in range(20)]
        await asyncio.sleep(0.2)
        killable.kill()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailableError}

    running(killable.uri, scenario)


def test_paused_and_resumed(killable):
    """The time is for a decision as a whole; one that comes after the pause is not answered with what came late."""

    async def scenario(opened):
        counter = opened.counter([bucket(10), bucket(20, 60)])
        assert (await counter.hit("somebody", 1))[0]
        killable.pause()
        for _ in range(5):
            began = time.monotonic()
            assert await unavailable(counter) == "TimeoutError"
            assert time.monotonic() - began < 3
        killable.resume()
        deadline = time.monotonic() + 20
        while True:
            try:
                admitted, ((free, _), _), _ = await counter.hit("another", 1)
                break
            except StoreUnavailableError:
                assert time.monotonic() < deadline, "it has not come back"
        assert admitted
        assert free == 9

    running(killable.uri, scenario, timeout=0.4)


def test_those_who_give_up_take_no_place_with_them(killable):
    """A pool has two places: a client that is cancelled while it connects would keep one for ever."""

    async def scenario(opened):
        counter = opened.counter([bucket(10)])
        killable.pause()
        for _ in range(6):
            waiting = asyncio.ensure_future(counter.hit("somebody", 1))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        killable.resume()
        assert (await counter.hit("another", 1))[0]

    running(killable.uri, scenario)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(None, id="hangs up"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another protocol"),
        pytest.param(b"VALUE x 0 3\r\nabc\r\nEND\r\n", id="another key"),
        pytest.param(b"VALUE x 0 ten\r\n", id="no length"),
        pytest.param(b"SERVER_ERROR out of memory\r\n", id="an error"),
        pytest.param(b"\xff\x00" * 1000 + b"\r\n", id="octets"),
    ],
)
def test_garbage_is_no_answer_and_the_next_server_is_asked(killable, answer):
    async def garbage(reader, writer):
        while await reader.read(1024):
            if answer is None:
                break
            writer.write(answer)
        writer.close()

    async def scenario(opened):
        counter = opened.counter([bucket(10)])
        killable.kill()
        async with await asyncio.start_server(garbage, "127.0.0.1", killable.port, reuse_address=True):
            await unavailable(counter)
            await unavailable(counter)
        await asyncio.to_thread(killable.start)
        deadline = time.monotonic() + 20
        while True:
            try:
                admitted, ((free, _),), _ = await counter.hit("somebody", 1)
                break
            except StoreUnavailableError:
                assert time.monotonic() < deadline, "it has not come back"
        assert (admitted, free) == (True, 9)

    running(killable.uri, scenario, timeout=0.4)


def test_nothing_is_left_behind(killable):
    """No task, no thread, no connection after ``close``."""
    threads = threading.active_count()

    async def scenario(opened):
        counter = opened.counter([bucket(1000)])
        await asyncio.gather(*(counter.hit("somebody", 1) for _ in range(100)))
        assert killable.connections() > 0
        await opened.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.to_thread(no_connections, killable)

    running(killable.uri, scenario)
    gc.collect()
    assert threading.active_count() == threads


def test_nothing_connects_before_it_must(killable):
    no_connections(killable)
    opened = store(killable.uri)
    opened.counter([bucket(1)])
    assert killable.connections() == 0
    asyncio.run(opened.close())  # nor is there anything to close


# The loop that ends with a connection open is the point.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_another_event_loop_gets_connections_of_its_own(server):
    opened = store(server.uri)
    counter = opened.counter([bucket(2)])

    async def decide(then):
        admitted = (await counter.hit("somebody", 1))[0]
        await then()
        return admitted

    assert asyncio.run(decide(opened.close))
    assert asyncio.run(decide(lambda: asyncio.sleep(0)))
    asyncio.run(opened.close())  # whose connections these are not
    assert not asyncio.run(decide(opened.close))
    gc.collect()


def test_open_connects(killable, caplog):
    async def scenario(opened):
        await opened.open()
        assert killable.connections() > 0
        assert not caplog.records

    running(killable.uri, scenario)


def test_open_raises_nothing(caplog):
    async def scenario(opened):
        await opened.open()

    with caplog.at_level(logging.WARNING, "secure_asgi"):
        running("memcached://user:hush@127.0.0.1:1", scenario)
    (record,) = caplog.records
    assert "gives no answer at start-up" in record.message
    assert "hush" not in record.message


@pytest.mark.parametrize(
    ("uri", "options", "message"),
    [
        pytest.param("memcached://a:1", {"strategy": "gcra"}, '"gcra" needs memory:// or a Redis', id="gcra"),
        pytest.param("memcached://a:1", {"strategy": "moving-window"}, "cannot be counted in memcached", id="moving"),
        pytest.param("memcached://a:1", {"timeout": 0}, "storage_timeout= is a positive", id="timeout"),
        pytest.param("memcached://", {}, "names no memcached", id="no server"),
        pytest.param("memcached://u:hush@a", {}, "this one of 'memcached' it refuses", id="no port"),
        pytest.param("memcached://u:hush@a:b", {}, "this one of 'memcached' it refuses", id="a port that is none"),
        pytest.param("etcd://u:hush@a:1", {}, "this one of 'etcd' it refuses", id="unknown"),
        pytest.param("mongodb+srv://u:hush@a", {}, "names the MongoDB servers themselves", id="names looked up"),
        pytest.param("redis://u:hush@a:1", {}, "storage= is a URI such as memcached", id="redis"),
        pytest.param("redis+sentinel://u:hush@a:1", {}, "storage= is a URI such as memcached", id="sentinel"),
        pytest.param("memory://", {}, "storage= is a URI such as memcached", id="memory"),
        pytest.param("hush", {}, "storage= is a URI such as memcached", id="no URI"),
    ],
)
def test_wrong_options(uri, options, message):
    with pytest.raises(ConfigurationError, match=message) as refused:
        store(uri, **options)
    assert "hush" not in str(refused.value) or uri == "hush"


@pytest.mark.parametrize(("kind", "package"), [("memcached", "memcachio"), ("mongodb", "motor.motor_asyncio")])
def test_a_missing_client_is_answered_with_the_pip_line(monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'secure-asgi\[{kind}\]'"):
        store(f"{kind}://a:1")


@pytest.mark.parametrize(
    ("strategy", "uri", "limit", "message"),
    [
        pytest.param("fixed-window", "memcached://a:1", Limit(1, 30 * 86_400), None, id="30 days"),
        pytest.param("fixed-window", "memcached://a:1", Limit(1, 30 * 86_400 + 1), "at most 30 days", id="longer"),
        pytest.param("sliding-window", "memcached://a:1", Limit(1, 15 * 86_400), None, id="two windows of 15 days"),
        pytest.param("sliding-window", "memcached://a:1", Limit(1, 16 * 86_400), "at most 15 days", id="two windows"),
        pytest.param("fixed-window", "toy://", Limit(1, 360 * 86_400), None, id="a storage that keeps a year"),
        pytest.param("moving-window", "toy://", Limit(10_000, 1), None, id="a log"),
        pytest.param("moving-window", "toy://", Limit(10_001, 1), "of more than 10000 units", id="too long a log"),
    ],
)
def test_limits_that_the_storage_would_forget_or_choke_on(strategy, uri, limit, message):
    opened = store(uri, strategy)
    buckets = [Bucket("a", Limit(1, 1), 1), Bucket("b", limit, 1)]
    if message is None:
        opened.counter(buckets)
    else:
        with pytest.raises(ConfigurationError, match=message):
            opened.counter(buckets)


def test_memcached_keeps_the_longest_window(server):
    async def scenario(opened):
        counter = opened.counter([bucket(1, 30 * 86_400)])
        assert (await counter.hit("somebody", 1))[0]
        assert not (await counter.hit("somebody", 1))[0]

    running(server.uri, scenario)


class Motor:
    """As much of MongoDB's client as limits makes use of for a question that is never answered."""

    made: list["Motor"] = []

    def __init__(self, uri, **options):
        self.uri = uri
        self.options = options
        self.is_closed = False
        self.made.append(self)

    def get_database(self, name):
        return {"counters": self, "windows": self}

    async def find_one(self, *_, **__):
        await asyncio.sleep(60)

    def close(self):
        self.is_closed = True


def test_mongodb_is_bounded_in_time(monkeypatch):
    """With no MongoDB, and no client of it: its threads are told to end when we have ceased to wait."""
    for name in ("motor", "motor.motor_asyncio", "pymongo", "pymongo.errors"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["motor.motor_asyncio"].AsyncIOMotorClient = Motor
    sys.modules["pymongo.errors"].PyMongoError = OSError

    async def scenario(opened):
        assert await unavailable(opened.counter([bucket(1)])) == "TimeoutError"
        client = Motor.made[-1]
        assert client.is_closed
        assert client.uri == "mongodb://a:1/"
        assert set(client.options.values()) == {300}

    running("async+mongodb://a:1/", scenario, timeout=0.3)
