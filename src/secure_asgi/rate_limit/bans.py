"""``Ban``: who is refused too often is not looked at for a while, and longer each time."""

import threading
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from .._cache import TwoGenerations
from .._networks import Network, address, network
from .._options import positive_seconds, several
from ..errors import ConfigurationError

LOOPBACK = ("127.0.0.0/8", "::1")

_ADDRESSES = 4096
_LONGEST_ADDRESS = 64
"""Addresses whose answer is kept, and characters that one has at most: a client's name is not bounded here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ban:
    """``after`` refusals within ``per`` seconds of the first one ban for ``first`` seconds, each next time for twice as
    long, but for ``longest`` at most.

    How often somebody was banned is forgotten ``longest`` seconds after the last ban has ended. ``never`` are networks
    (CIDR) that are not banned, whatever comes from there; nor is this machine itself, nor an address that
    ``TrustedProxyMiddleware`` trusts as a proxy. Raises ``ConfigurationError`` for a wrong option.
    """

    after: int = 20
    per: float = 300.0
    first: float = 900.0
    longest: float = 86_400.0
    never: str | Iterable[str] = ()
    networks: tuple[Network, ...] = field(init=False, repr=False)
    _spared: TwoGenerations[str, bool] = field(
        init=False, repr=False, compare=False, default_factory=lambda: TwoGenerations(_ADDRESSES)
    )

    def __post_init__(self) -> None:
        if type(self.after) is not int or self.after < 1:
            raise ConfigurationError(f"Ban(after=...) is a whole number of refusals from 1 on, got {self.after!r}")
        for option in ("per", "first", "longest"):
            positive_seconds(option, getattr(self, option))
        if self.longest < self.first:
            raise ConfigurationError(f"Ban(longest={self.longest!r}) is shorter than first={self.first!r}")
        given = several(self.never)
        object.__setattr__(self, "networks", tuple(network(text, "never") for text in (*LOOPBACK, *given)))

    def spares(self, client: str | None) -> bool:
        """Whether this client is never banned: its address is in ``never``, or it has none that could be told apart.

        Remembered by client, because every request asks; an IPv4-mapped address is the IPv4 address it stands for.
        """
        if client is None:
            return True
        known = self._spared.get(client)
        if known is not None:
            return known
        found = address(client)
        spared = found is None or any(found in one for one in self.networks)
        if len(client) <= _LONGEST_ADDRESS:
            self._spared.put(client, spared)
        return spared


MAX_KEYS = 20_000
"""Bans that run at once, at most; keys whose refusals are remembered, and keys whose earlier bans are: the last half of
so many, at least."""

_NANOSECONDS = 1_000_000_000


class BanBook:
    """Who has been refused how often, and who is banned, in this process. Times in nanoseconds, never going back.

    Refusals, running bans and earlier ones are kept apart: however many other keys are refused, no running ban is
    lifted by it, and one that is over makes room first. The bound is hard all the same: with ``MAX_KEYS`` bans running,
    the next lifts the one that would end first. Whoever wants that needs so many addresses, each refused as often.

    Threads may share one. ``left`` takes no lock, since every request of a layer that bans comes by it.
    """

    __slots__ = ("_after", "_bans", "_earlier", "_ends", "_first", "_lock", "_longest", "_per", "_refusals", "_serial")

    def __init__(self, ban: Ban) -> None:
        self._after = ban.after
        self._per = round(ban.per * _NANOSECONDS)
        self._first = round(ban.first * _NANOSECONDS)
        self._longest = round(ban.longest * _NANOSECONDS)
        self._lock = threading.Lock()
        self._refusals: TwoGenerations[Hashable, tuple[int, int]] = TwoGenerations(MAX_KEYS)
        self._bans: dict[Hashable, tuple[int, int]] = {}
        """End and length."""
        self._earlier: TwoGenerations[Hashable, tuple[int, int]] = TwoGenerations(MAX_KEYS)
        self._ends: list[tuple[int, int, Hashable]] = []
        """A heap: one entry of each ban. Its serial number is there so that keys, which have no order, are never
        compared."""
        self._serial = 0

    def __len__(self) -> int:
        """Bans kept now. One that is over is kept until the next begins."""
        return len(self._bans)

    def left(self, key: Hashable, now: int) -> int:
        """What is left of the key's ban; 0 without one."""
        found = self._bans.get(key)
        return 0 if found is None or found[0] <= now else found[0] - now

    def refused(self, key: Hashable, now: int) -> int:
        """One refusal more; the length of the ban that begins with it, else 0.

        One of a key that another thread has just banned counts for nothing: it was on its way already.
        """
        with self._lock:
            if self.left(key, now):
                return 0
            count, until = self._refusals.get(key) or (0, 0)
            count, until = (1, now + self._per) if until <= now else (count + 1, until)
            if count < self._after:
                self._refusals.put(key, (count, until))
                return 0
            self._refusals.put(key, (0, 0))
            return self._begin(key, now)

    def _begin(self, key: Hashable, now: int) -> int:
        # All that are over leave, the key's own among them: what is kept is what runs.
        while self._ends and self._ends[0][0] <= now:
            self._end_first()
        if len(self._bans) >= MAX_KEYS:
            self._end_first()
        ended, length = self._earlier.get(key) or (0, 0)
        is_again = length and now < ended + self._longest
        length = min(2 * length, self._longest) if is_again else self._first
        self._bans[key] = (now + length, length)
        self._serial += 1
        heappush(self._ends, (now + length, self._serial, key))
        return length

    def _end_first(self) -> None:
        _, _, key = heappop(self._ends)
        self._earlier.put(key, self._bans.pop(key))
