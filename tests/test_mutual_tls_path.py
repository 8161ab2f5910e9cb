"""Which client certificates have a path to a trust anchor, and why the others have none (RFC 5280 section 6)."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_asgi import ConfigurationError, Reason
from secure_asgi.errors import CertificateError
from secure_asgi.mutual_tls.parts import raw_names
from secure_asgi.mutual_tls.path import (
    CLOCK_LEEWAY,
    DEPTHS,
    MAX_DEPTH,
    MAX_NAME_CHECKS,
    MAX_TRIES,
    AnchorSet,
    named,
    verify_path,
    why_no_anchor,
)
from secure_asgi.mutual_tls.verification import verify_certificate

from .pki import (
    ANY,
    CLIENT,
    DAY,
    NOW,
    SERVER,
    authority,
    exclude,
    make,
    new_key,
    permit,
    rsa_of,
    with_broken_signature,
    with_digest,
)
from .pki import named as named_as

ROOT = authority("Root")
ISSUING = authority("Issuing", ROOT)
OTHER = authority("Other root")
RSA = authority("RSA", key=new_key("rsa-2048"))
STRANGER = authority("Root", key=new_key("a stranger's"))
UNKNOWN = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")


def certificate(made):
    return getattr(made, "certificate", made)


def check(leaf, *intermediates, anchors=(ROOT,), at=NOW, max_depth=MAX_DEPTH, require_client_eku=True):
    return verify_path(
        certificate(leaf),
        [certificate(one) for one in intermediates],
        AnchorSet(certificate(one) for one in anchors),
        at,
        max_depth=max_depth,
        require_client_eku=require_client_eku,
    )


def refused(*path, **options):
    with pytest.raises(CertificateError) as caught:
        check(*path, **options)
    return caught.value


def leaf(issuer=ROOT, **options):
    return make("client", issuer, **options)


@lru_cache
def tower(height, **options):
    """That many authorities under the root, top-most first."""
    made = [ROOT]
    for floor in range(height):
        made.append(authority(f"Floor {floor}", made[-1], **options))
    return tuple(made[1:])


GOOD = {
    "from the root": (leaf(),),
    "through an intermediate": (leaf(ISSUING), ISSUING),
    "as long as it may be": (leaf(tower(4)[-1]), *tower(4)),
    "the chain in another order": (leaf(tower(2)[-1]), tower(2)[0], tower(2)[1]),
    "with the root sent along": (leaf(ISSUING), ISSUING, ROOT),
    "with authorities of other people": (leaf(ISSUING), OTHER, authority("X", OTHER), ISSUING),
    "with a second leaf": (leaf(ISSUING), ISSUING, make("another", ISSUING)),
    "with the same certificates twice": (leaf(ISSUING), *[ISSUING, ROOT] * 4),
    "with an expired authority of other people": (
        leaf(),
        authority("Old", not_after=NOW - timedelta(1), not_before=NOW - 9 * DAY),
    ),
    "with a weak authority of other people": (leaf(), authority("Weak", key=new_key("rsa-1024"))),
    "with an expired certificate of the authority, too": (
        leaf(ISSUING),
        authority("Issuing", OTHER, key=ISSUING.key, not_after=NOW - DAY, not_before=NOW - 9 * DAY),
        ISSUING,
    ),
    "with an authority of the same name and another key": (leaf(), STRANGER),
    "with the name of its authority, which has two certificates": (
        make("Issuing", ISSUING, key=new_key("a client's")),
        ISSUING,
        authority("Issuing", OTHER, key=ISSUING.key),
    ),
    "without alternative names": (leaf(names=()),),
    "without alternative names, a common name only": (make("client.example", ROOT, names=()),),
    "critical alternative names": (leaf(names_are_critical=True),),
    "for both sides": (leaf(purposes=(SERVER, CLIENT)),),
    "for any purpose and for clients": (leaf(purposes=(ANY, CLIENT)),),
    "a critical extended key usage": (leaf(purposes_are_critical=True),),
    "without key usage": (leaf(usage=None),),
    "without basic constraints": (leaf(ca=None),),
    "an unknown extension that is not critical": (
        leaf(extensions=[(x509.UnrecognizedExtension(UNKNOWN, b""), False)]),
    ),
    "RSA, 2048 bits": (leaf(key=new_key("rsa-2048")),),
    "RSA, 8192 bits": (leaf(key=rsa_of(8192)),),
    "P-384": (leaf(key=new_key("secp384r1")),),
    "P-521": (leaf(key=new_key("secp521r1")),),
    "Ed25519": (leaf(key=new_key("ed25519")),),
    "as deep as the path length allows": (
        leaf(authority("A", authority("B", ROOT, path_length=1), path_length=0)),
        authority("A", authority("B", ROOT, path_length=1), path_length=0),
        authority("B", ROOT, path_length=1),
    ),
    "a name that the constraints permit": (
        leaf(authority("N", ROOT, extensions=[permit("dns:example")])),
        authority("N", ROOT, extensions=[permit("dns:example")]),
    ),
}


@pytest.mark.parametrize("path", GOOD.values(), ids=GOOD)
def test_a_path_to_the_root(path):
    """CERT-1, CERT-2, CERT-3, CERT-5."""
    found = check(*path)
    assert found.certificates[0] == path[0].certificate
    assert found.certificates[-1] == ROOT.certificate


def test_what_is_found_out_about_a_path():
    """Leaf first, anchor last; valid where all of it is."""
    short = authority("Short", ROOT, not_before=NOW - 2 * DAY, not_after=NOW + 2 * DAY)
    path = check(leaf(short, not_before=NOW - DAY), short)
    assert [named(one) for one in path.certificates] == ["CN=client", "CN=Short", "CN=Root"]
    assert path.not_before == (NOW - DAY).timestamp()
    assert path.not_after == (NOW + 2 * DAY).timestamp()


def test_a_subordinate_authority_may_be_the_anchor():
    """As with OpenSSL's partial chains: the path ends where trust is."""
    for anchors in ([ISSUING], [ISSUING, ROOT]):
        found = check(leaf(ISSUING), ISSUING, ROOT, anchors=anchors)
        assert found.certificates[1:] == (ISSUING.certificate,)


