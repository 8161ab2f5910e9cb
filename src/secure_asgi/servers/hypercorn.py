"""hypercorn that tells the application about the connection: its TLS, and who is really at the other end.

hypercorn has no hook for this. In code, ours serves instead of its own, under asyncio, uvloop and trio::

    from secure_asgi.servers.hypercorn import serve

    await serve(app, config)

Under its command line, the module that holds the application says once, before hypercorn serves it::

    from secure_asgi.servers import hypercorn

    hypercorn.install()

``scope["extensions"]["tls"]`` is filled as the ASGI TLS extension 0.2 says, on TLS connections only;
``scope["extensions"]["secure_asgi"]`` is ``{"peer": (host, port)}``, or ``{"peer": None}`` on a Unix socket, and has
``"resumed": True`` where a TLS session was resumed. HTTP/1.1, HTTP/2 and WebSockets over both; not HTTP/3.

Both put a subclass in the place of hypercorn's ``TCPServer``, which is no public part of it. Where that has moved they
raise ``ConfigurationError``; and should it change without moving, nothing is told, which the middlewares refuse.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from inspect import iscoroutinefunction, signature
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Literal

from .._asgi import Receive, Scope, Send
from ..errors import ConfigurationError
from ._connection import Connection, peer_named, peer_of

try:
    import hypercorn
except ImportError as error:
    raise ConfigurationError(
        "secure_asgi.servers.hypercorn needs hypercorn, which is not installed: pip install 'secure-asgi[hypercorn]'"
    ) from error

if TYPE_CHECKING:
    from hypercorn.typing import Framework

Backend = Literal["asyncio", "trio"]

MOVED = (
    "this version of hypercorn (or trio) serves connections in a way that secure_asgi.servers.hypercorn does not know: "
    "pip install 'hypercorn>=0.18,<0.19', or verify client certificates in a proxy in front of it"
)


async def serve(
    app: "Framework",
    config: hypercorn.Config,
    *,
    shutdown_trigger: Callable[..., Awaitable[Any]] | None = None,
    mode: Literal["asgi", "wsgi"] | None = None,
    **options: Any,
) -> None:
    """Serves ``app`` as ``hypercorn.asyncio.serve`` does, or under trio ``hypercorn.trio.serve``, and with its options.

    Nothing is changed in hypercorn itself. Raises ``ConfigurationError`` for a hypercorn that is built otherwise.
    """
    await _serve_under(_running_backend())(app, config, shutdown_trigger=shutdown_trigger, mode=mode, **options)


def install() -> None:
    """Makes hypercorn tell in this process from now on, whoever starts it. Calling it again changes nothing.

    hypercorn's command line loads the application in every worker before it serves, so the application's module is
    the place. Raises ``ConfigurationError`` for a hypercorn that is built otherwise.
    """
    backends: tuple[Backend, ...] = ("asyncio", "trio") if find_spec("trio") is not None else ("asyncio",)
    for backend in backends:
        server = _telling_server(backend)
        import_module(f"hypercorn.{backend}.run").TCPServer = server  # type: ignore[attr-defined]


class _Telling:
    """The application as hypercorn wraps it, told about one connection with every request."""

    __slots__ = ("_app", "_ask", "_connection")

    def __init__(self, app: Callable[..., Awaitable[None]], ask: Callable[[], Connection]) -> None:
        self._app = app
        self._ask = ask
        self._connection: Connection | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send, *more: Any) -> Awaitable[None]:
        if self._connection is None:
            self._connection = self._ask()
        self._connection.tell(scope)
        return self._app(scope, receive, send, *more)


class _OnAsyncio:
    """Mixed into hypercorn's ``TCPServer``, one of which serves one connection; asyncio has shaken hands already."""

    if TYPE_CHECKING:
        app: Any
        writer: asyncio.StreamWriter

    async def run(self) -> None:
        connection = Connection(peer_of(self.writer), self.writer.get_extra_info("ssl_object"))
        self.app = _Telling(self.app, lambda: connection)
        await super().run()  # type: ignore[misc]


class _OnTrio:
    """The same under trio, where the handshake is yet to come: asked with the first request."""

    if TYPE_CHECKING:
        app: Any
        stream: Any

    async def run(self) -> None:
        self.app = _Telling(self.app, partial(_connection_over, self.stream))
        await super().run()  # type: ignore[misc]


def _connection_over(stream: Any) -> Connection:
    """Of a trio stream."""
    from trio import SSLStream

    tls = None
    if isinstance(stream, SSLStream):
        # Private, because the stream passes most questions on, but not the one for the chain.
        tls = stream._ssl_object
        stream = stream.transport_stream
    try:
        name = stream.socket.getpeername()
    except OSError:
        name = None
    return Connection(peer_named(name, stream.socket.family), tls)


def _running_backend() -> Backend:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return "trio"
    return "asyncio"


@lru_cache
def _serve_under(backend: Backend) -> Callable[..., Awaitable[None]]:
    """hypercorn's own ``serve``, with our server in reach instead of its own."""
    server = _telling_server(backend)
    package = import_module(f"hypercorn.{backend}")
    worker_serve = _with_names(import_module(f"hypercorn.{backend}.run").worker_serve, TCPServer=server)
    return _with_names(package.serve, worker_serve=worker_serve)


def _with_names(function: FunctionType, **names: Any) -> FunctionType:
    """The same function, which finds these under their names; its module keeps what it has."""
    names = {**function.__globals__, **names}
    again = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    again.__kwdefaults__ = function.__kwdefaults__
    return again


@lru_cache
def _telling_server(backend: Backend) -> type:
    """hypercorn's class for one connection, telling; looked at first, since nothing says that it stays as it is."""
    mixin, connected = (_OnAsyncio, "writer") if backend == "asyncio" else (_OnTrio, "stream")
    try:
        package = import_module(f"hypercorn.{backend}")
        run = import_module(f"hypercorn.{backend}.run")
        server: type[Any] = import_module(f"hypercorn.{backend}.tcp_server").TCPServer
        has_tls_side = backend == "asyncio" or "_ssl_object" in _names_in(
            import_module("trio").SSLStream.__init__.__code__
        )
        is_known = (
            has_tls_side
            and run.TCPServer is server
            and "TCPServer" in _names_in(run.worker_serve.__code__)
            and "worker_serve" in _names_in(package.serve.__code__)
            and {"app", connected} <= set(signature(server).parameters)
            and iscoroutinefunction(server.run)
            and "app" in _names_in(server.run.__code__)
        )
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigurationError(MOVED) from error
    if not is_known:
        raise ConfigurationError(MOVED)
    return type(server.__name__, (mixin, server), {})


def _names_in(code: CodeType) -> set[str]:
    """The names that a function's code, and the functions inside it, look up."""
    inner = (one for one in code.co_consts if isinstance(one, CodeType))
    return set(code.co_names).union(*map(_names_in, inner))
