"""The gate: what it finds, and that where it finds nothing, router and rules speak of the same route."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

from secure_asgi import Rule
from secure_asgi._paths import PathSet, is_plain
from secure_asgi._routes import routes_of
from secure_asgi.authorization.coverage import coverage
from secure_asgi.authorization.table import RuleTable

from . import asgi


async def endpoint(request):
    return PlainTextResponse("")


def ends(*routes):
    """Routes, each written ``"GET /path"``."""
    made = []
    for route in routes:
        method, path = route.split(" ")
        made.append(
            WebSocketRoute(path, endpoint) if method == "WEBSOCKET" else Route(path, endpoint, methods=[method])
        )
    return made


def findings_of(routes, rules, exempt=(), default="deny"):
    report = coverage(rules, routes_of(Router(routes)), PathSet(exempt, option="exempt"), default)
    return [
        (finding.kind, finding.sentence.split(" ")[0] + " " + finding.sentence.split(" ")[1])
        for finding in report.findings
    ]


STATIC = Mount("/static", StaticFiles(directory="."))

CASES = {
    "all is well": (ends("GET /a", "POST /a/{id}"), [Rule("GET", "/a"), Rule("POST", "/a/{id}")], []),
    "other names, wider rules": (ends("GET /a/{id:int}"), [Rule("*", "/a/*")], []),
    "a route without a rule": (ends("GET /a", "GET /b"), [Rule("GET", "/a")], [("route_without_rule", "GET /b")]),
    "a method without a rule": (
        [Route("/a", endpoint, methods=["GET", "PUT"])],
        [Rule("GET", "/a")],
        [("route_without_rule", "PUT /a")],
    ),
    "a rule for a part of a route": (
        ends("GET /a/{id}"),
        [Rule("GET", "/a/special"), Rule("GET", "/a/{id}")],
        [("rule_without_route", "GET /a/special"), ("rule_misplaced", "GET /a/{id}")],
    ),
    "a rule too narrow": (
        ends("GET /a/{id}"),
        [Rule("GET", "/a/{id:int}")],
        [
            ("route_without_rule", "GET /a/{id}"),
            ("rule_without_route", "GET /a/{id:int}"),
            ("rule_misplaced", "GET /a/{id}"),
        ],
    ),
    "a rule for no route": (
        ends("GET /a"),
        [Rule("GET", "/a"), Rule("GET", "/b")],
        [("rule_without_route", "GET /b")],
    ),
    "a rule for another method": (
        ends("GET /a"),
        [Rule("GET", "/a"), Rule("POST", "/a")],
        [("rule_without_route", "POST /a")],
    ),
    "a catch-all behind the others": (ends("GET /a"), [Rule("GET", "/a"), Rule("*", "/**")], []),
    "a rule that another stands before": (
        ends("GET /a/me", "GET /a/{id}"),
        [Rule("GET", "/a/{id}"), Rule("GET", "/a/me")],
        [("rule_shadowed", "GET /a/me")],
    ),
    "shadowed by two, a method each": (
        [Route("/a", endpoint, methods=["GET", "PUT"])],
        [Rule("GET", "/a"), Rule("PUT", "/a"), Rule(("GET", "PUT"), "/a")],
        [("rule_shadowed", "GET,PUT /a")],
    ),
    "half shadowed": (
        [Route("/a", endpoint, methods=["GET", "PUT"])],
        [Rule("GET", "/a"), Rule(("GET", "PUT"), "/a")],
        [],
    ),
    "rules and routes in the same order": (
        ends("GET /a/me", "GET /a/{id}"),
        [Rule("GET", "/a/me"), Rule("GET", "/a/{id}")],
        [],
    ),
    "a route that another stands before": (
        ends("GET /a/{id}", "GET /a/me"),
        [Rule("GET", "/a/me"), Rule("GET", "/a/{id}")],
        [("rule_without_route", "GET /a/me"), ("rule_misplaced", "GET /a/{id}")],
    ),
    "crossing templates in another order": (
        ends("GET /{x}/me", "GET /a/{id}"),
        [Rule("GET", "/a/{id}"), Rule("GET", "/{x}/me")],
        [("rule_misplaced", "GET /{x}/me")],
    ),
    "crossing templates in the same order": (
        ends("GET /{x}/me", "GET /a/{id}"),
        [Rule("GET", "/{x}/me"), Rule("GET", "/a/{id}")],
        [],
    ),
    "an exempt path that a route with a rule answers": (
        ends("GET /a/{id}"),
        [Rule("GET", "/a/{id}")],
        [("rule_misplaced", "GET /a/{id}")],
        "/a/health",
    ),
    "an exempt prefix over a part of a route": (
        ends("GET /{x}/{id}"),
        [Rule("GET", "/{x}/{id}")],
        [("rule_misplaced", "GET /{x}/{id}")],
        "/public/",
    ),
    "exempt routes": (ends("GET /health", "GET /public/{id}"), [], [], ("/health", "/public/")),
    "a rule for an exempt route": (
        ends("GET /a", "GET /health"),
        [Rule("GET", "/a"), Rule("GET", "/health")],
        [("rule_without_route", "GET /health")],
        "/health",
    ),
    "a WebSocket under a GET rule": (
        ends("WEBSOCKET /live"),
        [Rule("GET", "/live")],
        [("route_without_rule", "WEBSOCKET /live"), ("rule_without_route", "GET /live")],
    ),
    "a WebSocket under its own": (ends("WEBSOCKET /live"), [Rule("WEBSOCKET", "/live")], []),
    "an application that shows no routes": ([STATIC], [], [("route_without_rule", "* /static/{path:path}")]),
    "rules for parts of it": ([STATIC], [Rule("GET", "/static/img/*"), Rule("GET", "/static/**")], []),
    "a mount answers for all below it": (
        [Mount("/m", routes=ends("GET /a")), *ends("GET /m/b")],
        [Rule("GET", "/m/a"), Rule("GET", "/m/b")],
        [("rule_without_route", "GET /m/b")],
    ),
    "a route with a path parameter": (
        ends("GET /files/{p:path}"),
        [Rule("GET", "/files/public/**")],
        [],
    ),
    "a class of functions": (
        [Route("/c", type("Endpoint", (HTTPEndpoint,), {"get": None, "put": None}))],
        [Rule("GET", "/c")],
        [("route_without_rule", "PUT /c")],
    ),
    "an ASGI application as endpoint": ([Route("/c", type("Endpoint", (), {})())], [Rule("GET", "/c")], []),
    "one without any rule": (
        [Route("/c", type("Endpoint", (), {})())],
        [],
        [("route_without_rule", f"{method} /c") for method in ("DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT")],
    ),
    "hosts have routes of their own": (
        [Host("one.example", Router(ends("GET /a/{id}"))), Host("two.example", Router(ends("GET /a/me")))],
        [Rule("GET", "/a/me"), Rule("GET", "/a/{id}")],
        [("rule_misplaced", "GET /a/{id}")],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_findings(case):
    """ASVS 8.1.1, 8.3.1; every wrong fit of rules and routes is one."""
    routes, rules, expected, *exempt = case
    assert findings_of(routes, rules, *exempt) == expected


def test_with_a_default_no_route_needs_a_rule():
    assert findings_of(ends("GET /a", "GET /b"), [Rule("GET", "/a")], default="authenticated") == []


def test_a_finding_says_what_and_how():
    (finding,) = coverage(
        [Rule("GET", "/a")], routes_of(Router(ends("GET /a", "PUT /b/{id}"))), PathSet((), option="exempt"), "deny"
    ).findings
    assert str(finding) == (
        f"PUT /b/{{id}} ({__name__}:endpoint) has no rule, so that nobody may use it: add "
        'Rule("PUT", "/b/{id}", ...), or name it in exempt='
    )


PARTS = ["a", "b", "{x}", "{x:int}", "7", "{x:path}"]


@st.composite
def paths(draw):
    parts = draw(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3))
    return "/" + "/".join(part.replace("x", f"x{i}", 1) if "{" in part else part for i, part in enumerate(parts))


TEXTS = ("a", "b", "7", "z")
REQUESTS = [f"/{one}{two}{three}" for one in TEXTS for two in ("", "/a", "/7", "/z") for three in ("", "/a", "/7")]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["GET", "POST"]), paths()), min_size=1, max_size=4),
    st.permutations(range(4)),
    st.booleans(),
)
def test_where_nothing_is_found_the_rule_is_that_of_the_route_that_answers(written, order, is_mounted):
    """The heart of it: no request reaches a handler under another rule than the handler's own."""
    answered = []

    def handler(name):
        async def handle(request):
            answered.append(name)
            return PlainTextResponse("")

        return handle

    routes = [Route(path, handler(position), methods=[method]) for position, (method, path) in enumerate(written)]
    prefix = "/m" if is_mounted else ""
    router = Router([Mount("/m", routes=routes)] if is_mounted else routes)
    rules = [Rule(method, prefix + path) for method, path in (written[i] for i in order if i < len(written))]
    report = coverage(rules, routes_of(router), PathSet((), option="exempt"), "deny")
    if report.findings:
        return
    own = {row.route.template.text + row.method: row.rule for row in report.rows}
    table = RuleTable(rules)
    for path in REQUESTS:
        for method in ("GET", "POST"):
            answered.clear()
            asyncio.run(_ask(router, method, prefix + path))
            if answered and is_plain(path):
                name = written[answered[0]]
                governing = own.get(prefix + name[1] + name[0])
                found = table.find(method, prefix + path)
                if "path}" not in name[1]:
                    assert found is not None
                    assert found[0] is governing


async def _ask(router, method, path):
    async def receive():
        return {"type": "http.request"}

    async def send(message): ...

    await router(asgi.http_scope(path, method=method), receive, send)
