"""``secure-asgi limits``: what operators see of a real Redis's counters, what they delete, and what is out of reach."""

import asyncio
import json
import sys

import pytest

from secure_asgi.cli import main
from secure_asgi.cli.limits.asking import TRIES, layers_of

from .asgi import drive, http_scope
from .redis_server import running_redis

SHOP = """
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from secure_asgi import *

URL = {url!r}
print("loading")

async def order(request): ...

class SignIn(Layer):
    name = "sign_in"
    def on_request(self, exchange, scope):
        exchange.principal = Principal(subject="ann", issuer="https://id.example.com")

async def hello(scope, receive, send):
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body"}})

def limited(namespace, app=hello, **options):
    return RateLimitMiddleware(app, **{{
        "limits": "2/hour", "storage": URL, "storage_timeout": 2, "namespace": namespace, "ipv6_prefix": 64
    }} | options)

app = limited(
    "client", ban=Ban(after=1, first=600), rules=LimitRule("POST", "/orders", limits="1/minute", in_addition=True)
)
signed = SignIn(limited("signed", key="principal"))
custom = limited("custom", key=lambda exchange, scope: "\\u00fc" * 70)
several = limited("several", key=("client", "route"))
by_route = limited("route", key="route")
async def login(scope, receive, send):
    await attempt(scope, "ann")
    await send({{"type": "http.response.start", "status": 401, "headers": []}})
    await send({{"type": "http.response.body"}})
sign_in = limited("sign_in", login, preset="login", limits="3/hour")
memory = RateLimitMiddleware(hello, limits="2/hour")
memcached = RateLimitMiddleware(hello, limits="2/hour", storage="memcached://user:hidden@127.0.0.1:1")
down = RateLimitMiddleware(hello, limits="2/hour", storage="redis://user:hidden@127.0.0.1:1/0")
mounted = Starlette(
    routes=[Mount("/api", Starlette(middleware=[Middleware(RateLimitMiddleware, limits="5/day")]))],
    middleware=[Middleware(RateLimitMiddleware, limits="2/hour", storage=URL, storage_timeout=2, namespace="mounted")],
)
wrong = Starlette(middleware=[Middleware(RateLimitMiddleware, limits="many\\x1b")])
foreign = Starlette(middleware=[Middleware(BearerAuthMiddleware)])
bare = Starlette()
def make(): return app
"""

