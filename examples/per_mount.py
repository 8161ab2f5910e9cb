"""A stricter limit for one part of the site: ``uvicorn examples.per_mount:app``."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from secure_asgi import HSTSMiddleware, Middleware, RateLimitMiddleware, secure_stack


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.url.path}\n")


search = Mount(
    "/search",
    routes=[Route("/", answer)],
    # Named, because the limit around it counts by client and minute, too: in a Redis, one name is one budget.
    middleware=[Middleware(RateLimitMiddleware, limits="5/minute", policy="search")],
)
app = Starlette(
    routes=[search, Route("/", answer)],
    middleware=secure_stack(Middleware(HSTSMiddleware), Middleware(RateLimitMiddleware, limits="100/minute")),
)
