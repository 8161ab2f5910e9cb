"""``Revocations``: tokens withdrawn before their time, by ``jti`` (RFC 7519 section 4.1.7) or by subject.

In memory for one process, or in Redis for all workers. What holds with Redis:

- Each worker judges by a copy of its own: a token costs two look-ups in a dictionary and no question to anybody.
- It asks every ``POLL`` seconds for what is new. Without an answer for ``FRESH`` seconds nothing is known of any token
  and all are refused as unavailable: who cuts a worker off from the list does not get revoked tokens in.
- After every failure, and where Redis has restarted or has less than before, the whole list is read again and what is
  missing there is written back: what one worker knows is lost by none.
"""

import asyncio
import contextvars
import json
import logging
import time
from collections.abc import Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from .._loop import refuse_trio
from .._redis import RedisLink, RedisUnavailableError
from ..denial import Reason
from ..errors import ConfigurationError, SecureASGIError, TokenError
from ..secrets import Secret
from .claims import END_OF_TIME, MAX_LEEWAY
from .revocation_scripts import ADD, READ
from .unavailable import UnavailableError

if TYPE_CHECKING:
    import redis.asyncio

logger = logging.getLogger("secure_asgi")

POLL = 0.3
"""Seconds between two questions to Redis for what is new."""
FRESH = 1.0
"""Seconds that an answer counts, from when the question was put."""
MAX_NAME = 1024
"""Characters of an issuer, a ``jti`` or a subject that can be put on the list."""
_BATCH = 1000
"""Entries per question: some 3 ms of the event loop, which others get in between."""
_NEVER = float("-inf")

_Entry = tuple[str, str, str]
"""``("jti" or "sub", issuer, name)``."""


class NotRevokedError(SecureASGIError):
    """A revocation that is not in force everywhere; the message says how far it got."""


