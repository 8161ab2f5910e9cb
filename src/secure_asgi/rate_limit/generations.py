"""``Table``: one limit's counts for some of the keys, in bounded space, without a timer and without a scan.

Entries live in two generations. A hit moves its entry to the young one. When a window ends, or the young one is full,
it becomes the old one; and the old one, where only keys are left that nobody has used since, is dropped whole.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, ClassVar

from .counting import Bucket, Reading, Verdict

Clock = Callable[[], int]
"""Nanoseconds, never going back."""


class Table(ABC):
    """Whoever calls holds the lock of the shard. ``capacity`` bounds the entries of one generation; ``end`` is when its
    first window ends. Each strategy says what a state is, and what of it is kept."""

    __slots__ = ("_capacity", "amount", "burst", "end", "length", "old", "young")

    nothing: ClassVar[Any] = 0
    """The entry of a key that has spent nothing."""

    def __init__(self, bucket: Bucket, capacity: int, end: int) -> None:
        self.amount = bucket.limit.amount
        self.length = bucket.limit.window
        self.burst = bucket.burst
        self.end = end
        self.young: dict[Hashable, Any] = {}
        self.old: dict[Hashable, Any] = {}
        self._capacity = capacity

    @abstractmethod
    def look(self, key: Hashable, now: int) -> Any:
        """How the key stands before anything is charged: a state."""

    @abstractmethod
    def hit(self, key: Hashable, cost: int, now: int) -> Verdict:
        """Charge ``cost`` units if there is room: the verdict of this limit alone. Every request comes by here, so that
        each strategy has it in one piece; calls would cost the most of it."""

    @abstractmethod
    def charge(self, key: Hashable, cost: int, now: int) -> None:
        """Charge them without asking. A debt of more than one window is forgiven."""

    @abstractmethod
    def give_back(self, key: Hashable, units: int, charged: Any, at: int, now: int) -> None:
        """Take back, of what was charged ``at`` (the standing after it: ``charged``), what still counts. At the moment
        of the charge, that leaves the key as if there had been none."""

    def standing(self, state: Any, cost: int) -> Any:
        """What a verdict says of a state, for ``read``."""
        return state

    @staticmethod
    @abstractmethod
    def read(bucket: Bucket, standing: Any, cost: int) -> Reading: ...

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def roll(self, now: int) -> None:
        """The window has ended: begin the one that is now."""
        ended = (now - self.end) // self.length + 1
        self.end += ended * self.length
        self.old = self.young if ended == 1 else {}
        self.young = {}

    def _recall(self, key: Hashable) -> Any:
        """The entry of a key that the young generation has not; there it is from now on."""
        found = self.old.get(key, self.nothing)
        if len(self.young) >= self._capacity:
            self.old, self.young = self.young, {}
        self.young[key] = found
        return found
