"""``secure-asgi``: the command line. Each command imports what it needs when it is called."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from ..errors import ConfigurationError, SecureASGIError
from .certs import add_commands as add_certs
from .check import add_commands as add_check
from .limits import add_commands as add_limits

_CONCERNS = ("https", "hsts", "mtls", "bearer", "authorization", "rate_limit", "errors", "audit")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 well, 1 the answer is no, 2 the command was not understood or could not be carried out."""
    options = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a certificate may name what a terminal cannot show
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except SecureASGIError as error:
        print(f"secure-asgi: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read along has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="secure-asgi", description="Security middlewares for ASGI, from the shell.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="watch a FastAPI service being protected over real TLS")
    demo.add_argument("--serve", action="store_true", help="keep the service up and print curl lines to try")
    demo.add_argument(
        "--break", dest="without", metavar="LAYER", choices=_CONCERNS, help=f"leave one out: {', '.join(_CONCERNS)}"
    )
    demo.set_defaults(run=_demo)
    add_check(commands)
    add_limits(commands)
    add_certs(commands)
    return parser


def _demo(options: argparse.Namespace) -> int:
    try:
        from .demo import demonstrate
    except ImportError as missing:
        raise ConfigurationError(f"the demo needs {missing.name}: pip install 'secure-asgi[cli]'") from missing
    return demonstrate(without=options.without, keep_serving=options.serve)
