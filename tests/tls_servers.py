"""Real servers that serve one small application over a given TLS context, in a thread."""

import contextlib
import http.client
import socket
import threading
import time
from functools import partial

import anyio
import hypercorn.asyncio
import hypercorn.config
import hypercorn.trio
import uvicorn


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.contextmanager
def on_uvicorn(context, loop):
    """Gives the port."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        lifespan="off",
        log_config=None,
        loop=loop,
        ssl_context_factory=lambda config, default: context,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.002)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


class HypercornConfig(hypercorn.config.Config):
    """hypercorn with a context of ours."""

    context = None

    @property
    def ssl_enabled(self):
        return True

    def create_ssl_context(self):
        return self.context


@contextlib.contextmanager
def on_hypercorn(context, loop):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = HypercornConfig()
    config.context, config.bind, config.errorlog = context, [f"127.0.0.1:{port}"], None
    # A plain event, waited for in a thread: it is set from outside the loop.
    ended = threading.Event()
    wait = partial(anyio.to_thread.run_sync, ended.wait)
    serve = partial(LOOPS[loop], app, config, shutdown_trigger=wait)
    thread = threading.Thread(target=partial(anyio.run, serve, backend=loop))
    thread.start()
    while not is_open(port):
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield port
    finally:
        ended.set()
        thread.join()


LOOPS = {"asyncio": hypercorn.asyncio.serve, "trio": hypercorn.trio.serve}

SERVERS = {
    "uvicorn-asyncio": lambda context: on_uvicorn(context, "asyncio"),
    "uvicorn-uvloop": lambda context: on_uvicorn(context, "uvloop"),
    "hypercorn-asyncio": lambda context: on_hypercorn(context, "asyncio"),
    "hypercorn-trio": lambda context: on_hypercorn(context, "trio"),
}


def is_open(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def connected(port, client_tls):
    """A connection that is kept alive, by its TLS handshake; the socket is ``.sock``."""
    connection = http.client.HTTPSConnection("localhost", port, context=client_tls, timeout=5)
    connection.connect()
    with contextlib.closing(connection):
        yield connection


def ask(connection):
    connection.request("GET", "/")
    return connection.getresponse().read()
