"""A forwarded certificate counts only from our own proxy, in one field, spelt in one way (MTLS-3, MTLS-5)."""

import hmac
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_asgi import ConfigurationError, MutualTLSMiddleware, Reason, TrustedProxyMiddleware
from secure_asgi._pins import Pin
from secure_asgi.errors import CertificateError
from secure_asgi.exchange import NO_ADDRESS, Exchange
from secure_asgi.mutual_tls.certificate import read_certificates
from secure_asgi.mutual_tls.fields import CertificateFields
from secure_asgi.mutual_tls.forwarded import ForwardedCertificate, ProxyCertificate, ProxySecret, trust
from secure_asgi.mutual_tls.forwarded.presets import PRESETS
from secure_asgi.mutual_tls.forwarded.source import MAX_KNOWN, MAX_KNOWN_SIZE

from .asgi import hello, http
from .forwarded import (
    AUTHORITY,
    DER,
    ESCAPED,
    HASH,
    OUR_PROXY,
    SECRET,
    lines,
    read,
    read_from_our_proxy,
    scope_with,
)

GOOD = {"x-ssl-client-cert": ESCAPED, "x-ssl-client-verify": "SUCCESS"}
AMBIGUOUS, UNTRUSTED, UNKNOWN = Reason.CERTIFICATE_FIELD_AMBIGUOUS, Reason.PROXY_UNTRUSTED, Reason.TLS_UNKNOWN


def nginx(trusted=OUR_PROXY, **options):
    return ForwardedCertificate("nginx", trusted=trusted, **options)


def recorded(peer):
    """What our server hook says of a connection."""
    return {"extensions": {"secure_asgi": {"peer": peer}}}


def verdict(source, fields, **more):
    """The reason of a refusal, or what was read."""
    try:
        return read(source, fields, **more)
    except CertificateError as refused:
        return refused.reason


def agree(source, expected, **more):
    """From this sender the fields are read, or refused, as ``expected``; without them there is nothing to refuse."""
    assert verdict(source, GOOD, **more) == expected
    assert verdict(source, {"accept": "*/*"}, **more) == (UNKNOWN if expected == UNKNOWN else ())


# --- one field, one spelling ---------------------------------------------------------------------------------------

SPOOFS = {
    "the certificate twice": ("nginx", [*GOOD.items(), ("X-SSL-Client-Cert", ESCAPED)]),
    "the verdict twice": ("nginx", [*GOOD.items(), ("x-ssl-client-verify", "SUCCESS")]),
    "the verdict twice, without a certificate": ("nginx", [("x-ssl-client-verify", "NONE")] * 2),
    "an underscore": ("nginx", [*GOOD.items(), ("X_SSL_Client_Verify", "SUCCESS")]),
    "one underscore": ("nginx", [*GOOD.items(), ("x-ssl-client_verify", "SUCCESS")]),
    "dots": ("nginx", [*GOOD.items(), ("X.SSL.Client.Verify", "SUCCESS")]),
    "dots and underscores": ("nginx", [*GOOD.items(), ("x_ssl.client-cert", "x")]),
    "an alias alone": ("nginx", [("x_ssl_client_cert", ESCAPED)]),
    "an alias of Client-Cert": ("rfc9440", [("client_cert", ":AA==:")]),
    "an alias of its chain": ("rfc9440", [("client_cert_chain", ":AA==:")]),
    "Client-Cert twice": ("rfc9440", [("client-cert", ":AA==:")] * 2),
    "XFCC twice": ("envoy_xfcc", [("x-forwarded-client-cert", "Hash=a")] * 2),
    "HAProxy's chain twice": ("haproxy", [("x-ssl-client-chain", "AA==")] * 2),
}


@pytest.mark.parametrize(("preset", "fields"), SPOOFS.values(), ids=SPOOFS)
def test_two_readings_are_one_too_many(preset, fields):
    """MTLS-2: nothing chooses between two lines, and what a gateway folds into our name is not let by."""
    with pytest.raises(CertificateError) as refused:
        read_from_our_proxy(preset, fields)
    assert refused.value.reason == AMBIGUOUS
    # And from anybody else it is not even looked at.
    assert verdict(ForwardedCertificate(preset, trusted=OUR_PROXY), fields) == UNTRUSTED


