"""Path templates: they match what Starlette's router matches, and what is said of two of them holds."""

import re
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.convertors import CONVERTOR_TYPES, Convertor, register_url_convertor
from starlette.routing import compile_path

from secure_asgi._paths import is_plain
from secure_asgi._templates import Template
from secure_asgi.errors import ConfigurationError

PLAIN = {
    "/": True,
    "/orders": True,
    "/orders/": True,
    "/orders/a b;c=%2f~é": True,
    "/.well-known/x..y": True,
    "/a/...": True,
    "": False,
    "*": False,
    "orders": False,
    "//orders": False,
    "/orders//1": False,
    "/orders//": False,
    "/./orders": False,
    "/orders/.": False,
    "/orders/..": False,
    "/orders/../admin": False,
    "/orders\\1": False,
    "/admin\n": False,
    "/admin\x00": False,
    "/a\x7fb": False,
    "/no\u00a0break": True,
}


@pytest.mark.parametrize(("path", "plain"), PLAIN.items(), ids=map(repr, PLAIN))
def test_plain_paths(path, plain):
    """IN-16: what two routers may read differently is none."""
    assert is_plain(path) is plain
    assert (Template("/**").match(path) is not None) is plain


A_UUID = str(uuid.UUID(int=7))

MATCHES = {
    ("/orders", "/orders"): {},
    ("/orders", "/orders/"): None,
    ("/orders", "/Orders"): None,
    ("/orders", "/orders\n"): None,
    ("/orders/", "/orders/"): {},
    ("/", "/"): {},
    ("/orders/{id}", "/orders/1"): {"id": "1"},
    ("/orders/{id}", "/orders/1;v=2"): {"id": "1;v=2"},
    ("/orders/{id}", "/orders/"): None,
    ("/orders/{id}", "/orders/1/"): None,
    ("/orders/*/items", "/orders/1/items"): {},
    ("/orders/{id:int}", "/orders/12"): {"id": "12"},
    ("/orders/{id:int}", "/orders/-1"): None,
    ("/orders/{id:int}", "/orders/٣"): None,
    ("/n/{x:float}", "/n/1.5"): {"x": "1.5"},
    ("/u/{x:uuid}", f"/u/{A_UUID}"): {"x": A_UUID},
    ("/u/{x:uuid}", "/u/1"): None,
    ("/f/{name}.json", "/f/a.b.json"): {"name": "a.b"},
    ("/f/{name}.json", "/f/.json"): None,
    ("/v{n:int}/x", "/v2/x"): {"n": "2"},
    ("/files/{p:path}", "/files/"): {"p": ""},
    ("/files/{p:path}", "/files/a/b/"): {"p": "a/b/"},
    ("/files/{p:path}", "/files"): None,
    ("/files/**", "/files/a/b"): {},
    ("/**", "/"): {},
    ("/a/{p:path}/z", "/a/b/c/z"): {"p": "b/c"},
    ("/a/{p:path}/z", "/a/b"): None,
}


@pytest.mark.parametrize(("case", "parameters"), MATCHES.items(), ids=[" ".join(map(repr, case)) for case in MATCHES])
def test_match(case, parameters):
    template, path = case
    assert Template(template).match(path) == parameters


WRONG = {
    "orders": 'begins with "/"',
    None: 'begins with "/"',
    "/a//b": "empty or a dot segment",
    "/a/../b": "empty or a dot segment",
    "/a\n": "empty or a dot segment",
    "/a*": "one whole segment",
    "/**/a": "as the last segment",
    "/a/{id": "belongs to no parameter",
    "/a/{}": "belongs to no parameter",
    "/a/[0-9]{2}": "belongs to no parameter",
    "/{a}/{a}": "two parameters of one name",
    "/{a:date}": "no convertor 'date'",
}


@pytest.mark.parametrize(("text", "complaint"), WRONG.items(), ids=map(repr, WRONG))
def test_what_is_no_template(text, complaint):
    with pytest.raises(ConfigurationError, match=re.escape(complaint)):
        Template(text, option="path")


