"""Mutual TLS: what the server says of a connection in, a principal or a 403 out (MTLS-1, MTLS-4, CERT-1, CERT-4)."""

import hashlib
import itertools
import logging
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type

from secure_asgi import ConfigurationError, Principal, Reason
from secure_asgi._certificate_names import NameRules
from secure_asgi.errors import CertificateError
from secure_asgi.flow import Layer
from secure_asgi.mutual_tls import ForwardedCertificate, MutualTLSMiddleware, ProxySecret, TLSExtension
from secure_asgi.mutual_tls.certificate import MAX_CERTIFICATES, MAX_SIZE, read_certificates
from secure_asgi.mutual_tls.fields import MAX_HARMLESS, MAX_NAME, CertificateFields
from secure_asgi.mutual_tls.identity import identity_of, own_name
from secure_asgi.mutual_tls.middleware import DETAIL
from secure_asgi.testing.certificates import CertificateAuthority

from .asgi import hello, http, websocket

AUTHORITY = CertificateAuthority("Test CA")
SHOP = AUTHORITY.issue("dns:shop.clients.example")
SPIFFE = AUTHORITY.subordinate().issue("uri:spiffe://example.org/ns/pay", "dns:pay.example")
PEM = SHOP.certificate_pem.decode()
DER = ssl.PEM_cert_to_DER_cert(PEM)


def tls(issued=SHOP, **more):
    """``extensions=`` of a connection with that client certificate."""
    return {"tls": {**issued.tls_extension(), **more}}


def chain(*given):
    return tls(client_cert_chain=given)


class Watch(Layer):
    """Keeps the exchange and the scope the application saw (None if it was not called)."""

    def __init__(self, app):
        self.exchange = self.scope = None

        async def watched(scope, receive, send):
            self.scope = scope
            await hello(scope, receive, send)

        super().__init__(app(watched))

    def on_end(self, exchange):
        self.exchange = exchange

    @property
    def verdicts(self):
        return [(decision.verdict, decision.reason) for decision in self.exchange.decisions]


def watch(**options) -> Watch:
    return Watch(lambda app: MutualTLSMiddleware(app, **options))


# --- what the server says, and what is answered --------------------------------------------------------------------

ACCEPTED = {
    "PEM in a tuple": chain(PEM),
    "DER": chain(DER),
    "PEM with CRLF": chain(PEM.replace("\n", "\r\n")),
    "a list": tls(client_cert_chain=[PEM]),
    "with intermediates": tls(SPIFFE),
    "one text instead of a list of one": tls(client_cert_chain=PEM),
    "only the chain, no other key": {"tls": {"client_cert_chain": (PEM,)}},
    "client_cert, from before the specification": {"tls": {"client_cert": DER}},
    "one DER instead of a list of one": tls(client_cert_chain=DER),
    "client_cert beside a chain, which counts": {"tls": {"client_cert": b"junk", "client_cert_chain": (PEM,)}},
    "client_cert beside an empty chain": {"tls": {"client_cert": DER, "client_cert_chain": []}},
    "an empty error": tls(client_cert_error=""),
    "as many certificates as there may be": chain(*[DER] * MAX_CERTIFICATES),
}


@pytest.mark.parametrize("extensions", ACCEPTED.values(), ids=ACCEPTED)
def test_a_certificate_however_the_server_gives_it(extensions):
    """MTLS-1: every key is optional, the chain is any iterable."""
    app = watch()
    assert http(app, extensions=extensions).status == 200
    assert app.exchange.peer_certificate is not None
    assert app.exchange.principal.method == "mtls"


def test_a_chain_that_can_be_read_once_is_there_for_the_application_too():
    app = watch()
    said = {"http.response.push": {}, "tls": {"client_cert_chain": iter((PEM, PEM)), "cipher_suite": 7}}
    assert http(app, extensions=said).status == 200
    seen = {"http.response.push": {}, "tls": {"client_cert_chain": (PEM, PEM), "cipher_suite": 7}}
    assert app.scope["extensions"] == seen
    assert app.exchange.peer_certificate.chain == (DER,)


def failing():
    yield PEM
    raise OSError("connection lost")


class Explosive:
    def get(self, key):
        raise LookupError(key)


# The name's type, its length, then itself: a name of no length, and a longer one of another type after it.
EMPTY_NAME = DER.replace(b"\x82\x14shop.clients.example", b"\x82\x00\x81\x12op.clients.example")
OTHER = AUTHORITY.issue("dns:other.example")
OPS_DER = ssl.PEM_cert_to_DER_cert(AUTHORITY.issue("email:ops@a.example", common_name="x").certificate_pem.decode())
NOW = datetime.now(UTC)
EXPIRED = AUTHORITY.issue("dns:shop.clients.example", not_after=NOW - timedelta(minutes=1))
NOT_YET = AUTHORITY.issue("dns:shop.clients.example", not_before=NOW + timedelta(days=1))

