"""What a rate limit adds to a FastAPI request: ours, slowapi, fastapi-limiter, throttled-py, and limits by hand."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import redis
import redis.asyncio
from fastapi import Depends, FastAPI
from fastapi import Request as Asked
from fastapi_limiter.depends import RateLimiter
from limits import parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from pyrate_limiter import (
    AbstractBucket,
    BucketFactory,
    Duration,
    InMemoryBucket,
    Limiter,
    MonotonicClock,
    Rate,
    RateItem,
    RedisBucket,
)
from slowapi import Limiter as SlowAPI
from slowapi import _rate_limit_exceeded_handler as answer_too_many
from slowapi.errors import RateLimitExceeded
from slowapi.middleware import SlowAPIASGIMiddleware
from slowapi.util import get_remote_address
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from throttled.asyncio import RateLimiterType, Throttled
from throttled.asyncio import store as throttled_store
from throttled.asyncio.contrib import fastapi as throttled_fastapi

from secure_asgi import RateLimitMiddleware
from secure_asgi.rate_limit.counting import Strategy

from .harness import Request, Rounds, Row, just, measure
from .redis_server import running_redis
from .service import request_scope

HEADERS = [(b"host", b"api.example.com"), (b"user-agent", b"curl/8.14.1"), (b"accept", b"*/*")]
UNREACHED = 10_000
"""A minute: every request is counted, and none refused; more than that a moving window of ours does not take."""
SLIDING_WINDOW = RateLimiterType.SLIDING_WINDOW.value
"""throttled-py's name for it."""
MEMORY = ""
"""Instead of a Redis's URL."""

Build = Callable[[int, str], Any]
"""An application under a limit of so many a minute, counted in the Redis of that URL."""
Decide = Callable[[str], Awaitable[tuple[bool, dict[str, str]]]]
"""Whether a client may, and the fields that tell it how it stands."""


def rows() -> Iterator[Row]:
    for build in VARIANTS.values():
        _require_429(build, MEMORY)
    # All threads count: some of them tidy up in one of their own.
    yield from _compared("memory", "CPU", _measured(MEMORY, 40, time.process_time))
    with running_redis() as url:
        for build in VARIANTS.values():
            _require_429(build, url)
        yield from _compared("Redis", "wall time", _measured(url, 20, time.perf_counter))


def _compared(where: str, clock: str, measured: Rounds) -> Iterator[Row]:
    yield just(f"{where}: a FastAPI request without a limit, {clock}", measured.median("bare"), "us")
    for ours in (SLIDING, MOVING):
        yield just(f"{where}: {ours}, added", measured.added(ours, "bare"), "us")
    for peer, ours in PEERS.items():
        yield just(f"{where}: {peer} / ours, {clock}", measured.ratio(peer, ours, "bare"), "x")


def _measured(url: str, count: int, clock: Callable[[], float]) -> Rounds:
    apps = {"bare": _service()} | {name: build(UNREACHED, url) for name, build in VARIANTS.items()}
    return measure({name: (_request(app), count) for name, app in apps.items()}, clock=clock)


def _require_429(build: Build, url: str) -> None:
    """Raises ``RuntimeError`` for a variant that would not limit anybody, or not in the Redis it is given."""
    if url:
        with redis.Redis.from_url(url) as server:
            server.flushall()
    app = build(2, url)

    async def statuses() -> list[int]:
        found = [await _status(app) for _ in range(3)]
        # For pyrate-limiter's task: interrupted while it tidies up in Redis, it would run on for ever.
        await asyncio.sleep(0.05)
        return found

    found = asyncio.run(statuses())
    if found != [200, 200, 429]:
        raise RuntimeError(f"{build.__name__}: a limit of two answers {found}")
    if url:
        with redis.Redis.from_url(url) as server:
            if not server.dbsize():
                raise RuntimeError(f"{build.__name__}: nothing is counted in Redis")


def _request(app: Any) -> Request:
    async def request() -> None:
        status = await _status(app)
        if status != 200:
            raise RuntimeError(f"an answer under measurement is {status}")

    return request


async def _status(app: Any) -> int:
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    scope = request_scope(HEADERS, client="203.0.113.7")
    await app({**scope, "path": "/orders", "raw_path": b"/orders", "headers": list(HEADERS)}, receive, send)
    return status


def _service(*dependencies: Any) -> FastAPI:
    app = FastAPI()

    @app.get("/orders", dependencies=list(dependencies))
    async def orders() -> dict[str, int]:
        return {"id": 42}

    return app


def _ours(strategy: Strategy) -> Build:
    def ours(amount: int, url: str) -> FastAPI:
        app = _service()
        # Closed: a Redis that is too slow would be an answer of 503, and no figure of a counter in memory.
        storage = {"storage": url, "storage_timeout": 5, "on_outage": "closed"} if url else {}
        app.add_middleware(RateLimitMiddleware, limits=f"{amount}/minute", strategy=strategy, **storage)
        return app

    return ours


