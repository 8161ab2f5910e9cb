"""A real Redis, broken in every way at hand, under each ``on_outage=``: nobody waits, nothing raises, and it ends."""

import asyncio
import hashlib
import logging
import socket
import struct
import time
from contextlib import asynccontextmanager

import pytest

from secure_asgi._redis import RedisLink, RedisUnavailableError
from secure_asgi.rate_limit.breaker import Breaker
from secure_asgi.rate_limit.counting import Bucket, Degraded
from secure_asgi.rate_limit.limits import Limit
from secure_asgi.rate_limit.memory import MemoryStore
from secure_asgi.rate_limit.outage import Resilient
from secure_asgi.rate_limit.redis_store import RedisStore

from .redis_server import running_redis

SHARE = 5
BUDGET = 0.05
LONGEST = 2.0
"""Seconds for one hit on a busy machine. The faults last until they are ended, the shortest for five seconds."""

SCRIPT = "return redis.call('INCR', KEYS[1])"
HASH = hashlib.sha1(SCRIPT.encode()).hexdigest()


class Counting:
    """The least that can be called a counter in Redis."""

    def __init__(self, link):
        self._link = link

    async def hit(self, key, cost, bans=True):
        try:
            spent = await self._link.ask("EVALSHA", HASH, 1, key)
        except RedisUnavailableError as error:
            if str(error) != "NoScriptError":
                raise
            spent = await self._link.ask("EVAL", SCRIPT, 1, key)
        return True, ((max(0, 1000 - spent), 0),), spent


def redis_store(link):
    store = RedisStore(link, strategy="sliding-window", namespace="faults")
    return store.counter([Bucket("b", Limit(1000, 3600), 1000)])


COUNTERS = {"least": Counting, "RedisStore": redis_store}


