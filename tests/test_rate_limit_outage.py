"""What holds while a storage is down: who asks it, what is decided meanwhile, and that it ends by itself."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from secure_asgi._redis import RedisUnavailableError
from secure_asgi.rate_limit.breaker import FIRST_PAUSE, LONGEST_PAUSE, Breaker
from secure_asgi.rate_limit.counting import Banned, Bucket, Degraded
from secure_asgi.rate_limit.limits import NANOSECONDS, Limit
from secure_asgi.rate_limit.memory import MemoryStore
from secure_asgi.rate_limit.outage import Resilient, StoreUnavailableError

SHARE = 5
VERDICT = (True, ((7, 0),), "receipt")
DOWN = StoreUnavailableError("no answer")
LOST = "The rate limits' storage is down: what was charged there stays as it was reserved"


class Clock:
    now = 1_000_000

    def __call__(self):
        return self.now


class Primary:
    """Says what it is told to, at once or later: ``says`` is a value, or an error to raise."""

    def __init__(self, says=VERDICT, *, at_once=False):
        self.says = says
        self.at_once = at_once
        self.asked = []
        self.settled = []
        self.gate = asyncio.Event()
        self.gate.set()

    def hit(self, key, cost, bans=True):
        self.asked.append((key, cost, bans))
        return self.says if self.at_once else self._later()

    def read(self, index, standing, cost):
        raise AssertionError("a standing of a remote counter is a reading")

    def settle(self, key, verdict, reserved, real):
        self.settled.append((key, verdict, reserved, real))
        return None if self.at_once else self._later()

    async def _later(self):
        says = self.says
        await self.gate.wait()
        if isinstance(says, BaseException):
            raise says
        return says


def memory(clock, *, amounts=(SHARE,)):
    store = MemoryStore(strategy="sliding-window", max_keys=100, clock=clock)
    buckets = [Bucket(f"b{amount}", Limit(amount, 3600 * amount), amount) for amount in amounts]
    return lambda: store.counter(buckets)


class Setting:
    def __init__(self, mode="local", says=VERDICT, local=None, lowest=SHARE, banned=None, **more):
        self.clock = Clock()
        self.primary = Primary(says, **more)
        self.breaker = Breaker(clock=self.clock)
        self.counter = Resilient(
            self.primary,
            breaker=self.breaker,
            on_outage=mode,
            local=local or memory(self.clock),
            lowest=lowest,
            banned=banned,
        )

    async def hit(self, key="k", cost=1, bans=True):
        return await decided(self.counter.hit(key, cost, bans))

    async def fail(self):
        """An outage begins."""
        self.primary.says = DOWN
        return await self.hit("first")

    def wait(self, nanoseconds=LONGEST_PAUSE):
        self.clock.now += nanoseconds


async def decided(outcome):
    return outcome if isinstance(outcome, (tuple, Banned, Degraded)) else await outcome


@pytest.mark.parametrize("said", [VERDICT, Banned(5), Degraded("open", None, "")], ids=lambda said: type(said).__name__)
def test_what_is_known_at_once_passes_untouched(said):
    async def run():
        setting = Setting(says=said, at_once=True)
        assert setting.counter.hit("k", 3, False) is said
        assert setting.primary.asked == [("k", 3, False)]
        assert not setting.breaker.is_open

    asyncio.run(run())


def test_an_answer_is_the_answer():
    async def run():
        setting = Setting()
        assert await setting.hit("k", 2) is VERDICT
        assert setting.counter.read(0, (7, 0), 2) == (7, 0)
        assert (setting.breaker.switches, setting.breaker.degraded_decisions) == (0, 0)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("mode", "bans", "banned"), [("local", True, True), ("local", False, False), ("open", True, False)]
)
def test_a_ban_that_is_known(mode, bans, banned):
    """It refuses where this process decides, but for those who are never banned."""

    async def run():
        setting = Setting(mode, DOWN, banned={"k": 7}.get)
        for _ in range(2):
            outcome = await setting.hit("k", bans=bans)
            assert (outcome == Banned(7)) is banned
        assert setting.breaker.degraded_decisions == 2

    asyncio.run(run())


ERRORS = {"a store's": DOWN, "a Redis link's": RedisUnavailableError("TimeoutError")}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    ("mode", "note"),
    [
        ("local", "the storage is down: counted in this process"),
        ("open", "the storage is down: not counted"),
        ("closed", "the storage is down: refused"),
    ],
)
def test_no_answer_is_degraded(mode, note, error):
    """RL-16: what happens without the backend is said, and recorded. It goes on without the storage, and at once."""

    async def run():
        setting = Setting(mode, ERRORS[error])
        for number in range(SHARE + 3):
            outcome = await setting.hit("k") if number == 0 else setting.counter.hit("k", 1)
            assert (outcome.mode, outcome.note) == (mode, note)
            if mode == "local":
                assert outcome.verdict[0] is (number < SHARE)
                assert outcome.verdict[1][0][0] == max(0, SHARE - 1 - number)
            else:
                assert outcome.verdict is None
        assert setting.primary.asked == [("k", 1, True)]
        assert setting.breaker.degraded_decisions == SHARE + 3

    asyncio.run(run())


def test_what_is_no_outage_is_none():
    async def run():
        setting = Setting(says=TypeError("a key is text"))
        with pytest.raises(TypeError):
            await setting.hit()
        assert not setting.breaker.is_open

    asyncio.run(run())


def test_one_asks_again_after_a_while_and_the_while_doubles():
    """0.25 s, to 10 s; after an answer it begins anew."""

    async def run():
        setting = Setting()
        for _ in range(2):
            await setting.fail()
            for quarters in (1, 2, 4, 8, 16, 32, 40, 40):
                setting.primary.asked.clear()
                setting.wait(quarters * FIRST_PAUSE - 1)
                assert isinstance(setting.counter.hit("k", 1), Degraded)
                assert setting.breaker.is_open
                assert setting.primary.asked == []
                setting.wait(1)
                assert isinstance(await setting.hit("k", 2, False), Degraded)
                assert setting.primary.asked == [("k", 2, False)]
            setting.wait()
            setting.primary.says = VERDICT
            assert await setting.hit() is VERDICT
            assert not setting.breaker.is_open
        assert setting.breaker.switches == 4

    asyncio.run(run())


def test_exactly_one_asks_and_nobody_waits_for_it():
    async def run():
        setting = Setting()
        await setting.fail()
        setting.wait()
        setting.primary.asked.clear()
        setting.primary.says = VERDICT
        setting.primary.gate.clear()
        herd = [asyncio.ensure_future(decided(setting.counter.hit(f"k{number}", 1))) for number in range(20)]
        await asyncio.sleep(0.01)
        assert setting.primary.asked == [("k0", 1, True)]
        assert [one.done() for one in herd] == [False] + 19 * [True]
        assert isinstance(setting.counter.hit("k", 1), Degraded)
        setting.primary.gate.set()
        assert await herd[0] is VERDICT
        assert not setting.breaker.is_open

    asyncio.run(run())


def test_one_of_many_threads_asks():
    clock = Clock()
    breaker = Breaker(clock=clock)
    breaker.failed(breaker.turn, DOWN)
    clock.now += LONGEST_PAUSE
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: breaker.take_probe(), range(200)))
    assert sorted(taken, key=str) == [1] + 199 * [None]


def test_a_closed_breaker_has_no_probe():
    """Somebody else's has closed it, between the look and the question."""
    assert Breaker().take_probe() is None


