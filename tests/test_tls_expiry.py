"""Who is told that a certificate ends, when, and how often; and what a file of certificates holds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from secure_asgi import ConfigurationError
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import CertificateExpiry, certificates_in, expires_in, server_context
from secure_asgi.tls.expiry import Alarms

from .handshake import client_context, shake

AUTHORITY = CertificateAuthority("Test CA")
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def lasting(days: float, *, lifetime: float = 90, sha="a") -> CertificateExpiry:
    ends = NOW + timedelta(days=days)
    begins = ends - timedelta(days=lifetime)
    return CertificateExpiry(
        subject="CN=x", sha256=sha, not_before=begins, not_after=ends, remaining=timedelta(0), file="server.pem"
    )


def days_told(certificate, *moments):
    """The remaining days of each alarm rung when asked at these numbers of days from now."""
    told = []
    alarms = Alarms(told.append)
    for days in moments:
        alarms.ring([certificate], NOW + timedelta(days=days))
    return [one.remaining / timedelta(days=1) for one in told]


@pytest.mark.parametrize(
    ("certificate", "moments", "told"),
    [
        (lasting(30.1), [0], []),
        (lasting(30), [0, 1, 15.9], [30]),
        (lasting(31), range(33), [30, 14, 7, 0]),
        (lasting(10), [0, 2.9], [10]),
        (lasting(-5), [0, 1], [-5]),
        (lasting(30, lifetime=30.1), range(31), [14, 7, 0]),
        (lasting(30, lifetime=45), range(31), [30, 14, 7, 0]),
        (lasting(6, lifetime=6), range(8), [0]),
        (lasting(30), [0, -40, 1], [30, 29]),
    ],
    ids=[
        "more than thirty days",
        "thirty days, once",
        "30, 14, 7 and the end, asked daily",
        "late at start-up: the nearest alone",
        "ended at start-up",
        "none that would ring in the first third of its life",
        "with two thirds of its life left",
        "a certificate of days: its end",
        "the clock was put back, nobody is told that it is well",
    ],
)
def test_alarms(certificate, moments, told):
    assert days_told(certificate, *moments) == told


def test_each_certificate_rings_for_itself_once_though_it_is_in_two_files():
    told = []
    alarms = Alarms(told.append)
    leaf, authority = lasting(10), lasting(5, sha="b")
    alarms.ring([leaf, authority, replace(authority, file="clients.pem")], NOW)
    assert [one.sha256 for one in told] == ["a", "b"]
    alarms.ring([lasting(10, sha="c"), authority], NOW)
    assert [one.sha256 for one in told] == ["a", "b", "c"]


def test_the_log_has_a_line_and_what_the_hook_raises_is_not_heard(caplog):
    def fail(one):
        raise RuntimeError("no mail")

    alarms = Alarms(fail)
    for days in (0, 9.5, 10):
        alarms.ring([lasting(10)], NOW + timedelta(days=days))
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if "raised" not in r.getMessage()]
    assert lines == [
        ("WARNING", "certificate expires in 10 days: CN=x in 'server.pem', 2030-01-11 00:00 UTC, sha256 a"),
        ("WARNING", "certificate expires in 12.0 hours: CN=x in 'server.pem', 2030-01-11 00:00 UTC, sha256 a"),
        ("ERROR", "certificate has expired: CN=x in 'server.pem', 2030-01-11 00:00 UTC, sha256 a"),
    ]
    assert caplog.text.count("on_expiry= raised") == 3


@pytest.fixture
def files(tmp_path):
    ends = datetime.now(UTC) + timedelta(days=20)
    issued = AUTHORITY.issue("dns:localhost", usage="server", not_before=ends - timedelta(days=90), not_after=ends)
    issued.write(tmp_path / "server.pem", tmp_path / "server.key")
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate_pem)
    return tmp_path


def test_at_start_up_and_at_each_look(files):
    """And a certificate that has ended is served all the same: its clients are to decide."""
    told = []
    context = server_context(files / "server.pem", files / "server.key", reload=0, on_expiry=told.append)
    assert [round(one.remaining / timedelta(days=1)) for one in told] == [20]
    assert (told[0].subject, told[0].file) == ("CN=localhost", str(files / "server.pem"))
    context._now = lambda: datetime.now(UTC) + timedelta(days=15)
    shake(context, client_context(files))
    context._now = lambda: datetime.now(UTC) + timedelta(days=30)
    shake(context, client_context(files))
    shake(context, client_context(files))
    assert [round(one.remaining / timedelta(days=1)) for one in told] == [20, 5, -10]


def test_authorities_of_clients_end_too(files, tmp_path):
    told = []
    (tmp_path / "leaf.pem").write_bytes((files / "server.pem").read_bytes())
    server_context(
        files / "server.pem",
        files / "server.key",
        client_ca=[files / "ca.pem"],
        client_auth="optional",
        on_expiry=told.append,
    )._alarms.ring(certificates_in(files / "ca.pem"), datetime.now(UTC) + timedelta(days=360))
    assert [one.subject for one in told] == ["CN=localhost", "CN=Test CA"]


def test_an_expired_certificate_at_start_up(files, caplog):
    past = datetime.now(UTC) - timedelta(days=1)
    AUTHORITY.issue("dns:localhost", usage="server", not_after=past).write(files / "server.pem", files / "server.key")
    context = server_context(files / "server.pem", files / "server.key")
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    assert context.certificate_status.not_after < datetime.now(UTC)


def test_a_hook_may_look_itself(files):
    """No deadlock, and no alarm rung for ever."""
    told = []

    def look_again(one):
        told.append(one)
        context.look()

    context = server_context(files / "server.pem", files / "server.key", reload=0, on_expiry=look_again)
    context._now = lambda: datetime.now(UTC) + timedelta(days=15)
    context.look()
    assert len(told) == 2


def test_expiry_is_that_of_the_certificate_that_expires_first(tmp_path):
    later = AUTHORITY.issue("dns:a", not_before=NOW - timedelta(days=9), not_after=NOW + timedelta(days=5))
    sooner = AUTHORITY.issue("dns:b", not_before=NOW - timedelta(days=9), not_after=NOW + timedelta(days=3))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(later.certificate_pem + sooner.key_pem + sooner.certificate_pem)
    assert expires_in(chain, at=NOW) == timedelta(days=3)
    assert expires_in(str(chain), at=NOW + timedelta(days=4)) == timedelta(days=-1)
    first, second = certificates_in(chain, at=NOW)
    assert (first.subject, second.subject) == ("CN=a", "CN=b")
    assert first.sha256 == sha256(later.certificate.public_bytes(Encoding.DER)).hexdigest()
    assert first.not_before == NOW - timedelta(days=9)
    assert first.not_after == NOW + timedelta(days=5)
    assert (first.remaining, second.remaining) == (timedelta(days=5), timedelta(days=3))
    assert first.file == str(chain)


def test_expiry_counts_from_now(files):
    assert timedelta(days=19) < expires_in(files / "server.pem") < timedelta(days=20)


def test_expiry_of_what_is_no_certificate(tmp_path):
    with pytest.raises(ConfigurationError, match=r"^'.*/a\.pem' cannot be read: No such file"):
        expires_in(tmp_path / "a.pem")
