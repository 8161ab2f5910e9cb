"""Replaced files: what the next handshake makes of them, and that the last good ones go on serving.

The matrix by handshakes in memory, with ``reload=0``: a look at every connection. Then the same on real servers.
"""

import gc
import logging
import os
import re
import ssl
import threading
import weakref
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from secure_asgi import ConfigurationError
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import ServerContext, server_context

from .asgi import hello
from .handshake import client_context, rsa_twin, shake
from .serving import SERVERS, ask, connected

AUTHORITY = CertificateAuthority("Test CA")
NEW_AUTHORITY = CertificateAuthority("New CA")
NAME = "dns:localhost"


@pytest.fixture
def files(tmp_path):
    """``ca.pem`` is what a client trusts, ``clients.pem`` what the server does."""
    AUTHORITY.issue(NAME, usage="server").write(tmp_path / "server.pem", tmp_path / "server.key")
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate_pem)
    (tmp_path / "clients.pem").write_bytes(AUTHORITY.certificate_pem)
    for name, authority in (("a", AUTHORITY), ("b", AUTHORITY), ("new", NEW_AUTHORITY)):
        authority.issue(f"dns:{name}.example").write(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
    write_crl(tmp_path / "clients.crl")
    return tmp_path


def serve(files, **options) -> ServerContext:
    return server_context(files / "server.pem", files / "server.key", **{"reload": 0, **options})


def for_clients(files, **options) -> ServerContext:
    return serve(files, client_ca=files / "clients.pem", client_auth="required", **options)


def write_crl(file, *revoked, authority=AUTHORITY):
    """A revocation list of the authority, put in the place of the last one."""
    now = datetime.now(UTC)
    serials = [x509.load_pem_x509_certificate(one.read_bytes()).serial_number for one in revoked]
    entries = [x509.RevokedCertificateBuilder().serial_number(s).revocation_date(now).build() for s in serials]
    issuer = x509.load_pem_x509_certificate(authority.certificate_pem)
    key = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key())
    builder = x509.CertificateRevocationListBuilder(
        issuer.subject, now - timedelta(minutes=5), now + timedelta(days=1), revoked_certificates=entries
    ).add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key), critical=False)
    builder = builder.add_extension(x509.CRLNumber(len(entries)), critical=False)
    replace(file, builder.sign(authority._key, SHA256()).public_bytes(Encoding.PEM))


def replace(file, content):
    beside = file.with_name(f"{file.name}.next")
    beside.write_bytes(content)
    os.replace(beside, file)


def renew(files, **options):
    """A renewed certificate with a key of its own, each put in place at once; gives its SHA-256."""
    issued = AUTHORITY.issue(NAME, usage="server", **options)
    replace(files / "server.key", issued.key_pem)
    replace(files / "server.pem", issued.chain_pem)
    return sha256(issued.certificate.public_bytes(Encoding.DER)).hexdigest()


def served(context, files, name=None, **settings):
    """The SHA-256 of the certificate that a client is shown; raises if the handshake fails."""
    return _shown(shake(context, client_context(files, name, **settings)).client)


def _shown(client):
    return sha256(client.getpeercert(binary_form=True)).hexdigest()


