"""``StatusLists``: what a token's issuer has said since (Token Status List, draft-ietf-oauth-status-list, as JWT).

A token names a list and its place on it; the list is fetched, verified and kept for as long as it says. Only a request
that needs a list which is not there waits for it; a list that is used is fetched anew before its time is up.
"""

import asyncio
import contextvars
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from .._fetch import Fetcher, FetchError, is_fetchable, without_secrets
from .._loop import refuse_trio
from ..denial import Reason
from ..errors import ConfigurationError, TokenError
from .claims import DEFAULT_LEEWAY, END_OF_TIME
from .encoding import decode_base64url, parse_object
from .jws import verify
from .keys import ASYMMETRIC, KeySet
from .unavailable import UnavailableError

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("secure_asgi")

MAX_LIST_BYTES = 8 * 1024 * 1024
"""Of an unpacked list: 67 million tokens of one bit."""
MAX_TTL = 86_400.0
"""Seconds that a list is kept at most, whatever it says."""
STALE = 3600.0
"""Seconds that a list is used beyond its ``ttl``, never its ``exp``, while no newer one can be had."""
REFRESH_AT = 0.8
"""Share of its time after which a list is fetched again, beside the requests."""
MAX_PAUSE = 30.0
"""Seconds between two attempts at a list that cannot be had."""
_TYPES = ("statuslist+jwt", "application/statuslist+jwt")
_MEDIA_TYPE = "application/statuslist+jwt"
_ABSENT: Any = object()
_NAMES = {1: "invalid", 2: "suspended"}

Keys = Mapping[str, Any] | KeySet | Callable[[], KeySet | Awaitable[KeySet | None] | None]


class StatusList(NamedTuple):
    """A list that holds. ``issued`` and ``expires`` in seconds since 1970, ``ttl`` in seconds; None: not said."""

    bits: int
    octets: bytes
    issued: float
    expires: float | None
    ttl: float | None

    def is_in_force(self, now: float) -> bool:
        return self.expires is None or now < self.expires

    def status(self, index: int) -> int | None:
        """The status of the token at ``index``, lowest bits first; None beyond the end."""
        position = index * self.bits
        octet = position >> 3
        if octet >= len(self.octets):
            return None
        return (self.octets[octet] >> (position & 7)) & ((1 << self.bits) - 1)


