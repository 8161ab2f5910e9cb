"""Limit strings, as the ``limits`` library reads them: ``"600/minute"``, ``"10/second; 600/minute"``."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from .._options import several
from ..errors import ConfigurationError

NANOSECONDS = 1_000_000_000

MAX_AMOUNT = 1_000_000_000
"""Units in one limit: twice an amount must fit into half of a packed count (``sliding_window.SHIFT``)."""


_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@dataclass(frozen=True, slots=True)
class Limit:
    """``amount`` units in any ``seconds``; ``window`` is the same length in nanoseconds, in which all is reckoned."""

    amount: int
    seconds: int
    window: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", self.seconds * NANOSECONDS)

    def __str__(self) -> str:
        size, unit = next((size, unit) for size, unit in _UNITS if self.seconds % size == 0)
        count = self.seconds // size
        return f"{self.amount}/{unit}" if count == 1 else f"{self.amount}/{count} {unit}s"


def read_limits(given: str | Iterable[str], *, option: str = "limits") -> tuple[Limit, ...]:
    """The limits in the order given. Raises ``ConfigurationError`` for what is not a limit, or could never bind."""
    texts = several(given)
    if not texts:
        raise ConfigurationError(f'{option}= needs at least one limit, such as "600/minute"')
    found: dict[int, Limit] = {}
    for text in texts:
        for limit in _parse(text, option):
            if limit.seconds in found:
                raise ConfigurationError(
                    f"{option}= gives two amounts for the same {limit.seconds} seconds, of which only the lower one "
                    f"could ever bind: keep one, got {given!r}"
                )
            found[limit.seconds] = limit
    return tuple(found.values())


def _parse(text: str, option: str) -> list[Limit]:
    try:
        from limits import parse_many  # here, because it loads its storages: no import of ours waits for them
    except ImportError:
        raise ConfigurationError("rate limits need the limits package: pip install 'limits>=5.8'") from None
    try:
        items = parse_many(text)
    except ValueError:
        raise ConfigurationError(
            f'{option}= takes strings such as "600/minute" or "10/second; 600/minute", got {text!r}'
        ) from None
    for item in items:
        if not 1 <= item.amount <= MAX_AMOUNT:
            raise ConfigurationError(
                f"{option}= takes amounts from 1 to {MAX_AMOUNT} (take a route away to refuse it always), got {text!r}"
            )
    return [Limit(item.amount, item.get_expiry()) for item in items]
