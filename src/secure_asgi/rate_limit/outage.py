"""What holds while a storage gives no answer: a count of this process alone, everybody, or nobody."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Literal, NamedTuple

from .._redis import RedisUnavailableError
from .breaker import Breaker as Breaker
from .counting import Banned, Counter, Degraded, Outcome, Reading, Verdict


class StoreUnavailableError(Exception):
    """A storage gave no answer, or none that says what was asked; the message is for the log, and never a secret."""


_UNAVAILABLE = (StoreUnavailableError, RedisUnavailableError)

_NOTES = {
    "local": "the storage is down: counted in this process",
    "open": "the storage is down: not counted",
    "closed": "the storage is down: refused",
}


class _LocalReceipt(NamedTuple):
    """Instead of a remote counter's receipt: what the local one has said, for it alone to settle."""

    verdict: Verdict


class Resilient:
    """``Counter`` that asks ``primary``, and while that is unavailable does what ``on_outage`` says.

    ``breaker`` is one for all counters of a storage: while it is open nobody asks, and answers come at once.
    ``"local"`` counts with what ``local`` makes, on the first outage: the same buckets with this process's share of
    each limit, of which ``lowest`` units fit at most; whatever costs more is counted as that many, so that it can pass
    at all. A ban that ``banned`` knows of (nanoseconds left of a key's) goes on. How long a question may take is the
    primary's to bound. Not checked: that standings of the primary are ``Reading``s.
    """

    __slots__ = ("_banned", "_breaker", "_local", "_lowest", "_make_local", "_mode", "_primary", "_undecided")

    def __init__(
        self,
        primary: Counter,
        *,
        breaker: Breaker,
        on_outage: Literal["local", "open", "closed"],
        local: Callable[[], Counter],
        lowest: int,
        banned: Callable[[Hashable], int] | None = None,
    ) -> None:
        self._primary = primary
        self._breaker = breaker
        self._mode: Literal["local", "open", "closed"] = on_outage
        self._make_local = local
        self._local: Counter | None = None
        self._lowest = lowest
        self._banned = banned
        self._undecided = Degraded(on_outage, None, _NOTES[on_outage])

    def hit(self, key: Hashable, cost: int, bans: bool = True) -> Outcome | Awaitable[Outcome]:
        breaker = self._breaker
        if breaker.is_open:
            # The probe is taken where it is awaited: what is never awaited must not keep it.
            return self._probe(key, cost, bans) if breaker.is_due else self._instead(key, cost, bans)
        turn = breaker.turn
        outcome = self._primary.hit(key, cost, bans)
        if isinstance(outcome, (tuple, Banned, Degraded)):
            return outcome
        return self._wait(outcome, turn, key, cost, bans)

    def read(self, index: int, standing: Any, cost: int) -> Reading:
        reading: Reading = standing
        return reading

    def settle(self, key: Hashable, verdict: Verdict, reserved: int, real: int) -> Awaitable[None] | None:
        """What this process has counted is settled here; what a storage has, while it is down, stays as reserved."""
        receipt = verdict[2]
        if isinstance(receipt, _LocalReceipt):
            lowest = self._lowest
            return self._here().settle(key, receipt.verdict, min(reserved, lowest), min(real, lowest))
        if self._breaker.is_open:
            self._breaker.lost()
            return None
        turn = self._breaker.turn
        settling = self._primary.settle(key, verdict, reserved, real)
        return None if settling is None else self._settle(settling, turn)

    async def _wait(self, asked: Awaitable[Outcome], turn: int, key: Hashable, cost: int, bans: bool) -> Outcome:
        try:
            return await asked
        except _UNAVAILABLE as error:
            self._breaker.failed(turn, error)
        return self._instead(key, cost, bans)

    async def _probe(self, key: Hashable, cost: int, bans: bool) -> Outcome:
        breaker = self._breaker
        turn = breaker.take_probe()
        if turn is None:
            return self._instead(key, cost, bans)
        try:
            outcome = self._primary.hit(key, cost, bans)
            if isinstance(outcome, (tuple, Banned, Degraded)):
                breaker.give_back()  # the primary knew without its storage
                return outcome
            outcome = await outcome
        except _UNAVAILABLE as error:
            breaker.failed(turn, error)
            return self._instead(key, cost, bans)
        except BaseException:  # cancelled, above all
            breaker.give_back()
            raise
        breaker.answered(turn)
        return outcome

    async def _settle(self, settling: Awaitable[None], turn: int) -> None:
        try:
            await settling
        except _UNAVAILABLE as error:
            self._breaker.failed(turn, error)
            self._breaker.lost()

    def _instead(self, key: Hashable, cost: int, bans: bool) -> Outcome:
        self._breaker.count()
        if self._mode != "local":
            return self._undecided
        if bans and self._banned is not None and (left := self._banned(key)):
            return Banned(left)
        local = self._here()
        cost = min(cost, self._lowest)
        outcome: Any = local.hit(key, cost, bans)  # memory answers at once
        if isinstance(outcome, Banned):
            return outcome
        admitted, standings, _ = outcome
        readings = tuple(local.read(index, standing, cost) for index, standing in enumerate(standings))
        return Degraded("local", (admitted, readings, _LocalReceipt(outcome)), _NOTES["local"])

    def _here(self) -> Counter:
        if self._local is None:
            self._local = self._make_local()
        return self._local
