"""``secure-asgi limits``: how somebody stands with an application's rate limits, and a fresh start for them.

The application is imported, not served: its layers say where they count, and that storage is asked. What a process
counts in its own memory nobody else can see.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from ..errors import ConfigurationError
from .certs.printable import printable
from .check import _count, _load, _table

if TYPE_CHECKING:
    from ..rate_limit import Ban, RateLimitMiddleware
    from ..rate_limit.counting import Bucket, Reading
    from ..rate_limit.keys import Identify

_TRIES = 10
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


def add_commands(commands: Any) -> None:
    """Adds ``limits`` to the command line. ``commands`` is what ``ArgumentParser.add_subparsers`` gives."""
    limits = commands.add_parser("limits", help="see how clients stand with the rate limits, and reset them")
    kinds = limits.add_subparsers(dest="limits", required=True, metavar="COMMAND")
    show = kinds.add_parser("show", help="print the rate limits and who is banned, or how one client stands")
    _add_options(show, needs_key=False)
    show.set_defaults(run=_show)
    reset = kinds.add_parser("reset", help="forget what one client has spent, its refusals and its ban")
    _add_options(reset, needs_key=True)
    reset.set_defaults(run=_reset)


def _add_options(parser: argparse.ArgumentParser, *, needs_key: bool) -> None:
    parser.add_argument("target", metavar="MODULE:APP", help="where the application is, as for uvicorn")
    whom = parser.add_mutually_exclusive_group(required=needs_key)
    whom.add_argument("--client", metavar="ADDRESS", help="a client by its address")
    whom.add_argument("--principal", nargs=2, metavar=("ISSUER", "SUBJECT"), help="somebody who has signed in")
    whom.add_argument(
        "--key", metavar="TEXT", help="a key as the layer makes it, such as what a function for key= says"
    )
    parser.add_argument("--factory", action="store_true", help="APP is a function that makes the application")
    parser.add_argument("--json", action="store_true", help="for programs; the keys are documented")


def _show(options: argparse.Namespace) -> int:
    seen = _seen(options, _look)
    _report(seen, options, ())
    return int(any(asked.is_refused for one in seen for asked in one.asked))


def _reset(options: argparse.Namespace) -> int:
    seen = _seen(options, _forget)
    _report(seen, options, ("Processes that have just refused it ask the storage again within ten seconds.",))
    return int(not any(one.deleted for one in seen))


Action = Callable[[Seen, Inspectable, Hashable], Awaitable[None]]


def _seen(options: argparse.Namespace, action: Action) -> list[Seen]:
    """Each layer that counts whom the options name, with what ``action`` has learnt. Raises ``ConfigurationError``."""
    with contextlib.redirect_stdout(sys.stderr):  # what an application prints is none of our document
        layers = _layers_of(_load(options.target, options.factory))
        found = [(one, _key_of(one.layer, options)) for one in layers]
        if _names_somebody(options):
            found = [(one, key) for one, key in found if key is not None]
        if not found:
            raise ConfigurationError(
                "none of its rate limits counts by that alone: --key takes the key as the layer makes it"
            )
        asyncio.run(_ask_all(found, action))
    return [one for one, _ in found]


def _layers_of(app: Any) -> list[Seen]:
    from ..checks.layers import chains_of
    from ..rate_limit import RateLimitMiddleware

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


def _names_somebody(options: argparse.Namespace) -> bool:
    return any(given is not None for given in (options.client, options.principal, options.key))


def _key_of(layer: "RateLimitMiddleware", options: argparse.Namespace) -> Hashable | None:
    """The key, as the layer makes it; None where it does not count by what the options name."""
    from .._networks import address
    from ..exchange import Principal
    from ..rate_limit.keys import _short, address_key, principal_key

    if options.key is not None:
        return _short(options.key)
    identify = _identify_of(layer)
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


def _identify_of(layer: "RateLimitMiddleware") -> "Identify":
    return layer._identify


def _ban_of(layer: "RateLimitMiddleware") -> "Ban | None":
    return layer._ban


async def _ask_all(found: Iterable[tuple[Seen, Hashable | None]], action: Action) -> None:
    from ..rate_limit.outage import StoreUnavailableError

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


def _is_inspectable(store: object) -> TypeGuard[Inspectable]:
    return all(hasattr(store, name) for name in _OPERATIONS)


def _unreachable(kind: str) -> str:
    if kind == "memory":
        return "its counters live in the memory of each serving process, and cannot be reached from here"
    return f"its counters live in {kind}, which cannot be asked about one client from here"


async def _reach(store: Inspectable) -> None:
    """Get connected, with a question that changes nothing: what deletes is never sent twice."""
    from ..rate_limit.outage import StoreUnavailableError

    for _ in range(_TRIES - 1):
        with contextlib.suppress(StoreUnavailableError):
            await store.ban_left("")
            return
    await store.ban_left("")


async def _look(seen: Seen, store: Inspectable, key: Hashable | None) -> None:
    if key is None:
        seen.banned = [] if _ban_of(seen.layer) is None else await store.banned()
    else:
        await _look_at_key(seen, store, key)


async def _look_at_key(seen: Seen, store: Inspectable, key: Hashable) -> None:
    from ..rate_limit.keys import preflight_key

    buckets = _buckets_of(seen.layer)
    for one, are_preflights in ((key, False), (preflight_key(key), True)):
        standings = await store.standing(one, buckets)
        asked = Asked(store.name(one), are_preflights, await store.ban_left(one), standings)
        # A key that never sent a preflight is the common case, and a table about nothing.
        if not are_preflights or asked.spent or asked.ban_left:
            seen.asked.append(asked)


async def _forget(seen: Seen, store: Inspectable, key: Hashable) -> None:
    from ..rate_limit.keys import preflight_key

    await _look_at_key(seen, store, key)  # so that it can be said what was deleted
    seen.deleted = 0
    for one in (key, preflight_key(key)):
        seen.deleted += await store.reset(one, _buckets_of(seen.layer))


def _buckets_of(layer: "RateLimitMiddleware") -> tuple["Bucket", ...]:
    """Each once, though rules may share some."""
    return tuple(dict.fromkeys(bucket for plan in layer.plans for bucket in plan.buckets))


def _report(seen: Sequence[Seen], options: argparse.Namespace, afterwards: Iterable[str]) -> None:
    """Print it. Raises ``ConfigurationError`` for what could not be looked at: that is never a good result."""
    if options.json:
        print(json.dumps({"layers": [_document(one) for one in seen]}, indent=2))
    else:
        for one in seen:
            print("\n".join(_lines(one)))
        if any(one.deleted for one in seen):
            print("\n".join(afterwards))
    problems = [f"{one.layer.place}: {one.problem}" for one in seen if one.problem]
    if problems:
        raise ConfigurationError("; ".join(problems))


def _lines(seen: Seen) -> Iterable[str]:
    layer = seen.layer
    below = f" below {printable(seen.where)}" if seen.where else ""
    yield f"{layer.place}{below}: by {printable(layer.key)}, {layer.strategy} in {layer.storage.kind}"
    if seen.deleted is not None:
        yield f"  deleted {_count(seen.deleted, 'key')}{_of_what(seen.asked)}"
    elif seen.asked:
        for asked in seen.asked:
            yield from _lines_of_key(asked)
    else:
        yield from _table(("FOR", "LIMIT", "NAME"), _rows(layer))
    if seen.banned is not None:
        yield from _lines_of_banned(seen)


def _rows(layer: "RateLimitMiddleware") -> list[tuple[str, str, str]]:
    return [
        (plan.name or "all other requests", str(bucket.limit), bucket.name)
        for plan in layer.plans
        for bucket in plan.buckets
    ]


def _lines_of_key(asked: Asked) -> Iterable[str]:
    whose = ", its CORS preflights" if asked.are_preflights else ""
    ban = f"banned for {_seconds(asked.ban_left)} s" if asked.ban_left else "not banned"
    yield f"  identity {asked.identity}{whose}: {ban}"
    yield from _table(
        ("LIMIT", "NAME", "FREE", "ONE MORE IN"),
        [
            (str(bucket.limit), bucket.name, str(free), f"{_seconds(wait)} s" if wait else "")
            for bucket, (free, wait) in asked.standings
        ],
    )


def _lines_of_banned(seen: Seen) -> Iterable[str]:
    if _ban_of(seen.layer) is None:
        yield "  bans nobody"
    elif not seen.banned:
        yield "  nobody is banned"
    else:
        yield from _table(("BANNED", "FOR"), [(name, f"{_seconds(left)} s") for name, left in seen.banned])


def _of_what(asked: Iterable[Asked]) -> str:
    """What the keys held, as far as it can be read from how the client stood before."""
    held: list[str] = []
    for one in asked:
        suffix = " (preflights)" if one.are_preflights else ""
        held += [bucket.name + suffix for bucket in one.spent]
        if one.ban_left:
            held.append(f"a ban with {_seconds(one.ban_left)} s left{suffix}")
    return f": {', '.join(map(printable, held))}" if held else ""


def _seconds(nanoseconds: int) -> int:
    """Rounded up: who waits so long has waited long enough."""
    return -(-nanoseconds // 1_000_000_000)


def _document(seen: Seen) -> dict[str, Any]:
    layer, ban = seen.layer, _ban_of(seen.layer)
    names = ("after", "per", "first", "longest")
    banned = None if seen.banned is None else [{"identity": name, "seconds": _seconds(t)} for name, t in seen.banned]
    return {
        "where": seen.where,
        "place": layer.place,
        "key": layer.key,
        "strategy": layer.strategy,
        "storage": layer.storage.kind,
        "limits": [{"for": plan, "limit": limit, "name": name} for plan, limit, name in _rows(layer)],
        "ban": None if ban is None else {name: getattr(ban, name) for name in names},
        "banned": banned,
        "asked": [_document_of_key(one) for one in seen.asked],
        "deleted": seen.deleted,
        "problem": seen.problem or None,
    }


def _document_of_key(asked: Asked) -> dict[str, Any]:
    return {
        "identity": asked.identity,
        "are_preflights": asked.are_preflights,
        "banned_seconds": _seconds(asked.ban_left),
        "limits": [
            {"name": bucket.name, "limit": str(bucket.limit), "free": free, "wait_seconds": _seconds(wait)}
            for bucket, (free, wait) in asked.standings
        ],
    }
