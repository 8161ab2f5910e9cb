"""``Ban``: who is refused too often is not looked at for a while, and longer each time."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from .._networks import Network, network
from .._options import positive_seconds
from ..errors import ConfigurationError

LOOPBACK = ("127.0.0.0/8", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ban:
    """``after`` refusals within ``per`` seconds ban for ``first`` seconds, twice as long each next time, to ``longest``.

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
