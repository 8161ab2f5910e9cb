"""The counter against its own formula: worked examples, and a reference model that keeps every hit."""

import threading
import time
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_asgi.rate_limit.limits import NANOSECONDS, Limit
from secure_asgi.rate_limit.sliding_window import units_free, wait_for

from .counters import Clock, counter, counter_of, spend


@pytest.fixture
def clock():
    return Clock()


# The formula


def test_a_worked_example(clock):
    """10 in 10 s. Eight spent in the first window; 2.5 s into the next they weigh 6, so four more fit (RL-14)."""
    limit = Limit(10, 10)
    counted = counter((10, 10), clock=clock)
    assert spend(counted, 8) == [True] * 8
    clock.to(12.5)
    assert spend(counted, 5) == [True] * 4 + [False]
    admitted, (standing,), _ = counted.hit("a", 1)
    assert not admitted
    assert units_free(limit, standing) == 0
    # One more fits when the eight weigh 5: at 3.75 s into the window.
    assert wait_for(limit, standing, 1) == round(1.25 * NANOSECONDS)


def test_no_doubling_at_the_edge_of_a_window(clock):
    """A fixed window would let 20 through within a millisecond (RL-14)."""
    counted = counter((10, 10), clock=clock)
    clock.to(9.999)
    assert sum(spend(counted, 20)) == 10
    clock.to(10.0)
    assert sum(spend(counted, 20)) == 0


@pytest.mark.parametrize(
    ("at", "fits"),
    [
        pytest.param(9.999, 0, id="the same window"),
        pytest.param(10, 0, id="the next, at its start"),
        pytest.param(15, 5, id="the next, half-way"),
        pytest.param(20, 10, id="two on"),
        pytest.param(29.999, 10, id="two on, at its end"),
        pytest.param(1e9, 10, id="years later"),
    ],
)
def test_how_a_full_budget_comes_back(clock, at, fits):
    counted = counter((10, 10), clock=clock)
    spend(counted, 10)
    clock.to(at)
    assert sum(spend(counted, 11)) == fits


def test_windows_keep_their_grid_over_a_silence(clock):
    """Back after 34.9 s: 0.1 s later a window ends, and the hit weighs on the one that begins there."""
    counted = counter((1, 5), clock=clock)
    spend(counted, 1)
    clock.to(34.9)
    assert spend(counted, 1) == [True]
    clock.to(35)
    assert spend(counted, 1) == [False]
    clock.to(40)
    assert spend(counted, 1) == [True]


