"""The response fields that tell a client how it stands: RateLimit and RateLimit-Policy, and their older relatives.

draft-ietf-httpapi-ratelimit-headers: ``"draft-10"`` is the syntax that its versions 08 to 11 share, ``"draft-07"`` and
``"draft-06"`` are what older clients read. A draft, not yet a standard: its letters and names stand in this file only.

The older forms have room for one limit: of all layers' limits they tell of the tightest, which has the fewest requests
left. What a response says already is replaced where it is looser, and stays where it is not.
"""

import re
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from .._asgi import RawHeaders
from ..errors import ConfigurationError
from .counting import Reading
from .limits import NANOSECONDS, Limit

FOREVER = 1 << 62
"""No Retry-After bounds what may be said."""

Headers = Literal["ietf", "legacy", "both", "off"]
Dialect = Literal["draft-10", "draft-07", "draft-06"]
Legacy = Literal["delta", "epoch"]

REQUESTS = "requests"
"""The unit of a limit that says no other (RL-1 ``qu``)."""

DESCRIPTIONS: dict[str, tuple[str, str]] = {
    "RateLimit": ("What is left of a limit, and until when.", "string"),
    "RateLimit-Policy": ("The limits that apply.", "string"),
    "RateLimit-Limit": ("What the tightest limit allows.", "integer"),
    "RateLimit-Remaining": ("What is left of the tightest limit.", "integer"),
    "RateLimit-Reset": ("Seconds until there is more.", "integer"),
    "X-RateLimit-Limit": ("What the tightest limit allows.", "integer"),
    "X-RateLimit-Remaining": ("What is left of the tightest limit.", "integer"),
    "X-RateLimit-Reset": ("When there is more: in seconds, or the second since 1970.", "integer"),
}
"""What each field says, and its type, for a document of the API."""


_RATELIMIT, _POLICY = b"ratelimit", b"ratelimit-policy"
_ONE = (_RATELIMIT,)
_TRIO = (b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset")
_X_TRIO = (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")

_A_NUMBER = re.compile(rb"^([0-9]{1,15})$")
_IN_DICTIONARY = re.compile(rb"(?:^|[ ,\t])remaining=([0-9]{1,15})(?=[ ,;\t]|$)")


@dataclass(frozen=True, slots=True)
class Policy:
    """A limit under its public name.

    Told in whole requests of ``cost`` units each; or in units, where ``unit`` is another than requests or the cost is
    computed: ``cost`` is 1 then. ``burst`` is how many units may be spent at once where that is fewer than the amount;
    only the older drafts have a word for it. Raises ``ConfigurationError`` for a unit that is not printable ASCII.
    """

    name: str
    limit: Limit
    cost: int
    unit: str = REQUESTS
    burst: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.unit, str) and self.unit and self.unit.isascii() and self.unit.isprintable()):
            raise ConfigurationError(f'unit= is a name such as "content-bytes", in printable ASCII, got {self.unit!r}')

    @property
    def quota(self) -> int:
        return self.limit.amount // self.cost

    def told(self, reading: Reading) -> tuple[int, int]:
        """Requests (or units) that fit now, and the seconds (rounded up) until one more does; 0 for no more to come."""
        free, wait = reading
        return free // self.cost, seconds(wait)


