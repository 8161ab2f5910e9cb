"""``verify_certificate(crls=...)``: the path that was found is asked for in the lists that are given (REV-5)."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from secure_asgi import ConfigurationError, Reason
from secure_asgi.errors import CertificateError
from secure_asgi.mutual_tls.verification import verify_certificate

from .pki import DAY, NOW, authority, make

ROOT = authority("Root")
ISSUING = authority("Issuing", ROOT)
CLIENT = make("client", ISSUING)


def revoked_by(issuer, *revoked, next_update=NOW + DAY):
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(NOW - DAY)
        .next_update(next_update)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.certificate.public_key()), critical=False
        )
    )
    for made in revoked:
        entry = (
            x509.RevokedCertificateBuilder().serial_number(made.certificate.serial_number).revocation_date(NOW - DAY)
        )
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, SHA256())


def verify(crls, at=NOW):
    return verify_certificate(CLIENT.der, [ISSUING.der], trust_anchors=ROOT.der, crls=crls, at=at)


NONE_REVOKED = (revoked_by(ROOT), revoked_by(ISSUING))


@pytest.mark.parametrize(
    "crls",
    [
        (),
        NONE_REVOKED,
        [crl.public_bytes(Encoding.DER) for crl in NONE_REVOKED],
        iter([NONE_REVOKED[0].public_bytes(Encoding.PEM), NONE_REVOKED[1]]),
    ],
    ids=["no list", "lists that were read", "DER", "PEM, and once only"],
)
def test_not_revoked(crls):
    assert verify(crls).path == (CLIENT.der, ISSUING.der, ROOT.der)


REFUSED = {
    "the leaf": (Reason.CERTIFICATE_REVOKED, [revoked_by(ROOT), revoked_by(ISSUING, CLIENT)]),
    "the intermediate": (Reason.CERTIFICATE_REVOKED, [revoked_by(ROOT, ISSUING), revoked_by(ISSUING)]),
    "no list of the leaf's authority": (Reason.REVOCATION_UNKNOWN, revoked_by(ROOT)),
    "the list has run out": (
        Reason.REVOCATION_UNKNOWN,
        [revoked_by(ROOT), revoked_by(ISSUING, next_update=NOW - timedelta(hours=1))],
    ),
}


@pytest.mark.parametrize(("reason", "crls"), REFUSED.values(), ids=REFUSED)
def test_revoked_or_unknown(reason, crls):
    with pytest.raises(CertificateError) as caught:
        verify(crls)
    assert caught.value.reason == reason


def test_the_moment_is_that_of_the_call():
    with pytest.raises(CertificateError) as caught:
        verify(NONE_REVOKED, at=NOW + 2 * DAY)
    assert caught.value.reason == Reason.REVOCATION_UNKNOWN


def test_a_list_that_cannot_be_read_is_the_callers_mistake():
    with pytest.raises(ConfigurationError, match="crls= takes revocation lists, PEM or DER, and one cannot be read"):
        verify(b"hello")