class Revocations:
    """A list of tokens that are refused though they hold.

    ``redis`` a URL, as text or in a ``Secret``, or a ``redis.asyncio.Redis``, for all workers; without it the list is
    this process's own and ends with it. ``capacity`` entries at most, in memory and in Redis (100 000, some 40 MB):
    where it is full, ``revoke()`` raises. ``longest_lifetime`` seconds that a token of yours lives at most (30 days):
    an entry of a subject is kept that long after its ``before``. ``prefix`` of the names of the keys in Redis;
    ``timeout`` seconds for one command. Raises ``ConfigurationError`` for a wrong option.

    One object for the middleware and for whoever revokes; in one event loop. It does not look into tokens: what is
    given to ``revoke()`` is believed.
    """

    def __init__(
        self,
        redis: "str | Secret | redis.asyncio.Redis | None" = None,
        *,
        capacity: int = 100_000,
        longest_lifetime: float = 30 * 86_400.0,
        prefix: str = "secure_asgi:revoked",
        timeout: float = 0.5,
    ) -> None:
        if type(capacity) is not int or not 1 <= capacity <= 10_000_000:
            raise ConfigurationError(f"capacity= is a whole number from 1 to 10000000, got {capacity!r}")
        if not _is_time(longest_lifetime) or longest_lifetime <= 0:
            raise ConfigurationError(f"longest_lifetime= is a positive number of seconds, got {longest_lifetime!r}")
        if not isinstance(prefix, str) or not prefix or "{" in prefix or "}" in prefix:
            raise ConfigurationError(f"prefix= is text without braces, got {prefix!r}")
        if not _is_time(timeout) or timeout <= 0:
            raise ConfigurationError(f"timeout= is a positive number of seconds, got {timeout!r}")
        self._link = None if redis is None else RedisLink(redis, timeout=timeout)
        self._capacity = capacity
        self._longest_lifetime = longest_lifetime
        # In braces, so that a cluster keeps all of them in one place, where one script may touch them together.
        self._keys = tuple(f"{{{prefix}}}:{part}" for part in ("log", "ends", "values", "last"))
        self._now = time.monotonic
        self._clock = time.time
        self._tokens: dict[tuple[str, str], float] = {}
        self._subjects: dict[tuple[str, str], float] = {}
        self._ends: dict[_Entry, float] = {}
        self._due: list[tuple[float, _Entry]] = []
        self._fresh_until = _NEVER if self._link else float("inf")
        self._position = "0"
        self._server = ""
        self._must_reread = True
        self._is_known_lost = False
        self._task: asyncio.Task[None] | None = None

    def check(self, claims: Mapping[str, Any], now: float) -> None:
        """Whether a token with these ``claims``, which hold, is on the list.

        By ``iss`` and ``jti``; and by ``iss`` and ``sub``, if ``iat`` is not later than the time given for the subject
        or is not there. Raises ``TokenError`` if so, and ``UnavailableError`` where the list is not known to be fresh.
        ``now`` is not needed: how old the list is, is measured on a clock that nobody sets.
        """
        if self._now() >= self._fresh_until:
            raise self._stale()
        issuer = claims.get("iss")
        try:
            if (issuer, claims.get("jti")) in self._tokens:
                raise TokenError(Reason.TOKEN_REVOKED, "jti")
            # What is no text is in no key, and what cannot be one is the TypeError below.
            before = self._subjects.get((issuer, claims.get("sub")))  # type: ignore[arg-type]
            if before is not None and claims.get("iat", _NEVER) <= before:
                raise TokenError(Reason.TOKEN_REVOKED, "sub")
        except TypeError as error:
            raise TokenError(Reason.TOKEN_CLAIM_INVALID, "iss, jti, sub or iat") from error

    async def revoke(self, token_id: str, *, issuer: str, until: float) -> None:
        """Withdraw the token of ``issuer`` with this ``jti``, whose ``exp`` is ``until`` (seconds since 1970).

        In force here at once, in other workers within a second. Raises ``NotRevokedError`` where the list is full, or
        Redis did not take it (then it is in force here, and written as soon as Redis is back), and
        ``ConfigurationError`` for arguments that cannot name a token.
        """
        _require_name("token_id", token_id)
        _require_time("until", until)
        await self._add(("jti", issuer, token_id), until)

    async def revoke_subject(self, subject: str, *, issuer: str, before: float) -> None:
        """Withdraw all tokens of a subject of ``issuer`` issued up to ``before`` (seconds since 1970), as ``revoke``.

        Up to and including: ``iat`` is most often in whole seconds, and a token of the same second may be older. A
        later call for the same subject can only move the time on.
        """
        _require_name("subject", subject)
        _require_time("before", before)
        await self._add(("sub", issuer, subject), before)

    async def open(self) -> None:
        """Read the list, and keep reading. At start-up; a Redis that does not answer costs a warning.

        Raises ``ConfigurationError`` where there is a Redis and no asyncio.
        """
        if self._link is None:
            return
        refuse_trio("revocations in Redis need asyncio: run the server with it")
        if not self._is_watching():
            await self._refresh()
            self._watch()

    async def close(self) -> None:
        """Stop asking. What is known is kept, and counts again once it has been read anew."""
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait((task,))
        if self._link is not None:
            self._fresh_until, self._must_reread = _NEVER, True
            await self._link.close()

    def __len__(self) -> int:
        return len(self._ends)

    # --- the copy of this worker

    async def _add(self, entry: _Entry, value: float) -> None:
        _require_name("issuer", entry[1])
        ends = self._end_of(entry, value)
        self._forget_ended()
        if ends <= self._clock():
            return  # no token it could concern is valid any more
        if entry not in self._ends and len(self._ends) >= self._capacity:
            raise NotRevokedError(f"the list is full ({self._capacity} entries): nothing is revoked; raise capacity=")
        self._keep(entry, value, ends)
        if self._link is None:
            return
        try:
            refused = await self._write(self._link, [entry])
        except RedisUnavailableError as error:
            self._must_reread = True
            raise NotRevokedError(
                f"Redis did not take it ({error}): it is revoked in this worker, and elsewhere when Redis is back"
            ) from error
        except BaseException:
            self._must_reread = True  # nobody waits any more, and nobody knows how far it got
            raise
        if refused:
            raise NotRevokedError("the list in Redis is full: it is revoked in this worker alone; raise capacity=")

    def _end_of(self, entry: _Entry, value: float) -> float:
        """A token passes up to the leeway beyond its ``exp``."""
        return value + MAX_LEEWAY + (self._longest_lifetime if entry[0] == "sub" else 0.0)

    def _keep(self, entry: _Entry, value: float, ends: float) -> None:
        kind, issuer, name = entry
        held = self._tokens if kind == "jti" else self._subjects
        if value > held.get((issuer, name), _NEVER):
            held[issuer, name] = value
        if ends > self._ends.get(entry, _NEVER):
            self._ends[entry] = ends
            heappush(self._due, (ends, entry))

    def _forget_ended(self) -> None:
        now, due = self._clock(), self._due
        while due and due[0][0] <= now:
            ends, entry = heappop(due)
            if self._ends.get(entry) == ends:  # else it was prolonged
                del self._ends[entry]
                held = self._tokens if entry[0] == "jti" else self._subjects
                del held[entry[1], entry[2]]

    # --- Redis

    def _stale(self) -> UnavailableError:
        """And look after the one who should be asking: without a start-up, or in another event loop, there is none."""
        try:
            if not self._is_watching():
                self._watch()
        except RuntimeError:
            return UnavailableError(Reason.TOKEN_STATUS_UNKNOWN, "revocations in Redis need asyncio")
        return UnavailableError(Reason.TOKEN_STATUS_UNKNOWN, "the list of revoked tokens is not fresh")

    def _is_watching(self) -> bool:
        task = self._task
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    def _watch(self) -> None:
        # A context of its own: it belongs to no request, nor to the trace of one.
        self._task = asyncio.get_running_loop().create_task(self._poll(), context=contextvars.Context())

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL if self._now() < self._fresh_until else POLL / 3)
            await self._refresh()

    async def _refresh(self) -> None:
        is_whole, self._must_reread = self._must_reread, False
        try:
            if self._link is not None:
                await self._catch_up(self._link, is_whole)
        except Exception as error:
            # Redis, or what somebody else has written where the list should be.
            self._must_reread = True
            if not self._is_known_lost:
                self._is_known_lost = True
                logger.warning(
                    "revoked tokens: the list in Redis cannot be read, and tokens are refused: %s", _shown(error)
                )
        else:
            if self._is_known_lost:
                self._is_known_lost = False
                logger.warning("revoked tokens: the list in Redis is read again")
        self._forget_ended()

    async def _catch_up(self, link: RedisLink, is_whole: bool) -> None:
        """All that is new; the whole list if it must be, or if it is not the one that it was."""
        position = "0" if is_whole else self._position
        seen: dict[_Entry, float] = {}
        while True:
            asked = self._now()
            answer = await link.ask("EVAL", READ, 4, *self._keys, position, _BATCH)
            server, last, following, *pairs = map(_text, answer)
            if not is_whole and (server != self._server or float(last) < float(position)):
                position, is_whole = "0", True
                continue
            for entry, value, ends in map(_parsed, pairs[::2], pairs[1::2]):
                self._keep(entry, value, ends)
                if is_whole:
                    seen[entry] = value
            if len(self._ends) > 2 * self._capacity:
                raise _ListError("it has more entries than capacity= allows")  # refuse all rather than forget one
            position = following
            if len(pairs) < 2 * _BATCH:
                break
        self._position, self._server = position, server
        self._fresh_until = asked + FRESH
        if is_whole:
            await self._write_missing(link, seen)

    async def _write_missing(self, link: RedisLink, seen: dict[_Entry, float]) -> None:
        """What Redis has lost, or never got."""
        missing = [entry for entry in self._ends if self._value_of(entry) > seen.get(entry, _NEVER)]
        refused = 0
        for start in range(0, len(missing), _BATCH):
            refused += await self._write(
                link, [entry for entry in missing[start : start + _BATCH] if entry in self._ends]
            )
        if refused:
            logger.error("revoked tokens: the list in Redis is full, %d are revoked in this worker alone", refused)

    def _value_of(self, entry: _Entry) -> float:
        held = self._tokens if entry[0] == "jti" else self._subjects
        return held[entry[1], entry[2]]

    async def _write(self, link: RedisLink, entries: list[_Entry]) -> int:
        """How many were refused, for want of room."""
        arguments: list[str] = []
        for entry in entries:
            arguments += (json.dumps(entry), repr(self._value_of(entry)), repr(self._ends[entry]))
        return int(await link.ask("EVAL", ADD, 4, *self._keys, self._capacity, *arguments))


class _ListError(Exception):
    """The list in Redis is not one to go by; the message is for the log."""


def _text(answer: Any) -> str:
    """A client of the user's own may decode by itself."""
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def _parsed(identity: str, value: str) -> tuple[_Entry, float, float]:
    """Raises ``ValueError`` for what this class has not written."""
    kind, issuer, name = json.loads(identity)
    time_, ends = map(float, value.split(" "))
    if kind not in ("jti", "sub") or not isinstance(issuer, str) or not isinstance(name, str):
        raise ValueError("an entry of another kind")
    return (kind, issuer, name), time_, ends


def _shown(error: Exception) -> str:
    return str(error) if isinstance(error, (RedisUnavailableError, _ListError)) else type(error).__name__


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= END_OF_TIME


def _require_time(argument: str, value: Any) -> None:
    if not _is_time(value):
        raise ConfigurationError(f"{argument}= is seconds since 1970, got {value!r}")


def _require_name(argument: str, value: Any) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ConfigurationError(f"{argument} is text of 1 to {MAX_NAME} characters: revoke by subject what has none")
