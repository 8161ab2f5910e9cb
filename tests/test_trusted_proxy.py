"""TrustedProxy: FWD-1 to FWD-12, RID-1, EX-11, and the attacks on a client's address."""

import contextlib
import logging
import sys
from datetime import date
from ipaddress import ip_address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secure_asgi.denial import Reason
from secure_asgi.errors import ConfigurationError, ForwardedError
from secure_asgi.exchange import exchange_of
from secure_asgi.trusted_proxy import TrustedProxyMiddleware, client_address

from . import asgi

PROXY = ("10.0.0.1", 40000)
STRANGER = ("198.51.100.66", 40000)
TRUSTED = "10.0.0.0/8"


def recorded(peer):
    """Extensions as our server hook leaves them."""
    return {"secure_asgi": {"peer": peer}}


def behind(headers, *, websocket=False, client=PROXY, scheme="http", layer=None, path="/", **options):
    """The scope an application sees, and the answer, for one request through TrustedProxy."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)
        await asgi.hello(scope, receive, send)

    layer = layer or {"trusted": TRUSTED}
    drive = asgi.websocket if websocket else asgi.http
    answer = drive(
        TrustedProxyMiddleware(app, **layer),
        path,
        headers=[(b"host", b"api.example.com"), *asgi.encode(headers)],
        client=client,
        scheme=scheme,
        **options,
    )
    assert answer.error is None
    return (seen[0] if seen else None), answer


def xff(*lines):
    return [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]


# The walk over X-Forwarded-For


@pytest.mark.parametrize(
    ("name", "lines", "client"),
    [
        ("no field: the proxy itself", [], "10.0.0.1"),
        ("one address", ["203.0.113.7"], "203.0.113.7"),
        ("FWD-4 a spoofed left-most element is not read", ["127.0.0.1, 203.0.113.7"], "203.0.113.7"),
        ("FWD-4 the walk passes proxies of ours", ["203.0.113.7, 10.9.9.9, 10.0.0.2"], "203.0.113.7"),
        ("FWD-4 a proxy of ours behind a stranger is the stranger's claim", ["10.0.0.9, 203.0.113.7"], "203.0.113.7"),
        ("FWD-4 only proxies: the last one reached", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("FWD-3 several lines are one list, in order", ["127.0.0.1", "203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("FWD-3 the client's own line stands first", ["203.0.113.7", "198.51.100.1"], "198.51.100.1"),
        ("FWD-8 with a port", ["203.0.113.7:567"], "203.0.113.7"),
        ("FWD-8 bare IPv6", ["2001:db8::1"], "2001:db8::1"),
        ("FWD-8 bare IPv6, as short as can be", ["::"], "::"),
        ("FWD-8 IPv6 in brackets", ["[2001:db8::1]"], "2001:db8::1"),
        ("FWD-8 IPv6 in brackets with a port", ["[2001:db8::1]:567"], "2001:db8::1"),
        ("FWD-8 quotes are optional", ['"[2001:db8::1]:567"'], "2001:db8::1"),
        ("FWD-8 quotes around IPv4", ['"203.0.113.7"'], "203.0.113.7"),
        ("IPv6 is written in its shortest form", ["2001:DB8:0:0:0:0:0:1"], "2001:db8::1"),
        ("FWD-9 mapped IPv4 is IPv4", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("FWD-9 mapped IPv4 in hexadecimal", ["[::ffff:cb00:7107]:1"], "203.0.113.7"),
        ("FWD-9 a mapped proxy is a proxy", ["203.0.113.7, ::ffff:10.0.0.2"], "203.0.113.7"),
        ("FWD-7 unknown at the boundary", ["203.0.113.7, unknown"], None),
        ("FWD-7 unknown in any case", ["203.0.113.7, Unknown"], None),
        ("FWD-7 unknown with a port", ["unknown:80"], None),
        ("FWD-7 an obfuscated name", ["203.0.113.7, _hidden, 10.0.0.2"], None),
        ("whitespace around elements", ["\t203.0.113.7 \t, 10.0.0.2 "], "203.0.113.7"),
        ("empty elements are ignored", ["127.0.0.1,, 203.0.113.7,,10.0.0.2, "], "203.0.113.7"),
        ("an empty field is no field", ["", " , "], "10.0.0.1"),
        ("junk left of the boundary is the client's", ["<script>, \x00, %, 203.0.113.7"], "203.0.113.7"),
        ("non-ASCII junk left of the boundary", ["\xff\xfe, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("port 65535", ["203.0.113.7:65535"], "203.0.113.7"),
        ("20 elements", [", ".join(["198.51.100.1"] * 19 + ["203.0.113.7"])], "203.0.113.7"),
        ("4096 bytes", ["x" * (4096 - 12) + ",203.0.113.7"], "203.0.113.7"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_x_forwarded_for(name, lines, client):
    assert client_address("10.0.0.1", xff(*lines), trusted=TRUSTED) == client


@pytest.mark.parametrize(
    "element",
    [
        "localhost",
        "203.0.113",
        "203.0.113.07",
        "0313.0.113.7",
        "0xcb.0.113.7",
        "3405803783",
        "203.0.113.7:",
        "203.0.113.7:65536",
        "203.0.113.7:123456",
        "203.0.113.7:http",
        "203.0.113.7:80:90",
        "[203.0.113.7]",
        "[2001:db8::1",
        "2001:db8::1]",
        "2001:db8::1]:80",
        "[2001:db8::1]x",
        "[[2001:db8::1]]",
        "fe80::1%eth0",
        "[fe80::1%25eth0]:80",
        "2001:db8::1::2",
        "_",
        "_bad name",
        "unknown:80x",
        "unix:",
        "203.0.113.7 10.0.0.1",
        "203.0.113.7;10.0.0.1",
        "203.0.113.7\r\nX: y",
        "203.0.113.7\x00",
        "\uff12.0.113.7".encode().decode("latin-1"),
        "\u00b2.0.0.1",
        '"203.0.113.7',
        '""',
        '"',
        "*",
        "10.0.0.0/8",
        "for=203.0.113.7",
        "'; drop table clients; --",
    ],
)
def test_a_malformed_element_at_the_boundary_is_refused(element):
    """Each reaches the boundary directly, and through a proxy of ours."""
    for chain in (element, f"127.0.0.1, {element}, 10.0.0.2"):
        with pytest.raises(ForwardedError) as caught:
            client_address("10.0.0.1", xff(chain), trusted=TRUSTED)
        assert caught.value.reason == Reason.FORWARDED_MALFORMED
        assert element not in caught.value.note


@pytest.mark.parametrize("value", [",".join(["1.1.1.1"] * 21), "1" * 4097], ids=["21 elements", "4097 bytes"])
def test_caps(value):
    """FWD-9: bounded work, whatever the client wrote on the left."""
    with pytest.raises(ForwardedError) as caught:
        client_address("10.0.0.1", xff(value), trusted=TRUSTED)
    assert caught.value.reason == Reason.FORWARDED_TOO_LONG


@pytest.mark.parametrize(
    ("name", "peer", "trusted", "client"),
    [
        ("FWD-1 a stranger's field is not read", "198.51.100.66", TRUSTED, "198.51.100.66"),
        ("FWD-1 a single address", "10.0.0.1", "10.0.0.1", "203.0.113.7"),
        ("several networks", "fd00::5", (TRUSTED, "fd00::/8"), "203.0.113.7"),
        ("FWD-9 a mapped peer is IPv4", "::ffff:10.0.0.1", TRUSTED, "203.0.113.7"),
        ("FWD-9 a mapped stranger too", "::ffff:198.51.100.66", TRUSTED, "198.51.100.66"),
        ("a link-local peer is known without its link", "fe80::1%eth0", "fe80::/10", "203.0.113.7"),
        ("a peer with its port", ("10.0.0.1", 4711), TRUSTED, "203.0.113.7"),
        ("FWD-1 a Unix socket is not trusted unless named", None, TRUSTED, None),
        ("FWD-1 nor is an empty peer", "", TRUSTED, None),
        ("FWD-1 a Unix socket that is named", None, (TRUSTED, "unix"), "203.0.113.7"),
        ("FWD-1 an empty peer is one", "", "unix", "203.0.113.7"),
        ("FWD-1 naming it trusts no address", "10.0.0.1", "unix", "10.0.0.1"),
        ("what a test client calls itself is no address", "testclient", TRUSTED, None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_peer(name, peer, trusted, client):
    assert client_address(peer, xff("203.0.113.7"), trusted=trusted) == client


@pytest.mark.parametrize(
    ("name", "hops", "lines", "client"),
    [
        ("one hop: the right-most", 1, ["127.0.0.1, 203.0.113.7"], "203.0.113.7"),
        ("two hops: the second from the right", 2, ["127.0.0.1, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("FWD-4 fewer than hops: the peer", 2, ["203.0.113.7"], "198.51.100.66"),
        ("FWD-4 no field: the peer", 1, [], "198.51.100.66"),
        ("a hidden element in between counts", 2, ["203.0.113.7, unknown"], "203.0.113.7"),
        ("FWD-7 a hidden element at the boundary", 1, ["203.0.113.7, _edge"], None),
        ("junk further left is the client's", 1, ["<junk>, 203.0.113.7"], "203.0.113.7"),
        ("junk in a chain too short is the client's", 2, ["<junk>"], "198.51.100.66"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hops(name, hops, lines, client):
    assert client_address("198.51.100.66", xff(*lines), hops=hops) == client


def test_twenty_hops():
    assert client_address("198.51.100.66", xff(", ".join(["203.0.113.7"] * 20)), hops=20) == "203.0.113.7"


def test_hops_reads_every_element_up_to_the_boundary():
    with pytest.raises(ForwardedError):
        client_address("198.51.100.66", xff("203.0.113.7, <junk>"), hops=2)


# Forwarded


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ("for=unknown", None),
        ("for=_hidden;proto=https", None),
        ('for="1.2.3.4:_p1"', "1.2.3.4"),
        ("for=1.2.3.4;;proto=http", "1.2.3.4"),
        ("for=1.2.3.4", "1.2.3.4"),
        ('for="1.2.3.4"', "1.2.3.4"),
        (r'for="1.2\.3.4"', "1.2.3.4"),
        ("proto=https;FOR=1.2.3.4;by=10.0.0.1;host=evil.example;secret=x", "1.2.3.4"),
        ('for=1.2.3.4;note="a, b; for=6.6.6.6"', "1.2.3.4"),
        (r'for=1.2.3.4;note="\", for=6.6.6.6"', "1.2.3.4"),
        ("proto=https", None),
        (";", None),
        ("for=9.9.9.9, for=1.2.3.4, for=10.0.0.2", "1.2.3.4"),
        ('for="[::ffff:1.2.3.4]"', "1.2.3.4"),
        # What a client writes on the left swallows nothing, however its quotes are left open.
        ('for=", for=1.2.3.4', "1.2.3.4"),
        ('", for=1.2.3.4', "1.2.3.4"),
        ('a="x, for=1.2.3.4;by="[::1]"', "1.2.3.4"),
        ('for="\\", for=1.2.3.4', "1.2.3.4"),
        ('for="6.6.6.6\\, for="[2001:db8::1]"', "2001:db8::1"),
        ("=x, for=1.2.3.4", "1.2.3.4"),
        ("", "10.0.0.1"),
        (" , ,", "10.0.0.1"),
    ],
)
def test_forwarded(value, client):
    """EX-11, FWD-5, FWD-6: accepted."""
    headers = [(b"Forwarded", value.encode("latin-1"))]
    assert client_address("10.0.0.1", headers, trusted=TRUSTED, source="forwarded") == client


@pytest.mark.parametrize(
    "value",
    [
        "for=2001:db8::1",
        'for="[::1]:99999"',
        "for=a;for=b",
        "for=1.2.3.4;For=1.2.3.4",
        'for="1.2.3.4',
        '1.2.3.4"',
        '"',
        'a"b"',
        "for=_",
        'for="unknown:80x"',
        "=x",
        "for=1.2.3.4\r\nX: y",
        "for=a",
        "for=",
        'for=""',
        'for="2001:db8::1"',
        "for=[2001:db8::1]",
        "for=1.2.3.4:80",
        'for="1.2.3.4"x',
        "for=1.2.3.4; proto=https",
        "for = 1.2.3.4",
        "1.2.3.4",
        "for=1.2.3.4;proto=ftp",
        "for=1.2.3.4;proto",
        'for="1.2.3.4\x01"',
        'for="fe80::1%eth0"',
    ],
)
def test_forwarded_malformed_at_the_boundary(value):
    """EX-11, FWD-5, FWD-6: refused."""
    headers = [(b"forwarded", value.encode("latin-1"))]
    with pytest.raises(ForwardedError) as caught:
        client_address("10.0.0.1", headers, trusted=TRUSTED, source="forwarded")
    assert caught.value.reason == Reason.FORWARDED_MALFORMED


def test_forwarded_many_quotes_are_split_in_bounded_time():
    value = 'a="\\"' * 800 + ",for=1.2.3.4"
    assert client_address("10.0.0.1", [(b"forwarded", value.encode())], trusted=TRUSTED, source="forwarded") == (
        "1.2.3.4"
    )


# One field of another name


def test_another_field():
    headers = [(b"x-forwarded-for", b"6.6.6.6"), (b"CF-Connecting-IP", b"203.0.113.7")]
    assert client_address("10.0.0.1", headers, trusted=TRUSTED, source="header:CF-Connecting-IP") == "203.0.113.7"


def test_another_field_on_two_lines_is_ambiguous():
    headers = [(b"x-real-ip", b"6.6.6.6"), (b"x-real-ip", b"203.0.113.7")]
    with pytest.raises(ForwardedError) as caught:
        client_address("10.0.0.1", headers, trusted=TRUSTED, source="header:x-real-ip")
    assert caught.value.reason == Reason.FORWARDED_MALFORMED
    assert client_address("198.51.100.66", headers, trusted=TRUSTED, source="header:x-real-ip") == "198.51.100.66"


# Fuzz: only ForwardedError comes out, and only addresses

ELEMENTS = st.lists(
    st.one_of(
        st.text(alphabet=st.characters(max_codepoint=255), max_size=40),
        st.text(alphabet='0123456789abcdef.:[]%"_=;\\, for', max_size=40),
        st.ip_addresses().map(str),
        st.ip_addresses().map(lambda address: f'for="[{address}]"'),
    ),
    max_size=24,
)


@settings(max_examples=200, deadline=None)
@given(
    elements=ELEMENTS,
    peer=st.one_of(st.none(), st.text(max_size=20), st.just("10.0.0.1")),
    source=st.sampled_from(["x-forwarded-for", "forwarded", "header:x-real-ip"]),
    believed=st.sampled_from([{"trusted": (TRUSTED, "unix")}, {"hops": 1}, {"hops": 3}]),
)
@example(elements=['"'], peer="10.0.0.1", source="forwarded", believed={"hops": 1})
def test_fuzz(elements, peer, source, believed):
    field = source.rpartition(":")[2].encode()
    headers = [(field, ",".join(elements).encode("latin-1"))]
    with contextlib.suppress(ForwardedError):
        client = client_address(peer, headers, source=source, **believed)
        assert client is None or str(ip_address(client)) == client


@settings(max_examples=200, deadline=None)
@given(junk=st.text(alphabet=st.characters(max_codepoint=255, blacklist_characters="\r\n"), max_size=60))
@pytest.mark.parametrize("source", ["x-forwarded-for", "forwarded"])
def test_what_the_client_writes_never_moves_the_boundary(source, junk):
    ours = "203.0.113.7" if source == "x-forwarded-for" else 'for="203.0.113.7:80"'
    headers = [(source.encode(), junk.encode("latin-1")), (source.encode(), ours.encode())]
    if len(junk) < 20 or junk.count(",") < 19:  # beyond that the field may be too long
        assert client_address("10.0.0.1", headers, trusted=TRUSTED, source=source) == "203.0.113.7"


# Options


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({}, "exactly one of"),
        ({"trusted": TRUSTED, "hops": 1}, "exactly one of"),
        ({"trusted": ()}, "names no proxy"),
        ({"trusted": ""}, "takes networks"),
        ({"trusted": "*"}, "never a wildcard"),
        ({"trusted": "proxy.example.com"}, "takes networks"),
        ({"trusted": [7]}, "takes networks"),
        ({"trusted": "fe80::1%eth0"}, "takes networks"),
        ({"trusted": "10.0.0.1/8"}, "write '10.0.0.0/8'"),
        ({"trusted": "2001:db8::1/32"}, "write '2001:db8::/32'"),
        ({"trusted": "0.0.0.0/0"}, "is everybody"),
        ({"trusted": "::/0"}, "is everybody"),
        ({"trusted": "::ffff:10.0.0.0/104"}, "the IPv4 network"),
        ({"hops": 0}, "1 to 20"),
        ({"hops": 21}, "1 to 20"),
        ({"hops": True}, "1 to 20"),
        ({"hops": "1"}, "1 to 20"),
        ({"hops": 1, "source": "x-real-ip"}, "header:cf-connecting-ip"),
        ({"hops": 1, "source": "header:"}, "header:cf-connecting-ip"),
        ({"hops": 1, "source": "header:x_real_ip"}, "header:cf-connecting-ip"),
        ({"hops": 1, "source": "header:forwarded"}, "header:cf-connecting-ip"),
        ({"hops": 1, "source": None}, "header:cf-connecting-ip"),
    ],
)
def test_wrong_options(options, fix):
    with pytest.raises(ConfigurationError, match=fix.replace("(", r"\(")):
        TrustedProxyMiddleware(asgi.hello, **options)
    with pytest.raises(ConfigurationError):
        client_address("10.0.0.1", [], **options)


# The middleware: what it publishes


@pytest.mark.parametrize("websocket", [False, True], ids=["http", "websocket"])
@pytest.mark.parametrize(
    ("name", "headers", "client", "is_secure"),
    [
        ("a client behind the proxy", {"X-Forwarded-For": "203.0.113.7"}, ("203.0.113.7", 0), False),
        ("with its port", {"X-Forwarded-For": "203.0.113.7:567"}, ("203.0.113.7", 567), False),
        ("FWD-10 with its scheme", {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}, None, True),
        ("FWD-10 in any case", {"X-Forwarded-Proto": "HTTPS"}, None, True),
        ("FWD-10 wss", {"X-Forwarded-Proto": "wss"}, None, True),
        ("FWD-10 ws", {"X-Forwarded-Proto": "ws"}, None, False),
        ("FWD-10 the right-most", {"X-Forwarded-Proto": "https, http"}, None, False),
        ("FWD-10 the right-most is secure", {"X-Forwarded-Proto": "http, https"}, None, True),
        ("an empty X-Forwarded-Proto says nothing", {"X-Forwarded-Proto": " ,"}, None, False),
        ("nothing but the proxy", {}, PROXY, False),
        ("FWD-7 an unknown client", {"X-Forwarded-For": "unknown"}, "none", False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_published(name, headers, client, is_secure, websocket):
    scope, _ = behind(headers, websocket=websocket, scheme="ws" if websocket else "http")
    expected = None if client == "none" else client
    if client is not None:
        assert scope["client"] == expected
        assert exchange_of(scope).client == (expected and expected[0])
    scheme = ("ws" if websocket else "http") + ("s" if is_secure else "")
    assert scope["scheme"] == exchange_of(scope).scheme == scheme
    assert exchange_of(scope).is_secure is is_secure


def test_a_proxy_can_say_that_its_client_came_in_clear():
    """HTTPS-1: the scheme that counts is the client's, TLS between the proxy and us or not."""
    scope, _ = behind({"X-Forwarded-Proto": "http"}, scheme="https", extensions={"tls": {}})
    assert scope["scheme"] == "http"
    scope, _ = behind({}, scheme="http", extensions={"tls": {}})
    assert scope["scheme"] == "https"