def _slowapi(amount: int, url: str) -> FastAPI:
    """With the middleware that is pure ASGI, the quicker of its two. Its client of Redis is a synchronous one: while
    it waits, so does the event loop, which one request at a time does not show."""
    app = _service()
    app.state.limiter = SlowAPI(
        key_func=get_remote_address,
        default_limits=[f"{amount}/minute"],
        headers_enabled=True,
        strategy="sliding-window-counter",
        storage_uri=url or "memory://",
    )
    app.add_exception_handler(RateLimitExceeded, answer_too_many)
    app.add_middleware(SlowAPIASGIMiddleware)
    return app


def _fastapi_limiter(amount: int, url: str) -> FastAPI:
    """A bucket for each client: the ``Limiter(Rate(...))`` of its first page is one for all of them. No fields."""
    rates = [Rate(amount, Duration.MINUTE)]
    factory = _BucketsInRedis(rates, url) if url else _BucketsInMemory(rates)
    return _service(Depends(RateLimiter(limiter=Limiter(factory))))


class _BucketsInMemory(BucketFactory):
    """As pyrate-limiter's page has it."""

    def __init__(self, rates: list[Rate]) -> None:
        self._rates = rates
        self._clock = MonotonicClock()
        self._buckets: dict[str, AbstractBucket] = {}

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        return RateItem(name, self._clock.now(), weight=weight)

    def get(self, item: RateItem) -> AbstractBucket:
        if item.name not in self._buckets:
            self._buckets[item.name] = self.create(InMemoryBucket, self._rates)
        return self._buckets[item.name]


class _BucketsInRedis(BucketFactory):
    def __init__(self, rates: list[Rate], url: str) -> None:
        self._rates = rates
        self._redis = redis.asyncio.Redis.from_url(url)
        self._buckets: dict[str, AbstractBucket] = {}

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        return RateItem(name, time.time_ns() // 1_000_000, weight=weight)

    def get(self, item: RateItem) -> AbstractBucket | Awaitable[AbstractBucket]:
        return self._buckets.get(item.name) or self._made(item.name)

    async def _made(self, name: str) -> AbstractBucket:
        bucket = self._buckets[name] = await RedisBucket.init(self._rates, self._redis, f"limit:{name}")
        self.schedule_leak(bucket)
        return bucket


class _Limited:
    """What one writes when no middleware fits."""

    def __init__(self, app: Any, decide: Decide) -> None:
        self.app = app
        self._decide = decide

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_admitted, fields = await self._decide(scope["client"][0])
        if not is_admitted:
            await JSONResponse({"detail": "Too Many Requests"}, 429, fields)(scope, receive, send)
            return

        async def telling(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(fields)
            await send(message)

        await self.app(scope, receive, telling)


def _on_limits(amount: int, url: str) -> FastAPI:
    storage = RedisStorage(f"async+{url}", implementation="redispy") if url else MemoryStorage()
    limiter = SlidingWindowCounterRateLimiter(storage)
    item = parse(f"{amount}/minute")

    async def decide(client: str) -> tuple[bool, dict[str, str]]:
        is_admitted = await limiter.hit(item, client)
        reset, remaining = await limiter.get_window_stats(item, client)
        return is_admitted, _fields(amount, remaining, reset - time.time())

    app = _service()
    app.add_middleware(_Limited, decide=decide)
    return app


def _throttled(amount: int, url: str) -> FastAPI:
    """As its page for FastAPI has it: a decorator, and a ``BaseHTTPMiddleware`` that writes the fields."""
    limiter = throttled_fastapi.Limiter(
        f"{amount}/m", store=_throttled_store(url), using=SLIDING_WINDOW, key_func=throttled_fastapi.get_remote_address
    )
    app = FastAPI()
    app.add_middleware(throttled_fastapi.RateLimitMiddleware)
    app.add_exception_handler(throttled_fastapi.RateLimitExceededError, throttled_fastapi.rate_limit_exceeded_handler)

    @app.get("/orders")
    @limiter.limit()
    async def orders(request: Asked) -> dict[str, int]:
        return {"id": 42}

    return app


def _on_throttled(amount: int, url: str) -> FastAPI:
    throttle = Throttled(using=SLIDING_WINDOW, quota=f"{amount}/m", store=_throttled_store(url))

    async def decide(client: str) -> tuple[bool, dict[str, str]]:
        result = await throttle.limit(client)
        return not result.limited, _fields(amount, result.state.remaining, result.state.reset_after)

    app = _service()
    app.add_middleware(_Limited, decide=decide)
    return app


def _throttled_store(url: str) -> throttled_store.BaseStore:
    return throttled_store.RedisStore(server=url) if url else throttled_store.MemoryStore()


def _fields(amount: int, remaining: int, reset: float) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(amount),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": str(max(0, round(reset))),
    }


SLIDING = "ours, sliding window"
MOVING = "ours, moving window"
VARIANTS: dict[str, Build] = {
    SLIDING: _ours("sliding-window"),
    MOVING: _ours("moving-window"),
    "limits.aio by hand, sliding window": _on_limits,
    "slowapi, sliding window": _slowapi,
    "throttled-py, sliding window": _throttled,
    "throttled-py by hand, sliding window": _on_throttled,
    "fastapi-limiter, moving window": _fastapi_limiter,
}
PEERS = {name: MOVING if "moving" in name else SLIDING for name in VARIANTS if not name.startswith("ours")}
"""With which of ours each is compared: the one that counts the same way."""
