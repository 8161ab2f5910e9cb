"""Other limits for some paths, some principals and some messages; costs that are computed, or known at the end."""

import http_sf
import pytest
from fastapi import FastAPI
from fastapi.exceptions import FastAPIDeprecationWarning
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from secure_asgi import (
    Ban,
    ConfigurationError,
    Layer,
    LimitRule,
    Principal,
    RateLimitMiddleware,
    Secret,
    Tier,
    attempt,
    charge,
    exchange_of,
)
from secure_asgi.rate_limit.keys import name_key

from .asgi import hello, http, websocket
from .counters import Clock


@pytest.fixture
def clock():
    return Clock()


def limited(app=hello, *, clock=None, **options):
    return RateLimitMiddleware(app, clock=clock or Clock(), max_keys=100, **options)


def statuses(app, times, path="/", **options):
    return [http(app, path, **options).status for _ in range(times)]


class SignIn(Layer):
    name = "sign_in"

    def on_request(self, exchange, scope):
        scopes = exchange.fields(scope).get(b"scopes")
        if scopes is not None:
            claims = {"plan": "gold", "groups": ["a", "b"], "level": 1}
            exchange.principal = Principal(subject="7", scopes=frozenset(scopes.decode().split()), claims=claims)


# Rules


def ruled(**options):
    return limited(
        limits="3/minute",
        rules=[
            LimitRule("POST", "/login", limits="1/minute"),
            LimitRule("GET", "/items/{id}", limits="2/minute", policy="items"),
            LimitRule("*", "/reports/**", limits="2/minute", in_addition=True),
            LimitRule("WEBSOCKET", "/feed", limits="1/minute"),
        ],
        **options,
    )


def test_a_rule_takes_the_place_of_the_layers_limits():
    app = ruled()
    assert statuses(app, 2, "/login", method="POST") == [200, 429]
    assert statuses(app, 4, "/login") == [200, 200, 200, 429], "another method falls under none"


def test_all_paths_of_a_rule_share_a_budget():
    """/items/1, /items/2 ... are no budgets of one's choice (slowapi 0.1.10)."""
    app = ruled()
    assert [http(app, path).status for path in ("/items/1", "/items/2", "/items/3")] == [200, 200, 429]
    assert http(app, "/items/4", method="HEAD").status == 429, "HEAD falls under GET"
    assert http(app, "/items/4").headers["ratelimit-policy"] == '"items";q=2;w=60'


def test_in_addition_both_have_to_have_room():
    app = ruled()
    assert statuses(app, 2) == [200, 200]
    assert statuses(app, 2, "/reports/a/b") == [200, 429]
    refused = http(app, "/reports/")
    assert refused.problem["violated-policies"] == ["client-60s"]
    assert refused.headers["ratelimit-policy"] == '"* /reports/**-60s";q=2;w=60, "client-60s";q=3;w=60'


def test_a_rule_for_websockets():
    app = ruled()
    assert websocket(app, "/feed").messages[0]["type"] == "websocket.accept"
    assert websocket(app, "/feed").status == 429
    assert statuses(app, 3, "/feed", method="WEBSOCKET") == [200] * 3, "a method of that name is none"


@pytest.mark.parametrize("path", ["//login", "/login/", "/LOGIN", "/./login"])
def test_a_path_that_dodges_a_rule_falls_under_the_layers_limits(path):
    """It is no path of the route either."""
    app = ruled()
    assert statuses(app, 4, path, method="POST") == [200, 200, 200, 429]


def test_under_a_mount_the_rules_see_what_its_router_sees():
    inner = limited(
        Starlette(routes=[Route("/x", lambda request: PlainTextResponse("fine"))]),
        rules=LimitRule("GET", "/x", limits="1/minute"),
    )
    app = Starlette(routes=[Mount("/sub", app=inner)])
    assert statuses(app, 2, "/sub/x") == [200, 429]


