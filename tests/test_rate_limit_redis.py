"""Counters in a Redis: round trips, keys, bans, what is remembered, and answers that are none."""

import asyncio
import inspect
import math
import re
import socket
import struct
import time

import pytest
import redis.asyncio

from secure_asgi import ConfigurationError
from secure_asgi._redis import RedisLink
from secure_asgi.rate_limit import deny_cache, redis_store
from secure_asgi.rate_limit.bans import Ban
from secure_asgi.rate_limit.counting import Banned, Bucket
from secure_asgi.rate_limit.deny_cache import DenyCache
from secure_asgi.rate_limit.identity import identity
from secure_asgi.rate_limit.limits import Limit
from secure_asgi.rate_limit.outage import StoreUnavailableError
from secure_asgi.rate_limit.redis_layout import Layout, ticks
from secure_asgi.rate_limit.redis_scripts import Script
from secure_asgi.rate_limit.redis_store import RedisStore

from .redis_server import deaf, running_redis

STRATEGIES = ("fixed-window", "sliding-window", "moving-window", "gcra")
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


def bucket(amount=3, seconds=60, name="b"):
    return Bucket(name, Limit(amount, seconds), amount)


class Clock:
    """Nanoseconds that pass when they are told to."""

    now = 1000 * SECOND

    def __call__(self):
        return self.now


def in_store(server, test, *, strategy="gcra", **options):
    """Run ``test(store, clock)`` against an empty Redis."""

    async def run():
        link = RedisLink(server.url, timeout=20)
        await link.ask("FLUSHALL")
        store = RedisStore(link, strategy=strategy, namespace="rl", **options)
        store.clock = Clock()
        await test(store, store.clock)
        await store.close()

    asyncio.run(run())


async def outcome(found):
    return await found if inspect.isawaitable(found) else found


async def hits(counter, key, times, cost=1):
    return [await outcome(counter.hit(key, cost)) for _ in range(times)]


class Monitor:
    """What a Redis is asked meanwhile, as MONITOR tells: the commands of clients, and those of scripts apart."""

    def __init__(self, server):
        self._server = server

    async def __aenter__(self):
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        self._writer.write(b"MONITOR\r\n")
        await self._reader.readline()
        return self

    async def asked(self):
        """Those until now, by name."""
        async with redis.asyncio.Redis.from_url(self._server.url) as client:
            await client.echo("the end")
        names = []
        while True:
            line = await asyncio.wait_for(self._reader.readline(), 20)
            if b"the end" in line:
                return [name for name in names if name not in ("CLIENT", "HELLO")]
            where, name = re.match(rb'\+[\d.]+ \[\d+ (\S+)\] "(\w+)"', line).groups()
            if where != b"lua":
                names.append(name.decode().upper())

    async def __aexit__(self, *_):
        self._writer.close()
        await self._writer.wait_closed()


# Names.


@pytest.mark.parametrize("secret", [b"", b"s" * 64], ids=["plain", "keyed"])
def test_identities(secret):
    """RL-8, RL-15: short, of any key, never two the same, and nothing in them that can be read."""
    keys = ["192.0.2.1", b"192.0.2.1", "", b"", "k\ud800", "x" * 100_000, b"x" * 100_000, "s", b"b"]
    names = [identity(key, secret) for key in keys]
    assert len(set(names)) == len(keys)
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
    assert names == [identity(key, secret) for key in keys]


def test_a_secret_makes_other_identities():
    assert len({identity("k", secret) for secret in (b"", b"a", b"b")}) == 3


def test_names_of_keys_that_ask_again_are_kept(monkeypatch):
    """Of short keys, and under the same secret only."""
    asked = []
    monkeypatch.setattr(redis_store, "identity", lambda key, secret: asked.append(key) or identity(key, secret))
    store, other = (
        RedisStore(RedisLink("redis://h"), strategy="gcra", namespace="n", secret=secret) for secret in (b"", b"s")
    )
    for key in ("k", b"k", "x" * 257):
        assert store.name(key) == store.name(key) == identity(key) != other.name(key)
    assert asked == ["k", "k", b"k", b"k", "x" * 257, "x" * 257, "x" * 257]