REFUSED = {
    "no TLS extension": (Reason.TLS_UNKNOWN, None),
    "other extensions only": (Reason.TLS_UNKNOWN, {"http.response.push": {}}),
    "an empty chain": (Reason.CERTIFICATE_MISSING, chain()),
    "no chain": (Reason.CERTIFICATE_MISSING, {"tls": {}}),
    "a chain of None": (Reason.CERTIFICATE_MISSING, tls(client_cert_chain=None)),
    "no chain, and a client_cert of None": (Reason.CERTIFICATE_MISSING, {"tls": {"client_cert": None}}),
    "a name without a certificate": (Reason.CERTIFICATE_MISSING, {"tls": {"client_cert_name": "CN=admin"}}),
    "a failed verification": (Reason.CERTIFICATE_UNVERIFIED, tls(client_cert_error="self-signed")),
    "a failed verification, no chain": (Reason.CERTIFICATE_UNVERIFIED, {"tls": {"client_cert_error": "expired"}}),
    "no certificate in the PEM": (Reason.CERTIFICATE_MALFORMED, chain("hello")),
    "an empty text": (Reason.CERTIFICATE_MALFORMED, chain("")),
    "two certificates in one PEM": (Reason.CERTIFICATE_MALFORMED, chain(PEM + PEM)),
    "a character too many in the base64": (Reason.CERTIFICATE_MALFORMED, chain(PEM.replace("\nMI", "\nMI!", 1))),
    "a PEM cut short": (Reason.CERTIFICATE_MALFORMED, chain(PEM[:200])),
    "another PEM": (Reason.CERTIFICATE_MALFORMED, chain(SHOP.key_pem.decode())),
    "DER cut short": (Reason.CERTIFICATE_MALFORMED, chain(DER[:-1])),
    "bytes after the DER": (Reason.CERTIFICATE_MALFORMED, chain(DER + b"\0")),
    "a malformed intermediate": (Reason.CERTIFICATE_MALFORMED, chain(PEM, b"0")),
    "too many certificates": (Reason.CERTIFICATE_MALFORMED, chain(*[DER] * (MAX_CERTIFICATES + 1))),
    "an endless chain": (Reason.CERTIFICATE_MALFORMED, tls(client_cert_chain=itertools.repeat(PEM))),
    "too much text": (Reason.CERTIFICATE_MALFORMED, chain(PEM + "\n" * MAX_SIZE)),
    "too many names": (Reason.CERTIFICATE_MALFORMED, tls(AUTHORITY.issue(*[f"dns:{n}.example" for n in range(513)]))),
    "a chain of numbers": (Reason.CERTIFICATE_MALFORMED, chain(1)),
    "a chain of lists": (Reason.CERTIFICATE_MALFORMED, chain([PEM])),
    "a chain that is a number": (Reason.CERTIFICATE_MALFORMED, tls(client_cert_chain=7)),
    "a chain that breaks off": (Reason.CERTIFICATE_MALFORMED, tls(client_cert_chain=failing())),
    "an extension that is a list": (Reason.CERTIFICATE_MALFORMED, {"tls": []}),
    "an extension that raises": (Reason.CERTIFICATE_MALFORMED, {"tls": Explosive()}),
    "a NUL in a name": (Reason.CERTIFICATE_MALFORMED, tls(AUTHORITY.issue("dns:shop.clients.example\0.evil"))),
    "a line feed in a name": (Reason.CERTIFICATE_MALFORMED, tls(AUTHORITY.issue("uri:spiffe://a/b\nx"))),
    "a NUL in an address": (Reason.CERTIFICATE_MALFORMED, chain(OPS_DER.replace(b"ops@", b"o\0s@"))),
    "a letter in a name that is not ASCII": (
        Reason.CERTIFICATE_MALFORMED,
        chain(DER.replace(b"shop.cl", b"sh\xf6p.cl")),
    ),
    "an empty name": (Reason.CERTIFICATE_MALFORMED, chain(EMPTY_NAME)),
    "expired": (Reason.CERTIFICATE_EXPIRED, tls(EXPIRED)),
    "not yet valid": (Reason.CERTIFICATE_NOT_YET_VALID, tls(NOT_YET)),
    "another name": (Reason.CERTIFICATE_NOT_ALLOWED, tls(OTHER)),
    "the allowed name as common name only": (
        Reason.CERTIFICATE_NOT_ALLOWED,
        tls(AUTHORITY.issue(common_name="shop.clients.example")),
    ),
}


@pytest.mark.parametrize(("reason", "extensions"), REFUSED.values(), ids=REFUSED)
def test_refused_with_one_and_the_same_403(reason, extensions):
    """MTLS-4; the client cannot tell the reasons apart, the record can."""
    app = watch(allow="dns:shop.clients.example")
    answer = http(app, extensions=extensions)
    assert answer.status == 403
    assert answer.problem == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": DETAIL,
        "request_id": app.exchange.request_id,
    }
    assert app.verdicts == [("deny", reason)]
    assert app.scope is None
    assert app.exchange.principal is None


