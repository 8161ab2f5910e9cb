"""An inspection as people read it, and as programs do."""


from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..printable import printable
from .certificate import SentCertificate
from .grade import Line, meets
from .inspection import Facts

_STYLES = {"ok": "green", "note": "yellow", "WRONG": "bold red"}


def print_report(facts: Facts, lines: list[Line], profile: str, grade: str) -> None:
    """Nothing that the server wrote is read as markup, or reaches the terminal as a control character."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, emoji=False, highlight=False, width=160)  # a pipe has no edge of its own
    console.print(_verdicts(facts, lines, profile))
    console.print(_certificates(facts.chain))
    console.print("Looked at without verifying first, to see what is there; no secret was sent.", style="dim")
    console.print(_conclusion(lines, profile, grade))


def _verdicts(facts: Facts, lines: list[Line], profile: str) -> Table:
    at = f" ({facts.endpoint.address})" if facts.endpoint.address != facts.endpoint.host else ""
    table = Table(
        title=f"{facts.endpoint}{at} against the profile {profile}", title_justify="left", pad_edge=False
    )
    table.add_column("", style="cyan", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("why", overflow="fold")
    for line in lines:
        table.add_row(line.check, Text(line.found), Text(line.verdict, _STYLES[line.verdict]), Text(line.why))
    return table


def _certificates(chain: tuple[SentCertificate, ...]) -> Table:
    table = Table(title="The certificates it sends", title_justify="left", pad_edge=False)
    for column in ("subject", "issuer", "key", "signature", "valid until", "pin of the key"):
        table.add_column(column, overflow="fold")
    for one in chain:
        until = f"{one.not_after:%Y-%m-%d}"
        texts = (one.subject, one.issuer, one.key, one.signature, until, one.spki_pin)
        table.add_row(*(Text(printable(text)) for text in texts))
    return table


def _conclusion(lines: list[Line], profile: str, grade: str) -> Text:
    if meets(lines):
        better = f"; it meets {grade}, too" if grade != profile else ""
        return Text(f"It meets the profile {profile}{better}.", "green")
    wrong = [line.check for line in lines if line.verdict == "WRONG"]
    instead = "" if grade == "none" else f" It meets {grade}."
    return Text(f"It does not meet the profile {profile}: {', '.join(wrong)}.{instead}", "bold red")
