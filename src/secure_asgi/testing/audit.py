"""Audit records where a test can look at them."""

from collections.abc import Callable
from typing import Any


class RecordedAudit(list[dict[str, Any]]):
    """A sink that is a list of the records it took; ``wait()`` first, because they are written in another thread."""

    def __init__(self) -> None:
        super().__init__()
        self._flush: list[Callable[[], object]] = []

    def __call__(self, record: dict[str, Any]) -> None:
        self.append(record)

    def attach(self, flush: Callable[[], object]) -> None:
        """Called by the ``AuditMiddleware`` that was given this sink."""
        self._flush.append(flush)

    def wait(self) -> "RecordedAudit":
        """Returns when everything that has been answered is here."""
        for flush in self._flush:
            flush()
        return self


def recorded_audit() -> RecordedAudit:
    """``records = recorded_audit()``, ``AuditMiddleware(app, sinks=records)``, a request, ``records.wait()[-1]``."""
    return RecordedAudit()
