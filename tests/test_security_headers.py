"""SecurityHeadersMiddleware: requirements HDR-1 to HDR-11, ASVS V3.4."""

import re
from itertools import chain

import pytest
from fastapi import FastAPI

from secure_asgi import fastapi as ours
from secure_asgi.denial import Denial
from secure_asgi.errors import ConfigurationError
from secure_asgi.flow import Layer
from secure_asgi.security_headers import DOCS_CSP, SecurityHeadersMiddleware

from .asgi import hello, http, websocket

API = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
]
BROWSER = [
    (
        "content-security-policy",
        "default-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "permissions-policy",
        "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()",
    ),
]
PLAIN = ("content-type", "text/plain")
CSP = "content-security-policy"


def answers(*headers: tuple[str, str]):
    async def app(scope, receive, send):
        lines = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body"})

    return app


@pytest.mark.parametrize(("preset", "lines"), [("api", API), ("browser", BROWSER)])
def test_preset(preset, lines):
    """HDR-1, HDR-2; the application's own headers come first and untouched."""
    assert http(SecurityHeadersMiddleware(hello, preset=preset)).lines == [PLAIN, *lines]


@pytest.mark.parametrize(
    ("set_by_app", "name", "value"),
    [
        pytest.param([("Cache-Control", "max-age=60")], "cache-control", "max-age=60", id="HDR-7 cache-control"),
        pytest.param([(CSP, "sandbox")], CSP, "sandbox", id="HDR-7 a policy"),
        pytest.param([("X-Frame-Options", "SAMEORIGIN")], "x-frame-options", "SAMEORIGIN", id="HDR-7 in any case"),
    ],
)
def test_what_the_application_sets_stays(set_by_app, name, value):
    """Once, and all other headers of the preset are there."""
    sent = http(SecurityHeadersMiddleware(answers(*set_by_app))).headers
    assert sent == {**dict(API), name: value}


def test_removes_what_tells_how_the_answer_was_made():
    """HDR-8; two cookies, one of them after the removed names, stay."""
    app = answers(("Server", "acme/1.2"), ("set-cookie", "a=1"), ("X-Powered-By", "acme"), ("set-cookie", "b=2"))
    assert http(SecurityHeadersMiddleware(app)).lines == [("set-cookie", "a=1"), ("set-cookie", "b=2"), *API]


@pytest.mark.parametrize(
    ("remove", "left"),
    [
        pytest.param((), [("server", "acme"), ("x-cell", "7")], id="nothing"),
        pytest.param("X-Cell", [("server", "acme")], id="one, in any case, instead of the default ones"),
        pytest.param(["x-cell", "server"], [], id="several"),
    ],
)
def test_remove(remove, left):
    app = answers(("server", "acme"), ("x-cell", "7"))
    assert http(SecurityHeadersMiddleware(app, remove=remove)).lines == [*left, *API]


def test_an_option_sets_a_value_or_leaves_the_header_out():
    app = SecurityHeadersMiddleware(
        hello,
        csp=None,
        cache_control=None,
        x_content_type_options=None,
        x_frame_options="SAMEORIGIN",
        referrer_policy="no-referrer, strict-origin",
        cross_origin_resource_policy="cross-origin",
        csp_report_only="default-src 'self'; report-to csp;",
        reporting_endpoints='csp="https://reports.example.com/"',
        cross_origin_opener_policy="same-origin-allow-popups",
        cross_origin_embedder_policy="require-corp",
        permissions_policy="usb=()",
        x_permitted_cross_domain_policies="none",
    )
    assert http(app).headers == {
        "content-type": "text/plain",
        "x-frame-options": "SAMEORIGIN",
        "referrer-policy": "no-referrer, strict-origin",
        "cross-origin-resource-policy": "cross-origin",
        "content-security-policy-report-only": "default-src 'self'; report-to csp;",
        "reporting-endpoints": 'csp="https://reports.example.com/"',
        "cross-origin-opener-policy": "same-origin-allow-popups",
        "cross-origin-embedder-policy": "require-corp",
        "permissions-policy": "usb=()",
        "x-permitted-cross-domain-policies": "none",
    }


