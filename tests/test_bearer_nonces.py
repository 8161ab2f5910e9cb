"""Nonces that are recognised without being remembered (DPOP-12, RFC 9449 section 9)."""

import re

import pytest

from secure_asgi import ConfigurationError
from secure_asgi.bearer.nonces import Nonces
from secure_asgi.secrets import Secret

SECRET = Secret("0123456789abcdef0123456789abcdef")
START = 1_800_000_000.0
"""The first moment of a period of 60 seconds, and of 20."""


class Clock:
    now = START

    def __call__(self):
        return self.now


def made(secret=SECRET, **options):
    nonces = Nonces(secret, **options)
    nonces._clock = Clock()
    return nonces


@pytest.mark.parametrize(
    ("later", "same", "holds"),
    [
        (0, True, True),
        (59.9, True, True),
        (60, False, True),
        (119.9, False, True),
        (120, False, False),
        (-1, False, False),
    ],
)
def test_a_nonce_holds_in_its_period_and_in_the_next(later, same, holds):
    nonces = made()
    nonce = nonces.current()
    nonces._clock.now += later
    assert (nonces.current() == nonce) is same
    assert nonces.holds(nonce) is holds
    assert nonces.holds(nonces.current())


def test_other_seconds():
    nonces = made(seconds=20)
    nonce = nonces.current()
    nonces._clock.now += 39
    assert nonces.holds(nonce)
    nonces._clock.now += 1
    assert not nonces.holds(nonce)
    assert nonces.longest == 40


def test_workers_with_one_secret_agree_and_others_do_not():
    assert made().current() == made().current()
    assert made().holds(made().current())
    assert not made().holds(made(Secret("x" * 32)).current())


def test_it_is_text_that_a_field_may_hold():
    """NQCHAR (RFC 9449 section 8.1)."""
    seen = set()
    nonces = made()
    for _ in range(50):
        assert re.fullmatch(r"[A-Za-z0-9_-]{24}", nonces.current())
        seen.add(nonces.current())
        nonces._clock.now += 60
    assert len(seen) == 50


@pytest.mark.parametrize("nonce", [None, "", 7, b"x", [], {}, "é" * 24, "\udcff", "A" * 24, "A" * 5000])
def test_what_is_no_nonce_of_ours(nonce):
    assert made().holds(nonce) is False


def test_almost_one():
    nonce = made().current()
    for other in (nonce[:-1], nonce + "A", nonce.swapcase(), nonce + "=", " " + nonce):
        assert not made().holds(other)


def test_the_secret_is_not_shown():
    nonces = made()
    assert SECRET.reveal() not in repr(nonces) + nonces.current()


@pytest.mark.parametrize("secret", [Secret("s" * 31), "s" * 32, b"s" * 32, None])
def test_a_secret_is_one_and_long(secret):
    with pytest.raises(ConfigurationError, match="a Secret of at least 32 bytes") as refused:
        Nonces(secret)
    assert "sss" not in str(refused.value)


@pytest.mark.parametrize("seconds", [0, 0.5, -1, 151, float("inf"), float("nan"), True, "60", None])
def test_seconds_are_a_minute_or_so(seconds):
    with pytest.raises(ConfigurationError, match="seconds= of a nonce is 1 to 150"):
        Nonces(SECRET, seconds=seconds)
