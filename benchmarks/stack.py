"""Eight layers against one function fused by hand, the bare application, and what people assemble today."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from .alike import check_alike
from .assembled import assembled, assembled_scope
from .fused import fused
from .harness import Row, at_least, at_most, just, measure, request_through
from .service import Discarded, eight_layers, orders, request_scope


def rows() -> Iterator[Row]:
    check_alike()
    asyncio.run(_check_assembled())
    sinks = [Discarded(), Discarded()]

    def catch_up() -> None:
        for sink in sinks:
            sink.flush()

    variants = {
        "bare": (request_through(orders, request_scope()), 400),
        "fused": (request_through(fused(orders, sinks[0]), request_scope()), 200),
        "ours": (request_through(eight_layers(orders, sinks[1]), request_scope()), 200),
        "assembled": (request_through(assembled(orders), assembled_scope()), 60),
    }
    loop = measure(variants, rounds=61, between=catch_up)
    yield just("bare application", loop.median("bare"), "us")
    yield just("fused by hand, added", loop.added("fused", "bare"), "us")
    yield just("eight layers, added", loop.added("ours", "bare"), "us")
    yield just("assembled, added", loop.added("assembled", "bare"), "us")
    yield at_most("added cost of eight layers / of the fused function", loop.ratio("ours", "fused", "bare"), 1.5, "x")
    yield at_most("eight layers around the application / the bare application", loop.ratio("ours", "bare"), 6, "x")
    yield at_least("added cost of the assembled / of eight layers", loop.ratio("assembled", "ours", "bare"), 12, "x")
    whole = measure(variants, rounds=21, between=catch_up, within=catch_up, clock=time.process_time)
    yield at_least(
        "the same, with the thread that writes our audit counted", whole.ratio("assembled", "ours", "bare"), 8, "x"
    )


async def _check_assembled() -> None:
    """It answers 200 with every part at work, twice: from the second request on its token is warm."""
    scope = assembled_scope()
    wrapped = assembled(orders)
    for _ in range(2):
        heads: list[Any] = []
        seen = {**scope, "headers": list(scope["headers"]), "state": {}}

        async def send(message: Any, heads: list[Any] = heads) -> None:
            heads.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        await wrapped(seen, receive, send)
        names = {name.lower() for name, _ in heads[0]["headers"]}
        if heads[0]["status"] != 200 or not {b"strict-transport-security", b"x-request-id"} <= names:
            raise SystemExit(f"the assembled stack answers {heads[0]}")
        if "view_rate_limit" not in seen["state"] or not seen["user"].is_authenticated:
            raise SystemExit("the assembled stack has not counted or not authenticated the request")