def test_the_record_says_which_certificate_it_was():
    app = watch(allow="dns:a.example")
    http(app, extensions=tls(SPIFFE))
    digest = app.exchange.peer_certificate.sha256
    assert app.exchange.denial.note == f"sha256={digest} issuer=CN=Test issuing CA: no name is allowed"
    http(app, extensions=tls(SPIFFE, client_cert_error="self-signed " + "x" * 999))
    assert app.exchange.denial.note == (f"sha256={digest} issuer=CN=Test issuing CA: self-signed " + "x" * 999)[:256]
    http(app, extensions={"tls": {"client_cert_error": "expired"}})
    assert app.exchange.denial.note == "expired"


def test_an_expired_certificate_is_not_the_peers_a_wrong_one_is():
    app = watch(allow="dns:a.example")
    http(app, extensions=tls(EXPIRED))
    assert app.exchange.peer_certificate is None
    http(app, extensions=tls(OTHER))
    assert app.exchange.peer_certificate.dns == ("other.example",)


def test_plain_http_brings_no_certificate():
    """Not "unknown": there is no TLS that the server could have told about."""
    app = watch()
    assert http(app, scheme="http").status == 403
    assert app.verdicts == [("deny", Reason.CERTIFICATE_MISSING)]


def test_validity_is_checked_while_the_connection_lasts():
    """CERT-1: the handshake was yesterday."""
    layer = MutualTLSMiddleware(hello)
    issued = SHOP.certificate
    for now, status in (
        (issued.not_valid_before_utc.timestamp(), 200),
        (issued.not_valid_after_utc.timestamp(), 200),
        (issued.not_valid_after_utc.timestamp() + 1, 403),
        (issued.not_valid_before_utc.timestamp() - 1, 403),
    ):
        layer._judge._clock = lambda now=now: now
        assert http(layer, extensions=tls()).status == status


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ({"extensions": chain()}, 200),
        ({"scheme": "http"}, 200),
        ({"extensions": tls()}, 200),
        ({"extensions": tls(OTHER)}, 403),
        ({"extensions": tls(client_cert_error="x")}, 403),
        ({}, 403),
    ],
    ids=["none", "plain HTTP", "a good one", "one not allowed", "one not verified", "nobody knows"],
)
def test_optional_means_none_or_a_good_one(scope, status):
    app = watch(required=False, allow="dns:*.clients.example")
    assert http(app, **scope).status == status
    if app.scope is not None and app.exchange.principal is None:
        assert not app.scope["user"].is_authenticated
        assert app.scope["auth"].scopes == []


# --- who it is -----------------------------------------------------------------------------------------------------


def test_what_the_application_sees():
    app = watch()
    http(app, extensions=tls(SPIFFE))
    peer, principal = app.exchange.peer_certificate, app.exchange.principal
    assert peer.uris == ("spiffe://example.org/ns/pay",)
    assert peer.dns == ("pay.example",)
    assert peer.spiffe_id == "spiffe://example.org/ns/pay"
    assert peer.subject == "CN=spiffe://example.org/ns/pay"
    assert peer.issuer == "CN=Test issuing CA"
    assert peer.serial == SPIFFE.certificate.serial_number
    assert (peer.not_before, peer.not_after) == (
        SPIFFE.certificate.not_valid_before_utc,
        SPIFFE.certificate.not_valid_after_utc,
    )
    assert len(peer.chain) == 1
    assert principal == Principal(method="mtls", subject="spiffe://example.org/ns/pay", issuer="CN=Test issuing CA")
    assert app.scope["user"] is principal
    assert app.scope["auth"].scopes == ["authenticated"]


IDENTITIES = {
    "the only URI, whatever else": (["uri:spiffe://a/b", "dns:a.example", "dns:b.example"], "spiffe://a/b"),
    "the only DNS name": (["dns:A.Example", "email:a@example.org"], "a.example"),
    "the only address": (["email:Ops@Example.ORG"], "Ops@example.org"),
    "an underscore": (["dns:build_7.example"], "build_7.example"),
    "two URIs": (["uri:spiffe://a/b", "uri:spiffe://a/c", "dns:a.example"], None),
    "two DNS names": (["dns:a.example", "dns:b.example"], None),
    "two DNS names, and an address": (["dns:a.example", "dns:b.example", "email:ops@a.example"], None),
    "two addresses": (["email:a@a.example", "email:b@a.example"], None),
    "a wildcard": (["dns:*.clients.example"], None),
    "an empty label": (["dns:a..example"], None),
    "no name": ([], None),
    "an IP address": (["ip:192.0.2.1"], None),
    "a URI that could pass for a host": (["uri:admin.example"], None),
    "a URI without a scheme": (["uri:://admin.example"], None),
    "an address that could pass for a host": (["email:admin.example"], None),
    "an address that could pass for a URI": (["email:spiffe://a/b@a.example"], None),
}


