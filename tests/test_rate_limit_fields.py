"""The fields on the wire: what another parser reads in them is what the counter said (RL-1 to RL-9)."""

import sys

import http_sf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_asgi.errors import ConfigurationError
from secure_asgi.rate_limit.fields import (
    DESCRIPTIONS,
    FOREVER,
    Draft06Fields,
    Draft07Fields,
    IETFFields,
    LegacyFields,
    Policy,
    horizon_of,
    writers,
)
from secure_asgi.rate_limit.limits import NANOSECONDS, Limit


def reading(free, wait=0.0):
    return free, round(wait * NANOSECONDS)


def policy(name="client-60s", amount=600, seconds=60, cost=1, **more):
    return Policy(name, Limit(amount, seconds), cost, **more)


def encoded(headers):
    return [(name.encode(), value.encode()) for name, value in headers]


def written(fields, *readings, headers=(), horizon=FOREVER, **more):
    headers = list(headers)
    fields.write(headers, readings, horizon, **more)
    return [(name.decode(), value.decode()) for name, value in headers]


@pytest.mark.parametrize(
    ("cost", "state", "expected"),
    [
        pytest.param(1, reading(599, 120), (599, 120), id="requests"),
        pytest.param(1, reading(0, 30.1), (0, 31), id="rounded up"),
        pytest.param(7, reading(593, 77.5), (84, 78), id="told in requests of 7 units"),
        pytest.param(7, reading(6, 31), (0, 31), id="6 units are no request of 7"),
        pytest.param(1, reading(600), (600, 0), id="untouched: no more to come"),
    ],
)
def test_told(cost, state, expected):
    assert policy(cost=cost).told(state) == expected


@pytest.mark.parametrize("unit", ["", "octets é", "a\n", "\x7f"])
def test_a_unit_is_printable(unit):
    with pytest.raises(ConfigurationError, match="unit="):
        policy(unit=unit)


def test_ietf_fields():
    fields = IETFFields([policy(), policy("burst", 10, 1)])
    assert written(fields, reading(599, 120), reading(0, 0.5)) == [
        ("ratelimit-policy", '"client-60s";q=600;w=60, "burst";q=10;w=1'),
        ("ratelimit", '"client-60s";r=599;t=120, "burst";r=0;t=1'),
    ]


def test_another_unit_is_named():
    """RL-1: ``qu``, which is requests where nothing is said."""
    fields = IETFFields([policy("traffic", 10**9, unit="content-bytes"), policy("odd", unit='a"\\')])
    assert written(fields, reading(5), reading(1))[0] == (
        "ratelimit-policy",
        '"traffic";q=1000000000;qu="content-bytes";w=60, "odd";q=600;qu="a\\"\\\\";w=60',
    )


def test_requests_of_several_units():
    assert written(IETFFields([policy(cost=7)]), reading(20, 4)) == [
        ("ratelimit-policy", '"client-60s";q=85;w=60'),
        ("ratelimit", '"client-60s";r=2;t=4'),
    ]


NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)


