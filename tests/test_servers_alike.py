"""One application on uvicorn, hypercorn and granian, over real TLS: the same answers on each.

Except for the client certificate, which only a server with our hook can show: granian has none, there it is 403.
"""

import contextlib
import json
import socket
import sys
import time
from urllib.parse import urlsplit

import httpx
import pytest

from secure_asgi.testing import TokenFactory
from secure_asgi.testing.certificates import CertificateAuthority

from .handshake import client_context
from .paths import ENVIRONMENT, ROOT
from .serving import free_port, in_its_own_process, open_websocket_at

SERVERS = {
    "uvicorn": (
        "uvicorn tests.served:app --host 127.0.0.1 --port {port} --no-server-header --no-proxy-headers "
        "--http secure_asgi.servers.uvicorn:AutoProtocol "
        "--ssl-certfile {dir}/server.pem --ssl-keyfile {dir}/server.key --ssl-ca-certs {dir}/ca.pem --ssl-cert-reqs 1"
    ),
    "hypercorn": (
        "hypercorn tests.served:app --bind 127.0.0.1:{port} --certfile {dir}/server.pem --keyfile {dir}/server.key "
        "--ca-certs {dir}/ca.pem --verify-mode CERT_OPTIONAL"
    ),
    "granian": (
        "granian --interface asgi tests.served:app --host 127.0.0.1 --port {port} "
        "--ssl-certificate {dir}/server.pem --ssl-keyfile {dir}/server.key"
    ),
}


@pytest.fixture(scope="module", params=SERVERS)
def served(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    authority = CertificateAuthority("Test CA")
    (folder / "ca.pem").write_bytes(authority.certificate_pem)
    authority.issue("dns:localhost", "ip:127.0.0.1", usage="server").write(folder / "server.pem", folder / "server.key")
    authority.issue("dns:shop.example").write(folder / "shop.pem", folder / "shop.key")
    tokens = TokenFactory(issuer="https://id.example.com", audience="orders")
    (folder / "jwks.json").write_text(json.dumps(tokens.jwks))
    port = free_port()
    environment = {**ENVIRONMENT, "SERVED_FROM": str(folder), "SERVED_BY": request.param}
    command = [sys.executable, "-m", *SERVERS[request.param].format(port=port, dir=folder).split()]
    with in_its_own_process(command, folder=ROOT, log=folder / "log", environment=environment):
        yield Served(request.param, folder, port, tokens)


class Served:
    def __init__(self, server, folder, port, tokens):
        self.server, self.folder, self.tokens = server, folder, tokens
        self.port = port
        self.url = f"https://localhost:{port}"
        self._wait()

    def tls(self, *, certificate=False):
        return client_context(self.folder, "shop" if certificate else None)

    def ask(self, path, *, token=False, certificate=False):
        headers = {"authorization": f"Bearer {self.tokens.token(scope='orders:read')}"} if token else {}
        with httpx.Client(verify=self.tls(certificate=certificate), trust_env=False) as client:
            return client.get(self.url + path, headers=headers)

    def shake_hands(self, path):
        """The head of the answer to a WebSocket handshake, as it came.

        By hand and with a deadline: under load granian now and then leaves a refused handshake unanswered, and a
        client library then waits for good. So it is asked again.
        """
        lines = ["Host: localhost", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        request = "\r\n".join([f"GET {path} HTTP/1.1", *lines, f"Sec-WebSocket-Key: {'A' * 22}==", "", ""])
        for _ in range(5):
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=3) as plain,
                self.tls().wrap_socket(plain, server_hostname="localhost") as secured,
            ):
                secured.sendall(request.encode())
                head = b""
                with contextlib.suppress(TimeoutError):
                    while b"\r\n\r\n" not in head and (more := secured.recv(65536)):
                        head += more
                if b"\r\n\r\n" in head:
                    return head.decode("latin-1")
        raise AssertionError("five handshakes without an answer")

    def log(self):
        return (self.folder / "log").read_text()

    def _wait(self):
        deadline = time.monotonic() + 20
        while True:
            try:
                self.ask("/missing")
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.05)


ASKED = [
    ("no token", {"path": "/orders/42"}, 401),
    ("a good token", {"path": "/orders/42", "token": True}, 200),
    ("no such path", {"path": "/missing", "token": True}, 404),
    ("a wrong parameter", {"path": "/orders/x", "token": True}, 422),
    ("a crash", {"path": "/crash", "token": True}, 500),
    ("no certificate", {"path": "/certified", "token": True}, 403),
]


@pytest.mark.parametrize(("asked", "status"), [row[1:] for row in ASKED], ids=[row[0] for row in ASKED])
def test_the_same_answers(served, asked, status):
    answer = served.ask(**asked)
    assert answer.status_code == status
    assert answer.headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in answer.headers) == (status == 401)
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "hunter2" not in answer.text


def test_websockets(served):
    head = served.shake_hands("/feed").lower()
    assert head.startswith("http/1.1 401 ")
    assert "\r\nwww-authenticate: bearer realm=" in head
    headers = {"authorization": f"Bearer {served.tokens.token(scope='orders:read')}"}
    status, text = open_websocket_at(urlsplit(served.url).port, served.tls(), "/feed", headers)
    assert status == 101
    assert text.startswith("hello ")


def test_the_client_certificate(served):
    """Where the server cannot show it: denied, with one line that says how to mend the deployment."""
    statuses = [served.ask("/certified", token=True, certificate=True).status_code for _ in range(2)]
    if served.server == "granian":
        assert statuses == [403, 403]
        assert served.log().count("tells applications nothing about TLS") == 1
    else:
        assert statuses == [200, 200]
        assert "tells applications nothing about TLS" not in served.log()


def test_every_request_is_on_record(served):
    asked = served.ask("/orders/42")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        records = [json.loads(line) for line in (served.folder / "audit.jsonl").read_text().splitlines()]
        found = [record for record in records if record.get("request_id") == asked.headers["x-request-id"]]
        if found:
            break
        time.sleep(0.05)
    (record,) = found
    assert (record["outcome"], record["reason"], record["status"]) == ("denied", "token_missing", 401)
    assert record["client"] == "127.0.0.1"
