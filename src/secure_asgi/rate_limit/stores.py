"""Where a layer counts: its storage by URI, and what stands in for that while it is down."""

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

from ..errors import ConfigurationError
from ..secrets import Secret
from .bans import Ban
from .counting import Bucket, Counter, Store, Strategy
from .generations import Clock
from .limits import Limit
from .memory import MemoryStore
from .outage import Breaker, Resilient

MEMORY = "memory://"

_REDIS = ("redis", "rediss", "valkey", "valkeys", "unix")

_NAMESPACE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
"""Nothing that a storage takes for something else: a hash tag, a pattern, the end of a memcached command."""

OnOutage = Literal["local", "open", "closed"]


class Storage:
    """What ``storage=`` names, as the layer uses it. ``remote`` is None for memory.

    ``replicas`` processes share the limits: while the storage is down, each counts alone, with its share of them.
    """

    def __init__(
        self,
        given: Any,
        *,
        strategy: Strategy,
        timeout: float,
        namespace: str,
        secret: bytes,
        on_outage: OnOutage,
        replicas: int,
        max_keys: int,
        clock: Clock,
        ban: Ban | None,
        settles: bool,
        gives_back: bool,
    ) -> None:
        self.memory = MemoryStore(strategy=strategy, max_keys=max_keys, clock=clock, ban=ban)
        self.remote: Any = None
        self._banned: Callable[[Hashable], int] | None = None
        self.breaker = Breaker(clock=clock)
        self._on_outage: OnOutage = on_outage
        self._replicas = replicas
        given = given.reveal() if isinstance(given, Secret) else given
        scheme = given.partition("://")[0].partition("+")[0] if isinstance(given, str) else "redis"
        self.kind = scheme
        if given == MEMORY:
            return
        if scheme in _REDIS:
            from .._redis import RedisLink
            from .redis_store import RedisStore

            self.remote = RedisStore(
                RedisLink(given, timeout=timeout),
                strategy=strategy,
                namespace=namespace,
                secret=secret,
                ban=ban,
                settles=settles,
            )
            if ban is not None:
                self._banned = self.remote.ban_last_heard_of
            return
        if ban is not None:
            raise ConfigurationError("ban= needs storage= to be memory:// or a Redis: others cannot hold bans")
        if gives_back:
            raise ConfigurationError(
                'counts="failures" needs storage= to be memory:// or a Redis: others cannot give back a charge'
            )
        from .limits_store import LimitsStore

        self.remote = LimitsStore(given, strategy=strategy, namespace=namespace, secret=secret, timeout=timeout)

    def counter(self, buckets: Sequence[Bucket]) -> Counter:
        if self.remote is None:
            return self.memory.counter(buckets)
        shares = [self._share(bucket) for bucket in buckets]
        return Resilient(
            self.remote.counter(buckets),
            breaker=self.breaker,
            on_outage=self._on_outage,
            local=lambda: self.memory.counter(shares),
            lowest=min(bucket.burst for bucket in shares),
            banned=self._banned,
        )

    @property
    def store(self) -> Store:
        store: Store = self.memory if self.remote is None else self.remote
        return store

    def _share(self, bucket: Bucket) -> Bucket:
        limit = Limit(max(1, bucket.limit.amount // self._replicas), bucket.limit.seconds)
        return Bucket(bucket.name, limit, max(1, bucket.burst // self._replicas))


def read_namespace(namespace: object) -> str:
    """What the storage's keys begin with. Raises ``ConfigurationError`` for what would not end where it should."""
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise ConfigurationError(f"namespace= is 1 to 64 letters, digits or any of _.:-, got {namespace!r}")
    return namespace
