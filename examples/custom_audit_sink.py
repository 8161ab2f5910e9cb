"""Audit records into whatever takes a dictionary: here, a counter of refusals by reason.

``uvicorn examples.custom_audit_sink:app``, then ask for ``/`` a few times.
"""

from collections import Counter
from typing import Any

from secure_asgi import AuditMiddleware, JSONLinesSink, Middleware, RateLimitMiddleware, secure

refusals: Counter[str] = Counter()


def count(record: dict[str, Any]) -> None:
    """Called in the audit's own thread, one record at a time; a record is written where any sink took it."""
    if record.get("outcome") == "denied":
        refusals[record["reason"]] += 1


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"hello\n"})


app = secure(
    hello,
    Middleware(RateLimitMiddleware, limits="5/minute"),
    Middleware(AuditMiddleware, sinks=(count, JSONLinesSink("audit.jsonl"))),
)
