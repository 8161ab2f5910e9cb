"""Which proofs were used already (DPOP-9, RFC 9449 section 11.1): in memory, and in a real Redis."""

import asyncio
import threading
import time

import pytest
import redis.asyncio

from secure_asgi import ConfigurationError, TokenError
from secure_asgi.bearer import replay
from secure_asgi.bearer.dpop import ProofRules
from secure_asgi.bearer.replay import MemoryReplayStore, RedisReplayStore
from secure_asgi.bearer.unavailable import UnavailableError
from secure_asgi.exchange import Exchange
from secure_asgi.testing.dpop import DPoPKey

from . import asgi
from .redis_server import deaf, running_redis

# --- in memory -----------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def memory(**options):
    store = MemoryReplayStore(**options)
    store._now = Clock()
    return store


def full(store, key="new:key", seconds=60):
    with pytest.raises(UnavailableError) as refused:
        store.add(key, seconds)
    assert refused.value.reason == "replay_store_unavailable"
    return refused.value


def test_a_key_is_new_once():
    store = memory()
    assert store.add("a:1", 60) is True
    assert store.add("a:1", 60) is False
    assert store.add("a:2", 60) is True
    assert store.add("b:1", 60) is True


def test_it_is_remembered_for_its_time_and_no_longer():
    store = memory()
    store.add("a:1", 60)
    store._now.now += 59.9
    assert store.add("a:1", 60) is False
    store._now.now += 0.1
    assert store.add("a:1", 60) is True
    assert len(store._seen) == len(store._order) == 1
    assert store._counts == {"a": 1}


def test_seeing_it_again_does_not_prolong_it():
    store = memory()
    store.add("a:1", 60)
    store._now.now += 30
    assert store.add("a:1", 60) is False
    store._now.now += 30
    assert store.add("a:1", 60) is True


def test_none_is_forgotten_before_its_time():
    """In whatever order they end."""
    store = memory()
    store.add("a:long", 80)
    store.add("a:short", 10)
    store._now.now += 79
    assert store.add("a:long", 1) is False
    assert store.add("a:short", 1) is False  # behind the long one: a little later than asked for
    store._now.now += 1
    assert store.add("a:long", 1)
    assert store.add("a:short", 1)


def test_full():
    """Refused, never forgotten to make room."""
    store = memory(capacity=3)
    for number in range(3):
        assert store.add(f"{number}:x", 60 + number)
    assert full(store).wait == 60
    assert store.add("0:x", 60) is False
    store._now.now += 59.5
    assert full(store).wait == 1
    store._now.now += 0.5
    assert store.add("new:key", 60)
    assert full(store, "newer:key")


def test_one_clients_share():
    """No client fills it for the others."""
    store = memory(per_key=2)
    assert store.add("a:1", 60)
    assert store.add("a:2", 60)
    assert "client's" in str(full(store, "a:3"))
    assert store.add("a:1", 60) is False
    assert store.add("b:3", 60)
    store._now.now += 60
    assert store.add("a:3", 60)


def test_the_defaults():
    store = memory()
    for number in range(1000):
        assert store.add(f"a:{number}", 60)
    full(store, "a:1000")
    assert store._capacity == 100_000


def test_a_long_queue_is_forgotten_by_and_by(monkeypatch):
    monkeypatch.setattr(replay, "_SWEPT", 2)
    store = memory(per_key=2)
    for number in range(6):
        store.add(f"{number}:x", 60)
    store.add("a:1", 60)
    store.add("a:2", 60)
    store._now.now += 60
    assert store.add("b:1", 60)
    assert len(store._seen) == 7  # two gone, one come
    assert store.add("a:3", 60)  # whose share looked used up
    assert store._seen == {"b:1", "a:3"}
    assert store._counts == {"b": 1, "a": 1}


def test_of_many_threads_one_is_first():
    store = MemoryReplayStore()
    gate, news = threading.Barrier(8), []

    def run():
        gate.wait()
        news.extend(number for number in range(500) if store.add(f"{number}:x", 60))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(news) == list(range(500))


@pytest.mark.parametrize("option", ["capacity", "per_key"])
@pytest.mark.parametrize("number", [0, -1, 1.5, True, "9", None])
def test_capacity_is_a_number(option, number):
    with pytest.raises(ConfigurationError, match=f"{option}= is a number of proofs, at least 1; got {number!r}"):
        MemoryReplayStore(**{option: number})


# --- in Redis ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


def with_stores(server, run, number=1, **options):
    async def scenario():
        stores = [RedisReplayStore(server.url, **options) for _ in range(number)]
        try:
            return await run(*stores)
        finally:
            for store in stores:
                await store.close()

    return asyncio.run(scenario())


async def down(store, key="a:1"):
    with pytest.raises(UnavailableError) as refused:
        await store.add(key, 60)
    assert refused.value.reason == "replay_store_unavailable"
    return refused.value


def test_a_key_is_new_once_for_all_workers(server):
    async def run(one, other):
        assert await one.add("all:1", 60) is True
        assert await one.add("all:1", 60) is False
        assert await other.add("all:1", 60) is False
        assert await other.add("all:2", 60) is True

    with_stores(server, run, number=2)


