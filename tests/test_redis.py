"""One Redis asked: bounded in time, loud when it is down, at home in one event loop at a time."""

import asyncio
import contextlib
import sys
import time

import pytest
import redis
import redis.asyncio

from secure_asgi import ConfigurationError, Secret
from secure_asgi._redis import RedisLink, RedisUnavailableError, _nameless

from .redis_server import deaf, running_cluster, running_redis, running_sentinel
from .test_rate_limit_faults import Relay

COUNT = "return redis.call('INCR', KEYS[1])"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


async def unavailable(link, *command):
    with pytest.raises(RedisUnavailableError) as refused:
        await link.ask(*(command or ("PING",)))
    assert refused.value.__cause__ is refused.value.__context__ is None
    return str(refused.value)


def test_asks_and_answers(server):
    """Octets and numbers, as they are."""

    async def run():
        link = RedisLink(server.url)
        assert await link.ask("SET", "asked", b"\xff\x00", "PX", 60_000)
        assert await link.ask("GET", "asked") == b"\xff\x00"
        assert await link.ask("GET", "never") is None
        assert await link.ask("INCRBY", "counted", 7) == 7
        await link.close()

    asyncio.run(run())


def test_nothing_connects_before_the_first_command():
    link = RedisLink("redis://127.0.0.1:1/0")
    assert not link._clients
    asyncio.run(link.close())  # nor is there anything to close


def test_a_refusal_of_redis_is_no_answer(server):
    async def run():
        link = RedisLink(server.url)
        assert await unavailable(link, "NOSUCHCOMMAND") == "ResponseError"
        assert await link.ask("PING")
        await link.close()

    asyncio.run(run())


def test_killed_and_started_again(tmp_path):
    async def run():
        link = RedisLink(server.url)
        assert await link.ask("PING")
        server.kill()
        began = time.monotonic()
        said = await unavailable(link)
        assert time.monotonic() - began < 1.1
        assert str(server.port) not in said
        await asyncio.to_thread(server.start)
        assert await link.ask("PING")
        await link.close()

    with running_redis(tmp_path) as server:
        asyncio.run(run())


def test_the_time_is_for_the_command_as_a_whole():
    async def run():
        async with await asyncio.start_server(deaf, "127.0.0.1", 0) as hanging:
            port = hanging.sockets[0].getsockname()[1]
            link = RedisLink(f"redis://127.0.0.1:{port}", timeout=0.1)
            began = time.monotonic()
            assert await unavailable(link) == "TimeoutError"
            assert time.monotonic() - began < 0.6
            await link.close()

    asyncio.run(run())


def test_who_is_cancelled_is_cancelled():
    """Not told that Redis is down."""

    async def run():
        async with await asyncio.start_server(deaf, "127.0.0.1", 0) as hanging:
            port = hanging.sockets[0].getsockname()[1]
            link = RedisLink(f"redis://127.0.0.1:{port}", timeout=30)
            asking = asyncio.create_task(link.ask("PING"))
            await asyncio.sleep(0.05)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await link.close()

    asyncio.run(run())


def test_each_event_loop_has_a_client_of_its_own(server):
    """Several may ask in turn, as those of threads do. Each closes its own, and a loop that is gone is forgotten."""
    link = RedisLink(server.url)

    async def ask():
        assert await link.ask("PING")
        return link._clients[asyncio.get_running_loop()]

    async def ask_and_close():
        client = await ask()
        await link.close()
        assert client not in link._clients.values()
        assert await ask() is not client  # closed is not the end
        await link.close()

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        clients = [loop.run_until_complete(ask()) for loop in (first, second, first, second)]
        assert clients[:2] == clients[2:]
        assert clients[0] is not clients[1]
        asyncio.run(ask_and_close())
        assert first.run_until_complete(ask()) is clients[0]
        second.run_until_complete(clients[1].aclose())
        second.close()
        asyncio.run(ask_and_close())
        assert list(link._clients) == [first]
        first.run_until_complete(link.close())
    finally:
        first.close()
        second.close()


def test_a_client_of_ones_own_is_not_closed(server):
    async def run():
        async with redis.asyncio.Redis.from_url(server.url) as client:
            link = RedisLink(client)
            assert await link.ask("PING")
            await link.close()
            assert await client.ping()

    asyncio.run(run())


