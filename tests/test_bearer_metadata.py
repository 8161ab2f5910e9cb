"""Protected-resource metadata (RFC 9728): META-3 to META-5."""

import base64
import json
from urllib.parse import unquote, urlsplit

import pytest
from starlette.middleware.cors import CORSMiddleware

from secure_asgi import ConfigurationError
from secure_asgi.bearer.metadata import ProtectedResource
from secure_asgi.flow import Layer

from . import asgi

API = "https://api.example.com/v1"
ISSUER = "https://as.example"
PATH = "/.well-known/oauth-protected-resource/v1"


def jwt(header, claims, signature=b"signature"):
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


SIGNED = jwt({"alg": "ES256"}, {"iss": ISSUER})


class Publish(Layer):
    """Answers for the document, and for nothing else."""

    def __init__(self, resource, app=asgi.hello):
        super().__init__(app)
        self.resource = resource

    def on_request(self, exchange, scope):
        return self.resource.reply(scope) if self.resource.serves(scope) else None


def ask(path=PATH, app=None, resource=API, ask=asgi.http, members=(), **options):
    layer = Publish(ProtectedResource(resource, authorization_servers=ISSUER, **dict(members)))
    return ask(app(layer) if app else layer, path, **options)


def published(**members):
    return json.loads(ask(members=members).body)


# --- where it is ---------------------------------------------------------------------------------------------------

PLACES = {
    "a path": (API, f"https://api.example.com{PATH}"),
    "no path": ("https://h.example", "https://h.example/.well-known/oauth-protected-resource"),
    "a slash alone": ("https://h.example/", "https://h.example/.well-known/oauth-protected-resource"),
    "a slash at the end": ("https://h.example/a/", "https://h.example/.well-known/oauth-protected-resource/a/"),
    "a port": ("https://h.example:8443/a", "https://h.example:8443/.well-known/oauth-protected-resource/a"),
    "a query": ("https://h.example/a?k=1", "https://h.example/.well-known/oauth-protected-resource/a?k=1"),
    "a query alone": ("https://h.example/?k=1", "https://h.example/.well-known/oauth-protected-resource?k=1"),
    "an encoded path": ("https://h.example/a%20b", "https://h.example/.well-known/oauth-protected-resource/a%20b"),
    "this machine": ("http://127.0.0.1:8000/a", "http://127.0.0.1:8000/.well-known/oauth-protected-resource/a"),
}


@pytest.mark.parametrize(("resource", "url"), PLACES.values(), ids=PLACES)
def test_where_it_is(resource, url):
    """META-3."""
    made = ProtectedResource(resource, authorization_servers=ISSUER)
    parts = urlsplit(url)
    assert made.resource == resource
    assert made.url == url
    assert made.path == unquote(parts.path)
    answer = ask(made.path, resource=resource, query=parts.query)
    assert json.loads(answer.body)["resource"] == resource


ELSEWHERE = {
    "the application": ("/v1", {}),
    "another resource": ("/.well-known/oauth-protected-resource", {}),
    "a longer path": (PATH + "/", {}),
    "below another path": ("/x" + PATH, {}),
    "another query": (PATH, {"query": "k=1"}),
}


