"""Where the keys come from: given once, or fetched from the issuer and kept fresh.

RFC 7517 section 5, RFC 8414 section 3, OpenID Connect Discovery section 4. What holds here:

- The event loop is never blocked, and only a request that has no keys to go by waits.
- One fetch at a time, in a task of its own: no request leads it, so none that goes away can stop it.
- Known keys stay in use while a fetch runs or fails, up to ``STALE`` seconds beyond their time.
- A key that the issuer has withdrawn is gone with the first fetch after its time is up.
- Unknown keys cause one fetch per ``cooldown``, however many are asked for; a failing issuer is asked ever less.
"""

import asyncio
import contextvars
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from .._cache import TwoGenerations
from .._fetch import Fetcher, FetchError, is_fetchable
from .._loop import refuse_trio
from ..denial import Reason
from ..errors import ConfigurationError
from .addresses import leads_inside, metadata_urls
from .encoding import parse_object
from .keys import KeySet, shown
from .unavailable import UnavailableError

logger = logging.getLogger("secure_asgi")

STALE = 3600.0
"""Seconds that keys are used beyond their time while the issuer cannot be reached; then 503."""
REFRESH_AT = 0.8
"""Share of its time after which a set is fetched again, beside the requests."""
MIN_TTL, MAX_TTL = 60.0, 86_400.0
"""Bounds in seconds of what ``max-age`` may say."""
NEGATIVE_TTL = 30.0
"""Seconds for which a kid that a fresh set did not have is not asked for again."""
AT_ONCE = 32
"""Requests that go on in the same turn of the event loop after they have waited for one fetch."""
MAX_JWKS_BYTES = 64 * 1024
MAX_METADATA_BYTES = 256 * 1024
_JWKS_TYPES = ("application/jwk-set+json", "application/json")
_METADATA_TYPES = ("application/json",)


class KeysUnavailableError(UnavailableError):
    """There are no keys to judge a token by. ``wait`` seconds until it is worth asking again."""

    def __init__(self, wait: float, why: str) -> None:
        super().__init__(Reason.KEYS_UNAVAILABLE, why, wait)


class StaticKeys:
    """Keys that were given. A private key among them is a mistake worth stopping for."""

    def __init__(self, jwks: Mapping[str, Any], algorithms: Collection[str]) -> None:
        self._keys = KeySet(jwks, algorithms=algorithms)
        for member in jwks["keys"]:
            if isinstance(member, Mapping) and member.get("kty") != "oct" and "d" in member:
                raise ConfigurationError(
                    f"jwks= has the private key of {shown(member.get('kid'))}: give the public half, and replace it"
                )
        if not self._keys:
            why = "; ".join(f"{kid}: {reason}" for kid, reason in self._keys.dropped) or "none serves algorithms="
            raise ConfigurationError(f"jwks= has no key that can verify a token: {why}")
        _report("jwks=", self._keys)

    @property
    def is_ready(self) -> bool:
        return True

    def keep_fresh(self) -> None:
        pass

    def current(self, now: float) -> KeySet | None:
        return self._keys

    def may_know(self, kid: str | None, now: float) -> bool:
        """Whether it is worth fetching keys again."""
        return False

    def doubt(self) -> KeysUnavailableError | None:
        return None

    async def wait(self) -> KeySet:
        return self._keys

    async def look_again(self, kid: str | None) -> KeySet:
        return self._keys

    async def open(self, prefetch: bool) -> None:
        pass

    async def close(self) -> None:
        pass


