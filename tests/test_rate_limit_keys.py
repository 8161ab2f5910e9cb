"""Who is counted: addresses, principals, keys of one's own (RL-8, RL-15)."""

from types import SimpleNamespace

import pytest

from secure_asgi.errors import ConfigurationError
from secure_asgi.exchange import Exchange, Principal
from secure_asgi.rate_limit.keys import Identify, is_preflight, octets_of, preflight_key, principal_key

from .asgi import http_scope


def key_of(client, *, key="client", ipv6_prefix=56, principal=None):
    scope = http_scope(client=client and (client, 50000))
    exchange = Exchange(scope)
    exchange.principal = principal
    return Identify(key, ipv6_prefix=ipv6_prefix).of(exchange, scope)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("203.0.113.9", "::ffff:203.0.113.9", id="IPv4-mapped is IPv4"),
        pytest.param("203.0.113.9", "::FFFF:cb00:7109", id="IPv4-mapped in hexadecimal"),
        pytest.param("2001:db8:0:1200::1", "2001:db8:0:12ff:ffff::2", id="one IPv6 /56"),
        pytest.param("2001:db8::1", "2001:0DB8:0:0::0:1", id="two spellings"),
        pytest.param("fe80::1", "fe80::1%eth0", id="with a zone"),
        pytest.param(None, None, id="nobody knows"),
    ],
)
def test_same_client(one, other):
    assert key_of(one) == key_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("203.0.113.9", "203.0.113.10", id="IPv4"),
        pytest.param("::ffff:203.0.113.9", "::ffff:203.0.113.10", id="IPv4-mapped: masked first, all would be one"),
        pytest.param("2001:db8:0:1200::1", "2001:db8:0:1300::1", id="two IPv6 /56"),
        pytest.param("203.0.113.9", None, id="known and unknown"),
        pytest.param("not:an:address", "not:an:other", id="not addresses"),
        pytest.param("::1\0", "::1", id="a null byte"),
    ],
)
def test_different_clients(one, other):
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize(
    ("bits", "same", "other"),
    [
        (32, "2001:db8:ffff::", "2001:db9::"),
        (48, "2001:db8:0:ffff::", "2001:db8:1::"),
        (50, "2001:db8:0:3fff::", "2001:db8:0:4000::"),
        (52, "2001:db8:0:0fff::", "2001:db8:0:1000::"),
        (60, "2001:db8:0:f::", "2001:db8:0:10::"),
        (64, "2001:db8::ffff:0:0:0", "2001:db8:0:1::"),
        (128, "2001:db8::", "2001:db8::1"),
    ],
)
def test_ipv6_prefix(bits, same, other):
    assert key_of("2001:db8::", ipv6_prefix=bits) == key_of(same, ipv6_prefix=bits)
    assert key_of("2001:db8::", ipv6_prefix=bits) != key_of(other, ipv6_prefix=bits)


def someone(subject="7", issuer="https://id.example.com"):
    return Principal(subject=subject, issuer=issuer)


def test_a_principal_is_the_same_from_every_address():
    first = key_of("203.0.113.9", key="principal", principal=someone())
    assert first == key_of("2001:db8::1", key="principal", principal=someone())
    assert first != key_of("203.0.113.9", key="principal", principal=someone("8"))


def test_without_a_principal_the_client_is_counted():
    assert key_of("203.0.113.9", key="principal") == key_of("203.0.113.9")


def test_by_client_a_principal_does_not_matter():
    assert key_of("203.0.113.9", principal=someone()) == key_of("203.0.113.9")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(("a/b", "c"), ("a", "b/c"), id="moved across the border"),
        pytest.param(("1:a", ""), ("", "1:a"), id="one of them empty"),
        pytest.param(("https://a.example", "7"), ("https://b.example", "7"), id="a subject at two issuers"),
        pytest.param(("x" * 99, "y"), ("x" * 98, "xy"), id="long ones"),
    ],
)
def test_issuer_and_subject_stay_apart(one, other):
    (issuer, subject), (other_issuer, other_subject) = one, other
    assert principal_key(someone(subject, issuer)) != principal_key(someone(other_subject, other_issuer))


def test_long_keys_cost_what_short_ones_do():
    key = key_of(None, key=lambda exchange, scope: "x" * 100_000)
    assert len(key) == 20
    assert key != key_of(None, key=lambda exchange, scope: "x" * 100_001)


def claimed(**claims):
    return Principal(subject="7", issuer="https://id.example.com", claims=claims)


CERTIFICATE = SimpleNamespace(sha256="ab" * 32)


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        pytest.param("claim:tenant", claimed(tenant="a"), claimed(tenant="b"), id="two tenants"),
        pytest.param("claim:tenant", claimed(tenant="1"), claimed(tenant=1), id="a number is no text"),
        pytest.param(
            "claim:tenant",
            claimed(tenant="a"),
            Principal(subject="7", issuer="https://other.example", claims={"tenant": "a"}),
            id="one tenant's name at two issuers",
        ),
        pytest.param("claim:tenant", claimed(tenant="a"), claimed(), id="without the claim: the principal"),
        pytest.param("claim:tenant", claimed(tenant=["a"]), claimed(tenant="a"), id="a claim that is no name"),
        pytest.param(
            "api-key",
            Principal(subject="7", method="api-key", token_id="k1"),
            Principal(subject="7", method="api-key", token_id="k2"),
            id="two keys of one client",
        ),
        pytest.param(
            "api-key",
            Principal(subject="7", method="api-key", token_id="k1"),
            Principal(subject="7", token_id="k1"),
            id="a key and a token",
        ),
        pytest.param("api-key", Principal(subject="7", method="api-key", token_id="k1"), None, id="a key and nobody"),
    ],
)
def test_parts_that_tell_principals_apart(key, one, other):
    assert key_of("203.0.113.9", key=key, principal=one) != key_of("203.0.113.9", key=key, principal=other)
    assert key_of("203.0.113.9", key=key, principal=one) == key_of("203.0.113.9", key=key, principal=one)