class StatusLists:
    """Refuses tokens that their issuer's status list does not call valid.

    ``uris`` the lists that may be asked, exactly; ``hosts`` whose lists may all be asked (``"status.example.com"``,
    with the port if it is not 443); one of the two is needed. https only, but for this machine. ``jwks`` the keys that
    sign the lists: a JWK Set, a ``KeySet``, or a function, also an async one, that gives a ``KeySet``; ``algorithms``
    for a JWK Set. ``required=True`` refuses tokens that name no list. ``ttl`` seconds that a list is kept which does
    not say (300); ``timeout`` seconds for one fetch (5); ``max_bytes`` of a list as it is sent (4 MiB); ``capacity``
    lists at most (16; unpacked, each has up to 8 MiB); ``http`` an ``httpx.AsyncClient`` of one's own. Raises
    ``ConfigurationError`` for a wrong option.

    It does not follow redirects, read lists as CWT, or ask for historical states of a token.
    """

    def __init__(
        self,
        *,
        jwks: Keys,
        uris: str | Iterable[str] = (),
        hosts: str | Iterable[str] = (),
        algorithms: str | Iterable[str] = ASYMMETRIC,
        required: bool = False,
        ttl: float = 300.0,
        timeout: float = 5.0,
        max_bytes: int = 4 * 1024 * 1024,
        capacity: int = 16,
        http: "httpx.AsyncClient | None" = None,
    ) -> None:
        self._uris = frozenset((uris,) if isinstance(uris, str) else uris)
        self._hosts = frozenset(name.lower() for name in ((hosts,) if isinstance(hosts, str) else hosts))
        if not self._uris and not self._hosts:
            raise ConfigurationError("uris= or hosts= names the status lists that may be fetched: give one of them")
        for uri in self._uris:
            if not is_fetchable(uri):
                raise ConfigurationError(f"uris= are https URLs (http on loopback only), got {without_secrets(uri)!r}")
        for host in self._hosts:
            if not host or "/" in host or "@" in host:
                raise ConfigurationError(f"hosts= are names such as status.example.com, got {host!r}")
        if not isinstance(required, bool):
            raise ConfigurationError(f"required= is True or False, got {required!r}")
        self._ttl = _positive("ttl", ttl, MAX_TTL)
        self._timeout = _positive("timeout", timeout, 60.0)
        self._max_bytes = int(_positive("max_bytes", max_bytes, 64 * 1024 * 1024))
        self._capacity = int(_positive("capacity", capacity, 1000))
        self._keys = jwks if callable(jwks) or isinstance(jwks, KeySet) else KeySet(jwks, algorithms=algorithms)
        if isinstance(self._keys, KeySet) and not self._keys:
            raise ConfigurationError("jwks= has no key that can verify a status list")
        self._required = required
        self._fetcher = Fetcher(http, timeout=self._timeout)
        self._clock = time.time
        self._places: dict[str, _Place] = {}

    def check(self, claims: Mapping[str, Any], now: float) -> Awaitable[None] | None:
        """Whether a token with these ``claims``, which hold at ``now`` (seconds since 1970), is valid by its list.

        An awaitable only where the list must be fetched first. Raises ``TokenError`` where the token is revoked,
        suspended or of any status but valid, or names no list that can be asked; ``UnavailableError`` where the list
        cannot be had.
        """
        status = claims.get("status", _ABSENT)
        if status is _ABSENT:
            if self._required:
                raise TokenError(Reason.TOKEN_CLAIM_MISSING, "status")
            return None
        uri, index = _reference(status)
        place = self._places.get(uri)
        if place is None:
            place = self._new_place(uri, now)
        held = place.held
        if held is not None and now < place.until:
            if now >= place.refresh_at and now >= place.retry_at:
                self._flight(uri, place)
            _judge(held, index)
        elif now < place.retry_at:
            _judge(self._stale(place, now), index)
        else:
            return self._wait(uri, place, index)
        return None

    async def open(self) -> None:
        """At start-up, where it can be said aloud that trio will not do. Raises ``ConfigurationError``."""
        refuse_trio("status lists are fetched with asyncio: run the server with it")

    async def close(self) -> None:
        """End what is being fetched."""
        here = asyncio.get_running_loop()
        tasks = [task for place in self._places.values() if (task := place.task) and task.get_loop() is here]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _new_place(self, uri: str, now: float) -> "_Place":
        if uri not in self._uris and not (is_fetchable(uri) and urlsplit(uri).netloc.lower() in self._hosts):
            raise TokenError(Reason.TOKEN_CLAIM_INVALID, "a status list that may not be asked")
        if len(self._places) >= self._capacity:
            idle = [known for known, place in self._places.items() if not place.is_flying()]
            if not idle:
                raise UnavailableError(Reason.TOKEN_STATUS_UNKNOWN, "too many status lists at once")
            del self._places[min(idle, key=lambda known: self._places[known].until)]
        place = self._places[uri] = _Place()
        return place

    async def _wait(self, uri: str, place: "_Place", index: int) -> None:
        # Who stops waiting does not stop the fetch: others wait for it too.
        await asyncio.wait((self._flight(uri, place),))
        held, now = place.held, self._clock()
        if held is None or place.failures or not held.is_in_force(now):
            held = self._stale(place, now)
        _judge(held, index)

    def _stale(self, place: "_Place", now: float) -> StatusList:
        """The list whose time is up, if it may still be used: the attempt to replace it has failed."""
        held = place.held
        if held is None or held.expires is None or now >= min(held.expires, place.until + STALE):
            raise UnavailableError(Reason.TOKEN_STATUS_UNKNOWN, place.failure, max(1.0, place.retry_at - now))
        return held

    def _flight(self, uri: str, place: "_Place") -> "asyncio.Task[None]":
        if place.task is None or not place.is_flying():
            refresh = self._refresh(uri, place)
            # A context of its own: it belongs to no request, nor to the trace of one.
            place.task = asyncio.get_running_loop().create_task(refresh, context=contextvars.Context())
        return place.task

    async def _refresh(self, uri: str, place: "_Place") -> None:
        asked = self._clock()
        try:
            async with asyncio.timeout(self._timeout):
                fetched = await self._fetch(uri, asked)
            if place.held is not None and fetched.issued < place.held.issued:
                raise FetchError("a list older than the one before")
        except Exception as error:
            place.failed(self._clock(), str(error) if isinstance(error, FetchError) else type(error).__name__)
            logger.warning("status list %s: %s", without_secrets(uri), place.failure)
        else:
            place.keep(fetched, asked, min(self._ttl if fetched.ttl is None else fetched.ttl, MAX_TTL))

    async def _fetch(self, uri: str, now: float) -> StatusList:
        keys = self._keys if isinstance(self._keys, KeySet) else await _given(self._keys)
        if keys is None:
            raise FetchError("no keys to verify it by")
        document = await self._fetcher.get(uri, types=(_MEDIA_TYPE,), max_bytes=self._max_bytes)
        # In a thread: megabytes to hash, parse and unpack are more than the event loop has time for.
        return await asyncio.to_thread(_read, document.body, keys, uri, now)


async def _given(keys: Callable[[], KeySet | Awaitable[KeySet | None] | None]) -> KeySet | None:
    given = keys()
    return given if given is None or isinstance(given, KeySet) else await given


