"""What is decided of a certificate, how long it holds, and what makes it fall (CERT-1, CERT-4)."""

import asyncio
from datetime import UTC, date, datetime

import pytest
from cryptography.x509 import load_pem_x509_certificates

from secure_asgi import Reason
from secure_asgi._certificate_names import NameRules
from secure_asgi._pins import Pin, PinSet, spki_pin
from secure_asgi.errors import CertificateError
from secure_asgi.mutual_tls.identity import own_name
from secure_asgi.mutual_tls.path import VerifiedPath
from secure_asgi.mutual_tls.verdict import HOLDS, MAX_KNOWN, MAX_KNOWN_SIZE, Admitted, Judge, Refused
from secure_asgi.testing.certificates import CertificateAuthority

ROOT = CertificateAuthority("Test CA")
ISSUING = ROOT.subordinate()
SHOP = ISSUING.issue("dns:shop.example")
LEAF, INTERMEDIATE = load_pem_x509_certificates(SHOP.chain_pem)
(ANCHOR,) = load_pem_x509_certificates(ROOT.certificate_pem)
GIVEN = tuple(
    f"{part}-----END CERTIFICATE-----\n" for part in SHOP.chain_pem.decode().split("-----END CERTIFICATE-----\n")[:-1]
)
NOW = datetime.now(UTC).timestamp()
END = LEAF.not_valid_after_utc.timestamp()


class Clock:
    now = NOW

    def __call__(self):
        return self.now


class Anchors:
    """Trusts whatever comes with the intermediate, and counts how often it is asked."""

    def __init__(self):
        self.generation = self.looks = self.asked = 0
        self.is_started = False

    def look(self):
        self.looks += 1

    def verify(self, leaf, intermediates, at):
        self.asked += 1
        if INTERMEDIATE not in intermediates:
            raise CertificateError(Reason.CERTIFICATE_UNTRUSTED, "no path")
        return VerifiedPath((leaf, INTERMEDIATE, ANCHOR), NOW - 60, END)

    async def start(self):
        self.is_started = True


class Revoked(Anchors):
    """Answers as it is told to."""

    answer: object = NOW + 10

    def check(self, path, now):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self):
        self.is_started = False


@pytest.fixture
def clock():
    return Clock()


def judge(clock, **parts):
    given = {"anchors": None, "pins": None, "revocation": None, "rules": None, "own_name": own_name} | parts
    return Judge(**given, clock=clock)


def test_a_verdict_holds_for_a_minute(clock):
    anchors = Anchors()
    one = judge(clock, anchors=anchors)
    for later, asked in ((0, 1), (HOLDS, 1), (HOLDS + 1, 2), (HOLDS, 3), (HOLDS + 5, 3)):
        clock.now = NOW + later
        assert isinstance(one.judge(GIVEN), Admitted)
        assert anchors.asked == asked, later
    assert anchors.looks == 5


def test_it_falls_with_what_it_rests_on(clock):
    anchors, revocation = Anchors(), Revoked()
    one = judge(clock, anchors=anchors, revocation=revocation)
    one.judge(GIVEN)
    for changed in (anchors, revocation):
        changed.generation += 1
        before = anchors.asked
        one.judge(GIVEN)
        one.judge(GIVEN)
        assert anchors.asked == before + 1
    assert revocation.looks == 5


def test_it_never_holds_longer_than_the_certificate_or_the_revocation_list(clock):
    clock.now = END - 5
    assert judge(clock, anchors=Anchors()).judge(GIVEN).until == END
    revocation = Revoked()
    for now, clear, until in ((NOW, NOW + 10, NOW + 10), (END - 5, END + 10, END)):
        clock.now, revocation.answer = now, clear
        assert judge(clock, anchors=Anchors(), revocation=revocation).judge(GIVEN).until == until


def test_what_is_believed_is_told_with_its_path(clock):
    verdict = judge(clock, anchors=Anchors()).judge(GIVEN)
    assert len(verdict.peer.path) == 3
    assert verdict.peer.path[0] == verdict.peer.der
    assert verdict.principal.subject == "shop.example"
    assert judge(clock).judge(GIVEN).peer.path == ()


def test_a_certificate_of_which_somebody_else_may_know_the_name(clock):
    nameless = ROOT.issue(common_name="x").certificate_pem.decode()
    assert judge(clock).judge((nameless,)).principal is None


def test_a_resumed_session_shows_the_leaf_alone(clock):
    """The intermediates are those it was verified with before; without them there is no path."""
    one = judge(clock, anchors=Anchors())
    assert one.judge(GIVEN[:1]).reason == Reason.CERTIFICATE_UNTRUSTED
    clock.now += HOLDS + 1
    assert isinstance(one.judge(GIVEN), Admitted)
    assert isinstance(one.judge(GIVEN[:1]), Admitted)
    clock.now += HOLDS + 1
    assert isinstance(one.judge(GIVEN[:1]), Admitted), "and as often as it comes"


LAPSED = Pin(spki_pin(LEAF), until=date(2001, 1, 1))
OTHER = "sha256/" + "A" * 43 + "="
PINS = {
    "of the leaf": (spki_pin(LEAF), True),
    "of the issuer": (spki_pin(INTERMEDIATE), True),
    "of the anchor": (spki_pin(ANCHOR), True),
    "of nobody": (OTHER, False),
    "lapsed": (LAPSED, False),
}


@pytest.mark.parametrize(("pin", "is_admitted"), PINS.values(), ids=PINS)
def test_pins_are_on_keys_of_the_verified_path(clock, pin, is_admitted):
    pins = PinSet([pin], option="pins", is_single_ok=True)
    verdict = judge(clock, anchors=Anchors(), pins=pins).judge(GIVEN)
    assert isinstance(verdict, Admitted) is is_admitted
    if not is_admitted:
        assert verdict.reason == Reason.CERTIFICATE_PIN_MISMATCH
        assert spki_pin(LEAF) in verdict.note


