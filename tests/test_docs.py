"""Every Python block of the documentation is run, in an interpreter of its own, and every link leads somewhere."""

import re

import pytest

from .paths import ROOT, run_python

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block.group(1), id=f"{page.relative_to(ROOT)}:{page.read_text()[: block.start()].count(chr(10)) + 2}")
    for page in PAGES
    for block in BLOCK.finditer(page.read_text())
]


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs(block, tmp_path):
    run_python("-W", "error", "-c", block, cwd=tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readmes_commands_are_what_ci_runs():
    """And CI fails if one of them does."""
    commands = re.findall(r"^```sh\n(.*?)\n```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert commands == ["make demo", "make test"]
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert all(any(line.startswith(command) for line in script) for command in commands)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_answers(example, tmp_path):
    """Each is imported as a server would import it, and asked once."""
    code = (
        "import sys, tests.asgi as asgi, examples.{0} as example; "
        "answer = asgi.http(example.app, '/'); print(answer.status, answer.error)"
    )
    assert run_python("-W", "error", "-c", code.format(example.stem), cwd=tmp_path) in ("200 None", "401 None")
