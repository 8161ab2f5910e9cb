"""Redis, for what all workers must know: one command at a time, bounded in time, refused loudly when it is down."""

import asyncio
from typing import TYPE_CHECKING, Any

from ._batches import Batches
from ._redis_tls import SharedContext
from ._redis_urls import RedisServers, read_redis_url
from .errors import ConfigurationError
from .secrets import Secret

if TYPE_CHECKING:
    import redis.asyncio


class RedisUnavailableError(Exception):
    """No answer, or one that is no answer to what was asked; the message is for the log."""


class RedisLink:
    """Asks one Redis: ``given`` its URL, as text or in a ``Secret``, or a ``redis.asyncio.Redis`` of the user's own,
    which is never closed here.

    A URL is a redis://, rediss:// (TLS) or unix:// one, or names several servers as the limits library does:
    ``redis+sentinel://user:password@host:26379,host:26379/mymaster`` and ``redis+cluster://host:6379,host:6379``, with
    ``rediss`` where they speak TLS; ``valkey`` and ``valkeys`` go for ``redis`` and ``rediss`` in all of these.
    Sentinels are asked with the same user and password as the master. In a cluster the word after a command's name is
    its key, but for EVAL and EVALSHA.

    ``timeout`` seconds for one command as a whole, connecting included. Nothing connects before the first command, and
    no command is sent twice. A client made from a URL belongs to the event loop it was made in: each loop has its own,
    and closes it. Many commands at once share a few connections to a server (``Batches``); with a client of the user's
    own each has its own.

    Raises ``ConfigurationError`` if redis is not installed, ``given`` is neither, or redis-py does not take what the
    URL says.
    """

    __slots__ = ("_clients", "_given", "_redis", "_servers", "_tls", "timeout")

    def __init__(self, given: "str | Secret | redis.asyncio.Redis", *, timeout: float = 1.0) -> None:
        self._redis = _load_redis()
        url = given.reveal() if isinstance(given, Secret) else given
        servers = read_redis_url(url) if isinstance(url, str) else None
        if servers is None and not hasattr(given, "execute_command"):
            raise ConfigurationError(f"a Redis is a URL or a redis.asyncio.Redis, got {type(given).__name__}")
        self._servers = servers
        self._tls = SharedContext(servers.options()) if servers is not None and servers.is_tls else None
        self._given = None if servers else given
        self.timeout = timeout
        self._clients: dict[asyncio.AbstractEventLoop, Batches] = {}
        if servers is not None:
            _check_options(self._redis, servers, self._tls, timeout)

    async def ask(self, *command: "str | bytes | int") -> Any:
        """The answer to one command, as Redis gives it: octets, numbers. Raises ``RedisUnavailableError`` alone."""
        try:
            async with asyncio.timeout(self.timeout):
                client = self._connected()
                try:
                    return await client.execute_command(*command)
                except Exception as error:
                    if type(error).__name__ == "ReadOnlyError" and client in self._clients.values():
                        # No longer the master, and behind its address there may be another one for who connects anew.
                        await self.close()
                    raise
        except Exception as error:
            # redis-py raises its own, the socket's and TLS's errors, and a client of the user's own anything.
            why = type(error).__name__
        # Without that error: what a server says may repeat what it was told, and that may be a password.
        raise RedisUnavailableError(why)

    async def close(self) -> None:
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _connected(self) -> Any:
        if self._servers is None:
            return self._given
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            for gone in [one for one in tuple(self._clients) if one.is_closed()]:
                self._clients.pop(gone, None)  # another thread may have been faster
            made = _client(self._redis, self._servers, self._tls, self.timeout)
            client = self._clients[loop] = Batches(made, self.timeout, is_cluster=self._servers.kind == "cluster")
        return client


class _ThroughSentinels:
    """A client of the master that some Sentinels name, closed together with its connections to them."""

    __slots__ = ("_master", "_sentinels", "connection_pool", "execute_command", "pipeline")

    def __init__(self, sentinels: Any, master: Any) -> None:
        self._sentinels = sentinels
        self._master = master
        self.connection_pool = master.connection_pool
        self.execute_command = master.execute_command
        self.pipeline = master.pipeline

    async def aclose(self) -> None:
        for client in (self._master, *self._sentinels.sentinels):
            await client.aclose()