def test_a_pin_ends_with_its_day_and_not_with_the_verdict(clock):
    midnight = (NOW // 86_400 + 1) * 86_400
    last_day = datetime.fromtimestamp(NOW, UTC).date()
    pins = PinSet([Pin(spki_pin(LEAF), until=last_day)], option="pins", is_single_ok=True)
    asked = judge(clock, pins=pins)
    clock.now = midnight - 1
    assert isinstance(asked.judge(GIVEN), Admitted)
    clock.now = midnight
    assert asked.judge(GIVEN).reason == Reason.CERTIFICATE_PIN_MISMATCH


def test_without_a_verified_path_only_the_leaf_can_be_pinned(clock):
    """Anybody can send an authority's certificate along."""
    pins = PinSet([spki_pin(INTERMEDIATE), spki_pin(ANCHOR)], option="pins", is_single_ok=False)
    assert judge(clock, pins=pins).judge(GIVEN).reason == Reason.CERTIFICATE_PIN_MISMATCH


def test_refusals_are_remembered_too(clock):
    anchors = Anchors()
    one = judge(clock, anchors=anchors)
    for _ in range(3):
        verdict = one.judge(GIVEN[:1])
    assert (verdict.reason, verdict.peer) == (Reason.CERTIFICATE_UNTRUSTED, None)
    assert verdict.note.endswith(": no path")
    assert anchors.asked == 1
    clock.now += HOLDS + 1
    one.judge(GIVEN[:1])
    assert anchors.asked == 2


UNKNOWN = CertificateError(Reason.REVOCATION_UNKNOWN, "no list")
REVOKED = CertificateError(Reason.CERTIFICATE_REVOKED, "serial 1")


@pytest.mark.parametrize(("answer", "holds"), [(UNKNOWN, 1.0), (REVOKED, 60.0)], ids=["unknown", "revoked"])
@pytest.mark.parametrize("is_awaited", [False, True], ids=["at once", "awaited"])
def test_revocation(clock, answer, holds, is_awaited):
    async def later():
        clock.now += 3
        raise answer

    revocation = Revoked()
    revocation.answer = later() if is_awaited else answer
    verdict = judge(clock, anchors=Anchors(), revocation=revocation).judge(GIVEN)
    if is_awaited:
        verdict = asyncio.run(waited(verdict))
    assert (verdict.reason, verdict.peer, verdict.until) == (answer.reason, None, clock.now + holds)


def test_the_answer_that_had_to_be_waited_for_is_remembered(clock):
    async def later():
        return NOW + 20

    revocation = Revoked()
    revocation.answer = later()
    one = judge(clock, anchors=Anchors(), revocation=revocation, rules=NameRules("dns:*.example"))
    verdict = asyncio.run(waited(one.judge(GIVEN)))
    assert (type(verdict), verdict.until) == (Admitted, NOW + 20)
    assert one.judge(GIVEN) is verdict


async def waited(verdict):
    return await verdict


def test_a_name_that_is_not_allowed_is_still_the_peers(clock):
    verdict = judge(clock, rules=NameRules("dns:other.example")).judge(GIVEN)
    assert (verdict.reason, verdict.peer.dns) == (Reason.CERTIFICATE_NOT_ALLOWED, ("shop.example",))


@pytest.mark.parametrize(
    ("late", "reason"),
    [(END + 1, Reason.CERTIFICATE_EXPIRED), (NOW - 3600, Reason.CERTIFICATE_NOT_YET_VALID)],
    ids=["expired", "not yet valid"],
)
def test_without_anchors_the_times_are_checked_all_the_same(clock, late, reason):
    clock.now = late
    assert judge(clock).judge(GIVEN).reason == reason


MALFORMED = {
    "no certificate": ("hello", "2cf24dba"),
    "half a surrogate": ("\ud800", "sha256="),
    "a number": (7, "sha256=none"),
}


@pytest.mark.parametrize(("given", "note"), MALFORMED.values(), ids=MALFORMED)
def test_what_cannot_be_read_is_named_by_its_digest_and_forgotten(clock, given, note):
    one = judge(clock)
    verdict = one.judge((given,))
    assert (verdict.reason, verdict.peer) == (Reason.CERTIFICATE_MALFORMED, None)
    assert note in verdict.note
    assert not len(one._known)
    assert isinstance(one.judge(([given],)), Refused)


def test_what_is_remembered_is_bounded(clock):
    """In number, and in size: the chain is the client's to fill."""
    one = judge(clock)
    one.judge((GIVEN[0] + "\n" * MAX_KNOWN_SIZE,))
    assert not len(one._known)
    for number in range(MAX_KNOWN + 5):
        one.judge((GIVEN[0] + "\n" * number,))
    assert 0 < len(one._known) <= MAX_KNOWN
    anchored = judge(clock, anchors=Anchors())
    big = (GIVEN[0], GIVEN[1] + "\n" * MAX_KNOWN_SIZE)
    assert isinstance(anchored.judge(big), Admitted)
    assert not len(anchored._intermediates)


def test_it_starts_and_closes_what_it_rests_on(clock):
    anchors, revocation = Anchors(), Revoked()
    one = judge(clock, anchors=anchors, revocation=revocation)
    asyncio.run(one.start())
    assert anchors.is_started
    assert revocation.is_started
    asyncio.run(one.close())
    assert not revocation.is_started
    bare = judge(clock)
    asyncio.run(bare.start())
    asyncio.run(bare.close())
