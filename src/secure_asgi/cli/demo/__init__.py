"""``secure-asgi demo``: a FastAPI service over real TLS, and a tour of the answers it gives."""

import json
import logging
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .tour import Result, take_tour
from .world import World, open_world


def demonstrate(*, without: str | None, keep_serving: bool) -> int:
    """0 if every answer was the expected one."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a pipe or a log has no edge of its own
    with tempfile.TemporaryDirectory(prefix="secure-asgi-demo-") as folder:
        _log_to(Path(folder) / "server.log")
        with open_world(Path(folder), without) as world:
            began = time.perf_counter()
            with console.status("Asking. One answer takes five seconds: so long may a revocation go unnoticed."):
                results = list(take_tour(world))
            console.print(_tour_table(results, without))
            console.print(_audit_table(results))
            _show_one_record(console, results)
            wrong = [result for result in results if not result.is_expected]
            console.print(_verdict(results, wrong, time.perf_counter() - began))
            if keep_serving:
                _serve(console, world)
    return 1 if wrong else 0


def _log_to(path: Path) -> None:
    """The server's log, tracebacks and all, goes where an operator would look, not between the rows."""
    handler = logging.FileHandler(path)
    for name in ("uvicorn", "secure_asgi"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False


def _tour_table(results: list[Result], without: str | None) -> Table:
    title = "An orders service, asked nicely and otherwise"
    table = Table(title=f"{title} (without {without})" if without else title, title_justify="left", pad_edge=False)
    for column, options in (
        ("layer", {"style": "cyan"}),
        ("request", {}),
        ("expected", {}),
        ("answer", {}),
        ("reason, in the audit log only", {"style": "dim"}),
        ("ms", {"justify": "right", "min_width": 4}),
        ("", {"min_width": len("WRONG")}),
    ):
        table.add_column(column, no_wrap=True, **options)
    for result in results:
        seen = result.seen
        reason = result.records[-1].get("reason", "") if result.records else ""
        mark = "[green]ok[/]" if result.is_expected else "[bold red]WRONG[/]"
        answer = f"{seen.status or ''} {seen.words}".strip()
        time_taken = f"{result.milliseconds:.0f}" if result.milliseconds else ""
        table.add_row(result.step.layer, result.step.asks, result.step.wants, answer, reason, time_taken, mark)
    return table


def _audit_table(results: list[Result]) -> Table:
    table = Table(title="What the audit log says happened", title_justify="left", pad_edge=False)
    for column in ("outcome", "reason", "status", "request", "client", "principal", "certificate"):
        table.add_column(column, no_wrap=True)
    for result in results:
        for record in result.records[-1:]:
            table.add_row(
                record.get("outcome", ""),
                record.get("reason", ""),
                str(record.get("status", "")),
                f"{record.get('method', 'WS')} {record.get('path', '')}",
                record.get("client", ""),
                record.get("principal", {}).get("subject", ""),
                record.get("certificate", {}).get("subject", ""),
            )
    return table


def _show_one_record(console: Console, results: list[Result]) -> None:
    refused = [result.records[-1] for result in results if result.records and result.records[-1].get("reason")]
    if refused:
        console.print("One record, whole:")
        console.print_json(json.dumps(refused[-1]))


def _verdict(results: list[Result], wrong: list[Result], seconds: float) -> str:
    if not wrong:
        return f"[green]{len(results)} of {len(results)} answers as expected[/], in {seconds:.1f} s."
    failed = ", ".join(f"{result.step.layer} ({result.step.asks})" for result in wrong)
    return f"[bold red]{len(wrong)} of {len(results)} answers were not the expected ones:[/] {failed}"


def _serve(console: Console, world: World) -> None:
    """Until Ctrl-C."""
    token = world.tokens.token(scope="orders:read", exp=int(time.time()) + 3600)
    tls = f"--cacert {world.folder}/ca.pem --cert {world.folder}/shop.pem --key {world.folder}/shop.key"
    console.print("Still up. Try (Ctrl-C ends it; the flood above is forgotten within a minute):")
    for line in (
        f"curl -i {world.http}/orders/42",
        f"curl -i --cacert {world.folder}/ca.pem {world.https}/orders/42",
        f"curl -i {tls} {world.https}/orders/42",
        f"curl -i {tls} -H 'Authorization: Bearer {token}' {world.https}/orders/42",
        f"tail -f {world.folder}/audit.jsonl",
    ):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("Closed.")
