"""``secure-asgi certs dev``: an authority of one's own, a server certificate, and clients to try them with.

The authority's key stays in the folder, so that more clients can be issued later; whoever reads it can impersonate
every host to those who trust the authority. So the folder is the user's alone, and nobody should trust it elsewhere.
"""

import os
import re
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from ...errors import ConfigurationError
from ...testing.certificates import CertificateAuthority, Usage
from ..printable import in_days, printable
from .certificate import read_certificate
from .endpoint import is_address

HOSTS = ("localhost", "127.0.0.1", "::1")
CLIENTS = ("client",)
AUTHORITY_NAME = "secure-asgi development CA"
MOST_DAYS = 364
"""The authority itself lasts a year."""

_CLOCKS_DIFFER = timedelta(minutes=5)
_KINDS = ("dns:", "ip:", "uri:", "email:")
_RESERVED = ("ca", "server")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A certificate that is to be there: ``NAME.pem`` and ``NAME.key``.

    Where the user did not say which (``is_asked_for`` is False), one of an earlier run will do, whatever its names.
    """

    file: str
    names: tuple[str, ...]
    usage: Usage
    is_asked_for: bool


def make_development_certificates(
    folder: Path, *, hosts: Sequence[str], clients: Sequence[str], days: int, force: bool
) -> int:
    """0 if all that was asked for is there now, 1 if a certificate that is not what was asked for was kept.

    What is there already is kept unless ``force`` is set; the authority always is.
    Raises ``ConfigurationError`` for options and folders that cannot be used.
    """
    wanted = _wanted(hosts, clients)
    if not 1 <= days <= MOST_DAYS:
        raise ConfigurationError(f"--days is from 1 to {MOST_DAYS}, got {days}")
    try:
        _make_private(folder)
        authority, ends = _authority(folder)
        if timedelta(days=days) > ends - datetime.now(UTC):
            raise ConfigurationError(
                f"--days {days} is longer than the authority itself lasts, which ends on {ends:%Y-%m-%d}; "
                f"for a new one delete {folder / 'ca.pem'} and {folder / 'ca.key'}"
            )
        results = [_provide(folder, one, authority, days, force=force) for one in wanted]
    except BrokenPipeError:
        raise  # of whoever reads what is printed, and of no file
    except OSError as error:
        raise ConfigurationError(f"{str(error.filename)!r} cannot be used: {error.strerror}") from error
    _print_use(folder, wanted)
    return 0 if all(results) else 1


def _wanted(hosts: Sequence[str], clients: Sequence[str]) -> list[_Wanted]:
    server = _Wanted("server", tuple(map(_host_name, hosts or HOSTS)), "server", bool(hosts))
    wanted = {server.file: server}
    for client in clients or CLIENTS:
        name = client if client.startswith(_KINDS) else f"dns:{client}"
        file = re.sub(r"[^A-Za-z0-9.-]+", "-", name.partition(":")[2]).strip("-.")
        if not file or file.lower() in _RESERVED:
            raise ConfigurationError(f"--client takes a name that makes a file of its own, got {client!r}")
        if wanted.setdefault(file, _Wanted(file, (name,), "client", bool(clients))).names != (name,):
            raise ConfigurationError(f"--client {client!r} and another one would both be {file}.pem")
    return list(wanted.values())


def _host_name(host: str) -> str:
    return f"ip:{ip_address(host)}" if is_address(host) else f"dns:{host}"


def _make_private(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        (folder / ".gitignore").write_text("*\n")  # keys do not belong into a repository
    if os.name == "posix" and folder.stat().st_mode & stat.S_IWOTH:
        raise ConfigurationError(
            f"everybody on this machine can write into {str(folder)!r}, and replace what is there: "
            f"name a folder of your own, as in {str(folder / 'certs')!r}"
        )


def _authority(folder: Path) -> tuple[CertificateAuthority, datetime]:
    """The one that is there, or a new one; and when it ends."""
    certfile, keyfile = folder / "ca.pem", folder / "ca.key"
    if not certfile.exists() and not keyfile.exists():
        authority = CertificateAuthority(AUTHORITY_NAME)
        authority.write(certfile, keyfile)
        _say("made", certfile, "the authority: trust it only where you develop")
    else:
        if os.name == "posix" and keyfile.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(
                f"others can read {str(keyfile)!r}, and may have: delete it and {str(certfile)!r}, and trust that "
                "authority no longer"
            )
        authority = CertificateAuthority.load(certfile, keyfile)
        _say("kept", certfile, "the authority")
    return authority, x509.load_pem_x509_certificate(authority.certificate_pem).not_valid_after_utc


def _provide(folder: Path, wanted: _Wanted, authority: CertificateAuthority, days: int, *, force: bool) -> bool:
    certfile, keyfile = folder / f"{wanted.file}.pem", folder / f"{wanted.file}.key"
    if force or not (certfile.exists() or keyfile.exists()):
        now = datetime.now(UTC)
        issued = authority.issue(
            *wanted.names, usage=wanted.usage, not_before=now - _CLOCKS_DIFFER, not_after=now + timedelta(days=days)
        )
        issued.write(certfile, keyfile)
        _say("made", certfile, f"for {', '.join(wanted.names)}, {days} days")
        return True
    return _is_as_wanted(certfile, keyfile, wanted, authority)


def _is_as_wanted(certfile: Path, keyfile: Path, wanted: _Wanted, authority: CertificateAuthority) -> bool:
    """What an earlier run left is kept, and said to be what it is."""
    if not (certfile.exists() and keyfile.exists()):
        raise ConfigurationError(f"{str(certfile)!r} and its key are not both there: --force makes them anew")
    certificate, names, ends = _read(certfile)
    problems = []
    if wanted.is_asked_for and names != wanted.names:
        problems.append(f"it is not for {', '.join(wanted.names)}")
    if ends <= datetime.now(UTC):
        problems.append("it has expired")
    if not _is_issued_by(certificate, authority):
        problems.append("it is of another authority")
    if problems:
        _say("KEPT", certfile, f"{'; '.join(problems)}: --force makes it anew")
    else:
        _say("kept", certfile, f"for {printable(', '.join(names))}, ends {in_days(ends - datetime.now(UTC))}")
    return not problems


def _read(certfile: Path) -> tuple[x509.Certificate, tuple[str, ...], datetime]:
    try:
        certificate = x509.load_pem_x509_certificate(certfile.read_bytes())
    except ValueError as error:
        raise ConfigurationError(f"{str(certfile)!r} holds no readable certificate: --force makes it anew") from error
    read = read_certificate(certificate.public_bytes(Encoding.DER))
    return certificate, read.names, read.not_after


def _is_issued_by(certificate: x509.Certificate, authority: CertificateAuthority) -> bool:
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate_pem))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _say(verb: str, file: Path, what: str) -> None:
    print(f"{verb}  {file}  {what}")


def _print_use(folder: Path, wanted: Sequence[_Wanted]) -> None:
    """Lines to copy, for the names that the certificates really have."""
    path = {file: shlex.quote(str(folder / file)) for file in ("ca.pem", "server.pem", "server.key")}
    _, names, _ = _read(folder / "server.pem")
    host = names[0].partition(":")[2] if names else HOSTS[0]
    url = shlex.quote(f"https://{f'[{host}]' if ':' in host else host}:8443/")
    print("\nServe an application, which asks clients for a certificate:")
    print(
        f"  uvicorn app:app --port 8443 --no-proxy-headers --http secure_asgi.servers.uvicorn:AutoProtocol \\\n"
        f"    --ssl-certfile {path['server.pem']} --ssl-keyfile {path['server.key']} \\\n"
        f"    --ssl-ca-certs {path['ca.pem']} --ssl-cert-reqs 1"
    )
    print("Ask it:")
    for client in wanted[1:]:
        certfile, keyfile = (shlex.quote(str(folder / f"{client.file}.{kind}")) for kind in ("pem", "key"))
        print(f"  curl --cacert {path['ca.pem']} --cert {certfile} --key {keyfile} {url}")
