"""What every way to count has in common: what is counted, what is said of it, and what may be said instead.

A *bucket* is a limit with a name; a *counter* decides several of them together for one key: all have room and all are
charged, or none is. Memory answers at once; what has to ask a storage answers with an awaitable, unless it knows.
"""

from collections.abc import Awaitable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .limits import Limit

Strategy = Literal["sliding-window", "fixed-window", "moving-window", "gcra"]


@dataclass(frozen=True, slots=True)
class Bucket:
    """One limit as it is counted. ``name`` is its public name (printable ASCII, unlike any other of its layer).

    ``burst`` units may be spent at once, at most the limit's amount; only GCRA asks.
    """

    name: str
    limit: Limit
    burst: int


Reading = tuple[int, int]
"""Units that fit now (never below 0), and the nanoseconds until one more request of the same cost fits than fit now.

With ``free`` units and a cost of ``c`` that is the wait until ``(free // c + 1) * c`` units fit, if nothing else is
spent; 0 where those are more than can ever fit. For a request that was refused it is the wait until it would pass.
"""

Verdict = tuple[bool, Sequence[Any], Any]
"""Whether the units were charged, how the key now stands with each bucket (``Counter.read`` can read it), and what
``Counter.settle`` needs besides to find the charge again."""


@dataclass(frozen=True, slots=True)
class Banned:
    """Instead of a verdict: nothing was looked at, and will not be for ``left`` nanoseconds. ``begins`` with this one:
    the refusal that it stands for was one too many."""

    left: int
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Degraded:
    """Instead of a verdict, while the storage gives none: what ``on_outage=`` asks for. ``note`` is for the record.

    ``verdict`` is what this process decided alone (``"local"``; its standings are ``Reading``s); None passes
    (``"open"``) or refuses (``"closed"``).
    """

    mode: Literal["local", "open", "closed"]
    verdict: Verdict | None
    note: str


Outcome = Verdict | Banned | Degraded


class Counter(Protocol):
    """Counts keys against some buckets."""

    def hit(self, key: Hashable, cost: int, bans: bool = True) -> Outcome | Awaitable[Outcome]:
        """Charge ``cost`` units (1 to the lowest amount) to each bucket if all of them have room.

        ``bans``: a refusal counts towards a ban, and a ban refuses; False for those who are never banned.
        """
        ...

    def read(self, index: int, standing: Any, cost: int) -> Reading:
        """How a key stands with bucket ``index``, by a standing from a verdict about that cost."""
        ...

    def settle(self, key: Hashable, verdict: Verdict, reserved: int, real: int) -> Awaitable[None] | None:
        """What ``verdict`` charged as ``reserved`` units was ``real`` ones: give back the rest, or charge it unasked.

        Gives back nothing that no longer counts. More than fits leaves a debt of at most one window.
        """
        ...


class Store(Protocol):
    """Where counters keep their counts. Nothing is opened before ``open`` or first use."""

    def counter(self, buckets: Sequence[Bucket]) -> Counter: ...

    async def open(self) -> None:
        """At start-up: connect, so that the first request need not. What fails here is logged, and never raised."""
        ...

    async def close(self) -> None: ...
