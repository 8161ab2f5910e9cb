"""Many commands at once over few connections: a herd that finds none open must not wait for hundreds of them.

To open one takes this process half a millisecond: hundreds at once would all come too late. And whoever gives up a
command gives up its connection, so that the next ones would open as many again.
"""

import asyncio
import contextvars
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any

_ALONE = 4
"""Commands that go each on a connection of its own: no queue is faster than none."""

_BATCHES = 2
"""On their way at a time: while Redis works on one, the next is written. More connections would only take longer to
open, above all with TLS."""

_LENGTH = 128
"""Commands in a batch. They are answered together, and those of longer ones would wait for one another."""

_ELSEWHERE = ("MovedError", "AskError", "TryAgainError")
"""What a server of a cluster says of slots that it has not, or not yet, or no longer: nothing has been done."""

Command = tuple[str | bytes | int, ...]
Batch = list[tuple[Command, asyncio.Future[Any]]]


class Batches:
    """Asks a ``redis.asyncio.Redis`` or ``RedisCluster``, which is closed with it, over at most six connections to a
    server.

    Up to four commands are sent as they come. What is asked meanwhile is collected for one turn of the event loop, or
    until a connection is free, and sent in batches, each of which has ``timeout`` seconds to be answered. Whoever gives
    up a command harms no other of its batch; it is not sent if it still waits. In a cluster a command without a key
    that comes in a batch has all of that fail.
    """

    __slots__ = ("_alone", "_client", "_is_closed", "_options", "_sending", "_timeout", "_waiting")

    def __init__(self, client: Any, timeout: float, *, is_cluster: bool = False) -> None:
        self._client = client
        self._timeout = timeout
        # Of a batch that is told to go elsewhere each goes by itself: in the pipeline they would go one after another.
        self._options = {"allow_redirections": False} if is_cluster else {}
        self._alone = asyncio.Semaphore(_ALONE)
        self._is_closed = False
        self._waiting: deque[tuple[Command, asyncio.Future[Any]]] = deque()
        self._sending: set[asyncio.Task[list[Any]]] = set()

    async def execute_command(self, *command: str | bytes | int) -> Any:
        """As the client's own. Raises whatever that does, and ``ConnectionError`` if this is closed meanwhile."""
        if self._alone.locked():
            answer = await self._queue(command)
            if type(answer).__name__ not in _ELSEWHERE:
                return _given(answer)
        async with self._alone:
            try:
                return await self._client.execute_command(*command)
            finally:
                if self._is_closed:
                    # The connection that was being opened when all were closed is open now.
                    await self._client.aclose()

    async def aclose(self) -> None:
        """All of it, even if whoever closes gives up meanwhile."""
        self._is_closed = True
        _answer([*self._waiting], [ConnectionError("closed")] * len(self._waiting))
        self._waiting.clear()
        closing = asyncio.ensure_future(self._close())
        await asyncio.shield(closing)

    async def _close(self) -> None:
        sending = [*self._sending]
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        with suppress(Exception):  # a server that hangs says no farewell
            await self._client.aclose()

    def _queue(self, command: Command) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._send_waiting)
        self._waiting.append((command, answer))
        return answer

    def _send_waiting(self) -> None:
        while self._waiting and len(self._sending) < _BATCHES:
            batch = self._next_batch()
            # In no request's context: it is for several.
            task = asyncio.get_running_loop().create_task(self._send(batch), context=contextvars.Context())
            self._sending.add(task)
            task.add_done_callback(partial(self._sent, batch))

    def _next_batch(self) -> Batch:
        batch: Batch = []
        while self._waiting and len(batch) < _LENGTH:
            command, answer = self._waiting.popleft()
            if not answer.done():
                batch.append((command, answer))
        return batch

    async def _send(self, batch: Batch) -> list[Any]:
        async with asyncio.timeout(self._timeout):
            pipeline = self._client.pipeline(transaction=False)
            for command, _ in batch:
                pipeline.execute_command(*command)
            answers: list[Any] = await pipeline.execute(raise_on_error=False, **self._options)
            return answers

    def _sent(self, batch: Batch, task: asyncio.Task[list[Any]]) -> None:
        self._sending.discard(task)
        error = ConnectionError("closed") if task.cancelled() else task.exception()
        _answer(batch, task.result() if error is None else [error] * len(batch))
        self._send_waiting()


def _given(answer: Any) -> Any:
    """Raises ``answer`` if that is an error."""
    if isinstance(answer, BaseException):
        # One for all of a batch that failed: without what the others have added to it.
        raise answer.with_traceback(None)
    return answer


def _answer(batch: Batch, answers: list[Any]) -> None:
    """Errors too are results: those that nobody waits for any more would be logged as forgotten."""
    for (_, future), answer in zip(batch, answers, strict=True):
        if not future.done():
            future.set_result(answer)
