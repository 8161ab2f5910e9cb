"""The middleware: verdicts, the 429, the fields, WebSockets, shadow; and the failures its peers are known for."""

from datetime import date, timedelta

import http_sf
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from secure_asgi import Ban, ConfigurationError, Layer, Principal, Secret, exchange_of
from secure_asgi.rate_limit import RateLimitMiddleware

from .asgi import hello, http, websocket

NANOSECONDS = 1_000_000_000


class Clock:
    now = 0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def limited(app=hello, *, clock=None, limits="2/minute", max_keys=100, **options):
    """So few keys have one shard, whose windows begin when the layer is made."""
    return RateLimitMiddleware(app, limits=limits, clock=clock or Clock(), max_keys=max_keys, **options)


def statuses(app, times, path="/", **options):
    return [http(app, path, **options).status for _ in range(times)]


class SignIn(Layer):
    """Stands for BearerAuth: who asks is what the ``user`` field says."""

    name = "sign_in"

    def on_request(self, exchange, scope):
        user = exchange.fields(scope).get(b"user")
        exchange.principal = Principal(subject=user.decode(), issuer="https://id.example.com") if user else None


# The verdict on the wire


def test_the_429():
    """RL-1, RL-2, RL-6, RL-10, RL-11: byte for byte, and never cached."""
    app = limited()
    assert statuses(app, 2) == [200, 200]
    answer = http(app)
    document = answer.problem
    del document["request_id"]
    assert document == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Quota Exceeded",
        "status": 429,
        "detail": "Too many requests. Wait as long as Retry-After says, and repeat this one.",
        "violated-policies": ["client-60s"],
    }
    assert {name: value for name, value in answer.lines if name not in ("content-length", "content-type")} == {
        "cache-control": "no-store",
        "retry-after": "90",
        "ratelimit-policy": '"client-60s";q=2;w=60',
        "ratelimit": '"client-60s";r=0;t=90',
    }


def test_an_allowed_answer_says_how_much_is_left():
    assert http(limited()).lines == [
        ("content-type", "text/plain"),
        ("ratelimit-policy", '"client-60s";q=2;w=60'),
        ("ratelimit", '"client-60s";r=1;t=120'),
    ]


def test_retry_after_is_kept(clock):
    app = limited(clock=clock)
    statuses(app, 2)
    clock.now = int(http(app).headers["retry-after"]) * NANOSECONDS
    assert statuses(app, 2) == [200, 429]


def test_several_limits_in_one_answer():
    app = limited(limits="2/second; 5/minute; 100/day", policy=("burst", "steady", "daily"))
    statuses(app, 2)
    answer = http(app)
    assert answer.problem["violated-policies"] == ["burst"]
    assert answer.headers["retry-after"] == "2"
    # The other two are further off than Retry-After: their t is left unsaid.
    assert answer.headers["ratelimit"] == '"burst";r=0;t=2, "steady";r=3, "daily";r=98'
    assert answer.headers["ratelimit-policy"] == '"burst";q=2;w=1, "steady";q=5;w=60, "daily";q=100;w=86400'


def test_retry_after_is_the_longest_of_the_violated():
    app = limited(limits="1/second; 1/minute; 1/10 seconds")
    statuses(app, 1)
    answer = http(app)
    assert answer.problem["violated-policies"] == ["client-1s", "client-60s", "client-10s"]
    assert answer.headers["retry-after"] == "120"


def test_a_refused_request_is_not_charged(clock):
    app = limited(limits="2/second; 4/minute", clock=clock)
    assert statuses(app, 5) == [200, 200, 429, 429, 429]
    clock.now = 2 * NANOSECONDS
    assert statuses(app, 3) == [200, 200, 429]


def test_cost():
    """Told in whole requests: of ten units at three each, three."""
    app = limited(limits="10/minute", cost=3)
    assert http(app).headers["ratelimit-policy"] == '"client-60s";q=3;w=60'
    assert statuses(app, 3) == [200, 200, 429]
    assert http(app).headers["ratelimit"].startswith('"client-60s";r=0;')


def test_a_head_and_an_error_of_the_application_carry_the_fields():
    """RL-5: on any status."""

    async def missing(scope, receive, send):
        await send({"type": "http.response.start", "status": 404})
        await send({"type": "http.response.body", "body": b""})

    assert http(limited(missing)).headers["ratelimit"] == '"client-60s";r=1;t=120'


