"""Revocation by lists: where they come from, and which of them is believed (RFC 5280 sections 5 and 6.3).

What holds here:

- The event loop never reads, parses or fetches a list. A request waits before the first attempt to load, and while a
  replaced file is read: on a server that was idle the list before may be long out of date.
- A list counts for an issuer only by that issuer's signature. What else is found in its place displaces nothing.
- The newest list of an issuer stays: an older one, by its number, is not gone back to.
- Where no list is in force, nobody passes, unless ``mode="soft"``; and who is on a list does not pass even then.
"""

import math
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from .._fetch import Fetcher, is_web_url, without_secrets
from .._files import StrPath, WatchedFiles
from ..denial import Reason
from ..errors import CertificateError, ConfigurationError
from .background import Errand, Errands, Teller
from .path import VerifiedPath
from .revocation_list import (
    RevocationList,
    Which,
    best_lists,
    check_revocation,
    read_crl,
    read_lists,
    status,
    to_check,
)

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["CRLs", "check_revocation", "read_crl"]

Mode = Literal["hard", "soft"]

MAX_BYTES = 10 * 1024 * 1024
"""Of one source: some 150 000 entries as PEM, twice as many as DER without reasons."""

MAX_LISTS = 100
"""In one file. At a URL there is one (RFC 2585 section 4)."""

MAX_UNPROVEN = 4
"""Earlier lists of one source that are kept because no request has shown yet whether an issuer has signed them."""

RETRY_AFTER = 60.0
"""Seconds after which a source that failed, or whose list has run out, is tried again."""

SOFT_FOR = 60.0
"""Seconds for which a pass in soft mode holds."""

MAX_ISSUERS = 256
_THREADS = 4

MEDIA_TYPES = (
    "application/pkix-crl",
    "application/x-pkcs7-crl",
    "application/x-pem-file",
    "application/octet-stream",
    "binary/octet-stream",
    "text/plain",
)
"""RFC 2585 says the first; file servers say the others."""


