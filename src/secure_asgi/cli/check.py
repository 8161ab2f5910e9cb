"""``secure-asgi check module:app``: imports an application and prints what stands between it and the world."""

import argparse
import contextlib
import json
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .application import load
from .printable import printable
from .tables import WIDTH, count, table

if TYPE_CHECKING:
    from ..checks import LayerRow, Report, RouteRow


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
        app = load(options.target, options.factory)
        report = check(app)
    if options.json:
        print(json.dumps(report.as_document(), indent=2))
    else:
        print("\n".join(_lines(report)))
    return 1 if report.findings else 0


def _lines(report: "Report") -> Iterable[str]:
    yield "Layers, outermost first"
    yield from table(
        ("", "LAYER", "MODE", "EXEMPT", "ESCAPE HATCHES"),
        [
            (row.where or "", row.place or row.name, _mode(row), " ".join(row.exempt), " ".join(row.escape_hatches))
            for row in report.layers
        ],
    )
    yield ""
    yield "Routes"
    yield from table(
        ("METHOD", "PATH", "HOST", "ENDPOINT", "RULE", "LIMITS", "EXEMPT FROM"),
        [_cells(row) for row in report.routes],
    )
    yield ""
    for one in (*report.findings, *report.notes):
        label = "FINDING" if one.severity == "finding" else "note"
        text = f"{label:<9}{printable(one.message, 1000)} [{one.code}]"
        yield from textwrap.wrap(text, WIDTH, subsequent_indent=" " * 9, break_on_hyphens=False)
    yield f"{count(len(report.findings), 'finding')}, {count(len(report.notes), 'note')}"


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
