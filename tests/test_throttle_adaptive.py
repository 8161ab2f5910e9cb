"""The limit that follows latency, with a clock of its own and simulated servers."""

import heapq

import pytest

from secure_asgi import Adaptive, ConfigurationError
from secure_asgi.throttle.adaptive import Gradient


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def simulate(gradient, clock, *, capacity, seconds, callers=1000, base=0.05):
    """``callers`` who ask again at once, so that the limit is always used up; the server shares ``capacity`` processors
    among all that run. Returns what each answer took, in order."""
    running, took = [], []
    until = clock.now + seconds
    for _ in range(min(callers, gradient.limit)):
        heapq.heappush(running, (clock.now + base, clock.now))
    while running:
        ended, begun = heapq.heappop(running)
        clock.now = max(clock.now, ended)
        took.append(ended - begun)
        gradient.observe(ended - begun, len(running) + 1)
        while clock.now < until and len(running) < min(callers, gradient.limit):
            load = len(running) + 1
            heapq.heappush(running, (clock.now + base * max(1.0, load / capacity), clock.now))
    return took


@pytest.mark.parametrize("capacity", [10, 40, 100])
def test_it_settles_where_answers_are_not_yet_slow(capacity):
    """With 500 at once, an answer would take 500 / capacity times as long."""
    clock = Clock()
    gradient = Gradient(Adaptive(), 500, clock)
    simulate(gradient, clock, capacity=capacity, seconds=120)
    assert 0.7 * capacity <= gradient._estimate <= 2.5 * capacity
    took = simulate(gradient, clock, capacity=capacity, seconds=20)
    assert sum(took) / len(took) < 3 * 0.05


def test_it_does_not_drift_under_an_overload_that_lasts():
    """A quarter of an hour of it: the slow answers never become the measure of what is fast."""
    clock = Clock()
    gradient = Gradient(Adaptive(), 1000, clock)
    simulate(gradient, clock, capacity=20, seconds=900)
    assert gradient._estimate < 60
    assert gradient._fast < 0.1


def test_it_recovers_when_the_server_does():
    clock = Clock()
    gradient = Gradient(Adaptive(), 500, clock)
    simulate(gradient, clock, capacity=100, seconds=60)
    well = gradient._estimate
    simulate(gradient, clock, capacity=10, seconds=60)
    assert gradient._estimate < well / 2
    simulate(gradient, clock, capacity=100, seconds=120)
    assert gradient._estimate > 0.7 * well


def test_a_quiet_server_learns_nothing_of_more_load():
    clock = Clock()
    gradient = Gradient(Adaptive(initial=50), 500, clock)
    simulate(gradient, clock, capacity=100, callers=5, seconds=20)
    assert gradient.limit == 50


def windows(gradient, clock, *latencies, running=20, failed=False):
    """One window of ten answers for each; the limit after each."""
    limits = []
    for latency in latencies:
        for _ in range(10):
            clock.now += 0.03
            gradient.observe(latency, running, failed=failed)
        limits.append(gradient.limit)
    return limits


def test_steps_to_the_digit():
    """20 + 0.2 * sqrt(20) = 20.89; then 0.5 of it and no less, smoothed: 0.8 * 20.89 + 0.2 * (10.45 + 4.57) = 19.72."""
    clock = Clock()
    gradient = Gradient(Adaptive(), 100, clock)
    assert windows(gradient, clock, 0.1, 9.0) == [21, 20]
    assert gradient._estimate == pytest.approx(19.720, abs=0.001)


def test_floor_and_ceiling():
    clock = Clock()
    gradient = Gradient(Adaptive(min_limit=18), 21, clock)
    assert windows(gradient, clock, *[0.1] * 4)[-1] == 21
    clock.now += 1
    assert not any(gradient.observe(0.1, 20) for _ in range(10))  # no other limit than before
    assert windows(gradient, clock, *[9.0] * 40)[-1] == 18
    assert Gradient(Adaptive(), 7, clock).limit == 7


def test_measuring_anew_does_not_go_below_the_floor():
    clock = Clock()
    gradient = Gradient(Adaptive(min_limit=18, remeasure=1.0), 100, clock)
    assert windows(gradient, clock, *[0.1] * 4) == [21, 22, 23, 18]