@pytest.mark.parametrize("ends", ["cancelled", "never awaited", "closed", "an error", "an answer at once"])
def test_a_probe_that_finds_nothing_out_leaves_its_place(ends):
    async def run():
        setting = Setting()
        await setting.fail()
        setting.wait()
        setting.primary.says = ValueError() if ends == "an error" else VERDICT
        setting.primary.at_once = ends == "an answer at once"
        if ends in ("cancelled", "closed"):
            setting.primary.gate.clear()
        asking = setting.counter.hit("k", 1)
        if ends == "never awaited":
            asking.close()
        elif ends == "closed":
            asking.send(None)
            asking.close()
        elif ends == "cancelled":
            task = asyncio.ensure_future(asking)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif ends == "an error":
            with pytest.raises(ValueError):
                await asking
        else:
            assert await asking is VERDICT
        assert setting.breaker.is_open
        setting.primary.gate.set()
        setting.primary.says, setting.primary.at_once = VERDICT, False
        assert await setting.hit() is VERDICT
        assert not setting.breaker.is_open

    asyncio.run(run())


@pytest.mark.parametrize("meanwhile", ["open", "probed", "closed"])
def test_what_was_under_way_before_says_nothing_of_now(meanwhile):
    """A herd that fails together is one failure; and late, it neither takes the probe's place nor opens again."""

    async def run():
        setting = Setting(says=DOWN)
        setting.primary.gate.clear()
        herd = [asyncio.ensure_future(setting.hit(f"k{number}")) for number in range(20)]
        await asyncio.sleep(0)
        breaker = setting.breaker
        breaker.failed(breaker.turn, DOWN)
        setting.wait(FIRST_PAUSE - 1 if meanwhile == "open" else FIRST_PAUSE)
        turn = None if meanwhile == "open" else breaker.take_probe()
        if meanwhile == "closed":
            breaker.answered(turn)
            breaker.answered(turn)  # said twice is said once
        setting.primary.gate.set()
        assert all(isinstance(outcome, Degraded) for outcome in await asyncio.gather(*herd))
        assert (breaker.is_open, breaker.switches) == ((False, 2) if meanwhile == "closed" else (True, 1))
        setting.wait(1)
        assert breaker.is_due is (meanwhile != "probed")

    asyncio.run(run())


