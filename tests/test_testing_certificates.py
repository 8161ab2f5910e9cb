"""The development authority: its certificates work in a real handshake, as strictly as Python can ask for."""

import os
import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from secure_asgi import ConfigurationError
from secure_asgi.testing import issue_certificate
from secure_asgi.testing.certificates import CertificateAuthority

from .handshake import shake

AUTHORITY = CertificateAuthority("Test CA")
NOW = datetime.now(UTC)


def context(purpose, issued, folder, trusted=AUTHORITY) -> ssl.SSLContext:
    """Both sides verify, with the strictness that Python 3.13 has by default."""
    issued.write(folder / f"{purpose}.pem", folder / f"{purpose}.key")
    made = ssl.SSLContext(getattr(ssl, f"PROTOCOL_TLS_{purpose.upper()}"))
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.load_verify_locations(cadata=trusted.certificate_pem.decode())
    made.load_cert_chain(folder / f"{purpose}.pem", folder / f"{purpose}.key")
    return made


@pytest.mark.parametrize(
    ("issuer", "chain_length"),
    [(AUTHORITY, 1), (AUTHORITY.subordinate(), 2), (AUTHORITY.subordinate().subordinate("Third"), 3)],
    ids=["from the root", "through an intermediate", "through two"],
)
def test_client_and_server_certificates_pass_a_strict_handshake(issuer, chain_length, tmp_path):
    """The chain is presented whole: the other side knows the root only."""
    server = context("server", issuer.issue("dns:localhost", usage="server"), tmp_path)
    issued = issuer.issue("dns:client.example")
    done = shake(server, context("client", issued, tmp_path))
    assert done.server.getpeercert()["subjectAltName"] == (("DNS", "client.example"),)
    assert issued.chain_pem.count(b"BEGIN CERTIFICATE") == chain_length
    assert issued.authority_pem == AUTHORITY.certificate_pem
    assert issued.chain_pem.startswith(issued.certificate_pem)


@pytest.mark.parametrize(
    ("issued", "complaint"),
    [
        (AUTHORITY.issue("dns:c.example", not_after=NOW - timedelta(days=1)), "certificate has expired"),
        (AUTHORITY.issue("dns:c.example", not_before=NOW + timedelta(days=1)), "certificate is not yet valid"),
        (AUTHORITY.issue("dns:c.example", usage="server"), "unsuitable certificate purpose"),
        (CertificateAuthority("Other").issue("dns:c.example"), "unable to get local issuer certificate"),
    ],
    ids=["expired", "not yet valid", "for servers", "foreign"],
)
def test_a_bad_certificate_is_bad_for_the_reason_it_was_made_for(issued, complaint, tmp_path):
    """CERT-1, CERT-3: validity, purpose and authority, by the handshake."""
    server = context("server", AUTHORITY.issue("dns:localhost", usage="server"), tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match=complaint):
        shake(server, context("client", issued, tmp_path))


def test_a_certificate_for_both_ends_serves_both(tmp_path):
    both = AUTHORITY.issue("dns:localhost", usage="both")
    shake(context("server", both, tmp_path), context("client", both, tmp_path))
    (purposes,) = (e.value for e in both.certificate.extensions if isinstance(e.value, x509.ExtendedKeyUsage))
    assert set(purposes) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


def test_names_of_all_kinds():
    issued = issue_certificate("dns:a.example", "uri:spiffe://example.org/a", "email:a@example.org", "ip:::1")
    names = issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [str(name.value) for name in names.value] == ["a.example", "spiffe://example.org/a", "a@example.org", "::1"]
    assert not names.critical
    assert issued.certificate.subject.rfc4514_string() == "CN=a.example"


def test_no_name_and_no_subject():
    """RFC 5280 section 4.2.1.6: alternative names are critical exactly when the subject is empty."""
    nameless = issue_certificate().certificate
    assert nameless.subject.rfc4514_string() == "CN=nameless"
    with pytest.raises(x509.ExtensionNotFound):
        nameless.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    without_subject = issue_certificate("dns:a.example", common_name="").certificate
    assert without_subject.subject.rfc4514_string() == ""
    assert without_subject.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_validity_is_thirty_days_from_wherever_it_begins():
    for issued in (
        issue_certificate("dns:a.example"),
        issue_certificate("dns:a.example", not_before=NOW + timedelta(days=400)),
        issue_certificate("dns:a.example", not_after=NOW - timedelta(days=400)),
    ):
        made = issued.certificate
        assert made.not_valid_after_utc - made.not_valid_before_utc == timedelta(days=30)
    kept = issue_certificate("dns:a.example", not_after=NOW + timedelta(days=60)).certificate
    assert kept.not_valid_before_utc <= datetime.now(UTC)