@pytest.mark.parametrize(("names", "subject"), IDENTITIES.values(), ids=IDENTITIES)
def test_the_default_identity_is_the_only_name(names, subject):
    """CERT-4: from the alternative names, never the common name, and never one of several."""
    issued = AUTHORITY.issue(*names, common_name="admin")
    assert own_name(read_certificates((issued.certificate_pem.decode(),))) == subject
    app = watch()
    assert http(app, extensions=tls(issued)).status == (200 if subject else 403)
    if subject:
        assert app.exchange.principal.subject == subject
    else:
        assert app.verdicts == [("deny", Reason.CERTIFICATE_NOT_ALLOWED)]
        assert app.exchange.denial.note.endswith(": no identity in it")


ALL_KINDS = ["uri:spiffe://a.example/b", "dns:a.example", "email:a@a.example"]
KINDS = {
    "spiffe": (ALL_KINDS, "spiffe://a.example/b"),
    "uri": (["uri:https://a.example/", "dns:a.example"], "https://a.example/"),
    "dns": (ALL_KINDS, "a.example"),
    "email": (ALL_KINDS, "a@a.example"),
    "dn:CN": (["dns:a.example"], "admin"),
    "no SPIFFE ID": (["uri:https://a.example/"], None),
    "dns, and there are two": (["dns:a.example", "dns:b.example", "uri:spiffe://a.example/b"], None),
    "dns, and it is a wildcard": (["dns:*.example"], None),
    "dn:O, and there is none": (["dns:a.example"], None),
    "dn:2.5.4.3, which is CN": (["dns:a.example"], "admin"),
}


@pytest.mark.parametrize(
    ("kind", "names", "subject"), [(kind.partition(",")[0], *row) for kind, row in KINDS.items()], ids=KINDS
)
def test_the_identity_of_a_kind(kind, names, subject):
    app = watch(identity="spiffe" if kind == "no SPIFFE ID" else kind)
    assert http(app, extensions=tls(AUTHORITY.issue(*names, common_name="admin"))).status == (200 if subject else 403)
    assert subject is None or app.exchange.principal.subject == subject


SUBJECTS = {
    "one": ("CN=admin", "admin"),
    "two": ("CN=eve,CN=admin", None),
    "beside another attribute in one RDN": ("CN=admin+OU=a", "admin"),
    "two in one RDN": ("CN=admin+CN=eve", None),
    "an end of the text for some": ("CN=admin\\00.example", None),
    "a second line": ("CN=admin\\0aeve", None),
}


@pytest.mark.parametrize(("name", "expected"), SUBJECTS.values(), ids=SUBJECTS)
def test_the_identity_of_an_attribute(name, expected):
    """CERT-4: one value of it, which everybody reads alike."""
    reader, _ = identity_of("dn:CN")
    assert reader(subject(name)) == expected


def test_an_empty_value_is_one_too_many_and_none_too_few():
    reader, _ = identity_of("dn:CN")
    peer = subject("CN=admin")
    assert reader(replace(peer, attributes=(("CN", ""), ("CN", "admin")))) is None
    assert reader(replace(peer, attributes=(("CN", ""),))) is None


def test_the_fingerprint_as_identity():
    app = watch(identity="fingerprint")
    http(app, extensions=tls())
    assert app.exchange.principal.subject == hashlib.sha256(DER).hexdigest()


def test_an_identity_of_ones_own():
    def who(peer):
        if peer.dns == ("other.example",):
            return None
        return Principal(method="mtls", subject=str(peer.serial), scopes=frozenset(("b", "a")))

    app = watch(identity=who)
    assert http(app, extensions=tls(SPIFFE)).status == 200
    assert app.scope["user"].subject == str(SPIFFE.certificate.serial_number)
    assert app.scope["auth"].scopes == ["authenticated", "a", "b"]
    assert http(app, extensions=tls(OTHER)).status == 403
    assert app.exchange.denial.reason == Reason.CERTIFICATE_NOT_ALLOWED


def test_an_identity_that_answers_nonsense_lets_nobody_in():
    app = watch(identity=lambda peer: "admin")
    answer = http(app, extensions=tls())
    assert answer.status == 500
    assert isinstance(answer.error, TypeError)
    assert "str" in str(answer.error)
    assert app.scope is None


def test_in_shadow_mode_even_an_identity_that_raises_leaves_a_user():
    def broken(peer):
        raise LookupError(peer.subject)

    app = watch(identity=broken, mode="shadow")
    assert http(app, extensions=tls()).status == 200
    assert not app.scope["user"].is_authenticated
    assert app.exchange.principal is None


# --- allow= --------------------------------------------------------------------------------------------------------

