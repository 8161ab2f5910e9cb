"""OCSP: whose answers are believed, and what a slow, lying or dead responder can do (REV-1 to REV-4, REV-6)."""

import asyncio
import re
import shutil
import subprocess
import threading
import time
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import unquote

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from secure_asgi import ConfigurationError, Reason
from secure_asgi.errors import CertificateError
from secure_asgi.mutual_tls.ocsp import MAX_BYTES, OCSP, RETRY_AFTER
from secure_asgi.mutual_tls.ocsp_answer import UNKNOWN_FOR, AnswerError, make_request, read_answer
from secure_asgi.mutual_tls.path import VerifiedPath
from secure_asgi.testing.certificates import CertificateAuthority

from .der import element, elements, inside
from .web import Web

NOW = datetime.now(UTC)
NOON = NOW.timestamp()
ROOT = CertificateAuthority("Root")
ISSUER = ROOT.subordinate("Issuer")
OTHER = CertificateAuthority("Other")
GOOD = ISSUER.issue("dns:good.example")
LEAF = GOOD.certificate
ANSWER_TYPE = {"content-type": "application/ocsp-response"}
STATUS = ocsp.OCSPCertStatus


def path(issued=GOOD):
    return VerifiedPath((issued.certificate, ISSUER._certificate, ROOT._certificate), 0.0, NOON + 9e6)


