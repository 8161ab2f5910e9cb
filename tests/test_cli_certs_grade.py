"""The judgement alone: facts that no server here would show, and how each kind of certificate is read."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from secure_asgi.cli.certs.certificate import SentCertificate, read_certificate
from secure_asgi.cli.certs.endpoint import Endpoint, NoAnswerError
from secure_asgi.cli.certs.show.grade import INTERMEDIATE, MODERN, grade, judge
from secure_asgi.cli.certs.show.head import Head
from secure_asgi.cli.certs.show.inspection import Facts
from secure_asgi.cli.printable import in_days, printable
from secure_asgi.testing.certificates import CertificateAuthority

NOW = datetime(2030, 1, 1, tzinfo=UTC)
AUTHORITY = CertificateAuthority("Test CA")


def certificate(**changes) -> SentCertificate:
    good = SentCertificate(
        subject="CN=leaf",
        issuer="CN=Test CA",
        names=("dns:api.example",),
        key="EC P-256",
        bits=256,
        signature="ECDSA with SHA256",
        hash="sha256",
        not_before=NOW - timedelta(days=10),
        not_after=NOW + timedelta(days=80),
        serial="1",
        sha256=64 * "a",
        spki_pin="sha256/" + 43 * "A" + "=",
        is_own_issuer=False,
    )
    return dataclasses.replace(good, **changes)


ECDHE, DHE = "ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"


def issuing(**changes) -> SentCertificate:
    return certificate(subject="CN=Test CA", issuer="CN=Root", **changes)


ROOT = certificate(subject="CN=Test CA", key="RSA 4096", bits=4096, hash="sha1", is_own_issuer=True)


def facts(**changes) -> Facts:
    good = Facts(
        Endpoint.parse("api.example", timeout=1),
        NOW,
        versions={"TLSv1.3": True, "TLSv1.2": False, "TLSv1.1": False, "TLSv1": False, "SSLv3": False},
        suites={"TLSv1.3": ("TLS_AES_128_GCM_SHA256",), "TLSv1.2": ()},
        groups=("X25519MLKEM768", "X25519"),
        chain=(certificate(),),
        alpn=("h2", "http/1.1"),
        resumption={"TLSv1.3": False},
        head=Head(200, ("max-age=63072000; includeSubDomains",)),
    )
    return dataclasses.replace(good, **changes)


def both(**is_taken: bool | None) -> dict[str, bool | None]:
    return facts().versions | {name.replace("_", "."): taken for name, taken in is_taken.items()}


def test_nothing_to_complain_about():
    assert {line.verdict for line in judge(facts(), MODERN)} == {"ok"}
    assert grade(facts()) == "modern"


def alone(**changes) -> dict:
    return {"chain": (certificate(**changes),)}


@pytest.mark.parametrize(
    ("changes", "check", "why", "met"),
    [
        ({"versions": both(TLSv1_2=True)}, "versions", "not of this profile: TLSv1.2", "intermediate"),
        ({"versions": both(TLSv1=True)}, "versions", "not of this profile: TLSv1", "none"),
        ({"versions": both(TLSv1_3=False)}, "versions", "none of this profile; no TLSv1.3", "none"),
        ({"suites": {"TLSv1.3": ("TLS_SHA256_SHA256",)}}, "suites", "not of this profile: TLS_SHA256_SHA256", "none"),
        ({"suites": {"TLSv1.2": (ECDHE,)}}, "suites", f"not of this profile: {ECDHE}", "intermediate"),
        ({"suites": {"TLSv1.2": (DHE,)}}, "suites", f"not of this profile: {DHE}", "none"),
        ({"groups": ("X25519MLKEM768", "P-224")}, "key exchange", "too weak: P-224", "none"),
        (
            {"chain": (certificate(), certificate())},
            "chain",
            "each certificate is to be followed by that of its issuer",
            "none",
        ),
        (alone(key="RSA 2048", bits=2048), "keys", "not of this profile: RSA 2048", "intermediate"),
        (alone(key="Ed25519"), "keys", "not of this profile: Ed25519", "none"),
        (
            {"chain": (certificate(), issuing(key="RSA 1024", bits=1024))},
            "keys",
            "too weak: RSA 1024 of CN=Test CA",
            "none",
        ),
        (
            {"chain": (certificate(), issuing(key="EC P-192", bits=192))},
            "keys",
            "too weak: EC P-192 of CN=Test CA",
            "none",
        ),
        (
            {"chain": (certificate(), issuing(key="DSA 2048", bits=2048))},
            "keys",
            "too weak: DSA 2048 of CN=Test CA",
            "none",
        ),
        (
            {"chain": (certificate(signature="RSA with SHA1", hash="sha1"), ROOT)},
            "signatures",
            "too weak: RSA with SHA1 on CN=leaf",
            "none",
        ),
        (alone(not_after=NOW + timedelta(days=200)), "lifetime", "more than 90 days", "intermediate"),
        (alone(not_after=NOW + timedelta(days=400)), "lifetime", "more than 90 days", "none"),
        (alone(not_after=NOW), "expiry", "expired: CN=leaf", "none"),
        ({"trust_error": "self-signed\x1b"}, "trust", r"self-signed\x1b", "none"),
        (
            {"client_certificate": "required", "is_let_in": False},
            "client certificate",
            "no HTTP answer with the one given",
            "none",
        ),
    ],
    ids=[
        *("TLS 1.2", "TLS 1.0", "nothing new", "no encryption", "a TLS 1.2 suite", "DHE", "weak group", "no order"),
        *("RSA", "Ed25519", "RSA 1024", "P-192", "DSA", "SHA-1", "200 days", "400 days", "expired now", "untrusted"),
        "not let in",
    ],
)
def test_what_is_wrong(changes, check, why, met):
    """TLS-1 to TLS-4, CERT-5: one thing, and nothing else. A root's own signature is not looked at."""
    assert {line.check: line.why for line in judge(facts(**changes), MODERN) if line.verdict == "WRONG"} == {check: why}
    assert grade(facts(**changes)) == met


