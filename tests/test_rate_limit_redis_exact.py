"""Each strategy's Lua against a plain model of it, under the test's own clock; and real processes against one Redis."""

import asyncio
import os
import subprocess
import sys
from collections import Counter as Tally
from fractions import Fraction
from math import ceil, floor

import pytest
import redis.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_asgi._redis import RedisLink
from secure_asgi.rate_limit import redis_scripts
from secure_asgi.rate_limit.counting import Bucket
from secure_asgi.rate_limit.limits import Limit
from secure_asgi.rate_limit.redis_store import RedisStore

from .redis_server import running_redis

STRATEGIES = ("fixed-window", "sliding-window", "moving-window", "gcra")
SECOND = 1_000_000
BEGIN = 1_700_000_000 * SECOND


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


def use_fake_clock(monkeypatch):
    """The scripts read two keys of Redis instead of its clock."""
    real = redis_scripts.read_part

    def read(name):
        text = real(name)
        if name == "prologue":
            assert text.count("redis.call('TIME')") == 1
            text = text.replace("redis.call('TIME')", "redis.call('MGET', 'clock:s', 'clock:us')")
        return text

    monkeypatch.setattr(redis_scripts, "read_part", read)


class World:
    """A store under a clock that is told. It asks Redis every time: refusals are not remembered."""

    def __init__(self, url, strategy, **options):
        self.link = RedisLink(url, timeout=20)
        self.store = RedisStore(self.link, strategy=strategy, namespace="model", **options)
        self.store.longest_denial = 0

    async def at(self, moment):
        """Microseconds since ``BEGIN``."""
        seconds, rest = divmod(BEGIN + moment, SECOND)
        await self.link.ask("MSET", "clock:s", seconds, "clock:us", rest)

    async def hit(self, counter, moment, cost=1, key="k"):
        await self.at(moment)
        return await counter.hit(key, cost)


# The models: integers and fractions, no packing, no expiry, nothing forgotten.


class FixedModel:
    """What is looked at and not charged leaves no trace: a window begins with a charge."""

    def __init__(self, bucket):
        self.amount, self.window = bucket.limit.amount, bucket.limit.seconds * SECOND
        self.kept = None

    def look(self, now):
        begin, spent = self.kept or (now, 0)
        self.begin, self.spent = (begin, spent) if now < begin + self.window else (now, 0)

    def keep(self):
        self.kept = self.begin, self.spent

    def fits(self, now, units):
        self.look(now)
        return self.spent + units <= self.amount

    def charge(self, now, units):
        self.spent += units
        self.keep()

    def free(self, now):
        return max(0, self.amount - self.spent)

    def wait(self, now, units):
        return self.begin + self.window - now

    def give_back(self, now, charge, units):
        self.look(now)
        if charge >= self.begin:
            self.spent = max(0, self.spent - units)
            self.keep()


class SlidingModel(FixedModel):
    def look(self, now):
        begin, spent, previous = self.kept or (now, 0, 0)
        if now >= begin + 2 * self.window:
            begin, spent, previous = now, 0, 0
        elif now >= begin + self.window:
            begin, spent, previous = begin + self.window, 0, spent
        self.begin, self.spent, self.previous = begin, spent, previous

    def keep(self):
        self.kept = self.begin, self.spent, self.previous

    def use(self, moment):
        """previous * (1 - f) + current, at a moment of this window or the next, if nothing more is spent."""
        passed = Fraction(moment - self.begin, self.window)
        if passed < 1:
            return self.previous * (1 - passed) + self.spent
        return self.spent * max(0, 2 - passed)

    def fits(self, now, units):
        self.look(now)
        return self.use(now) + units <= self.amount

    def free(self, now):
        return max(0, floor(self.amount - self.use(now)))

    def wait(self, now, units):
        low, high = now, self.begin + 2 * self.window
        while low < high:
            middle = (low + high) // 2
            if self.use(middle) + units <= self.amount:
                high = middle
            else:
                low = middle + 1
        return low - now

    def give_back(self, now, charge, units):
        self.look(now)
        if charge >= self.begin:
            self.spent = max(0, self.spent - units)
            self.keep()
        elif charge >= self.begin - self.window:
            self.previous = max(0, self.previous - units)
            self.keep()