def early(seconds):
    return NOW + timedelta(seconds=seconds)


CONSTRAINED = authority("N", ROOT, extensions=[permit("dns:partner.example")])
EXCLUDING = authority("N", ROOT, extensions=[exclude("dns:client.example")])
URI_ONLY = authority("N", ROOT, extensions=[permit("uri:.example")])
MAIL = authority("N", ROOT, extensions=[permit("email:partner.example")])
DIRECTORY = authority("N", ROOT, extensions=[permit(x509.DirectoryName(named_as("client")))])
EXPIRED = authority("Issuing", ROOT, key=ISSUING.key, not_before=NOW - 9 * DAY, not_after=NOW - DAY)
FUTURE = authority("Issuing", ROOT, key=ISSUING.key, not_before=NOW + DAY)
WEAK = authority("Weak", ROOT, key=new_key("rsa-1024"))
NO_AUTHORITY = make("Issuing", ROOT, key=ISSUING.key)
FLAT = authority("Flat", ROOT, path_length=0)
SELF_SIGNED = make("client")
IN_THE_STORE = leaf(OTHER)

REFUSED = {
    # The path, the signatures
    "of another authority": (Reason.CERTIFICATE_UNTRUSTED, leaf(OTHER)),
    "of another authority, which is sent along": (Reason.CERTIFICATE_UNTRUSTED, leaf(OTHER), OTHER),
    "of another authority with the same name": (Reason.CERTIFICATE_UNTRUSTED, leaf(STRANGER)),
    "the same, sent along": (Reason.CERTIFICATE_UNTRUSTED, leaf(STRANGER), STRANGER),
    "self-signed": (Reason.CERTIFICATE_UNTRUSTED, SELF_SIGNED),
    "a signature that is wrong": (Reason.CERTIFICATE_UNTRUSTED, with_broken_signature(leaf())),
    "a wrong signature on the intermediate": (
        Reason.CERTIFICATE_UNTRUSTED,
        leaf(ISSUING),
        with_broken_signature(ISSUING),
    ),
    "without its intermediate": (Reason.CERTIFICATE_UNTRUSTED, leaf(ISSUING)),
    "too long": (Reason.CERTIFICATE_UNTRUSTED, leaf(tower(5)[-1]), *tower(5)),
    "signed by a leaf": (Reason.CERTIFICATE_UNTRUSTED, leaf(ISSUING), NO_AUTHORITY),
    "an intermediate without basic constraints": (
        Reason.CERTIFICATE_UNTRUSTED,
        leaf(ISSUING),
        make("Issuing", ROOT, key=ISSUING.key, ca=None, usage="key_cert_sign"),
    ),
    "an intermediate that may not sign certificates": (
        Reason.CERTIFICATE_UNTRUSTED,
        leaf(ISSUING),
        authority("Issuing", ROOT, key=ISSUING.key, usage="crl_sign"),
    ),
    "an intermediate without key usage": (
        Reason.CERTIFICATE_UNTRUSTED,
        leaf(ISSUING),
        authority("Issuing", ROOT, key=ISSUING.key, usage=None),
    ),
    "deeper than the path length allows": (
        Reason.CERTIFICATE_UNTRUSTED,
        leaf(authority("Below", FLAT)),
        authority("Below", FLAT),
        FLAT,
    ),
    "an authority for servers": (
        Reason.CERTIFICATE_UNTRUSTED,
        leaf(ISSUING),
        authority("Issuing", ROOT, key=ISSUING.key, extensions=[(x509.ExtendedKeyUsage([SERVER]), False)]),
    ),
    "without the identifier of the authority's key": (Reason.CERTIFICATE_UNTRUSTED, leaf(key_identifiers=False)),
    "a critical extension that nobody knows": (
        Reason.CERTIFICATE_UNTRUSTED,
        leaf(extensions=[(x509.UnrecognizedExtension(UNKNOWN, b""), True)]),
    ),
    "the same in an intermediate": (
        Reason.CERTIFICATE_UNTRUSTED,
        leaf(ISSUING),
        authority("Issuing", ROOT, key=ISSUING.key, extensions=[(x509.UnrecognizedExtension(UNKNOWN, b""), True)]),
    ),
    "a client that signs certificates": (Reason.CERTIFICATE_UNTRUSTED, leaf(usage="digital_signature key_cert_sign")),
    "name constraints in a leaf": (Reason.CERTIFICATE_UNTRUSTED, leaf(extensions=[permit("dns:example")])),
    # Names
    "a name outside of the constraints": (Reason.CERTIFICATE_UNTRUSTED, leaf(CONSTRAINED), CONSTRAINED),
    "a name that the constraints exclude": (Reason.CERTIFICATE_UNTRUSTED, leaf(EXCLUDING), EXCLUDING),
    "an address outside of the constraints": (
        Reason.CERTIFICATE_UNTRUSTED,
        leaf(MAIL, names=("email:a@client.example",)),
        MAIL,
    ),
    "a URI under constraints on URIs, which are not supported": (
        Reason.CERTIFICATE_UNTRUSTED,
        leaf(URI_ONLY, names=("uri:spiffe://a.example/b",)),
        URI_ONLY,
    ),
    "a directory name under constraints on those, which are not supported": (
        Reason.CERTIFICATE_UNTRUSTED,
        leaf(DIRECTORY, names=[x509.DirectoryName(named_as("client"))]),
        DIRECTORY,
    ),
    # Time
    "expired": (Reason.CERTIFICATE_EXPIRED, leaf(not_before=NOW - 2 * DAY, not_after=early(-1))),
    "not yet valid": (Reason.CERTIFICATE_NOT_YET_VALID, leaf(not_before=early(CLOCK_LEEWAY + 1))),
    "expired and of another authority": (
        Reason.CERTIFICATE_EXPIRED,
        leaf(OTHER, not_before=NOW - 2 * DAY, not_after=early(-1)),
    ),
    "an expired intermediate": (Reason.CERTIFICATE_EXPIRED, leaf(ISSUING), EXPIRED),
    "an intermediate that is not yet valid": (Reason.CERTIFICATE_NOT_YET_VALID, leaf(ISSUING), FUTURE),
    "an expired intermediate further up": (
        Reason.CERTIFICATE_EXPIRED,
        leaf(authority("Below", ISSUING)),
        authority("Below", ISSUING),
        EXPIRED,
    ),
    "of another authority, with an expired one of somebody else": (
        Reason.CERTIFICATE_UNTRUSTED,
        leaf(OTHER),
        authority("Old", not_before=NOW - 9 * DAY, not_after=NOW - DAY),
    ),
    # Keys
    "RSA, 1024 bits": (Reason.CERTIFICATE_KEY_WEAK, leaf(key=new_key("rsa-1024"))),
    "RSA, 2047 bits": (Reason.CERTIFICATE_KEY_WEAK, leaf(key=rsa_of(2047))),
    "RSA, 8193 bits": (Reason.CERTIFICATE_KEY_WEAK, leaf(key=rsa_of(8193))),
    "RSA with an exponent of a thousand bits": (Reason.CERTIFICATE_KEY_WEAK, leaf(key=rsa_of(2048, (1 << 1000) | 1))),
    "P-192": (Reason.CERTIFICATE_KEY_WEAK, leaf(key=new_key("secp192r1"))),
    "P-224": (Reason.CERTIFICATE_KEY_WEAK, leaf(key=new_key("secp224r1"))),
    "secp256k1": (Reason.CERTIFICATE_KEY_WEAK, leaf(key=new_key("secp256k1"))),
    "Brainpool": (Reason.CERTIFICATE_KEY_WEAK, leaf(key=new_key("brainpoolP256r1"))),
    "DSA": (Reason.CERTIFICATE_KEY_WEAK, leaf(key=new_key("dsa"))),
    "Ed448": (Reason.CERTIFICATE_KEY_WEAK, leaf(key=new_key("ed448"))),
    "a key that cannot sign": (Reason.CERTIFICATE_KEY_WEAK, leaf(key=new_key("x25519"))),
    "a weak intermediate": (Reason.CERTIFICATE_KEY_WEAK, leaf(WEAK), WEAK),
    # Purposes
    "for servers": (Reason.CERTIFICATE_PURPOSE_WRONG, leaf(purposes=(SERVER,))),
    "for any purpose": (Reason.CERTIFICATE_PURPOSE_WRONG, leaf(purposes=(ANY,))),
    "for no purpose that it names": (Reason.CERTIFICATE_PURPOSE_WRONG, leaf(purposes=None)),
    "a key usage without signatures": (Reason.CERTIFICATE_PURPOSE_WRONG, leaf(usage="key_agreement")),
    "an authority as client": (Reason.CERTIFICATE_PURPOSE_WRONG, ISSUING),
    "an authority that is a client too": (
        Reason.CERTIFICATE_PURPOSE_WRONG,
        authority(
            "A", ROOT, usage="digital_signature key_cert_sign", extensions=[(x509.ExtendedKeyUsage([CLIENT]), False)]
        ),
    ),
    "the anchor itself as client": (Reason.CERTIFICATE_PURPOSE_WRONG, ROOT),
}


