"""The hardened context, by what it lets through in real handshakes (TLS-1 to TLS-3), and the expiry of its file."""

import re
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from secure_asgi import ConfigurationError
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import TLS12_CIPHERS, expires_in, server_context
from tests.handshake import client_context, shake

AUTHORITY = CertificateAuthority("Test CA")
SERVER = AUTHORITY.issue("dns:localhost", usage="server")
CLIENT = AUTHORITY.issue("dns:client.example")
FOREIGN = CertificateAuthority("Other CA").issue("dns:client.example")


@pytest.fixture
def files(tmp_path):
    SERVER.write(tmp_path / "server.pem", tmp_path / "server.key")
    CLIENT.write(tmp_path / "client.pem", tmp_path / "client.key")
    FOREIGN.write(tmp_path / "foreign.pem", tmp_path / "foreign.key")
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate_pem)
    return tmp_path


def serve(files, **options) -> ssl.SSLContext:
    return server_context(files / "server.pem", str(files / "server.key"), **options)


def test_modern_speaks_tls_1_3_and_nothing_older(files):
    """TLS-1, TLS-4."""
    assert shake(serve(files), client_context(files)).server.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        shake(serve(files), client_context(files, maximum_version=ssl.TLSVersion.TLSv1_2))


def test_intermediate_speaks_tls_1_2_with_forward_secrecy_and_nothing_older(files):
    """TLS-1, TLS-2."""
    old = client_context(files, maximum_version=ssl.TLSVersion.TLSv1_2)
    done = shake(serve(files, profile="intermediate"), old)
    assert done.server.version() == "TLSv1.2"
    assert done.server.cipher()[0] in TLS12_CIPHERS.split(":")
    weak = client_context(files, maximum_version=ssl.TLSVersion.TLSv1_2)
    weak.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    with pytest.raises(ssl.SSLError):
        shake(serve(files, profile="intermediate"), weak)
    assert serve(files, profile="intermediate").minimum_version == ssl.TLSVersion.TLSv1_2


def test_no_session_is_resumed(files):
    """A resumed handshake verifies nothing, so there is nothing to resume: the server hands out no ticket."""
    server, one_client = serve(files), client_context(files)
    connection = shake(server, one_client).client
    assert connection.session is None or not connection.session.has_ticket
    assert server.num_tickets == 0
    assert server.options & ssl.OP_NO_TICKET


def test_no_renegotiation_no_compression_the_client_chooses_the_suite(files):
    """TLS-3 asks for ALPN, too."""
    context = serve(files)
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_SINGLE_ECDH_USE == ssl.OP_SINGLE_ECDH_USE
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.security_level >= 2
    asking = client_context(files)
    asking.set_alpn_protocols(["h2", "http/1.1"])
    assert shake(context, asking).client.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("client_auth", ["optional", "required"])
def test_a_clients_certificate_is_verified(files, client_auth):
    context = serve(files, client_ca=files / "ca.pem", client_auth=client_auth)
    assert shake(context, client_context(files, "client")).server.getpeercert()["subject"] == (
        (("commonName", "client.example"),),
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(context, client_context(files, "foreign"))


def test_without_a_certificate_optional_lets_pass_and_required_does_not(files):
    optional = serve(files, client_ca=files / "ca.pem", client_auth="optional")
    assert shake(optional, client_context(files)).server.getpeercert(True) is None
    required = serve(files, client_ca=files / "ca.pem", client_auth="required")
    with pytest.raises(ssl.SSLError, match=r"PEER_DID_NOT_RETURN_A_CERTIFICATE|did not return"):
        shake(required, client_context(files))


def test_no_certificate_is_asked_for_unless_wanted(files):
    assert shake(serve(files), client_context(files, "client")).server.getpeercert(True) is None


def test_clients_are_verified_strictly_on_every_python_and_an_issuing_authority_may_be_the_anchor(files, tmp_path):
    subordinate = AUTHORITY.subordinate()
    subordinate.issue("dns:client.example").write(files / "sub.pem", files / "sub.key")
    (tmp_path / "sub_ca.pem").write_bytes(subordinate.certificate_pem)
    context = serve(files, client_ca=tmp_path / "sub_ca.pem", client_auth="required")
    assert context.verify_flags & ssl.VERIFY_X509_STRICT
    shake(context, client_context(files, "sub"))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(context, client_context(files, "client"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"profile": "old"}, 'profile= is "modern" or "intermediate"'),
        ({"client_auth": "maybe", "client_ca": "ca.pem"}, 'client_auth= is None, "optional" or "required"'),
        ({"client_auth": "required"}, "needs client_ca="),
        ({"client_ca": "ca.pem"}, 'add client_auth="required"'),
        ({"client_ca": "gone.pem", "client_auth": "required"}, "client_ca='gone.pem' cannot be read: No such file"),
    ],
    ids=["profile", "auth value", "auth without CA", "CA without auth", "CA missing"],
)
def test_options_that_do_not_go_together(files, options, sentence, monkeypatch):
    monkeypatch.chdir(files)
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        serve(files, **options)


