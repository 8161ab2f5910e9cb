"""Everything around the service: a certificate authority, certificates, an issuer of tokens, real servers."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ...audit import JSONLinesSink
from ...errors import ConfigurationError
from ...testing import TokenFactory, recorded_audit
from ...testing.certificates import CertificateAuthority, IssuedCertificate
from ...tls import server_context
from .orders import AUDIENCE, CLIENT, create_app


@dataclass(frozen=True)
class World:
    """What the tour needs to know of it.

    ``folder`` holds the certificates, the revocation list, the audit log and the server's log.
    """

    folder: Path
    https: str
    http: str
    tokens: TokenFactory
    audit: Any
    authority: CertificateAuthority
    clients: dict[str, IssuedCertificate]

    def client_tls(self, name: str | None) -> ssl.SSLContext:
        """TLS as one of ``clients`` does it, by name, or without a certificate."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if name:
            context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context

    def revoke(self, name: str) -> None:
        """As an authority does it: a new list takes the place of the old one."""
        self.authority.revoke(self.clients[name])
        new = self.folder / "new.crl"
        new.write_bytes(self.authority.revocation_list())
        new.replace(self.folder / "ca.crl")


@contextmanager
def open_world(folder: Path, without: str | None) -> Iterator[World]:
    """Up while the block runs: issuer, orders service with TLS, the same service on plain HTTP."""
    authority, clients = _write_certificates(folder)
    issuer_socket, tls_sockets, plain_sockets = (
        _listen("127.0.0.1"),
        _listen("127.0.0.1", "::1"),
        _listen("127.0.0.1", "::1"),
    )
    issuer_url = f"http://127.0.0.1:{_port(issuer_socket)}"
    tokens = TokenFactory(issuer=issuer_url, audience=AUDIENCE)
    records = recorded_audit()
    app = create_app(
        issuer=issuer_url,
        tls_port=_port(tls_sockets),
        folder=folder,
        sinks=(records, JSONLinesSink(folder / "audit.jsonl")),
        without=without,
    )
    common: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False, "proxy_headers": False}
    tls = server_context(
        folder / "server.pem", folder / "server.key", client_ca=folder / "ca.pem", client_auth="optional"
    )
    servers = [
        (uvicorn.Config(_issuer(tokens), lifespan="off", **common), issuer_socket),
        (
            uvicorn.Config(
                app,
                http="secure_asgi.servers.uvicorn:AutoProtocol",
                ssl_context_factory=lambda config, default: tls,
                **common,
            ),
            tls_sockets,
        ),
        (uvicorn.Config(app, http="secure_asgi.servers.uvicorn:AutoProtocol", lifespan="off", **common), plain_sockets),
    ]
    with _running(servers):
        yield World(
            folder=folder,
            https=f"https://localhost:{_port(tls_sockets)}",
            http=f"http://localhost:{_port(plain_sockets)}",
            tokens=tokens,
            audit=records,
            authority=authority,
            clients=clients,
        )


def _write_certificates(folder: Path) -> tuple[CertificateAuthority, dict[str, IssuedCertificate]]:
    authority, foreign = CertificateAuthority("Demo CA"), CertificateAuthority("Somebody else's CA")
    (folder / "ca.pem").write_bytes(authority.certificate_pem)
    (folder / "ca.crl").write_bytes(authority.revocation_list())
    certificates = {
        "server": authority.issue("dns:localhost", "ip:127.0.0.1", "ip:::1", usage="server"),
        "shop": authority.issue(f"dns:{CLIENT}"),
        "former": authority.issue("dns:former.clients.example"),
        "stranger": authority.issue("dns:stranger.example"),
        "foreign": foreign.issue(f"dns:{CLIENT}"),
    }
    for name, issued in certificates.items():
        issued.write(folder / f"{name}.pem", folder / f"{name}.key")
    return authority, certificates


def _issuer(tokens: TokenFactory) -> Starlette:
    """An OpenID provider as far as a resource server sees one: discovery and keys."""

    async def discovery(request: Request) -> JSONResponse:
        return JSONResponse({"issuer": tokens.issuer, "jwks_uri": f"{tokens.issuer}/jwks"})

    async def keys(request: Request) -> JSONResponse:
        return JSONResponse(tokens.jwks)

    return Starlette(routes=[Route("/.well-known/openid-configuration", discovery), Route("/jwks", keys)])


def _listen(*hosts: str) -> list[socket.socket]:
    """One free port, on every one of ``hosts`` that this machine has."""
    listening = [_bound(hosts[0], 0)]
    for host in hosts[1:]:
        try:
            listening.append(_bound(host, _port(listening)))
        except OSError:
            continue  # no IPv6 here, or the port is taken there: the first address is enough
    return listening


def _bound(host: str, port: int) -> socket.socket:
    # With the protocol spelt out: asyncio switches Nagle's algorithm off only for sockets that say they are TCP, and
    # with it each answer over TLS would wait 40 ms for an acknowledgement.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _port(sockets: list[socket.socket]) -> int:
    return int(sockets[0].getsockname()[1])


@contextmanager
def _running(configured: list[tuple[uvicorn.Config, list[socket.socket]]]) -> Iterator[None]:
    """The servers, in one event loop in a thread of its own, where uvicorn leaves the signals alone."""
    servers = [(uvicorn.Server(config), sockets) for config, sockets in configured]

    async def serve() -> None:
        await asyncio.gather(*(server.serve(sockets=sockets) for server, sockets in servers))

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="demo servers", daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not all(server.started for server, _ in servers):
        if time.monotonic() > deadline or not thread.is_alive():
            raise ConfigurationError("the demo's servers did not start: see server.log")
        time.sleep(0.01)
    try:
        yield
    finally:
        for server, _ in servers:
            server.should_exit = True
        thread.join(timeout=10)
