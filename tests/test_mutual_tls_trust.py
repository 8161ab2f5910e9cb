"""Trust anchors: what they are given as, when files are read again, who vouches for whom (CERT-1, SPIFFE-1)."""

import asyncio
from collections import UserDict
from datetime import timedelta

import pytest

from secure_asgi import ConfigurationError, Reason
from secure_asgi._files import LOOK_EVERY
from secure_asgi.errors import CertificateError
from secure_asgi.mutual_tls.trust import TrustAnchors

from .pki import CLIENT, DAY, NOW, SERVER, authority, make

ROOT = authority("Root")
OTHER = authority("Other")
THIRD = authority("Third")
CLIENTS = {one: make("client", one) for one in (ROOT, OTHER, THIRD)}
HELLO = b"hello"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now

    def advance(self):
        self.now += LOOK_EVERY


def watched(given, **options):
    """Anchors, and the clock by which they look at their files."""
    anchors = TrustAnchors(given, **options)
    anchors._watched._clock = clock = Clock()
    return anchors, clock


def vouches(anchors, by, client=None):
    client = client or CLIENTS[by]
    try:
        path = anchors.verify(client.certificate, [], NOW)
    except CertificateError:
        return False
    return path.certificates == (client.certificate, by.certificate)


def who(anchors):
    return {one.certificate.subject.rfc4514_string()[3:] for one in CLIENTS if vouches(anchors, one)}


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "secure_asgi"]


# --- what is given -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for name, content in (
        ("root.pem", ROOT.pem),
        ("root.der", ROOT.der),
        ("both.pem", b"# two of them\n" + ROOT.pem + b"\nOther:\n" + OTHER.pem),
        ("hello.pem", HELLO),
        ("empty.pem", b""),
        ("leaf.pem", CLIENTS[ROOT].pem),
    ):
        (tmp_path / name).write_bytes(content)
    return tmp_path


GIVEN = {
    "a path": (lambda folder: folder / "root.pem", {"Root"}),
    "the text of a path": (lambda folder: str(folder / "root.pem"), {"Root"}),
    "a file in DER": (lambda folder: folder / "root.der", {"Root"}),
    "a file of two": (lambda folder: folder / "both.pem", {"Root", "Other"}),
    "PEM": (lambda folder: ROOT.pem + OTHER.pem, {"Root", "Other"}),
    "DER": (lambda folder: ROOT.der, {"Root"}),
    "a certificate": (lambda folder: ROOT.certificate, {"Root"}),
    "several of all kinds": (
        lambda folder: [folder / "root.pem", OTHER.certificate, THIRD.der],
        {"Root", "Other", "Third"},
    ),
    "an iterator": (lambda folder: iter((ROOT.pem, OTHER.pem)), {"Root", "Other"}),
    "the same twice": (lambda folder: [folder / "both.pem", ROOT.pem, ROOT.certificate], {"Root", "Other"}),
}


@pytest.mark.parametrize(("given", "names"), GIVEN.values(), ids=GIVEN)
def test_anchors_however_they_are_given(folder, given, names):
    anchors = TrustAnchors(given(folder))
    assert anchors.generation == 0
    assert who(anchors) == names
    assert anchors.generation == 1


WRONG = {
    "nothing": (None, "trust_anchors= takes the path of a file, its content as bytes, or an x509.Certificate"),
    "none of several": ([], "one or several, got []"),
    "a number among several": ([ROOT.pem, 7], "got 7"),
    "several of several": ([[ROOT.pem]], "one or several, got [b'-----BEGIN"),
    "bytes without a certificate": (HELLO, "got bytes without a readable certificate"),
    "PEM of another kind": (
        ROOT.pem.replace(b"CERTIFICATE", b"PUBLIC KEY"),
        "got bytes without a readable certificate",
    ),
    "PEM as text": (ROOT.pem.decode(), "give PEM text as bytes, .encode()"),
    "no trust domain": ({}, "trust_anchors= is an empty mapping"),
    "a trust domain that is a SPIFFE ID": ({"spiffe://example.org": ROOT.pem}, "got 'spiffe://example.org'"),
    "a trust domain that is no text": ({None: ROOT.pem}, "got None"),
    "a trust domain without authorities": ({"example.org": ()}, "got ()"),
}


