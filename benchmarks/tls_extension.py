"""Telling an application about its connection, beside a TLS handshake and beside a bare FastAPI request."""

import contextlib
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from secure_asgi import MutualTLSMiddleware, SanitizedErrorMiddleware
from secure_asgi.servers._connection import Connection
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import server_context

from .harness import Row, at_most, just, measure, request_through
from .service import request_scope

HANDSHAKES = 300
PEER = ("203.0.113.9", 50000)


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as given:
        contexts = _contexts(Path(given))
    half, tls = _server_half(*contexts)
    connection = Connection(PEER, tls)
    fill = _microseconds(lambda: Connection(PEER, tls))
    tell = _microseconds(lambda: connection.tell({"extensions": {}}))
    yield just("a handshake with a client certificate, the server's half", half, "us")
    yield just("the extension of a connection, filled", fill, "us")
    yield just("the extension of a request, told", tell, "us")
    yield at_most("filling the extension / the server's half of a handshake", 100 * fill / half, 3, "%")

    scope = request_scope(scheme="https")
    connection.tell(scope)
    service = fastapi_service()
    variants = {
        "bare": (request_through(service, scope), 60),
        "beside": (request_through(SanitizedErrorMiddleware(service), scope), 60),
        "both": (request_through(SanitizedErrorMiddleware(MutualTLSMiddleware(service)), scope), 60),
        "alone": (request_through(MutualTLSMiddleware(service), scope), 60),
    }
    requests = measure(variants, rounds=101)
    yield just("bare FastAPI request", requests.median("bare"), "us")
    yield just("a first layer of ours, whichever, added", requests.added("beside", "bare"), "us")
    yield just("mutual TLS with a cached verdict, added to that", requests.added("both", "beside"), "us")
    yield just("mutual TLS with a cached verdict as the only layer, added", requests.added("alone", "bare"), "us")
    yield at_most(
        "mutual TLS with a cached verdict, added to a layer / the bare request",
        requests.combined(lambda one: 100 * (one["both"] - one["beside"]) / one["bare"]),
        2,
        "%",
    )


def fastapi_service() -> FastAPI:
    """One path with a parameter, answered with JSON: about the least that FastAPI is used for."""
    service = FastAPI()

    @service.get("/orders/{number}")
    async def read(number: int) -> dict[str, Any]:
        return {"id": number, "item": "a pair of red shoes", "quantity": 1, "price": "59.90", "currency": "EUR"}

    return service


def _contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's that asks for a certificate, and a client's that has one, under an intermediate authority."""
    authority = CertificateAuthority()
    authority.issue("dns:localhost", usage="server").write(folder / "server.pem", folder / "server.key")
    authority.subordinate().issue("dns:client.example").write(folder / "client.pem", folder / "client.key")
    (folder / "ca.pem").write_bytes(authority.certificate_pem)
    client = ssl.create_default_context(cafile=folder / "ca.pem")
    client.load_cert_chain(folder / "client.pem", folder / "client.key")
    files = {"client_ca": folder / "ca.pem", "client_auth": "required"}
    return server_context(folder / "server.pem", folder / "server.key", **files), client


def _server_half(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> tuple[float, ssl.SSLObject]:
    """Microseconds of CPU that the server's side of a handshake takes, median of many; and the last of them, done."""
    halves = []
    for _ in range(HANDSHAKES):
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
        began = time.thread_time()
        server = server_context.wrap_bio(to_server, to_client, server_side=True)
        spent = time.thread_time() - began
        for _ in range(2):
            _go_on(client)
            began = time.thread_time()
            _go_on(server)
            spent += time.thread_time() - began
        halves.append(spent * 1e6)
    return statistics.median(halves), server


def _go_on(side: ssl.SSLObject) -> None:
    with contextlib.suppress(ssl.SSLWantReadError):
        side.do_handshake()


def _microseconds(call: Callable[[], object], times: int = 400, rounds: int = 31) -> float:
    figures = []
    for _ in range(rounds):
        began = time.thread_time()
        for _ in range(times):
            call()
        figures.append((time.thread_time() - began) / times * 1e6)
    return statistics.median(figures)
