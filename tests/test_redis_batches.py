"""A herd asks one Redis: over few connections, each for itself, and nothing is left behind."""

import asyncio
import contextvars
from contextlib import asynccontextmanager, suppress

import pytest
import redis.asyncio
from redis.exceptions import AskError, MovedError, TryAgainError

from secure_asgi._batches import Batches
from secure_asgi._redis import RedisLink, RedisUnavailableError

from .redis_server import running_cluster, running_redis, until

HERD = 500
MOST_CONNECTIONS = 6


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def asking(link, *commands):
    """Tasks that have asked, and of which nothing is sent yet but the first four."""
    return [asyncio.create_task(link.ask(*command)) for command in commands]


async def outcomes(tasks):
    """Answers, and why there is none."""
    said = await asyncio.gather(*tasks, return_exceptions=True)
    return [str(one) if isinstance(one, RedisUnavailableError) else one for one in said]


def echoes(count):
    return [("ECHO", number) for number in range(count)]


def echoed(count):
    return [b"%d" % number for number in range(count)]


@asynccontextmanager
async def serving(answer):
    """The URL of what is no Redis: it says ``answer(what it was asked)``."""

    async def serves(reader, writer):
        with suppress(OSError):
            while asked := await reader.read(65536):
                writer.write(answer(asked))
        writer.close()

    async with await asyncio.start_server(serves, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def connections(server):
    return server.info("stats")["total_connections_received"]


def test_a_herd_opens_few_connections(server):
    """Hundreds opened at once would take longer than a rate limit may."""

    async def run():
        link = RedisLink(server.url, timeout=20)
        before = connections(server)
        assert await outcomes(asking(link, *echoes(4 * HERD))) == echoed(4 * HERD)
        assert connections(server) - before <= MOST_CONNECTIONS + 1  # that of whoever looks
        await link.close()

    asyncio.run(run())


def test_a_herd_in_a_cluster(cluster):
    async def run():
        link = RedisLink(cluster.url, timeout=20)
        before = [connections(server) for server in cluster.servers]
        said = await outcomes(asking(link, *[("INCR", f"k{number % HERD}") for number in range(4 * HERD)]))
        assert sorted(said) == sorted([1, 2, 3, 4] * HERD)
        for server, count in zip(cluster.servers, before, strict=True):
            assert connections(server) - count <= MOST_CONNECTIONS + 2  # who looks, and who asks for the slots
        await link.close()

    asyncio.run(run())


def test_a_herd_whose_slots_have_moved(cluster):
    """Told to go elsewhere, each does so, and over few connections."""
    here, there, third = cluster.servers
    slots = {here.command("CLUSTER", "KEYSLOT", f"m{number}"): f"m{number}" for number in range(600)}
    keys = [key for slot, key in slots.items() if slot < 5000]

    async def run():
        link = RedisLink(cluster.url, timeout=20)
        assert await link.ask("GET", keys[0]) is None
        here.command("FLUSHALL")
        identity = there.command("CLUSTER", "MYID")
        for slot, key in slots.items():
            if key in keys:
                for server in (there, here, third):
                    server.command("CLUSTER", "SETSLOT", slot, "NODE", identity)
        before = connections(there)
        assert await outcomes(asking(link, *[("INCR", key) for key in keys])) == [1] * len(keys)
        assert connections(there) - before <= MOST_CONNECTIONS + 1  # that of whoever looks
        await link.close()

    asyncio.run(run())


def test_a_few_do_not_wait_for_one_another(server):
    async def run():
        link = RedisLink(server.url, timeout=20)
        for _ in range(5):
            await link.ask("PING")
        *slow, quick = asking(link, *[("BLPOP", "never", 20)] * 3, ("ECHO", "quick"))
        assert await quick == b"quick"
        assert not any(task.done() for task in slow)
        await link.close()
        assert await outcomes(slow) == ["ConnectionError"] * 3

    asyncio.run(run())


def test_an_error_goes_to_whom_it_is_for(server):
    async def run():
        link = RedisLink(server.url, timeout=20)
        said = await outcomes(asking(link, *echoes(10), ("NOSUCHCOMMAND",), ("SET", "a", 1), *echoes(10)))
        assert said == [*echoed(10), "ResponseError", True, *echoed(10)]
        await link.close()

    asyncio.run(run())


@pytest.mark.parametrize("turns", [1, 2, 3], ids=["waiting", "just sent", "sent"])
def test_who_gives_up_harms_nobody(server, turns):
    """What nobody waits for any more is not sent if it still waits."""

    async def run():
        link = RedisLink(server.url, timeout=20)
        await link.ask("DEL", "spent")
        tasks = asking(link, *echoes(4), *[("INCR", "spent")] * 20)
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[4:-3]:
            task.cancel()
        said = await outcomes(tasks)
        assert said[:4] == echoed(4)
        assert [type(answer) for answer in said[4:]] == [asyncio.CancelledError] * 17 + [int] * 3
        assert await link.ask("GET", "spent") == (b"3" if turns == 1 else b"20")
        await link.close()

    asyncio.run(run())


def test_a_batch_belongs_to_no_request(server, monkeypatch):
    """What traces a request must not take the commands of others for its own."""
    request = contextvars.ContextVar("request")
    seen = []
    execute = redis.asyncio.client.Pipeline.execute

    async def tracing(pipeline, **options):
        seen.append(request.get(None))
        return await execute(pipeline, **options)

    async def run():
        link = RedisLink(server.url, timeout=20)
        request.set("one")
        assert await outcomes(asking(link, *echoes(20))) == echoed(20)
        await link.close()

    monkeypatch.setattr(redis.asyncio.client.Pipeline, "execute", tracing)
    asyncio.run(run())
    assert seen == [None]


def test_closing_leaves_nothing_behind(server):
    """Neither a task nor somebody who waits: some are on their way, some not yet, and more than there is room for."""

    async def run():
        server.pause()
        try:
            link = RedisLink(server.url, timeout=20)
            tasks = asking(link, *echoes(2 * HERD))
            await asyncio.sleep(0.05)
            late = asking(link, *echoes(HERD))
            await asyncio.sleep(0)
            await link.close()
            assert asyncio.all_tasks() - {*tasks, *late} == {asyncio.current_task()}
            assert set(await outcomes(tasks + late)) == {"ConnectionError"}
        finally:
            server.go_on()

    asyncio.run(run())


@pytest.mark.parametrize("turns", [1, 2])
@pytest.mark.parametrize(("at_once", "gives_up"), [(3, False), (20, True)])
def test_closing_leaves_no_connection_open(server, at_once, gives_up, turns):
    """Nor one that is being opened meanwhile; and whoever closes may give that up."""
    open_before = server.info("clients")["connected_clients"]

    async def run():
        link = RedisLink(server.url, timeout=20)
        tasks = asking(link, *echoes(at_once))
        for _ in range(turns):
            await asyncio.sleep(0)
        closing = asyncio.create_task(link.close())
        await asyncio.sleep(0)
        if gives_up:
            closing.cancel()
        await asyncio.wait([closing, *tasks])
        assert closing.cancelled() is gives_up
        await outcomes(tasks)
        await asyncio.to_thread(
            until, lambda: server.info("clients")["connected_clients"] <= open_before, "connections stay open"
        )

    asyncio.run(run())


def test_a_server_that_says_no_farewell():
    class Hanging:
        async def aclose(self):
            raise redis.TimeoutError

    asyncio.run(Batches(Hanging(), 1).aclose())


ELSEWHERE = {"moved": MovedError("1 h:1"), "ask": AskError("1 h:1"), "try again": TryAgainError("")}


@pytest.mark.parametrize("error", ELSEWHERE.values(), ids=list(ELSEWHERE))
def test_what_a_batch_is_told_to_ask_elsewhere(error):
    """Each asks by itself: in the batch they would do so one after another."""

    class Moving:
        async def execute_command(self, *command):
            await asyncio.sleep(0)
            return "there"

        def pipeline(self, transaction):
            return Batch()

    class Batch(list):
        def execute_command(self, *command):
            self.append(command)

        async def execute(self, *, raise_on_error, allow_redirections):
            assert not allow_redirections
            return [error] * len(self)

    async def run():
        batches = Batches(Moving(), 1, is_cluster=True)
        assert await asyncio.gather(*(batches.execute_command("GET", "a") for _ in range(9))) == ["there"] * 9

    asyncio.run(run())


def test_connections_that_never_answer_are_given_up():
    """Each batch has its own time, or the first herd would hold all connections for ever."""
    said = b""

    async def run():
        nonlocal said
        async with serving(lambda asked: said * asked.count(b"ECHO")) as url:
            link = RedisLink(url, timeout=1)
            assert set(await outcomes(asking(link, *echoes(HERD)))) == {"TimeoutError"}
            said = b"+OK\r\n"
            assert set(await outcomes(asking(link, *echoes(HERD)))) == {b"OK"}
            await link.close()

    asyncio.run(run())


@pytest.mark.parametrize("error", [b"-LOADING no\r\n", b"-NOAUTH no\r\n", b"HTTP/1.1 400\r\n"], ids=str)
def test_what_follows_an_error_of_the_connection_is_nobodys_answer(error):
    said = [error, b"+late\r\n"]

    async def run():
        async with serving(lambda asked: b"".join(said) * asked.count(b"ECHO")) as url:
            link = RedisLink(url, timeout=20)
            first = await outcomes(asking(link, *echoes(HERD)))
            assert set(first) <= {"BusyLoadingError", "AuthenticationError", "InvalidResponse"}
            said[:] = [b"+well\r\n"]
            assert set(await outcomes(asking(link, *echoes(HERD)))) == {b"well"}
            await link.close()

    asyncio.run(run())
