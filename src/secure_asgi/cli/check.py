"""``secure-asgi check module:app``: imports an application and prints what stands between it and the world."""

import argparse
import contextlib
import json
import sys
import textwrap
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from .certs.printable import printable

if TYPE_CHECKING:
    from ..checks import LayerRow, Report, RouteRow

WIDTH = 100
"""Columns that a line takes at most."""


def add_commands(commands: Any) -> None:
    """Adds ``check`` to the command line. ``commands`` is what ``ArgumentParser.add_subparsers`` gives."""
    parser = commands.add_parser(
        "check", help="print the layers, routes and rules of an application, and what is wrong"
    )
    parser.add_argument("target", metavar="MODULE:APP", help="where the application is, as for uvicorn")
    parser.add_argument("--factory", action="store_true", help="APP is a function that makes the application")
    parser.add_argument("--json", action="store_true", help="for programs; the keys are documented")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    from ..checks import check

    with contextlib.redirect_stdout(sys.stderr):  # what an application prints is none of our document
        app = _load(options.target, options.factory)
        report = check(app)
    if options.json:
        print(json.dumps(report.as_document(), indent=2))
    else:
        print("\n".join(_lines(report)))
    return 1 if report.findings else 0


def _load(target: str, is_factory: bool) -> Any:
    """The application that ``target`` names. Raises ``ConfigurationError`` with the cause."""
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise ConfigurationError(f'the application is written "module:attribute", got {printable(target)!r}')
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = import_module(module_name)
    except (Exception, SystemExit) as error:  # somebody's module: it may raise anything, and even end the program
        raise ConfigurationError(f"{printable(module_name)} cannot be imported: {_cause(error)}") from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ConfigurationError(f"{printable(target)} is not there: {_cause(error)}") from error
    if is_factory:
        try:
            found = found()
        except (Exception, SystemExit) as error:
            raise ConfigurationError(f"{printable(target)} made no application: {_cause(error)}") from error
    if not callable(found):
        raise ConfigurationError(f"{printable(target)} is a {type(found).__name__}, no ASGI application")
    return found


def _cause(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {error}", 500)


def _lines(report: "Report") -> Iterable[str]:
    yield "Layers, outermost first"
    yield from _table(
        ("", "LAYER", "MODE", "EXEMPT", "ESCAPE HATCHES"),
        [
            (row.where or "", row.place or row.name, _mode(row), " ".join(row.exempt), " ".join(row.escape_hatches))
            for row in report.layers
        ],
    )
    yield ""
    yield "Routes"
    yield from _table(
        ("METHOD", "PATH", "HOST", "ENDPOINT", "RULE", "LIMITS", "EXEMPT FROM"),
        [_cells(row) for row in report.routes],
    )
    yield ""
    for one in (*report.findings, *report.notes):
        label = "FINDING" if one.severity == "finding" else "note"
        text = f"{label:<9}{printable(one.message, 1000)} [{one.code}]"
        yield from textwrap.wrap(text, WIDTH, subsequent_indent=" " * 9, break_on_hyphens=False)
    yield f"{_count(len(report.findings), 'finding')}, {_count(len(report.notes), 'note')}"


def _cells(row: "RouteRow") -> Sequence[str]:
    limits, exempt = "; ".join(row.limits), " ".join(row.exempt_from)
    return row.method, row.path, row.host, _endpoint(row.endpoint), row.rule or "none", limits, exempt


def _endpoint(name: str) -> str:
    """Without its module, and without the function that made it."""
    return name.rpartition(":")[2].rpartition("<locals>.")[2]


def _mode(row: "LayerRow") -> str:
    if not row.place:
        return "not ours"
    return f"{row.mode} until {row.shadow_until}" if row.shadow_until else row.mode


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
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
