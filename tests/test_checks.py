"""``check``: which layers it finds, which table it shows, and what it calls a finding (ASVS 5.0 8.1, 13.4.5)."""

from datetime import date

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount, Route, Router

from secure_asgi import (
    APIKeyMiddleware,
    AuditMiddleware,
    AuthorizationMiddleware,
    BearerAuthMiddleware,
    ForwardedCertificate,
    HSTSMiddleware,
    HTTPSRedirectMiddleware,
    MemoryKeys,
    MutualTLSMiddleware,
    RateLimitMiddleware,
    Rule,
    SanitizedErrorMiddleware,
    SecurityHeadersMiddleware,
    secure,
    secure_stack,
)
from secure_asgi.checks import check
from secure_asgi.flow import Layer

from .asgi import hello

BEARER = {"issuer": "https://id.example.com", "audience": "orders"}
RULES = Rule("GET", "/orders/{id}", scopes="orders:read")
KEYS = Middleware(APIKeyMiddleware, keys=MemoryKeys())
GUARD = Middleware(AuthorizationMiddleware, rules=RULES)
QUIET = (
    Middleware(HTTPSRedirectMiddleware),
    Middleware(SanitizedErrorMiddleware),
    Middleware(AuditMiddleware),
    Middleware(BearerAuthMiddleware, **BEARER),
    GUARD,
)


async def order(request):
    """Applications are looked at here, and never asked."""


ORDERS = Route("/orders/{id}", order)


class Custom(Layer):
    name = "custom"

    async def __call__(self, scope, receive, send): ...


def starlette(*middleware, routes=(ORDERS,)):
    return Starlette(routes=list(routes), middleware=middleware)


def codes(report):
    return {one.code for one in (*report.findings, *report.notes)}


def layers(app):
    return [(row.where, row.place or row.name) for row in check(app).layers]


def test_nothing_is_wrong():
    report = check(starlette(*secure_stack(*QUIET)))
    assert (report.findings, report.notes) == ((), ())
    (row,) = report.routes
    assert (row.method, row.path, row.rule) == ("GET", "/orders/{id}", RULES.summary)


def added(app, *classes):
    for cls, options in classes:
        app.add_middleware(cls, **options)
    return app


HSTS = Middleware(HSTSMiddleware)


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (hello, []),
        (HSTSMiddleware(hello), ["hsts"]),
        (SecurityHeadersMiddleware(HSTSMiddleware(hello)), ["security_headers", "hsts"]),
        (Custom(HSTSMiddleware(hello)), ["custom", "hsts"]),
        (secure(hello, HSTS, Middleware(AuditMiddleware)), ["hsts", "audit"]),
        (GZipMiddleware(HSTSMiddleware(hello)), ["GZipMiddleware", "hsts"]),
        (secure(starlette(*secure_stack(Middleware(AuditMiddleware))), HSTS), ["hsts", "audit"]),
        (added(FastAPI(), (AuditMiddleware, {}), (HSTSMiddleware, {})), ["hsts", "audit"]),
        (starlette(Middleware(CORSMiddleware)), ["CORSMiddleware"]),
    ],
    ids=["bare", "by hand", "merged", "transform", "secure", "foreign", "around and inside", "added", "foreign entry"],
)
def test_layers_are_found_outermost_first(app, expected):
    assert layers(app) == [("", place) for place in expected]


def test_a_mount_has_layers_and_a_table_of_its_own():
    rules = Rule("GET", "/users", roles="admin")
    inner = [
        Middleware(BearerAuthMiddleware, **BEARER, exempt="/users"),
        Middleware(AuthorizationMiddleware, rules=rules, exempt="/gone"),
    ]
    app = starlette(routes=[Mount("/admin", routes=[Route("/users", order)], middleware=inner), ORDERS])
    report = check(app)
    assert layers(app) == [("/admin", "bearer"), ("/admin", "authorization")]
    users, orders = report.routes
    assert (users.path, users.rule, users.exempt_from) == ("/admin/users", rules.summary, ("bearer",))
    assert (orders.path, orders.rule, orders.exempt_from) == ("/orders/{id}", "", ())
    assert "authorization exempts /admin/gone, which is no route" in [note.message for note in report.notes]


def test_a_mount_in_an_included_router_is_found_where_it_stands():
    router = APIRouter()
    router.mount("/files", HSTSMiddleware(hello))
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router, prefix="/v1")
    assert layers(app) == [("/v1/files", "hsts")]


def test_an_application_mounted_in_itself_ends():
    app = starlette()
    app.mount("/again", app)
    assert "opaque" in codes(check(app))


