"""Counters in a Redis, for all processes: one script a request, whatever number of limits it falls under.

A key's counts lie under ``<namespace>:{<identity>}:<bucket>``, and the braces keep them in one slot of a Cluster. The
script reads Redis's own clock, decides about all buckets together, counts the ban, and says how the key stands; each
strategy is one file of ``scripts/``. Whoever was refused is not asked about again until the wait is over.
"""

import asyncio
import logging
import time
from collections.abc import Hashable, Sequence
from typing import Any

from .._cache import TwoGenerations
from .._redis import RedisLink
from .bans import Ban
from .counting import Banned, Bucket, Reading, Strategy
from .deny_cache import CAPACITY
from .identity import LENGTH, identity
from .outage import StoreUnavailableError
from .redis_counter import RedisCounter
from .redis_layout import BanConstants, Layout, read_numbers
from .redis_scripts import Argument, Scripts, ask

logger = logging.getLogger("secure_asgi")

_LONGEST_DENIAL = 10_000_000_000
_LONGEST_DENIAL_WITH_SETTLING = 1_000_000_000
"""Nanoseconds that a refusal is believed: units may be given back, and an operator may reset a key."""

_LONGEST_KEPT = 256
"""Characters of a key whose name is kept: a client that chooses its key must not choose how much memory it takes."""

_STARTING = 5.0
_TRIES = 10
"""Seconds and tries at start-up: the first connection resolves a name and shakes hands."""

_MOST_BANS = 10_000
_SCAN_STEP = 1_000
_MOST_STEPS = 10_000


