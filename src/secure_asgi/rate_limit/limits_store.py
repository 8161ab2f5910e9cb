"""Counters in whatever the ``limits`` library speaks: memcached, MongoDB, or a storage that the user gives it.

Redis has a store of its own here, which decides in one step. This one asks several times for each decision, and what
others ask meanwhile comes in between: two requests that compete for the last unit may both be refused, but never does
more pass than a limit allows. Memory is not asked at all: see ``memory``.
"""

import asyncio
import inspect
import logging
import math
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from importlib import import_module
from typing import Any, TypeVar

from .._options import positive_seconds
from ..errors import ConfigurationError
from .counting import Bucket, Reading, Strategy, Verdict
from .identity import identity
from .limits import NANOSECONDS, Limit
from .outage import StoreUnavailableError
from .sliding_window import SHIFT, units_free, wait_for

logger = logging.getLogger("secure_asgi")

T = TypeVar("T")

_LIMITERS = {
    "fixed-window": "FixedWindowRateLimiter",
    "moving-window": "MovingWindowRateLimiter",
    "sliding-window": "SlidingWindowCounterRateLimiter",
}
_PACKAGES = {"memcached": "memcachio", "mongodb": "motor.motor_asyncio"}
_OURS = ("memory", "redis", "rediss", "valkey", "valkeys", "unix")

_MEMCACHED_LONGEST = 30 * 86_400
"""Seconds from now: more than that memcached takes for a date, long past, and forgets the counter at once."""

_LONGEST_LOG = 10_000
"""Units in a moving window: ``limits`` keeps an entry for each of them."""


class LimitsStore:
    """A ``Store`` over ``limits.aio``: its storage at ``uri``, its ``strategy``.

    ``namespace`` begins every name under which something is kept; the keys themselves
    are kept as digests, made with ``secret`` where there is one. ``timeout`` seconds for a decision as a whole,
    connecting included. Nothing connects before ``open`` or the first decision. After any failure the next decision
    connects anew: what an answer that came late or broken has left behind could be taken for another's.

    Raises ``ConfigurationError`` for a storage, a strategy or a limit that cannot be counted this way. Not checked:
    whether the storage forgets counters early (memcached does, when it is short of memory).
    """

    def __init__(
        self, uri: str, *, strategy: Strategy, namespace: str, secret: bytes = b"", timeout: float = 0.05
    ) -> None:
        self._timeout = positive_seconds("storage_timeout", timeout)
        if strategy not in _LIMITERS:
            raise ConfigurationError(
                f'strategy= of this storage is one of {", ".join(_LIMITERS)}: "gcra" needs memory:// or a Redis'
            )
        self._strategy = strategy
        self._namespace = namespace
        self._secret = secret
        self._uri = uri.removeprefix("async+")
        self._kind = _read_kind(self._uri)
        self._link: _Link | None = None
        self._make_limiter()

    def counter(self, buckets: Sequence[Bucket]) -> "LimitsCounter":
        """Counters of one store that have a bucket in common count it together."""
        for bucket in buckets:
            self._check_limit(bucket.limit)
        return LimitsCounter(self, buckets, self._strategy, self._namespace, self._secret)

    async def open(self) -> None:
        try:
            await self.ask(lambda limiter: limiter.storage.get(f"{self._namespace}/open"))
        except StoreUnavailableError as error:
            logger.warning("The storage of a rate limit gives no answer at start-up: %s", error)

    async def close(self) -> None:
        """What another event loop has opened is left to that: it cannot be closed from here."""
        link, self._link = self._link, None
        if link is not None and link.loop is asyncio.get_running_loop():
            await link.retire()

    async def ask(self, question: Callable[[Any], Awaitable[T]]) -> T:
        """What ``question`` learns from a limiter of ``limits``. Raises ``StoreUnavailableError`` alone."""
        try:
            async with asyncio.timeout(self._timeout), self._linked() as limiter:
                return await question(limiter)
        except Exception as error:
            # Each client library raises its own, the socket's errors, and anything for an answer that it cannot read.
            raise StoreUnavailableError(type(error).__name__) from error

    def _linked(self) -> "_Link":
        loop = asyncio.get_running_loop()
        if self._link is None or self._link.is_retired or self._link.loop is not loop:
            self._link = _Link(self._make_limiter(), loop)
        return self._link

    def _make_limiter(self) -> Any:
        """Of a storage of its own, that has opened nothing yet."""
        from limits.aio import strategies
        from limits.storage import storage_from_string

        options: dict[str, Any] = {}
        if self._kind == "memcached":
            options = {"connect_timeout": self._timeout, "blocking_timeout": self._timeout}
        elif self._kind == "mongodb":
            # Its calls run in threads, which a timeout of ours leaves running: these end them.
            wait = math.ceil(self._timeout * 1000)
            options = {"serverSelectionTimeoutMS": wait, "connectTimeoutMS": wait, "socketTimeoutMS": wait}
        try:
            storage = storage_from_string(f"async+{self._uri}", **options)
        except Exception as error:
            # Whatever it is, its text is not repeated: it may hold the URI, and that a password.
            raise ConfigurationError(
                f"storage= is a URI that limits.aio reads, such as memcached://127.0.0.1:11211; this one of "
                f"{self._kind!r} it refuses ({type(error).__name__})"
            ) from None
        if self._kind == "memcached" and not storage.bridge.hosts:  # type: ignore[union-attr]  # memcached's own
            raise ConfigurationError("storage= names no memcached: memcached://127.0.0.1:11211, or several with commas")
        try:
            return getattr(strategies, _LIMITERS[self._strategy])(storage)
        except NotImplementedError:
            raise ConfigurationError(
                f'strategy="{self._strategy}" cannot be counted in {self._kind}: take another, or a Redis'
            ) from None

    def _check_limit(self, limit: Limit) -> None:
        if self._strategy == "moving-window" and limit.amount > _LONGEST_LOG:
            raise ConfigurationError(
                f'limits= of more than {_LONGEST_LOG} units need strategy="sliding-window" in this storage, which '
                f"keeps every unit of a moving window: got {limit}"
            )
        kept = limit.seconds * (2 if self._strategy == "sliding-window" else 1)
        if self._kind == "memcached" and kept > _MEMCACHED_LONGEST:
            raise ConfigurationError(
                f"limits= in memcached are of at most {_MEMCACHED_LONGEST * limit.seconds // kept // 86_400} days with "
                f'strategy="{self._strategy}", as it keeps nothing for longer than 30 days: got {limit}'
            )


