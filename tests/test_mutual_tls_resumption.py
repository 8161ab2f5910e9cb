"""Resumed TLS sessions, real ones: nothing was verified for them in the handshake, so it is done here (MTLS-1, CERT-1).

nginx and Apache have had vulnerabilities of this kind, and Python cannot keep TLS 1.2 sessions from being resumed.
"""

import json
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse

import pytest

from secure_asgi import CRLs, MutualTLSMiddleware, Reason, exchange_of
from secure_asgi.flow import Layer
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import server_context

from .serving import resuming_context, uvicorn_serving


class World:
    """A root, an issuing authority, one client of it, and the files in which they stand."""

    def __init__(self, folder):
        self.folder = folder
        self.root = CertificateAuthority("Test CA")
        self.issuing = self.root.subordinate()
        self.client = self.issuing.issue("dns:a.clients.example")
        self.client.write(folder / "a.pem", folder / "a.key")
        self.root.issue("dns:localhost", usage="server").write(folder / "server.pem", folder / "server.key")
        for file in ("ca.pem", "trusted.pem"):
            (folder / file).write_bytes(self.root.certificate_pem)
        self.write_lists()

    def write_lists(self):
        (self.folder / "crl.pem").write_bytes(self.root.revocation_list() + self.issuing.revocation_list())

    def expire(self, layer):
        layer._judge._clock = lambda: (datetime.now(UTC) + timedelta(days=31)).timestamp()

    def revoke(self, layer):
        self.issuing.revoke(self.client)
        self.write_lists()

    def revoke_the_authority(self, layer):
        self.root.revoke(self.issuing)
        self.write_lists()

    def distrust(self, layer):
        (self.folder / "trusted.pem").write_bytes(CertificateAuthority("Its successor").certificate_pem)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def intermediate(folder):
    """The context serves on with what it had: only the middleware hears of changes."""
    files = {"client_ca": folder / "ca.pem", "client_auth": "required"}
    return server_context(folder / "server.pem", folder / "server.key", profile="intermediate", reload=None, **files)


def by_hand(folder):
    return resuming_context(folder, version=ssl.TLSVersion.TLSv1_3)


CONTEXTS = {"TLS 1.2, profile intermediate": intermediate, "TLS 1.3 with tickets": by_hand}


class Client:
    """One connection a request; each takes up the session of the one before."""

    def __init__(self, folder, port):
        self._port = port
        self._session = None
        self._context = ssl.create_default_context(cafile=folder / "ca.pem")
        self._context.load_cert_chain(folder / "a.pem", folder / "a.key")

    def connect(self, version):
        self._context.minimum_version = self._context.maximum_version = version
        raw = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        return self._context.wrap_socket(raw, server_hostname="localhost", session=self._session)

    def ask(self, version):
        """The status, and whether the session was resumed."""
        with self.connect(version) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: tls.recv(65536), b""))
            self._session = tls.session
            return int(answer.split()[1]), bool(tls.session_reused)


class Noting(Layer):
    """Keeps the reasons of refusals."""

    def __init__(self, app):
        self.reasons = []
        super().__init__(app)

    def on_end(self, exchange):
        self.reasons.append(exchange.denial.reason if exchange.denial else None)


async def whoami(scope, receive, send):
    body = json.dumps(exchange_of(scope).principal.subject).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def hasty(layer):
    """Every look at the files is due: nobody here waits five seconds for a file to be noticed."""
    layer._judge._anchors._watched._every = 0
    for source in layer._judge._revocation._sources:
        source._files._every = 0
    return layer


CHANGES = {
    "expired": (World.expire, Reason.CERTIFICATE_EXPIRED),
    "revoked": (World.revoke, Reason.CERTIFICATE_REVOKED),
    "its authority revoked": (World.revoke_the_authority, Reason.CERTIFICATE_REVOKED),
    "its authority no longer trusted": (World.distrust, Reason.CERTIFICATE_UNTRUSTED),
}


@pytest.mark.parametrize("make_context", CONTEXTS.values(), ids=CONTEXTS)
@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_a_resumed_session_does_not_revive_a_client(world, make_context, change, reason):
    version = ssl.TLSVersion.TLSv1_2 if make_context is intermediate else ssl.TLSVersion.TLSv1_3
    lists = CRLs(world.folder / "crl.pem")
    layer = hasty(MutualTLSMiddleware(whoami, trust_anchors=world.folder / "trusted.pem", revocation=lists))
    app = Noting(layer)
    with uvicorn_serving(app, tls=make_context(world.folder)) as port:
        client = Client(world.folder, port)
        assert client.ask(version) == (200, False)
        assert client.ask(version) == (200, True), "the session shows the leaf alone, and its path is known"
        change(world, layer)
        deadline = time.monotonic() + 10
        while (answer := client.ask(version)) == (200, True):
            assert time.monotonic() < deadline, "a new list is read in the background, but not as slowly as this"
        assert answer == (403, True)
        assert app.reasons[-1] == reason


@pytest.mark.parametrize("make_context", CONTEXTS.values(), ids=CONTEXTS)
def test_without_trust_anchors_a_resumed_session_lets_nobody_in(world, make_context):
    version = ssl.TLSVersion.TLSv1_2 if make_context is intermediate else ssl.TLSVersion.TLSv1_3
    app = Noting(MutualTLSMiddleware(whoami))
    with uvicorn_serving(app, tls=make_context(world.folder)) as port:
        client = Client(world.folder, port)
        assert client.ask(version) == (200, False)
        assert client.ask(version) == (403, True)
        assert app.reasons == [None, Reason.CERTIFICATE_UNVERIFIED]


def test_a_connection_that_stays_open_is_held_to_what_is_true_now(world):
    """Keep-alive: the handshake was a while ago."""
    lists = CRLs(world.folder / "crl.pem")
    layer = hasty(MutualTLSMiddleware(whoami, trust_anchors=world.folder / "trusted.pem", revocation=lists))
    with (
        uvicorn_serving(layer, tls=intermediate(world.folder)) as port,
        Client(world.folder, port).connect(ssl.TLSVersion.TLSv1_3) as tls,
    ):

        def ask():
            tls.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            answer = HTTPResponse(tls)
            answer.begin()
            answer.read()
            return answer.status

        assert (ask(), ask()) == (200, 200)
        world.revoke(layer)
        deadline = time.monotonic() + 10
        while (status := ask()) == 200:
            assert time.monotonic() < deadline
        assert status == 403
