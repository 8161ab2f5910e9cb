"""Drives an ASGI app by hand, one call a request: what was sent, what was raised, what the exchange says.

``http`` and ``websocket`` never raise what the app raised; they return it, so that a test can look at both the
answer and the error. All are synchronous: the app runs in an event loop of its own.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from secure_asgi._asgi import ASGIApp, Message, Scope

Pairs = Iterable[tuple[str, str]] | Mapping[str, str]


def encode(headers: Pairs) -> list[tuple[bytes, bytes]]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


def http_scope(
    path: str = "/", *, method: str = "GET", headers: Pairs = (), scheme: str = "https", query: str = "", **more: Any
) -> Scope:
    """A scope as a server makes it; ``more`` replaces or adds entries (``client=None``, ``extensions={...}``)."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"api.example.com"), *encode(headers)] if not isinstance(headers, list) else headers,
        "client": ("203.0.113.9", 50000),
        "server": ("127.0.0.1", 443),
        "state": {},
    }
    return scope | more


def websocket_scope(path: str = "/ws", *, denial_response: bool = True, **more: Any) -> Scope:
    scope = http_scope(path, **{"scheme": "wss", **more})
    scope["type"] = "websocket"
    del scope["method"]
    scope["subprotocols"] = []
    if denial_response:
        scope["extensions"] = {**(scope.get("extensions") or {}), "websocket.http.response": {}}
    return scope


@dataclass
class Answer:
    """What came out of an app: the messages it sent, and what it raised."""

    messages: list[Message] = field(default_factory=list)
    error: BaseException | None = None
    scope: Scope = field(default_factory=dict)

    def _head(self) -> Message:
        heads = [m for m in self.messages if m["type"] in ("http.response.start", "websocket.http.response.start")]
        assert len(heads) == 1, f"{len(heads)} response heads in {self.messages}"
        return heads[0]

    @property
    def status(self) -> int:
        return int(self._head()["status"])

    @property
    def headers(self) -> dict[str, str]:
        """Fields by name; fails on a repeated one (use ``lines``)."""
        lines = self.lines
        assert len(dict(lines)) == len(lines), f"repeated field in {lines}"
        return dict(lines)

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(name.decode(), value.decode("latin-1")) for name, value in self._head()["headers"]]

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages if m["type"].endswith("http.response.body"))

    @property
    def problem(self) -> dict[str, Any]:
        """The body as a problem document."""
        assert self.headers["content-type"] == "application/problem+json", self.headers
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        return document

    @property
    def close_code(self) -> int:
        (close,) = (m for m in self.messages if m["type"] == "websocket.close")
        return int(close["code"])


async def drive(app: ASGIApp, scope: Scope, inbound: Sequence[Message]) -> Answer:
    """Run one scope through ``app``. When ``inbound`` is used up, the peer disconnects."""
    answer = Answer(scope=scope)
    waiting = list(inbound)
    gone = "websocket.disconnect" if scope["type"] == "websocket" else "http.disconnect"

    async def receive() -> Message:
        await asyncio.sleep(0)
        return waiting.pop(0) if waiting else {"type": gone, "code": 1005}

    async def send(message: Message) -> None:
        await asyncio.sleep(0)
        answer.messages.append(message)

    try:
        await app(scope, receive, send)
    except BaseException as error:
        answer.error = error
    return answer


def http(app: ASGIApp, path: str = "/", *, body: bytes = b"", **options: Any) -> Answer:
    """One HTTP request; ``options`` as for ``http_scope``."""
    return asyncio.run(drive(app, http_scope(path, **options), [{"type": "http.request", "body": body}]))


def websocket(app: ASGIApp, path: str = "/ws", *, texts: Sequence[str] = (), **options: Any) -> Answer:
    """One WebSocket: connect, the given texts, disconnect; ``options`` as for ``websocket_scope``."""
    inbound = [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": text} for text in texts)]
    return asyncio.run(drive(app, websocket_scope(path, **options), inbound))


async def hello(scope: Scope, receive: Any, send: Any) -> None:
    """An application: answers 200 ``hello``, or accepts a WebSocket, echoes texts until it ends."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})
