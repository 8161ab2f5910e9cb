"""The path from a client certificate to a trust anchor, checked in this process, now (RFC 5280 section 6).

The walk and the signatures are those of ``cryptography``'s verifier. What stands around it here: clear reasons, the
strength of every key, the purposes of a client certificate, and a bound on what a stranger's certificates can cost.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from ..denial import Reason
from ..errors import CertificateError, ConfigurationError
from .parts import find, raw_names, value

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from cryptography.x509.verification import ExtensionPolicy

MAX_DEPTH = 4
"""Intermediate authorities between the leaf and the anchor: a path of six certificates (CERT-5)."""

DEPTHS = range(9)
"""What ``max_depth=`` can be: ten certificates are as many as are ever read."""

CLOCK_LEEWAY = 30.0
"""Seconds by which a certificate may be used early, as two clocks differ. None the other way: expired is expired."""

RSA_BITS = range(2048, 8192 + 1)
CURVES = ("secp256r1", "secp384r1", "secp521r1")

MAX_EXPONENT_BITS = 64
"""Of an RSA key: a signature costs by its length. OpenSSL has this bound for large keys only."""

MAX_TRIES = 12
"""Signatures of intermediates that one verification may try: authorities that name each other make a maze of few."""

MAX_NAME_CHECKS = 5_000
"""Comparisons of a name with a name constraint, over all ways through the intermediates."""

MAX_NAME = 1024
"""Bytes of a subject that is read out in a note."""


@dataclass(frozen=True, slots=True)
class VerifiedPath:
    """A path that was verified, leaf first and trust anchor last.

    ``not_before`` and ``not_after`` are the times, in unix seconds, between which all of its certificates are valid.
    """

    certificates: "tuple[Certificate, ...]"
    not_before: float
    not_after: float


class AnchorSet:
    """Authorities to whom a path may lead, roots or not, ready to be looked up.

    Certificates that can vouch for nobody (``why_no_anchor``) are left out, so that a leaf that got into a file of
    authorities is not trusted for being there.
    """

    __slots__ = ("certificates", "most_constraints", "store")

    def __init__(self, certificates: "Iterable[Certificate]") -> None:
        from cryptography.x509.verification import Store

        good = [one for one in certificates if not why_no_anchor(one)]
        self.certificates = frozenset(good)
        self.store = Store(good) if good else None
        self.most_constraints = max(map(_constraints_in, good), default=0)


def verify_path(
    leaf: "Certificate",
    intermediates: "Sequence[Certificate]",
    anchors: AnchorSet,
    at: datetime,
    *,
    max_depth: int,
    require_client_eku: bool,
) -> VerifiedPath:
    """The path from ``leaf`` to one of ``anchors``. Raises ``CertificateError``, whatever the certificates hold."""
    try:
        now = at.timestamp()
        _check_leaf(leaf, now, require_client_eku=require_client_eku)
        faults = {one: _fault(one, now) for one in intermediates if one not in anchors.certificates}
        usable = [one for one, fault in faults.items() if fault is None]
        _check_effort(leaf, usable, anchors, max_depth)
        try:
            return _walk(leaf, usable, anchors, now, max_depth)
        except Exception:
            # The path that was meant, if there was one, may have led through a certificate that was left out.
            wanted = {issuer for issuer, its in map(raw_names, (leaf, *intermediates)) if issuer != its}
            for one, fault in faults.items():
                if fault is not None and raw_names(one)[1] in wanted:
                    raise _refusal(one, fault) from None
            raise
    except CertificateError:
        raise
    except Exception as error:
        # Any exception at all: the verifier documents one, and raises others for names that it does not support.
        raise CertificateError(Reason.CERTIFICATE_UNTRUSTED, f"{type(error).__name__}: {error}"[:256]) from error


def check_options(*, max_depth: int, require_client_eku: bool) -> None:
    """Raises ``ConfigurationError``."""
    if type(max_depth) is not int or max_depth not in DEPTHS:
        raise ConfigurationError(
            f"max_depth= is the number of intermediate authorities allowed, 0 to {DEPTHS[-1]}, got {max_depth!r}"
        )
    if not isinstance(require_client_eku, bool):
        raise ConfigurationError(f"require_client_eku= is True or False, got {require_client_eku!r}")


def why_no_anchor(certificate: "Certificate") -> str:
    """What keeps it from vouching for anybody, apart from time; empty if nothing does."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        extensions = certificate.extensions
    except Exception as error:
        return f"its extensions cannot be read: {error}"
    constraints = find(x509.BasicConstraints, extensions)
    if constraints is None or not constraints.value.ca:
        return "it is no certificate authority (basicConstraints)"
    if not constraints.critical:
        return "its basicConstraints extension is not marked critical"
    usage = value(x509.KeyUsage, extensions)
    if usage is None or not usage.key_cert_sign:
        return "it is not for signing certificates (keyUsage)"
    weakness = _weakness(certificate)
    if weakness:
        return f"its key is not accepted: {weakness}"
    if isinstance(certificate.public_key(), Ed25519PublicKey):
        return "signatures made with Ed25519 are not accepted"
    return ""


def read_pem_or_der(data: bytes) -> "tuple[Certificate, ...]":
    """All certificates of a PEM file, or the one in DER. Raises ``ValueError`` if there is none."""
    from cryptography import x509

    try:
        if b"-----BEGIN " in data:
            return tuple(x509.load_pem_x509_certificates(data))
        return (x509.load_der_x509_certificate(data),)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error


def named(certificate: "Certificate") -> str:
    """Its subject, as a note says it; its serial number if that is no name to be read out."""
    try:
        if len(raw_names(certificate)[1]) <= MAX_NAME:
            return certificate.subject.rfc4514_string()[:128]
    except ValueError:
        pass
    return f"serial number {certificate.serial_number:x}"