RULES = {
    "exact": ("dns:a.example", "dns:a.example", True),
    "case of a host": ("dns:A.example", "dns:a.EXAMPLE", True),
    "not a suffix": ("dns:a.example", "dns:x.a.example", False),
    "not a prefix": ("dns:a.example", "dns:a.example.evil", False),
    "one label": ("dns:*.clients.example", "dns:a.clients.example", True),
    "not two labels": ("dns:*.clients.example", "dns:a.b.clients.example", False),
    "not none": ("dns:*.clients.example", "dns:clients.example", False),
    "not an empty label": ("dns:*.clients.example", "dns:.clients.example", False),
    "not a wildcard certificate": ("dns:*.clients.example", "dns:*.clients.example", False),
    "exact URI": ("uri:spiffe://example.org/a", "uri:spiffe://example.org/a", True),
    "case of a URI": ("uri:spiffe://example.org/a", "uri:spiffe://example.org/A", False),
    "a URN": ("uri:urn:uuid:0b4d", "uri:urn:uuid:0b4d", True),
    "one segment": ("uri:spiffe://example.org/ns/*", "uri:spiffe://example.org/ns/pay-1.x", True),
    "segments in the middle": ("uri:spiffe://x/ns/*/sa/*", "uri:spiffe://x/ns/pay/sa/api", True),
    "not two segments": ("uri:spiffe://example.org/ns/*", "uri:spiffe://example.org/ns/a/b", False),
    "not an empty segment": ("uri:spiffe://example.org/ns/*", "uri:spiffe://example.org/ns/", False),
    "not a dot segment": ("uri:spiffe://example.org/ns/*", "uri:spiffe://example.org/ns/.", False),
    "not a segment of two dots": ("uri:spiffe://example.org/ns/*", "uri:spiffe://example.org/ns/..", False),
    "not an escape": ("uri:spiffe://example.org/ns/*", "uri:spiffe://example.org/ns/%2e", False),
    "not a query": ("uri:spiffe://example.org/ns/*", "uri:spiffe://example.org/ns/a?b", False),
    "not another domain": ("uri:spiffe://example.org/ns/*", "uri:spiffe://example.com/ns/a", False),
    "exact address": ("email:ops@example.org", "email:ops@EXAMPLE.org", True),
    "case of its domain in the rule": ("email:ops@EXAMPLE.org", "email:ops@example.org", True),
    "case before the @": ("email:ops@example.org", "email:Ops@example.org", False),
    "anybody there": ("email:*@example.org", "email:a.b+c@example.org", True),
    "nobody elsewhere": ("email:*@example.org", "email:a@sub.example.org", False),
    "no @ smuggled in": ("email:*@example.org", 'email:"a@b"@example.org', False),
    "a SPIFFE ID without its kind": ("spiffe://example.org/ns/*", "uri:spiffe://example.org/ns/pay", True),
    "of the same kind only": ("uri:a.example:x", "dns:a.example:x", False),
    "a pattern of the same kind only": ("dns:*.example", "uri:a.example", False),
}


@pytest.mark.parametrize(("rule", "name", "is_allowed"), RULES.values(), ids=RULES)
def test_rules(rule, name, is_allowed):
    peer = read_certificates((AUTHORITY.issue(name).certificate_pem.decode(),))
    assert NameRules(rule).admit(peer) is is_allowed


def subject(text):
    """A certificate with that subject, as RFC 4514 writes it."""
    return read_certificates((nameless(x509.Name.from_rfc4514_string(text)),))


def nameless(name):
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


SUBJECT_RULES = {
    "one attribute": ("dn:CN=shop", "CN=shop", True),
    "one of several attributes": ("dn:O=Acme", "CN=shop,O=Acme", True),
    "all that are named": ("dn:CN=shop,O=Acme", "O=Acme,CN=shop,C=DE", True),
    "one that is named is missing": ("dn:CN=shop,O=Acme", "CN=shop", False),
    "another value": ("dn:CN=shop", "CN=Shop", False),
    "any value": ("dn:O=Acme,CN=*", "CN=anything at all,O=Acme", True),
    "not no value": ("dn:O=Acme,CN=*", "O=Acme", False),
    "not one of two": ("dn:CN=admin", "CN=eve,CN=admin", False),
    "not any of two": ("dn:CN=*", "CN=eve,CN=admin", False),
    "not a text that looks like one": ("dn:CN=admin", "O=x\\,CN=admin", False),
    "a comma": ("dn:O=Acme\\, Inc", "O=Acme\\, Inc", True),
    "a dotted type": ("dn:1.3.6.1.4.1.99999.1=x", "1.3.6.1.4.1.99999.1=x", True),
    "another type": ("dn:OU=Acme", "O=Acme", False),
    "any value that is one line": ("dn:CN=*", "CN=a\\0ab", False),
}


