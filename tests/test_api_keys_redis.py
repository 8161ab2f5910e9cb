"""Records in a real Redis, which is killed and comes back."""

import asyncio
import contextlib

import pytest
import redis.asyncio
import trio

from secure_asgi import ConfigurationError
from secure_asgi.api_keys import APIKeyMiddleware, KeysUnavailableError, RedisKeys, create_key
from secure_asgi.api_keys import redis_store as module

from . import asgi
from .redis_server import deaf, running_redis

NEW = create_key(client="shop", scopes="a")
HEADERS = {"x-api-key": NEW.key.reveal()}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


def run(server, story, **options):
    async def told():
        keys = RedisKeys(server.url, **options)
        await keys._link.ask("FLUSHALL")
        try:
            return await story(keys)
        finally:
            await keys.close()

    return asyncio.run(told())


async def status(layer):
    scope = asgi.http_scope(headers=HEADERS)
    return (await asgi.drive(layer, scope, [{"type": "http.request", "body": b""}])).status


def test_add_list_remove(server):
    other = create_key(client="bank").record

    async def story(keys):
        await keys.open()
        await keys.add(NEW.record)
        await keys.add(other)
        assert set(await keys.list()) == {NEW.record, other}
        assert await keys.list(client="bank") == (other,)
        assert await keys.remove(other.id) is True
        assert await keys.remove(other.id) is False
        assert await keys.find(NEW.record.id) == NEW.record
        assert await keys.find(other.id) is None
        with pytest.raises(ConfigurationError):
            await keys.add(NEW)

    run(server, story)


def test_what_was_found_is_remembered_for_its_time(server):
    async def story(keys):
        now = 0.0
        keys._now = lambda: now
        there = RedisKeys(server.url)
        await there.add(NEW.record)
        assert await keys.find(NEW.record.id) == NEW.record
        await there.remove(NEW.record.id)
        await there.close()
        now = 4.9
        assert keys.find(NEW.record.id) == NEW.record, "without waiting"
        now = 5.0
        assert await keys.find(NEW.record.id) is None

    run(server, story)


def test_a_removal_here_holds_at_once(server):
    async def story(keys):
        await keys.add(NEW.record)
        await keys.find(NEW.record.id)
        await keys.remove(NEW.record.id)
        assert await keys.find(NEW.record.id) is None

    run(server, story)


def test_nothing_is_remembered_with_ttl_0(server):
    async def story(keys):
        await keys.add(NEW.record)
        for _ in range(2):
            assert await keys.find(NEW.record.id) == NEW.record
        assert len(keys._found) == 0

    run(server, story, ttl=0)


@pytest.mark.parametrize("stored", [b"", b"{", b"7", b'{"id": "a"}', b"\xff", b"[" * 100_000])
def test_a_record_that_cannot_be_read_is_an_outage(server, stored):
    async def story(keys):
        await keys._link.ask("HSET", "secure_asgi:api_keys", NEW.record.id, stored)
        with pytest.raises(KeysUnavailableError, match="cannot be read"):
            await keys.find(NEW.record.id)

    run(server, story)


def test_killed_and_back(tmp_path):
    """503 while it is away, whatever the key; what is remembered passes until its time is over; it recovers."""

    async def story(server):
        now = 0.0
        keys = RedisKeys(server.url, timeout=5.0)
        keys._now = lambda: now
        layer = APIKeyMiddleware(asgi.hello, keys=keys, timeout=10.0)
        await keys.add(NEW.record)
        assert await status(layer) == 200
        server.kill()
        assert await status(layer) == 200
        now = 6.0
        answer = await asgi.drive(layer, asgi.http_scope(headers=HEADERS), [])
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        with pytest.raises(KeysUnavailableError):
            await keys.remove(NEW.record.id)
        server.start()
        assert await status(layer) == 401, "it came back empty"
        await keys.add(NEW.record)
        assert await status(layer) == 200
        await keys.close()

    with running_redis(tmp_path) as server:
        asyncio.run(story(server))


def test_one_that_never_answers_is_left_alone_for_a_second():
    async def story():
        silent = await asyncio.start_server(deaf, "127.0.0.1", 0)
        url = f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}/0"
        keys = RedisKeys(url, timeout=0.05)
        with pytest.raises(KeysUnavailableError, match="TimeoutError"):
            await keys.find(NEW.record.id)
        with pytest.raises(KeysUnavailableError, match="a moment ago"):
            await keys.find(NEW.record.id)
        began = keys._now()
        keys._now = lambda: began + 2
        with pytest.raises(KeysUnavailableError, match="TimeoutError"):
            await keys.find(NEW.record.id)
        await keys.close()
        silent.close()

    asyncio.run(story())


def test_a_client_of_ones_own_stays_open(server):
    async def story(_):
        client = redis.asyncio.from_url(server.url, decode_responses=True)
        keys = RedisKeys(client, prefix="mine")
        await keys.add(NEW.record)
        assert await keys.find(NEW.record.id) == NEW.record
        assert await client.hlen("mine") == 1
        await keys.close()
        assert await client.ping()
        await client.aclose()

    run(server, story)


def test_trio_is_refused_at_start_up():
    with pytest.raises(ConfigurationError, match="asyncio"):
        trio.run(RedisKeys("redis://127.0.0.1:1/0").open)


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ("http://a", {}, "redis://"),
        (7, {}, "Redis"),
        ("redis://a", {"prefix": ""}, "prefix="),
        ("redis://a", {"prefix": b"a"}, "prefix="),
        ("redis://a", {"ttl": -1}, "ttl="),
        ("redis://a", {"ttl": 61}, "ttl="),
        ("redis://a", {"ttl": True}, "ttl="),
        ("redis://a", {"ttl": "5"}, "ttl="),
        ("redis://a", {"timeout": 0}, "timeout="),
    ],
)
def test_wrong_options(given, options, said):
    with pytest.raises(ConfigurationError, match=said):
        RedisKeys(given, **options)


def test_the_defaults():
    with contextlib.suppress(AttributeError):
        keys = RedisKeys("redis://127.0.0.1:1/0")
    assert (keys._ttl, keys._timeout, keys._prefix, module.MAX_TTL) == (5.0, 0.5, "secure_asgi:api_keys", 60.0)
