"""The generic cell rate algorithm: a leaky bucket as a meter, in one number a key (RL-12).

The number is the theoretical arrival time (TAT): when the key will have spent nothing, if it spends nothing more. Time
is reckoned in nanoseconds times the amount, so that one unit is exactly one window long and nothing is ever rounded.
"""

from collections.abc import Hashable

from .counting import Bucket, Reading
from .generations import Table

State = tuple[int, int]
"""How far the TAT is ahead of now, and now; both in scaled time."""


class GCRA(Table):
    """An entry is a TAT, which lies one window ahead at most: one that nobody has moved for a window is over."""

    __slots__ = ("_tolerance",)

    def __init__(self, bucket: Bucket, capacity: int, end: int) -> None:
        super().__init__(bucket, capacity, end)
        self._tolerance = self.burst * self.length

    def hit(self, key: Hashable, cost: int, now: int) -> tuple[bool, State]:
        """What it is in ``Table``, in one piece."""
        if now >= self.end:
            self.roll(now)
        moment = now * self.amount
        tat = self.young.get(key)
        if tat is None:
            tat = self._recall(key)
        before = tat if tat > moment else moment
        tat = before + cost * self.length
        if tat - moment > self._tolerance:
            return False, (before - moment, moment)
        self.young[key] = tat
        return True, (tat - moment, moment)

    def look(self, key: Hashable, now: int) -> State:
        if now >= self.end:
            self.roll(now)
        tat = self.young.get(key)
        if tat is None:
            tat = self._recall(key)
        moment = now * self.amount
        return (tat - moment if tat > moment else 0), moment

    def fits(self, state: State, cost: int) -> bool:
        return state[0] + cost * self.length <= self._tolerance

    def charge(self, key: Hashable, state: State, cost: int, now: int) -> State:
        ahead, moment = state
        ahead += cost * self.length
        if cost > self.burst:
            ahead = min(ahead, self.amount * self.length)
        self.young[key] = moment + ahead
        return ahead, moment

    def give_back(self, key: Hashable, units: int, charged: State, at: int, now: int) -> None:
        # Only while nothing was idle since: then every charge has moved the TAT by its cost, and it moves back by it.
        moment = now * self.amount
        if charged[0] + charged[1] > moment:
            self.look(key, now)
            self.young[key] = max(moment, self.young[key] - units * self.length)

    @staticmethod
    def read(bucket: Bucket, standing: State, cost: int) -> Reading:
        ahead = standing[0]
        length = bucket.limit.window
        free = max(0, (bucket.burst * length - ahead) // length)
        more = (free // cost + 1) * cost
        if more > bucket.burst:
            return free, 0
        return free, -(-(ahead - (bucket.burst - more) * length) // bucket.limit.amount)