@pytest.mark.parametrize(
    ("status", "said"),
    [
        pytest.param(503, '"client-60s";r=1', id="no later t"),
        pytest.param(307, '"client-60s";r=1', id="nor on a redirect"),
        pytest.param(202, '"client-60s";r=1;t=120', id="below 300 Retry-After means something else"),
    ],
)
def test_beside_a_retry_after_of_the_application(status, said):
    """RL-6."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": [(b"Retry-After", b"5")]})
        await send({"type": "http.response.body"})

    assert http(limited(app)).headers["ratelimit"] == said


@pytest.mark.parametrize(
    ("headers", "names"),
    [
        ("ietf", {"ratelimit", "ratelimit-policy"}),
        ("legacy", {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}),
        (
            "both",
            {"ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"},
        ),
        ("off", set()),
    ],
)
def test_headers(headers, names):
    app = limited(limits="1/minute", headers=headers)
    assert {name for name in http(app).headers if "ratelimit" in name} == names
    refused = http(app)
    assert {name for name in refused.headers if "ratelimit" in name} == names
    assert refused.headers["retry-after"] == "120"


# Who is counted


def test_each_client_has_its_own_budget():
    """The quick start of a popular limiter has one bucket for everybody (fastapi-limiter 0.2.0)."""
    app = limited()
    assert statuses(app, 3, client=("203.0.113.1", 1)) == [200, 200, 429]
    assert statuses(app, 3, client=("203.0.113.2", 1)) == [200, 200, 429]
    assert statuses(app, 1, client=("::ffff:203.0.113.1", 1)) == [429]


def test_a_client_rotating_through_its_ipv6_network_has_one_budget():
    app = limited()
    assert [http(app, client=(f"2001:db8:0:12{n:02x}::{n}", 1)).status for n in range(4)] == [200, 200, 429, 429]


def test_unknown_clients_share_one_budget():
    """Not one each, and not that of 127.0.0.1."""
    app = limited()
    assert statuses(app, 3, client=None) == [200, 200, 429]
    assert statuses(app, 1, client=("127.0.0.1", 1)) == [200]


def test_x_forwarded_for_is_not_believed():
    app = limited()
    assert [http(app, headers={"x-forwarded-for": f"203.0.113.{n}"}).status for n in range(3)] == [200, 200, 429]


def test_by_principal():
    app = SignIn(limited(key="principal"))
    assert statuses(app, 3, headers={"user": "ann"}) == [200, 200, 429]
    assert statuses(app, 3, headers={"user": "bob"}) == [200, 200, 429]
    assert http(app, headers={"user": "ann"}).headers["ratelimit-policy"] == '"principal-60s";q=2;w=60'


def test_without_a_principal_the_address_is_counted():
    app = SignIn(limited(key="principal"))
    assert statuses(app, 3) == [200, 200, 429]
    assert statuses(app, 1, headers={"user": "ann"}) == [200]


def test_client_and_principal_in_one_stack_both_tell():
    """RL-3: two layers, two lines of one list."""
    app = limited(SignIn(limited(key="principal", limits="1/minute")), limits="9/minute")
    assert http(app, headers={"user": "ann"}).status == 200
    answer = http(app, headers={"user": "ann"})
    assert answer.status == 429
    assert [value for name, value in answer.lines if name == "ratelimit"] == [
        '"principal-60s";r=0;t=120',
        '"client-60s";r=7;t=90',
    ]


def test_a_key_of_ones_own():
    app = limited(key=lambda exchange, scope: scope["path"].split("/")[1])
    assert statuses(app, 3, "/tenant-a/x") == [200, 200, 429]
    assert statuses(app, 3, "/tenant-b/x") == [200, 200, 429]
    assert http(app, "/tenant-c").headers["ratelimit-policy"] == '"custom-60s";q=2;w=60'


def raises(exchange, scope):
    raise KeyError("secret")


@pytest.mark.parametrize("key", [raises, lambda exchange, scope: None], ids=["raises", "no string"])
def test_a_failing_key_is_an_error_and_never_a_pass(key):
    answer = http(limited(key=key))
    assert answer.status == 500
    assert answer.problem["title"] == "Internal Server Error"
    assert isinstance(answer.error, (KeyError, TypeError))
    assert b"secret" not in answer.body


PREFLIGHT = {"origin": "https://app.example.com", "access-control-request-method": "PUT"}


def test_preflights_are_counted_apart_and_in_silence():
    """RL-16: they draw on no budget but their own, and nobody has an unlimited one."""
    app = limited()
    assert statuses(app, 3, method="OPTIONS", headers=PREFLIGHT) == [200, 200, 429]
    assert "ratelimit" not in http(app, client=("203.0.113.7", 1), method="OPTIONS", headers=PREFLIGHT).headers
    refused = http(app, method="OPTIONS", headers=PREFLIGHT)
    assert "ratelimit" not in refused.headers
    assert refused.headers["retry-after"] == "90"
    assert statuses(app, 3) == [200, 200, 429]


@pytest.mark.parametrize("headers", [{}, {"origin": "https://app.example.com"}], ids=["plain", "with an origin"])
def test_another_options_request_is_a_request(headers):
    app = limited()
    assert statuses(app, 2, method="OPTIONS", headers=headers) == [200, 200]
    assert statuses(app, 1) == [429]


def test_a_method_with_preflight_fields_is_a_request():
    app = limited()
    assert statuses(app, 2, headers=PREFLIGHT) == [200, 200]
    assert statuses(app, 1) == [429]


# WebSocket


def test_websocket_handshakes_are_counted_and_messages_are_not():
    app = limited()
    for _ in range(2):
        accepted = websocket(app, texts=["a", "b", "c"])
        assert accepted.messages[0]["type"] == "websocket.accept"
        assert not accepted.messages[0]["headers"], "nothing is written on an accepted handshake"
        assert len(accepted.messages) == 4
    refused = websocket(app)
    assert refused.status == 429
    assert refused.headers["ratelimit"] == '"client-60s";r=0;t=90'
    assert refused.problem["violated-policies"] == ["client-60s"]
    assert websocket(app, denial_response=False).close_code == 1008
    assert statuses(app, 1) == [429], "one budget for both"


# Shadow, exemption


def seen_by(log):
    async def app(scope, receive, send):
        await hello(scope, receive, send)
        log.append([(d.layer, d.verdict, d.reason, d.note) for d in exchange_of(scope).decisions])

    return app


def test_in_shadow_it_counts_and_says_nothing():
    log = []
    app = limited(seen_by(log), mode="shadow", limits="1/minute", headers="both")
    for _ in range(2):
        answer = http(app)
        assert answer.status == 200
        assert answer.lines == [("content-type", "text/plain")]
    assert log == [
        [("rate_limit:client", "pass", "", "")],
        [("rate_limit:client", "shadow", "rate_limited", "client-60s: full for 120 s")],
    ]


def test_shadow_ends():
    app = limited(mode="shadow", limits="1/minute", shadow_until=date.today() - timedelta(days=2))
    assert statuses(app, 2) == [200, 429]


def test_an_exempt_path_is_not_counted():
    app = limited(exempt="/health")
    assert statuses(app, 5, "/health") == [200] * 5
    assert "ratelimit" not in http(app, "/health").headers
    assert statuses(app, 3) == [200, 200, 429]


# What its peers are known for


def plain(request):
    return PlainTextResponse("fine")


def starlette_app():
    return Starlette(
        routes=[Route("/items/{id}", plain), Mount("/sub", routes=[Route("/x", plain)])],
        middleware=[Middleware(RateLimitMiddleware, limits="2/minute", clock=Clock())],
    )


@pytest.mark.parametrize("path", ["/items/1", "/sub/x", "/nowhere", "/sub/nowhere"])
def test_routes_mounts_and_404s_are_limited_alike(path):
    app = starlette_app()
    assert http(app, path).status in (200, 404)
    assert http(app, path).status in (200, 404)
    assert http(app, path).status == 429


def test_another_url_is_no_other_budget():
    """Raw-path keys let a client choose its own budget: /items/1, /items/2, ... (slowapi 0.1.10)."""
    app = starlette_app()
    assert [http(app, path).status for path in ("/items/1", "/items/2", "/items/3", "/items/3/", "/ITEMS/3")] == [
        200,
        200,
        429,
        429,
        429,
    ]


def test_included_routers_are_limited():
    """Default limits of a popular limiter are silently off there (slowapi 0.1.10)."""
    router = APIRouter(prefix="/orders")
    router.add_api_route("/", lambda: "fine")
    app = FastAPI()
    app.include_router(router)
    app.add_middleware(RateLimitMiddleware, limits="2/minute", clock=Clock())
    assert statuses(app, 3, "/orders/") == [200, 200, 429]


def test_streaming_stays_whole():
    """Its ASGI variant sends the response head again with each chunk (slowapi 0.1.10)."""

    async def chunks():
        for chunk in (b"one ", b"two ", b"three"):
            yield chunk

    app = Starlette(routes=[Route("/", lambda request: StreamingResponse(chunks()))])
    answer = http(limited(app), asgi={"version": "3.0", "spec_version": "2.4"})
    assert answer.body == b"one two three"
    assert [message["type"] for message in answer.messages].count("http.response.start") == 1
    assert answer.headers["ratelimit"] == '"client-60s";r=1;t=120'


def test_two_applications_share_nothing():
    """No counter is the process's own (fastapi-guard 8.1.2)."""
    one, two = limited(), limited()
    assert statuses(one, 3) == [200, 200, 429]
    assert statuses(two, 3) == [200, 200, 429]


