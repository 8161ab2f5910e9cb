"""The demo is the main job: every answer as expected, and each layer's absence shows in that layer's own answers."""

import re

import pytest

from secure_asgi._files import WatchedFiles
from secure_asgi.cli import main

from .paths import run_python


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    """A replaced file is noticed after a moment and not after seconds, and nobody waits longer for it."""
    monkeypatch.setitem(WatchedFiles.__init__.__kwdefaults__, "every", 0.05)
    monkeypatch.setattr("secure_asgi.cli.demo.tour.NOTICED_WITHIN", 1.0)
    monkeypatch.setattr("secure_asgi.cli.demo.tour.ASK_EVERY", 0.06)


CONCERNS = ("https", "hsts", "mtls", "bearer", "authorization", "rate_limit", "errors", "audit")


def test_every_answer_is_the_expected_one(capsys):
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    count, total = re.search(r"(\d+) of (\d+) answers as expected", out).groups()
    assert count == total
    assert int(total) >= 22
    assert "hunter2" not in out


@pytest.mark.parametrize("concern", CONCERNS)
def test_without_a_layer_its_own_answers_go_wrong(concern, capsys):
    assert main(["demo", "--break", concern]) == 1
    out = " ".join(capsys.readouterr().out.split())
    failed = out.partition("were not the expected ones:")[2]
    assert set(re.findall(r"(\w+) \(", failed)) == {concern}


def test_an_unknown_layer_is_not_understood(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--break", "tls"])
    assert caught.value.code == 2


def test_the_command_is_installed_under_its_name():
    assert "demo" in run_python("-m", "secure_asgi.cli", "--help")
