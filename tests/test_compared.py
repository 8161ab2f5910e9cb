"""The comparison with others: each cell has a ground, each ground is named once, and each test exists."""

import re

import pytest

from .paths import ROOT

PAGE = (ROOT / "docs" / "explanation" / "compared.md").read_text()
TABLES, _, LISTS = PAGE.partition("## Tests")
GROUNDS = dict(re.findall(r"^- ([TS]\d+): (.*(?:\n  .*)*)", LISTS, re.MULTILINE))
ROWS = [line for line in TABLES.splitlines() if line.startswith("| ") and not line.startswith("| |")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_cell_has_a_ground(row):
    _, _, *cells, _ = row.split("|")
    assert len(cells) == 6
    for cell in cells:
        assert cell.strip().startswith("-") or re.search(r"\b[TS]\d+ *$", cell), cell


def test_every_ground_is_there_and_used():
    assert set(re.findall(r"\b[TS]\d+\b", TABLES)) == set(GROUNDS)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"tests/[\w.:]+", LISTS))))
def test_every_test_exists(name):
    path, _, test = name.partition("::")
    assert f"def {test}" in (ROOT / path).read_text()