@pytest.mark.parametrize(("reason", "path"), [(row[0], row[1:]) for row in REFUSED.values()], ids=REFUSED)
def test_no_path_and_why(reason, path):
    """CERT-1, CERT-2, CERT-3, CERT-5."""
    error = refused(*path)
    assert error.reason == reason
    assert error.note
    assert len(error.note) <= 256


def test_a_leaf_among_the_anchors_is_not_trusted_for_being_there():
    assert refused(IN_THE_STORE, anchors=[IN_THE_STORE, ROOT]).reason == Reason.CERTIFICATE_UNTRUSTED
    assert refused(SELF_SIGNED, anchors=[SELF_SIGNED]).reason == Reason.CERTIFICATE_UNTRUSTED
    assert check(leaf(), anchors=[leaf(), ROOT])


@pytest.mark.parametrize(("digest", "last_arc"), [(SHA1(), 5), (MD5(), 4)], ids=["SHA-1", "MD5"])
def test_a_digest_that_can_be_collided(digest, last_arc):
    """CERT-5, TLS-3. The signature is right; and one by SHA-256 passes."""
    good = make("client", RSA)
    assert check(good, anchors=[RSA])
    bad = with_digest(good, RSA, digest, last_arc=last_arc)
    assert refused(bad, anchors=[RSA]).reason == Reason.CERTIFICATE_UNTRUSTED
    intermediate = authority("Issuing", RSA, key=ISSUING.key)
    assert check(leaf(ISSUING), intermediate, anchors=[RSA])
    assert refused(leaf(ISSUING), with_digest(intermediate, RSA, digest, last_arc=last_arc), anchors=[RSA])


