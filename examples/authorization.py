"""One table of who may do what, and everything it can ask for: ``uvicorn examples.authorization:app``.

``secure-asgi check examples.authorization:app`` prints the table. A route that is added without a rule keeps the
application from starting. Put your own provider where it says ``ISSUER``.
"""

from typing import Any

from fastapi import APIRouter, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from secure_asgi import (
    DOCS,
    APIKeyMiddleware,
    AuditMiddleware,
    AuthorizationMiddleware,
    BearerAuthMiddleware,
    MemoryKeys,
    Middleware,
    MutualTLSMiddleware,
    Rule,
    SanitizedErrorMiddleware,
    problem_handlers,
    secure_stack,
)
from secure_asgi.fastapi import CurrentPrincipal, document_security

ISSUER = "https://id.example.com"

RULES = [
    Rule("GET", "/health", public=True),
    Rule("GET", "/me"),
    Rule("GET", "/v1/orders", scopes="orders:read"),
    Rule("POST", "/v1/orders", scopes={"orders:read", "orders:write"}),
    Rule("GET", "/v1/orders/{number:int}", any_scopes={"orders:read", "orders:admin"}),
    Rule("DELETE", "/v1/orders/{number:int}", permissions="orders:delete"),
    Rule("GET", "/tenants/{tenant}/report", scopes="orders:read", claims={"tenant": "{tenant}"}),
    Rule("POST", "/payments", scopes="orders:write", acr="urn:example:mfa", max_age=300),
    Rule("GET", "/partners/prices", certificate="dns:*.partners.example"),
    Rule("GET", "/office/audit", roles="auditor", networks="192.0.2.0/24"),
    Rule("WEBSOCKET", "/live", scopes="orders:read"),
    Rule("GET", "/reports/daily", roles="auditor"),
]

ROLES = {"manager": {"auditor", "orders:*"}}


def build(*, jwks: dict[str, Any] | None = None, keys: MemoryKeys | None = None, sinks: Any = None) -> FastAPI:
    app = FastAPI(
        middleware=secure_stack(
            Middleware(SanitizedErrorMiddleware),
            Middleware(AuditMiddleware, **({} if sinks is None else {"sinks": sinks})),
            Middleware(MutualTLSMiddleware, required=False, exempt=DOCS),
            Middleware(
                BearerAuthMiddleware,
                issuer=ISSUER,
                audience="orders",
                required=False,
                exempt=DOCS,
                **({"prefetch": False} if jwks is None else {"jwks": jwks}),
            ),
            Middleware(APIKeyMiddleware, keys=MemoryKeys() if keys is None else keys, required=False, exempt=DOCS),
            Middleware(AuthorizationMiddleware, rules=RULES, roles=ROLES, exempt=DOCS),
        ),
        exception_handlers=problem_handlers(),
    )
    orders = APIRouter(prefix="/orders")

    @app.get("/health")
    async def health() -> str:
        return "well"

    @app.get("/me")
    async def me(principal: CurrentPrincipal) -> dict[str, str]:
        return {"subject": principal.subject, "method": principal.method}

    @orders.get("")
    @orders.post("")
    async def listed() -> list[int]:
        return [7]

    @orders.get("/{number:int}")
    @orders.delete("/{number:int}")
    async def one(number: int) -> int:
        return number

    @app.get("/tenants/{tenant}/report")
    async def report(tenant: str) -> str:
        return tenant

    @app.post("/payments")
    async def pay() -> str:
        return "paid"

    @app.get("/partners/prices")
    async def prices() -> dict[str, int]:
        return {"shoes": 59}

    @app.get("/office/audit")
    async def audit() -> list[str]:
        return []

    @app.websocket("/live")
    async def live(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("order 7")
        await websocket.close()

    async def daily(request: Request) -> Response:
        return PlainTextResponse("quiet")

    app.include_router(orders, prefix="/v1")
    app.mount("/reports", Starlette(routes=[Route("/daily", daily)]))
    document_security(app)
    return app


app = build()
