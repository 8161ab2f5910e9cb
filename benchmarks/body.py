"""What one more chunk of a streamed body costs."""

from collections.abc import Iterator
from typing import Any

from .fused import fused
from .harness import Request, Row, at_most, just, measure, request_through
from .service import Discarded, eight_layers, request_scope

CHUNKS = 1000
CHUNK = {"type": "http.response.body", "body": b"x" * 1024, "more_body": True}


async def streaming(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for _ in range(scope["state"]["chunks"]):
        await send(CHUNK)
    await send({"type": "http.response.body", "body": b""})


def rows() -> Iterator[Row]:
    sinks = [Discarded(), Discarded()]
    apps = {"bare": streaming, "fused": fused(streaming, sinks[0]), "ours": eight_layers(streaming, sinks[1])}
    variants: dict[str, tuple[Request, int]] = {}
    for name, app in apps.items():
        for chunks in (0, CHUNKS):
            variants[f"{name} {chunks}"] = (_request(app, chunks), 20)

    def catch_up() -> None:
        for sink in sinks:
            sink.flush()

    rounds = measure(variants, rounds=31, warm_up=20, between=catch_up)

    def nanoseconds(name: str) -> float:
        """Per chunk, over the bare application: the request itself is taken off."""
        return (
            rounds.combined(
                lambda one: one[f"{name} {CHUNKS}"] - one[f"{name} 0"] - one[f"bare {CHUNKS}"] + one["bare 0"]
            )
            / CHUNKS
            * 1000
        )

    yield just("fused by hand, added to a chunk", nanoseconds("fused"), "ns")
    yield at_most("eight layers, added to a chunk", nanoseconds("ours"), 100, "ns")


def _request(app: Any, chunks: int) -> Request:
    async def with_length(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["chunks"] = chunks
        await app(scope, receive, send)

    return request_through(with_length, request_scope())
