"""What a decision costs: in memory, with one key and with a million, beside the limits library; and one key's bytes."""

import gc
import itertools
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from limits import parse
from limits.aio import storage, strategies
from limits.aio.strategies import RateLimiter

from secure_asgi.rate_limit.counting import Bucket, Strategy
from secure_asgi.rate_limit.limits import Limit
from secure_asgi.rate_limit.memory import MemoryStore

from .harness import Request, Row, at_least, at_most, just, measure

MILLION = 1_000_000
AMOUNT = 100_000_000
HITS = 10
"""In one request of the harness, so that the coroutine around them weighs little."""
PEERS: dict[Strategy, type[RateLimiter]] = {
    "sliding-window": strategies.SlidingWindowCounterRateLimiter,
    "fixed-window": strategies.FixedWindowRateLimiter,
    "moving-window": strategies.MovingWindowRateLimiter,
}


def rows() -> Iterator[Row]:
    yield from _one_key()
    yield from _many_keys()
    yield from _room()
    yield at_most("longest pause of 1 M new clients, sliding window", _longest_pause(), 1, "ms")


def _one_key() -> Iterator[Row]:
    variants: dict[str, tuple[Request, int]] = {"nothing": (_nothing, 300)}
    for strategy in ("sliding-window", "fixed-window", "moving-window", "gcra"):
        variants[strategy] = (_hits(_hit_of(strategy), itertools.repeat("203.0.113.9")), 300)
    variants["three limits"] = (_hits(_hit_of("sliding-window", 3), itertools.repeat("203.0.113.9")), 300)
    item = parse(f"{AMOUNT}/minute")
    for strategy, peer in PEERS.items():
        limiter = peer(storage.MemoryStorage())
        variants[f"limits: {strategy}"] = (_awaited(lambda limiter=limiter: limiter.hit(item, "203.0.113.9")), 300)
    measured = measure(variants)
    yield at_most("sliding window: a hit on one key", measured.added("sliding-window", "nothing") / HITS, 0.5, "us")
    for strategy in ("fixed-window", "moving-window", "gcra"):
        yield just(f"{strategy}: a hit on one key", measured.added(strategy, "nothing") / HITS, "us")
    yield just("sliding window: three limits at once", measured.added("three limits", "nothing") / HITS, "us")
    for strategy in PEERS:
        ratio = measured.ratio(f"limits: {strategy}", strategy, "nothing")
        yield at_least(f"{strategy}: limits.aio / ours, one key", ratio, 10, "x")


def _many_keys() -> Iterator[Row]:
    names = [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(MILLION)]
    for strategy in ("sliding-window", "gcra"):
        one, million = _hit_of(strategy), _hit_of(strategy, max_keys=2 * MILLION)
        for name in names:
            million(name, 1)
        if len(million.__self__) != MILLION:
            raise RuntimeError("some of the million keys have been forgotten")
        measured = measure(
            {
                "nothing": (_nothing, 300),
                "one": (_hits(one, _texts(["203.0.113.9"] * 1000)), 300),
                "million": (_hits(million, _texts(names[:: MILLION // 1000])), 300),
            }
        )
        ratio = measured.ratio("million", "one", "nothing")
        yield at_most(f"{strategy}: with 1 M keys / with one", ratio, 1.3, "x")


def _room() -> Iterator[Row]:
    for strategy in ("sliding-window", "gcra"):
        hit = _hit_of(strategy, max_keys=1_000_000)
        gc.collect()
        tracemalloc.start()
        for number in range(200_000):
            hit(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        yield at_most(f"{strategy}: memory of a key", taken / 200_000, 130, "B")


def _longest_pause() -> float:
    """Milliseconds that one hit took at most, when a million addresses come by once and none comes back."""
    hit = _hit_of("sliding-window")
    names = [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(MILLION)]
    longest = 0.0
    clock = time.thread_time
    for name in names:
        began = clock()
        hit(name, 1)
        longest = max(longest, clock() - began)
    return longest * 1e3


def _hit_of(strategy: Strategy, limits: int = 1, *, max_keys: int = 250_000) -> Callable[..., Any]:
    buckets = [Bucket(str(n), Limit(AMOUNT * n, 60 * n), AMOUNT * n) for n in range(1, limits + 1)]
    return MemoryStore(strategy=strategy, max_keys=max_keys).counter(buckets).hit


def _hits(hit: Callable[..., Any], keys: Iterator[str]) -> Request:
    async def request() -> None:
        for _ in range(HITS):
            hit(next(keys), 1)

    return request


def _texts(names: list[str]) -> Iterator[str]:
    """Objects of their own, over and over: in every request the address is a new text."""
    return itertools.cycle([name[:1] + name[1:] for name in names])


def _awaited(ask: Callable[[], Any]) -> Request:
    async def request() -> None:
        for _ in range(HITS):
            await ask()

    return request


async def _nothing() -> None:
    for _ in range(HITS):
        pass
