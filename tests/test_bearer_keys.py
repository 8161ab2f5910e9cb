"""Keys of a real issuer that is down, slow, huge, wrong, rotated; and the event loop that never waits for it."""

import asyncio
import base64
import json
import sys
import time

import pytest
import trio

from secure_asgi import BearerAuthMiddleware, ConfigurationError
from secure_asgi._fetch import Document, Fetcher, FetchError, is_fetchable
from secure_asgi.bearer.addresses import metadata_urls
from secure_asgi.testing import TokenFactory

from . import asgi
from .issuer import Issuer


def source_of(layer):
    (issuer,) = layer._judge.issuers.known()
    return issuer.source


class World:
    """An issuer on a real socket, a layer that trusts it, and a clock to turn."""

    def __init__(self, issuer, **options):
        self.issuer, self.now = issuer, 0.0
        self.tokens = TokenFactory(issuer=issuer.url)
        issuer.describe()
        issuer.publish(self.tokens.jwks)
        self.layer = BearerAuthMiddleware(
            asgi.hello, **{"issuer": issuer.url, "audience": "orders", "fetch_timeout": 0.5, **options}
        )
        self.source = source_of(self.layer)
        self.layer._now = self.source._now = lambda: self.now

    async def status(self, token=None):
        return (await self.ask(token)).status

    async def ask(self, token=None):
        headers = {"authorization": f"Bearer {token or self.tokens.token()}"}
        return await asgi.drive(self.layer, asgi.http_scope(headers=headers), [])

    async def settle(self):
        """Until no fetch is under way."""
        task = self.source._task
        if task is not None:
            await asyncio.wait((task,))

    @property
    def fetches(self):
        return self.issuer.asked["/jwks"]


def with_issuer(test, **options):
    async def run():
        async with Issuer() as issuer:
            await test(World(issuer, **options))

    asyncio.run(run())


def test_discovery():
    async def test(world):
        assert await world.status() == 200
        assert await world.status() == 200
        assert world.fetches == 1

    with_issuer(test)


def test_a_hundred_cold_requests_are_one_fetch():
    async def test(world):
        statuses = await asyncio.gather(*(world.status(world.tokens.token(n=n)) for n in range(100)))
        assert set(statuses) == {200}
        assert world.fetches == 1

    with_issuer(test)


def test_a_cancelled_request_does_not_stop_the_fetch():
    """Single flight is led by no request."""

    async def test(world):
        first = asyncio.ensure_future(world.ask())
        await asyncio.sleep(0.001)
        second = asyncio.ensure_future(world.ask())
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).status == 200
        assert world.fetches == 1

    with_issuer(test)


def test_a_thousand_unknown_kids_are_one_fetch_a_cooldown():
    async def test(world):
        assert await world.status() == 200
        for _ in range(2):
            for _ in range(500):
                assert await world.status(world.tokens.unknown_key()) == 401
        assert world.fetches == 2
        world.now += 31
        assert await world.status(world.tokens.unknown_key()) == 401
        assert world.fetches == 3

    with_issuer(test)


def test_one_unknown_kid_is_not_asked_for_twice():
    async def test(world):
        unknown = world.tokens.unknown_key()
        assert await world.status() == 200
        assert await world.status(unknown) == 401
        world.now += 29.9
        assert await world.status(unknown) == 401
        assert world.fetches == 2

    with_issuer(test, refresh_cooldown=10)


def test_a_new_key_is_found_at_once_and_a_withdrawn_one_is_gone_with_the_next_fetch():
    """JWKS-3."""

    async def test(world):
        old = world.tokens.token()
        assert await world.status(old) == 200
        world.tokens.rotate(keep=False)
        world.issuer.publish(world.tokens.jwks)
        assert await world.status(old) == 200
        assert await world.status() == 200
        assert await world.status(old) == 401

    with_issuer(test)