def test_an_alias_of_something_else_is_none_of_our_business():
    assert read_from_our_proxy("nginx", GOOD | {"x_request_id": "1", "client_cert": ":AA==:"}) == (DER,)


# --- the proxy's secret --------------------------------------------------------------------------------------------

OTHER_SECRET = "tr0ub4dor-and-3-more-words"


def test_the_proxys_secret():
    source = nginx()
    agree(source, UNTRUSTED)
    for secret, expected in (
        (SECRET, (DER,)),
        (SECRET.encode(), (DER,)),
        (OTHER_SECRET, UNTRUSTED),
        (SECRET[:-1], UNTRUSTED),
        (SECRET + "x", UNTRUSTED),
        ("", UNTRUSTED),
        (b"\xff" * len(SECRET), UNTRUSTED),
    ):
        assert verdict(source, GOOD | {"X-Proxy-Secret": secret}) == expected
        assert verdict(source, {"x-proxy-secret": secret}) == ()


def test_a_secret_twice_is_none():
    """A proxy that adds its line to the client's: whose is which?"""
    assert verdict(nginx(), [*GOOD.items(), *[("x-proxy-secret", SECRET)] * 2]) == UNTRUSTED


def test_a_secret_that_is_being_changed():
    source = nginx(ProxySecret("x-proxy-secret", (OTHER_SECRET, SECRET)))
    for secret in (SECRET, OTHER_SECRET):
        assert verdict(source, GOOD | {"x-proxy-secret": secret}) == (DER,)
    assert verdict(source, GOOD | {"x-proxy-secret": "a" * 20}) == UNTRUSTED


def test_secrets_are_compared_in_constant_time_and_all_of_them(monkeypatch):
    compared = []
    monkeypatch.setattr(trust, "compare_digest", lambda a, b: compared.append((a, b)) or hmac.compare_digest(a, b))
    source = nginx(ProxySecret("x-proxy-secret", (SECRET, OTHER_SECRET)))
    assert verdict(source, GOOD | {"x-proxy-secret": SECRET}) == (DER,)
    assert compared == [(SECRET.encode(), SECRET.encode()), (SECRET.encode(), OTHER_SECRET.encode())]


def test_a_secret_is_shown_nowhere():
    source = nginx()
    assert repr(source) == "ForwardedCertificate('nginx', trusted=ProxySecret('x-proxy-secret', ...))"
    with pytest.raises(CertificateError) as refused:
        read(source, GOOD | {"x-proxy-secret": OTHER_SECRET})
    assert OTHER_SECRET not in str(refused.value)
    with pytest.raises(ConfigurationError) as short:
        ProxySecret("x-proxy-secret", "hunter2")
    assert "hunter2" not in str(short.value)


BAD_SECRETS = {
    "too short": ("x-a", "a" * 15, "16 bytes at least"),
    "one too short among others": ("x-a", (SECRET, "a"), "16 bytes at least"),
    "a blank": ("x-a", "correct horse battery staple", "without blanks"),
    "not ASCII": ("x-a", "correct-horse-battery-stäple", "printable ASCII"),
    "a line feed": ("x-a", SECRET + "\n", "printable ASCII"),
    "not a text": ("x-a", (7,), "secret= takes"),
    "none": ("x-a", (), "names no secret"),
    "an underscore in the name": ("x_a", SECRET, "header= takes names of letters, digits and hyphens, got 'x_a'"),
    "no name": ("", SECRET, "header= takes names"),
    "a name that is no text": (b"x-a", SECRET, "header= takes names"),
}


@pytest.mark.parametrize(("header", "secret", "sentence"), BAD_SECRETS.values(), ids=BAD_SECRETS)
def test_secrets_that_are_none(header, secret, sentence):
    with pytest.raises(ConfigurationError) as refused:
        ProxySecret(header, secret)
    assert sentence in str(refused.value)


# --- the proxy's own certificate -----------------------------------------------------------------------------------

EDGE = AUTHORITY.issue("dns:edge.example")
SPARE, STRANGER = AUTHORITY.issue("dns:spare.example"), AUTHORITY.issue("dns:edge.example")


def pin(issued):
    return read_certificates((issued.certificate_pem.decode(),)).spki_pin


