"""Real servers with real TLS: uvicorn and hypercorn in a thread, on whichever event loop; any in its own process."""

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import anyio.from_thread
import hypercorn
import uvicorn
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.uri import parse_uri

from secure_asgi.servers import uvicorn as uvicorn_hook
from secure_asgi.servers.hypercorn import serve
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import server_context

from .paths import ENVIRONMENT

AUTHORITY = CertificateAuthority("Test CA")
ISSUING = AUTHORITY.subordinate()
NAMES = ("a", "b", "c", "d")


def write_certificates(folder: Path) -> Path:
    """A server, four clients under an intermediate authority, and some whom nobody should let in."""
    AUTHORITY.issue("dns:localhost", usage="server").write(folder / "server.pem", folder / "server.key")
    (folder / "ca.pem").write_bytes(AUTHORITY.certificate_pem)
    for name in NAMES:
        ISSUING.issue(f"dns:{name}.clients.example").write(folder / f"{name}.pem", folder / f"{name}.key")
    ISSUING.issue("dns:other.example").write(folder / "other.pem", folder / "other.key")
    CertificateAuthority("Other").issue("dns:a.clients.example").write(folder / "foreign.pem", folder / "foreign.key")
    AUTHORITY.issue("dns:a.clients.example", usage="server").write(folder / "usage.pem", folder / "usage.key")
    return folder


def tls_context(folder: Path, *protocols: str, client_auth: str = "optional"):
    """Of the server of such a folder; ``protocols`` are what it offers by ALPN."""
    context = server_context(
        folder / "server.pem", folder / "server.key", client_ca=folder / "ca.pem", client_auth=client_auth
    )
    context.set_alpn_protocols(protocols or ("h2", "http/1.1"))
    return context


def resuming_context(folder: Path, *, options: int = 0, version=ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """As people make one by hand, or servers from files: of one version, and its sessions can be resumed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.options |= options
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.contextmanager
def uvicorn_serving(app, *, tls=None, host="127.0.0.1", path=None, **options):
    """A uvicorn; gives its port, or nothing where ``path`` is a Unix socket's. ``tls`` is a context."""
    options = {
        "host": host,
        "port": 0,
        "uds": path,
        "lifespan": "off",
        "log_config": None,
        "http": uvicorn_hook.AutoProtocol,
        "ssl_context_factory": tls and (lambda config, default: tls),
    } | options
    server = uvicorn.Server(uvicorn.Config(app, **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.002)
    try:
        yield 0 if path else server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


LOOPS = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


class Configured(hypercorn.Config):
    """With a TLS context of our own."""

    ssl_enabled = True
    tls = None

    def create_ssl_context(self):
        return self.tls


@contextlib.contextmanager
def hypercorn_serving(app, *, loop="asyncio", tls=None, host="127.0.0.1", path=None, serve=serve, **options):
    """A hypercorn; gives its port, or nothing where ``path`` is a Unix socket's. ``tls`` is a context."""
    if path:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen()
    else:
        listening = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    port = 0 if path else listening.getsockname()[1]
    options = {"bind": f"fd://{listening.detach()}", "errorlog": None, "graceful_timeout": 1, "tls": tls} | options
    config = (Configured if tls else hypercorn.Config).from_mapping(options)
    backend, backend_options = LOOPS[loop]
    with anyio.from_thread.start_blocking_portal(backend, backend_options) as portal:
        done = portal.call(anyio.Event)
        serving = portal.start_task_soon(partial(serve, app, config, shutdown_trigger=done.wait))
        try:
            yield port
        finally:
            portal.call(done.set)
            serving.result(timeout=20)


SERVERS = {
    "uvicorn, asyncio": partial(uvicorn_serving, loop="asyncio"),
    "uvicorn, uvloop": partial(uvicorn_serving, loop="uvloop"),
    "hypercorn, asyncio": partial(hypercorn_serving, loop="asyncio"),
    "hypercorn, uvloop": partial(hypercorn_serving, loop="uvloop"),
    "hypercorn, trio": partial(hypercorn_serving, loop="trio"),
}


@contextlib.contextmanager
def in_its_own_process(command, *, folder, log, environment=ENVIRONMENT):
    """``command`` as words; what it prints goes into ``log``."""
    with open(log, "w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=20)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


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


async def tell(scope, receive, send):
    """Answers with the name of the user, and all there is in ``extensions``."""
    user = scope.get("user")
    told = {"user": user and user.display_name, "client": scope["client"], "extensions": scope["extensions"]}
    told["has_headers_of_a_proxy"] = any(name == b"client-cert" for name, _ in scope["headers"])
    told["http_version"] = scope["http_version"]
    await say(json.dumps(told).encode(), scope, receive, send)
    for description in scope["extensions"].values():
        description.clear()  # what one request does to its own description must not reach the next


async def say(body, scope, receive, send):
    """The whole answer, over HTTP or as a WebSocket's only message."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": body.decode()})
        await send({"type": "websocket.close"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


def open_websocket(connection: ssl.SSLSocket, url: str, fields=()) -> tuple[int | None, str | None]:
    """Status of the handshake, and the first text. ``connection`` is closed.

    In one thread, because the client with threads now and then loses what it writes while another reads TLS.
    """
    protocol = ClientProtocol(parse_uri(url))
    request = protocol.connect()
    request.headers.update(fields)
    protocol.send_request(request)
    status = None
    with connection:
        connection.sendall(b"".join(protocol.data_to_send()))
        while data := connection.recv(65536):
            protocol.receive_data(data)
            for event in protocol.events_received():
                if isinstance(event, Frame):
                    return status, event.data.decode()
                status = event.status_code
                if status != 101:
                    return status, None
    return status, None


def open_websocket_at(port: int, context: ssl.SSLContext, path: str, fields=()) -> tuple[int | None, str | None]:
    """The same on localhost."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    return open_websocket(
        context.wrap_socket(raw, server_hostname="localhost"), f"wss://localhost:{port}{path}", fields
    )
