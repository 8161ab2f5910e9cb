"""FastAPI's own /docs in a real browser, behind the layers: it loads, authorizes, and calls."""

from base64 import b64encode
from urllib.parse import parse_qsl

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from secure_asgi.testing import TokenFactory

from .browser import use_swagger_ui
from .documented import create_app
from .serving import uvicorn_serving


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What it shows: without a token, with one, and with one that lacks the scope."""
    tokens = TokenFactory()
    calls = [None, tokens.token(scope="orders:read", sub="ann"), tokens.token(scope="orders:write")]
    with uvicorn_serving(create_app(tokens)) as port:
        folder = tmp_path_factory.mktemp("browser")
        told = use_swagger_ui(
            folder,
            page=f"http://127.0.0.1:{port}/docs",
            operation="default-read",
            calls=[{"scheme": "bearer", "values": [token] if token else []} for token in calls],
            screenshot=str(folder / "swagger-ui.png"),
        )
    return {**told, "screenshot": folder / "swagger-ui.png"}


def complaints(told):
    """But for what was not found or refused, which browsers log: an icon from elsewhere, and our refusals."""
    return [text for text in told["complaints"] if "Failed to load resource" not in text]


def test_without_a_token_the_page_shows_the_refusal(page):
    assert page["shown"][0]["status"] == 401
    assert page["shown"][0]["body"]["status"] == 401


def test_with_a_token_given_to_authorize_the_page_shows_the_answer(page):
    assert page["shown"][1] == {"status": 200, "body": {"number": 42, "asked_by": "ann"}}


def test_with_a_token_that_lacks_the_scope_the_page_shows_the_refusal(page):
    assert page["shown"][2]["status"] == 403
    assert page["shown"][2]["body"]["status"] == 403


def test_the_policy_of_the_page_lets_everything_in_that_it_needs(page):
    assert complaints(page) == []


def test_the_page_gets_a_token_at_another_origin(tmp_path):
    """OAuth 2.0, client credentials, with the policy that the how-to gives the page."""
    tokens, asked = TokenFactory(), []

    async def token(request):
        asked.append(request.headers["authorization"])
        form = dict(parse_qsl((await request.body()).decode()))
        return JSONResponse({"access_token": tokens.token(scope=form["scope"], sub="shop"), "token_type": "Bearer"})

    issuer = Starlette(
        routes=[Route("/token", token, methods=["POST"])],
        middleware=[Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["POST"], allow_headers=["*"])],
    )
    with uvicorn_serving(issuer) as elsewhere:
        token_url = f"http://127.0.0.1:{elsewhere}/token"
        with uvicorn_serving(create_app(tokens, token_url=token_url)) as port:
            told = use_swagger_ui(
                tmp_path,
                page=f"http://127.0.0.1:{port}/docs",
                elsewhere=token_url,
                operation="default-read",
                calls=[{"scheme": "oauth2", "values": ["shop", "secret"]}],
            )
    assert told["shown"] == [{"status": 200, "body": {"number": 42, "asked_by": "shop"}}]
    assert complaints(told) == []
    assert asked == ["Basic " + b64encode(b"shop:secret").decode()]


def test_a_picture_is_taken(page):
    """``docs/images/swagger-ui.png`` is one of these: copy it anew when the page has changed."""
    assert page["screenshot"].read_bytes().startswith(b"\x89PNG")