def inner_hop(issued, **more):
    """The proxy's own connection to this server, with that certificate."""
    return {"extensions": {"tls": issued.tls_extension() | more}, "scheme": "https"}


PINS = (pin(EDGE), pin(SPARE))


def test_the_proxys_certificate():
    source = nginx(ProxyCertificate(PINS))
    for _ in range(2):
        agree(source, (DER,), **inner_hop(EDGE))
    agree(source, (DER,), **inner_hop(SPARE))
    assert repr(source) == "ForwardedCertificate('nginx', trusted=ProxyCertificate(...))"


SENDERS = {
    "a certificate of the same name and authority": (inner_hop(STRANGER), UNTRUSTED),
    "no certificate": (inner_hop(EDGE, client_cert_chain=()), UNTRUSTED),
    "one that the handshake did not accept": (inner_hop(EDGE, client_cert_error="expired"), UNTRUSTED),
    "no certificate at all": (inner_hop(EDGE, client_cert_chain=("junk",)), UNTRUSTED),
    "nothing that could be one": (inner_hop(EDGE, client_cert_chain=([],)), UNTRUSTED),
    "ours, further up the chain only": (
        inner_hop(EDGE, client_cert_chain=(STRANGER.certificate_pem.decode(), EDGE.certificate_pem.decode())),
        UNTRUSTED,
    ),
    "no TLS": ({"scheme": "http"}, UNTRUSTED),
    "nobody knows": ({"scheme": "https"}, UNKNOWN),
}


@pytest.mark.parametrize(("scope", "expected"), SENDERS.values(), ids=SENDERS)
def test_all_others_are_not_our_proxy(scope, expected):
    source = nginx(ProxyCertificate(PINS))
    agree(source, expected, **scope)
    assert "secure_asgi.servers.uvicorn:AutoProtocol" in source.way_out


def test_the_proxys_certificate_must_be_valid_now():
    """Not when it was first seen: a connection may outlive it."""
    trusted = ProxyCertificate(PINS)
    source = nginx(trusted)
    begin = EDGE.certificate.not_valid_before_utc.timestamp()
    end = EDGE.certificate.not_valid_after_utc.timestamp()
    for now, expected in ((begin - 1, UNTRUSTED), (begin, (DER,)), (end, (DER,)), (end + 1, UNTRUSTED)):
        trusted._clock = lambda now=now: now
        agree(source, expected, **inner_hop(EDGE))


def test_a_pin_ends_with_its_last_day():
    today = datetime.now(UTC).date()
    trusted = ProxyCertificate((Pin(pin(EDGE), until=today), pin(SPARE)))
    source = nginx(trusted)
    midnight = datetime.combine(today + timedelta(days=1), datetime.min.time(), UTC).timestamp()
    for now, expected in ((midnight - 1, (DER,)), (midnight, UNTRUSTED), (midnight - 1, (DER,))):
        trusted._clock = lambda now=now: now
        agree(source, expected, **inner_hop(EDGE))
        agree(source, (DER,), **inner_hop(SPARE))


def test_the_proxys_certificate_is_read_once_a_day(monkeypatch):
    reads = []
    monkeypatch.setattr(trust, "read_certificates", lambda given: reads.append(given) or read_certificates(given))
    trusted = ProxyCertificate(PINS)
    for _ in range(3):
        agree(nginx(trusted), (DER,), **inner_hop(EDGE))
    assert len(reads) == 1


def test_pins_of_the_proxy():
    with pytest.raises(ConfigurationError, match="pins= takes two pins at least"):
        ProxyCertificate(pin(EDGE))
    with pytest.raises(ConfigurationError, match="a pin is written"):
        ProxyCertificate("edge.example")
    one = ProxyCertificate(pin(EDGE), insecure_single_pin=True)
    agree(nginx(one), (DER,), **inner_hop(EDGE))


# --- the proxy's address -------------------------------------------------------------------------------------------