class Broken:
    async def execute_command(self, *command):
        raise KeyError("redis://user:password@host")


def test_whatever_a_client_raises_is_an_outage_and_is_not_repeated():
    assert asyncio.run(unavailable(RedisLink(Broken()))) == "KeyError"


@pytest.mark.parametrize("at_once", [1, 500])
def test_a_master_that_is_one_no_longer(server, at_once, tmp_path):
    """Behind the same address there is another: everybody is refused once at most, and answered when asking again."""
    refused = []

    async def insist(link):
        try:
            return await link.ask("EVAL", COUNT, 1, "demoted")
        except RedisUnavailableError as error:
            refused.append(str(error))
            return await link.ask("EVAL", COUNT, 1, "demoted")

    async def run():
        async with Relay(old.port).running() as relay:
            link = RedisLink(f"redis://127.0.0.1:{relay.port}", timeout=20)
            await asyncio.gather(*(insist(link) for _ in range(at_once)))
            await asyncio.to_thread(old.command, "REPLICAOF", "127.0.0.1", 1)
            relay.behind = server.port
            await asyncio.gather(*(insist(link) for _ in range(at_once)))
            await link.close()

    with running_redis(tmp_path) as old:
        asyncio.run(run())
    assert "ReadOnlyError" in refused


SENTINELS = (("a", 26379), ("b", 1))
NODES = (("a", 6379), ("::1", 7))

URLS = {
    "redis://h:6379/0": ("one", "redis://h:6379/0", (), ""),
    "rediss://u:p@h": ("one", "rediss://u:p@h", (), ""),
    "unix:///run/redis.sock": ("one", "unix:///run/redis.sock", (), ""),
    "valkey://u:p@h/1": ("one", "redis://u:p@h/1", (), ""),
    "valkeys://h?ssl_cert_reqs=none": ("one", "rediss://h?ssl_cert_reqs=none", (), ""),
    "redis+unix:///s?db=1": ("one", "unix:///s?db=1", (), ""),
    "valkey+unix:///s": ("one", "unix:///s", (), ""),
    "redis+sentinel://a,b:1/m": ("sentinel", "redis://a?", SENTINELS, "m"),
    "valkey+sentinel://u:p@a,b:1/m?db=1": ("sentinel", "redis://u:p@a?db=1", SENTINELS, "m"),
    "rediss+sentinel://:p%40@a,b:1/m": ("sentinel", "rediss://:p%40@a?", SENTINELS, "m"),
    "valkeys+sentinel://a,b:1/m": ("sentinel", "rediss://a?", SENTINELS, "m"),
    "redis+cluster://a,[::1]:7": ("cluster", "redis://a?", NODES, ""),
    "rediss+cluster://u:p@a,[::1]:7/?socket_keepalive=no": ("cluster", "rediss://u:p@a?socket_keepalive=no", NODES, ""),
    "valkey+cluster://a,[::1]:7": ("cluster", "redis://a?", NODES, ""),
    "valkeys+cluster://a,[::1]:7": ("cluster", "rediss://a?", NODES, ""),
}


@pytest.mark.parametrize("url", URLS)
def test_urls(url):
    """The limits library's spellings, as redis-py reads them."""
    servers = RedisLink(url)._servers
    assert RedisLink(Secret(url))._servers == servers
    assert (servers.kind, servers.url, servers.nodes, servers.master) == URLS[url]
    assert "p@" not in repr(servers)