@pytest.mark.parametrize(
    ("changes", "check", "why"),
    [
        ({"versions": both(TLSv1=None)}, "versions", "no answer to TLSv1"),
        ({"unfinished": ["suites"]}, "suites", "not all could be looked for"),
        ({"unfinished": ["groups"]}, "key exchange", "not all could be looked for"),
        ({"groups": ("X25519",)}, "key exchange", "none withstands a quantum computer"),
        ({"groups": ("X25519MLKEM768", "X448")}, "key exchange", "more than the profile names: X448"),
        ({"groups": ()}, "key exchange", "none withstands a quantum computer"),
        ({"strict_error": "Missing Key"}, "trust", "Python 3.13 refuses it: Missing Key"),
        ({"chain": (certificate(), ROOT)}, "chain", "the root need not be sent"),
        ({"chain": (certificate(not_after=NOW + timedelta(days=4)),)}, "expiry", "renew it"),
        ({"unfinished": ["ALPN"], "alpn": ()}, "ALPN", "not all could be looked for"),
        ({"alpn": ()}, "ALPN", "no protocol is agreed on"),
        ({"resumption": {}}, "resumption", "could not be tried"),
        (
            {"resumption": {"TLSv1.3": True}, "client_certificate": "optional"},
            "resumption",
            "a resumed session does not verify the client again",
        ),
        ({"head": None}, "HSTS", "no HTTP answer"),
    ],
    ids=[
        *("silence", "suites unfinished", "groups unfinished", "no post-quantum group", "more groups", "no group"),
        *("strictness", "root sent", "ends soon", "ALPN unfinished", "no ALPN", "resumption untried", "resumption"),
        "no HTTP",
    ],
)
def test_what_is_noted(changes, check, why):
    lines = {line.check: line for line in judge(facts(**changes), MODERN)}
    assert (lines[check].verdict, lines[check].why) == ("note", why)
    assert "WRONG" not in {line.verdict for line in lines.values()}
    assert grade(facts(**changes)) == ("unknown" if "unfinished" in changes else "modern")


