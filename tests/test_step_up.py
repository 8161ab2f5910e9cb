"""STEP-1: whether the user has signed in strongly and recently enough, by ``acr`` and ``auth_time``."""

import pytest

from secure_asgi._step_up import authenticated_enough

NOW = 1_790_000_000
GOLD, SILVER = "urn:example:gold", "urn:example:silver"

ROWS = {
    "nothing is asked, nothing is claimed": ({}, {}, True),
    "the one that is asked for": ({"acr": GOLD}, {"acr_values": (GOLD,)}, True),
    "the second choice": ({"acr": SILVER}, {"acr_values": [GOLD, SILVER]}, True),
    "one value as a text": ({"acr": GOLD}, {"acr_values": GOLD}, True),
    "a part of the text": ({"acr": "gold"}, {"acr_values": GOLD}, False),
    "another": ({"acr": "urn:example:bronze"}, {"acr_values": (GOLD, SILVER)}, False),
    "another case": ({"acr": GOLD.upper()}, {"acr_values": (GOLD,)}, False),
    "no acr": ({"auth_time": NOW}, {"acr_values": (GOLD,)}, False),
    "acr null": ({"acr": None}, {"acr_values": (GOLD,)}, False),
    "acr a number": ({"acr": 1}, {"acr_values": ("1",)}, False),
    "acr a list": ({"acr": [GOLD]}, {"acr_values": (GOLD,)}, False),
    "acr an object, which a set cannot look up": ({"acr": {}}, {"acr_values": {GOLD}}, False),
    "just now": ({"auth_time": NOW}, {"max_age": 0}, True),
    "at the limit": ({"auth_time": NOW - 300 - 30}, {"max_age": 300}, True),
    "beyond it": ({"auth_time": NOW - 300 - 31}, {"max_age": 300}, False),
    "at the limit without leeway": ({"auth_time": NOW - 300}, {"max_age": 300, "leeway": 0}, True),
    "beyond it without leeway": ({"auth_time": NOW - 301}, {"max_age": 300, "leeway": 0}, False),
    "a clock that is ahead": ({"auth_time": NOW + 30}, {"max_age": 300}, True),
    "in the future": ({"auth_time": NOW + 31}, {"max_age": 300}, False),
    "a fraction": ({"auth_time": NOW - 1.5}, {"max_age": 300}, True),
    "no auth_time": ({"acr": GOLD, "iat": NOW}, {"max_age": 300}, False),
    "auth_time null": ({"auth_time": None}, {"max_age": 300}, False),
    "auth_time a text": ({"auth_time": str(NOW)}, {"max_age": 300}, False),
    "auth_time true": ({"auth_time": True}, {"max_age": 2 * NOW}, False),
    "auth_time in milliseconds": ({"auth_time": NOW * 1000}, {"max_age": 300}, False),
    "auth_time no float can hold": ({"auth_time": -(10**400)}, {"max_age": 300}, False),
    "auth_time not a number": ({"auth_time": float("nan")}, {"max_age": 300}, False),
    "auth_time infinite": ({"auth_time": float("-inf")}, {"max_age": 300}, False),
    "both": ({"acr": GOLD, "auth_time": NOW}, {"acr_values": (GOLD,), "max_age": 300}, True),
    "strong, too long ago": ({"acr": GOLD, "auth_time": NOW - 999}, {"acr_values": (GOLD,), "max_age": 300}, False),
    "recent, too weak": ({"acr": SILVER, "auth_time": NOW}, {"acr_values": (GOLD,), "max_age": 300}, False),
}


@pytest.mark.parametrize(("claims", "asked", "met"), ROWS.values(), ids=ROWS)
def test_step_up(claims, asked, met):
    assert authenticated_enough(claims, now=NOW, **asked) is met
