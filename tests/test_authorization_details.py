"""``authorization_details`` (RFC 9396): what a token grants, against what a rule asks."""

import pytest

from secure_asgi.authorization.details import MAX_DETAILS, WantedDetails
from secure_asgi.errors import ConfigurationError

PAY = {
    "type": "payment",
    "actions": ["initiate", "status"],
    "identifier": "A1",
    "limit": {"currency": "EUR", "amount": 5, "to": [{"iban": "DE1", "bic": "X"}]},
    "flag": True,
}
READ = {"type": "account", "actions": ["read"], "note": None}
DEEP: list = []
for _ in range(5000):
    DEEP = [DEEP]

GRANTS = {
    "the type": ({"type": "payment"}, [PAY], True),
    "another type": ({"type": "loan"}, [PAY], False),
    "the second object": ({"type": "account", "actions": ["read"]}, [PAY, READ], True),
    "two objects, both granted": ([{"type": "payment"}, {"type": "account"}], [PAY, READ], True),
    "two objects, one granted": ([{"type": "payment"}, {"type": "account"}], [PAY], False),
    "members of two objects do not add up": (
        {"type": "a", "actions": ["x", "y"]},
        [{"type": "a", "actions": ["x"]}, {"type": "a", "actions": ["y"]}],
        False,
    ),
    "a part of a list": ({"type": "payment", "actions": ["initiate"]}, [PAY], True),
    "one action alone": ({"type": "payment", "actions": "initiate"}, [PAY], True),
    "a set": ({"type": "payment", "actions": {"initiate", "status"}}, [PAY], True),
    "more than the list": ({"type": "payment", "actions": ["initiate", "cancel"]}, [PAY], False),
    "a list that is a text": ({"type": "a", "actions": ["x"]}, [{"type": "a", "actions": "x"}], False),
    "a member that is missing": ({"type": "payment", "locations": ["x"]}, [PAY], False),
    "a text": ({"type": "payment", "identifier": "A1"}, [PAY], True),
    "another text": ({"type": "payment", "identifier": "A"}, [PAY], False),
    "the parameter": ({"type": "payment", "identifier": "{account}"}, [PAY], True),
    "another parameter": ({"type": "payment", "identifier": "{other}"}, [PAY], False),
    "an empty parameter": ({"type": "a", "x": "{empty}"}, [{"type": "a", "x": ""}], False),
    "a parameter that is missing": ({"type": "account", "note": "{missing}"}, [READ], False),
    "within an object": ({"type": "payment", "limit": {"currency": "EUR"}}, [PAY], True),
    "an object in a list in an object": ({"type": "payment", "limit": {"to": [{"iban": "DE1"}]}}, [PAY], True),
    "another within": ({"type": "payment", "limit": {"to": [{"iban": "DE2"}]}}, [PAY], False),
    "no object": ({"type": "payment", "identifier": {"a": "b"}}, [PAY], False),
    "the number": ({"type": "payment", "limit": {"amount": 5}}, [PAY], True),
    "a number as text": ({"type": "payment", "limit": {"amount": "5"}}, [PAY], False),
    "a smaller number": ({"type": "payment", "limit": {"amount": 4}}, [PAY], False),
    "1 is not True": ({"type": "payment", "flag": 1}, [PAY], False),
    "no claim": ({"type": "payment"}, None, False),
    "one object and no list": ({"type": "payment"}, PAY, False),
    "an empty list": ({"type": "payment"}, [], False),
    "something else beside it": ({"type": "payment"}, [PAY, "x"], False),
    "an object without a type beside it": ({"type": "payment"}, [PAY, {"actions": []}], False),
    "an absurd depth": ({"type": "a", "x": [["y"]]}, [{"type": "a", "x": DEEP}], False),
    "as many as are looked at": ({"type": "payment"}, [PAY] * MAX_DETAILS, True),
    "too many": ({"type": "payment"}, [PAY] * (MAX_DETAILS + 1), False),
}


@pytest.mark.parametrize(("wanted", "claim", "granted"), GRANTS.values(), ids=GRANTS)
def test_grants(wanted, claim, granted):
    details = WantedDetails(wanted, ("account", "other", "empty", "missing"))
    claims = {} if claim is None else {"authorization_details": claim}
    assert details.granted_by(claims, {"account": "A1", "other": "A2", "empty": ""}) is granted


def test_nobody_changes_it_later():
    wanted = {"type": "payment", "actions": ["cancel"]}
    details = WantedDetails(wanted, ())
    wanted["actions"][0] = "initiate"
    assert not details.granted_by({"authorization_details": [PAY]}, {})


@pytest.mark.parametrize(
    "wanted",
    [
        [],
        {},
        5,
        "payment",
        [{"type": "a"}, None],
        {"actions": ["x"]},
        {"type": ""},
        {"type": 1},
        {"type": "{account}"},
        {"type": "a", "x": None},
        {"type": "a", "x": []},
        {"type": "a", "x": {}},
        {"type": "a", "x": {1: "y"}},
        {"type": "a", "x": b"y"},
        {"type": "a", "x": "{unknown}"},
        {"type": "a", "x": ["a-{account}"]},
        {"type": "a", "x": [[[[[[[["y"]]]]]]]]},
    ],
    ids=repr,
)
def test_wrong_details(wanted):
    with pytest.raises(ConfigurationError, match="authorization_details= "):
        WantedDetails(wanted, ("account",))
