"""Where the records live: in memory, or in a file that is read again when it is replaced."""

import json
import logging
import os
import tempfile
import threading
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from stat import S_IMODE
from typing import Any, Protocol

from .._files import StrPath, WatchedFiles
from ..errors import ConfigurationError
from .records import KeyRecord

logger = logging.getLogger("secure_asgi")

MAX_FILE_BYTES = 64 * 2**20
"""Some 150 000 records."""
_TOO_OPEN = 0o027
"""Group may write, or others may do anything: who can write adds keys of their own."""


class KeysUnavailableError(Exception):
    """A store cannot say whether there is such a key: the client is told 503. The text is for the log."""


class KeyStore(Protocol):
    """What the middleware asks of a store. It may have ``async open()`` and ``async close()`` too."""

    def find(self, key_id: str, /) -> KeyRecord | Awaitable[KeyRecord | None] | None:
        """The record of that id, or None. Must not block the event loop. Raises when it cannot say."""
        ...


class MemoryKeys:
    """Records in this process: those it is made with, and what ``add()`` and ``remove()`` change.

    A change holds from the next request on, in this worker alone.
    """

    __slots__ = ("_records",)

    def __init__(self, records: KeyRecord | Iterable[KeyRecord] = ()) -> None:
        self._records: dict[str, KeyRecord] = {}
        for record in (records,) if isinstance(records, KeyRecord) else records:
            self.add(record)

    def find(self, key_id: str, /) -> KeyRecord | None:
        return self._records.get(key_id)

    def add(self, record: KeyRecord) -> None:
        """Put it in, in the place of one with the same id. Raises ``ConfigurationError`` for what is no record."""
        self._records[must_be_record(record).id] = record

    def remove(self, key_id: str) -> bool:
        """Revoke the key; False if there was none."""
        return self._records.pop(key_id, None) is not None

    def list(self, *, client: str | None = None) -> tuple[KeyRecord, ...]:
        """All records, or those of one client, oldest first."""
        return in_order(self._records.values(), client)


class FileKeys:
    """Records in a file: ``{"keys": [...]}``, each as ``KeyRecord.to_json()`` writes it.

    A file that was replaced is noticed within five seconds, when a request asks, and read in a thread beside the
    requests. One that has become unreadable is logged, and the records from before stay; one that is missing or broken
    at start-up fails it. ``add()``, ``remove()`` and ``list()`` read and write the file where they are called, one
    after the other among processes too (POSIX): call them from a script or a thread. They replace the file whole, with
    mode 0600 where it is new. Without a lifespan the file is read with the first request.
    """

    __slots__ = ("_is_loading", "_lock", "_mode_told", "_path", "_records", "_told", "_watched")

    def __init__(self, path: StrPath) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise ConfigurationError(f"FileKeys() takes the path of a file, got {type(path).__name__}")
        self._path = Path(path)
        self._watched = WatchedFiles((self._path,))
        self._records: dict[str, KeyRecord] | None = None
        self._lock = threading.Lock()
        self._is_loading = False
        self._told = ""
        self._mode_told = False

    async def open(self) -> None:
        """Read the file. Raises ``ConfigurationError`` if that cannot be done."""
        from anyio import to_thread

        self._watched.have_changed()  # before reading: what is replaced meanwhile is seen at a later look
        self._records = await to_thread.run_sync(self._read)

    def find(self, key_id: str, /) -> KeyRecord | Awaitable[KeyRecord | None] | None:
        if self._records is None:
            return self._find_first(key_id)
        if not self._is_loading and self._watched.have_changed():
            self._is_loading = True
            threading.Thread(target=self._reload, name="secure_asgi api keys", daemon=True).start()
        return self._records.get(key_id)

    def add(self, record: KeyRecord) -> None:
        """Put it in, in the place of one with the same id; makes the file if there is none."""
        must_be_record(record)
        with self._changing() as records:
            records[record.id] = record

    def remove(self, key_id: str) -> bool:
        """Revoke the key, everywhere within five seconds; False if there was none."""
        with self._changing() as records:
            return records.pop(key_id, None) is not None

    def list(self, *, client: str | None = None) -> tuple[KeyRecord, ...]:
        """All records, or those of one client, oldest first. Raises ``ConfigurationError`` for a broken file."""
        return in_order(self._read().values(), client)

    async def _find_first(self, key_id: str) -> KeyRecord | None:
        try:
            await self.open()
        except ConfigurationError as error:
            self._complain(str(error))
            raise KeysUnavailableError("the file of keys cannot be read") from error
        return (self._records or {}).get(key_id)

    def _reload(self) -> None:
        try:
            self._records = self._read()
            self._told = ""
        except ConfigurationError as error:
            self._watched.look_again()
            self._complain(str(error))
        finally:
            self._is_loading = False

    def _complain(self, what: str) -> None:
        if what != self._told:
            self._told = what
            logger.error("API keys: %s; those from before, if any, are kept", what)

    def _read(self) -> dict[str, KeyRecord]:
        try:
            with self._path.open("rb") as file:
                self._warn_of(S_IMODE(os.fstat(file.fileno()).st_mode))
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ConfigurationError(f"the file of keys {str(self._path)!r} cannot be read: {error.strerror}") from None
        return self._records_in(data)

    def _records_in(self, data: bytes) -> dict[str, KeyRecord]:
        if len(data) > MAX_FILE_BYTES:
            raise ConfigurationError(f"the file of keys {str(self._path)!r} has more than {MAX_FILE_BYTES} bytes")
        try:
            document = json.loads(data)
            records = [KeyRecord.from_json(one) for one in document["keys"]]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            # A sentence of ours says which part; json's own and Python's may quote what stands there.
            why = str(error) if isinstance(error, ConfigurationError) else 'it is not {"keys": [...]}'
            raise ConfigurationError(f"the file of keys {str(self._path)!r} does not read well: {why}") from None
        by_id = {record.id: record for record in records}
        if len(by_id) != len(records):
            raise ConfigurationError(f"the file of keys {str(self._path)!r} has two records of one id: keep one")
        return by_id

    def _warn_of(self, mode: int) -> None:
        if mode & _TOO_OPEN and not self._mode_told:
            self._mode_told = True
            logger.warning("API keys: %s is open to others (mode %04o): chmod 600", self._path, mode)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, KeyRecord]]:
        """The records of the file, to be changed, and written when that is done; others wait meanwhile."""
        from fcntl import LOCK_EX, flock

        with self._lock, Path(f"{self._path}.lock").open("a") as lock:
            flock(lock, LOCK_EX)
            records = self._read() if self._path.exists() else {}
            yield records
            self._write(records)
            if self._records is not None:
                self._records = records  # here at once

    def _write(self, records: dict[str, KeyRecord]) -> None:
        target = self._path.resolve()  # a symbolic link stays one
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "w") as file:
                json.dump({"keys": [record.to_json() for record in records.values()]}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                Path(name).chmod(S_IMODE(target.stat().st_mode))
            Path(name).replace(target)
        except BaseException:  # interrupted too: no half of a file stays behind
            Path(name).unlink(missing_ok=True)
            raise


def must_be_record(record: Any) -> KeyRecord:
    if not isinstance(record, KeyRecord):
        raise ConfigurationError(f"a store of keys takes a KeyRecord (of create_key()), got {type(record).__name__}")
    return record


def in_order(records: Iterable[KeyRecord], client: str | None) -> tuple[KeyRecord, ...]:
    chosen = (record for record in records if client is None or record.client == client)
    return tuple(sorted(chosen, key=attrgetter("created", "id")))