def delegate(
    issuer=ISSUER,
    *,
    purposes=(ExtendedKeyUsageOID.OCSP_SIGNING,),
    nocheck=True,
    usage=None,
    not_before=NOW - timedelta(hours=1),
    not_after=NOW + timedelta(hours=1),
    name="Responder",
):
    """A key and the certificate that appoints it to answer."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer._certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if nocheck:
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    if usage is not None:
        names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign")
        rest = dict.fromkeys((*names, "crl_sign", "encipher_only", "decipher_only"), False)
        builder = builder.add_extension(x509.KeyUsage(digital_signature=usage, **rest), critical=True)
    return builder.sign(issuer._key, SHA256()), key


def answer(
    request=None,
    *,
    status=STATUS.GOOD,
    leaf=LEAF,
    issuer=ISSUER._certificate,
    signer=(ISSUER._certificate, ISSUER._key),
    names=ocsp.OCSPResponderEncoding.HASH,
    certificates=(),
    nonce="same",
    this_update=NOW - timedelta(minutes=1),
    next_update=NOW + timedelta(hours=1),
    hash_algorithm=SHA1(),  # noqa: B008
    extensions=(),
):
    """What a responder sends; each oddity is an option."""
    builder = ocsp.OCSPResponseBuilder()
    since = NOW - timedelta(days=1) if status is STATUS.REVOKED else None
    builder = builder.add_response(leaf, issuer, hash_algorithm, status, this_update, next_update, since, None)
    builder = builder.responder_id(names, signer[0])
    if certificates:
        builder = builder.certificates(certificates)
    if nonce == "same":
        nonce = request and nonce_of(request)
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical=critical)
    return builder.sign(signer[1], SHA256()).public_bytes(Encoding.DER)


def nonce_of(request):
    for extension in request.extensions:
        return extension.value.nonce
    return None


def edited(
    body,
    edit=list,
    *,
    key=ISSUER._key,
    algorithm="300a06082a8648ce3d040302",
    hash_algorithm=SHA256(),  # noqa: B008
    certificate=None,
):
    """The answer with the list of what it is about edited, signed anew, by whomever."""
    fields = elements(inside(ocsp.load_der_ocsp_response(body).tbs_response_bytes))
    about = next(number for number, field in enumerate(fields) if field[0] == 0x30)
    fields[about] = element(0x30, b"".join(edit(elements(inside(fields[about])))))
    tbs = element(0x30, b"".join(fields))
    signature = element(0x03, b"\0" + key.sign(tbs, ec.ECDSA(hash_algorithm)))
    rest = element(0xA0, element(0x30, certificate.public_bytes(Encoding.DER))) if certificate else b""
    basic = element(0x30, tbs + bytes.fromhex(algorithm) + signature + rest)
    told = element(0x30, bytes.fromhex("06092b0601050507300101") + element(0x04, basic))
    return element(0x30, b"\x0a\x01\x00" + element(0xA0, told))


def with_extension(singles, *, critical):
    """An extension 1.2.3 of the one answer that there is."""
    extension = element(0x30, bytes.fromhex(f"06022a03{'0101ff' if critical else ''}04020500"))
    return [element(0x30, inside(singles[0]) + element(0xA1, element(0x30, extension)))]


REQUEST = make_request(LEAF, ISSUER._certificate, with_nonce=True)


def read(body, *, responders=None, needs_nonce=False, now=NOON, max_age=600.0, request=REQUEST):
    return read_answer(
        body,
        request,
        ISSUER._certificate,
        responders=responders,
        needs_nonce=needs_nonce,
        now=now,
        max_age=max_age,
    )


def delegated(made, **options):
    return answer(REQUEST, signer=made, certificates=[made[0]], **options)


# --- one answer ------------------------------------------------------------------------------------------------------

DELEGATE = delegate()
BY_NAME = ocsp.OCSPResponderEncoding.NAME
BELIEVED = {
    "signed by the issuer": answer(REQUEST),
    "signed by the issuer, by name": answer(REQUEST, names=BY_NAME),
    "by a delegate": delegated(DELEGATE),
    "by a delegate, by name": delegated(DELEGATE, names=BY_NAME),
    "by a delegate for signatures": delegated(delegate(usage=True)),
    "by a delegate with the issuer's name": delegated(delegate(name="Issuer"), names=BY_NAME),
    "with the issuer's certificate in it": answer(REQUEST, certificates=[OTHER._certificate, ISSUER._certificate]),
    "prepared, without a nonce": answer(REQUEST, nonce=None),
    "without nextUpdate, fresh": answer(REQUEST, next_update=None),
    "of a clock ahead by seconds": answer(REQUEST, this_update=NOW + timedelta(seconds=50)),
    "with something unknown about it": edited(answer(REQUEST), partial(with_extension, critical=False)),
    "with something unknown that is not critical": answer(
        REQUEST, extensions=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), False),)
    ),
}


@pytest.mark.parametrize("body", BELIEVED.values(), ids=BELIEVED)
def test_an_answer_that_is_believed(body):
    assert read(body).verdict == "good"


CRITICAL = ((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), True),)
EXPIRED = delegate(not_before=NOW - timedelta(days=2), not_after=NOW - timedelta(days=1))
NOT_YET = delegate(not_before=NOW + timedelta(hours=1), not_after=NOW + timedelta(days=1))
SAME_NAME = CertificateAuthority("Issuer")
NOT_BELIEVED = {
    "tryLater": (ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER), "says try_later"),
    "unauthorized": (
        ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED),
        "says unauthorized",
    ),
    "about another certificate": (answer(REQUEST, leaf=ISSUER.issue("dns:b.example").certificate), "about another"),
    "about another issuer's": (answer(REQUEST, issuer=SAME_NAME._certificate), "about another"),
    "about one named with another hash": (answer(REQUEST, hash_algorithm=SHA256()), "about another"),
    "about two": (edited(answer(REQUEST), lambda singles: singles * 2), "about 2 certificates"),
    "forged": (edited(answer(REQUEST), key=OTHER._key), "signature does not hold"),
    "by somebody else": (answer(REQUEST, signer=(OTHER._certificate, OTHER._key)), "nobody the issuer has appointed"),
    "by somebody else who comes along": (delegated((OTHER._certificate, OTHER._key)), "not issued by the issuer"),
    "by a certificate for anything": (delegated(delegate(purposes=())), "OCSPSigning"),
    "by a delegate for another purpose": (
        delegated(delegate(purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,))),
        "OCSPSigning",
    ),
    "by a delegate of another authority": (delegated(delegate(OTHER)), "not issued by the issuer itself"),
    "by a delegate of the root": (delegated(delegate(ROOT)), "not issued by the issuer itself"),
    "by a delegate of the issuer's other key": (delegated(delegate(SAME_NAME)), "not issued by the issuer itself"),
    "by a delegate whose certificate has expired": (delegated(EXPIRED), "expired or is not valid yet"),
    "by a delegate whose certificate is not valid yet": (delegated(NOT_YET), "expired or is not valid yet"),
    "by a delegate that may be revoked": (delegated(delegate(nocheck=False)), "id-pkix-ocsp-nocheck"),
    "by a delegate not for signatures": (delegated(delegate(usage=False)), "digitalSignature"),
    "by a delegate, forged": (
        edited(delegated(DELEGATE), key=OTHER._key, certificate=DELEGATE[0]),
        "signature does not hold",
    ),
    "to another question": (answer(REQUEST, nonce=b"0" * 32), "nonce"),
    "from the future": (answer(REQUEST, this_update=NOW + timedelta(seconds=90)), "future"),
    "over": (
        answer(REQUEST, this_update=NOW - timedelta(days=1), next_update=NOW - timedelta(seconds=1)),
        "time is over",
    ),
    "old, without nextUpdate": (
        answer(REQUEST, this_update=NOW - timedelta(seconds=700), next_update=None),
        "time is over",
    ),
    "with something critical": (answer(REQUEST, extensions=CRITICAL), "critical extension 1.2.3"),
    "with something critical about it": (
        edited(answer(REQUEST), partial(with_extension, critical=True)),
        "critical extension 1.2.3",
    ),
    "hashed with SHA-1": (
        edited(answer(REQUEST), algorithm="300906072a8648ce3d0401", hash_algorithm=SHA1()),
        "signed with sha1",
    ),
}


@pytest.mark.parametrize(("body", "complaint"), NOT_BELIEVED.values(), ids=NOT_BELIEVED)
def test_an_answer_that_is_not_believed(body, complaint):
    """REV-1, REV-2, REV-3."""
    if not isinstance(body, bytes):
        body = body.public_bytes(Encoding.DER)
    with pytest.raises(AnswerError, match=complaint):
        read(body)


def test_a_nonce_that_is_required():
    """REV-4: absent is good enough, unless it is asked for; and one to a question without any is another's."""
    assert read(answer(REQUEST), needs_nonce=True).verdict == "good"
    with pytest.raises(AnswerError, match="without a nonce"):
        read(answer(REQUEST, nonce=None), needs_nonce=True)
    bare = make_request(LEAF, ISSUER._certificate, with_nonce=False)
    assert nonce_of(bare) is None
    assert read(answer(bare), request=bare).verdict == "good"
    with pytest.raises(AnswerError, match="another question"):
        read(answer(REQUEST), request=bare)