def test_scheme_lines_are_one_list():
    scope, _ = behind([("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")])
    assert scope["scheme"] == "http"


@pytest.mark.parametrize(
    ("value", "client", "scheme"),
    [
        ("for=203.0.113.7;proto=https, for=10.0.0.2;proto=http", "203.0.113.7", "https"),
        ("for=6.6.6.6;proto=https, for=203.0.113.7;proto=http", "203.0.113.7", "http"),
        ("for=6.6.6.6;proto=https, for=203.0.113.7", "203.0.113.7", "http"),
        ("for=203.0.113.7;;proto=https", "203.0.113.7", "https"),
        ("proto=https", None, "https"),
    ],
)
def test_the_scheme_is_the_one_in_the_element_that_names_the_client(value, client, scheme):
    """FWD-10; X-Forwarded-Proto is of the other family and is not read (FWD-2)."""
    scope, _ = behind(
        {"Forwarded": value, "X-Forwarded-Proto": "https"}, layer={"trusted": TRUSTED, "source": "forwarded"}
    )
    assert exchange_of(scope).client == client
    assert scope["scheme"] == scheme


def test_nothing_a_stranger_says_is_believed():
    """FWD-1."""
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Request-ID": "0123456789"}
    scope, answer = behind(headers, client=STRANGER)
    assert scope["client"] == STRANGER
    assert scope["scheme"] == "http"
    assert scope["headers"] == [(b"host", b"api.example.com")]
    assert exchange_of(scope).request_id != "0123456789"
    assert answer.status == 200


