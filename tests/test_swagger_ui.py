"""FastAPI's own /docs in a real browser, behind the layers: it loads, authorizes, and calls."""

import pytest

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
            scheme="bearer",
            operation="default-read",
            calls=[{"token": token} for token in calls],
            screenshot=str(folder / "swagger-ui.png"),
        )
    return {**told, "screenshot": folder / "swagger-ui.png"}


def test_without_a_token_the_page_shows_the_refusal(page):
    assert page["shown"][0]["status"] == 401
    assert page["shown"][0]["body"]["status"] == 401


def test_with_a_token_given_to_authorize_the_page_shows_the_answer(page):
    assert page["shown"][1] == {"status": 200, "body": {"number": 42, "asked_by": "ann"}}


def test_with_a_token_that_lacks_the_scope_the_page_shows_the_refusal(page):
    assert page["shown"][2]["status"] == 403
    assert page["shown"][2]["body"]["status"] == 403


def test_the_policy_of_the_page_lets_everything_in_that_it_needs(page):
    """What browsers complain about besides: our two refusals, which they log."""
    assert [text for text in page["complaints"] if "Failed to load resource" not in text] == []


def test_a_picture_is_taken(page):
    """``docs/images/swagger-ui.png`` is one of these: copy it anew when the page has changed."""
    assert page["screenshot"].read_bytes().startswith(b"\x89PNG")