NO_URLS = {
    **dict.fromkeys(
        ["", "h:6379", "http://h", "REDIS", "redis:/h", "redis:h", "tcp://:hunter2@h", "//h", "redis+tcp://h"],
        "a Redis is named by a redis://, rediss:// or unix:// URL",
    ),
    **dict.fromkeys(
        ["unix+cluster://h", "http+sentinel://h/m", "redis+unix+cluster://h", "redis+sentinel:h/m"],
        "a Redis is named by a redis://, rediss:// or unix:// URL",
    ),
    **dict.fromkeys(
        ["redis://:hunter2@h:port", "redis://:hunter2@h?db=hunter2", "redis+cluster://:hunter2@h:1?db=one"],
        "URL of a Redis has a part that nobody can read",
    ),
    **dict.fromkeys(
        ["redis+sentinel:///m", "redis+sentinel://:hunter2@a,/m", "redis+sentinel://:hunter2@a:port/m"],
        "the servers of a sentinel are named host:port,host:port",
    ),
    **dict.fromkeys(
        ["redis+cluster://", "redis+cluster://:hunter2@a,b:99999", "redis+cluster://[::1", "redis+cluster://a#b"],
        "the servers of a cluster are named host:port,host:port",
    ),
    **dict.fromkeys(
        ["redis+sentinel://:hunter2@h", "valkey+sentinel://h/", "rediss+sentinel://h?db=1"],
        "Sentinels are asked for a master by its name",
    ),
    "redis+cluster://:hunter2@h/0": "a cluster has one database",
    **dict.fromkeys(
        [f"{server}?hunter2=1" for server in ("redis://h", "unix:///s", "redis+sentinel://h/m", "redis+cluster://h")],
        r"an option that redis-py does not take \(TypeError\)",
    ),
    "redis://h?port=hunter2": r"an option that redis-py does not take \(ValueError\)",
}


@pytest.mark.parametrize("url", NO_URLS)
def test_no_urls(url):
    with pytest.raises(ConfigurationError, match=NO_URLS[url]) as refused:
        RedisLink(url)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is refused.value.__context__ is None


@pytest.mark.parametrize("given", [None, 6379, b"redis://h", object()])
def test_no_clients(given):
    with pytest.raises(
        ConfigurationError, match=f"a Redis is a URL or a redis.asyncio.Redis, got {type(given).__name__}"
    ):
        RedisLink(given)


def test_without_redis_py(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigurationError, match=r"Redis needs redis-py: pip install 'secure-asgi\[redis\]'"):
        RedisLink("redis://h")


async def count(link, key):
    return await link.ask("EVAL", COUNT, 1, key)


async def until_it_answers(link, *command):
    deadline = time.monotonic() + 30
    while True:
        try:
            return await link.ask(*command)
        except RedisUnavailableError:
            assert time.monotonic() < deadline, "Redis does not answer again"
            await asyncio.sleep(0.05)


def test_valkey(server):
    """It speaks Redis's protocol."""

    async def run():
        link = RedisLink(server.url.replace("redis://", "valkey://"))
        assert await link.ask("SET", "valkey", 1)
        await link.close()
        assert server.command("GET", "valkey") == b"1"

    asyncio.run(run())


@pytest.mark.parametrize("scheme", ["unix", "redis+unix", "valkey+unix"])
def test_a_unix_socket(scheme, tmp_path_factory):
    folder = tmp_path_factory.mktemp("u")

    async def run():
        link = RedisLink(f"{scheme}://{folder}/s?db=3", timeout=5)
        assert await link.ask("SET", "unix", 1)
        await link.close()

    with running_redis(folder, "--unixsocket", f"{folder}/s") as running:
        asyncio.run(run())
        assert "db3" in running.info("keyspace")


def test_a_thousand_at_once(server):
    """More than redis-py's own hundred connections."""

    async def run():
        link = RedisLink(server.url, timeout=60)
        said = await asyncio.gather(*(link.ask("ECHO", number) for number in range(1000)))
        assert said == [b"%d" % number for number in range(1000)]
        await link.close()

    asyncio.run(run())


@pytest.mark.parametrize("ends", ["times out", "is cancelled"])
def test_no_answer_is_taken_for_another(ends, tmp_path):
    """A connection whose command was given up, in whatever part of it, is not used again with its answer on the way."""

    async def ask(link, number):
        asking = asyncio.create_task(link.ask("ECHO", number))
        if ends == "is cancelled":
            await asyncio.sleep(number % 7 * 0.002)
            asking.cancel()
        try:
            said = await asking
        except (RedisUnavailableError, asyncio.CancelledError):
            return False
        assert said == b"%d" % number
        return True

    async def run():
        link = RedisLink(running.url, timeout=0.05 if ends == "times out" else 5)
        patient = RedisLink(running.url, timeout=30)
        for turn in range(5):
            await asyncio.gather(*(ask(link, 1000 * turn + number) for number in range(20)))
            running.pause()
            stalled = await asyncio.gather(*(ask(link, 1000 * turn + number) for number in range(20, 40)))
            assert True not in stalled
            running.go_on()
            assert await patient.ask("ECHO", turn) == b"%d" % turn
            await until_it_answers(link, "PING")
            for number in range(40, 60):
                await ask(link, 1000 * turn + number)
        await link.close()
        await patient.close()

    with running_redis(tmp_path) as running:
        asyncio.run(run())