@pytest.mark.parametrize(("given", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_option_says_the_fix(given, sentence):
    with pytest.raises(ConfigurationError) as caught:
        TrustAnchors(given)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("options", [{"max_depth": 9}, {"require_client_eku": None}], ids=str)
def test_other_options_are_checked_too(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        TrustAnchors(ROOT.pem, **options)


def test_options_reach_the_check():
    below = authority("Below", ROOT)
    client = make("client", below, purposes=None)
    for options, is_good in (
        ({"require_client_eku": False}, True),
        ({}, False),
        ({"require_client_eku": False, "max_depth": 0}, False),
    ):
        anchors = TrustAnchors(ROOT.pem, **options)
        try:
            anchors.verify(client.certificate, [below.certificate], NOW)
        except CertificateError:
            assert not is_good
        else:
            assert is_good


# --- files that are replaced ---------------------------------------------------------------------------------------


def test_a_replaced_file_is_read_when_a_look_is_due(folder):
    file = folder / "root.pem"
    anchors, clock = watched(file)
    assert who(anchors) == {"Root"}
    file.write_bytes(OTHER.pem)
    anchors.look()
    assert anchors.generation == 1
    clock.advance()
    anchors.look()
    assert anchors.generation == 2
    assert who(anchors) == {"Other"}


def test_the_generation_grows_with_a_change_and_not_with_a_look(folder):
    file = folder / "root.pem"
    anchors, clock = watched([file, OTHER.pem])
    anchors.look()
    for content, generation in ((ROOT.pem + b"\n", 1), (ROOT.pem + THIRD.pem, 2), (ROOT.pem, 3)):
        file.write_bytes(content)
        clock.advance()
        anchors.look()
        assert anchors.generation == generation
    clock.advance()
    assert not anchors._watched.have_changed()


BREAK = {
    "missing": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "something else": lambda file: file.write_bytes(HELLO),
    "half of it": lambda file: file.write_bytes(ROOT.pem[:200]),
    "a certificate of an unknown version": lambda file: file.write_bytes(
        ROOT.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07")
    ),
}


@pytest.mark.parametrize("break_it", BREAK.values(), ids=BREAK)
def test_a_broken_file_changes_nothing_and_is_logged_once(folder, caplog, break_it):
    file = folder / "root.pem"
    anchors, clock = watched([file, OTHER.pem])
    anchors.look()
    break_it(file)
    for _ in range(3):
        clock.advance()
        anchors.look()
    (line,) = lines(caplog)
    assert repr(str(file)) in line
    assert line.endswith("the 1 from before are kept")
    assert who(anchors) == {"Root", "Other"}
    assert anchors.generation == 1
    file.write_bytes(THIRD.pem)
    clock.advance()
    assert who(anchors) == {"Third", "Other"}
    break_it(file)
    clock.advance()
    anchors.look()
    assert len(lines(caplog)) == 2, "mended and broken again, it is news"


def test_what_no_stat_tells_is_tried_again(folder, caplog, monkeypatch):
    """Out of file descriptors, or a wrong mode: nothing about the file has changed when it can be read again."""
    file = folder / "root.pem"
    anchors, clock = watched(file)
    with monkeypatch.context() as broken:
        broken.setattr(
            "pathlib.Path.read_bytes", lambda self: (_ for _ in ()).throw(OSError(24, "Too many open files"))
        )
        assert who(anchors) == set()
    assert lines(caplog) == [
        f"trust anchors: file {str(file)!r} cannot be read: Too many open files; nobody is let in by it"
    ]
    assert who(anchors) == set()
    clock.advance()
    assert who(anchors) == {"Root"}


def test_a_broken_file_does_not_keep_another_from_being_replaced(folder):
    """An authority that is removed is removed, whatever else is wrong."""
    both, root = folder / "both.pem", folder / "root.pem"
    anchors, clock = watched([both, root])
    assert who(anchors) == {"Root", "Other"}
    root.write_bytes(HELLO)
    both.write_bytes(THIRD.pem)
    clock.advance()
    assert who(anchors) == {"Root", "Third"}


def test_nothing_was_ever_loaded(folder, caplog):
    anchors, _ = watched(folder / "missing.pem")
    for _ in range(3):
        with pytest.raises(CertificateError) as caught:
            anchors.verify(CLIENTS[ROOT].certificate, [], NOW)
        assert caught.value.reason == Reason.CERTIFICATE_UNTRUSTED
        assert caught.value.note == "no trust anchor"
    assert len(lines(caplog)) == 1
    assert anchors.generation == 0


# --- start-up ------------------------------------------------------------------------------------------------------


def start(anchors):
    asyncio.run(anchors.start())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing.pem", "cannot be read: No such file or directory"),
        ("empty.pem", "holds no readable certificate"),
        ("hello.pem", "holds no readable certificate"),
        ("leaf.pem", "trust_anchors= no certificate is one that can vouch for a client"),
    ],
)
def test_start_up_fails_without_anchors(folder, name, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        start(TrustAnchors(folder / name))
    with pytest.raises(ConfigurationError):
        start(TrustAnchors({"example.org": folder / name, "example.com": ROOT.pem}))


def test_start_up_fails_for_one_bad_file_of_several(folder):
    with pytest.raises(ConfigurationError, match=r"missing\.pem"):
        start(TrustAnchors([folder / "root.pem", folder / "missing.pem"]))


def test_a_trust_domain_without_an_authority_is_named(folder):
    with pytest.raises(ConfigurationError, match=r"no certificate of trust domain example\.org is one"):
        start(TrustAnchors({"example.org": folder / "leaf.pem"}))


def test_start_up_reads_the_files_whenever_it_is(folder):
    file = folder / "root.pem"
    anchors, _ = watched(file)
    start(anchors)
    assert anchors.generation == 1
    file.write_bytes(OTHER.pem)
    anchors.look()
    assert anchors.generation == 1, "no look is due yet"
    start(anchors)
    assert who(anchors) == {"Other"}


def test_anchors_that_vouch_for_nobody_are_logged_with_the_reason(caplog):
    old = authority("Old", not_before=NOW - 9 * DAY, not_after=NOW - timedelta(seconds=1))
    start(TrustAnchors([ROOT.pem, old.pem, CLIENTS[ROOT].pem]))
    assert lines(caplog) == [
        f"trust anchors: 'CN=Old' vouches for nobody: it expired on {old.certificate.not_valid_after_utc:%Y-%m-%d}",
        "trust anchors: 'CN=client' vouches for nobody: it is no certificate authority (basicConstraints)",
    ]


# --- trust domains -------------------------------------------------------------------------------------------------


def svid(domain, issuer):
    return make("workload", issuer, names=[f"uri:spiffe://{domain}/pay"], purposes=(SERVER, CLIENT))


def domains(**more):
    return UserDict({"example.org": ROOT.pem, "partner.example": [OTHER.certificate, THIRD.pem], **more})


def test_an_authority_vouches_for_its_own_trust_domain():
    anchors = TrustAnchors(domains())
    assert vouches(anchors, ROOT, svid("example.org", ROOT))
    for issuer in (OTHER, THIRD):
        assert vouches(anchors, issuer, svid("partner.example", issuer))


FOREIGN = {
    "another domain's authority": svid("example.org", OTHER),
    "the same the other way": svid("partner.example", ROOT),
    "an unknown domain": svid("example.com", ROOT),
    "a domain below": svid("a.example.org", ROOT),
}


@pytest.mark.parametrize("made", FOREIGN.values(), ids=FOREIGN)
def test_no_authority_vouches_for_another_trust_domain(made):
    with pytest.raises(CertificateError) as caught:
        TrustAnchors(domains()).verify(made.certificate, [], NOW)
    assert caught.value.reason == Reason.CERTIFICATE_UNTRUSTED


def test_only_an_svid_has_a_trust_domain():
    anchors = TrustAnchors(domains())
    for client in (CLIENTS[ROOT], make("a", ROOT, names=["uri:spiffe://example.org/a"])):
        with pytest.raises(CertificateError) as caught:
            anchors.verify(client.certificate, [], NOW)
        assert caught.value.reason == Reason.CERTIFICATE_NOT_SVID


def test_a_domain_whose_file_is_missing_is_an_unknown_one(folder, caplog):
    anchors, clock = watched(domains(late=folder / "late.pem"))
    assert vouches(anchors, ROOT, svid("example.org", ROOT))
    with pytest.raises(CertificateError, match="no trust anchor of late"):
        anchors.verify(svid("late", THIRD).certificate, [], NOW)
    (folder / "late.pem").write_bytes(THIRD.pem)
    clock.advance()
    assert vouches(anchors, THIRD, svid("late", THIRD))
    assert len(lines(caplog)) == 1
