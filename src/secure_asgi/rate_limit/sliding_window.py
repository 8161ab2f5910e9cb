"""The sliding-window counter (RL-14).

A key's use of a limit is ``previous * (1 - f) + current``: what it spent in the window before, weighed by how much of
that window lies within one length back from now, and what it has spent in this one. All arithmetic is on integers
(nanoseconds, whole units): what is said to fit in two seconds fits in two seconds, and not before. Both counts are
packed into one integer: one dictionary entry, one look-up.
"""

from collections.abc import Hashable

from .counting import Bucket, Reading, Verdict
from .generations import Table
from .limits import Limit

Standing = tuple[int, int]
"""A packed count, and the nanoseconds left of the window."""

SHIFT = 32
"""``count = previous << SHIFT | current``."""

_CURRENT = (1 << SHIFT) - 1


def units_free(limit: Limit, standing: Standing) -> int:
    """Units that fit now: the amount less the use, rounded down; below 0 where more was charged than fitted."""
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


class SlidingWindow(Table):
    """An entry is a packed count; so is a state, beside what is left of the window."""

    __slots__ = ("_old_is_current",)

    def __init__(self, bucket: Bucket, capacity: int, end: int) -> None:
        super().__init__(bucket, capacity, end)
        self._old_is_current = False

    def hit(self, key: Hashable, cost: int, now: int) -> Verdict:
        left = self.end - now
        if left <= 0:
            self.roll(now)
            left = self.end - now
        count = self.young.get(key)
        if count is None:
            count = self._recall(key)
        previous = count >> SHIFT
        spare = self.amount - cost - (count & _CURRENT)
        # Whatever fits beside the window before in full needs no weighing.
        if spare < previous and spare * self.length < previous * left:
            return False, ((count, left),), now
        self.young[key] = count = count + cost
        return True, ((count, left),), now

    def look(self, key: Hashable, now: int) -> Standing:
        left = self.end - now
        if left <= 0:
            self.roll(now)
            left = self.end - now
        count = self.young.get(key)
        return (self._recall(key) if count is None else count), left

    def charge(self, key: Hashable, cost: int, now: int) -> None:
        count, _ = self.look(key, now)
        # A debt ends with the next window, and the count in its half of the integer.
        self.young[key] = count + min(cost, max(0, 2 * self.amount - (count & _CURRENT)))

    def give_back(self, key: Hashable, units: int, charged: Standing, at: int, now: int) -> None:
        count, _ = self.look(key, now)
        begun = self.end - self.length
        if at >= begun:
            self.young[key] = count - min(units, count & _CURRENT)
        elif at >= begun - self.length:
            self.young[key] = count - (min(units, count >> SHIFT) << SHIFT)

    @staticmethod
    def read(bucket: Bucket, standing: Standing, cost: int) -> Reading:
        free = max(0, units_free(bucket.limit, standing))
        more = (free // cost + 1) * cost
        return free, wait_for(bucket.limit, standing, more) if more <= bucket.limit.amount else 0

    def roll(self, now: int) -> None:
        super().roll(now)
        self._old_is_current = False

    def _recall(self, key: Hashable) -> int:
        count: int = self.old.get(key, 0)
        if not self._old_is_current:
            count = (count & _CURRENT) << SHIFT
        if len(self.young) >= self._capacity:
            self.old, self.young = self.young, {}
            self._old_is_current = True
        self.young[key] = count
        return count
