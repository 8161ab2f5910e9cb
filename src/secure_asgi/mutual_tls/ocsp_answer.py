"""One question to an OCSP responder and its answer, as bytes (RFC 6960 sections 4.1 and 4.2; REV-1 to REV-3). Pure."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .parts import extension_of
from .revocation_list import LEEWAY
from .signatures import STRONG_HASHES, is_signed_by

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Extensions
    from cryptography.x509.ocsp import OCSPRequest, OCSPResponse, OCSPSingleResponse

UNKNOWN_FOR = 60.0
"""Seconds for which "unknown" is kept at most: a responder may hear of a new certificate a little later."""

MAX_CERTIFICATES = 10
_NONCE_BYTES = 32


class AnswerError(Exception):
    """It is no answer to go by; the message is for the log."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``verdict`` (``"none"``: there was no answer) holds from ``since`` and before ``until``, unix seconds.

    ``note`` is for the audit log.

    From ``ask_again`` on it is time to ask anew.
    """

    verdict: Literal["good", "revoked", "unknown", "none"]
    until: float
    note: str
    ask_again: float = math.inf
    since: float = -math.inf

    def holds_at(self, now: float) -> bool:
        """Not before it was given either: a clock that was set back would make it last."""
        return self.since - LEEWAY <= now < self.until


def make_request(leaf: "Certificate", issuer: "Certificate", *, with_nonce: bool) -> "OCSPRequest":
    """The question whether ``leaf`` is revoked; with a nonce of 32 bytes (RFC 9654)."""
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.x509 import OCSPNonce
    from cryptography.x509.ocsp import OCSPRequestBuilder

    # SHA-1 here is a name for the issuer in the responder's index, the only one that RFC 5019 section 2.1.1 and most
    # responders know, and proves nothing: that it is the issuer whom we mean, the signature of the answer shows.
    builder = OCSPRequestBuilder().add_certificate(leaf, issuer, SHA1())  # noqa: S303
    if with_nonce:
        builder = builder.add_extension(OCSPNonce(os.urandom(_NONCE_BYTES)), critical=False)
    return builder.build()


def read_answer(
    body: bytes,
    request: "OCSPRequest",
    issuer: "Certificate",
    *,
    responders: "Sequence[Certificate] | None",
    needs_nonce: bool,
    now: float,
    max_age: float,
) -> Answer:
    """What the answer says. ``responders`` the only ones to sign it; None for the issuer and those it has appointed.

    Raises ``AnswerError`` for what may not be believed, and what ``cryptography`` raises for what cannot be read.
    """
    from cryptography.x509.ocsp import OCSPResponseStatus, load_der_ocsp_response

    answer = load_der_ocsp_response(body)
    if answer.response_status is not OCSPResponseStatus.SUCCESSFUL:
        raise AnswerError(f"the responder says {answer.response_status.name.lower()}")
    _check_signature(answer, issuer, responders, now)
    _check_nonce(answer, request, needs_nonce)
    return _verdict(_single(answer, request), now, max_age)


def _check_signature(
    answer: "OCSPResponse", issuer: "Certificate", responders: "Sequence[Certificate] | None", now: float
) -> None:
    if responders is None:
        flaw = "an answer of nobody the issuer has appointed"
        candidates = [issuer, *(one for one in answer.certificates[:MAX_CERTIFICATES] if one != issuer)]
    else:
        flaw = "an answer of another responder"
        candidates = list(responders)
    for signer in candidates:
        if _is_named(signer, answer):
            flaw = _signer_flaw(signer, issuer, now, is_configured=responders is not None)
            if not flaw and _is_signed_by(signer, answer):
                return
            flaw = flaw or "an answer whose signature does not hold"
    raise AnswerError(flaw)


def _is_named(signer: "Certificate", answer: "OCSPResponse") -> bool:
    """The answer says that this is who signed it."""
    from cryptography.x509 import SubjectKeyIdentifier

    if answer.responder_name is not None:
        return answer.responder_name == signer.subject
    return answer.responder_key_hash == SubjectKeyIdentifier.from_public_key(signer.public_key()).digest


def _signer_flaw(signer: "Certificate", issuer: "Certificate", now: float, *, is_configured: bool) -> str:
    """Why this is nobody to answer for the issuer (RFC 6960 section 4.2.2.2); empty if it is."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    if signer is issuer:
        return ""
    if not signer.not_valid_before_utc.timestamp() <= now <= signer.not_valid_after_utc.timestamp():
        return "the responder's certificate has expired or is not valid yet"
    if is_configured:
        return ""
    try:
        signer.verify_directly_issued_by(issuer)
    except Exception:
        # InvalidSignature, ValueError, UnsupportedAlgorithm (SHA-1 too), TypeError: all of them say no.
        return "the responder's certificate was not issued by the issuer itself"
    purposes = extension_of(signer, x509.ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
        return "the responder's certificate is not for signing answers (OCSPSigning)"
    usage = extension_of(signer, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        return "the responder's certificate is not for signatures (digitalSignature)"
    if extension_of(signer, x509.OCSPNoCheck) is None:
        return "the responder's certificate may be revoked itself (no id-pkix-ocsp-nocheck): name it with responder="
    return ""


def _is_signed_by(signer: "Certificate", answer: "OCSPResponse") -> bool:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    algorithm = answer.signature_hash_algorithm
    if algorithm is not None and algorithm.name not in STRONG_HASHES:
        raise AnswerError(f"an answer signed with {algorithm.name}")
    return is_signed_by(signer.public_key(), answer.signature, answer.tbs_response_bytes, algorithm, PKCS1v15())


def _check_nonce(answer: "OCSPResponse", request: "OCSPRequest", is_needed: bool) -> None:
    """REV-4: it may be absent, because answers may have been prepared; but one of another question is refused."""
    nonce = _nonce(answer.extensions)
    if nonce is None and is_needed:
        raise AnswerError("an answer without a nonce")
    if nonce is not None and nonce != _nonce(request.extensions):
        raise AnswerError("an answer to another question (nonce)")


def _nonce(extensions: "Extensions") -> bytes | None:
    from cryptography.x509 import OCSPNonce

    nonce = None
    for extension in extensions:
        if isinstance(extension.value, OCSPNonce):
            nonce = extension.value.nonce
        elif extension.critical:
            raise AnswerError(f"an answer with a critical extension {extension.oid.dotted_string}")
    return nonce


def _single(answer: "OCSPResponse", request: "OCSPRequest") -> "OCSPSingleResponse":
    """The one about our certificate."""
    singles = list(answer.responses)
    if len(singles) != 1:
        raise AnswerError(f"an answer about {len(singles)} certificates")
    single = singles[0]
    ours = (request.issuer_name_hash, request.issuer_key_hash, request.serial_number)
    theirs = (single.issuer_name_hash, single.issuer_key_hash, single.serial_number)
    if ours != theirs or single.hash_algorithm.name != request.hash_algorithm.name:
        raise AnswerError("an answer about another certificate")
    for extension in answer.single_extensions:
        if extension.critical:
            raise AnswerError(f"an answer with a critical extension {extension.oid.dotted_string}")
    return single


def _verdict(single: "OCSPSingleResponse", now: float, max_age: float) -> Answer:
    from cryptography.x509.ocsp import OCSPCertStatus

    this_update = single.this_update_utc.timestamp()
    if this_update > now + LEEWAY:
        raise AnswerError("an answer from the future (thisUpdate)")
    next_update = single.next_update_utc
    holds_until = this_update + max_age if next_update is None else next_update.timestamp()
    if now >= holds_until:
        raise AnswerError("an answer whose time is over (nextUpdate)")
    until = min(holds_until, now + max_age)
    if single.certificate_status is OCSPCertStatus.GOOD:
        return Answer("good", until, "good")
    if single.certificate_status is OCSPCertStatus.REVOKED:
        return Answer("revoked", until, f"serial {single.serial_number:x} is revoked")
    return Answer(
        "unknown", min(until, now + UNKNOWN_FOR), f"serial {single.serial_number:x} is unknown to the responder"
    )
