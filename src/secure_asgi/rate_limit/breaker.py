"""``Breaker``: who asks a storage that is down, and when. One for all counters of a layer.

Closed, everybody asks. The first failure opens it: nobody asks for a while, and then one alone, the *probe*, whose
failure makes the while twice as long and whose answer closes the breaker. What was under way before the breaker turned
says nothing about now: hence the number of the turn, which every question takes along.
"""

import logging
import threading
import time

from .generations import Clock
from .limits import NANOSECONDS

logger = logging.getLogger("secure_asgi")

FIRST_PAUSE = NANOSECONDS // 4
LONGEST_PAUSE = 10 * NANOSECONDS


class Breaker:
    """Public, for whoever watches: ``is_open`` (the storage counts as down), ``switches`` (to degraded and back, each
    one counted and logged), ``degraded_decisions`` (made without the storage). ``clock`` gives nanoseconds."""

    __slots__ = (
        "_began",
        "_clock",
        "_is_loss_told",
        "_is_probing",
        "_lock",
        "_pause",
        "_until",
        "degraded_decisions",
        "is_open",
        "switches",
        "turn",
    )

    def __init__(self, *, clock: Clock = time.monotonic_ns) -> None:
        self.is_open = False
        self.switches = 0
        self.degraded_decisions = 0
        self.turn = 0
        self._clock = clock
        # Loops in several threads may share one layer: one of them turns the breaker, and one of them probes.
        self._lock = threading.Lock()
        self._pause = FIRST_PAUSE
        self._until = self._began = 0
        self._is_probing = False
        self._is_loss_told = False

    @property
    def is_due(self) -> bool:
        """Whether whoever asks now could be the probe."""
        return not self._is_probing and self._clock() >= self._until

    def take_probe(self) -> int | None:
        """The number of the turn, for the one that may ask an open breaker's storage; None for all others.

        Whoever takes it says ``failed``, ``answered`` or ``give_back``, whatever happens.
        """
        with self._lock:
            if not self.is_open or not self.is_due:
                return None
            self._is_probing = True
            return self.turn

    def give_back(self) -> None:
        """The probe has found out nothing: the next one may ask."""
        self._is_probing = False

    def failed(self, turn: int, error: Exception) -> None:
        """What was asked in ``turn`` has no answer. ``error`` is logged if it is the first: it tells no secret."""
        with self._lock:
            if turn != self.turn:
                return
            now = self._clock()
            was_open = self.is_open
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if was_open else FIRST_PAUSE
            self._until = now + self._pause
            self._is_probing = False
            self.is_open = True
            self.turn += 1
            if was_open:
                return
            self._began = now
            self._is_loss_told = False
            self.switches += 1
        logger.warning(
            "The rate limits' storage gives no answer: on_outage= decides until it does (%.200r)", str(error)
        )

    def answered(self, turn: int) -> None:
        """The probe of ``turn`` has an answer."""
        with self._lock:
            if turn != self.turn:
                return
            self._is_probing = self.is_open = False
            self.turn += 1
            self.switches += 1
            seconds = (self._clock() - self._began) / NANOSECONDS
        logger.warning("The rate limits' storage answers again, after %.1f s: it decides", seconds)

    def lost(self) -> None:
        """A settlement could not reach the storage: said once for each outage."""
        with self._lock:
            if self._is_loss_told:
                return
            self._is_loss_told = True
        logger.warning("The rate limits' storage is down: what was charged there stays as it was reserved")

    def count(self) -> None:
        with self._lock:
            self.degraded_decisions += 1
