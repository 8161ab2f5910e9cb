"""HSTSMiddleware: RFC 6797, requirements HSTS-1 to HSTS-6."""

import re

import pytest

from secure_asgi.denial import Denial, Reply
from secure_asgi.errors import ConfigurationError
from secure_asgi.flow import Layer
from secure_asgi.hsts import HSTSMiddleware

from .asgi import hello, http, websocket

FIELD = "strict-transport-security"
DEFAULT = "max-age=63072000; includeSubDomains"


def parse(field: str) -> dict[str, str] | None:
    """RFC 6797 section 6.1, as strictly as a browser: None for a field that is ignored whole."""
    directives: dict[str, str] = {}
    for part in field.split(";"):
        if not part.strip():
            continue
        found = re.fullmatch(r"\s*([!#$%&'*+.^_`|~\w-]+)\s*(?:=\s*([!#$%&'*+.^_`|~\w-]+|\"[^\"\\]*\")\s*)?", part)
        if found is None or found[1].lower() in directives:
            return None
        directives[found[1].lower()] = (found[2] or "").strip('"')
    is_valid = directives.get("max-age", "").isdecimal() and not directives.get("includesubdomains")
    return directives if is_valid else None


@pytest.mark.parametrize(
    ("field", "is_valid"),
    [
        pytest.param("max-age=0; includeSubDomains", True, id="delete"),
        pytest.param('max-age="31536000"', True, id="quoted"),
        pytest.param("INCLUDESUBDOMAINS ; max-age=1 ; foo=bar", True, id="any case, any order, an unknown directive"),
        pytest.param("max-age", False, id="no value"),
        pytest.param("max-age=-1", False, id="negative"),
        pytest.param("max-age=1; max-age=2", False, id="twice"),
        pytest.param("includeSubDomains", False, id="no max-age"),
        pytest.param("max-age=1, max-age=2", False, id="two fields folded into one"),
    ],
)
def test_the_parser_these_tests_judge_by(field, is_valid):
    """EX-12."""
    assert (parse(field) is not None) is is_valid


@pytest.mark.parametrize(
    ("options", "field"),
    [
        pytest.param({}, DEFAULT, id="HSTS-5 two years, with subdomains"),
        pytest.param({"include_subdomains": False}, "max-age=63072000", id="this host alone"),
        pytest.param({"max_age": 300}, "max-age=300; includeSubDomains", id="HSTS-5 the first step of a ramp-up"),
        pytest.param({"max_age": 0}, "max-age=0; includeSubDomains", id="HSTS-3 forget the host"),
        pytest.param({"preload": True}, DEFAULT + "; preload", id="preload"),
        pytest.param(
            {"preload": True, "max_age": 31536000},
            "max-age=31536000; includeSubDomains; preload",
            id="HSTS-6 preload with the shortest time allowed",
        ),
    ],
)
def test_field_value(options, field):
    sent = http(HSTSMiddleware(hello, **options)).headers[FIELD]
    assert sent == field
    assert parse(sent) is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"max_age": -1}, "whole seconds, 0 or more, got -1", id="negative"),
        pytest.param({"max_age": True}, "whole seconds", id="a bool is no number"),
        pytest.param({"max_age": "3600"}, "whole seconds", id="text"),
        pytest.param({"max_age": 1.5}, "whole seconds", id="a fraction"),
        pytest.param({"include_subdomains": "no"}, "include_subdomains= is True or False", id="a word"),
        pytest.param({"preload": 1}, "preload= is True or False", id="a number"),
        pytest.param({"preload": True, "max_age": 31535999}, "at least 31536000", id="HSTS-6 below a year"),
        pytest.param(
            {"preload": True, "include_subdomains": False}, "include_subdomains=True", id="HSTS-6 no subdomains"
        ),
    ],
)
def test_wrong_option(options, message):
    with pytest.raises(ConfigurationError, match=message):
        HSTSMiddleware(**options)