def test_how_an_anchor_itself_was_signed_does_not_matter():
    """It is trusted for being there (RFC 5280 section 6.1)."""
    assert check(make("client", RSA), anchors=[with_digest(RSA, RSA, SHA1(), last_arc=5)])


@pytest.mark.parametrize(
    ("purposes", "reason"),
    [
        (None, None),
        ((CLIENT,), None),
        ((SERVER,), Reason.CERTIFICATE_PURPOSE_WRONG),
        ((ANY,), Reason.CERTIFICATE_PURPOSE_WRONG),
    ],
    ids=["none", "clients", "servers", "any"],
)
def test_without_require_client_eku_an_absent_purpose_is_good_and_a_wrong_one_is_not(purposes, reason):
    """CERT-3."""
    if reason is None:
        assert check(leaf(purposes=purposes), require_client_eku=False)
    else:
        assert refused(leaf(purposes=purposes), require_client_eku=False).reason == reason


@pytest.mark.parametrize("depth", [0, 1, 2, 8])
def test_max_depth_counts_the_authorities_between(depth):
    path = (leaf(tower(depth)[-1] if depth else ROOT), *tower(depth))
    assert len(check(*path, max_depth=depth).certificates) == depth + 2
    if depth:
        assert refused(*path, max_depth=depth - 1).reason == Reason.CERTIFICATE_UNTRUSTED


