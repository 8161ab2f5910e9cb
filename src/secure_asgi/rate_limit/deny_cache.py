"""Who need not be asked about: keys that a storage has refused, until their wait is over.

A flood from one key then costs this process a look-up in a dictionary, and the storage nothing.
"""

from collections.abc import Sequence

from .._cache import TwoGenerations
from .counting import Reading

CAPACITY = 20_000
"""Keys remembered at most; the last half of it used at least."""


class Refusal:
    """``cost`` units or more were refused at ``began``, and will be until ``until``; both on this process's clock.

    ``strikes`` were answered from here since, the last of them at ``struck``; the storage does not know them yet. It
    has ``counted`` those that it was told of with this one.
    """

    __slots__ = ("_readings", "began", "cost", "counted", "strikes", "struck", "until")

    def __init__(self, cost: int, readings: Sequence[Reading], began: int, until: int, counted: int) -> None:
        self.cost = cost
        self.began = began
        self.until = until
        self.counted = counted
        self.strikes = 0
        self.struck = began
        self._readings = readings

    def readings(self, now: int) -> tuple[Reading, ...]:
        """As they were, with shorter waits. One that should be over is still told as one: 0 would mean never."""
        passed = now - self.began
        return tuple((free, max(1, wait - passed) if wait else 0) for free, wait in self._readings)


class DenyCache:
    """Refusals by identity, each for ``longest`` nanoseconds at most."""

    __slots__ = ("_found", "_longest")

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._found: TwoGenerations[str, Refusal] = TwoGenerations(CAPACITY)

    def find(self, name: str, cost: int, now: int) -> Refusal | None:
        """What refuses so many units now."""
        found = self._found.get(name)
        return found if found is not None and now < found.until and cost >= found.cost else None

    def remember(self, name: str, cost: int, readings: Sequence[Reading], began: int, counted: int = 0) -> None:
        """A refusal that was asked for at ``began``. It is over when the last bucket without room has some again."""
        wait = max(wait for free, wait in readings if free < cost)
        self._found.put(name, Refusal(cost, readings, began, began + min(wait, self._longest), counted))

    def take_strikes(self, name: str, now: int, per: int) -> int:
        """Those that are not handed in yet, of the last ``per`` nanoseconds: whoever takes them hands them in."""
        found = self._found.get(name)
        if found is None:
            return 0
        strikes, found.strikes = found.strikes, 0
        return strikes if now - found.struck < per else 0

    def forget(self, name: str) -> None:
        """Ask again. Its strikes stay."""
        found = self._found.get(name)
        if found is not None:
            found.until = 0