def test_refresh_ahead_beside_the_requests():
    """JWKS-2: at 80 % of the time, and nobody waits."""

    async def test(world):
        assert await world.status() == 200
        world.now = 481
        assert await world.status() == 200
        await world.settle()
        assert world.fetches == 2
        world.now = 482
        assert await world.status() == 200
        assert world.fetches == 2

    with_issuer(test)


@pytest.mark.parametrize(
    ("headers", "fresh_for"),
    [
        ({"cache-control": "public, max-age=120"}, 120),
        ({"cache-control": "max-age=120", "age": "30"}, 90),
        ({"cache-control": "max-age=1"}, 60),
        ({"cache-control": "no-store"}, 60),
        ({"cache-control": "max-age=99999999"}, 86_400),
        ({"cache-control": "max-age=x"}, 600),
        ({}, 600),
    ],
)
def test_how_long_keys_are_used(headers, fresh_for):
    async def test(world):
        world.issuer.publish(world.tokens.jwks, **headers)
        assert await world.status() == 200
        assert world.source._expires_at == fresh_for

    with_issuer(test)


def test_known_keys_outlive_an_issuer_that_is_down_for_an_hour():
    """JWKS-3: stale if error, then 503; never 401."""

    async def test(world):
        assert await world.status() == 200
        world.issuer.answers.clear()
        for world.now in (599, 700, 2000, 4000):
            assert await world.status(world.tokens.token(n=world.now)) == 200
            await world.settle()
        world.now = 4300
        answer = await world.ask(world.tokens.token(n=5))
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
        world.issuer.describe()
        world.issuer.publish(world.tokens.jwks)
        world.now = 4400
        assert await world.status() == 200

    with_issuer(test)


def test_a_failing_issuer_is_asked_ever_less():
    async def test(world):
        world.issuer.answers.clear()
        asked = []
        for world.now in range(60):
            assert await world.status() == 503
            asked.append(world.issuer.asked["/.well-known/openid-configuration"])
        assert asked[0] == 1
        assert asked[-1] == 6

    with_issuer(test)


async def hangs(writer):
    await asyncio.sleep(30)


