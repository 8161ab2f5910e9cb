"""Measuring so that the machine's moods cancel out.

All variants run in one process and one event loop, in blocks that are shuffled anew in every round; differences and
ratios are taken inside a round, and the median of the rounds is what is printed. CPU time, not wall time.
"""

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

Request = Callable[[], Awaitable[None]]
"""One request through one variant."""


@dataclass(frozen=True)
class Row:
    """One printed line: what was measured, the figure, and the goal it stands beside."""

    what: str
    figure: str
    goal: str = ""
    is_met: bool | None = None

    def __str__(self) -> str:
        mark = {None: "", True: "met", False: "NOT MET"}[self.is_met]
        return f"  {self.what:<66} {self.figure:>14}   {self.goal:<12} {mark}".rstrip()


def at_most(what: str, value: float, goal: float, unit: str) -> Row:
    return Row(what, f"{value:.2f} {unit}", f"<= {goal:g} {unit}", value <= goal)


def at_least(what: str, value: float, goal: float, unit: str) -> Row:
    return Row(what, f"{value:.1f} {unit}", f">= {goal:g} {unit}", value >= goal)


def just(what: str, value: float, unit: str) -> Row:
    """A figure without a goal, for context."""
    return Row(what, f"{value:.2f} {unit}")


class Rounds:
    """Microseconds per request of each variant, round by round."""

    def __init__(self, rounds: list[dict[str, float]]) -> None:
        self._rounds = rounds

    def median(self, variant: str) -> float:
        return statistics.median(one[variant] for one in self._rounds)

    def combined(self, figure: Callable[[dict[str, float]], float]) -> float:
        """Any figure made of one round's, median over the rounds."""
        return statistics.median(figure(one) for one in self._rounds)

    def added(self, variant: str, base: str) -> float:
        """What ``variant`` costs over ``base``, taken inside each round."""
        return statistics.median(one[variant] - one[base] for one in self._rounds)

    def ratio(self, variant: str, other: str, base: str | None = None) -> float:
        """``variant`` / ``other``, both over ``base`` if one is given."""
        return statistics.median(
            (one[variant] - (one[base] if base else 0)) / (one[other] - (one[base] if base else 0))
            for one in self._rounds
        )


def measure(
    variants: Mapping[str, tuple[Request, int]],
    *,
    rounds: int = 31,
    warm_up: int = 200,
    clock: Callable[[], float] = time.thread_time,
    within: Callable[[], object] = lambda: None,
    between: Callable[[], object] = lambda: None,
) -> Rounds:
    """``variants``: a request and how many make one block (slow ones fewer).

    ``clock`` counts the event loop's thread alone; ``time.process_time`` counts every thread. ``within`` is called at
    the end of each block and belongs to it, ``between`` belongs to none: there the audit writers catch up.
    """

    async def run() -> list[dict[str, float]]:
        for request, _ in variants.values():
            for _ in range(warm_up):
                await request()
            between()
        # What was imported is not walked through again and again by the collector, whose own cost stays in the figures.
        gc.collect()
        gc.freeze()
        measured = []
        for _ in range(rounds):
            names = list(variants)
            random.shuffle(names)
            figures = {}
            for name in names:
                request, count = variants[name]
                between()
                began = clock()
                for _ in range(count):
                    await request()
                within()
                figures[name] = (clock() - began) / count * 1e6
            measured.append(figures)
        gc.unfreeze()
        return measured

    return Rounds(asyncio.run(run()))


def request_through(app: Any, scope: dict[str, Any]) -> Request:
    """A request as a server makes it: fresh scope, fresh header list, a ``send`` that takes what it gets."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    async def request() -> None:
        fresh = dict(scope)
        fresh["headers"] = list(scope["headers"])
        fresh["state"] = {}
        await app(fresh, receive, send)

    return request