def test_a_chain_shorter_than_hops_is_a_strangers():
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    scope, _ = behind(headers, layer={"hops": 2})
    assert (scope["client"], scope["scheme"]) == (PROXY, "http")
    assert scope["headers"] == [(b"host", b"api.example.com")]
    scope, _ = behind(headers, layer={"hops": 1})
    assert (scope["client"], scope["scheme"]) == (("203.0.113.7", 0), "https")


# The middleware: who the peer is


@pytest.mark.parametrize(
    ("name", "client", "extensions", "published"),
    [
        ("recorded: a proxy", ("6.6.6.6", 0), recorded(PROXY), ("203.0.113.7", 0)),
        ("recorded: a stranger", ("10.0.0.1", 0), recorded(STRANGER), STRANGER),
        ("recorded: a Unix socket", PROXY, recorded(None), None),
        ("an entry without a peer records none", PROXY, {"secure_asgi": {}}, ("203.0.113.7", 0)),
        ("no extensions at all", PROXY, None, ("203.0.113.7", 0)),
        ("a Unix socket", None, {}, None),
        ("a Unix socket, as granian says it", ("", 0), {}, None),
        ("what a test client calls itself", ("testclient", 50000), {}, None),
        ("a mapped peer", ("::ffff:198.51.100.66", 5), {}, ("198.51.100.66", 5)),
        ("a list", list(PROXY), {}, ("203.0.113.7", 0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_who_the_peer_is(name, client, extensions, published):
    scope, _ = behind({"X-Forwarded-For": "203.0.113.7"}, client=client, extensions=extensions)
    assert scope["client"] == published


@pytest.mark.parametrize("client", [None, ("", 0)])
@pytest.mark.parametrize("extensions", [{}, recorded(None)])
def test_a_unix_socket_is_believed_if_named(client, extensions):
    layer = {"trusted": ("unix", TRUSTED)}
    scope, _ = behind({"X-Forwarded-For": "203.0.113.7"}, client=client, extensions=extensions, layer=layer)
    assert scope["client"] == ("203.0.113.7", 0)


def test_a_rewritten_peer_is_refused_and_the_log_says_the_fix_once(caplog):
    """FWD-12: uvicorn has put what X-Forwarded-For claims into scope["client"]; the peer is no longer visible."""
    layer = TrustedProxyMiddleware(asgi.hello, trusted=TRUSTED)
    with caplog.at_level(logging.INFO, logger="secure_asgi"):
        answers = [asgi.http(layer, client=("10.0.0.1", 0)) for _ in range(3)]
        answers.append(asgi.websocket(layer, client=("10.0.0.1", 0)))
    assert {answer.status for answer in answers} == {403}
    assert "peer" not in str(answers[0].problem)
    (record,) = caplog.records
    assert "proxy_headers=False" in record.getMessage()
    assert "secure_asgi.servers.uvicorn" in record.getMessage()


def test_a_rewritten_peer_in_shadow_mode_is_nobody():
    layer = {"trusted": TRUSTED, "mode": "shadow", "shadow_until": date(2999, 1, 1)}
    scope, answer = behind({"X-Forwarded-For": "203.0.113.7"}, client=("10.0.0.1", 0), layer=layer)
    assert answer.status == 200
    assert scope["client"] is None
    assert exchange_of(scope).client is None
    assert scope["headers"] == [(b"host", b"api.example.com")]
    assert [decision.reason for decision in exchange_of(scope).decisions] == [Reason.PEER_REWRITTEN]


# The middleware: refusals


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"X-Forwarded-For": "<script>"}, Reason.FORWARDED_MALFORMED),
        ({"X-Forwarded-For": "1" * 5000}, Reason.FORWARDED_TOO_LONG),
        ({"X-Forwarded-Proto": "ftp"}, Reason.FORWARDED_MALFORMED),
        ({"X-Forwarded-Proto": "https\x00"}, Reason.FORWARDED_MALFORMED),
        ({"X-Forwarded-Proto": "h" * 5000}, Reason.FORWARDED_TOO_LONG),
    ],
    ids=str,
)
@pytest.mark.parametrize("websocket", [False, True], ids=["http", "websocket"])
def test_a_malformed_chain_is_a_400_problem(headers, reason, websocket):
    """Issue rule "bad input": the documented problem, a stable reason for the log and nothing of it for the client."""
    scope, answer = behind(headers, websocket=websocket)
    assert scope is None
    assert answer.status == 400
    assert answer.problem["title"] == "Bad Request"
    assert reason not in str(answer.problem)
    exempt, _ = behind(headers, websocket=websocket, layer={"trusted": TRUSTED, "mode": "shadow"})
    assert [decision.reason for decision in exchange_of(exempt).decisions] == [reason]