class RemoteKeys:
    """Keys that the issuer publishes at ``jwks_uri``, or where its metadata says.

    ``ttl`` seconds where the answer has no ``max-age``; ``cooldown`` seconds between two fetches for unknown keys;
    ``timeout`` seconds for all that one attempt asks. ``now`` is a monotonic clock.
    """

    def __init__(
        self,
        issuer: str,
        jwks_uri: str | None,
        algorithms: Collection[str],
        fetcher: Fetcher,
        *,
        ttl: float,
        cooldown: float,
        timeout: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._jwks_uri = jwks_uri
        self._found_uri: str | None = None
        self._found_until = 0.0
        self._algorithms = algorithms
        self._fetcher = fetcher
        self._ttl = ttl
        self._cooldown = cooldown
        self._timeout = timeout
        self._now = now
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._keys: KeySet | None = None
        self._body = b""
        self._refresh_at = self._expires_at = 0.0
        self._failures = 0
        self._failure = ""
        self._retry_at = 0.0
        self._forced_until = 0.0
        self._absent: TwoGenerations[str, float] = TwoGenerations(1024)

    def current(self, now: float) -> KeySet | None:
        """The keys to go by, without waiting; None if there are none. Starts a refresh when it is time."""
        if now < self._refresh_at:
            return self._keys
        if self._keys is None:
            return None
        if now >= self._retry_at:
            self._flight()
        return self._keys if self._may_be_used(now) else None

    @property
    def is_ready(self) -> bool:
        """Whether a token can be judged at once: there are keys, and not past their time. Asks nobody."""
        return self._keys is not None and self._may_be_used(self._now())

    def keep_fresh(self) -> None:
        """Starts a fetch where one is due, and does not wait for it.

        For a readiness probe: who is not ready is sent no requests, and would without requests never become ready.
        """
        now = self._now()
        if now >= self._refresh_at and now >= self._retry_at:
            self._flight()

    def may_know(self, kid: str | None, now: float) -> bool:
        """Whether to wait for a look at fresh keys; False where a recent look has found no such key."""
        if self._failures:
            return True
        if kid is not None and (self._absent.get(kid) or 0.0) > now:
            return False
        return now >= self._forced_until or self._is_flying()

    def doubt(self) -> KeysUnavailableError | None:
        """Why a key that these do not have may be a good one all the same: the issuer could not be asked."""
        return self._unavailable() if self._failures else None

    async def wait(self) -> KeySet:
        """Keys, of a fetch if need be. Raises ``KeysUnavailableError``."""
        now = self._now()
        if now >= self._retry_at or self._is_flying():
            await self._landing()
        keys = self.current(self._now())
        if keys is None:
            raise self._unavailable()
        return keys

    async def look_again(self, kid: str | None) -> KeySet:
        """Keys fetched for a kid that was unknown. Raises ``KeysUnavailableError``."""
        now = self._now()
        if self._is_flying():
            await self._landing()
        elif now >= self._forced_until and now >= self._retry_at:
            self._forced_until = now + self._cooldown
            await self._landing()
        if self._failures or self._keys is None:
            raise self._unavailable()
        if kid is not None:
            self._absent.put(kid, self._now() + NEGATIVE_TTL)
        return self._keys

    async def open(self, prefetch: bool) -> None:
        """At start-up, where it can be said aloud that trio will not do. A failing issuer only costs a warning."""
        refuse_trio("fetching keys needs asyncio: run the server with it, or give the keys with jwks=")
        if prefetch and self._keys is None:
            await self._landing()

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait((task,))

    def _may_be_used(self, now: float) -> bool:
        if now < self._expires_at:
            return True
        # Their time is up: to be used further, an attempt to replace them must have failed, and lately.
        is_failing = self._failures > 0 and now < self._retry_at + self._cooldown + self._timeout
        return is_failing and now < self._expires_at + STALE

    def _is_flying(self) -> bool:
        task = self._task
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    def _flight(self) -> "asyncio.Task[None]":
        """The one fetch under way. A task of a loop that is gone is as good as none."""
        if self._task is None or not self._is_flying():
            # A context of its own: it belongs to no request, nor to the trace of one.
            context = contextvars.Context()
            self._waiting = deque()
            self._task = asyncio.get_running_loop().create_task(self._refresh(), context=context)
            self._task.add_done_callback(partial(_go_on, self._waiting), context=context)
        return self._task

    async def _landing(self) -> None:
        """Until the fetch has ended, however it ends. Who stops waiting does not stop it."""
        self._flight()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._fetch()
        except Exception as error:
            self._failed(str(error) or type(error).__name__)

    def _failed(self, why: str) -> None:
        # Twice as long after each failure: an issuer that is down is not hammered, one that blinked soon asked again.
        pause = min(2.0**self._failures, self._cooldown)
        self._failures = min(self._failures + 1, 10)
        self._failure = why
        self._retry_at = self._now() + pause
        self._found_uri = None
        logger.warning("keys of %s could not be fetched, next attempt in %.0f s: %s", self._issuer, pause, why)

    async def _fetch(self) -> None:
        uri = self._jwks_uri or await self._discovered()
        document = await self._fetcher.get(uri, types=_JWKS_TYPES, max_bytes=MAX_JWKS_BYTES)
        if document.body != self._body or self._keys is None:
            keys = self._read(document.body)
            _report(self._issuer, keys)
            self._keys, self._body = keys, document.body
        age = document.max_age
        lifetime = self._ttl if age is None else min(max(age, MIN_TTL), MAX_TTL)
        now = self._now()
        self._refresh_at, self._expires_at = now + REFRESH_AT * lifetime, now + lifetime
        self._failures, self._retry_at = 0, now

    def _read(self, body: bytes) -> KeySet:
        """The set, if it has a key to use: an answer without one is not believed while there are others."""
        try:
            jwks = json.loads(body.decode("utf-8"), object_pairs_hook=_unique_or_none)
            keys = KeySet(jwks, algorithms=self._algorithms, remote=True)
        except ConfigurationError as error:
            raise FetchError(str(error)) from error
        except (ValueError, RecursionError) as error:
            raise FetchError(f"keys that are not JSON: {type(error).__name__}") from error
        if not keys:
            raise FetchError("a JWK Set without a usable key")
        return keys

    async def _discovered(self) -> str:
        now = self._now()
        if self._found_uri is None or now >= self._found_until:
            self._found_uri = await self._discover()
            self._found_until = now + MAX_TTL
        return self._found_uri

    async def _discover(self) -> str:
        """The ``jwks_uri`` of the issuer's metadata: OpenID Connect's place first, then RFC 8414's (META-1)."""
        openid, oauth = metadata_urls(self._issuer)
        try:
            return await self._metadata(openid)
        except FetchError as first:
            try:
                return await self._metadata(oauth)
            except FetchError as second:
                raise FetchError(f"no metadata: {first}; {second}") from second

    async def _metadata(self, url: str) -> str:
        document = await self._fetcher.get(url, types=_METADATA_TYPES, max_bytes=MAX_METADATA_BYTES)
        try:
            metadata = parse_object(document.body)
        except ValueError as error:
            raise FetchError("metadata that is no JSON object") from error
        if metadata.get("issuer") != self._issuer:
            raise FetchError("metadata of another issuer")  # META-2
        uri = metadata.get("jwks_uri")
        if not isinstance(uri, str) or not is_fetchable(uri):
            raise FetchError("metadata without a jwks_uri that may be fetched")
        if await leads_inside(uri, self._issuer):
            raise FetchError("metadata with a jwks_uri inside our own network: give it with jwks_uri= if it is meant")
        return uri

    def _unavailable(self) -> KeysUnavailableError:
        return KeysUnavailableError(self._retry_at - self._now(), self._failure)


def _go_on(waiting: "deque[asyncio.Future[None]]", flight: "asyncio.Task[None]") -> None:
    """A few in each turn of the event loop: hundreds of signatures in one would hold up everybody else."""
    for _ in range(min(len(waiting), AT_ONCE)):
        turn = waiting.popleft()
        if not turn.done():  # who has gone away meanwhile
            turn.set_result(None)
    if waiting:
        flight.get_loop().call_soon(_go_on, waiting, flight)


def _unique_or_none(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    """An object with a member twice is none: the key it was is left out, and not the others."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else None


def _report(whose: str, keys: KeySet) -> None:
    for kid, why in keys.dropped:
        logger.warning("%s: key %s is left out: %s", whose, kid, why)
    if keys.small:
        logger.warning("%s: RSA keys of less than 3072 bits: %s", whose, ", ".join(keys.small))
