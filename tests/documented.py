"""The application of the tests that read its OpenAPI document: orders, behind layers that the document describes."""

from collections import Counter

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from secure_asgi import (
    AuthorizationMiddleware,
    BearerAuthMiddleware,
    Middleware,
    Rule,
    SanitizedErrorMiddleware,
    SecurityHeadersMiddleware,
    problem_handlers,
    secure_stack,
)
from secure_asgi.fastapi import DOCS, CurrentPrincipal, document_security, require_scopes
from secure_asgi.security_headers import DOCS_CSP

RULES = [
    Rule("GET", "/orders/{number}", scopes="orders:read"),
    Rule("POST", "/orders", scopes="orders:write"),
    Rule("GET", "/health"),
]


class Order(BaseModel):
    number: int
    asked_by: str


def create_app(tokens, *, unguarded=None, answered=None, token_url=None) -> FastAPI:
    """``unguarded`` is a path at which no layer asks for a token, though the document says that one does.

    ``answered`` counts the handlers that ran to their end. ``token_url`` is where the page gets tokens itself.
    """
    answered = Counter() if answered is None else answered
    layers = _layers(tokens, DOCS, token_url)
    app = FastAPI(title="Orders", middleware=layers, exception_handlers=problem_handlers())
    document_security(app, token_url=token_url)

    @app.get("/orders/{number}", operation_id="read")
    async def read(number: int, principal: CurrentPrincipal) -> Order:
        answered["read"] += 1
        return Order(number=number, asked_by=principal.subject)

    @app.post("/orders", dependencies=[Depends(require_scopes("orders:write"))], status_code=201, operation_id="place")
    async def place(order: Order) -> Order:
        answered["place"] += 1
        return order

    @app.get("/health", operation_id="health")
    async def health() -> dict[str, str]:
        answered["health"] += 1
        return {"state": "good"}

    if unguarded is not None:
        document = app.openapi()  # of the layers that guard every operation, and it stays so
        app.openapi = lambda: document
        app.user_middleware[:] = _layers(tokens, (*DOCS, unguarded))
    return app


def _layers(tokens, exempt, token_url=None):
    policy = (
        DOCS_CSP if token_url is None else DOCS_CSP.replace("connect-src 'self'", f"connect-src 'self' {token_url}")
    )
    token = {"issuer": tokens.issuer, "audience": tokens.audience, "jwks": tokens.jwks}
    return secure_stack(
        Middleware(SecurityHeadersMiddleware, overrides={"/docs": {"content-security-policy": policy}}),
        Middleware(SanitizedErrorMiddleware),
        Middleware(BearerAuthMiddleware, **token, exempt=exempt),
        Middleware(AuthorizationMiddleware, rules=[rule for rule in RULES if rule.path not in exempt], exempt=exempt),
    )