def test_a_question_is_never_the_same_twice():
    """REV-6: 32 octets of nonce."""
    one, other = (nonce_of(make_request(LEAF, ISSUER._certificate, with_nonce=True)) for _ in range(2))
    assert len(one) == len(other) == 32
    assert one != other


CONFIGURED = {
    "the one": (DELEGATE[0], delegated(DELEGATE), ""),
    "without the excuse, which is for delegates": ((bare := delegate(nocheck=False))[0], delegated(bare), ""),
    "of another authority": ((local := delegate(OTHER, purposes=()))[0], delegated(local), ""),
    "then nobody else, not the issuer": (DELEGATE[0], answer(REQUEST), "another responder"),
    "nor another delegate": (DELEGATE[0], delegated(delegate(name="Another")), "another responder"),
    "expired": (EXPIRED[0], delegated(EXPIRED), "expired"),
    "forged": (DELEGATE[0], edited(delegated(DELEGATE), key=OTHER._key), "signature does not hold"),
}


@pytest.mark.parametrize(("trusted", "body", "complaint"), CONFIGURED.values(), ids=CONFIGURED)
def test_a_responder_that_is_configured(trusted, body, complaint):
    """REV-2: local configuration."""
    if not complaint:
        assert read(body, responders=[trusted]).verdict == "good"
        return
    with pytest.raises(AnswerError, match=complaint):
        read(body, responders=[trusted])


def test_an_issuer_with_an_rsa_key():
    key = rsa.generate_private_key(65537, 2048)
    own = (
        x509.CertificateBuilder()
        .subject_name(OTHER._certificate.subject)
        .issuer_name(OTHER._certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, SHA256())
    )
    request = make_request(LEAF, own, with_nonce=True)
    body = answer(request, issuer=own, signer=(own, key))
    options = {"responders": None, "needs_nonce": True, "now": NOON, "max_age": 1.0}
    assert read_answer(body, request, own, **options).verdict == "good"


