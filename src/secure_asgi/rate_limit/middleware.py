"""Rate limits: 429 (RFC 6585 section 4) for whoever asks too often, and fields that say so in time."""

import time
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Literal

from .._asgi import ASGIApp, RawHeaders, Scope
from ..denial import Denial, Reason
from ..errors import ConfigurationError
from ..exchange import Exchange
from ..flow import Layer
from .fields import FOREVER, IETFFields, LegacyFields, Policy, horizon_of, seconds
from .keys import KeyFunction, identify_by, is_preflight, preflight_key
from .limits import Limit, read_limits
from .sliding_window import Clock, SlidingWindow, Standing, units_free, wait_for

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"

_DETAIL = "Too many requests. Wait as long as Retry-After says, and repeat this one."

_WRITERS: dict[str, tuple[type[IETFFields] | type[LegacyFields], ...]] = {
    "ietf": (IETFFields,),
    "legacy": (LegacyFields,),
    "both": (IETFFields, LegacyFields),
    "off": (),
}


class RateLimitMiddleware(Layer):
    """Refuses a request when its key has used up a limit; what is refused is not charged.

    ``limits`` one limit string, several (``"10/second; 600/minute"``) or an iterable of them: all are decided together.
    ``key`` is who is counted: ``"client"`` the trusted address, ``"principal"`` the authenticated one (the address
    where there is none), or a plain function of ``(exchange, scope)`` that returns a string. ``headers`` which fields
    are written. ``cost`` units a request takes. ``ipv6_prefix`` the bits of an IPv6 address that count as one client.
    ``max_keys`` bounds the counters kept of each limit: 130 bytes for an address, 190 for a name, at most.
    ``policy`` the limits' public names, as many as there are limits. ``strategy`` and ``storage`` have one value so
    far. ``clock`` is for tests: nanoseconds, never going back.

    A WebSocket is counted once, at its handshake; a CORS preflight in a bucket of its own (RL-16). Counters live in
    this process only. Not checked: how large, slow or costly a request is.
    """

    name = "rate_limit"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        limits: str | Iterable[str],
        key: Literal["client", "principal"] | KeyFunction = "client",
        headers: Literal["ietf", "legacy", "both", "off"] = "ietf",
        cost: int = 1,
        ipv6_prefix: int = 56,
        max_keys: int = 250_000,
        policy: str | Iterable[str] | None = None,
        strategy: Literal["sliding-window"] = "sliding-window",
        storage: str = "memory://",
        clock: Clock = time.monotonic_ns,
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        _check(strategy, "strategy", "sliding-window")
        _check(storage, "storage", "memory://")
        if headers not in _WRITERS:
            raise ConfigurationError(f'headers= is "ietf", "legacy", "both" or "off", got {headers!r}')
        if type(max_keys) is not int or max_keys < 2:
            raise ConfigurationError(f"max_keys= is a number of counters, at least 2, got {max_keys!r}")
        self._limits = read_limits(limits)
        self._cost = _read_cost(cost, self._limits)
        self._identify = identify_by(key, ipv6_prefix=ipv6_prefix)
        self._policies = _name_policies(self._limits, policy, key if isinstance(key, str) else "custom", cost)
        self._writers = tuple(writer(self._policies) for writer in _WRITERS[headers])
        self._counters = SlidingWindow(self._limits, max_keys=max_keys, clock=clock)
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt, place=self.slot(key=key))

    @classmethod
    def slot(cls, **options: Any) -> str:
        """By client before anything costs CPU; by principal, or by a key of one's own, where the principal is known."""
        key = options.get("key", "client")
        return f"rate_limit:{key if isinstance(key, str) else 'custom'}"

    @property
    def limits(self) -> tuple[str, ...]:
        """As ``limits=`` takes them: ``"600/minute"``."""
        return tuple(map(str, self._limits))

    def on_request(self, exchange: Exchange, scope: Scope) -> Denial | None:
        key = self._identify(exchange, scope)
        if scope.get("method") == "OPTIONS" and is_preflight(exchange.fields(scope)):
            # Apart, and in silence: the fields would tell of a bucket that the real request does not draw on.
            admitted, standings = self._counters.hit(preflight_key(key), self._cost)
        else:
            admitted, standings = self._counters.hit(key, self._cost)
            if self._writers:
                exchange.memo[self] = standings
        return None if admitted else self._refusal(standings)

    def on_response(self, exchange: Exchange, headers: RawHeaders) -> None:
        standings = exchange.memo.get(self)
        status = exchange.status or 0
        if standings is None or status == 101 or exchange.shadowed(self):
            return
        horizon = FOREVER if status < 300 else horizon_of(headers)
        for writer in self._writers:
            writer.write(headers, standings, horizon)

    def _refusal(self, standings: Sequence[Standing]) -> Denial:
        violated: list[str] = []
        wait = 0
        for policy, standing in zip(self._policies, standings, strict=True):
            if units_free(policy.limit, standing) < self._cost:
                violated.append(policy.name)
                wait = max(wait, seconds(wait_for(policy.limit, standing, self._cost)))
        return Denial(
            Reason.RATE_LIMITED,
            429,
            _DETAIL,
            title="Quota Exceeded",
            type=QUOTA_EXCEEDED,
            headers=((b"retry-after", b"%d" % wait),),
            members={"violated-policies": violated},
            note=f"{', '.join(violated)}: full for {wait} s",
        )


def _check(given: str, option: str, available: str) -> None:
    if given != available:
        # What was given is not repeated: a storage URI may hold a password.
        raise ConfigurationError(f'{option}= has one value in this version: "{available}"')


def _read_cost(cost: int, limits: Sequence[Limit]) -> int:
    lowest = min(limit.amount for limit in limits)
    if type(cost) is not int or not 1 <= cost <= lowest:
        raise ConfigurationError(
            f"cost= is a number of units from 1 to the lowest limit ({lowest}): more would never pass; got {cost!r}"
        )
    return cost


def _name_policies(
    limits: Sequence[Limit], given: str | Iterable[str] | None, key: str, cost: int
) -> tuple[Policy, ...]:
    if given is None:
        names = tuple(f"{key}-{limit.seconds}s" for limit in limits)
    else:
        names = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if not all(isinstance(name, str) and name.isascii() and name.isprintable() and name for name in names):
        raise ConfigurationError(f"policy= takes names of printable ASCII characters, got {names!r}")
    if len(names) != len(limits) or len(set(names)) != len(names):
        raise ConfigurationError(
            f"policy= takes one name for each limit, of which there are {len(limits)}, got {names!r}"
        )
    return tuple(Policy(name, limit, cost) for name, limit in zip(names, limits, strict=True))
