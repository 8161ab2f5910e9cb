"""API keys for machine clients: ``python -m examples.api_keys shop``, then ``uvicorn examples.api_keys:app``.

The first makes a key for a client, shows it once, and keeps its digest in ``keys.json``. Then
``curl -H "x-api-key: shop_live_..." http://127.0.0.1:8000/`` says who asks. A running server notices a new key, and
one that was removed, within five seconds.
"""

import sys
import time
from typing import Any

from fastapi import FastAPI, Request

from secure_asgi import AuditMiddleware, FailureLimit, Middleware, problem_handlers, secure_stack
from secure_asgi.api_keys import APIKeyMiddleware, FileKeys, create_key

DAY = 86_400.0

keys = FileKeys("keys.json")

app = FastAPI(
    middleware=secure_stack(
        Middleware(AuditMiddleware),
        Middleware(APIKeyMiddleware, keys=keys, failure_limit=FailureLimit(20, per=60.0)),
    ),
    exception_handlers=problem_handlers(),
)


@app.get("/")
async def who(request: Request) -> dict[str, Any]:
    return {"client": request.user.client_id, "key": request.user.token_id, "scopes": sorted(request.user.scopes)}


if __name__ == "__main__":
    new = create_key(client=sys.argv[1], prefix="shop_live", scopes="orders:read", expires=time.time() + 90 * DAY)
    keys.add(new.record)
    print(new.key.reveal())
