"""Rate limits: 429 (RFC 6585 section 4) for whoever asks too often, and fields that say so in time."""

import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from datetime import date
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, get_args

from .._asgi import ASGIApp, Message, RawHeaders, Scope
from .._options import is_plain_function, one_of, positive_seconds, several, several_of, whole
from .._paths import route_path
from .._routes import root_path_of
from .._rule_table import WEBSOCKET, RuleTable
from ..denial import Denial
from ..errors import ConfigurationError
from ..exchange import Decision, Exchange
from ..flow import Answer, Layer
from ..secrets import Secret
from .bans import Ban
from .charges import Charge, Charges
from .counting import Banned, Bucket, Degraded, Outcome, Strategy, Verdict
from .fields import FOREVER, REQUESTS, Dialect, Headers, Legacy, horizon_of
from .generations import Clock
from .identity import read_secret
from .keys import Identify, Part, is_preflight, name_key, octets_of, place_of, preflight_key
from .limits import read_limits
from .memory import STRATEGIES
from .plans import Plan, PlanMaker
from .presets import with_preset
from .refusals import UNAVAILABLE, banned, exceeded, too_costly
from .rules import Cost, LimitRule, Tier
from .stores import MEMORY, OnOutage, Storage, read_namespace

if TYPE_CHECKING:
    import redis.asyncio

FAILURES = frozenset((400, 401, 403))
"""Statuses that say that somebody has not signed in: RFC 6749 section 5.2 has 400 for it."""

_KNOWN = (tuple, Banned, Degraded)
"""An outcome that is there already: anything else is to be awaited."""


