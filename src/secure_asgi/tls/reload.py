"""A context that follows its files: replaced certificates are served to the next connection, without a restart.

Nothing is ever loaded into a context that serves. ``load_cert_chain`` with a key that does not match breaks it for
good, an RSA certificate stays beside the ECDSA one that was to replace it, and an authority once loaded cannot be taken
out. So a fresh context is made of the files, and takes the other's place when it is complete. A server wraps each
connection in the context it was given, and that is where the place is: whatever it wraps, the current context does. A
session of TLS 1.2 can only be resumed in the context it was made in, and so none outlives a change.
"""

import logging
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import wraps
from math import inf
from threading import RLock
from typing import Any

from .._files import WatchedFiles
from ..errors import ConfigurationError
from .expiry import Alarms, CertificateExpiry, OnExpiry
from .profile import Loaded, Recipe

logger = logging.getLogger("secure_asgi")

CANNOT_BE_CHANGED = "{}: give server_context() its options instead, a context that follows its files cannot be changed"


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """What is served, for health checks and metrics; file names in ``last_error`` are not for strangers.

    ``generation`` counts the contexts made so far, from 1; ``loaded_at`` is when the current one was, aware, UTC;
    ``not_after`` is the end of the first certificate to end in ``certfile``; ``last_error`` says why the files as they
    are now are not served, empty if they are.
    """

    generation: int
    loaded_at: datetime
    not_after: datetime
    last_error: str = ""


class ServerContext(ssl.SSLContext):
    """What ``server_context`` returns: for every server that calls ``wrap_bio`` or ``wrap_socket`` per connection.

    That is asyncio, uvloop, trio and anyio, and what is built on them. Its settings are the options of
    ``server_context``: to change one afterwards raises ``ConfigurationError``, except through ``set_alpn_protocols``.
    It cannot be pickled; a server with several workers makes one in each.
    """

    _is_made = False

    def __new__(cls, *args: Any) -> "ServerContext":
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, recipe: Recipe, every: float | None, on_expiry: OnExpiry | None) -> None:
        # For those who read its settings. It serves nothing itself, and has no certificate to do so with.
        recipe.harden(self)
        self._recipe = recipe
        self._every = inf if every is None else every
        self._clock: Callable[[], float] = time.monotonic
        self._now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._lock = RLock()  # a hook of ours may make a connection of its own
        self._alarms = Alarms(on_expiry)
        # Asked before they are read, so that a change meanwhile is seen at the next look.
        self._watched = WatchedFiles(recipe.files, every=0)
        self._watched.have_changed()
        self._generation = 0
        self._serve(recipe.make())
        self._alarms.ring(self._loaded.certificates, self._now())
        self._next_look = self._clock() + self._every
        self._is_made = True

    @property
    def certificate_status(self) -> CertificateStatus:
        """What is served now; asking looks at no file."""
        not_after = min(one.not_after for one in self._loaded.own)
        return CertificateStatus(self._generation, self._loaded_at, not_after, self._last_error)

    def look(self) -> None:
        """Look at the files and the calendar if a look is due; called for every connection, at no cost in between.

        A server that is idle for days may call it now and then, so that no alarm waits for the next connection.
        """
        if self._clock() < self._next_look:
            return
        with self._lock:
            if self._clock() < self._next_look:  # another thread has looked meanwhile
                return
            try:
                # What failed is tried again even if it looks the same: stat does not show a change of permissions.
                if self._watched.have_changed() or self._last_error:
                    self._reload()
                self._alarms.ring(self._loaded.certificates, self._now())
            finally:
                self._next_look = self._clock() + self._every

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        self.look()
        return self._loaded.context.wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        self.look()
        return self._loaded.context.wrap_socket(*args, **kwargs)

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """As ``alpn=``, for a server that sets it itself; nothing else can be changed, and this breaks nothing."""
        protocols = tuple(alpn_protocols)
        super().set_alpn_protocols(protocols)
        if self._is_made:
            self._recipe = replace(self._recipe, alpn=protocols)
            self._loaded.context.set_alpn_protocols(protocols)

    def __setattr__(self, name: str, value: object) -> None:
        if self._is_made and not name.startswith("_"):
            raise ConfigurationError(CANNOT_BE_CHANGED.format(name))
        super().__setattr__(name, value)

    def _reload(self) -> None:
        try:
            loaded = self._recipe.make()
            _check_dates(loaded, self._now())
        except Exception as error:
            # Any exception at all: whatever lies there now, the connection that made us look is to be served.
            self._keep_serving(error)
        else:
            self._serve(loaded)
            logger.info(
                "TLS files replaced: generation %d, until %s", self._generation, self.certificate_status.not_after
            )

    def _serve(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._loaded_at = self._now()
        self._generation += 1
        self._last_error = ""

    def _keep_serving(self, error: Exception) -> None:
        problem = str(error) if isinstance(error, ConfigurationError) else f"{type(error).__name__}: {error}"
        if problem != self._last_error:
            self._last_error = problem
            logger.error("the replaced TLS files are not used, and those before them served on: %s", problem)


def _refusing(name: str) -> Callable[..., Any]:
    original = getattr(ssl.SSLContext, name)

    @wraps(original)
    def method(self: ServerContext, *args: Any, **kwargs: Any) -> Any:
        if self._is_made:
            raise ConfigurationError(CANNOT_BE_CHANGED.format(name))
        return original(self, *args, **kwargs)

    return method


# A change made here would not reach the context that serves, and would be missed only by whom it was to keep out.
for _name in dir(ssl.SSLContext):
    if _name.startswith(("load_", "set_")) and _name not in vars(ServerContext):
        setattr(ServerContext, _name, _refusing(_name))


def _check_dates(loaded: Loaded, now: datetime) -> None:
    """At start-up an expired certificate is better than none; in the place of a good one it is a mistake."""
    leaf: CertificateExpiry = loaded.own[0]
    if leaf.not_after <= now:
        raise ConfigurationError(f"certfile={leaf.file!r} has expired on {leaf.not_after:%Y-%m-%d %H:%M} UTC")
    if leaf.not_before > now:
        raise ConfigurationError(f"certfile={leaf.file!r} is not valid before {leaf.not_before:%Y-%m-%d %H:%M} UTC")
