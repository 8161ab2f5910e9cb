"""The service of the demo: orders, in FastAPI, behind all eight concerns."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from starlette.middleware import Middleware

from ..._paths import DOCS
from ...audit import AuditMiddleware
from ...authorization import AuthorizationMiddleware, Rule
from ...bearer import BearerAuthMiddleware
from ...exchange import exchange_of
from ...hsts import HSTSMiddleware
from ...https_redirect import HTTPSRedirectMiddleware
from ...mutual_tls import CRLs, MutualTLSMiddleware
from ...rate_limit import RateLimitMiddleware
from ...sanitized_errors import SanitizedErrorMiddleware, problem_handlers
from ...security_headers import SecurityHeadersMiddleware
from ...stack import secure_stack
from ...trusted_host import TrustedHostMiddleware
from ...trusted_proxy import TrustedProxyMiddleware

AUDIENCE = "orders"
CLIENT = "shop.clients.example"
LIMIT = 100
RULES = (
    Rule("GET", "/whoami", public=True),
    Rule("GET", "/orders/{number}", scopes="orders:read"),
    Rule("DELETE", "/orders/{number}", scopes="orders:write"),
    Rule("WEBSOCKET", "/feed", scopes="orders:read"),
    Rule("GET", "/crash"),
)


def create_app(*, issuer: str, tls_port: int, folder: Path, sinks: Any, without: str | None = None) -> FastAPI:
    """``folder`` holds the clients' authority and its revocation list.

    ``without`` leaves one concern out, to show which answers it was that gave them.
    """
    concerns = {
        "https": Middleware(HTTPSRedirectMiddleware, host="localhost", port=tls_port),
        "hsts": Middleware(HSTSMiddleware),
        "mtls": Middleware(
            MutualTLSMiddleware,
            allow="dns:*.clients.example",
            trust_anchors=folder / "ca.pem",
            revocation=CRLs(folder / "ca.crl"),
        ),
        "bearer": Middleware(BearerAuthMiddleware, issuer=issuer, audience=AUDIENCE, exempt=(*DOCS, "/whoami")),
        "authorization": Middleware(AuthorizationMiddleware, rules=RULES, exempt=DOCS),
        "rate_limit": Middleware(RateLimitMiddleware, limits=f"{LIMIT}/minute"),
        "errors": Middleware(SanitizedErrorMiddleware),
        "audit": Middleware(AuditMiddleware, sinks=sinks),
    }
    app = FastAPI(
        title="Orders",
        middleware=secure_stack(
            *(entry for concern, entry in concerns.items() if concern != without),
            Middleware(SecurityHeadersMiddleware),
            Middleware(TrustedHostMiddleware, allowed_hosts="localhost"),
            Middleware(TrustedProxyMiddleware, trusted="10.0.0.0/8"),
        ),
        exception_handlers=problem_handlers(),
    )

    @app.get("/orders/{number}")
    async def read(request: Request, number: int) -> dict[str, Any]:
        return {"number": number, "asked_by": request.user.display_name}

    @app.delete("/orders/{number}")
    async def cancel(request: Request, number: int) -> dict[str, Any]:
        return {"number": number, "state": "cancelled"}

    @app.get("/whoami")
    async def whoami(request: Request) -> dict[str, Any]:
        return {"client": exchange_of(request).client}

    @app.get("/crash")
    async def crash(request: Request) -> None:
        raise RuntimeError("cannot reach postgres://orders:hunter2@db.internal/orders")

    @app.websocket("/feed")
    async def feed(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(f"order 42 for {websocket.user.display_name}")
        await websocket.close()

    return app