def test_counters_of_one_storage_share_what_is_known_of_it():
    async def run():
        setting = Setting()
        other = Primary()
        counter = Resilient(
            other, breaker=setting.breaker, on_outage="closed", local=memory(setting.clock), lowest=SHARE
        )
        await setting.fail()
        assert isinstance(counter.hit("k", 1), Degraded)
        assert other.asked == []
        setting.wait()
        assert await counter.hit("k", 1) is VERDICT
        setting.primary.says = VERDICT
        assert await setting.hit() is VERDICT

    asyncio.run(run())


def test_every_switch_is_logged_once(caplog):
    async def run():
        setting = Setting(says=StoreUnavailableError("x" * 500 + "\n"))
        setting.primary.gate.clear()
        herd = [asyncio.ensure_future(setting.hit(f"k{number}")) for number in range(20)]
        await asyncio.sleep(0)
        setting.primary.gate.set()
        await asyncio.gather(*herd)
        for _ in range(3):
            setting.wait()
            await setting.hit()
        setting.wait()
        setting.primary.says = VERDICT
        await setting.hit()
        await setting.hit()

    with caplog.at_level(logging.DEBUG, "secure_asgi"):
        asyncio.run(run())
    down, back = [record.getMessage() for record in caplog.records]
    assert down.startswith("The rate limits' storage gives no answer: on_outage= decides until it does ('xxx")
    assert len(down) < 300
    assert "\n" not in down
    assert back == "The rate limits' storage answers again, after 40.0 s: it decides"
    assert {(record.name, record.levelname) for record in caplog.records} == {("secure_asgi", "WARNING")}


def test_a_process_keeps_its_count_from_one_outage_to_the_next():
    async def run():
        made = []
        clock = Clock()

        def local():
            made.append(1)
            return memory(clock)()

        setting = Setting(local=local)
        assert await setting.hit() is VERDICT
        assert made == []
        admitted = []
        for _ in range(2):
            await setting.fail()
            admitted += [setting.counter.hit("k", 1).verdict[0] for _ in range(3)]
            setting.wait()
            setting.primary.says = VERDICT
            await setting.hit()
        assert admitted == [True] * SHARE + [False]
        assert made == [1]

    asyncio.run(run())


