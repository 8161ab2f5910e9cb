"""One Redis asked: bounded in time, loud when it is down, at home in one event loop at a time."""

import asyncio
import sys
import time

import pytest
import redis.asyncio

from secure_asgi import ConfigurationError
from secure_asgi._redis import RedisLink, RedisUnavailableError

from .redis_server import deaf, running_redis


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


async def unavailable(link, *command):
    with pytest.raises(RedisUnavailableError) as refused:
        await link.ask(*(command or ("PING",)))
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
    assert link._client is None
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


def test_another_event_loop_gets_another_client(server):
    """A client belongs to the loop it was made in; one of a loop that is gone is not closed in another."""
    link = RedisLink(server.url)
    clients = []

    async def run():
        assert await link.ask("PING")
        clients.append(link._client)
        assert await link.ask("PING")
        assert link._client is clients[-1]  # and one loop keeps its own

    async def close_elsewhere():
        await link.close()
        assert link._client is None

    async def last():
        await run()
        await link.close()
        assert link._client is None
        assert await link.ask("PING")  # closed is not the end
        await link.close()

    first = asyncio.new_event_loop()
    try:
        first.run_until_complete(run())
        asyncio.run(last())
        assert clients[0] is not clients[1]
        first.run_until_complete(clients[0].aclose())
        first.run_until_complete(run())
        asyncio.run(close_elsewhere())
        first.run_until_complete(clients[2].aclose())
    finally:
        first.close()


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


@pytest.mark.parametrize("url", ["redis://h:6379/0", "rediss://u:p@h", "unix:///run/redis.sock"])
def test_urls(url):
    assert RedisLink(url)._given == url


@pytest.mark.parametrize("url", ["", "h:6379", "http://h", "REDIS", "redis:/h", "redis:h", "tcp://:hunter2@h", "//h"])
def test_no_urls(url):
    with pytest.raises(ConfigurationError, match="a Redis is named by a redis://, rediss:// or unix:// URL") as refused:
        RedisLink(url)
    assert "hunter2" not in str(refused.value)


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