def test_the_root_path_of_fastapi():
    """FastAPI puts it in place of the server's when it is called, further in than we are."""
    with pytest.warns(FastAPIDeprecationWarning):
        api = FastAPI(root_path="/v1")
    api.add_api_route("/x", lambda: "fine")
    app = limited(api, rules=LimitRule("GET", "/x", limits="1/minute"))
    assert statuses(app, 2, "/v1/x") == [200, 429]


def test_without_limits_only_what_a_rule_names_is_limited():
    app = limited(rules=LimitRule("GET", "/x", limits="1/minute"))
    assert statuses(app, 5) == [200] * 5
    assert "ratelimit" not in http(app).headers
    assert statuses(app, 2, "/x") == [200, 429]


def test_limits_at():
    app = ruled()
    assert app.limits_at(frozenset(("POST",)), "/login") == ("1/minute",)
    assert app.limits_at(None, "/reports/x") == ("2/minute", "3/minute")
    assert app.limits_at(frozenset(("GET", "HEAD")), "/") == ("3/minute",)
    assert limited(rules=LimitRule("GET", "/x", limits="1/minute")).limits_at(None, "/") == ()


# By route


def by_route():
    def answer(request):
        return PlainTextResponse("fine")

    async def feed(websocket):
        await websocket.accept()
        await websocket.close()

    routes = [
        Route("/items/{id}", answer, methods=["GET"]),
        Route("/other", answer),
        Mount("/sub", routes=[Route("/x", answer)]),
        WebSocketRoute("/feed", feed),
    ]
    return limited(Starlette(routes=routes), limits="1/minute", key=("client", "route"))


def test_by_route_template():
    app = by_route()
    assert [http(app, path).status for path in ("/items/1", "/items/2", "/other", "/sub/x")] == [200, 429, 200, 200]
    assert http(app, "/items/3", method="POST").status == 429, "the route refuses the method, and is asked all the same"
    assert [http(app, path).status for path in ("/nowhere", "/nowhere/else")] == [404, 429], "no route is one as well"
    assert http(app, "/other", client=("203.0.113.77", 1)).status == 200
    assert websocket(app, "/feed").messages[0]["type"] == "websocket.accept"
    assert websocket(app, "/feed").status == 429


def test_by_route_below_the_root_path_of_fastapi():
    with pytest.warns(FastAPIDeprecationWarning):
        api = FastAPI(root_path="/v1")
    for path in ("/x", "/y"):
        api.add_api_route(path, lambda: "fine")
    app = limited(api, limits="1/minute", key="route")
    assert [http(app, path).status for path in ("/v1/x", "/v1/y", "/v1/x")] == [200, 200, 429]


def test_an_application_without_routes_is_one():
    app = limited(limits="1/minute", key="route")
    assert [http(app, path).status for path in ("/a", "/b")] == [200, 429]


# Tiers


TIERS = (
    Tier("premium", limits="4/minute", scopes="premium"),
    Tier("gold", limits="3/minute", scopes={"paid"}, claims={"plan": "gold"}),
    Tier("group", limits="2/minute", claims={"groups": ("b", "c"), "level": 1}, policy="for-groups"),
)


@pytest.mark.parametrize(
    ("scopes", "admitted", "policy"),
    [
        pytest.param("premium paid", 4, '"premium-60s";q=4;w=60', id="the first that fits"),
        pytest.param("paid", 3, '"gold-60s";q=3;w=60', id="scope and claim"),
        pytest.param("", 2, '"for-groups";q=2;w=60', id="one of a list"),
        pytest.param(None, 1, '"principal-60s";q=1;w=60', id="nobody"),
    ],
)
def test_tiers(scopes, admitted, policy):
    app = SignIn(limited(limits="1/minute", key="principal", tiers=TIERS))
    headers = {} if scopes is None else {"scopes": scopes}
    assert sum(status == 200 for status in statuses(app, 6, headers=headers)) == admitted
    assert http(app, headers=headers).headers["ratelimit-policy"] == policy


@pytest.mark.parametrize("claims", [{"plan": "silver"}, {"level": True}, {"level": "1"}, {"missing": None}], ids=str)
def test_a_tier_that_does_not_fit(claims):
    """By type too: to Python True equals 1. A claim that is missing is null to nobody."""
    app = SignIn(limited(limits="1/minute", key="principal", tiers=Tier("x", limits="9/minute", claims=claims)))
    assert statuses(app, 2, headers={"scopes": ""}) == [200, 429]


