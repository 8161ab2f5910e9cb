"""Where records go. A sink takes a batch, in the writer's thread; raising means that it took no more of it.

The same batch is offered again then, and a sink goes on where it was: nothing is written twice.
"""

import logging
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..errors import ConfigurationError
from .record import Record

Batch = Sequence[tuple[Record, str]]
"""Records, each with its JSON line."""


@runtime_checkable
class BatchSink(Protocol):
    """What the writer calls."""

    def write(self, batch: Batch) -> None: ...

    def close(self) -> None: ...


Sink = BatchSink | Callable[[Record], object]


class _Progress:
    """How much of the batch on offer has been taken, should it be offered again."""

    def __init__(self) -> None:
        self._batch: Batch | None = None
        self.taken = 0

    def rest(self, batch: Batch) -> Batch:
        if batch is not self._batch:
            self._batch, self.taken = batch, 0
        return batch[self.taken :]


class JSONLinesSink:
    """Appends to a file, one JSON object a line; readable by its owner only when it makes the file.

    Opens on first use, and again when the file was moved away (logrotate). A line torn by a crash or a full disk is
    ended before the next one. Each batch is one ``write``; whether it has reached the disk is the kernel's matter.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._file: int | None = None
        self._is_torn = False
        self._progress = _Progress()

    def write(self, batch: Batch) -> None:
        file = self._opened()
        lines = [line.encode() + b"\n" for _, line in self._progress.rest(batch)]
        data = (b"\n" if self._is_torn else b"") + b"".join(lines)
        written = 0
        try:
            while written < len(data):
                written += os.write(file, data[written:])
        finally:
            self._note(written - self._is_torn, lines)

    def _note(self, written: int, lines: list[bytes]) -> None:
        """Count the whole lines among ``written`` bytes; what is left of one is torn."""
        if written < 0:
            return
        self._is_torn = False
        for line in lines:
            if written < len(line):
                self._is_torn = written > 0
                return
            written -= len(line)
            self._progress.taken += 1

    def _opened(self) -> int:
        if self._file is not None and not self._is_moved(self._file):
            return self._file
        self.close()
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        about = os.fstat(self._file)
        if stat.S_ISREG(about.st_mode) and about.st_size:
            self._is_torn = os.pread(self._file, 1, about.st_size - 1) != b"\n"
        return self._file

    def _is_moved(self, file: int) -> bool:
        try:
            return not os.path.samestat(os.fstat(file), os.stat(self._path))
        except FileNotFoundError:
            return True

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class LoggingSink:
    """Hands each record to a logger of the standard library: the JSON line, and the dictionary in ``extra``.

    ``INFO`` for what was allowed, ``WARNING`` for the rest; the record's attribute ``secure_asgi`` is the dictionary.
    """

    def __init__(self, logger: str = "secure_asgi.audit") -> None:
        self._logger = logging.getLogger(logger)

    def write(self, batch: Batch) -> None:
        for record, line in batch:
            level = logging.INFO if record.get("outcome", "allowed") == "allowed" else logging.WARNING
            self._logger.log(level, "%s", line, extra={"secure_asgi": record})

    def close(self) -> None:
        """Nothing is open."""


class StdoutSink:
    """One JSON object a line, on standard output: for containers."""

    def write(self, batch: Batch) -> None:
        sys.stdout.write("".join(f"{line}\n" for _, line in batch))
        sys.stdout.flush()

    def close(self) -> None:
        """Standard output belongs to the process."""


class _CallableSink:
    def __init__(self, take: Callable[[Record], object]) -> None:
        self._take = take
        self._progress = _Progress()

    def write(self, batch: Batch) -> None:
        for record, _ in self._progress.rest(batch):
            self._take(record)
            self._progress.taken += 1

    def close(self) -> None:
        """The callable's owner closes it."""


def as_sink(given: Any) -> BatchSink:
    if isinstance(given, type):
        raise ConfigurationError(f"sinks= takes {given.__name__}(...), an instance, got the class")
    if isinstance(given, BatchSink):
        return given
    if callable(given):
        return _CallableSink(given)
    raise ConfigurationError(
        f"sinks= takes JSONLinesSink(path), LoggingSink(), StdoutSink(), a callable or several, got {given!r}"
    )
