"""FastAPI: dependencies that read the principal, and the layers in the OpenAPI document. ASVS 8.2.1, BRR-4, BRR-6."""

from types import SimpleNamespace

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from pydantic import BaseModel
from starlette.middleware.gzip import GZipMiddleware

from secure_asgi import (
    APIKeyMiddleware,
    AuditMiddleware,
    AuthorizationMiddleware,
    BearerAuthMiddleware,
    Layer,
    MemoryKeys,
    Middleware,
    MutualTLSMiddleware,
    RateLimitMiddleware,
    Rule,
    problem_handlers,
    secure,
    secure_stack,
)
from secure_asgi._templates import Template
from secure_asgi.errors import ConfigurationError
from secure_asgi.fastapi import DOCS, CurrentPrincipal, document_security, require_roles, require_scopes
from secure_asgi.fastapi.openapi import rule_for
from secure_asgi.testing import TokenFactory, recorded_audit

from . import asgi
from .paths import run_python

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


def one_route(*layers, path="/a", wrap=False, **options):
    """The ``get`` of ``path`` in the document, and the whole of it."""
    app = FastAPI(middleware=[] if wrap else secure_stack(*layers))
    app.get(path)(lambda: None)
    document_security(secure(app, *layers) if wrap else app, **options)
    document = app.openapi()
    return document["paths"][path]["get"], document


def keys(**options):
    return Middleware(APIKeyMiddleware, keys=MemoryKeys(), **{"header": "X-Shop-Key", "exempt": DOCS} | options)


def certificates(**options):
    return Middleware(MutualTLSMiddleware, **{"exempt": DOCS} | options)


def rules(*given, **options):
    return Middleware(AuthorizationMiddleware, rules=given, **{"exempt": DOCS} | options)


B, K, M = {"bearer": []}, {"apiKey": []}, {"mutualTLS": []}

NEEDED = {
    "a token": ((bearer(),), [B]),
    "a bound token": ((bearer(dpop="require"),), [{"dpop": []}]),
    "a token, or nothing": ((bearer(required=False),), [B, {}]),
    "a token, by the rules": ((bearer(required=False), rules(Rule("GET", "/a"))), [B]),
    "a key": ((keys(),), [K]),
    "a certificate": ((certificates(),), [M]),
    "a token and a key": ((bearer(), keys()), [{**B, **K}]),
    "a token or a key": ((bearer(required=False), keys(required=False), rules(Rule("GET", "/a"))), [B, K]),
    "a certificate and a token": ((certificates(), bearer()), [{**M, **B}]),
    "a certificate, with a token or without": ((certificates(), bearer(required=False)), [{**M, **B}, M]),
    "a certificate, a token or nothing": (
        (certificates(required=False), bearer(required=False)),
        [M, B, {}],
    ),
    "everybody": ((bearer(required=False), rules(Rule("GET", "/a", public=True))), None),
    "exempt": ((bearer(exempt=("/a", *DOCS)), rules(Rule("GET", "/b"), exempt=("/a", *DOCS))), None),
    "who is known": ((bearer(required=False), rules(Rule("GET", "/b"), default="authenticated")), [B]),
    "no layer": ((), None),
    "all scopes": (
        (bearer(required=False), rules(Rule("GET", "/a", scopes=("a", "b")))),
        [{"bearer": ["a", "b"]}],
    ),
    "one of the scopes": (
        (bearer(required=False), keys(required=False), rules(Rule("GET", "/a", scopes="a", any_scopes=("b", "c")))),
        [{"bearer": ["a", "b"]}, {"bearer": ["a", "c"]}, {"apiKey": ["a", "b"]}, {"apiKey": ["a", "c"]}],
    ),
    "scopes of the layer": ((bearer(require_scopes="a"),), [{"bearer": ["a"]}]),
}


@pytest.mark.parametrize("case", NEEDED.values(), ids=NEEDED)
def test_what_an_operation_needs(case):
    """OpenAPI 3.1.1 section 4.8.30: alternatives, each of which is all that is needed."""
    layers, security = case
    assert one_route(*layers)[0].get("security") == security
    assert one_route(*layers, wrap=True)[0].get("security") == security


def test_the_schemes_of_all_layers():
    operation, document = one_route(certificates(), bearer(dpop="accept"), keys())
    assert document["components"]["securitySchemes"] == {
        "mutualTLS": {"type": "mutualTLS", "description": "A client certificate."},
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "dpop": {
            "type": "http",
            "scheme": "DPoP",
            "description": "An access token bound to a key, with a proof in the DPoP field (RFC 9449).",
        },
        "apiKey": {"type": "apiKey", "in": "header", "name": "x-shop-key"},
    }
    assert set(operation["responses"]) == {"200", "401", "403", "503"}


def test_a_user_signs_in_at_the_provider():
    urls = {"authorization_url": "https://id.example.com/auth", "token_url": "https://id.example.com/token"}
    _, document = one_route(bearer(), rules(Rule("GET", "/a", scopes="a")), **urls, flows="authorizationCode")
    assert document["components"]["securitySchemes"]["oauth2"]["flows"] == {
        "authorizationCode": {
            "authorizationUrl": "https://id.example.com/auth",
            "tokenUrl": "https://id.example.com/token",
            "scopes": {"a": ""},
        }
    }