PEERS = {
    "in the network": ("10.0.0.0/8", ("10.1.2.3", 41_000), (DER,)),
    "out of it": ("10.0.0.0/8", ("11.1.2.3", 41_000), UNTRUSTED),
    "one address": ("10.1.2.3", ("10.1.2.3", 41_000), (DER,)),
    "several networks": (("fd00::/8", "10.0.0.0/8"), ("fd00::1", 41_000), (DER,)),
    "IPv4 in IPv6": ("10.0.0.0/8", ("::ffff:10.1.2.3", 41_000), (DER,)),
    "a link-local peer": ("fe80::/64", ("fe80::1%eth0", 41_000), (DER,)),
    "port 0, recorded": ("10.0.0.0/8", ("10.1.2.3", 0), (DER,)),
    "a Unix socket": ("unix", None, (DER,)),
    "a Unix socket beside networks": (("10.0.0.0/8", "unix"), None, (DER,)),
    "a Unix socket that is not named": ("10.0.0.0/8", None, UNTRUSTED),
    "an address where a Unix socket is": ("unix", ("10.1.2.3", 41_000), UNTRUSTED),
    "a peer that has gone": (("10.0.0.0/8", "unix"), (NO_ADDRESS, 0), UNTRUSTED),
}


@pytest.mark.parametrize(("trusted", "peer", "expected"), PEERS.values(), ids=PEERS)
def test_the_proxys_address(trusted, peer, expected):
    """The socket's own, whatever stands in ``scope["client"]``."""
    for client in (("10.1.2.3", 0), ("203.0.113.9", 0), None):
        agree(nginx(trusted), expected, **recorded(peer), client=client)


CLIENTS = {
    "in the network": ("10.0.0.0/8", ("10.1.2.3", 41_000), (DER,)),
    "out of it": ("10.0.0.0/8", ("203.0.113.9", 41_000), UNTRUSTED),
    "a name for tests": ("10.0.0.0/8", ("testclient", 50_000), UNTRUSTED),
    "taken from a field by uvicorn": ("10.0.0.0/8", ("10.1.2.3", 0), UNKNOWN),
    "none": ("unix", None, (DER,)),
    "an empty one": ("unix", ("", 0), (DER,)),
    "none, not named": ("10.0.0.0/8", None, UNTRUSTED),
}


@pytest.mark.parametrize(("trusted", "client", "expected"), CLIENTS.values(), ids=CLIENTS)
def test_without_a_hook_the_servers_word_is_taken_only_if_asked_for(trusted, client, expected):
    agree(nginx(trusted), UNKNOWN, client=client)
    agree(nginx(trusted), UNKNOWN, client=client, extensions={"secure_asgi": {}})
    agree(nginx(trusted, insecure_scope_client=True), expected, client=client)
    assert "insecure_scope_client=True" in nginx(trusted).way_out


CLAIMS = {
    "the client's, with a port": ("203.0.113.9:41000", (DER,)),
    "none with a port": ("203.0.113.9, 10.1.2.3", (DER,)),
    "the peer's, with a port": ("10.1.2.3:41000", UNKNOWN),
    "after a tab": ("203.0.113.9,\t10.1.2.3:41000", UNKNOWN),
    "among others": ("10.1.2.3:41000, 203.0.113.9", UNKNOWN),
    "of several lines": ([("x-forwarded-for", "203.0.113.9"), ("X-Forwarded-For", "10.1.2.3:1")], UNKNOWN),
}


@pytest.mark.parametrize(("claim", "expected"), CLAIMS.values(), ids=CLAIMS)
def test_a_peer_that_a_field_may_have_named_is_not_taken_for_the_proxy(claim, expected):
    """uvicorn takes the port from ``X-Forwarded-For`` too, where it has one."""
    source = nginx("10.0.0.0/8", insecure_scope_client=True)
    fields = [("x-forwarded-for", claim)] if isinstance(claim, str) else claim
    assert verdict(source, [*GOOD.items(), *fields], client=("10.1.2.3", 41_000)) == expected


def test_an_ipv6_peer_that_a_field_has_named():
    source = nginx("fd00::/8", insecure_scope_client=True)
    fields = [*GOOD.items(), ("x-forwarded-for", "[fd00::1]:41000")]
    assert verdict(source, fields, client=("fd00::1", 41_000)) == UNKNOWN


