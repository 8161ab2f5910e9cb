"""How many requests a server can take at once, learnt from how long they take (gradient, as in Netflix and Envoy).

While answers come as fast as they did with little load, the limit rises; as they become slower, it falls in
proportion. What "fast" means is measured anew from time to time, with the limit lowered for two windows: otherwise,
slow answers would become the measure under a lasting overload.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    """Options of a limit that follows latency; ``max_concurrent`` is then its ceiling.

    ``min_limit`` it never falls below; ``initial`` it begins at. ``tolerance`` how many times the fast latency is still
    good, above 1. ``smoothing`` from 0 to 1: how much of each step is made. ``window`` seconds, and ``min_samples``
    answers, of which one step is reckoned. ``remeasure`` seconds after which the fast latency is measured anew.
    Raises ``ConfigurationError``.
    """

    min_limit: int = 4
    initial: int = 20
    tolerance: float = 1.5
    smoothing: float = 0.2
    window: float = 0.25
    min_samples: int = 10
    remeasure: float = 30.0

    def __post_init__(self) -> None:
        for name in ("min_limit", "initial", "min_samples"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"Adaptive: {name}= is a whole number from 1 up, got {value!r}")
        for name in ("tolerance", "smoothing", "window", "remeasure"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 < value < math.inf:
                raise ConfigurationError(f"Adaptive: {name}= is a number above 0, got {value!r}")
        if self.initial < self.min_limit:
            raise ConfigurationError(
                f"Adaptive: initial= is at least min_limit= ({self.min_limit}), got {self.initial!r}"
            )
        if self.tolerance <= 1:
            raise ConfigurationError(
                f"Adaptive: tolerance= is above 1 (1.5: half as slow again), got {self.tolerance!r}"
            )
        if self.smoothing > 1:
            raise ConfigurationError(f"Adaptive: smoothing= is at most 1, got {self.smoothing!r}")
        if self.remeasure < 4 * self.window:
            raise ConfigurationError(f"Adaptive: remeasure= is at least four times window=, got {self.remeasure!r}")


_STEEPEST = 0.5
"""The gradient at which an answer is as slow as can be: a step leaves half of the limit at least, before smoothing."""


class Gradient:
    """``limit`` as it stands. ``clock`` gives seconds, never going back."""

    __slots__ = (
        "_begun",
        "_busiest",
        "_ceiling",
        "_clock",
        "_count",
        "_estimate",
        "_fast",
        "_options",
        "_phase",
        "_remeasure_at",
        "_sum",
        "limit",
    )

    def __init__(self, options: Adaptive, ceiling: int, clock: Callable[[], float]) -> None:
        self._options = options
        self._ceiling = ceiling
        self._clock = clock
        self._estimate = float(min(options.initial, ceiling))
        self.limit = int(self._estimate)
        self._fast = math.inf
        self._phase: Literal["learning", "draining", "measuring"] = "learning"
        now = clock()
        self._remeasure_at = now + options.remeasure
        self._begun = now
        self._sum = 0.0
        self._count = 0
        self._busiest = 0

    def observe(self, seconds: float, running: int, *, failed: bool = False) -> bool:
        """An answer began after ``seconds``, when ``running`` held a slot. True if the limit is another now.

        A failure that comes quickly says nothing of what the server can take; one that comes late does, but is never
        the measure of what is fast: else an outage would raise the limit.
        """
        if failed and (self._phase == "measuring" or not seconds > self._fast):
            return False
        self._sum += min(self._longest, seconds)
        self._count += 1
        self._busiest = max(self._busiest, running)
        now = self._clock()
        if now - self._begun < self._options.window or self._count < self._options.min_samples:
            return False
        before = self.limit
        self._step(self._sum / self._count, now)
        self._begin_window(now)
        return self.limit != before

    @property
    def _longest(self) -> float:
        """Seconds that one answer counts for at most: enough for the steepest step if all take so long. So a few that
        take for ever, be it because their clients send them slowly, do not lower the limit for all."""
        return math.inf if self._phase == "measuring" else self._fast * self._options.tolerance / _STEEPEST

    def _begin_window(self, now: float) -> None:
        self._begun = now
        self._sum = 0.0
        self._count = 0
        self._busiest = 0

    def _step(self, latency: float, now: float) -> None:
        if self._phase == "draining":
            self._phase = "measuring"  # what began under the old limit has ended by now
        elif self._phase == "measuring":
            self._fast = latency if latency > 0 else math.inf
            self._phase = "learning"
            self._remeasure_at = now + self._options.remeasure
            self.limit = round(self._estimate)
        elif now >= self._remeasure_at:
            self._phase = "draining"
            # Where the limit has settled, this is about half of what the server can take without becoming slower.
            self.limit = max(self._options.min_limit, int(self._estimate / (2 * self._options.tolerance)))
        else:
            self._learn(latency)

    def _learn(self, latency: float) -> None:
        gradient = 1.0
        if latency > 0:  # compared with none, which a coarse clock can tell, everything would be slow
            self._fast = min(self._fast, latency)
            gradient = min(gradient, self._options.tolerance * self._fast / latency)
        if gradient == 1.0 and self._busiest * 2 < self._estimate:
            return  # so little load shows nothing about more of it
        step = self._estimate * gradient + math.sqrt(self._estimate) - self._estimate
        estimate = self._estimate + self._options.smoothing * step
        self._estimate = min(max(estimate, self._options.min_limit), self._ceiling)
        self.limit = round(self._estimate)
