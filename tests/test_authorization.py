"""Authorization: what a rule asks, what a refusal says, and that no handler is reached without its rule."""

import asyncio
import time
from dataclasses import replace
from datetime import date

import pytest
from fastapi import FastAPI
from fastapi.exceptions import FastAPIDeprecationWarning
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router, WebSocketRoute

from secure_asgi import (
    DOCS,
    AuthorizationMiddleware,
    BearerAuthMiddleware,
    ConfigurationError,
    Layer,
    PeerCertificate,
    Principal,
    Rule,
    exchange_of,
    secure,
    secure_stack,
)
from secure_asgi.testing import TokenFactory

from . import asgi

ISSUER = "https://id.example.com"
NOW = int(time.time())
ANN = Principal(subject="ann", issuer=ISSUER, scopes=frozenset({"orders:read"}), roles=frozenset({"clerk"}))
PEER = PeerCertificate(
    der=b"",
    sha256="00" * 32,
    subject="CN=billing",
    issuer="CN=ca",
    serial=1,
    not_before=None,
    not_after=None,
    uris=("spiffe://example.org/ns/prod/billing",),
)


class Known(Layer):
    """Stands for what authenticates: finds the given principal and certificate."""

    name = "known"

    def __init__(self, app=None, *, principal=None, peer=None, client="203.0.113.9"):
        super().__init__(app)
        self.principal, self.peer, self.client = principal, peer, client

    def on_request(self, exchange, scope):
        exchange.principal, exchange.peer_certificate, exchange.client = self.principal, self.peer, self.client


async def handle(request):
    (decision,) = [each for each in exchange_of(request).decisions if each.layer == "authorization"]
    return PlainTextResponse(f"{decision.verdict} {decision.note}")


async def handle_websocket(websocket):
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def behind(rule, *, principal=ANN, peer=None, client="203.0.113.9", routes=None, **options):
    rules = rule if isinstance(rule, list) else [rule]
    if routes is None:
        routes = [
            Route(one.path.replace("**", "{p:path}").replace("*", "{x}"), handle, methods=list(one.methods or ["GET"]))
            for one in rules
        ]
    return Known(
        AuthorizationMiddleware(Router(routes), rules=rules, **options), principal=principal, peer=peer, client=client
    )


def reason_of(app, path="/a", **options):
    seen = []

    class Sees(Layer):
        name = "sees"

        def on_end(self, exchange):
            seen.append(exchange.denial.reason if exchange.denial else "")

    answer = asgi.http(Sees(app), path, **options)
    return answer.status, seen[0]


def with_claims(**claims):
    return replace(ANN, claims=claims)


DETAIL = {"type": "payment", "actions": ["initiate", "cancel"], "account": "7", "limits": {"daily": 100, "ok": True}}
LONG_AGO, JUST_NOW = NOW - 40_000, NOW - 10

ASKED = {
    # what is asked: (rule, options of behind(), path, status, reason); the rest is in the tests of rules
    "nothing": (Rule("GET", "/a"), {}, "/a", 200, ""),
    "nothing, of nobody": (Rule("GET", "/a"), {"principal": None}, "/a", 403, "principal_missing"),
    "public, of nobody": (Rule("GET", "/a", public=True), {"principal": None}, "/a", 200, ""),
    "a scope": (Rule("GET", "/a", scopes="orders:read"), {}, "/a", 200, ""),
    "all scopes": (Rule("GET", "/a", scopes={"orders:read", "orders:write"}), {}, "/a", 403, "scope_insufficient"),
    "a role below": (
        Rule("GET", "/a", roles="reader"),
        {"roles": {"clerk": "editor", "editor": "reader"}},
        "/a",
        200,
        "",
    ),
    "a permission": (Rule("GET", "/a", permissions="orders:ship"), {"roles": {"clerk": "orders:*"}}, "/a", 200, ""),
    "any certificate": (Rule("GET", "/a", certificate=True), {"peer": PEER}, "/a", 200, ""),
    "a denied network": (
        Rule("GET", "/a", networks="203.0.113.0/24", denied_networks="203.0.113.9/32", public=True),
        {},
        "/a",
        403,
        "network_not_allowed",
    ),
    "the tenant of the path": (
        Rule("GET", "/{tenant}/a", claims={"tenant": "{tenant}"}),
        {"principal": with_claims(tenant="acme")},
        "/acme/a",
        200,
        "",
    ),
    "another tenant": (
        Rule("GET", "/{tenant}/a", claims={"tenant": "{tenant}"}),
        {"principal": with_claims(tenant="acme")},
        "/evil/a",
        403,
        "claim_mismatch",
    ),
    "details of another account": (
        Rule("GET", "/{account}", authorization_details={"type": "payment", "account": "{account}"}),
        {"principal": with_claims(authorization_details=[DETAIL])},
        "/8",
        403,
        "authorization_details_insufficient",
    ),
    "a sign-in": (
        Rule("GET", "/a", acr=("gold", "silver"), amr={"otp", "pwd"}, max_age=7200),
        {"principal": with_claims(acr="silver", amr=["pwd", "otp", "x"], auth_time=JUST_NOW)},
        "/a",
        200,
        "",
    ),
    "an older one": (
        Rule("GET", "/a", max_age=7200),
        {"principal": with_claims(auth_time=LONG_AGO)},
        "/a",
        403,
        "authentication_insufficient",
    ),
}