# Presets


@pytest.mark.parametrize(
    ("preset", "limits", "place"),
    [("public", "60/minute", "client"), ("standard", "600/minute", "principal"), ("login", "10/15 minutes", "client")],
)
def test_presets(preset, limits, place):
    layer = RateLimitMiddleware(preset=preset)
    assert layer.limits_at(None, "/") == (limits,)
    assert layer.place == RateLimitMiddleware.slot(preset=preset) == f"rate_limit:{place}"


def test_what_is_given_beside_a_preset_wins():
    layer = RateLimitMiddleware(preset="standard", limits="7/minute", key="client")
    assert (layer.limits_at(None, "/"), layer.place) == (("7/minute",), "rate_limit:client")


# Messages


def test_messages_are_limited_by_client(clock):
    """Over all its connections: another one is no other budget. 1008 is a policy violation (RL-16)."""
    app = limited(limits="9/minute", messages="3/minute", clock=clock)
    first = websocket(app, texts=["a", "b"])
    assert [message["type"] for message in first.messages].count("websocket.send") == 2
    assert websocket(app, texts=["c", "d"]).close_code == 1008
    assert websocket(app, client=("203.0.113.77", 1), texts=["a"]).messages[-1]["type"] == "websocket.send"
    clock.to(120)
    assert websocket(app, texts=["e"]).messages[-1]["type"] == "websocket.send"


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({}, {"on_response"}),
        ({"headers": "off"}, set()),
        ({"unit": "tokens", "headers": "off"}, {"on_end"}),
        ({"messages": "1/minute"}, {"on_response", "on_message"}),
        ({"key": "route"}, {"on_response", "on_application"}),
        ({"rules": LimitRule("GET", "/x", limits="1/minute")}, {"on_response", "on_application"}),
    ],
    ids=["limits alone", "no fields", "settled", "messages", "by route", "rules"],
)
def test_hooks_that_have_nothing_to_do_are_not_run(options, needed):
    layer = RateLimitMiddleware(**{"limits": "1/minute"} | options)
    assert {"on_response", "on_message", "on_end", "on_application"} - layer.idle_hooks == needed


def test_messages_alone():
    app = limited(messages="1/minute")
    assert statuses(app, 3) == [200] * 3
    assert websocket(app, texts=["a", "b"]).close_code == 1008


# Costs


def by_length(exchange, scope):
    return len(scope["query_string"])


def test_a_computed_cost():
    app = limited(limits="10/minute", cost=by_length)
    assert [http(app, query="x" * length).status for length in (6, 5, 4, 1)] == [200, 429, 200, 429]
    assert http(app, query="x").headers["ratelimit"].startswith('"client-60s";r=0')


def test_a_cost_that_can_never_pass_is_no_matter_of_waiting():
    """RL-12: 400, and no Retry-After."""
    answer = http(limited(limits="10/minute; 20/hour", cost=by_length), query="x" * 11)
    assert answer.status == 400
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("cost", [-1, 0, True, "1", None, 1.5])
def test_a_cost_that_is_none_is_an_error_and_never_a_pass(cost):
    answer = http(limited(limits="10/minute", cost=lambda exchange, scope: cost))
    assert answer.status == 500
    assert isinstance(answer.error, TypeError)


def test_a_rule_has_a_cost_of_its_own():
    app = limited(limits="4/minute", rules=LimitRule("GET", "/x", limits="4/minute", cost=2))
    assert statuses(app, 3, "/x") == [200, 200, 429]


async def tokens(scope, receive, send):
    if scope["query_string"]:
        charge(scope, int(scope["query_string"]), unit="tokens")
    await hello(scope, receive, send)


