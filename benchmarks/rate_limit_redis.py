"""What a decision costs in Redis: trips, and wall time beside a PING through the same connection."""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, get_args
from urllib.parse import urlsplit

import redis
from limits import parse
from limits.aio import strategies
from limits.aio.storage import RedisStorage

from secure_asgi._redis import RedisLink
from secure_asgi.rate_limit.counting import Bucket, Strategy
from secure_asgi.rate_limit.limits import Limit
from secure_asgi.rate_limit.redis_store import RedisStore

from .harness import Request, Row, at_most, just, measure
from .rate_limit import PEERS
from .redis_server import running_redis

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
AMOUNT = 100_000_000
"""Nobody is refused: who is refused costs no trip, and would make the figures better than they are."""
CLIENTS = [f"203.0.113.{n & 255}:{n >> 8}" for n in range(500)]
WALL_GOALS = {1: 1.35, 3: 1.75}

Hit = Callable[[str], Awaitable[Any]]


def rows() -> Iterator[Row]:
    with running_redis() as url:
        yield from asyncio.run(_trips(url))
        yield from _wall(url)
        yield from _server(url)
        yield from _refused(url)


async def _trips(url: str) -> list[Row]:
    link = RedisLink(url, timeout=5)
    found = []
    for strategy in STRATEGIES:
        most = max([await _asked(url, _hit(link, strategy, limits)) for limits in (1, 3, 5)])
        found.append(at_most(f"{strategy}: trips of a decision under 1, 3 or 5 limits", most, 1, "trips"))
    await link.close()
    for strategy, limiter in PEERS.items():
        for limits in (1, 3):
            trips = await _asked(url, _limits_hit(url, limiter, limits))
            found.append(just(f"limits.aio, {strategy}: trips of {_number_of(limits)}, with fields", trips, "trips"))
    return found


def _wall(url: str) -> Iterator[Row]:
    link = RedisLink(url, timeout=5)
    variants: dict[str, tuple[Request, int]] = {"ping": (_ping(link), 50), "empty": (_empty_script(link), 50)}
    for strategy in STRATEGIES:
        for limits in WALL_GOALS:
            variants[f"{strategy} {limits}"] = (_in_turn(_admitted(_hit(link, strategy, limits))), 50)
    measured = measure(variants, rounds=61, clock=time.perf_counter)
    yield just("a PING through redis-py", measured.median("ping"), "us")
    for limits, goal in WALL_GOALS.items():
        for strategy in STRATEGIES:
            ratio = measured.ratio(f"{strategy} {limits}", "ping")
            yield at_most(f"{strategy}: {_number_of(limits)} / a PING, wall time", ratio, goal, "x")
    yield just("a script that does nothing, asked as for one limit / a PING", measured.ratio("empty", "ping"), "x")


def _server(url: str) -> Iterator[Row]:
    """What of a decision's wall time is the server at work, as it counts itself: parsing and answering not included."""
    link = RedisLink(url, timeout=5)
    asked = {"a script that does nothing": _empty_script(link)}
    for strategy in STRATEGIES:
        for limits in WALL_GOALS:
            asked[f"{strategy}, {_number_of(limits)}"] = _in_turn(_admitted(_hit(link, strategy, limits)))

    async def run() -> list[Row]:
        found = []
        with redis.Redis.from_url(url) as server:
            for what, request in asked.items():
                await request()
                server.config_resetstat()
                began = time.perf_counter()
                for _ in range(2000):
                    await request()
                wall = time.perf_counter() - began
                inside = server.info("commandstats")["cmdstat_evalsha"]["usec"] / 1e6
                found.append(just(f"{what}: Redis's own share of the wall time", 100 * inside / wall, "%"))
        await link.close()
        return found

    yield from asyncio.run(run())