class _FirstIsKey:
    """Instead of redis-py's table of all commands, which it has the cluster send whenever it looks at it anew: to read
    that takes longer than a rate limit may."""

    async def initialize(self, node: Any = None) -> None:
        """Nothing to ask."""

    async def get_keys(self, *command: Any) -> Any:
        return command[1:2] or None


def _check_options(redis: Any, servers: RedisServers, tls: SharedContext | None, timeout: float) -> None:
    """Raises ``ConfigurationError`` for what redis-py would refuse only when it connects: each question would be an
    outage, and a limit that is counted locally looks like one that works."""
    why = ""
    try:
        client = _client(redis, servers, tls, timeout)
        if servers.kind != "cluster":
            client.connection_pool.make_connection()
    except Exception as error:
        why = type(error).__name__
    if why:
        # Without that error, which shows an option's value.
        raise ConfigurationError(f"the URL of a Redis has an option that redis-py does not take ({why})")


def _client(redis: Any, servers: RedisServers, tls: SharedContext | None, timeout: float) -> Any:
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    # Not repeated: a command without an answer may have been carried out. RESP2 needs no greeting before it.
    ours = {"retry": Retry(NoBackoff(), 0), "protocol": 2, **_nameless()}
    if servers.kind == "one":
        one = redis.from_url(servers.url, **ours, socket_timeout=None, socket_connect_timeout=timeout)
        if tls is not None:
            tls.use_in(one.connection_pool)
        return one
    options = {**ours, **servers.options()}
    del options["host"]
    options.pop("port", None)
    options["ssl"] = options.pop("connection_class", None) is not None
    make = _through_sentinels if servers.kind == "sentinel" else _cluster
    return make(redis, servers, options, tls, timeout)


def _through_sentinels(
    redis: Any, servers: RedisServers, options: dict[str, Any], tls: SharedContext | None, timeout: float
) -> "_ThroughSentinels":
    # They are asked one after another, and one that hangs must leave time for the next, and for the master.
    share = timeout / (len(servers.nodes) + 1)
    asking = {**options, "socket_timeout": share, "socket_connect_timeout": share}
    asking.pop("db", None)
    sentinels = redis.Sentinel(servers.nodes, sentinel_kwargs=asking)
    master = sentinels.master_for(
        servers.master, **{"socket_timeout": None, "socket_connect_timeout": timeout, **options}
    )
    if tls is not None:
        for client in (master, *sentinels.sentinels):
            tls.use_in(client.connection_pool)
    return _ThroughSentinels(sentinels, master)


def _cluster(
    redis: Any, servers: RedisServers, options: dict[str, Any], tls: SharedContext | None, timeout: float
) -> Any:
    # Within the time of the command, or redis-py never learns that a server hangs, and never looks for another.
    options = {"socket_timeout": timeout * 0.8, "socket_connect_timeout": timeout / 4, **options}
    # Servers that have moved slots say so, slot by slot: no need to ask for all of them anew.
    options["reinitialize_steps"] = 0
    nodes = [redis.cluster.ClusterNode(host, port) for host, port in servers.nodes]
    cluster = redis.RedisCluster(startup_nodes=nodes, **options)
    cluster.commands_parser = _FirstIsKey()
    if tls is not None:
        of_later_nodes = cluster.get_connection_kwargs()
        of_later_nodes["connection_class"] = tls.sharing(of_later_nodes["connection_class"])
        for node in cluster.nodes_manager.startup_nodes.values():
            tls.use_in(node)
    return cluster


def _nameless() -> dict[str, Any]:
    """Options for connections that do not introduce themselves: for that redis-py reads its own version from the disk,
    and waits for Redis to take note, each time, which is more than all the rest of connecting."""
    try:
        import redis.driver_info  # noqa: F401  (only whether there is one is asked)
    except ImportError:
        return {"lib_name": None, "lib_version": None}
    return {"driver_info": None}


def _load_redis() -> Any:
    try:
        import redis.asyncio
    except ImportError:
        raise ConfigurationError("Redis needs redis-py: pip install 'secure-asgi[redis]'") from None
    return redis.asyncio