class LimitsCounter:
    """``Counter`` over some buckets of a ``LimitsStore``.

    Several buckets are asked one after the other: first whether all have room, which charges nothing, and then each is
    charged. Should one be full by then, because somebody else came in between, the request is refused, and what the
    others were charged with stays charged. In a fixed window such a late refusal is itself charged too.
    """

    __slots__ = ("_items", "_names", "_read", "_secret", "_store", "_strategy")

    def __init__(
        self, store: LimitsStore, buckets: Sequence[Bucket], strategy: Strategy, namespace: str, secret: bytes
    ) -> None:
        from limits import RateLimitItemPerSecond

        self._store = store
        self._secret = secret
        self._strategy = strategy
        self._read = _READERS[strategy]
        self._items = tuple(
            RateLimitItemPerSecond(bucket.limit.amount, bucket.limit.seconds, namespace) for bucket in buckets
        )
        self._names = tuple(identity(bucket.name, secret) for bucket in buckets)

    def hit(self, key: Hashable, cost: int, bans: bool = True) -> Awaitable[Verdict]:
        """Raises ``StoreUnavailableError`` when awaited, and ``TypeError`` at once for a key that is no text or octets.

        There are no bans here.
        """
        who = identity(key, self._secret)
        return self._store.ask(lambda limiter: self._decide(limiter, who, cost))

    def read(self, index: int, standing: Reading, cost: int) -> Reading:
        return standing

    def settle(self, key: Hashable, verdict: Any, reserved: int, real: int) -> Awaitable[None] | None:
        """Charges what was more, as far as it fits (in a fixed window: whether it fits or not).

        What was less is not given back: not every storage can, and none can tell whether it still counts.
        """
        if real <= reserved:
            return None
        who = identity(key, self._secret)
        return self._store.ask(lambda limiter: self._charge(limiter, who, real - reserved))

    async def _decide(self, limiter: Any, who: str, cost: int) -> Verdict:
        asked = tuple(zip(self._items, self._names, strict=True))
        room = [await limiter.test(item, who, name, cost=cost) for item, name in asked]
        if all(room):
            for index, (item, name) in enumerate(asked):
                room[index] = await limiter.hit(item, who, name, cost=cost)
                if not room[index]:
                    break
        readings = [await self._read(limiter, item, (who, name), cost) for item, name in asked]
        for index, has_room in enumerate(room):
            if not has_room:
                # Read a moment later, when there may be room again: it still is what the refusal is about.
                free, wait = readings[index]
                readings[index] = min(free, cost - 1), max(wait, 1)
        return all(room), readings, None

    async def _charge(self, limiter: Any, who: str, units: int) -> None:
        for item, name in zip(self._items, self._names, strict=True):
            fitting = units
            if self._strategy != "fixed-window":
                free, _ = await self._read(limiter, item, (who, name), 1)
                fitting = min(units, free)
            if fitting:
                await limiter.hit(item, who, name, cost=fitting)


