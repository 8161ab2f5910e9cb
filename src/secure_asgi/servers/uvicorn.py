"""uvicorn protocols that tell the application about the connection: its TLS, and who is really at the other end.

Select one by import string or by class; WebSockets are covered by the same option, whichever implementation ``ws=``
names::

    uvicorn.run(app, http="secure_asgi.servers.uvicorn:AutoProtocol", ssl_context_factory=...)

``scope["extensions"]["tls"]`` is filled as the ASGI TLS extension 0.2 says, on TLS connections only;
``scope["extensions"]["secure_asgi"]`` is ``{"peer": (host, port)}``, the socket's own, or ``{"peer": None}`` on a Unix
socket. uvicorn trusts ``X-Forwarded-For`` from loopback by default and rewrites ``scope["client"]`` from it; this is
recorded before.

What is known of a connection is kept with the connection's protocol object. A context variable would be shorter, and
would hand one client's certificate to another wherever the event loop runs a callback in a borrowed context.
"""

import _ssl
import socket
import ssl
from collections.abc import Awaitable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .._asgi import ASGIApp, Receive, Scope, Send
from ..errors import ConfigurationError
from ..exchange import SCOPE_KEY

try:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _H11Protocol
except ImportError as error:
    raise ConfigurationError(
        "secure_asgi.servers.uvicorn needs uvicorn, which is not installed: pip install 'secure-asgi[uvicorn]'"
    ) from error

TLS_VERSIONS: Mapping[str | None, int] = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

CIPHER_SUITES: Mapping[str, int] = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
}
"""The suites of TLS 1.3, without asking: for others the connection's context is searched."""


def peer_of(transport: Any) -> tuple[str, int] | None:
    """The address at the other end of the socket; None on a Unix socket, which has none."""
    try:
        name = transport.get_extra_info("peername")
    except OSError:
        name = None
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    connected = transport.get_extra_info("socket")
    if connected is not None and connected.family == getattr(socket, "AF_UNIX", None):
        return None
    # A client that has already gone has no address any more. None would take it for a proxy on a Unix socket.
    return "unknown", 0


def describe_tls(connection: ssl.SSLObject) -> dict[str, Any]:
    """The ASGI TLS extension of a connection whose handshake is done."""
    try:
        chain = client_chain(connection)
        name, problem = _subject(chain), None
    except Exception as error:
        # Not to be mistaken for a client without a certificate.
        chain, name, problem = (), None, f"the client certificate cannot be read: {type(error).__name__}"
    return {
        "server_cert": None,
        "client_cert_chain": tuple(map(ssl.DER_cert_to_PEM_cert, chain)),
        "client_cert_name": name,
        "client_cert_error": problem,
        "tls_version": TLS_VERSIONS.get(connection.version()),
        "cipher_suite": _cipher_suite(connection),
    }


def client_chain(connection: ssl.SSLObject) -> tuple[bytes, ...]:
    """What the client sent, DER, leaf first; empty if it sent nothing."""
    # Asked first: the chain of a connection without a client certificate is [None], or an AttributeError.
    leaf = connection.getpeercert(binary_form=True)
    if leaf is None:
        return ()
    read: Any = getattr(connection, "get_unverified_chain", None)
    if read is not None:  # Python 3.13
        sent = read()
    else:
        raw: Any = connection
        sent = [one.public_bytes(_ssl.ENCODING_DER) for one in raw._sslobj.get_unverified_chain()]
    return (leaf, *sent[1:])


def _subject(chain: tuple[bytes, ...]) -> str | None:
    if not chain:
        return None
    from cryptography.x509 import load_der_x509_certificate  # only here: loaded with the first client certificate

    return load_der_x509_certificate(chain[0]).subject.rfc4514_string()


def _cipher_suite(connection: ssl.SSLObject) -> int | None:
    cipher = connection.cipher()
    if cipher is None:
        return None
    known = CIPHER_SUITES.get(cipher[0])
    if known is not None:
        return known
    # OpenSSL's own number is the IANA one with two bytes in front.
    return next((c["id"] & 0xFFFF for c in connection.context.get_ciphers() if c["name"] == cipher[0]), None)


class _Telling:
    """The application, told about one connection with every request."""

    __slots__ = ("_app", "_peer", "_tls")

    def __init__(self, app: ASGIApp, tls: dict[str, Any] | None, peer: tuple[str, int] | None) -> None:
        self._app = app
        self._tls = tls
        self._peer = peer

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        extensions = scope["extensions"] = dict(scope.get("extensions") or ())
        extensions[SCOPE_KEY] = {"peer": self._peer}
        if self._tls is not None:
            # A fresh dictionary each time: what one request does to it, the next must not see.
            extensions["tls"] = dict(self._tls)
        return self._app(scope, receive, send)


class _TellingProtocol:
    """Mixed into a protocol class of uvicorn's: all of them keep the application in ``self.app``."""

    if TYPE_CHECKING:
        app: Any
        ws_protocol_class: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        websockets = getattr(self, "ws_protocol_class", None)
        if websockets is not None:
            self.ws_protocol_class = _telling(websockets)

    def connection_made(self, transport: Any) -> None:
        tls = transport.get_extra_info("ssl_object")
        self.app = _Telling(self.app, describe_tls(tls) if tls is not None else None, peer_of(transport))
        super().connection_made(transport)  # type: ignore[misc]


@lru_cache
def _telling(protocol: type) -> type:
    """The same WebSocket protocol, telling; made once, because a connection is no time to make classes."""
    return type(protocol.__name__, (_TellingProtocol, protocol), {})


class H11Protocol(_TellingProtocol, _H11Protocol):
    """uvicorn's ``h11`` protocol (pure Python), telling the application about the connection."""


try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _HttpToolsProtocol
except ImportError:  # httptools is optional for uvicorn, and so it is here
    AutoProtocol: type[_TellingProtocol] = H11Protocol
else:

    class HttpToolsProtocol(_TellingProtocol, _HttpToolsProtocol):
        """uvicorn's ``httptools`` protocol, telling the application about the connection."""

    AutoProtocol = HttpToolsProtocol