@pytest.mark.parametrize("key", [None, 1, ("a", "b"), bytearray(b"a")], ids=["None", "int", "tuple", "bytearray"])
def test_no_keys(key):
    with pytest.raises(TypeError, match=f"a key is text or octets, got {type(key).__name__}"):
        identity(key)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_too_long_a_window(strategy):
    with pytest.raises(ConfigurationError, match="at most 35 years"):
        Layout([bucket(1, 36 * 366 * 86400)], strategy)
    with pytest.raises(ConfigurationError, match="at most 35 years"):
        RedisStore(RedisLink("redis://h"), strategy=strategy, namespace="n", ban=Ban(longest=36 * 366 * 86400.0))


@pytest.mark.parametrize(
    ("amount", "seconds", "strategy", "expected"),
    [
        (7, 60, "gcra", (1, 60_000_000)),
        (10**9, 60, "gcra", (100, 600_000)),
        (10**9, 60, "sliding-window", (100, 600_000)),
        (10**9, 60, "moving-window", (1, 60_000_000)),
        (10**9, 60, "fixed-window", (1, 60_000_000)),
        (10**9, 31_536_001, "gcra", (10_000_000, 3_153_601)),
    ],
    ids=str,
)
def test_ticks(amount, seconds, strategy, expected):
    assert ticks(Limit(amount, seconds), strategy) == expected
    assert expected[1] * amount < 2**52 or strategy in ("moving-window", "fixed-window")


def test_buckets_that_mean_something_else_are_named_otherwise():
    """Each strategy, name and window; for GCRA each amount. Other strategies keep their counts when it changes."""
    one = [bucket()]
    differing = [
        *[Layout(one, strategy) for strategy in STRATEGIES],
        Layout([bucket(name="c")], "gcra"),
        Layout([bucket(seconds=61)], "gcra"),
        Layout([bucket(amount=4)], "gcra"),
    ]
    assert len({layout.keys("")[0] for layout in differing}) == len(differing)
    assert Layout([bucket(amount=4)], "fixed-window").keys("") == Layout(one, "fixed-window").keys("")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_keys_are_digests_of_one_slot_and_expire(server, strategy):
    """RL-15: 100 kB of identifier, three buckets and a ban: short names, one hash tag, an expiry for each of them."""

    async def test(store, clock):
        counter = store.counter([bucket(3, 60), bucket(9, 600, "c"), bucket(99, 86400, "d")])
        key = "secret@example.com" * 6000
        assert [found[0] for found in (await hits(counter, key, 4))] == [True] * 3 + [False]
        names = [name.decode() for name in await store.link.ask("KEYS", "*")]
        assert len(names) == (7 if strategy == "moving-window" else 4)
        assert {re.fullmatch(r"rl:\{([0-9a-f]{32})\}:[\w-]{1,40}(:sum)?", name)[1] for name in names} == {identity(key)}
        for name in names:
            assert 0 < await store.link.ask("PTTL", name) <= 2 * 86_400_000 + 1000
        (strikes,) = [name for name in names if name.endswith("strikes")]
        assert await store.link.ask("PTTL", strikes) <= 300_000

    in_store(server, test, strategy=strategy, ban=Ban())


# Round trips.


