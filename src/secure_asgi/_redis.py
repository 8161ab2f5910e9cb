"""Redis, for what all workers must know: one command at a time, bounded in time, refused loudly when it is down."""

import asyncio
from typing import TYPE_CHECKING, Any

from .errors import ConfigurationError

if TYPE_CHECKING:
    import redis.asyncio


class RedisUnavailableError(Exception):
    """No answer, or one that is no answer to what was asked; the message is for the log."""


class RedisLink:
    """Asks one Redis: ``given`` its URL, or a ``redis.asyncio.Redis`` of the user's own, which is never closed here.

    ``timeout`` seconds for one command as a whole, connecting included. Nothing connects before the first command. A
    client made from a URL belongs to the event loop it was made in: another loop gets another. Raises
    ``ConfigurationError`` if redis is not installed or ``given`` is neither.
    """

    __slots__ = ("_client", "_given", "_loop", "_redis", "_timeout")

    def __init__(self, given: "str | redis.asyncio.Redis", *, timeout: float = 1.0) -> None:
        self._redis = _load_redis()
        if isinstance(given, str):
            if not given.startswith(("redis://", "rediss://", "unix://")):
                raise ConfigurationError(
                    "a Redis is named by a redis://, rediss:// or unix:// URL, or given as a client"
                )
        elif not hasattr(given, "execute_command"):
            raise ConfigurationError(f"a Redis is a URL or a redis.asyncio.Redis, got {type(given).__name__}")
        self._given = given
        self._timeout = timeout
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def ask(self, *command: "str | bytes | int") -> Any:
        """The answer to one command, as Redis gives it: octets, numbers. Raises ``RedisUnavailableError`` alone."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._connected().execute_command(*command)
        except Exception as error:
            # redis-py raises its own, the socket's and TLS's errors, and a client of the user's own anything.
            raise RedisUnavailableError(type(error).__name__) from error

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    def _connected(self) -> Any:
        if not isinstance(self._given, str):
            return self._given
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self._redis.from_url(self._given), loop
        return self._client


def _load_redis() -> Any:
    try:
        import redis.asyncio
    except ImportError:
        raise ConfigurationError("Redis needs redis-py: pip install 'secure-asgi[redis]'") from None
    return redis.asyncio