def test_a_delegate_appointed_with_sha1():
    """CERT-5. ``cryptography`` signs no such thing any more: the algorithm is written into a good one."""
    certificate, key = delegate()
    tbs, _, _ = elements(inside(certificate.public_bytes(Encoding.DER)))
    fields = elements(inside(tbs))
    fields[2] = bytes.fromhex("300906072a8648ce3d0401")
    tbs = element(0x30, b"".join(fields))
    signature = element(0x03, b"\0" + ISSUER._key.sign(tbs, ec.ECDSA(SHA1())))
    weak = x509.load_der_x509_certificate(element(0x30, tbs + fields[2] + signature))
    with pytest.raises(AnswerError, match="not issued by the issuer"):
        read(delegated((weak, key)))


UNTIL = {
    "nextUpdate": ({"next_update": NOW + timedelta(minutes=5)}, 300),
    "no more than max_age": ({}, 600),
    "max_age from thisUpdate on, without nextUpdate": ({"next_update": None}, 540),
    "revoked": ({"status": STATUS.REVOKED}, 600),
    "unknown, not for long": ({"status": STATUS.UNKNOWN}, UNKNOWN_FOR),
}


@pytest.mark.parametrize(("options", "seconds"), UNTIL.values(), ids=UNTIL)
def test_until_when_an_answer_holds(options, seconds):
    found = read(answer(REQUEST, **options))
    assert found.until == pytest.approx(NOON + seconds, abs=1.5)
    assert found.verdict == options.get("status", STATUS.GOOD).name.lower()


# --- asking ----------------------------------------------------------------------------------------------------------


class Responder:
    """Answers every question that comes in, with the options of ``answer``; or does what ``fault`` does."""

    def __init__(self, web):
        self.web, self.options, self.fault, self.requests = web, {}, None, []
        web.answers = self

    def __call__(self, handler, posted):
        if self.fault is not None:
            if callable(self.fault):
                self.fault(handler, posted)
            else:
                handler.answer(*self.fault)
            return
        request = ocsp.load_der_ocsp_request(posted or b64decode(unquote(handler.path[1:]), validate=True))
        self.requests.append((handler.command, request))
        leaf = next(
            issued.certificate for issued in ISSUED if issued.certificate.serial_number == request.serial_number
        )
        handler.answer(200, ANSWER_TYPE, answer(request, **{"leaf": leaf, **self.options}))


ISSUED = [GOOD, *(ISSUER.issue(f"dns:{number}.example") for number in range(20))]


@pytest.fixture
def web():
    with Web() as web:
        yield web


@pytest.fixture
def responder(web):
    return Responder(web)


def judge(asker, now=NOON, issued=GOOD):
    """``"good"`` or the reason; waited for where it must be."""

    async def wait():
        found = asker.check(path(issued), now)
        return found if isinstance(found, float) else await found

    try:
        until = asyncio.run(wait())
    except CertificateError as refused:
        return refused.reason
    assert until > now
    return "good"


def settle(asker):
    deadline = time.monotonic() + 5
    while asker._errands._under_way:
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def test_one_question_and_its_answer(web, responder):
    """On asyncio and on trio."""
    asker = OCSP(web.url)
    await asker.start()
    until = await asker.check(path(), NOON)
    assert until == NOON + 600
    assert asker.check(path(), NOON + 1) == until
    asker.look()
    assert len(responder.requests) == 1
    await asker.close()


@pytest.mark.parametrize(
    ("status", "reason"),
    [(STATUS.REVOKED, Reason.CERTIFICATE_REVOKED), (STATUS.UNKNOWN, Reason.REVOCATION_UNKNOWN)],
    ids=["revoked", "unknown"],
)
@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_revoked_and_unknown_are_answers(mode, status, reason, web, responder):
    """REV-3: soft mode lets pass what could not be asked, and nothing that was answered."""
    responder.options = {"status": status}
    asker = OCSP(web.url, mode=mode)
    assert [judge(asker), judge(asker)] == [reason, reason]
    assert len(responder.requests) == 1


def test_a_trust_anchor_is_not_asked_for(web):
    assert OCSP(web.url).check(VerifiedPath((ROOT._certificate,), 0.0, 5.0), NOON) == 5.0