def seconds(nanoseconds: int) -> int:
    """Rounded up: who waits that long has waited long enough (RL-10)."""
    return -(-nanoseconds // NANOSECONDS)


class FieldWriter(Protocol):
    """Writes one kind of fields. ``names`` are those, as a document shows them."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def write(
        self, headers: RawHeaders, readings: Sequence[Reading], horizon: int, pk: bytes | None = None
    ) -> None: ...


class IETFFields:
    """One line of each field a layer: they are lists, which several lines continue (RL-3).

    Raises ``ConfigurationError`` where http-sf is missing.
    """

    names = ("RateLimit", "RateLimit-Policy")

    def __init__(self, policies: Sequence[Policy]) -> None:
        http_sf = _load_http_sf()
        lines: list[bytes] = []
        self._items: list[tuple[int, bytes, bytes]] = []
        for policy in policies:
            unit = {} if policy.unit == REQUESTS else {"qu": policy.unit}
            item = (policy.name, {"q": policy.quota, **unit, "w": policy.limit.seconds})
            lines.append(http_sf.ser([item]).encode())
            name = http_sf.ser(policy.name).encode().replace(b"%", b"%%")
            self._items.append((policy.cost, name + b";r=%d;t=%d", name + b";r=%d"))
        self._lines = tuple(lines)
        self._policy = (_POLICY, b", ".join(lines))

    def write(self, headers: RawHeaders, readings: Sequence[Reading], horizon: int, pk: bytes | None = None) -> None:
        """Append both; a ``t`` beyond ``horizon`` (seconds, a Retry-After) is left unsaid (RL-6).

        ``pk`` names whose quota it is, on every item of both (RL-8): something that may be read by everybody.
        """
        items: list[bytes] = []
        for (cost, whole, short), (free, nanoseconds) in zip(self._items, readings, strict=True):
            wait = -(-nanoseconds // NANOSECONDS)
            items.append(whole % (free // cost, wait) if 0 < wait <= horizon else short % (free // cost))
        if pk is None:
            headers.append(self._policy)
            headers.append((_RATELIMIT, b", ".join(items)))
        else:
            partition = b";pk=:%b:" % b64encode(pk)
            headers.append((_POLICY, b", ".join([line + partition for line in self._lines])))
            headers.append((_RATELIMIT, b", ".join([item + partition for item in items])))


class _OlderFields:
    """RateLimit-Policy has all limits in one line, once a response."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = tuple(policies)
        self._line = _old_policies(policies)


class Draft07Fields(_OlderFields):
    """RateLimit as one dictionary, and RateLimit-Policy."""

    names = ("RateLimit", "RateLimit-Policy")

    def write(self, headers: RawHeaders, readings: Sequence[Reading], horizon: int, pk: bytes | None = None) -> None:
        """``RateLimit`` is left out where its reset would be later than ``horizon``. There is no ``pk`` here."""
        _add_policies(headers, self._line)
        quota, remaining, wait = _tightest(self._policies, readings)
        if _make_way(headers, _RATELIMIT, _IN_DICTIONARY, _ONE, remaining) and (reset := seconds(wait)) <= horizon:
            headers.append((_RATELIMIT, b"limit=%d, remaining=%d, reset=%d" % (quota, remaining, reset)))


class Draft06Fields(_OlderFields):
    """RateLimit-Limit, -Remaining and -Reset, and RateLimit-Policy."""

    names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy")

    def write(self, headers: RawHeaders, readings: Sequence[Reading], horizon: int, pk: bytes | None = None) -> None:
        """The trio is left out where its reset would be later than ``horizon``. There is no ``pk`` here."""
        _add_policies(headers, self._line)
        quota, remaining, wait = _tightest(self._policies, readings)
        if _make_way(headers, _TRIO[1], _A_NUMBER, _TRIO, remaining) and (reset := seconds(wait)) <= horizon:
            _append_trio(headers, _TRIO, quota, remaining, reset)


class LegacyFields:
    """X-RateLimit-Limit, -Remaining and -Reset, once a response (RL-9).

    ``reset`` is what the last one holds: ``"delta"`` seconds from now, or ``"epoch"`` the second since 1970 by
    ``clock`` (nanoseconds), for clients that take it for that.
    """

    names = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")

    def __init__(
        self, policies: Sequence[Policy], *, reset: Legacy = "delta", clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._policies = tuple(policies)
        self._begin = clock if reset == "epoch" else _zero

    def write(self, headers: RawHeaders, readings: Sequence[Reading], horizon: int, pk: bytes | None = None) -> None:
        """Append the trio, in place of a looser one of another layer; ``horizon`` and ``pk`` do not matter here."""
        quota, remaining, wait = _tightest(self._policies, readings)
        if _make_way(headers, _X_TRIO[1], _A_NUMBER, _X_TRIO, remaining):
            _append_trio(headers, _X_TRIO, quota, remaining, seconds(self._begin() + wait))


def _zero() -> int:
    return 0


def _tightest(policies: Sequence[Policy], readings: Sequence[Reading]) -> tuple[int, int, int]:
    """Quota, what remains of it and the nanoseconds to wait, where the fewest remain; the longest wait of several."""
    quota, remaining, wait = 0, FOREVER, 0
    for policy, (free, nanoseconds) in zip(policies, readings, strict=True):
        left = free // policy.cost
        if left < remaining or (left == remaining and nanoseconds > wait):
            quota, remaining, wait = policy.quota, left, nanoseconds
    return quota, remaining, wait


def _make_way(
    headers: RawHeaders, field: bytes, pattern: re.Pattern[bytes], ours: tuple[bytes, ...], remaining: int
) -> bool:
    """Whether to speak: False where ``field`` says already that as few remain; what said anything else is gone."""
    for name, value in headers:
        if name == field and (found := pattern.search(value)) is not None and int(found[1]) <= remaining:
            return False
    headers[:] = [line for line in headers if line[0] not in ours]
    return True


def _append_trio(headers: RawHeaders, names: tuple[bytes, ...], *numbers: int) -> None:
    headers += [(name, b"%d" % number) for name, number in zip(names, numbers, strict=True)]


def _old_policies(policies: Sequence[Policy]) -> bytes:
    items: list[str] = []
    for policy in policies:
        item = f"{policy.quota};w={policy.limit.seconds}"
        if policy.burst is not None and policy.burst < policy.limit.amount:
            item += f";burst={policy.burst // policy.cost}"
        items.append(item)
    return ", ".join(items).encode()


def _add_policies(headers: RawHeaders, line: bytes) -> None:
    """To the line that is there, if any: in the older drafts the field must not occur twice."""
    for index, (name, value) in enumerate(headers):
        if name == _POLICY:
            headers[index] = (name, value + b", " + line)
            return
    headers.append((_POLICY, line))


_DIALECTS: dict[str, Callable[[Sequence[Policy]], FieldWriter]] = {
    "draft-10": IETFFields,
    "draft-07": Draft07Fields,
    "draft-06": Draft06Fields,
}


def writers(headers: str, dialect: str, legacy: str, policies: Sequence[Policy]) -> tuple[FieldWriter, ...]:
    """What writes the fields that the options ask for. Raises ``ConfigurationError`` for one that it does not know."""
    for option, given, known in (
        ("headers", headers, get_args(Headers)),
        ("dialect", dialect, get_args(Dialect)),
        ("legacy", legacy, get_args(Legacy)),
    ):
        if given not in known:
            names = ", ".join(f'"{name}"' for name in known[:-1])
            raise ConfigurationError(f'{option}= is {names} or "{known[-1]}", got {given!r}')
    chosen: list[FieldWriter] = []
    if headers in ("ietf", "both"):
        chosen.append(_DIALECTS[dialect](policies))
    if headers in ("legacy", "both"):
        chosen.append(LegacyFields(policies, reset="epoch" if legacy == "epoch" else "delta"))
    return tuple(chosen)


def _load_http_sf() -> Any:
    try:
        import http_sf
    except ImportError:
        raise ConfigurationError(
            'headers="ietf" needs the http-sf package: pip install \'http-sf>=1.5\', or headers="off"'
        ) from None
    return http_sf


def horizon_of(headers: RawHeaders) -> int:
    """The seconds of a Retry-After on this response; 0 for one that gives a date, ``FOREVER`` without one."""
    for name, value in headers:
        if name == b"retry-after":
            return int(value) if value.isdigit() else 0
    return FOREVER