CHUNKED = ("transfer-encoding", "chunked")
FOR, PROTO = ("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "http")
TRAILER = ("x-forwarded-for", "10.0.0.9")


@pytest.mark.parametrize(
    ("headers", "options", "has_httptools", "status"),
    [
        ([CHUNKED, FOR, TRAILER], {}, True, 400),
        ([CHUNKED, FOR, PROTO, ("x-forwarded-proto", "https")], {}, True, 400),
        ([CHUNKED, FOR, PROTO], {}, True, 200),
        ([FOR, TRAILER], {}, True, 200),
        ([CHUNKED, FOR, TRAILER], {}, False, 200),
        ([CHUNKED, FOR, TRAILER], {"extensions": recorded(PROXY)}, True, 200),
    ],
    ids=["an address", "a scheme", "one line each", "no trailers", "another server", "with our hook"],
)
def test_what_may_be_a_trailer_moves_no_boundary(monkeypatch, headers, options, has_httptools, status):
    """RFC 9110 section 6.5.1: uvicorn's httptools appends trailers to the fields, where the nearest proxy writes."""
    monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", None)
    if not has_httptools:
        monkeypatch.delitem(sys.modules, "uvicorn.protocols.http.httptools_impl")
    _, answer = behind(headers, **options)
    assert answer.status == status


@pytest.mark.parametrize("layer", [{"mode": "shadow"}, {"exempt": "/health"}], ids=str)
def test_where_it_is_not_refused_a_malformed_chain_is_as_good_as_none(layer):
    """FWD-8: the peer is the client, and nothing of the chain reaches the application."""
    headers = {"X-Forwarded-For": "<script>", "X-Forwarded-Proto": "https", "X-Request-ID": "0123456789"}
    scope, answer = behind(headers, path="/health", layer={"trusted": TRUSTED, **layer})
    assert answer.status == 200
    assert (scope["client"], scope["scheme"]) == (PROXY, "http")
    assert scope["headers"] == [(b"host", b"api.example.com")]


def test_an_exempt_path_still_learns_its_client():
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    scope, _ = behind(headers, path="/health", layer={"trusted": TRUSTED, "exempt": "/health"})
    assert (scope["client"], scope["scheme"]) == (("203.0.113.7", 0), "https")


# The middleware: what is removed

ALL = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Prefix": "/api",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Ssl": "on",
    "X-Forwarded-User": "alice",
    "X-Real-IP": "203.0.113.7",
    "Forwarded": "for=203.0.113.7",
    "X-Request-ID": "0123456789",
    "X-Forwarded-Client-Cert": "Hash=00",
    "X_Forwarded_For": "6.6.6.6",
    "X.Real.IP": "6.6.6.6",
    "X_Request-Id": "6666666666",
    "X_Forwarded_Client_Cert": "Hash=00",
    "X_Trace": "1",
    "Accept": "*/*",
}
FREE = ["Accept", "X-Forwarded-Client-Cert", "X_Forwarded_Client_Cert", "X_Trace"]
OURS = [*FREE, "X-Forwarded-User", "X-Request-ID"]
BESIDE = ["X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto"]


