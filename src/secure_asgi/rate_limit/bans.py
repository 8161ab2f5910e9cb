"""``Ban``: who is refused too often is not looked at for a while, and longer each time."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from .._cache import TwoGenerations
from .._networks import Network, address, network
from .._options import positive_seconds
from ..errors import ConfigurationError

LOOPBACK = ("127.0.0.0/8", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ban:
    """``after`` refusals within ``per`` seconds ban for ``first`` seconds, each next time for twice as long, but for
    ``longest`` at most.

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

    def __post_init__(self) -> None:
        if type(self.after) is not int or self.after < 1:
            raise ConfigurationError(f"Ban(after=...) is a whole number of refusals from 1 on, got {self.after!r}")
        for option in ("per", "first", "longest"):
            positive_seconds(option, getattr(self, option))
        if self.longest < self.first:
            raise ConfigurationError(f"Ban(longest={self.longest!r}) is shorter than first={self.first!r}")
        given = (self.never,) if isinstance(self.never, str) else tuple(self.never)
        object.__setattr__(self, "networks", tuple(network(text, "never") for text in (*LOOPBACK, *given)))

    def spares(self, client: str | None) -> bool:
        """Whether this client is never banned: its address is in ``never``, or it has none that could be told apart."""
        found = None if client is None else address(client)
        return found is None or any(found in one for one in self.networks)


MAX_KEYS = 20_000
"""Keys whose refusals, and keys whose bans are remembered: the last half of so many, at least."""

_NANOSECONDS = 1_000_000_000


class BanBook:
    """Who has been refused how often, and who is banned, in this process. Times in nanoseconds, never going back.

    Bounded by ``MAX_KEYS``: to have a running ban forgotten, ten thousand other keys must be banned after it, of which
    each has to be refused as often first.
    """

    __slots__ = ("_after", "_bans", "_first", "_longest", "_per", "_refusals")

    def __init__(self, ban: Ban) -> None:
        self._after = ban.after
        self._per = round(ban.per * _NANOSECONDS)
        self._first = round(ban.first * _NANOSECONDS)
        self._longest = round(ban.longest * _NANOSECONDS)
        self._refusals: TwoGenerations[Hashable, tuple[int, int]] = TwoGenerations(MAX_KEYS)
        self._bans: TwoGenerations[Hashable, tuple[int, int]] = TwoGenerations(MAX_KEYS)

    def left(self, key: Hashable, now: int) -> int:
        """What is left of the key's ban; 0 without one."""
        found = self._bans.get(key)
        return 0 if found is None or found[0] <= now else found[0] - now

    def refused(self, key: Hashable, now: int) -> int:
        """One refusal more; the length of the ban that begins with it, else 0."""
        count, until = self._refusals.get(key) or (0, 0)
        count, until = (1, now + self._per) if until <= now else (count + 1, until)
        if count < self._after:
            self._refusals.put(key, (count, until))
            return 0
        self._refusals.put(key, (0, 0))
        ended, length = self._bans.get(key) or (0, 0)
        is_again = length and now < ended + self._longest
        length = min(2 * length, self._longest) if is_again else self._first
        self._bans.put(key, (now + length, length))
        return length