def test_nothing_is_said_before_the_command():
    """Neither HELLO nor who asks: each word of a greeting is a way there and back within the time of the first
    command."""
    said = []

    async def listens(reader, writer):
        said.append(await reader.read(1024))
        writer.write(b"+PONG\r\n")
        await reader.read()
        writer.close()

    async def run():
        async with await asyncio.start_server(listens, "127.0.0.1", 0) as listening:
            link = RedisLink(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}", timeout=5)
            assert await link.ask("PING")
            await link.close()

    asyncio.run(run())
    assert said == [b"*1\r\n$4\r\nPING\r\n"]


def test_an_older_redis_py_is_told_otherwise(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis.driver_info", None)
    assert _nameless() == {"lib_name": None, "lib_version": None}


def test_no_command_is_sent_twice():
    """One without an answer may have been carried out: a counter would count it again."""
    received = []

    async def slams(reader, writer):
        while said := await reader.read(1024):
            if b"INCR" in said:
                received.append(said)
                break
            writer.write(b"+OK\r\n" * said.count(b"*"))
        writer.close()

    async def run():
        async with await asyncio.start_server(slams, "127.0.0.1", 0) as slamming:
            port = slamming.sockets[0].getsockname()[1]
            link = RedisLink(f"redis://127.0.0.1:{port}", timeout=5)
            assert await unavailable(link, "INCR", "counted") == "ConnectionError"
            await link.close()

    asyncio.run(run())
    assert len(received) == 1


@pytest.mark.parametrize("password", ["", "hunter2"])
def test_sentinel_puts_a_replica_for_its_master(password, tmp_path):
    """The same link finds it, without a word."""

    async def run():
        link = RedisLink(f"{servers.url}?db=2", timeout=0.5)
        await until_it_answers(link, "SET", "written", 1)
        assert await asyncio.gather(*(count(link, "counted") for _ in range(20)))
        await asyncio.to_thread(servers.master.kill)
        began = time.monotonic()
        said = await unavailable(link, "GET", "written")
        assert time.monotonic() - began < 1.5
        assert str(servers.master.port) not in said
        await until_it_answers(link, "SET", "written", 2)
        assert await link.ask("GET", "written") == b"2"
        await link.close()
        with redis.Redis(port=servers.replica.port, db=2, password=password or None) as client:
            assert client.get("written") == b"2"

    with running_sentinel(tmp_path, password) as servers:
        asyncio.run(run())


def test_a_sentinel_that_hangs_leaves_time_for_the_next(tmp_path):
    async def run():
        async with await asyncio.start_server(deaf, "127.0.0.1", 0) as hanging:
            port = hanging.sockets[0].getsockname()[1]
            link = RedisLink(servers.url.replace("://", f"://127.0.0.1:{port},"), timeout=3)
            assert await link.ask("SET", "written", 1)
            await link.close()

    with running_sentinel(tmp_path) as servers:
        asyncio.run(run())


@pytest.mark.parametrize(
    "url", ["redis+sentinel://:hunter2@127.0.0.1:1/m?db=1", "redis+cluster://:hunter2@127.0.0.1:1"]
)
def test_several_servers_that_are_all_down(url):
    async def run():
        link = RedisLink(url, timeout=5)
        assert await unavailable(link, "GET", "a") in ("MasterNotFoundError", "RedisClusterException")
        await link.close()

    asyncio.run(run())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def test_a_cluster_is_asked_where_the_key_is(cluster):
    """Scripts too, by their text and by their hash."""

    async def run():
        link = RedisLink(cluster.url, timeout=5)
        for number in range(30):
            assert await count(link, f"k{number}") == 1
        script = (await asyncio.to_thread(cluster.servers[0].command, "SCRIPT", "LOAD", COUNT)).decode()
        for other in cluster.servers[1:]:
            await asyncio.to_thread(other.command, "SCRIPT", "LOAD", COUNT)
        said = await asyncio.gather(*(link.ask("EVALSHA", script, 1, f"k{number}") for number in range(30)))
        assert said == [2] * 30
        assert await link.ask("SET", "whole", b"\xff", "PX", 60_000)
        assert await link.ask("GET", "whole") == b"\xff"
        assert await link.ask("PING")
        assert await unavailable(link, "MULTI") == "RedisClusterException"
        await link.close()
        assert await count(link, "k0") == 3  # closed is not the end
        await link.close()

    asyncio.run(run())
    assert all(server.command("DBSIZE") for server in cluster.servers)


def test_a_cluster_is_known_within_the_time_of_a_command(cluster):
    """Its table of all commands is not read: that takes longer than all the time a rate limit gives."""

    async def run():
        link = RedisLink(cluster.url, timeout=5)
        before = commands()
        assert await link.ask("GET", "any") is None
        assert commands() == before
        await link.close()

    def commands():
        return sum(server.info("commandstats").get("cmdstat_command", {}).get("calls", 0) for server in cluster.servers)

    asyncio.run(run())


def test_a_part_of_a_cluster_stalls(cluster):
    """Nobody waits longer for it, and what it says late is nobody's answer."""
    key = next(f"s{number}" for number in range(100) if slot_of(cluster.servers[0], f"s{number}") < 5000)

    async def run():
        link = RedisLink(cluster.url, timeout=0.5)
        await until_it_answers(link, "SET", key, 0)
        assert await asyncio.gather(*(link.ask("GET", key) for _ in range(10))) == [b"0"] * 10
        cluster.servers[0].pause()
        try:
            began = time.monotonic()
            said = await asyncio.gather(*(unavailable(link, "GET", key) for _ in range(10)))
            assert time.monotonic() - began < 2.5
            assert set(said) <= {"TimeoutError", "ConnectionError"}
            before = looks(cluster.servers[1:])
            for _ in range(20):  # whichever is asked first, and one of three is the one that hangs
                with contextlib.suppress(RedisUnavailableError):
                    await link.ask("GET", key)
            assert looks(cluster.servers[1:]) > before, "nobody looks whether another has taken its place"
        finally:
            cluster.servers[0].go_on()
        for number in range(1, 20):
            await until_it_answers(link, "SET", key, number)
            assert await link.ask("GET", key) == b"%d" % number
        await link.close()

    asyncio.run(run())


def test_slots_that_have_moved_are_learnt_one_by_one(cluster):
    """Looking at the whole cluster would close the connections of those who are being answered."""
    here, there, third = cluster.servers
    keys = [key for key in (f"m{number}" for number in range(100)) if slot_of(here, key) < 5000][:8]

    async def run():
        link = RedisLink(cluster.url, timeout=5)
        assert await link.ask("GET", keys[0]) is None
        before = looks(cluster.servers)
        identity = there.command("CLUSTER", "MYID")
        for server in (there, here, third):
            for key in keys:
                server.command("CLUSTER", "SETSLOT", slot_of(here, key), "NODE", identity)
        for key in keys:
            assert await count(link, key) == 1
        assert looks(cluster.servers) == before
        await link.close()
        assert all(there.command("EXISTS", key) for key in keys)

    asyncio.run(run())


def test_a_part_of_a_cluster_is_killed_and_started_again(cluster):
    async def run():
        link = RedisLink(cluster.url, timeout=0.5)
        keys = [f"r{number}" for number in range(20)]
        for key in keys:
            await until_it_answers(link, "SET", key, 1)
        await asyncio.to_thread(cluster.servers[2].kill)
        refused = 0
        for key in keys:
            try:
                await link.ask("GET", key)
            except RedisUnavailableError:
                refused += 1
        assert refused
        await asyncio.to_thread(cluster.servers[2].start)
        for key in keys:
            await until_it_answers(link, "SET", key, 2)
        await link.close()

    asyncio.run(run())


def looks(servers):
    """How often somebody has asked them for the whole cluster."""
    return sum(server.info("commandstats").get("cmdstat_cluster|slots", {}).get("calls", 0) for server in servers)


def slot_of(server, key):
    return server.command("CLUSTER", "KEYSLOT", key)
