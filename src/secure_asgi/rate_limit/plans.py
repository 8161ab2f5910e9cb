"""Which limits a request falls under, under which public names, at which cost; and how that is made of the options."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .._asgi import Scope
from .._options import is_plain_function, several
from ..errors import ConfigurationError
from ..exchange import Exchange
from .counting import Bucket, Counter, Reading, Verdict
from .fields import REQUESTS, FieldWriter, Policy, writers
from .limits import Limit, read_limits
from .rules import Cost, LimitRule, Tier
from .stores import Storage

_MOST_REMEMBERED = 10_000
"""Units of a moving window: all of a key's charges may leave it at once, and the loop, or Redis, waits meanwhile."""


class Plan(NamedTuple):
    """Buckets that are decided together. ``lowest`` is what a request can cost at most."""

    name: str
    buckets: tuple[Bucket, ...]
    policies: tuple[Policy, ...]
    counter: Counter
    cost: Cost
    lowest: int
    writers: tuple[FieldWriter, ...]

    def cost_of(self, exchange: Exchange, scope: Scope) -> int:
        """What a function for ``cost=`` says.

        Raises ``TypeError`` where that is no whole number from 1 on: an error, and never a pass.
        """
        found = self.cost(exchange, scope)  # type: ignore[operator]  # asked where it is a function
        if type(found) is not int or found < 1:
            raise TypeError(f"cost= must return a whole number from 1 on, and returned {found!r}"[:200])
        return found

    def readings(self, verdict: Verdict, cost: int) -> list[Reading]:
        read = self.counter.read
        return [read(index, standing, cost) for index, standing in enumerate(verdict[1])]


class PlanMaker:
    """Makes the plans of one layer, which share a storage and whose limits have each a public name of its own."""

    def __init__(self, storage: Storage, unit: str, strategy: str, field_options: tuple[str, str, str]) -> None:
        self._storage = storage
        self._unit = unit
        self._strategy = strategy
        self._field_options = field_options
        self._taken: set[str] = set()

    def buckets(
        self,
        limits: Sequence[Limit],
        policy: str | Iterable[str] | None,
        prefix: str,
        burst: int | Iterable[int] | None = None,
    ) -> tuple[Bucket, ...]:
        """Raises ``ConfigurationError``, also for a name that is taken."""
        if self._strategy == "moving-window":
            check_remembered(limits)
        names, bursts = name_limits(limits, policy, prefix), read_bursts(burst, limits, self._strategy)
        for name in names:
            if name in self._taken:
                raise ConfigurationError(f"two limits have the public name {name!r}: give policy= to one of them")
            self._taken.add(name)
        return tuple(Bucket(*one) for one in zip(names, limits, bursts, strict=True))

    def plan(self, name: str, buckets: tuple[Bucket, ...], cost: Cost) -> Plan:
        lowest = min(bucket.burst for bucket in buckets)
        cost = read_cost(cost, lowest)
        told = cost if type(cost) is int and self._unit == REQUESTS else 1
        policies = tuple(Policy(bucket.name, bucket.limit, told, self._unit, bucket.burst) for bucket in buckets)
        counter = self._storage.counter(buckets)
        return Plan(name, buckets, policies, counter, cost, lowest, writers(*self._field_options, policies))

    def of_rule(self, rule: LimitRule, own: tuple[Bucket, ...], cost: Cost) -> Plan:
        """``own`` are the layer's limits, and ``cost`` is what a request takes where the rule does not say it."""
        buckets = self.buckets(rule.limits, rule.policy, rule.name) + (own if rule.in_addition else ())
        return self.plan(rule.name, buckets, cost if rule.cost is None else rule.cost)

    def of_tier(self, tier: Tier, cost: Cost) -> Plan:
        return self.plan(tier.name, self.buckets(tier.limits, tier.policy, tier.name), cost)

    def of_messages(self, messages: str | Iterable[str], name: str) -> Plan:
        return self.plan(name, self.buckets(read_limits(messages, option="messages"), None, name), 1)


def read_cost(cost: Cost, lowest: int) -> Cost:
    """``cost``, if it can ever pass. Raises ``ConfigurationError``."""
    if is_plain_function(cost):
        return cost
    if type(cost) is not int or not 1 <= cost <= lowest:
        raise ConfigurationError(
            f"cost= is a number of units from 1 to the lowest limit ({lowest}), for more would never pass, or a "
            f"plain function of (exchange, scope) that returns one; got {cost!r}"
        )
    return cost


def check_remembered(limits: Sequence[Limit]) -> None:
    """Raises ``ConfigurationError`` for more charges than a moving window should remember of one key."""
    for limit in limits:
        if limit.amount > _MOST_REMEMBERED:
            raise ConfigurationError(
                f'strategy="moving-window" remembers each charge and takes amounts to {_MOST_REMEMBERED}, got {limit}; '
                'strategy="sliding-window" takes any'
            )


def name_limits(limits: Sequence[Limit], given: str | Iterable[str] | None, prefix: str) -> tuple[str, ...]:
    """The public names of some limits. Raises ``ConfigurationError`` for some that the fields cannot carry (RL-4)."""
    if given is None:
        return tuple(f"{prefix}-{limit.seconds}s" for limit in limits)
    names = several(given)
    if not all(isinstance(name, str) and name.isascii() and name.isprintable() and name for name in names):
        raise ConfigurationError(f"policy= takes names of printable ASCII characters, got {names!r}")
    if len(names) != len(limits) or len(set(names)) != len(names):
        raise ConfigurationError(
            f"policy= takes one name for each limit, of which there are {len(limits)}, got {names!r}"
        )
    return names


def read_bursts(given: int | Iterable[int] | None, limits: Sequence[Limit], strategy: str) -> tuple[int, ...]:
    """Units at once, for each limit. Raises ``ConfigurationError``."""
    if given is None:
        return tuple(limit.amount for limit in limits)
    bursts = several(given)
    if strategy != "gcra":
        raise ConfigurationError(f'burst= goes with strategy="gcra": {strategy} admits its whole amount at once')
    if len(bursts) != len(limits) or not all(
        type(burst) is int and 1 <= burst <= limit.amount for burst, limit in zip(bursts, limits, strict=False)
    ):
        raise ConfigurationError(
            f"burst= is a whole number from 1 to the amount, one for each limit, of which there are {len(limits)}; "
            f"got {given!r}"
        )
    return bursts
