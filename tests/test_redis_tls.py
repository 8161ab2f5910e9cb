"""TLS to a Redis: one context for all connections of a link, of the files as they are."""

import asyncio
import ssl

import pytest

from secure_asgi import ConfigurationError
from secure_asgi._redis import RedisLink, RedisUnavailableError
from secure_asgi._redis_tls import SharedContext
from secure_asgi.testing import issue_certificate

from .redis_server import free_port, running_redis


@pytest.fixture
def contexts(monkeypatch):
    """Those that are made meanwhile."""
    made = []
    create = ssl.create_default_context

    def counting():
        made.append(create())
        return made[-1]

    monkeypatch.setattr("redis.asyncio.connection.ssl.create_default_context", counting)
    return made


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return tmp_path_factory.mktemp("tls") / "authority.pem"


@pytest.fixture(scope="module")
def server(authority):
    folder = authority.parent
    issued = issue_certificate("dns:localhost", usage="server")
    issued.write(folder / "server.pem", folder / "server.key")
    authority.write_bytes(issued.authority_pem)
    port = free_port()
    options = {"port": port, "cert-file": folder / "server.pem", "key-file": folder / "server.key"}
    options |= {"ca-cert-file": authority, "auth-clients": "no"}
    words = [word for name, value in options.items() for word in (f"--tls-{name}", str(value))]
    with running_redis(folder, *words) as running:
        running.url = f"rediss://localhost:{port}"
        yield running


def test_all_connections_share_a_context(server, authority, contexts):
    """To make one takes fifty milliseconds, in which nothing else runs."""

    async def run():
        link = RedisLink(f"{server.url}?ssl_ca_certs={authority}", timeout=20)
        assert len(contexts) == 1
        said = await asyncio.gather(*(link.ask("ECHO", number) for number in range(100)))
        assert said == [b"%d" % number for number in range(100)]
        await link.close()
        assert await link.ask("PING")
        await link.close()

    asyncio.run(run())
    assert len(contexts) == 1


def test_who_is_not_trusted_is_not_asked(server):
    async def run():
        link = RedisLink(server.url, timeout=20)
        with pytest.raises(RedisUnavailableError, match="ConnectionError"):
            await link.ask("PING")
        await link.close()

    asyncio.run(run())


@pytest.mark.parametrize("url", ["rediss://{}", "rediss+sentinel://{}/m", "rediss+cluster://{}"])
def test_however_servers_are_found(url, contexts):
    """The context is the one that was made with the link, and speaks from the first octet on."""
    first = []

    async def listens(reader, writer):
        first.append(await reader.read(1))
        writer.close()

    async def run():
        async with await asyncio.start_server(listens, "127.0.0.1", 0) as listening:
            link = RedisLink(url.format(f":hunter2@127.0.0.1:{listening.sockets[0].getsockname()[1]}"), timeout=5)
            for _ in range(3):
                with pytest.raises(RedisUnavailableError) as refused:
                    await link.ask("GET", "a")
                assert "hunter2" not in str(refused.value)
            await link.close()

    asyncio.run(run())
    assert set(first) == {b"\x16"}  # a handshake record (RFC 8446 section 5.1)
    assert len(contexts) == 1


LATER = {
    "rediss+cluster://127.0.0.1:1": lambda cluster: cluster.nodes_manager.connection_kwargs["connection_class"](
        host="h"
    ),
    "rediss+sentinel://127.0.0.1:1/m": lambda sentinels: sentinels._master.connection_pool.make_connection(),
}


@pytest.mark.parametrize("url", LATER)
def test_servers_that_are_found_later(url, contexts):
    async def run():
        link = RedisLink(url, timeout=5)
        with pytest.raises(RedisUnavailableError):
            await link.ask("GET", "a")
        (client,) = link._clients.values()
        assert LATER[url](client._client).ssl_context.get() is contexts[0]
        await link.close()

    asyncio.run(run())


OPTIONS = {
    "ssl_ca_certs": "/nowhere/hunter2.pem",
    "ssl_cert_reqs": "hunter2",
    "ssl_certfile": "/nowhere/hunter2.pem",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options_that_make_none(option):
    with pytest.raises(ConfigurationError, match="the ssl_ options of a Redis's URL make no TLS context") as refused:
        RedisLink(f"rediss://h?{option}={OPTIONS[option]}")
    assert "hunter2" not in str(refused.value)


def test_a_file_that_is_replaced_is_read_again(tmp_path):
    """What is half written changes nothing."""
    file = tmp_path / "authority.pem"
    file.write_bytes(issue_certificate("dns:a").authority_pem)
    shared = SharedContext({"ssl_ca_certs": str(file), "password": "hunter2"})
    shared._files._every = shared._files._next_look = 0
    first = shared._current()
    assert shared._current() is first
    file.write_text("half of it")
    assert shared._current() is first
    file.write_bytes(issue_certificate("dns:b").authority_pem)
    assert shared._current() is not first
