"""Revoked tokens: in memory, and in a real Redis that two workers share, and that dies and comes back."""

import asyncio
import json
import time

import pytest
import trio

from secure_asgi import ConfigurationError, TokenError
from secure_asgi._redis import RedisUnavailableError
from secure_asgi.bearer.revocation import FRESH, MAX_NAME, POLL, NotRevokedError, Revocations
from secure_asgi.bearer.unavailable import UnavailableError

from .redis_server import running_redis

NOW = 1_800_000_000.0
ISSUER = "https://id.example.com"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(server):
    """Empty, and running at the end."""
    server.kill()
    server.start()
    return server


def verdict(revocations, **claims):
    """The reason for which a token is refused, or that it is "good"."""
    claims = {"iss": ISSUER, "sub": "ann", "jti": "t1", "iat": NOW - 10, **claims}
    claims = {name: value for name, value in claims.items() if value is not None}
    try:
        revocations.check(claims, NOW)
    except (TokenError, UnavailableError) as refused:
        return str(refused.reason)
    return "good"


def in_memory(**options):
    revocations = Revocations(**options)
    revocations.clock = NOW
    revocations._clock = lambda: revocations.clock
    return revocations


async def until(condition, seconds=5.0):
    """Seconds that it took, by a real clock: a real Redis has no other."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, "it did not come to pass"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


class Workers:
    """Two, that share a Redis; without their background tasks unless ``open``."""

    def __init__(self, redis, **options):
        self.one, self.two = (Revocations(redis.url, **options) for _ in range(2))

    async def __aenter__(self):
        for worker in (self.one, self.two):
            await worker._refresh()
        return self.one, self.two

    async def __aexit__(self, *error):
        await self.one.close()
        await self.two.close()


# --- what is refused -----------------------------------------------------------------------------------------------

TOKENS = {
    "the token": ({}, "token_revoked"),
    "another token": ({"jti": "t2"}, "good"),
    "the same jti of another issuer": ({"iss": "https://other.example"}, "good"),
    "another case": ({"jti": "T1"}, "good"),
    "no jti": ({"jti": None}, "good"),
    "no issuer": ({"iss": None}, "good"),
    "a jti that is a list": ({"jti": ["t1"]}, "token_claim_invalid"),
}


@pytest.mark.parametrize(("claims", "reason"), TOKENS.values(), ids=TOKENS)
def test_by_jti(claims, reason):
    revocations = in_memory()
    asyncio.run(revocations.revoke("t1", issuer=ISSUER, until=NOW + 300))
    assert verdict(revocations, **claims) == reason


SUBJECTS = {
    "issued before": ({"iat": NOW - 1}, "token_revoked"),
    "issued in that second": ({"iat": NOW}, "token_revoked"),
    "issued after": ({"iat": NOW + 1}, "good"),
    "nobody knows when": ({"iat": None}, "token_revoked"),
    "without jti": ({"jti": None}, "token_revoked"),
    "another subject": ({"sub": "bob"}, "good"),
    "another issuer's": ({"iss": "https://other.example"}, "good"),
    "no subject": ({"sub": None}, "good"),
    "iat that is text": ({"iat": "1"}, "token_claim_invalid"),
}


@pytest.mark.parametrize(("claims", "reason"), SUBJECTS.values(), ids=SUBJECTS)
def test_by_subject(claims, reason):
    revocations = in_memory()
    asyncio.run(revocations.revoke_subject("ann", issuer=ISSUER, before=NOW))
    assert verdict(revocations, **claims) == reason


def test_the_time_of_a_subject_only_moves_on():
    revocations = in_memory()
    for before in (NOW - 50, NOW, NOW - 100):
        asyncio.run(revocations.revoke_subject("ann", issuer=ISSUER, before=before))
    assert verdict(revocations, iat=NOW) == "token_revoked"
    assert verdict(revocations, iat=NOW + 1) == "good"
    assert len(revocations) == 1


def test_what_is_said_of_it_is_for_the_log():
    revocations = in_memory()
    asyncio.run(revocations.revoke("t1", issuer=ISSUER, until=NOW + 300))
    with pytest.raises(TokenError) as refused:
        revocations.check({"iss": ISSUER, "jti": "t1"}, NOW)
    assert refused.value.note == "jti"


# --- how long, how many --------------------------------------------------------------------------------------------


def test_entries_end_with_the_token_and_its_leeway():
    revocations = in_memory(longest_lifetime=1000)

    async def run():
        await revocations.revoke("t1", issuer=ISSUER, until=NOW + 100)
        await revocations.revoke("t1", issuer=ISSUER, until=NOW + 200)
        await revocations.revoke("old", issuer=ISSUER, until=NOW - 300)
        await revocations.revoke_subject("ann", issuer=ISSUER, before=NOW)
        await revocations.revoke_subject("bob", issuer=ISSUER, before=NOW - 1300)
        assert len(revocations) == 2
        lengths = []
        for later in (400, 499, 500, 1299, 1300):
            revocations.clock = NOW + later
            await revocations.revoke("nothing", issuer=ISSUER, until=NOW - 400)
            lengths.append(len(revocations))
        assert lengths == [2, 2, 1, 1, 0]
        assert (revocations._tokens, revocations._subjects, revocations._due) == ({}, {}, [])

    asyncio.run(run())


def test_a_full_list_says_so_and_forgets_nothing():
    revocations = in_memory(capacity=2)

    async def run():
        await revocations.revoke("t1", issuer=ISSUER, until=NOW + 100)
        await revocations.revoke("t2", issuer=ISSUER, until=NOW + 200)
        await revocations.revoke("t1", issuer=ISSUER, until=NOW + 100)
        with pytest.raises(NotRevokedError, match=r"the list is full \(2 entries\): nothing is revoked; raise capac"):
            await revocations.revoke("t3", issuer=ISSUER, until=NOW + 300)
        assert [verdict(revocations, jti=name) for name in ("t1", "t2", "t3")] == ["token_revoked"] * 2 + ["good"]
        revocations.clock = NOW + 400
        await revocations.revoke("t3", issuer=ISSUER, until=NOW + 300)

    asyncio.run(run())
    assert verdict(revocations, jti="t3") == "token_revoked"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"capacity": 0}, "capacity= is a whole number"),
        ({"capacity": 1.5}, "capacity= is a whole number"),
        ({"longest_lifetime": 0}, "longest_lifetime= is a positive number of seconds"),
        ({"longest_lifetime": "1"}, "longest_lifetime= is a positive number of seconds"),
        ({"prefix": ""}, "prefix= is text without braces"),
        ({"prefix": "{a}"}, "prefix= is text without braces"),
        ({"timeout": 0}, "timeout= is a positive number of seconds"),
        ({"timeout": None}, "timeout= is a positive number of seconds"),
        ({"redis": "localhost"}, "a Redis is named by a redis://"),
    ],
)
def test_wrong_options(options, says):
    with pytest.raises(ConfigurationError, match=says):
        Revocations(**options)


@pytest.mark.parametrize("name", ["", None, 7, "x" * (MAX_NAME + 1)])
def test_names_that_name_nothing(name):
    revocations = in_memory()
    for call in (
        lambda: revocations.revoke(name, issuer=ISSUER, until=NOW),
        lambda: revocations.revoke("t1", issuer=name, until=NOW),
        lambda: revocations.revoke_subject(name, issuer=ISSUER, before=NOW),
    ):
        with pytest.raises(ConfigurationError, match="is text of 1 to 1024 characters"):
            asyncio.run(call())


@pytest.mark.parametrize("when", [None, True, "1", -1, NOW * 1000, float("nan")])
def test_times_that_are_none(when):
    for call in (
        lambda: in_memory().revoke("t1", issuer=ISSUER, until=when),
        lambda: in_memory().revoke_subject("ann", issuer=ISSUER, before=when),
    ):
        with pytest.raises(ConfigurationError, match="is seconds since 1970"):
            asyncio.run(call())


def test_in_memory_there_is_nothing_to_open():
    async def run():
        revocations = in_memory()
        await revocations.open()
        assert revocations._task is None
        await revocations._refresh()
        await revocations.close()
        assert verdict(revocations) == "good"

    asyncio.run(run())
    trio.run(in_memory().open)


# --- two workers and a Redis ---------------------------------------------------------------------------------------


def test_in_every_worker_within_a_second(redis):
    async def run():
        one, two = Revocations(redis.url), Revocations(redis.url)
        await one.open()
        await two.open()
        await two.open()
        assert verdict(two) == verdict(two, jti="t2", sub="bob") == "good"
        await one.revoke("t1", issuer=ISSUER, until=time.time() + 60)
        assert verdict(one) == "token_revoked"
        assert await until(lambda: verdict(two) == "token_revoked") < 1
        await two.revoke_subject("bob", issuer=ISSUER, before=NOW)
        assert await until(lambda: verdict(one, jti="t2", sub="bob") == "token_revoked") < 1
        assert verdict(one, jti="t2") == "good"
        await one.close()
        await two.close()
        assert verdict(one) == "token_status_unknown"  # nobody asks any more
        await one.close()

    asyncio.run(run())


def test_redis_gone_and_back_empty(redis, caplog):
    """Unknown within about a second; then again in force, everywhere, though Redis has forgotten it."""

    async def run():
        one, two = Revocations(redis.url), Revocations(redis.url)
        await one.open()
        await two.open()
        await one.revoke("t1", issuer=ISSUER, until=time.time() + 60)
        await until(lambda: verdict(two) == "token_revoked")
        redis.kill()
        assert await until(lambda: verdict(two, jti="t2") == "token_status_unknown") < 1.3
        with pytest.raises(UnavailableError) as unknown:
            two.check({}, NOW)
        assert unknown.value.wait == 1.0
        with pytest.raises(NotRevokedError, match=r"Redis did not take it \(\w+\): it is revoked in this worker, and"):
            await one.revoke("t2", issuer=ISSUER, until=time.time() + 60)
        redis.start()
        await until(lambda: verdict(two, jti="t9") == "good" and verdict(one, jti="t9") == "good")
        assert await until(lambda: verdict(two, jti="t2") == "token_revoked") < 1
        assert verdict(one) == verdict(one, jti="t2") == verdict(two) == "token_revoked"
        three = Revocations(redis.url)
        await three.open()
        assert [verdict(three, jti=name) for name in ("t1", "t2", "t3")] == ["token_revoked"] * 2 + ["good"]
        for worker in (one, two, three):
            await worker.close()

    asyncio.run(run())
    lines = [record.getMessage() for record in caplog.records]
    assert sum("the list in Redis cannot be read, and tokens are refused" in line for line in lines) == 2
    assert sum("the list in Redis is read again" in line for line in lines) == 2


def test_a_redis_that_was_empty_for_a_moment_between_two_questions(redis):
    """No question failed; but the numbers have gone back, or it is another list or server, and all is compared."""

    async def run():
        async with Workers(redis) as (one, two):
            await one.revoke("t1", issuer=ISSUER, until=time.time() + 60)
            await one._refresh()
            await one._link.ask("FLUSHALL")
            await one._refresh()
            await two._refresh()
            assert verdict(two) == "token_revoked"
            await one._link.ask("FLUSHALL")
            three = Revocations(redis.url)
            await three.revoke("t2", issuer=ISSUER, until=time.time() + 60)  # a number beyond any that was given out
            await one._refresh()
            assert verdict(one, jti="t2") == "token_revoked"
            await three._refresh()
            assert verdict(three) == "token_revoked"
            await three._link.ask("ZADD", "{secure_asgi:revoked}:log", 1, json.dumps(["jti", ISSUER, "t2"]))
            one._tokens.clear()
            one._ends.clear()
            one._server = "another/" + one._server.partition("/")[2]  # a replica has taken over
            await one._refresh()
            assert verdict(one) == verdict(one, jti="t2") == "token_revoked"
            await three.close()

    asyncio.run(run())


@pytest.mark.parametrize("part", ["log", "ends", "values", "last"])
def test_a_redis_that_evicts_a_part_of_it(redis, part):
    async def run():
        async with Workers(redis) as (one, two):
            await one.revoke("t1", issuer=ISSUER, until=time.time() + 60)
            await one._refresh()
            await one._link.ask("DEL", f"{{secure_asgi:revoked}}:{part}")
            await one._refresh()
            await two._refresh()
            assert verdict(two) == "token_revoked"

    asyncio.run(run())


def test_a_redis_that_says_nothing_of_itself(redis):
    """INFO may be forbidden to us."""

    async def run():
        async with Workers(redis) as (one, two):
            await one._link.ask("ACL", "SETUSER", "default", "-info")
            await one.revoke("t1", issuer=ISSUER, until=time.time() + 60)
            await two._refresh()
            assert verdict(two) == "token_revoked"
            assert two._server[0] == "/"

    asyncio.run(run())


def test_a_long_list_comes_in_pieces_and_only_what_is_new_after_that(redis):
    async def run():
        async with Workers(redis) as (one, two):
            for name in range(2500):
                one._keep(("jti", ISSUER, f"t{name}"), time.time() + 60, time.time() + 60)
            one._must_reread = True
            await one._refresh()
            await two._refresh()
            assert len(two) == 2500
            assert verdict(two, jti="t2499") == "token_revoked"
            asked = []
            link, two._link = two._link, Recorder(two._link.ask, asked)
            await one.revoke("new", issuer=ISSUER, until=time.time() + 60)
            await two._refresh()
            assert len(asked) == 1
            assert len(asked[0]) == 3 + 2
            two._link = link

    asyncio.run(run())


class Recorder:
    """A link whose answers are kept."""

    def __init__(self, ask, answers):
        self._ask, self._answers = ask, answers

    async def ask(self, *command):
        self._answers.append(await self._ask(*command))
        return self._answers[-1]


def test_redis_keeps_an_entry_as_long_as_the_token(redis):
    async def run():
        async with Workers(redis) as (one, two):
            await one.revoke("t1", issuer=ISSUER, until=time.time() - 299.5)
            await one.revoke("t2", issuer=ISSUER, until=time.time() + 60)
            assert await one._link.ask("HLEN", "{secure_asgi:revoked}:values") == 2
            await until(lambda: time.time() > one._ends["jti", ISSUER, "t1"] + 1)
            await two._refresh()
            assert await one._link.ask("HLEN", "{secure_asgi:revoked}:values") == 1
            assert len(two) == 1
            await one._refresh()
            assert len(one) == 1

    asyncio.run(run())


def test_a_full_redis_says_so(redis, caplog):
    async def run():
        large, small = Revocations(redis.url), Revocations(redis.url, capacity=1)
        await large._refresh()
        await large.revoke("t1", issuer=ISSUER, until=time.time() + 60)
        with pytest.raises(NotRevokedError, match="the list in Redis is full: it is revoked in this worker alone"):
            await small.revoke("t2", issuer=ISSUER, until=time.time() + 60)
        await small._refresh()
        assert verdict(small, jti="t1") == verdict(small, jti="t2") == "token_revoked"
        assert "the list in Redis is full, 1 are revoked in this worker alone" in caplog.text
        await large.revoke("t3", issuer=ISSUER, until=time.time() + 60)
        small._fresh_until = 0
        await small._refresh()
        assert verdict(small, jti="t9") == "token_status_unknown"  # rather than forget one
        assert "it has more entries than capacity= allows" in caplog.text
        await large.close()
        await small.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("identity", "value"),
    [("junk", "1 2"), ('["jti", 7, "x"]', "1 2"), ('["jti", "x", 7]', "1 2"), ('["a", "x", "y"]', "1 2"), ("[]", "1 2")]
    + [('["jti", "x", "y"]', text) for text in ("1", "a b", "")],
)
def test_what_somebody_else_has_written_there(redis, identity, value, caplog):
    async def run():
        revocations = Revocations(redis.url)
        await revocations._refresh()
        for command in (("ZADD", "log", 7, identity), ("ZADD", "ends", 9e9, identity), ("HSET", "values", identity)):
            more = (value,) if command[0] == "HSET" else ()
            await revocations._link.ask(command[0], f"{{secure_asgi:revoked}}:{command[1]}", *command[2:], *more)
        await revocations._link.ask("SET", "{secure_asgi:revoked}:last", "7 7")
        revocations._fresh_until = 0
        await revocations._refresh()
        assert verdict(revocations) == "token_status_unknown"
        await revocations.close()

    asyncio.run(run())
    assert "cannot be read, and tokens are refused: " in caplog.text


@pytest.mark.parametrize("decode", [True, False])
def test_a_client_of_ones_own(redis, decode):
    from redis.asyncio import Redis

    async def run():
        client = Redis(port=redis.port, decode_responses=decode)
        one, two = Revocations(client), Revocations(client)
        await one.revoke("t1", issuer=ISSUER, until=time.time() + 60)
        await two._refresh()
        assert verdict(two) == "token_revoked"
        await two.close()
        assert await client.ping()
        await client.aclose()

    asyncio.run(run())


class Scripted:
    """A client that hangs, or fails, as it is told."""

    def __init__(self):
        self.answer = [b"run", b"0", b"0"]

    async def execute_command(self, *command):
        if self.answer is None:
            await asyncio.Event().wait()
        return self.answer


def test_an_answer_counts_for_a_second_from_when_it_was_asked_for():
    async def run():
        client = Scripted()
        revocations = Revocations(client, timeout=0.01)
        now = 100.0
        revocations._now = lambda: now
        await revocations._refresh()
        now += FRESH - 0.01
        assert verdict(revocations) == "good"
        client.answer = None
        await revocations._refresh()
        assert verdict(revocations) == "good"
        now += 0.01
        assert verdict(revocations) == "token_status_unknown"
        await revocations.close()

    asyncio.run(run())
    assert POLL < FRESH


def test_a_revocation_that_nobody_waits_for_is_written_later():
    async def run():
        client = Scripted()
        revocations = Revocations(client, timeout=5)
        await revocations._refresh()
        assert not revocations._must_reread
        client.answer = None
        task = asyncio.create_task(revocations.revoke("t1", issuer=ISSUER, until=time.time() + 60))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert verdict(revocations) == "token_revoked"
        assert revocations._must_reread

    asyncio.run(run())


def test_without_a_start_up_the_first_request_starts_it(redis):
    async def run():
        revocations = Revocations(redis.url)
        assert verdict(revocations) == "token_status_unknown"
        task = revocations._task
        assert verdict(revocations) == "token_status_unknown"
        assert revocations._task is task
        assert await until(lambda: verdict(revocations) == "good") < 1
        await revocations.close()

    asyncio.run(run())


def test_a_second_event_loop(redis):
    """The task of the first is as good as none."""
    revocations = Revocations(redis.url)

    async def run():
        await revocations.open()
        assert verdict(revocations) == "good"
        await revocations._link.close()

    asyncio.run(run())
    asyncio.run(run())
    asyncio.run(revocations.close())


def test_under_trio_it_says_that_it_will_not_do():
    revocations = Revocations("redis://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="need asyncio"):
        trio.run(revocations.open)

    async def ask():
        return verdict(revocations)

    assert trio.run(ask) == "token_status_unknown"


def test_nothing_connects_before_the_first_command():
    revocations = Revocations("redis://127.0.0.1:1")
    assert revocations._task is None
    assert not revocations._link._clients


def test_the_error_of_redis_does_not_escape():
    async def run():
        revocations = Revocations("redis://127.0.0.1:1", timeout=0.2)
        await revocations.open()
        with pytest.raises(NotRevokedError) as refused:
            await revocations.revoke("t1", issuer=ISSUER, until=time.time() + 60)
        assert isinstance(refused.value.__cause__, RedisUnavailableError)
        assert "127.0.0.1" not in str(refused.value)
        await revocations.close()

    asyncio.run(run())


def test_an_answer_counts_from_when_the_question_was_put():
    """It tells of that moment: what was revoked while it was under way is not in it."""
    now = [0.0]

    class Slow:
        async def ask(self, *command):
            now[0] = 0.9
            return [b"a server", b"0", b"0"]

    revocations = Revocations("redis://127.0.0.1:1")
    revocations._link, revocations._now = Slow(), lambda: now[0]
    asyncio.run(revocations._refresh())
    now[0] = 0.99
    assert verdict(revocations) == "good"
    now[0] = 1.0
    assert verdict(revocations) == "token_status_unknown"
