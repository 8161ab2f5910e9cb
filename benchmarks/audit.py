"""What the audit costs: on the request's way, and in the thread that writes."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from secure_asgi.audit.writer import Writer

from .harness import Row, at_most, just, request_through
from .service import Discarded, eight_layers, orders, request_scope

EVENTS = 500


class _Taking:
    """A sink that keeps the events' raw material out: batches are taken and forgotten."""

    def write(self, batch: Any) -> None:
        """Taken."""

    def close(self) -> None:
        """Nothing is open."""


def rows() -> Iterator[Row]:
    event = _one_event()
    writer = Writer([_Taking()], 10_000)
    put_costs, write_costs = [], []
    nothing = _Nothing()
    for _ in range(41):
        loop = _block(nothing.put, event)
        put_costs.append((_block(writer.put, event) - loop) / EVENTS * 1e6)
        began = time.process_time()
        writer.flush()
        write_costs.append((time.process_time() - began) / EVENTS * 1e6)
    writer.close()
    yield at_most("hand-over on the request's way (Writer.put)", statistics.median(put_costs), 0.2, "us")
    yield just(
        "the writer's thread, per event (record, JSON, sink that keeps nothing)", statistics.median(write_costs), "us"
    )


class _Nothing:
    def put(self, item: Any) -> None:
        """The cost of calling a method, taken off."""


def _block(put: Callable[[Any], object], event: Any) -> float:
    began = time.thread_time()
    for _ in range(EVENTS):
        put(event)
    return time.thread_time() - began


def _one_event() -> Any:
    """What an ordinary request hands over, caught on its way."""
    caught: list[Any] = []
    original = Writer.put
    Writer.put = lambda self, item: caught.append(item)  # type: ignore[method-assign]
    try:
        asyncio.run(_one_request())
    finally:
        Writer.put = original  # type: ignore[method-assign]
    return caught[-1]


async def _one_request() -> None:
    await request_through(eight_layers(orders, Discarded()), request_scope())()