class RateLimitMiddleware(Layer):
    """Refuses a request when its key has used up a limit; what is refused is not charged.

    Who and how much: ``limits`` one limit string, several (``"10/second; 600/minute"``) or an iterable of them: all are
    decided together. ``key`` is who is counted: ``"client"`` the trusted address, ``"principal"`` the authenticated one
    (the address where there is none), ``"api-key"``, ``"certificate"`` and ``"claim:<name>"`` (a tenant; all three: the
    principal where there is none), ``"route"`` the template, a plain function of ``(exchange, scope)`` that returns a
    string, or several of these. ``rules`` are other limits for some paths, ``tiers`` for some principals, ``messages``
    limits for what a WebSocket sends. ``preset`` ``"public"``, ``"standard"`` or ``"login"``: a cited starting point.
    ``ipv6_prefix`` the bits of an IPv6 address that count as one client.

    What is counted: ``cost`` units a request takes, a number or a function of ``(exchange, scope)``; ``unit`` their
    name; ``settle`` a function of the exchange that says at the end what it really cost (``charge()`` says it from a
    handler). ``counts="failures"`` gives back what was charged unless the answer's status is one of ``failures``.

    How: ``strategy``; ``burst`` units at once, for GCRA; ``storage`` ``"memory://"``, a Redis or Valkey by its URL or
    client, shared by all processes, or a URI of the limits library; a ``Secret`` may hold what names a password;
    ``storage_timeout`` seconds for one decision; ``on_outage`` what holds without it: ``"local"`` (counted in this
    process, at limit ÷ ``replicas``), ``"open"``, ``"closed"``; ``namespace`` before its keys; ``identifier_secret``
    keys the hash of identifiers elsewhere. ``max_keys`` bounds the counters in memory of each limit: 130 bytes for an
    address, 190 for a name, at most; a moving window takes 44 more for each charge that counts. ``ban`` refuses for a
    while who was refused too often.

    What is told: ``headers`` which fields, ``dialect`` of which draft, ``legacy`` whether X-RateLimit-Reset is a
    ``"delta"`` or the ``"epoch"``, ``policy`` the limits' public names; with ``partition=True``, ``pk`` is sent, a
    keyed hash of whose quota it is. ``clock`` is for tests: nanoseconds, never going back.

    A WebSocket is counted at its handshake; a CORS preflight in a bucket of its own (RL-16). Not checked: how large or
    slow a request is, and how many run at once.
    """

    name = "rate_limit"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        limits: str | Iterable[str] | None = None,
        key: Part | Iterable[Part] | None = None,
        rules: LimitRule | Iterable[LimitRule] = (),
        tiers: Tier | Iterable[Tier] = (),
        messages: str | Iterable[str] | None = None,
        preset: Literal["public", "standard", "login"] | None = None,
        headers: Headers = "ietf",
        dialect: Dialect = "draft-10",
        legacy: Legacy = "delta",
        partition: bool = False,
        policy: str | Iterable[str] | None = None,
        cost: Cost = 1,
        unit: str = REQUESTS,
        settle: Callable[[Exchange], int] | None = None,
        counts: Literal["all", "failures"] | None = None,
        failures: int | Iterable[int] = FAILURES,
        strategy: Strategy = "sliding-window",
        burst: int | Iterable[int] | None = None,
        storage: "str | Secret | redis.asyncio.Redis" = MEMORY,
        storage_timeout: float = 0.05,
        on_outage: OnOutage | None = None,
        replicas: int = 1,
        namespace: str = "secure_asgi",
        identifier_secret: str | Secret | None = None,
        ban: Ban | None = None,
        ipv6_prefix: int = 56,
        max_keys: int = 250_000,
        clock: Clock = time.monotonic_ns,
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        chosen = with_preset(preset, {"limits": limits, "key": key, "counts": counts, "on_outage": on_outage})
        one_of("strategy", strategy, STRATEGIES)
        one_of("on_outage", chosen["on_outage"], get_args(OnOutage))
        whole("replicas", replicas, 1, "processes that share the limits")
        one_of("counts", chosen["counts"], ("all", "failures"))
        whole("max_keys", max_keys, 2, "counters")
        if ban is not None and not isinstance(ban, Ban):
            raise ConfigurationError(f"ban= takes a Ban(...), got {ban!r}")
        if settle is not None and not is_plain_function(settle):
            raise ConfigurationError(f"settle= is a plain function of the exchange that returns units, got {settle!r}")
        if settle is not None and chosen["counts"] == "failures":
            raise ConfigurationError('counts="failures" gives back all of a request or nothing: leave settle= out')
        self.identify = Identify(chosen["key"], ipv6_prefix=ipv6_prefix)
        self.key = self.identify.name
        self.counts: str = chosen["counts"]
        self.unit = unit
        self._failures = _read_failures(failures)
        self._settle = settle
        self._settles = settle is not None or self.counts == "failures" or self.unit != REQUESTS
        self.ban = ban
        self.strategy = strategy
        secret = read_secret(identifier_secret)
        if partition and not secret:
            raise ConfigurationError("partition=True needs identifier_secret=: without it an address could be guessed")
        self._partition_secret = secret if partition else b""
        self.storage = Storage(
            storage,
            strategy=strategy,
            timeout=positive_seconds("storage_timeout", storage_timeout),
            namespace=read_namespace(namespace),
            secret=secret,
            on_outage=chosen["on_outage"],
            replicas=replicas,
            max_keys=max_keys,
            clock=clock,
            ban=ban,
            settles=self._settles,
            gives_back=self.counts == "failures",
        )
        self.fails_closed = chosen["on_outage"] == "closed" and self.storage.remote is not None
        self.rules = several_of("rules", rules, LimitRule)
        self.tiers = several_of("tiers", tiers, Tier)
        if self.tiers and self.identify.place == "client":
            raise ConfigurationError(
                'tiers= need somebody to be known, and key="client" is counted before that: give key="principal"'
            )
        maker = PlanMaker(self.storage, unit, strategy, (headers, dialect, legacy))
        self._plan: Plan | None = None
        own: tuple[Bucket, ...] = ()
        if chosen["limits"] is not None:
            own = maker.buckets(read_limits(chosen["limits"]), policy, self.key, burst)
            self._plan = maker.plan("", own, cost)
        elif not self.rules and not self.tiers and messages is None:
            raise ConfigurationError('limits= needs at least one limit, such as "600/minute", or give rules=')
        self._by_rule = {rule: maker.of_rule(rule, own, cost) for rule in self.rules}
        self._by_tier = {tier: maker.of_tier(tier, cost) for tier in self.tiers}
        self._messages = None if messages is None else maker.of_messages(messages, f"{self.key}-messages")
        self._table = RuleTable(self.rules) if self.rules else None
        self._root_path = ""
        needed = {
            "on_response": headers != "off",
            "on_message": self._messages is not None,
            "on_end": self._settles,
            "on_application": self._table is not None or self.identify.needs_routes,
        }
        self.idle_hooks = frozenset(hook for hook, is_needed in needed.items() if not is_needed)
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt, place=self.slot(key=chosen["key"]))

    @classmethod
    def slot(cls, **options: Any) -> str:
        """By client before anything costs CPU; by principal, or by a key of one's own, where the principal is known."""
        preset = options.get("preset")
        key = with_preset(preset if isinstance(preset, str) else None, {"key": options.get("key")})["key"]
        return f"rate_limit:{place_of(key)}"

    @property
    def plans(self) -> tuple[Plan, ...]:
        """All of them: the layer's own, those of its rules, its tiers and its messages."""
        own = () if self._plan is None else (self._plan,)
        messages = () if self._messages is None else (self._messages,)
        return (*own, *self._by_rule.values(), *self._by_tier.values(), *messages)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields that it writes, for a document of the API."""
        return tuple(dict.fromkeys(name for plan in self.plans for writer in plan.writers for name in writer.names))

    def limits_at(self, methods: Iterable[str] | None, path: str) -> tuple[str, ...]:
        """The limits of requests to ``path``, as ``limits=`` takes them: ``"600/minute"``; without tiers."""
        plan = self._plan
        if self._table is not None:
            found = [self._table.find(method, path) for method in sorted(methods or ("*",))]
            plan = self._by_rule[found[0][0]] if found and found[0] is not None else plan
        return () if plan is None else tuple(str(bucket.limit) for bucket in plan.buckets)

    def on_request(self, exchange: Exchange, scope: Scope) -> Answer | Awaitable[Answer]:
        plan = self._plan
        if self._table is not None or self.tiers:
            plan = self._plan_for(exchange, scope)
        messages = self._messages if scope["type"] == "websocket" else None
        if plan is None and messages is None:
            return None
        key = self.identify.of(exchange, scope)
        if messages is not None:
            exchange.memo["messages", self] = (messages, key)
        if plan is None:
            return None
        is_told = True
        if scope.get("method") == "OPTIONS" and is_preflight(exchange.fields(scope)):
            # Apart, and in silence: the fields would tell of a bucket that the real request does not draw on.
            key, is_told = preflight_key(key), False
        cost = plan.cost
        if type(cost) is not int:
            cost = plan.cost_of(exchange, scope)
            if cost > plan.lowest:
                self._remember(exchange, plan, key, cost, None)
                return too_costly(cost, plan.lowest)
        if self.ban is None:
            outcome = plan.counter.hit(key, cost)
        else:
            outcome = plan.counter.hit(key, cost, self._may_be_banned(exchange))
        if isinstance(outcome, _KNOWN):
            return self._conclude(exchange, plan, key, cost, outcome, is_told)
        return self._wait(exchange, plan, key, cost, outcome, is_told)

    def on_response(self, exchange: Exchange, headers: RawHeaders) -> None:
        told = exchange.memo.get(self)
        status = exchange.status or 0
        if told is None or status == 101 or exchange.shadowed(self):
            return
        plan, verdict, cost, key = told
        horizon = FOREVER if status < 300 else horizon_of(headers)
        readings, partition = plan.readings(verdict, cost), self._partition(key)
        for writer in plan.writers:
            writer.write(headers, readings, horizon, partition)

    def on_message(self, exchange: Exchange, message: Message) -> Denial | Awaitable[Denial | None] | None:
        plan, key = exchange.memo["messages", self]
        outcome = plan.counter.hit(key, 1, self._may_be_banned(exchange))
        return _refusal(plan, 1, outcome) if isinstance(outcome, _KNOWN) else _refusal_later(plan, outcome)

    def on_end(self, exchange: Exchange) -> Awaitable[None] | None:
        waiting = []
        for one in exchange.memo.get(Charges, ()):
            if one.layer is self and one.verdict is not None:
                settling = one.plan.counter.settle(one.key, one.verdict, one.reserved, self._real_cost(exchange, one))
                if settling is not None:
                    waiting.append(settling)
        return _all(waiting) if waiting else None

    def on_application(self, app: ASGIApp) -> None:
        self._root_path = root_path_of(app)
        if self.identify.needs_routes:
            self.identify.learn_routes(app)

    async def on_startup(self, scope: Scope) -> None:
        await self.storage.store.open()

    async def on_shutdown(self) -> None:
        await self.storage.store.close()

    async def count_name(self, exchange: Exchange, name: str) -> Denial | None:
        """What ``attempt`` asks of a layer that has let the request in."""
        plan = next(one.plan for one in exchange.memo[Charges] if one.layer is self)
        key = name_key(name)
        # A name is never banned: it is not who tries to sign in with it.
        outcome = plan.counter.hit(key, 1, False)
        denial = self._charge(exchange, plan, key, 1, outcome if isinstance(outcome, _KNOWN) else await outcome)
        if denial is None:
            return None
        is_shadowed = exchange.shadowed(self)
        exchange.record(self.place, "shadow" if is_shadowed else "deny", denial.reason, f"by name; {denial.note}")
        return None if is_shadowed else denial

    def _may_be_banned(self, exchange: Exchange) -> bool:
        return self.ban is not None and not (exchange.client_is_proxy or self.ban.spares(exchange.client))

    def _partition(self, key: Hashable) -> bytes | None:
        """Whose quota it is, to those who may compare two answers and must not learn who it was (RL-8)."""
        if not self._partition_secret:
            return None
        kind, raw = octets_of(key)
        return blake2b(kind + raw, key=self._partition_secret, digest_size=9).digest()

    def _plan_for(self, exchange: Exchange, scope: Scope) -> Plan | None:
        if self._table is not None:
            method = WEBSOCKET if scope["type"] == "websocket" else scope["method"]
            path = route_path(scope, self._root_path)
            found = None if method == WEBSOCKET and scope["type"] == "http" else self._table.find(method, path)
            if found is not None:
                return self._by_rule[found[0]]
        if self.tiers and exchange.principal is not None:
            for tier in self.tiers:
                if tier.fits(exchange.principal):
                    return self._by_tier[tier]
        return self._plan

    async def _wait(
        self, exchange: Exchange, plan: Plan, key: Hashable, cost: int, outcome: Awaitable[Outcome], is_told: bool
    ) -> Answer:
        return self._conclude(exchange, plan, key, cost, await outcome, is_told)

    def _conclude(
        self, exchange: Exchange, plan: Plan, key: Hashable, cost: int, outcome: Outcome, is_told: bool
    ) -> Answer:
        if is_told and plan.writers:
            verdict = _verdict_of(outcome)
            if verdict is not None:
                exchange.memo[self] = (plan, verdict, cost, key)
        denial = self._charge(exchange, plan, key, cost, outcome)
        if denial is None and isinstance(outcome, Degraded):
            return Decision(self.place, "pass", note=outcome.note)
        return denial

    def _charge(self, exchange: Exchange, plan: Plan, key: Hashable, cost: int, outcome: Outcome) -> Denial | None:
        denial = _refusal(plan, cost, outcome)
        self._remember(exchange, plan, key, cost, _verdict_of(outcome) if denial is None else None)
        return denial

    def _remember(self, exchange: Exchange, plan: Plan, key: Hashable, cost: int, verdict: Verdict | None) -> None:
        """Where it will be settled; what was not charged, too: a handler calls ``charge`` and ``attempt`` in shadow and
        in an outage all the same."""
        if self._settles:
            exchange.memo.setdefault(Charges, Charges()).append(Charge(self, plan, key, verdict, cost))

    def _real_cost(self, exchange: Exchange, one: Charge) -> int:
        if self.counts == "failures":
            # Without an answer nobody can say that it was none.
            status = exchange.status
            return one.reserved if status is None or status in self._failures else 0
        if one.real is not None:
            return one.real
        if self._settle is None:
            return one.reserved
        real = self._settle(exchange)
        if type(real) is not int or real < 0:
            raise TypeError(f"settle= must return a whole number from 0 on, and returned {type(real).__name__}")
        return real


def _read_failures(given: int | Iterable[int]) -> frozenset[int]:
    """Raises ``ConfigurationError`` for what no answer's status is: nobody would ever be refused."""
    statuses = several(given)
    if not statuses or not all(isinstance(status, int) and 200 <= status <= 599 for status in statuses):
        raise ConfigurationError(f"failures= takes statuses from 200 to 599, one such as 401 or several, got {given!r}")
    return frozenset(statuses)


def _verdict_of(outcome: Outcome) -> Verdict | None:
    if isinstance(outcome, tuple):
        return outcome
    return outcome.verdict if isinstance(outcome, Degraded) else None


def _refusal(plan: Plan, cost: int, outcome: Outcome) -> Denial | None:
    note = ""
    if isinstance(outcome, Banned):
        return banned(outcome)
    if isinstance(outcome, Degraded):
        if outcome.verdict is None:
            return None if outcome.mode == "open" else UNAVAILABLE
        note, outcome = outcome.note, outcome.verdict
    return None if outcome[0] else exceeded(plan.policies, plan.readings(outcome, cost), cost, note)


async def _refusal_later(plan: Plan, outcome: Awaitable[Outcome]) -> Denial | None:
    return _refusal(plan, 1, await outcome)


async def _all(waiting: Iterable[Awaitable[None]]) -> None:
    for one in waiting:
        await one
