"""The application of the tests that read its OpenAPI document: orders, behind layers that the document describes."""

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from secure_asgi import (
    BearerAuthMiddleware,
    Middleware,
    SanitizedErrorMiddleware,
    SecurityHeadersMiddleware,
    problem_handlers,
    secure_stack,
)
from secure_asgi.fastapi import DOCS, CurrentPrincipal, document_security, require_scopes


class Order(BaseModel):
    number: int
    asked_by: str


def create_app(tokens, *, unguarded=()) -> FastAPI:
    """``unguarded``: paths at which no token is asked for, though the document says that one is."""

    def layers(exempt):
        return secure_stack(
            Middleware(SecurityHeadersMiddleware),
            Middleware(SanitizedErrorMiddleware),
            Middleware(
                BearerAuthMiddleware, issuer=tokens.issuer, audience=tokens.audience, jwks=tokens.jwks, exempt=exempt
            ),
        )

    app = FastAPI(title="Orders", middleware=layers(DOCS), exception_handlers=problem_handlers())
    document_security(app)

    @app.get("/orders/{number}", dependencies=[Depends(require_scopes("orders:read"))], operation_id="read")
    async def read(number: int, principal: CurrentPrincipal) -> Order:
        return Order(number=number, asked_by=principal.subject)

    @app.get("/health", operation_id="health")
    async def health() -> dict[str, str]:
        return {"state": "good"}

    @app.post("/orders", dependencies=[Depends(require_scopes("orders:write"))], status_code=201, operation_id="place")
    async def place(order: Order) -> Order:
        return order

    if unguarded:
        app.openapi()  # made now, of the layers that guard every operation
        app.user_middleware[:] = layers((*DOCS, *unguarded))
    return app
