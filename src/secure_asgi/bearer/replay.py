"""Which proofs were used already (RFC 9449 section 11.1): in this process, or in a Redis for all workers.

A store that is full, or does not answer, refuses: whoever has captured a proof waits for just that.
"""

import time
from collections import deque
from collections.abc import Awaitable
from math import ceil
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from .._options import positive_seconds
from .._redis import RedisLink, RedisUnavailableError
from ..denial import Reason
from ..errors import ConfigurationError
from ..secrets import Secret
from .unavailable import UnavailableError

if TYPE_CHECKING:
    import redis.asyncio

CAPACITY = 100_000
"""Proofs remembered, at some 300 bytes each."""
PER_KEY = 1_000
_SWEPT = 1_000
"""Entries forgotten at once: the event loop must not wait for all of them."""
_REST = 1.0
"""Seconds a Redis that did not answer in time is left alone: every request would wait as long."""


class ReplayStore(Protocol):
    """Remembers keys for a time. A store of one's own must be shared by all workers that accept the same tokens."""

    def add(self, key: str, seconds: float) -> bool | Awaitable[bool]:
        """True if ``key`` is new, which is then remembered for ``seconds``; False if it was seen before.

        In one step: of two calls with one key, at the same moment, one gets False. ``key`` begins with the thumbprint
        of the client's key and a colon. Raises ``UnavailableError`` when it cannot say or has no room.
        """
        ...


class MemoryReplayStore:
    """Remembers in this process alone: with several workers, a proof could be used once in each.

    At most ``capacity`` keys at a time (100 000), and ``per_key`` of one client's key (1 000), so that no client fills
    it for all. What does not fit is refused with ``UnavailableError``; nothing is forgotten before its time. Raises
    ``ConfigurationError`` for numbers below 1.
    """

    __slots__ = ("_capacity", "_counts", "_lock", "_now", "_order", "_per_key", "_seen")

    def __init__(self, *, capacity: int = CAPACITY, per_key: int = PER_KEY) -> None:
        for option, number in (("capacity", capacity), ("per_key", per_key)):
            if type(number) is not int or number < 1:
                raise ConfigurationError(f"{option}= is a number of proofs, at least 1; got {number!r}")
        self._capacity = capacity
        self._per_key = per_key
        self._seen: set[str] = set()
        self._order: deque[tuple[float, str]] = deque()
        self._counts: dict[str, int] = {}
        self._lock = Lock()
        self._now = time.monotonic

    def add(self, key: str, seconds: float) -> bool:
        now = self._now()
        owner = key.partition(":")[0]
        with self._lock:
            self._forget(now, _SWEPT)
            if key in self._seen:
                return False
            if self._counts.get(owner, 0) >= self._per_key:
                self._forget(now, len(self._order))
            count = self._counts.get(owner, 0)
            if count >= self._per_key:
                raise self._full("the store has its share of this client's proofs", now)
            if len(self._seen) >= self._capacity:
                raise self._full("the store of used proofs is full", now)
            # In the order of arrival: a proof may stay a little longer than asked for, behind one that stays long.
            self._order.append((now + seconds, key))
            self._seen.add(key)
            self._counts[owner] = count + 1
        return True

    def _forget(self, now: float, at_most: int) -> None:
        order = self._order
        while order and at_most and order[0][0] <= now:
            key = order.popleft()[1]
            self._seen.discard(key)
            owner = key.partition(":")[0]
            count = self._counts[owner] - 1
            if count:
                self._counts[owner] = count
            else:
                del self._counts[owner]
            at_most -= 1

    def _full(self, why: str, now: float) -> UnavailableError:
        return UnavailableError(Reason.REPLAY_STORE_UNAVAILABLE, why, max(1.0, self._order[0][0] - now))


class RedisReplayStore:
    """Remembers in a Redis, for all workers: ``SET key 1 NX PX``, one command a proof.

    ``given`` is its URL, as text or in a ``Secret``, or a ``redis.asyncio.Redis`` of the user's own, which stays open.
    ``prefix`` goes before every key; ``timeout`` seconds for one command, connecting included. A Redis that is down,
    full or slow is an ``UnavailableError``; after one that was slow, the next second's requests are refused without
    asking. Raises ``ConfigurationError`` if redis is not installed, or for a wrong option. It sets no limit of its own:
    give that Redis a ``maxmemory`` with ``noeviction``, for one that evicts forgets proofs.
    """

    __slots__ = ("_link", "_now", "_prefix", "_rests_until", "_timeout")

    def __init__(
        self, given: "str | Secret | redis.asyncio.Redis", *, prefix: str = "secure_asgi:dpop:", timeout: float = 1.0
    ) -> None:
        if not isinstance(prefix, str):
            raise ConfigurationError(f"prefix= is text before every key, got {type(prefix).__name__}")
        self._link = RedisLink(given, timeout=positive_seconds("timeout", timeout))
        self._prefix = prefix
        self._timeout = timeout
        self._rests_until = 0.0
        self._now = time.monotonic

    async def add(self, key: str, seconds: float) -> bool:
        began = self._now()
        if began < self._rests_until:
            raise _unavailable("did not answer a moment ago")
        try:
            answer = await self._link.ask("SET", self._prefix + key, 1, "NX", "PX", max(1, ceil(seconds * 1000)))
        except RedisUnavailableError as error:
            # A refusal that comes at once costs nothing: only a wait is worth sparing the others.
            if self._now() - began >= self._timeout / 2:
                self._rests_until = self._now() + _REST
            raise _unavailable(str(error)) from error
        if answer is None:
            return False
        if answer not in (True, b"OK", "OK"):
            raise _unavailable("an answer that is none to SET")
        return True

    async def close(self) -> None:
        """Close the connections, unless the client is the user's own."""
        await self._link.close()


def _unavailable(why: str) -> UnavailableError:
    return UnavailableError(Reason.REPLAY_STORE_UNAVAILABLE, f"Redis: {why}", _REST)