@settings(max_examples=100, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=3, unique=True),
    amount=st.integers(1, 10**9),
    seconds=st.integers(1, 10**7),
    free=st.integers(0, 10**9),
    wait=st.integers(0, 10**16),
    pk=st.none() | st.binary(max_size=20),
    unit=st.just("requests") | NAMES,
)
def test_http_sf_reads_what_was_meant(names, amount, seconds, free, wait, pk, unit):
    """Bytes formatted into a template are what a strict serialiser would write (RL-1, RL-2, RL-4, RL-8)."""
    policies = [policy(name, amount, seconds, unit=unit) for name in names]
    (_, policy_line), (_, limit_line) = written(IETFFields(policies), *[(free, wait)] * len(names), pk=pk)
    quota = {"q": amount} | ({} if unit == "requests" else {"qu": unit}) | {"w": seconds}
    told = {"r": free} | ({"t": -(-wait // NANOSECONDS)} if wait else {})
    for line, parameters in ((policy_line, quota), (limit_line, told)):
        items = [(name, parameters if pk is None else parameters | {"pk": pk}) for name in names]
        assert http_sf.parse(line.encode(), tltype="list") == items
        assert http_sf.ser(items) == line


def test_a_t_later_than_retry_after_is_left_unsaid():
    """RL-6: Retry-After is not earlier than any t on the same response."""
    fields = IETFFields([policy(), policy("burst", 10, 1)])
    assert written(fields, reading(599, 2.1), reading(0, 2), horizon=2)[1] == (
        "ratelimit",
        '"client-60s";r=599, "burst";r=0;t=2',
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
    lines = written(IETFFields([policy()]), reading(599), headers=own)
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
    got = written(LegacyFields([policy()]), reading(300, 30.2), headers=encoded(there))
    assert got == (there if expected is None else expected)


TIGHTEST = [
    pytest.param((reading(1, 30), reading(1, 0.5)), ("600", "1", "30"), id="equally tight: the longer wait"),
    pytest.param((reading(1, 0.5), reading(1, 30)), ("10", "1", "30"), id="the longer wait, the other way round"),
    pytest.param((reading(1, 30), reading(1, 30)), ("600", "1", "30"), id="alike: the first"),
    pytest.param((reading(10, 30), reading(1, 0.5)), ("10", "1", "1"), id="fewest remaining"),
    pytest.param((reading(600), reading(10)), ("10", "10", "0"), id="untouched"),
]


@pytest.mark.parametrize(("states", "expected"), TIGHTEST)
def test_one_limit_is_told_and_it_is_the_tightest(states, expected):
    limits = [policy(), policy("burst", 10, 1)]
    limit, remaining, reset = expected
    for fields, told in (
        (
            LegacyFields(limits),
            dict(zip(("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"), expected, strict=True)),
        ),
        (
            Draft06Fields(limits),
            {
                "ratelimit-policy": "600;w=60, 10;w=1",
                "ratelimit-limit": limit,
                "ratelimit-remaining": remaining,
                "ratelimit-reset": reset,
            },
        ),
        (
            Draft07Fields(limits),
            {
                "ratelimit-policy": "600;w=60, 10;w=1",
                "ratelimit": f"limit={limit}, remaining={remaining}, reset={reset}",
            },
        ),
    ):
        lines = written(fields, *states)
        assert dict(lines) == told
        assert len(lines) == len(told)
        assert {name.lower() for name in fields.names} == set(told)


def test_fewest_requests_and_not_fewest_units():
    limits = [policy("costly", 600, cost=100), policy("burst", 10, 1)]
    assert written(LegacyFields(limits), reading(250, 3), reading(9, 1))[:2] == [
        ("x-ratelimit-limit", "6"),
        ("x-ratelimit-remaining", "2"),
    ]


def test_the_epoch_is_this_machine_s_clock_plus_the_wait():
    fields = LegacyFields([policy()], reset="epoch", clock=lambda: 1_000 * NANOSECONDS + 1)
    assert written(fields, reading(0, 30))[-1] == ("x-ratelimit-reset", "1031")


@pytest.mark.parametrize("amount_burst", [(None, ""), (600, ""), (35, ";burst=5")])
def test_the_older_drafts_have_a_word_for_burst(amount_burst):
    burst, told = amount_burst
    for fields in (Draft06Fields, Draft07Fields):
        assert ("ratelimit-policy", f"85;w=60{told}") in written(fields([policy(cost=7, burst=burst)]), reading(9))
    assert "burst" not in written(IETFFields([policy(burst=burst)]), reading(9))[0][1]


@pytest.mark.parametrize("draft", [Draft06Fields, Draft07Fields])
def test_the_older_drafts_read_as_structured_fields(draft):
    lines = dict(written(draft([policy(), policy("burst", 10, 1)]), reading(599, 7), reading(3, 1)))
    policies = [(600, {"w": 60}), (10, {"w": 1})]
    assert http_sf.parse(lines.pop("ratelimit-policy").encode(), tltype="list") == policies
    if draft is Draft07Fields:
        (told,) = lines.values()
        told = {key: value for key, (value, _) in http_sf.parse(told.encode(), tltype="dictionary").items()}
    else:
        told = {name[10:]: http_sf.parse(line.encode(), tltype="item")[0] for name, line in lines.items()}
    assert told == {"limit": 10, "remaining": 3, "reset": 1}


NEW07 = ("ratelimit", "limit=600, remaining=300, reset=31")
NEW06 = [("ratelimit-limit", "600"), ("ratelimit-remaining", "300"), ("ratelimit-reset", "31")]


@pytest.mark.parametrize(
    ("there", "stays"),
    [
        pytest.param("limit=9, remaining=299, reset=1", True, id="a tighter one"),
        pytest.param("limit=9,remaining=300", True, id="as tight a one"),
        pytest.param("remaining=300;x,limit=9", True, id="with a parameter"),
        pytest.param("limit=9, remaining=301, reset=1", False, id="a looser one"),
        pytest.param("limit=9, my-remaining=1", False, id="of something else"),
        pytest.param("limit=9, remaining=1x", False, id="no number"),
        pytest.param('"mine";r=1', False, id="another dialect: both would be unreadable"),
    ],
)
def test_draft_07_tells_once(there, stays):
    lines = written(Draft07Fields([policy()]), reading(300, 30.2), headers=encoded([("ratelimit", there), ("a", "b")]))
    others = [("a", "b"), ("ratelimit-policy", "600;w=60")]
    assert lines == ([("ratelimit", there), *others] if stays else [*others, NEW07])


@pytest.mark.parametrize(("there", "stays"), [("299", True), ("300", True), ("301", False), ("300;a", False)])
def test_draft_06_tells_once(there, stays):
    own = [("ratelimit-limit", "9"), ("ratelimit-remaining", there), ("ratelimit-reset", "1")]
    lines = written(Draft06Fields([policy()]), reading(300, 30.2), headers=encoded(own))
    policies = [("ratelimit-policy", "600;w=60")]
    assert lines == ([*own, *policies] if stays else [*policies, *NEW06])


@pytest.mark.parametrize("draft", [Draft06Fields, Draft07Fields])
def test_the_older_drafts_have_one_line_of_policies(draft):
    """It must not occur twice, they say: a second layer continues the line of the first."""
    lines = written(draft([policy()]), reading(9), headers=encoded([("a", "b"), ("ratelimit-policy", "9;w=1")]))
    assert [value for name, value in lines if name == "ratelimit-policy"] == ["9;w=1, 600;w=60"]


@pytest.mark.parametrize("draft", [Draft06Fields, Draft07Fields])
@pytest.mark.parametrize(("horizon", "is_told"), [(30, False), (31, True)])
def test_the_older_drafts_are_silent_where_the_reset_is_later_than_retry_after(draft, horizon, is_told):
    """RL-6. The reset is required there: without it there is nothing to say, and a looser answer is gone as well."""
    looser = [("ratelimit", "limit=9, remaining=9, reset=1"), ("ratelimit-remaining", "9")]
    lines = written(draft([policy()]), reading(0, 30.2), headers=encoded(looser), horizon=horizon)
    ours = [name for name, value in lines if name != "ratelimit-policy" and (name, value) not in looser]
    assert bool(ours) is is_told
    assert (looser[draft is Draft06Fields] in lines) is False


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(("ietf", "draft-10", "delta"), [IETFFields], id="draft-10"),
        pytest.param(("ietf", "draft-07", "delta"), [Draft07Fields], id="draft-07"),
        pytest.param(("both", "draft-06", "delta"), [Draft06Fields, LegacyFields], id="both"),
        pytest.param(("legacy", "draft-10", "epoch"), [LegacyFields], id="legacy"),
        pytest.param(("off", "draft-10", "delta"), [], id="off"),
    ],
)
def test_writers(options, expected):
    chosen = writers(*options, [policy()])
    assert [type(writer) for writer in chosen] == expected
    assert all(name in DESCRIPTIONS for writer in chosen for name in writer.names)


@pytest.mark.parametrize(("legacy", "least"), [("delta", 0), ("epoch", 1_700_000_000)])
def test_which_reset_the_trio_has(legacy, least):
    (writer,) = writers("legacy", "draft-10", legacy, [policy()])
    reset = int(written(writer, reading(0, 30))[-1][1])
    assert reset > least
    assert (reset == 30) is (legacy == "delta")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("all", "draft-10", "delta"), 'headers= is "ietf", "legacy", "both" or "off", got \'all\''),
        (("off", "draft-8", "delta"), 'dialect= is "draft-10", "draft-07" or "draft-06", got \'draft-8\''),
        (("off", "draft-10", None), 'legacy= is "delta" or "epoch", got None'),
    ],
    ids=["headers", "dialect", "legacy"],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigurationError, match=message):
        writers(*options, [policy()])


def test_a_missing_package_is_answered_with_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "http_sf", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'http-sf>=1\.5'"):
        IETFFields([policy()])
