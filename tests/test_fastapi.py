"""FastAPI: dependencies that read the principal, and the layers in the OpenAPI document. ASVS 8.2.1, BRR-4, BRR-6."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket
from fastapi.security import HTTPBearer
from pydantic import BaseModel

import secure_asgi
from secure_asgi import (
    AuditMiddleware,
    AuthorizationMiddleware,
    BearerAuthMiddleware,
    HSTSMiddleware,
    Middleware,
    MutualTLSMiddleware,
    RateLimitMiddleware,
    Rule,
    ThrottleMiddleware,
    problem_handlers,
    secure,
    secure_stack,
)
from secure_asgi.api_keys import APIKeyMiddleware, MemoryKeys, create_key
from secure_asgi.bearer.judge import Judge
from secure_asgi.errors import ConfigurationError
from secure_asgi.fastapi import DOCS, CurrentPrincipal, document_security, require_roles, require_scopes
from secure_asgi.fastapi.openapi import rule_for
from secure_asgi.flow import Layer
from secure_asgi.testing import TokenFactory, recorded_audit

from . import asgi

TOKENS = TokenFactory()
KEY = create_key(client="shop", scopes=("orders:read",))
TOKEN_URL = "https://id.example.com/token"


def bearer(**options):
    given = {"issuer": TOKENS.issuer, "audience": TOKENS.audience, "jwks": TOKENS.jwks, "exempt": DOCS}
    return Middleware(BearerAuthMiddleware, **given | options)


def keys(**options):
    return Middleware(APIKeyMiddleware, keys=MemoryKeys([KEY.record]), **options)


def certificates(**options):
    return Middleware(MutualTLSMiddleware, **options)


def throttle(**options):
    return Middleware(ThrottleMiddleware, max_concurrent=10, **options)


def rules(*given, **options):
    return Middleware(AuthorizationMiddleware, rules=given, coverage="report", **options)


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


@pytest.mark.parametrize("wrong", ['a"b', "a\\b", "\u00e9", "a\x00", "a\n"])
def test_scopes_are_what_a_challenge_can_name(wrong):
    """RFC 6749 section 3.3."""
    with pytest.raises(ConfigurationError):
        require_scopes("a", wrong)


def test_dependencies_are_found_wherever_they_stand():
    app = FastAPI(middleware=secure_stack(bearer(required=False)), dependencies=[Depends(require_scopes("app"))])
    inner = APIRouter(prefix="/b", dependencies=[Depends(require_scopes("b"))])
    outer = APIRouter(prefix="/a", dependencies=[Depends(require_scopes("a"))])

    async def nested(principal: Annotated[object, Depends(require_scopes("nested"))]):
        return principal

    @inner.get("/y")
    async def y(principal: Annotated[Any, Depends(nested)]):
        return principal.subject

    outer.include_router(inner, dependencies=[Depends(require_scopes("included"))])
    app.include_router(outer)
    document_security(app)
    (alternative,) = app.openapi()["paths"]["/a/b/y"]["get"]["security"]
    asked = alternative["bearer"]
    assert sorted(asked) == ["a", "app", "b", "included", "nested"]
    for missing in asked:
        scope = " ".join(one for one in asked if one != missing)
        assert asgi.http(app, "/a/b/y", headers=sent(scope=scope)).status == 403
    assert asgi.http(app, "/a/b/y", headers=sent(scope=" ".join(asked))).status == 200


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


def documented(*layers, path="/orders/{number}", version="3.1.0", dependencies=(), options=None, **route):
    """The document of an application with one route."""
    app = FastAPI(middleware=secure_stack(*layers))
    app.openapi_version = version
    document_security(app, **options or {})

    @app.get(path, dependencies=dependencies, **route)
    async def answered():
        pass

    return app.openapi()


def operation(document):
    (item,) = document["paths"].values()
    return item["get"]


@pytest.mark.parametrize(
    ("layers", "more", "security", "refusals"),
    [
        pytest.param([bearer()], {}, [{"bearer": []}], "401 503", id="a token"),
        pytest.param([bearer(required=False)], {}, [{"bearer": []}, {}], "401 503", id="a token, or nobody"),
        pytest.param([bearer(dpop="require")], {}, [{"dpop": []}], "401 503", id="a bound token"),
        pytest.param([keys()], {}, [{"apiKey": []}], "401 503", id="a key"),
        pytest.param([throttle()], {}, None, "503", id="the server's slots"),
        pytest.param([throttle(per="client")], {}, None, "429", id="a client's slots"),
        pytest.param([bearer(), keys()], {}, [{"bearer": [], "apiKey": []}], "401 503", id="both"),
        pytest.param(
            [bearer(dpop="accept"), keys()],
            {},
            [{"bearer": [], "apiKey": []}, {"dpop": [], "apiKey": []}],
            "401 503",
            id="both, the token in one of two ways",
        ),
        pytest.param(
            [bearer(required=False), keys(required=False)],
            {},
            [{"bearer": []}, {"apiKey": []}, {}],
            "401 503",
            id="either, or nobody",
        ),
        pytest.param([bearer(), keys(required=False)], {}, [{"bearer": []}], "401 503", id="a key alone is not enough"),
        pytest.param([bearer(required=False), keys()], {}, [{"apiKey": []}], "401 503", id="a token alone is not"),
        pytest.param([certificates()], {}, [{"mutualTLS": []}], "403 503", id="a certificate"),
        pytest.param(
            [certificates(required=False)], {}, [{"mutualTLS": []}, {}], "403 503", id="a certificate, or nobody"
        ),
        pytest.param(
            [certificates(), bearer()], {}, [{"mutualTLS": [], "bearer": []}], "401 403 503", id="a token and its owner"
        ),
        pytest.param(
            [certificates(), bearer(required=False)],
            {},
            [{"mutualTLS": [], "bearer": []}, {"mutualTLS": []}],
            "401 403 503",
            id="a certificate, and a token where there is one",
        ),
        pytest.param(
            [certificates(required=False), bearer()], {}, [{"bearer": []}], "401 403 503", id="a certificate is not"
        ),
        pytest.param(
            [bearer(required=False), keys(required=False), rules(Rule("GET", "/orders/{id}"))],
            {},
            [{"bearer": []}, {"apiKey": []}],
            "401 403 503",
            id="a rule wants somebody",
        ),
        pytest.param(
            [bearer(), rules(Rule("*", "/orders/{id}", scopes=("b", "a")), Rule("GET", "/orders/{id}", scopes="c"))],
            {},
            [{"bearer": ["a", "b"]}],
            "401 403 503",
            id="the first rule's scopes",
        ),
        pytest.param(
            [bearer(require_scopes="own"), rules(Rule("GET", "/**", scopes="s", any_scopes=("y", "x")))],
            {},
            [{"bearer": ["own", "s", "x"]}, {"bearer": ["own", "s", "y"]}],
            "401 403 503",
            id="one of several scopes",
        ),
        pytest.param(
            [certificates(required=False), bearer(required=False), rules(Rule("GET", "/**", scopes="s"))],
            {},
            [{"bearer": ["s"]}, {"mutualTLS": ["s"]}],
            "401 403 503",
            id="whose identity may grant scopes",
        ),
        pytest.param(
            [bearer(required=False, require_scopes="own"), keys(required=False)],
            {"dependencies": [Depends(require_scopes("asked"))]},
            [{"bearer": ["own", "asked"]}, {"apiKey": ["asked"]}],
            "401 403 503",
            id="a layer's own scopes are for what it takes",
        ),
        pytest.param(
            [bearer(require_scopes="own", exempt="/orders/")], {}, None, "", id="exempt from all that it asks"
        ),
        pytest.param(
            [bearer(required=False), rules(Rule("GET", "/orders/{id}", public=True))],
            {},
            [{"bearer": []}, {}],
            "401 403 503",
            id="public",
        ),
        pytest.param(
            [bearer(), rules(Rule("GET", "/orders/{id}", public=True))],
            {},
            [{"bearer": []}],
            "401 403 503",
            id="public, and a layer outside insists",
        ),
        pytest.param(
            [bearer(required=False), rules(Rule("GET", "/orders/{id}", public=True))],
            {"dependencies": [Depends(require_roles("r"))]},
            [{"bearer": []}],
            "401 403 503",
            id="public, and a dependency asks",
        ),
        pytest.param(
            [bearer(required=False), rules(Rule("GET", "/orders/mine", scopes="mine"))],
            {},
            [{"bearer": []}],
            "401 403 503",
            id="a rule narrower than the route",
        ),
        pytest.param(
            [bearer(required=False), rules(Rule("GET", "/else"), default="authenticated")],
            {},
            [{"bearer": []}],
            "401 403 503",
            id="by default somebody",
        ),
        pytest.param(
            [bearer(required=False), rules(Rule("GET", "/else", scopes="s"), exempt="/orders/")],
            {},
            [{"bearer": []}, {}],
            "401 503",
            id="exempt from the rules",
        ),
        pytest.param([Middleware(HSTSMiddleware)], {}, None, "", id="nobody is asked for"),
        pytest.param([Middleware(RateLimitMiddleware, limits="9/minute")], {}, None, "429", id="a limit"),
    ],
)
def test_what_an_operation_says(layers, more, security, refusals):
    """Real layers: who may call is what those would let pass, and each refusal is one that they can send."""
    document = documented(*layers, **more)
    described = operation(document)
    assert described.get("security") == security
    assert [status for status in described["responses"] if status not in ("200", "422")] == refusals.split()
    named = {name for alternative in security or () for name in alternative}
    assert named <= set(document.get("components", {}).get("securitySchemes", {}))


def test_what_is_documented_is_what_is_answered():
    """Nobody is let in by a header that the document does not name."""
    app = FastAPI(middleware=secure_stack(bearer(required=False), keys(header="X-Shop-Key", required=False)))
    document_security(app)

    @app.get("/me")
    async def me(principal: CurrentPrincipal):
        return principal.method

    scheme = app.openapi()["components"]["securitySchemes"]["apiKey"]
    assert scheme == {"type": "apiKey", "in": "header", "name": "x-shop-key"}
    assert asgi.http(app, "/me", headers={scheme["name"]: KEY.key.reveal()}).body == b'"api-key"'
    assert asgi.http(app, "/me", headers=sent()).body == b'"bearer"'
    assert asgi.http(app, "/me").status == 401


@pytest.mark.parametrize(
    ("layers", "security"),
    [
        ([certificates(), bearer(require_scopes="a")], [{"bearer": []}, {"oauth2": ["a"]}, {"openIdConnect": ["a"]}]),
        ([keys(), rules(Rule("GET", "/**", any_scopes=("a", "b")))], [{"apiKey": []}]),
        ([certificates()], None),
    ],
)
def test_openapi_3_0_has_no_certificates_and_no_scopes_for_tokens(layers, security):
    document = documented(*layers, version="3.0.3", options={"token_url": TOKEN_URL, "openid_connect": True})
    assert operation(document).get("security") == security
    assert "mutualTLS" not in document.get("components", {}).get("securitySchemes", {})


def test_flows_and_issuers():
    document = documented(
        bearer(require_scopes="own"),
        rules(Rule("GET", "/**", scopes="a")),
        options={
            "authorization_url": "https://id.example.com/authorize",
            "token_url": TOKEN_URL,
            "flows": "authorizationCode",
            "openid_connect": True,
        },
    )
    schemes = document["components"]["securitySchemes"]
    assert schemes["oauth2"]["flows"] == {
        "authorizationCode": {
            "authorizationUrl": "https://id.example.com/authorize",
            "tokenUrl": TOKEN_URL,
            "scopes": {"own": "", "a": ""},
        }
    }
    url = schemes["openIdConnect"]["openIdConnectUrl"]
    assert url == TOKENS.issuer.rstrip("/") + "/.well-known/openid-configuration"


def test_each_issuer_has_its_discovery_document():
    from secure_asgi import Issuer

    issuers = [Issuer(f"https://{name}.example.com/", audience="api", jwks=TOKENS.jwks) for name in ("a", "b")]
    layer = Middleware(BearerAuthMiddleware, issuers=issuers)
    schemes = documented(layer, options={"openid_connect": True})["components"]["securitySchemes"]
    assert {name: scheme.get("openIdConnectUrl") for name, scheme in schemes.items()} == {
        "bearer": None,
        "openIdConnect": "https://a.example.com/.well-known/openid-configuration",
        "openIdConnect2": "https://b.example.com/.well-known/openid-configuration",
    }


def test_what_the_application_declares_stays():
    own = {401: {"description": "Mine"}, "5XX": {"description": "Mine"}}
    document = documented(
        bearer(),
        Middleware(RateLimitMiddleware, limits="9/minute"),
        dependencies=[Security(HTTPBearer())],
        responses=own,
    )
    described = operation(document)
    assert described["security"] == [{"HTTPBearer": []}]
    assert described["responses"]["401"] == described["responses"]["5XX"] == {"description": "Mine"}
    assert set(described["responses"]) - {"200", "422"} == {"401", "429", "5XX"}
    assert set(document["components"]["securitySchemes"]) == {"HTTPBearer", "bearer"}
    assert operation(documented(bearer(), openapi_extra={"security": []}))["security"] == []


def limited(**options):
    return Middleware(RateLimitMiddleware, limits="9/minute", **options)


def test_a_429_names_the_limits_and_the_fields_that_are_written():
    """RL-11, and RL-9: each layer has fields of its own, or none."""
    document = documented(
        limited(headers="legacy"),
        limited(key="principal", exempt="/nothing"),
        limited(key=lambda exchange, scope: "", headers="off", exempt="/orders/{number}"),
    )
    described = document["components"]["responses"]["TooManyRequests"]
    legacy = [f"X-RateLimit-{name}" for name in ("Limit", "Remaining", "Reset")]
    assert list(described["headers"]) == ["Retry-After", *legacy, "RateLimit", "RateLimit-Policy"]
    assert described["headers"]["X-RateLimit-Limit"]["schema"] == {"type": "integer"}
    reference = {"$ref": "#/components/schemas/QuotaExceeded"}
    assert described["content"] == {"application/problem+json": {"schema": reference}}
    _, members = document["components"]["schemas"]["QuotaExceeded"]["allOf"]
    assert members["properties"]["violated-policies"]["items"] == {"type": "string"}


@pytest.mark.parametrize(
    ("storage", "on_outage", "is_closed"),
    [
        ("memory://", "closed", False),
        ("redis://127.0.0.1:6379", "local", False),
        ("redis://127.0.0.1:6379", "closed", True),
    ],
)
def test_a_limit_that_fails_closed_answers_503(storage, on_outage, is_closed):
    document = documented(limited(storage=storage, on_outage=on_outage))
    assert ("503" in operation(document)["responses"]) is is_closed


class Problem(BaseModel):
    mine: int


def test_names_that_the_application_has_taken():
    class Query(HTTPBearer):
        pass

    query = Query(scheme_name="bearer", description="Another one")
    app = FastAPI(middleware=secure_stack(bearer(exempt=())), exception_handlers=problem_handlers())
    document_security(app)

    @app.get("/own", dependencies=[Security(query)])
    async def own() -> Problem:
        return Problem(mine=1)

    @app.get("/ours")
    async def ours(number: int):
        return number

    document = app.openapi()
    schemas, schemes = document["components"]["schemas"], document["components"]["securitySchemes"]
    assert set(schemas["Problem"]["properties"]) == {"mine"}
    assert set(schemas["Problem_"]["properties"]) >= {"type", "title", "status"}
    assert schemas["InvalidRequest"]["allOf"][0] == {"$ref": "#/components/schemas/Problem_"}
    assert schemes["bearer"]["description"] == "Another one"
    assert document["paths"]["/own"]["get"]["security"] == [{"bearer": []}]
    assert document["paths"]["/ours"]["get"]["security"] == [{"bearer_": []}]
    assert schemes["bearer_"]["bearerFormat"] == "JWT"


def test_a_422_of_the_application_stays():
    app = FastAPI(exception_handlers=problem_handlers())
    document_security(app)
    mine = {"description": "Mine", "content": {"text/plain": {"schema": {"type": "string"}}}}
    app.get("/own/{number}", responses={422: mine})(lambda number: None)
    document = app.openapi()
    assert document["paths"]["/own/{number}"]["get"]["responses"]["422"] == mine


def test_fastapis_422_stays_without_problem_handlers():
    app = FastAPI(middleware=secure_stack(bearer()))
    document_security(app)

    @app.get("/n")
    async def number(number: int):
        return number

    assert "application/json" in app.openapi()["paths"]["/n"]["get"]["responses"]["422"]["content"]
    assert "HTTPValidationError" in app.openapi()["components"]["schemas"]


def test_what_a_receiver_of_webhooks_answers_is_not_ours_to_say():
    app = FastAPI(exception_handlers=problem_handlers())
    document_security(app)
    app.get("/n/{number}")(_numbered)
    app.webhooks.post("new")(_numbered)
    document = app.openapi()
    reference = {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}
    assert document["webhooks"]["new"]["post"]["responses"]["422"]["content"] == {"application/json": reference}
    assert set(document["components"]["schemas"]) >= {"HTTPValidationError", "ValidationError", "InvalidRequest"}


def _numbered(number: int):
    return number


def test_what_is_in_no_document():
    """Routes that are left out, WebSockets, and what is mounted: it has a document of its own."""
    app = make(bearer(), rules(Rule("POST", "/hidden", scopes="hidden")), token_url=TOKEN_URL)
    mounted = FastAPI()
    mounted.get("/x")(lambda: None)
    document_security(mounted, layers=BearerAuthMiddleware(issuer=TOKENS.issuer, audience="x", jwks=TOKENS.jwks))
    app.mount("/mounted", mounted)

    @app.get("/me2", dependencies=[Depends(require_scopes("hidden"))], include_in_schema=False)
    @app.get("/me2")
    async def twice():
        pass

    document = app.openapi()
    assert set(document["paths"]) == {"/me", "/v1/orders/{number}", "/admin", "/open", "/me2"}
    assert document["paths"]["/me2"]["get"]["security"] == [{"bearer": []}, {"oauth2": []}]
    assert mounted.openapi()["paths"]["/x"]["get"]["security"] == [{"bearer": []}]
    assert "components" not in _plain().openapi()


def _plain():
    app = FastAPI()
    app.get("/")(lambda: None)
    document_security(app)
    return app


def test_the_document_follows_the_application():
    """Routes and layers that come after it was first read; what FastAPI keeps is not written to."""
    app = _plain()
    kept = app.openapi_schema
    before = app.openapi()
    assert app.openapi() is before
    app.get("/late")(lambda: None)
    after = app.openapi()
    assert set(after["paths"]) == {"/", "/late"}
    assert "security" not in after["paths"]["/late"]["get"]
    app.add_middleware(BearerAuthMiddleware, issuer=TOKENS.issuer, audience="x", jwks=TOKENS.jwks)
    app.add_middleware(HSTSMiddleware)
    app.add_middleware(asgi_only)
    secured = app.openapi()
    assert {path: item["get"]["security"] for path, item in secured["paths"].items()} == {
        "/": [{"bearer": []}],
        "/late": [{"bearer": []}],
    }
    assert kept is None or "security" not in kept["paths"]["/"]["get"]
    assert "security" not in app.openapi_schema["paths"]["/"]["get"]


def asgi_only(app):
    return app


class Transform(Layer):
    """A layer that never merges."""

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


class Foreign:
    def __init__(self, app):
        self.app = app


@pytest.mark.parametrize(
    "around",
    [
        pytest.param(lambda app: secure(app, bearer()), id="secure"),
        pytest.param(lambda app: secure(app, Middleware(Foreign), bearer(), Middleware(Transform)), id="with others"),
        pytest.param(lambda app: Foreign(Transform(secure(app, bearer()))), id="others around"),
        pytest.param(lambda app: bearer().cls(app, **bearer().kwargs), id="by hand"),
    ],
)
def test_the_layers_around_an_application_are_found(around):
    app = FastAPI()
    app.get("/")(lambda: None)
    document_security(around(app))
    assert app.openapi()["paths"]["/"]["get"]["security"] == [{"bearer": []}]
    document_security(around(app), layers=())
    assert "security" not in app.openapi()["paths"]["/"]["get"]


@pytest.mark.parametrize(
    "options",
    [
        {"layers": [object()]},
        {"layers": 7},
        {"layers": bearer()},
        {"flows": 7, "token_url": TOKEN_URL},
        {"flows": [["clientCredentials"]], "token_url": TOKEN_URL},
        {"flows": "clientCredentials"},
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
    mine, one = Rule("GET", "/o/mine"), Rule(("GET", "WEBSOCKET"), "/o/{id}")
    every = Rule("*", "/o/{id:int}")
    assert rule_for((mine, one), "GET", "/o/{id:int}") is one
    assert rule_for((mine, one), "GET", "/o/mine") is mine
    assert rule_for((mine, one), "HEAD", "/o/mine") is mine
    assert rule_for((mine, one), "POST", "/o/mine") is None
    assert rule_for((mine, every, one), "POST", "/o/{id:int}") is every
    assert rule_for((every,), "HEAD", "/o/{id:int}") is every
    assert rule_for((every, one), "WEBSOCKET", "/o/{id:int}") is one
    assert rule_for((every,), "GET", "/o/{id}") is None


@pytest.mark.parametrize(
    ("path", "headers", "status", "event", "reason"),
    [
        ("/me", {}, 401, "authn_login_fail", "principal_missing"),
        ("/admin", sent(), 403, "authz_fail", "role_missing"),
        ("/v1/orders/7", sent(), 403, "authz_fail", "scope_insufficient"),
    ],
)
def test_the_record_says_that_a_dependency_refused(path, headers, status, event, reason):
    records = recorded_audit()
    app = make(bearer(required=False), Middleware(AuditMiddleware, sinks=records))
    assert asgi.http(app, path, headers=headers).status == status
    (record,) = records.wait()
    assert (record["event"], record["reason"], record["status"], record["route"]) == (
        event,
        reason,
        status,
        path.replace("7", "{number}"),
    )
    assert record["decisions"][-1] | {"note": ""} == {
        "layer": "dependency",
        "verdict": "deny",
        "reason": reason,
        "note": "",
    }


@pytest.mark.parametrize("problems", [True, False], ids=["problems", "plain"])
def test_every_scheme_has_its_challenge(problems):
    app = make(bearer(required=False, dpop="accept"), keys(required=False), problems=problems)
    answer = asgi.http(app, "/me")
    challenges = [value.split()[0] for name, value in answer.lines if name == "www-authenticate"]
    assert challenges == ["Bearer", "DPoP", "ApiKey"]


def test_no_401_where_nothing_authenticates():
    """RFC 9110 section 15.5.2: a 401 names a way."""
    answer = asgi.http(make(Middleware(HSTSMiddleware)), "/me")
    assert answer.status == 403
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("denial_response", [True, False])
def test_a_websocket_that_was_accepted_is_closed(denial_response):
    app = FastAPI(middleware=secure_stack(bearer(required=False)), exception_handlers=problem_handlers())

    async def accept(websocket: WebSocket):
        await websocket.accept()

    @app.websocket("/ws", dependencies=[Depends(accept)])
    async def talk(websocket: WebSocket, principal: CurrentPrincipal):
        await websocket.send_text(principal.subject)

    answer = asgi.websocket(app, "/ws", denial_response=denial_response)
    assert answer.error is None
    assert [message["type"] for message in answer.messages] == ["websocket.accept", "websocket.close"]
    assert answer.close_code == 1008
    assert answer.messages[1]["reason"] == "Unauthorized"
    welcome = asgi.websocket(app, "/ws", denial_response=denial_response, headers=sent(sub="me"))
    assert {"type": "websocket.send", "text": "me"} in welcome.messages


def test_dependencies_give_the_principal():
    app = FastAPI(middleware=secure_stack(bearer(required=False)))

    @app.get("/")
    async def both(
        one: Annotated[Any, Depends(require_scopes("a"))], two: Annotated[Any, Depends(require_roles("r", "r"))]
    ):
        return one is two and one.subject

    assert asgi.http(app, headers=sent(sub="me", scope="a b", roles=["r"])).body == b'"me"'


@pytest.mark.parametrize("name", ["secure_asgi.fastapi", "secure_asgi:CurrentPrincipal"])
def test_without_fastapi_the_line_that_installs_it(name):
    module, _, attribute = name.partition(":")
    code = f"""
import sys
sys.modules["fastapi"] = None
try:
    getattr(__import__({module!r}, fromlist=["x"]), {attribute or "DOCS"!r})
except ImportError as error:
    sys.stdout.write(str(error))
"""
    path = str(Path(secure_asgi.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert "pip install 'secure-asgi[fastapi]'" in done.stdout


def test_nothing_is_verified_twice(monkeypatch):
    """The layer verifies, and whoever asks further in reads what it has found."""
    verified, verify = [], Judge.verified
    monkeypatch.setattr(Judge, "verified", lambda *given: verified.append(given) or verify(*given))
    app = FastAPI(middleware=secure_stack(bearer(required=False), rules(Rule("GET", "/a", scopes="s"))))

    @app.get("/a", dependencies=[Depends(require_scopes("s")), Depends(require_scopes("s", "t"))])
    async def answered(principal: CurrentPrincipal):
        return principal.subject

    assert asgi.http(app, "/a", headers=sent(scope="s t", sub="ann")).body == b'"ann"'
    assert len(verified) == 1