@pytest.mark.parametrize(
    ("trusted", "claimed"), [("10.0.0.0/8", "10.9.9.9"), ("unix", "unknown")], ids=["CIDR", "unix"]
)
def test_the_client_that_trusted_proxy_finds_is_not_taken_for_the_proxy(trusted, claimed):
    """``scope["client"]`` is the client's by then, who may call itself what it likes, or ``unknown``: a Unix socket."""
    scope = scope_with(GOOD | {"x-forwarded-for": claimed}, client=("192.0.2.1", 41_000))
    exchange = Exchange(scope)
    TrustedProxyMiddleware(trusted="192.0.2.1").on_request(exchange, scope)
    assert scope["client"] in (("10.9.9.9", 0), None)
    with pytest.raises(CertificateError) as refused:
        nginx(trusted, insecure_scope_client=True).read(exchange, scope)
    assert refused.value.reason == UNTRUSTED


BAD_TRUST = {
    "everybody": ("0.0.0.0/0", "is everybody"),
    "everybody in IPv6": (("10.0.0.0/8", "::/0"), "is everybody"),
    "a wildcard": ("*", "never a wildcard"),
    "host bits": ("10.0.0.1/8", "host bits set"),
    "none": ((), "names no proxy"),
    "nothing": (None, "trusted= is ProxyCertificate(pins), ProxySecret(header, secret)"),
    "numbers": ((10,), "trusted= is ProxyCertificate(pins)"),
}


@pytest.mark.parametrize(("trusted", "sentence"), BAD_TRUST.values(), ids=BAD_TRUST)
def test_what_is_no_proxy(trusted, sentence):
    with pytest.raises(ConfigurationError) as refused:
        nginx(trusted)
    assert sentence in str(refused.value)


def test_a_server_need_not_be_believed_where_nobody_asks_it():
    with pytest.raises(ConfigurationError, match="insecure_scope_client= goes with networks"):
        nginx(OUR_PROXY, insecure_scope_client=True)
    with pytest.raises(ConfigurationError, match="insecure_scope_client= is True or False, got 'yes'"):
        nginx("unix", insecure_scope_client="yes")
    assert repr(nginx(("10.0.0.0/8", "unix"))) == "ForwardedCertificate('nginx', trusted=('10.0.0.0/8', 'unix'))"


@pytest.mark.parametrize(
    ("certificate", "verify", "reason", "sha256"),
    [
        (ESCAPED, "FAILED:expired", Reason.CERTIFICATE_UNVERIFIED, HASH),
        ("nonsense", "FAILED:expired", Reason.CERTIFICATE_UNVERIFIED, sha256(b"nonsense").hexdigest()),
        ("nonsense", "SUCCESS", Reason.CERTIFICATE_MALFORMED, sha256(b"nonsense").hexdigest()),
    ],
    ids=["not verified", "neither verified nor read", "not read"],
)
def test_the_record_says_which_certificate_it_was(certificate, verify, reason, sha256):
    with pytest.raises(CertificateError) as refused:
        read_from_our_proxy("nginx", {"x-ssl-client-cert": certificate, "x-ssl-client-verify": verify})
    assert refused.value.reason == reason
    assert refused.value.note.startswith(f"sha256={sha256}")


# --- trailers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "more", "has_httptools", "expected"),
    [
        (GOOD, {}, True, AMBIGUOUS),
        (GOOD, recorded(None), True, (DER,)),
        (GOOD, {}, False, (DER,)),
        ({}, {}, True, ()),
    ],
    ids=["httptools without our hook", "with our hook", "another server", "no certificate"],
)
def test_what_may_be_a_trailer_is_no_certificate(monkeypatch, fields, more, has_httptools, expected):
    """RFC 9110 section 6.5.1: uvicorn's httptools puts trailers among the fields, and HAProxy lets them pass."""
    monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", None)
    if not has_httptools:
        monkeypatch.delitem(sys.modules, "uvicorn.protocols.http.httptools_impl")
    with_secret = [("x-proxy-secret", SECRET), ("transfer-encoding", "chunked"), *fields.items()]
    assert verdict(nginx(), with_secret, **more) == expected


