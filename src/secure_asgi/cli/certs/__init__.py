"""``secure-asgi certs``: development certificates, expiry, and a look at a live endpoint."""

import argparse
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    """Adds ``certs`` to the command line. ``commands`` is what ``ArgumentParser.add_subparsers`` gives."""
    certs = commands.add_parser("certs", help="make, watch and inspect certificates")
    kinds = certs.add_subparsers(dest="certs", required=True, metavar="COMMAND")
    _add_dev(kinds.add_parser("dev", help="make a development CA, a server certificate and client certificates"))
    _add_expiry(kinds.add_parser("expiry", help="say how long certificates last, with an exit status for cron"))
    _add_show(kinds.add_parser("show", help="inspect a live endpoint and grade it"))


def _add_dev(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", type=Path, default=Path("certs"), metavar="FOLDER", help="default: certs")
    parser.add_argument(
        "--host", action="append", default=[], help="a name or address of the server; repeat it for more "
        "(default: localhost, 127.0.0.1 and ::1)",
    )  # fmt: skip
    parser.add_argument(
        "--client", action="append", default=[], metavar="NAME",
        help="a client to make a certificate for: a DNS name, or uri:..., email:..., ip:...; repeat it for more "
        "(default: client)",
    )  # fmt: skip
    parser.add_argument("--days", type=int, default=30, help="how long they last (default: 30)")
    parser.add_argument("--force", action="store_true", help="replace certificates that are there, never the CA")
    parser.set_defaults(run=_dev)


def _add_expiry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", nargs="+", metavar="FILE|HOST:PORT", help="a PEM file, or an endpoint to connect to")
    parser.add_argument(
        "--warn-days", type=int, default=30, metavar="DAYS", help="exit status 1 from this many days on (default: 30)"
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="print only what ends within that time")
    _add_json_and_timeout(parser)
    parser.set_defaults(run=_expiry)


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("endpoint", metavar="HOST:PORT", help="port 443 if none is given")
    parser.add_argument("--server-name", metavar="NAME", help="whom to ask for there (default: HOST)")
    parser.add_argument("--ca", metavar="FILE", help="PEM file of the authorities to trust (default: the system's)")
    parser.add_argument("--cert", metavar="FILE", help="a client certificate to present, PEM")
    parser.add_argument("--key", metavar="FILE", help="its key, if it is not in the same file")
    parser.add_argument("--profile", choices=("modern", "intermediate"), default="modern", help="default: modern")
    _add_json_and_timeout(parser)
    parser.set_defaults(run=_show)


def _add_json_and_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs; the keys are documented")
    parser.add_argument(
        "--timeout", type=_seconds, default=5.0, metavar="SECONDS", help="for each connection (default: 5)"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 600:
        raise argparse.ArgumentTypeError(f"more than 0 and at most 600, got {text}")
    return seconds


def _dev(options: argparse.Namespace) -> int:
    from .dev import make_development_certificates

    return make_development_certificates(
        options.folder, hosts=options.host, clients=options.client, days=options.days, force=options.force
    )


def _expiry(options: argparse.Namespace) -> int:
    from .expiry import expiry

    return expiry(
        options.targets,
        warn_days=options.warn_days,
        timeout=options.timeout,
        as_json=options.json,
        quiet=options.quiet,
    )


def _show(options: argparse.Namespace) -> int:
    from .show import show

    return show(
        options.endpoint,
        server_name=options.server_name,
        ca=options.ca,
        cert=options.cert,
        key=options.key,
        profile=options.profile,
        timeout=options.timeout,
        as_json=options.json,
    )