class Relay:
    """Stands between a client and its Redis, at the port ``behind``. ``how`` is what becomes of what passes."""

    def __init__(self, port):
        self.behind = port
        self._writers = set()
        self._meetings = set()
        self.how = "passes"

    @asynccontextmanager
    async def running(self):
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
            for meeting in self._meetings:
                meeting.cancel()
            await asyncio.gather(*self._meetings, return_exceptions=True)

    def reset(self):
        """RST to everybody."""
        for writer in tuple(self._writers):
            _reset(writer)

    def _accept(self, reader, writer):
        if self.how == "resets":
            _reset(writer)
        else:
            self._meetings.add(asyncio.create_task(self._meet(reader, writer)))

    async def _meet(self, reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", self.behind)
        both = {writer, back}
        self._writers |= both
        try:
            await asyncio.gather(self._pass(reader, back, writer), self._pass(there, writer, None))
        except OSError:
            pass
        finally:
            self._writers -= both
            for one in both:
                one.close()

    async def _pass(self, reader, writer, asker):
        while said := await reader.read(65_536):
            if self.how == "swallows":
                continue
            if self.how == "is slow":
                await asyncio.sleep(5)
            if self.how == "tells garbage" and asker is not None:
                asker.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                continue
            writer.write(said)
        writer.close()


def _reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


FAULTS = {}
RELAYED = {"is slow", "swallows", "tells garbage", "resets"}


def fault(name):
    def add(function):
        FAULTS[name] = asynccontextmanager(function)
        return function

    return add


@fault("killed, and started without its scripts")
async def _(server, relay):
    server.kill()
    yield
    await asyncio.to_thread(server.start)


@fault("stopped, and continued")
async def _(server, relay):
    server.pause()
    yield
    server.go_on()


@fault("busy for five seconds")
async def _(server, relay):
    sleeping = asyncio.create_task(asyncio.to_thread(server.command, "DEBUG", "SLEEP", 5))
    await asyncio.sleep(0.2)
    yield
    await sleeping


@fault("out of memory")
async def _(server, relay):
    server.command("CONFIG", "SET", "maxmemory", 1)
    yield
    server.command("CONFIG", "SET", "maxmemory", 0)


@fault("a replica, to be read only")
async def _(server, relay):
    server.command("REPLICAOF", "127.0.0.1", 1)
    yield
    server.command("REPLICAOF", "NO", "ONE")


@fault("wants a password")
async def _(server, relay):
    server.command("CONFIG", "SET", "requirepass", "hunter2")
    server.command("CLIENT", "KILL", "TYPE", "normal", password="hunter2")
    yield
    server.command("CONFIG", "SET", "requirepass", "", password="hunter2")


@fault("full of clients")
async def _(server, relay):
    keeper = socket.create_connection(("127.0.0.1", server.port))
    keeper.sendall(b"CLIENT KILL TYPE normal SKIPME yes\r\nCONFIG SET maxclients 1\r\n")
    await asyncio.sleep(0.2)
    yield
    keeper.sendall(b"CONFIG SET maxclients 10000\r\n")
    await asyncio.sleep(0.2)
    keeper.close()


def relayed(how):
    @fault(how)
    async def _(server, relay):
        relay.how = how
        if how == "resets":
            relay.reset()
        yield
        relay.how = "passes"


for how in sorted(RELAYED):
    relayed(how)


class Setting:
    """A counter on a Redis, and how long each hit has taken. Its breaker's clock runs eight times as fast."""

    def __init__(self, port, mode, counts):
        store = MemoryStore(strategy="sliding-window", max_keys=1000)
        self.link = RedisLink(f"redis://127.0.0.1:{port}/0", timeout=BUDGET)
        self.breaker = Breaker(clock=lambda: 8 * time.monotonic_ns())
        self.longest = 0.0
        self._counter = Resilient(
            COUNTERS[counts](self.link),
            breaker=self.breaker,
            on_outage=mode,
            local=lambda: store.counter([Bucket("b", Limit(SHARE, 3600), SHARE)]),
            lowest=SHARE,
        )

    async def hit(self, key):
        began = time.monotonic()
        outcome = self._counter.hit(key, 1)
        if not isinstance(outcome, Degraded):
            outcome = await outcome
        self.longest = max(self.longest, time.monotonic() - began)
        return outcome

    async def until(self, happened):
        deadline = time.monotonic() + 60
        while not happened(await self.hit("any")):
            assert time.monotonic() < deadline, "neither down nor back"
            await asyncio.sleep(0.02)


def is_decided_there(outcome):
    return isinstance(outcome, tuple)


def is_degraded(outcome):
    return isinstance(outcome, Degraded)


@pytest.mark.parametrize("counts", COUNTERS)
@pytest.mark.parametrize("mode", ["local", "open", "closed"])
@pytest.mark.parametrize("name", FAULTS)
def test_faults(name, mode, counts, tmp_path, caplog):
    """RL-16. A herd is under way as it begins; meanwhile probes are sent, and fail."""

    async def run(server):
        async with Relay(server.port).running() as relay:
            setting = Setting(relay.port if name in RELAYED else server.port, mode, counts)
            await setting.until(is_decided_there)
            setting.longest = 0.0
            async with FAULTS[name](server, relay):
                await asyncio.gather(*(setting.hit("herd") for _ in range(30)))
                await setting.until(is_degraded)
                alone = []
                for _ in range(4 * SHARE):
                    alone.append(await setting.hit("alone"))
                    await asyncio.sleep(0.03)
                assert setting.longest < LONGEST
                assert setting.breaker.is_open
                assert {outcome.mode for outcome in alone} == {mode}
                if mode == "local":
                    assert [outcome.verdict[0] for outcome in alone] == [True] * SHARE + [False] * 3 * SHARE
                else:
                    assert {outcome.verdict for outcome in alone} == {None}
            await setting.until(is_decided_there)
            switches = setting.breaker.switches
            assert switches >= 2
            assert switches % 2 == 0
            assert setting.breaker.degraded_decisions >= 4 * SHARE
            await setting.link.close()
            return switches

    with (
        caplog.at_level(logging.WARNING, "secure_asgi"),
        running_redis(tmp_path, "--enable-debug-command", "yes") as redis,
    ):
        switches = asyncio.run(run(redis))
    assert len([record for record in caplog.records if record.name == "secure_asgi"]) == switches
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("counts", COUNTERS)
def test_scripts_that_are_gone_are_no_outage(counts, tmp_path):
    async def run(server):
        setting = Setting(server.port, "closed", counts)
        await setting.until(is_decided_there)
        server.command("SCRIPT", "FLUSH")
        await setting.until(is_decided_there)
        assert server.info("memory")["number_of_cached_scripts"] == 1
        await setting.link.close()

    with running_redis(tmp_path) as redis:
        asyncio.run(run(redis))
