"""Four workers behind nginx and one budget for each client, because all of them count in one Redis. See README.md."""

import os
from typing import Any

from fastapi import FastAPI, Request

from secure_asgi import Middleware, RateLimitMiddleware, TrustedProxyMiddleware, problem_handlers, secure_stack

WORKERS = 4

app = FastAPI(
    middleware=secure_stack(
        # Nobody but nginx may enter the folder of the socket: what it says of the client is believed.
        Middleware(TrustedProxyMiddleware, trusted="unix"),
        Middleware(
            RateLimitMiddleware,
            limits="100/minute",
            strategy="fixed-window",
            # Read here and not by the library, which reads no environment.
            storage=os.environ["RATE_LIMIT_STORAGE"],
            # Patient, for a small machine that is asked by hundreds at once. By default it is 0.05.
            storage_timeout=1,
            # Without Redis each worker counts alone, and admits a quarter.
            on_outage="local",
            replicas=WORKERS,
        ),
    ),
    exception_handlers=problem_handlers(),
)


@app.get("/")
async def who(request: Request) -> dict[str, Any]:
    return {"worker": os.getpid(), "address": request.client.host if request.client else None}
