"""The function fused by hand against the eight layers: what they cost compares only if they answer alike."""

import asyncio
import json
import logging
import re
from collections.abc import Callable
from typing import Any

from .fused import fused
from .service import HEADERS, eight_layers, orders, request_scope

UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Answer = tuple[Any, ...]


def check_alike() -> None:
    """On the wire and in the audit log. Raises ``SystemExit``."""
    for name, (app, headers, times, options) in _CASES.items():
        got = [asyncio.run(_last_answer(build, app, headers, times, options)) for build in (eight_layers, fused)]
        if got[0] != got[1]:
            raise SystemExit(f"{name}: the fused function answers otherwise:\n{got[0]}\n{got[1]}")


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