FAULTS = {
    "not there": (404, ANSWER_TYPE, b""),
    "redirects": (302, {"location": "/other"}, b""),
    "HTML": (200, {"content-type": "text/html"}, b"<html>"),
    "compressed": (200, {**ANSWER_TYPE, "content-encoding": "gzip"}, b"\x1f\x8b"),
    "garbage": (200, ANSWER_TYPE, b"\x30\x03\x0a\x01\x00"),
    "nothing": (200, ANSWER_TYPE, b""),
    "too large": (200, ANSWER_TYPE, b"0" * (MAX_BYTES + 1)),
    "forged": (200, ANSWER_TYPE, edited(answer(REQUEST), key=OTHER._key)),
    "an older answer": (200, ANSWER_TYPE, answer(REQUEST)),
    "hangs": Web.hangs,
    "drips": Web.drips_its_head,
}


@pytest.mark.parametrize("fault", [*FAULTS.values(), None], ids=[*FAULTS, "down"])
def test_a_responder_at_fault(fault, web, responder, caplog):
    """Nobody passes, or with ``mode="soft"`` everybody, for seconds, in which it is not asked again."""
    responder.fault = (lambda handler, posted: fault(web, handler, posted)) if callable(fault) else fault
    if fault is None:
        web.stop()
    # Only who does not answer is timed: a busy machine must not make a fault of a slow turn.
    timeout = 0.3 if callable(fault) else 30
    for mode, expected in (("hard", Reason.REVOCATION_UNKNOWN), ("soft", "good")):
        web.asked.clear()
        asker, began = OCSP(web.url, mode=mode, timeout=timeout), time.monotonic()
        assert judge(asker) == expected
        assert time.monotonic() - began < 10
        settle(asker)
        caplog.clear()
        assert judge(asker, NOON + RETRY_AFTER - 0.1) == expected
        assert web.asked.total() == (0 if fault is None else 1)
        assert judge(asker, NOON + RETRY_AFTER + 0.1) == expected
        settle(asker)
        assert web.asked.total() == (0 if fault is None else 2)
        assert len({record.getMessage() for record in caplog.records}) == len(caplog.records)


def test_a_known_answer_outlives_the_responder_for_its_time(web, responder):
    """And who was revoked stays so, even with ``mode="soft"``."""
    good, revoked = OCSP(web.url, mode="soft"), OCSP(web.url, mode="soft")
    assert judge(good) == "good"
    responder.options = {"status": STATUS.REVOKED}
    assert judge(revoked) == Reason.CERTIFICATE_REVOKED
    web.stop()
    hard = OCSP(web.url)
    hard._answers = good._answers
    for now in (NOON + 590, NOON + 592, NOON + 599):
        assert judge(hard, now) == "good"
        settle(hard)
    assert judge(hard, NOON + 601) == Reason.REVOCATION_UNKNOWN
    for now in (NOON + 601, NOON + 602, NOON + 700):
        assert judge(revoked, now) == Reason.CERTIFICATE_REVOKED


def test_a_clock_that_is_set_back_makes_no_answer_last(web, responder):
    revoked_meanwhile, nobody_there = OCSP(web.url), OCSP(web.url)
    for asker in (revoked_meanwhile, nobody_there):
        assert judge(asker, NOON + 500) == "good"
        assert judge(asker, NOON + 450) == "good"
    assert len(responder.requests) == 2
    responder.options = {"status": STATUS.REVOKED}
    assert judge(revoked_meanwhile, NOON) == Reason.CERTIFICATE_REVOKED
    web.stop()
    assert judge(nobody_there, NOON) == Reason.REVOCATION_UNKNOWN
    assert judge(revoked_meanwhile, NOON - 3600) == Reason.CERTIFICATE_REVOKED


def test_asked_again_beside_the_requests(web, responder):
    """From four fifths of the answer's time on; nobody waits, and a revocation ends cached verdicts at once."""
    asker = OCSP(web.url)
    assert judge(asker) == "good"
    assert asker.check(path(), NOON + 479) == NOON + 600
    responder.options = {"status": STATUS.REVOKED, "next_update": NOW + timedelta(hours=2)}
    before = asker.generation
    assert asker.check(path(), NOON + 481) == NOON + 600
    settle(asker)
    assert len(responder.requests) == 2
    assert asker.generation > before
    assert judge(asker, NOON + 482) == Reason.CERTIFICATE_REVOKED


