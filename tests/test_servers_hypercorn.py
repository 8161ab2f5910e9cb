"""What is hypercorn's own about its hook; what all hooks have in common is in ``test_servers_hooks``."""

import builtins
import importlib
import socket
import sys
from functools import partial
from types import SimpleNamespace

import httpx
import hypercorn.asyncio
import hypercorn.asyncio.run
import hypercorn.asyncio.tcp_server
import hypercorn.trio
import hypercorn.trio.run
import hypercorn.trio.tcp_server
import pytest
import trio

from secure_asgi import ConfigurationError, MutualTLSMiddleware
from secure_asgi.servers import hypercorn as hook

from .handshake import client_context
from .serving import hypercorn_serving, tell, tls_context, write_certificates

SERVE = {"asyncio": hypercorn.asyncio.serve, "trio": hypercorn.trio.serve}
RUN = {"asyncio": hypercorn.asyncio.run, "trio": hypercorn.trio.run}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


def status(port, folder):
    return httpx.get(f"https://localhost:{port}/", verify=client_context(folder, "a"), trust_env=False).status_code


@pytest.mark.parametrize("loop", SERVE)
def test_hypercorn_itself_stays_as_it_is_until_it_is_asked_to_tell(loop, folder, monkeypatch):
    """Fails closed without; and once installed, whoever starts it."""
    for run in RUN.values():
        monkeypatch.setattr(run, "TCPServer", run.TCPServer)  # put back at the end
    app = MutualTLSMiddleware(tell)
    options = {"loop": loop, "tls": tls_context(folder)}
    with hypercorn_serving(app, **options) as port:
        assert status(port, folder) == 200
    with hypercorn_serving(app, serve=SERVE[loop], **options) as port:
        assert status(port, folder) == 403
    hook.install()
    hook.install()
    assert [len(run.TCPServer.__mro__) for run in RUN.values()] == [4, 4]
    with hypercorn_serving(app, serve=SERVE[loop], **options) as port:
        assert status(port, folder) == 200
    with hypercorn_serving(app, **options) as port:
        assert status(port, folder) == 200


def test_without_trio_there_is_asyncio(monkeypatch):
    for run in RUN.values():
        monkeypatch.setattr(run, "TCPServer", run.TCPServer)
    monkeypatch.setattr(hook, "find_spec", lambda name: None)
    hook.install()
    assert issubclass(hypercorn.asyncio.run.TCPServer, hook._OnAsyncio)
    assert not issubclass(hypercorn.trio.run.TCPServer, hook._OnTrio)


def test_options_of_its_serve_are_passed_on():
    """``task_status`` under trio; and ``mode``, without which a plain function is taken for WSGI."""

    async def main():
        config = hypercorn.Config.from_mapping(errorlog=None, bind="127.0.0.1:0")
        async with trio.open_nursery() as nursery:
            (bound,) = await nursery.start(partial(hook.serve, lambda *asgi: tell(*asgi), config, mode="asgi"))
            async with httpx.AsyncClient(trust_env=False) as client:
                told = (await client.get(bound)).json()
            nursery.cancel_scope.cancel()
        return told

    assert trio.run(main)["extensions"]["secure_asgi"]["peer"][0] == "127.0.0.1"


class Other:
    """A server for one connection, built otherwise."""

    def __init__(self, handler, transport):
        self.handler = handler

    async def run(self):
        self.app = None


class Plain(hypercorn.asyncio.tcp_server.TCPServer):
    def run(self):
        return self.app


class Elsewhere(hypercorn.asyncio.tcp_server.TCPServer):
    async def run(self):
        return self.config


async def otherwise(app, config):
    """Does not come by the class, or by the function, that it is expected to."""


ASYNCIO_RUN, TRIO_RUN = hypercorn.asyncio.run, hypercorn.trio.run
SERVER, TRIO_SERVER = hypercorn.asyncio.tcp_server, hypercorn.trio.tcp_server

MOVES = {
    "the class is made in another place": ("asyncio", [(ASYNCIO_RUN, "TCPServer", Other)]),
    "there is no such class": ("asyncio", [(SERVER, "TCPServer", None)]),
    "nobody makes one": ("asyncio", [(ASYNCIO_RUN, "worker_serve", otherwise)]),
    "what serves is no function": ("trio", [(TRIO_RUN, "worker_serve", SimpleNamespace())]),
    "serve goes another way": ("trio", [(hypercorn.trio, "serve", otherwise)]),
    "it is given other things": ("asyncio", [(SERVER, "TCPServer", Other), (ASYNCIO_RUN, "TCPServer", Other)]),
    "it does not run as a coroutine": ("asyncio", [(SERVER, "TCPServer", Plain), (ASYNCIO_RUN, "TCPServer", Plain)]),
    "it finds the application elsewhere": (
        "asyncio",
        [(SERVER, "TCPServer", Elsewhere), (ASYNCIO_RUN, "TCPServer", Elsewhere)],
    ),
    "trio keeps the TLS side elsewhere": ("trio", [(trio, "SSLStream", trio.SocketStream)]),
    "there is no such module": ("asyncio", [(sys.modules, "hypercorn.asyncio.tcp_server", None)]),
}


@pytest.mark.parametrize(("backend", "changes"), MOVES.values(), ids=MOVES)
def test_a_hypercorn_that_is_built_otherwise_is_not_served_with(backend, changes, monkeypatch):
    hook._telling_server.__wrapped__(backend)
    for target, name, value in changes:
        if target is sys.modules:
            monkeypatch.setitem(sys.modules, name, value)
        elif value is None:
            monkeypatch.delattr(target, name)
        else:
            monkeypatch.setattr(target, name, value)
    with pytest.raises(ConfigurationError, match=r"pip install 'hypercorn>=0\.18,<0\.19'"):
        hook._telling_server.__wrapped__(backend)


def test_a_client_under_trio_that_has_gone_is_no_unix_socket():
    def gone():
        raise OSError("not connected")

    stream = SimpleNamespace(socket=SimpleNamespace(getpeername=gone, family=socket.AF_INET))
    scope = {}
    hook._connection_over(stream).tell(scope)
    assert scope["extensions"]["secure_asgi"] == {"peer": ("unknown", 0)}


def test_without_hypercorn_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def import_without(name, *rest, **more):
        if name == "hypercorn":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, hook.__name__)
    monkeypatch.setattr(builtins, "__import__", import_without)
    with pytest.raises(ConfigurationError, match=r"pip install 'secure-asgi\[hypercorn\]'"):
        importlib.import_module(hook.__name__)
