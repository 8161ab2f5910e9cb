"""A limit on how many requests run at once: the others wait a little, in a fair queue, or are told to come back."""

import math
import time
from asyncio import AbstractEventLoop, Future, get_running_loop
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from datetime import date
from typing import Any, Literal, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from .._asgi import ASGIApp, RawHeaders, Scope
from .._identities import address_key, principal_key, read_mask
from .._loop import refuse_trio
from ..denial import Denial, Reason
from ..errors import ConfigurationError
from ..exchange import Decision, Exchange
from ..flow import Layer
from .adaptive import Adaptive, Gradient
from .gate import Gate, KeyedGate, Shares, State, Waiter, divide
from .priority import NORMAL, PriorityFunction, read_priority, read_shares

REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"

_REASONS = {
    State.TIMED_OUT: Reason.THROTTLE_TIMEOUT,
    State.SHED: Reason.THROTTLE_SHED,
    State.CROWDED_OUT: Reason.THROTTLED,
}


class Load(NamedTuple):
    """How many requests hold a slot, how many wait, and how many slots there are (for each key, if there are keys)."""

    running: int
    waiting: int
    limit: int


class _Held(Protocol):
    """What a request has to give back at its end: a slot, or its place in the queue."""

    def release(self) -> None: ...


class _Timed:
    """A slot of which is known since when it is held, until the answer begins."""

    __slots__ = ("_held", "since")

    def __init__(self, held: _Held, since: float) -> None:
        self._held = held
        self.since: float | None = since

    def release(self) -> None:
        self._held.release()


class _Counts:
    """What is counted in one event loop."""

    __slots__ = ("gates", "gradient", "server")

    def __init__(self, server: Gate | None, gradient: Gradient | None) -> None:
        self.server = server
        self.gradient = gradient
        self.gates: dict[Hashable, KeyedGate] = {}


