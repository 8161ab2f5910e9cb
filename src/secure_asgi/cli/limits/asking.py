"""What the storages of an application's rate limits say about a key, and how it is forgotten there."""

import argparse
import contextlib
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from ...errors import ConfigurationError
from ..printable import printable

if TYPE_CHECKING:
    from ...rate_limit import RateLimitMiddleware
    from ...rate_limit.counting import Bucket, Reading

TRIES = 10
"""The first connection resolves a name and shakes hands, and one question has less time than that may take."""

_OPERATIONS = ("name", "standing", "ban_left", "reset", "banned")


class Inspectable(Protocol):
    """A store that answers operators. Each question raises ``StoreUnavailableError`` if it gets no answer."""

    def name(self, key: Hashable) -> str: ...
    async def standing(self, key: Hashable, buckets: Sequence["Bucket"]) -> list[tuple["Bucket", "Reading"]]: ...
    async def ban_left(self, key: Hashable) -> int: ...
    async def reset(self, key: Hashable, buckets: Sequence["Bucket"]) -> int: ...
    async def banned(self) -> list[tuple[str, int]]: ...


@dataclass(slots=True)
class Asked:
    """One key as the storage knows it. ``ban_left`` in nanoseconds."""

    identity: str
    are_preflights: bool
    ban_left: int
    standings: list[tuple["Bucket", "Reading"]]

    @property
    def spent(self) -> list["Bucket"]:
        return [bucket for bucket, (free, _) in self.standings if free < bucket.burst]

    @property
    def is_refused(self) -> bool:
        return self.ban_left > 0 or any(free < 1 for _, (free, _) in self.standings)


@dataclass(slots=True)
class Seen:
    """A layer, and what its storage has said. ``problem`` is why that is not all; ``deleted`` counts its keys."""

    where: str
    layer: "RateLimitMiddleware"
    problem: str = ""
    banned: list[tuple[str, int]] | None = None
    asked: list[Asked] = field(default_factory=list)
    deleted: int | None = None


Action = Callable[[Seen, Inspectable, Hashable], Awaitable[None]]


def layers_of(app: Any) -> list[Seen]:
    from ...checks.layers import chains_of
    from ...rate_limit import RateLimitMiddleware

    layers: dict[RateLimitMiddleware, Seen] = {}
    for chain in chains_of(app):
        for found in chain.found:
            if found.problem and found.name == RateLimitMiddleware.__name__:
                raise ConfigurationError(printable(found.problem, 500))
            if isinstance(found.layer, RateLimitMiddleware):
                layers.setdefault(found.layer, Seen(chain.prefix, found.layer))
    if not layers:
        raise ConfigurationError("the application has no RateLimitMiddleware around it")
    return list(layers.values())


def key_of(layer: "RateLimitMiddleware", options: argparse.Namespace) -> Hashable | None:
    """The key, as the layer makes it; None where it does not count by what the options name."""
    from ..._identities import address_key, principal_key, short_key
    from ..._networks import address
    from ...exchange import Principal
    from ...rate_limit.keys import name_key

    if options.key is not None:
        return short_key(options.key)
    if options.name is not None:
        return name_key(options.name) if layer.counts == "failures" else None
    identify = layer.identify
    if not isinstance(part := identify.parts[0], str) or len(identify.parts) > 1 or part == "route":
        return None
    if options.client is not None:
        if address(options.client) is None:
            raise ConfigurationError(f"--client takes an IP address, got {printable(options.client)!r}")
        return address_key(options.client, identify.mask)
    if options.principal is None or part == "client":
        return None
    issuer, subject = options.principal
    return principal_key(Principal(subject=subject, issuer=issuer))


async def ask_all(found: Iterable[tuple[Seen, Hashable | None]], action: Action) -> None:
    from ...rate_limit.outage import StoreUnavailableError

    for seen, key in found:
        kind, store = seen.layer.storage.kind, seen.layer.storage.store
        if not _is_inspectable(store):
            seen.problem = _unreachable(kind)
            continue
        try:
            await _reach(store)
            await action(seen, store, key)
        except StoreUnavailableError as error:
            seen.problem = f"its storage, a {kind}, gives no answer ({error})"
        finally:
            await seen.layer.storage.store.close()


async def look(seen: Seen, store: Inspectable, key: Hashable | None) -> None:
    if key is None:
        seen.banned = [] if seen.layer.ban is None else await store.banned()
    else:
        await _look_at_key(seen, store, key)


async def forget(seen: Seen, store: Inspectable, key: Hashable) -> None:
    from ...rate_limit.keys import preflight_key

    await _look_at_key(seen, store, key)  # so that it can be said what was deleted
    seen.deleted = 0
    for one in (key, preflight_key(key)):
        seen.deleted += await store.reset(one, buckets_of(seen.layer))


async def _look_at_key(seen: Seen, store: Inspectable, key: Hashable) -> None:
    from ...rate_limit.keys import preflight_key

    buckets = buckets_of(seen.layer)
    for one, are_preflights in ((key, False), (preflight_key(key), True)):
        standings = await store.standing(one, buckets)
        asked = Asked(store.name(one), are_preflights, await store.ban_left(one), standings)
        # A key that never sent a preflight is the common case, and a table about nothing.
        if not are_preflights or asked.spent or asked.ban_left:
            seen.asked.append(asked)


def buckets_of(layer: "RateLimitMiddleware") -> tuple["Bucket", ...]:
    """Each once, though rules may share some."""
    return tuple(dict.fromkeys(bucket for plan in layer.plans for bucket in plan.buckets))


def _is_inspectable(store: object) -> TypeGuard[Inspectable]:
    return all(hasattr(store, name) for name in _OPERATIONS)


def _unreachable(kind: str) -> str:
    if kind == "memory":
        return "its counters live in the memory of each serving process, and cannot be reached from here"
    return f"its counters live in {kind}, which cannot be asked about one client from here"


async def _reach(store: Inspectable) -> None:
    """Get connected, with a question that changes nothing: what deletes is never sent twice."""
    from ...rate_limit.outage import StoreUnavailableError

    for _ in range(TRIES - 1):
        with contextlib.suppress(StoreUnavailableError):
            await store.ban_left("")
            return
    await store.ban_left("")
