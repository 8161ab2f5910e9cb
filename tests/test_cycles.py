"""A request leaves no reference cycle behind: counted with the collector off, in process and under uvicorn."""

import asyncio
import gc
import http.client
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn

from secure_asgi import Denial, Layer

from . import asgi

COUNT = 200


class Refuse(Layer):
    name = "refuse"

    def on_request(self, exchange, scope):
        return Denial("acme.no", 403, "No.")


class Gate(Layer):
    def on_request(self, exchange, scope):
        exchange.fields(scope)
        exchange.memo[self] = 1


class Stamp(Layer):
    def on_response(self, exchange, headers):
        headers.append((b"x-a", b"b"))


class Envelope(Layer):
    def on_error(self, exchange, error):
        return None

    def on_sent(self, exchange):
        pass

    def on_end(self, exchange):
        pass


def eight(app):
    for number, cls in enumerate([Gate, Gate, Gate, Envelope, Envelope, Stamp, Stamp]):
        app = type(f"{cls.__name__}{number}", (cls,), {"name": str(number)})(app)
    return app


@contextmanager
def collector_off():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def cyclic_in_process(app):
    async def requests(count):
        for _ in range(count):
            await asgi.drive(app, asgi.http_scope(), [])

    asyncio.run(requests(20))
    with collector_off():
        asyncio.run(requests(COUNT))
        return gc.collect() // COUNT


def cyclic_under_uvicorn(app, implementation):
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=implementation, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    connection = http.client.HTTPConnection(*server.servers[0].sockets[0].getsockname())

    def ask(times):
        for _ in range(times):
            connection.request("GET", "/")
            connection.getresponse().read()

    try:
        ask(20)
        with collector_off():
            ask(COUNT)
            return gc.collect() // COUNT
    finally:
        connection.close()
        server.should_exit = True
        thread.join(10)


@pytest.mark.parametrize("inner", [asgi.hello, Refuse(asgi.hello)], ids=["answered", "refused"])
def test_in_process(inner):
    assert cyclic_in_process(eight(inner)) == cyclic_in_process(asgi.hello)


@pytest.mark.parametrize("implementation", ["httptools", "h11"])
@pytest.mark.parametrize("inner", [asgi.hello, Refuse(asgi.hello)], ids=["answered", "refused"])
def test_under_uvicorn(inner, implementation):
    """The client and the server share the process: what they leave is the same with and without us."""
    assert cyclic_under_uvicorn(eight(inner), implementation) == cyclic_under_uvicorn(asgi.hello, implementation)
