"""Revocation lists: which are believed, what they speak of, and what keeps them current (REV-5, RFC 5280 6.3)."""

import asyncio
import subprocess
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from secure_asgi import ConfigurationError, Reason
from secure_asgi.errors import CertificateError
from secure_asgi.mutual_tls import background
from secure_asgi.mutual_tls.background import Errands, Teller
from secure_asgi.mutual_tls.crl import MAX_ISSUERS, MAX_LISTS, RETRY_AFTER, CRLs, check_revocation, read_crl
from secure_asgi.mutual_tls.path import VerifiedPath
from secure_asgi.mutual_tls.revocation_list import RevocationList, read_ders
from secure_asgi.testing.certificates import CertificateAuthority

from .der import element, elements, inside
from .web import Web

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=1)
ROOT = CertificateAuthority("Root")
ISSUER = ROOT.subordinate("Issuer")
GOOD = ISSUER.issue("dns:good.example").certificate
REVOKED = ISSUER.issue("dns:revoked.example").certificate
CRL_TYPE = {"content-type": "application/pkix-crl"}


def path(leaf=GOOD, *above):
    """A path that has been verified: whose it is, nothing here looks at."""
    return VerifiedPath((leaf, *(above or (ISSUER._certificate, ROOT._certificate))), 0.0, (NOW.timestamp() + 9e6) // 1)


def make(
    *serials,
    issuer=ISSUER,
    key=None,
    name=None,
    number=1,
    key_id=None,
    extensions=(),
    entry_extensions=(),
    this_update=NOW - timedelta(minutes=5),
    next_update=LATER,
    hash_algorithm=SHA256(),  # noqa: B008
    rsa_padding=None,
):
    """A list of the issuer's; each oddity is an option. ``extensions`` are pairs of value and critical."""
    key = key or issuer._key
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name or issuer._certificate.subject)
        .last_update(this_update)
        .next_update(next_update)
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    if key_id is not None:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(key_id, None, None), critical=False)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical=critical)
    for serial in serials or (REVOKED.serial_number,):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW)
        for value, critical in entry_extensions:
            entry = entry.add_extension(value, critical=critical)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key, hash_algorithm, rsa_padding=rsa_padding)


def pem(*lists):
    return b"".join(one.public_bytes(Encoding.PEM) for one in lists)


def idp(**options):
    given = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return ((x509.IssuingDistributionPoint(**given | options), True),)


def reason_of(call, *args):
    """The reason of the refusal and its note; ``"good"`` where there is none."""
    try:
        call(*args)
    except CertificateError as refused:
        return refused.reason, refused.note
    return "good", ""


def verdict(*lists, of=None, check="leaf", at=NOW):
    return reason_of(lambda: check_revocation(of or path(), lists, at, check=check))


def edited(crl, edit, hash_algorithm=SHA256()):  # noqa: B008
    """The list with the elements of its inside edited, signed anew; the signature's algorithm is the second of them."""
    tbs, _, _ = elements(inside(crl.public_bytes(Encoding.DER)))
    fields = elements(inside(tbs))
    edit(fields)
    algorithm = next(field for field in fields if field[0] == 0x30)
    tbs = element(0x30, b"".join(fields))
    signature = element(0x03, b"\0" + ISSUER._key.sign(tbs, ec.ECDSA(hash_algorithm)))
    return x509.load_der_x509_crl(element(0x30, tbs + algorithm + signature))


def with_sha1(fields):
    fields[1] = bytes.fromhex("300906072a8648ce3d0401")


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_list_however_it_is_written():
    one = make()
    der, text = one.public_bytes(Encoding.DER), pem(one)
    for given in (
        der,
        text,
        text.decode(),
        b"Certificate Revocation List (CRL):\n" + text,
        text.replace(b"\n", b"\r\n"),
    ):
        assert read_crl(given) == one
    large = make(*range(1, 9000))
    assert read_crl(pem(large)) == large
    assert read_ders(pem(one, large), at_most=2) == [der, large.public_bytes(Encoding.DER)]


NO_LISTS = {
    "empty": b"",
    "a certificate": ISSUER.certificate_pem,
    "two": pem(make(), make()),
    "garbage in DER": b"\x30\x03\x02\x01\x01",
    "DER that breaks off": make().public_bytes(Encoding.DER)[:-1],
    "something after DER": make().public_bytes(Encoding.DER) + b"\0",
    "PEM that breaks off": pem(make())[:-30],
    "PEM that is not base64": pem(make()).replace(b"A", b"!"),
    "PEM of a broken group": pem(make()).replace(b"\n-----END", b"A\n-----END"),
    "PEM of a certificate": pem(make()).replace(b"X509 CRL", b"CERTIFICATE"),
    "HTML": b"<html>",
}


@pytest.mark.parametrize("data", NO_LISTS.values(), ids=NO_LISTS)
def test_what_is_no_list(data):
    with pytest.raises(ValueError, match=r"revocation list|base64|padding|Excess"):
        read_crl(data)