def test_trailers_that_come_later_do_not_reach_the_application():
    """The server adds them to the list that it has handed over: before this layer's turn, or after."""
    headers = lines({"transfer-encoding": "chunked"})
    scope = {"type": "http", "headers": headers}
    exchange = Exchange(scope)
    assert list(exchange.fields(scope)) == [b"transfer-encoding"]
    headers.append((b"client-cert", b":AA==:"))
    CertificateFields().strip(scope)
    headers.append((b"x-ssl-client-verify", b"SUCCESS"))
    assert scope["headers"] == lines({"transfer-encoding": "chunked"})


# --- what is remembered --------------------------------------------------------------------------------------------


def test_values_are_decoded_once_and_no_refusal_is_remembered():
    source = nginx()
    ours = {"x-proxy-secret": SECRET}
    first = read(source, GOOD | ours)
    assert read(source, GOOD | ours) is first
    assert verdict(source, GOOD | ours | {"x-ssl-client-verify": "NONE"}) == Reason.CERTIFICATE_UNVERIFIED
    assert len(source._known) == 1
    assert verdict(source, GOOD) == UNTRUSTED


def test_what_is_remembered_is_bounded():
    source = ForwardedCertificate("rfc9440", trusted=OUR_PROXY)
    for number in range(MAX_KNOWN + 5):
        read(source, {"x-proxy-secret": SECRET, "client-cert": f":{number:04}:"})
    assert 0 < len(source._known) <= MAX_KNOWN
    source._known.clear()
    chain = [("client-cert-chain", f":{'A' * 8_000}:")] * 3
    read(source, [("x-proxy-secret", SECRET), ("client-cert", ":AAAA:"), *chain])
    assert sum(len(value) for _, value in chain) > MAX_KNOWN_SIZE
    assert not len(source._known)


REASONS = (Reason.CERTIFICATE_MALFORMED, Reason.CERTIFICATE_UNVERIFIED, AMBIGUOUS)
VALUES = st.one_of(
    st.binary(max_size=40), st.sampled_from((b"SUCCESS", b"0", b"1", b"true", b"(null)", ESCAPED.encode()))
)


@pytest.mark.parametrize("preset", PRESETS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_whatever_comes_only_one_exception_leaves(preset, data):
    names = st.sampled_from(
        [*PRESETS[preset].names.values(), *(n.replace("-", "_") for n in PRESETS[preset].names.values())]
    )
    fields = [("x-proxy-secret", SECRET), *data.draw(st.lists(st.tuples(names, VALUES), max_size=6))]
    outcome = verdict(ForwardedCertificate(preset, trusted=OUR_PROXY), fields)
    assert outcome in REASONS if isinstance(outcome, str) else all(isinstance(one, bytes) for one in outcome)


# --- what the application does not see -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"exempt": "/"}, {"mode": "shadow"}, {"required": False}], ids=str)
@pytest.mark.parametrize("fields", [GOOD, {"x-ssl-client-verify": "NONE"}, {"X_Proxy_Secret": SECRET}], ids=list)
def test_the_middleware_keeps_the_proxys_secret_to_itself(options, fields):
    seen = []

    async def watched(scope, receive, send):
        seen.extend(name for name, _ in scope["headers"])
        await hello(scope, receive, send)

    app = MutualTLSMiddleware(watched, source=nginx(), **options)
    http(app, headers=fields | {"x-proxy-secret": SECRET})
    assert seen in ([], [b"host"])
    assert seen or not options


def test_none_of_the_fields_read_reaches_the_application():
    source = nginx(fields={"certificate": "x-partner-pem"})
    own = CertificateFields(source.field_names)
    harmless = lines({"host": "a", "x-partner": "b", "x-proxy": "c", "x_other": "d"})
    read_here = lines({"X-Partner-PEM": ESCAPED, "x-ssl-client-verify": "SUCCESS", "x-proxy-secret": SECRET})
    aliases = lines({"X_Partner_PEM": "e", "x.proxy_secret": "f"})
    of_others = lines({"client-cert": ":AA==:", "x-forwarded-clientcert-subjectdn": "CN=g"})
    for unwanted in (read_here, aliases, of_others, read_here + aliases + of_others, [(b"X-Proxy-Secret", b"h")]):
        scope = {"type": "http", "headers": [*unwanted, *harmless]}
        own.strip(scope)
        assert scope["headers"] == harmless
    scope = {"type": "http", "headers": harmless}
    own.strip(scope)
    assert scope["headers"] is harmless
