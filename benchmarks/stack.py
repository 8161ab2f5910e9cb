"""Eight layers against one function fused by hand, the bare application, and what people assemble today."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from .assembled import assembled, assembled_scope
from .fused import fused
from .harness import Row, at_least, at_most, just, measure, request_through
from .service import HEADERS, Discarded, eight_layers, orders, request_scope

UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Answer = tuple[Any, ...]


def rows() -> Iterator[Row]:
    check()
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


def check() -> None:
    """The two answer alike, on the wire and in the audit log, or their costs would not compare."""
    for name, (app, headers, times, options) in _CASES.items():
        got = [asyncio.run(_last_answer(build, app, headers, times, options)) for build in (eight_layers, fused)]
        if got[0] != got[1]:
            raise SystemExit(f"{name}: the fused function answers otherwise:\n{got[0]}\n{got[1]}")
    asyncio.run(_check_assembled())


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


async def _crash(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("secret")


def _with(**changed: bytes | None) -> list[tuple[bytes, bytes]]:
    by_name = {name.encode().replace(b"_", b"-"): value for name, value in changed.items()}
    lines = ((name, by_name.get(name, value)) for name, value in HEADERS)
    return [(name, value) for name, value in lines if value is not None]


_CASES: dict[str, tuple[Any, list[tuple[bytes, bytes]], int, dict[str, Any]]] = {
    "200": (orders, HEADERS, 2, {}),
    "401": (orders, _with(authorization=None), 1, {}),
    "401, a token that does not hold": (orders, _with(authorization=b"Bearer a.b.c"), 1, {}),
    "403": (orders, _with(x_forwarded_proto=b"http"), 1, {}),
    "308": (orders, _with(x_forwarded_proto=b"http", authorization=None), 1, {}),
    "429": (orders, HEADERS, 3, {"limits": "2/minute"}),
    "500": (_crash, HEADERS, 1, {}),
}


async def _last_answer(
    build: Callable[..., Any], app: Any, headers: list[tuple[bytes, bytes]], times: int, options: dict[str, Any]
) -> Answer:
    """Status, header lines in any order, body and audit record of the last of ``times`` requests; ids masked."""
    records: list[Any] = []
    flush: list[Callable[[], object]] = []

    class Sink:
        attach = staticmethod(flush.append)
        __call__ = staticmethod(records.append)

    wrapped = build(app, Sink(), clock=lambda: 0, **options)
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    logging.getLogger("secure_asgi.errors").setLevel(logging.CRITICAL)
    raised = ""
    for _ in range(times):
        messages.clear()
        try:
            await wrapped(request_scope(list(headers)), receive, send)
        except RuntimeError as error:
            raised = repr(error)
    logging.getLogger("secure_asgi.errors").setLevel(logging.NOTSET)
    flush[0]()
    start, *bodies = messages
    record = {name: value for name, value in records[-1].items() if name not in ("time", "duration_ms")}
    body = b"".join(message.get("body", b"") for message in bodies)
    return (
        raised,
        start["status"],
        sorted((name, UUID.sub(b"*", value)) for name, value in start["headers"]),
        UUID.sub(b"*", body),
        UUID.sub(b"*", json.dumps(record, sort_keys=True).encode()),
    )
