"""``certs dev``: what it makes passes the strictest checks there are, and nobody else can read the keys."""

import os
import shutil
import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from secure_asgi.cli import main
from secure_asgi.testing.certificates import CertificateAuthority

from .handshake import client_context, shake


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory is the one above it, as for a user."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "certs"


def server_context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def names(certfile: Path) -> list[str]:
    certificate = x509.load_pem_x509_certificate(certfile.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in found]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_server_and_client_trust_each_other_strictly(folder, host):
    """With the strictness that Python 3.13 has by default."""
    assert main(["certs", "dev"]) == 0
    client = client_context(folder, "client")
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    done = shake(server_context(folder), client, host)
    assert done.server.getpeercert()["subjectAltName"] == (("DNS", "client"),)


def test_openssl_finds_them_strictly_good(folder):
    if not (openssl := shutil.which("openssl")):
        pytest.skip("needs openssl: apt-get install openssl")
    main(["certs", "dev", "--client", "uri:spiffe://example.org/billing"])
    for purpose, name in (("sslserver", "server"), ("sslclient", "spiffe-example.org-billing")):
        command = [
            openssl,
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-CAfile",
            "certs/ca.pem",
            f"certs/{name}.pem",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.stdout == f"certs/{name}.pem: OK\n", done.stderr


def test_the_keys_are_their_owners_alone(folder):
    mask = os.umask(0)
    try:
        main(["certs", "dev", "--client", "a", "--client", "b"])
    finally:
        os.umask(mask)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.glob("*.key")}
    assert modes == dict.fromkeys(("ca.key", "server.key", "a.key", "b.key"), 0o600)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"


def test_it_prints_lines_that_work_where_they_are_pasted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["certs", "dev", "my certs", "--host", "::1", "--client", "shop"]) == 0
    out = capsys.readouterr().out
    assert "made  my certs/shop.pem  for dns:shop, 30 days" in out
    assert "--cert 'my certs/shop.pem' --key 'my certs/shop.key' 'https://[::1]:8443/'" in out
    assert "--ssl-certfile 'my certs/server.pem' --ssl-keyfile 'my certs/server.key'" in out
    assert "PRIVATE" not in out


def test_days(folder):
    main(["certs", "dev", "--days", "7"])
    certificate = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(days=7, minutes=5)


def test_again_keeps_what_is_there_and_adds_what_is_new(folder, capsys):
    main(["certs", "dev", "--host", "api.test", "--client", "shop"])
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert main(["certs", "dev", "--client", "billing"]) == 0
    after = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert after.items() > before.items()
    assert after.keys() - before.keys() == {"billing.pem", "billing.key"}
    out = capsys.readouterr().out
    assert "kept  certs/server.pem  for dns:api.test, ends in 29 days" in out
    assert "https://api.test:8443/" in out.rpartition("Ask it:")[2]
    shake(server_context(folder), client_context(folder, "billing"), "api.test")


def test_force_makes_certificates_anew_and_keeps_the_authority(folder):
    main(["certs", "dev"])
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert main(["certs", "dev", "--host", "api.test", "--force"]) == 0
    changed = {name for name, content in before.items() if (folder / name).read_bytes() != content}
    assert changed == {"server.pem", "server.key", "client.pem", "client.key"}
    assert names(folder / "server.pem") == ["api.test"]


def _other_authority(folder: Path) -> None:
    (folder / "ca.pem").unlink()
    (folder / "ca.key").unlink()


def _expired(folder: Path) -> None:
    authority = CertificateAuthority.load(folder / "ca.pem", folder / "ca.key")
    ended = datetime.now(UTC) - timedelta(days=1)
    authority.issue("dns:localhost", usage="server", not_after=ended).write(
        folder / "server.pem", folder / "server.key"
    )


@pytest.mark.parametrize(
    ("change", "arguments", "complaint"),
    [
        (lambda folder: None, ["--host", "api.test"], "it is not for dns:api.test: --force"),
        (_other_authority, [], "it is of another authority: --force"),
        (_expired, [], "it has expired: --force"),
    ],
    ids=["other names", "other authority", "expired"],
)
def test_what_is_kept_and_is_not_what_was_asked_for_is_1(folder, capsys, change, arguments, complaint):
    main(["certs", "dev"])
    change(folder)
    assert main(["certs", "dev", *arguments]) == 1
    assert f"KEPT  certs/server.pem  {complaint}" in capsys.readouterr().out


def _world_writable(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o1777)


def _a_file(folder: Path) -> None:
    folder.write_text("")


def _made(folder: Path) -> None:
    assert main(["certs", "dev"]) == 0


def _then(step):
    def change(folder: Path) -> None:
        _made(folder)
        step(folder)

    return change


@pytest.mark.parametrize(
    ("change", "arguments", "sentence"),
    [
        (_world_writable, [], "everybody on this machine can write into 'certs'"),
        (_a_file, [], "'certs/ca.pem' cannot be used: Not a directory"),
        (_then(lambda folder: (folder / "ca.key").unlink()), [], "'certs/ca.key' cannot be used: No such file"),
        (_then(lambda folder: (folder / "ca.pem").unlink()), [], "'certs/ca.pem' cannot be read: No such file"),
        (_then(lambda folder: (folder / "ca.key").chmod(0o640)), [], "others can read 'certs/ca.key', and may have"),
        (
            _then(lambda folder: (folder / "server.key").unlink()),
            [],
            "'certs/server.pem' and its key are not both there",
        ),
        (
            _then(lambda folder: (folder / "server.pem").write_text("junk")),
            [],
            "holds no readable certificate: --force",
        ),
        (lambda folder: None, ["--days", "0"], "--days is from 1 to 364, got 0"),
        (lambda folder: None, ["--days", "365"], "--days is from 1 to 364, got 365"),
        (lambda folder: None, ["--client", "server"], "a name that makes a file of its own, got 'server'"),
        (lambda folder: None, ["--client", "CA"], "a name that makes a file of its own, got 'CA'"),
        (lambda folder: None, ["--client", "../"], "a name that makes a file of its own, got '../'"),
        (lambda folder: None, ["--client", "a/b", "--client", "a-b"], "would both be a-b.pem"),
        (lambda folder: None, ["--host", ""], "names are written"),
        (lambda folder: None, ["--host", "bücher.test"], "is no dns name for a certificate"),
    ],
    ids=[
        *("world-writable folder", "a file", "no CA key", "no CA certificate", "readable CA key", "half a server"),
        *("junk server", "no day", "longer than the CA", "reserved", "reserved, in capitals", "no file name"),
        *("two to a file", "empty host", "not ASCII"),
    ],
)
def test_what_cannot_be_done_is_2_and_a_sentence(folder, capsys, change, arguments, sentence):
    change(folder)
    capsys.readouterr()
    assert main(["certs", "dev", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_an_authority_that_ends_before_its_certificates_would(folder, capsys, monkeypatch):
    from secure_asgi.testing import certificates

    monkeypatch.setattr(certificates, "_AUTHORITY_LIFETIME", timedelta(days=20))
    assert main(["certs", "dev"]) == 2
    assert "--days 30 is longer than the authority itself lasts" in capsys.readouterr().err
