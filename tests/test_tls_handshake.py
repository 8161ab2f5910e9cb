"""Handshakes that fail: what is told of them, in memory and on real servers, and that telling never adds a failure."""

import json
import ssl
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from secure_asgi.audit import LoggingSink
from secure_asgi.denial import Reason
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import HandshakeFailure, server_context
from secure_asgi.tls import handshake as tls_handshake
from secure_asgi.tls.handshake import FailureReports, _failure

from .asgi import hello
from .handshake import client_context, rsa_twin, shake
from .serving import SERVERS, ask, connected

AUTHORITY = CertificateAuthority("Test CA")
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
CLIENTS = {
    "good": AUTHORITY.issue("dns:good.example"),
    "expired": AUTHORITY.issue("dns:expired.example", not_after=NOW - DAY),
    "early": AUTHORITY.issue("dns:early.example", not_before=NOW + DAY),
    "foreign": CertificateAuthority("Other CA").issue("dns:foreign.example"),
    "usage": AUTHORITY.issue("dns:usage.example", usage="server"),
    "long": CertificateAuthority("C" * 64).issue(f"uri:https://{'u' * 300}", common_name="L" * 64),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    AUTHORITY.issue("dns:localhost", usage="server").write(folder / "server.pem", folder / "server.key")
    (folder / "ca.pem").write_bytes(AUTHORITY.certificate_pem)
    for name, issued in CLIENTS.items():
        issued.write(folder / f"{name}.pem", folder / f"{name}.key")
    return folder


@pytest.fixture
def told():
    return []


@pytest.fixture
def context(files, told):
    return serve(files, told.append)


def serve(files, hook, **options):
    return server_context(
        files / "server.pem",
        files / "server.key",
        **{"client_ca": files / "ca.pem", "client_auth": "required", "on_handshake_failure": hook, **options},
    )


def digest(name):
    return sha256(CLIENTS[name].certificate.public_bytes(Encoding.DER)).hexdigest()


@pytest.mark.parametrize(
    ("name", "reason", "code", "issuer"),
    [
        ("expired", Reason.CERTIFICATE_EXPIRED, 10, "CN=Test CA"),
        ("early", Reason.CERTIFICATE_NOT_YET_VALID, 9, "CN=Test CA"),
        ("foreign", Reason.CERTIFICATE_UNTRUSTED, 20, "CN=Other CA"),
        ("usage", Reason.CERTIFICATE_PURPOSE_WRONG, 26, "CN=Test CA"),
    ],
)
@pytest.mark.parametrize("profile", ["modern", "intermediate"])
def test_a_certificate_that_does_not_verify(files, told, profile, name, reason, code, issuer):
    """CERT-1, CERT-3: whose it was, too."""
    version = {"intermediate": ssl.TLSVersion.TLSv1_2, "modern": ssl.TLSVersion.TLSv1_3}[profile]
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(serve(files, told.append, profile=profile), client_context(files, name, maximum_version=version))
    (failure,) = told
    assert failure.reason == reason
    assert type(failure.reason) is str
    assert failure.verify_code == code
    assert failure.verify_message
    assert (failure.sha256, failure.subject, failure.issuer) == (digest(name), f"CN={name}.example", issuer)
    assert failure.tls_version == ("TLSv1.3" if profile == "modern" else "")
    assert abs(failure.time - datetime.now(UTC)) < timedelta(minutes=1)


def test_what_openssl_has_a_rarer_word_for(files):
    """And without a path, as where the interface to it has changed: the failure is told without the certificate."""
    error = ssl.SSLCertVerificationError("strict")
    error.verify_code, error.verify_message = 92, "m" * 300
    failure = _failure(SimpleNamespace(cipher=lambda: None), error, 0)
    assert (failure.reason, failure.sha256, failure.tls_version) == (Reason.CERTIFICATE_UNVERIFIED, "", "")
    assert len(failure.verify_message) == 256


def test_names_are_cut(files, told, monkeypatch, context):
    monkeypatch.setattr(tls_handshake, "TEXT_LIMIT", 10)
    with pytest.raises(ssl.SSLError):
        shake(context, client_context(files, "long"))
    assert (told[0].subject, told[0].issuer) == ("CN=LLLLLLL", "CN=CCCCCCC")


def test_no_certificate(files, told, context):
    with pytest.raises(ssl.SSLError):
        shake(context, client_context(files))
    assert [(one.reason, one.verify_code, one.sha256) for one in told] == [("certificate_missing", 0, "")]


def test_a_client_that_speaks_only_an_old_version(files, told, context):
    """TLS-1."""
    with pytest.raises(ssl.SSLError):
        shake(context, client_context(files, "good", maximum_version=ssl.TLSVersion.TLSv1_2))
    assert [one.reason for one in told] == ["tls_unsupported_protocol"]


def receive(context, *sent):
    """The server's side of a handshake in which the client sends this, or hangs up with None."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_side=True)
    for data in sent:
        if data is None:
            incoming.write_eof()
        else:
            incoming.write(data)
        connection.do_handshake()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", "tls_http_request"),
        (b"\x15\x03\x03\x00\x02\x02\x30", "tls_"),
        (b"\0" * 64, "tls_"),
    ],
    ids=["plain HTTP", "an alert first of all", "zeros"],
)
def test_what_is_no_handshake(told, context, sent, reason):
    with pytest.raises(ssl.SSLError):
        receive(context, sent)
    assert len(told) == 1
    assert told[0].reason.startswith(reason)


def test_waiting_for_more_is_no_failure_nor_is_hanging_up(told, context):
    with pytest.raises(ssl.SSLWantReadError):
        receive(context, b"\x16\x03\x01")
    with pytest.raises(ssl.SSLEOFError):
        receive(context, None)
    assert not told


def test_nothing_is_told_of_a_handshake_that_succeeds(files, told, context):
    shake(context, client_context(files, "good"))
    assert not told


def test_a_client_that_does_not_trust_the_server(files, told, tmp_path):
    """RFC 8446 section 6.2: the alert says so."""
    (tmp_path / "ca.pem").write_bytes(CertificateAuthority("Other").certificate_pem)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serve(files, told.append).wrap_bio(to_server, to_client, server_side=True)
    client = client_context(tmp_path).wrap_bio(to_client, to_server, server_hostname="localhost")
    for side, error in ((client, ssl.SSLWantReadError), (server, ssl.SSLWantReadError), (client, ssl.SSLError)):
        with pytest.raises(error):
            side.do_handshake()
    with pytest.raises(ssl.SSLError):
        server.do_handshake()
    assert [(one.reason, one.sha256) for one in told] == [("tls_alert_unknown_ca", "")]


def test_at_most_ten_a_second_and_the_rest_is_counted(told):
    reports, now = FailureReports(told.append), [50.0]
    reports._clock = lambda: now[0]
    connection, error = SimpleNamespace(cipher=lambda: None), ssl.SSLError()
    for _ in range(25):
        reports.take(connection, error)
    assert len(told) == 10
    now[0] = 51.0
    reports.take(connection, error)
    reports.take(connection, error)
    assert [one.suppressed for one in told[9:]] == [0, 15, 0]
    assert told[-1].reason == "tls_handshake_failed"


def test_what_the_hook_raises_does_not_reach_the_handshake(files, caplog):
    def fail(failure):
        raise RuntimeError("disk full")

    context = serve(files, fail)
    for _ in range(2):
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(context, client_context(files, "foreign"))
    assert caplog.text.count("on_handshake_failure= raised") == 1
    assert "disk full" in caplog.text


def test_the_record_is_one_of_the_audit_log(files, told, context, caplog):
    """The same names as a request's, in a form that any sink takes."""
    with pytest.raises(ssl.SSLError):
        shake(context, client_context(files, "expired"))
    record = told[0].record()
    assert record == {
        "time": told[0].time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "event": "authn_login_fail",
        "outcome": "denied",
        "reason": "certificate_expired",
        "certificate": {"sha256": digest("expired"), "subject": "CN=expired.example", "issuer": "CN=Test CA"},
        "tls_version": "TLSv1.3",
        "note": "10: certificate has expired",
    }
    LoggingSink().write([(record, json.dumps(record))])
    assert caplog.records[-1].levelname == "WARNING"
    other = HandshakeFailure(time=NOW, reason="tls_http_request", suppressed=3).record()
    assert (other["event"], other["suppressed"]) == ("input_validation_fail", 3)
    assert "certificate" not in other


@pytest.mark.parametrize("server", SERVERS)
def test_on_a_real_server(files, told, context, server):
    """Section 9.9: neither the loops nor the servers say a word."""
    with SERVERS[server](hello, tls=context) as port:
        for name in ("foreign", "good", None, "expired"):
            try:
                with connected(port, client_context(files, name)) as connection:
                    assert ask(connection) == b"hello"
                    assert name == "good"
            except OSError:
                assert name != "good"
        deadline = time.monotonic() + 5
        while len(told) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
    reasons = {
        "certificate_untrusted": digest("foreign"),
        "certificate_missing": "",
        "certificate_expired": digest("expired"),
    }
    assert {one.reason: one.sha256 for one in told} == reasons


def test_a_weak_key(files, told, context, tmp_path):
    """CERT-5, TLS-3: RSA from 2048 bits."""
    certificate, key = rsa_twin(AUTHORITY, CLIENTS["good"], bits=1024)
    (tmp_path / "weak.pem").write_bytes(certificate)
    (tmp_path / "weak.key").write_bytes(key)
    careless = ssl.create_default_context(cafile=files / "ca.pem")
    careless.set_ciphers("DEFAULT@SECLEVEL=0")
    careless.load_cert_chain(tmp_path / "weak.pem", tmp_path / "weak.key")
    with pytest.raises(ssl.SSLError):
        shake(context, careless)
    assert [one.reason for one in told] == ["certificate_key_weak"]
