"""Files that somebody replaces while we run: told apart by what ``stat`` says, asked no more than now and then."""

import os
import time
from collections.abc import Callable, Iterable

from .errors import ConfigurationError

StrPath = str | os.PathLike[str]

LOOK_EVERY = 5.0
"""Seconds between two looks. A look costs a few microseconds a file; a replaced file is noticed that late."""

_Seen = tuple[tuple[int, int, int] | None, ...]


class WatchedFiles:
    """Some files, of which one wants to know whether they have been replaced.

    A symbolic link stands for what it leads to, so that the atomic switch of a directory (Kubernetes) is seen. A file
    that is missing is a state like any other. ``every`` is in seconds, of ``clock``. Not for slow network file systems:
    a look is made where it is asked for.
    """

    __slots__ = ("_clock", "_every", "_files", "_next_look", "_seen")

    def __init__(
        self, files: Iterable[StrPath], *, every: float = LOOK_EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files = tuple(files)
        self._every = every
        self._clock = clock
        self._next_look = 0.0
        self._seen: _Seen | None = None

    def have_changed(self) -> bool:
        """True once for every change; true the first time it is asked. False, at no cost, until a look is due.

        Ask before reading: a change made while one reads is then seen the next time.
        """
        now = self._clock()
        if self._seen is not None and now < self._next_look:
            return False
        self._next_look = now + self._every
        seen = tuple(map(_state, self._files))
        if seen == self._seen:
            return False
        self._seen = seen
        return True

    def look_again(self) -> None:
        """Take the next look, when it is due, for a change: what was found did not read well, and may be mended."""
        self._seen = ()


def paths(option: str, given: StrPath | Iterable[StrPath] | None) -> tuple[StrPath, ...]:
    """An option that takes one file or several, or None for none. Raises ``ConfigurationError``."""
    if given is None:
        return ()
    several = (given,) if isinstance(given, str | os.PathLike) else tuple(given) if isinstance(given, Iterable) else ()
    if not several or not all(isinstance(one, str | os.PathLike) for one in several):
        raise ConfigurationError(f"{option}= is the path of a PEM file or several, got {given!r}")
    return several


def _state(file: StrPath) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