def test_never_on_plain_http():
    """HSTS-1: MUST NOT, and what the application set is taken away too."""
    assert FIELD not in http(HSTSMiddleware(hello), scheme="http").headers
    assert FIELD not in http(HSTSMiddleware(sets(FIELD, "max-age=1")), scheme="http").headers


def test_never_on_plain_websocket():
    accept, _ = websocket(HSTSMiddleware(hello), scheme="ws", texts=["hi"]).messages
    assert accept["headers"] == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Denial("acme.no", 403), id="a refusal"),
        pytest.param(Denial("acme.later", 503), id="an outage"),
        pytest.param(Denial("acme.elsewhere", 308, headers=((b"location", b"https://x/"),)), id="a redirect"),
        pytest.param(Reply(hello), id="a reply of a layer"),
    ],
)
def test_on_every_secure_response(answer):
    """HSTS-1: 3xx, 4xx and 5xx included."""

    class Gate(Layer):
        def on_request(self, exchange, scope):
            return answer

    assert http(HSTSMiddleware(Gate(hello))).headers[FIELD] == DEFAULT


def test_on_a_crash():
    """HSTS-1, on the 500 of the flow itself."""

    class Broken(Layer):
        def on_request(self, exchange, scope):
            raise RuntimeError

    answer = http(HSTSMiddleware(Broken(hello)))
    assert (answer.status, answer.headers[FIELD]) == (500, DEFAULT)


def test_on_an_accepted_and_on_a_refused_websocket():
    class Gate(Layer):
        def on_request(self, exchange, scope):
            return Denial("acme.no", 403)

    accept, *_ = websocket(HSTSMiddleware(hello)).messages
    assert accept["headers"] == [(FIELD.encode(), DEFAULT.encode())]
    assert websocket(HSTSMiddleware(Gate(hello))).headers[FIELD] == DEFAULT


def test_the_trusted_scheme_decides():
    """HSTS-1: behind a proxy that ends TLS, what a layer further in has found out about the scheme counts."""

    class Proxy(Layer):
        def on_request(self, exchange, scope):
            exchange.scheme = scope["scheme"] = "https"

    assert http(HSTSMiddleware(Proxy(hello)), scheme="http").headers[FIELD] == DEFAULT


def test_exactly_one_field():
    """HSTS-2: the application's are replaced, however many they are; other fields stay, in order."""

    async def app(scope, receive, send):
        headers = [(b"Strict-Transport-Security", b"max-age=1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        headers.append((b"strict-transport-security", b"max-age=2"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    assert http(HSTSMiddleware(app)).lines == [("set-cookie", "a=1"), ("set-cookie", "b=2"), (FIELD, DEFAULT)]


@pytest.mark.parametrize(
    ("host", "is_sent"),
    [
        pytest.param("api.example.com", True, id="a name"),
        pytest.param("api.example.com:8443", True, id="a name with a port"),
        pytest.param("localhost", True, id="localhost"),
        pytest.param("1.example.com", True, id="a name that begins with a digit"),
        pytest.param("10.0.0.1", False, id="IPv4"),
        pytest.param("10.0.0.1:8443", False, id="IPv4 with a port"),
        pytest.param("2130706433", False, id="IPv4 as one number"),
        pytest.param("[2001:db8::1]", False, id="IPv6"),
        pytest.param("[2001:db8::1]:8443", False, id="IPv6 with a port"),
    ],
)
def test_hosts(host, is_sent):
    """HSTS-4."""
    app = HSTSMiddleware(sets(FIELD, "max-age=1"))
    assert (FIELD in http(app, headers=[(b"host", host.encode())]).headers) is is_sent


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="none, as in HTTP/1.0"),
        pytest.param([(b"host", b"10.0.0.1"), (b"host", b"api.example.com")], id="two: another layer refuses them"),
    ],
)
def test_no_single_host_is_no_reason_to_leave_it_out(headers):
    assert http(HSTSMiddleware(hello), headers=headers).headers[FIELD] == DEFAULT


def sets(name: str, value: str):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(name.encode(), value.encode())]})
        await send({"type": "http.response.body"})

    return app