OVERRIDES = {
    "/embed/": {"x-frame-options": None, "csp": "frame-ancestors https://partner.example"},
    "/embed/form": {"X-Frame-Options": "SAMEORIGIN"},
    "/embed/deep/": {"cache_control": "max-age=60"},
}
EMBED = ("frame-ancestors https://partner.example", None, "no-store")
STRICT = (API[0][1], "DENY", "no-store")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/", STRICT, id="elsewhere"),
        pytest.param("/embed", STRICT, id="a prefix is whole segments"),
        pytest.param("/embed/", EMBED, id="the prefix itself"),
        pytest.param("/embed/map", EMBED, id="below the prefix"),
        pytest.param("/embed/form", (API[0][1], "SAMEORIGIN", "no-store"), id="the exact path wins"),
        pytest.param("/embed/form/x", EMBED, id="below an exact path is not that path"),
        pytest.param("/embed/deep/x", (API[0][1], "DENY", "max-age=60"), id="the longer prefix wins"),
        pytest.param("/embed/../admin", STRICT, id="dot segments lie below no prefix"),
        pytest.param("/embed//x", STRICT, id="nor do empty ones"),
    ],
)
def test_overrides(path, expected):
    sent = http(SecurityHeadersMiddleware(hello, overrides=OVERRIDES), path).headers
    assert tuple(sent.get(name) for name in (CSP, "x-frame-options", "cache-control")) == expected


def test_an_override_wins_over_the_application_and_none_leaves_its_header_alone():
    """HDR-7."""
    app = answers(("x-frame-options", "SAMEORIGIN"), ("cache-control", "public"))
    overrides = {"/": {"cache-control": "no-cache", "x-frame-options": None}}
    sent = http(SecurityHeadersMiddleware(app, overrides=overrides)).headers
    assert (sent["cache-control"], sent["x-frame-options"]) == ("no-cache", "SAMEORIGIN")


def test_overrides_match_the_path_below_a_mount():
    app = SecurityHeadersMiddleware(hello, overrides={"/map": {"x-frame-options": None}})
    assert "x-frame-options" not in http(app, "/v1/map", root_path="/v1").headers


@pytest.mark.parametrize(
    ("options", "path", "policy"),
    [
        pytest.param({}, "/docs", DOCS_CSP, id="Swagger UI"),
        pytest.param({}, "/docs/oauth2-redirect", DOCS_CSP, id="its OAuth2 redirect"),
        pytest.param({}, "/redoc", DOCS_CSP, id="ReDoc"),
        pytest.param({}, "/openapi.json", API[0][1], id="the document is data"),
        pytest.param({}, "/docs/x", API[0][1], id="nothing below"),
        pytest.param({"docs": False}, "/docs", API[0][1], id="off"),
        pytest.param({"docs": "/api/docs"}, "/api/docs", DOCS_CSP, id="elsewhere"),
        pytest.param({"docs": ["/api/docs"]}, "/docs", API[0][1], id="and then not here"),
        pytest.param({"csp": "sandbox"}, "/docs", DOCS_CSP, id="another policy for all else"),
        pytest.param({"csp": None}, "/docs", None, id="no policy is no policy here either"),
        pytest.param({"overrides": {"/docs": {"csp": "sandbox"}}}, "/docs", "sandbox", id="an override wins"),
    ],
)
def test_docs(options, path, policy):
    """HDR-10."""
    assert http(SecurityHeadersMiddleware(hello, **options), path).headers.get(CSP) == policy


def test_docs_keep_the_other_headers_but_not_what_breaks_the_oauth2_window():
    app = SecurityHeadersMiddleware(
        hello,
        preset="browser",
        cross_origin_embedder_policy="require-corp",
        overrides={"/docs": {"referrer-policy": None}},
    )
    kept = dict(BROWSER) | {"content-type": "text/plain", CSP: DOCS_CSP}
    del kept["cross-origin-opener-policy"]
    assert http(app, "/redoc").headers == kept
    del kept["referrer-policy"]
    assert http(app, "/docs").headers == kept


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_policy_covers_all_that_fastapis_pages_load(path):
    """HDR-10: fails when FastAPI moves its assets."""
    app = FastAPI()
    app.add_middleware(SecurityHeadersMiddleware)
    answer = http(app, path)
    sources = dict(re.findall(r"([\w-]+-src) ([^;]+)", answer.headers[CSP]))
    page = answer.body.decode()
    loaded = [
        *(("script-src", url) for url in re.findall(r'<script src="([^"]+)"', page)),
        *(("style-src", url) for url in re.findall(r'<link[^>]+href="([^"]+)" rel="stylesheet"', page)),
        *(("style-src", url) for url in re.findall(r'rel="stylesheet" href="([^"]+)"', page)),
        *(("img-src", url) for url in re.findall(r'rel="shortcut icon" href="([^"]+)"', page)),
    ]
    assert len(loaded) == 3
    for directive, url in loaded:
        assert any(url.startswith(source) for source in sources[directive].split()), (directive, url)
    assert "<script>" not in page or "'unsafe-inline'" in sources["script-src"]