def test_the_real_cost_is_charged_at_the_end():
    """Ten reserved; what it was is known when the answer is there."""
    app = limited(tokens, limits="100/minute", cost=10, unit="tokens")
    assert http(app, query="40").headers["ratelimit-policy"] == '"client-60s";q=100;qu="tokens";w=60'
    assert http(app, query="0").headers["ratelimit"].startswith('"client-60s";r=50')
    assert http(app).headers["ratelimit"].startswith('"client-60s";r=50')
    assert http(app, query="70").headers["ratelimit"].startswith('"client-60s";r=40')
    assert http(app).status == 429


def test_each_layer_of_the_unit_settles_its_own():
    inner = limited(tokens, limits="50/minute", cost=10, unit="tokens", key="principal")
    app = limited(inner, limits="100/minute", cost=10, unit="tokens")
    http(app, query="20")
    lines = [value for name, value in http(app).lines if name == "ratelimit"]
    assert [line.partition(";t")[0] for line in lines] == ['"principal-60s";r=20', '"client-60s";r=70']


def test_a_function_may_say_what_it_was():
    app = limited(limits="100/minute", settle=lambda exchange: exchange.bytes_sent, unit="content-bytes")
    http(app)
    assert http(app).headers["ratelimit"].startswith(f'"client-60s";r={100 - len(b"hello") - 1}')


@pytest.mark.parametrize("real", [-1, None, 1.5])
def test_a_settlement_that_is_none_leaves_what_was_reserved(real):
    app = limited(limits="10/minute", settle=lambda exchange: real)
    http(app)
    assert http(app).headers["ratelimit"].startswith('"client-60s";r=8')


def test_charge_elsewhere():
    async def wrong(scope, receive, send):
        with pytest.raises(ConfigurationError, match=r"unit='rows' has counted this request$"):
            charge(scope, 1, unit="rows")
        with pytest.raises(ConfigurationError, match="give it another unit=, or settle="):
            charge(scope, 1, unit="requests")
        for cost in (-1, True, "1"):
            with pytest.raises(ValueError, match="whole number"):
                charge(scope, cost, unit="tokens")
        await hello(scope, receive, send)

    assert http(limited(wrong, limits="100/minute", unit="tokens")).status == 200
    assert http(limited(wrong, limits="100/minute")).status == 200


# Failures only


def login(status):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status(scope), "headers": []})
        await send({"type": "http.response.body"})

    return app


def from_query(scope):
    return int(scope["query_string"])


def test_only_failures_count():
    app = limited(login(from_query), preset="login", limits="2/minute")
    assert [http(app, query=query).status for query in ("200", "401", "200", "500", "403", "200")] == [
        200,
        401,
        200,
        500,
        403,
        429,
    ]


def test_which_statuses_are_failures():
    app = limited(login(from_query), limits="1/minute", counts="failures", failures=418)
    assert [http(app, query=query).status for query in ("401", "418", "401")] == [401, 418, 429]


def test_who_goes_away_before_the_answer_has_failed():
    """Or guessing would be free for those who do not wait."""

    async def gone(scope, receive, send):
        raise OSError

    app = limited(gone, preset="login", limits="1/minute")

    async def silent(scope, receive, send):
        return None

    app = limited(silent, preset="login", limits="1/minute")
    assert http(app).messages == []
    assert http(app).status == 429


async def sign_in(scope, receive, send):
    name, _, password = scope["query_string"].decode().partition("=")
    try:
        await attempt(scope, name)
        status = 200 if password == "right" else 401
    except HTTPException as refused:
        status = refused.status_code if int(refused.headers["retry-after"]) > 0 else 500
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body"})


def ask(app, name, password, address):
    return http(app, query=f"{name}={password}", client=(address, 1)).status


def test_a_name_is_counted_from_all_addresses():
    app = limited(sign_in, preset="login", limits="2/minute")
    assert [ask(app, "ann", "right", "203.0.113.1") for _ in range(5)] == [200] * 5
    assert [ask(app, "ann", "wrong", f"203.0.113.{n}") for n in range(4)] == [401, 401, 429, 429]
    assert ask(app, "ann", "right", "203.0.113.99") == 429
    assert ask(app, "bob", "right", "203.0.113.99") == 200


