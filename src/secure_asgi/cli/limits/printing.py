"""What ``secure-asgi limits`` prints: in words, and for programs."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..printable import printable
from ..tables import count, table
from .asking import Asked, Seen

if TYPE_CHECKING:
    from ...rate_limit import RateLimitMiddleware


def lines(seen: Seen) -> Iterable[str]:
    layer = seen.layer
    below = f" below {printable(seen.where)}" if seen.where else ""
    yield f"{layer.place}{below}: by {printable(layer.key)}, {layer.strategy} in {layer.storage.kind}"
    if seen.deleted is not None:
        yield f"  deleted {count(seen.deleted, 'key')}{_of_what(seen.asked)}"
    elif seen.asked:
        for asked in seen.asked:
            yield from _lines_of_key(asked)
    else:
        yield from table(("FOR", "LIMIT", "NAME"), _rows(layer))
    if seen.banned is not None:
        yield from _lines_of_banned(seen)


def document(seen: Seen) -> dict[str, Any]:
    layer, ban = seen.layer, seen.layer.ban
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
    yield from table(
        ("LIMIT", "NAME", "FREE", "ONE MORE IN"),
        [
            (str(bucket.limit), bucket.name, str(free), f"{_seconds(wait)} s" if wait else "")
            for bucket, (free, wait) in asked.standings
        ],
    )


def _lines_of_banned(seen: Seen) -> Iterable[str]:
    if seen.layer.ban is None:
        yield "  bans nobody"
    elif not seen.banned:
        yield "  nobody is banned"
    else:
        yield from table(("BANNED", "FOR"), [(name, f"{_seconds(left)} s") for name, left in seen.banned])


def _of_what(asked: Iterable[Asked]) -> str:
    """What the keys held, as far as it can be read from how the client stood before."""
    held: list[str] = []
    for one in asked:
        suffix = " (preflights)" if one.are_preflights else ""
        held += [bucket.name + suffix for bucket in one.spent]
        if one.ban_left:
            held.append(f"a ban with {_seconds(one.ban_left)} s left{suffix}")
    return f": {', '.join(map(printable, held))}" if held else ""


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


def _seconds(nanoseconds: int) -> int:
    """Rounded up: who waits so long has waited long enough."""
    return -(-nanoseconds // 1_000_000_000)
