"""The order, whatever the order given; and every wrong option an error on the line of the call."""

import random

import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from secure_asgi import (
    APIKeyMiddleware,
    AuditMiddleware,
    AuthorizationMiddleware,
    BearerAuthMiddleware,
    ConfigurationError,
    Denial,
    HSTSMiddleware,
    HTTPSRedirectMiddleware,
    Layer,
    MemoryKeys,
    Middleware,
    MutualTLSMiddleware,
    RateLimitMiddleware,
    Rule,
    SanitizedErrorMiddleware,
    SecurityHeadersMiddleware,
    ThrottleMiddleware,
    TrustedHostMiddleware,
    TrustedProxyMiddleware,
    preset,
    secure,
    secure_stack,
)
from secure_asgi.flow import Flow
from secure_asgi.stack import ORDER

from . import asgi

ISSUER = {"issuer": "https://id.example.com", "audience": "orders"}
EVERYTHING = (
    Middleware(SecurityHeadersMiddleware),
    Middleware(HSTSMiddleware),
    Middleware(AuditMiddleware, sinks=lambda record: None),
    Middleware(TrustedProxyMiddleware, hops=1),
    Middleware(CORSMiddleware, allow_origins=["https://app.example"]),
    Middleware(SanitizedErrorMiddleware),
    Middleware(TrustedHostMiddleware, allowed_hosts="api.example.com"),
    Middleware(HTTPSRedirectMiddleware),
    Middleware(RateLimitMiddleware, limits="10/minute"),
    Middleware(MutualTLSMiddleware),
    Middleware(BearerAuthMiddleware, **ISSUER),
    Middleware(APIKeyMiddleware, keys=MemoryKeys()),
    Middleware(AuthorizationMiddleware, rules=Rule("GET", "/")),
    Middleware(RateLimitMiddleware, limits="10/minute", key="principal"),
    Middleware(RateLimitMiddleware, limits="10/minute", key=lambda exchange, scope: "all"),
    Middleware(ThrottleMiddleware, max_concurrent=10, per="client"),
    Middleware(ThrottleMiddleware, max_concurrent=10, per="principal"),
    Middleware(ThrottleMiddleware, max_concurrent=10),
)


class Own(Layer):
    name = "own"

    def on_request(self, exchange, scope):
        return Denial("acme.closed", 403, "Closed.") if scope["path"] == "/closed" else None


class OwnTransform(Layer):
    name = "own_transform"

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


def places(stack):
    """The slot of each entry; the class of a foreign one."""
    return [entry.args[0].place if entry.args else entry.cls.__name__ for entry in stack]


@pytest.mark.parametrize("seed", range(5))
def test_any_order_becomes_the_order(seed):
    given = list(EVERYTHING)
    random.Random(seed).shuffle(given)
    assert places(secure_stack(*given)) == [slot if slot != "cors" else "CORSMiddleware" for slot in ORDER]


PLACED = [
    ("a foreign middleware has the place of CORS", Middleware(GZipMiddleware), ["hsts", "GZipMiddleware", "bearer"]),
    ("before a class", Middleware(GZipMiddleware, before=HSTSMiddleware), ["GZipMiddleware", "hsts", "bearer"]),
    ("after a class", Middleware(GZipMiddleware, after=BearerAuthMiddleware), ["hsts", "bearer", "GZipMiddleware"]),
    ("after a slot", Middleware(GZipMiddleware, after="rate_limit:client"), ["hsts", "GZipMiddleware", "bearer"]),
    ("one's own layer stands innermost", Middleware(Own), ["hsts", "bearer", "own"]),
    ("unless it is placed", Middleware(Own, before=BearerAuthMiddleware), ["hsts", "own", "bearer"]),
    ("a transform of one's own is passed on", Middleware(OwnTransform), ["hsts", "bearer", "OwnTransform"]),
]


@pytest.mark.parametrize(("entry", "expected"), [row[1:] for row in PLACED], ids=[row[0] for row in PLACED])
def test_places(entry, expected):
    assert (
        places(secure_stack(Middleware(BearerAuthMiddleware, **ISSUER), entry, Middleware(HSTSMiddleware))) == expected
    )


WRONG = [
    (
        "a misspelt option",
        Middleware(HSTSMiddleware, maxage=1),
        "HSTSMiddleware has no option 'maxage': did you mean 'max_age'?",
    ),
    ("an option from nowhere", Middleware(HSTSMiddleware, zzz=1), "it takes max_age"),
    ("an option missing", Middleware(TrustedHostMiddleware), "allowed_hosts"),
    ("a positional option", Middleware(HSTSMiddleware, 1), "HSTSMiddleware"),
    ("a class without Middleware()", HSTSMiddleware, "Middleware(TheClass, option=...)"),
    ("an instance", HSTSMiddleware(asgi.hello), "Middleware(TheClass, option=...)"),
    ("before and after", Middleware(GZipMiddleware, before=HSTSMiddleware, after=HSTSMiddleware), "not both"),
    ("before something unknown", Middleware(GZipMiddleware, before="gzip"), "got 'gzip'"),
    ("a wrong value", Middleware(HSTSMiddleware, max_age=-1), "max_age"),
]


