"""Telling an application about its connection, beside the handshake of that connection."""

import contextlib
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from secure_asgi.servers._connection import Connection
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import server_context

from .harness import Row, at_most, just

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
