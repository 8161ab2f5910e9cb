"""Mutual TLS with uvicorn alone: verified in this process, with a revocation list. From the root of the repository::

    secure-asgi certs dev --client billing.clients.example.com
    python -m examples.mutual_tls
    curl --cacert certs/ca.pem --cert certs/billing.clients.example.com.pem \\
        --key certs/billing.clients.example.com.key https://localhost:8443/
"""

from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from secure_asgi import AuditMiddleware, CRLs, Middleware, MutualTLSMiddleware, problem_handlers, secure_stack
from secure_asgi.servers.uvicorn import AutoProtocol
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import server_context

AUTHORITY = "certs/ca.pem"
LISTS = "certs/clients.crl"

app = FastAPI(
    middleware=secure_stack(
        Middleware(
            MutualTLSMiddleware,
            trust_anchors=AUTHORITY,
            revocation=CRLs(LISTS),
            allow="dns:*.clients.example.com",
        ),
        Middleware(AuditMiddleware),
    ),
    exception_handlers=problem_handlers(),
)


@app.get("/")
async def who(request: Request) -> dict[str, Any]:
    return {"subject": request.user.subject}


def context(config: Any, default: Any) -> Any:
    """Made anew in each worker; replaced files are followed."""
    return server_context("certs/server.pem", "certs/server.key", client_ca=AUTHORITY, client_auth="optional")


if __name__ == "__main__":
    if not Path(LISTS).exists():
        # Of a development authority. Any other publishes its own.
        Path(LISTS).write_bytes(CertificateAuthority.load(AUTHORITY, "certs/ca.key").revocation_list())
    uvicorn.run(app, port=8443, http=AutoProtocol, ssl_context_factory=context, proxy_headers=False)
