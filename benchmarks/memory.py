"""What a request in flight holds, and what it leaves for the garbage collector."""

import asyncio
import gc
import statistics
import tracemalloc
from collections.abc import Iterator
from typing import Any

from .assembled import assembled, assembled_scope
from .fused import fused
from .harness import Row, at_most, just, request_through
from .service import Discarded, eight_layers, orders, request_scope

REQUESTS = 200


def rows() -> Iterator[Row]:
    ours, by_hand = Discarded(), Discarded()
    stack = eight_layers(orders, ours)
    bare = _peak(orders, request_scope(), ours)
    yield just(
        "fused by hand, peak over the bare application",
        _peak(fused(orders, by_hand), request_scope(), by_hand) - bare,
        "kB",
    )
    yield just(
        "assembled, peak over the bare application", _peak(assembled(orders), assembled_scope(), ours) - bare, "kB"
    )
    yield at_most("eight layers, peak over the bare application", _peak(stack, request_scope(), ours) - bare, 3, "kB")
    yield at_most(
        "cyclic objects that eight layers add to a request",
        _cyclic(stack, ours) - _cyclic(orders, ours),
        0,
        "",
    )


def _peak(app: Any, scope: dict[str, Any], sink: Discarded) -> float:
    """kB at the highest point of one request, median of many; the audit has caught up before each."""

    async def run() -> list[float]:
        request = request_through(app, scope)
        for _ in range(REQUESTS):
            await request()
        peaks = []
        tracemalloc.start()
        for _ in range(REQUESTS):
            sink.flush()
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            await request()
            peaks.append((tracemalloc.get_traced_memory()[1] - before) / 1000)
        tracemalloc.stop()
        return peaks

    return statistics.median(asyncio.run(run()))


def _cyclic(app: Any, sink: Discarded) -> float:
    """Objects per request that only the collector could free."""

    async def run() -> float:
        request = request_through(app, request_scope())
        for _ in range(REQUESTS):
            await request()
        sink.flush()
        gc.collect()
        gc.disable()
        try:
            for _ in range(REQUESTS):
                await request()
            sink.flush()
            return gc.collect() / REQUESTS
        finally:
            gc.enable()

    return asyncio.run(run())
