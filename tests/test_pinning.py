"""A pinned httpx client against real TLS servers, which count what reaches them: pins narrow, and never replace."""

import contextlib
import copy
import importlib
import pickle
import socket
import ssl
import sys
import threading
from datetime import UTC, date, datetime, timedelta

import anyio
import h2.config
import h2.connection
import h2.events
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
)

from secure_asgi import ConfigurationError, pinning
from secure_asgi._pins import pin_of, spki_pin
from secure_asgi.pinning import Pin, PinMismatch, PinnedTransport
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import server_context

ROOT = CertificateAuthority("Partner root")
ISSUING = ROOT.subordinate("Partner issuing CA")
PARTNER = ISSUING.issue("dns:localhost", usage="server")
LEAF, INTERMEDIATE, ANCHOR = (
    spki_pin(one) for one in x509.load_pem_x509_certificates(PARTNER.chain_pem + PARTNER.authority_pem)
)
SPARE, STRANGER = pin_of(b"a key in a safe"), pin_of(b"another")
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)

OTHERS = {
    "other": ISSUING.issue("dns:localhost", usage="server"),  # the same authority, another key
    "elsewhere": ISSUING.issue("dns:elsewhere.example", usage="server"),
    "untrusted": CertificateAuthority("Another root").issue("dns:localhost", usage="server"),
    "expired": ISSUING.issue("dns:localhost", usage="server", not_after=datetime.now(UTC) - timedelta(minutes=1)),
}


class Server:
    """HTTP over TLS on a thread: ``heard`` is all that was decrypted, ``clients`` the certificates that were shown.

    Answers each request with 200, or to ``/to/PORT`` with a redirect to that port.
    """

    def __init__(self, context):
        self.clients = []
        self.connections = 0
        self.resumed = 0
        self._heard = b""
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self):
        return f"https://localhost:{self._socket.getsockname()[1]}/"

    @property
    def heard(self):
        """When all connections have ended: for after their clients have closed them."""
        for thread in self._threads[1:]:
            thread.join(5)
            assert not thread.is_alive()
        return self._heard

    def close(self):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._threads[0].join(5)
        assert not self._threads[0].is_alive()
        assert self.heard is not None

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._threads.append(threading.Thread(target=self._serve, args=[connection]))
                self._threads[-1].start()

    def _serve(self, connection):
        self.connections += 1
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            with self._context.wrap_socket(connection, server_side=True) as tls:
                self.clients.append(tls.getpeercert(binary_form=True))
                self.resumed += tls.session_reused
                (self._http2 if tls.selected_alpn_protocol() == "h2" else self._http1)(tls)

    def _http1(self, tls):
        waiting = b""
        while data := tls.recv(65536):
            self._heard += data
            waiting += data
            while b"\r\n\r\n" in waiting:
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                path = head.split()[1].decode()
                if path.startswith("/to/"):
                    location = f"https://localhost:{path.removeprefix('/to/')}/".encode()
                    tls.sendall(b"HTTP/1.1 302 Found\r\nlocation: %b\r\ncontent-length: 0\r\n\r\n" % location)
                else:
                    tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")

    def _http2(self, tls):
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        tls.sendall(state.data_to_send())
        while data := tls.recv(65536):
            self._heard += data
            for event in state.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    state.send_headers(event.stream_id, [(":status", "200"), ("content-length", "5")])
                    state.send_data(event.stream_id, b"hello", end_stream=True)
            tls.sendall(state.data_to_send())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("partner")
    (folder / "ca.pem").write_bytes(ROOT.certificate_pem)
    (folder / "issuing.pem").write_bytes(ISSUING.certificate_pem)
    (folder / "unrelated.pem").write_bytes(CertificateAuthority("Unrelated").certificate_pem)
    for name, issued in {"partner": PARTNER, **OTHERS, "client": ROOT.issue("dns:us.example")}.items():
        issued.write(folder / f"{name}.pem", folder / f"{name}.key")
    return folder


@pytest.fixture(scope="module")
def serve(files):
    """Starts the named server, once."""
    running = {}

    def start(name="partner", protocols=("http/1.1",), **options):
        key = (name, protocols, *options)
        if key not in running:
            context = server_context(files / f"{name}.pem", files / f"{name}.key", **options)
            context.set_alpn_protocols(protocols)
            running[key] = Server(context)
        return running[key]

    yield start
    for server in running.values():
        server.close()


@pytest.fixture
def transport(files):
    def make(*pins, **options):
        return PinnedTransport(pins, **{"trust_anchors": files / "ca.pem", **options})

    return make


