"""The other strategies beside the default: against models that keep every charge, and worked examples."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_asgi.rate_limit.limits import NANOSECONDS, Limit

from .counters import Clock, counter, counter_of, readings, spend

STRATEGIES = ("sliding-window", "fixed-window", "moving-window", "gcra")


@pytest.fixture
def clock():
    return Clock()


def test_the_vector_of_gcra(clock):
    """RL-13: three in three seconds, and what is left, and the wait."""
    counted = counter((3, 3), strategy="gcra", clock=clock)
    steps = [(0, True, 2), (0, True, 1), (0, True, 0), (0, False, 0), (1, True, 0), (1.5, False, 0), (10, True, 2)]
    waits = {3: 1.0, 5: 0.5}
    for number, (at, admitted, remaining) in enumerate(steps):
        clock.to(at)
        verdict = counted.hit("a", 1)
        ((free, wait),) = readings(counted, verdict)
        assert (verdict[0], free) == (admitted, remaining), number
        if number in waits:
            assert wait == waits[number] * NANOSECONDS


def test_gcra_with_a_burst(clock):
    """60 a minute, five at once: then one a second (RL-12)."""
    counted = counter((60, 60), strategy="gcra", clock=clock, burst=5)
    assert sum(spend(counted, 20)) == 5
    clock.to(2)
    assert sum(spend(counted, 20)) == 2
    clock.to(60)
    assert sum(spend(counted, 20)) == 5


def test_gcra_rounds_nothing(clock):
    """Seven a minute is no whole number of nanoseconds each: still seven, and one more after a seventh."""
    counted = counter((7, 60), strategy="gcra", clock=clock)
    assert sum(spend(counted, 20)) == 7
    clock.now = 60 * NANOSECONDS // 7
    assert sum(spend(counted, 2)) == 0
    clock.now += 1
    assert sum(spend(counted, 2)) == 1


def test_a_fixed_window_doubles_at_its_edge_and_a_moving_one_never(clock):
    """RL-14."""
    fixed = counter((10, 10), strategy="fixed-window", clock=clock)
    moving = counter((10, 10), strategy="moving-window", clock=clock)
    clock.to(9.9)
    assert (sum(spend(fixed, 20)), sum(spend(moving, 20))) == (10, 10)
    clock.to(10)
    assert (sum(spend(fixed, 20)), sum(spend(moving, 20))) == (10, 0)
    clock.to(19.9)
    assert (sum(spend(fixed, 20)), sum(spend(moving, 20))) == (0, 10)


class FixedModel:
    """What was spent in the window under way."""

    def __init__(self, limit):
        self.limit = limit
        self.spent = Counter()

    def fits(self, cost, now):
        return self.spent[now // self.limit.window] + cost <= self.limit.amount

    def charge(self, cost, now):
        self.spent[now // self.limit.window] += cost

    def free(self, now):
        return self.limit.amount - self.spent[now // self.limit.window]


class MovingModel:
    """All that was spent less than one window ago."""

    def __init__(self, limit):
        self.limit = limit
        self.spent = []

    def free(self, now):
        return self.limit.amount - sum(cost for when, cost in self.spent if when > now - self.limit.window)

    def fits(self, cost, now):
        return cost <= self.free(now)

    def charge(self, cost, now):
        self.spent.append((now, cost))


class GCRAModel:
    """RL-12, word for word, in fractions."""

    def __init__(self, limit):
        self.limit = limit
        self.interval = Fraction(limit.window, limit.amount)
        self.tat = Fraction(0)

    def fits(self, cost, now):
        return max(self.tat, now) + self.interval * cost - now <= self.interval * self.limit.amount

    def charge(self, cost, now):
        self.tat = max(self.tat, now) + self.interval * cost

    def free(self, now):
        return (self.interval * self.limit.amount - (max(self.tat, now) - now)) // self.interval


MODELS = {"fixed-window": FixedModel, "moving-window": MovingModel, "gcra": GCRAModel}
LIMITS = st.lists(
    st.builds(Limit, st.integers(1, 12), st.integers(1, 9)), min_size=1, max_size=3, unique_by=lambda one: one.seconds
)
PAUSES = st.one_of(st.integers(0, 4 * NANOSECONDS), st.integers(0, 9).map(lambda seconds: seconds * NANOSECONDS))
HITS = st.lists(st.tuples(PAUSES, st.sampled_from("ab"), st.integers(1, 3)), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(strategy=st.sampled_from(sorted(MODELS)), limits=LIMITS, hits=HITS)
def test_agrees_with_the_model(strategy, limits, hits):
    """Verdict and units left; one limit or several at once, which are charged together or not at all."""
    clock = Clock()
    counted = counter_of(limits, strategy=strategy, clock=clock)
    models = {key: [MODELS[strategy](limit) for limit in limits] for key in "ab"}
    for pause, key, cost in hits:
        clock.now += pause
        cost = min(cost, *(limit.amount for limit in limits))
        expected = all(model.fits(cost, clock.now) for model in models[key])
        if expected:
            for model in models[key]:
                model.charge(cost, clock.now)
        verdict = counted.hit(key, cost)
        assert verdict[0] == expected
        assert [free for free, _ in readings(counted, verdict, cost)] == [
            model.free(clock.now) for model in models[key]
        ]


@settings(max_examples=150, deadline=None)
@given(strategy=st.sampled_from(STRATEGIES), limits=LIMITS, hits=HITS)
def test_the_wait_is_true(strategy, limits, hits):
    """Refused one nanosecond before it is over, admitted when it is (RL-10)."""
    clock = Clock()
    counted = counter_of(limits, strategy=strategy, clock=clock)
    for pause, key, cost in hits:
        clock.now += pause
        cost = min(cost, *(limit.amount for limit in limits))
        verdict = counted.hit(key, cost)
        if not verdict[0]:
            clock.now += max(wait for free, wait in readings(counted, verdict, cost) if free < cost) - 1
            assert not counted.hit(key, cost)[0]
            clock.now += 1
            assert counted.hit(key, cost)[0]


@pytest.mark.parametrize("strategy", ["sliding-window", "fixed-window", "gcra"])
def test_where_nothing_more_is_to_come_there_is_no_wait(clock, strategy):
    """Of three units, one request of two fits at most."""
    counted = counter((3, 10), strategy=strategy, clock=clock)
    counted.hit("a", 1)
    verdict = counted.hit("b", 1)
    assert readings(counted, verdict, 2) == [(2, 0)]


# Bounds


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_flood_stays_within_the_bound_and_forgets_the_idle_first(clock, strategy):
    """RL-15: who goes on asking keeps its count, whatever else arrives."""
    counted = counter((10, 60), strategy=strategy, clock=clock, max_keys=1000)
    served = 0
    for number in range(5000):
        served += counted.hit("active", 1)[0]
        counted.hit(number, 1)
        assert len(counted) <= 1000 + (10 if strategy == "moving-window" else 0)
    assert served == 10
    assert len(counted) > 400


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_over_is_forgotten(clock, strategy):
    counted = counter((10, 10), strategy=strategy, clock=clock)
    for number in range(100):
        counted.hit(number, 1)
    for at in (10, 20, 30):
        clock.to(at)
        counted.hit("a", 1)
    assert len(counted) <= 4


# Settling


def settled(strategy, clock, *, reserved, real, after=0.0):
    """A limit of 10 in 10 s, and what fits after ``reserved`` was settled as ``real``, ``after`` seconds on."""
    counted = counter((10, 10), strategy=strategy, clock=clock)
    verdict = counted.hit("a", reserved)
    clock.to(after)
    counted.settle("a", verdict, reserved, real)
    return sum(spend(counted, 40))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("reserved", "real", "fits"),
    [(4, 4, 6), (4, 0, 10), (4, 1, 9), (1, 7, 3), (1, 10, 0), (1, 50, 0)],
)
def test_settling_at_once(clock, strategy, reserved, real, fits):
    assert settled(strategy, clock, reserved=reserved, real=real) == fits


@pytest.mark.parametrize(
    ("strategy", "after", "fits"),
    [
        pytest.param("sliding-window", 10, 10, id="sliding: from the window before"),
        pytest.param("sliding-window", 20, 10, id="sliding: nothing is left to give back"),
        pytest.param("fixed-window", 10, 10, id="fixed: not to the next window"),
        pytest.param("moving-window", 5, 10, id="moving: still within"),
        pytest.param("moving-window", 10, 10, id="moving: gone by itself"),
        pytest.param("gcra", 3, 10, id="gcra: still ahead"),
        pytest.param("gcra", 9, 10, id="gcra: drained by itself"),
    ],
)
def test_settling_late(clock, strategy, after, fits):
    """What does not count any more is not given back: never more than the limit."""
    assert settled(strategy, clock, reserved=4, real=0, after=after) == fits


def test_gcra_gives_nothing_back_that_was_idle_since(clock):
    """One unit a second. Charged at 0, spent by 1, another at 5: giving the first back must not pay for the second."""
    counted = counter((10, 10), strategy="gcra", clock=clock)
    first = counted.hit("a", 1)
    clock.to(5)
    assert counted.hit("a", 10)[0]
    counted.settle("a", first, 1, 0)
    assert spend(counted, 1) == [False]


def test_gcra_gives_back_only_what_has_not_drained(clock):
    """Ten at 0, one at 9: by then nine have drained, and the one must not come back with them."""
    counted = counter((10, 10), strategy="gcra", clock=clock)
    first = counted.hit("a", 10)
    clock.to(9)
    assert spend(counted, 1) == [True]
    counted.settle("a", first, 10, 0)
    assert sum(spend(counted, 20)) == 9


def test_debts_of_gcra_end_together(clock):
    """Each of them fits the burst; all of them are one window at most."""
    counted = counter((10, 10), strategy="gcra", clock=clock)
    verdicts = [counted.hit("a", 1) for _ in range(10)]
    for verdict in verdicts:
        counted.settle("a", verdict, 1, 9)
    clock.to(10)
    assert sum(spend(counted, 20)) == 10


def test_moving_gives_back_the_charge_it_was(clock):
    counted = counter((10, 10), strategy="moving-window", clock=clock)
    counted.hit("a", 3)
    clock.to(2)
    second = counted.hit("a", 6)
    clock.to(4)
    counted.hit("a", 1)
    counted.settle("a", second, 6, 2)
    assert sum(spend(counted, 20)) == 4
    clock.to(10)
    assert sum(spend(counted, 20)) == 3


def test_a_refusal_leaves_no_charge_behind(clock):
    """By the second limit: what the first one had room for is as if it had never been."""
    counted = counter((10, 10), (2, 100), strategy="moving-window", clock=clock)
    assert spend(counted, 20) == [True] * 2 + [False] * 18
    assert len(counted) == 4
    table = counted._shards[0][2][0]
    assert (len(table.young["a"].charges), table._charges) == (2, 2)


def test_moving_gives_back_once(clock):
    counted = counter((10, 10), strategy="moving-window", clock=clock)
    counted.hit("a", 3)
    clock.to(2)
    second = counted.hit("a", 7)
    counted.settle("a", second, 7, 0)
    counted.settle("a", second, 7, 0)
    assert sum(spend(counted, 20)) == 7


@pytest.mark.parametrize(
    ("strategy", "free_again"), [("sliding-window", 30), ("fixed-window", 10), ("moving-window", 10), ("gcra", 10)]
)
def test_a_debt_ends(clock, strategy, free_again):
    counted = counter((10, 10), strategy=strategy, clock=clock)
    verdict = counted.hit("a", 1)
    counted.settle("a", verdict, 1, 10**9)
    assert sum(spend(counted, 5)) == 0
    clock.to(free_again)
    assert sum(spend(counted, 20)) == 10