class _Place:
    """One list, or the attempts to get it; times in seconds since 1970."""

    __slots__ = ("failure", "failures", "held", "refresh_at", "retry_at", "task", "until")

    def __init__(self) -> None:
        self.held: StatusList | None = None
        self.task: asyncio.Task[None] | None = None
        self.until = self.refresh_at = self.retry_at = 0.0
        self.failures = 0
        self.failure = ""

    def is_flying(self) -> bool:
        task = self.task
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    def keep(self, held: StatusList, asked: float, ttl: float) -> None:
        """Until min(exp, resolved + ttl), which HTTP's own freshness has no say in (section 13.7 of the draft)."""
        self.held = held
        self.until = asked + ttl if held.expires is None else min(held.expires, asked + ttl)
        self.refresh_at = asked + REFRESH_AT * (self.until - asked)
        self.failures, self.retry_at = 0, 0.0

    def failed(self, now: float, why: str) -> None:
        # Twice as long after each failure: who is down is not hammered, who blinked is soon asked again.
        self.retry_at = now + min(2.0**self.failures, MAX_PAUSE)
        self.failures = min(self.failures + 1, 10)
        self.failure = why


def read_status_list(token: bytes, keys: KeySet, uri: str, now: float) -> StatusList:
    """The list in a status list token that was fetched from ``uri`` and holds at ``now`` (seconds since 1970).

    Raises ``TokenError`` or ``ValueError``.
    """
    header, payload = verify(token, keys, len(token))
    kind = header.get("typ", "").lower()
    if kind not in _TYPES:
        raise ValueError(f"typ {kind[:32]!a}")
    claims = parse_object(payload)
    if claims.get("sub") != uri:
        raise ValueError("the list of another place")
    issued, begins, expires, ttl = (_number(claims, name) for name in ("iat", "nbf", "exp", "ttl"))
    latest = now + DEFAULT_LEEWAY
    if issued is None or max(issued, begins or 0.0) > latest:
        raise ValueError("iat is not there, or it does not hold yet")
    if expires is not None and now >= expires:
        raise ValueError("it has expired")
    if ttl == 0:
        raise ValueError("ttl is not positive")
    bits, octets = _unpacked(claims.get("status_list"))
    return StatusList(bits, octets, issued, expires, ttl)


def _read(token: bytes, keys: KeySet, uri: str, now: float) -> StatusList:
    try:
        return read_status_list(token.strip(), keys, uri, now)
    except (TokenError, ValueError) as error:
        raise FetchError(str(error)) from error


def _unpacked(member: Any) -> tuple[int, bytes]:
    if not isinstance(member, dict):
        raise ValueError("status_list is not an object")
    bits, packed = member.get("bits"), member.get("lst")
    if type(bits) is not int or bits not in (1, 2, 4, 8):
        raise ValueError("bits is not 1, 2, 4 or 8")
    if not isinstance(packed, str):
        raise ValueError("lst is not text")
    inflater = zlib.decompressobj()
    try:
        octets = inflater.decompress(decode_base64url(packed.encode("ascii")), MAX_LIST_BYTES + 1)
    except zlib.error as error:
        raise ValueError("lst does not unpack") from error
    if len(octets) > MAX_LIST_BYTES:
        raise ValueError(f"lst unpacks to more than {MAX_LIST_BYTES} bytes")
    if not inflater.eof or inflater.unused_data:
        raise ValueError("lst is not one whole ZLIB stream")
    return bits, octets


def _reference(status: Any) -> tuple[str, int]:
    """``uri`` and ``idx`` of the claim. A status that is told in another way only is not known here: it is refused."""
    reference = status.get("status_list") if isinstance(status, dict) else None
    if isinstance(reference, dict):
        uri, index = reference.get("uri"), reference.get("idx")
        if isinstance(uri, str) and type(index) is int and index >= 0:
            return uri, index
    raise TokenError(Reason.TOKEN_CLAIM_INVALID, "status")


def _judge(held: StatusList, index: int) -> None:
    status = held.status(index)
    if status is None:
        raise TokenError(Reason.TOKEN_CLAIM_INVALID, "idx beyond the end of the status list")
    if status:
        raise TokenError(Reason.TOKEN_REVOKED, _NAMES.get(status, f"status {status}"))


def _number(claims: Mapping[str, Any], name: str) -> float | None:
    """A member that is a number, and no text, if it is there."""
    value = claims.get(name, _ABSENT)
    if value is _ABSENT:
        return None
    if (type(value) is int or type(value) is float) and 0 <= value <= END_OF_TIME:
        number: float = value
        return number
    raise ValueError(f"{name} is not a number that can be")


def _positive(option: str, value: float, most: float) -> float:
    if type(value) not in (int, float) or not 0 < value <= most:
        raise ConfigurationError(f"{option}= is a positive number, at most {most:.0f}; got {value!r}")
    return value
