"""``secure-asgi``: the command line. Each command imports what it needs when it is called."""

import argparse
from collections.abc import Sequence

from ..errors import ConfigurationError


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 well, 1 the answer is no, 2 the command was not understood."""
    parser = argparse.ArgumentParser(prog="secure-asgi", description="Security middlewares for ASGI, from the shell.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="watch a FastAPI service being protected over real TLS")
    demo.add_argument("--serve", action="store_true", help="keep the service up and print curl lines to try")
    demo.add_argument(
        "--break", dest="without", metavar="LAYER", choices=_CONCERNS, help=f"leave one out: {', '.join(_CONCERNS)}"
    )
    options = parser.parse_args(argv)
    try:
        from .demo import demonstrate
    except ImportError as missing:
        raise ConfigurationError(f"the demo needs {missing.name}: pip install 'secure-asgi[cli]'") from missing
    return demonstrate(without=options.without, keep_serving=options.serve)


_CONCERNS = ("https", "hsts", "mtls", "bearer", "rate_limit", "errors", "audit")