class Model:
    """What the counter should say, from a list of every hit there was."""

    def __init__(self, limits):
        self.limits = limits
        self.spent = []

    def used(self, limit, key, now):
        window, into = divmod(now, limit.window)
        by_window = {window: 0, window - 1: 0}
        for when, who, cost in self.spent:
            if who == key and when // limit.window in by_window:
                by_window[when // limit.window] += cost
        return by_window[window - 1] * (1 - Fraction(into, limit.window)) + by_window[window]

    def hit(self, key, cost, now):
        admitted = all(self.used(limit, key, now) + cost <= limit.amount for limit in self.limits)
        if admitted:
            self.spent.append((now, key, cost))
        return admitted, [floor(limit.amount - self.used(limit, key, now)) for limit in self.limits]

    def wait(self, limit, key, units, now):
        """By bisection: use only shrinks while nothing is spent."""
        low, high = now, now + 2 * limit.window
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.used(limit, key, middle) + units <= limit.amount else (middle, high)
        return high - now


LIMITS = st.lists(
    st.builds(Limit, st.integers(1, 12), st.integers(1, 9)), min_size=1, max_size=3, unique_by=lambda one: one.seconds
)
PAUSES = st.one_of(st.integers(0, 4 * NANOSECONDS), st.integers(0, 9).map(lambda seconds: seconds * NANOSECONDS))
HITS = st.lists(st.tuples(PAUSES, st.sampled_from("ab"), st.integers(1, 3)), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(limits=LIMITS, hits=HITS)
def test_agrees_with_the_model(limits, hits):
    """Verdict, units left, and the wait for one more to the nanosecond; one limit or several at once."""
    clock = Clock()
    counted, model = counter_of(limits, max_keys=100, clock=clock), Model(limits)
    for pause, key, cost in hits:
        clock.now += pause
        cost = min(cost, *(limit.amount for limit in limits))
        admitted, standings, _ = counted.hit(key, cost)
        free = [units_free(limit, standing) for limit, standing in zip(limits, standings, strict=True)]
        assert (admitted, free) == model.hit(key, cost, clock.now)
        for limit, standing, now_free in zip(limits, standings, free, strict=True):
            if now_free < limit.amount:
                wait = wait_for(limit, standing, now_free + 1)
                assert wait == model.wait(limit, key, now_free + 1, clock.now)


@settings(max_examples=100, deadline=None)
@given(limits=LIMITS, hits=HITS)
def test_the_wait_is_true(limits, hits):
    """Refused one nanosecond before it is over, admitted when it is (RL-10)."""
    clock = Clock()
    counted = counter_of(limits, max_keys=100, clock=clock)
    for pause, key, cost in hits:
        clock.now += pause
        cost = min(cost, *(limit.amount for limit in limits))
        admitted, standings, _ = counted.hit(key, cost)
        if not admitted:
            waits = [
                wait_for(limit, standing, cost)
                for limit, standing in zip(limits, standings, strict=True)
                if units_free(limit, standing) < cost
            ]
            clock.now += max(waits) - 1
            assert not counted.hit(key, cost)[0]
            clock.now += 1
            assert counted.hit(key, cost)[0]


# Several limits at once


def test_a_refused_hit_is_charged_to_no_limit(clock):
    limits = [Limit(2, 1), Limit(5, 60)]
    counted = counter((2, 1), (5, 60), clock=clock)
    admitted = []
    for second in range(0, 40, 2):
        clock.to(second)
        admitted += spend(counted, 20)
    assert sum(admitted) == 5
    assert [units_free(*pair) for pair in zip(limits, counted.hit("a", 1)[1], strict=True)] == [2, 0]


# Bounds


def test_a_flood_of_keys_stays_within_the_bound(clock):
    counted = counter((10, 60), clock=clock, max_keys=1000)
    for number in range(20_000):
        counted.hit(number, 1)
        assert len(counted) <= 1000
    assert len(counted) > 400


def test_the_bound_holds_over_many_shards(clock):
    counted = counter((10, 60), clock=clock, max_keys=50_000)
    for number in range(120_000):
        counted.hit(str(number), 1)
    assert 40_000 < len(counted) <= 50_000


def test_a_flood_forgets_the_idle_and_never_the_active(clock):
    """Ten per minute: a client that goes on asking gets ten, whatever else arrives; who stopped asking is forgotten."""
    counted = counter((10, 60), clock=clock, max_keys=100)
    assert spend(counted, 10, "idle") == [True] * 10
    served = 0
    for number in range(2000):
        served += counted.hit("active", 1)[0]
        counted.hit(number, 1)
    assert served == 10
    assert spend(counted, 1, "idle") == [True]


def test_a_refused_client_stays_known_through_a_flood(clock):
    """Being refused is being active: no client gains a fresh budget by going on while others flood (RL-15)."""
    counted = counter((1, 60), clock=clock, max_keys=20)
    counted.hit("refused", 1)
    for number in range(500):
        counted.hit(number, 1)
        assert spend(counted, 1, "refused") == [False]


def test_what_was_spent_before_a_flood_weighs_in_the_next_window(clock):
    """The generation that a flood has made old early still belongs to the window under way."""
    counted = counter((10, 10), clock=clock, max_keys=10)
    assert sum(spend(counted, 6)) == 6
    for number in range(5):  # "a" is in the old generation now
        counted.hit(number, 1)
    assert sum(spend(counted, 9)) == 4
    clock.to(15)
    assert sum(spend(counted, 9)) == 5


def test_a_window_is_forgotten_after_two(clock):
    counted = counter((10, 10), clock=clock)
    for number in range(100):
        counted.hit(number, 1)
    clock.to(10)
    counted.hit("a", 1)
    assert len(counted) == 101
    clock.to(20)
    counted.hit("a", 1)
    assert len(counted) == 2


def test_shards_begin_their_windows_at_different_moments(clock):
    """Neither the work nor the clients' resets come all at once (RL-7)."""
    counted = counter((1, 10), clock=clock, max_keys=100_000)
    left = {counted.hit(str(number), 1)[1][0][1] for number in range(500)}
    assert len(left) == ceil(50_000 / 5461)
    assert max(left) == 10 * NANOSECONDS


# Threads


class Yielding(str):
    """A key whose every look-up lets another thread run."""

    def __hash__(self):
        time.sleep(0)
        return super().__hash__()


@pytest.mark.parametrize("limits", [((100, 3600),), ((100, 3600), (500, 86400))], ids=["one limit", "two"])
def test_threads_together_get_what_one_would(limits):
    """One layer may be entered by several event loops, each in a thread of its own."""
    counted = counter(*limits, max_keys=100, clock=time.monotonic_ns)
    admitted = []
    threads = [
        threading.Thread(target=lambda: admitted.append(sum(spend(counted, 60, Yielding("a"))))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 100