class RedisStore:
    """``Store`` in the Redis behind ``link``. Its keys begin with ``namespace``; ``secret`` keys their digests.

    ``settles``: charges may be given back, so that a refusal is believed for a second only, and not for ten. An
    outage, or an answer that is none, is a ``StoreUnavailableError``.
    """

    def __init__(
        self,
        link: RedisLink,
        *,
        strategy: Strategy,
        namespace: str,
        secret: bytes = b"",
        ban: Ban | None = None,
        settles: bool = False,
    ) -> None:
        self.link = link
        self.strategy: Strategy = strategy
        self.scripts = Scripts(strategy, bans=ban is not None)
        self.longest_denial = _LONGEST_DENIAL_WITH_SETTLING if settles else _LONGEST_DENIAL
        self.ban = None if ban is None else BanConstants(ban)
        self._bans: TwoGenerations[str, tuple[int, int]] = TwoGenerations(CAPACITY)
        self.clock = time.monotonic_ns
        # Of whoever is refused without asking Redis, the digest would be half of the cost.
        self._names: TwoGenerations[Hashable, str] = TwoGenerations(CAPACITY)
        self._namespace = namespace
        self._secret = secret
        self._counters: list[RedisCounter] = []

    def counter(self, buckets: Sequence[Bucket]) -> "RedisCounter":
        """Raises ``ConfigurationError`` for a window that Redis's numbers cannot hold."""
        made = RedisCounter(self, buckets)
        self._counters.append(made)
        return made

    async def open(self) -> None:
        """Connect, and make the scripts known. What fails is logged: requests will say what it means for them."""
        try:
            async with asyncio.timeout(_STARTING):
                await self._reach()
        except (StoreUnavailableError, TimeoutError) as error:
            logger.warning(
                "rate limits: the Redis does not answer at start-up (%s)", str(error) or type(error).__name__
            )

    async def close(self) -> None:
        await self.link.close()

    def name(self, key: Hashable) -> str:
        """Raises ``TypeError`` for a key that is neither text nor octets."""
        name = self._names.get(key)
        if name is None:
            name = identity(key, self._secret)
            if isinstance(key, str | bytes) and len(key) <= _LONGEST_KEPT:
                self._names.put(key, name)
        return name

    def prefix(self, name: str) -> str:
        return f"{self._namespace}:{{{name}}}:"

    async def standing(self, key: Hashable, buckets: Sequence[Bucket]) -> list[tuple[Bucket, Reading]]:
        """How a key stands with some buckets, for one unit more; nothing is charged. For operators."""
        _, readings = await self._look(self.name(key), buckets)
        return list(zip(buckets, readings, strict=True))

    async def ban_left(self, key: Hashable) -> int:
        """Nanoseconds that a key stays banned, 0 if it is not. For operators."""
        left, _ = await self._look(self.name(key), ())
        return left

    async def reset(self, key: Hashable, buckets: Sequence[Bucket]) -> int:
        """Forget what a key has spent of some buckets, its refusals and its bans; how many keys of Redis that were.

        This process asks again at once, others within ten seconds. For operators.
        """
        name = self.name(key)
        keys = (*Layout(buckets, self.strategy).keys(self.prefix(name)), *self.ban_keys(name))
        deleted = await ask(self.link, "DEL", *keys)
        self._bans.put(name, (0, 0))
        for counter in self._counters:
            counter.denied.forget(name)
        if type(deleted) is not int:
            raise StoreUnavailableError("Redis: an answer to DEL that is no number")
        return deleted

    async def banned(self) -> list[tuple[str, int]]:
        """Who is banned: identities, and nanoseconds left. At most 10 000 of them. For operators.

        It walks over all keys of the Redis, a thousand a step, and gives up after ten million.
        """
        found: dict[str, int] = {}
        pattern = f"{self._namespace}:{{*}}:ban"
        cursor: Argument = 0
        for _ in range(_MOST_STEPS):
            answer = await ask(self.link, "SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_STEP)
            cursor, keys = _scanned(answer)
            for key in keys:
                name = key[len(self._namespace) + 2 : -len("}:ban")]
                if len(name) != LENGTH or name in found:
                    continue
                left, _ = await self._look(name, ())
                if left:
                    found[name] = left
                if len(found) >= _MOST_BANS:
                    return list(found.items())
            if cursor == 0:
                break
        return list(found.items())

    def ban_keys(self, name: str) -> tuple[str, str]:
        prefix = self.prefix(name)
        return prefix + "strikes", prefix + "ban"

    def ban_known(self, name: str, now: int) -> int:
        """Nanoseconds left of a ban that this process knows of and still believes; 0 for none."""
        over, believed = self._bans.get(name) or (0, 0)
        return over - now if now < believed else 0

    def ban_last_heard_of(self, key: Hashable) -> int:
        """Nanoseconds left of it; 0 for none. For while the Redis says nothing: nobody lifts a ban there meanwhile."""
        over, _ = self._bans.get(self.name(key)) or (0, 0)
        return max(0, over - self.clock())

    def note_ban(self, name: str, left: int, begins: int, began: int) -> Banned:
        """What an answer asked for at ``began`` says of a ban: ``left`` in microseconds."""
        if self.ban is None or not 0 < left <= self.ban.longest or begins > 1:
            raise StoreUnavailableError("Redis: an answer that is no ban")
        over = began + left * 1000
        self._bans.put(name, (over, min(over, began + self.longest_denial)))
        return Banned(left * 1000, begins=begins == 1)

    def note_no_ban(self, name: str, began: int) -> None:
        """An answer asked for at ``began`` knows of none: another process has lifted what was heard of before."""
        over, believed = self._bans.get(name) or (0, 0)
        # What is believed still was heard of meanwhile.
        if over and believed <= began:
            self._bans.put(name, (0, 0))

    async def _reach(self) -> None:
        # One command has less time than a first connection may need: hence several tries.
        for _ in range(_TRIES - 1):
            try:
                await ask(self.link, "PING")
                break
            except StoreUnavailableError:
                continue
        await self.scripts.hit.load(self.link)
        await self.scripts.settle.load(self.link)

    async def _look(self, name: str, buckets: Sequence[Bucket]) -> tuple[int, tuple[Reading, ...]]:
        """Nanoseconds of ban, and how an identity stands."""
        layout = Layout(buckets, self.strategy)
        keys = (*layout.keys(self.prefix(name)), *self.ban_keys(name))
        answer = read_numbers(await self.scripts.standing.run(self.link, keys, layout.constants))
        if len(answer) != 1 + 2 * len(layout.buckets):
            raise StoreUnavailableError("Redis: an answer that is no standing")
        return answer[0] * 1000, layout.readings(answer[1:], 2)


def _scanned(answer: Any) -> tuple[int, list[str]]:
    """A step of SCAN: the cursor and the keys. Raises ``StoreUnavailableError`` for anything else."""
    try:
        cursor, keys = answer
        return int(cursor), [key if isinstance(key, str) else bytes(key).decode("ascii", "replace") for key in keys]
    except (TypeError, ValueError):
        raise StoreUnavailableError("Redis: an answer to SCAN that is none") from None
