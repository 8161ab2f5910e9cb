"""What can be imported, what importing costs, and that the two lists of names say the same."""

import ast
from pathlib import Path
from typing import Annotated, get_origin

import pytest

import secure_asgi

from .paths import run_python

INIT = Path(secure_asgi.__file__)


def test_type_checkers_see_the_same_names():
    imported = {
        alias.asname
        for node in ast.walk(ast.parse(INIT.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    assert imported == set(secure_asgi.__all__)


@pytest.mark.parametrize("name", secure_asgi.__all__)
def test_every_name_is_there(name):
    found = getattr(secure_asgi, name)
    assert get_origin(found) is Annotated or getattr(found, "__name__", name) == name
    assert name in dir(secure_asgi)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'HSTS'"):
        secure_asgi.HSTS  # noqa: B018


HEAVY = {"httpx", "jwt", "cryptography", "limits", "http_sf", "fastapi", "redis", "uvicorn"}


NEEDED = {
    "PinMismatch": {"httpx"},
    "PinnedTransport": {"httpx"},
    "CurrentPrincipal": {"fastapi"},
    "document_security": {"fastapi"},
    "require_roles": {"fastapi"},
    "require_scopes": {"fastapi"},
}
"""What derives from another library's class, or is for nobody without that library."""


@pytest.mark.parametrize("name", secure_asgi.__all__)
def test_importing_one_name_loads_no_other_dependency(name):
    """Nothing heavy is loaded by an import: a layer loads what it needs when it is constructed."""
    allowed = {"starlette"} | NEEDED.get(name, set())
    loaded = run_python(
        "-c", f"import sys; from secure_asgi import {name}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    )
    assert not (HEAVY - allowed) & set(loaded.split())


def test_the_bare_import_loads_nothing():
    loaded = run_python(
        "-c", "import sys; import secure_asgi; print(*[m for m in sys.modules if m.startswith('secure_asgi')])"
    )
    assert loaded == "secure_asgi"
