"""The moving window: so many units in any stretch of time as long as the window, exactly. It remembers each charge."""

from collections import deque
from collections.abc import Hashable

from .counting import Bucket, Reading, Verdict
from .generations import Table

_COST = 32
_MASK = (1 << _COST) - 1


class Log:
    """One key's charges, oldest first, each packed into an integer (``time << 32 | cost``), and their sum."""

    __slots__ = ("charges", "used")

    def __init__(self) -> None:
        self.charges: deque[int] = deque()
        self.used = 0


class MovingWindow(Table):
    """An entry is a ``Log``. When a key comes, each charge counts towards the capacity; a key that is there may always
    charge up to the amount."""

    __slots__ = ("_charges", "_now")

    def __init__(self, bucket: Bucket, capacity: int, end: int) -> None:
        super().__init__(bucket, capacity, end)
        self._charges = 0
        self._now = 0

    def hit(self, key: Hashable, cost: int, now: int) -> Verdict:
        log = self.look(key, now)
        is_room = log.used + cost <= self.amount
        if is_room:
            log.charges.append(now << _COST | cost)
            log.used += cost
            self._charges += 1
        return is_room, (self.standing(log, cost),), now

    def look(self, key: Hashable, now: int) -> Log:
        if now >= self.end:
            self.roll(now)
        self._now = now
        log = self.young.get(key)
        if log is None:
            log = self._bring(key)
        gone = now - self.length
        if log.charges and log.charges[0] >> _COST <= gone:
            self._drop(log, gone)
        return log

    def charge(self, key: Hashable, cost: int, now: int) -> None:
        log = self.look(key, now)
        log.charges.append(now << _COST | cost)
        log.used += cost
        self._charges += 1

    def give_back(self, key: Hashable, units: int, charged: object, at: int, now: int) -> None:
        log = self.look(key, now)
        charges = log.charges
        for index in range(len(charges) - 1, -1, -1):
            when, cost = charges[index] >> _COST, charges[index] & _MASK
            if when < at:
                return
            if when == at and cost >= units:
                log.used -= units
                if cost > units:
                    charges[index] -= units
                else:
                    del charges[index]
                    self._charges -= 1
                return

    def standing(self, state: Log, cost: int) -> Reading:
        """Read at once: the log goes on."""
        free = max(0, self.amount - state.used)
        more = (free // cost + 1) * cost
        if more > self.amount:
            return free, 0
        missing = state.used + more - self.amount
        oldest = iter(state.charges)
        while missing > 0:
            charge = next(oldest)
            missing -= charge & _MASK
        return free, (charge >> _COST) + self.length - self._now

    @staticmethod
    def read(bucket: Bucket, standing: Reading, cost: int) -> Reading:
        return standing

    def roll(self, now: int) -> None:
        super().roll(now)
        self._charges = 0

    def _drop(self, log: Log, gone: int) -> None:
        """The charges up to ``gone``: mostly one, and all of them where a key comes back after a while."""
        charges, used, kept = log.charges, log.used, (gone + 1) << _COST
        before = len(charges)
        if charges[-1] < kept:
            charges.clear()
            used = 0
        else:
            while charges[0] < kept:
                used -= charges.popleft() & _MASK
        log.used = used
        self._charges -= before - len(charges)

    def _bring(self, key: Hashable) -> Log:
        log = self.old.pop(key, None) or Log()
        if max(len(self.young), self._charges) >= self._capacity:
            self.old, self.young = self.young, {}
            self._charges = 0
        self.young[key] = log
        self._charges += len(log.charges)
        return log

    def __len__(self) -> int:
        return sum(max(1, len(log.charges)) for log in (*self.young.values(), *self.old.values()))