def test_openapi_3_0_lists_scopes_for_authorization_servers_alone():
    app = FastAPI(middleware=secure_stack(bearer(), rules(Rule("GET", "/a", any_scopes=("a", "b")))))
    app.openapi_version = "3.0.3"
    app.get("/a")(lambda: None)
    document_security(app, token_url="https://id.example.com/token")
    assert app.openapi()["paths"]["/a"]["get"]["security"] == [{"bearer": []}, {"oauth2": ["a"]}, {"oauth2": ["b"]}]


def test_what_the_application_declares_itself_stays():
    app = FastAPI(middleware=secure_stack(bearer(), Middleware(RateLimitMiddleware, limits="9/minute")))

    class Problem(BaseModel):
        mine: int

    own = {"description": "mine"}
    responses = {401: own, "4XX": own, 409: {"model": Problem}}
    app.get("/a", responses=responses, openapi_extra={"security": []})(lambda: None)
    app.get("/b")(lambda: None)
    document_security(app)
    document = app.openapi()
    declared = document["paths"]["/a"]["get"]
    assert declared["security"] == []
    assert declared["responses"]["401"] == own
    assert "429" not in declared["responses"]
    assert document["components"]["schemas"]["Problem"]["properties"].keys() == {"mine"}
    refused = document["paths"]["/b"]["get"]["responses"]["429"]["$ref"].rpartition("/")[2]
    content = document["components"]["responses"][refused]["content"]
    assert content["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem_"}


def test_a_schema_of_fastapis_that_is_used_elsewhere_stays():
    app = FastAPI(middleware=secure_stack(bearer()), exception_handlers=problem_handlers())
    used = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}}}
    app.get("/a/{n}", responses={400: {"description": "mine", **used}})(lambda n: None)
    document_security(app)
    assert "HTTPValidationError" in app.openapi()["components"]["schemas"]


def test_entries_that_are_not_made_yet_and_layers_that_are_named():
    app = FastAPI()
    app.get("/a")(lambda: None)
    app.add_middleware(BearerAuthMiddleware, **bearer().kwargs)
    app.add_middleware(GZipMiddleware)
    document_security(app)
    assert app.openapi()["paths"]["/a"]["get"]["security"] == [B]
    other = FastAPI()
    other.get("/a")(lambda: None)
    document_security(other, layers=BearerAuthMiddleware(None, **bearer().kwargs))
    assert other.openapi()["paths"]["/a"]["get"]["security"] == [B]


def test_what_is_not_in_the_document_and_what_comes_late():
    app = FastAPI(middleware=secure_stack(bearer()))
    app.get("/a", include_in_schema=False)(lambda: None)
    document_security(app)
    assert app.openapi()["paths"] == {}
    app.get("/late")(lambda: None)
    assert app.openapi()["paths"]["/late"]["get"]["security"] == [B]


def test_ours_is_found_among_the_dependencies_of_a_dependency():
    def foreign(principal: CurrentPrincipal): ...

    app = FastAPI(middleware=secure_stack(bearer(required=False)))
    app.get("/a", dependencies=[Depends(foreign)])(lambda: None)
    document_security(app)
    assert app.openapi()["paths"]["/a"]["get"]["security"] == [B]


def test_an_application_without_anything_to_say():
    app = FastAPI()
    document_security(app)
    assert "components" not in app.openapi()


def test_a_layer_with_a_body_part_around_the_application():
    class Transform(Layer):
        name = "transform"

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    app = FastAPI()
    app.get("/a")(lambda: None)
    document_security(Transform(secure(app, bearer())))
    assert app.openapi()["paths"]["/a"]["get"]["security"] == [B]


def test_a_refused_dependency_is_on_record():
    records = recorded_audit()
    app = make(bearer(required=False), Middleware(AuditMiddleware, sinks=records))
    asgi.http(app, "/v1/orders/7", headers=sent(scope="orders:write"))
    (record,) = records.wait()
    assert (record["event"], record["reason"], record["status"]) == ("authz_fail", "scope_insufficient", 403)
    assert record["decisions"][-1]["layer"] == "dependency"


def test_a_websocket_that_is_open_already_is_closed():
    app = FastAPI(middleware=secure_stack(bearer(required=False)))

    async def accept(websocket: WebSocket):
        await websocket.accept()

    @app.websocket("/ws", dependencies=[Depends(accept)])
    async def talk(websocket: WebSocket, principal: CurrentPrincipal): ...

    answer = asgi.websocket(app, "/ws")
    assert answer.messages[0]["type"] == "websocket.accept"
    assert answer.close_code == 1008


def test_without_fastapi_one_is_told_how_to_install_it():
    code = (
        "import sys; sys.modules['fastapi'] = None\ntry: import secure_asgi.fastapi\nexcept ImportError as e: print(e)"
    )
    assert run_python("-c", code) == "secure_asgi.fastapi needs FastAPI: pip install 'secure-asgi[fastapi]'"
