"""One middleware and nothing else: ``uvicorn examples.one_middleware_only:app``."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from secure_asgi import RateLimitMiddleware


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello\n")


app = Starlette(routes=[Route("/", home)])
app.add_middleware(RateLimitMiddleware, limits="5/minute")