def test_what_costs_more_than_the_share_costs_the_share():
    """So that it can pass; and of several limits the lowest says how much that is."""

    async def run():
        clock = Clock()
        setting = Setting(local=memory(clock, amounts=(SHARE, 2 * SHARE)))
        await setting.fail()
        first, second = setting.counter.hit("k", 1000), setting.counter.hit("k", 1)
        assert first.verdict[0] is True
        assert [free for free, _ in first.verdict[1]] == [0, SHARE]
        assert second.verdict[0] is False
        assert second.verdict[1][0][1] > 0

    asyncio.run(run())


def test_a_ban_of_this_process_is_a_ban():
    """And those who are never banned are not."""

    class Banning:
        asked = []

        def hit(self, key, cost, bans):
            self.asked.append(bans)
            return Banned(NANOSECONDS, begins=True)

    async def run():
        setting = Setting(local=Banning)
        await setting.fail()
        assert setting.counter.hit("k", 1, False) == Banned(NANOSECONDS, begins=True)
        assert Banning.asked == [True, False]
        assert setting.breaker.degraded_decisions == 2

    asyncio.run(run())


SETTLED = {
    "all given back": (1, 0, [True] * SHARE + [False]),
    "as reserved": (1, 1, [True] * (SHARE - 1) + [False, False]),
    "more": (1, 3, [True] * (SHARE - 3) + [False] * 4),
    "more than the share": (1, 1000, [False] * (SHARE + 1)),
    "reserved more than the share": (1000, 2, [True] * (SHARE - 2) + [False] * 3),
}


@pytest.mark.parametrize("case", SETTLED)
@pytest.mark.parametrize("is_back", [False, True], ids=["down", "back"])
def test_what_this_process_counted_is_settled_here(case, is_back):
    """Whether the storage is back by then or not."""
    reserved, real, admitted = SETTLED[case]

    async def run():
        setting = Setting()
        await setting.fail()
        verdict = setting.counter.hit("k", reserved).verdict
        if is_back:
            setting.wait(FIRST_PAUSE)
            setting.primary.says = VERDICT
            assert await setting.hit() is VERDICT
        assert setting.counter.settle("k", verdict, reserved, real) is None
        assert setting.primary.settled == []
        if is_back:
            await setting.fail()
        assert [setting.counter.hit("k", 1).verdict[0] for _ in admitted] == admitted

    asyncio.run(run())


def test_what_costs_more_than_the_share_leaves_no_debt():
    """The share is spent, and no more than that is owed."""

    async def run():
        setting = Setting()
        await setting.fail()
        verdict = setting.counter.hit("k", 1).verdict
        setting.counter.settle("k", verdict, 1, 1000)
        setting.wait(int(1.5 * 3600 * SHARE * NANOSECONDS))
        assert isinstance(await setting.hit("another"), Degraded)  # the probe
        assert setting.counter.hit("k", 1).verdict[0] is True

    asyncio.run(run())


def test_what_the_storage_counted_is_settled_there():
    async def run():
        setting = Setting(at_once=True)
        assert setting.counter.settle("k", VERDICT, 1, 3) is None
        setting.primary.at_once = False
        await setting.counter.settle("k", VERDICT, 3, 1)
        assert setting.primary.settled == [("k", VERDICT, 1, 3), ("k", VERDICT, 3, 1)]
        assert not setting.breaker.is_open

    asyncio.run(run())


def test_what_cannot_be_settled_is_lost_and_said_once(caplog):
    """For each outage: one that a settlement finds, and one that it does not."""

    async def run():
        setting = Setting(says=DOWN)
        await setting.counter.settle("k", VERDICT, 1, 3)
        assert setting.breaker.is_open
        assert [record.getMessage() == LOST for record in caplog.records] == [False, True]
        for _ in range(3):
            assert setting.counter.settle("k", VERDICT, 1, 3) is None
        assert len(setting.primary.settled) == 1
        setting.wait()
        setting.primary.says = VERDICT
        await setting.hit()
        await setting.fail()
        for _ in range(3):
            assert setting.counter.settle("k", VERDICT, 1, 3) is None
        assert len(setting.primary.settled) == 1

    with caplog.at_level(logging.DEBUG, "secure_asgi"):
        asyncio.run(run())
    assert [record.getMessage() == LOST for record in caplog.records] == [False, True, False, False, True]
