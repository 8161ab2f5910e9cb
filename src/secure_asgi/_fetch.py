"""One bounded request for one document: httpx is named here and nowhere else in the middlewares.

Bounded in time as a whole (a dripping server is cut off), in bytes as they arrive, in redirects (none), in encodings
(identity alone: nothing can unpack into more) and in content types. Environment variables name no proxy here.
"""

import asyncio
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .errors import ConfigurationError

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT = 2.0
"""Seconds for the TCP and TLS handshakes of one fetch."""


class FetchError(Exception):
    """The document could not be had; the message is for the log.

    ``status`` is that of an answer other than 200, and 0 where there was none, or where it was at fault otherwise.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Document:
    """``body`` as it came; ``max_age`` the seconds for which it may be kept, None if the server does not say."""

    body: bytes
    max_age: float | None


@dataclass(frozen=True, slots=True)
class Posted:
    """What is sent along with a POST: ``fields`` go into its head. Body and fields may hold secrets: never shown."""

    media_type: str
    body: bytes = field(repr=False)
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)


class Fetcher:
    """Fetches with a client of its own, or with the given one, which is never closed here.

    ``client`` an ``httpx.AsyncClient`` (its CA certificates, its proxy); ``timeout`` seconds for one fetch as a whole.
    Without one, every fetch opens a connection and closes it: there is nothing that belongs to an event loop, and
    nothing to close. Raises ``ConfigurationError`` if httpx is not installed or ``client`` is none.
    """

    __slots__ = ("_client", "_httpx", "_owns_client", "_timeout", "_tls")

    def __init__(self, client: "httpx.AsyncClient | None" = None, *, timeout: float = 5.0) -> None:
        self._httpx = _load_httpx()
        if client is not None and not hasattr(client, "stream"):
            raise ConfigurationError(f"http= is an httpx.AsyncClient, got {type(client).__name__}")
        self._client = client
        self._owns_client = False
        self._timeout = timeout
        self._tls: Any = None

    async def get(self, url: str, *, types: Collection[str], max_bytes: int, posted: Posted | None = None) -> Document:
        """The document at ``url``, of one of the media ``types`` (lower-case); the answer to ``posted``, if given.

        Raises ``FetchError``, nothing else.
        """
        try:
            async with asyncio.timeout(self._timeout):
                if self._client is not None:
                    return await self._read(self._client, url, types, max_bytes, posted)
                async with await self._open() as client:
                    return await self._read(client, url, types, max_bytes, posted)
        except FetchError:
            raise
        except Exception as error:
            # httpx raises its own, the socket's, TLS's and IDNA's errors, and a client of the user's own anything.
            raise FetchError(type(error).__name__) from error

    def get_blocking(
        self, url: str, *, types: Collection[str], max_bytes: int, posted: Posted | None = None
    ) -> Document:
        """The same for a thread, whatever event loop the application runs on. Without a client of the user's.

        In an event loop that lives as long as the fetch: only so does one deadline hold for name resolution, handshake,
        head and body together. Raises ``FetchError``, nothing else.
        """
        with _event_loop() as loop:
            return loop.run_until_complete(self.get(url, types=types, max_bytes=max_bytes, posted=posted))

    async def kept_open(self) -> "Fetcher":
        """One that keeps its connections, for this event loop; who asked for it closes it. This one, with a client."""
        if self._client is not None:
            return self
        kept = Fetcher(await self._open(), timeout=self._timeout)
        kept._owns_client = True
        return kept

    async def close(self) -> None:
        """Of one that keeps its connections; a client that was given stays open."""
        if self._client is not None and self._owns_client:
            await self._client.aclose()

    async def _open(self) -> "httpx.AsyncClient":
        if self._tls is None:
            # Reading the CA bundle takes some 20 ms, which the event loop does not have.
            self._tls = await asyncio.to_thread(self._httpx.create_ssl_context, trust_env=False)
        client: httpx.AsyncClient = self._httpx.AsyncClient(verify=self._tls, trust_env=False)
        return client

    async def _read(
        self, client: "httpx.AsyncClient", url: str, types: Collection[str], max_bytes: int, posted: Posted | None
    ) -> Document:
        per_step = (min(CONNECT_TIMEOUT, self._timeout), self._timeout, self._timeout, self._timeout)
        headers = {"accept": ", ".join(types), "accept-encoding": "identity"}
        if posted is not None:
            headers |= {**posted.fields, "content-type": posted.media_type}
        async with client.stream(
            "GET" if posted is None else "POST",
            url,
            headers=headers,
            content=posted.body if posted is not None else None,
            timeout=per_step,
            follow_redirects=False,
        ) as answer:
            if answer.status_code != 200:
                raise FetchError(f"status {answer.status_code}", answer.status_code)
            media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if media_type not in types:
                raise FetchError(f"content type {media_type[:64]!a}")
            if answer.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise FetchError("a content encoding that was not asked for")
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    raise FetchError(f"more than {max_bytes} bytes")
            return Document(bytes(body), _max_age(answer.headers))


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One of its own. Not ``asyncio.run``, which would wait for a name server that does not answer."""
    try:
        loop = asyncio.new_event_loop()
    except OSError as error:
        raise FetchError(f"no event loop: {type(error).__name__}") from error
    try:
        yield loop
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def is_web_url(url: str) -> bool:
    """http or https to a host, without user name or fragment: what may be fetched at all."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return False
    if not host or parts.fragment or "@" in parts.netloc or not url.isascii() or not url.isprintable() or " " in url:
        return False
    return parts.scheme in ("http", "https")


def is_fetchable(url: str) -> bool:
    """https to a host, without user name or fragment; plain http on this machine alone."""
    if not is_web_url(url):
        return False
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def without_secrets(url: str) -> str:
    """For the log, and for errors: a query may hold the key to a storage bucket, and what is before an @ a password."""
    return re.sub("//[^/]*@", "//", url.partition("?")[0].partition("#")[0])


def _load_httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise ConfigurationError("fetching over HTTP needs httpx: pip install httpx") from None
    return httpx


def _max_age(headers: Any) -> float | None:
    """Freshness as RFC 9111 section 4.2 has it, from max-age and Age alone; 0 where the server forbids keeping."""
    lifetime: float | None = None
    for directive in headers.get("cache-control", "").lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name in ("no-store", "no-cache"):
            return 0.0
        value = value.strip('"')
        if name == "max-age" and _is_seconds(value):
            lifetime = float(value)
    if lifetime is None:
        return None
    age = headers.get("age", "").strip()
    return max(0.0, lifetime - float(age)) if _is_seconds(age) else lifetime


def _is_seconds(text: str) -> bool:
    """delta-seconds, no longer than makes sense."""
    return text.isascii() and text.isdigit() and len(text) <= 10
