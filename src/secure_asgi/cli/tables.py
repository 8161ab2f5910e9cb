"""Aligned columns for a terminal."""

import textwrap
from collections.abc import Iterable, Sequence

from .printable import printable

WIDTH = 100
"""Columns that a line takes at most."""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Aligned columns, as wide as they need to be and together no wider than ``WIDTH``; empty ones are left out."""
    if not rows:
        yield "  none"
        return
    kept = [index for index in range(len(heads)) if any(row[index] for row in rows)]
    cells = [[heads[index] for index in kept], *([printable(row[index], 1000) for index in kept] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(kept))]
    while sum(widths) + 2 * len(widths) > WIDTH:
        widths[widths.index(max(widths))] -= 1
    for row in cells:
        pairs = zip(row, widths, strict=True)
        wrapped = [textwrap.wrap(cell, width, break_on_hyphens=False) or [""] for cell, width in pairs]
        for line in range(max(map(len, wrapped))):
            parts = [
                (cell[line] if line < len(cell) else "").ljust(width)
                for cell, width in zip(wrapped, widths, strict=True)
            ]
            yield ("  " + "  ".join(parts)).rstrip()


def count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
