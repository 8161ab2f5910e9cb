"""Orders go first, reports are shed first, and health checks always answer: ``uvicorn examples.shed_load:app``.

Ask with ``ab -n 200 -c 40 http://127.0.0.1:8000/reports`` and, meanwhile, ``curl -i http://127.0.0.1:8000/orders``.
"""

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from secure_asgi import Middleware, ThrottleMiddleware, secure_stack


async def work(request: Request) -> PlainTextResponse:
    await asyncio.sleep(0.1)  # stands for the database
    return PlainTextResponse(f"{request.url.path}\n")


async def health(request: Request) -> PlainTextResponse:
    running, waiting, limit = throttle_of(request.app).load
    return PlainTextResponse(f"{running} of {limit} run, {waiting} wait\n")


def throttle_of(application: Starlette) -> ThrottleMiddleware:
    """Each layer is made once, in ``secure_stack()``; its entry hands it on."""
    (layer,) = (entry.args[0] for entry in application.user_middleware)
    return layer


app = Starlette(
    routes=[Route("/", work), Route("/orders", work), Route("/reports", work), Route("/health", health)],
    middleware=secure_stack(
        Middleware(
            ThrottleMiddleware,
            max_concurrent=10,
            queue=20,
            queue_timeout=0.5,
            priority={"/orders": "critical", "/reports": "low"},
            exempt="/health",
        )
    ),
)