@pytest.mark.parametrize("case", ASKED.values(), ids=ASKED)
def test_what_a_rule_asks(case):
    """ASVS 8.2.1, 8.4.1, 10.3.2, 10.3.4; BRR-9; RFC 9396; OWASP API1, API5."""
    rule, options, path, status, reason = case
    assert reason_of(behind(rule, **options), path) == (status, reason)


WRONG = {
    "no rules": (lambda: AuthorizationMiddleware(None, rules=[]), "got no rule"),
    "rules as text": (lambda: AuthorizationMiddleware(None, rules="GET /a"), "rules= takes Rule"),
    "rules as nothing": (lambda: AuthorizationMiddleware(None, rules=None), "rules= takes Rule"),
    "another default": (lambda: AuthorizationMiddleware(None, rules=Rule("GET", "/a"), default="allow"), "default= is"),
    "another coverage": (
        lambda: AuthorizationMiddleware(None, rules=Rule("GET", "/a"), coverage="off"),
        "coverage= is",
    ),
    "no deadline": (lambda: AuthorizationMiddleware(None, rules=Rule("GET", "/a"), deadline=0), "deadline= is"),
    "roles in a circle": (
        lambda: AuthorizationMiddleware(None, rules=Rule("GET", "/a"), roles={"a": "b", "b": {"c"}, "c": "a"}),
        "a → b → c → a",
    ),
    "roles as a list": (lambda: AuthorizationMiddleware(None, rules=Rule("GET", "/a"), roles=["a"]), "maps a role"),
    "a role of nothing": (
        lambda: AuthorizationMiddleware(None, rules=Rule("GET", "/a"), roles={"a": None}),
        "takes names",
    ),
    "half a wildcard": (
        lambda: AuthorizationMiddleware(None, rules=Rule("GET", "/a"), roles={"a": "ord*"}),
        "takes names",
    ),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_wrong_options(case):
    make, complaint = case
    with pytest.raises(ConfigurationError, match=complaint.replace("(", r"\(")):
        make()


def test_a_pass_is_on_record_with_its_rule():
    """ASVS 16.3.2: all decisions."""
    app = behind(Rule("GET", "/a/{id}"))
    assert asgi.http(app, "/a/1").body == b"pass GET /a/{id}"
    assert asgi.http(app, "/api/a/1", root_path="/api").body == b"pass GET /a/{id}"
    assert asgi.http(app, "/a/1", method="HEAD").status == 200


REFUSED = {
    "no rule": ("GET", "/b"),
    "another method": ("DELETE", "/a"),
    "OPTIONS": ("OPTIONS", "/a"),
    "in lower case": ("get", "/a"),
    "an empty segment": ("GET", "//a"),
    "a trailing slash": ("GET", "/a/"),
    "dot segments": ("GET", "/x/../a"),
    "another case": ("GET", "/A"),
    "a parameter": ("GET", "/a;b=c"),
    "a line feed, which the router would not see": ("GET", "/a\n"),
    "a method that is named like a WebSocket": ("WEBSOCKET", "/a"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_no_rule_names_is_refused(case):
    """ASVS 8.2.1; nothing that is written to dodge a rule finds a way around it."""
    method, path = case
    app = behind(
        [Rule("GET", "/a"), Rule("WEBSOCKET", "/a")], routes=[Route("/a", handle), WebSocketRoute("/a", handle)]
    )
    assert reason_of(app, path, method=method) == (403, "rule_missing")


def test_the_default_for_everybody_who_is_known():
    app = behind(Rule("GET", "/a"), default="authenticated", routes=[Route("/a", handle), Route("/b", handle)])
    assert asgi.http(app, "/b").body == b'pass default="authenticated"'
    nobody = behind(Rule("GET", "/a"), default="authenticated", principal=None)
    assert reason_of(nobody, "/b") == (403, "principal_missing")


def test_which_rule_decides_can_be_asked():
    rule = Rule("GET", "/a/{id}")
    layer = AuthorizationMiddleware(None, rules=rule)
    assert (layer.find("GET", "/a/1"), layer.find("GET", "/b")) == (rule, None)


def test_websockets_have_rules_of_their_own():
    routes = [WebSocketRoute("/live", handle_websocket)]
    rule = Rule("WEBSOCKET", "/live", scopes="orders:read")
    assert [m["type"] for m in asgi.websocket(behind(rule, routes=routes), "/live").messages][:2] == [
        "websocket.accept",
        "websocket.send",
    ]
    refused = asgi.websocket(behind(rule, routes=routes, principal=replace(ANN, scopes=frozenset())), "/live")
    assert refused.status == 403
    closed = asgi.websocket(behind(rule, routes=routes, principal=None), "/live", denial_response=False)
    assert closed.close_code == 1008
    only_get = behind(Rule("GET", "/live"), routes=routes, coverage="report")
    assert asgi.websocket(only_get, "/live").status == 403


def start(app):
    told, waiting = [], [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return waiting.pop(0)

    async def send(message):
        told.append(message)

    asyncio.run(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    return told


def test_fastapis_own_pages_need_no_rule_and_are_refused_without():
    app = FastAPI(
        docs_url="/help",
        middleware=secure_stack(Middleware(AuthorizationMiddleware, rules=Rule("GET", "/a", public=True))),
    )
    app.add_api_route("/a", lambda: "a")
    assert [told["type"] for told in start(app)] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert asgi.http(app, "/a").status == 200
    assert [reason_of(app, path) for path in ("/help", "/openapi.json")] == [(403, "rule_missing")] * 2


def test_it_does_not_start_with_a_hole(caplog):
    app = FastAPI(middleware=secure_stack(Middleware(AuthorizationMiddleware, rules=Rule("GET", "/a"))))
    app.add_api_route("/a", lambda: "a")
    app.add_api_route("/b", lambda: "b", methods=["PUT"])
    (failed,) = start(app)
    assert failed["type"] == "lifespan.startup.failed"
    assert "PUT /b" in failed["message"]
    assert reason_of(app, "/a") == (503, "rules_incomplete")


def test_routes_that_the_application_adds_as_it_starts_are_seen():
    async def lifespan(app):
        app.add_route("/late", handle)
        yield

    from contextlib import asynccontextmanager

    app = Starlette(
        routes=[Route("/a", handle)],
        lifespan=asynccontextmanager(lifespan),
        middleware=secure_stack(Middleware(AuthorizationMiddleware, rules=Rule("GET", "/a"))),
    )
    (failed,) = start(app)
    assert "GET /late" in failed["message"]


def test_without_a_lifespan_the_first_request_meets_the_gate(caplog):
    app = behind(Rule("GET", "/a"), routes=[Route("/a", handle), Route("/b", handle)])
    assert [asgi.http(app, "/a").status for _ in range(2)] == [503] * 2
    assert caplog.text.count("GET /b") == 1


@pytest.mark.parametrize("options", [{"coverage": "report"}, {"mode": "shadow"}], ids=["report", "shadow"])
def test_a_report_is_no_refusal(options, caplog):
    app = behind(Rule("GET", "/a"), routes=[Route("/a", handle), Route("/b", handle)], **options)
    assert asgi.http(app, "/a").status == 200
    assert "GET /b" in caplog.text


def test_an_application_without_routes_is_said_to_have_none(caplog):
    app = Known(AuthorizationMiddleware(asgi.hello, rules=Rule("GET", "/a")), principal=ANN)
    assert asgi.http(app, "/a").status == 200
    assert "shows no routes" in caplog.text


def test_shadow_and_exemption():
    routes = [Route("/a", handle), Route("/b", handle), Route("/health", handle)]
    app = behind(
        Rule("GET", "/a", scopes="x"),
        routes=routes,
        mode="shadow",
        shadow_until=date(2999, 1, 1),
        exempt="/health",
    )
    assert asgi.http(app, "/a").body.startswith(b"shadow GET /a")
    assert asgi.http(app, "/health").body == b"exempt "


def bearer(rules, routes, **options):
    issuer = TokenFactory(issuer=ISSUER, audience="orders")
    app = Starlette(
        routes=routes,
        middleware=secure_stack(
            Middleware(AuthorizationMiddleware, rules=rules),
            Middleware(BearerAuthMiddleware, issuer=ISSUER, audience="orders", jwks=issuer.jwks, **options),
        ),
    )
    return issuer, app


def test_the_challenges_are_those_of_the_token_layer():
    """BRR-4, BRR-6, STEP-1."""
    rules = [
        Rule("GET", "/a"),
        Rule("GET", "/scope", any_scopes=("b", "a")),
        Rule("GET", "/pay", scopes="a", acr="gold", max_age=300),
        Rule("GET", "/rar", authorization_details={"type": "payment"}),
    ]
    issuer, app = bearer(rules, [Route(rule.path, handle) for rule in rules], required=False)
    headers = {"authorization": f"Bearer {issuer.token(scope='a c', acr='silver')}"}
    nobody = asgi.http(app, "/a")
    assert (nobody.status, nobody.headers["www-authenticate"]) == (401, 'Bearer realm="api"')
    assert asgi.http(app, "/a", headers=headers).status == 200
    assert asgi.http(app, "/scope", headers=headers).status == 200
    headers = {"authorization": f"Bearer {issuer.token(scope='c')}"}
    lacking = asgi.http(app, "/scope", headers=headers)
    assert lacking.status == 403
    assert 'error="insufficient_scope"' in lacking.headers["www-authenticate"]
    assert 'scope="a b"' in lacking.headers["www-authenticate"]
    headers = {"authorization": f"Bearer {issuer.token(scope='a', acr='silver')}"}
    weak = asgi.http(app, "/pay", headers=headers)
    assert weak.status == 401
    assert 'error="insufficient_user_authentication"' in weak.headers["www-authenticate"]
    assert 'acr_values="gold", max_age="300"' in weak.headers["www-authenticate"]
    details = asgi.http(app, "/rar", headers=headers)
    assert details.status == 403
    assert 'error="insufficient_scope"' in details.headers["www-authenticate"]


def test_starlettes_own_decorator_keeps_working():
    """On WebSockets too."""

    @requires("a")
    async def plain(request):
        return PlainTextResponse("")

    @requires("a")
    async def live(websocket):
        await handle_websocket(websocket)

    rules = [Rule("GET", "/a"), Rule("WEBSOCKET", "/live")]
    issuer, app = bearer(rules, [Route("/a", plain), WebSocketRoute("/live", live)])
    good, bad = ({"authorization": f"Bearer {issuer.token(scope=scope)}"} for scope in ("a", "b"))
    assert asgi.http(app, "/a", headers=good).status == 200
    assert asgi.http(app, "/a", headers=bad).status == 403
    assert asgi.websocket(app, "/live", headers=good).messages[0]["type"] == "websocket.accept"
    assert asgi.websocket(app, "/live", headers=bad).messages[0]["type"] == "websocket.close"


def test_a_preflight_needs_no_token_and_everything_else_does():
    """CORS-1."""
    issuer = TokenFactory(issuer=ISSUER, audience="orders")
    app = Starlette(
        routes=[Route("/a", handle, methods=["GET", "OPTIONS"])],
        middleware=secure_stack(
            Middleware(CORSMiddleware, allow_origins=["https://app.example"], allow_methods=["GET"]),
            Middleware(AuthorizationMiddleware, rules=Rule(("GET", "OPTIONS"), "/a")),
            Middleware(BearerAuthMiddleware, issuer=ISSUER, audience="orders", jwks=issuer.jwks),
        ),
    )
    origin = {"origin": "https://app.example"}
    preflight = {**origin, "access-control-request-method": "GET"}
    assert asgi.http(app, "/a", method="OPTIONS", headers=preflight).status == 200
    assert asgi.http(app, "/a", method="OPTIONS", headers=origin).status == 401
    refused = asgi.http(app, "/a", headers={**preflight})
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "https://app.example")


def test_in_a_mount_the_rules_are_the_mounts():
    inner = Mount(
        "/api",
        routes=[Route("/a", handle)],
        middleware=[Middleware(AuthorizationMiddleware, rules=Rule("GET", "/a", scopes="orders:read"))],
    )
    app = Known(Router([inner]), principal=ANN)
    assert asgi.http(app, "/api/a").status == 200
    assert reason_of(app, "/api/b") == (403, "rule_missing")


def test_a_root_path_that_only_the_application_knows():
    """FastAPI takes its own ``root_path`` off the path; a layer outside would see it stay."""
    with pytest.warns(FastAPIDeprecationWarning):
        app = FastAPI(root_path="/api")
    app.add_api_route("/admin/users", lambda: "users")
    app.add_api_route("/{tenant}/admin/users", lambda tenant: "tenant")
    rules = [Rule("GET", "/admin/users", scopes="admin"), Rule("GET", "/{tenant}/admin/users")]
    outside = Known(
        secure(app, Middleware(AuthorizationMiddleware, rules=rules, exempt=DOCS)),
        principal=ANN,
    )
    assert asgi.http(outside, "/api/admin/users").status == 403


WORDS = st.sampled_from(["a", "b", "{x}", "{y:int}", "7"])
TEMPLATES = st.lists(WORDS, min_size=1, max_size=3, unique=True).map(lambda parts: "/" + "/".join(parts))
RULES = st.builds(
    lambda method, path, asked: Rule(method, path, **asked),
    st.sampled_from(["GET", "POST", ("GET", "PUT"), "*"]),
    TEMPLATES,
    st.sampled_from([{}, {"scopes": "orders:read"}, {"scopes": "none"}, {"roles": "clerk"}, {"public": True}]),
)
DODGES = st.sampled_from(["", "/", "//", "/.", "/..", "\n", ";a", "%2f", "\\", "\x00"])
PATHS = st.builds(
    lambda parts, dodge: "/" + "/".join(parts) + dodge,
    st.lists(st.sampled_from(["a", "b", "7", "8", "A", "", "."]), min_size=1, max_size=3),
    DODGES,
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["GET", "POST", "PUT"]), TEMPLATES), min_size=1, max_size=4),
    st.lists(RULES, min_size=1, max_size=4),
    st.lists(st.tuples(st.sampled_from(["GET", "HEAD", "POST", "DELETE", "get"]), PATHS), min_size=5, max_size=5),
    st.sampled_from([None, ANN]),
    st.sampled_from(["refuse", "report"]),
)
def test_no_request_reaches_a_handler_whose_rule_was_not_evaluated(routes, rules, requests, principal, coverage):
    reached = []

    async def handler(request):
        reached.append([each for each in exchange_of(request).decisions if each.layer == "authorization"])
        return PlainTextResponse("")

    router = Router([Route(path, handler, methods=[method]) for method, path in routes])
    layer = AuthorizationMiddleware(router, rules=rules, coverage=coverage)
    app = Known(layer, principal=principal)
    for method, path in requests:
        reached.clear()
        answer = asgi.http(app, path, method=method)
        assert answer.error is None
        assert answer.status in (200, 307, 403, 404, 405, 503)
        for (decision,) in reached:
            assert decision.verdict == "pass"
            (rule,) = {rule for rule in rules if rule.name == decision.note and rule is layer.find(method, path)}
            assert principal is not None or rule.public