class CRLs:
    """Certificate revocation lists, from ``sources``: paths of files (PEM, several lists allowed, or DER), or URLs.

    ``mode="hard"`` refuses a certificate for which no list is in force, ``"soft"`` lets it pass with a line in the log.
    ``check="path"`` asks for the leaf and every intermediate, so that a list of each authority is needed; ``"leaf"``
    for the leaf alone. Trust anchors are never asked for.

    URLs are ``http`` or ``https``; ``http`` will do, as lists are signed. They are fetched again every ``refresh``
    seconds, give or take a tenth, and sooner when a list is about to run out. A replaced file is noticed within five
    seconds, or with the next request if there is none meanwhile, which waits for it. ``max_bytes`` of one source;
    ``timeout`` seconds for one fetch, and for a request that waits for a list. No URL is ever taken from a certificate.

    ``generation`` grows whenever lists have changed. Raises ``ConfigurationError``.
    """

    def __init__(
        self,
        *sources: StrPath,
        mode: Mode = "hard",
        check: Which = "path",
        refresh: float = 3600.0,
        max_bytes: int = MAX_BYTES,
        timeout: float = 10.0,
    ) -> None:
        if not sources:
            raise ConfigurationError('CRLs() takes the files or URLs of the lists: CRLs("ca.crl")')
        if mode not in get_args(Mode):
            raise ConfigurationError(f'mode= is "hard" or "soft", got {mode!r}')
        if check not in get_args(Which):
            raise ConfigurationError(f'check= is "path" or "leaf", got {check!r}')
        positive("refresh", refresh)
        positive("timeout", timeout)
        positive("max_bytes", max_bytes)
        self._is_soft = mode == "soft"
        self._which: Which = check
        self._timeout = timeout
        self._teller = Teller()
        self._errands = Errands(_THREADS)
        fetchers: list[Fetcher] = []
        self._sources = tuple(self._source(one, fetchers, refresh, int(max_bytes)) for one in sources)
        self._best: dict[Certificate, _Best] = {}

    def _source(self, given: object, fetchers: list[Fetcher], refresh: float, max_bytes: int) -> "_Source":
        if isinstance(given, str) and "://" in given:
            if not is_web_url(given):
                raise ConfigurationError(
                    f"a CRL is at an http or https URL without user name and fragment, got {without_secrets(given)!r}"
                )
            if not fetchers:
                fetchers.append(Fetcher(timeout=self._timeout))
            return _URL(given, fetchers[0], refresh, max_bytes, self._teller)
        if not isinstance(given, str | os.PathLike) or not os.fspath(given):
            raise ConfigurationError(f"CRLs() takes paths of files and URLs, got {given!r}")
        return _File(given, max_bytes, self._teller)

    @property
    def generation(self) -> int:
        return sum(source.version + source.noticed for source in self._sources)

    def look(self) -> None:
        """Starts, in the background, to read again what may have changed. Costs a few microseconds."""
        for source in self._sources:
            if source.is_due():
                self._send(source)

    def check(self, path: VerifiedPath, now: float) -> float | Awaitable[float]:
        """Until when (unix seconds) nothing in ``path`` counts as revoked; awaitable if a list has to be waited for.

        Raises ``CertificateError``: ``CERTIFICATE_REVOKED`` or ``REVOCATION_UNKNOWN``.
        """
        if all(source.was_read for source in self._sources):
            return self._judge(path, now)
        return self._load_and_judge(path, now)

    async def start(self) -> None:
        """Loads the lists. Raises ``ConfigurationError`` for a file that cannot be used; a URL may come back."""
        await self._load()
        for source in self._sources:
            if isinstance(source, _File) and source.flaw:
                raise ConfigurationError(f"CRLs({source.name!r}): {source.flaw}")

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _load_and_judge(self, path: VerifiedPath, now: float) -> float:
        await self._load()
        return self._judge(path, now)

    async def _load(self) -> None:
        """Until every source has been tried once as it is now, or the time is up."""
        deadline = time.monotonic() + self._timeout
        for errand in [self._send(source) for source in self._sources if not source.was_read]:
            if errand is not None:
                await errand.landed(max(0.0, deadline - time.monotonic()))

    def _send(self, source: "_Source") -> Errand | None:
        return self._errands.send(source, partial(self._read, source))

    def _read(self, source: "_Source") -> None:
        """In a thread, with all signatures too: what is known of an issuer is brought up to date before it is asked."""
        before, noticed = source.version, source.noticed
        try:
            source.load()
            if source.version != before:
                self._teller.forget()
                for issuer in tuple(self._best):
                    self._lists_of(issuer)
        finally:
            # Last: until then whoever asks waits, and verifies no signature where the event loop runs. Not for a file
            # that was replaced meanwhile.
            source.was_read = source.noticed == noticed

    def _lists_of(self, issuer: "Certificate") -> "_Best":
        """The lists to go by: the newest the issuer has signed, of those there are and those gone by before."""
        generation = self.generation
        known = self._best.get(issuer)
        if known is not None and known.generation == generation:
            return known
        present = [one for source in self._sources for one in source.lists]
        before = known.lists if known is not None else ()
        lists, why = best_lists(issuer, (*before, *present))
        found = _Best(generation, tuple(lists), tuple(why))
        for flaw in found.why:
            self._teller.warn(f"CRLs: not used for {issuer.subject.rfc4514_string()[:256]}: {flaw}")
        if lists:
            if len(self._best) >= MAX_ISSUERS:
                self._best.clear()
            self._best[issuer] = found
        return found

    def _judge(self, path: VerifiedPath, now: float) -> float:
        until = path.not_after
        for certificate, issuer in to_check(path, self._which):
            best = self._lists_of(issuer)
            try:
                until = min(until, status(certificate, issuer, best.lists, now, best.why))
            except CertificateError as refused:
                if refused.reason != Reason.REVOCATION_UNKNOWN:
                    raise
                self._teller.warn(f"CRLs: {refused.note}" + self._flaws())
                if not self._is_soft:
                    raise
                until = min(until, now + SOFT_FOR)
        return until

    def _flaws(self) -> str:
        return "".join(f"; {source.name}: {source.flaw}" for source in self._sources if source.flaw)