def _refused(url: str) -> Iterator[Row]:
    link = RedisLink(url, timeout=5)
    counter = RedisStore(link, strategy="sliding-window", namespace="refused").counter([_bucket(1, amount=1)])

    async def refused(client: str) -> None:
        if counter.hit(client, 1)[0]:
            raise RuntimeError("a client that had been refused was asked about, or let in")

    async def run() -> float:
        await counter.hit("203.0.113.9", 1)
        await counter.hit("203.0.113.9", 1)
        trips = await _asked(url, refused, ["203.0.113.9"])
        await link.close()
        return trips

    yield at_most("trips of a client that has been refused", asyncio.run(run()), 0, "trips")

    async def nothing(client: str) -> None:
        pass

    clients = ["203.0.113.9"]
    measured = measure({"refused": (_in_turn(refused, clients), 300), "nothing": (_in_turn(nothing, clients), 300)})
    yield just("its refusal, CPU", measured.added("refused", "nothing"), "us")


def _number_of(limits: int) -> str:
    return "one limit" if limits == 1 else f"{limits} limits"


def _hit(link: RedisLink, strategy: Strategy, limits: int) -> Hit:
    store = RedisStore(link, strategy=strategy, namespace=f"{limits}")
    hit = store.counter([_bucket(n) for n in range(1, limits + 1)]).hit
    return lambda client: hit(client, 1)


def _bucket(number: int, amount: int = AMOUNT) -> Bucket:
    return Bucket(str(number), Limit(amount * number, 60 * number), amount * number)


def _limits_hit(url: str, limiter: type[strategies.RateLimiter], limits: int) -> Hit:
    """As people write it: one limit after the other, then what is left of each."""
    counted = limiter(RedisStorage(f"async+{url}", implementation="redispy", key_prefix=limiter.__name__))
    items = [parse(f"{AMOUNT * n} per {n} minute") for n in range(1, limits + 1)]

    async def hit(client: str) -> None:
        for item in items:
            await counted.hit(item, client)
        for item in items:
            await counted.get_window_stats(item, client)

    return hit


def _ping(link: RedisLink) -> Request:
    async def request() -> None:
        await link.ask("PING")

    return request


def _empty_script(link: RedisLink) -> Request:
    """A trip that carries as much as a decision does: a digest, a key, 40 octets of constants, the cost; and back."""
    digest = ""
    key = "1:{" + "0" * 32 + "}:s60-AAAAAAAAAAAA"

    async def request() -> None:
        nonlocal digest
        if not digest:
            digest = await link.ask("SCRIPT LOAD", "return '1 1700000000000000 99999999 0'")
        await link.ask("EVALSHA", digest, 1, key, bytes(40), 1)

    return request


def _admitted(hit: Hit) -> Hit:
    async def admitted(client: str) -> None:
        if not (await hit(client))[0]:
            raise RuntimeError("a decision under measurement is a refusal")

    return admitted


def _in_turn(hit: Hit, clients: list[str] = CLIENTS) -> Request:
    turn = itertools.cycle(clients)

    async def request() -> None:
        await hit(next(turn))

    return request


async def _asked(url: str, hit: Hit, clients: list[str] = CLIENTS[:20]) -> float:
    """Commands that Redis is asked for one decision; first come what only the first brings: a connection, a script."""
    await hit(clients[0])
    async with _monitor(url) as asked:
        for client in clients:
            await hit(client)
        return await asked() / len(clients)


@asynccontextmanager
async def _monitor(url: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Counts what clients ask from now on, without what scripts do inside Redis."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(b"MONITOR\r\n")
    await reader.readline()

    async def asked() -> int:
        with redis.Redis.from_url(url) as client:
            client.echo("the end")
        count = 0
        while b'"the end"' not in (line := await reader.readline()):
            found = re.match(rb'\+[\d.]+ \[\d+ (\S+)\] "(\w+)"', line)
            if found is None:
                raise RuntimeError(f"not a line of MONITOR: {line!r}")
            # The last client introduces itself.
            count += found[1] != b"lua" and found[2].upper() not in (b"CLIENT", b"HELLO", b"SELECT")
        return count

    yield asked
    writer.close()
    await writer.wait_closed()
