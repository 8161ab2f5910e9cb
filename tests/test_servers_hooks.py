"""What an application is told, over real TLS, by every server and event loop that we have a hook for: the same."""

import json
import socket
import ssl
from functools import partial

import httpx
import pytest

from secure_asgi.mutual_tls import MutualTLSMiddleware
from secure_asgi.servers.uvicorn import H11Protocol, HttpToolsProtocol

from .handshake import client_context
from .serving import (
    ISSUING,
    hypercorn_serving,
    open_websocket_at,
    resuming_context,
    tell,
    tls_context,
    uvicorn_serving,
    write_certificates,
)

HTTP2 = "secure_asgi.servers.uvicorn:HTTP2Protocol"

SERVERS = {
    "uvicorn, asyncio, httptools": partial(uvicorn_serving, loop="asyncio", http=HttpToolsProtocol),
    "uvicorn, uvloop, h11": partial(uvicorn_serving, loop="uvloop", http=H11Protocol),
    "uvicorn, uvloop, zttp": partial(uvicorn_serving, loop="uvloop", http=HTTP2),
    "hypercorn, asyncio": partial(hypercorn_serving, loop="asyncio"),
    "hypercorn, uvloop": partial(hypercorn_serving, loop="uvloop"),
    "hypercorn, trio": partial(hypercorn_serving, loop="trio"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def client_tls(folder):
    return partial(client_context, folder)


@pytest.fixture(scope="module", params=SERVERS)
def serving(request):
    return SERVERS[request.param]


@pytest.fixture(scope="module")
def port(serving, folder):
    app = MutualTLSMiddleware(tell, allow="dns:*.clients.example", exempt="/public")
    with serving(app, tls=tls_context(folder)) as port:
        yield port


def get(port, context, path="/", **options):
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.get(f"https://localhost:{port}{path}", **options)


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
    assert answer["extensions"]["secure_asgi"] == {"peer": answer["client"]}
    assert answer["client"][0] == "127.0.0.1"


def test_the_same_over_a_websocket(port, client_tls):
    status, text = open_websocket_at(port, client_tls("b"), "/ws")
    told = json.loads(text)
    assert status == 101
    assert told["user"] == "b.clients.example"
    assert len(told["extensions"]["tls"]["client_cert_chain"]) == 2
    assert told["extensions"]["secure_asgi"] == {"peer": told["client"]}


def test_without_a_certificate_the_chain_is_empty_and_nothing_is_wrong(port, client_tls):
    """Asked for its chain, the TLS library raises an AttributeError or answers [None]."""
    tls = get(port, client_tls(), "/public").json()["extensions"]["tls"]
    assert (tls["client_cert_chain"], tls["client_cert_name"], tls["client_cert_error"]) == ([], None, None)
    assert tls["tls_version"] == 0x0304


@pytest.mark.parametrize("name", [None, "other"], ids=["no certificate", "wrong name"])
def test_403_over_http_and_over_a_websocket(port, client_tls, name):
    """MTLS-4."""
    assert get(port, client_tls(name)).status_code == 403
    assert open_websocket_at(port, client_tls(name), "/ws") == (403, None)
    assert get(port, client_tls(name), "/public").status_code == 200


@pytest.mark.parametrize("name", ["foreign", "usage"])
def test_what_does_not_verify_never_becomes_a_request(port, client_tls, name):
    """CERT-1, CERT-3: another authority, or a certificate for servers. Under TLS 1.3 the client reads of it late."""
    with pytest.raises(httpx.TransportError):
        get(port, client_tls(name))
    assert get(port, client_tls("a")).status_code == 200


def test_what_one_request_does_to_its_description_the_next_does_not_see(port, client_tls):
    """The application empties every dictionary it is told."""
    with httpx.Client(verify=client_tls("c"), trust_env=False) as client:
        told = [client.get(f"https://localhost:{port}/").json() for _ in range(3)]
    assert len({json.dumps(one) for one in told}) == 1
    assert told[0]["extensions"].keys() >= {"tls", "secure_asgi"}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def test_a_resumed_session_is_said_to_be_one(serving, folder, version):
    """Nothing was verified again, and a ticket holds no more of the chain than the leaf."""
    client = client_context(folder, "a")
    with serving(tell, tls=resuming_context(folder, version=version)) as port:
        first, session = ask_in_session(port, client, None)
        again, _ = ask_in_session(port, client, session)
    assert "resumed" not in first["extensions"]["secure_asgi"]
    assert again["extensions"]["secure_asgi"]["resumed"] is True
    chains = [one["extensions"]["tls"]["client_cert_chain"] for one in (first, again)]
    assert [len(chain) for chain in chains] == [2, 1]
    assert chains[0][0] == chains[1][0]


def ask_in_session(port, context, session):
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as secured,
    ):
        assert secured.session_reused == (session is not None)
        secured.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answer = b""
        while more := secured.recv(65536):
            answer += more
        session = secured.session
    body = answer.partition(b"\r\n\r\n")[2]
    return json.loads(body[body.index(b"{") : body.rindex(b"}") + 1]), session


def test_authorities_alone_ask_nobody_for_a_certificate_and_nobody_gets_in(serving, folder, client_tls, caplog):
    """Pitfall 12: ``--ssl-ca-certs`` without ``--ssl-cert-reqs``, ``--ca-certs`` without ``--verify-mode``."""
    files = [str(folder / name) for name in ("server.pem", "server.key", "ca.pem")]
    names = ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs")
    if serving.func is hypercorn_serving:
        names = ("certfile", "keyfile", "ca_certs")
    app = MutualTLSMiddleware(tell, exempt="/public")
    with serving(app, **dict(zip(names, files, strict=True))) as port:
        assert get(port, client_tls("a")).status_code == 403
        assert get(port, client_tls("a"), "/public").json()["extensions"]["tls"]["client_cert_chain"] == []
    assert [line for line in caplog.messages if "asks no client for a certificate" in line]


def test_in_clear_there_is_a_peer_and_no_tls_and_the_peer_is_not_what_a_header_says(serving):
    with serving(tell) as port:
        told = httpx.get(
            f"http://127.0.0.1:{port}/", headers={"x-forwarded-for": "203.0.113.7"}, trust_env=False
        ).json()
    host, peer_port = told["extensions"]["secure_asgi"]["peer"]
    assert host == "127.0.0.1"
    assert peer_port > 0
    assert "tls" not in told["extensions"]
    if serving.func is uvicorn_serving:
        assert told["client"] == ["203.0.113.7", 0]


def test_a_unix_socket_has_no_peer(serving, tmp_path):
    path = str(tmp_path / "s")
    with serving(tell, path=path), httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client:
        assert client.get("http://localhost/").json()["extensions"]["secure_asgi"] == {"peer": None}


def test_ipv6_is_an_address_and_a_port(serving):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with serving(tell, host="::1") as port:
        told = httpx.get(f"http://[::1]:{port}/", trust_env=False).json()
    assert told["extensions"]["secure_asgi"]["peer"] == told["client"]
    assert told["client"][0] == "::1"


@pytest.mark.parametrize("name", [name for name in SERVERS if "hypercorn" in name or "zttp" in name])
def test_the_whole_extension_over_http_2(name, folder, client_tls):
    """And what the server itself has to say of HTTP/2 is still there."""
    with (
        SERVERS[name](MutualTLSMiddleware(tell), tls=tls_context(folder)) as port,
        httpx.Client(verify=client_tls("d"), trust_env=False, http2=True) as client,
    ):
        told = client.get(f"https://localhost:{port}/").json()
    assert (told["http_version"], told["user"]) == ("2", "d.clients.example")
    assert len(told["extensions"]["tls"]["client_cert_chain"]) == 2
    assert told["extensions"].keys() > {"tls", "secure_asgi"}