def test_intermediate_is_for_old_clients_and_says_so_if_they_are_left_out():
    lines = {line.check: line for line in judge(facts(), INTERMEDIATE)}
    assert (lines["versions"].verdict, lines["versions"].why) == ("note", "no TLSv1.2")


def test_long_lists_are_cut():
    many = tuple(f"dns:{number}.example" for number in range(100))
    lines = {line.check: line for line in judge(facts(chain=(certificate(names=many),)), MODERN)}
    assert lines["host name"].found.endswith("dns:3.example, and 96 more")


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(days=30), "in 30 days"),
        (timedelta(days=2), "in 2 days"),
        (timedelta(hours=47), "in 47 hours"),
        (timedelta(hours=1, minutes=59), "in 1 hour"),
        (timedelta(minutes=5), "in 0 hours"),
        (timedelta(), "0 hours ago"),
        (timedelta(days=-3), "3 days ago"),
    ],
)
def test_time_in_words(left, words):
    assert in_days(left) == words


def test_what_is_printable():
    assert printable("Bücher \x00\x1b\x7f\x9b\u202e\u2028\ud800") == r"Bücher \x00\x1b\x7f\x9b\u202e\u2028\ud800"
    assert printable("a" * 10**7) == "a" * 199 + "…"
    assert len(printable("\x1b" * 200)) == 200


def _signed(key, names=()) -> bytes:
    signer = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(255)
        .not_valid_before(NOW)
        .not_valid_after(NOW)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(signer, SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("key", "words", "bits"),
    [
        (ec.generate_private_key(ec.SECP521R1()), "EC P-521", 521),
        (ec.generate_private_key(ec.SECP256K1()), "EC secp256k1", 256),
        (rsa.generate_private_key(65537, 2048), "RSA 2048", 2048),
        (dsa.generate_private_key(1024), "DSA 1024", 1024),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519", 256),
        (ed448.Ed448PrivateKey.generate(), "Ed448", 456),
        (x25519.X25519PrivateKey.generate(), "X25519", 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_keys_of_all_kinds(key, words, bits):
    read = read_certificate(_signed(key))
    assert (read.key.partition("PublicKey")[0].removeprefix("_"), read.bits) == (words, bits)
    assert (read.serial, read.names, read.is_own_issuer) == ("ff", (), True)


def test_names_of_all_kinds_and_others_passed_over():
    names = [
        x509.DNSName("a.example"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
        x509.RFC822Name("ops@example.org"),
        x509.UniformResourceIdentifier("spiffe://example.org/a"),
    ]
    read = read_certificate(_signed(ec.generate_private_key(ec.SECP256R1()), names))
    assert read.names == ("dns:a.example", "email:ops@example.org", "uri:spiffe://example.org/a")


def test_a_signature_without_a_hash():
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW).sign(key, None)
    read = read_certificate(made.public_bytes(Encoding.DER))
    assert (read.signature, read.hash) == ("ED25519", "")


@pytest.mark.parametrize("der", [b"", b"junk", b"\x30\x03\x02\x01\x01"], ids=["nothing", "junk", "another structure"])
def test_what_cannot_be_read_is_said_so(der):
    with pytest.raises(NoAnswerError, match="a certificate that it sends cannot be read: "):
        read_certificate(der)


@pytest.mark.parametrize(
    ("names", "host", "is_match"),
    [
        (("dns:API.example",), "api.example", True),
        (("dns:api.example.",), "api.example", True),
        (("dns:*.example",), "api.example", False),
        (("dns:*.svc.example",), "api.svc.example", True),
        (("dns:*.svc.example",), "svc.example", False),
        (("dns:*.svc.example",), "a.b.svc.example", False),
        (("dns:a*.svc.example",), "api.svc.example", False),
        (("dns:*",), "localhost", False),
        (("dns:10.0.0.1",), "10.0.0.1", False),
        (("ip:10.0.0.1",), "10.0.0.1", True),
        (("ip:::1",), "0:0:0:0:0:0:0:1", True),
        (("uri:api.example",), "api.example", False),
        ((), "leaf", False),
    ],
)
def test_names_match_as_rfc_9525_section_6_says(names, host, is_match):
    assert certificate(names=names).is_for(host) is is_match
