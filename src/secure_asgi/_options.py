"""Checks of options that several parts have."""

from collections.abc import Iterable
from typing import Any

from .errors import ConfigurationError


def several(given: Any) -> tuple[Any, ...]:
    """One, or several, as a tuple; what is of another type is left for its reader to refuse."""
    return (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)


def positive_seconds(option: str, seconds: Any) -> float:
    """``seconds``, if that is a number above 0 and not infinite. Raises ``ConfigurationError``."""
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 < seconds < float("inf"):
        raise ConfigurationError(f"{option}= is a positive number of seconds, got {seconds!r}")
    return seconds
