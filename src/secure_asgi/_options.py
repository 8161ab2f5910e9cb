"""Checks of options that several parts have."""

from collections.abc import Callable, Collection, Iterable
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, TypeGuard, TypeVar

from .errors import ConfigurationError

T = TypeVar("T")


def several(given: Any) -> tuple[Any, ...]:
    """One, or several, as a tuple; what is of another type is left for its reader to refuse."""
    return (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)


def positive_seconds(option: str, seconds: Any) -> float:
    """``seconds``, if that is a number above 0 and not infinite. Raises ``ConfigurationError``."""
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 < seconds < float("inf"):
        raise ConfigurationError(f"{option}= is a positive number of seconds, got {seconds!r}")
    return seconds


def one_of(option: str, given: object, available: Collection[object]) -> None:
    """Raises ``ConfigurationError`` for a word that is not among those ``available``."""
    if given not in available:
        raise ConfigurationError(f"{option}= is one of {', '.join(map(repr, available))}; got {given!r}")


def whole(option: str, given: object, lowest: int, what: str) -> None:
    """Raises ``ConfigurationError`` for what is no whole number from ``lowest`` on. ``what`` it is a number of."""
    if type(given) is not int or given < lowest:
        raise ConfigurationError(f"{option}= is a number of {what}, at least {lowest}, got {given!r}")


def several_of(option: str, given: Any, kind: type[T]) -> tuple[T, ...]:
    """One of ``kind``, or several, as a tuple. Raises ``ConfigurationError`` for what is something else."""
    found = (given,) if isinstance(given, kind) or not isinstance(given, Iterable) else tuple(given)
    if not all(isinstance(one, kind) for one in found):
        raise ConfigurationError(f"{option}= takes {kind.__name__}(...) and the like, got {given!r}")
    return found


def is_async(function: Callable[..., Any]) -> bool:
    """Whether what a call gives is to be awaited, as far as can be told without one."""
    while isinstance(function, partial):
        function = function.func
    # Not whether it can be called, as the linter supposes, but what calling an object gives.
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def is_plain_function(given: object) -> TypeGuard[Callable[..., Any]]:
    """Whether it can be called, and gives its answer at once."""
    return callable(given) and not is_async(given)