@pytest.mark.parametrize("buckets", [1, 2, 3, 10])
@pytest.mark.parametrize("ban", [None, Ban(after=20)], ids=["no-bans", "bans"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_trip_for_any_number_of_limits(server, strategy, ban, buckets):
    async def test(store, clock):
        await store.open()
        counter = store.counter([bucket(2, 60 + index, str(index)) for index in range(buckets)])
        await hits(counter, "warm", 1)
        async with Monitor(server) as monitor:
            first = await outcome(counter.hit("k", 2))
            assert (first[0], len(first[1])) == (True, buckets)
            assert await monitor.asked() == ["EVALSHA"]
            assert (await outcome(counter.hit("k", 1)))[0] is False
            assert await monitor.asked() == ["EVALSHA"]
            assert [found[0] for found in await hits(counter, "k", 5)] == [False] * 5
            assert await monitor.asked() == []  # a refused key costs nothing
            await counter.settle("k", first, 2, 1)
            assert await monitor.asked() == ["EVALSHA"]
            assert counter.settle("k", first, 2, 2) is None
            assert (await outcome(counter.hit("k", 1)))[0] is True  # its room is seen at once
            assert await monitor.asked() == ["EVALSHA"]

    in_store(server, test, strategy=strategy, ban=ban)


def test_a_script_that_redis_has_forgotten_is_sent_once_more(server):
    async def test(store, clock):
        counter = store.counter([bucket()])
        await hits(counter, "warm", 1)
        await store.link.ask("SCRIPT FLUSH")
        async with Monitor(server) as monitor:
            assert [found[0] for found in await hits(counter, "k", 3)] == [True] * 3
            assert await monitor.asked() == ["EVALSHA", "EVAL", "EVALSHA", "EVALSHA"]

    in_store(server, test)


def test_a_forgotten_script_takes_no_longer_than_another():
    """Two trips that would each be in time."""

    async def serve(reader, writer):
        try:
            for said in (b"-NOSCRIPT no\r\n", b"+1 1 1 1\r\n"):
                await reader.read(65536)
                await asyncio.sleep(0.6)
                writer.write(said)
        finally:
            writer.close()

    async def run():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as slow:
            link = RedisLink(f"redis://127.0.0.1:{slow.sockets[0].getsockname()[1]}", timeout=1)
            with pytest.raises(StoreUnavailableError, match=r"^Redis: TimeoutError$"):
                await Script("hit").run(link, ())
            await link.close()

    asyncio.run(run())


def test_without_a_reading_there_is_nothing_to_ask():
    store = RedisStore(RedisLink("redis://127.0.0.1:1"), strategy="gcra", namespace="n")
    counter = store.counter([bucket()])
    assert counter.read(0, (1, 2), 1) == (1, 2)
    assert counter.settle("k", (False, (), None), 1, 0) is None


# What is remembered of a refusal.


def test_a_refusal_counts_down_and_is_over(server):
    async def test(store, clock):
        counter = store.counter([bucket(3, 6), bucket(30, 60, "c")])
        await hits(counter, "k", 3)
        (refused,) = await hits(counter, "k", 1)
        (_, first), (free, second) = refused[1]
        assert free == 27
        assert 1 * SECOND < first <= 2 * SECOND
        clock.now += SECOND // 2
        assert counter.hit("k", 1) == (False, ((0, first - SECOND // 2), (27, second - SECOND // 2)), None)
        assert counter.hit("k", 2)[0] is False
        clock.now += SECOND
        assert counter.hit("k", 1)[1] == ((0, first - SECOND * 3 // 2), (27, max(1, second - SECOND * 3 // 2)))
        assert counter.hit("k", 1, False)[0] is False
        clock.now += first
        asked = counter.hit("k", 1)
        assert inspect.isawaitable(asked)
        await asked

    in_store(server, test)


def test_fewer_units_are_asked_about(server):
    async def test(store, clock):
        counter = store.counter([bucket(3, 60)])
        await hits(counter, "k", 1)
        assert (await outcome(counter.hit("k", 3)))[0] is False
        assert counter.hit("k", 3)[0] is False
        assert (await outcome(counter.hit("k", 2)))[0] is True

    in_store(server, test)


@pytest.mark.parametrize(("settles", "seconds"), [(False, 10), (True, 1)], ids=["10-s", "1-s-if-settled"])
def test_a_refusal_is_not_believed_for_long(server, settles, seconds):
    async def test(store, clock):
        counter = store.counter([bucket(1, 3600)])
        await hits(counter, "k", 2)
        clock.now += seconds * SECOND - 1
        assert counter.hit("k", 1)[0] is False
        clock.now += 1
        assert (await counter.hit("k", 1))[0] is False

    in_store(server, test, settles=settles)


def test_refusals_remembered_are_bounded(monkeypatch):
    monkeypatch.setattr(deny_cache, "CAPACITY", 10)
    cache = DenyCache(SECOND)
    for index in range(1000):
        cache.remember(str(index), 1, ((0, SECOND),), 0)
    assert len(cache._found) <= 10
    assert cache.find("999", 1, 0) is not None
    assert cache.find("1", 1, 0) is None
    cache.forget("1")


# Bans.


def test_banned_after_so_many_refusals(server):
    """Those that this process has answered by itself count; the ban is for all buckets, and told without asking."""

    async def test(store, clock):
        counter = store.counter([bucket(1, 60)])
        other = store.counter([bucket(100, 60, "other")])
        found = await hits(counter, "k", 5)
        assert [one[0] for one in found[:4]] == [True, False, False, False]
        assert found[4] == Banned(900 * SECOND, begins=True)
        async with Monitor(server) as monitor:
            clock.now += SECOND
            assert counter.hit("k", 1) == other.hit("k", 1) == Banned(899 * SECOND)
            assert await monitor.asked() == []
        assert (await other.hit("k", 1, False))[0] is True
        assert counter.hit("k", 1, False)[0] is False
        clock.now += 10 * SECOND
        again = await counter.hit("k", 1)
        assert not again.begins
        assert 0 < again.left <= 900 * SECOND
        assert 0 < await store.ban_left("k") <= 900 * SECOND
        assert await store.ban_left("other") == 0

    in_store(server, test, ban=Ban(after=4))


def test_a_ban_that_another_process_lifts_is_over(server):
    """Also for while Redis is down; but an answer from before the ban lifts none."""

    async def test(store, clock):
        counter = store.counter([bucket(1, 60)])
        await hits(counter, "k", 2)
        store.note_no_ban(store.name("k"), clock.now)
        assert store.ban_last_heard_of("k") > 0
        await store.link.ask("FLUSHALL")
        clock.now += 10 * SECOND
        assert (await counter.hit("k", 1))[0] is True
        assert store.ban_last_heard_of("k") == 0
        assert (await counter.hit("never banned", 1))[0] is True
        assert len(store._bans) == 1

    in_store(server, test, ban=Ban(after=1))


def test_who_is_never_banned_strikes_nobody(server):
    async def test(store, clock):
        counter = store.counter([bucket(1, 60)])
        for _ in range(9):
            assert (await outcome(counter.hit("k", 1, False))) is not None
            counter.denied.forget(store.name("k"))
        assert await store.link.ask("KEYS", "*strikes") == []

    in_store(server, test, ban=Ban(after=2))


def test_strikes_of_long_ago_are_not_handed_in(server):
    async def test(store, clock):
        counter = store.counter([bucket(1, 60)])
        assert [one[0] for one in await hits(counter, "k", 4)] == [True, False, False, False]
        clock.now += 300 * SECOND
        assert (await counter.hit("k", 1))[0] is False

    in_store(server, test, ban=Ban(after=4))


def test_an_admission_may_hand_in_what_bans(server):
    """The refusals are too many, whether or not there is room now: then nothing is charged."""

    async def test(store, clock):
        counter = store.counter([bucket(1, 60)])
        await hits(counter, "k", 4)
        await store.link.ask("DEL", *counter._layout.keys(store.prefix(store.name("k"))))
        refusal = counter.denied._found.get(store.name("k"))
        refusal.strikes = 4
        assert (await counter.hit("k", 1)).begins is True
        assert (await store.standing("k", [bucket(1, 60)]))[0][1] == (1, 0)

    in_store(server, test, ban=Ban(after=4))


def fake_clock(monkeypatch):
    from .test_rate_limit_redis_exact import use_fake_clock

    use_fake_clock(monkeypatch)


async def set_clock(link, seconds):
    await link.ask("MSET", "clock:s", 1_700_000_000 + seconds, "clock:us", 0)


def test_bans_grow_and_are_forgotten(server, monkeypatch):
    """10 s, 20, 40, 40; forgotten 40 s after the last one's end. Refusals that are further apart do not add up."""
    fake_clock(monkeypatch)

    async def test(store, clock):
        counter = store.counter([bucket(1, 86400)])
        store.longest_denial = counter.denied._longest = 0

        async def at(seconds):
            await set_clock(store.link, seconds)
            return await counter.hit("k", 1)

        assert (await at(0))[0] is True
        assert (await at(1))[0] is False
        assert (await at(7))[0] is False  # 6 s after the other
        assert await at(8) == Banned(10 * SECOND, begins=True)
        assert await at(17) == Banned(1 * SECOND)
        assert (await at(18))[0] is False
        assert await at(19) == Banned(20 * SECOND, begins=True)
        assert (await at(39))[0] is False
        assert await at(40) == Banned(40 * SECOND, begins=True)
        assert (await at(81))[0] is False
        assert await at(82) == Banned(40 * SECOND, begins=True)
        assert (await at(161))[0] is False  # the last one ended at 122
        assert await at(162) == Banned(10 * SECOND, begins=True)

        # The clock goes back by a day: the ban begins anew, once.
        assert await at(-86_400) == Banned(10 * SECOND)
        assert await at(-86_391) == Banned(1 * SECOND)
        assert (await at(-86_390))[0] is False

    in_store(server, test, ban=Ban(after=2, per=5.0, first=10.0, longest=40.0))


@pytest.mark.parametrize(
    ("after", "moments"),
    [(3, (0, 0, 4, 5, 6, 9)), (2, (0, 1, -100, -98))],
    ids=["from the first on", "from the future"],
)
def test_which_refusals_are_counted(server, monkeypatch, after, moments):
    """As in memory: 5 s after the first one they begin anew, however few seconds ago the last one was. And none that
    the clock has gone back behind: how long ago they were nobody knows."""
    fake_clock(monkeypatch)

    async def test(store, clock):
        counter = store.counter([bucket(1, 86400)])
        counter.denied._longest = 0
        verdicts = []
        for seconds in moments:
            await set_clock(store.link, seconds)
            verdicts.append(await counter.hit("k", 1))
        assert [verdict[0] for verdict in verdicts[:-1]] == [True] + [False] * (len(moments) - 2)
        assert verdicts[-1] == Banned(900 * SECOND, begins=True)

    in_store(server, test, ban=Ban(after=after, per=5.0))


@pytest.mark.parametrize("put", [("SET", "x"), ("SADD", "x"), ("RPUSH", "nan", "inf"), ("SET", "1 9e99")], ids=str)
def test_garbage_in_the_keys_of_a_ban(server, put):
    """No error, no ban that nobody has earned, and what is earned all the same."""

    async def test(store, clock):
        counter = store.counter([bucket(1, 60)])
        for key in store.ban_keys(store.name("k")):
            await store.link.ask(put[0], key, *put[1:])
        found = await hits(counter, "k", 4)
        assert [one[0] for one in found[:3]] == [True, False, False]
        assert found[3] == Banned(900 * SECOND, begins=True)

    in_store(server, test, ban=Ban(after=3))


# What lies in Redis and cannot be read.

GARBAGE = {
    "text": ("SET", "garbage"),
    "empty": ("SET", ""),
    "octets": ("SET", b"\xff\x00"),
    "negative": ("SET", "-1 -1 -1"),
    "too-much": ("SET", "1700000000000000 9999999999999999999"),
    "too-much-3": ("SET", "1700000000000000 9999999999999999999 9999999999999999999"),
    "infinite": ("SET", "1" * 400 + " 1 1"),
    "long": ("SET", "1" * 100_000),
    "no-numbers-2": ("SET", struct.pack(">2d", math.nan, math.nan)),
    "no-numbers-3": ("SET", struct.pack(">3d", *[math.nan] * 3)),
    "negative-2": ("SET", struct.pack(">2d", -1, 0)),
    "negative-3": ("SET", struct.pack(">3d", -1, 0, 0)),
    "too-much-packed-2": ("SET", struct.pack(">2d", 1.8e15, 1e300)),
    "too-much-packed-3": ("SET", struct.pack(">3d", 1.8e15, 1e300, 0)),
    "too-much-packed-3-last": ("SET", struct.pack(">3d", 1.8e15, 0, math.inf)),
    "infinite-2": ("SET", struct.pack(">2d", math.inf, 0)),
    "infinite-3": ("SET", struct.pack(">3d", math.inf, 0, 0)),
    "list": ("RPUSH", "a", "b"),
    "entries": ("RPUSH", "1:1", "nonsense", "9999999999999999:1"),
    "hash": ("HSET", "a", "b"),
    "set": ("SADD", "a"),
    "sorted-set": ("ZADD", "1", "a"),
    "stream": ("XADD", "*", "a", "b"),
}


@pytest.mark.parametrize("which", [0, 1], ids=["counts", "sum"])
@pytest.mark.parametrize("put", GARBAGE.values(), ids=list(GARBAGE))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_garbage_is_one_fresh_window(server, strategy, put, which):
    """Of any type: neither an error, nor a lock, nor a pass for ever; and it expires from then on."""

    async def test(store, clock):
        counter = store.counter([bucket()])
        names = counter._layout.keys(store.prefix(store.name("k")))
        await hits(counter, "k", 1)
        name = names[which % len(names)]
        await store.link.ask("DEL", name)
        await store.link.ask(put[0], name, *put[1:])
        found = await hits(counter, "k", 6)
        assert [one[0] for one in found] == [True] * 3 + [False] * 3
        assert await store.link.ask("PTTL", name) > 0
        await store.link.ask("DEL", name)
        await store.link.ask(put[0], name, *put[1:])
        assert await store.standing("k", [bucket()]) == [(bucket(), (3, 0))]
        await counter.settle("k", found[0], 1, 0)

    in_store(server, test, strategy=strategy)


# Answers that are none.

GOOD = b"+1 1700000000000000 2 1\r\n"
WRONG = {
    "ok": b"+OK\r\n",
    "nothing": b"$-1\r\n",
    "number": b":1\r\n",
    "empty": b"$0\r\n\r\n",
    "list": b"*4\r\n:1\r\n:1700000000000000\r\n:2\r\n:1\r\n",
    "too-few": b"+1 1 1\r\n",
    "too-many": b"+1 1 1 1 1\r\n",
    "another-separator": b"+1 1  1 1\r\n",
    "a-fraction": b"+1 1 1.5 1\r\n",
    "too-large": b"+1 1 1 11111111111111111\r\n",
    "other-digits": "+1 1 1 \u0661\r\n".encode(),
    "verdict": b"+3 1700000000000000 2 1\r\n",
    "negative": b"+1 1700000000000000 -2 1\r\n",
    "more-than-all": b"+1 1700000000000000 4 1\r\n",
    "longer-than-two-windows": b"+1 1700000000000000 2 120000001\r\n",
    "no-refusal": b"+0 1700000000000000 3 1\r\n",
    "unasked-ban": b"+2 1 1\r\n",
    "error": b"-ERR no\r\n",
    "read-only": b"-READONLY no\r\n",
    "full": b"-OOM no\r\n",
    "no-redis": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "half": GOOD[:9],
}


def answering(answer, test, **options):
    """Run ``test(store)`` against a server that answers EVALSHA, DEL and SCAN so, and all else with OK."""

    async def serve(reader, writer):
        try:
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                writer.write(answer if words[0] in (b"EVALSHA", b"DEL", b"SCAN") else b"+OK\r\n")
                await writer.drain()
                if answer in (GOOD[:9],):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def run():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}?protocol=2"
            store = RedisStore(RedisLink(url, timeout=5), **{"strategy": "fixed-window", "namespace": "n", **options})
            await test(store)
            await store.close()

    asyncio.run(run())


def test_the_scripted_server_can_be_understood():
    async def test(store):
        assert await store.counter([bucket()]).hit("k", 1) == (True, ((2, 1000),), (1700000000000000, b""))

    answering(GOOD, test)


@pytest.mark.parametrize("answer", WRONG.values(), ids=list(WRONG))
def test_an_answer_that_is_none_is_an_outage(answer):
    """Neither a pass nor a refusal, and nothing of it is remembered."""

    async def test(store):
        counter = store.counter([bucket()])
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match=r"^Redis: "):
                await counter.hit("k", 1)

    answering(answer, test)


@pytest.mark.parametrize("numbers", [(0, 1), (86_400_000_001, 0), (5, 2)], ids=str)
def test_a_ban_that_is_none(numbers):
    async def test(store):
        with pytest.raises(StoreUnavailableError, match=r"^Redis: "):
            await store.counter([bucket()]).hit("k", 1)

    answering(b"+2 %d %d\r\n" % numbers, test, ban=Ban())


@pytest.mark.parametrize(
    "answer", [b"$1\r\nx\r\n", b"+1 1 1 1\r\n", b"*2\r\n$1\r\na\r\n*0\r\n", b"*2\r\n:0\r\n*1\r\n$-1\r\n", b"*0\r\n"]
)
def test_operators_are_told_of_answers_that_are_none(answer):
    async def test(store):
        for asked in (store.reset("k", [bucket()]), store.banned(), store.ban_left("k"), store.standing("k", [])):
            with pytest.raises(StoreUnavailableError, match=r"^Redis: "):
                await asked

    answering(answer, test)


# Opened, and looked at.


def test_open_makes_the_scripts_known(server):
    async def test(store, clock):
        await store.link.ask("SCRIPT FLUSH")
        await store.open()
        async with Monitor(server) as monitor:
            await hits(store.counter([bucket()]), "k", 1)
            assert await monitor.asked() == ["EVALSHA"]

    in_store(server, test)


def test_start_up_tries_again():
    """A first connection may take longer than one command has."""

    class Slow:
        tries = 0

        async def execute_command(self, *command):
            self.tries += 1
            if self.tries < 5:
                raise TimeoutError
            return b"PONG"

    slow = Slow()
    asyncio.run(RedisStore(RedisLink(slow), strategy="gcra", namespace="n").open())
    assert slow.tries == 5 + 2


def test_a_redis_that_is_down_at_start_up_is_logged(caplog):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        store = RedisStore(RedisLink(f"redis://:hunter2@127.0.0.1:{port}"), strategy="gcra", namespace="n")
        asyncio.run(store.open())
    assert "rate limits: the Redis does not answer at start-up (Redis: ConnectionError)" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_redis_that_is_deaf_at_start_up_is_logged(caplog, monkeypatch):
    monkeypatch.setattr(redis_store, "_STARTING", 0.3)

    async def run():
        async with await asyncio.start_server(deaf, "127.0.0.1", 0) as hanging:
            link = RedisLink(f"redis://127.0.0.1:{hanging.sockets[0].getsockname()[1]}", timeout=30)
            store = RedisStore(link, strategy="gcra", namespace="n")
            began = time.monotonic()
            await store.open()
            assert time.monotonic() - began < 10
            await store.close()

    asyncio.run(run())
    assert "does not answer at start-up (TimeoutError)" in caplog.text


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_operators(server, strategy):
    """How a key stands, charging nothing; forgotten with its strikes and bans; who is banned."""

    async def test(store, clock):
        buckets = [bucket(2, 60), bucket(9, 600, "c")]
        counter = store.counter(buckets)
        assert await store.standing("k", buckets) == [(buckets[0], (2, 0)), (buckets[1], (9, 0))]
        assert await store.banned() == []
        await hits(counter, "k", 4)
        await hits(counter, "l", 5)
        assert [free for _, (free, _) in await store.standing("k", buckets)] == [0, 7]
        ((name, left),) = await store.banned()
        assert name == identity("l")
        assert 0 < left <= 900 * SECOND
        assert await store.reset("k", buckets) == (5 if strategy == "moving-window" else 3)
        assert await store.reset("l", buckets) == (5 if strategy == "moving-window" else 3)
        assert await store.reset("l", buckets) == 0
        assert await store.banned() == []
        assert [(await outcome(counter.hit(key, 1)))[0] for key in "kl"] == [True, True]

    in_store(server, test, strategy=strategy, ban=Ban(after=3))


def test_who_is_banned_is_listed_within_bounds(server, monkeypatch):
    """Other keys that look alike are passed over; a look without ``ban=`` sees the bans of those who have one."""
    monkeypatch.setattr(redis_store, "_SCAN_STEP", 10)

    async def test(store, clock):
        over = (int(time.time()) + 100) * 1_000_000
        names = [identity(str(index)) for index in range(60)]
        for name in names:
            await store.link.ask("SET", store.ban_keys(name)[1], f"{over} 100000000", "EX", 100)
        await store.link.ask("SET", store.ban_keys("short")[1], f"{over} 100000000", "EX", 100)
        await store.link.ask("SET", store.ban_keys(identity("over"))[1], "1 1", "EX", 100)
        found = dict(await store.banned())
        assert found.keys() == set(names)
        assert all(0 < left <= 100 * SECOND for left in found.values())
        monkeypatch.setattr(redis_store, "_MOST_BANS", 7)
        assert len(await store.banned()) == 7
        monkeypatch.setattr(redis_store, "_MOST_STEPS", 0)
        assert await store.banned() == []

    in_store(server, test)


def test_a_client_of_ones_own_that_decodes(server):
    async def run():
        async with redis.asyncio.Redis.from_url(server.url, decode_responses=True) as client:
            await client.flushall()
            store = RedisStore(RedisLink(client, timeout=20), strategy="gcra", namespace="rl", ban=Ban(after=1))
            await hits(store.counter([bucket(1)]), "k", 2)
            assert [name for name, _ in await store.banned()] == [identity("k")]

    asyncio.run(run())


def test_processes_share_what_is_spent(server):
    async def test(store, clock):
        other = RedisStore(store.link, strategy="gcra", namespace="rl")
        stranger = RedisStore(store.link, strategy="gcra", namespace="other")
        assert (await hits(store.counter([bucket(1)]), "k", 1))[0][0] is True
        assert (await hits(other.counter([bucket(1)]), "k", 1))[0][0] is False
        assert (await hits(stranger.counter([bucket(1)]), "k", 1))[0][0] is True

    in_store(server, test)