async def drips(writer):
    writer.write(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(100):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def floods(writer):
    writer.write(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\n\r\n")
    for _ in range(1000):
        writer.write(b" " * 65536)
        await writer.drain()


JSON = {"content-type": "application/json"}
FAULTS = [
    ("refuses", (500, {}, b"")),
    ("redirects (no redirects)", (302, {"location": "http://127.0.0.1:1/"}, b"")),
    ("HTML", (200, {"content-type": "text/html"}, b"<html>")),
    ("no content type", (200, {}, b"{}")),
    ("garbage", (200, JSON, b"\xff\xfe")),
    ("no JWK Set", (200, JSON, b"[1]")),
    ("an empty set", (200, JSON, b'{"keys":[]}')),
    ("a thousand keys", (200, JSON, json.dumps({"keys": [{"kty": "EC"}] * 1000}).encode())),
    ("too big", (200, JSON, b" " * 70_000)),
    ("gzip", (200, {**JSON, "content-encoding": "gzip"}, b"\x1f\x8b")),
    ("nested deep", (200, JSON, b"[" * 60_000)),
    ("hangs", hangs),
    ("drips", drips),
    ("floods", floods),
]


@pytest.mark.parametrize("fault", [row[1] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_an_issuer_at_fault(fault):
    """503 with Retry-After while there are no keys; known keys keep working; the loop is never blocked."""

    async def test(world):
        good = world.issuer.answers["/jwks"]
        world.issuer.answers["/jwks"] = fault
        lag = asyncio.ensure_future(worst_lag())
        answer = await world.ask()
        assert answer.status == 503
        assert answer.headers["retry-after"]
        assert "www-authenticate" not in answer.headers
        lag.cancel()
        world.issuer.answers["/jwks"], world.now = good, 10
        assert await world.status() == 200
        world.issuer.answers["/jwks"], world.now = fault, 700
        assert await world.status(world.tokens.unknown_key()) == 503
        assert await world.status() == 200
        assert await lag_of(lag) < 0.25

    with_issuer(test)


async def worst_lag():
    """Seconds by which a timer was late, at worst; generous, because the machine may be busy."""
    worst = 0.0
    try:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            worst = max(worst, time.perf_counter() - began - 0.01)
    except asyncio.CancelledError:
        return worst


async def lag_of(task):
    return await task


METADATA = [
    ("of another issuer (META-2)", {"issuer": "https://evil.example"}),
    ("without jwks_uri", {"jwks_uri": None}),
    ("plain http elsewhere", {"jwks_uri": "http://id.example.com/jwks"}),
]


@pytest.mark.parametrize("metadata", [row[1] for row in METADATA], ids=[row[0] for row in METADATA])
def test_metadata_that_is_not_believed(metadata):
    async def test(world):
        world.issuer.describe(**metadata)
        assert await world.status() == 503
        world.issuer.describe("/.well-known/oauth-authorization-server")
        world.now = 10
        assert await world.status() == 200

    with_issuer(test)


ELSEWHERE = [
    ("another public host", "https://keys.example.net/jwks", True),
    ("the network inside (JWKS-4)", "https://10.0.0.1/jwks", False),
    ("this machine", "https://localhost/jwks", False),
]


@pytest.mark.parametrize(("uri", "is_fetched"), [row[1:] for row in ELSEWHERE], ids=[row[0] for row in ELSEWHERE])
def test_where_a_public_issuer_may_send_us(uri, is_fetched):
    """What metadata says is learned from outside: it leads to no address of ours."""
    asked = []

    class Scripted:
        async def get(self, url, **bounds):
            asked.append(url)
            return Document(json.dumps({"issuer": "https://id.example.com", "jwks_uri": uri}).encode(), None)

    layer = BearerAuthMiddleware(asgi.hello, issuer="https://id.example.com", audience="orders")
    source_of(layer)._fetcher = Scripted()
    assert asgi.http(layer, headers={"authorization": f"Bearer {TokenFactory().token()}"}).status == 503
    assert (uri in asked) == is_fetched


def test_metadata_that_is_no_object():
    async def test(world):
        world.issuer.answers["/.well-known/openid-configuration"] = (200, JSON, b"[]")
        assert await world.status() == 503

    with_issuer(test)


def test_nobody_listens():
    layer = BearerAuthMiddleware(asgi.hello, issuer="http://127.0.0.1:1", audience="orders")
    assert asgi.http(layer, headers={"authorization": f"Bearer {TokenFactory().token()}"}).status == 503


def test_prefetch_at_start_up_and_close():
    async def test(world):
        await world.layer.on_startup({})
        assert world.fetches == 1
        await world.layer.on_startup({})
        assert await world.status() == 200
        assert world.fetches == 1
        await world.layer.on_shutdown()
        await world.layer.on_shutdown()

    with_issuer(test)


def test_static_keys_need_no_start():
    tokens = TokenFactory()
    layer = BearerAuthMiddleware(asgi.hello, issuer=tokens.issuer, audience="orders", jwks=tokens.jwks)

    async def live():
        await layer.on_startup({})
        await layer.on_shutdown()

    asyncio.run(live())
    assert asgi.http(layer, headers={"authorization": f"Bearer {tokens.token()}"}).status == 200


def test_another_event_loop_starts_anew():
    """Resources belong to the running loop; a fetch of a loop that is gone is as good as none."""
    layer = BearerAuthMiddleware(asgi.hello, issuer="http://127.0.0.1:1", audience="orders")
    headers = {"authorization": f"Bearer {TokenFactory().token()}"}
    for _ in range(2):
        assert asgi.http(layer, headers=headers).status == 503
        source_of(layer)._retry_at = 0


def test_static_keys_never_make_anybody_wait():
    tokens = TokenFactory()
    source = source_of(BearerAuthMiddleware(issuer=tokens.issuer, audience="orders", jwks=tokens.jwks))
    assert asyncio.run(source.wait()) is asyncio.run(source.look_again("x")) is source.current(0)
    assert not source.may_know("x", 0)
    assert source.doubt() is None


def test_without_httpx(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ConfigurationError, match="pip install httpx"):
        BearerAuthMiddleware(asgi.hello, issuer="https://id.example.com", audience="orders")


def test_an_unknown_kid_while_the_issuer_is_down_is_no_verdict():
    """BRR-8: the key may be a new one; and a refresh that is under way is waited for, not doubled."""

    async def test(world):
        assert await world.status() == 200
        good, world.issuer.answers["/jwks"] = world.issuer.answers["/jwks"], (500, {}, b"")
        assert await world.status(world.tokens.unknown_key()) == 503
        assert await world.status(world.tokens.unknown_key()) == 503
        assert world.fetches == 2
        world.issuer.answers["/jwks"], world.now = good, 40
        statuses = await asyncio.gather(*(world.status(world.tokens.unknown_key()) for _ in range(20)))
        assert set(statuses) == {401}
        assert world.fetches == 3

    with_issuer(test)


def test_a_token_without_a_kid_is_worth_a_look_too():
    async def test(world):
        world.tokens.rotate()
        world.issuer.publish(world.tokens.jwks)
        _, claims, signature = world.tokens.token().split(".")
        nameless = base64.urlsafe_b64encode(b'{"alg":"ES256"}').rstrip(b"=").decode()
        assert await world.status() == 200
        assert await world.status(f"{nameless}.{claims}.{signature}") == 401
        assert world.fetches == 2

    with_issuer(test)


def test_keys_that_changed_their_order_are_the_same_set_and_duplicates_are_left_out():
    async def test(world):
        (member,) = world.tokens.jwks["keys"]
        twice = json.dumps(member)[:-1] + ', "kid": "again"}'
        other = json.dumps(TokenFactory().jwks["keys"][0])
        world.issuer.answers["/jwks"] = (200, JSON, f'{{"keys": [{twice}, {other}]}}'.encode())
        assert await world.status() == 401

    with_issuer(test)


def test_trio_is_refused_at_start_up():
    layer = BearerAuthMiddleware(asgi.hello, issuer="https://id.example.com", audience="orders")
    with pytest.raises(ConfigurationError, match="needs asyncio"):
        trio.run(layer.on_startup, {})


def test_a_client_of_ones_own():
    import httpx

    async def test(world):
        async with httpx.AsyncClient() as client:
            world.source._fetcher = Fetcher(client)
            assert await world.status() == 200
            assert not client.is_closed

    with_issuer(test)


def test_what_any_client_raises_is_a_fetch_error():
    class Broken:
        def stream(self, *args, **options):
            raise KeyError("x")

    with pytest.raises(FetchError, match="KeyError"):
        asyncio.run(Fetcher(Broken()).get("https://x", types=(), max_bytes=1))


URLS = [
    ("https://id.example.com/t", True),
    ("http://127.0.0.1:8080", True),
    ("http://[::1]/x", True),
    ("http://localhost", True),
    ("http://a.localhost", True),
    ("http://id.example.com", False),
    ("https://", False),
    ("https://u:p@id.example.com", False),
    ("https://id.example.com/#f", False),
    ("https://id.example.com:99999", False),
    ("https://id.example.com/ x", False),
    ("ftp://127.0.0.1", False),
    ("https://[::1", False),
]


@pytest.mark.parametrize(("url", "expected"), URLS)
def test_what_may_be_fetched(url, expected):
    """JWKS-4."""
    assert is_fetchable(url) == expected


def test_where_metadata_is():
    """META-1."""
    assert metadata_urls("https://a.example/t1/") == (
        "https://a.example/t1/.well-known/openid-configuration",
        "https://a.example/.well-known/oauth-authorization-server/t1",
    )