def get_sync(transport, url, **options):
    with httpx.Client(transport=transport, **options) as client:
        return client.get(url)


def get_async(backend):
    def get(transport, url, **options):
        async def ask():
            async with httpx.AsyncClient(transport=transport, **options) as client:
                return await client.get(url)

        return anyio.run(ask, backend=backend)

    return get


@pytest.fixture(params=["sync", "asyncio", "trio"])
def get(request):
    return get_sync if request.param == "sync" else get_async(request.param)


# --- who is talked to ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pins",
    [(LEAF, SPARE), (SPARE, INTERMEDIATE), (ANCHOR, SPARE), (Pin(LEAF, date.max), SPARE)],
    ids=["the server's key", "its authority's", "the trust anchor's", "with a last day to come"],
)
def test_the_holder_of_a_pinned_key_is_talked_to(get, serve, transport, pins):
    assert get(transport(*pins), serve().url).text == "hello"


STRANGERS = {
    "another key": ("partner", (SPARE, STRANGER)),
    "another key of the same authority": ("other", (LEAF, SPARE)),
    "a lapsed pin": ("partner", (Pin(LEAF, YESTERDAY), SPARE)),
    "nothing but lapsed pins": ("partner", (Pin(LEAF, YESTERDAY), Pin(INTERMEDIATE, YESTERDAY))),
}


