"""What is known of one connection, and how its requests tell the application: shared by the hooks of all servers.

It is kept with the server's own object for the connection. A context variable would be shorter, and would hand one
client's certificate to another wherever the event loop runs a callback in a borrowed context.
"""

import socket
import ssl
from collections.abc import Mapping
from typing import Any

from .._asgi import Scope
from .._chains import chain_of
from ..exchange import NO_ADDRESS, SCOPE_KEY

TLS_VERSIONS: Mapping[str | None, int] = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

CIPHER_SUITES: Mapping[str, int] = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
}
"""The suites of TLS 1.3, without asking: for others the connection's context is searched."""

NOT_VERIFIED = "the client certificate was not verified: verify_mode of the TLS context is CERT_NONE"

Peer = tuple[str, int] | None
"""Address and port at the other end of the socket; None on a Unix socket."""


class Connection:
    """What an application is told about the connection that its request came over: asked once, told each time.

    ``tls`` is the connection's TLS side, its handshake done; None in clear.
    """

    __slots__ = ("_own", "_tls")

    def __init__(self, peer: Peer, tls: ssl.SSLObject | None) -> None:
        self._own: dict[str, Any] = {"peer": peer}
        self._tls: dict[str, Any] | None = None
        if tls is not None:
            self._tls = describe_tls(tls)
            if tls.session_reused:
                # Nothing was verified this time, and of the chain there may be no more than the leaf.
                self._own["resumed"] = True
            if tls.context.verify_mode == ssl.CERT_NONE:
                self._own["asks_for_none"] = True

    def tell(self, scope: Scope) -> None:
        """Writes ``extensions["tls"]`` and ``extensions["secure_asgi"]``."""
        extensions = scope["extensions"] = dict(scope.get("extensions") or ())
        # Fresh dictionaries each time: what one request does to them, the next must not see.
        extensions[SCOPE_KEY] = dict(self._own)
        if self._tls is not None:
            extensions["tls"] = dict(self._tls)


def peer_of(transport: Any) -> Peer:
    """The address at the other end of an asyncio transport, or of a stream writer, which answers alike."""
    try:
        name = transport.get_extra_info("peername")
    except OSError:
        name = None
    connected = transport.get_extra_info("socket")
    return peer_named(name, connected.family if connected is not None else None)


def peer_named(name: Any, family: int | None) -> Peer:
    """``name`` is what ``getpeername()`` said of a socket of that family."""
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    if family == getattr(socket, "AF_UNIX", -1):
        return None
    # A client that has already gone has no address any more. None would take it for a proxy on a Unix socket.
    return NO_ADDRESS, 0


def describe_tls(connection: ssl.SSLObject) -> dict[str, Any]:
    """The ASGI TLS extension 0.2 of a connection whose handshake is done."""
    chain: tuple[bytes, ...] = ()
    name = problem = None
    try:
        sent = client_chain(connection)
        if sent and connection.context.verify_mode == ssl.CERT_NONE:
            # Nobody has vouched for it: not to be shown to code that reads the chain and no more.
            problem = NOT_VERIFIED
        elif sent:
            name, chain = _subject(sent[0]), sent
    except Exception as error:
        # Not to be mistaken for a client without a certificate.
        problem = f"the client certificate cannot be read: {type(error).__name__}"
    return {
        "server_cert": None,
        "client_cert_chain": tuple(map(ssl.DER_cert_to_PEM_cert, chain)),
        "client_cert_name": name,
        "client_cert_error": problem,
        "tls_version": TLS_VERSIONS.get(connection.version()),
        "cipher_suite": _cipher_suite(connection),
    }


def client_chain(connection: ssl.SSLObject) -> tuple[bytes, ...]:
    """What the client sent, DER, leaf first; empty if it sent nothing. Of a session resumed by ticket only the leaf."""
    # Asked first: the chain of a connection without a client certificate is [None], or an AttributeError.
    leaf = connection.getpeercert(binary_form=True)
    if leaf is None:
        return ()
    return (leaf, *chain_of(connection, "unverified")[1:])


def _subject(certificate: bytes) -> str:
    from cryptography.x509 import load_der_x509_certificate  # only here: loaded with the first client certificate

    return load_der_x509_certificate(certificate).subject.rfc4514_string()


def _cipher_suite(connection: ssl.SSLObject) -> int | None:
    cipher = connection.cipher()
    if cipher is None:
        return None
    known = CIPHER_SUITES.get(cipher[0])
    if known is not None:
        return known
    # OpenSSL's own number is the IANA one with two bytes in front.
    return next((c["id"] & 0xFFFF for c in connection.context.get_ciphers() if c["name"] == cipher[0]), None)