def _check_leaf(leaf: "Certificate", now: float, *, require_client_eku: bool) -> None:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    fault = _fault(leaf, now)
    if fault is not None:
        raise _refusal(leaf, fault)
    extensions = leaf.extensions
    constraints = value(x509.BasicConstraints, extensions)
    if constraints is not None and constraints.ca:
        raise CertificateError(Reason.CERTIFICATE_PURPOSE_WRONG, "a certificate authority, not a client")
    usage = value(x509.KeyUsage, extensions)
    if usage is not None and not usage.digital_signature:
        raise CertificateError(Reason.CERTIFICATE_PURPOSE_WRONG, "key usage without digitalSignature")
    purposes = value(x509.ExtendedKeyUsage, extensions)
    if purposes is None:
        if require_client_eku:
            raise CertificateError(Reason.CERTIFICATE_PURPOSE_WRONG, "no extended key usage")
    elif ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
        raise CertificateError(Reason.CERTIFICATE_PURPOSE_WRONG, "extended key usage without clientAuth")


def _fault(certificate: "Certificate", now: float) -> tuple[Reason, str] | None:
    """What is wrong with a leaf or an intermediate in itself, and in which words."""
    if now > certificate.not_valid_after_utc.timestamp():
        return Reason.CERTIFICATE_EXPIRED, "expired"
    if now < certificate.not_valid_before_utc.timestamp() - CLOCK_LEEWAY:
        return Reason.CERTIFICATE_NOT_YET_VALID, "not yet valid"
    weakness = _weakness(certificate)
    return (Reason.CERTIFICATE_KEY_WEAK, weakness) if weakness else None


def _refusal(certificate: "Certificate", fault: tuple[Reason, str]) -> CertificateError:
    reason, words = fault
    return CertificateError(reason, f"{words}: {named(certificate)}"[:256])


def _weakness(certificate: "Certificate") -> str:
    """Which key it has, if it is none of those in CERT-5; else empty."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        return f"unreadable key, {error}"
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in RSA_BITS:
            return f"RSA, {key.key_size} bits"
        return "RSA, oversized exponent" if key.public_numbers().e.bit_length() > MAX_EXPONENT_BITS else ""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if key.curve.name in CURVES else key.curve.name
    return "" if isinstance(key, ed25519.Ed25519PublicKey) else type(key).__name__


def _check_effort(leaf: "Certificate", intermediates: "list[Certificate]", anchors: AnchorSet, max_depth: int) -> None:
    """Count before working: what a walk could try at most, and the name constraints it would meet on its way.

    Anchors are not counted, as no stranger chooses them.
    """
    path = (leaf, *intermediates)
    names = [raw_names(one) for one in path]
    above = [[place for place, (_, its) in enumerate(names) if place and its == issuer] for issuer, _ in names]
    tries = 0
    standing = [1] + [0] * len(intermediates)
    for _ in range(max_depth + 1):
        reached = [0] * len(path)
        for place, times in enumerate(standing):
            for issuer in above[place]:
                reached[issuer] += times
        standing = reached
        tries += sum(standing)
    if tries > MAX_TRIES:
        raise CertificateError(Reason.CERTIFICATE_UNTRUSTED, f"too many ways through the intermediates: {tries}")
    constraints = anchors.most_constraints + sum(map(_constraints_in, intermediates))
    checks = constraints * sum(map(_names_in, path)) * max(tries, 1)
    if checks > MAX_NAME_CHECKS:
        raise CertificateError(Reason.CERTIFICATE_UNTRUSTED, f"too many names for the name constraints: {checks}")


def _walk(
    leaf: "Certificate", intermediates: "list[Certificate]", anchors: AnchorSet, now: float, max_depth: int
) -> VerifiedPath:
    from cryptography.x509.verification import PolicyBuilder

    if anchors.store is None:
        raise CertificateError(Reason.CERTIFICATE_UNTRUSTED, "no trust anchor")
    authority, client = _policies()
    # Those that were let in early would otherwise be refused here.
    moment = max(now, *(one.not_valid_before_utc.timestamp() for one in (leaf, *intermediates)))
    verifier = (  # built each time: the moment is part of it
        PolicyBuilder()
        .store(anchors.store)
        .time(datetime.fromtimestamp(moment, UTC))
        .max_chain_depth(max_depth)
        .extension_policies(ca_policy=authority, ee_policy=client)
        .build_client_verifier()
    )
    path = verifier.verify(leaf, intermediates).chain
    return VerifiedPath(
        tuple(path),
        max(one.not_valid_before_utc.timestamp() for one in path),
        min(one.not_valid_after_utc.timestamp() for one in path),
    )


@lru_cache(maxsize=1)
def _policies() -> "tuple[ExtensionPolicy, ExtensionPolicy]":
    """For authorities and for clients. The defaults, as strict as they are, with two exceptions for clients.

    Private authorities issue certificates without alternative names; and an extended key usage may be critical (RFC
    5280 section 4.2.1.12). What it says has been checked by then.
    """
    from cryptography import x509
    from cryptography.x509.verification import Criticality, ExtensionPolicy

    client = (
        ExtensionPolicy.webpki_defaults_ee()
        .may_be_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, None)
    )
    return ExtensionPolicy.webpki_defaults_ca(), client


def _names_in(certificate: "Certificate") -> int:
    from cryptography import x509

    names = value(x509.SubjectAlternativeName, certificate.extensions)
    return len(names) if names is not None else 0


def _constraints_in(certificate: "Certificate") -> int:
    from cryptography import x509

    constraints = value(x509.NameConstraints, certificate.extensions)
    if constraints is None:
        return 0
    return len(constraints.permitted_subtrees or ()) + len(constraints.excluded_subtrees or ())