class MovingModel:
    def __init__(self, bucket):
        self.amount, self.window = bucket.limit.amount, bucket.limit.seconds * SECOND
        self.charges = []

    def used(self, now):
        return sum(units for time, units in self.charges if time > now - self.window)

    def fits(self, now, units):
        return self.used(now) + units <= self.amount

    def charge(self, now, units):
        self.charges.append((now, units))

    def free(self, now):
        return max(0, self.amount - self.used(now))

    def wait(self, now, units):
        moments = sorted(time + self.window for time, _ in self.charges if time + self.window > now)
        return next(moment for moment in moments if self.fits(moment, units)) - now

    def give_back(self, now, charge, units):
        for index in reversed(range(len(self.charges))):
            time, cost = self.charges[index]
            if time == charge and cost >= units and time > now - self.window:
                self.charges[index] = (time, cost - units)
                return


class GCRAModel:
    """Virtual scheduling (RL-12), in fractions of a microsecond. A queue: what is given back must still be in it."""

    def __init__(self, bucket):
        self.unit = Fraction(bucket.limit.seconds * SECOND, bucket.limit.amount)
        self.burst, self.amount = bucket.burst, bucket.limit.amount
        self.tat = Fraction(0)

    def fits(self, now, units):
        return max(self.tat, now) + units * self.unit - now <= self.burst * self.unit

    def charge(self, now, units):
        self.tat = max(self.tat, now) + units * self.unit

    def free(self, now):
        return max(0, floor(self.burst - max(0, self.tat - now) / self.unit))

    def wait(self, now, units):
        return ceil(max(self.tat, now) + units * self.unit - self.burst * self.unit - now)


MODELS = dict(zip(STRATEGIES, (FixedModel, SlidingModel, MovingModel, GCRAModel), strict=True))

LIMITS = [
    (Bucket("three", Limit(3, 30), 3),),
    (Bucket("seven", Limit(7, 60), 7),),
    (Bucket("quick", Limit(5, 20), 2), Bucket("slow", Limit(11, 70), 11), Bucket("odd", Limit(13, 97), 7)),
]
STEPS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 3), st.integers(0, 12 * SECOND), st.sampled_from([20, 30, 60, 70, 97, 200])),
        st.integers(1, 2),
    ),
    max_size=40,
)


def test_the_vector(server, monkeypatch):
    """RL-13: q=3, w=3, burst=3."""
    use_fake_clock(monkeypatch)

    async def run():
        world = World(server.url, "gcra")
        await world.link.ask("FLUSHALL")
        counter = world.store.counter([Bucket("v", Limit(3, 3), 3)])
        told = []
        for seconds in (0, 0, 0, 0, 1, 1.5, 10):
            admitted, ((free, wait),), _ = await world.hit(counter, int(seconds * SECOND))
            told.append((admitted, free if admitted else wait / 1e9))
        await world.store.close()
        return told

    assert asyncio.run(run()) == [
        (True, 2),
        (True, 1),
        (True, 0),
        (False, 1.0),
        (True, 0),
        (False, 0.5),
        (True, 2),
    ]