def test_a_proof_is_not_used_again_at_another_worker(server):
    """The attack that a store in memory does not stop."""
    key = DPoPKey()
    scope = asgi.http_scope("/orders", headers={"dpop": key.proof("GET", "https://api.example.com/orders", "token")})

    async def run(*stores):
        first, second = (ProofRules(store=store) for store in stores)
        await first.remember(first.verify(Exchange(scope), scope, b"token", key.thumbprint))
        with pytest.raises(TokenError) as refused:
            await second.remember(second.verify(Exchange(scope), scope, b"token", key.thumbprint))
        assert refused.value.reason == "dpop_proof_replayed"

    with_stores(server, run, number=2)


def test_of_many_at_once_one_is_first(server):
    async def run(*stores):
        answers = await asyncio.gather(*(store.add("many:1", 60) for store in stores for _ in range(5)))
        assert sorted(answers) == [False] * 19 + [True]

    with_stores(server, run, number=4)


@pytest.mark.parametrize(("seconds", "least", "most"), [(60, 59_000, 60_000), (0.0001, -2, 1)])
def test_it_is_remembered_for_its_time(server, seconds, least, most):
    key = f"time:{seconds}"

    async def run(store):
        assert await store.add(key, seconds)
        async with redis.asyncio.Redis.from_url(server.url) as client:
            assert least <= await client.pttl(f"secure_asgi:dpop:{key}") <= most
            await client.delete(f"secure_asgi:dpop:{key}")
        assert await store.add(key, seconds)

    with_stores(server, run)


def test_a_prefix_of_ones_own_is_a_store_of_ones_own(server):
    async def run(store):
        assert await store.add("prefix:1", 60)
        ours = RedisReplayStore(server.url, prefix="shop:")
        assert await ours.add("prefix:1", 60)
        await ours.close()

    with_stores(server, run)


def test_a_client_of_ones_own_stays_open(server):
    """Whether it decodes its answers or not."""

    async def run():
        for decodes in (False, True):
            async with redis.asyncio.Redis.from_url(server.url, decode_responses=decodes) as client:
                store = RedisReplayStore(client, prefix=f"own-{decodes}:")
                assert await store.add("a:1", 60)
                assert not await store.add("a:1", 60)
                await store.close()
                assert await client.ping()

    asyncio.run(run())


def test_killed_and_started_again(tmp_path):
    """Down is refused, never let pass; and it recovers by itself."""

    async def run(store):
        assert await store.add("a:1", 60)
        server.kill()
        began = time.monotonic()
        refused = await down(store, "a:2")
        assert time.monotonic() - began < 1.1
        assert refused.wait == 1
        assert str(server.port) not in str(refused)
        await asyncio.to_thread(server.start)
        store._rests_until = 0.0
        assert await store.add("a:2", 60)

    with running_redis(tmp_path) as server:
        with_stores(server, run)


def test_full_is_refused(tmp_path):
    async def run(store):
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.config_set("maxmemory-policy", "noeviction")
            await client.config_set("maxmemory", "1")
        assert "OutOfMemory" in str(await down(store))
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.config_set("maxmemory", "0")
        assert await store.add("a:1", 60)  # what is refused at once needs no rest

    with running_redis(tmp_path) as server:
        with_stores(server, run)


def test_one_that_hangs_is_left_alone_for_a_second():
    async def run():
        async with await asyncio.start_server(deaf, "127.0.0.1", 0) as hanging:
            port = hanging.sockets[0].getsockname()[1]
            store = RedisReplayStore(f"redis://127.0.0.1:{port}", timeout=0.1)
            began = time.monotonic()
            assert "TimeoutError" in str(await down(store))
            assert time.monotonic() - began < 0.6
            began = time.monotonic()
            for _ in range(100):
                assert "a moment ago" in str(await down(store))
            assert time.monotonic() - began < 0.1
            store._now = lambda: time.monotonic() + 1.1
            assert "TimeoutError" in str(await down(store))
            await store.close()

    asyncio.run(run())


class Client:
    def __init__(self, answer):
        self.answer = answer

    async def execute_command(self, *command):
        self.command = command
        return self.answer


@pytest.mark.parametrize("answer", [False, 0, 2, b"QUEUED", "PONG", [], b""])
def test_an_answer_that_is_none(answer):
    assert "none to SET" in str(asyncio.run(down(RedisReplayStore(Client(answer)))))


@pytest.mark.parametrize(("answer", "is_new"), [(True, True), (b"OK", True), ("OK", True), (None, False)])
def test_the_answers_of_set(answer, is_new):
    client = Client(answer)
    assert asyncio.run(RedisReplayStore(client).add("a:1", 59.5001)) is is_new
    assert client.command == ("SET", "secure_asgi:dpop:a:1", 1, "NX", "PX", 59501)


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        ("localhost:6379", {}, "a Redis is named by a redis://"),
        (None, {}, "a Redis is a URL or a redis.asyncio.Redis, got NoneType"),
        ("redis://h", {"prefix": b"x"}, "prefix= is text before every key, got bytes"),
        ("redis://h", {"timeout": 0}, "timeout= is a positive number of seconds, got 0"),
        ("redis://h", {"timeout": float("inf")}, "timeout= is a positive number of seconds, got inf"),
        ("redis://h", {"timeout": float("nan")}, "timeout= is a positive number of seconds, got nan"),
        ("redis://h", {"timeout": True}, "timeout= is a positive number of seconds, got True"),
        ("redis://h", {"timeout": "1"}, "timeout= is a positive number of seconds, got '1'"),
    ],
)
def test_options(given, options, says):
    with pytest.raises(ConfigurationError, match=says):
        RedisReplayStore(given, **options)
