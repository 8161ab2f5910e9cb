"""TrustedHost: HTTPS-7, HTTPS-10, IN-5."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_asgi.denial import Denial, Reason
from secure_asgi.errors import ConfigurationError
from secure_asgi.exchange import Exchange, exchange_of
from secure_asgi.trusted_host import TrustedHostMiddleware

from . import asgi


def ask(hosts, allowed, *, websocket=False, scheme="https", **options):
    """The answer to a request with these Host lines, and the exchange if the application saw it."""
    seen = []

    async def app(scope, receive, send):
        seen.append(exchange_of(scope))
        await asgi.hello(scope, receive, send)

    path = options.pop("path", "/")
    layer = TrustedHostMiddleware(app, allowed_hosts=allowed, **options)
    headers = [(b"host", host.encode("latin-1")) for host in hosts]
    drive = asgi.websocket if websocket else asgi.http
    answer = drive(layer, path, headers=headers, scheme=scheme)
    assert answer.error is None
    return answer, (seen[0] if seen else None)


NAME = "api.example.com"
LONG = ".".join(["a" * 49] * 5 + ["com"])


@pytest.mark.parametrize(
    ("name", "host", "allowed", "passed"),
    [
        ("the name", "api.example.com", NAME, NAME),
        ("one of several", "api.example.com", ["www.example.com", NAME], NAME),
        ("in capitals", "API.Example.COM", NAME, NAME),
        ("allowed in capitals", "api.example.com", "API.Example.COM", NAME),
        ("with a trailing dot", "api.example.com.", NAME, NAME),
        ("allowed with a trailing dot", "api.example.com", "api.example.com.", NAME),
        ("any port where none is given", "api.example.com:8443", NAME, NAME),
        ("a trailing dot and a port", "api.example.com.:8443", NAME, NAME),
        ("the port that is given", "api.example.com:8443", "api.example.com:8443", NAME),
        ("no port is the scheme's", "api.example.com", "api.example.com:443", NAME),
        ("a wildcard, one label", "a.example.com", "*.example.com", "a.example.com"),
        ("a wildcard, any depth", "c.b.a.Example.com.", "*.example.com", "c.b.a.example.com"),
        ("a wildcard with a port", "a.example.com:8443", "*.example.com:8443", "a.example.com"),
        ("the second of two wildcards", "a.example.org", ["*.example.com", "*.example.org"], "a.example.org"),
        ("the highest port", "api.example.com:65535", NAME, NAME),
        ("the lowest port", "api.example.com:1", NAME, NAME),
        ("one label", "localhost:8000", "localhost", "localhost"),
        ("an IPv4 address", "127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("an IPv6 address", "[::1]:8000", "[::1]", "[::1]"),
        ("an IPv6 address in another spelling", "[0:0:0:0:0:0:0:1]", "[::1]", "[::1]"),
        ("an IPv6 address allowed in another spelling", "[2001:db8::1]", "[2001:DB8:0::1]", "[2001:db8::1]"),
        ("253 characters, a dot and a port", LONG + ".:65535", LONG, LONG),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("websocket", [False, True], ids=["http", "websocket"])
def test_served(name, host, allowed, passed, websocket):
    answer, exchange = ask([host], allowed, websocket=websocket, scheme="wss" if websocket else "https")
    assert exchange is not None, answer.messages
    assert exchange.host == (passed or host)


@pytest.mark.parametrize(
    ("name", "host", "allowed"),
    [
        ("another name", "evil.example", NAME),
        ("a name that ends alike", "evilapi.example.com", NAME),
        ("a name that begins alike", "api.example.com.evil.example", NAME),
        ("below the name", "x.api.example.com", NAME),
        ("a wildcard is not the apex", "example.com", "*.example.com"),
        ("a wildcard ends at a label", "evilexample.com", "*.example.com"),
        ("another port", "api.example.com:8080", "api.example.com:8443"),
        ("no port is not that port", "api.example.com", "api.example.com:8443"),
        ("a wildcard with another port", "a.example.com:1", "*.example.com:8443"),
        ("an address", "127.0.0.1", NAME),
        ("an address in octal", "0177.0.0.1", "127.0.0.1"),
        ("an address as a number", "2130706433", "127.0.0.1"),
        ("an IPv6 address", "[::2]", "[::1]"),
        ("a mapped address", "[::ffff:127.0.0.1]", "127.0.0.1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("websocket", [False, True], ids=["http", "websocket"])
def test_not_served_is_421(name, host, allowed, websocket):
    """HTTPS-10: RFC 9110 section 15.5.20."""
    answer, exchange = ask([host], allowed, websocket=websocket, scheme="wss" if websocket else "https")
    assert exchange is None
    assert answer.status == 421
    assert answer.problem["title"] == "Misdirected Request"
    assert host not in str(answer.problem)


def test_a_port_left_out_is_the_schemes():
    assert ask([NAME], f"{NAME}:80", scheme="http")[0].status == 200
    assert ask([NAME], f"{NAME}:443", scheme="http")[0].status == 421


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        ".",
        "..",
        ".example.com",
        "api..example.com",
        "api.example.com..",
        "api.example.com:",
        "api.example.com:0",
        "api.example.com:65536",
        "api.example.com:123456",
        "api.example.com:80:80",
        "api.example.com:http",
        "api.example.com ",
        " api.example.com",
        "api.example.com\r\nx: y",
        "api.example.com\n",
        "api.example.com\x00",
        "api.example.com/path",
        "api.example.com?q",
        "api.example.com#f",
        "api.example.com, evil.example",
        "api_example.com",
        "user@api.example.com",
        "http://api.example.com",
        "*.example.com",
        "\xe4pi.example.com",
        "::1",
        "[::1",
        "::1]",
        "[::1]x",
        "[::1%eth0]",
        "[v1.x]",
        "[1.2.3.4]",
        "[]",
        "[:::]",
        "a" * 64 + ".example.com",
        LONG + "m",
        LONG + "m.:65535",
        "a." * 4000,
    ],
)
def test_malformed_is_400(host):
    """HTTPS-7, IN-5: RFC 9112 section 3.2."""
    allowed = [NAME, "*.example.com", "[::1]"]
    layer = TrustedHostMiddleware(asgi.hello, allowed_hosts=allowed)
    scope = asgi.http_scope(headers=[(b"host", host.encode("latin-1"))])
    answer, exchange = ask([host], allowed)
    assert exchange is None
    assert answer.status == 400
    denial = layer.on_request(Exchange(scope), scope)
    assert denial.reason == Reason.HOST_MALFORMED
    assert answer.problem["detail"] == denial.detail


@pytest.mark.parametrize(("hosts", "reason"), [([], Reason.HOST_MISSING), ([NAME, NAME], Reason.HOST_AMBIGUOUS)])
@pytest.mark.parametrize("websocket", [False, True], ids=["http", "websocket"])
def test_missing_and_repeated_are_400(hosts, reason, websocket):
    """HTTPS-7, IN-5: one line, also when both say the same."""
    answer, exchange = ask(hosts, NAME, websocket=websocket)
    assert exchange is None
    assert answer.status == 400
    _, exchange = ask(hosts, NAME, mode="shadow")
    assert [decision.reason for decision in exchange.decisions] == [reason]


def test_the_client_is_not_told_which_check_failed():
    bodies = {ask(hosts, NAME)[0].problem["detail"] for hosts in ([], [NAME, NAME], ["<>"])}
    assert len(bodies) == 1


@pytest.mark.parametrize("options", [{"mode": "shadow"}, {"exempt": "/health"}], ids=str)
def test_a_host_that_was_let_through_is_not_one_that_passed(options):
    """HTTPSRedirect must not lead anyone there."""
    answer, exchange = ask(["evil.example"], NAME, path="/health", **options)
    assert answer.status == 200
    assert exchange.host == ""


@pytest.mark.parametrize(
    "allowed",
    [
        "*",
        ["api.example.com", "*"],
        "",
        "*.",
        "*example.com",
        "*.*.example.com",
        "api.*.com",
        "*.[::1]",
        "https://api.example.com",
        "api.example.com/",
        "api.example.com:0",
        "api.example.com:99999",
        "b\xfccher.example",
        "::1",
        [None],
    ],
)
def test_wrong_hosts(allowed):
    with pytest.raises(ConfigurationError, match="allowed_hosts= takes hosts as in the Host field"):
        TrustedHostMiddleware(asgi.hello, allowed_hosts=allowed)


def test_no_host():
    with pytest.raises(ConfigurationError, match="names no host"):
        TrustedHostMiddleware(asgi.hello, allowed_hosts=())


@settings(max_examples=200, deadline=None)
@given(host=st.one_of(st.binary(max_size=80), st.from_regex(r"\A[0-9A-Za-z.\[\]:-]{0,40}\Z").map(str.encode)))
def test_fuzz(host):
    layer = TrustedHostMiddleware(asgi.hello, allowed_hosts=["api.example.com", "*.example.org"])
    scope = asgi.http_scope(headers=[(b"host", host)])
    exchange = Exchange(scope)
    denial = layer.on_request(exchange, scope)
    if denial is None:
        assert exchange.host == "api.example.com" or exchange.host.endswith(".example.org")
    else:
        assert isinstance(denial, Denial)
        assert exchange.host == ""


def test_what_is_remembered_is_bounded():
    layer = TrustedHostMiddleware(asgi.hello, allowed_hosts=NAME)
    for number in range(1100):
        scope = asgi.http_scope(headers=[(b"host", b"h%d.example" % number)])
        layer.on_request(Exchange(scope), scope)
    assert layer._judge.cache_info().currsize == 1024
