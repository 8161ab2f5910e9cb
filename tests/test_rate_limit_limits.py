"""Limit strings: what is read, and what is refused with a sentence that says the fix."""

import subprocess
import sys

import pytest

from secure_asgi.errors import ConfigurationError
from secure_asgi.rate_limit.limits import MAX_AMOUNT, Limit, read_limits
from secure_asgi.rate_limit.sliding_window import SHIFT


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param("600/minute", [(600, 60)], id="one"),
        pytest.param("10/second; 600/minute", [(10, 1), (600, 60)], id="several in one string"),
        pytest.param(["10/second", "600/minute"], [(10, 1), (600, 60)], id="several strings"),
        pytest.param(["5000/day", "10/second, 600/minute"], [(5000, 86400), (10, 1), (600, 60)], id="order is kept"),
        pytest.param("5 per 2 hours", [(5, 7200)], id="multiples"),
        pytest.param(f"{MAX_AMOUNT}/second", [(MAX_AMOUNT, 1)], id="the highest amount"),
    ],
)
def test_reads(given, expected):
    assert read_limits(given) == tuple(Limit(*one) for one in expected)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        pytest.param("", "takes strings such as", id="empty"),
        pytest.param((), "at least one limit", id="none"),
        pytest.param("600", "takes strings such as", id="no window"),
        pytest.param("600/fortnight", "takes strings such as", id="unknown window"),
        pytest.param("10/second; much", "takes strings such as", id="a good one and a bad one"),
        pytest.param("-1/minute", "takes strings such as", id="negative"),
        pytest.param(600, "takes strings such as", id="a number"),
        pytest.param([b"600/minute"], "takes strings such as", id="bytes"),
        pytest.param(["600/minute", None], "takes strings such as", id="None among them"),
        pytest.param("0/minute", "amounts from 1 to", id="zero"),
        pytest.param(f"{MAX_AMOUNT + 1}/second", "amounts from 1 to", id="more than a count can hold"),
        pytest.param("10/minute; 600/60 seconds", "the same 60 seconds", id="two for one window"),
    ],
)
def test_refuses(given, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        read_limits(given)


def test_the_highest_amount_fits_into_half_of_a_packed_count():
    assert MAX_AMOUNT < 1 << SHIFT


def test_a_missing_package_is_answered_with_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "limits", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'limits>=5\.8'"):
        read_limits("1/minute")


def test_importing_the_middleware_imports_no_limits_and_no_http_sf():
    code = "import sys, secure_asgi.rate_limit; sys.exit(bool({'limits', 'http_sf'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "src"}).returncode == 0
