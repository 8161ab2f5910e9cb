"""``certs show`` against real servers: what it finds, how it grades it, and that no server can hurt its terminal."""

import json
import re
import socket
import ssl
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from secure_asgi import HSTSMiddleware, Middleware, secure
from secure_asgi.cli import main
from secure_asgi.cli.certs import endpoint as endpoint_module
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import server_context

from .endpoints import ANSWER, saying, serving, silent, tls
from .serving import uvicorn_serving

AUTHORITY = CertificateAuthority("Test CA")
ISSUING = AUTHORITY.subordinate("Issuing CA")
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "ca.pem").write_bytes(AUTHORITY.certificate_pem)
    for name, issued in {
        "server": ISSUING.issue("dns:localhost", "ip:127.0.0.1", usage="server"),
        "client": AUTHORITY.issue("dns:client.example"),
        "foreign": CertificateAuthority("Other CA").issue("dns:client.example"),
        "expired": AUTHORITY.issue("dns:localhost", usage="server", not_after=NOW - timedelta(days=1)),
        "ending": AUTHORITY.issue("dns:localhost", usage="server", not_after=NOW + timedelta(days=4)),
        "future": AUTHORITY.issue("dns:localhost", usage="server", not_before=NOW + timedelta(days=1)),
        "other": AUTHORITY.issue("dns:other.example", usage="server"),
        "wild": AUTHORITY.issue("dns:*.svc.example", usage="server"),
        "evil": AUTHORITY.issue("dns:localhost", usage="server", common_name="\x1b]0;owned\x07[red]\r\n\u202e"),
        "long": AUTHORITY.issue("dns:localhost", usage="server", not_after=NOW + timedelta(days=100)),
    }.items():
        issued.write(folder / f"{name}.pem", folder / f"{name}.key")
    _write_weak(folder)
    _write_bare(folder)
    return folder


def _write_weak(folder: Path) -> None:
    """RSA with 1024 bits, self-signed, without alternative names, for ten years."""
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    _write(folder, "weak", key, name, key, name, 3650)


def _write_bare(folder: Path) -> None:
    """Of the authority, and good but for the key identifiers that RFC 5280 asks for."""
    AUTHORITY.write(folder / "ca.pem", folder / "ca.key")
    signer = load_pem_private_key((folder / "ca.key").read_bytes(), None)
    issuer = x509.load_pem_x509_certificate(AUTHORITY.certificate_pem).subject
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    _write(folder, "bare", ec.generate_private_key(ec.SECP256R1()), x509.Name([]), signer, issuer, 30, names)


