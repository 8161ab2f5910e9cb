"""Slots and the queue before them, without a clock or an event loop."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from secure_asgi.throttle.fair_queue import FairQueue
from secure_asgi.throttle.gate import Gate, KeyedGate, State, divide

SHARES = (1.0, 0.75, 0.5)
CRITICAL, NORMAL, LOW = range(3)


def gate(slots=4, queue=4, shares=SHARES):
    return Gate(divide(slots, shares), divide(queue, shares))


def full(**options):
    """A gate, all of whose slots are held by requests of the highest class."""
    made = gate(**options)
    made.running = made.ceilings[0]
    return made


def join(made, rank, client="a"):
    return made.join(rank, client, lambda: None)


@pytest.mark.parametrize(
    ("amount", "parts"),
    [(10, (10, 8, 5)), (4, (4, 3, 2)), (1, (1, 1, 1)), (0, (0, 0, 0))],
    ids=["ten", "four", "one slot shuts nobody out", "no queue"],
)
def test_shares_are_rounded_up(amount, parts):
    assert divide(amount, SHARES) == parts


def test_a_share_is_not_rounded_up_for_a_float_s_sake():
    assert divide(100, (0.55,)) == (55,)


def test_lines_take_turns_and_are_in_order_themselves():
    queue = FairQueue()
    for client, waiter in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)]:
        queue.push(client, waiter)
    assert [queue.pop() for _ in range(6)] == [1, 4, 5, 2, 6, 3]
    assert not queue


def test_the_longest_line_is_known_at_every_moment():
    queue = FairQueue()
    assert (queue.longest, queue.length("a")) == (0, 0)
    for client, waiter in [("b", 4), ("a", 1), ("a", 2), ("a", 3)]:
        queue.push(client, waiter)
    assert (queue.longest, queue.length("a"), queue.length("b")) == (3, 3, 1)
    queue.remove("a", 1)
    assert queue.longest == 2
    assert queue.pop_newest() == 3
    assert queue.longest == 1
    queue.remove("a", 2)
    assert queue.pop_newest() == 4
    assert queue.longest == 0
    assert not queue


def test_waiters_begin_as_slots_are_free_the_highest_class_first():
    made = full()
    low, normal, critical = (join(made, rank) for rank in (LOW, NORMAL, CRITICAL))
    made.release()
    assert (critical.state, normal.state, low.state) == (State.GRANTED, State.WAITING, State.WAITING)
    made.release()  # three run, which is all that normal may see
    assert normal.state is State.WAITING
    made.release()
    assert (normal.state, low.state) == (State.GRANTED, State.WAITING)
    made.release()
    made.release()
    assert low.state is State.GRANTED
    assert (made.running, made.waiting) == (2, 0)


def test_a_larger_limit_lets_in_at_once_and_a_smaller_one_nobody():
    made = full()
    waiters = [join(made, CRITICAL) for _ in range(2)]
    made.resize(divide(2, SHARES))
    made.release()
    made.release()
    assert [one.state for one in waiters] == [State.WAITING] * 2
    made.resize(divide(4, SHARES))
    assert [one.state for one in waiters] == [State.GRANTED] * 2
    made.resize(divide(1, SHARES))
    assert (made.running, made.waiting) == (4, 0)


def test_a_full_queue_sheds_the_lowest_class_first():
    made = full()
    low = [join(made, LOW) for _ in range(2)]
    normal = join(made, NORMAL)
    assert join(made, LOW) is None
    first = join(made, CRITICAL)
    assert [one.state for one in low] == [State.WAITING, State.WAITING]
    more = [join(made, CRITICAL) for _ in range(2)]
    assert [one.state for one in (*low, normal)] == [State.SHED, State.SHED, State.WAITING]
    more.append(join(made, CRITICAL))
    assert normal.state is State.SHED
    assert join(made, CRITICAL) is None
    assert join(made, NORMAL) is None
    assert {one.state for one in (first, *more)} == {State.WAITING}
    assert made.waiting == 4


def test_who_has_most_waiting_makes_room_for_who_has_less():
    made = full(shares=(1.0, 1.0, 1.0))
    many = [join(made, NORMAL, "many") for _ in range(4)]
    assert join(made, NORMAL, "many") is None
    other = join(made, NORMAL, "other")
    assert [one.state for one in many] == [State.WAITING] * 3 + [State.CROWDED_OUT]
    assert join(made, NORMAL, "other").state is State.WAITING
    assert join(made, NORMAL, "other") is None  # two each
    made.release()
    made.release()
    assert [many[0].state, many[1].state, other.state] == [State.GRANTED, State.WAITING, State.GRANTED]


def test_a_place_that_would_only_change_hands_is_kept():
    made = full(queue=3, shares=(1.0, 1.0, 1.0))
    many = [join(made, NORMAL, "many") for _ in range(3)]
    assert join(made, NORMAL, "other") is not None
    assert join(made, NORMAL, "other") is None  # with two and one, it would be one and two
    assert [one.state for one in many] == [State.WAITING] * 2 + [State.CROWDED_OUT]


@pytest.mark.parametrize(
    ("running", "waiting", "answer"),
    [(4, 4, False), (3, 4, True), (4, 3, True)],
    ids=["all is full", "a slot is kept for higher ones", "a place in the queue is"],
)
def test_for_want_of_capacity_or_for_its_class(running, waiting, answer):
    made = gate()
    made.running, made.waiting = running, waiting
    assert made.has_room_for_highest is answer


def test_what_has_ended_ends_once():
    made = full()
    waiter = join(made, NORMAL)
    waiter.expire()
    assert (waiter.state, made.waiting) == (State.TIMED_OUT, 0)
    waiter.release()
    waiter.release()
    waiter.expire()
    assert (waiter.state, made.running, made.waiting) == (State.GONE, 4, 0)


def test_a_granted_one_does_not_expire():
    made = full()
    waiter = join(made, CRITICAL)
    made.release()
    waiter.expire()
    assert waiter.state is State.GRANTED
    waiter.release()
    waiter.release()
    assert made.running == 3


def test_a_key_is_there_while_something_of_it_runs():
    gates = {}
    made = KeyedGate(gates, "a", (1, 1, 1), (1, 1, 1))
    made.running = 1
    waiter = join(made, NORMAL)
    made.release()
    assert (waiter.state, gates) == (State.GRANTED, {"a": made})
    waiter.release()
    assert gates == {}


class Queueing(RuleBasedStateMachine):
    """Whatever happens to whom and when: no slot is lost, none given twice, nobody waits beside a free one."""

    def __init__(self):
        super().__init__()
        self.gate = gate(4, 5)
        self.holders = []
        self.waiters = []
        self.woken = []

    @rule(rank=st.integers(0, 2), client=st.sampled_from("abc"))
    def arrive(self, rank, client):
        made = self.gate
        if made.running < made.ceilings[rank]:
            made.running += 1
            self.holders.append(made)
            return
        before = made.waiting
        waiter = made.join(rank, client, lambda: self.woken.append(1))
        if waiter is not None:
            self.waiters.append(waiter)
        else:
            assert before >= made.rooms[rank]

    @rule(data=st.data())
    def end(self, data):
        everybody = [*self.holders, *self.waiters]
        if everybody:
            one = data.draw(st.sampled_from(range(len(everybody))))
            everybody[one].release()
            if one < len(self.holders):
                del self.holders[one]
            else:
                del self.waiters[one - len(self.holders)]

    @rule(data=st.data(), times=st.integers(1, 2))
    def expire(self, data, times):
        if self.waiters:
            for _ in range(times):
                data.draw(st.sampled_from(self.waiters)).expire()

    @rule(slots=st.integers(1, 4))
    def resize(self, slots):
        self.gate.resize(divide(slots, SHARES))

    @invariant()
    def every_slot_is_accounted_for(self):
        made = self.gate
        granted = [waiter for waiter in self.waiters if waiter.state is State.GRANTED]
        waiting = [waiter for waiter in self.waiters if waiter.state is State.WAITING]
        assert made.running == len(self.holders) + len(granted)
        assert made.waiting == len(waiting) <= made.rooms[0]
        assert all(made.running >= made.ceilings[waiter.rank] for waiter in waiting)

    def teardown(self):
        for one in (*self.holders, *self.waiters):
            one.release()
        assert (self.gate.running, self.gate.waiting) == (0, 0)
        assert not any(self.gate._queues)


Queueing.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestQueueing = Queueing.TestCase