def test_two_clocks_may_differ_a_little_before_and_not_after():
    """To the second; and a path is never used early because of one certificate and late because of another."""
    made = leaf(not_before=NOW, not_after=NOW + DAY)
    for seconds in (-CLOCK_LEEWAY, 0, DAY.total_seconds()):
        assert check(made, at=early(seconds))
    assert refused(made, at=early(-CLOCK_LEEWAY - 1)).reason == Reason.CERTIFICATE_NOT_YET_VALID
    assert refused(made, at=early(DAY.total_seconds() + 1)).reason == Reason.CERTIFICATE_EXPIRED
    new = authority("Issuing", ROOT, key=ISSUING.key, not_before=early(CLOCK_LEEWAY))
    assert check(leaf(ISSUING), new)
    assert refused(leaf(ISSUING, not_after=early(10)), new)


def test_the_moment_is_that_of_the_call():
    """A verifier that is kept goes on accepting what has expired since."""
    anchors = AnchorSet([ROOT.certificate])
    made = leaf(not_after=NOW + DAY).certificate
    for at, is_good in ((NOW, True), (NOW + 2 * DAY, False), (NOW, True)):
        try:
            verify_path(made, [], anchors, at, max_depth=0, require_client_eku=True)
        except CertificateError:
            assert not is_good
        else:
            assert is_good


