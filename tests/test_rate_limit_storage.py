"""The middleware over a real Redis: one budget for all processes, and what holds while there is none."""

import asyncio
import logging

import pytest

from secure_asgi import Ban, LimitRule, RateLimitMiddleware, Secret, attempt, exchange_of

from .asgi import drive, hello, http_scope, websocket_scope
from .redis_server import running_redis

STRATEGIES = ("sliding-window", "fixed-window", "moving-window", "gcra")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


def limited(url, app=hello, *, namespace, **options):
    options = {"limits": "3/hour", "storage_timeout": 2} | options
    return RateLimitMiddleware(app, storage=url, namespace=namespace, **options)


async def ask(app, path="/", client="203.0.113.9", **more):
    return await drive(app, http_scope(path, client=(client, 1), **more), [])


async def statuses(app, times, **more):
    return [(await ask(app, **more)).status for _ in range(times)]


async def close(*layers):
    for layer in layers:
        await layer.storage.store.close()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_share_a_budget(server, strategy):
    async def run():
        one, other = (limited(server.url, strategy=strategy, namespace=f"shared-{strategy}") for _ in range(2))
        assert await statuses(one, 2) == [200, 200]
        answer = await ask(other)
        assert answer.status == 200
        assert answer.headers["ratelimit"].startswith('"client-3600s";r=0;t=')
        refused = await ask(other)
        assert (refused.status, (await ask(one)).status) == (429, 429)
        assert refused.problem["violated-policies"] == ["client-3600s"]
        assert 0 < int(refused.headers["retry-after"]) <= 7200
        assert await statuses(one, 1, client="2001:db8::1") == [200]
        await close(one, other)

    asyncio.run(run())


def test_a_secret_holds_the_url(tmp_path, caplog):
    """RL-16: neither what fails nor what is logged says the password."""

    async def run(server):
        url = Secret(server.url.replace("//", "//:hunter2@"))
        layer = limited(url, namespace="secret", on_outage="closed", storage_timeout=0.5)
        await layer.storage.store.open()
        assert await statuses(layer, 4) == [200, 200, 200, 429]
        server.kill()
        await layer.storage.store.open()
        answer = await ask(layer, client="203.0.113.10")
        assert answer.status == 503
        assert "hunter2" not in str((answer.problem, vars(layer), vars(layer.storage), vars(layer.storage.store)))
        await close(layer)

    with running_redis(tmp_path, "--requirepass", "hunter2") as server:
        asyncio.run(run(server))
    assert "does not answer at start-up" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_never_more_than_the_limit_whoever_asks_at_once(server, strategy):
    async def run():
        layers = [
            limited(server.url, strategy=strategy, namespace=f"herd-{strategy}", limits="50/hour; 70/day")
            for _ in "abcd"
        ]
        answers = await asyncio.gather(*(ask(layer) for layer in layers for _ in range(40)))
        assert [answer.status for answer in answers].count(200) == 50
        await close(*layers)

    asyncio.run(run())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_failures_only(server, strategy):
    async def login(scope, receive, send):
        name, _, status = scope["query_string"].decode().partition("=")
        await attempt(scope, name)
        await send({"type": "http.response.start", "status": int(status), "headers": []})
        await send({"type": "http.response.body"})

    async def run():
        app = limited(
            server.url, login, preset="login", limits="2/hour", strategy=strategy, namespace=f"login-{strategy}"
        )

        async def sign_in(name, status, client="203.0.113.9"):
            return (await ask(app, query=f"{name}={status}", client=client)).status

        assert [await sign_in("ann", 200) for _ in range(5)] == [200] * 5
        assert [await sign_in("ann", 401) for _ in range(2)] == [401] * 2
        assert await sign_in("ann", 200) == 429
        refused = await ask(app, query="ann=200", client="203.0.113.10")
        assert type(refused.error).__name__ == "HTTPException"
        await close(app)

    asyncio.run(run())


def test_rules_messages_and_bans(server):
    async def run():
        app = limited(
            server.url,
            namespace="many",
            rules=LimitRule("GET", "/x", limits="1/hour", in_addition=True),
            messages="2/hour",
            ban=Ban(after=2, first=600),
        )
        assert [(await ask(app, "/x")).status for _ in range(2)] == [200, 429]
        texts = [{"type": "websocket.receive", "text": "a"}] * 4
        closed = await drive(app, websocket_scope(client=("203.0.113.9", 1)), [{"type": "websocket.connect"}, *texts])
        assert closed.close_code == 1008
        other = limited(server.url, namespace="many", ban=Ban(after=2, first=600))
        refused = await ask(other)
        assert refused.status == 429
        assert refused.problem["title"] == "Abnormal Usage Detected"
        await close(app, other)

    asyncio.run(run())


def test_a_ban_outlives_the_redis(tmp_path):
    """As far as this process has heard of it; the others count from zero."""

    async def run():
        with running_redis(tmp_path) as server:
            layer = limited(server.url, namespace="banned", limits="1/hour", ban=Ban(after=1))
            layer.storage.remote.longest_denial = 0  # the Redis is asked each time
            assert await statuses(layer, 2) == [200, 429]
        refused = await ask(layer)
        assert refused.problem["title"] == "Abnormal Usage Detected"
        assert 890 <= int(refused.headers["retry-after"]) <= 900
        assert await statuses(layer, 1, client="203.0.113.7") == [200]
        await close(layer)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("on_outage", "expected"),
    [("local", [200, 200, 429]), ("open", [200] * 3), ("closed", [503] * 3)],
)
def test_while_redis_is_down_and_after(tmp_path, on_outage, expected, caplog):
    """Nobody is answered 500; limits hold as declared, and Redis decides again without a restart."""
    notes = []

    async def app(scope, receive, send):
        await hello(scope, receive, send)
        notes.append(exchange_of(scope).decisions[0].note)

    async def run():
        with running_redis(tmp_path) as server:
            options = {"on_outage": on_outage, "replicas": 2, "settle": lambda exchange: 1}
            layer = limited(server.url, app, namespace="down", limits="4/hour", **options)
            assert await statuses(layer, 1) == [200]
            server.kill()
            assert await statuses(layer, 3) == expected
            assert layer.storage.breaker.is_open
            server.start()
            for _ in range(100):
                if (await ask(layer, client="203.0.113.77")).status == 200 and not layer.storage.breaker.is_open:
                    break
                await asyncio.sleep(0.1)
            assert layer.storage.breaker.switches == 2
            assert await statuses(layer, 5) == [200] * 4 + [429]
            await close(layer)

    with caplog.at_level(logging.WARNING, "secure_asgi"):
        asyncio.run(run())
    assert notes[0] == ""
    if on_outage != "closed":
        assert "the storage is down" in notes[1]
    assert sum("gives no answer" in record.message for record in caplog.records) == 1


def test_closed_says_when_to_come_back(tmp_path):
    async def run():
        layer = limited("redis://127.0.0.1:1/0", namespace="none", on_outage="closed")
        answer = await ask(layer)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.problem["type"].endswith("#temporary-reduced-capacity")
        closed = await drive(layer, websocket_scope(denial_response=False), [{"type": "websocket.connect"}])
        assert closed.close_code == 1013
        await close(layer)

    asyncio.run(run())


def test_the_lifespan_opens_and_closes_it(server):
    async def run():
        layer = limited(server.url, namespace="lifespan")
        await layer.on_startup({})
        assert await statuses(layer, 1) == [200]
        await layer.on_shutdown()

    asyncio.run(run())
