"""Mutual TLS behind nginx, which ends TLS and forwards the client's certificate over a Unix socket::

    uvicorn examples.behind_nginx:app --uds /run/orders/app.sock --http secure_asgi.servers.uvicorn:AutoProtocol

Nobody but nginx may enter the folder of the socket. nginx's configuration: ``docs/howto/mutual-tls-behind-nginx.md``.
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
            trust_anchors="/etc/nginx/tls/clients-ca.pem",
            allow="dns:*.clients.example.com",
        ),
    ),
    exception_handlers=problem_handlers(),
)


@app.get("/")
async def who(request: Request) -> dict[str, Any]:
    return {"subject": request.user.subject, "address": request.client.host if request.client else None}