def errors(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_renewed_certificate_is_served_to_the_next_connection(files, caplog):
    """And a connection that is there goes on."""
    context = serve(files)
    before = shake(context, client_context(files))
    loaded_at = context.certificate_status.loaded_at
    with caplog.at_level(logging.INFO, "secure_asgi"):
        renewed = renew(files)
        assert served(context, files) == renewed != _shown(before.client)
    assert "generation 2" in caplog.text
    status = context.certificate_status
    assert (status.generation, status.last_error) == (2, "")
    assert status.loaded_at > loaded_at
    assert status.not_after == x509.load_pem_x509_certificate((files / "server.pem").read_bytes()).not_valid_after_utc
    before.client.write(b"still here")
    assert before.server.read() == b"still here"


def test_nothing_is_made_anew_while_the_files_are_the_same(files):
    context = serve(files)
    assert served(context, files) == served(context, files)
    assert context.certificate_status.generation == 1


def test_an_rsa_certificate_is_gone_when_an_ecdsa_one_takes_its_place(files):
    """Loaded into the live context it would stay, in a slot of its own, for clients that like RSA better."""
    certificate, key = rsa_twin(AUTHORITY, AUTHORITY.issue(NAME, usage="server"))
    replace(files / "server.pem", certificate)
    replace(files / "server.key", key)
    context = serve(files, profile="intermediate")
    likes_rsa = client_context(files, maximum_version=ssl.TLSVersion.TLSv1_2)
    likes_rsa.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    shake(context, likes_rsa)
    renewed = renew(files)
    assert served(context, files) == renewed
    with pytest.raises(ssl.SSLError):
        shake(context, likes_rsa)


BROKEN = {
    "key of another certificate": (
        lambda files: replace(files / "server.key", AUTHORITY.issue().key_pem),
        "is not the key of",
    ),
    "garbage certificate": (lambda files: replace(files / "server.pem", b"garbage"), "is to hold PEM certificates"),
    "half of a certificate": (
        lambda files: replace(files / "server.pem", (files / "server.pem").read_bytes()[:300]),
        "is to hold PEM certificates",
    ),
    "empty key": (lambda files: (files / "server.key").write_bytes(b""), "an unencrypted PEM key"),
    "no certificate": (lambda files: (files / "server.pem").unlink(), "cannot be read: No such file"),
    "no key": (lambda files: (files / "server.key").unlink(), "cannot be read: No such file"),
    "expired": (lambda files: renew(files, not_after=datetime.now(UTC) - timedelta(days=1)), "has expired on"),
    "not valid yet": (
        lambda files: renew(files, not_before=datetime.now(UTC) + timedelta(days=1)),
        "is not valid before",
    ),
    "garbage authorities": (lambda files: replace(files / "clients.pem", b"garbage"), "no readable PEM certificate"),
    "no revocation list": (lambda files: (files / "clients.crl").unlink(), "client_crl="),
    "authority as list": (
        lambda files: replace(
            files / "clients.crl", (files / "clients.crl").read_bytes() + NEW_AUTHORITY.certificate_pem
        ),
        "holds a certificate, which would be trusted",
    ),
}


@pytest.mark.parametrize(("break_it", "problem"), BROKEN.values(), ids=BROKEN)
def test_the_last_good_files_go_on_serving_and_one_line_says_why(files, caplog, break_it, problem):
    """Section 9: validate, then swap. And they are served as before when they are whole again."""
    context = for_clients(files, client_crl=files / "clients.crl")
    first = served(context, files, "a")
    with caplog.at_level(logging.INFO, "secure_asgi"):
        break_it(files)
        assert served(context, files, "a") == served(context, files, "a") == first
        assert context.certificate_status.generation == 1
        assert problem in context.certificate_status.last_error
        assert [problem in line for line in errors(caplog)] == [True]
        write_crl(files / "clients.crl")
        replace(files / "clients.pem", AUTHORITY.certificate_pem)
        renewed = renew(files)
        assert served(context, files, "a") == renewed
    assert context.certificate_status.last_error == ""
    assert len(errors(caplog)) == 1


def test_each_distinct_failure_has_a_line(files, caplog):
    context = serve(files)
    for _ in range(2):
        (files / "server.key").unlink()
        served(context, files)
        (files / "server.key").write_bytes(b"garbage")
        served(context, files)
    assert [re.search(r"cannot be read|unencrypted", line)[0] for line in errors(caplog)] == [
        "cannot be read",
        "unencrypted",
    ] * 2


def test_what_failed_is_tried_again_though_the_files_look_the_same(files, monkeypatch):
    """As a change of permissions does not show in what ``stat`` is asked for. Nor does any exception get out."""
    context = serve(files)
    recipe = type(context._recipe)
    with monkeypatch.context() as patched:
        patched.setattr(recipe, "make", lambda self: {}["lost"])
        renewed = renew(files)
        served(context, files)
        assert context.certificate_status.last_error == "KeyError: 'lost'"
    assert served(context, files) == renewed


def test_an_authority_that_was_taken_out_lets_nobody_in(files):
    """CERT-1. Loaded into the live context authorities could only be added."""
    context = for_clients(files)
    served(context, files, "a")
    replace(files / "clients.pem", NEW_AUTHORITY.certificate_pem)
    with pytest.raises(ssl.SSLCertVerificationError):
        served(context, files, "a")
    served(context, files, "new")


def test_an_authority_that_was_put_in_lets_its_clients_in(files):
    context = for_clients(files)
    with pytest.raises(ssl.SSLCertVerificationError):
        served(context, files, "new")
    replace(files / "clients.pem", AUTHORITY.certificate_pem + NEW_AUTHORITY.certificate_pem)
    served(context, files, "new")
    served(context, files, "a")


def test_a_replaced_revocation_list_revokes_and_unrevokes(files):
    """REV-5, as far as the handshake does it."""
    context = for_clients(files, client_crl=[files / "clients.crl"])
    served(context, files, "a")
    write_crl(files / "clients.crl", files / "a.pem")
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        served(context, files, "a")
    served(context, files, "b")
    write_crl(files / "clients.crl")
    served(context, files, "a")


def test_a_session_of_tls_1_2_is_not_resumed_past_a_change(files):
    """Resumed, it would let in whom the handshake would not: nobody verifies again."""
    context = for_clients(files, profile="intermediate")
    old_client = client_context(files, "a", maximum_version=ssl.TLSVersion.TLSv1_2)
    first = shake(context, old_client)  # kept: OpenSSL forgets the session of a connection that is just dropped
    session = first.client.session
    assert shake(context, old_client, session=session).server.session_reused
    replace(files / "clients.pem", NEW_AUTHORITY.certificate_pem)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(context, old_client, session=session)


def test_the_switch_of_a_directory_by_symbolic_link_is_seen(files, tmp_path):
    """As Kubernetes mounts secrets: files that are links through ``..data`` to a directory of that version."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        AUTHORITY.issue(NAME, usage="server").write(tmp_path / version / "tls.crt", tmp_path / version / "tls.key")
    (tmp_path / "..data").symlink_to("1")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    context = server_context(tmp_path / "tls.crt", tmp_path / "tls.key", reload=0)
    first = served(context, files)
    (tmp_path / "..next").symlink_to("2")
    os.replace(tmp_path / "..next", tmp_path / "..data")
    assert served(context, files) != first


def test_a_look_is_made_when_it_is_due_and_never_with_none(files):
    """An idle server's first handshake after a renewal, however long after, is served the renewed certificate."""
    now = [100.0]
    context, never = serve(files, reload=5.0), serve(files, reload=None)
    context._clock = never._clock = lambda: now[0]
    context._next_look = 105.0
    first = served(context, files)
    renewed = renew(files)
    now[0] = 104.9
    assert served(context, files) == first
    now[0] = 9e9
    assert served(context, files) == renewed
    assert context._next_look == 9e9 + 5
    assert served(never, files) == first


def test_who_comes_while_another_thread_looks_waits_and_gets_what_it_found(files):
    """Else an expired certificate would be served once more."""
    context = serve(files, reload=5.0)
    context._next_look = 0.0
    renewed = renew(files)
    with context._lock:
        shown = []
        thread = threading.Thread(target=lambda: shown.append(served(context, files)))
        thread.start()
        thread.join(0.05)
        assert not shown
        context.look()
        made = context.certificate_status.generation
    thread.join()
    assert shown == [renewed]
    assert context.certificate_status.generation == made == 2


def test_no_context_outlives_its_last_connection(files):
    context = serve(files, on_handshake_failure=print)
    gc.collect()
    gc.disable()
    try:
        connection = shake(context, client_context(files))
        inner = weakref.ref(connection.server.context)
        renew(files)
        shake(context, client_context(files))
        assert inner() is not None
        del connection
        assert inner() is None
        whole = weakref.ref(context)
        del context
        assert whole() is None
    finally:
        gc.enable()


def test_it_is_an_ssl_context_whose_settings_can_be_read_but_not_changed(files):
    context = for_clients(files)
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    for change in (
        lambda: setattr(context, "verify_mode", ssl.CERT_NONE),
        lambda: setattr(context, "minimum_version", ssl.TLSVersion.TLSv1_2),
        lambda: context.load_cert_chain(files / "a.pem", files / "a.key"),
        lambda: context.load_verify_locations(files / "ca.pem"),
        lambda: context.set_ciphers("ALL"),
    ):
        with pytest.raises(ConfigurationError, match=r"give server_context\(\) its options instead"):
            change()


def test_alpn_may_be_set_afterwards_and_is_kept(files):
    """TLS-3. As some servers do, or as their users are told to."""
    context = serve(files)
    context.set_alpn_protocols(["h2", "http/1.1"])
    for _ in range(2):
        asking = client_context(files)
        asking.set_alpn_protocols(["h2"])
        assert shake(context, asking).client.selected_alpn_protocol() == "h2"
        renew(files)


def test_a_socket_can_be_wrapped_too(files):
    import socket

    context = serve(files)
    renewed = renew(files)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        shown = []

        def shake_hands():
            with client_context(files).wrap_socket(theirs, server_hostname="localhost") as client:
                shown.append(_shown(client))

        thread = threading.Thread(target=shake_hands)
        thread.start()
        with context.wrap_socket(ours, server_side=True):
            thread.join()
    assert shown == [renewed]


@pytest.mark.parametrize("server", SERVERS)
def test_on_a_real_server(files, server):
    """Renewed, broken, authority replaced; and a connection from before is kept alive through it all."""
    context = for_clients(files)
    with SERVERS[server](hello, tls=context) as port, connected(port, client_context(files, "a")) as kept:
        assert ask(kept) == b"hello"
        renewed = renew(files)
        with connected(port, client_context(files, "b")) as another:
            assert _shown(another.sock) == renewed != _shown(kept.sock)
            assert ask(another) == b"hello"
        replace(files / "server.key", b"garbage")
        with connected(port, client_context(files, "b")) as another:
            assert ask(another) == b"hello"
        renew(files)
        replace(files / "clients.pem", NEW_AUTHORITY.certificate_pem)
        with connected(port, client_context(files, "new")) as another:
            assert ask(another) == b"hello"
        with pytest.raises(OSError), connected(port, client_context(files, "b")) as another:
            ask(another)  # under TLS 1.3 the client reads of the refusal here
        assert ask(kept) == b"hello"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_over_anyio(files, backend):
    """trio's streams, and anyio's, which wrap a context that is no plain one in a thread."""
    from anyio.streams.tls import TLSListener

    async def main():
        context = for_clients(files)
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.listeners[0].extra(anyio.abc.SocketAttribute.local_port)
        renewed = renew(files)

        async def greet(stream):
            async with stream:
                await stream.send(b"hello")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(TLSListener(listener, context, standard_compatible=False).serve, greet)
            async with await anyio.connect_tcp(
                "127.0.0.1",
                port,
                ssl_context=client_context(files, "a"),
                tls_hostname="localhost",
                tls_standard_compatible=False,
            ) as stream:
                assert await stream.receive() == b"hello"
                shown = stream.extra(anyio.streams.tls.TLSAttribute.peer_certificate_binary)
            assert sha256(shown).hexdigest() == renewed
            tasks.cancel_scope.cancel()
        await listener.aclose()

    anyio.run(main, backend=backend)
