"""When a record is made: as the answer is complete, or when everything has ended without one."""

import time
from collections.abc import Iterable
from typing import Any, Literal

from .._asgi import ASGIApp, RawHeaders, Scope
from ..denial import Denial, Reason
from ..errors import ConfigurationError
from ..exchange import Exchange
from ..flow import Layer
from .record import Handed, Request
from .sinks import BatchSink, LoggingSink, Sink, as_sink
from .writer import Writer

_UNAVAILABLE = Denial(
    Reason.AUDIT_UNAVAILABLE, 503, "The request cannot be recorded at the moment.", headers=((b"retry-after", b"1"),)
)


class AuditMiddleware(Layer):
    """Writes one record per request or WebSocket, whatever became of it, and answers with its ``x-request-id``.

    ``sinks`` is where records go: ``JSONLinesSink(path)``, ``LoggingSink()`` (the default, logger
    ``secure_asgi.audit``), ``StdoutSink()``, any callable that takes a dictionary, or several of them. A record counts
    as written when one of them took it. They are called in a thread of this layer's own: the event loop waits for none.
    ``capacity`` is how many records may wait there (10 000). When no sink takes any, ``on_failure="block"`` answers
    503 with ``Retry-After`` while there is no room, so that nothing happens unrecorded; ``"drop"`` goes on, and counts
    what was lost. Raises ``ConfigurationError`` for a wrong option.

    A record never holds header values but those named in the reference, query strings or bodies. It does hold the path:
    a secret in a path is on record. Records that wait are lost when the process is killed.
    """

    name = "audit"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        sinks: Sink | Iterable[Sink] | None = None,
        on_failure: Literal["block", "drop"] = "block",
        capacity: int = 10_000,
    ) -> None:
        if on_failure not in ("block", "drop"):
            raise ConfigurationError(f'on_failure= is "block" or "drop", got {on_failure!r}')
        if type(capacity) is not int or capacity < 1:
            raise ConfigurationError(f"capacity= is a number of records, 1 or more, got {capacity!r}")
        given = _several(sinks)
        if not given:
            raise ConfigurationError("sinks= is empty: name at least one, or leave the option out")
        self._writer = Writer([as_sink(sink) for sink in given], capacity)
        self._drops = on_failure == "drop"
        for sink in given:
            attach = getattr(sink, "attach", None)
            if attach is not None:
                attach(self._writer.flush)
        super().__init__(app)

    async def on_startup(self, scope: Scope) -> None:
        self._writer.announce("sys_startup")

    async def on_shutdown(self) -> None:
        from anyio import to_thread

        self._writer.announce("sys_shutdown")
        await to_thread.run_sync(self._writer.close)

    def on_request(self, exchange: Exchange, scope: Scope) -> Denial | None:
        if not self._drops and self._writer.is_full:
            return _UNAVAILABLE
        fields = exchange.fields(scope)
        exchange.memo[self] = Request(
            scope.get("method", ""),
            scope["path"],
            scope.get("http_version", ""),
            fields.get(b"host"),
            fields.get(b"user-agent"),
        )
        return None

    def on_response(self, exchange: Exchange, headers: RawHeaders) -> None:
        exchange.echo_request_id(headers)

    def on_sent(self, exchange: Exchange) -> None:
        self._hand_over(exchange)

    def on_end(self, exchange: Exchange) -> None:
        self._hand_over(exchange)

    def _hand_over(self, exchange: Exchange) -> None:
        # Taken out of the memo: whichever of on_sent and on_end comes first writes, and nothing writes twice.
        request = exchange.memo.pop(self, None)
        if request is None:
            return
        if self._drops and self._writer.is_full:
            self._writer.dropped += 1
            return
        seconds = time.perf_counter() - exchange.started
        self._writer.put(Handed(request, exchange, time.time(), seconds, exchange.outcome, exchange.error_type))


def _several(sinks: Any) -> tuple[Any, ...]:
    """One sink or several; one that is a list of what it took is still one."""
    if sinks is None:
        return (LoggingSink(),)
    is_one = callable(sinks) or isinstance(sinks, BatchSink) or not isinstance(sinks, Iterable)
    return (sinks,) if is_one else tuple(sinks)