def other_issuer(key, *, signs_lists=True, has_usage=True, has_key_id=True):
    """An issuer with such a key, and a name like ours."""
    own = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(ISSUER._certificate.subject)
        .issuer_name(ROOT._certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(LATER)
    )
    if has_key_id:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    if has_usage:
        usage = ISSUER._certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        builder = builder.add_extension(
            x509.KeyUsage(
                **{name: getattr(usage, name) for name in names},
                key_cert_sign=True,
                crl_sign=signs_lists,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    return SimpleNamespace(_certificate=builder.sign(own, SHA256()), _key=key)


RSA_KEY = rsa.generate_private_key(65537, 2048)
OUR_KEY_ID = x509.SubjectKeyIdentifier.from_public_key(ISSUER._key.public_key()).digest
PSS = padding.PSS(padding.MGF1(SHA256()), 32)
KEYS = {
    "RSA": (RSA_KEY, rsa.generate_private_key(65537, 2048), SHA256(), None),
    "RSA-PSS": (RSA_KEY, rsa.generate_private_key(65537, 2048), SHA256(), PSS),
    "P-521": (ec.generate_private_key(ec.SECP521R1()), ISSUER._key, SHA512(), None),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate(), None, None),
    "Ed448": (ed448.Ed448PrivateKey.generate(), ed448.Ed448PrivateKey.generate(), None, None),
}


@pytest.mark.parametrize(("key", "another", "hash_algorithm", "rsa_padding"), KEYS.values(), ids=KEYS)
def test_keys_of_all_kinds(key, another, hash_algorithm, rsa_padding):
    """The list of another key of the same kind is nobody's."""
    issuer = other_issuer(key)
    made = make(issuer=issuer, hash_algorithm=hash_algorithm, rsa_padding=rsa_padding)
    assert verdict(made, of=path(GOOD, issuer._certificate))[0] == "good"
    assert verdict(made, of=path(REVOKED, issuer._certificate))[0] == Reason.CERTIFICATE_REVOKED
    assert "signature" in verdict(made, of=path(GOOD, other_issuer(another)._certificate))[1]


def test_a_key_of_a_kind_that_signs_no_lists_here():
    issuer = other_issuer(dsa.generate_private_key(1024))
    made = make(issuer=issuer, hash_algorithm=SHA256())
    assert "signature" in verdict(made, of=path(GOOD, issuer._certificate))[1]


# --- which lists are believed ----------------------------------------------------------------------------------------

CDP = "http://crl.example/7.crl"
HERE = [x509.UniformResourceIdentifier(CDP)]
REASON = x509.CRLReason(x509.ReasonFlags.key_compromise)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")

BELIEVED = {
    "an ordinary one": make(),
    "with the key's identifier": make(key_id=OUR_KEY_ID),
    "for users only, and it is one": make(extensions=idp(only_contains_user_certs=True)),
    "with reason and date of compromise": make(entry_extensions=((REASON, False), (x509.InvalidityDate(NOW), False))),
    "with a critical reason": make(entry_extensions=((REASON, True),)),
    "with something unknown that is not critical": make(
        extensions=((UNKNOWN, False),), entry_extensions=((UNKNOWN, False),)
    ),
    "of a clock ahead by seconds": make(this_update=NOW + timedelta(seconds=50)),
}


@pytest.mark.parametrize("made", BELIEVED.values(), ids=BELIEVED)
def test_a_list_that_is_believed(made):
    assert verdict(made) == ("good", "")
    assert verdict(made, of=path(REVOKED))[0] == Reason.CERTIFICATE_REVOKED


REMOVED = x509.CRLReason(x509.ReasonFlags.remove_from_crl)
OTHER_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Other")])
V1 = make(number=None)
UNREADABLE = x509.UnrecognizedExtension(x509.IssuingDistributionPoint.oid, bytes.fromhex("3006a004a002a300"))
NO_NUMBER = x509.UnrecognizedExtension(x509.CRLNumber.oid, b"\x05\x00")

NOT_BELIEVED = {
    "there is none": ((), "no revocation list of CN=Issuer"),
    "of another issuer": ((make(issuer=ROOT),), "no revocation list of CN=Issuer"),
    "in the issuer's name, forged": ((make(key=ROOT._key),), "whose signature is not the issuer's"),
    "of another key of that name": ((make(key_id=b"other"),), "of another key"),
    "without a number": ((make(number=None),), "without a number"),
    "with a critical number": (
        (make(number=None, extensions=((x509.CRLNumber(1), True),)),),
        f"critical extension {x509.CRLNumber.oid.dotted_string}",
    ),
    "without nextUpdate": ((edited(make(), lambda fields: fields.pop(4)),), "without nextUpdate"),
    "run out": ((make(next_update=NOW - timedelta(seconds=1), this_update=NOW - timedelta(days=1)),), "not in force"),
    "from the future": ((make(this_update=NOW + timedelta(seconds=90)),), "from the future"),
    "delta": ((make(extensions=((x509.DeltaCRLIndicator(1), True),)),), "delta"),
    "with something critical": ((make(extensions=((UNKNOWN, True),)),), "critical extension 1.2.3.4"),
    "indirect": ((make(extensions=idp(indirect_crl=True)),), "indirect"),
    "for some reasons": (
        (make(extensions=idp(only_some_reasons=frozenset([x509.ReasonFlags.key_compromise]))),),
        "some reasons",
    ),
    "of attribute certificates": ((make(extensions=idp(only_contains_attribute_certs=True)),), "attribute"),
    "with a relative name": (
        (make(extensions=idp(relative_name=x509.RelativeDistinguishedName(list(OTHER_NAME)))),),
        "relative",
    ),
    "for authorities only": ((make(extensions=idp(only_contains_ca_certs=True)),), "for this certificate"),
    "of another place": ((make(extensions=idp(full_name=HERE)),), "for this certificate"),
    "an entry of another issuer": (
        (make(entry_extensions=((x509.CertificateIssuer([x509.DirectoryName(OTHER_NAME)]), True),)),),
        "indirect",
    ),
    "an entry taken back": ((make(entry_extensions=((REMOVED, False),)),), "takes entries back"),
    "an entry with something critical": ((make(entry_extensions=((UNKNOWN, True),)),), "critical entry extension"),
    "of version 1": ((edited(V1, lambda fields: fields.pop(0)),), "without a number"),
    "hashed with SHA-1": ((edited(make(), with_sha1, SHA1()),), "signed with sha1"),
    "with extensions that cannot be read": ((make(extensions=((UNREADABLE, False),)),), "UnsupportedGeneralNameType"),
    "with a number that is none": ((make(number=None, extensions=((NO_NUMBER, False),)),), ""),
}


@pytest.mark.parametrize(("lists", "note"), NOT_BELIEVED.values(), ids=NOT_BELIEVED)
def test_a_list_that_is_not_believed(lists, note):
    """REV-5: it counts as absent, for good certificates and for bad ones; it displaces no good one."""
    reason, why = verdict(*lists)
    assert reason == Reason.REVOCATION_UNKNOWN
    assert note in why
    assert verdict(*lists, make())[0] == "good"
    assert verdict(make(), *lists)[0] == "good"


def test_the_issuers_certificate_must_let_it_sign_lists():
    """cRLSign, where the certificate has a key usage at all; and a key without an identifier is any key."""
    key = ISSUER._key
    made = make(key_id=OUR_KEY_ID)
    assert "cRLSign" in verdict(made, of=path(GOOD, other_issuer(key, signs_lists=False)._certificate))[1]
    assert verdict(made, of=path(GOOD, other_issuer(key, has_usage=False, has_key_id=False)._certificate))[0] == "good"


def test_certificates_that_cannot_be_read():
    """Nothing but a CertificateError escapes, whatever an authority has put into them."""
    broken = (
        x509.CertificateBuilder()
        .subject_name(ISSUER._certificate.subject)
        .issuer_name(OTHER_NAME)
        .public_key(ISSUER._key.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(LATER)
        .add_extension(x509.UnrecognizedExtension(x509.CRLDistributionPoints.oid, b"\x05\x00"), critical=False)
        .sign(ISSUER._key, SHA256())
    )
    assert verdict(make(), of=path(GOOD, broken))[0] == Reason.CERTIFICATE_MALFORMED
    assert verdict(make(extensions=idp(full_name=HERE)), of=path(broken))[0] == Reason.CERTIFICATE_MALFORMED


def leaf_with(*points):
    """A leaf that says where its list is."""
    return (
        x509.CertificateBuilder()
        .subject_name(OTHER_NAME)
        .issuer_name(ISSUER._certificate.subject)
        .public_key(ISSUER._key.public_key())
        .serial_number(REVOKED.serial_number)
        .not_valid_before(NOW)
        .not_valid_after(LATER)
        .add_extension(x509.CRLDistributionPoints(points), critical=False)
        .sign(ISSUER._key, SHA256())
    )


def point(full_name=None, relative_name=None, crl_issuer=None):
    return x509.DistributionPoint(full_name, relative_name, None, crl_issuer)


ELSEWHERE = [x509.UniformResourceIdentifier("http://crl.example/8.crl")]
POINTS = {
    "here": ([point(HERE)], Reason.CERTIFICATE_REVOKED),
    "elsewhere and here": ([point(ELSEWHERE), point([*ELSEWHERE, *HERE])], Reason.CERTIFICATE_REVOKED),
    "elsewhere": ([point(ELSEWHERE)], Reason.REVOCATION_UNKNOWN),
    "by a relative name": (
        [point(relative_name=x509.RelativeDistinguishedName(list(OTHER_NAME)))],
        Reason.REVOCATION_UNKNOWN,
    ),
    "by another issuer": ([point(HERE, crl_issuer=[x509.DirectoryName(OTHER_NAME)])], Reason.REVOCATION_UNKNOWN),
}


@pytest.mark.parametrize(("points", "reason"), POINTS.values(), ids=POINTS)
def test_a_list_of_one_place_speaks_of_the_certificates_that_name_it(points, reason):
    """RFC 5280 section 6.3.3 (b) (2) (i)."""
    assert verdict(make(extensions=idp(full_name=HERE)), of=path(leaf_with(*points)))[0] == reason


USERS = make(extensions=idp(only_contains_user_certs=True))
INTERMEDIATE = ISSUER._certificate
ROOTS = make(issuer=ROOT)
ROOTS_REVOKED = make(INTERMEDIATE.serial_number, issuer=ROOT)
DECISIONS = {
    "the leaf alone is asked for": ([make()], "leaf", "good"),
    "every certificate but the anchor": ([make(), ROOTS], "path", "good"),
    "no list of the root": ([make()], "path", Reason.REVOCATION_UNKNOWN),
    "no list of the intermediate": ([ROOTS], "path", Reason.REVOCATION_UNKNOWN),
    "a revoked intermediate": ([make(), ROOTS_REVOKED], "path", Reason.CERTIFICATE_REVOKED),
    "a revoked intermediate that is not asked for": ([make(), ROOTS_REVOKED], "leaf", "good"),
    "lists by kind": (
        [USERS, make(issuer=ROOT, extensions=idp(only_contains_ca_certs=True))],
        "path",
        "good",
    ),
    "a list of users does not speak of authorities": (
        [make(), make(issuer=ROOT, extensions=idp(only_contains_user_certs=True))],
        "path",
        Reason.REVOCATION_UNKNOWN,
    ),
    "revoked on one of two lists": ([USERS, make(GOOD.serial_number)], "leaf", Reason.CERTIFICATE_REVOKED),
    "revoked on a list that has run out": (
        [make(GOOD.serial_number, this_update=NOW - timedelta(days=2), next_update=NOW - timedelta(days=1))],
        "leaf",
        Reason.CERTIFICATE_REVOKED,
    ),
    "revoked no longer: on the older list": ([make(GOOD.serial_number), make(number=2)], "leaf", "good"),
    "revoked since: on the newer list": (
        [make(number=1), make(GOOD.serial_number, number=2), make(number=1)],
        "leaf",
        Reason.CERTIFICATE_REVOKED,
    ),
    "the same number, made later": (
        [make(), make(GOOD.serial_number, this_update=NOW - timedelta(minutes=1))],
        "leaf",
        Reason.CERTIFICATE_REVOKED,
    ),
}


@pytest.mark.parametrize(("lists", "check", "reason"), DECISIONS.values(), ids=DECISIONS)
def test_which_certificates_and_which_lists(lists, check, reason, tmp_path):
    """CERT-1; what the pure function says of lists, ``CRLs`` says of files that hold them."""
    assert verdict(*lists, check=check)[0] == reason
    assert reason_of(judge, Lists(write(tmp_path / "ca.crl", *lists), check=check))[0] == reason


def test_a_trust_anchor_is_not_asked_for():
    assert check_revocation(VerifiedPath((GOOD,), 0, 5), (), NOW) == 5


def test_until_when_it_holds():
    """Never past the end of the path, nor past nextUpdate of any list that was needed."""
    soon = make(issuer=ROOT, next_update=NOW + timedelta(hours=1))
    assert check_revocation(path(), [make(), soon], NOW) == int((NOW + timedelta(hours=1)).timestamp())
    assert check_revocation(path(), [make(), soon], NOW, check="leaf") == int(LATER.timestamp())
    brief = VerifiedPath(path().certificates, 0, NOW.timestamp() + 1)
    assert check_revocation(brief, [make()], NOW, check="leaf") == brief.not_after


# --- from files ------------------------------------------------------------------------------------------------------


class Lists(CRLs):
    """With a hand on the clocks: each look is due, and what is started can be waited for."""

    def look(self):
        for source in self._sources:
            if hasattr(source, "_files"):
                source._files._next_look = 0.0
        super().look()
        settle(self._errands)


def settle(errands):
    deadline = time.monotonic() + 5
    while errands._under_way:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def judge(crls, of=None, now=None):
    """The verdict, waited for where it must be."""
    answer = crls.check(of or path(), now or NOW.timestamp())
    if isinstance(answer, float | int):
        return answer

    async def wait():
        return await answer

    return asyncio.run(wait())


def write(file, *lists):
    file.write_bytes(pem(*lists))
    return file


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "ca.crl", make())


def leaf_lists(*sources, **options):
    return Lists(*sources, **{"check": "leaf", **options})


def told(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_replaced_file(file):
    crls = leaf_lists(file)
    assert judge(crls) == int(LATER.timestamp())
    assert judge(crls, path(GOOD)) == crls.check(path(GOOD), NOW.timestamp())
    generation = crls.generation
    crls.look()
    assert crls.generation == generation
    write(file, make(GOOD.serial_number, number=2))
    crls.look()
    assert crls.generation > generation
    assert reason_of(judge, crls)[0] == Reason.CERTIFICATE_REVOKED


async def test_who_asks_after_a_file_was_replaced_waits_for_it(file):
    """However long nobody came: the list before lets nobody in once more, not even for one request."""
    crls = CRLs(file, check="leaf")
    await crls.start()
    (source,) = crls._sources
    crls.look()
    assert crls.check(path(), NOW.timestamp()) == int(LATER.timestamp()), "read at the start, and not again"
    write(file, make(GOOD.serial_number, number=2))
    source._files._next_look = 0.0
    generation = crls.generation
    crls.look()
    assert crls.generation > generation, "no verdict from before counts"
    with pytest.raises(CertificateError, match="certificate_revoked"):
        await crls.check(path(), NOW.timestamp())
    assert crls.check(path(REVOKED), NOW.timestamp()) == int(LATER.timestamp())


def test_a_file_replaced_while_it_is_read(file):
    """What a look has found meanwhile is not forgotten when the reading ends."""
    crls = leaf_lists(file)
    (source,) = crls._sources
    read = source.read

    def read_and_replace():
        source.read = read
        data = read()
        write(file, make(GOOD.serial_number, number=2))
        source._files._next_look = 0.0
        assert source.is_due()
        return data

    source.read = read_and_replace
    judge(crls)
    assert source.is_due()
    assert reason_of(judge, crls)[0] == Reason.CERTIFICATE_REVOKED


SPOILT = {
    "gone": None,
    "empty": b"",
    "half written": pem(make(number=2))[:200],
    "too large": b"0" * 20_000,
    "forged": pem(make(GOOD.serial_number, number=2, key=ROOT._key)),
    "of another issuer": pem(make(issuer=ROOT)),
    "older": pem(make(GOOD.serial_number, number=4)),
    "from the future": pem(make(GOOD.serial_number, number=6, this_update=NOW + timedelta(hours=1))),
    "a good list and one that cannot be used": pem(
        make(GOOD.serial_number, number=6), make(number=7, extensions=((UNKNOWN, True),))
    ),
    "more lists than anybody needs": pem(*[make(number=6)] * (MAX_LISTS + 1)),
}


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
def test_what_cannot_be_used_displaces_nothing(spoilt, file, caplog):
    """The list in force stays until its nextUpdate; the log says so once; then nobody passes, or everybody but the
    revoked with ``mode="soft"``.
    """
    write(file, make(number=5))
    hard, soft = leaf_lists(file, max_bytes=15_000), leaf_lists(file, mode="soft", max_bytes=15_000)
    after = LATER.timestamp() + 1
    for crls in (hard, soft):
        judge(crls)
    if spoilt is None:
        file.unlink()
    else:
        file.write_bytes(spoilt)
    for crls in (hard, soft):
        caplog.clear()
        for _ in range(2):
            crls.look()
            crls._sources[0]._due = 0.0  # as after a minute
            crls.look()
        assert judge(crls) == int(LATER.timestamp())
        assert reason_of(judge, crls, path(REVOKED))[0] == Reason.CERTIFICATE_REVOKED
        spoken = [line for line in told(caplog) if "not used" in line]
        assert len(spoken) == (0 if spoilt == SPOILT["of another issuer"] else 1)
    assert reason_of(judge, hard, path(), after)[0] == Reason.REVOCATION_UNKNOWN
    assert judge(soft, path(), after) == after + 60
    assert reason_of(judge, soft, path(REVOKED), after)[0] == Reason.CERTIFICATE_REVOKED


def test_it_recovers(file):
    """A source that could not be used is tried again, whether the file looks different or not."""
    crls = leaf_lists(file)
    judge(crls)
    file.write_bytes(b"")
    crls.look()
    (source,) = crls._sources
    assert source._due - time.monotonic() == pytest.approx(RETRY_AFTER, abs=1)
    write(file, make(GOOD.serial_number, number=2))
    source._files.have_changed()
    source._due = 0.0
    crls.look()
    assert reason_of(judge, crls)[0] == Reason.CERTIFICATE_REVOKED


def test_the_log_says_what_is_missing(caplog):
    """Once an hour: what every request is refused for is not worth a line each. The client is told nothing of it."""
    crls = Lists("/nowhere/ca.crl")
    for _ in range(3):
        assert reason_of(judge, crls)[0] == Reason.REVOCATION_UNKNOWN
    (unread, missing) = told(caplog)
    assert "/nowhere/ca.crl" in unread
    assert "no revocation list of CN=Issuer" in missing
    assert "/nowhere/ca.crl: cannot be read: No such file or directory" in missing


def test_one_name_and_two_keys(tmp_path):
    """An authority that has changed its key has two lists for a while; each speaks for its own certificates."""
    renewed = other_issuer(ec.generate_private_key(ec.SECP256R1()))
    crls = leaf_lists(write(tmp_path / "ca.crl", make(), make(GOOD.serial_number, issuer=renewed, number=9)))
    assert judge(crls) == int(LATER.timestamp())
    assert reason_of(judge, crls, path(GOOD, renewed._certificate))[0] == Reason.CERTIFICATE_REVOKED


def test_issuers_remembered_are_bounded(file):
    crls = leaf_lists(file)
    judge(crls)
    crls._best.update(dict.fromkeys(range(MAX_ISSUERS)))
    crls._best.pop(ISSUER._certificate)
    judge(crls)
    assert set(crls._best) == {ISSUER._certificate}


def test_verdicts_on_signatures_are_bounded():
    one = RevocationList(make())
    one._flaws.update(dict.fromkeys(range(64), ""))
    assert one.flaw(ISSUER._certificate) == ""
    assert len(one._flaws) == 1


# --- start-up, first use, event loops --------------------------------------------------------------------------------


async def test_start_up(file):
    """On asyncio and on trio."""
    crls = leaf_lists(str(file))
    await crls.start()
    assert crls.check(path(), NOW.timestamp()) == int(LATER.timestamp())
    await crls.start()
    await crls.close()


@pytest.mark.parametrize("content", [None, b"", b"0" * 200], ids=["missing", "empty", "too large"])
@pytest.mark.parametrize("mode", ["hard", "soft"])
async def test_a_file_that_cannot_be_used_stops_the_start(content, mode, tmp_path):
    file = tmp_path / "ca.crl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"ca\.crl"):
        await leaf_lists(file, mode=mode, max_bytes=100).start()


async def test_first_use_without_a_start(file):
    """One reading for all who wait, on asyncio and on trio; who goes away stops nobody."""
    crls = leaf_lists(file)
    (source,) = crls._sources
    began, go_on, reads = threading.Event(), threading.Event(), []

    def slow(read=source.read):
        reads.append(1)
        began.set()
        go_on.wait(5)
        return read()

    source.read = slow
    verdicts = []

    async def ask():
        verdicts.append(await crls.check(path(), NOW.timestamp()))

    async with anyio.create_task_group() as requests:
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(ask)
            await anyio.to_thread.run_sync(began.wait, 5)
            leaving.cancel_scope.cancel()
        for _ in range(50):
            requests.start_soon(ask)
        await anyio.sleep(0.01)
        go_on.set()
    assert verdicts == [int(LATER.timestamp())] * 50
    assert len(reads) == 1


async def test_nobody_waits_for_ever(file):
    """And a later request finds what was read after all."""
    crls = leaf_lists(file, timeout=0.02)
    (source,) = crls._sources
    go_on, read = threading.Event(), source.read
    source.read = lambda: go_on.wait(5) and read()
    with pytest.raises(CertificateError, match="revocation_unknown"):
        await crls.check(path(), NOW.timestamp())
    go_on.set()
    settle(crls._errands)
    assert crls.check(path(), NOW.timestamp()) == int(LATER.timestamp())


def test_another_event_loop_and_a_forked_process(file):
    """Nothing belongs to a loop; and in a child, where no thread of the parent's is, work begins anew."""
    crls = leaf_lists(file)
    asyncio.run(crls.start())
    asyncio.run(crls.start())
    errands = crls._errands
    errands._lock.acquire()
    errands._under_way[crls._sources[0]] = background.Errand(lambda: None)
    errands._pid = -1
    write(file, make(GOOD.serial_number, number=2))
    crls.look()
    assert reason_of(judge, crls)[0] == Reason.CERTIFICATE_REVOKED


def test_a_loop_that_is_closed_while_the_work_goes_on():
    errands, go_on, landed = Errands(1), threading.Event(), []

    async def leave():
        errand = errands.send("a", lambda: go_on.wait(5))
        await errand.landed(0.001)

    async def wait():
        await errands.send("a", lambda: None).landed(5)
        landed.append(True)

    asyncio.run(leave())
    threading.Timer(0.02, go_on.set).start()
    asyncio.run(wait())
    assert landed


def test_work_that_is_over_is_not_waited_for():
    errand = background.Errand(lambda: None)
    errand.land()
    asyncio.run(errand.landed(5))


def test_as_many_threads_as_there_may_be(monkeypatch):
    """Then errands wait for one; and without any, or with too many waiting, none is taken."""
    errands, go_on, most, running = Errands(2), threading.Event(), [], []

    def work():
        running.append(1)
        most.append(len(running))
        go_on.wait(5)
        running.pop()

    assert all(errands.send(number, work) for number in range(5))
    monkeypatch.setattr(background, "MAX_WAITING", 5)
    assert errands.send("one more", work) is None
    while len(running) < 2:
        time.sleep(0.001)
    go_on.set()
    settle(errands)
    assert len(most) == 5
    assert max(most) == 2

    def no_thread(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    assert errands.send("none to be had", work) is None
    settle(errands)


def test_without_a_new_thread_the_one_there_is_does_it(monkeypatch):
    errands, go_on, done = Errands(2), threading.Event(), []
    errands.send("first", lambda: go_on.wait(5))

    def no_thread(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    assert errands.send("second", lambda: done.append(1))
    go_on.set()
    settle(errands)
    assert done


def test_an_error_of_ours_is_logged_and_the_thread_goes_on(caplog):
    errands = Errands(1)
    errands.send("a", lambda: 1 / 0)
    errands.send("b", lambda: None)
    settle(errands)
    assert "an error in secure_asgi" in caplog.text


def test_no_thread_for_the_first_load_is_no_verdict(file, monkeypatch):
    crls = leaf_lists(file)
    crls._errands.send = lambda *args: None
    assert reason_of(judge, crls)[0] == Reason.REVOCATION_UNKNOWN


def test_a_line_is_repeated_after_an_hour_or_when_it_is_news(caplog):
    now = 0.0
    teller = Teller(lambda: now)
    teller.warn("a")
    now = 3599.0
    teller.warn("a")
    assert told(caplog) == ["a"]
    now = 3601.0
    teller.warn("a")
    teller.forget()
    teller.warn("a")
    assert told(caplog) == ["a"] * 3
    teller.warn("one\nline")
    assert told(caplog)[-1] == r"'one\nline'"
    for number in range(2 * background.MAX_TOLD):
        teller.warn(str(number))
    assert len(teller._told) <= background.MAX_TOLD


# --- from URLs -------------------------------------------------------------------------------------------------------


@pytest.fixture
def web():
    with Web() as web:
        web.answers["/ca.crl"] = (200, CRL_TYPE, make().public_bytes(Encoding.DER))
        yield web


def passes(crls, seconds):
    """So much later, by the clock of the sources."""
    for source in crls._sources:
        then = source._clock() + seconds
        source._clock = lambda then=then: then


def test_a_list_of_a_url(web):
    crls = leaf_lists(f"{web.url}/ca.crl", refresh=100)
    assert judge(crls) == int(LATER.timestamp())
    web.answers["/ca.crl"] = (200, CRL_TYPE, pem(make(GOOD.serial_number, number=2)))
    crls.look()
    assert web.asked["/ca.crl"] == 1
    passes(crls, 111)
    crls.look()
    assert web.asked["/ca.crl"] == 2
    assert reason_of(judge, crls)[0] == Reason.CERTIFICATE_REVOKED


def test_several_sources(web, tmp_path):
    """Each authority's list from wherever it is."""
    web.answers["/root.crl"] = (200, CRL_TYPE, pem(make(issuer=ROOT)))
    other = write(tmp_path / "other.crl", make(issuer=CertificateAuthority("Other")))
    crls = Lists(f"{web.url}/ca.crl", f"{web.url}/root.crl", other)
    assert judge(crls) == int(LATER.timestamp())
    web.answers["/root.crl"] = (200, CRL_TYPE, pem(make(INTERMEDIATE.serial_number, issuer=ROOT, number=2)))
    passes(crls, 4000)
    crls.look()
    assert reason_of(judge, crls)[0] == Reason.CERTIFICATE_REVOKED


async def test_a_url_on_asyncio_and_trio(web):
    crls = leaf_lists(f"{web.url}/ca.crl")
    await crls.start()
    assert crls.check(path(), NOW.timestamp()) == int(LATER.timestamp())


FAULTS = {
    "not there": (404, CRL_TYPE, b""),
    "redirects": (302, {"location": "/other"}, b""),
    "HTML": (200, {"content-type": "text/html"}, b"<html>"),
    "HTML that says it is a list": (200, CRL_TYPE, b"<html>"),
    "compressed": (200, {**CRL_TYPE, "content-encoding": "gzip"}, b"\x1f\x8b"),
    "too large": (200, CRL_TYPE, b"0" * 20_000),
    "forged": (200, CRL_TYPE, make(GOOD.serial_number, number=2, key=ROOT._key).public_bytes(Encoding.DER)),
    "older": (200, CRL_TYPE, make(GOOD.serial_number, number=0).public_bytes(Encoding.DER)),
    "two lists": (200, CRL_TYPE, pem(make(GOOD.serial_number, number=2), make(number=3))),
    "drips": "drips",
    "hangs": "hangs",
    "down": None,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_server_at_fault(fault, web):
    """The list in force stays, although no request has asked for it yet; a first one is not invented."""
    url = "/ca.crl?key=1"
    web.answers[url] = web.answers["/ca.crl"]
    timeout = 0.3 if isinstance(fault, str) else 30  # a busy machine must not make a fault of a slow turn
    crls = leaf_lists(web.url + url, refresh=100, timeout=timeout, max_bytes=15_000)
    asyncio.run(crls.start())
    if fault is None:
        web.stop()
    web.answers[url] = getattr(web, fault) if isinstance(fault, str) else fault
    passes(crls, 111)
    crls.look()
    assert judge(crls) == int(LATER.timestamp())
    assert reason_of(judge, crls, path(REVOKED))[0] == Reason.CERTIFICATE_REVOKED
    late = leaf_lists(web.url + url, timeout=timeout, max_bytes=15_000)
    asyncio.run(late.start())
    expected = Reason.CERTIFICATE_REVOKED if fault == FAULTS["older"] else Reason.REVOCATION_UNKNOWN
    assert reason_of(judge, late)[0] == expected
    assert not web.asked["/other"]


def test_what_is_kept_unasked_is_bounded(web):
    crls = leaf_lists(f"{web.url}/ca.crl")
    for number in range(10):
        web.answers["/ca.crl"] = (200, CRL_TYPE, pem(make(number=number)))
        passes(crls, 4000)
        crls.look()
    (source,) = crls._sources
    assert [one.order[0] for one in source.lists] == [5, 6, 7, 8, 9]
    judge(crls)
    web.answers["/ca.crl"] = (200, CRL_TYPE, pem(make(number=10)))
    passes(crls, 4000)
    crls.look()
    assert [one.order[0] for one in source.lists] == [10]


def test_a_server_that_comes_back(web):
    """Tried again after a minute, not after the whole of ``refresh=``."""
    answer = web.answers.pop("/ca.crl")
    crls = leaf_lists(f"{web.url}/ca.crl")
    assert reason_of(judge, crls)[0] == Reason.REVOCATION_UNKNOWN
    web.answers["/ca.crl"] = answer
    passes(crls, RETRY_AFTER - 1)
    crls.look()
    assert web.asked["/ca.crl"] == 1
    passes(crls, 2)
    crls.look()
    assert judge(crls) == int(LATER.timestamp())


@pytest.mark.parametrize(
    ("left", "least", "most"),
    [(86_400, 3240, 3960), (3600, 1799, 1800), (30, 60, 60), (-10, 60, 60)],
    ids=["a day", "an hour", "half a minute", "run out"],
)
def test_when_a_url_is_asked_again(left, least, most, web):
    """Every ``refresh`` seconds, give or take; ever more often when the list is about to run out."""
    due = NOW + timedelta(seconds=left)
    made = make(this_update=NOW - timedelta(days=1), next_update=due)
    web.answers["/ca.crl"] = (200, CRL_TYPE, made.public_bytes(Encoding.DER))
    crls = leaf_lists(f"{web.url}/ca.crl")
    (source,) = crls._sources
    source._now = lambda: NOW.timestamp()
    crls.look()
    assert least - 1 <= source.pause() <= most + 1e-6
    assert source._due - time.monotonic() <= most


def test_the_key_to_a_bucket_stays_out_of_the_log(web, caplog):
    reason_of(judge, leaf_lists(f"{web.url}/none.crl?sig=secret"))
    with pytest.raises(ConfigurationError) as error:
        CRLs("http://me:secret@[::1/?sig=secret")
    assert "secret" not in " ".join((*told(caplog), str(error.value)))


# --- options ---------------------------------------------------------------------------------------------------------

WRONG = {
    "no source": ((), {}, "takes the files or URLs"),
    "not a path": ((5,), {}, "got 5"),
    "an empty path": (("",), {}, "got ''"),
    "another scheme": (("ldap://crl.example/",), {}, "http or https"),
    "a password": (("http://me:secret@crl.example/",), {}, "user name"),
    "mode": (("ca.crl",), {"mode": "off"}, "mode="),
    "check": (("ca.crl",), {"check": "all"}, "check="),
    "refresh": (("ca.crl",), {"refresh": 0}, "refresh="),
    "timeout": (("ca.crl",), {"timeout": float("inf")}, "timeout="),
    "max_bytes": (("ca.crl",), {"max_bytes": True}, "max_bytes="),
}


@pytest.mark.parametrize(("sources", "options", "complaint"), WRONG.values(), ids=WRONG)
def test_options_that_are_wrong(sources, options, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        CRLs(*sources, **options)


def test_made_by_openssl(tmp_path):
    """A list as ``openssl ca -gencrl`` writes it, with its own idea of a CRL."""
    issued = ISSUER.issue("dns:a.example")
    (tmp_path / "ca.pem").write_bytes(ISSUER.certificate_pem)
    issued.write(tmp_path / "leaf.pem", tmp_path / "leaf.key")
    key = ISSUER._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "ca.key").write_bytes(key)
    (tmp_path / "index.txt").touch()
    (tmp_path / "number").write_text("1000")
    (tmp_path / "ca.cnf").write_text(OPENSSL_CNF)
    for arguments in (("-revoke", "leaf.pem", "-crl_reason", "keyCompromise"), ("-gencrl", "-out", "ca.crl")):
        subprocess.run(
            ["openssl", "ca", "-config", "ca.cnf", *arguments], cwd=tmp_path, check=True, capture_output=True
        )
    crls = leaf_lists(tmp_path / "ca.crl")
    assert judge(crls) > NOW.timestamp()
    assert reason_of(judge, crls, path(issued.certificate))[0] == Reason.CERTIFICATE_REVOKED


OPENSSL_CNF = textwrap.dedent(
    """
    [ca]
    default_ca = here
    [here]
    database = index.txt
    crlnumber = number
    certificate = ca.pem
    private_key = ca.key
    default_md = sha256
    default_crl_days = 1
    crl_extensions = extensions
    [extensions]
    authorityKeyIdentifier = keyid:always
    """
)


def test_a_list_of_a_hundred_thousand_leaves_the_loop_alone(tmp_path):
    """Generous, because the machine may be busy; what it is on an idle one is in the reference page."""
    file = write(tmp_path / "ca.crl", make(*range(1, 20_001)))
    crls = leaf_lists(file)

    async def run():
        started = asyncio.ensure_future(crls.start())
        worst = 0.0
        while not started.done():
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - began)
        return worst

    assert asyncio.run(run()) < 0.1
    assert reason_of(judge, crls, path(SimpleNamespace(serial_number=20_000)))[0] == Reason.CERTIFICATE_REVOKED
