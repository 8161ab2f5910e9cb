"""One certificate, verified by a function call: what the middleware decides, without a request (RFC 5280)."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from ..denial import Reason
from ..errors import CertificateError, ConfigurationError
from ..exchange import PeerCertificate
from .certificate import read_certificates
from .path import MAX_DEPTH, AnchorSet, VerifiedPath, check_options, read_pem_or_der, verify_path

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

    X509 = bytes | Certificate
    """A certificate, or its DER bytes."""


def verify_certificate(
    leaf: "X509",
    intermediates: "X509 | Iterable[X509]" = (),
    *,
    trust_anchors: "X509 | Iterable[X509]",
    crls: "bytes | CertificateRevocationList | Iterable[bytes | CertificateRevocationList]" = (),
    at: datetime | None = None,
    max_depth: int = MAX_DEPTH,
    require_client_eku: bool = True,
) -> PeerCertificate:
    """A client certificate, verified: the path to one of ``trust_anchors``, its names, and revocation if asked for.

    Certificates are DER bytes or ``x509.Certificate``; ``intermediates`` in any order. A ``trust_anchors`` entry need
    not be self-signed. Without ``crls`` (DER or PEM bytes, or read) revocation is not checked; with any, they must show
    of the leaf and of every intermediate that it is not revoked. ``at`` is the moment that counts, aware, by default
    now. ``max_depth`` intermediates at most may stand between the leaf and the anchor. ``require_client_eku=False``
    accepts a leaf without extended key usage; one that has it must name clientAuth all the same.

    A leaf without alternative names passes: whom it names is another question, asked where the identity is needed.

    Raises ``CertificateError`` with the ``Reason``, and ``ConfigurationError`` for options that are wrong.
    """
    check_options(max_depth=max_depth, require_client_eku=require_client_eku)
    moment = datetime.now(UTC) if at is None else at
    if not (isinstance(moment, datetime) and moment.tzinfo):
        raise ConfigurationError(f"at= is a datetime with a time zone, such as datetime.now(UTC), got {at!r}")
    anchors = AnchorSet(_read_anchors(trust_anchors))
    if anchors.store is None:
        raise ConfigurationError("trust_anchors= holds no certificate of an authority that could vouch for a client")
    from cryptography.x509 import Certificate, load_der_x509_certificate

    ders = tuple(map(_der, (leaf, *_several(intermediates, Certificate))))
    peer = read_certificates(ders)
    first, *rest = map(load_der_x509_certificate, ders)
    path = verify_path(first, rest, anchors, moment, max_depth=max_depth, require_client_eku=require_client_eku)
    _check_revocation(path, crls, moment)
    return replace(peer, path=tuple(map(_der, path.certificates)))


def _check_revocation(
    path: VerifiedPath,
    given: "bytes | CertificateRevocationList | Iterable[bytes | CertificateRevocationList]",
    at: datetime,
) -> None:
    from cryptography.x509 import CertificateRevocationList

    lists = _several(given, CertificateRevocationList)
    if not lists:
        return
    from .crl import check_revocation, read_crl

    try:
        read = [read_crl(one) if isinstance(one, bytes) else one for one in lists]
    except ValueError as error:
        raise ConfigurationError(
            f"crls= takes revocation lists, PEM or DER, and one cannot be read: {error}"
        ) from error
    check_revocation(path, read, at)


def _read_anchors(given: "X509 | Iterable[X509]") -> "list[Certificate]":
    from cryptography.x509 import Certificate

    try:
        return list(
            chain.from_iterable(
                (one,) if isinstance(one, Certificate) else read_pem_or_der(one) for one in _several(given, Certificate)
            )
        )
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"trust_anchors= takes certificates, one or several, each an x509.Certificate or its bytes: {error}"
        ) from error


def _several(given: Any, kind: type) -> tuple[Any, ...]:
    """What takes several takes one, be it bytes or already read."""
    return (given,) if isinstance(given, bytes | kind) else tuple(given)


def _der(certificate: "X509") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import Certificate

    if isinstance(certificate, bytes):
        return certificate
    if isinstance(certificate, Certificate):
        return certificate.public_bytes(Encoding.DER)
    raise CertificateError(Reason.CERTIFICATE_MALFORMED, f"a {type(certificate).__name__}, not a certificate")
