"""Orders go first, reports are shed first, and health checks always answer: ``uvicorn examples.shed_load:app``.

Ask with ``ab -n 200 -c 40 http://127.0.0.1:8000/reports`` and, meanwhile, ``curl -i http://127.0.0.1:8000/orders``.
"""

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from secure_asgi import ThrottleMiddleware


async def work(request: Request) -> PlainTextResponse:
    await asyncio.sleep(0.1)  # stands for the database
    return PlainTextResponse(f"{request.url.path}\n")


async def health(request: Request) -> PlainTextResponse:
    running, waiting, limit = app.load
    return PlainTextResponse(f"{running} of {limit} run, {waiting} wait\n")


app = ThrottleMiddleware(
    Starlette(
        routes=[Route("/", work), Route("/orders", work), Route("/reports", work), Route("/health", health)],
    ),
    max_concurrent=10,
    queue=20,
    queue_timeout=0.5,
    priority={"/orders": "critical", "/reports": "low"},
    exempt="/health",
)