def test_the_key_file_is_the_owners_alone_even_where_another_file_was(tmp_path):
    certfile, keyfile = tmp_path / "a.pem", tmp_path / "a.key"
    keyfile.write_text("an older one, for all to read")
    keyfile.chmod(0o644)
    issued = AUTHORITY.subordinate().issue("dns:a.example")
    mask = os.umask(0)
    try:
        issued.write(str(certfile), str(keyfile))
    finally:
        os.umask(mask)
    assert stat.S_IMODE(keyfile.stat().st_mode) == 0o600
    assert keyfile.read_bytes() == issued.key_pem
    assert certfile.read_bytes() == issued.chain_pem
    assert "PRIVATE" not in repr(issued)


def test_an_authority_is_stored_and_issues_again(tmp_path):
    """With all that is above it; and its key is its owner's alone."""
    stored = AUTHORITY.subordinate().subordinate("Third")
    stored.write(tmp_path / "ca.pem", tmp_path / "ca.key")
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    loaded = CertificateAuthority.load(str(tmp_path / "ca.pem"), str(tmp_path / "ca.key"))
    assert loaded.certificate_pem == stored.certificate_pem
    issued = loaded.issue("dns:localhost", usage="server")
    assert issued.authority_pem == AUTHORITY.certificate_pem
    shake(context("server", issued, tmp_path), context("client", AUTHORITY.issue("dns:client.example"), tmp_path))


def _rsa_key() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("certificate", "key", "sentence"),
    [
        (None, b"", "'ca.pem' cannot be read: No such file"),
        (b"junk", b"", "is to hold an authority's PEM certificate and 'ca.key' its unencrypted EC key"),
        (AUTHORITY.certificate_pem, b"junk", "is to hold an authority's PEM certificate"),
        (AUTHORITY.certificate_pem, _rsa_key(), "is to hold an authority's PEM certificate"),
        (AUTHORITY.issue("dns:a").certificate_pem, AUTHORITY.issue("dns:a").key_pem, "is to hold an authority's PEM"),
        (AUTHORITY.certificate_pem, AUTHORITY.issue("dns:a").key_pem, "'ca.key' is not the key of the certificate in"),
    ],
    ids=["missing", "junk", "junk key", "RSA key", "no authority", "another key"],
)
def test_what_is_no_stored_authority(tmp_path, monkeypatch, certificate, key, sentence):
    monkeypatch.chdir(tmp_path)
    if certificate is not None:
        (tmp_path / "ca.pem").write_bytes(certificate)
    (tmp_path / "ca.key").write_bytes(key)
    with pytest.raises(ConfigurationError, match=sentence):
        CertificateAuthority.load("ca.pem", "ca.key")


def test_what_a_server_would_say_of_it():
    issued = AUTHORITY.subordinate().issue("dns:a.example")
    told = issued.tls_extension()
    assert "".join(told["client_cert_chain"]).encode() == issued.chain_pem
    assert told["client_cert_name"] == "CN=a.example"
    assert told["client_cert_error"] is None


@pytest.mark.parametrize(
    "names",
    [("a.example",), ("dns:",), ("cn:a",), ("ip:localhost",), ("dns:bücher.example",)],
    ids=["no kind", "no value", "unknown kind", "no address", "not ASCII"],
)
def test_what_is_no_name_is_said_so(names):
    with pytest.raises(ConfigurationError, match=names[0].partition(":")[0]):
        issue_certificate(*names)


def test_unknown_usage():
    with pytest.raises(ConfigurationError, match="usage="):
        issue_certificate("dns:a.example", usage="peer")


def test_revoked_certificates_are_refused_in_a_strict_handshake(tmp_path):
    """REV-5: OpenSSL takes the lists, and both authorities' are asked for."""
    issuer = AUTHORITY.subordinate()
    server = context("server", issuer.issue("dns:localhost", usage="server"), tmp_path)
    server.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    good, revoked = issuer.issue("dns:good.example"), issuer.issue("dns:revoked.example")
    issuer.revoke(revoked)
    (tmp_path / "lists.pem").write_bytes(issuer.revocation_list() + AUTHORITY.revocation_list())
    server.load_verify_locations(tmp_path / "lists.pem")
    shake(server, context("client", good, tmp_path))
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked"):
        shake(server, context("client", revoked, tmp_path))


def test_revocation_lists_are_numbered_and_run_out_when_told():
    authority = CertificateAuthority()
    issuer = authority.subordinate()
    authority.revoke(issuer)
    authority.revoke(issuer)
    lists = [
        x509.load_pem_x509_crl(pem)
        for pem in (
            authority.revocation_list(),
            authority.revocation_list(),
            authority.revocation_list(number=7),
            authority.revocation_list(next_update=NOW - timedelta(days=1)),
        )
    ]
    numbers = [one.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for one in lists]
    assert numbers == [1, 2, 7, 8]
    assert all(len(one) == 1 for one in lists)
    assert lists[0].next_update_utc - lists[0].last_update_utc == timedelta(days=7)
    assert lists[3].last_update_utc < lists[3].next_update_utc < NOW


def test_only_the_issuer_revokes():
    with pytest.raises(ConfigurationError, match="by the authority that issued it"):
        AUTHORITY.revoke(AUTHORITY.subordinate().issue("dns:a.example"))
