"""Mutual TLS behind nginx, which ends TLS and forwards the certificate: ``uvicorn examples.behind_nginx:app --uds
/run/orders.sock --http secure_asgi.servers.uvicorn:AutoProtocol``.

Only nginx may open the socket; its configuration is in ``docs/reference/forwarded_certificates.md``, preset ``nginx``.
"""

from typing import Any

from fastapi import FastAPI, Request

from secure_asgi import (
    ForwardedCertificate,
    Middleware,
    MutualTLSMiddleware,
    TrustedProxyMiddleware,
    problem_handlers,
    secure_stack,
)

app = FastAPI(
    middleware=secure_stack(
        Middleware(TrustedProxyMiddleware, trusted="unix"),
        Middleware(
            MutualTLSMiddleware,
            source=ForwardedCertificate("nginx", trusted="unix"),
            allow="dns:*.clients.example.com",
        ),
    ),
    exception_handlers=problem_handlers(),
)


@app.get("/")
async def who(request: Request) -> dict[str, Any]:
    return {"subject": request.user.subject, "address": request.client.host if request.client else None}
