"""FastAPI: dependencies that read the principal, and the layers in the OpenAPI document. ASVS 8.2.1, BRR-4, BRR-6."""

from types import SimpleNamespace

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket

from secure_asgi import BearerAuthMiddleware, Middleware, RateLimitMiddleware, problem_handlers, secure, secure_stack
from secure_asgi._templates import Template
from secure_asgi.errors import ConfigurationError
from secure_asgi.fastapi import DOCS, CurrentPrincipal, document_security, require_roles, require_scopes
from secure_asgi.fastapi.openapi import rule_for
from secure_asgi.testing import TokenFactory

from . import asgi

TOKENS = TokenFactory()


def bearer(**options):
    given = {"issuer": TOKENS.issuer, "audience": TOKENS.audience, "jwks": TOKENS.jwks, "exempt": DOCS}
    return Middleware(BearerAuthMiddleware, **given | options)


def make(*layers, problems=True, **options):
    app = FastAPI(middleware=secure_stack(*layers), exception_handlers=problem_handlers() if problems else None)
    document_security(app, **options)
    router = APIRouter(prefix="/v1", dependencies=[Depends(require_scopes("orders:read"))])

    @app.get("/me")
    async def me(principal: CurrentPrincipal):
        return principal.subject

    @router.get("/orders/{number:int}")
    async def order(number: int):
        return number

    @app.get("/admin", dependencies=[Depends(require_roles("admin", "owner"))])
    async def admin():
        return "admin"

    @app.get("/open")
    async def open_to_all():
        return "open"

    @app.websocket("/ws")
    async def talk(websocket: WebSocket, principal: CurrentPrincipal):
        await websocket.accept()
        await websocket.send_text(principal.subject)
        await websocket.close()

    app.include_router(router)
    return app


def sent(**claims):
    return {"authorization": f"Bearer {TOKENS.token(**claims)}"}


@pytest.mark.parametrize(
    ("path", "headers", "status", "challenge"),
    [
        ("/me", {}, 401, 'Bearer realm="api"'),
        ("/me", sent(), 200, None),
        ("/v1/orders/7", sent(scope="orders:write"), 403, 'scope="orders:read"'),
        ("/v1/orders/7", sent(scope="orders:read"), 200, None),
        ("/admin", sent(), 403, None),
        ("/admin", sent(roles=["owner"]), 200, None),
    ],
)
@pytest.mark.parametrize("problems", [True, False], ids=["problems", "plain"])
def test_dependencies(path, headers, status, challenge, problems):
    answer = asgi.http(make(bearer(required=False), problems=problems), path, headers=headers)
    assert answer.status == status
    assert challenge is None or challenge in answer.headers["www-authenticate"]
    if status >= 400 and problems:
        assert answer.problem["status"] == status


@pytest.mark.parametrize("denial_response", [True, False])
def test_a_websocket_without_a_principal_is_refused_before_it_opens(denial_response):
    answer = asgi.websocket(make(bearer(required=False)), "/ws", denial_response=denial_response)
    assert answer.error is None
    assert answer.status == 401 if denial_response else answer.close_code == 1008


def test_without_a_layer_outside_the_developer_is_told():
    assert isinstance(asgi.http(make(), "/me").error, ConfigurationError)


@pytest.mark.parametrize("wrong", [(), (["a"],), (7,), ("a b",), ("",)])
@pytest.mark.parametrize("function", [require_scopes, require_roles])
def test_wrong_names_fail_at_once(function, wrong):
    with pytest.raises(ConfigurationError):
        function(*wrong)


def test_the_document_says_what_the_layers_ask():
    app = make(
        bearer(exempt=(*DOCS, "/open"), dpop="accept"),
        Middleware(RateLimitMiddleware, limits="9/minute"),
        token_url="https://id.example.com/token",
        openid_connect=True,
    )
    document = app.openapi()
    order = document["paths"]["/v1/orders/{number}"]["get"]
    names = ("bearer", "dpop", "oauth2", "openIdConnect")
    assert order["security"] == [{name: ["orders:read"]} for name in names]
    assert set(order["responses"]) == {"200", "401", "403", "422", "429", "503"}
    assert "application/problem+json" in order["responses"]["422"]["content"]
    assert "security" not in document["paths"]["/open"]["get"]
    assert set(document["components"]["securitySchemes"]) == set(names)
    flows = document["components"]["securitySchemes"]["oauth2"]["flows"]
    assert flows["clientCredentials"]["scopes"] == {"orders:read": ""}
    assert "ValidationError" not in document["components"]["schemas"]
    document_security(app)
    assert set(app.openapi()["components"]["securitySchemes"]) == {"bearer", "dpop"}
    assert app.openapi() is app.openapi()


def test_the_layers_around_an_application_are_found():
    app = FastAPI()
    app.get("/")(lambda: None)
    document_security(secure(app, bearer()))
    assert app.openapi()["paths"]["/"]["get"]["security"] == [{"bearer": []}]


@pytest.mark.parametrize(
    "options",
    [
        {"layers": [object()]},
        {"openid_connect": "yes"},
        {"token_url": "nowhere"},
        {"flows": "implicit", "token_url": "https://id.example.com/t"},
        {"authorization_url": "https://id.example.com/a"},
        {"flows": "authorizationCode", "token_url": "https://id.example.com/t"},
    ],
)
def test_wrong_options(options):
    with pytest.raises(ConfigurationError):
        document_security(FastAPI(), **options)


def test_only_a_fastapi_application_has_a_document():
    with pytest.raises(ConfigurationError):
        document_security(asgi.hello)


def test_the_first_rule_that_covers_the_route_is_its_rule():
    mine, one = (
        SimpleNamespace(methods=frozenset(("GET",)), template=Template(path)) for path in ("/o/mine", "/o/{id}")
    )
    assert rule_for((mine, one), "GET", "/o/{id:int}") is one
    assert rule_for((mine, one), "GET", "/o/mine") is mine
    assert rule_for((mine, one), "POST", "/o/mine") is None
