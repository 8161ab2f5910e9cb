"""TLS to a Redis: one context for all connections of a link.

redis-py makes one for each, and reads all authorities of the system for it: some fifty milliseconds in which nothing
else runs, and which are all that a rate limit may take.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ._files import WatchedFiles
from .errors import ConfigurationError

_FILES = ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs")


class SharedContext:
    """The TLS context that ``options`` of a URL ask for, made at once, and anew within five seconds when one of its
    files was replaced, for connections that are opened then.

    Raises ``ConfigurationError`` for options and files that make none. Files that make none later change nothing.
    """

    __slots__ = ("_context", "_files", "_options")

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = {name: value for name, value in options.items() if name.startswith("ssl_")}
        self._files = WatchedFiles([options[name] for name in _FILES if name in options])
        self._files.have_changed()
        try:
            self._context = self._make()
        except Exception as error:
            # The files', ssl's, redis-py's.
            raise ConfigurationError(
                f"the ssl_ options of a Redis's URL make no TLS context ({type(error).__name__})"
            ) from None

    def use_in(self, place: Any) -> None:
        """``place`` makes connections of its ``connection_class``: a pool, or a node of a cluster."""
        place.connection_class = self.sharing(place.connection_class)

    def sharing(self, connections: Any) -> Any:
        """Such a class of connections, with this context."""

        def init(connection: Any, **options: Any) -> None:
            connections.__init__(connection, **options)
            connection.ssl_context = self._current()

        return type(connections.__name__, (connections,), {"__init__": init})

    def _current(self) -> Any:
        if self._files.have_changed():
            # They may be half replaced: the rest of it is a change too.
            with suppress(Exception):
                self._context = self._make()
        return self._context

    def _make(self) -> Any:
        from redis.asyncio.connection import SSLConnection

        context = SSLConnection(**self._options).ssl_context
        context.get()
        return context
