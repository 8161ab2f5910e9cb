"""The fields on the wire: what another parser reads in them is what the counter said (RL-1 to RL-9)."""

import sys

import http_sf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_asgi.errors import ConfigurationError
from secure_asgi.rate_limit.counting import Bucket
from secure_asgi.rate_limit.fields import FOREVER, IETFFields, LegacyFields, Policy, horizon_of
from secure_asgi.rate_limit.limits import NANOSECONDS, Limit
from secure_asgi.rate_limit.sliding_window import SHIFT, SlidingWindow


def standing(previous=0, current=0, left=60.0):
    return previous << SHIFT | current, round(left * NANOSECONDS)


def read(state, cost=1, amount=600, seconds=60):
    return SlidingWindow.read(Bucket("any", Limit(amount, seconds), amount), state, cost)


def policy(name="client-60s", amount=600, seconds=60, cost=1):
    return Policy(name, Limit(amount, seconds), cost)


def written(fields, *readings, headers=(), horizon=FOREVER):
    headers = list(headers)
    fields.write(headers, readings, horizon)
    return [(name.decode(), value.decode()) for name, value in headers]


@pytest.mark.parametrize(
    ("cost", "state", "expected"),
    [
        pytest.param(1, standing(0, 1), (599, 120), id="the first request: gone when the next window is"),
        pytest.param(1, standing(0, 600, 30), (0, 31), id="full in this window"),
        pytest.param(1, standing(600, 300, 30), (0, 1), id="full with the one before"),
        pytest.param(1, standing(600, 0, 30), (300, 1), id="only the one before"),
        pytest.param(1, standing(1, 0, 30), (599, 30), id="one of the window before"),
        pytest.param(7, standing(0, 7), (84, 78), id="told in requests of 7 units"),
        pytest.param(7, standing(0, 600, 30), (0, 31), id="7 units more"),
        pytest.param(1, standing(), (600, 0), id="untouched: no more to come"),
    ],
)
def test_reading(cost, state, expected):
    assert policy(cost=cost).told(read(state, cost)) == expected


def test_ietf_fields():
    fields = IETFFields([policy(), policy("burst", 10, 1)])
    assert written(fields, read(standing(0, 1)), read(standing(0, 10, 0.5), 1, 10, 1)) == [
        ("ratelimit-policy", '"client-60s";q=600;w=60, "burst";q=10;w=1'),
        ("ratelimit", '"client-60s";r=599;t=120, "burst";r=0;t=1'),
    ]


NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)


@settings(max_examples=100, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=3, unique=True),
    amount=st.integers(1, 10**9),
    seconds=st.integers(1, 10**7),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1)),
)
def test_http_sf_reads_what_was_meant(names, amount, seconds, shares):
    """Bytes formatted into a template are what a strict serialiser would write (RL-1, RL-2, RL-4)."""
    previous, current, left = shares
    state = standing(int(amount * previous), int(amount * current * (1 - previous)), seconds * left)
    reading = read(state, 1, amount, seconds)
    policies = [policy(name, amount, seconds) for name in names]
    (_, policy_line), (_, limit_line) = written(IETFFields(policies), *[reading] * len(names))
    requests, wait = policies[0].told(reading)
    assert http_sf.parse(policy_line.encode(), tltype="list") == [(name, {"q": amount, "w": seconds}) for name in names]
    told = {"r": requests, "t": wait} if wait else {"r": requests}
    assert http_sf.parse(limit_line.encode(), tltype="list") == [(name, told) for name in names]
    assert http_sf.ser([(name, told) for name in names]) == limit_line


def test_a_t_later_than_retry_after_is_left_unsaid():
    """RL-6: Retry-After is not earlier than any t on the same response."""
    fields = IETFFields([policy(), policy("burst", 10, 1)])
    assert written(fields, read(standing(0, 1)), read(standing(0, 10, 0.5), 1, 10, 1), horizon=2)[1] == (
        "ratelimit",
        '"client-60s";r=599, "burst";r=0;t=1',
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], FOREVER),
        ([(b"retry-after", b"7")], 7),
        ([(b"x", b"1"), (b"retry-after", b"Fri, 31 Dec 1999 23:59:59 GMT")], 0),
    ],
)
def test_horizon(headers, expected):
    assert horizon_of(headers) == expected


def test_what_the_application_wrote_stays():
    """RL-3: the fields are lists, and continue on further lines."""
    own = [(b"ratelimit-policy", b'"mine";q=1'), (b"ratelimit", b'"mine";r=1')]
    lines = written(IETFFields([policy()]), read(standing(0, 1)), headers=own)
    assert lines[:2] == [("ratelimit-policy", '"mine";q=1'), ("ratelimit", '"mine";r=1')]
    assert len(lines) == 4


OURS = [("x-ratelimit-limit", "600"), ("x-ratelimit-remaining", "300"), ("x-ratelimit-reset", "31")]


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        pytest.param([], OURS, id="nothing there"),
        pytest.param([("x-ratelimit-remaining", "299")], None, id="a tighter one stands"),
        pytest.param([("x-ratelimit-remaining", "300")], None, id="as tight a one stands"),
        pytest.param(
            [("x-ratelimit-limit", "900"), ("x-ratelimit-remaining", "301"), ("x-ratelimit-reset", "1")],
            OURS,
            id="a looser one is replaced, whole",
        ),
        pytest.param([("x-ratelimit-remaining", "many")], OURS, id="what is no number is replaced"),
        pytest.param([("x-other", "7"), ("vary", "8")], [("x-other", "7"), ("vary", "8"), *OURS], id="others stay"),
    ],
)
def test_legacy_fields(there, expected):
    """RL-9: one trio, never two."""
    headers = [(name.encode(), value.encode()) for name, value in there]
    got = written(LegacyFields([policy()]), read(standing(0, 300, 30.2)), headers=headers)
    assert got == (there if expected is None else expected)


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        pytest.param(
            (read(standing(0, 599, 30)), read(standing(0, 9, 0.5), 1, 10, 1)),
            ("600", "1", "31"),
            id="equally tight: the longer wait",
        ),
        pytest.param(
            (read(standing(0, 590, 30)), read(standing(0, 9, 0.5), 1, 10, 1)), ("10", "1", "1"), id="fewest remaining"
        ),
    ],
)
def test_legacy_tells_of_the_tightest(readings, expected):
    fields = LegacyFields([policy(), policy("burst", 10, 1)])
    assert tuple(value for _, value in written(fields, *readings)) == expected


def test_a_missing_package_is_answered_with_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "http_sf", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'http-sf>=1\.5'"):
        IETFFields([policy()])


def test_another_unit_is_named():
    """RL-1: ``qu``, and units instead of requests."""
    fields = IETFFields([Policy("tokens-60s", Limit(600, 60), 1, 'a "token"')])
    assert written(fields, (400, 0)) == [
        ("ratelimit-policy", '"tokens-60s";q=600;w=60;qu="a \\"token\\""'),
        ("ratelimit", '"tokens-60s";r=400'),
    ]
