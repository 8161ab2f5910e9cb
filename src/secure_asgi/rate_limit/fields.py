"""The response fields that tell a client how it stands: RateLimit and RateLimit-Policy, and the older X-RateLimit-*.

draft-ietf-httpapi-ratelimit-headers, in the syntax its versions 08 to 11 share; a draft, not yet a standard. The
letters of that syntax stand in this file only. There is no ``pk``: a client knows who it is (RL-8).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .._asgi import RawHeaders
from ..errors import ConfigurationError
from .counting import Reading
from .limits import NANOSECONDS, Limit

FOREVER = 1 << 62
"""No Retry-After bounds what may be said."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A limit under its public name, told in whole requests of ``cost`` units each, or in units of that name."""

    name: str
    limit: Limit
    cost: int
    unit: str = "requests"

    @property
    def quota(self) -> int:
        return self.limit.amount // self.cost

    def told(self, reading: Reading) -> tuple[int, int]:
        """Requests that fit now, and the seconds (rounded up) until one more does; 0 when there is no more to come."""
        free, wait = reading
        return free // self.cost, seconds(wait)


def seconds(nanoseconds: int) -> int:
    """Rounded up: who waits that long has waited long enough (RL-10)."""
    return -(-nanoseconds // NANOSECONDS)


class FieldWriter(Protocol):
    """Writes some fields of a response, one reading for each of its policies."""

    def write(self, headers: RawHeaders, readings: Sequence[Reading], horizon: int) -> None: ...


class IETFFields:
    """One line of each field a layer: they are lists, which several lines continue (RL-3)."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        try:
            import http_sf
        except ImportError:
            raise ConfigurationError(
                'headers="ietf" needs the http-sf package: pip install \'http-sf>=1.5\', or headers="off"'
            ) from None
        lines: list[str] = []
        self._items: list[tuple[Policy, bytes, bytes]] = []
        for policy in policies:
            parameters: dict[str, Any] = {"q": policy.quota, "w": policy.limit.seconds}
            if policy.unit != "requests":
                parameters["qu"] = policy.unit
            quota: Any = (policy.name, parameters)
            lines.append(http_sf.ser([quota]))
            name = http_sf.ser(policy.name).encode().replace(b"%", b"%%")
            self._items.append((policy, name + b";r=%d;t=%d", name + b";r=%d"))
        self._policy = (b"ratelimit-policy", ", ".join(lines).encode())

    def write(self, headers: RawHeaders, readings: Sequence[Reading], horizon: int) -> None:
        """Append both; a ``t`` beyond ``horizon`` (seconds, a Retry-After) is left unsaid (RL-6)."""
        items: list[bytes] = []
        for (policy, whole, short), reading in zip(self._items, readings, strict=True):
            requests, wait = policy.told(reading)
            items.append(whole % (requests, wait) if 0 < wait <= horizon else short % requests)
        headers.append(self._policy)
        headers.append((b"ratelimit", b", ".join(items)))


_LIMIT, _REMAINING, _RESET = b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"
_TRIO = frozenset((_LIMIT, _REMAINING, _RESET))


class LegacyFields:
    """X-RateLimit-Limit, -Remaining and -Reset (seconds from now), once a response: the tightest limit (RL-9)."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = tuple(policies)

    def write(self, headers: RawHeaders, readings: Sequence[Reading], horizon: int) -> None:
        """Append the trio, in place of a looser one of another layer; ``horizon`` does not matter here."""
        told = ((*policy.told(reading), policy.quota) for policy, reading in zip(self._policies, readings, strict=True))
        requests, wait, quota = min(told, key=lambda one: (one[0], -one[1]))
        for name, value in headers:
            if name == _REMAINING and value.isdigit() and int(value) <= requests:
                return
        headers[:] = [field for field in headers if field[0] not in _TRIO]
        headers += ((_LIMIT, b"%d" % quota), (_REMAINING, b"%d" % requests), (_RESET, b"%d" % wait))


def horizon_of(headers: RawHeaders) -> int:
    """The seconds of a Retry-After on this response; 0 for one that gives a date, ``FOREVER`` without one."""
    for name, value in headers:
        if name == b"retry-after":
            return int(value) if value.isdigit() else 0
    return FOREVER


_WRITERS: dict[str, tuple[type[IETFFields] | type[LegacyFields], ...]] = {
    "ietf": (IETFFields,),
    "legacy": (LegacyFields,),
    "both": (IETFFields, LegacyFields),
    "off": (),
}


def writers(headers: str, policies: Sequence[Policy]) -> tuple[FieldWriter, ...]:
    if headers not in _WRITERS:
        raise ConfigurationError(f'headers= is "ietf", "legacy", "both" or "off", got {headers!r}')
    return tuple(writer(policies) for writer in _WRITERS[headers])
