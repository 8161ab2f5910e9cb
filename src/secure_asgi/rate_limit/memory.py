"""Counters in this process: they answer at once, at a cost that does not grow with the number of keys.

Keys are spread over shards. A shard is small enough to be dropped or regrown in well under a millisecond, and each has
windows that begin at another moment, so that neither the work nor the clients' resets come all at once (RL-7).
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from .bans import Ban, BanBook
from .counting import Banned, Bucket, Reading, Strategy, Verdict
from .fixed_window import FixedWindow
from .gcra import GCRA
from .generations import Clock, Table
from .moving_window import MovingWindow
from .sliding_window import SlidingWindow

STRATEGIES: dict[str, type[Table]] = {
    "sliding-window": SlidingWindow,
    "fixed-window": FixedWindow,
    "moving-window": MovingWindow,
    "gcra": GCRA,
}

_SHARD_SIZE = 5461
"""Keys in one generation of one shard, at most: what CPython's dictionary of 8192 slots holds without growing."""


class MemoryStore:
    """``max_keys`` bounds the counters kept of each bucket, both generations together: 130 bytes for an address, at
    most; a moving window takes 44 more for each charge that counts. ``clock`` gives nanoseconds and never goes back."""

    def __init__(
        self, *, strategy: Strategy, max_keys: int, clock: Clock = time.monotonic_ns, ban: Ban | None = None
    ) -> None:
        self._table = STRATEGIES[strategy]
        self._generation = max_keys // 2
        self._size = -(-self._generation // _SHARD_SIZE)
        self._clock = clock
        self._begin = clock()
        self._book = None if ban is None else BanBook(ban)
        # Loops in several threads may share one layer, and a decision is one step: hence a lock for each shard.
        self._locks = tuple(threading.Lock() for _ in range(self._size))
        self._tables: dict[Bucket, tuple[Table, ...]] = {}

    def counter(self, buckets: Sequence[Bucket]) -> "MemoryCounter":
        """Counters of one store that have a bucket in common count it together."""
        shards = zip(*(self._of(bucket) for bucket in buckets), strict=True)
        return MemoryCounter(buckets, zip(self._locks, shards, strict=True), self._clock, self._book)

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nor to close."""

    def _of(self, bucket: Bucket) -> tuple[Table, ...]:
        if bucket not in self._tables:
            self._tables[bucket] = tuple(
                self._table(
                    bucket,
                    self._generation // self._size,
                    self._begin + bucket.limit.window * (index + 1) // self._size,
                )
                for index in range(self._size)
            )
        return self._tables[bucket]


class MemoryCounter:
    """Decides about some buckets of a ``MemoryStore``: see ``counting``."""

    __slots__ = ("_book", "_buckets", "_clock", "_decide", "_shards", "_size", "hit")

    _decide: Callable[..., Verdict]
    hit: Callable[..., Verdict | Banned]

    def __init__(
        self,
        buckets: Sequence[Bucket],
        shards: Iterable[tuple[threading.Lock, tuple[Table, ...]]],
        clock: Clock,
        book: BanBook | None,
    ) -> None:
        self._buckets = tuple(buckets)
        # "with" on a lock takes three times as long as its two methods, and as long as half of a decision.
        self._shards = tuple((lock.acquire, lock.release, tables) for lock, tables in shards)
        self._size = len(self._shards)
        self._clock = clock
        self._book = book
        self._decide = self._decide_one if len(self._buckets) == 1 else self._decide_all
        self.hit = self._decide if book is None else self._hit_unless_banned

    def read(self, index: int, standing: Any, cost: int) -> Reading:
        return self._shards[0][2][index].read(self._buckets[index], standing, cost)

    def settle(self, key: Hashable, verdict: Verdict, reserved: int, real: int) -> None:
        _, standings, at = verdict
        acquire, release, tables = self._shards[hash(key) % self._size]
        acquire()
        try:
            now = self._clock()
            for table, charged in zip(tables, standings, strict=True):
                if real > reserved:
                    table.charge(key, real - reserved, now)
                elif real < reserved:
                    table.give_back(key, reserved - real, charged, at, now)
        finally:
            release()

    def __len__(self) -> int:
        """Counters kept now, over all buckets and both generations."""
        return sum(len(table) for _, _, tables in self._shards for table in tables)

    def _hit_unless_banned(self, key: Hashable, cost: int, bans: bool = True) -> Verdict | Banned:
        book = self._book
        if book is None or not bans:
            return self._decide(key, cost)
        left = book.left(key, self._clock())
        if left:
            return Banned(left)
        verdict = self._decide(key, cost)
        if not verdict[0] and (left := book.refused(key, self._clock())):
            return Banned(left, begins=True)
        return verdict

    def _decide_one(self, key: Hashable, cost: int, bans: bool = True) -> Verdict:
        acquire, release, (table,) = self._shards[hash(key) % self._size]
        acquire()
        try:
            return table.hit(key, cost, self._clock())
        finally:
            release()

    def _decide_all(self, key: Hashable, cost: int, bans: bool = True) -> Verdict:
        """Charges one after the other, and takes all back where one has no room: a refusal pays, and who is admitted
        does not."""
        acquire, release, tables = self._shards[hash(key) % self._size]
        standings: list[Any] = []
        acquire()
        try:
            now = self._clock()
            for table in tables:
                admitted, standing, _ = table.hit(key, cost, now)
                if not admitted:
                    for charged, after in zip(tables, standings, strict=False):
                        charged.give_back(key, cost, after, now, now)
                    return False, [one.standing(one.look(key, now), cost) for one in tables], now
                standings += standing
            return True, standings, now
        finally:
            release()