@pytest.mark.parametrize(("rule", "name", "is_allowed"), SUBJECT_RULES.values(), ids=SUBJECT_RULES)
def test_rules_about_the_subject_go_by_its_parsed_attributes(rule, name, is_allowed):
    """Never a search in the text of a subject."""
    assert NameRules(rule).admit(subject(name)) is is_allowed


def test_an_attribute_that_is_no_text_is_its_octets_in_hex():
    unique = x509.NameAttribute(x509.NameOID.X500_UNIQUE_IDENTIFIER, b"\x01\xff", _ASN1Type.BitString)
    assert read_certificates((nameless(x509.Name([unique])),)).attributes == (("2.5.4.45", "#01ff"),)


def test_one_of_several_rules_and_one_of_several_names_is_enough():
    app = watch(allow=("dns:a.example", "uri:spiffe://example.org/ns/*"))
    assert http(app, extensions=tls(SPIFFE)).status == 200
    assert http(app, extensions=tls(OTHER)).status == 403


BAD_RULES = {
    "none at all": ((), "leave it out to accept every verified certificate"),
    "no kind": ("client.example", 'rules such as "dns:client.example"'),
    "the common name": ("CN:client", "or by all the attributes you name"),
    "no attribute": ("dn:", "attributes as RFC 4514 writes them"),
    "a text that is no name": ("dn:client", "attributes as RFC 4514 writes them"),
    "one type twice": ("dn:CN=a,CN=b", "each type once"),
    "part of a value": ("dn:CN=a*", "to the letter"),
    "not a text": ((7,), "got 7"),
    "an empty name": ("dns:", "dns: followed by a host name"),
    "a wildcard alone": ("dns:*", "dns: followed by a host name"),
    "part of a label": ("dns:a*.example", "dns: followed by a host name"),
    "a label further in": ("dns:a.*.example", "dns: followed by a host name"),
    "a trailing dot": ("dns:a.example.", "dns: followed by a host name"),
    "not ASCII": ("dns:bücher.example", "A-labels"),
    "a space": ("uri:spiffe://a/ b", "names in ASCII"),
    "a tab": ("uri:spiffe://a/\tb", "names in ASCII"),
    "a URI with an empty scheme": ("uri:://example.org/a", "uri: followed by"),
    "a URI without scheme": ("uri:example.org/a", "uri: followed by"),
    "a scheme only": ("uri:spiffe:", "uri: followed by"),
    "any trust domain": ("uri:spiffe://*/a", "uri: followed by"),
    "any scheme": ("uri:*://a/b", "uri: followed by"),
    "part of a segment": ("uri:spiffe://example.org/ns-*", "uri: followed by"),
    "a wildcard in a URN": ("uri:urn:x:*", "uri: followed by"),
    "a URI that only looks hierarchical": ("uri:a:b/c/d/*", "uri: followed by"),
    "an address without @": ("email:ops", "email: followed by"),
    "nobody at all": ("email:@example.org", "email: followed by"),
    "part of an address": ("email:ops*@example.org", "email: followed by"),
    "two @": ("email:a@b@example.org", "email: followed by"),
}


@pytest.mark.parametrize(("rules", "sentence"), BAD_RULES.values(), ids=BAD_RULES)
def test_rules_that_do_not_read_as_one(rules, sentence):
    with pytest.raises(ConfigurationError, match="allow=") as refused:
        MutualTLSMiddleware(hello, allow=rules)
    assert sentence in str(refused.value)


async def asynchronous(peer):
    return None


class Clear:
    """A source of revocation that has heard nothing bad."""

    generation = 0

    def look(self):
        pass

    def check(self, path, now):
        return now + 3600


class Unverified(TLSExtension):
    needs_trust_anchors = True


PIN = "sha256/" + "A" * 43 + "="


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"source": "tls"}, "source= is TLSExtension()"),
        ({"required": "yes"}, "required= is True or False"),
        ({"source": TLSExtension}, "source= is TLSExtension()"),
        ({"identity": "cn"}, "got 'cn'"),
        ({"identity": "dn:"}, "identity= is"),
        ({"identity": "dn: CN"}, "identity= is"),
        ({"identity": "dn:cn"}, "got 'dn:cn'"),
        ({"identity": 7}, "got 7"),
        ({"identity": asynchronous}, "or a plain function"),
        ({"pins": PIN}, "insecure_single_pin=True"),
        ({"revocation": Clear()}, "revocation= goes with trust_anchors="),
        ({"revocation": Clear, "trust_anchors": "ca.pem"}, "revocation= is CRLs(...)"),
        ({"revocation": "crl.pem", "trust_anchors": "ca.pem"}, "revocation= is CRLs(...)"),
        ({"source": Unverified()}, "give trust_anchors="),
        ({"max_depth": 1}, "about trust_anchors="),
        ({"require_client_eku": False}, "about trust_anchors="),
        ({"max_depth": "1", "trust_anchors": "ca.pem"}, "max_depth= is"),
        ({"trust_anchors": ()}, "trust_anchors= takes"),
        ({"mode": "off"}, "mode="),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else value,
)
def test_wrong_options(options, sentence):
    with pytest.raises(ConfigurationError) as refused:
        MutualTLSMiddleware(hello, **options)
    assert sentence in str(refused.value)