def _write(folder, file, key, subject, signer, issuer, days, names=None) -> None:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - timedelta(minutes=4))
        .not_valid_after(NOW + timedelta(days=days))
    )
    if names is not None:
        builder = builder.add_extension(names, critical=True)
    certificate = builder.sign(signer, SHA256())
    (folder / f"{file}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / f"{file}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def context(files, name="server") -> ssl.SSLContext:
    return server_context(files / f"{name}.pem", files / f"{name}.key")


def lax_context(files, name="server", suites="ALL:@SECLEVEL=0", **settings) -> ssl.SSLContext:
    """As an old server has it."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_ciphers(suites)
    made.load_cert_chain(files / f"{name}.pem", files / f"{name}.key")
    made.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    for setting, value in settings.items():
        setattr(made, setting, value)
    return made


def ask(capsys, port, *arguments, host="localhost", ca="ca.pem", files=None):
    """Exit status and what was told, as JSON, with the lines by their names."""
    trust = ["--ca", str(files / ca)] if files else []
    status = main(["certs", "show", f"{host}:{port}", "--json", "--timeout", "5", *trust, *map(str, arguments)])
    told = json.loads(capsys.readouterr().out)
    told["lines"] = {line["check"]: line for line in told["lines"]}
    return status, told


def wrong(told) -> set[str]:
    return {name for name, line in told["lines"].items() if line["verdict"] == "WRONG"}


def with_hsts():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return secure(app, Middleware(HSTSMiddleware))


# What is found, and how it is graded


def test_a_modern_uvicorn_meets_modern(files, capsys):
    """TLS-1, TLS-3, TLS-4: all of our own parts together."""
    with uvicorn_serving(with_hsts(), tls=context(files)) as port:
        status, told = ask(capsys, port, files=files)
    assert (status, told["meets_profile"], told["grade"], wrong(told)) == (0, True, "modern", set())
    assert told["versions"] == {"TLSv1.3": True, "TLSv1.2": False, "TLSv1.1": False, "TLSv1": False, "SSLv3": False}
    assert set(told["suites"]["TLSv1.3"]) == {
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    }
    assert {"X25519", "P-256", "P-384"} <= set(told["groups"])
    assert told["alpn"] == ["http/1.1"]
    assert told["resumption"] == {"TLSv1.3": False}
    assert told["http_status"] == 204
    assert told["hsts"] == ["max-age=63072000; includeSubDomains"]
    assert told["client_certificate"] == "none"
    leaf, issuing = told["chain"]
    assert leaf["names"] == ["dns:localhost", "ip:127.0.0.1"]
    assert (leaf["key"], leaf["signature"]) == ("EC P-256", "ECDSA with SHA256")
    assert leaf["issuer"] == issuing["subject"] == "CN=Issuing CA"
    assert re.fullmatch(r"sha256/[A-Za-z0-9+/]{43}=", leaf["spki_pin"])
    assert told["unfinished"] == []


def test_an_intermediate_server_meets_intermediate_and_not_modern(files, capsys):
    """TLS-2, TLS-4. And its TLS 1.2 sessions are resumed, which Python cannot prevent."""
    made = server_context(files / "server.pem", files / "server.key", profile="intermediate")
    with uvicorn_serving(with_hsts(), tls=made) as port:
        status, told = ask(capsys, port, "--profile", "intermediate", files=files)
        assert (status, told["grade"], wrong(told)) == (0, "intermediate", set())
        assert told["resumption"] == {"TLSv1.3": False, "TLSv1.2": True}
        assert {name.partition("-")[0] for name in told["suites"]["TLSv1.2"]} == {"ECDHE"}
        status, told = ask(capsys, port, files=files)
    assert (status, told["grade"], wrong(told)) == (1, "intermediate", {"versions", "suites"})


def test_weak_tls_1_2_and_older(files, capsys):
    """TLS-1, TLS-2: CBC, static RSA and the versions that RFC 8996 forbids, whatever this OpenSSL does by itself."""
    with serving(tls(lax_context(files, "weak", maximum_version=ssl.TLSVersion.TLSv1_2))) as port:
        status, told = ask(capsys, port, "--profile", "intermediate", ca="weak.pem", files=files)
    assert (status, told["grade"]) == (1, "none")
    assert {name for name, is_taken in told["versions"].items() if is_taken} == {"TLSv1.2", "TLSv1.1", "TLSv1"}
    assert {"AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES128-GCM-SHA256"} <= set(told["suites"]["TLSv1.2"])
    assert {"versions", "suites", "keys", "lifetime", "host name"} <= wrong(told)
    assert told["lines"]["keys"]["why"] == "too weak: RSA 1024 of CN=localhost"
    assert told["lines"]["host name"]["found"] == "no name"


def test_old_servers_without_elliptic_curves(files, capsys):
    """No group is negotiated; and the session identifier of TLS 1.2 is found to be taken up again."""
    with serving(
        tls(lax_context(files, "weak", "AES128-SHA@SECLEVEL=0", maximum_version=ssl.TLSVersion.TLSv1_2))
    ) as port:
        status, told = ask(capsys, port, ca="weak.pem", files=files)
    assert (status, told["groups"], told["suites"]["TLSv1.2"]) == (1, [], ["AES128-SHA"])
    assert told["resumption"] == {"TLSv1.2": True}


def test_tickets_of_tls_1_3_are_found(files, capsys):
    with serving(tls(lax_context(files, minimum_version=ssl.TLSVersion.TLSv1_3))) as port:
        status, told = ask(capsys, port, files=files)
    assert (status, told["resumption"]) == (0, {"TLSv1.3": True})


@pytest.mark.parametrize(
    ("name", "check", "why"),
    [
        ("expired", "expiry", "expired: CN=localhost"),
        ("future", "expiry", "not valid yet: CN=localhost"),
        ("other", "host name", "it is not for localhost"),
        ("long", "lifetime", "more than 90 days"),
        ("foreign", "trust", "unable to get local issuer certificate"),
    ],
)
def test_a_bad_certificate(files, capsys, name, check, why):
    """CERT-1, CERT-4."""
    with serving(tls(context(files, name))) as port:
        status, told = ask(capsys, port, files=files)
    assert status == 1
    assert (told["lines"][check]["verdict"], told["lines"][check]["why"]) == ("WRONG", why)


def test_a_certificate_that_ends_soon_is_noted(files, capsys):
    with serving(tls(context(files, "ending"))) as port:
        status, told = ask(capsys, port, files=files)
    assert (status, told["lines"]["expiry"]["verdict"], told["lines"]["expiry"]["why"]) == (0, "note", "renew it")


def test_the_system_trusts_no_test_authority(files, capsys):
    with serving(tls(context(files))) as port:
        status, told = ask(capsys, port)
    assert (status, wrong(told)) == (1, {"trust"})
    assert "unable to get" in told["trust_error"]


def test_a_chain_that_only_a_lenient_client_accepts(files, capsys):
    with serving(tls(context(files, "bare"))) as port:
        status, told = ask(capsys, port, files=files)
    assert (status, told["trust_error"], told["lines"]["trust"]["verdict"]) == (0, None, "note")
    assert told["lines"]["trust"]["why"] == "Python 3.13 refuses it: Missing Authority Key Identifier"


def test_another_name_is_asked_for_and_matched(files, capsys):
    """SNI, certificate and ``Host`` are those of --server-name (RFC 9525: a star is one whole label)."""
    asked = []
    made = lax_context(files, "wild", minimum_version=ssl.TLSVersion.TLSv1_3)
    made.sni_callback = lambda wrapped, name, base: asked.append(name)
    with serving(tls(made)) as port:
        status, told = ask(capsys, port, "--server-name", "API.svc.example", host="127.0.0.1", files=files)
        assert (status, told["server_name"], set(asked)) == (0, "api.svc.example", {"api.svc.example"})
        status, told = ask(capsys, port, "--server-name", "a.b.svc.example", host="127.0.0.1", files=files)
    assert (status, wrong(told)) == (1, {"host name"})


def test_an_address_is_matched_and_gets_no_hsts_grade(files, capsys):
    """RFC 6797 section 8.1.1."""
    with serving(tls(context(files), b"HTTP/1.1 404 Not Found\r\n\r\n")) as port:
        status, told = ask(capsys, port, host="127.0.0.1", files=files)
    assert (status, told["http_status"]) == (0, 404)
    assert told["lines"]["HSTS"]["found"] == "does not apply to an address"


def hsts(value: bytes) -> bytes:
    return b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nStrict-Transport-Security: " + value + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "verdict", "why"),
    [
        (ANSWER.replace(b"strict", b"lax"), "WRONG", "no Strict-Transport-Security"),
        (hsts(b"max-age=31536000; includeSubDomains"), "WRONG", "max-age is below 63072000"),
        (hsts(b"max-age=63072000"), "note", "without includeSubDomains"),
        (hsts(b'Max-Age="63072000" ; INCLUDESUBDOMAINS;; preload'), "ok", ""),
        (hsts(b"includeSubDomains"), "WRONG", "browsers ignore it: malformed"),
        (hsts(b"max-age=9e9; includeSubDomains"), "WRONG", "browsers ignore it: malformed"),
        (hsts(b"max-age=63072000; max-age=63072000"), "WRONG", "browsers ignore it: malformed"),
        (hsts(b"max-age=63072000 includeSubDomains"), "WRONG", "browsers ignore it: malformed"),
        (hsts(b"max-age=63072000; includeSubDomains\r\nstrict-transport-security: x"), "note", "sent more than once"),
        (b"+OK POP3 ready\r\n\r\n", "note", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nhalf-a: head", "note", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nx: " + 40000 * b"y" + b"\r\n\r\n", "note", "no HTTP answer"),
    ],
    ids=[
        *(
            "none",
            "too short",
            "not the subdomains",
            "any case, quoted",
            "no max-age",
            "no number",
            "twice",
            "no semicolon",
        ),
        *("two fields", "not HTTP", "half a head", "endless head"),
    ],
)
def test_hsts(files, capsys, answer, verdict, why):
    """RFC 6797 sections 6.1 and 8.1."""
    with serving(tls(context(files), answer)) as port:
        status, told = ask(capsys, port, files=files)
    assert (told["lines"]["HSTS"]["verdict"], told["lines"]["HSTS"]["why"]) == (verdict, why)
    assert status == (verdict == "WRONG")


# Client certificates


def asking(files, verify_mode=ssl.CERT_REQUIRED, **settings) -> ssl.SSLContext:
    made = lax_context(files, **settings)
    made.load_verify_locations(files / "ca.pem")
    made.verify_mode = verify_mode
    return made


@pytest.mark.parametrize(
    ("settings", "client", "told_of"),
    [
        ({"verify_mode": ssl.CERT_OPTIONAL}, None, ("optional", None, 200)),
        ({"verify_mode": ssl.CERT_OPTIONAL}, "client", ("optional", True, 200)),
        ({"verify_mode": ssl.CERT_OPTIONAL}, "foreign", ("optional", False, 200)),
        ({}, None, ("required", None, None)),
        ({}, "client", ("required", True, 200)),
        ({}, "foreign", ("required", False, None)),
        ({"maximum_version": ssl.TLSVersion.TLSv1_2}, None, ("required", None, None)),
        ({"maximum_version": ssl.TLSVersion.TLSv1_2}, "client", ("required", True, 200)),
        ({"maximum_version": ssl.TLSVersion.TLSv1_2}, "foreign", ("required", False, None)),
    ],
    ids=[
        *("optional", "optional, good", "optional, bad", "required", "required, good", "required, bad"),
        *("1.2, required", "1.2, required, good", "1.2, required, bad"),
    ],
)
def test_client_certificates(files, capsys, settings, client, told_of):
    """Under TLS 1.3 the refusal comes at the first read, under 1.2 in the handshake."""
    given = ["--cert", files / f"{client}.pem", "--key", files / f"{client}.key"] if client else []
    with serving(tls(asking(files, **settings))) as port:
        _, told = ask(capsys, port, *given, files=files)
    assert (told["client_certificate"], told["is_let_in"], told["http_status"]) == told_of
    line = told["lines"]["client certificate"]
    assert line["verdict"] == ("WRONG" if told["is_let_in"] is False else "ok")
    if told["http_status"] is None and client is None:
        assert told["lines"]["HSTS"]["why"] == "give --cert and --key to see it"


def test_resumption_is_noted_where_clients_are_verified(files, capsys):
    with serving(tls(asking(files, verify_mode=ssl.CERT_OPTIONAL, maximum_version=ssl.TLSVersion.TLSv1_2))) as port:
        _, told = ask(capsys, port, files=files)
    assert told["lines"]["resumption"]["why"] == "a resumed session does not verify the client again"


def test_what_cannot_be_seen_without_a_certificate_is_not_called_well(files, capsys):
    """With all else as the profile wants it: 2, not 0."""
    made = asking(files, suites="ECDHE+AESGCM", maximum_version=ssl.TLSVersion.TLSv1_2)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    with serving(tls(made)) as port:
        status, told = ask(capsys, port, "--profile", "intermediate", files=files)
    assert (status, told["grade"], told["meets_profile"]) == (2, "unknown", False)
    assert told["unfinished"] == ["ALPN"]
    assert wrong(told) == set()


# The table


def test_the_table_for_people(files, capsys):
    with serving(tls(context(files))) as port:
        assert main(["certs", "show", f"localhost:{port}", "--ca", str(files / "ca.pem")]) == 0
        good = capsys.readouterr().out
        assert main(["certs", "show", f"localhost:{port}"]) == 1
        bad = capsys.readouterr().out
    assert f"localhost:{port} (127.0.0.1) against the profile modern" in good
    assert re.search(r"versions +│ TLSv1.3 +│ ok", good)
    assert "Certificate 2 of 2" in good
    assert "without verifying first" in good
    assert "It meets the profile modern." in good
    assert re.search(r"trust +│ does not verify +│ WRONG │ unable to get", bad)
    assert "It does not meet the profile modern: trust." in bad


def test_the_table_says_which_other_profile_is_met(files, capsys):
    arguments = ["--ca", str(files / "ca.pem")]
    made = server_context(files / "server.pem", files / "server.key", profile="intermediate")
    with serving(tls(made)) as port:
        assert main(["certs", "show", f"127.0.0.1:{port}", *arguments]) == 1
    assert "does not meet the profile modern: versions, suites. It meets intermediate." in capsys.readouterr().out
    with serving(tls(context(files))) as port:
        assert main(["certs", "show", f"127.0.0.1:{port}", *arguments, "--profile", "intermediate"]) == 0
    out = capsys.readouterr().out
    assert "It meets the profile intermediate; it meets modern, too." in out
    assert f"127.0.0.1:{port} against" in out


def test_nothing_that_a_server_says_steers_the_terminal(files, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as rich can tell
    monkeypatch.setenv("COLUMNS", "200")
    with serving(tls(context(files, "evil"), hsts(b"\x1b[2J\x9b31m[bold]:bomb:"))) as port:
        assert main(["certs", "show", f"localhost:{port}", "--ca", str(files / "ca.pem")]) == 1
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)  # the colours are ours
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)
    assert r"\x1b]0\;owned\x07[red]" in out
    assert r"\x1b[2J\x9b31m[bold]:bomb:" in out


# What cannot be inspected


def one_byte_at_a_time(connection: socket.socket) -> None:
    connection.sendall(struct.pack("!BHH", 22, 0x0303, 16000))
    while True:
        connection.sendall(b"\0")
        time.sleep(0.02)


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("!BHH", kind, 0x0303, len(content)) + content


def message(kind: int, body: bytes) -> bytes:
    return record(22, bytes((kind,)) + len(body).to_bytes(3) + body)


HANDSHAKE_FAILURE = record(21, b"\x02\x28")
SERVER_HELLO = message(2, b"\x03\x03" + bytes(32) + b"\0" + b"\xc0\x2b" + b"\0")


@pytest.mark.parametrize(
    ("handle", "sentence"),
    [
        (silent, "no answer within 0.3 s"),
        (one_byte_at_a_time, "no complete answer within 0.3 s"),
        (saying(b""), "it refuses every TLS hello, or closes the connection"),
        (saying(HANDSHAKE_FAILURE), "it refuses every TLS hello, or closes the connection"),
        (saying(SERVER_HELLO + HANDSHAKE_FAILURE), "it refuses every TLS hello, or closes the connection"),
        (saying(SERVER_HELLO), "it refuses every TLS hello, or closes the connection"),
        (saying(HANDSHAKE_FAILURE[:4]), "it refuses every TLS hello, or closes the connection"),
        (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "it answers plain HTTP, not TLS"),
        (saying(b"SSH-2.0-OpenSSH\x1b[1m\r\n"), r'it does not speak TLS: it answers "SSH-2.0-OpenSSH\x1b[1m\r\n"'),
        (saying(b"no"), 'it does not speak TLS: it answers "no"'),
        (saying(bytes(9)), r'it does not speak TLS: it answers "\x00\x00\x00\x00\x00\x00\x00\x00\x00"'),
        (saying(record(22, b"")[:3] + b"\xff\xff"), r'it does not speak TLS: it answers "\x16\x03\x03\xff\xff"'),
        (saying(record(21, b"")), "it answers with malformed TLS"),
        (saying(message(2, b"\x03\x03")), "it answers with malformed TLS"),
        (saying(message(2, b"\x03\x03" + bytes(32) + b"\xff" + bytes(9))), "it answers with malformed TLS"),
        (saying(SERVER_HELLO[:-1]), "it refuses every TLS hello"),
        (saying(SERVER_HELLO + message(12, b"")), "it answers with malformed TLS"),
        (
            saying(SERVER_HELLO + message(12, b"\x03\0\x17") + message(14, b"")),
            "the handshake fails: unexpected message",
        ),
    ],
    ids=[
        *(
            "hangs",
            "drips",
            "closes",
            "alert",
            "alert after its hello",
            "hello and no more",
            "half an alert",
            "HTTP",
            "SSH",
        ),
        *("two letters", "zeros", "record too large", "empty alert", "short hello", "hello that points outside"),
        *("cut hello", "empty key exchange", "hellos only"),
    ],
)
def test_what_is_no_tls_server_is_2_and_a_sentence(capsys, handle, sentence):
    began = time.monotonic()
    with serving(handle) as port:
        assert main(["certs", "show", f"127.0.0.1:{port}", "--timeout", "0.3"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"secure-asgi: 127.0.0.1:{port}: {sentence}")
    assert out == ""
    assert time.monotonic() - began < 2


def test_a_warning_is_no_refusal(capsys):
    """``unrecognized_name`` comes as one, before the server's hello (RFC 6066 section 3)."""
    warned = record(21, b"\x01\x70") + SERVER_HELLO + message(14, b"")
    with serving(saying(warned)) as port:
        assert main(["certs", "show", f"127.0.0.1:{port}"]) == 2
    assert "the handshake fails: unexpected message" in capsys.readouterr().err


@pytest.mark.parametrize("flood", [record(21, b"\x01\0"), record(22, bytes(1000))], ids=["warnings", "handshake"])
def test_a_flood_is_read_to_a_limit_only(capsys, flood, monkeypatch):
    monkeypatch.setattr(endpoint_module, "MOST_BYTES", 50_000)
    with serving(saying(10_000 * flood)) as port:
        assert main(["certs", "show", f"127.0.0.1:{port}"]) == 2
    assert "it sends more than 50000 bytes and comes to no end" in capsys.readouterr().err


def test_an_endless_answer_over_tls(files, capsys, monkeypatch):
    monkeypatch.setattr(endpoint_module, "MOST_BYTES", 20_000)
    with serving(tls(context(files), b"HTTP/1.1 200 OK\r\nx: " + 10**6 * b"y")) as port:
        _, told = ask(capsys, port, files=files)
    assert told["lines"]["HSTS"]["why"] == "no HTTP answer"


def closing(connection: socket.socket) -> None:
    pass


# Whoever is silent is waited for each time: fewer of those, and no more patience than a busy machine needs.
HAS_HAD_ENOUGH = [(closing, patience, "5") for patience in (4, 6, 7, 8, 13, 17, 20, 23)] + [
    (silent, patience, "0.5") for patience in (4, 8, 20)
]


@pytest.mark.parametrize(("then", "patience", "timeout"), HAS_HAD_ENOUGH)
def test_a_server_that_has_had_enough_is_not_called_well(files, capsys, then, patience, timeout):
    """Whatever could not be looked at, the exit status is not 0; and it is over in time."""
    serve, seen = tls(context(files)), []

    def handle(connection):
        seen.append(connection)
        (serve if len(seen) <= patience else then)(connection)

    with serving(handle) as port:
        arguments = ["--json", "--ca", str(files / "ca.pem"), "--timeout", timeout]
        assert main(["certs", "show", f"127.0.0.1:{port}", *arguments]) == 2
        assert len(seen) > patience


def test_all_connections_together_have_an_end(files, capsys):
    """A server that answers each just in time would otherwise take minutes."""
    serve = tls(context(files))

    def slow(connection):
        time.sleep(0.06)
        serve(connection)

    began = time.monotonic()
    with serving(slow) as port:
        assert main(["certs", "show", f"127.0.0.1:{port}", "--timeout", "0.1", "--ca", str(files / "ca.pem")]) == 2
    assert time.monotonic() - began < 12 * 0.1 + 1


def test_a_server_without_a_certificate(files, capsys):
    """An anonymous exchange of keys: encrypted, with whomever."""
    with serving(tls(lax_context(files, suites="AECDH@SECLEVEL=0", maximum_version=ssl.TLSVersion.TLSv1_2))) as port:
        assert main(["certs", "show", f"127.0.0.1:{port}"]) == 2
    assert capsys.readouterr().err == f"secure-asgi: 127.0.0.1:{port}: it sends no certificate\n"


def test_a_server_that_says_hello_and_never_comes_to_a_handshake(capsys):
    seen = []

    def handle(connection):
        seen.append(connection)
        saying(SERVER_HELLO + message(14, b"") if len(seen) <= 5 else b"")(connection)

    with serving(handle) as port:
        assert main(["certs", "show", f"127.0.0.1:{port}"]) == 2
    assert "it closes the connection during the handshake" in capsys.readouterr().err


def test_an_address_that_swallows_everything(capsys):
    """The backlog of a listener that accepts nobody is full after a few."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        assert main(["certs", "show", f"127.0.0.1:{full.getsockname()[1]}", "--timeout", "0.1"]) == 2
        for one in waiting:
            one.close()
    assert "no answer within 0.1 s" in capsys.readouterr().err


def wire(seconds: float) -> tuple[endpoint_module.Wire, socket.socket]:
    ours, theirs = socket.socketpair()
    return endpoint_module.Wire(ours, seconds, time.monotonic() + seconds), theirs


def test_a_connection_that_breaks_is_the_end_and_no_error():
    broken, theirs = wire(5)
    theirs.close()
    broken.send(b"hello?")
    assert broken.receive() == b""
    broken.close()
    assert broken.receive() == b""


def test_nobody_reads_what_we_send():
    unread, theirs = wire(0.05)
    with theirs, unread, pytest.raises(endpoint_module.NoAnswerError, match=r"no answer within 0\.05 s"):
        unread.send(bytes(10**8))


def test_when_time_is_up_nothing_is_begun():
    late, theirs = wire(-1)
    with theirs, late, pytest.raises(endpoint_module.NoAnswerError, match="no answer within"):
        late.receive()
    over = endpoint_module.Endpoint.parse("localhost", timeout=1)
    over.ends = time.monotonic()
    with pytest.raises(endpoint_module.NoAnswerError, match="too slowly to be inspected: --timeout"):
        over.connect()


def test_a_port_that_nobody_listens_on(capsys):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert main(["certs", "show", f"127.0.0.1:{port}"]) == 2
    assert capsys.readouterr().err == f"secure-asgi: 127.0.0.1:{port}: connection refused\n"


def test_a_name_that_does_not_exist(capsys, monkeypatch):
    def fail(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert main(["certs", "show", "nowhere.invalid"]) == 2
    assert capsys.readouterr().err == "secure-asgi: nowhere.invalid:443: name or service not known\n"


def test_a_resolver_that_takes_its_time(capsys, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: time.sleep(0.2) or [])
    assert main(["certs", "show", "slow.example", "--timeout", "0.05"]) == 2
    assert "its name is not resolved in time" in capsys.readouterr().err
    time.sleep(0.2)


def test_the_address_that_answers_is_the_one_that_is_described(files, capsys, monkeypatch):
    """The first address of the name has nobody listening."""
    with serving(tls(context(files))) as port:
        dead = ("127.0.0.9", port)
        found = [(socket.AF_INET, 0, 0, "", address) for address in (dead, ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
        status, told = ask(capsys, port, files=files)
    assert (status, told["address"]) == (0, "127.0.0.1")


@pytest.mark.parametrize(
    ("target", "arguments", "sentence"),
    [
        ("https://example.com", [], "an endpoint is written HOST:PORT"),
        ("localhost:70000", [], "an endpoint is written HOST:PORT"),
        ("localhost:0", [], "an endpoint is written HOST:PORT"),
        ("[localhost]:1", [], "an endpoint is written HOST:PORT"),
        ("::1", [], "an endpoint is written HOST:PORT"),
        ("a..b:1", [], "'a..b' is no host name"),
        ("a$b:1", [], "'a$b' is no host name"),
        ("localhost:1", ["--server-name", ""], "'' is no host name"),
        ("localhost:1", ["--ca", "gone.pem"], "--ca 'gone.pem' cannot be read: No such file"),
        ("localhost:1", ["--ca", "junk.pem"], "--ca 'junk.pem' holds no readable PEM certificate"),
        ("localhost:1", ["--key", "client.key"], "--key goes with --cert"),
        ("localhost:1", ["--cert", "gone.pem"], "--cert 'gone.pem' or --key None cannot be read: No such file"),
        ("localhost:1", ["--cert", "client.pem"], "--cert 'client.pem' is to hold PEM certificates"),
        ("localhost:1", ["--cert", "client.pem", "--key", "server.key"], "OpenSSL says KEY_VALUES_MISMATCH"),
    ],
    ids=[
        *("a URL", "port too large", "port 0", "name in brackets", "IPv6 without brackets", "empty label", "no name"),
        *(
            "empty server name",
            "no CA file",
            "junk CA file",
            "key alone",
            "no certificate file",
            "no key",
            "another key",
        ),
    ],
)
def test_what_cannot_be_used_is_2_and_a_sentence(files, capsys, monkeypatch, target, arguments, sentence):
    monkeypatch.chdir(files)
    (files / "junk.pem").write_text("junk")
    assert main(["certs", "show", target, *arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("Example.COM.", "example.com", 443, "example.com:443"),
        ("bücher.example:8443", "xn--bcher-kva.example", 8443, "xn--bcher-kva.example:8443"),
        ("[::1]:8443", "::1", 8443, "[::1]:8443"),
        ("10.0.0.1:1", "10.0.0.1", 1, "10.0.0.1:1"),
    ],
)
def test_endpoints(text, host, port, shown):
    parsed = endpoint_module.Endpoint.parse(text, timeout=1)
    assert (parsed.host, parsed.port, parsed.server_name, str(parsed)) == (host, port, host, shown)
