"""The generic cell rate algorithm: a leaky bucket as a meter, in one number a key (RL-12).

The number is the theoretical arrival time (TAT): when the key will have spent nothing, if it spends nothing more. Time
is reckoned in nanoseconds times the amount, so that one unit is exactly one window long and nothing is ever rounded.
"""

from collections.abc import Hashable

from .counting import Bucket, Reading, Verdict
from .generations import Table

State = tuple[int, int]
"""How far the TAT is ahead of now, and now; both in scaled time."""


class GCRA(Table):
    """An entry is a TAT, which lies one window ahead at most: one that nobody has moved for a window is over."""

    __slots__ = ("_tolerance",)

    def __init__(self, bucket: Bucket, capacity: int, end: int) -> None:
        super().__init__(bucket, capacity, end)
        self._tolerance = self.burst * self.length

    def hit(self, key: Hashable, cost: int, now: int) -> Verdict:
        if now >= self.end:
            self.roll(now)
        moment = now * self.amount
        tat = self.young.get(key)
        if tat is None:
            tat = self._recall(key)
        before = tat if tat > moment else moment
        tat = before + cost * self.length
        if tat - moment > self._tolerance:
            return False, ((before - moment, moment),), now
        self.young[key] = tat
        return True, ((tat - moment, moment),), now

    def look(self, key: Hashable, now: int) -> State:
        if now >= self.end:
            self.roll(now)
        tat = self.young.get(key)
        if tat is None:
            tat = self._recall(key)
        moment = now * self.amount
        return (tat - moment if tat > moment else 0), moment

    def charge(self, key: Hashable, cost: int, now: int) -> None:
        ahead, moment = self.look(key, now)
        # A debt ends with the next window, as entries do.
        self.young[key] = moment + min(ahead + cost * self.length, self.amount * self.length)

    def give_back(self, key: Hashable, units: int, charged: State, at: int, now: int) -> None:
        # What of it has drained by now would have come back by itself: later charges did not wait for it.
        left = charged[0] + charged[1] - now * self.amount
        if left > 0:
            ahead, moment = self.look(key, now)
            self.young[key] = moment + max(0, ahead - min(units * self.length, left))

    @staticmethod
    def read(bucket: Bucket, standing: State, cost: int) -> Reading:
        ahead = standing[0]
        length = bucket.limit.window
        free = max(0, (bucket.burst * length - ahead) // length)
        more = (free // cost + 1) * cost
        if more > bucket.burst:
            return free, 0
        return free, -(-(ahead - (bucket.burst - more) * length) // bucket.limit.amount)
