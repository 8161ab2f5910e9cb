"""The sliding-window counter, in memory (RL-14).

A key's use of a limit is ``previous * (1 - f) + current``: what it spent in the window before, weighed by how much of
that window lies within one length back from now, and what it has spent in this one. All arithmetic is on integers
(nanoseconds, whole units): what is said to fit in two seconds fits in two seconds, and not before.

How it stays bounded, and fast with a million keys:

- Both counts of a key are packed into one integer: one dictionary entry, one look-up.
- Entries live in two generations. A hit moves its entry to the young one. When the window ends, or the young one is
  full, it becomes the old one; and the old one, where only keys are left that nobody has used since, is dropped whole.
  No timer, no scan.
- Keys are spread over shards. A shard is small enough to be dropped or regrown in well under a millisecond, and each
  has windows that begin at another moment, so that neither the work nor the clients' resets come all at once (RL-7).
"""

import threading
import time
from collections.abc import Callable, Hashable, Sequence

from .limits import Limit

Standing = tuple[int, int]
"""How a key stands with one limit: its packed count, and the nanoseconds left of the window."""

Verdict = tuple[bool, Sequence[Standing]]
"""Whether the units were charged, and how the key now stands with each limit."""

Clock = Callable[[], int]
"""Nanoseconds, never going back."""

SHIFT = 32
"""``count = previous << SHIFT | current``."""

_CURRENT = (1 << SHIFT) - 1

_SHARD_SIZE = 5461
"""Keys in one generation of one shard, at most: what CPython's dictionary of 8192 slots holds without growing."""


def units_free(limit: Limit, standing: Standing) -> int:
    """Units that fit now: the amount less the use, rounded down."""
    count, left = standing
    return limit.amount - (count & _CURRENT) + (-(count >> SHIFT) * left // limit.window)


def wait_for(limit: Limit, standing: Standing, units: int) -> int:
    """Nanoseconds until so many units fit, if nothing else is spent: more than fit now, no more than the amount."""
    count, left = standing
    spare = limit.amount - units
    current = count & _CURRENT
    if current <= spare:
        # Within this window, as the share of the one before shrinks.
        return left - (spare - current) * limit.window // (count >> SHIFT)
    # In the next one, where what is current now is what shrinks.
    return left + limit.window - spare * limit.window // current


class SlidingWindow:
    """Counts keys against one limit, or several at once: then all have room and all are charged, or none is.

    ``max_keys`` bounds the counters kept for each limit, both generations together: 130 bytes for an address, at most.
    ``clock`` gives nanoseconds and never goes back.
    """

    __slots__ = ("_clock", "_shards", "_size", "hit")

    hit: Callable[[Hashable, int], Verdict]
    """``hit(key, cost)``: charge so many units, at most the lowest amount, if every limit has room for them."""

    def __init__(self, limits: Sequence[Limit], *, max_keys: int, clock: Clock = time.monotonic_ns) -> None:
        generation = max_keys // 2
        size = -(-generation // _SHARD_SIZE)
        begin = clock()
        # Loops in several threads may share one layer, and a decision is one step: hence a lock for each shard.
        self._shards = tuple(
            (
                threading.Lock(),
                tuple(
                    _Window(limit, generation // size, begin + limit.window * (index + 1) // size) for limit in limits
                ),
            )
            for index in range(size)
        )
        self._size = size
        self._clock = clock
        self.hit = self._hit_one if len(limits) == 1 else self._hit_all

    def _hit_one(self, key: Hashable, cost: int) -> Verdict:
        """``_hit_all`` with its loops unrolled: one limit is the common case, and every request comes by here."""
        lock, (window,) = self._shards[hash(key) % self._size]
        with lock:
            left = window.end - self._clock()
            if left <= 0:
                left = window.roll(left)
            count = window.young.get(key)
            if count is None:
                count = window.recall(key)
            previous = count >> SHIFT
            spare = window.amount - cost - (count & _CURRENT)
            if spare < previous and spare * window.length < previous * left:
                return False, ((count, left),)
            window.young[key] = count = count + cost
        return True, ((count, left),)

    def _hit_all(self, key: Hashable, cost: int) -> Verdict:
        lock, windows = self._shards[hash(key) % self._size]
        standings = []
        admitted = True
        with lock:
            now = self._clock()
            for window in windows:
                left = window.end - now
                if left <= 0:
                    left = window.roll(left)
                count = window.young.get(key)
                if count is None:
                    count = window.recall(key)
                standings.append((count, left))
                previous = count >> SHIFT
                spare = window.amount - cost - (count & _CURRENT)
                # Whatever fits beside the window before in full needs no weighing.
                if spare < previous and spare * window.length < previous * left:
                    admitted = False
            if admitted:
                for index, window in enumerate(windows):
                    count, left = standings[index]
                    window.young[key] = count = count + cost
                    standings[index] = (count, left)
        return admitted, standings

    def __len__(self) -> int:
        """Counters kept now, over all limits and both generations."""
        return sum(len(window.young) + len(window.old) for _, windows in self._shards for window in windows)


class _Window:
    """One limit's counters in one shard."""

    __slots__ = ("_capacity", "_old_is_current", "amount", "end", "length", "old", "young")

    def __init__(self, limit: Limit, capacity: int, end: int) -> None:
        self.amount = limit.amount
        self.length = limit.window
        self.end = end
        self.young: dict[Hashable, int] = {}
        self.old: dict[Hashable, int] = {}
        self._old_is_current = False
        self._capacity = capacity

    def roll(self, left: int) -> int:
        """The window ended ``-left`` ago: begin the one that is now. Returns what is left of that."""
        ended = -left // self.length + 1
        self.end += ended * self.length
        self.old = self.young if ended == 1 else {}
        self.young = {}
        self._old_is_current = False
        return left + ended * self.length

    def recall(self, key: Hashable) -> int:
        """The count of a key that the young generation does not know, which knows it from now on."""
        count = self.old.get(key, 0)
        if not self._old_is_current:
            count = (count & _CURRENT) << SHIFT
        if len(self.young) >= self._capacity:
            self.old, self.young = self.young, {}
            self._old_is_current = True
        self.young[key] = count
        return count
