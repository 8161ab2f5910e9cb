"""What is told of a connection: from real handshakes, and for what no handshake can be made to do, from stand-ins."""

import socket
import ssl
from types import SimpleNamespace

import pytest

from secure_asgi import MutualTLSMiddleware
from secure_asgi.servers import _connection
from secure_asgi.servers._connection import NOT_VERIFIED, Connection, client_chain, describe_tls, peer_of

from .asgi import hello, http
from .handshake import client_context, shake
from .serving import ISSUING, resuming_context, tls_context, write_certificates


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


def told(connection, **scope):
    connection.tell(scope)
    return scope["extensions"]


def test_each_request_has_dictionaries_of_its_own_beside_what_the_server_says(folder):
    """One of them changed or emptied is no other request's business; nor is the server's own dictionary."""
    connection = Connection(("192.0.2.1", 50000), shake(tls_context(folder), client_context(folder, "a")).server)
    own = {"http.response.trailers": {}}
    first = told(connection, extensions=own)
    assert first.keys() == {"http.response.trailers", "secure_asgi", "tls"}
    assert own == {"http.response.trailers": {}}
    first["tls"]["client_cert_chain"] = ("another",)
    first["secure_asgi"].clear()
    second = told(connection)
    assert second["secure_asgi"] == {"peer": ("192.0.2.1", 50000)}
    assert len(second["tls"]["client_cert_chain"]) == 2


def test_in_clear_there_is_a_peer_and_no_tls():
    assert told(Connection(None, None), extensions=None) == {"secure_asgi": {"peer": None}}


def test_a_certificate_that_nobody_verified_is_an_error_and_is_not_shown(folder):
    """MTLS-1: ``client_cert_error`` is set, and the middleware refuses. Such a context verifies nothing."""
    asking, trusting = resuming_context(folder), resuming_context(folder)
    trusting.verify_mode = ssl.CERT_NONE

    def switch(connection, name, context):
        connection.context = trusting

    asking.sni_callback = switch
    connection = Connection(None, shake(asking, client_context(folder, "a")).server)
    tls = told(connection)["tls"]
    assert (tls["client_cert_chain"], tls["client_cert_name"], tls["client_cert_error"]) == ((), None, NOT_VERIFIED)
    assert http(MutualTLSMiddleware(hello), extensions=told(connection)).status == 403


@pytest.mark.parametrize(
    ("options", "length"), [(ssl.OP_NO_TICKET, 2), (0, 1)], ids=["kept by the server", "carried in a ticket"]
)
def test_a_resumed_session_is_said_to_be_one(folder, options, length):
    """A ticket has room for the leaf only. Under TLS 1.2 the first kind cannot be switched off."""
    context = resuming_context(folder, options=options)
    client = client_context(folder, "a")
    connection = shake(context, client)
    again = shake(context, client, session=connection.client.session)
    first, second = (told(Connection(None, one.server)) for one in (connection, again))
    assert first["secure_asgi"] == {"peer": None}
    assert second["secure_asgi"] == {"peer": None, "resumed": True}
    assert second["tls"]["client_cert_chain"] == first["tls"]["client_cert_chain"][:length]


# --- stand-ins -------------------------------------------------------------------------------------------------------


def transport(peername, family=socket.AF_INET):
    def get_extra_info(name):
        if name == "peername" and isinstance(peername, Exception):
            raise peername
        return {"peername": peername, "socket": family and SimpleNamespace(family=family)}.get(name)

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
    assert peer_of(connection) == peer


LEAF, INTERMEDIATE = map(ssl.PEM_cert_to_DER_cert, ISSUING.issue("dns:a.example").tls_extension()["client_cert_chain"])


class TLSSide:
    """An ``SSLObject`` of Python 3.13, as far as the hook asks one."""

    def __init__(self, *chain, leaf=LEAF, version="TLSv1.3", cipher=("TLS_AES_128_GCM_SHA256",)):
        self.leaf, self._version, self._cipher = leaf, version, cipher
        if chain:
            self.get_unverified_chain = lambda: list(chain)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.verify_mode = ssl.CERT_REQUIRED

    def getpeercert(self, binary_form=False):
        return self.leaf if binary_form else {}

    def version(self):
        return self._version

    def cipher(self):
        return self._cipher


def test_what_the_client_sent(monkeypatch):
    """What the TLS library says the peer's certificate is comes first, whatever the chain says."""
    assert client_chain(TLSSide(b"another", INTERMEDIATE)) == (LEAF, INTERMEDIATE)
    assert client_chain(TLSSide(LEAF)) == (LEAF,)
    assert client_chain(TLSSide(None, leaf=None)) == ()
    monkeypatch.setattr(_connection, "chain_of", lambda connection, kind: ())
    assert client_chain(TLSSide(LEAF)) == (LEAF,), "resumed by a ticket"


@pytest.mark.parametrize(
    ("connection", "version", "suite"),
    [
        (TLSSide(LEAF), 0x0304, 0x1301),
        (TLSSide(LEAF, version="TLSv1.2", cipher=("ECDHE-ECDSA-AES128-GCM-SHA256", "", 128)), 0x0303, 0xC02B),
        (TLSSide(LEAF, version="TLSv1.4", cipher=("NEW",)), None, None),
        (TLSSide(LEAF, version=None, cipher=None), None, None),
    ],
    ids=["TLS 1.3", "TLS 1.2", "of the future", "unknown"],
)
def test_version_and_suite_are_the_numbers_of_the_registry(connection, version, suite):
    """TLS-5."""
    tls = describe_tls(connection)
    assert (tls["tls_version"], tls["cipher_suite"]) == (version, suite)


@pytest.mark.parametrize(
    "connection", [TLSSide(b"junk", leaf=b"junk"), TLSSide()], ids=["junk", "no way to ask for the chain"]
)
def test_a_certificate_that_cannot_be_read_is_an_error_and_not_nobody(connection):
    tls = describe_tls(connection)
    assert tls["client_cert_error"].startswith("the client certificate cannot be read: ")
    assert tls["client_cert_chain"] == ()
    assert tls["client_cert_name"] is None