@pytest.mark.parametrize(("entry", "sentence"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
@pytest.mark.parametrize("compose", [secure_stack, lambda entry: secure(asgi.hello, entry)], ids=["stack", "secure"])
def test_wrong_options_fail_on_the_line(compose, entry, sentence):
    with pytest.raises(ConfigurationError) as caught:
        compose(entry)
    assert sentence in str(caught.value)


def test_two_of_one_place():
    with pytest.raises(ConfigurationError, match=r"same place \(hsts\)"):
        secure_stack(Middleware(HSTSMiddleware), Middleware(HSTSMiddleware, max_age=1))


def test_layers_side_by_side_become_one_flow():
    service = secure(asgi.hello, Middleware(Own), Middleware(HSTSMiddleware), Middleware(SecurityHeadersMiddleware))
    assert isinstance(service, Flow)
    assert [layer.place for layer in service.layers] == ["security_headers", "hsts", "own"]
    assert service.app is asgi.hello


def test_a_foreign_layer_splits_and_an_unconstructed_transform_works():
    service = secure(
        asgi.hello, Middleware(HSTSMiddleware), Middleware(GZipMiddleware), Middleware(OwnTransform), Middleware(Own)
    )
    assert asgi.http(service).headers["strict-transport-security"]
    assert asgi.http(service, "/closed").status == 403


def starlette_app(stack):
    async def home(request):
        return PlainTextResponse("home")

    return Starlette(routes=[Route("/", home)], middleware=stack)


def test_a_rebuilt_stack_shares_its_layers():
    stack = secure_stack(Middleware(RateLimitMiddleware, limits="1/minute"))
    app = starlette_app(stack)
    assert asgi.http(app).status == 200
    app.middleware_stack = app.build_middleware_stack()
    assert asgi.http(app).status == 429


def test_one_result_serves_one_application():
    stack = secure_stack(Middleware(HSTSMiddleware))
    first, second = starlette_app(stack), starlette_app(stack)
    assert asgi.http(first).status == 200
    answer = asgi.http(second)
    assert answer.status == 500
    assert "call secure_stack() again" in str(answer.error)


def test_cors_headers_on_what_a_browser_must_read():
    """A 401 and a 500 carry them, and a preflight needs no token (CORS-1, CORS-3)."""

    async def crash(request):
        raise RuntimeError("secret")

    app = Starlette(
        routes=[Route("/crash", crash)],
        middleware=secure_stack(
            Middleware(BearerAuthMiddleware, exempt="/crash", **ISSUER),
            Middleware(SanitizedErrorMiddleware),
            Middleware(
                CORSMiddleware,
                allow_origins=["https://app.example"],
                allow_methods=["POST"],
                allow_headers=["authorization"],
            ),
            Middleware(HSTSMiddleware),
        ),
    )
    origin = {"origin": "https://app.example"}
    for path, status in (("/orders", 401), ("/crash", 500)):
        answer = asgi.http(app, path, headers=origin)
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["strict-transport-security"]
        assert b"secret" not in answer.body
    preflight = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    assert asgi.http(app, "/orders", method="OPTIONS", headers=preflight).status == 200
    assert asgi.http(app, "/orders", method="OPTIONS", headers=origin).status == 401


PRESETS = [
    ("the least", {}, ["security_headers", "hsts", "audit", "sanitized_errors", "https_redirect", "bearer"]),
    ("behind a proxy", {"trusted": "10.0.0.0/8"}, ["trusted_proxy"]),
    ("behind so many", {"hops": 1}, ["trusted_proxy"]),
    ("with hosts", {"allowed_hosts": "api.example.com"}, ["trusted_host"]),
    ("with certificates", {"client_certificates": True}, ["mutual_tls"]),
    ("with certificate rules", {"client_certificates": "dns:*.example.com"}, ["mutual_tls"]),
    ("without certificates", {"client_certificates": False}, []),
    ("with limits", {"limits": "10/minute"}, ["rate_limit:client"]),
    ("with rules", {"rules": Rule("GET", "/"), "roles": {"admin": "editor"}}, ["authorization"]),
]


@pytest.mark.parametrize(("options", "more"), [row[1:] for row in PRESETS], ids=[row[0] for row in PRESETS])
def test_preset_api(options, more):
    stack = places(secure_stack(*preset("api", **ISSUER, **options)))
    least = PRESETS[0][2]
    assert set(stack) == {*least, *more}
    assert stack == [slot for slot in ORDER if slot in stack]


def test_the_preset_exempts_documentation():
    service = secure(asgi.hello, *preset("api", **ISSUER, sinks=lambda record: None))
    assert asgi.http(service, "/docs").status == 200
    assert asgi.http(service, "/orders").status == 401
    ruled = secure(asgi.hello, *preset("api", **ISSUER, rules=Rule("GET", "/orders"), sinks=lambda record: None))
    assert asgi.http(ruled, "/docs").status == 200


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("browser", {}, "there is a preset \"api\", and no 'browser'"),
        ("api", {"isuer": "x"}, "did you mean 'issuer'?"),
        ("api", {"zzz": "x"}, "it takes issuer, audience"),
    ],
)
def test_wrong_presets(name, options, sentence):
    with pytest.raises(ConfigurationError) as caught:
        preset(name, **options)
    assert sentence in str(caught.value)


def test_the_app_of_secure_is_also_the_app_of_its_claim():
    """secure() around a Starlette app sets no scope["app"] before our flow: nothing to claim, and it works."""
    assert asgi.http(secure(starlette_app([]), Middleware(HSTSMiddleware))).status == 200
