"""The fixed window: so many units from one mark on the clock to the next. Twice as many pass around a mark (RL-14)."""

from collections.abc import Hashable

from .counting import Bucket, Reading, Verdict
from .generations import Table

State = tuple[int, int]
"""Units spent in this window, and the nanoseconds left of it."""


class FixedWindow(Table):
    """An entry is the units spent in the window under way."""

    __slots__ = ()

    def hit(self, key: Hashable, cost: int, now: int) -> Verdict:
        left = self.end - now
        if left <= 0:
            self.roll(now)
            left = self.end - now
        spent = self.young.get(key)
        if spent is None:
            spent = self._recall(key)
        if spent + cost > self.amount:
            return False, ((spent, left),), now
        self.young[key] = spent = spent + cost
        return True, ((spent, left),), now

    def look(self, key: Hashable, now: int) -> State:
        left = self.end - now
        if left <= 0:
            self.roll(now)
            left = self.end - now
        spent = self.young.get(key)
        return (self._recall(key) if spent is None else spent), left

    def charge(self, key: Hashable, cost: int, now: int) -> None:
        self.young[key] = self.look(key, now)[0] + cost

    def give_back(self, key: Hashable, units: int, charged: State, at: int, now: int) -> None:
        spent, _ = self.look(key, now)
        if at >= self.end - self.length:
            self.young[key] = max(0, spent - units)

    @staticmethod
    def read(bucket: Bucket, standing: State, cost: int) -> Reading:
        spent, left = standing
        free = max(0, bucket.limit.amount - spent)
        return free, left if (free // cost + 1) * cost <= bucket.limit.amount else 0

    def roll(self, now: int) -> None:
        super().roll(now)
        self.old = {}