def test_what_a_layer_says_of_itself():
    source = ForwardedCertificate("envoy_xfcc", trusted="10.0.0.0/8", insecure_scope_client=True)
    pin = "sha256/" + "A" * 43 + "="
    app = starlette(
        Middleware(MutualTLSMiddleware, source=source, pins=pin, insecure_single_pin=True, exempt=("/b/", "/a")),
        Middleware(RateLimitMiddleware, limits="5/2 minutes; 600/hour", mode="shadow", shadow_until=date(2027, 3, 31)),
    )
    report = check(app)
    certificate, limit = report.layers
    assert certificate.escape_hatches == ("insecure_single_pin", "insecure_scope_client")
    assert certificate.exempt == ("/a", "/b/")
    assert (limit.mode, limit.shadow_until) == ("shadow", "2027-03-31")
    assert report.routes[0].limits == ("5/2 minutes by client", "600/hour by client")
    assert report.as_document()["findings"][0].keys() == {"severity", "code", "message"}


@pytest.mark.parametrize(
    ("middleware", "code", "severity"),
    [
        ([Middleware(BearerAuthMiddleware)], "layer_broken", "finding"),
        ([GUARD], "nothing_authenticates", "finding"),
        (secure_stack(Middleware(BearerAuthMiddleware, **BEARER), KEYS), "nobody_gets_in", "finding"),
        ([Middleware(GZipMiddleware), GUARD], "nothing_authenticates", "note"),
        ([Middleware(AuditMiddleware), HSTS], "order", "finding"),
        ([Middleware(AuthorizationMiddleware, rules=Rule("GET", "/x", public=True))], "rule_without_route", "finding"),
        ([Middleware(AuthorizationMiddleware, rules=RULES, exempt="/no")], "exempt_without_route", "note"),
        (
            secure_stack(*QUIET[:3], Middleware(BearerAuthMiddleware, **BEARER, mode="shadow"), QUIET[4]),
            "shadow_alone",
            "note",
        ),
        ([Middleware(BearerAuthMiddleware, **BEARER, mode="shadow")], "shadow", "note"),
        ([Middleware(RateLimitMiddleware, limits="1/day")], "no_https", "note"),
        ([], "no_error_layer", "note"),
        ([], "no_audit", "note"),
        ([], "no_authorization", "note"),
    ],
)
def test_what_is_told_and_how_gravely(middleware, code, severity):
    report = check(starlette(*middleware))
    told = report.findings if severity == "finding" else report.notes
    assert code in {one.code for one in told}
    assert all(one.severity == severity for one in told)


@pytest.mark.parametrize(
    ("middleware", "absent"),
    [
        (secure_stack(HSTS, Middleware(AuditMiddleware, before=HSTSMiddleware)), "order"),
        (secure_stack(Middleware(BearerAuthMiddleware, **BEARER, exempt="/orders/")), "exempt_without_route"),
        (secure_stack(Middleware(BearerAuthMiddleware, **BEARER, required=False), KEYS), "nobody_gets_in"),
        (secure_stack(Middleware(BearerAuthMiddleware, **BEARER, exempt="/docs")), "exempt_without_route"),
        (
            [
                Middleware(BearerAuthMiddleware, **BEARER, mode="shadow"),
                Middleware(AuthorizationMiddleware, rules=RULES, mode="shadow"),
            ],
            "shadow_alone",
        ),
    ],
    ids=["placed on purpose", "a prefix above a route", "a key, a token or not", "documentation", "shadowed together"],
)
def test_what_is_not_told(middleware, absent):
    assert absent not in codes(check(starlette(*middleware)))


def test_the_default_and_an_exemption_are_told_apart_in_the_table():
    guard = Middleware(
        AuthorizationMiddleware, rules=Rule("GET", "/x", public=True), default="authenticated", exempt="/open"
    )
    rows = check(starlette(guard, routes=[ORDERS, Route("/open", order)])).routes
    assert [(row.path, row.rule, row.exempt_from) for row in rows] == [
        ("/orders/{id}", "authenticated (default)", ()),
        ("/open", "", ("authorization",)),
    ]


def test_an_exempt_path_is_not_limited():
    limit = Middleware(RateLimitMiddleware, limits="1/second", exempt="/orders/")
    assert check(starlette(limit)).routes[0].limits == ()


@pytest.mark.parametrize(("exempt", "is_open"), [(("/docs", "/openapi.json"), True), ((), False)])
def test_documentation_that_anybody_can_read(exempt, is_open):
    """ASVS 5.0 13.4.5: a note, because it may be wanted."""
    app = FastAPI(middleware=secure_stack(Middleware(BearerAuthMiddleware, **BEARER, exempt=exempt)))
    assert ("documentation_open" in codes(check(app))) is is_open


def test_routes_that_cannot_be_listed_are_told():
    report = check(HSTSMiddleware(hello))
    assert report.routes == ()
    assert "routes_unknown" in codes(report)
    rules = AuthorizationMiddleware(hello, rules=RULES)
    assert "routes_unknown" in codes(check(rules))
    assert "opaque" in codes(check(Router([Mount("/x", hello)])))
