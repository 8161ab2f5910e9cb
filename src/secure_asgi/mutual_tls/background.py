"""What takes too long for a request: done in threads of its own, waited for from any event loop.

Threads and not tasks, because nothing here may belong to an event loop: there may be several, one may be trio's, and a
task on trio needs somebody to own it. No request leads: one that is cancelled stops waiting, and the work goes on.
"""

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

logger = logging.getLogger("secure_asgi")

MAX_WAITING = 1024
"""Errands known at a time, under way or waiting; another one is not taken."""

REMIND_EVERY = 3600.0
"""Seconds after which a log line is worth repeating."""

MAX_TOLD = 256


class Errand:
    """A piece of blocking work that somebody else does. ``landed`` waits for its end, however it ends."""

    __slots__ = ("_is_over", "_wake_ups", "work")

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self._is_over = False
        self._wake_ups: list[Callable[[], object]] = []

    async def landed(self, seconds: float) -> None:
        """Returns when the work is over, or after so many seconds."""
        import anyio

        event = anyio.Event()
        tell_loop = _from_a_thread()

        def wake_up() -> None:
            tell_loop(event.set)

        # Entered first, looked second; the other side does it the other way round, so none is forgotten.
        self._wake_ups.append(wake_up)
        if not self._is_over:
            with anyio.move_on_after(seconds):
                await event.wait()

    def land(self) -> None:
        """The work is over. Called by the thread that did it."""
        self._is_over = True
        while self._wake_ups:
            try:
                self._wake_ups.pop()()
            except RuntimeError:
                continue  # a loop that has been closed meanwhile


class Errands:
    """Blocking work, once at a time for each key, in at most ``threads`` daemon threads, none while there is none.

    May be used from several event loops and threads. In a forked child it begins anew: threads are not inherited.
    """

    def __init__(self, threads: int) -> None:
        self._limit = threads
        self._begin()

    def _begin(self) -> None:
        # A lock too: in a child the old one may be held by a thread that is not there.
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Errand] = {}
        self._queue: deque[tuple[Hashable, Errand]] = deque()
        self._threads = 0

    def send(self, key: Hashable, work: Callable[[], None]) -> Errand | None:
        """The errand under way for this key, else a new one; None if there are too many, or no thread is to be had.

        ``work`` raises nothing.
        """
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            known = self._under_way.get(key)
            if known is not None:
                return known
            if len(self._under_way) >= MAX_WAITING or not self._has_a_thread():
                return None
            errand = self._under_way[key] = Errand(work)
            self._queue.append((key, errand))
            return errand

    def _has_a_thread(self) -> bool:
        """One for the errand that comes next: a new one, or if there are enough, the first that is done."""
        if self._threads < self._limit:
            try:
                threading.Thread(target=self._run, name="secure_asgi revocation", daemon=True).start()
            except RuntimeError:
                return self._threads > 0
            self._threads += 1
        return True

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                key, errand = self._queue.popleft()
            try:
                errand.work()
            except Exception:
                logger.exception("checking revocation failed; this is an error in secure_asgi")
            finally:
                with self._lock:
                    del self._under_way[key]
                errand.land()


class Teller:
    """Warns in the log, in one line each time, and does not repeat itself within the hour."""

    __slots__ = ("_clock", "_told")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, float] = {}

    def warn(self, text: str) -> None:
        if not text.isprintable():
            text = ascii(text)  # names and errors come from outside
        now = self._clock()
        told = self._told.get(text)
        if told is not None and now < told + REMIND_EVERY:
            return
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told[text] = now
        logger.warning("%s", text)

    def forget(self) -> None:
        """What was told is no longer so: if it comes back, it is news."""
        self._told.clear()


def _from_a_thread() -> Callable[[Callable[[], object]], Any]:
    """How a thread makes the event loop that runs here call something."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon
