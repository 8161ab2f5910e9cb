"""Counters in memory for tests, on a clock that stands until it is told."""

from secure_asgi.rate_limit.counting import Bucket
from secure_asgi.rate_limit.limits import NANOSECONDS, Limit
from secure_asgi.rate_limit.memory import MemoryStore


class Clock:
    """Seconds in, nanoseconds out."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def to(self, seconds):
        self.now = round(seconds * NANOSECONDS)


def buckets_of(limits, burst=None):
    return [Bucket(f"{index}", limit, burst or limit.amount) for index, limit in enumerate(limits)]


def counter_of(limits, *, strategy="sliding-window", clock, max_keys=1000, burst=None, ban=None):
    """A small one has one shard, whose first window begins when it is made."""
    store = MemoryStore(strategy=strategy, max_keys=max_keys, clock=clock, ban=ban)
    return store.counter(buckets_of(limits, burst))


def counter(*limits, **options):
    return counter_of([Limit(*limit) for limit in limits], **options)


def spend(counted, times, key="a", cost=1):
    return [counted.hit(key, cost)[0] for _ in range(times)]


def readings(counted, verdict, cost=1):
    return [counted.read(index, standing, cost) for index, standing in enumerate(verdict[1])]
