"""HTTPSRedirect: HTTPS-1 to HTTPS-9."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_asgi.denial import Reason, Reply
from secure_asgi.errors import ConfigurationError
from secure_asgi.exchange import Exchange, exchange_of
from secure_asgi.flow import Layer
from secure_asgi.https_redirect import HTTPSRedirectMiddleware
from secure_asgi.trusted_host import TrustedHostMiddleware
from secure_asgi.trusted_proxy import TrustedProxyMiddleware

from . import asgi

HOST = {"host": "api.example.com"}


class Witness(Layer):
    """Keeps the exchange."""

    name = "witness"

    def on_end(self, exchange):
        self.exchange = exchange


def ask(path="/", *, scheme="http", layer=HOST, **options):
    """The answer to one request, and what was decided about it."""
    witness = Witness(HTTPSRedirectMiddleware(asgi.hello, **layer))
    answer = asgi.http(witness, path, scheme=scheme, **options)
    assert answer.error is None
    return answer, witness.exchange


def ask_websocket(*, scheme="ws", layer=HOST, **options):
    witness = Witness(HTTPSRedirectMiddleware(asgi.hello, **layer))
    answer = asgi.websocket(witness, scheme=scheme, **options)
    assert answer.error is None
    return answer, witness.exchange


# What is secure (HTTPS-1)


@pytest.mark.parametrize(
    ("name", "scope", "is_secure"),
    [
        ("https", {"scheme": "https"}, True),
        ("http", {"scheme": "http"}, False),
        ("no scheme is http", {"scheme": None}, False),
        ("the TLS extension", {"scheme": "http", "extensions": {"tls": {}}}, True),
        ("another extension", {"scheme": "http", "extensions": {"http.response.pathsend": {}}}, False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_secure(name, scope, is_secure):
    answer, _ = ask(**scope)
    assert answer.status == (200 if is_secure else 308)


def test_secure_websocket():
    answer, _ = ask_websocket(scheme="wss", texts=["hi"])
    assert [message["type"] for message in answer.messages] == ["websocket.accept", "websocket.send"]


@pytest.mark.parametrize(("proto", "status"), [("https", 200), ("http", 308)])
def test_the_scheme_is_the_one_a_trusted_proxy_vouches_for(proto, status):
    """HTTPS-1: whatever the connection between the proxy and us is."""
    app = TrustedProxyMiddleware(HTTPSRedirectMiddleware(asgi.hello, **HOST), trusted="10.0.0.0/8")
    for scheme, extensions in (("http", {}), ("https", {"tls": {}})):
        options = {"scheme": scheme, "extensions": extensions, "headers": {"X-Forwarded-Proto": proto}}
        assert asgi.http(app, client=("10.0.0.1", 1), **options).status == status
        strangers = asgi.http(app, client=("198.51.100.1", 1), **options).status
        assert strangers == (200 if scheme == "https" else 308)


# Redirect or refuse (HTTPS-2, HTTPS-5)

CREDENTIALS = [
    ({"Authorization": "Bearer x"}, "", "authorization"),
    ({"Proxy-Authorization": "Basic x"}, "", "proxy-authorization"),
    ({"Cookie": "a=b"}, "", "cookie"),
    ({"DPoP": "x"}, "", "dpop"),
    ({"Client-Cert": ":AA==:"}, "", "client-cert"),
    ({"X-API-Key": "x"}, "", "x-api-key"),
    ({"X-Auth-Token": "x"}, "", "x-auth-token"),
    ({"X-Access-Token": "x"}, "", "x-access-token"),
    ((("Authorization", "a"), ("Authorization", "b")), "", "authorization"),
    ({}, "access_token=x", "access_token"),
    ({}, "a=b&Access%5Ftoken=x", "access_token"),
    ({}, "api_key=x", "api_key"),
    ({}, "apikey", "apikey"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_auto_redirects_a_harmless_request(method):
    answer, exchange = ask("/orders", method=method, query="page=2")
    assert answer.status == 308
    assert answer.headers == {
        "location": "https://api.example.com/orders?page=2",
        "content-length": "0",
        "cache-control": "no-store",
    }
    assert answer.body == b""
    (decision,) = exchange.decisions
    assert (decision.verdict, decision.reason) == ("reply", Reason.PLAINTEXT_REDIRECTED)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "PROPFIND"])
def test_auto_refuses_other_methods(method):
    """HTTPS-5: never a redirect."""
    answer, exchange = ask(method=method)
    assert answer.status == 403
    assert answer.problem["detail"] == "This service answers over HTTPS only."
    assert "location" not in answer.headers
    (decision,) = exchange.decisions
    assert (decision.verdict, decision.reason, decision.note) == ("deny", Reason.PLAINTEXT, "")


@pytest.mark.parametrize(("headers", "query", "kind"), CREDENTIALS)
def test_auto_refuses_a_credential_and_records_its_kind(headers, query, kind):
    """HTTPS-2, HTTPS-4: a redirect would hide the leak; the value is not recorded."""
    answer, exchange = ask(headers=headers, query=query)
    assert answer.status == 403
    (decision,) = exchange.decisions
    assert decision.note == f"credential in clear: {kind}"
    assert "credential" not in str(answer.problem)


def test_several_credentials_are_all_recorded():
    _, exchange = ask(headers={"Cookie": "a=b", "Authorization": "Bearer x"}, method="POST")
    assert exchange.decisions[0].note == "credential in clear: authorization, cookie"


@pytest.mark.parametrize("query", ["q=access_token=x", "access_tokens=x", "my_api_key=x", "q=api_key"])
def test_a_parameter_that_only_looks_alike_is_harmless(query):
    assert ask(query=query)[0].status == 308


def test_refusals_do_not_differ_by_what_was_sent():
    """HTTPS-3."""
    bodies = [ask(headers=headers, method="POST")[0].problem for headers in ({}, {"Authorization": "Bearer x"})]
    for body in bodies:
        del body["request_id"]
    assert bodies[0] == bodies[1]


def test_credentials_of_ones_own():
    layer = {**HOST, "credentials": "X-Session"}
    assert ask(headers={"x-session": "1"}, layer=layer)[0].status == 403
    assert ask(headers={"x-session": "1"})[0].status == 308


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refuse_refuses_all(method):
    assert ask(method=method, layer={**HOST, "plaintext": "refuse"})[0].status == 403


@pytest.mark.parametrize(
    ("status", "method", "sent"),
    [
        (308, "GET", 308),
        (308, "POST", 308),
        (307, "GET", 307),
        (307, "POST", 307),
        (301, "HEAD", 301),
        (301, "POST", 308),
    ],
)
def test_redirect_redirects_all(status, method, sent):
    """HTTPS-5: 301 is for GET and HEAD; a POST must stay one."""
    answer, _ = ask(method=method, layer={**HOST, "plaintext": "redirect", "status": status})
    assert answer.status == sent


def test_redirect_records_the_credential_it_saw():
    answer, exchange = ask(headers={"Authorization": "Bearer x"}, layer={**HOST, "plaintext": "redirect"})
    assert answer.status == 308
    seen, redirected = exchange.decisions
    assert (seen.reason, seen.note) == (Reason.PLAINTEXT, "credential in clear: authorization")
    assert redirected.reason == Reason.PLAINTEXT_REDIRECTED


@pytest.mark.parametrize("plaintext", ["auto", "redirect", "refuse"])
def test_a_websocket_is_never_redirected(plaintext):
    """HTTPS-8."""
    layer = {**HOST, "plaintext": plaintext, "upgrade": True}
    answer, exchange = ask_websocket(layer=layer, headers={"Cookie": "a=b"})
    assert answer.status == 403
    assert exchange.decisions[0].note == "credential in clear: cookie"
    assert ask_websocket(layer=layer, denial_response=False)[0].close_code == 1008


# 426 (HTTPS-6)


@pytest.mark.parametrize(("version", "status"), [("1.1", 426), ("1.0", 403), ("2", 403), ("3", 403)])
def test_upgrade_required(version, status):
    answer, exchange = ask(method="POST", http_version=version, layer={**HOST, "upgrade": True})
    assert answer.status == status
    assert exchange.decisions[0].reason == Reason.PLAINTEXT
    if status == 426:
        assert answer.headers["upgrade"] == "TLS/1.2, HTTP/1.1"
        assert answer.headers["connection"] == "Upgrade"
        assert answer.problem["title"] == "Upgrade Required"
    else:
        assert "upgrade" not in answer.headers


# Where to (HTTPS-7)


@pytest.mark.parametrize(
    ("name", "scope", "target"),
    [
        ("a path", {"raw_path": b"/orders"}, "/orders"),
        ("as it was sent", {"raw_path": b"/a%2Fb%20c;v=1/@x"}, "/a%2Fb%20c;v=1/@x"),
        ("a query", {"raw_path": b"/", "query_string": b"a=b&c=%0d?d/e"}, "/?a=b&c=%0d?d/e"),
        ("a raw path that has its query with it", {"raw_path": b"/x?a=b", "query_string": b"a=b"}, "/x?a=b"),
        ("no raw path: the path, encoded", {"raw_path": None, "path": "/caf\xe9 100%?#"}, "/caf%C3%A9%20100%25%3F%23"),
        ("CR and LF", {"raw_path": b"/x\r\nset-cookie: a=b"}, "/x%0D%0Aset-cookie:%20a=b"),
        ("NUL", {"raw_path": b"/\x00"}, "/%00"),
        ("CR and LF in the query", {"raw_path": b"/", "query_string": b"\r\nx: y"}, "/?%0D%0Ax:%20y"),
        ("a fragment", {"raw_path": b"/a#b", "query_string": b"c#d"}, "/a%23b?c%23d"),
        ("markup", {"raw_path": b'/<a href="x">'}, "/%3Ca%20href=%22x%22%3E"),
        ("bytes", {"raw_path": b"/\xff"}, "/%FF"),
        ("two slashes stay on this host", {"raw_path": b"//evil.example/x"}, "//evil.example/x"),
        ("a slash and a backslash too", {"raw_path": b"/\\evil.example"}, "/%5Cevil.example"),
        ("userinfo is a path here", {"raw_path": b"/@evil.example"}, "/@evil.example"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_target(name, scope, target):
    answer, _ = ask(**scope)
    assert answer.headers["location"] == "https://api.example.com" + target


def test_a_path_that_is_no_text():
    scope = asgi.http_scope(scheme="http", raw_path=None) | {"path": "/\udcff"}
    assert isinstance(HTTPSRedirectMiddleware(**HOST).on_request(Exchange(scope), scope), Reply)


@pytest.mark.parametrize("raw_path", [b"", b"*", b"http://evil.example/", b"evil.example:443", b"@evil.example"])
def test_a_target_that_is_no_path_is_refused(raw_path):
    answer, exchange = ask(raw_path=raw_path)
    assert answer.status == 403
    assert exchange.decisions[0].note == "the target is no path"


@pytest.mark.parametrize("port", [1, 8443, 65535])
def test_port(port):
    answer, _ = ask(layer={**HOST, "port": port})
    assert answer.headers["location"] == f"https://api.example.com:{port}/"


def test_ipv6_host():
    answer, _ = ask(layer={"host": "[::1]", "port": 8443})
    assert answer.headers["location"] == "https://[::1]:8443/"


def test_below_a_mount_the_whole_path_is_kept():
    answer, _ = ask("/api/orders", root_path="/api")
    assert answer.headers["location"] == "https://api.example.com/api/orders"


def test_without_a_host_it_leads_where_trusted_host_let_it_pass():
    """The port of plain HTTP is dropped."""
    app = TrustedHostMiddleware(HTTPSRedirectMiddleware(asgi.hello), allowed_hosts="*.example.com")
    answer = asgi.http(app, "/x", scheme="http", headers=[(b"host", b"EU.Example.com:80")])
    assert answer.headers["location"] == "https://eu.example.com/x"


@pytest.mark.parametrize("plaintext", ["auto", "redirect"])
def test_without_a_host_that_passed_it_refuses(plaintext):
    """HTTPS-7: an unverified Host is never reflected."""
    answer, exchange = ask(layer={"plaintext": plaintext})
    assert answer.status == 403
    assert "example" not in str(answer.messages)
    assert exchange.decisions[0].note.startswith("no host to redirect to: give host=")


def test_refused_for_want_of_a_host_it_still_records_the_credential():
    _, exchange = ask(layer={"plaintext": "redirect"}, headers={"Cookie": "a=b"})
    assert exchange.decisions[0].note.startswith("credential in clear: cookie; no host")


@pytest.mark.parametrize(
    ("hosts", "version", "reason"),
    [
        ([], "1.1", Reason.HOST_MISSING),
        ([b"a.example", b"a.example"], "1.1", Reason.HOST_AMBIGUOUS),
        ([b"a.example/x"], "1.1", Reason.HOST_MALFORMED),
        ([b""], "1.1", Reason.HOST_MALFORMED),
        ([], "1.0", None),
        ([], "2", None),
        ([b"other.example"], "1.1", None),
    ],
)
def test_a_redirect_wants_a_sound_host_field(hosts, version, reason):
    """HTTPS-7: RFC 9112 section 3.2; wherever the redirect leads."""
    answer, exchange = ask(headers=[(b"host", host) for host in hosts], http_version=version)
    assert answer.status == (400 if reason else 308)
    assert exchange.decisions[0].reason == (reason or Reason.PLAINTEXT_REDIRECTED)


VISIBLE = frozenset(range(0x21, 0x7F)) - frozenset(b'"<>\\^`{|}#')


@settings(max_examples=200, deadline=None)
@given(raw_path=st.binary(max_size=40), query=st.binary(max_size=40), path=st.text(max_size=20), has_raw=st.booleans())
def test_fuzz(raw_path, query, path, has_raw):
    """Whatever the target, a Location is an absolute URL on our host in visible ASCII."""
    scope = asgi.http_scope(scheme="http", raw_path=b"/" + raw_path if has_raw else None)
    scope |= {"path": "/" + path, "query_string": query}
    answer = HTTPSRedirectMiddleware(host="api.example.com", plaintext="redirect").on_request(Exchange(scope), scope)
    assert isinstance(answer, Reply)
    location = answer.app._location.encode()
    assert location.startswith(b"https://api.example.com/")
    assert VISIBLE.issuperset(location)


# Exempt (HTTPS-9) and shadow


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_exempt_path_may_be_asked_in_clear(method):
    layer = {**HOST, "exempt": ["/health", "/.well-known/acme-challenge/"]}
    assert ask("/health", method=method, layer=layer)[0].status == 200
    assert ask("/.well-known/acme-challenge/x", layer=layer)[0].status == 200
    assert ask("/health/x", layer=layer)[0].status == 308


@pytest.mark.parametrize(("headers", "query", "kind"), CREDENTIALS)
def test_but_not_with_a_credential(headers, query, kind):
    layer = {**HOST, "exempt": "/health"}
    answer, exchange = ask("/health", headers=headers, query=query, layer=layer)
    assert answer.status == 403
    assert exchange.decisions[0].note == f"credential in clear: {kind}"
    assert ask("/health", headers=headers, query=query, layer=layer, scheme="https")[0].status == 200


def test_shadow_records_and_passes():
    for options, reason in (({}, Reason.PLAINTEXT_REDIRECTED), ({"method": "POST"}, Reason.PLAINTEXT)):
        answer, exchange = ask(layer={**HOST, "mode": "shadow"}, **options)
        assert answer.status == 200
        assert [(decision.verdict, decision.reason) for decision in exchange.decisions] == [("shadow", reason)]


def test_the_application_is_not_called():
    async def app(scope, receive, send):
        raise AssertionError(exchange_of(scope))

    assert asgi.http(HTTPSRedirectMiddleware(app, **HOST), scheme="http").error is None


# Options


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"plaintext": "off"}, '"auto", "redirect" or "refuse"'),
        ({"host": "https://api.example.com"}, "a name alone"),
        ({"host": "api.example.com:8443"}, "port="),
        ({"host": ""}, "a name alone"),
        ({"host": "b\xfccher.example"}, "a name alone"),
        ({"host": "::1"}, "a name alone"),
        ({"port": 0}, "1 to 65535"),
        ({"port": 65536}, "1 to 65535"),
        ({"port": True}, "1 to 65535"),
        ({"port": "443"}, "1 to 65535"),
        ({"status": 302}, "308, 307 or 301"),
    ],
)
def test_wrong_options(options, fix):
    with pytest.raises(ConfigurationError, match=fix):
        HTTPSRedirectMiddleware(asgi.hello, **options)
