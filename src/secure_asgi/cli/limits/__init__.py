"""``secure-asgi limits``: how somebody stands with an application's rate limits, and a fresh start for them.

The application is imported, not served: its layers say where they count, and that storage is asked. What a process
counts in its own memory nobody else can see.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ...errors import ConfigurationError
from ..application import load
from .asking import Action, Seen, ask_all, forget, key_of, layers_of, look
from .printing import document, lines


def add_commands(commands: Any) -> None:
    """Adds ``limits`` to the command line. ``commands`` is what ``ArgumentParser.add_subparsers`` gives."""
    limits = commands.add_parser("limits", help="see how clients stand with the rate limits, and reset them")
    kinds = limits.add_subparsers(dest="limits", required=True, metavar="COMMAND")
    show = kinds.add_parser("show", help="print the rate limits and who is banned, or how one client stands")
    _add_options(show, needs_key=False)
    show.set_defaults(run=_show)
    reset = kinds.add_parser("reset", help="forget what one client has spent, its refusals and its ban")
    _add_options(reset, needs_key=True)
    reset.set_defaults(run=_reset)


def _add_options(parser: argparse.ArgumentParser, *, needs_key: bool) -> None:
    parser.add_argument("target", metavar="MODULE:APP", help="where the application is, as for uvicorn")
    whom = parser.add_mutually_exclusive_group(required=needs_key)
    whom.add_argument("--client", metavar="ADDRESS", help="a client by its address")
    whom.add_argument("--principal", nargs=2, metavar=("ISSUER", "SUBJECT"), help="somebody who has signed in")
    whom.add_argument("--name", help="a name that somebody tries to sign in with, where failures are counted")
    whom.add_argument(
        "--key", metavar="TEXT", help="a key as the layer makes it, such as what a function for key= says"
    )
    parser.add_argument("--factory", action="store_true", help="APP is a function that makes the application")
    parser.add_argument("--json", action="store_true", help="for programs; the keys are documented")


def _show(options: argparse.Namespace) -> int:
    seen = _seen(options, look)
    _report(seen, options, ())
    return int(any(asked.is_refused for one in seen for asked in one.asked))


def _reset(options: argparse.Namespace) -> int:
    seen = _seen(options, forget)
    _report(seen, options, ("Processes that have just refused it ask the storage again within ten seconds.",))
    return int(not any(one.deleted for one in seen))


def _seen(options: argparse.Namespace, action: Action) -> list[Seen]:
    """Each layer that counts whom the options name, with what ``action`` has learnt. Raises ``ConfigurationError``."""
    with contextlib.redirect_stdout(sys.stderr):  # what an application prints is none of our document
        layers = layers_of(load(options.target, options.factory))
        found = [(one, key_of(one.layer, options)) for one in layers]
        if _names_somebody(options):
            found = [(one, key) for one, key in found if key is not None]
        if not found:
            raise ConfigurationError(
                "none of its rate limits counts by that alone: --key takes the key as the layer makes it"
            )
        asyncio.run(ask_all(found, action))
    return [one for one, _ in found]


def _names_somebody(options: argparse.Namespace) -> bool:
    return any(given is not None for given in (options.client, options.principal, options.name, options.key))


def _report(seen: Sequence[Seen], options: argparse.Namespace, afterwards: Iterable[str]) -> None:
    """Print it. Raises ``ConfigurationError`` for what could not be looked at: that is never a good result."""
    if options.json:
        print(json.dumps({"layers": [document(one) for one in seen]}, indent=2))
    else:
        for one in seen:
            print("\n".join(lines(one)))
        if any(one.deleted for one in seen):
            print("\n".join(afterwards))
    problems = [f"{one.layer.place}: {one.problem}" for one in seen if one.problem]
    if problems:
        raise ConfigurationError("; ".join(problems))