def test_a_name_is_no_text_that_a_function_may_return():
    app = limited(sign_in, counts="failures", limits="1/minute", key=lambda exchange, scope: "name ann")
    assert ask(app, "bob", "wrong", "203.0.113.1") == 401
    layer = app.plans[0].counter
    assert not layer.hit("name ann", 1)[0]
    assert layer.hit(name_key("ann"), 1)[0]


def test_a_refused_name_is_on_record():
    log = []

    async def app(scope, receive, send):
        await sign_in(scope, receive, send)
        exchange = exchange_of(scope)
        log.append((exchange.denial and exchange.denial.reason, [one.verdict for one in exchange.decisions]))

    limiting = limited(app, preset="login", limits="1/minute")
    for n in range(2):
        ask(limiting, "ann", "wrong", f"203.0.113.{n}")
    assert log == [(None, ["pass"]), ("rate_limited", ["pass", "deny"])]


def test_in_shadow_a_name_is_not_refused():
    app = limited(sign_in, preset="login", limits="1/minute", mode="shadow")
    assert [ask(app, "ann", "wrong", f"203.0.113.{n}") for n in range(3)] == [401] * 3


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "shadow"},
        {"mode": "shadow", "cost": lambda exchange, scope: 9},
        {"mode": "shadow", "ban": Ban(after=1)},
        {"mode": "shadow", "storage": "redis://127.0.0.1:1", "on_outage": "closed"},
        {"storage": "redis://127.0.0.1:1", "on_outage": "open"},
    ],
    ids=["over the limit", "too costly", "banned", "closed", "open"],
)
def test_a_handler_may_speak_of_what_was_not_charged(options, caplog):
    app = limited(tokens, limits="1/minute", unit="tokens", **options)
    assert [http(app, query="5").status for _ in range(4)] == [200] * 4
    app = limited(sign_in, limits="1/minute", counts="failures", **options)
    assert [ask(app, "ann", "wrong", "203.0.113.1") for _ in range(4)] == [401] * 4
    assert "on_end" not in caplog.text, "nothing to settle"


def test_attempt_where_no_failures_are_counted():
    async def app(scope, receive, send):
        with pytest.raises(ConfigurationError, match='counts="failures"'):
            await attempt(scope, "ann")
        await hello(scope, receive, send)

    assert http(limited(app, limits="9/minute", unit="tokens")).status == 200


# Fields


def test_whose_quota_it_is():
    """RL-8: a keyed hash, the same for one key and another for another."""
    secret = Secret("correct horse battery")
    secrets = (secret, secret, "another horse battery")
    apps = [limited(limits="9/minute", identifier_secret=one, partition=True) for one in secrets]

    def pk(app, address):
        answer = http(app, client=(address, 1))
        ((_, policy),) = http_sf.parse(answer.headers["ratelimit-policy"].encode(), tltype="list")
        ((_, limit),) = http_sf.parse(answer.headers["ratelimit"].encode(), tltype="list")
        assert policy["pk"] == limit["pk"]
        return policy["pk"]

    assert pk(apps[0], "203.0.113.1") == pk(apps[1], "203.0.113.1")
    told = {pk(app, address) for app in apps for address in ("203.0.113.1", "203.0.113.2", "2001:db8::1")}
    assert len(told) == 6
    assert {len(one) for one in told} == {9}


def test_a_dialect():
    app = limited(limits="9/minute", dialect="draft-07", headers="both")
    assert http(app).headers["ratelimit"] == "limit=9, remaining=8, reset=120"
    assert app.field_names == (
        "RateLimit",
        "RateLimit-Policy",
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
    )


# Options


