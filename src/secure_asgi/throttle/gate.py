"""The slots of one key, and the queue before them: pure accounting, without a clock or an event loop.

Lower classes may use only a share of the slots and of the queue. So whoever waits finds at least as many running as its
class may see: a slot that is free for a class has nobody of that class, or of a higher one, waiting for it.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from enum import Enum

from .fair_queue import FairQueue

Shares = Sequence[float]
"""For each class, the highest first: the part of slots and of the queue that it may use, falling."""


class State(Enum):
    """What has become of a waiter."""

    WAITING = "waiting"
    GRANTED = "granted"
    TIMED_OUT = "timed out"
    SHED = "shed"
    """It made room for one of a higher class."""
    CROWDED_OUT = "crowded out"
    """It made room for a client that had fewer waiting."""
    GONE = "gone"


def divide(amount: int, shares: Shares) -> tuple[int, ...]:
    """What each class may use of ``amount``, rounded up: where there is one slot, no class is shut out for good."""
    return tuple(math.ceil(round(amount * share, 6)) for share in shares)


class Waiter:
    """One who waits for a slot, and then holds it. ``wake`` is called once, when that is decided."""

    __slots__ = ("_wake", "client", "gate", "rank", "state")

    def __init__(self, gate: "Gate", rank: int, client: Hashable, wake: Callable[[], object]) -> None:
        self.gate = gate
        self.rank = rank
        self.client = client
        self.state = State.WAITING
        self._wake = wake

    def settle(self, state: State) -> None:
        self.state = state
        self._wake()

    def expire(self) -> None:
        """It has waited long enough."""
        if self.state is State.WAITING:
            self.gate.forget(self)
            self.settle(State.TIMED_OUT)

    def release(self) -> None:
        """Its request has ended, wherever it was by then."""
        state, self.state = self.state, State.GONE
        if state is State.GRANTED:
            self.gate.release()
        elif state is State.WAITING:
            self.gate.forget(self)


class Gate:
    """``running`` requests hold a slot; one of a class is let in while they are fewer than its ceiling.

    ``ceilings`` and ``rooms`` are what each class may use of slots and of the queue.
    """

    __slots__ = ("_queues", "ceilings", "rooms", "running", "waiting")

    def __init__(self, ceilings: tuple[int, ...], rooms: tuple[int, ...]) -> None:
        self.ceilings = ceilings
        self.rooms = rooms
        self.running = 0
        self.waiting = 0
        self._queues: tuple[FairQueue[Waiter], ...] = ()

    def release(self) -> None:
        """One request has ended; who is next begins."""
        self.running -= 1
        if self.waiting:
            self._let_in()

    def resize(self, ceilings: tuple[int, ...]) -> None:
        """More slots, or fewer: then nobody begins until enough have ended."""
        self.ceilings = ceilings
        if self.waiting:
            self._let_in()

    def join(self, rank: int, client: Hashable, wake: Callable[[], object]) -> Waiter | None:
        """A place in the queue. In a full one, a lower class makes room first, then a client that has more waiting
        than this one would have; None if nobody does."""
        queues = self._queues = self._queues or tuple(FairQueue() for _ in self.ceilings)
        if self.waiting >= self.rooms[rank] and not self._make_room(queues, rank, client):
            return None
        waiter = Waiter(self, rank, client, wake)
        queues[rank].push(client, waiter)
        self.waiting += 1
        return waiter

    def forget(self, waiter: Waiter) -> None:
        """Takes one who still waits out of the queue."""
        self._queues[waiter.rank].remove(waiter.client, waiter)
        self.waiting -= 1

    @property
    def has_room_for_highest(self) -> bool:
        """Whether it is only for its class that somebody finds no place."""
        return self.running < self.ceilings[0] or self.waiting < self.rooms[0]

    def _make_room(self, queues: tuple[FairQueue[Waiter], ...], rank: int, client: Hashable) -> bool:
        for lower in reversed(queues[rank + 1 :]):
            if lower:
                self._drop_from(lower, State.SHED)
                return True
        own = queues[rank]
        if own.longest > own.length(client) + 1:
            self._drop_from(own, State.CROWDED_OUT)
            return True
        return False

    def _drop_from(self, queue: FairQueue[Waiter], state: State) -> None:
        waiter = queue.pop_newest()
        self.waiting -= 1
        waiter.settle(state)

    def _let_in(self) -> None:
        """The highest class first. Where that finds too many running, the lower ones do so too."""
        for queue, ceiling in zip(self._queues, self.ceilings, strict=True):
            while queue and self.running < ceiling:
                self.running += 1
                self.waiting -= 1
                queue.pop().settle(State.GRANTED)


class KeyedGate(Gate):
    """The gate of one client or principal among many: there only while something of it runs."""

    __slots__ = ("_gates", "_key")

    def __init__(
        self,
        gates: dict[Hashable, "KeyedGate"],
        key: Hashable,
        ceilings: tuple[int, ...],
        rooms: tuple[int, ...],
    ) -> None:
        super().__init__(ceilings, rooms)
        self._gates = gates
        self._key = key
        gates[key] = self

    def release(self) -> None:
        super().release()
        if not self.running:  # and so nobody waits: each class may use one slot at least
            del self._gates[self._key]