class ThrottleMiddleware(Layer):
    """Lets ``max_concurrent`` requests run at once; the next ``queue`` wait, up to ``queue_timeout`` seconds.

    ``per`` is whose slots they are: the ``"server"``'s, or those of each ``"client"`` (trusted address) or
    ``"principal"`` (the address where there is none). The server's queue is fair among clients. ``priority`` is a
    mapping of paths to ``"critical"``, ``"normal"`` and ``"low"``, or a plain function of ``(exchange, scope)`` that
    returns one: higher classes go first, and ``shares`` are the parts of slots and queue that ``"normal"`` (0.9) and
    ``"low"`` (0.5) may use. ``shed=Adaptive(...)`` lowers the server's limit as answers become slow,
    ``max_concurrent`` being its ceiling. ``retry_after`` seconds that a refused client is told to wait, and up to twice
    as many, so that not all come back at once. ``ipv6_prefix`` the bits of an IPv6 address that count as one client.
    ``clock`` is for tests: seconds.

    A slot is held until the request has ended: by a stream or a WebSocket as long as it lives. Each event loop counts
    for itself. Needs asyncio. Not checked: how long a request takes, or whether a client that waits is still there.
    """

    name = "throttle"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        max_concurrent: int,
        queue: int = 0,
        queue_timeout: float = 1.0,
        per: Literal["server", "client", "principal"] = "server",
        priority: PriorityFunction | Mapping[str, str] | None = None,
        shares: Mapping[str, float] | None = None,
        shed: Adaptive | None = None,
        retry_after: int = 1,
        ipv6_prefix: int = 56,
        clock: Callable[[], float] = time.perf_counter,
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        _check_numbers(max_concurrent, queue, queue_timeout, retry_after)
        if per not in ("server", "client", "principal"):
            raise ConfigurationError(f'per= is "server", "client" or "principal", got {per!r}')
        _check_adaptive(shed, per, max_concurrent)
        self._rank = read_priority(priority)
        self._shares: Shares = read_shares(shares, is_ranked=self._rank is not None)
        self._ceilings = divide(max_concurrent, self._shares)
        self._rooms = divide(queue, self._shares)
        self._max_concurrent = max_concurrent
        self._timeout = queue_timeout
        self._is_shared = per == "server"
        self._by_principal = per == "principal"
        self._adaptive = shed
        self._retry_after = retry_after
        self._refused = 0
        self._inner_passes = object()  # a key of the memo
        self._mask = read_mask(ipv6_prefix)
        self._clock = clock
        self._counts: WeakKeyDictionary[AbstractEventLoop, _Counts] = WeakKeyDictionary()
        # One tuple, read at once: another thread's loop cannot come between its halves.
        self._latest: tuple[AbstractEventLoop | None, _Counts] = (None, _Counts(None, None))
        self.idle_hooks = frozenset() if shed else frozenset(("on_response",))
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt, place=self.slot(per=per))

    @classmethod
    def slot(cls, **options: Any) -> str:
        """The server's slots innermost: nobody holds one of them while it waits for one of its own."""
        return f"throttle:{options.get('per', 'server')}"

    async def on_startup(self, scope: Scope) -> None:
        refuse_trio("ThrottleMiddleware needs asyncio: run the server with it, or leave the layer out")

    @property
    def refusal_status(self) -> int:
        """503 where the server is short of capacity; 429 where it is the client's own quota that is used up."""
        return 503 if self._is_shared else 429

    @property
    def load(self) -> Load:
        """As it stands now, over all keys and event loops; for metrics and tests."""
        running = waiting = 0
        limit = self._max_concurrent
        if self._adaptive is not None:
            limit = min(limit, self._adaptive.initial)
        for counts in list(self._counts.values()):
            for gate in (counts.server, *counts.gates.values()):
                if gate is not None:
                    running += gate.running
                    waiting += gate.waiting
            if counts.gradient is not None:
                limit = counts.gradient.limit
        return Load(running, waiting, limit)

    def on_request(self, exchange: Exchange, scope: Scope) -> Denial | Decision | Awaitable[Denial | None] | None:
        memo = exchange.memo
        if self in memo:
            self._enter_again(memo)
            return None  # it has its slot, and must not wait for itself
        rank = NORMAL if self._rank is None else self._rank(exchange, scope)
        loop = get_running_loop()
        known, counts = self._latest
        if known is not loop:
            counts = self._counts_of(loop)
        gate = counts.server or self._gate_of(exchange, counts)
        if gate.running < gate.ceilings[rank]:
            memo[self] = gate if self._adaptive is None else _Timed(gate, self._clock())
            gate.running += 1
            return None
        if exchange.shadowed(self):
            return self._watch(exchange, gate, rank)
        return self._queue(exchange, gate, rank, loop)

    def on_exempt(self, exchange: Exchange, scope: Scope) -> None:
        if self in exchange.memo:
            self._enter_again(exchange.memo)

    def on_response(self, exchange: Exchange, headers: RawHeaders) -> None:
        """The head is what is timed: how long a stream goes on is not for the server to choose."""
        held = exchange.memo.get(self)
        status = exchange.status or 0
        if type(held) is _Timed and status != 101:
            # A quick answer that any client can provoke (404, 401) must not become the measure of what is fast.
            self._observe(held, failed=status >= 400)

    def on_end(self, exchange: Exchange) -> None:
        memo = exchange.memo
        if memo.get(self._inner_passes):
            memo[self._inner_passes] -= 1
            return
        held: _Held | None = memo.pop(self, None)
        if held is None:
            return
        try:
            if type(held) is _Timed and exchange.status is None:
                self._observe(held, failed=True)  # it failed without an answer, or its client would wait no longer
        finally:
            held.release()

    def _enter_again(self, memo: dict[Any, Any]) -> None:
        """The request was handed to the whole application once more: that pass must not give the slot back."""
        memo[self._inner_passes] = memo.get(self._inner_passes, 0) + 1

    def _observe(self, held: _Timed, *, failed: bool) -> None:
        """Once for each request."""
        if held.since is None:
            return
        seconds, held.since = self._clock() - held.since, None
        counts = self._counts_of(get_running_loop())
        gradient, gate = counts.gradient, counts.server
        if gradient and gate and gradient.observe(seconds, gate.running, failed=failed):
            gate.resize(divide(gradient.limit, self._shares))

    def _counts_of(self, loop: AbstractEventLoop) -> _Counts:
        counts = self._counts.get(loop)
        if counts is None:
            gradient = Gradient(self._adaptive, self._max_concurrent, self._clock) if self._adaptive else None
            ceilings = divide(gradient.limit, self._shares) if gradient else self._ceilings
            counts = _Counts(Gate(ceilings, self._rooms) if self._is_shared else None, gradient)
            self._counts[loop] = counts
        self._latest = (loop, counts)
        return counts

    def _gate_of(self, exchange: Exchange, counts: _Counts) -> Gate:
        who = exchange.principal if self._by_principal else None
        key = self._client(exchange) if who is None else principal_key(who)
        gate = counts.gates.get(key)
        return KeyedGate(counts.gates, key, self._ceilings, self._rooms) if gate is None else gate

    def _client(self, exchange: Exchange) -> Hashable:
        return address_key(exchange.client, self._mask)

    def _watch(self, exchange: Exchange, gate: Gate, rank: int) -> Denial | Decision:
        """In shadow nobody waits: who would have, runs above the limit, and is counted."""
        over = gate.running - gate.ceilings[rank]
        gate.running += 1
        exchange.memo[self] = gate
        if over < gate.rooms[rank]:
            return Decision(self.place, "shadow", Reason.THROTTLED, "would have waited")
        return self._refusal(Reason.THROTTLED, gate)

    def _queue(
        self, exchange: Exchange, gate: Gate, rank: int, loop: AbstractEventLoop
    ) -> Denial | Awaitable[Denial | None]:
        if not gate.rooms[rank]:
            return self._full(gate)
        ready: Future[None] = loop.create_future()

        def wake() -> None:
            # The future of a cancelled waiter is done before its request has ended.
            if not (ready.done() or loop.is_closed()):
                ready.set_result(None)

        waiter = gate.join(rank, self._client(exchange), wake)
        if waiter is None:
            return self._full(gate)
        exchange.memo[self] = waiter
        return self._wait(exchange, waiter, ready)

    async def _wait(self, exchange: Exchange, waiter: Waiter, ready: "Future[None]") -> Denial | None:
        """Cancelled or not, and granted or not by then: what the waiter has is given back in ``on_end``."""
        timer = ready.get_loop().call_later(self._timeout, waiter.expire)
        try:
            await ready
        finally:
            timer.cancel()
        if waiter.state is not State.GRANTED:
            return self._refusal(_REASONS[waiter.state], waiter.gate)
        if self._adaptive is not None:
            exchange.memo[self] = _Timed(waiter, self._clock())
        return None

    def _full(self, gate: Gate) -> Denial:
        return self._refusal(Reason.THROTTLE_SHED if gate.has_room_for_highest else Reason.THROTTLED, gate)

    def _refusal(self, reason: Reason, gate: Gate) -> Denial:
        # Spread evenly, and not at random: nobody is told to come back with everybody else (RL-7).
        wait = self._retry_after + self._refused % (self._retry_after + 1)
        self._refused += 1
        note = f"{gate.running} of {gate.ceilings[0]} run, {gate.waiting} of {gate.rooms[0]} wait"
        headers = ((b"retry-after", b"%d" % wait),)
        if self._is_shared:
            return Denial(
                reason,
                self.refusal_status,
                "The server is busy. Wait as long as Retry-After says, and repeat this request.",
                title="Temporary Reduced Capacity",
                type=REDUCED_CAPACITY,
                headers=headers,
                note=note,
            )
        return Denial(
            reason,
            self.refusal_status,
            "Too many requests at once. Wait for others to end, or as long as Retry-After says, and repeat this one.",
            title="Quota Exceeded",
            type=QUOTA_EXCEEDED,
            headers=headers,
            note=note,
        )