@pytest.mark.parametrize("buckets", LIMITS, ids=["3", "7", "all-or-nothing"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_as_the_model(server, monkeypatch, strategy, buckets):
    """RL-12, RL-14: the same verdicts and the same readings, to the microsecond; all buckets are charged, or none."""
    use_fake_clock(monkeypatch)
    world = World(server.url, strategy)
    counter = world.store.counter(buckets)

    async def play(steps):
        await world.link.ask("FLUSHALL")
        models = [MODELS[strategy](bucket) for bucket in buckets]
        moment = 0
        for ahead, cost in steps:
            moment += ahead * SECOND if ahead in (20, 30, 60, 70, 97, 200) else ahead
            verdict = await world.hit(counter, moment, cost)
            now = BEGIN + moment
            expected = False not in [model.fits(now, cost) for model in models]
            if expected:
                for model in models:
                    model.charge(now, cost)
            readings = []
            for model, bucket in zip(models, buckets, strict=True):
                free = model.free(now)
                more = (free // cost + 1) * cost
                room = bucket.burst if strategy == "gcra" else bucket.limit.amount
                readings.append((free, model.wait(now, more) * 1000 if more <= room else 0))
            assert verdict[:2] == (expected, tuple(readings))

    with asyncio.Runner() as runner:

        @settings(max_examples=60, deadline=None, derandomize=True)
        @given(STEPS)
        def compare(steps):
            runner.run(play(steps))

        compare()
        runner.run(world.store.close())


@pytest.mark.parametrize("strategy", ["fixed-window", "sliding-window", "moving-window"])
def test_settling_as_the_model(server, monkeypatch, strategy):
    """Gives back what still counts, wherever the windows have moved."""
    use_fake_clock(monkeypatch)
    bucket = Bucket("b", Limit(9, 30), 9)
    world = World(server.url, strategy)
    counter = world.store.counter([bucket])

    async def play(steps):
        await world.link.ask("FLUSHALL")
        model, moment, open_charges = MODELS[strategy](bucket), 0, []
        for ahead, cost, kept in steps:
            moment += ahead
            now = BEGIN + moment
            verdict = await world.hit(counter, moment, cost)
            if model.fits(now, cost):
                model.charge(now, cost)
                open_charges.append((now, verdict, cost, min(cost, kept)))
            if len(open_charges) > 1:
                at, settled, reserved, real = open_charges.pop(0)
                model.give_back(now, at, reserved - real)
                done = counter.settle("k", settled, reserved, real)
                if done is not None:
                    await done
            ((_, (free, _)),) = await world.store.standing("k", [bucket])
            model.fits(now, 1)
            assert free == model.free(now)

    with asyncio.Runner() as runner:

        @settings(max_examples=60, deadline=None, derandomize=True)
        @given(st.lists(st.tuples(st.integers(1, 20 * SECOND), st.integers(1, 5), st.integers(0, 5)), max_size=25))
        def compare(steps):
            runner.run(play(steps))

        compare()
        runner.run(world.store.close())


def test_gcra_gives_back_no_more_than_its_limit_admits(server, monkeypatch):
    """Whatever is given back, and whenever: in no stretch of time is more really spent than burst + rate * time."""
    use_fake_clock(monkeypatch)
    bucket = Bucket("b", Limit(10, 10), 6)
    world = World(server.url, "gcra")
    counter = world.store.counter([bucket])

    async def play(steps):
        await world.link.ask("FLUSHALL")
        moment, open_charges, spent = 0, [], []
        for ahead, cost, kept, which in steps:
            moment += ahead * SECOND // 4
            verdict = await world.hit(counter, moment, cost)
            if verdict[0]:
                real = min(cost, kept)
                spent.append((moment, real))
                open_charges.append((verdict, cost, real))
            if open_charges and which < len(open_charges):
                settled, reserved, real = open_charges.pop(which)
                if done := counter.settle("k", settled, reserved, real):
                    await done
        for first, (begin, _) in enumerate(spent):
            total = 0
            for end, real in spent[first:]:
                total += real
                assert total <= bucket.burst + Fraction(end - begin, SECOND)

    with asyncio.Runner() as runner:

        @settings(max_examples=120, deadline=None, derandomize=True)
        @given(
            st.lists(
                st.tuples(st.integers(0, 12), st.integers(1, 6), st.integers(0, 6), st.integers(0, 3)), max_size=30
            )
        )
        def compare(steps):
            runner.run(play(steps))

        compare()
        runner.run(world.store.close())


def test_gcra_gives_back_what_has_not_drained(server, monkeypatch):
    """All of it at once; a part later; nothing that was given back by another charge, or has drained."""
    use_fake_clock(monkeypatch)
    bucket = Bucket("b", Limit(20, 20), 20)

    async def run():
        world = World(server.url, "gcra")
        counter = world.store.counter([bucket])

        async def free():
            ((_, (units, _)),) = await world.store.standing("k", [bucket])
            return units

        await world.link.ask("FLUSHALL")
        verdict = await world.hit(counter, 0, 10)
        await counter.settle("k", verdict, 10, 0)
        assert await free() == 20
        first = await world.hit(counter, 0, 10)
        second = await world.hit(counter, 0, 5)
        await world.at(1 * SECOND)
        await counter.settle("k", first, 10, 0)
        assert await free() == 15  # 15 charged, 1 drained, and 9 of the first were there
        await world.hit(counter, 5_500_000, 5)
        await counter.settle("k", second, 5, 0)
        assert await free() == 15  # half a unit of the second had not drained yet
        await world.at(60 * SECOND)
        await counter.settle("k", second, 5, 0)
        assert await free() == 20
        await world.store.close()

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_debt(server, monkeypatch, strategy):
    """More than fits is charged all the same, and is over after a window more at the latest."""
    use_fake_clock(monkeypatch)
    bucket = Bucket("b", Limit(10, 10), 10)

    async def run():
        world = World(server.url, strategy)
        counter = world.store.counter([bucket])
        await world.link.ask("FLUSHALL")
        verdict = await world.hit(counter, 0, 4)
        await counter.settle("k", verdict, 4, 9)
        ((_, (free, _)),) = await world.store.standing("k", [bucket])
        assert free == 1
        await counter.settle("k", verdict, 4, 10**9)
        ((_, (free, wait)),) = await world.store.standing("k", [bucket])
        assert free == 0
        assert 0 < wait <= 20 * 10**9
        assert (await world.hit(counter, 1, 1))[0] is False
        assert (await world.hit(counter, 20 * SECOND, 10))[0] is True
        await world.store.close()

    asyncio.run(run())


@pytest.mark.parametrize("amount", [1, 7, 1_000_000_000], ids=str)
@pytest.mark.parametrize("seconds", [1, 3600, 31_536_000, 31_536_001 * 30], ids=str)
@pytest.mark.parametrize("strategy", ["sliding-window", "gcra"])
def test_large_numbers_stay_exact(server, monkeypatch, strategy, amount, seconds):
    """The whole amount at once, and not one unit more until its time has come; then one (RL-12)."""
    use_fake_clock(monkeypatch)

    async def run():
        world = World(server.url, strategy)
        counter = world.store.counter([Bucket("b", Limit(amount, seconds), amount)])
        await world.link.ask("FLUSHALL")
        assert (await world.hit(counter, 0, amount))[:2] == (True, ((0, pytest.approx(0, abs=4e9 * seconds)),))
        admitted, ((free, wait),), _ = await world.hit(counter, 0, 1)
        assert (admitted, free) == (False, 0)
        assert (await world.hit(counter, wait // 1000 - 1, 1))[0] is False
        assert (await world.hit(counter, wait // 1000, 1))[0] is True
        await world.store.close()

    asyncio.run(run())


@pytest.mark.parametrize("back", [0.001, 5, 100_000], ids=["a-millisecond", "half-a-window", "a-day"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_clock_goes_back(server, monkeypatch, strategy, back):
    """RL-14: no more than the amount, and nobody is locked out for longer than a few windows, asking all the time."""
    use_fake_clock(monkeypatch)

    async def run():
        world = World(server.url, strategy)
        counter = world.store.counter([Bucket("b", Limit(10, 10), 10)])
        await world.link.ask("FLUSHALL")
        assert (await world.hit(counter, 0, 10))[0]
        begin = -int(back * SECOND)
        moments = range(begin, begin + 31 * SECOND, SECOND // 4)
        admitted = [moment - begin for moment in moments if (await world.hit(counter, moment, 1))[0]]
        assert len(admitted) >= 10
        assert admitted[0] > 0
        # 31 seconds of a limit of 10 in 10 have room for 31, and a fixed window for one amount more at each edge.
        assert len(admitted) <= 40
        await world.store.close()

    asyncio.run(run())


def test_a_charge_from_the_future_gives_nothing_back(server, monkeypatch):
    use_fake_clock(monkeypatch)

    async def run():
        world = World(server.url, "fixed-window")
        bucket = Bucket("b", Limit(10, 10), 10)
        counter = world.store.counter([bucket])
        await world.link.ask("FLUSHALL")
        verdict = await world.hit(counter, 0, 4)
        await world.at(-5 * SECOND)
        await counter.settle("k", verdict, 4, 0)
        ((_, (free, _)),) = await world.store.standing("k", [bucket])
        assert free == 6
        await world.store.close()

    asyncio.run(run())


def test_a_long_log_is_walked_in_batches(server, monkeypatch):
    """Moving window: hundreds of charges leave at once, are waited for at once, and are found from the end."""
    use_fake_clock(monkeypatch)

    async def run():
        world = World(server.url, "moving-window")
        bucket = Bucket("b", Limit(250, 10), 250)
        counter = world.store.counter([bucket])
        await world.link.ask("FLUSHALL")
        verdicts = [await world.hit(counter, index, 1) for index in range(250)]
        admitted, ((free, wait),), _ = await world.hit(counter, 300, 230)
        assert (admitted, free, wait) == (False, 0, (229 + 10 * SECOND - 300) * 1000)
        await counter.settle("k", verdicts[20], 1, 0)  # the third batch from the end
        ((_, (free, _)),) = await world.store.standing("k", [bucket])
        assert free == 1
        await counter.settle("k", verdicts[20], 1, 0)  # it is gone
        assert (await world.store.standing("k", [bucket]))[0][1][0] == 1
        await counter.settle("k", (True, (), (verdicts[0][2][0] - 1, b"")), 1, 0)  # nor was there any such charge
        await world.at(10 * SECOND + 204)
        ((_, (free, _)),) = await world.store.standing("k", [bucket])
        assert free == 205
        await world.at(30 * SECOND)
        assert (await world.store.standing("k", [bucket]))[0][1] == (250, 0)
        await world.store.close()

    asyncio.run(run())


# Processes. Each runs this file as a program.

PROCESSES, TASKS = 4, 64


async def _spend(url, strategy, amount):
    """How many of some hits were admitted, by the microsecond of the charge; waits are not believed."""
    store = RedisStore(RedisLink(redis.asyncio.Redis.from_url(url), timeout=60), strategy=strategy, namespace="many")
    store.longest_denial = 0
    counter = store.counter([Bucket("hour", Limit(amount, 3600), amount), Bucket("day", Limit(amount * 9, 86400), 1)])
    if strategy == "gcra":
        counter = store.counter([Bucket("hour", Limit(amount, 3600 * 24 * 365), amount)])

    async def task():
        return sum([(await counter.hit("k", 1))[0] for _ in range(10)])

    admitted = sum(await asyncio.gather(*[task() for _ in range(TASKS)]))
    await store.link._given.aclose()
    return admitted


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_four_processes_admit_exactly_the_amount(server, strategy):
    """RL-14, "parallel burst race": 2560 requests from 4 processes, 64 at a time from each, against 500 units."""

    async def flush():
        link = RedisLink(server.url)
        await link.ask("FLUSHALL")
        await link.close()

    asyncio.run(flush())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.test_rate_limit_redis_exact", server.url, strategy, "500"],
            stdout=subprocess.PIPE,
            env=environment,
        )
        for _ in range(PROCESSES)
    ]
    admitted = Tally(int(process.communicate(timeout=100)[0]) for process in running)
    assert all(process.returncode == 0 for process in running)
    assert sum(admitted.elements()) == 500


if __name__ == "__main__":
    sys.stdout.write(str(asyncio.run(_spend(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