ANN = ["--principal", "https://id.example.com", "ann"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(autouse=True)
def shop(server, tmp_path, monkeypatch):
    server.command("FLUSHALL")
    (tmp_path / "limited_shop.py").write_text(SHOP.format(url=server.url))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    yield
    sys.modules.pop("limited_shop", None)


def ask(name, times=1, *, client="203.0.113.9", path="/", **more):
    """Requests as a serving process would get them, with counters of its own in front of the Redis."""
    import limited_shop

    async def run():
        app = getattr(limited_shop, name)
        answers = [await drive(app, http_scope(path, client=(client, 1), **more), []) for _ in range(times)]
        for seen in layers_of(app):
            await seen.layer.storage.store.close()
        return [answer.status for answer in answers]

    return asyncio.run(run())


def limits(command, name, *more):
    return main(["limits", command, f"limited_shop:{name}", *more])


def document(capsys, command, name, *more, status=0):
    assert limits(command, name, *more, "--json") == status
    return json.loads(capsys.readouterr().out)["layers"]


def test_the_limits_and_who_is_banned(capsys):
    assert limits("show", "app") == 0
    shown = capsys.readouterr().out
    assert shown.splitlines() == [
        "rate_limit:client: by client, sliding-window in redis",
        "  FOR                 LIMIT     NAME",
        "  all other requests  2/hour    client-3600s",
        "  POST /orders        1/minute  POST /orders-60s",
        "  POST /orders        2/hour    client-3600s",
        "  nobody is banned",
    ]
    assert ask("app", 3) == [200, 200, 429]
    (layer,) = document(capsys, "show", "app")
    ((banned),) = layer["banned"]
    assert 590 <= banned["seconds"] <= 600
    assert layer["ban"] == {"after": 1, "per": 300.0, "first": 600, "longest": 86400.0}
    assert limits("show", "app") == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == banned["identity"]
    (seen,) = document(capsys, "show", "app", "--client", "203.0.113.9", status=1)
    assert seen["asked"][0]["identity"] == banned["identity"]


@pytest.mark.parametrize(
    ("spent", "status", "free"),
    [(0, 0, [2, 1]), (1, 0, [1, 1]), (2, 1, [0, 1])],
    ids=["nothing", "some", "all"],
)
def test_how_a_client_stands(spent, status, free, capsys):
    limits("show", "app")
    capsys.readouterr()
    ask("app", spent)
    (layer,) = document(capsys, "show", "app", "--client", "203.0.113.9", status=status)
    (asked,) = layer["asked"]
    assert (asked["banned_seconds"], [one["free"] for one in asked["limits"]]) == (0, free)
    assert asked["limits"][0]["wait_seconds"] > 0 or not spent
    assert layer["banned"] is None
    (other,) = document(capsys, "show", "app", "--client", "203.0.113.10")
    assert [one["free"] for one in other["asked"][0]["limits"]] == [2, 1]


def test_in_words(capsys):
    assert limits("show", "app", "--client", "203.0.113.9") == 0
    ask("app", 5)
    capsys.readouterr()
    assert limits("show", "app", "--client", "203.0.113.9") == 1
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert first == "rate_limit:client: by client, sliding-window in redis"
    assert second.startswith("  identity ")
    assert ": banned for " in second
    assert rest[0].split() == ["LIMIT", "NAME", "FREE", "ONE", "MORE", "IN"]
    assert rest[1].split()[:3] == ["2/hour", "client-3600s", "0"]
    assert rest[2].split() == ["1/minute", "POST", "/orders-60s", "1"]


@pytest.mark.parametrize(
    ("name", "asked_by", "client", "named"),
    [
        ("app", "client", "203.0.113.9", ["--client", "::ffff:203.0.113.9"]),
        ("app", "client", "2001:db8::1", ["--client", "2001:db8::ffff"]),
        ("app", "client", "203.0.113.9", ["--key", "203.0.113.9"]),
        ("custom", "custom", "203.0.113.9", ["--key", "\u00fc" * 70]),
    ],
    ids=["a mapped address", "an IPv6 network", "a key in text", "a key of a function's"],
)
def test_a_key_is_made_as_the_layer_makes_it(name, asked_by, client, named, capsys):
    """RL-15."""
    limits("show", name)
    capsys.readouterr()
    assert ask(name, 3, client=client) == [200, 200, 429]
    (layer,) = document(capsys, "show", name, *named, status=1)
    assert (layer["place"], layer["asked"][0]["limits"][0]["free"]) == (f"rate_limit:{asked_by}", 0)


def test_a_principal(capsys):
    limits("show", "signed")
    capsys.readouterr()
    assert ask("signed", 2) == [200, 200]
    (layer,) = document(capsys, "show", "signed", *ANN, status=1)
    assert layer["asked"][0]["limits"][0]["free"] == 0
    (layer,) = document(capsys, "show", "signed", "--principal", "", "ann")
    assert layer["asked"][0]["limits"][0]["free"] == 2
    (layer,) = document(capsys, "show", "signed", "--client", "203.0.113.9")
    assert layer["asked"][0]["limits"][0]["free"] == 2, "who is not signed in is counted by address"
    assert document(capsys, "reset", "signed", *ANN)[0]["deleted"] == 1
    assert document(capsys, "show", "signed", *ANN)[0]["asked"][0]["limits"][0]["free"] == 2


def test_a_name_that_somebody_tries_to_sign_in_with(capsys):
    limits("show", "sign_in")
    capsys.readouterr()
    assert ask("sign_in", 3) == [401, 401, 401]
    for whom in (["--name", "ann"], ["--client", "203.0.113.9"]):
        (layer,) = document(capsys, "show", "sign_in", *whom, status=1)
        assert layer["asked"][0]["limits"][0]["free"] == 0
    assert document(capsys, "show", "sign_in", "--key", "ann")[0]["asked"][0]["limits"][0]["free"] == 3
    assert document(capsys, "reset", "sign_in", "--name", "ann")[0]["deleted"] == 1
    document(capsys, "show", "sign_in", "--name", "ann")


def test_reset_forgets_counters_refusals_and_the_ban(capsys):
    assert limits("reset", "app", "--client", "203.0.113.9") == 1
    assert capsys.readouterr().out.splitlines()[1:] == ["  deleted 0 keys"]
    ask("app", 5)
    assert limits("reset", "app", "--client", "203.0.113.9") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].startswith("  deleted 2 keys: client-3600s, a ban with ")
    assert shown[2].startswith("Processes that have just refused it")
    sys.modules.pop("limited_shop")  # a process that did not refuse it
    assert limits("show", "app", "--client", "203.0.113.9") == 0
    assert ask("app", 3) == [200, 200, 429]


def test_reset_leaves_others_alone(capsys):
    limits("show", "app")
    for client in ("203.0.113.9", "203.0.113.10"):
        ask("app", 5, client=client)
    assert limits("reset", "app", "--client", "203.0.113.9") == 0
    capsys.readouterr()
    document(capsys, "show", "app", "--client", "203.0.113.10", status=1)
    assert len(document(capsys, "show", "app")[0]["banned"]) == 1