def test_of_a_route_everything_is_taken_as_written():
    assert Template.of_route("/a*b//c").match("/a*b//c") is None
    assert Template.of_route("/a*b").match("/a*b") == {}
    assert Template.of_route("").match("/") == {}
    assert Template("/a/{b}") == Template.of_route("/a/{b}")
    assert len({Template("/a"), Template("/a")}) == 1
    assert repr(Template("/a/*")) == "Template('/a/*')"


def test_a_convertor_of_ones_own():
    """What it matches is not known: it passes for everything below, and is matched by its own expression."""

    class Day(Convertor):
        regex = "[0-9]{4}/[0-9]{2}"

        def convert(self, value):
            return value

        def to_string(self, value):
            return value

    register_url_convertor("day", Day())
    try:
        days = Template("/days/{day:day}")
        assert days.match("/days/2026/11") == {"day": "2026/11"}
        assert days.match("/days/x/y") is None
        assert days.covers(Template("/days/{other:day}")) is False
        assert days.covers(Template("/days/{day:day}")) is True
        assert days.covers(Template("/days/2026/11")) is False
        assert Template("/days/**").covers(days) is True
        assert Template("/days/*").covers(days) is False
        assert days.overlaps(Template("/days/*/x")) is True
        assert days.overlaps(Template("/nights/**")) is False
    finally:
        del CONVERTOR_TYPES["day"]


LIES = {
    # one, other: (one covers other, other covers one, they overlap)
    ("/a", "/a"): (True, True, True),
    ("/a", "/b"): (False, False, False),
    ("/a", "/a/b"): (False, False, False),
    ("/*", "/a"): (True, False, True),
    ("/*", "/{name}"): (True, True, True),
    ("/*", "/"): (False, False, False),
    ("/{n:int}", "/12"): (True, False, True),
    ("/{n:int}", "/x"): (False, False, False),
    ("/{n:int}", "/{m:int}"): (True, True, True),
    ("/{n:int}", "/{m:uuid}"): (False, False, True),
    ("/{n}.json", "/{n}"): (False, True, True),
    ("/a/**", "/a/"): (True, False, True),
    ("/a/**", "/a"): (False, False, False),
    ("/a/**", "/a/b/c"): (True, False, True),
    ("/a/**", "/a/b/**"): (True, False, True),
    ("/a/**", "/*/b/**"): (False, False, True),
    ("/a/**", "/b/**"): (False, False, False),
    ("/**", "/a/{p:path}/z"): (True, False, True),
    ("/a/*/z", "/a/{p:path}/z"): (False, False, True),
}


@pytest.mark.parametrize(("case", "lie"), LIES.items(), ids=[" ".join(case) for case in LIES])
def test_two_templates(case, lie):
    one, other = map(Template, case)
    assert (one.covers(other), other.covers(one), one.overlaps(other)) == lie
    assert other.overlaps(one) == one.overlaps(other)


PARTS = st.sampled_from(
    ["a", "b", "7", "x.json", "{%s}", "{%s:int}", "{%s:float}", "{%s}.json", "v{%s:int}", "{%s:path}"]
)
TEXTS = st.sampled_from(["a", "b", "7", "7.5", "x.json", "v7", "A", "a.json", "", "é"])


@st.composite
def templates(draw):
    parts = draw(st.lists(PARTS, min_size=1, max_size=4))
    text = "/" + "/".join(part % f"p{i}" if "%s" in part else part for i, part in enumerate(parts))
    return text + draw(st.sampled_from(["", "", "/"]))


PATHS = st.lists(TEXTS, min_size=1, max_size=5).map(lambda texts: "/" + "/".join(texts))


@settings(max_examples=600, deadline=None)
@given(templates(), PATHS)
def test_it_matches_what_the_router_matches(text, path):
    if not is_plain(path):
        return
    found = compile_path(text)[0].match(path)
    assert Template.of_route(text).match(path) == (None if found is None else found.groupdict())


@settings(max_examples=600, deadline=None)
@given(templates(), templates(), st.lists(PATHS, min_size=20, max_size=20))
def test_what_is_said_of_two_templates_holds(one, other, paths):
    one, other = Template.of_route(one), Template.of_route(other)
    for path in paths:
        in_one, in_other = one.match(path) is not None, other.match(path) is not None
        if one.covers(other):
            assert in_one or not in_other
        if not one.overlaps(other):
            assert not (in_one and in_other)
