"""What every way to count has in common: what is counted, what is said of it, and what may be said instead.

A *bucket* is a limit with a name; a *counter* decides several of them together for one key: all have room and all are
charged, or none is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
"""Whether the units were charged, how the key now stands with each bucket (the counter can read it), and when."""


@dataclass(frozen=True, slots=True)
class Banned:
    """Instead of a verdict: nothing was looked at, and will not be for ``left`` nanoseconds. ``begins`` with this one:
    the refusal that it stands for was one too many."""

    left: int
    begins: bool = False