async def test_single_flight_that_no_request_leads(web, responder):
    """On asyncio and on trio: one question for fifty requests, although the first of them goes away."""
    asker, go_on, began, verdicts = OCSP(web.url), threading.Event(), threading.Event(), []
    fetch = asker._fetch

    def slow(*args):
        began.set()
        go_on.wait(2)
        return fetch(*args)

    asker._fetch = slow

    async def ask():
        verdicts.append(await asker.check(path(), NOON))

    async with anyio.create_task_group() as requests:
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(ask)
            await anyio.to_thread.run_sync(began.wait, 2)
            leaving.cancel_scope.cancel()
        for _ in range(50):
            requests.start_soon(ask)
        await anyio.sleep(0.01)
        go_on.set()
    assert verdicts == [NOON + 600] * 50
    assert len(responder.requests) == 1


async def test_a_dead_responder_costs_each_request_no_more_than_its_timeout(web, responder, anyio_backend_name):
    """However many certificates are asked for: questions that nobody waits for any more are not asked."""
    responder.fault = web.hangs
    asker, refused = OCSP(web.url, timeout=0.2), []

    async def ask(issued):
        began = time.monotonic()
        with pytest.raises(CertificateError):
            await asker.check(path(issued), NOON)
        refused.append(time.monotonic() - began)

    async with anyio.create_task_group() as requests:
        for issued in ISSUED:
            requests.start_soon(ask, issued)
    assert max(refused) < 5
    settle(asker)
    assert web.asked.total() < len(ISSUED)


def test_no_thread_to_ask_with(web, monkeypatch):
    asker = OCSP(web.url)
    monkeypatch.setattr(asker._errands, "send", lambda *args: None)
    assert judge(asker) == Reason.REVOCATION_UNKNOWN


@pytest.mark.parametrize(("nonce", "method"), [(True, "POST"), ("require", "POST"), (False, "GET")])
def test_how_it_is_asked(nonce, method, web, responder):
    """RFC 5019 section 5: GET where the URL is short and caches may answer; with a nonce none can."""
    asker = OCSP(f"{web.url}/", nonce=nonce)
    assert judge(asker) == "good"
    ((used, request),) = responder.requests
    assert used == method
    assert (nonce_of(request) is not None) == bool(nonce)
    assert [kind for kind, _ in web.bodies] == (["application/ocsp-request"] if method == "POST" else [])


def test_a_long_url_is_posted_to(web, responder):
    assert judge(OCSP(f"{web.url}/{'x' * 200}", nonce=False)) == "good"
    assert responder.requests[0][0] == "POST"


def test_a_nonce_that_a_responder_does_not_repeat(web, responder):
    responder.options = {"nonce": None}
    assert judge(OCSP(web.url)) == "good"
    assert judge(OCSP(web.url, nonce="require")) == Reason.REVOCATION_UNKNOWN


# --- options ---------------------------------------------------------------------------------------------------------


def test_the_responders_certificate_however_it_is_given(web, responder, tmp_path):
    """A file may hold the next one too, and be replaced; a broken one is no reason to believe anybody."""
    made, following = delegate(), delegate(name="Next")
    pem, next_pem = (one[0].public_bytes(Encoding.PEM) for one in (made, following))
    file = tmp_path / "responder.pem"
    file.write_bytes(next_pem + pem)
    responder.options = {"signer": made}
    for given in (made[0], pem, next_pem + pem, file, str(file)):
        asker = OCSP(web.url, responder=given)
        asyncio.run(asker.start())
        assert judge(asker) == "good"
    responder.options = {"signer": following}
    for content, expected in ((b"", Reason.REVOCATION_UNKNOWN), (next_pem, "good"), (pem, Reason.REVOCATION_UNKNOWN)):
        file.write_bytes(content)
        asker._responders._watched._next_look = 0.0
        asker._answers.clear()
        assert judge(asker) == expected


@pytest.mark.parametrize("content", [None, b"<html>"], ids=["missing", "no certificate"])
async def test_a_responders_file_that_cannot_be_used_stops_the_start(content, tmp_path):
    file = tmp_path / "responder.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"responder\.pem"):
        await OCSP("http://ocsp.example/", responder=file).start()


WRONG = {
    "no URL": ("ocsp.example", {}, "http or https URL"),
    "not text": (b"http://ocsp.example", {}, "http or https URL"),
    "mode": ("http://x/", {"mode": "off"}, "mode="),
    "nonce": ("http://x/", {"nonce": "yes"}, "nonce="),
    "timeout": ("http://x/", {"timeout": 0}, "timeout="),
    "max_age": ("http://x/", {"max_age": "1h"}, "max_age="),
    "responder": ("http://x/", {"responder": 5}, "responder="),
    "responder that is no certificate": ("http://x/", {"responder": b"<html>"}, "responder="),
}