class _Link:
    """A limiter with the connections of its storage, in the event loop that opened them.

    Entered by each who uses it. Who leaves it with an error retires it: nobody enters it any more, and the last one
    to leave closes it.
    """

    __slots__ = ("_limiter", "_users", "is_retired", "loop")

    def __init__(self, limiter: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._limiter = limiter
        self._users = 0
        self.loop = loop
        self.is_retired = False

    async def __aenter__(self) -> Any:
        self._users += 1
        return self._limiter

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._users -= 1
        # A cancellation counts as one: a client that is stopped while it connects keeps that place taken for ever.
        if kind is not None or self.is_retired:
            await self.retire()

    async def retire(self) -> None:
        self.is_retired = True
        if not self._users:
            await _close(self._limiter.storage)


async def _close(storage: Any) -> None:
    """``limits`` itself has no way to: what its storages hold is closed, or a storage of the user's own that can be."""
    if hasattr(storage, "bridge"):
        holder = (await storage.bridge.get_storage()).connection_pool
    else:
        holder = storage if hasattr(storage, "close") else getattr(storage, "storage", None)
    close = getattr(holder, "close", None)
    closing = close() if callable(close) else None
    if inspect.isawaitable(closing):
        await closing


async def _read_fixed(limiter: Any, item: Any, names: tuple[str, str], cost: int) -> Reading:
    end, free = await limiter.get_window_stats(item, *names)
    return _reading(item, free, end - time.time(), cost)


async def _read_moving(limiter: Any, item: Any, names: tuple[str, str], cost: int) -> Reading:
    """When the oldest charge is forgotten: sooner than one more request fits, if that charge was a smaller one.

    Not ``get_window_stats``, which fails for a key whose charges are all forgotten.
    """
    begin, spent = await limiter.storage.get_moving_window(item.key_for(*names), item.amount, item.get_expiry())
    left = begin + item.get_expiry() - time.time() if spent else 0
    return _reading(item, item.amount - spent, left, cost)


async def _read_sliding(limiter: Any, item: Any, names: tuple[str, str], cost: int) -> Reading:
    """Reckoned as the counter in memory does.

    Not ``get_window_stats``: it knows the time until one unit more fits, and not that until a whole request does.
    """
    window = item.get_expiry()
    previous, previous_left, current, current_left = await limiter.storage.get_sliding_window(
        item.key_for(*names), window
    )
    limit = Limit(item.amount, window)
    left = previous_left if previous else current_left % window
    standing = _count(previous) << SHIFT | _count(current), min(math.ceil(left * NANOSECONDS), limit.window)
    free = max(0, units_free(limit, standing))
    more = (free // cost + 1) * cost
    return free, wait_for(limit, standing, more) if more <= limit.amount else 0


def _count(units: int) -> int:
    """As much of it as fits into half of a packed count: a storage may hold anything."""
    return min(max(0, units), (1 << SHIFT) - 1)


_READERS: dict[str, Callable[[Any, Any, tuple[str, str], int], Awaitable[Reading]]] = {
    "fixed-window": _read_fixed,
    "moving-window": _read_moving,
    "sliding-window": _read_sliding,
}


def _reading(item: Any, free: int, left: float, cost: int) -> Reading:
    """``left`` seconds until all of the window, or the oldest charge, is forgotten; by this machine's clock."""
    free = min(max(0, free), item.amount)
    if (free // cost + 1) * cost > item.amount:
        return free, 0
    return free, math.ceil(min(max(0.0, left), item.get_expiry()) * NANOSECONDS)


def _read_kind(uri: str) -> str:
    """The storage that a URI names. Raises ``ConfigurationError`` for one that is not for here, or is not installed."""
    scheme, separator, _ = uri.partition("://")
    kind = scheme.partition("+")[0]
    if not separator or kind in _OURS:
        raise ConfigurationError("storage= is a URI such as memcached://127.0.0.1:11211, or names a Redis")
    if scheme == "mongodb+srv":
        # The client looks the names up while it is made, and everybody else waits.
        raise ConfigurationError("storage= names the MongoDB servers themselves: mongodb://one:27017,two:27017")
    if kind in _PACKAGES:
        try:
            import_module(_PACKAGES[kind])
        except ImportError:
            raise ConfigurationError(f"storage= needs a client: pip install 'secure-asgi[{kind}]'") from None
    return kind
