"""The hardened context, by what it lets through in real handshakes (TLS-1 to TLS-3), and what options it takes."""

import re
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from secure_asgi import ConfigurationError
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import TLS12_CIPHERS, server_context
from secure_asgi.tls.profile import set_groups

from .handshake import client_context, shake

AUTHORITY = CertificateAuthority("Test CA")
SERVER = AUTHORITY.issue("dns:localhost", usage="server")
CLIENT = AUTHORITY.issue("dns:client.example")
OTHER = CertificateAuthority("Other CA")
FOREIGN = OTHER.issue("dns:client.example")


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
    context = serve(files)
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_SINGLE_ECDH_USE == ssl.OP_SINGLE_ECDH_USE
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.security_level >= 2


@pytest.mark.parametrize(
    ("options", "chosen"), [({}, "http/1.1"), ({"alpn": ("h2", "http/1.1")}, "h2"), ({"alpn": "h2"}, "h2")]
)
def test_the_protocol_is_chosen_in_the_handshake(files, options, chosen):
    """TLS-3: ALPN."""
    asking = client_context(files)
    asking.set_alpn_protocols(["http/1.1", "h2"])
    assert shake(serve(files, **options), asking).client.selected_alpn_protocol() == chosen


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


async def _wait(failure):
    """What cannot be a hook."""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"profile": "old"}, 'profile= is "modern" or "intermediate"'),
        ({"client_auth": "maybe", "client_ca": "ca.pem"}, 'client_auth= is None, "optional" or "required"'),
        ({"client_auth": "required"}, "needs client_ca="),
        ({"client_ca": "ca.pem"}, 'add client_auth="required"'),
        ({"client_ca": "gone.pem", "client_auth": "required"}, "client_ca='gone.pem' cannot be read: No such file"),
        ({"client_ca": [], "client_auth": "required"}, "client_ca= is the path of a PEM file or several"),
        ({"client_ca": [b"ca"], "client_auth": "required"}, "client_ca= is the path of a PEM file or several"),
        ({"client_ca": 5, "client_auth": "required"}, "client_ca= is the path of a PEM file or several, got 5"),
        ({"client_crl": "ca.crl"}, "client_crl= needs client_ca="),
        ({"alpn": ()}, 'alpn= is the name of a protocol or several, like ("h2", "http/1.1"), got ()'),
        ({"alpn": ["h2", ""]}, "alpn= is the name of a protocol or several"),
        ({"alpn": [b"h2"]}, "alpn= is the name of a protocol or several"),
        ({"reload": -1}, "reload= is a number of seconds between two looks at the files, or None, got -1"),
        ({"reload": True}, "reload= is a number of seconds"),
        ({"reload": "5"}, "reload= is a number of seconds"),
        ({"reload": float("nan")}, "reload= is a number of seconds"),
        ({"on_expiry": "log"}, "on_expiry= is a plain function of one argument, got 'log'"),
        ({"on_handshake_failure": _wait}, "on_handshake_failure= is a plain function"),
    ],
    ids=[
        "profile",
        "auth value",
        "auth without CA",
        "CA without auth",
        "CA missing",
        "no CA",
        "CA in bytes",
        "CA a number",
        "CRL without CA",
        "no protocol",
        "empty protocol",
        "protocol in bytes",
        "negative",
        "boolean",
        "text",
        "not a number",
        "no function",
        "asynchronous",
    ],
)
def test_options_that_do_not_go_together(files, options, sentence, monkeypatch):
    monkeypatch.chdir(files)
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        serve(files, **options)


@pytest.mark.parametrize(("certfile", "keyfile", "option"), [(None, "a", "certfile"), ("a", b"a", "keyfile")])
def test_files_are_named_by_paths(certfile, keyfile, option):
    with pytest.raises(ConfigurationError, match=f"{option}= is the path of a PEM file, got "):
        server_context(certfile, keyfile)


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


def _revoking(*certificates, next_update=timedelta(days=1), issuer=AUTHORITY):
    authority = x509.load_pem_x509_certificate(issuer.certificate_pem)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(now - timedelta(days=2))
        .next_update(now + next_update)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
    )
    for one in certificates:
        serial = one.certificate.serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer._key, SHA256()).public_bytes(Encoding.PEM)


def test_a_revocation_list_is_no_authority(files):
    (files / "ca.pem").write_bytes(_revoking())
    with pytest.raises(ConfigurationError, match="holds no certificate"):
        serve(files, client_ca=files / "ca.pem", client_auth="required")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "client_crl='ca.crl' cannot be read: No such file"),
        (b"junk", "client_crl='ca.crl' holds no readable PEM revocation list"),
        (AUTHORITY.certificate_pem, "client_crl='ca.crl' holds no revocation list"),
        (_revoking() + FOREIGN.authority_pem, "client_crl='ca.crl' holds a certificate, which would be trusted"),
    ],
    ids=["missing", "junk", "an authority known already", "an authority more"],
)
def test_what_is_no_revocation_list(files, content, sentence, monkeypatch):
    monkeypatch.chdir(files)
    if content is not None:
        (files / "ca.crl").write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        serve(files, client_ca="ca.pem", client_auth="required", client_crl="ca.crl")


@pytest.mark.parametrize(
    ("lists", "verdict"),
    [
        ([_revoking()], None),
        ([_revoking(CLIENT)], "certificate revoked"),
        ([_revoking(), _revoking(issuer=OTHER)], None),
        ([_revoking(issuer=OTHER)], "unable to get certificate CRL"),
        ([_revoking(next_update=-timedelta(days=1))], "CRL has expired"),
    ],
    ids=["nobody revoked", "the client revoked", "two lists", "another authority's alone", "past its next update"],
)
def test_revocation_in_the_handshake(files, lists, verdict):
    """REV-5, as far as OpenSSL does it: without a list that holds nobody is let in."""
    for number, content in enumerate(lists):
        (files / f"{number}.crl").write_bytes(content)
    named = [files / f"{number}.crl" for number in range(len(lists))]
    context = serve(files, client_ca=files / "ca.pem", client_auth="optional", client_crl=named)
    if verdict is None:
        shake(context, client_context(files, "client"))
    else:
        with pytest.raises(ssl.SSLCertVerificationError, match=verdict):
            shake(context, client_context(files, "client"))
    shake(context, client_context(files))


def test_authorities_in_several_files(files):
    (files / "other.pem").write_bytes(OTHER.certificate_pem)
    context = serve(files, client_ca=[files / "ca.pem", str(files / "other.pem")], client_auth="required")
    shake(context, client_context(files, "client"))
    shake(context, client_context(files, "foreign"))


@pytest.mark.parametrize("refused", [None, ssl.SSLError, ValueError])
def test_the_groups_where_python_can_set_them(refused):
    """TLS-4: with the post-quantum one in front where OpenSSL knows it. A stand-in for Python 3.15."""
    tried = []

    class Context:
        def set_groups(self, groups):
            tried.append(groups)
            if refused and "MLKEM" in groups:
                raise refused("unknown group")

    set_groups(Context())
    assert tried[0] == "X25519MLKEM768:X25519:prime256v1:secp384r1"
    assert tried[1:] == (["X25519:prime256v1:secp384r1"] if refused else [])


@pytest.mark.parametrize("group", ["X25519", "prime256v1", "secp384r1"])
def test_every_group_of_the_profiles_is_there(files, group):
    """TLS-4, on every Python: one group chosen would be the end of the others."""
    picky = client_context(files)
    picky.set_ecdh_curve(group)
    shake(serve(files), picky)
