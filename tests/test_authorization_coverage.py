"""The gate: what it finds, and that where it finds nothing, router and rules speak of the same route."""

from itertools import product

import pytest
from fastapi import APIRouter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

from secure_asgi import Rule
from secure_asgi._paths import PathSet
from secure_asgi._routes import routes_of
from secure_asgi._templates import Template
from secure_asgi.authorization.coverage import coverage


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


def get_alone(path):
    """As FastAPI has it: a GET route that does not take HEAD."""
    router = APIRouter()
    router.add_api_route(path, endpoint)
    return router.routes


def findings_of(routes, rules, exempt=(), default="deny"):
    report = coverage(rules, routes_of(Router(routes)), PathSet(exempt, option="exempt"), default)
    return [
        (finding.kind, finding.sentence.split(" ")[0] + " " + finding.sentence.split(" ")[1])
        for finding in report.findings
    ]


class OfOnesOwn(Route):
    def matches(self, scope):
        return super().matches(scope)


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
    "a route that matches by itself may leave some to others": (
        [OfOnesOwn("/x", endpoint), *ends("GET /a", "GET /b")],
        [Rule("GET", "/a")],
        [("route_without_rule", "GET /b")],
    ),
    "a mount answers for all below it": (
        [Mount("/m", routes=ends("GET /a")), *ends("GET /m/b")],
        [Rule("GET", "/m/a"), Rule("GET", "/m/b")],
        [("rule_without_route", "GET /m/b")],
    ),
    "a rule that crosses one": (
        ends("GET /{m}/a/{p:path}"),
        [Rule("GET", "/a/**")],
        [
            ("route_without_rule", "GET /{m}/a/{p:path}"),
            ("rule_without_route", "GET /a/**"),
            ("rule_misplaced", "GET /{m}/a/{p:path}"),
        ],
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
    "HEAD that an earlier route does not take": (
        [Route("/a/{id}", endpoint, methods=["POST"]), *ends("GET /a/me"), Route("/a/{x}", endpoint, methods=["HEAD"])],
        [Rule("POST", "/a/{id}"), Rule("GET", "/a/me"), Rule("HEAD", "/a/{x}")],
        [],
    ),
    "HEAD that goes further than GET": (
        [*get_alone("/a/{id}"), *ends("GET /a/me")],
        [Rule("GET", "/a/{id}")],
        [],
    ),
    "HEAD that goes further than GET, to another rule's route": (
        [*get_alone("/{x}/me"), *ends("GET /a/{id}")],
        [Rule("GET", "/{x}/me"), Rule("GET", "/a/{id}")],
        [("rule_misplaced", "HEAD /a/{id}")],
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


class Bare:
    """As much of a rule as decides; any methods, any template."""

    def __init__(self, methods, template, name):
        self.methods, self.template, self.name = methods, template, name


PIECES = ["a", "b", "{x}", "{n:int}"]
PATHS = ["/" + "/".join(parts) for size in (1, 2, 3) for parts in product(["a", "b", "1", ""], repeat=size)]
METHODS = ["GET", "HEAD", "POST", "PURGE"]


@st.composite
def templates(draw, pieces=PIECES, last="{p:path}"):
    segments = draw(st.lists(st.sampled_from(pieces), min_size=1, max_size=2))
    return "/" + "/".join([*dict.fromkeys(segments), *([last] if draw(st.integers(0, 5)) == 0 else [])])


class Endpoint:
    """An ASGI application that notes that it was asked."""

    def __init__(self, answered):
        self.answered = answered

    async def __call__(self, scope, receive, send):
        self.answered.append(self)


def build(specs, answered):
    return [
        Mount(template, routes=build(inner, answered))
        if inner
        else Route(template, Endpoint(answered), methods=methods)
        for template, methods, inner in specs
    ]


def endpoints(routes):
    for route in routes:
        if isinstance(route, Mount):
            yield from endpoints(route.routes)
        else:
            yield route.endpoint


async def unsent(message):
    """404 and 405 are nobody's answer."""


def run(router, method, path):
    """Nothing in it waits, so that no event loop is needed."""
    coroutine = router({"type": "http", "method": method, "path": path, "headers": []}, None, unsent)
    with pytest.raises(StopIteration):
        coroutine.send(None)


leaf = st.tuples(templates(), st.sampled_from([["GET"], ["POST"], ["GET", "POST"], None]), st.none())
mount = st.tuples(st.sampled_from(["/a", "/{m}", ""]), st.none(), st.lists(leaf, min_size=1, max_size=2))
routers = st.lists(st.one_of(leaf, leaf, mount), min_size=1, max_size=4)


@st.composite
def tables(draw, entries):
    """The routes' own templates in their order, and one thing changed: else nearly all would have findings."""
    found = [Bare(one.methods, one.template, one.name) for one in entries if one.kind != "barrier"]
    match draw(st.sampled_from(["nothing", "swap", "insert", "widen", "leave out"])):
        case "swap":
            one, two = draw(st.integers(0, len(found) - 1)), draw(st.integers(0, len(found) - 1))
            found[one], found[two] = found[two], found[one]
        case "insert":
            text = draw(templates([*PIECES, "*"], "**"))
            methods = draw(st.sampled_from([None, frozenset(("GET",))]))
            found.insert(draw(st.integers(0, len(found))), Bare(methods, Template(text), text))
        case "widen":
            found[draw(st.integers(0, len(found) - 1))].methods = None
        case "leave out":
            del found[draw(st.integers(0, len(found) - 1))]
    return found


def takes(methods, method):
    return methods is None or method in methods or (method == "HEAD" and "GET" in methods)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), routers, st.sampled_from(["deny", "authenticated"]))
def test_without_findings_the_table_and_the_router_agree(data, specs, default):
    """The rule that the table finds governs the route that Starlette's router runs, or is a finer one below a rest."""
    answered = []
    router = Router(build(specs, answered), redirect_slashes=False)
    entries = routes_of(router)
    rules = data.draw(tables(entries))
    if coverage(rules, entries, PathSet((), option="exempt"), default).findings:
        return
    order = list(endpoints(router.routes))
    entries = [e for e in entries if e.kind != "barrier"]
    assert len(order) == len(entries)
    for method, path in product(METHODS, PATHS):
        answered.clear()
        run(router, method, path)
        found = next(
            (one for one in rules if takes(one.methods, method) and one.template.match(path) is not None), None
        )
        if not answered or found is None:
            continue
        (route,) = (entry for entry, endpoint in zip(entries, order, strict=True) if endpoint is answered[0])
        governing = next(
            (one for one in rules if takes(one.methods, method) and one.template.covers(route.template)), None
        )
        is_finer = route.template.text.endswith(":path}") and route.template.covers(found.template)
        assert found is governing or is_finer, (method, path, route.template, found)
