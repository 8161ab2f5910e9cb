"""The house keeps itself: what CONTRIBUTING asks for is checked here, so that no reviewer has to remember it."""

import ast
import re
from pathlib import Path

import pytest

import secure_asgi
from secure_asgi.flow import Layer
from secure_asgi.stack import CORS, ORDER

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "secure_asgi").rglob("*.py"))
SLOTS = [slot for slot in ORDER if slot != CORS]


def layer_of(slot: str) -> type[Layer]:
    name = slot.partition(":")[0]
    (cls,) = {
        cls
        for cls in (getattr(secure_asgi, exported) for exported in secure_asgi.__all__)
        if isinstance(cls, type) and issubclass(cls, Layer) and cls.name == name
    }
    return cls


@pytest.mark.parametrize("slot", SLOTS)
def test_every_slot_has_its_class_tests_page_and_changelog_line(slot):
    """Steps 1, 4 and 5 of "one more middleware"."""
    cls = layer_of(slot)
    assert list((ROOT / "tests").rglob(f"test_{cls.name}*.py")), f"no tests for {cls.name}"
    page = (ROOT / "docs" / "reference" / f"{cls.name}.md").read_text()
    assert "does not do" in page
    assert cls.__name__ in (ROOT / "CHANGELOG.md").read_text()
    assert cls.__name__ in (ROOT / "README.md").read_text()


def test_every_public_layer_has_a_slot():
    """Step 3."""
    names = {slot.partition(":")[0] for slot in SLOTS}
    for exported in secure_asgi.__all__:
        cls = getattr(secure_asgi, exported)
        if isinstance(cls, type) and issubclass(cls, Layer) and cls is not Layer:
            assert cls.name in names, f"{exported} has no place in ORDER"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_no_assert_no_environment_no_leftover(source):
    """Promises: options raise, nothing is read behind the user's back; and nothing is left for later."""
    text = source.read_text()
    for node in ast.walk(ast.parse(text)):
        assert not isinstance(node, ast.Assert), f"assert in {source.name}:{node.lineno}"
        assert not (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")), source.name
        assert not isinstance(node, ast.Global), f"global state in {source.name}"
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_public_classes_say_what_they_are(source):
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"
