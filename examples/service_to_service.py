"""Service to service, with a certificate and a token: each has to be right, and they have to belong together::

    secure-asgi certs dev --client uri:spiffe://example.org/ns/shop/warehouse
    uvicorn examples.service_to_service:app --port 8443 --no-proxy-headers \\
        --http secure_asgi.servers.uvicorn:AutoProtocol --ssl-certfile certs/server.pem \\
        --ssl-keyfile certs/server.key --ssl-ca-certs certs/ca.pem --ssl-cert-reqs 1

The certificate says which service calls, by its SPIFFE ID; the token what it may do, and it is bound to the certificate
(RFC 8705), so that one that leaks is of no use to who finds it. Put your own provider where it says ``id.example.com``.
"""

from typing import Any

from fastapi import FastAPI

from secure_asgi import (
    AuditMiddleware,
    AuthorizationMiddleware,
    BearerAuthMiddleware,
    Middleware,
    MutualTLSMiddleware,
    Rule,
    problem_handlers,
    secure_stack,
)

RULES = [
    Rule("GET", "/stock/{item}", certificate="spiffe://example.org/ns/shop/*", scopes="stock:read"),
    Rule("PUT", "/stock/{item}", certificate="spiffe://example.org/ns/shop/warehouse", scopes="stock:write"),
]


def build(*, jwks: dict[str, Any] | None = None) -> FastAPI:
    token: dict[str, Any] = {"issuer": "https://id.example.com", "audience": "stock"}
    token |= {"prefetch": False} if jwks is None else {"jwks": jwks}
    app = FastAPI(
        openapi_url=None,
        middleware=secure_stack(
            Middleware(AuditMiddleware),
            Middleware(MutualTLSMiddleware, allow="uri:spiffe://example.org/ns/*/*", identity="spiffe"),
            Middleware(BearerAuthMiddleware, **token, require_bound=True),
            Middleware(AuthorizationMiddleware, rules=RULES),
        ),
        exception_handlers=problem_handlers(),
    )

    @app.get("/stock/{item}")
    @app.put("/stock/{item}")
    async def stock(item: str) -> dict[str, Any]:
        return {"item": item, "count": 12}

    return app


app = build()