@pytest.mark.parametrize(("url", "options", "complaint"), WRONG.values(), ids=WRONG)
def test_options_that_are_wrong(url, options, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        OCSP(url, **options)


# --- openssl ocsp ----------------------------------------------------------------------------------------------------

OPENSSL = shutil.which("openssl")


def key_pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class OpenSSL:
    """``openssl ocsp`` as the responder, with an index of one good and one revoked certificate."""

    def __init__(self, folder, revoked, *options, signer=(ISSUER._certificate, ISSUER._key)):
        if OPENSSL is None:
            pytest.skip("openssl is not installed: apt-get install openssl")
        (folder / "ca.pem").write_bytes(ISSUER.certificate_pem)
        (folder / "signer.pem").write_bytes(signer[0].public_bytes(Encoding.PEM))
        (folder / "signer.key").write_bytes(key_pem(signer[1]))
        until = (NOW + timedelta(days=1)).strftime("%y%m%d%H%M%SZ")
        since = (NOW - timedelta(days=1)).strftime("%y%m%d%H%M%SZ")
        lines = [f"V\t{until}\t\t{LEAF.serial_number:040X}\tunknown\t/CN=good"]
        lines += [f"R\t{until}\t{since}\t{revoked.certificate.serial_number:040X}\tunknown\t/CN=revoked"]
        (folder / "index.txt").write_text("\n".join(lines) + "\n")
        files = ("-index", "index.txt", "-CA", "ca.pem", "-rsigner", "signer.pem", "-rkey", "signer.key")
        self.process = subprocess.Popen(
            [OPENSSL, "ocsp", "-port", "0", *files, *options],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        # It says where it listens; a connection that only tries would keep it from the next one.
        port = re.match(rb"ACCEPT .*:(\d+)", self.process.stdout.readline())[1]
        self.url = f"http://127.0.0.1:{port.decode()}/"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


SIGNERS = {
    "the issuer, prepared for an hour": ((ISSUER._certificate, ISSUER._key), ("-nmin", "60"), {}),
    "the issuer, without nextUpdate": ((ISSUER._certificate, ISSUER._key), (), {}),
    "a delegate": (DELEGATE, ("-nmin", "60"), {"nonce": "require"}),
    "a delegate by its key": (DELEGATE, ("-nmin", "60", "-resp_key_id"), {"nonce": False}),
    "a configured one": (bare, ("-nmin", "60"), {"responder": bare[0]}),
}


@pytest.mark.parametrize(("signer", "options", "asked"), SIGNERS.values(), ids=SIGNERS)
def test_openssl_as_the_responder(signer, options, asked, tmp_path):
    """Good, revoked, unknown to it; then it is stopped."""
    revoked, unheard = ISSUED[1:3]
    with OpenSSL(tmp_path, revoked, *options, signer=signer) as real:
        asker = OCSP(real.url, **asked)
        assert judge(asker, time.time()) == "good"
        assert judge(asker, time.time(), revoked) == Reason.CERTIFICATE_REVOKED
        assert judge(asker, time.time(), unheard) == Reason.REVOCATION_UNKNOWN
        real.stop()
        assert judge(asker, time.time()) == "good"
        assert judge(asker, time.time() + 601) == Reason.REVOCATION_UNKNOWN
        assert judge(OCSP(real.url, mode="soft"), time.time()) == "good"


AT_FAULT = {
    "a delegate that may be revoked": (bare, (), "id-pkix-ocsp-nocheck"),
    "a delegate of another authority": (delegate(OTHER), (), "not issued by the issuer itself"),
    "a delegate that has expired": (EXPIRED, (), "expired"),
    "a bad signature": ((ISSUER._certificate, ISSUER._key), ("-badsig",), "signature"),
}


@pytest.mark.parametrize(("signer", "options", "complaint"), AT_FAULT.values(), ids=AT_FAULT)
def test_openssl_at_fault(signer, options, complaint, tmp_path, caplog):
    with OpenSSL(tmp_path, ISSUED[1], "-nmin", "60", *options, signer=signer) as real:
        assert judge(OCSP(real.url), time.time()) == Reason.REVOCATION_UNKNOWN
    assert complaint in caplog.text
