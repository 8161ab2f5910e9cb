"""Which rule decides: the first in the list, as a walk over the list would find it."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_asgi import Rule
from secure_asgi._rule_table import RuleTable

from .test_templates import PATHS, templates

RULES = [
    Rule("GET", "/orders/recent"),
    Rule("GET", "/orders/{id}"),
    Rule(("PUT", "DELETE"), "/orders/{id}"),
    Rule("GET", "/orders/{n:int}/items"),
    Rule("GET", "/orders/*/items"),
    Rule("WEBSOCKET", "/live"),
    Rule("*", "/live"),
    Rule("GET", "/files/{name}.json"),
    Rule("GET", "/files/public/**"),
    Rule("*", "/files/{p:path}"),
    Rule("HEAD", "/probe"),
    Rule("GET", "/probe"),
]

FOUND = {
    ("GET", "/orders/recent"): (0, {}),
    ("GET", "/orders/7"): (1, {"id": "7"}),
    ("HEAD", "/orders/7"): (1, {"id": "7"}),
    ("DELETE", "/orders/recent"): (2, {"id": "recent"}),
    ("POST", "/orders/7"): None,
    ("OPTIONS", "/orders/7"): None,
    ("get", "/orders/7"): None,
    ("GET", "/orders/7/items"): (3, {"n": "7"}),
    ("GET", "/orders/x/items"): (4, {}),
    ("WEBSOCKET", "/live"): (5, {}),
    ("GET", "/live"): (6, {}),
    ("BREW", "/live"): (6, {}),
    ("WEBSOCKET", "/orders/7"): None,
    ("WEBSOCKET", "/files/a"): None,
    ("GET", "/files/a.json"): (7, {"name": "a"}),
    ("GET", "/files/public/a/b"): (8, {}),
    ("GET", "/files/public/"): (8, {}),
    ("GET", "/files/public"): (9, {"p": "public"}),
    ("PUT", "/files/a/b/c/d"): (9, {"p": "a/b/c/d"}),
    ("HEAD", "/probe"): (10, {}),
    ("GET", "/probe"): (11, {}),
    # written to dodge a rule: no rule, which is a refusal
    ("GET", "//orders/7"): None,
    ("GET", "/orders//7"): None,
    ("GET", "/orders/7/"): None,
    ("GET", "/orders/./7"): None,
    ("GET", "/files/public/../secret"): None,
    ("GET", "/files/public\\..\\secret"): None,
    ("GET", "/orders/recent\n"): None,
    ("GET", "/orders/7\x00"): None,
    ("GET", "/Orders/7"): None,
    ("GET", "/orders"): None,
    ("GET", ""): None,
    ("GET", "*"): None,
    # one segment to the router too
    ("GET", "/orders/recent;a=b"): (1, {"id": "recent;a=b"}),
    ("GET", "/orders/%2e%2e"): (1, {"id": "%2e%2e"}),
}


@pytest.mark.parametrize(("request_", "expected"), FOUND.items(), ids=[" ".join(map(repr, each)) for each in FOUND])
def test_which_rule_decides(request_, expected):
    """ASVS 8.3.1: the decision is the one of the route that would answer, or a refusal."""
    found = RuleTable(RULES).find(*request_)
    assert (None if found is None else (RULES.index(found[0]), dict(found[1]))) == expected


METHODS = st.sampled_from(["GET", "HEAD", "POST", "WEBSOCKET", "*"])


def naive(rules, method, path):
    for rule in rules:
        named = rule.methods
        if named is None:
            takes = method != "WEBSOCKET"
        else:
            takes = method in named or (method == "HEAD" and "GET" in named)
        if takes and (params := rule.template.match(path)) is not None:
            return rule, dict(params)
    return None


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.lists(METHODS, min_size=1, max_size=2, unique=True), templates()), min_size=1, max_size=8),
    st.lists(PATHS, min_size=10, max_size=10),
)
def test_it_finds_what_a_walk_over_the_list_finds(written, paths):
    rules = [Rule("*" if "*" in methods else methods, path.rstrip("/") or "/") for methods, path in written]
    table = RuleTable(rules)
    for path in [*paths, *(rule.path for rule in rules)]:
        for method in ("GET", "HEAD", "POST", "DELETE", "WEBSOCKET"):
            found = table.find(method, path)
            assert (None if found is None else (found[0], dict(found[1]))) == naive(rules, method, path)


def test_no_path_costs_more_than_the_table_is_deep():
    """Templates that share all but their ends, and paths that fit every one of them for long."""
    shapes = ["/" + "/".join("a" if bit == "1" else "*" for bit in f"{number:06b}") for number in range(64)]
    table = RuleTable([Rule("GET", f"{shape}/end") for shape in shapes])
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += 1

    for path in ("/a" * 6 + "/other", "/a" * 30_000, "/a" * 6 + "/" + "x" * 60_000):
        calls = 0
        sys.setprofile(count)
        try:
            found = table.find("GET", path)
        finally:
            sys.setprofile(None)
        assert found is None
        assert calls < 60
