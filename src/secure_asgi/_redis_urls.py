"""Which Redis a URL names, and how redis-py is told: one server, Sentinels, or a cluster."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .errors import ConfigurationError

_SPELLINGS = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
    "redis+unix": "unix",
    "valkey+unix": "unix",
}
"""Schemes of one server, and how redis-py spells them. Valkey speaks the same protocol."""

_PORTS = {"sentinel": 26379, "cluster": 6379}


@dataclass(frozen=True, slots=True)
class RedisServers:
    """What a URL names: ``kind`` is one, sentinel or cluster. ``url`` is for redis-py to read: of several servers, that
    of the first, with all options."""

    kind: str
    url: str = field(repr=False)
    nodes: tuple[tuple[str, int], ...] = ()
    master: str = ""

    @property
    def is_tls(self) -> bool:
        return self.url.startswith("rediss:")

    def options(self) -> dict[str, Any]:
        """As redis-py takes them. Raises ``ValueError`` for those that it cannot read."""
        from redis.asyncio.connection import parse_url

        options: dict[str, Any] = dict(parse_url(self.url))
        return options


def read_redis_url(url: str) -> RedisServers:
    """Raises ``ConfigurationError``, which shows no part of the URL but its scheme."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme in _SPELLINGS:
        servers = RedisServers("one", f"{_SPELLINGS[scheme]}://{rest}")
    else:
        server, _, kind = scheme.partition("+")
        if not separator or kind not in _PORTS or _SPELLINGS.get(server, "unix") == "unix":
            raise ConfigurationError(
                "a Redis is named by a redis://, rediss:// or unix:// URL, by a redis+sentinel:// or redis+cluster:// "
                "one, or by valkey's, or given as a client"
            )
        servers = _read_several(kind, _SPELLINGS[server], rest)
    with suppress(ValueError):
        servers.options()
        return servers
    # Without that error, which shows what it cannot read: of a password with a "/" in it, a half.
    raise ConfigurationError(f"the {scheme}:// URL of a Redis has a part that nobody can read")


def _read_several(kind: str, scheme: str, rest: str) -> RedisServers:
    before, _, query = rest.partition("?")
    authority, _, master = before.partition("/")
    login, at, hosts = authority.rpartition("@")
    nodes: tuple[tuple[str, int], ...] = ()
    with suppress(ValueError):
        nodes = tuple(_node(place, _PORTS[kind]) for place in hosts.split(","))
    if not nodes:
        raise ConfigurationError(f"the servers of a {kind} are named host:port,host:port")
    if kind == "sentinel" and not master:
        raise ConfigurationError("Sentinels are asked for a master by its name: redis+sentinel://host:26379/mymaster")
    if kind == "cluster" and master:
        raise ConfigurationError("a cluster has one database, and no name: redis+cluster://host:6379,host:6379")
    return RedisServers(kind, f"{scheme}://{login}{at}{hosts.split(',')[0]}?{query}", nodes, master)


def _node(place: str, port: int) -> tuple[str, int]:
    """Raises ``ValueError``."""
    parts = urlsplit(f"//{place}")
    if not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ValueError
    return parts.hostname, parts.port or port