@pytest.mark.parametrize("protocols", [("http/1.1",), ("h2",)], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize(("name", "pins"), STRANGERS.values(), ids=STRANGERS)
def test_nobody_else_hears_a_single_byte(get, serve, transport, name, pins, protocols):
    """Not of the request, nor of HTTP/2's preface."""
    server = serve(name, protocols)
    heard = server.heard
    with pytest.raises(PinMismatch):
        get(transport(*pins, http2=True), server.url, headers={"authorization": "Bearer secret"})
    assert server.heard == heard


def test_the_error_names_the_host_and_the_keys_that_were_seen(get, serve, transport):
    """So that whoever expected the change can pin the new key, and whoever did not sees whose it is."""
    with pytest.raises(httpx.ConnectError) as refused:
        get(transport(Pin(LEAF, YESTERDAY), SPARE), serve().url)
    error = refused.value
    assert str(error) == (
        "localhost holds no pinned key; "
        f"its verified path has {LEAF} (pinned until {YESTERDAY}), {INTERMEDIATE}, {ANCHOR}"
    )
    assert (error.host, error.seen) == ("localhost", (LEAF, INTERMEDIATE, ANCHOR))
    assert str(error.request.url) == serve().url
    for copied in (copy.copy(error), pickle.loads(pickle.dumps(PinMismatch("m", host="h", seen=(LEAF,))))):
        assert copied.seen[0] == LEAF


@pytest.mark.parametrize("name", ["elsewhere", "untrusted", "expired"])
def test_a_pin_replaces_no_verification(get, serve, transport, files, name):
    """TLS-3, CERT-1: the pin of that very key does not help a certificate that names another host, and so on."""
    server = serve(name)
    own = pinning.pins_of(files / f"{name}.pem")
    heard = server.heard
    with pytest.raises(httpx.ConnectError) as refused:
        get(transport(*own, SPARE), server.url)
    assert not isinstance(refused.value, PinMismatch)
    assert server.heard == heard


def test_the_name_that_is_verified_can_be_another_than_the_address(serve, transport):
    """httpx's ``sni_hostname``: the pins hold all the same."""
    server, extensions = serve("elsewhere"), {"sni_hostname": "elsewhere.example"}
    with httpx.Client(transport=transport(INTERMEDIATE, SPARE)) as client:
        assert client.get(server.url, extensions=extensions).text == "hello"
    refused = pytest.raises(PinMismatch, match=r"^elsewhere\.example holds no pinned key")
    with httpx.Client(transport=transport(SPARE, STRANGER)) as client, refused:
        client.get(server.url, extensions=extensions)


@pytest.mark.parametrize("url", ["http://localhost:9/", "ftp://localhost/", "ws://localhost/"])
def test_nothing_is_asked_in_clear(get, transport, url):
    with pytest.raises(httpx.UnsupportedProtocol):
        get(transport(LEAF, SPARE), url)


def test_a_redirect_leads_to_pinned_hosts_only(get, serve, transport):
    partner, other = serve(), serve("other")
    heard = other.heard
    leading = f"{partner.url}to/{httpx.URL(other.url).port}"
    assert get(transport(INTERMEDIATE, SPARE), leading, follow_redirects=True).text == "hello"
    assert other.heard != heard
    heard = other.heard
    with pytest.raises(PinMismatch):
        get(transport(LEAF, SPARE), leading, follow_redirects=True)
    assert other.heard == heard


def test_a_proxy_of_the_environment_is_not_used(serve, transport, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert get_sync(transport(LEAF, SPARE), serve().url).text == "hello"


# --- connections ---------------------------------------------------------------------------------------------------


def test_a_connection_is_used_again(serve, transport):
    server = serve()
    before = server.connections
    with httpx.Client(transport=transport(LEAF, SPARE)) as client:
        assert [client.get(server.url).text for _ in range(5)] == ["hello"] * 5
    assert server.connections == before + 1


def test_no_session_is_resumed(files, serve, transport):
    """TLS 1.2, whose servers let sessions be resumed: each connection has its own full handshake, and its check."""
    server = serve("partner", profile="intermediate")
    made = transport(LEAF, SPARE, limits=httpx.Limits(max_keepalive_connections=0))
    before = server.connections
    with httpx.Client(transport=made) as client:
        assert [client.get(server.url).text for _ in range(3)] == ["hello"] * 3
    assert server.connections == before + 3
    assert server.resumed == 0


def test_many_at_once_read_the_files_once_and_not_on_the_event_loop(serve, transport, monkeypatch):
    readers = []
    verifying = pinning._verifying
    monkeypatch.setattr(
        pinning, "_verifying", lambda files: readers.append(threading.current_thread()) or verifying(files)
    )

    async def ask():
        client = httpx.AsyncClient(transport=transport(LEAF, SPARE))  # not entered: the first requests open it
        answers = []

        async def one():
            answers.append((await client.get(serve().url)).text)

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(one)
        await client.aclose()
        return answers

    assert anyio.run(ask) == ["hello"] * 4
    (reader,) = readers
    assert reader is not threading.current_thread()


def test_a_mismatch_is_not_tried_again_and_a_failed_connect_is(serve, transport):
    server = serve("other")
    before = server.connections
    with pytest.raises(PinMismatch):
        get_sync(transport(LEAF, SPARE, retries=2), server.url)
    assert server.connections == before + 1
    tried = []

    def trace(name, info):
        tried.extend([name] if name == "connection.retry.started" else [])

    with httpx.Client(transport=transport(LEAF, SPARE, retries=1)) as client, pytest.raises(httpx.ConnectError):
        client.get("https://127.0.0.1:9/", extensions={"trace": trace})
    assert len(tried) == 1


def test_the_same_transport_serves_both_kinds_of_client(serve, transport):
    made = transport(LEAF, SPARE)
    assert get_sync(made, serve().url).text == "hello"
    assert get_async("asyncio")(made, serve().url).text == "hello"


def test_closing_what_was_never_used():
    made = PinnedTransport([LEAF, SPARE], trust_anchors="/nowhere")
    made.close()
    anyio.run(made.aclose)


def test_http2(get, serve, transport):
    server = serve("partner", ("h2", "http/1.1"))
    answer = get(transport(LEAF, SPARE, http2=True), server.url)
    assert (answer.http_version, answer.text) == ("HTTP/2", "hello")
    assert get(transport(LEAF, SPARE), server.url).http_version == "HTTP/1.1"


def test_the_clients_own_certificate_is_shown(get, serve, transport, files):
    server = serve("partner", client_ca=files / "ca.pem", client_auth="required")
    pair = (files / "client.pem", str(files / "client.key"))
    assert get(transport(LEAF, SPARE, certificate=pair), server.url).text == "hello"
    assert server.clients[-1] == ssl.PEM_cert_to_DER_cert((files / "client.pem").read_text())
    # Under TLS 1.3 the client reads of the refusal late, where httpx lets asyncio's error through.
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        get(transport(LEAF, SPARE), server.url)


# --- what is trusted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anchors", [["unrelated.pem", "ca.pem"], ["issuing.pem"]], ids=["several files", "no root"])
def test_trust_anchors(serve, transport, files, anchors):
    made = transport(LEAF, SPARE, trust_anchors=[files / name for name in anchors])
    assert get_sync(made, serve().url).text == "hello"


def test_without_trust_anchors_httpx_says_whom_to_trust(serve):
    """The authorities of the Internet, among whom a test's is not."""
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        get_sync(PinnedTransport([LEAF, SPARE]), serve().url)


def test_verification_is_as_strict_as_it_gets_whatever_the_environment_says(monkeypatch):
    """TLS-1."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    context = pinning._verifying(())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.cert_store_stats()["x509_ca"] > 50


def test_a_handshake_without_a_verified_path_is_refused(get, serve, transport, monkeypatch):
    monkeypatch.setattr(pinning, "chain_of", lambda connection, kind: ())
    with pytest.raises(PinMismatch) as refused:
        get(transport(LEAF, SPARE), serve().url)
    assert refused.value.seen == ()


# --- wrong options, wrong files ------------------------------------------------------------------------------------


WRONG = [
    ({"pins": LEAF}, "pins= takes two pins at least"),
    ({"pins": ["x", SPARE]}, 'a pin is written "sha256/"'),
    ({"insecure_single_pin": "yes"}, "insecure_single_pin= is True or False, got 'yes'"),
    ({"trust_anchors": ()}, "trust_anchors= is the path of a PEM file or several, got ()"),
    ({"trust_anchors": True}, "trust_anchors= is the path of a PEM file or several, got True"),
    ({"trust_anchors": [b"ca.pem"]}, "trust_anchors= is the path of a PEM file or several, got [b'ca.pem']"),
    ({"certificate": "client.pem"}, 'certificate= is ("client.pem", "client.key") or None, got \'client.pem\''),
    ({"certificate": ("a.pem",)}, "certificate= is"),
    ({"certificate": ("a.pem", None)}, "certificate= is"),
    ({"http2": 1}, "http2= is True or False, got 1"),
    ({"limits": 10}, "limits= is httpx.Limits(...), got 10"),
    ({"retries": -1}, "retries= is a whole number from 0, got -1"),
    ({"retries": True}, "retries= is a whole number from 0, got True"),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_wrong_options(options, sentence):
    with pytest.raises(ConfigurationError) as wrong:
        PinnedTransport(**{"pins": [LEAF, SPARE], **options})
    assert sentence in str(wrong.value)


def test_one_pin_with_a_confession(serve, transport):
    assert get_sync(transport(LEAF, insecure_single_pin=True), serve().url).text == "hello"


def revocation_list():
    now = datetime.now(UTC)
    made = x509.CertificateRevocationListBuilder().issuer_name(ROOT._certificate.subject)
    made = made.last_update(now).next_update(now + timedelta(days=1))
    return made.sign(ROOT._key, SHA256()).public_bytes(Encoding.PEM)


def enter_sync(transport):
    with httpx.Client(transport=transport):
        pass


def enter_async(transport):
    async def enter():
        async with httpx.AsyncClient(transport=transport):
            pass

    anyio.run(enter)


WRONG_FILES = [
    ({"trust_anchors": "nowhere"}, "trust_anchors='{dir}/nowhere' cannot be read: No such file or directory"),
    ({"trust_anchors": "garbage"}, "trust_anchors='{dir}/garbage' holds no readable PEM certificate"),
    ({"trust_anchors": "list.pem"}, "trust_anchors= holds no certificate: {dir}/list.pem"),
    ({"certificate": ("nowhere", "client.key")}, "certificate=('{dir}/nowhere', ...) cannot be read: No such file"),
    ({"certificate": ("client.pem", "garbage")}, "and certificate=(..., '{dir}/garbage') an unencrypted PEM key"),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG_FILES, ids=[sentence for _, sentence in WRONG_FILES])
@pytest.mark.parametrize("enter", [enter_sync, enter_async])
def test_wrong_files_are_named_on_entering_the_client(enter, transport, files, options, sentence):
    (files / "garbage").write_text("hello")
    (files / "list.pem").write_bytes(revocation_list())
    ((name, given),) = options.items()
    given = files / given if isinstance(given, str) else tuple(files / file for file in given)
    with pytest.raises(ConfigurationError) as wrong:
        enter(transport(LEAF, SPARE, **{name: given}))
    assert sentence.format(dir=files) in str(wrong.value)


def test_without_httpx(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, "secure_asgi.pinning")
    with pytest.raises(ConfigurationError, match=r"^secure_asgi\.pinning needs httpx: pip install httpx$"):
        importlib.import_module("secure_asgi.pinning")


def test_without_h2(monkeypatch):
    monkeypatch.setattr(pinning, "find_spec", lambda name: None)
    assert PinnedTransport([LEAF, SPARE])
    with pytest.raises(ConfigurationError, match=r"^http2=True needs h2: pip install h2$"):
        PinnedTransport([LEAF, SPARE], http2=True)