def test_fastapi_docs_names_the_same_pages():
    app = FastAPI()
    assert set(ours.DOCS) == {route.path for route in app.routes}


def test_on_refusals_without_a_second_cache_control():
    """HDR-6."""

    class Gate(Layer):
        def on_request(self, exchange, scope):
            return Denial("acme.no", 405)

    assert http(SecurityHeadersMiddleware(Gate(hello))).headers["cache-control"] == "no-store"


def test_on_a_websocket_only_where_it_is_refused():
    """HDR-7: nothing on the accept, not even a removal."""

    class Gate(Layer):
        def on_request(self, exchange, scope):
            return Denial("acme.no", 403)

    async def app(scope, receive, send):
        await send({"type": "websocket.accept", "headers": [(b"server", b"acme")]})

    accept, *_ = websocket(SecurityHeadersMiddleware(app)).messages
    assert accept["headers"] == [(b"server", b"acme")]
    assert websocket(SecurityHeadersMiddleware(Gate(hello))).headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"preset": "spa"}, 'preset= is "api" or "browser", got \'spa\'', id="unknown preset"),
        pytest.param({"cache_control": "a\r\nset-cookie: x"}, "one line of Latin-1", id="HDR-11 a line break"),
        pytest.param({"cache_control": "a\0"}, "one line of Latin-1", id="HDR-11 NUL"),
        pytest.param({"cache_control": "a\N{EURO SIGN}"}, "one line of Latin-1", id="HDR-11 not Latin-1"),
        pytest.param({"cache_control": ""}, "None to leave it out", id="empty"),
        pytest.param({"cache_control": " no-store"}, "one line", id="a space before"),
        pytest.param({"cache_control": False}, "None to leave it out", id="not text"),
        pytest.param({"x_frame_options": "ALLOW"}, "one of DENY, SAMEORIGIN", id="misspelt word"),
        pytest.param({"referrer_policy": "no-referrer, never"}, "referrer-policy is one of", id="one of two misspelt"),
        pytest.param({"csp": "default-src self"}, "write 'self'", id="keyword without quotes"),
        pytest.param({"csp_report_only": "script-src unsafe-inline"}, "write 'unsafe-inline'", id="report-only too"),
        pytest.param({"csp": "img-src *; IMG-SRC data:"}, "gives img-src twice", id="directive twice"),
        pytest.param({"remove": "x y"}, "names of header fields, got 'x y'", id="HDR-11 no token"),
        pytest.param({"remove": [b"server"]}, "names of header fields", id="bytes"),
        pytest.param({"docs": "docs"}, 'docs= takes paths that begin with "/"', id="a docs path without a slash"),
        pytest.param(
            {"overrides": {"embed": {}}}, 'overrides= takes paths that begin with "/"', id="path without a slash"
        ),
        pytest.param({"overrides": [("/", {})]}, "overrides= is {", id="no mapping"),
        pytest.param({"overrides": {"/x": "no-store"}}, "overrides\\['/x'\\]: give the headers as", id="no headers"),
        pytest.param({"overrides": {"/x": {"x-frame-option": None}}}, "no header 'x-frame-option'", id="misspelt name"),
        pytest.param({"overrides": {"/x": {"strict-transport-security": None}}}, "no header", id="another layer's"),
        pytest.param(
            {"overrides": {"/x": {"csp": "img-src none"}}}, "overrides\\['/x'\\]: .* write 'none'", id="nested"
        ),
    ],
)
def test_wrong_option(options, message):
    with pytest.raises(ConfigurationError, match=message):
        SecurityHeadersMiddleware(**options)


def test_no_header_is_ever_doubled():
    """Whatever subset the application sets itself, each name leaves once and no other header is lost."""
    names = [name for name, _ in BROWSER]
    for chosen in chain([names], ([first, second] for first in names for second in names if first != second)):
        app = answers(*((name, "own") for name in chosen), ("x-own", "kept"))
        sent = http(SecurityHeadersMiddleware(app, preset="browser")).headers
        assert sent == {**dict(BROWSER), **dict.fromkeys(chosen, "own"), "x-own": "kept"}
