"""Which class a request is of: who goes first, and who is shed first."""

from collections.abc import Callable, Mapping

from .._asgi import Scope
from .._options import is_plain_function
from .._paths import is_plain, route_path
from ..errors import ConfigurationError
from ..exchange import Exchange

CLASSES = ("critical", "normal", "low")
"""The highest first: a request's rank is its place here."""

NORMAL = CLASSES.index("normal")
LOW = CLASSES.index("low")

PriorityFunction = Callable[[Exchange, Scope], str]
"""A class for every request: plain function. What it raises is an error, never a pass."""

Rank = Callable[[Exchange, Scope], int]

_SHARES = {"critical": 1.0, "normal": 0.9, "low": 0.5}


def read_priority(priority: PriorityFunction | Mapping[str, str] | None) -> Rank | None:
    """The option ``priority=``; None where all are alike. Raises ``ConfigurationError``."""
    if priority is None:
        return None
    if isinstance(priority, Mapping):
        return _by_path(priority)
    if not is_plain_function(priority):
        raise ConfigurationError(
            'priority= is a mapping of paths to classes ({"/orders/": "critical"}), or a plain function of '
            f"(exchange, scope) that returns one of {', '.join(CLASSES)}; got {priority!r}"
        )
    chosen: PriorityFunction = priority

    def by_function(exchange: Exchange, scope: Scope) -> int:
        name = chosen(exchange, scope)
        if name not in CLASSES:
            raise ValueError(f"priority= must return one of {', '.join(CLASSES)}, and returned {name!r}")
        return CLASSES.index(name)  # which may be of an Enum that is a str, too

    return by_function


def read_shares(shares: Mapping[str, float] | None, *, is_ranked: bool) -> tuple[float, ...]:
    """The option ``shares=``, for each class. Raises ``ConfigurationError``."""
    if not is_ranked:
        if shares is not None:
            raise ConfigurationError("shares= divides slots among the classes of priority=: give that too")
        return (1.0,) * len(CLASSES)
    given = {} if shares is None else shares
    if not isinstance(given, Mapping) or not set(given) <= {"normal", "low"}:
        raise ConfigurationError(f'shares= is a mapping like {{"normal": 0.9, "low": 0.5}}, got {shares!r}')
    all_shares = _SHARES | dict(given)
    values = tuple(all_shares[name] for name in CLASSES)
    if not all(type(value) in (int, float) and 0 < value <= 1 for value in values) or values[1] < values[2]:
        raise ConfigurationError(
            f"shares= are parts of 1, above 0, and that of low no more than that of normal; got {all_shares!r}"
        )
    return values


def _by_path(classes: Mapping[str, str]) -> Rank:
    for path, name in classes.items():
        if not isinstance(path, str) or not path.startswith("/") or name not in CLASSES:
            raise ConfigurationError(
                f'priority= takes paths ("/health", or "/reports/" with all below), each with one of '
                f"{', '.join(CLASSES)}; got {path!r}: {name!r}"
            )
    exact = {path: CLASSES.index(name) for path, name in classes.items()}
    # The longest first: what is said of a part goes before what is said of the whole. "/" is the root document alone.
    prefixes = sorted((path for path in exact if path.endswith("/") and path != "/"), key=len, reverse=True)

    def by_path(exchange: Exchange, scope: Scope) -> int:
        path = route_path(scope)
        rank = exact.get(path)
        if rank is not None:
            return rank
        if not is_plain(path):
            return LOW  # a router may read it as any other path, and nobody gains by writing it so
        for prefix in prefixes:
            if path.startswith(prefix):
                return exact[prefix]
        return NORMAL

    return by_path
