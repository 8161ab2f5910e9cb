"""Who is refused too often is not looked at for a while, and longer each time."""

import pytest
from starlette.middleware import Middleware

from secure_asgi import Ban, ConfigurationError, Layer, RateLimitMiddleware, TrustedProxyMiddleware, secure
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


def test_the_book_is_bounded():
    book = BanBook(Ban(after=1))
    for number in range(3 * MAX_KEYS):
        book.refused(number, 0)
    assert len(book._bans) <= MAX_KEYS
    assert book.left(3 * MAX_KEYS - 1, 0) > 0


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
    app = limited(clock=clock, ban=Ban(after=1, never=never))
    client = client and (client, 1)
    assert [http(app, client=client).status for _ in range(9)] == [200, 200] + [429] * 7
    clock.to(3)
    assert http(app, client=client).status == 200


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
    ],
)
def test_options(options, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        Ban(**options)


def test_ban_option():
    with pytest.raises(ConfigurationError, match="ban= takes a Ban"):
        RateLimitMiddleware(limits="1/second", ban=True)