async def waits(*_):
    return 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "limits= needs at least one limit"),
        ({"preset": "private"}, "preset= is one of 'public', 'standard', 'login'"),
        ({"limits": "1/minute", "counts": "some"}, "counts= is one of"),
        ({"limits": "1/minute", "rules": "GET /x"}, "rules= takes LimitRule"),
        ({"limits": "1/minute", "tiers": 7, "key": "principal"}, "tiers= takes Tier"),
        ({"limits": "1/minute", "tiers": TIERS}, "tiers= need somebody to be known"),
        ({"limits": "10001/day", "strategy": "moving-window"}, "takes amounts to 10000, got 10001/day"),
        ({"limits": "1/minute", "settle": 3}, "settle= is a plain function"),
        ({"limits": "1/minute", "settle": waits}, "settle= is a plain function"),
        ({"preset": "login", "settle": lambda exchange: 1}, "leave settle= out"),
        *(
            ({"preset": "login", "failures": failures}, "failures= takes statuses from 200 to 599")
            for failures in ("401", (), {401, "403"}, 4010, 1, None)
        ),
        ({"limits": "1/minute", "cost": waits}, "or a plain function of"),
        *(({"limits": "1/minute", "unit": unit}, "unit= is a name") for unit in ("", 7)),
        ({"limits": "1/minute", "identifier_secret": "short"}, "identifier_secret= is a Secret of 16 to 64"),
        ({"limits": "1/minute", "identifier_secret": 65 * "1"}, "identifier_secret= is a Secret of 16 to 64"),
        ({"limits": "1/minute", "identifier_secret": 16 * b"1"}, "identifier_secret="),
        ({"limits": "1/minute", "partition": True}, "partition=True needs identifier_secret="),
        *(
            ({"limits": "1/minute", "namespace": namespace}, "namespace= is 1 to 64 letters")
            for namespace in ("", "a b", "a{b", "a}b", "a*", "é", "a\n", "a" * 65, None)
        ),
        ({"limits": "1/minute", "on_outage": "ask"}, "on_outage= is one of"),
        ({"limits": "1/minute", "replicas": 0}, "replicas= is a number of processes"),
        ({"limits": "1/minute", "storage_timeout": 0}, "storage_timeout= is a positive"),
        ({"limits": "1/minute", "storage": "memcached://127.0.0.1:1", "ban": Ban()}, "cannot hold bans"),
        ({"preset": "login", "storage": "memcached://127.0.0.1:1"}, "cannot give back"),
        ({"messages": "many"}, "messages= takes strings"),
        ({"limits": "9/minute", "burst": 3}, 'burst= goes with strategy="gcra"'),
        ({"limits": "9/minute", "burst": 10, "strategy": "gcra"}, "burst= is a whole number from 1 to the amount"),
        ({"limits": "9/minute", "burst": (1, 2), "strategy": "gcra"}, "of which there are 1"),
        ({"limits": "9/minute", "burst": 2, "cost": 3, "strategy": "gcra"}, r"the lowest limit \(2\)"),
        (
            {"rules": [LimitRule("GET", "/x", limits="1/minute"), LimitRule("GET", "/x", limits="2/minute")]},
            "two limits have the public name",
        ),
    ],
)
def test_options(options, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        RateLimitMiddleware(**options)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LimitRule("get", "/x", limits="1/minute"), "write 'GET'"),
        (lambda: LimitRule("GET", "x", limits="1/minute"), "path= is a path template"),
        (lambda: LimitRule("GET", "/x", limits=""), "limits= takes strings"),
        (lambda: LimitRule("GET", "/x", limits="1/minute", in_addition=1), "in_addition= is True or False"),
        (lambda: Tier("", limits="1/minute", scopes="x"), "a name of printable ASCII"),
        (lambda: Tier("x", limits="1/minute"), "fits everybody"),
        (lambda: Tier("x", limits="1/minute", scopes=5), "takes the names of scopes"),
        (lambda: Tier("x", limits="1/minute", claims=["plan"]), "is a mapping of names to values"),
    ],
    ids=[
        "a method in small letters",
        "no path",
        "no limits",
        "in addition to what",
        "no name",
        "everybody",
        "no scopes",
        "no claims",
    ],
)
def test_rules_and_tiers(make, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        make()


def test_they_say_what_they_are():
    assert repr(LimitRule("GET", "/x", limits="1/minute")) == "<LimitRule GET /x: 1/minute>"
    assert repr(TIERS[0]) == "<Tier premium: 4/minute>"