def test_one_tenant_is_one_whoever_asks():
    one, other = claimed(tenant="a"), Principal(subject="8", issuer="https://id.example.com", claims={"tenant": "a"})
    assert key_of("203.0.113.1", key="claim:tenant", principal=one) == key_of(None, key="claim:tenant", principal=other)


def test_by_certificate():
    scope = http_scope()
    exchange = Exchange(scope)
    of = Identify("certificate", ipv6_prefix=56).of
    assert of(exchange, scope) == "203.0.113.9"
    exchange.peer_certificate = CERTIFICATE
    assert of(exchange, scope) == b"\xab" * 32


PARTS = ("client", lambda exchange, scope: scope["path"])


@pytest.mark.parametrize(
    ("one", "other"),
    [(("203.0.113.9", "/a"), ("203.0.113.9", "/b")), (("203.0.113.9", "/a"), ("203.0.113.1", "/a"))],
    ids=["the second part", "the first part"],
)
def test_several_parts(one, other):
    of = Identify(PARTS, ipv6_prefix=56).of

    def key(address, path):
        scope = http_scope(path, client=(address, 1))
        return of(Exchange(scope), scope)

    assert key(*one) != key(*other)
    assert len(key(*one)) == 20
    assert key(*one) == key(*one)


def test_parts_keep_their_borders():
    """Text and octets, and ("ab", "c") beside ("a", "bc")."""

    def joined(*parts):
        readers = [(lambda exchange, scope, part=part: part) for part in parts]
        scope = http_scope()
        return Identify(readers, ipv6_prefix=56).of(Exchange(scope), scope)

    assert joined("ab", "c") != joined("a", "bc")
    assert joined("a", "2001:db8::1") != joined("a", "2001:db8::2")


def test_a_key_is_text_or_octets():
    assert octets_of("a") != octets_of(b"a")
    with pytest.raises(TypeError, match="got int"):
        octets_of(7)


@pytest.mark.parametrize(
    ("key", "place", "name"),
    [
        ("client", "client", "client"),
        ("route", "client", "route"),
        (("client", "route"), "client", "client-route"),
        ("principal", "principal", "principal"),
        ("api-key", "principal", "api-key"),
        ("certificate", "principal", "certificate"),
        (("claim:tenant", "route"), "principal", "tenant-route"),
        (("client", lambda exchange, scope: ""), "custom", "client-custom"),
    ],
)
def test_place_and_name(key, place, name):
    identify = Identify(key, ipv6_prefix=56)
    assert (identify.place, identify.name) == (place, name)


@pytest.mark.parametrize("name", ["日本", "\udcff"], ids=["wide", "a lone surrogate"])
def test_wide_keys_cost_what_narrow_ones_do(name):
    assert len(key_of(None, key=lambda exchange, scope: name)) == 20


def test_a_short_key_of_ones_own_is_kept():
    assert key_of(None, key=lambda exchange, scope: "x" * 64) == "x" * 64


@pytest.mark.parametrize("answer", [None, b"bytes", 7])
def test_a_key_that_is_no_string_is_an_error(answer):
    with pytest.raises(TypeError, match="must return a string"):
        key_of("203.0.113.9", key=lambda exchange, scope: answer)


async def waits(exchange, scope):
    return "x"


@pytest.mark.parametrize(
    "key",
    ["ip", None, 7, waits, "claim:", ("client", "ip"), ()],
    ids=["another word", "None", "a number", "a coroutine function", "no claim", "one of two", "none"],
)
def test_key_option(key):
    with pytest.raises(ConfigurationError, match=r"key= (is|needs)"):
        Identify(key, ipv6_prefix=56)


@pytest.mark.parametrize("bits", [31, 129, "56", 56.0, True, None])
def test_ipv6_prefix_option(bits):
    with pytest.raises(ConfigurationError, match="from 32 to 128"):
        Identify("client", ipv6_prefix=bits)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"origin", "access-control-request-method"}, True),
        ({"origin"}, False),
        ({"access-control-request-method"}, False),
        (set(), False),
    ],
)
def test_is_preflight(names, expected):
    assert is_preflight({name.encode(): b"x" for name in names}) is expected


def test_a_preflight_is_counted_apart_and_by_the_same_asker():
    keys = ["203.0.113.9", "203.0.113.10", b"\x20\x01\x0d\xb8\0\0\0", "\udcff", "日"]
    assert len({*keys, *map(preflight_key, keys)}) == 10
    assert preflight_key(keys[0]) == preflight_key("203.0.113.9")