def _check_numbers(max_concurrent: int, queue: int, queue_timeout: float, retry_after: int) -> None:
    if type(max_concurrent) is not int or max_concurrent < 1:
        raise ConfigurationError(f"max_concurrent= is a number of requests, at least 1, got {max_concurrent!r}")
    if type(queue) is not int or queue < 0:
        raise ConfigurationError(f"queue= is a number of requests that may wait, 0 for none, got {queue!r}")
    if type(queue_timeout) not in (int, float) or not 0 < queue_timeout < math.inf:
        raise ConfigurationError(f"queue_timeout= is a number of seconds above 0, got {queue_timeout!r}")
    if type(retry_after) is not int or retry_after < 1:
        raise ConfigurationError(f"retry_after= is a whole number of seconds, at least 1, got {retry_after!r}")


def _check_adaptive(shed: Adaptive | None, per: str, max_concurrent: int) -> None:
    if shed is None:
        return
    if not isinstance(shed, Adaptive):
        raise ConfigurationError(f"shed= is Adaptive(...) or None, got {shed!r}")
    if per != "server":
        raise ConfigurationError(f'shed= learns what the server can take: it goes with per="server", not {per!r}')
    if shed.min_limit > max_concurrent:
        raise ConfigurationError(
            f"max_concurrent= is the ceiling of Adaptive(min_limit={shed.min_limit}), got {max_concurrent!r}"
        )
