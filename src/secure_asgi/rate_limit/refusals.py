"""What a refused client is told (RL-10, RL-11)."""

from collections.abc import Sequence

from ..denial import Denial, Reason
from .counting import Banned, Reading
from .fields import Policy, seconds

_TYPES = "https://iana.org/assignments/http-problem-types#"
QUOTA_EXCEEDED = _TYPES + "quota-exceeded"
REDUCED_CAPACITY = _TYPES + "temporary-reduced-capacity"
ABNORMAL_USAGE = _TYPES + "abnormal-usage-detected"

_DETAIL = "Too many requests. Wait as long as Retry-After says, and repeat this one."

UNAVAILABLE = Denial(
    Reason.RATE_LIMIT_UNAVAILABLE,
    503,
    "This cannot be decided at the moment. Try again soon.",
    title="Temporary Reduced Capacity",
    type=REDUCED_CAPACITY,
    headers=((b"retry-after", b"1"),),
    note='the storage is down, and on_outage="closed"',
)


def exceeded(policies: Sequence[Policy], readings: Sequence[Reading], cost: int, note: str) -> Denial:
    """429, with the longest wait of the limits that have no room. ``note`` is private."""
    violated: list[str] = []
    wait = 1
    for policy, (free, more) in zip(policies, readings, strict=True):
        if free < cost:
            violated.append(policy.name)
            wait = max(wait, seconds(more))
    return Denial(
        Reason.RATE_LIMITED,
        429,
        _DETAIL,
        title="Quota Exceeded",
        type=QUOTA_EXCEEDED,
        headers=((b"retry-after", b"%d" % wait),),
        members={"violated-policies": violated},
        note=f"{', '.join(violated)}: full for {wait} s" + (f"; {note}" if note else ""),
    )


def banned(ban: Banned) -> Denial:
    wait = max(1, seconds(ban.left))
    return Denial(
        Reason.BANNED,
        429,
        "Too many requests were refused. Wait as long as Retry-After says.",
        title="Abnormal Usage Detected",
        type=ABNORMAL_USAGE,
        headers=((b"retry-after", b"%d" % wait),),
        note=f"banned for {wait} s" + (", from now on" if ban.begins else ""),
    )


def too_costly(cost: int, lowest: int) -> Denial:
    """400, because waiting does not help (RL-12)."""
    return Denial(
        Reason.COST_EXCEEDED,
        400,
        "This request costs more than is ever allowed at once. Ask for less.",
        note=f"{cost} units, of {lowest} at most",
    )
