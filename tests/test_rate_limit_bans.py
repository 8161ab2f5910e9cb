"""Who is refused too often is not looked at for a while, and longer each time."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from secure_asgi import Ban, ConfigurationError, Layer, RateLimitMiddleware, TrustedProxyMiddleware, attempt, secure
from secure_asgi._networks import address
from secure_asgi.rate_limit import bans
from secure_asgi.rate_limit.bans import MAX_KEYS, BanBook
from secure_asgi.rate_limit.limits import NANOSECONDS

from .asgi import hello, http, websocket
from .counters import Clock


@pytest.fixture
def clock():
    return Clock()


def seconds(number):
    return round(number * NANOSECONDS)


def test_the_book(clock):
    """Three refusals in 10 s ban for 20 s, then 40, then 50 at most; after 50 s without one it begins anew."""
    book = BanBook(Ban(after=3, per=10, first=20, longest=50))

    def refuse(at):
        return book.refused("a", seconds(at)) / NANOSECONDS

    assert [refuse(at) for at in (0, 9, 10, 19)] == [0, 0, 0, 0], "the first two are forgotten after 10 s"
    assert refuse(19.5) == 20
    assert [book.left("a", seconds(at)) / NANOSECONDS for at in (19.5, 39, 39.5)] == [20, 0.5, 0]
    assert book.left("b", seconds(20)) == 0
    assert [refuse(at) for at in (40, 41, 42)] == [0, 0, 40]
    assert [refuse(at) for at in (82, 83, 84)] == [0, 0, 50]
    assert [refuse(at) for at in (184, 184, 184)] == [0, 0, 20]


def test_no_more_bans_than_the_bound_and_the_first_to_end_makes_room():
    """However many others are banned: those that are over leave before one that runs, and that with the least left."""
    book = BanBook(Ban(after=1, first=1000))
    for number in range(MAX_KEYS):
        book.refused(number, number)
    length = seconds(1000)
    book.refused("new", length)  # at this moment the first is over
    assert (len(book), book.left(0, length), book.left(1, length)) == (MAX_KEYS, 0, 1)
    book.refused("newer", length)
    assert (len(book), book.left(1, length), book.left(2, length)) == (MAX_KEYS, 0, 2)
    book.refused("newest", 3 * length)
    assert len(book) == 1


def test_a_flood_of_refusals_lifts_no_ban():
    """RL-15: a million addresses that are refused once each are no way out of a ban."""
    book = BanBook(Ban(after=2, first=1000))
    assert [book.refused("a", 0) for _ in range(2)] == [0, seconds(1000)]
    for number in range(3 * MAX_KEYS):
        book.refused(number, 1)
    assert book.left("a", 1) == seconds(1000) - 1
    assert len(book) == 1
    assert len(book._refusals) <= MAX_KEYS


def test_a_refusal_that_was_under_way_makes_no_ban_longer():
    book = BanBook(Ban(after=1, first=10))
    assert [book.refused("a", now) for now in (0, 1)] == [seconds(10), 0]
    assert book.left("a", 1) == seconds(10) - 1


def test_keys_of_two_kinds_whose_bans_end_together():
    """Text and octets have no order, and are never compared."""
    book = BanBook(Ban(after=1, first=10))
    for key in ("a", b"a", "b"):
        assert book.refused(key, 0) == seconds(10)
    assert book.refused("c", seconds(10)) == seconds(10)
    assert len(book) == 1


def test_one_ban_however_many_threads_are_refused_at_once():
    book = BanBook(Ban(after=100, per=1000, first=10))
    with ThreadPoolExecutor(8) as threads:
        begun = list(threads.map(lambda _: book.refused("a", 0), range(199)))
    assert begun.count(seconds(10)) == 1
    assert len(book) == 1


class Model:
    """One key, without bounds, as the documentation says it."""

    def __init__(self, ban):
        self.ban = ban
        self.refusals, self.begun, self.end, self.length = 0, None, 0, 0

    def left(self, now):
        return max(0, self.end - now)

    def refused(self, now):
        if self.left(now):
            return 0
        if self.begun is None or now >= self.begun + self.ban.per:
            self.begun, self.refusals = now, 0
        self.refusals += 1
        if self.refusals < self.ban.after:
            return 0
        forgotten = not self.length or now >= self.end + self.ban.longest
        self.length = self.ban.first if forgotten else min(2 * self.length, self.ban.longest)
        self.begun, self.end = None, now + self.length
        return self.length


STEPS = st.tuples(st.sampled_from("ab"), st.integers(0, 12))


@settings(max_examples=300, deadline=None)
@given(
    after=st.integers(1, 3),
    per=st.integers(1, 20),
    first=st.integers(1, 9),
    more=st.integers(0, 30),
    steps=st.lists(STEPS, max_size=60),
)
def test_against_a_model(after, per, first, more, steps):
    """Seconds pass, two keys are refused: the book says what a model without bounds says."""
    ban = Ban(after=after, per=per, first=first, longest=first + more)
    book, models, now = BanBook(ban), {key: Model(ban) for key in "ab"}, 0
    for key, passed in steps:
        now += passed
        assert book.refused(key, seconds(now)) == seconds(models[key].refused(now))
        for one, model in models.items():
            assert book.left(one, seconds(now)) == seconds(model.left(now))
        assert len(book) == len(book._ends) <= 2


def test_who_is_spared_is_looked_up_once(monkeypatch):
    """Every request asks; what is too long to be an address is not remembered."""
    asked = []
    monkeypatch.setattr(bans, "address", lambda text: asked.append(text) or address(text))
    ban = Ban(never="198.51.100.0/24")
    clients = ["198.51.100.7", "::ffff:198.51.100.7", "203.0.113.9", "::ffff:203.0.113.9", "x" * 65]
    for _ in range(2):
        assert [ban.spares(client) for client in clients] == [True, True, False, False, True]
    assert asked == [*clients, "x" * 65]
    assert ban == Ban(never="198.51.100.0/24"), "what it remembers is no part of it"


def limited(app=hello, *, clock, **options):
    return RateLimitMiddleware(
        app, limits="2/second", clock=clock, **{"ban": Ban(after=2, per=60, first=300)} | options
    )


def test_on_the_wire(clock):
    """RL-11. One second later it could ask again, if it were not banned."""
    app = limited(clock=clock)
    assert [http(app).status for _ in range(4)] == [200, 200, 429, 429]
    clock.to(3)
    answer = http(app)
    assert answer.headers["retry-after"] == "297"
    assert answer.problem["type"] == "https://iana.org/assignments/http-problem-types#abnormal-usage-detected"
    assert answer.problem["title"] == "Abnormal Usage Detected"
    assert "ratelimit" not in answer.headers
    assert http(app, client=("203.0.113.77", 1)).status == 200
    clock.to(300)
    assert http(app).status == 200


def test_the_record_says_when_it_begins(clock):
    seen = []

    class Watch(Layer):
        name = "watch"

        def on_end(self, exchange):
            seen.append([(one.reason, one.note) for one in exchange.decisions if one.verdict == "deny"])

    app = Watch(limited(clock=clock))
    for _ in range(5):
        http(app)
    assert seen[3:] == [[("banned", "banned for 300 s, from now on")], [("banned", "banned for 300 s")]]


@pytest.mark.parametrize(
    ("client", "never"),
    [
        pytest.param("127.0.0.1", (), id="this machine"),
        pytest.param("::1", (), id="this machine, IPv6"),
        pytest.param("::ffff:127.0.0.1", (), id="this machine, mapped"),
        pytest.param("198.51.100.7", "198.51.100.0/24", id="an allowed network"),
        pytest.param(None, (), id="all without an address, who are not one"),
    ],
)
def test_never_banned(clock, client, never):
    app = limited(clock=clock, ban=Ban(after=1, never=never), messages="1/minute")
    client = client and (client, 1)
    assert [http(app, client=client).status for _ in range(9)] == [200, 200] + [429] * 7
    clock.to(3)
    assert [websocket(app, texts=["a", "b"], client=client).close_code for _ in range(2)] == [1008, 1008]
    clock.to(130)
    assert http(app, client=client).status == 200
    assert websocket(app, texts=["a"], client=client).messages[-1]["type"] == "websocket.send"


def test_a_proxy_of_ours_is_never_banned(clock):
    """It asks for itself, without a forwarding field: a health check. Those behind it are banned each for itself."""
    app = secure(
        hello,
        Middleware(TrustedProxyMiddleware, trusted="198.51.100.0/24"),
        Middleware(RateLimitMiddleware, limits="2/second", clock=clock, ban=Ban(after=1)),
    )

    def ask(**headers):
        return http(app, client=("198.51.100.7", 1), headers={name.replace("_", "-"): v for name, v in headers.items()})

    behind = {"x_forwarded_for": "203.0.113.5"}
    assert [ask().status for _ in range(4)] == [200, 200, 429, 429]
    assert [ask(**behind).status for _ in range(4)] == [200, 200, 429, 429]
    clock.to(3)
    assert (ask().status, ask(**behind).status) == (200, 429)


def test_nor_is_a_proxy_behind_a_proxy(clock):
    app = secure(
        hello,
        Middleware(TrustedProxyMiddleware, trusted="198.51.100.0/24"),
        Middleware(RateLimitMiddleware, limits="2/second", clock=clock, ban=Ban(after=1)),
    )
    inner = {"x-forwarded-for": "198.51.100.9"}
    assert [http(app, client=("198.51.100.7", 1), headers=inner).status for _ in range(4)] == [200, 200, 429, 429]
    clock.to(3)
    assert http(app, client=("198.51.100.7", 1), headers=inner).status == 200


def test_a_websocket_message_of_a_banned_client(clock):
    """Two messages too many, on two connections: from then on nothing of its is looked at."""
    app = limited(clock=clock, messages="1/minute")
    assert [websocket(app, texts=["a", "b"]).close_code for _ in range(2)] == [1008, 1008]
    assert websocket(app, texts=["c"]).status == 429
    assert http(app).problem["title"] == "Abnormal Usage Detected"


def test_a_name_is_never_banned(clock):
    """Whoever tries to sign in as ann is not ann: she waits for as long as the limit says, and no longer."""

    async def sign_in(scope, receive, send):
        status = 401
        try:
            await attempt(scope, "ann")
        except HTTPException as refused:
            status = refused.status_code
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body"})

    app = limited(sign_in, clock=clock, counts="failures", ban=Ban(after=1))
    asked = [http(app, client=(f"203.0.113.{number}", 1)).status for number in range(9)]
    assert asked == [401, 401] + [429] * 7
    clock.to(4)
    assert http(app, client=("203.0.113.9", 1)).status == 401


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"after": 0}, "whole number of refusals"),
        ({"after": True}, "whole number of refusals"),
        ({"per": 0}, "per= is a positive"),
        ({"first": -1}, "first= is a positive"),
        ({"longest": float("inf")}, "longest= is a positive"),
        ({"first": 10, "longest": 9}, "shorter than first"),
        ({"never": "everywhere"}, "never= takes networks"),
        ({"never": 7}, "never= takes networks"),
    ],
)
def test_options(options, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        Ban(**options)


def test_ban_option():
    with pytest.raises(ConfigurationError, match="ban= takes a Ban"):
        RateLimitMiddleware(limits="1/second", ban=True)