@pytest.mark.parametrize(("path", "options"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_nothing_else_is_answered(path, options):
    assert ask(path, **options).body == b"hello"


def test_a_websocket_is_the_applications():
    assert ask(ask=asgi.websocket).messages[0]["type"] == "websocket.accept"


def test_behind_a_proxy_that_takes_a_prefix_away():
    assert ask("/api" + PATH, root_path="/api").body.startswith(b'{"resource"')


# --- how it is answered --------------------------------------------------------------------------------------------


def test_get_and_head():
    """META-3: without a token; the Host of the request is not in it (META-5)."""
    get = ask(headers=[(b"host", b"evil.example")])
    assert get.status == 200
    assert get.headers == {
        "content-type": "application/json",
        "content-length": str(len(get.body)),
        "cache-control": "public, max-age=3600",
        "access-control-allow-origin": "*",
    }
    assert b"evil" not in get.body
    head = ask(method="HEAD")
    assert (head.status, head.headers, head.body) == (200, get.headers, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", "QUERY"])
def test_other_methods(method):
    answer = ask(method=method)
    assert (answer.status, answer.headers["allow"], answer.body) == (405, "GET, HEAD", b"")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("max_age", "field"), [(60, "public, max-age=60"), (1.5, "public, max-age=1"), (0, "no-store")]
)
def test_how_long_it_may_be_kept(max_age, field):
    assert ask(members={"max_age": max_age}).headers["cache-control"] == field


def test_an_answer_is_nobodys_to_change():
    layer = Publish(ProtectedResource(API, authorization_servers=ISSUER))
    first = asgi.http(layer, PATH)
    first.messages[0]["headers"].append((b"x-added", b"1"))
    assert "x-added" not in asgi.http(layer, PATH).headers


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [(["https://app.example"], "https://app.example"), (["https://other.example"], "*"), (["*"], "*")],
    ids=["allowed", "another", "all"],
)
def test_a_cors_layer_outside(origins, allowed):
    """One field, whoever writes it."""
    answer = ask(
        app=lambda layer: CORSMiddleware(layer, allow_origins=origins), headers={"origin": "https://app.example"}
    )
    assert answer.headers["access-control-allow-origin"] == allowed


# --- what is in it -------------------------------------------------------------------------------------------------


def test_the_least():
    assert published() == {
        "resource": API,
        "authorization_servers": [ISSUER],
        "bearer_methods_supported": ["header"],
    }


def test_an_example_octet_for_octet():
    """EX-6."""
    answer = ask(
        members={
            "scopes_supported": ["orders:read", "orders:write"],
            "dpop_signing_alg_values_supported": ("ES256", "Ed25519"),
            "dpop_bound_access_tokens_required": True,
        }
    )
    assert answer.body == (
        b'{"resource":"https://api.example.com/v1","authorization_servers":["https://as.example"],'
        b'"scopes_supported":["orders:read","orders:write"],"bearer_methods_supported":["header"],'
        b'"dpop_signing_alg_values_supported":["ES256","Ed25519"],"dpop_bound_access_tokens_required":true}'
    )


MEMBERS = {
    "jwks_uri": ({"jwks_uri": "https://api.example.com/jwks"}, None),
    "scopes": ({"scopes_supported": ["b", "a", "b"]}, {"scopes_supported": ["b", "a"]}),
    "scopes of a set": ({"scopes_supported": {"c", "a", "b"}}, {"scopes_supported": ["a", "b", "c"]}),
    "one scope": ({"scopes_supported": "orders"}, {"scopes_supported": ["orders"]}),
    "several servers": (
        {"authorization_servers": [ISSUER, "http://localhost:9000/t1"]},
        {"authorization_servers": [ISSUER, "http://localhost:9000/t1"]},
    ),
    "signing": ({"resource_signing_alg_values_supported": ["ES256", "ML-DSA-44"]}, None),
    "name": ({"resource_name": "Orders"}, None),
    "names": (
        {"resource_name": {"": "Orders", "de": "Aufträge", "zh-Hant-TW": "訂單"}},
        {"resource_name": "Orders", "resource_name#de": "Aufträge", "resource_name#zh-Hant-TW": "訂單"},
    ),
    "documentation": ({"resource_documentation": "https://docs.example/orders#tokens"}, None),
    "policy": ({"resource_policy_uri": "http://docs.example/policy"}, None),
    "policies": (
        {"resource_policy_uri": {"de": "https://docs.example/de"}},
        {"resource_policy_uri#de": "https://docs.example/de"},
    ),
    "terms": ({"resource_tos_uri": "https://docs.example/terms"}, None),
    "certificate-bound": ({"tls_client_certificate_bound_access_tokens": True}, None),
    "details": ({"authorization_details_types_supported": ["payment_initiation"]}, None),
    "signed": ({"signed_metadata": SIGNED}, None),
    "more": (
        {"more": {"acme": {"a": [1, 2.5, None, "ü"]}, "zero": 0}},
        {"acme": {"a": [1, 2.5, None, "ü"]}, "zero": 0},
    ),
}


@pytest.mark.parametrize(("options", "members"), MEMBERS.values(), ids=MEMBERS)
def test_members(options, members):
    """META-4."""
    document = json.loads(
        ask(members=options).body
        if "authorization_servers" not in options
        else asgi.http(Publish(ProtectedResource(API, **options)), PATH).body
    )
    least = {"resource": API, "authorization_servers": [ISSUER], "bearer_methods_supported": ["header"]}
    assert document == least | (options if members is None else members)


def test_arrays_without_elements_are_left_out():
    """META-4."""
    empty = ProtectedResource(
        API,
        authorization_servers=[],
        scopes_supported=[],
        bearer_methods_supported=[],
        resource_name={},
        more={"acme_list": [], "acme_tuple": (), "acme": {}},
    )
    assert json.loads(asgi.http(Publish(empty), PATH).body) == {"resource": API, "acme": {}}


def test_what_is_given_can_be_changed_later():
    more = {"acme": ["a"]}
    resource = ProtectedResource(API, authorization_servers=ISSUER, more=more)
    more["acme"].append("b")
    assert json.loads(asgi.http(Publish(resource), PATH).body)["acme"] == ["a"]


# --- options -------------------------------------------------------------------------------------------------------

ENDLESS = {}
ENDLESS["a"] = ENDLESS
WRONG = {
    "over http": ({"resource": "http://api.example.com"}, "resource= is the https URL"),
    "a fragment": ({"resource": API + "#a"}, "resource= is the https URL"),
    "an empty fragment": ({"resource": API + "#"}, "resource= is the https URL"),
    "a quote": ({"resource": API + '"'}, "resource= is the https URL"),
    "a line feed": ({"resource": API + "\n"}, "resource= is the https URL"),
    "a user": ({"resource": "https://u:p@api.example.com"}, "resource= is the https URL"),
    "no host": ({"resource": "https:///v1"}, "resource= is the https URL"),
    "no URL": ({"resource": "urn:example:orders"}, "resource= is the https URL"),
    "no text": ({"resource": None}, "resource= is the https URL"),
    "server over http": ({"authorization_servers": "http://as.example"}, "authorization_servers= takes issuers"),
    "server with a query": ({"authorization_servers": [ISSUER + "?a"]}, "authorization_servers= takes issuers"),
    "server no text": ({"authorization_servers": [None]}, "authorization_servers= takes texts"),
    "servers None": ({"authorization_servers": None}, "authorization_servers= takes texts"),
    "keys over http": ({"jwks_uri": "http://as.example/jwks"}, "jwks_uri= is an https URL"),
    "two scopes in one": ({"scopes_supported": ["a b"]}, "scopes_supported= takes names"),
    "an empty scope": ({"scopes_supported": [""]}, "scopes_supported= takes texts"),
    "a method there is not": ({"bearer_methods_supported": ["cookie"]}, "takes some of header, body, query; got"),
    "no algorithm": ({"resource_signing_alg_values_supported": ["None"]}, "does not take none"),
    "an algorithm of two words": ({"resource_signing_alg_values_supported": ["ES 256"]}, "takes names"),
    "DPoP without a signature": ({"dpop_signing_alg_values_supported": ["none"]}, "dpop_signing_alg_values_supported="),
    "DPoP with a shared key": ({"dpop_signing_alg_values_supported": "HS256"}, "dpop_signing_alg_values_supported="),
    "DPoP no flag": ({"dpop_bound_access_tokens_required": 1}, "dpop_bound_access_tokens_required= is True or False"),
    "TLS no flag": ({"tls_client_certificate_bound_access_tokens": "no"}, "_access_tokens= is True or False"),
    "an empty name": ({"resource_name": ""}, "resource_name= is a text"),
    "a name of bytes": ({"resource_name": b"a"}, "resource_name= is a text"),
    "half a character": ({"resource_name": "\ud800"}, "Unicode texts"),
    "a language that is none": ({"resource_name": {"d e": "a"}}, "texts by language tag"),
    "a language that is no text": ({"resource_name": {7: "a"}}, "texts by language tag"),
    "a page that is none": ({"resource_documentation": "javascript:alert(1)"}, "is an http or https URL"),
    "a page with a quote": ({"resource_policy_uri": 'https://a.example/"'}, "is an http or https URL"),
    "a page with a quote behind #": ({"resource_tos_uri": 'https://a.example/#"'}, "is an http or https URL"),
    "signed by nobody": ({"signed_metadata": jwt({"alg": "ES256"}, {})}, "signed_metadata= is a signed JWT"),
    "signed by a number": ({"signed_metadata": jwt({"alg": "ES256"}, {"iss": 7})}, "signed_metadata= is a signed JWT"),
    "not signed": ({"signed_metadata": jwt({"alg": "none"}, {"iss": ISSUER})}, "signed_metadata= is a signed JWT"),
    "no signature": ({"signed_metadata": jwt({"alg": "ES256"}, {"iss": ISSUER}, b"")}, "signed_metadata= is a signed"),
    "no alg": ({"signed_metadata": jwt({}, {"iss": ISSUER})}, "signed_metadata= is a signed JWT"),
    "no JWT": ({"signed_metadata": "a.b"}, "signed_metadata= is a signed JWT"),
    "no text signed": ({"signed_metadata": 7}, "signed_metadata= is a signed JWT"),
    "more is a list": ({"more": ["a"]}, "more= is a mapping"),
    "more without a name": ({"more": {"": 1}}, "more= is a mapping"),
    "more of a known member": ({"more": {"resource": "https://other.example"}}, "more= does not take resource"),
    "more of one left out": ({"more": {"jwks_uri": "https://a.example"}}, "more= does not take jwks_uri"),
    "more of a language": ({"more": {"resource_name#de": "a"}}, "more= does not take resource_name#de"),
    "more that is no JSON": ({"more": {"a": object()}}, "more= takes what JSON can say, and Unicode texts: TypeError"),
    "more that is no number": ({"more": {"a": float("nan")}}, "more= takes what JSON can say"),
    "more without end": ({"more": ENDLESS}, "more= takes what JSON can say"),
    "more with a name twice": ({"more": {"a": {1: 0, "1": 0}}}, "more= takes what JSON can say"),
    "a negative age": ({"max_age": -1}, "max_age= is seconds"),
    "an age without end": ({"max_age": float("inf")}, "max_age= is seconds"),
    "an age of true": ({"max_age": True}, "max_age= is seconds"),
    "an age of text": ({"max_age": "60"}, "max_age= is seconds"),
}


@pytest.mark.parametrize(("options", "says"), WRONG.values(), ids=WRONG)
def test_wrong_options(options, says):
    with pytest.raises(ConfigurationError, match=says):
        ProtectedResource(**{"resource": API, "authorization_servers": ISSUER, **options})
