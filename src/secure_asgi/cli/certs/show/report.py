"""An inspection as people read it, and as programs do."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...printable import printable
from ..certificate import SentCertificate
from .grade import Line, meets
from .inspection import Facts

_STYLES = {"ok": "green", "note": "yellow", "WRONG": "bold red"}
_MOST_CERTIFICATES = 10


def print_report(facts: Facts, lines: list[Line], profile: str, grade: str) -> None:
    """Nothing that the server wrote is read as markup, or reaches the terminal as a control character."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = 120  # a pipe has no edge of its own
    console.print(_verdicts(facts, lines, profile))
    for number, one in enumerate(facts.chain[:_MOST_CERTIFICATES], 1):
        console.print(_certificate(one, f"Certificate {number} of {len(facts.chain)}"))
    console.print("Looked at without verifying first, to see what is there; no secret was sent.", style="dim")
    console.print(_conclusion(lines, profile, grade))


def _verdicts(facts: Facts, lines: list[Line], profile: str) -> Table:
    at = f" ({facts.endpoint.address})" if facts.endpoint.address != facts.endpoint.host else ""
    table = Table(title=f"{facts.endpoint}{at} against the profile {profile}", title_justify="left", pad_edge=False)
    table.add_column("", style="cyan", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("why", overflow="fold")
    for line in lines:
        table.add_row(line.check, Text(line.found), Text(line.verdict, _STYLES[line.verdict]), Text(line.why))
    return table


def _certificate(one: SentCertificate, title: str) -> Table:
    table = Table(title=title, title_justify="left", pad_edge=False, show_header=False, box=None)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in (
        ("subject", one.subject),
        ("issuer", one.issuer),
        ("names", ", ".join(one.names)),
        ("key", one.key),
        ("pin", one.spki_pin),
        ("signature", one.signature),
        ("valid", f"{one.not_before:%Y-%m-%d %H:%M} to {one.not_after:%Y-%m-%d %H:%M} UTC"),
        ("SHA-256", one.sha256),
    ):
        table.add_row(name, Text(printable(text, 400)))
    return table


def _conclusion(lines: list[Line], profile: str, grade: str) -> Text:
    if meets(lines) and grade == "unknown":
        return Text("Nothing wrong was seen, but not everything could be looked at.", "bold red")
    if meets(lines):
        better = f"; it meets {grade}, too" if grade != profile else ""
        return Text(f"It meets the profile {profile}{better}.", "green")
    wrong = [line.check for line in lines if line.verdict == "WRONG"]
    instead = f" It meets {grade}." if grade == "intermediate" else ""
    return Text(f"It does not meet the profile {profile}: {', '.join(wrong)}.{instead}", "bold red")
