"""``certs expiry``: one line a certificate, and an exit status for cron that never looks better than things are."""

import json
import re
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from secure_asgi.cli import main
from secure_asgi.testing.certificates import CertificateAuthority

from .endpoints import saying, serving, tls

AUTHORITY = CertificateAuthority("Test CA")
ISSUING = AUTHORITY.subordinate("Issuing CA")


def issued(days: float, name: str = "a.example", **options):
    ends = datetime.now(UTC) + timedelta(days=days, hours=1)
    return ISSUING.issue(f"dns:{name}", usage="server", not_after=ends, **options)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, days in (("good", 90), ("soon", 29), ("ended", -3)):
        (tmp_path / f"{name}.pem").write_bytes(issued(days, f"{name}.example").certificate_pem)
    (tmp_path / "junk.pem").write_bytes(b"junk")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["good.pem"], 0),
        (["good.pem", "soon.pem"], 1),
        (["soon.pem", "--warn-days", "10"], 0),
        (["ended.pem", "--warn-days", "0"], 1),
        (["good.pem", "gone.pem"], 2),
        (["soon.pem", "ended.pem", "junk.pem"], 2),
        (["good.pem", "localhost:http"], 2),
        (["good.pem", "."], 2),
        (["good.pem", "--warn-days", "-1"], 2),
        (["good.pem", "x" * 5000 + ":1"], 2),
    ],
    ids=[
        *("all well", "one within", "threshold moved", "expired", "missing file", "2 goes before 1"),
        *("neither file nor endpoint", "a folder", "negative threshold", "too long for a file"),
    ],
)
def test_exit_status(files, arguments, status, capsys):
    assert main(["certs", "expiry", *arguments]) == status
    assert bool(capsys.readouterr().err) == (status == 2)


def test_one_line_a_certificate_the_first_to_end_first(files, capsys):
    assert main(["certs", "expiry", "good.pem", "soon.pem", "ended.pem"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [re.split(r" +", line)[:4] for line in lines] == [
        ["expired", "2", "days", "ago"],
        ["ending", "in", "29", "days"],
        ["ok", "in", "90", "days"],
    ]
    assert lines[0].endswith("Z  ended.pem  CN=ended.example")


def test_quiet_prints_what_ends_soon_and_nothing_else(files, capsys):
    assert main(["certs", "expiry", "--quiet", "good.pem"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["certs", "expiry", "-q", "good.pem", "soon.pem"]) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["ending"]


def test_json(files, capsys):
    assert main(["certs", "expiry", "--json", "good.pem", "soon.pem", "gone.pem"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told.keys() == {"warn_days", "certificates", "failed"}
    assert [one["within_warn_days"] for one in told["certificates"]] == [True, False]
    soon = told["certificates"][0]
    assert soon.keys() == {"source", "subject", "sha256", "not_after", "remaining_seconds", "within_warn_days"}
    assert timedelta(days=29) < timedelta(seconds=soon["remaining_seconds"]) < timedelta(days=30)
    assert told["failed"] == [{"source": "gone.pem", "error": "'gone.pem' cannot be read: No such file or directory"}]


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_live_chain_even_one_that_wants_a_certificate(files, capsys, version):
    """Under TLS 1.2 that handshake fails, after the chain has come."""
    issued(5, "live.example").write(files / "s.pem", files / "s.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "s.pem", files / "s.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion[version]
    with serving(tls(context)) as port:
        assert main(["certs", "expiry", f"127.0.0.1:{port}", "good.pem"]) == 1
    assert [re.split(r"\s{2,}", line)[-1] for line in capsys.readouterr().out.splitlines()] == [
        "CN=live.example",
        "CN=good.example",
        "CN=Issuing CA",
    ]


def test_an_endpoint_that_is_none(files, capsys):
    with serving(saying(b"220 mail.example ESMTP\r\n")) as port:
        assert main(["certs", "expiry", f"127.0.0.1:{port}", "--timeout", "2"]) == 2
    assert f"secure-asgi: 127.0.0.1:{port}: the handshake fails: wrong version number" in capsys.readouterr().err


def test_a_name_that_would_steer_a_terminal_is_escaped(files, capsys):
    (files / "evil.pem").write_bytes(issued(90, common_name="\x1b[2Jgone\u202e\n[red]").certificate_pem)
    assert main(["certs", "expiry", "evil.pem"]) == 0
    assert r"\x1b[2Jgone\u202e" in (out := capsys.readouterr().out)
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert out.count("\n") == 1