@pytest.mark.parametrize(
    ("busy", "limit"),
    [([20] * 10, 21), ([10] * 10, 21), ([9] * 10, 20), ([10] + [1] * 9, 21)],
    ids=["all of it", "half of it", "less", "half of it for a moment"],
)
def test_a_limit_rises_where_half_of_it_is_used(busy, limit):
    clock = Clock()
    gradient = Gradient(Adaptive(), 100, clock)
    for running in busy:
        clock.now += 0.03
        gradient.observe(0.1, running)
    assert gradient.limit == limit
    assert windows(gradient, clock, 0.1, running=1) == [limit]  # what was is past


def test_answers_that_take_no_time_are_fast_and_not_the_measure_of_it():
    """A coarse clock cannot tell; compared with none, all time is slow."""
    clock = Clock()
    gradient = Gradient(Adaptive(remeasure=1.5), 100, clock)
    assert windows(gradient, clock, 0.0, 0.1, 0.1) == [21, 22, 23]
    assert windows(gradient, clock, 0.0, 0.0, 0.0, 0.0, 0.1) == [24, 7, 7, 24, 25]  # and when it is measured anew


@pytest.mark.parametrize(("slow", "falls"), [(2, False), (6, True)])
def test_a_few_that_take_for_ever_do_not_lower_the_limit_for_all(slow, falls):
    """As when clients send their bodies slowly. An answer counts for three times the fast one at most: with two of ten,
    1.4 times it on the average, which the tolerance of 1.5 allows."""
    clock = Clock()
    gradient = Gradient(Adaptive(), 100, clock)
    (before,) = windows(gradient, clock, 0.1)
    for number in range(100):
        clock.now += 0.03
        gradient.observe(30.0 if number % 10 < slow else 0.1, 20)
    assert (gradient._estimate < before) is falls


def test_a_window_needs_time_and_answers():
    clock = Clock()
    gradient = Gradient(Adaptive(), 100, clock)
    assert not any(gradient.observe(0.1, 20) for _ in range(50))
    clock.now = 0.25
    assert gradient.observe(0.1, 20)
    clock.now = 9.0
    assert not any(gradient.observe(0.1, 20) for _ in range(9))
    assert gradient.observe(0.1, 20)


def test_what_is_fast_is_measured_anew_with_a_lower_limit():
    clock = Clock()
    gradient = Gradient(Adaptive(remeasure=1.2), 100, clock)
    before = windows(gradient, clock, *[0.1] * 3)
    draining, measuring, after = windows(gradient, clock, 0.4, 0.4, 0.9)
    assert (before[-1], draining, measuring, after) == (23, 7, 7, 23)
    assert gradient._fast == pytest.approx(0.9)  # however much slower it has become


def test_only_a_late_failure_counts():
    """A failure at once says nothing of what the server can take."""
    clock = Clock()
    gradient = Gradient(Adaptive(), 100, clock)
    windows(gradient, clock, 0.1)
    clock.now += 1
    assert not any(gradient.observe(0.05, 20, failed=True) for _ in range(50))
    assert any(gradient.observe(5.0, 20, failed=True) for _ in range(10))
    assert gradient.limit == 20


def test_an_outage_is_not_the_measure_of_what_is_fast():
    clock = Clock()
    gradient = Gradient(Adaptive(remeasure=1.2), 100, clock)
    windows(gradient, clock, *[0.1] * 3)
    assert windows(gradient, clock, *[5.0] * 9, failed=True)[-1] == 7
    assert windows(gradient, clock, 0.2) == [23]
    assert gradient._fast == pytest.approx(0.2)


WRONG = [
    ({"min_limit": 0}, "min_limit= is a whole number from 1 up"),
    ({"initial": True}, "initial= is a whole number"),
    ({"min_samples": 1.5}, "min_samples= is a whole number"),
    ({"tolerance": "2"}, "tolerance= is a number above 0"),
    ({"smoothing": 0}, "smoothing= is a number above 0"),
    ({"window": float("inf")}, "window= is a number above 0"),
    ({"remeasure": float("nan")}, "remeasure= is a number above 0"),
    ({"initial": 3}, "initial= is at least min_limit="),
    ({"tolerance": 1}, "tolerance= is above 1"),
    ({"smoothing": 1.1}, "smoothing= is at most 1"),
    ({"remeasure": 0.9}, "remeasure= is at least four times window="),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG, ids=[str(options) for options, _ in WRONG])
def test_wrong_options(options, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        Adaptive(**options)


def test_options_at_their_bounds():
    Adaptive(min_limit=20, initial=20, smoothing=1, window=0.25, remeasure=1.0)
