"""A denial on the wire: the one way there is to refuse a request, on HTTP and on a WebSocket."""

import json

from ._asgi import Receive, Scope, Send
from .denial import Denial
from .exchange import Exchange

_CLOSE_REASON_BYTES = 123
"""RFC 6455 section 5.5: a control frame carries 125 bytes, two of them the code."""


async def refuse(denial: Denial, exchange: Exchange, scope: Scope, receive: Receive | None, send: Send) -> None:
    """Put a denial on the wire, the one way there is: an RFC 9457 problem, never cacheable.

    On a WebSocket it waits for ``websocket.connect`` where no application has begun and ``receive`` is given, then
    answers as HTTP where the server can, and closes with the denial's code where it cannot.
    """
    problem = denial.problem(exchange.request_id)
    body = json.dumps(problem, separators=(",", ":")).encode()
    prefix = ""
    if scope["type"] == "websocket":
        if exchange.awaits_connect and receive is not None:
            exchange.awaits_connect = False
            if (await receive())["type"] != "websocket.connect":
                return
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            reason = problem["title"].encode()[:_CLOSE_REASON_BYTES].decode(errors="ignore")
            await send({"type": "websocket.close", "code": denial.websocket_code, "reason": reason})
            return
        prefix = "websocket."
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *denial.headers,
    ]
    await send({"type": prefix + "http.response.start", "status": denial.status, "headers": headers})
    # HEAD is answered as GET would be, without the content (RFC 9110 section 9.3.2).
    await send({"type": prefix + "http.response.body", "body": b"" if scope.get("method") == "HEAD" else body})
