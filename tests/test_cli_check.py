"""``secure-asgi check``: exit statuses, the text and the document; an application that cannot be had is a sentence."""

import json
import sys

import pytest

from secure_asgi.cli import main

SHOP = """
from starlette.applications import Starlette
from starlette.routing import Route
from secure_asgi import *

print("loading")

async def order(request): ...

class Holder: pass
Holder.app = made = Starlette(
    routes=[Route("/orders/{id}", order), Route("/a\\x1b[31m" + "b" * 150, order)],
    middleware=secure_stack(
        Middleware(BearerAuthMiddleware, issuer="https://id.example.com", audience="a", exempt="/orders/"),
        Middleware(RateLimitMiddleware, limits="600/minute", mode="shadow"),
    ),
)
bare = Starlette()
wrong = Starlette()
wrong.add_middleware(BearerAuthMiddleware)
def make(): return made
def broken(): raise RuntimeError("no database\\x1b")
number = 1
"""


@pytest.fixture(autouse=True)
def shop(tmp_path, monkeypatch):
    (tmp_path / "checked_shop.py").write_text(SHOP)
    (tmp_path / "checked_fault.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("checked_shop", "checked_fault"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["checked_shop:made"], 0),
        (["checked_shop:Holder.app"], 0),
        (["checked_shop:make", "--factory"], 0),
        (["checked_shop:wrong"], 1),
        (["checked_shop:broken", "--factory"], 2),
        (["checked_shop:number"], 2),
        (["checked_shop:none"], 2),
        (["checked_shop"], 2),
        (["checked_nowhere:app"], 2),
        (["checked_fault:app"], 2),
    ],
)
def test_exit_status(arguments, status, capsys):
    assert main(["check", *arguments]) == status
    complaint = capsys.readouterr().err.replace("loading\n", "")
    assert complaint.count("\n") == (status == 2)
    assert "\x1b" not in complaint


def test_where_python_looks_is_added_once(capsys):
    for _ in range(2):
        assert main(["check", "checked_shop:made"]) == 0
    assert sys.path.count("") == 1


def test_the_text_fits_a_terminal_and_cannot_steer_it(capsys):
    assert main(["check", "checked_shop:made"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["rate_limit:client", "shadow"] in lines
    assert ["GET", "/orders/{id}", "order", "none", "600/minute", "by", "client", "bearer"] in lines


def test_an_application_without_anything(capsys):
    assert main(["check", "checked_shop:bare"]) == 0
    assert capsys.readouterr().out.count("  none\n") == 2


def test_the_document_is_all_that_is_printed(capsys):
    assert main(["check", "checked_shop:made", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.keys() == {"layers", "routes", "findings"}
    assert document["routes"][0]["exempt_from"] == ["bearer"]
