"""From the request to the sinks, with nobody waiting: a bounded queue and one thread per layer."""

import atexit
import logging
import threading
import time
import weakref
from collections import deque

from .record import Handed, Record, encode, record_of, timestamp
from .sinks import Batch, BatchSink

logger = logging.getLogger("secure_asgi")

BATCH = 256
PAUSE = 0.02
"""Seconds between two looks at the queue while there is traffic: records leave in batches, not one by one."""
IDLE_AFTER = 50
"""Looks at an empty queue after which the thread sleeps until it is woken."""
BACKOFF = (0.05, 2.0)
"""Seconds before a batch that no sink took is offered again: at first, at most."""


class Writer:
    """Takes what is handed over and writes it in order. The thread starts on first use, and again after a fork.

    ``capacity`` bounds what may wait. ``dropped`` counts what a caller chose not to hand over; the next batch says so.
    """

    def __init__(self, sinks: list[BatchSink], capacity: int) -> None:
        self._sinks = sinks
        self._capacity = capacity
        self._queue: deque[Handed | Record] = deque()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._progress = threading.Condition()
        self._wake = threading.Event()
        self._is_idle = False
        self._is_busy = False
        self._is_closing = False
        self._ailing: set[int] = set()
        self.dropped = 0

    @property
    def is_full(self) -> bool:
        return len(self._queue) >= self._capacity

    def put(self, item: Handed | Record) -> None:
        self._queue.append(item)
        if self._is_idle or self._thread is None or not self._thread.is_alive():
            self._rouse()

    def announce(self, event: str, **more: object) -> None:
        """A record that is about no request."""
        self.put({"time": timestamp(time.time()), "event": event, **more})

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until what has been handed over so far is written; False if that took too long."""
        if self._is_done():
            return True
        self._rouse()
        with self._progress:
            return self._progress.wait_for(self._is_done, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, then let go of thread and files. A later record opens them again."""
        self.flush(timeout)
        thread = self._thread
        self._is_closing = True
        self._wake.set()
        if thread is not None and thread.is_alive():
            thread.join(timeout)

    def _is_done(self) -> bool:
        return not self._queue and not self._is_busy

    def _rouse(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._is_closing = False
                self._thread = threading.Thread(target=self._run, name="secure_asgi audit", daemon=True)
                self._thread.start()
                atexit.register(_flush_at_exit, weakref.ref(self))
        self._wake.set()

    def _run(self) -> None:
        looks = 0
        while True:
            if self._queue:
                looks = 0
                self._write_one_batch()
                continue
            with self._progress:
                self._progress.notify_all()
            if self._is_closing:
                break
            looks += 1
            if looks < IDLE_AFTER:
                self._wake.wait(PAUSE)
                self._wake.clear()
                continue
            self._is_idle = True
            # Looked at again after saying so: a record put in between is not overlooked.
            while not self._queue and not self._is_closing:
                self._wake.wait()
                self._wake.clear()
            self._is_idle = False
            looks = 0
        for sink in self._sinks:
            sink.close()

    def _write_one_batch(self) -> None:
        self._is_busy = True
        items = [self._queue[i] for i in range(min(BATCH, len(self._queue)))]
        batch: Batch = [(record, encode(record)) for record in map(_as_record, items)]
        delay, longest = BACKOFF
        while not self._offer(batch):
            if self._is_closing:
                logger.error("%d audit records lost: no sink took them before the end", len(self._queue))
                self._queue.clear()
                self._is_busy = False
                return
            self._wake.wait(delay)
            self._wake.clear()
            delay = min(2 * delay, longest)
        # Taken out only now: until a sink has them, they count against the capacity.
        for _ in items:
            self._queue.popleft()
        self._is_busy = False
        if self.dropped:
            lost, self.dropped = self.dropped, 0
            self.announce("sys_monitor_disabled", dropped=lost)

    def _offer(self, batch: Batch) -> bool:
        """To every sink; True if one took it."""
        is_taken = False
        for index, sink in enumerate(self._sinks):
            try:
                sink.write(batch)
            except Exception as error:
                if index not in self._ailing:  # said once, not once a record
                    self._ailing.add(index)
                    logger.error("audit sink %s takes no records", type(sink).__name__, exc_info=error)
            else:
                self._ailing.discard(index)
                is_taken = True
        return is_taken


def _as_record(item: Handed | Record) -> Record:
    return record_of(item) if isinstance(item, Handed) else item


def _flush_at_exit(reference: "weakref.ref[Writer]") -> None:
    writer = reference()
    if writer is not None:
        writer.close(timeout=2.0)