def test_preflights_are_counted_apart_and_reset_too(capsys):
    """RL-16."""
    limits("show", "app")
    capsys.readouterr()
    preflight = {"origin": "https://a.example", "access-control-request-method": "PUT"}
    assert ask("app", 5, method="OPTIONS", headers=preflight)[-1] == 429
    (layer,) = document(capsys, "show", "app", "--client", "203.0.113.9", status=1)
    assert [(one["are_preflights"], one["banned_seconds"] > 0) for one in layer["asked"]] == [
        (False, False),
        (True, True),
    ]
    limits("show", "app", "--client", "203.0.113.9")
    assert ", its CORS preflights: banned for " in capsys.readouterr().out
    assert limits("reset", "app", "--client", "203.0.113.9") == 0
    assert "client-3600s (preflights), a ban with" in capsys.readouterr().out
    document(capsys, "show", "app", "--client", "203.0.113.9")


def test_each_layer_of_an_application(capsys):
    """One in memory below a mount: what could be looked at is shown, and the status says that it was not all."""
    outer, inner = document(capsys, "show", "mounted", status=2)
    assert (outer["where"], outer["storage"], outer["ban"], outer["banned"]) == ("", "redis", None, [])
    assert (inner["where"], inner["storage"], inner["banned"]) == ("/api", "memory", None)
    assert "cannot be reached from here" in inner["problem"]
    assert limits("show", "mounted") == 2
    shown = capsys.readouterr()
    assert "  bans nobody" in shown.out.splitlines()
    assert "rate_limit:client below /api: by client, sliding-window in memory" in shown.out.splitlines()
    assert "live in the memory of each serving process" in shown.err


@pytest.mark.parametrize(
    ("command", "name", "more", "sentence"),
    [
        ("show", "memory", [], "memory of each serving process"),
        ("reset", "memory", ["--client", "203.0.113.9"], "memory of each serving process"),
        ("show", "memcached", [], "live in memcached"),
        ("show", "down", ["--client", "203.0.113.9"], "gives no answer"),
        ("reset", "down", ["--client", "203.0.113.9"], "gives no answer"),
        ("show", "app", ["--client", "everybody\x1b"], "takes an IP address"),
        ("show", "app", ANN, "none of its rate limits"),
        ("show", "app", ["--name", "ann"], "none of its rate limits"),
        ("show", "custom", ["--client", "203.0.113.9"], "none of its rate limits"),
        ("show", "several", ["--client", "203.0.113.9"], "none of its rate limits"),
        ("show", "by_route", ["--client", "203.0.113.9"], "none of its rate limits"),
        ("show", "wrong", [], "RateLimitMiddleware cannot be made"),
        ("show", "foreign", [], "no RateLimitMiddleware"),
        ("show", "bare", [], "no RateLimitMiddleware"),
        ("show", "nothing", [], "is not there"),
    ],
    ids=lambda value: " ".join(value).replace("\x1b", "") if isinstance(value, list) else value,
)
def test_what_cannot_be_done_is_one_sentence(command, name, more, sentence, capsys):
    assert limits(command, name, *more) == 2
    shown = capsys.readouterr()
    complaint = shown.err.replace("loading\n", "")
    assert sentence in complaint
    assert complaint.count("\n") == 1
    assert "\x1b" not in complaint
    assert "hidden" not in shown.out + shown.err


@pytest.mark.parametrize(
    "arguments",
    [["reset", "a:b"], ["show", "a:b", "--client", "::1", "--key", "a"], ["show", "a:b", "--principal", "a"], []],
    ids=["reset of nobody", "two at once", "half a principal", "nothing"],
)
def test_what_is_not_understood(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["limits", *arguments])
    assert caught.value.code == 2


def test_the_document_is_all_that_is_printed(capsys):
    assert limits("show", "make", "--factory", "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out).keys() == {"layers"}
    assert "loading" in shown.err


def test_a_slow_first_connection_is_waited_for(monkeypatch, capsys):
    """The last try counts; what deletes is sent once."""
    from secure_asgi.rate_limit.outage import StoreUnavailableError
    from secure_asgi.rate_limit.redis_store import RedisStore

    asked, real = [], RedisStore.ban_left

    async def slow(self, key):
        asked.append(key)
        if len(asked) < TRIES:
            raise StoreUnavailableError("Redis: TimeoutError")
        return await real(self, key)

    monkeypatch.setattr(RedisStore, "ban_left", slow)
    assert limits("show", "app") == 0
    assert len(asked) == TRIES