@pytest.mark.parametrize(
    ("name", "source", "client", "kept"),
    [
        ("from a stranger", "x-forwarded-for", STRANGER, FREE),
        ("from a stranger, whatever the source", "forwarded", STRANGER, FREE),
        ("FWD-2 x-forwarded", "x-forwarded-for", PROXY, [*OURS, *BESIDE, "X-Forwarded-For"]),
        ("FWD-2 forwarded", "forwarded", PROXY, [*OURS, "Forwarded"]),
        ("FWD-2 one field", "header:x-real-ip", PROXY, [*OURS, *BESIDE, "X-Real-IP"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_reaches_the_application(name, source, client, kept):
    scope, _ = behind(ALL, client=client, layer={"trusted": TRUSTED, "source": source})
    assert {name.decode() for name, _ in scope["headers"]} == {"host", *(name.lower() for name in kept)}


@pytest.mark.parametrize("field", [name for name in ALL if name not in FREE])
def test_each_claim_alone_is_removed_from_a_stranger(field):
    scope, _ = behind({field: ALL[field]}, client=STRANGER)
    assert scope["headers"] == [(b"host", b"api.example.com")]


@pytest.mark.parametrize("field", ["X-Forwarded-Host", "X-Real-IP", "Forwarded", "X_Forwarded_For", "X.Real.IP"])
def test_each_unread_claim_alone_is_removed_from_a_proxy(field):
    scope, _ = behind({field: ALL[field]})
    assert scope["headers"] == [(b"host", b"api.example.com")]


UNJUDGED = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded-for",
    "front-end-https",
    "true-client-ip",
    "x-azure-clientip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-host",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-original-forwarded-for",
    "x-original-host",
    "x-real-ip",
    "x-scheme",
    "x-url-scheme",
]


@pytest.mark.parametrize("client", [PROXY, STRANGER])
@pytest.mark.parametrize("field", UNJUDGED)
def test_what_nobody_judges_reaches_nobody(field, client):
    scope, _ = behind({field: "203.0.113.7"}, client=client)
    assert scope["headers"] == [(b"host", b"api.example.com")]


@pytest.mark.parametrize("field", ["x-forwarded-tls-client-cert", "x-forwarded-tls-client-cert-info"])
def test_certificates_are_left_to_mutual_tls(field):
    scope, _ = behind({field: "x"}, client=STRANGER)
    assert len(scope["headers"]) == 2


def test_any_x_forwarded_field_of_a_stranger_is_removed():
    scope, _ = behind({"X-Forwarded-Groups": "admins"}, client=STRANGER)
    assert scope["headers"] == [(b"host", b"api.example.com")]


def test_a_field_of_ones_own_is_removed_from_a_stranger():
    scope, _ = behind(
        {"My-Client": "1.1.1.1"}, client=STRANGER, layer={"trusted": TRUSTED, "source": "header:My-Client"}
    )
    assert scope["headers"] == [(b"host", b"api.example.com")]


def test_headers_in_mixed_case_are_removed_too():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)

    headers = [(b"Host", b"api.example.com"), (b"X-FORWARDED-FOR", b"6.6.6.6")]
    asgi.http(TrustedProxyMiddleware(app, trusted=TRUSTED), headers=headers, client=STRANGER)
    assert seen[0]["headers"] == [(b"Host", b"api.example.com")]


def test_where_there_is_nothing_to_remove_the_list_is_left_alone():
    scope, _ = behind({"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Request-ID": "0123456789"})
    assert len(scope["headers"]) == 4
    scope, _ = behind({"Accept": "*/*"}, client=STRANGER)
    assert len(scope["headers"]) == 2


# X-Request-ID


@pytest.mark.parametrize(
    ("name", "given", "client", "is_accepted", "aside"),
    [
        ("from a proxy", ["0123-abc_XYZ"], PROXY, True, ""),
        ("8 characters", ["12345678"], PROXY, True, ""),
        ("128 characters", ["a" * 128], PROXY, True, ""),
        ("7 characters", ["1234567"], PROXY, False, "1234567"),
        ("129 characters", ["a" * 129], PROXY, False, "a" * 128),
        ("other characters", ["12345678\r\nx: \xe9"], PROXY, False, r"12345678\r\nx: \xe9"),
        ("cut after escaping", ["\xe9" * 40], PROXY, False, r"\xe9" * 32),
        ("a newline at the end", ["12345678\n"], PROXY, False, r"12345678\n"),
        ("twice", ["12345678", "87654321"], PROXY, False, "12345678, 87654321"),
        ("from a stranger", ["12345678"], STRANGER, False, "12345678"),
        ("none", [], PROXY, False, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_request_id(name, given, client, is_accepted, aside):
    """RID-1: believed, or replaced by one of our own and set aside; echoed in the response."""
    scope, answer = behind([("X-Request-ID", value) for value in given], client=client)
    exchange = exchange_of(scope)
    assert (exchange.request_id == (given or [""])[0]) is is_accepted
    assert exchange.client_request_id == aside
    assert answer.headers["x-request-id"] == exchange.request_id
    assert (b"x-request-id" in dict(scope["headers"])) is is_accepted


def test_a_request_id_of_the_applications_own_is_left_alone():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Request-ID", b"mine")]})
        await send({"type": "http.response.body"})

    assert asgi.http(TrustedProxyMiddleware(app, hops=1)).headers["x-request-id"] == "mine"


# What is remembered is bounded


def test_what_is_remembered_is_bounded():
    layer = TrustedProxyMiddleware(asgi.hello, trusted=TRUSTED)
    for number in range(1100):
        asgi.http(layer, headers={"X-Forwarded-For": f"203.0.113.7:{number}"}, client=PROXY)
    assert layer._walk.cache_info().currsize == 1024
    assert layer._peer.cache_info().currsize == 1
