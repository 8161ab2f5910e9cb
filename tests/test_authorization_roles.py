"""What roles hold: hierarchy and permissions, wildcards, cycles, bounds (ASVS 8.2.1)."""

import pytest

from secure_asgi.authorization.roles import REMEMBERED, RoleMap
from secure_asgi.errors import ConfigurationError

MAP = {"root": "*", "admin": {"editor", "orders:*"}, "editor": ["viewer", "pages:write"], "viewer": "pages:read"}

PERMITS = {
    "held by the role": ("viewer", "pages:read", True),
    "held two roles down": ("admin", "pages:read", True),
    "a role is no permission of the one below": ("viewer", "pages:write", False),
    "below the colon": ("admin", "orders:read", True),
    "at any depth": ("admin", "orders:read:all", True),
    "the name before the colon": ("admin", "orders", False),
    "a name that begins alike": ("admin", "orders2:read", False),
    "everything": ("root", "anything:at:all", True),
    "another case": ("Viewer", "pages:read", False),
    "an unknown role holds itself": ("guest", "guest", True),
    "an unknown role holds nothing else": ("guest", "pages:read", False),
    "a star in a token is none": ("*", "pages:read", False),
    "a wildcard in a token is none": ("orders:*", "orders:read", False),
}


@pytest.mark.parametrize(("role", "permission", "permitted"), PERMITS.values(), ids=PERMITS)
def test_permissions(role, permission, permitted):
    assert RoleMap(MAP).held(frozenset((role,))).permits(permission) is permitted


def test_hierarchy():
    roles = RoleMap(MAP)
    assert {"admin", "editor", "viewer"} <= roles.held(frozenset({"admin"})).names
    assert "admin" not in roles.held(frozenset({"editor"})).names
    assert "editor" not in roles.held(frozenset({"root"})).names, "a wildcard is no role"
    assert {"guest", "viewer", "pages:read"} == roles.held(frozenset({"guest", "viewer"})).names
    assert not roles.held(frozenset()).names


def test_what_is_remembered_is_bounded():
    roles = RoleMap(MAP)
    assert roles.held(frozenset({"admin"})) is roles.held(frozenset({"admin"}))
    for number in range(2 * REMEMBERED):
        roles.held(frozenset((f"role{number}",)))
    assert len(roles._known) <= REMEMBERED


def test_a_diamond_is_no_cycle():
    held = RoleMap({"a": ["b", "c"], "b": "d", "c": "d", "d": "e"}).held(frozenset("a"))
    assert held.names == frozenset("abcde")


@pytest.mark.parametrize(
    ("mapping", "cycle"),
    [
        ({"a": "a"}, "a → a"),
        ({"a": "b", "b": "a"}, "a → b → a"),
        ({"x": "a", "a": "b", "b": {"c"}, "c": "a"}, "a → b → c → a"),
    ],
)
def test_cycles_are_named(mapping, cycle):
    with pytest.raises(ConfigurationError, match=f"hold each other: {cycle};"):
        RoleMap(mapping)


@pytest.mark.parametrize(
    "mapping",
    [
        ["admin"],
        {"": "x"},
        {1: "x"},
        {"*": "x"},
        {"a:*": "x"},
        {"a": ""},
        {"a": 1},
        {"a": [1]},
        {"a": "b*"},
        {"a": "b:**"},
        {"a": ":*"},
        {"a": "*:b"},
        {"a": "b:*:c"},
    ],
    ids=repr,
)
def test_wrong_maps(mapping):
    with pytest.raises(ConfigurationError, match="roles= "):
        RoleMap(mapping)
