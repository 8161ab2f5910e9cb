"""The application that the server tests serve: one stack, asked the same things on every server."""

import json
import os
from pathlib import Path

from fastapi import FastAPI, Request, WebSocket
from starlette.authentication import requires

from secure_asgi import (
    AuditMiddleware,
    BearerAuthMiddleware,
    HSTSMiddleware,
    HTTPSRedirectMiddleware,
    JSONLinesSink,
    Middleware,
    MutualTLSMiddleware,
    RateLimitMiddleware,
    SanitizedErrorMiddleware,
    SecurityHeadersMiddleware,
    problem_handlers,
    secure_stack,
)

if os.environ["SERVED_BY"] == "hypercorn":
    from secure_asgi.servers import hypercorn

    hypercorn.install()

HERE = Path(os.environ["SERVED_FROM"])
OPEN = ("/orders/", "/crash", "/feed", "/missing")

app = FastAPI(
    middleware=secure_stack(
        Middleware(SecurityHeadersMiddleware),
        Middleware(HSTSMiddleware),
        Middleware(AuditMiddleware, sinks=JSONLinesSink(HERE / "audit.jsonl")),
        Middleware(SanitizedErrorMiddleware),
        Middleware(HTTPSRedirectMiddleware),
        Middleware(RateLimitMiddleware, limits="100/minute"),
        Middleware(MutualTLSMiddleware, exempt=OPEN),
        Middleware(
            BearerAuthMiddleware,
            issuer="https://id.example.com",
            audience="orders",
            jwks=json.loads((HERE / "jwks.json").read_text()),
        ),
    ),
    exception_handlers=problem_handlers(),
)


@app.get("/orders/{number}")
@requires("orders:read")
async def read(request: Request, number: int):
    return {"number": number, "asked_by": request.user.subject}


@app.get("/certified")
async def certified(request: Request):
    return {"asked_by": request.user.subject}


@app.get("/crash")
async def crash(request: Request):
    raise RuntimeError("postgres://orders:hunter2@db.internal/orders")


@app.websocket("/feed")
@requires("orders:read")
async def feed(websocket: WebSocket):
    await websocket.accept()
    await websocket.send_text(f"hello {websocket.user.subject}")
    await websocket.close()
