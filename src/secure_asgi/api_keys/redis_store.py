"""Records in a Redis, for all workers: one hash, a field a key."""

import json
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from .._cache import TwoGenerations
from .._loop import refuse_trio
from .._options import positive_seconds
from .._redis import RedisLink, RedisUnavailableError
from ..errors import ConfigurationError
from ..secrets import Secret
from .records import KeyRecord
from .stores import KeysUnavailableError, in_order, must_be_record

if TYPE_CHECKING:
    import redis.asyncio

MAX_TTL = 60.0
CACHE_SIZE = 10_000
_REST = 1.0
"""Seconds a Redis that did not answer in time is left alone: every request would wait as long."""


class RedisKeys:
    """Records in a Redis: the hash ``prefix``, with a field for each id (``HGET``, one command a look-up).

    ``given`` is its URL, as text or in a ``Secret``, or a ``redis.asyncio.Redis`` of the user's own, which stays open.
    A record that was found is remembered for ``ttl`` seconds (5, at most 60; 0 asks every time): a key that was removed
    passes that much longer in the other workers. ``timeout`` seconds for one command, connecting included. A Redis that
    is down or slow is a ``KeysUnavailableError``: what is remembered passes until its time is over, all else is
    answered with 503. Needs asyncio. Raises ``ConfigurationError`` if redis is not installed, or for a wrong option.
    """

    __slots__ = ("_found", "_link", "_now", "_prefix", "_rests_until", "_timeout", "_ttl")

    def __init__(
        self,
        given: "str | Secret | redis.asyncio.Redis",
        *,
        prefix: str = "secure_asgi:api_keys",
        ttl: float = 5.0,
        timeout: float = 0.5,
    ) -> None:
        if not isinstance(prefix, str) or not prefix:
            raise ConfigurationError(f"prefix= is the name of the hash in Redis, got {type(prefix).__name__}")
        if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 <= ttl <= MAX_TTL:
            raise ConfigurationError(f"ttl= is a number of seconds from 0 to {MAX_TTL:g}, got {ttl!r}")
        self._timeout = positive_seconds("timeout", timeout)
        self._link = RedisLink(given, timeout=self._timeout)
        self._prefix = prefix
        self._ttl = ttl
        self._found: TwoGenerations[str, tuple[KeyRecord, float]] = TwoGenerations(CACHE_SIZE)
        self._rests_until = 0.0
        self._now = time.monotonic

    async def open(self) -> None:
        """Refuses trio. A Redis that is down is no reason not to start."""
        refuse_trio("RedisKeys needs asyncio: run the server on it, not on trio")

    async def close(self) -> None:
        """Close the connections, unless the client is the user's own."""
        await self._link.close()

    def find(self, key_id: str, /) -> KeyRecord | Awaitable[KeyRecord | None]:
        found = self._found.get(key_id)
        if found is not None and self._now() < found[1]:
            return found[0]
        return self._look_up(key_id)

    async def add(self, record: KeyRecord) -> None:
        """Put it in, in the place of one with the same id. Raises ``KeysUnavailableError`` if Redis has not got it."""
        text = json.dumps(must_be_record(record).to_json())
        await self._ask("HSET", self._prefix, record.id, text)
        self._found.clear()

    async def remove(self, key_id: str) -> bool:
        """Revoke the key: here at once, in other workers within ``ttl``. False if there was none."""
        removed = await self._ask("HDEL", self._prefix, key_id)
        self._found.clear()
        return bool(removed)

    async def list(self, *, client: str | None = None) -> tuple[KeyRecord, ...]:
        """All records, or those of one client, oldest first."""
        answers = await self._ask("HVALS", self._prefix)
        return in_order([_read(answer) for answer in answers], client)

    async def _look_up(self, key_id: str) -> KeyRecord | None:
        began = self._now()
        if began < self._rests_until:
            raise KeysUnavailableError("Redis: did not answer a moment ago")
        try:
            answer = await self._ask("HGET", self._prefix, key_id)
        except KeysUnavailableError:
            # A refusal that comes at once costs nothing: only a wait is worth sparing the others.
            if self._now() - began >= self._timeout / 2:
                self._rests_until = self._now() + _REST
            raise
        if answer is None:
            return None
        record = _read(answer)
        if self._ttl:
            # From before the question: a removal in between is not outlived by more than ttl.
            self._found.put(key_id, (record, began + self._ttl))
        return record

    async def _ask(self, *command: str) -> Any:
        try:
            return await self._link.ask(*command)
        except RedisUnavailableError as error:
            raise KeysUnavailableError(f"Redis: {error}") from error


def _read(answer: Any) -> KeyRecord:
    try:
        return KeyRecord.from_json(json.loads(answer))
    except (ValueError, TypeError, RecursionError):
        raise KeysUnavailableError("Redis: a record that cannot be read") from None
