"""uvicorn protocols that tell the application about the connection: its TLS, and who is really at the other end.

Select one by import string or by class; WebSockets are covered by the same option, whichever implementation ``ws=``
names::

    uvicorn.run(app, http="secure_asgi.servers.uvicorn:AutoProtocol", ssl_context_factory=...)

``scope["extensions"]["tls"]`` is filled as the ASGI TLS extension 0.2 says, on TLS connections only;
``scope["extensions"]["secure_asgi"]`` is ``{"peer": (host, port)}``, the socket's own, or ``{"peer": None}`` on a Unix
socket, and has ``"resumed": True`` where a TLS session was resumed. uvicorn trusts ``X-Forwarded-For`` from loopback
by default and rewrites ``scope["client"]`` from it; the peer is recorded before.
"""

from collections.abc import Awaitable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .._asgi import ASGIApp, Receive, Scope, Send
from ..errors import ConfigurationError
from ._connection import Connection, peer_of

try:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _H11Protocol
except ImportError as error:
    raise ConfigurationError(
        "secure_asgi.servers.uvicorn needs uvicorn, which is not installed: pip install 'secure-asgi[uvicorn]'"
    ) from error

NEEDS = {"HttpToolsProtocol": "httptools", "HTTP2Protocol": "zttp"}
"""What the optional protocols are built on."""


class _Telling:
    """The application, told about one connection with every request."""

    __slots__ = ("_app", "_connection")

    def __init__(self, app: ASGIApp, connection: Connection) -> None:
        self._app = app
        self._connection = connection

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        self._connection.tell(scope)
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
            self.ws_protocol_class = telling(websockets)

    def connection_made(self, transport: Any) -> None:
        connection = Connection(peer_of(transport), transport.get_extra_info("ssl_object"))
        self.app = _Telling(self.app, connection)
        super().connection_made(transport)  # type: ignore[misc]


class _Complete(list[tuple[bytes, bytes]]):
    """The request fields, all of them: the scope has the list they were collected in, and this takes no more."""

    def append(self, line: tuple[bytes, bytes], /) -> None:
        pass


@lru_cache
def telling(protocol: type) -> type:
    """The same protocol, telling; made once, because a connection is no time to make classes."""
    return type(protocol.__name__, (_TellingProtocol, protocol), {})


class H11Protocol(_TellingProtocol, _H11Protocol):
    """uvicorn's ``h11`` protocol (pure Python), telling the application about the connection."""


try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _HttpToolsProtocol
except ImportError:  # httptools is optional for uvicorn, and so it is here
    AutoProtocol: type[_TellingProtocol] = H11Protocol
else:

    class HttpToolsProtocol(_TellingProtocol, _HttpToolsProtocol):
        """uvicorn's ``httptools`` protocol, telling the application about the connection; and without trailers.

        uvicorn's own puts them into the list of request fields that the application has been given. What a client
        writes there has passed by the proxy that sets and removes fields, and HAProxy lets it pass (RFC 9110 section
        6.5.1).
        """

        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            self.headers = _Complete(self.headers)

    AutoProtocol = HttpToolsProtocol


def __getattr__(name: str) -> Any:
    """``HTTP2Protocol``, loaded when it is asked for; and what to install for a protocol that is not there."""
    if name == "HTTP2Protocol":
        try:
            from ._uvicorn_http2 import HTTP2Protocol
        except ImportError:
            pass
        else:
            return HTTP2Protocol
    if name in NEEDS:
        raise ConfigurationError(
            f"{__name__}:{name} needs {NEEDS[name]} beside uvicorn: pip install 'uvicorn>=0.54' {NEEDS[name]}"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