def _encrypted() -> bytes:
    key = load_pem_private_key(SERVER.key_pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2"))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("server.pem", None, "certfile='server.pem' cannot be read: No such file"),
        ("server.key", None, "keyfile='server.key' cannot be read: No such file"),
        ("server.pem", b"not a certificate", "certfile='server.pem' is to hold PEM certificates"),
        ("server.key", b"", "an unencrypted PEM key"),
        ("server.key", CLIENT.key_pem, "keyfile='server.key' is not the key of the first certificate"),
        ("server.key", _encrypted(), "an unencrypted PEM key"),
        ("ca.pem", b"junk", "client_ca='ca.pem' holds no readable PEM certificate"),
        ("ca.pem", b"", "client_ca='ca.pem' holds no readable PEM certificate"),
    ],
    ids=["no certificate", "no key", "junk", "empty key", "other key", "encrypted key", "junk CA", "empty CA"],
)
def test_files_that_cannot_be_used(files, name, content, sentence, monkeypatch):
    """An encrypted key is refused, and does not make the server ask a terminal for its password."""
    monkeypatch.chdir(files)
    (files / name).unlink()
    if content is not None:
        (files / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        server_context("server.pem", "server.key", client_ca="ca.pem", client_auth="required")


def test_a_revocation_list_is_no_authority(files):
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    now = datetime.now(UTC)
    revoked = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.load_pem_x509_certificate(AUTHORITY.certificate_pem).subject)
        .last_update(now)
        .next_update(now + timedelta(days=1))
        .sign(load_pem_private_key(SERVER.key_pem, None), SHA256())
    )
    (files / "ca.pem").write_bytes(revoked.public_bytes(Encoding.PEM))
    with pytest.raises(ConfigurationError, match="holds no certificate"):
        serve(files, client_ca=files / "ca.pem", client_auth="required")


def test_expiry_is_that_of_the_certificate_that_expires_first(tmp_path):
    at = datetime(2030, 1, 1, tzinfo=UTC)
    later = AUTHORITY.issue("dns:a", not_before=at - timedelta(days=9), not_after=at + timedelta(days=5))
    sooner = AUTHORITY.issue("dns:b", not_before=at - timedelta(days=9), not_after=at + timedelta(days=3))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(later.certificate_pem + sooner.certificate_pem)
    assert expires_in(chain, at=at) == timedelta(days=3)
    assert expires_in(str(chain), at=at + timedelta(days=4)) == timedelta(days=-1)


def test_expiry_counts_from_now(files):
    assert timedelta(days=29) < expires_in(files / "server.pem") < timedelta(days=30)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "cannot be read: No such file"), (b"junk", "no readable PEM"), (SERVER.key_pem, "no readable PEM")],
    ids=["missing", "junk", "a key"],
)
def test_expiry_of_what_is_no_certificate(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "a.pem").write_bytes(content)
    with pytest.raises(ConfigurationError, match=sentence):
        expires_in(tmp_path / "a.pem")