def test_the_source_can_be_named():
    assert http(MutualTLSMiddleware(hello, source=TLSExtension()), extensions=tls()).status == 200
    assert repr(TLSExtension()) == "TLSExtension()"


def test_a_resumed_session_proves_nothing_by_itself(caplog):
    """A resumed session was verified at another time, perhaps by nobody: without trust anchors it is refused."""
    app = watch(required=False)
    resumed = {**tls(), "secure_asgi": {"peer": ("192.0.2.1", 5), "resumed": True}}
    with caplog.at_level(logging.INFO, "secure_asgi"):
        for _ in range(2):
            assert http(app, extensions=resumed).status == 403
    assert app.verdicts == [("deny", Reason.CERTIFICATE_UNVERIFIED)]
    assert app.exchange.denial.note.startswith(f"sha256={hashlib.sha256(DER).hexdigest()} issuer=CN=Test CA: a resumed")
    (line,) = caplog.messages
    assert "give trust_anchors=" in line
    assert http(app, extensions={**resumed, **chain()}).status == 200
    assert http(app, extensions={**resumed, "secure_asgi": {"peer": None}}).status == 200


def test_the_session_of_a_proxy_is_another_matter(caplog):
    """It may be resumed or without a certificate, as what it forwards does not rest on that handshake."""
    source = ForwardedCertificate("nginx", trusted=ProxySecret("x-proxy", "0123456789abcdef"))
    app = watch(source=source)
    forwarded = {"x-ssl-client-cert": quote(PEM), "x-ssl-client-verify": "SUCCESS"}
    resumed = {"tls": {}, "secure_asgi": {"peer": ("192.0.2.1", 5), "resumed": True, "asks_for_none": True}}
    secret = {"x-proxy": "0123456789abcdef"}
    assert http(app, extensions=resumed, headers=forwarded | secret).status == 200
    assert app.exchange.principal.subject == "shop.clients.example"
    assert [name for name, _ in app.scope["headers"]] == [b"host"]
    assert http(app, extensions=resumed, headers=forwarded).status == 403
    assert app.verdicts == [("deny", Reason.PROXY_UNTRUSTED)]
    assert http(app, extensions=resumed, headers=secret).status == 403
    assert app.verdicts == [("deny", Reason.CERTIFICATE_MISSING)]
    assert caplog.messages == [], "nothing is missing here"


def test_a_proxy_that_cannot_be_known_is_named_once_with_the_way_out(caplog):
    source = ForwardedCertificate("rfc9440", trusted="10.0.0.0/8")
    app = MutualTLSMiddleware(hello, source=source)
    with caplog.at_level(logging.INFO, "secure_asgi"):
        for _ in range(2):
            assert http(app).status == 403
    assert caplog.messages == [source.way_out]


# --- fields that could pass for a certificate ----------------------------------------------------------------------

FORGED = (
    "client-cert",
    "client-cert-chain",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-forwarded-ssl-client-cert",
    "x-ssl-client-cert",
    "x-ssl-client-verify",
    "x-ssl-client-s-dn",
    "x-ssl-cert",
    "x-tls-client-cert",
    "ssl-client-cert",
    "ssl-client-subject-dn",
    "x-client-cert",
    "x-client-cert-fingerprint",
    "x-client-verify",
    "x-client-dn",
    "x-arr-clientcert",
    "x-amzn-mtls-clientcert",
    "x-amzn-mtls-clientcert-leaf",
    "cf-client-cert-der-base64",
    "cf-cert-verified",
    "cloudfront-viewer-cert-pem",
    "wl-proxy-client-cert",
    "client_cert",
    "x.ssl_client.verify",
    "x_forwarded_client_cert",
)
HARMLESS = ("host", "accept", "x-client-id", "certificate-request", "content-client", "my-client-cert")


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_field_does_not_reach_the_application(name):
    app = watch()
    http(app, extensions=tls(), headers=[(b"Host", b"a"), (name.title().encode(), b"forged"), (b"accept", b"*/*")])
    assert app.scope["headers"] == [(b"Host", b"a"), (b"accept", b"*/*")]


@pytest.mark.parametrize("times", [1, 3])
def test_a_forged_field_is_removed_every_time(times):
    """Harmless names are remembered, and these are not among them."""
    own = CertificateFields()
    for _ in range(times):
        scope = {"headers": [(b"host", b"a"), (b"Client_Cert", b":AA==:"), (b"client-cert", b":AA==:")]}
        own.strip(scope)
    assert scope["headers"] == [(b"host", b"a")]


