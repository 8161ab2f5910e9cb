"""Own orders only: who may read an order depends on the order. ``uvicorn examples.own_orders:app``.

A rule's ``when=`` is asked before the handler runs, and a handler that loads another object is not covered by it: what
a query returns has to be bounded by the principal too, as ``listed`` does.
"""

from typing import Any

from fastapi import FastAPI, Request

from secure_asgi import (
    DOCS,
    Access,
    AuditMiddleware,
    AuthorizationMiddleware,
    BearerAuthMiddleware,
    Middleware,
    Rule,
    problem_handlers,
    secure_stack,
)
from secure_asgi.fastapi import CurrentPrincipal

ORDERS = {7: {"owner": "ann", "item": "shoes"}, 8: {"owner": "bob", "item": "hat"}}


async def owns_order(access: Access) -> bool:
    """An order that is not there is nobody's: 403, as for somebody else's, so that numbers cannot be tried out."""
    order = access.connection.app.state.orders.get(int(access.params["number"]))
    return order is not None and access.principal is not None and order["owner"] == access.principal.subject


def build(*, jwks: dict[str, Any] | None = None) -> FastAPI:
    token: dict[str, Any] = {"issuer": "https://id.example.com", "audience": "orders"}
    token |= {"prefetch": False} if jwks is None else {"jwks": jwks}
    app = FastAPI(
        middleware=secure_stack(
            Middleware(AuditMiddleware),
            Middleware(BearerAuthMiddleware, **token, exempt=DOCS),
            Middleware(
                AuthorizationMiddleware,
                rules=[
                    Rule("GET", "/orders", scopes="orders:read"),
                    Rule("GET", "/orders/{number:int}", scopes="orders:read", when=owns_order),
                ],
                exempt=DOCS,
            ),
        ),
        exception_handlers=problem_handlers(),
    )
    app.state.orders = ORDERS

    @app.get("/orders")
    async def listed(request: Request, principal: CurrentPrincipal) -> list[int]:
        return [number for number, order in request.app.state.orders.items() if order["owner"] == principal.subject]

    @app.get("/orders/{number:int}")
    async def one(request: Request, number: int) -> dict[str, str]:
        order: dict[str, str] = request.app.state.orders[number]
        return order

    return app


app = build()