def test_refused_requests_leave_nothing_behind():
    app = limited()
    statuses(app, 50)
    (plan,) = app.plans
    assert len(plan.counter) == 1


# Options


def test_slots():
    assert RateLimitMiddleware.slot() == RateLimitMiddleware(limits="1/minute").place == "rate_limit:client"
    assert RateLimitMiddleware(limits="1/minute", key="principal").place == "rate_limit:principal"
    assert RateLimitMiddleware(limits="1/minute", key=raises).place == "rate_limit:custom"


def test_two_of_one_kind_are_refused():
    with pytest.raises(ConfigurationError, match="keep one RateLimitMiddleware"):
        limited(limited())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"limits": "plenty"}, "limits= takes strings"),
        ({"key": "ip"}, 'key= is "client", "principal", "api-key"'),
        ({"ipv6_prefix": 0}, "ipv6_prefix= is a number of bits"),
        ({"headers": "draft-8"}, 'headers= is "ietf", "legacy", "both" or "off"'),
        ({"headers": None}, 'headers= is "ietf"'),
        ({"cost": 0}, r"from 1 to the lowest limit \(2\)"),
        ({"cost": 3}, r"from 1 to the lowest limit \(2\)"),
        ({"limits": "9/day; 3/hour", "cost": 4}, r"from 1 to the lowest limit \(3\)"),
        ({"cost": True}, "cost="),
        ({"max_keys": 1}, "max_keys= is a number of counters, at least 2"),
        ({"max_keys": "many"}, "max_keys="),
        ({"policy": ""}, "printable ASCII"),
        ({"policy": "größe"}, "printable ASCII"),
        ({"policy": "a\r\nb"}, "printable ASCII"),
        ({"policy": 7}, "printable ASCII"),
        ({"policy": ("a", "b")}, "one name for each limit, of which there are 1"),
        ({"policy": ("a", "a"), "limits": "1/second; 2/minute"}, "one name for each limit"),
        ({"strategy": "leaky"}, "strategy= is one of 'sliding-window', 'fixed-window'"),
        ({"storage": "nowhere://localhost"}, "storage="),
        ({"storage": 7}, "a Redis is a URL or"),
        ({"mode": "report"}, "mode="),
        ({"exempt": "health"}, "exempt="),
    ],
)
def test_options(options, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        RateLimitMiddleware(**{"limits": "2/minute"} | options)


@pytest.mark.parametrize("options", [{}, {"ban": Ban()}, {"counts": "failures"}], ids=str)
@pytest.mark.parametrize(
    "url", ["nowhere://:hunter2@localhost", ":hunter2@localhost", "redis://:hunter2@localhost:port"]
)
def test_a_storage_with_a_password_is_not_repeated(url, options):
    for given in (url, Secret(url)):
        with pytest.raises(ConfigurationError) as error:
            limited(storage=given, **options)
        assert "hunter2" not in str(error.value)
        assert error.value.__cause__ is None


def test_memory_in_a_secret_is_memory():
    layer = limited(storage=Secret("memory://"), on_outage="closed")
    assert not layer.fails_closed
    assert statuses(layer, 3) == [200, 200, 429]


def test_the_named_values_are_accepted():
    assert statuses(limited(strategy="sliding-window", storage="memory://", max_keys=2), 3) == [200, 200, 429]


def test_a_policy_name_is_escaped():
    answer = http(limited(policy='50% of "all"'))
    assert http_sf.parse(answer.headers["ratelimit"].encode(), tltype="list") == [('50% of "all"', {"r": 1, "t": 120})]
