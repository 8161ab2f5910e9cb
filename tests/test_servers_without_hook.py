"""Servers that say nothing of TLS: refused, whoever asks, and one log line names a way out.

They verify the client's certificate in the handshake, but for daphne, which cannot ask for one.
"""

import ssl
import sys
import time

import httpx
import pytest

from secure_asgi.testing.certificates import CertificateAuthority

from .handshake import client_context
from .serving import free_port, in_its_own_process

APP = """
from secure_asgi import MutualTLSMiddleware
from tests.asgi import hello

async def answer(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await hello(scope, receive, send)

app = MutualTLSMiddleware(answer, exempt="/public")
"""

SERVERS = {
    "granian": (
        "granian --interface asgi unseen:app --host 127.0.0.1 --port {port} --ssl-certificate server.pem "
        "--ssl-keyfile server.key --ssl-ca ca.pem --ssl-client-verify"
    ),
    "daphne": "daphne -e ssl:{port}:interface=127.0.0.1:privateKey=server.key:certKey=server.pem unseen:app",
    "uvicorn without the protocol class": (
        "uvicorn unseen:app --host 127.0.0.1 --port {port} --ssl-certfile server.pem --ssl-keyfile server.key "
        "--ssl-ca-certs ca.pem --ssl-cert-reqs 2"
    ),
    "uvicorn with its own HTTP/2": (
        "uvicorn unseen:app --host 127.0.0.1 --port {port} --ssl-certfile server.pem --ssl-keyfile server.key "
        "--ssl-ca-certs ca.pem --ssl-cert-reqs 2 --http zttp --http2"
    ),
    "hypercorn without install()": (
        "hypercorn unseen:app --bind 127.0.0.1:{port} --certfile server.pem --keyfile server.key "
        "--ca-certs ca.pem --verify-mode CERT_REQUIRED"
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unseen")
    authority = CertificateAuthority("Test CA")
    (folder / "ca.pem").write_bytes(authority.certificate_pem)
    authority.issue("dns:localhost", usage="server").write(folder / "server.pem", folder / "server.key")
    authority.issue("dns:shop.example").write(folder / "shop.pem", folder / "shop.key")
    (folder / "unseen.py").write_text(APP)
    return folder


@pytest.mark.parametrize("server", SERVERS)
def test_refused_with_one_line_that_names_the_way_out(server, folder):
    """MTLS-1: no extension where TLS is, so nobody knows who is asking. The client is told nothing of it."""
    port = free_port()
    command = [sys.executable, "-m", *SERVERS[server].format(port=port).split()]
    log = folder / f"{server}.log".replace("/", "")
    context = client_context(folder, "shop")
    with in_its_own_process(command, folder=folder, log=log):
        wait_for(f"https://localhost:{port}/public", context, log)
        with httpx.Client(verify=context, trust_env=False) as client:
            answers = [client.get(f"https://localhost:{port}/") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert not any(word in answers[0].text for word in ("tls_unknown", "uvicorn", "extension"))
    (line,) = [line for line in log.read_text().splitlines() if "tells applications nothing about TLS" in line]
    assert "secure_asgi.servers" in line


def wait_for(url: str, context: ssl.SSLContext, log) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            assert httpx.get(url, verify=context, trust_env=False).status_code == 200
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