class _Best:
    """The lists of one issuer, as of a generation, and why others are not among them."""

    __slots__ = ("generation", "lists", "why")

    def __init__(self, generation: int, lists: tuple[RevocationList, ...], why: tuple[str, ...]) -> None:
        self.generation = generation
        self.lists = lists
        self.why = why


class _Source(ABC):
    """What was found at one place when it was last read and could be used: ``lists``, of which ``version`` counts.

    ``was_read`` is false until the first attempt, and again once it is ``noticed`` that a file has been replaced.
    """

    at_most = 1

    def __init__(self, name: str, max_bytes: int, teller: Teller) -> None:
        self.name = name
        self.lists: tuple[RevocationList, ...] = ()
        self.version = 0
        self.noticed = 0
        self.flaw = ""
        self.was_read = False
        self._max_bytes = max_bytes
        self._teller = teller
        self._digest = b""
        self._due = 0.0
        self._clock: Callable[[], float] = time.monotonic
        self._now: Callable[[], float] = time.time

    def is_due(self) -> bool:
        return self._clock() >= self._due

    @abstractmethod
    def read(self) -> bytes:
        """All of it, or an exception."""

    def load(self) -> None:
        """Reads once more. What cannot be used changes nothing; why is in ``flaw``, and in the log."""
        self._due = math.inf
        try:
            self._take(self.read())
            self.flaw, pause = "", self.pause()
        except Exception as error:
            # Files, fetches and parsers each have their own; whatever it is, the lists that are there stay.
            self.flaw, pause = str(error) or type(error).__name__, RETRY_AFTER
            self._teller.warn(f"CRLs: {self.name} is not used, what was there before still is: {self.flaw}")
        # Not later than what a look has found meanwhile: a file replaced while it was read.
        self._due = min(self._due, self._clock() + pause)

    @abstractmethod
    def pause(self) -> float:
        """Seconds until it is worth reading again."""

    def _take(self, data: bytes) -> None:
        digest = sha256(data).digest()
        if digest == self._digest:
            return
        lists = read_lists(data, at_most=self.at_most)
        for one in lists:
            one.must_have_begun(self._now())
        # What no issuer has been asked about yet stays for a while: nobody knows that what is new is not forged.
        unproven = [one for one in self.lists if not one.is_proven]
        self.lists, self._digest = (*unproven[-MAX_UNPROVEN:], *lists), digest
        # Last: who sees the new number finds the new lists.
        self.version += 1


class _File(_Source):
    at_most = MAX_LISTS

    def __init__(self, file: StrPath, max_bytes: int, teller: Teller) -> None:
        super().__init__(os.fspath(file), max_bytes, teller)
        self._files = WatchedFiles((file,))
        self._due = math.inf

    def is_due(self) -> bool:
        if self._files.have_changed():
            self._due = 0.0
            self.was_read = False
            self.noticed += 1
        return super().is_due()

    def read(self) -> bytes:
        self._files.have_changed()  # before reading: what is replaced meanwhile is seen at a later look
        try:
            with Path(self.name).open("rb") as file:
                data = file.read(self._max_bytes + 1)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from error
        if len(data) > self._max_bytes:
            raise ValueError(f"more than {self._max_bytes} bytes")
        return data

    def pause(self) -> float:
        return math.inf


class _URL(_Source):
    def __init__(self, url: str, fetcher: Fetcher, refresh: float, max_bytes: int, teller: Teller) -> None:
        super().__init__(without_secrets(url), max_bytes, teller)
        self._url = url
        self._fetcher = fetcher
        self._refresh = refresh

    def read(self) -> bytes:
        return self._fetcher.get_blocking(self._url, types=MEDIA_TYPES, max_bytes=self._max_bytes).body

    def pause(self) -> float:
        # Half of what is left: asked ever more often towards its end, when the next list is due.
        left = self.lists[-1].next_update - self._now()
        # Jitter, so that a fleet that started together does not ask together.
        return min(self._refresh * (0.9 + secrets.randbelow(201) / 1000), max(left / 2, RETRY_AFTER))


def positive(name: str, value: float) -> float:
    """The option as it is. Raises ``ConfigurationError`` unless it is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name}= is a positive number, got {value!r}")
    return value
