"""The command line as a whole: exit statuses, and no traceback for what can be expected to happen."""

import contextlib
import io
import os
import subprocess
import sys

import pytest

from secure_asgi.cli import certs, main

from .paths import ENVIRONMENT, run_python


def test_it_runs_as_a_module():
    shown = run_python("-m", "secure_asgi.cli", "certs", "--help")
    assert all(command in shown for command in ("dev", "expiry", "show"))


@pytest.mark.parametrize(
    "arguments",
    [[], ["certs"], ["certs", "renew"], ["certs", "expiry"], ["certs", "show", "a:1", "--timeout", "0"]],
    ids=["nothing", "half a command", "unknown", "no target", "no time"],
)
def test_what_is_not_understood_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["demo"], ["certs", "show", "localhost:1"]], ids=["demo", "show"])
def test_a_missing_extra_is_named_with_the_way_to_install_it(arguments, monkeypatch, capsys):
    for module in [name for name in sys.modules if name.startswith(("rich.", "secure_asgi.cli.demo"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(arguments) == 2
    complaint = capsys.readouterr().err
    assert "needs rich" in complaint
    assert "pip install 'secure-asgi[cli]'" in complaint


def test_an_interrupt_ends_it_quietly(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(certs, "_dev", interrupted)
    assert main(["certs", "dev"]) == 130
    assert capsys.readouterr() == ("", "")


def test_what_is_printed_can_be_caught_by_a_program(monkeypatch):
    monkeypatch.setattr(certs, "_dev", lambda options: 0)
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["certs", "dev"]) == 0


@pytest.mark.parametrize("buffering", [-1, 1], ids=["at the end", "while it works"])
def test_a_reader_that_goes_away_is_no_complaint(monkeypatch, tmp_path, capsys, buffering):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", buffering) as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert main(["certs", "dev", str(tmp_path / "certs")]) == 2
    assert capsys.readouterr().err == ""


def test_a_terminal_that_cannot_show_a_name_gets_escapes(tmp_path):
    from secure_asgi.testing import issue_certificate

    (tmp_path / "a.pem").write_bytes(issue_certificate("dns:a", common_name="Bücher ✓").chain_pem)
    done = subprocess.run(
        [sys.executable, "-m", "secure_asgi.cli", "certs", "expiry", "a.pem", "--warn-days", "1"],
        env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert r"CN=B\xfccher \u2713" in done.stdout
