"""The uvicorn hook, under real servers with real TLS; what no server can be made to do, on stand-ins."""

import asyncio
import builtins
import contextlib
import importlib
import json
import socket
import ssl
import sys
import threading
import time
from functools import partial
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
import websockets.exceptions
import websockets.sync.client
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from secure_asgi import ConfigurationError
from secure_asgi.mutual_tls import MutualTLSMiddleware
from secure_asgi.servers import uvicorn as hook
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import server_context
from tests.handshake import client_context

AUTHORITY = CertificateAuthority("Test CA")
ISSUING = AUTHORITY.subordinate()
NAMES = ("a", "b", "c", "d")
HTTP = {"httptools": hook.HttpToolsProtocol, "h11": "secure_asgi.servers.uvicorn:H11Protocol"}


async def tell(scope, receive, send):
    """Answers with the name of the user, and all there is in ``extensions``."""
    user = scope.get("user")
    told = {"user": user and user.display_name, "client": scope["client"], "extensions": scope["extensions"]}
    told["has_headers_of_a_proxy"] = any(name == b"client-cert" for name, _ in scope["headers"])
    body = json.dumps(told).encode()
    for description in scope["extensions"].values():
        description.clear()  # what one request does to its own description must not reach the next
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": body.decode()})
        await send({"type": "websocket.close"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def running(app, **options):
    """A uvicorn in a thread; gives its port, or nothing on a Unix socket."""
    options = {
        "host": "127.0.0.1",
        "port": 0,
        "lifespan": "off",
        "log_config": None,
        "http": hook.AutoProtocol,
    } | options
    server = uvicorn.Server(uvicorn.Config(app, **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.002)
    try:
        yield 0 if options.get("uds") else server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    AUTHORITY.issue("dns:localhost", usage="server").write(folder / "server.pem", folder / "server.key")
    (folder / "ca.pem").write_bytes(AUTHORITY.certificate_pem)
    for name in NAMES:
        ISSUING.issue(f"dns:{name}.clients.example").write(folder / f"{name}.pem", folder / f"{name}.key")
    ISSUING.issue("dns:other.example").write(folder / "other.pem", folder / "other.key")
    CertificateAuthority("Other").issue("dns:a.clients.example").write(folder / "foreign.pem", folder / "foreign.key")
    AUTHORITY.issue("dns:a.clients.example", usage="server").write(folder / "usage.pem", folder / "usage.key")
    return folder


@pytest.fixture(scope="module")
def client_tls(files):
    return partial(client_context, files)


def tls_options(files):
    def make_context(config, default):
        return server_context(
            files / "server.pem", files / "server.key", client_ca=files / "ca.pem", client_auth="optional"
        )

    return {"ssl_context_factory": make_context}


@pytest.fixture(scope="module", params=[(loop, http) for loop in ("asyncio", "uvloop") for http in HTTP], ids="-".join)
def port(request, files):
    loop, http = request.param
    app = MutualTLSMiddleware(tell, allow="dns:*.clients.example", exempt="/public")
    with running(app, loop=loop, http=HTTP[http], **tls_options(files)) as port:
        yield port


def get(port, context, path="/", **options):
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.get(f"https://localhost:{port}{path}", **options)


def connect(port, context, **options):
    return websockets.sync.client.connect(f"wss://localhost:{port}/ws", ssl=context, proxy=None, **options)


def test_the_whole_extension_over_http(port, client_tls):
    """MTLS-1, TLS-5: all six keys, the chain as the client sent it, leaf first."""
    answer = get(port, client_tls("a"), headers={"client-cert": ":AA==:"}).json()
    assert answer["user"] == "a.clients.example"
    assert not answer["has_headers_of_a_proxy"]
    tls = answer["extensions"]["tls"]
    leaf, intermediate = tls["client_cert_chain"]
    assert ssl.PEM_cert_to_DER_cert(intermediate) == ssl.PEM_cert_to_DER_cert(ISSUING.certificate_pem.decode())
    assert leaf != intermediate
    assert tls["client_cert_name"] == "CN=a.clients.example"
    assert tls["client_cert_error"] is None
    assert tls["server_cert"] is None
    assert tls["tls_version"] == 0x0304
    assert tls["cipher_suite"] in (0x1301, 0x1302, 0x1303)
    host, client_port = answer["extensions"]["secure_asgi"]["peer"]
    assert host == "127.0.0.1"
    assert [host, client_port] == answer["client"]


def test_the_same_over_a_websocket(port, client_tls):
    with connect(port, client_tls("b")) as connection:
        told = json.loads(connection.recv(timeout=5))
    assert told["user"] == "b.clients.example"
    assert len(told["extensions"]["tls"]["client_cert_chain"]) == 2
    assert told["extensions"]["secure_asgi"]["peer"] == told["client"]


@pytest.mark.parametrize("name", [None, "other"], ids=["no certificate", "wrong name"])
def test_403_over_http_and_over_a_websocket(port, client_tls, name):
    """MTLS-4."""
    assert get(port, client_tls(name)).status_code == 403
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused, connect(port, client_tls(name)):
        pass
    assert refused.value.response.status_code == 403
    assert get(port, client_tls(name), "/public").status_code == 200


@pytest.mark.parametrize("name", ["foreign", "usage"])
def test_what_does_not_verify_never_becomes_a_request(port, client_tls, name):
    """CERT-1, CERT-3: another authority, or a certificate for servers. Under TLS 1.3 the client reads of it late."""
    with pytest.raises(httpx.TransportError):
        get(port, client_tls(name))
    assert get(port, client_tls("a")).status_code == 200


def test_a_client_that_only_speaks_tls_1_2_is_refused(port, client_tls):
    with pytest.raises(httpx.TransportError):
        get(port, client_tls("a", maximum_version=ssl.TLSVersion.TLSv1_2))


def test_nobody_is_taken_for_another(port, client_tls):
    """Four clients with their connections kept alive, their requests interleaved in the server's one loop."""

    async def ask(name):
        limits = httpx.Limits(max_connections=2)
        async with httpx.AsyncClient(verify=client_tls(name), trust_env=False, limits=limits) as client:
            answers = [await client.get(f"https://localhost:{port}/") for _ in range(60)]
            answers += await asyncio.gather(*(client.get(f"https://localhost:{port}/") for _ in range(20)))
            return [answer.json()["user"] for answer in answers]

    async def ask_all():
        return await asyncio.gather(*map(ask, NAMES))

    for name, users in zip(NAMES, asyncio.run(ask_all()), strict=True):
        assert users == [f"{name}.clients.example"] * 80


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::uvicorn.config.UvicornDeprecationWarning")
@pytest.mark.parametrize("ws", ["websockets", "websockets-sansio", "wsproto"])
def test_every_websocket_implementation(ws, files, client_tls):
    app = MutualTLSMiddleware(tell)
    with running(app, ws=ws, **tls_options(files)) as port, connect(port, client_tls("c")) as connection:
        assert json.loads(connection.recv(timeout=5))["user"] == "c.clients.example"


@pytest.mark.parametrize("http", HTTP)
def test_plain_http_has_a_peer_and_no_tls_and_the_peer_is_not_what_a_header_says(http):
    with running(tell, http=HTTP[http], ws="none") as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/", headers={"x-forwarded-for": "203.0.113.7"}, trust_env=False)
    told = answer.json()
    assert told["client"] == ["203.0.113.7", 0]
    assert told["extensions"]["secure_asgi"]["peer"][0] == "127.0.0.1"
    assert told["extensions"]["secure_asgi"]["peer"][1] > 0
    assert "tls" not in told["extensions"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_unix_socket_has_no_peer(loop, tmp_path):
    path = str(tmp_path / "s")
    with running(tell, uds=path, loop=loop), httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client:
        assert client.get("http://localhost/").json()["extensions"]["secure_asgi"] == {"peer": None}


def test_ipv6_is_an_address_and_a_port():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with running(tell, host="::1") as port:
        told = httpx.get(f"http://[::1]:{port}/", trust_env=False).json()
    assert told["extensions"]["secure_asgi"]["peer"] == told["client"]
    assert told["client"][0] == "::1"


# --- stand-ins -----------------------------------------------------------------------------------------------------


def transport(peername, family=socket.AF_INET, **more):
    def get_extra_info(name):
        if name == "peername" and isinstance(peername, Exception):
            raise peername
        return {"peername": peername, "socket": family and SimpleNamespace(family=family), **more}.get(name)

    return SimpleNamespace(get_extra_info=get_extra_info)


@pytest.mark.parametrize(
    ("connection", "peer"),
    [
        (transport(("192.0.2.1", 50000)), ("192.0.2.1", 50000)),
        (transport(("2001:db8::1", 50000, 0, 0)), ("2001:db8::1", 50000)),
        (transport("", socket.AF_UNIX), None),
        (transport(None, socket.AF_UNIX), None),
        (transport(None), ("unknown", 0)),
        (transport(OSError("not connected")), ("unknown", 0)),
        (transport(None, None), ("unknown", 0)),
    ],
    ids=["IPv4", "IPv6", "Unix", "Unix without a name", "gone", "gone loudly", "no socket"],
)
def test_peer(connection, peer):
    """A client that has gone is not a proxy on a Unix socket."""
    assert hook.peer_of(connection) == peer


LEAF, INTERMEDIATE = map(ssl.PEM_cert_to_DER_cert, ISSUING.issue("dns:a.example").tls_extension()["client_cert_chain"])


class Connection:
    """An ``SSLObject`` as far as the hook asks one; of Python 3.13, or with ``_sslobj`` of an earlier one."""

    def __init__(self, *chain, leaf=LEAF, version="TLSv1.3", cipher=("TLS_AES_128_GCM_SHA256",), modern=True):
        self.leaf, self._version, self._cipher = leaf, version, cipher
        if modern:
            self.get_unverified_chain = lambda: list(chain)
        else:
            raw = [SimpleNamespace(public_bytes=lambda kind, der=der: {2: der}[kind]) for der in chain]
            self._sslobj = SimpleNamespace(get_unverified_chain=lambda: raw)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def getpeercert(self, binary_form=False):
        return self.leaf if binary_form else {}

    def version(self):
        return self._version

    def cipher(self):
        return self._cipher


@pytest.mark.parametrize("modern", [True, False], ids=["3.13", "before"])
def test_chain_on_every_python(modern):
    """What the TLS library says the peer's certificate is comes first, whatever the chain says."""
    assert hook.client_chain(Connection(LEAF, INTERMEDIATE, modern=modern)) == (LEAF, INTERMEDIATE)
    assert hook.client_chain(Connection(LEAF, modern=modern)) == (LEAF,)
    assert hook.client_chain(Connection(modern=modern)) == (LEAF,)
    assert hook.client_chain(Connection(None, leaf=None, modern=modern)) == ()


@pytest.mark.parametrize(
    ("connection", "version", "suite"),
    [
        (Connection(LEAF), 0x0304, 0x1301),
        (Connection(LEAF, version="TLSv1.2", cipher=("ECDHE-ECDSA-AES128-GCM-SHA256", "", 128)), 0x0303, 0xC02B),
        (Connection(LEAF, version="TLSv1.4", cipher=("NEW",)), None, None),
        (Connection(LEAF, version=None, cipher=None), None, None),
    ],
    ids=["TLS 1.3", "TLS 1.2", "of the future", "unknown"],
)
def test_version_and_suite_are_the_numbers_of_the_registry(connection, version, suite):
    """TLS-5."""
    told = hook.describe_tls(connection)
    assert (told["tls_version"], told["cipher_suite"]) == (version, suite)


@pytest.mark.parametrize(
    "connection", [Connection(b"junk", leaf=b"junk"), Connection(modern=False)], ids=["junk", "no chain"]
)
def test_a_certificate_that_cannot_be_read_is_an_error_and_not_nobody(connection):
    if connection.leaf == LEAF:
        del connection._sslobj
    told = hook.describe_tls(connection)
    assert told["client_cert_error"].startswith("the client certificate cannot be read: ")
    assert told["client_cert_chain"] == ()
    assert told["client_cert_name"] is None


def test_a_websocket_class_is_made_once():
    assert hook._telling(WebSocketsSansIOProtocol) is hook._telling(WebSocketsSansIOProtocol)


@pytest.mark.parametrize("missing", ["httptools", "uvicorn"])
def test_without_httptools_it_is_h11_and_without_uvicorn_it_says_what_to_install(missing, monkeypatch):
    real = builtins.__import__

    def import_without(name, *rest, **more):
        if name.startswith(missing) or (missing == "httptools" and "httptools" in name):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, hook.__name__)
    monkeypatch.setattr(builtins, "__import__", import_without)
    if missing == "uvicorn":
        with pytest.raises(ConfigurationError, match=r"pip install 'secure-asgi\[uvicorn\]'"):
            importlib.import_module(hook.__name__)
    else:
        again = importlib.import_module(hook.__name__)
        assert again.AutoProtocol is again.H11Protocol
        assert not hasattr(again, "HttpToolsProtocol")