def test_names_that_a_client_makes_up_do_not_add_up():
    own = CertificateFields()
    for number in range(2 * MAX_HARMLESS):
        own.strip({"headers": [(b"x-%d" % number, b""), (b"x-%d" % number + MAX_NAME * b"x", b"")]})
        assert len(own._harmless) <= MAX_HARMLESS
        assert max(map(len, own._harmless)) <= MAX_NAME
    for _ in range(2):
        scope = {"headers": [(b"x-1", b""), (b"x-ssl-cert", b"")]}
        own.strip(scope)
        assert scope["headers"] == [(b"x-1", b"")]


def test_other_fields_are_left_alone_and_so_is_the_callers_list():
    app = watch()
    harmless = [(name.encode(), b"1") for name in HARMLESS]
    http(app, extensions=tls(), headers=harmless)
    assert app.scope["headers"] is harmless
    forged = [*harmless, (b"client-cert", b":AA==:"), (b"client-cert", b":AA==:")]
    answer = http(app, extensions=tls(), headers=forged)
    assert app.scope["headers"] == harmless
    assert answer.scope["headers"] is forged
    assert len(forged) == len(harmless) + 2


@pytest.mark.parametrize("options", [{"exempt": "/health"}, {"mode": "shadow"}, {"required": False}], ids=str)
def test_forged_fields_are_removed_where_nothing_is_refused_too(options):
    """Shadow mode and exemption suspend the refusal, not the effect."""
    app = watch(**options)
    answer = http(app, "/health", scheme="http", headers={"x-ssl-client-verify": "SUCCESS"})
    assert answer.status == 200
    assert [name for name, _ in app.scope["headers"]] == [b"host"]
    assert not app.scope["user"].is_authenticated
    assert app.scope["auth"].scopes == []


@pytest.mark.parametrize("options", [{"required": False}, {"exempt": "/health"}], ids=str)
def test_the_user_whom_a_layer_outside_has_set_stays_where_there_is_no_certificate(options):
    app = watch(**options)
    http(app, "/health", scheme="http", user="somebody", auth="something")
    assert app.scope["user"] == "somebody"
    assert app.scope["auth"] == "something"


def test_shadow_mode_records_and_lets_pass():
    app = watch(mode="shadow", allow="dns:a.example")
    assert http(app, extensions=tls()).status == 200
    assert app.verdicts == [("shadow", Reason.CERTIFICATE_NOT_ALLOWED)]
    assert app.exchange.principal is None


# --- the way out, WebSockets, the memory ---------------------------------------------------------------------------


def test_a_server_that_says_nothing_of_tls_is_named_once_with_the_way_out(caplog):
    app = MutualTLSMiddleware(hello)
    with caplog.at_level(logging.INFO, "secure_asgi"):
        for _ in range(3):
            assert http(app).status == 403
            assert http(app, scheme="http").status == 403
    (line,) = caplog.messages
    assert 'http="secure_asgi.servers.uvicorn:AutoProtocol"' in line
    assert "proxy" in line


def test_a_server_that_asks_nobody_for_a_certificate_is_named_too(caplog):
    """Pitfall of every server: authorities given, and no client asked."""
    unasked = {"tls": {}, "secure_asgi": {"peer": ("192.0.2.1", 5), "asks_for_none": True}}
    app = MutualTLSMiddleware(hello)
    with caplog.at_level(logging.INFO, "secure_asgi"):
        for _ in range(2):
            assert http(app, extensions=unasked).status == 403
        assert http(MutualTLSMiddleware(hello, required=False), extensions=unasked).status == 200
    (line,) = caplog.messages
    assert 'client_auth="optional"' in line


def test_websockets():
    app = watch(allow="dns:shop.clients.example")
    accepted = websocket(app, texts=["hi"], extensions=tls(), headers={"client-cert": ":AA==:"})
    assert [message["type"] for message in accepted.messages] == ["websocket.accept", "websocket.send"]
    assert app.scope["user"].subject == "shop.clients.example"
    assert b"client-cert" not in dict(app.scope["headers"])
    assert websocket(app, extensions=tls(OTHER)).status == 403
    assert websocket(app, extensions=tls(OTHER), denial_response=False).close_code == 1008
    assert websocket(app).status == 403
    assert app.verdicts == [("deny", Reason.TLS_UNKNOWN)]


def test_what_cannot_be_read_is_said_why_in_the_record_only():
    for given, note in (
        ((PEM,) * 11, "more than 10 certificates"),
        (("x" * 65_537,), "more than 65536 bytes of certificates"),
        ((b"0" * 16_385,), "more than 16384 bytes of one"),
        ((b"",), "ValueError"),
    ):
        with pytest.raises(CertificateError, match=note) as refused:
            read_certificates(given)
        assert refused.value.reason == Reason.CERTIFICATE_MALFORMED
