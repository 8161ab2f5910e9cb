"""How counts lie in Redis: the names of the keys, the constants that the scripts get, and what their answers may be."""

import re
import struct
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from ..errors import ConfigurationError
from .bans import Ban
from .counting import Bucket, Reading, Strategy
from .limits import Limit
from .outage import StoreUnavailableError

SECOND = 1_000_000
"""Redis's clock counts microseconds."""

EXACT = 1 << 53
"""Whole numbers below are exact in a double, which is all that Lua counts in."""

_NUMBERS = re.compile(rb"\d{1,16}(?: \d{1,16}){0,4000}")


class Layout:
    """Some buckets as the scripts see them. Raises ``ConfigurationError`` for a window too long to be exact."""

    __slots__ = ("_most", "_names", "buckets", "constants", "stride")

    def __init__(self, buckets: Sequence[Bucket], strategy: Strategy) -> None:
        self.buckets = tuple(buckets)
        self.stride = 4 if strategy == "gcra" else 2
        names: list[str] = []
        constants = b""
        most: list[tuple[int, int]] = []
        for bucket in self.buckets:
            tick, window = ticks(bucket.limit, strategy)
            amount = bucket.limit.amount
            # A fixed window is over when it ends; the others look back on one more, or on a debt.
            kept = (1 if strategy == "fixed-window" else 2) * window * tick // 1000 + 1000
            constants += struct.pack(">5d", amount, window, bucket.burst, tick, kept)
            most.append((amount, 2 * window * tick))
            name = _key_name(bucket, strategy, tick)
            names += [name, name + ":sum"] if strategy == "moving-window" else [name]
        self.constants = constants
        self._names = tuple(names)
        self._most = tuple(most)

    def keys(self, prefix: str) -> tuple[str, ...]:
        return tuple([prefix + name for name in self._names])

    def readings(self, numbers: Sequence[int], stride: int) -> tuple[Reading, ...]:
        """Free units and waits from an answer's numbers. Raises ``StoreUnavailableError`` for impossible ones."""
        found = []
        for index, (amount, longest) in enumerate(self._most):
            free, wait = numbers[index * stride], numbers[index * stride + 1]
            if not (0 <= free <= amount and 0 <= wait <= longest):
                raise StoreUnavailableError("Redis: an answer with impossible numbers")
            found.append((free, wait * 1000))
        return tuple(found)


def ticks(limit: Limit, strategy: Strategy) -> tuple[int, int]:
    """A limit's tick in microseconds, and its window in ticks. Raises ``ConfigurationError``.

    The finest of 1, 10, 100 ... with which amount times window is below half of ``EXACT``: the other half is for debts.
    Up to a second it divides the window; a window of months with an amount of many millions is rounded up to whole
    ticks, which is a few millionths of it.
    """
    window = limit.seconds * SECOND
    if window >= EXACT // 8:
        raise ConfigurationError(f"a limit in Redis has a window of at most 35 years, got {limit}")
    tick = 1
    if strategy in ("gcra", "sliding-window"):
        while -(-window // tick) * limit.amount >= EXACT // 2:
            tick *= 10
    return tick, -(-window // tick)


def read_numbers(answer: Any) -> list[int]:
    """A script's answer: whole numbers from 0 on, in one line. Raises ``StoreUnavailableError`` for anything else."""
    # Text from a client of the user's own that decodes, octets from ours.
    text = answer.encode("utf-8", "replace") if isinstance(answer, str) else answer
    if not isinstance(text, bytes) or not _NUMBERS.fullmatch(text):
        raise StoreUnavailableError("Redis: an answer that is none of a script's")
    return [int(number) for number in text.split()]


class BanConstants:
    """A ``Ban`` as the scripts take it. ``longest`` in microseconds, ``per`` in nanoseconds."""

    __slots__ = ("after", "longest", "packed", "per")

    def __init__(self, ban: Ban) -> None:
        per, first, longest = (max(1, round(seconds * SECOND)) for seconds in (ban.per, ban.first, ban.longest))
        if max(per, longest) >= EXACT // 8:
            raise ConfigurationError("Ban(per=..., longest=...) in Redis are at most 35 years")
        self.after = ban.after
        self.per = per * 1000
        self.longest = longest
        self.packed = struct.pack(">4d", ban.after, per, first, longest)


def _key_name(bucket: Bucket, strategy: Strategy, tick: int) -> str:
    """Readable as far as it is safe; the digest holds all that changes what a stored value means."""
    scale = bucket.limit.amount if strategy == "gcra" else tick
    meaning = f"{strategy} {bucket.limit.seconds} {scale} {bucket.name}"
    digest = urlsafe_b64encode(blake2b(meaning.encode(), digest_size=9).digest()).decode()
    return f"{strategy[0]}{bucket.limit.seconds}-{digest}"
