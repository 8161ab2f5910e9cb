"""``Rule``: what each option asks, in which order, and what is answered (STEP-1, BRR-6, ASVS 8.2.1, 8.4.1)."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from secure_asgi._challengers import forbidden
from secure_asgi.authorization.checks import REMEMBERED
from secure_asgi.authorization.roles import RoleMap
from secure_asgi.authorization.rules import Rule
from secure_asgi.denial import Denial, Reason
from secure_asgi.errors import ConfigurationError
from secure_asgi.exchange import Exchange, PeerCertificate, Principal

from . import asgi

NOW = 1_790_000_000
ROLES = RoleMap({"admin": {"editor", "orders:*"}, "editor": "pages:write"})
THEN = datetime(2026, 1, 1, tzinfo=UTC)
PEER = PeerCertificate(
    der=b"", sha256="00" * 32, subject="", issuer="", serial=1, not_before=THEN, not_after=THEN, dns=("a.example",)
)
WHO = Principal(
    subject="alice",
    scopes=frozenset(("read", "list")),
    roles=frozenset(("admin",)),
    claims={
        "tenant": "t1",
        "tenants": ["t1", "t2"],
        "mixed": ["t1", 5],
        "flags": [True],
        "level": 1,
        "vip": True,
        "null": None,
        "empty": "",
        "org": {"id": "t1"},
        "acr": "gold",
        "amr": ["pwd", "otp"],
        "auth_time": NOW - 300,
        "authorization_details": [{"type": "payment", "identifier": "t1"}],
    },
)


class Recorder:
    """A challenger that says what it was asked for."""

    methods = frozenset(("bearer",))
    missing = Denial("missing", 401, headers=((b"www-authenticate", b"Bearer"),))

    def insufficient_scope(self, scopes, note, scheme):
        return Denial(Reason.SCOPE_INSUFFICIENT, 403, members={"asked": sorted(scopes)}, note=note)

    def insufficient_authentication(self, acr_values, max_age, note, scheme):
        asked = (list(acr_values), max_age)
        return Denial(Reason.AUTHENTICATION_INSUFFICIENT, 401, members={"asked": asked}, note=note)


def check(rule, *, principal=WHO, client="203.0.113.9", peer=PEER, params=None, challengers=None):
    exchange = Exchange(asgi.http_scope())
    challengers = (Recorder(),) if challengers is None else challengers
    exchange.client, exchange.principal, exchange.peer_certificate = client, principal, peer
    exchange.challengers = challengers
    held = None if principal is None else ROLES.held(principal.roles)
    path = {"tenant": "t1", "none": ""} if params is None else params
    return rule.check(exchange, path, held, NOW)


def rule(**options):
    return Rule("GET", "/{tenant}/{none:path}", **options)


PASSES = {
    "any principal": {},
    "a scope": {"scopes": "read"},
    "all scopes": {"scopes": {"read", "list"}},
    "one of the scopes": {"any_scopes": ["write", "read"]},
    "a role": {"roles": "admin"},
    "one of the roles": {"roles": ["other", "admin"]},
    "a role held by a role": {"roles": "editor"},
    "permissions": {"permissions": ["orders:read", "pages:write"]},
    "any certificate": {"certificate": True},
    "no certificate asked": {"certificate": False},
    "a certificate of that name": {"certificate": "dns:a.example"},
    "a certificate of one of the names": {"certificate": ["dns:b.example", "dns:*.example"]},
    "a claim": {"claims": {"tenant": "t1"}},
    "a claim, one of several": {"claims": {"tenant": ["t0", "t1"]}},
    "a claim that is the parameter": {"claims": {"tenant": "{tenant}"}},
    "a claim that holds the parameter": {"claims": {"tenants": "{tenant}"}},
    "a number": {"claims": {"level": 1}},
    "a boolean": {"claims": {"vip": True}},
    "authorization details": {"authorization_details": {"type": "payment", "identifier": "{tenant}"}},
    "acr": {"acr": ["platinum", "gold"]},
    "amr": {"amr": ["otp", "pwd"]},
    "max_age": {"max_age": 300},
    "max_age within the clock skew": {"max_age": 270},
    "a network": {"networks": ["10.0.0.0/8", "203.0.113.0/24"]},
    "not a denied network": {"denied_networks": "10.0.0.0/8"},
    "predicates are asked elsewhere": {"when": lambda access: False},
}


@pytest.mark.parametrize("options", PASSES.values(), ids=PASSES)
def test_passes(options):
    assert check(rule(**options)) is None


CLAIM, STEP = Reason.CLAIM_MISMATCH, Reason.AUTHENTICATION_INSUFFICIENT
REFUSED = {
    "a scope that lacks": ({"scopes": ["read", "write"]}, Reason.SCOPE_INSUFFICIENT, "scope write"),
    "none of the scopes": ({"any_scopes": ["b", "a"]}, Reason.SCOPE_INSUFFICIENT, "one scope of a b"),
    "a role gives no scope": ({"scopes": "orders:read"}, Reason.SCOPE_INSUFFICIENT, "scope orders:read"),
    "a role": ({"roles": ["x", "owner"]}, Reason.ROLE_MISSING, "one role of owner x"),
    "a permission": ({"permissions": ["orders:x", "users:x"]}, Reason.PERMISSION_MISSING, "permission users:x"),
    "another name": (
        {"certificate": "dns:b.example"},
        Reason.CERTIFICATE_NOT_ALLOWED,
        "name in the client certificate",
    ),
    "a claim of another value": ({"claims": {"tenant": "t2"}}, CLAIM, "claim tenant"),
    "a claim in part": ({"claims": {"tenant": "t"}}, CLAIM, "claim tenant"),
    "one claim of two": ({"claims": {"tenant": "t1", "level": 2}}, CLAIM, "claim level"),
    "True is not 1": ({"claims": {"vip": 1}}, CLAIM, "claim vip"),
    "1 is not True": ({"claims": {"level": True}}, CLAIM, "claim level"),
    "1 is no text": ({"claims": {"level": "1"}}, CLAIM, "claim level"),
    "a claim that is missing": ({"claims": {"other": "{tenant}"}}, CLAIM, "claim other"),
    "a claim that is null": ({"claims": {"null": "{tenant}"}}, CLAIM, "claim null"),
    "nothing is no tenant": ({"claims": {"empty": "{none}"}}, CLAIM, "claim empty"),
    "a list not of texts alone": ({"claims": {"mixed": "t1"}}, CLAIM, "claim mixed"),
    "a list of booleans": ({"claims": {"flags": True}}, CLAIM, "claim flags"),
    "an object": ({"claims": {"org": "t1"}}, CLAIM, "claim org"),
    "details": (
        {"authorization_details": {"type": "loan"}},
        Reason.AUTHORIZATION_DETAILS_INSUFFICIENT,
        "authorization_details",
    ),
    "acr": ({"acr": ["platinum", "diamond"]}, STEP, "acr, one of platinum diamond"),
    "amr": ({"amr": ["pwd", "hwk"]}, STEP, "amr hwk pwd"),
    "max_age": ({"max_age": 269}, STEP, "a sign-in within 269 s"),
    "max_age 0": ({"max_age": 0}, STEP, "a sign-in within 0 s"),
    "another network": ({"networks": "10.0.0.0/8"}, Reason.NETWORK_NOT_ALLOWED, "network of the client"),
    "a denied network": ({"denied_networks": "203.0.113.9"}, Reason.NETWORK_NOT_ALLOWED, "network of the client"),
    "denial wins": (
        {"networks": "203.0.0.0/16", "denied_networks": "203.0.113.0/24"},
        Reason.NETWORK_NOT_ALLOWED,
        "network of the client",
    ),
}


@pytest.mark.parametrize(("options", "reason", "lacks"), REFUSED.values(), ids=REFUSED)
def test_refused(options, reason, lacks):
    asked = rule(**options)
    denial = check(asked)
    assert (denial.reason, denial.note) == (reason, f"{asked.name}: {lacks}")
    assert denial.status == (401 if reason == STEP else 403)
    assert lacks not in denial.detail, "the note is private"


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"scopes": ["read", "write"]}, ["read", "write"]),
        ({"any_scopes": ["b", "a"]}, ["a", "b"]),
        ({"any_scopes": ["b", "a"], "scopes": "read"}, ["a", "b", "read"]),
        ({"authorization_details": {"type": "loan"}}, []),
        ({"acr": ["z", "a"], "max_age": 5}, (["z", "a"], 5)),
        ({"acr": "gold", "amr": "hwk", "max_age": 900}, (["gold"], 900)),
    ],
)
def test_what_the_challenge_asks_for(options, asked):
    """BRR-6, STEP-1: all scopes that would do; acr values in their order."""
    assert check(rule(**options)).members["asked"] == asked


def test_nobody():
    """401 with the ways to authenticate, 403 where there is none; after the networks, before everything else."""
    asked = rule(certificate=True, scopes="read", networks="10.0.0.0/8")
    assert check(asked, principal=None).reason == Reason.NETWORK_NOT_ALLOWED
    denial = check(asked, principal=None, peer=None, client="10.0.0.1")
    assert (denial.reason, denial.status) == (Reason.PRINCIPAL_MISSING, 401)
    assert denial.headers == Recorder.missing.headers
    assert check(rule(), principal=None, challengers=()).status == 403


def test_no_certificate():
    for certificate in (True, "dns:a.example"):
        assert check(rule(certificate=certificate), peer=None).reason == Reason.CERTIFICATE_MISSING


@pytest.mark.parametrize("claims", [{}, {"amr": "pwd otp"}, {"amr": None}, {"amr": {"pwd": 1}}, {"amr": [["pwd"]]}])
def test_amr_is_a_list(claims):
    """RFC 8176 section 1."""
    assert check(rule(amr="pwd"), principal=replace(WHO, claims=claims)).reason == STEP


def test_the_order():
    """Nobody is sent to sign in again who would be refused after it."""
    everything = {
        "networks": ("10.0.0.0/8", "203.0.113.0/24", Reason.NETWORK_NOT_ALLOWED),
        "certificate": ("dns:b.example", True, Reason.CERTIFICATE_NOT_ALLOWED),
        "scopes": ("x", "read", Reason.SCOPE_INSUFFICIENT),
        "any_scopes": ("y", "read", Reason.SCOPE_INSUFFICIENT),
        "roles": ("x", "admin", Reason.ROLE_MISSING),
        "permissions": ("x", "orders:x", Reason.PERMISSION_MISSING),
        "claims": ({"tenant": "x"}, {"tenant": "t1"}, CLAIM),
        "authorization_details": ({"type": "x"}, {"type": "payment"}, Reason.AUTHORIZATION_DETAILS_INSUFFICIENT),
        "acr": ("x", "gold", STEP),
    }
    options = {name: bad for name, (bad, _, _) in everything.items()}
    for name, (_, good, reason) in everything.items():
        assert check(rule(**options)).reason == reason, name
        options[name] = good
    assert check(rule(**options)) is None


@pytest.mark.parametrize(
    ("client", "passes"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::1", True),
        ("10.9.0.1", False),
        ("::ffff:10.9.0.1", False),
        ("192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("testclient", False),
        (None, False),
    ],
)
def test_networks(client, passes):
    asked = rule(networks=["10.0.0.0/8", "fd00::/8"], denied_networks="10.9.0.0/16")
    for _ in range(2):  # the second answer is remembered
        assert (check(asked, client=client) is None) is passes


@pytest.mark.parametrize("client", [None, "testclient"])
def test_an_unknown_client_is_in_no_network(client):
    assert check(rule(networks="10.0.0.0/8"), client=client).reason == Reason.NETWORK_NOT_ALLOWED
    assert check(rule(denied_networks="10.0.0.0/8"), client=client).reason == Reason.NETWORK_NOT_ALLOWED


def test_what_is_remembered_of_clients_is_bounded():
    asked = rule(networks="10.0.0.0/8")
    for number in range(2 * REMEMBERED):
        check(asked, client=f"10.0.{number >> 8}.{number & 255}")
    assert len(asked._networks._known) <= REMEMBERED


def test_public():
    assert check(rule(public=True), principal=None) is None
    assert check(rule(public=True, when=forbidden), principal=None) is None
    asked = rule(public=True, networks="10.0.0.0/8")
    assert check(asked, principal=None).reason == Reason.NETWORK_NOT_ALLOWED
    assert check(asked, principal=None, client="10.0.0.1") is None


@pytest.mark.parametrize(
    ("methods", "read", "name"),
    [
        ("GET", {"GET"}, "GET /x"),
        (["PUT", "GET"], {"GET", "PUT"}, "GET,PUT /x"),
        ("*", None, "* /x"),
        (("*",), None, "* /x"),
        ("WEBSOCKET", {"WEBSOCKET"}, "WEBSOCKET /x"),
        ("M-SEARCH", {"M-SEARCH"}, "M-SEARCH /x"),
    ],
)
def test_methods(methods, read, name):
    asked = Rule(methods, "/x")
    assert (asked.methods, asked.name) == (read, name)
    assert asked.template.text == asked.path == "/x"


def own_order(access):
    return True


@pytest.mark.parametrize(
    ("options", "summary"),
    [
        ({}, "any principal"),
        ({"public": True}, "everybody"),
        ({"public": True, "denied_networks": "10.0.0.0/8"}, "everybody; denied_networks 10.0.0.0/8"),
        ({"scopes": {"b", "a"}, "roles": "admin"}, "scopes a, b; roles admin"),
        ({"claims": {"tenant": "{tenant}"}, "max_age": 0}, "max_age 0; claims tenant={tenant}"),
        ({"certificate": True}, "certificate True"),
        (
            {"authorization_details": {"type": "a", "id": "{tenant}"}},
            "authorization_details type=a, id={tenant}",
        ),
        ({"when": [own_order, Recorder]}, "when own_order; when Recorder"),
    ],
)
def test_summary(options, summary):
    asked = rule(**options)
    assert asked.summary == summary
    assert repr(asked) == f"<Rule {asked.name}: {summary}>"


def test_rules_compare():
    one = rule(scopes=["a", "b"], claims={"level": 1}, when=own_order)
    same = rule(scopes=("b", "a"), claims={"level": [1]}, when=[own_order])
    assert one == same
    assert hash(one) == hash(same)
    assert one != rule(scopes=["a", "b"], claims={"level": True}, when=own_order)
    assert one != rule(scopes=["a", "b"], claims={"level": 1})
    assert rule(acr=["a", "b"]) != rule(acr=["b", "a"])
    assert rule() != Rule("GET", "/other")
    assert rule() != rule(public=True)
    assert rule() != "GET"


def test_rules_are_immutable():
    wanted = {"tenant": ["t2"]}
    asked = rule(claims=wanted)
    wanted["tenant"].append("t1")
    wanted.clear()
    assert check(asked).reason == CLAIM
    with pytest.raises(AttributeError, match="immutable"):
        asked.public = True
    with pytest.raises(AttributeError, match="immutable"):
        del asked._checks


@pytest.mark.parametrize(
    ("methods", "says"),
    [("get", "write 'GET'"), ("", "in capitals"), ([], "in capitals"), (["GET", "*"], "alone"), (5, "in capitals")],
)
def test_wrong_methods(methods, says):
    with pytest.raises(ConfigurationError, match=says):
        Rule(methods, "/x")


@pytest.mark.parametrize(
    "options",
    [
        {"scopes": "a b"},
        {"scopes": ""},
        {"scopes": 5},
        {"scopes": b"read"},
        {"scopes": 'a"b'},
        {"scopes": "a\n"},
        {"scopes": "orders:*"},
        {"any_scopes": "*"},
        {"roles": "*"},
        {"roles": [None]},
        {"permissions": "orders:*"},
        {"acr": "a b"},
        {"amr": [1]},
        {"max_age": -1},
        {"max_age": True},
        {"max_age": 1.5},
        {"certificate": []},
        {"certificate": 5},
        {"certificate": [True]},
        {"certificate": "a.example"},
        {"claims": {}},
        {"claims": "tenant"},
        {"claims": {"tenant": []}},
        {"claims": {"tenant": None}},
        {"claims": {"tenant": 1.5}},
        {"claims": {"tenant": {"a": "b"}}},
        {"claims": {("a", "b"): "c"}},
        {"claims": {"": "c"}},
        {"claims": {"tenant": "{other}"}},
        {"claims": {"tenant": "x-{tenant}"}},
        {"networks": "0.0.0.0/0"},
        {"denied_networks": "::/0"},
        {"networks": None},
        {"authorization_details": {}},
        {"authorization_details": []},
        {"when": 5},
        {"when": [len, True]},
        {"public": 1},
    ],
    ids=repr,
)
def test_wrong_options(options):
    (option,) = options
    with pytest.raises(ConfigurationError, match=f"{option}="):
        rule(**options)


@pytest.mark.parametrize("options", [{"scopes": "a"}, {"max_age": 0}, {"certificate": True}], ids=repr)
def test_public_beside_what_asks_for_somebody(options):
    with pytest.raises(ConfigurationError, match="public=True lets everybody in"):
        rule(public=True, **options)