def test_an_expired_anchor_vouches_for_nobody():
    old = authority("Old", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    assert refused(leaf(old), anchors=[old]).reason == Reason.CERTIFICATE_UNTRUSTED


# --- what it may cost ----------------------------------------------------------------------------------------------


def maze(copies, *, curve="secp521r1"):
    """Authorities of one name and one key: each could be the issuer of every other, for ever."""
    key = new_key(curve)
    return (leaf(authority("X", key=key)), *(authority("X", key=key) for _ in range(copies)))


def test_a_maze_is_counted_and_not_walked():
    """One copy goes round until it is too deep; of two, the ways double at every step."""
    assert "too many ways" not in refused(*maze(1)).note
    error = refused(*maze(2))
    assert error.reason == Reason.CERTIFICATE_UNTRUSTED
    assert error.note == "too many ways through the intermediates: 62"
    with pytest.raises(CertificateError, match="too many ways through the intermediates: 435848049"):
        check(*maze(9), max_depth=DEPTHS[-1])


def test_as_many_ways_as_are_allowed_are_walked():
    """Two certificates of each authority, as while a root is being replaced."""
    below = [authority("Below", ISSUING), authority("Below", ISSUING, not_after=NOW + DAY)]
    above = [ISSUING, authority("Issuing", OTHER, key=ISSUING.key)]
    assert check(leaf(below[0]), *below, *above)
    others = [authority("Issuing", OTHER, key=ISSUING.key, not_after=NOW + n * DAY) for n in range(1, MAX_TRIES)]
    assert check(leaf(ISSUING), ISSUING, *others)
    assert refused(leaf(ISSUING), ISSUING, *others, authority("Issuing", OTHER, key=ISSUING.key))


def bomb(names, constraints, *, loops=False, kind=exclude):
    """Names that no constraint excludes, so that each is compared with each."""
    constrained = kind(*(f"dns:x{n}.example" for n in range(constraints)))
    root = authority("Bomb", None if loops else ROOT, extensions=[constrained])
    return leaf(root, names=[f"dns:a{n}.example" for n in range(names)]), root


def test_names_times_constraints_are_counted_and_not_compared():
    few, many = 50, MAX_NAME_CHECKS // 50
    for size in ((few, many), (many, few)):
        assert check(*bomb(*size))
        for kind in (exclude, permit):
            assert refused(*bomb(size[0] + 1, size[1], kind=kind)).note.startswith("too many names for the name")


def test_every_way_to_the_constraints_counts():
    """A self-issued authority is met as often as the walk may be deep."""
    path = bomb(50, MAX_NAME_CHECKS // 50 // 5, loops=True)
    assert "max depth" in refused(*path).note
    assert "too many names" in refused(*bomb(50, MAX_NAME_CHECKS // 50 // 5 + 1, loops=True)).note


def test_constraints_of_the_anchor_count_too():
    client, anchor = bomb(50, MAX_NAME_CHECKS // 50)
    assert check(client, anchors=[anchor])
    client, anchor = bomb(51, MAX_NAME_CHECKS // 50)
    assert "too many names" in refused(client, anchors=[anchor]).note


# --- whatever else a stranger sends --------------------------------------------------------------------------------


def patched(made, old, new):
    assert made.der.count(old) == 1
    return x509.load_der_x509_certificate(made.der.replace(old, new))


TWICE = patched(leaf(extensions=[(x509.UnrecognizedExtension(UNKNOWN, b"1"), False)]), b"\x55\x1d\x25", b"\x55\x1d\x0f")


def test_an_unreadable_leaf_and_an_unreadable_intermediate():
    for path in ((TWICE,), (leaf(), TWICE)):
        error = refused(*path)
        assert error.reason == Reason.CERTIFICATE_UNTRUSTED
        assert error.note.startswith("DuplicateExtension")


def test_an_explicit_curve_is_no_key():
    """Its parameters are the certificate's own: only named curves are read."""
    made = leaf(key=new_key("secp192r1"))
    curve = bytes.fromhex("06082a8648ce3d030101")
    unknown = patched(made, curve, bytes.fromhex("06082a8648ce3d030163"))
    error = refused(unknown)
    assert error.reason == Reason.CERTIFICATE_KEY_WEAK
    assert error.note.startswith("unreadable key")


SEEDS = [made.der for made in (leaf(ISSUING), ISSUING, ROOT)]


@settings(max_examples=300, deadline=None)
@given(
    which=st.integers(0, 2),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_whatever_the_bytes_are_only_a_refusal_comes_out(which, edits):
    """And never a pass: each of these bytes is under a signature, or is one."""
    ders = list(map(bytearray, SEEDS[:2]))
    target = ders[which % 2]
    for place, value in edits:
        target[place % len(target)] = value
    leaf_der, issuing_der = map(bytes, ders)
    is_same = [leaf_der, issuing_der] == SEEDS[:2]
    try:
        peer = verify_certificate(leaf_der, [issuing_der], trust_anchors=SEEDS[2], at=NOW)
    except CertificateError:
        assert not is_same
    else:
        assert peer.der == leaf_der == SEEDS[0]


@pytest.mark.parametrize("subject", ["a", "b" * 64, ""], ids=["short", "long", "none"])
def test_raw_names_are_the_names(subject):
    issuer = authority(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "c" * 60)] * 5))
    made = make(subject, issuer).certificate
    assert raw_names(made) == (made.issuer.public_bytes(), made.subject.public_bytes())


# --- which certificates are anchors --------------------------------------------------------------------------------

NO_ANCHORS = {
    "a leaf": (leaf(), "no certificate authority"),
    "without basic constraints": (make("A", ca=None, usage="key_cert_sign"), "no certificate authority"),
    "basic constraints that are not critical": (authority(ca_is_critical=False), "critical"),
    "without key usage": (authority(usage=None), "keyUsage"),
    "for revocation lists only": (authority(usage="crl_sign"), "keyUsage"),
    "RSA, 1024 bits": (authority(key=new_key("rsa-1024")), "RSA, 1024 bits"),
    "Ed25519": (authority(key=new_key("ed25519")), "Ed25519"),
    "an extension twice": (TWICE, "cannot be read"),
}


@pytest.mark.parametrize(("made", "why"), NO_ANCHORS.values(), ids=NO_ANCHORS)
def test_what_can_vouch_for_nobody_is_left_out(made, why):
    assert why in why_no_anchor(certificate(made))
    anchors = AnchorSet([certificate(made)])
    assert anchors.store is None
    assert refused(leaf(), anchors=[made]).note == "no trust anchor"


@pytest.mark.parametrize(
    "made",
    [ROOT, ISSUING, RSA, authority(key=new_key("secp384r1")), authority(key_identifiers=False)],
    ids=["a root", "a subordinate one", "RSA", "P-384", "without key identifiers"],
)
def test_what_can_vouch(made):
    assert why_no_anchor(made.certificate) == ""
    assert check(make("client", made), anchors=[made])


def test_an_authority_with_an_unreadable_name_is_named_by_its_number():
    odd = patched(make("Abcdefgh", ROOT), b"\x0c\x08Abcdefgh", b"\x0c\x08" + b"\xff" * 8)
    assert named(odd) == f"serial number {odd.serial_number:x}"
    assert named(make("client").certificate) == "CN=client"
    endless = make(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a" * 60)] * 20)).certificate
    assert named(endless) == f"serial number {endless.serial_number:x}"


# --- the function for everybody ------------------------------------------------------------------------------------


def test_der_or_certificates_in_any_number():
    client = leaf(ISSUING)
    peer = verify_certificate(client.der, ISSUING.der, trust_anchors=ROOT.der)
    assert peer.path == (client.der, ISSUING.der, ROOT.der)
    assert peer == verify_certificate(
        client.certificate, [ISSUING.certificate], trust_anchors=[OTHER.pem, ROOT.certificate]
    )
    assert peer.chain == (ISSUING.der,)
    assert peer.dns == ("client.example",)
    assert peer == verify_certificate(
        client.der, [ISSUING.der], trust_anchors=OTHER.pem + ROOT.pem, at=datetime.now(UTC)
    )


def test_now_is_the_default_and_another_moment_can_be_asked_for():
    client = leaf(not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    with pytest.raises(CertificateError) as caught:
        verify_certificate(client.der, trust_anchors=authority("Root", not_before=NOW - 99 * DAY).der)
    assert caught.value.reason == Reason.CERTIFICATE_EXPIRED
    root = authority("Root", not_before=NOW - 99 * DAY)
    assert verify_certificate(client.der, trust_anchors=root.der, at=NOW - 2 * DAY).path


def test_names_are_not_needed_for_a_path():
    assert verify_certificate(leaf(names=()).der, trust_anchors=ROOT.der).dns == ()


def test_malformed_is_malformed():
    for ders in ((b"",), (leaf().der + b"\0",), (leaf().pem,), (leaf().der, *[ROOT.der] * 10), ("text",), (None,)):
        with pytest.raises(CertificateError) as caught:
            verify_certificate(ders[0], ders[1:], trust_anchors=ROOT.der)
        assert caught.value.reason == Reason.CERTIFICATE_MALFORMED


WRONG_OPTIONS = {
    "a depth that is no number": ({"max_depth": "4"}, "max_depth= is the number of intermediate authorities"),
    "a depth that is no whole number": ({"max_depth": 4.0}, "max_depth="),
    "a depth of True": ({"max_depth": True}, "max_depth="),
    "a negative depth": ({"max_depth": -1}, "max_depth="),
    "too deep": ({"max_depth": 9}, "0 to 8, got 9"),
    "require_client_eku": ({"require_client_eku": "no"}, "require_client_eku= is True or False, got 'no'"),
    "a moment without a time zone": ({"at": datetime(2030, 1, 1)}, "at= is a datetime with a time zone"),
    "a moment that is a number": ({"at": 1.0}, "at= is a datetime with a time zone"),
    "no anchor": ({"trust_anchors": ()}, "trust_anchors= holds no certificate of an authority"),
    "a leaf as anchor": ({"trust_anchors": leaf().der}, "trust_anchors= holds no certificate of an authority"),
    "an anchor that is no certificate": ({"trust_anchors": b"hello"}, "trust_anchors= takes certificates"),
    "an anchor that is no bytes": ({"trust_anchors": [1]}, "trust_anchors= takes certificates"),
    "anchors that are nothing": ({"trust_anchors": None}, "trust_anchors= takes certificates"),
}


@pytest.mark.parametrize(("options", "sentence"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS)
def test_a_wrong_option_says_the_fix(options, sentence):
    with pytest.raises(ConfigurationError, match=sentence.replace("(", r"\(")):
        verify_certificate(leaf().der, **{"trust_anchors": ROOT.der, **options})
