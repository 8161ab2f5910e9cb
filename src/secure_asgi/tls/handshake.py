"""Handshakes that fail: servers pass over them in silence, and here they become something to be told (TLS-1, CERT-1).

asyncio, uvloop and trio do a handshake through ``SSLContext.sslobject_class``; a class of ours there sees it fail.
"""

import logging
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from .._chains import chain_of
from ..denial import Reason

logger = logging.getLogger("secure_asgi")

MAX_PER_SECOND = 10
"""Failures told of in one second; the rest is counted."""

TEXT_LIMIT = 256
"""Characters kept of a name or message: a stranger's certificate is not to fill a log."""

NO_FAILURE = (
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
    # Somebody left in the middle, as port checks do; most servers do not even let the handshake know.
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    ssl.SSLSyscallError,
)

REASONS: Mapping[int, Reason] = {
    # X509_V_ERR_... of OpenSSL, whose numbers do not change.
    2: Reason.CERTIFICATE_UNTRUSTED,  # UNABLE_TO_GET_ISSUER_CERT
    3: Reason.REVOCATION_UNKNOWN,  # UNABLE_TO_GET_CRL
    7: Reason.CERTIFICATE_UNTRUSTED,  # CERT_SIGNATURE_FAILURE
    8: Reason.REVOCATION_UNKNOWN,  # CRL_SIGNATURE_FAILURE
    9: Reason.CERTIFICATE_NOT_YET_VALID,
    10: Reason.CERTIFICATE_EXPIRED,
    11: Reason.REVOCATION_UNKNOWN,  # CRL_NOT_YET_VALID
    12: Reason.REVOCATION_UNKNOWN,  # CRL_HAS_EXPIRED
    18: Reason.CERTIFICATE_UNTRUSTED,  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: Reason.CERTIFICATE_UNTRUSTED,  # SELF_SIGNED_CERT_IN_CHAIN
    20: Reason.CERTIFICATE_UNTRUSTED,  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: Reason.CERTIFICATE_UNTRUSTED,  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
    23: Reason.CERTIFICATE_REVOKED,
    26: Reason.CERTIFICATE_PURPOSE_WRONG,
    33: Reason.REVOCATION_UNKNOWN,  # UNABLE_TO_GET_CRL_ISSUER
    66: Reason.CERTIFICATE_KEY_WEAK,  # EE_KEY_TOO_SMALL
    67: Reason.CERTIFICATE_KEY_WEAK,  # CA_KEY_TOO_SMALL
    68: Reason.CERTIFICATE_KEY_WEAK,  # CA_MD_TOO_WEAK
}

_WITHOUT_A_CERTIFICATE = "PEER_DID_NOT_RETURN_A_CERTIFICATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeFailure:
    """A TLS handshake that did not succeed, as far as the server's side knows.

    ``time`` is aware, UTC. ``reason`` is a stable code: a ``Reason`` beginning with ``certificate_`` or ``revocation_``
    where the client's certificate is at fault, ``tls_alert_...`` where the client has refused us (RFC 8446 section
    6.2), else ``tls_...`` after OpenSSL's own name for it. ``verify_code`` and ``verify_message`` are OpenSSL's of the
    certificate, 0 and empty without one. ``sha256`` (lower-case hex), ``subject`` and ``issuer`` (RFC 4514) are those
    of the certificate that was refused, and ``tls_version`` is ``"TLSv1.3"`` or ``"TLSv1.2"``: empty where not known.
    ``suppressed`` is how many failures before this one were not told. All text is cut at 256 characters, and subject
    and issuer are a stranger's: nothing in them is proven.

    The client's address is not known here, nor the name it asked for.
    """

    time: datetime
    reason: str
    verify_code: int = 0
    verify_message: str = ""
    sha256: str = ""
    subject: str = ""
    issuer: str = ""
    tls_version: str = ""
    suppressed: int = 0

    def record(self) -> dict[str, Any]:
        """As a record of the audit log: the same names, what is absent left out."""
        is_about_a_certificate = not self.reason.startswith("tls_")
        certificate = {"sha256": self.sha256, "subject": self.subject, "issuer": self.issuer}
        said = {
            "time": self.time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "event": "authn_login_fail" if is_about_a_certificate else "input_validation_fail",
            "outcome": "denied",
            "reason": self.reason,
            "certificate": {name: value for name, value in certificate.items() if value},
            "tls_version": self.tls_version,
            "suppressed": self.suppressed,
            "note": f"{self.verify_code}: {self.verify_message}" if self.verify_code else "",
        }
        return {name: value for name, value in said.items() if value not in ("", 0, {})}


OnHandshakeFailure = Callable[[HandshakeFailure], object]


class FailureReports:
    """Tells ``hook`` of failures, at most ten a second, and keeps what it raises away from the handshake."""

    def __init__(self, hook: OnHandshakeFailure) -> None:
        self._hook = hook
        self._clock: Callable[[], float] = time.monotonic
        self._second = 0.0
        self._told = 0
        self._suppressed = 0
        self._has_complained = False

    def take(self, connection: ssl.SSLObject, error: ssl.SSLError) -> None:
        now = self._clock()
        if now - self._second >= 1:
            self._second, self._told = now, 0
        if self._told >= MAX_PER_SECOND:
            self._suppressed += 1
            return
        self._told += 1
        suppressed, self._suppressed = self._suppressed, 0
        try:
            self._hook(_failure(connection, error, suppressed))
        except Exception:
            if not self._has_complained:
                self._has_complained = True
                logger.exception("on_handshake_failure= raised; said once")


def reporting_class(hook: OnHandshakeFailure) -> type[ssl.SSLObject]:
    """For ``SSLContext.sslobject_class``: an ``SSLObject`` that tells of the handshakes that fail."""
    reports = FailureReports(hook)

    class ReportingObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except NO_FAILURE:
                raise
            except ssl.SSLError as error:
                reports.take(self, error)
                raise

    return ReportingObject


def _failure(connection: ssl.SSLObject, error: ssl.SSLError, suppressed: int) -> HandshakeFailure:
    code = getattr(error, "verify_code", 0)
    refused = _refused_certificate(connection) if code else {}
    cipher = connection.cipher()
    return HandshakeFailure(
        time=datetime.now(UTC),
        reason=_reason(getattr(error, "reason", None) or "", code),
        verify_code=code,
        verify_message=str(getattr(error, "verify_message", ""))[:TEXT_LIMIT],
        # ``version()`` speaks only of a handshake that is done. All our suites belong to one version.
        tls_version=cipher[1] if cipher is not None else "",
        suppressed=suppressed,
        **refused,
    )


def _reason(named: str, code: int) -> str:
    if code:
        return str(REASONS.get(code, Reason.CERTIFICATE_UNVERIFIED))
    if named == _WITHOUT_A_CERTIFICATE:
        return str(Reason.CERTIFICATE_MISSING)
    _, is_alert, alert = named.partition("_ALERT_")
    return f"tls_alert_{alert.lower()}" if is_alert else f"tls_{named.lower() or 'handshake_failed'}"


def _refused_certificate(connection: ssl.SSLObject) -> dict[str, str]:
    """Of a certificate that did not verify OpenSSL keeps the path as far as it came, and nothing else."""
    try:
        from cryptography.x509 import load_der_x509_certificate  # only here: loaded with the first failure

        der = chain_of(connection, "verified")[0]
        said = {"sha256": sha256(der).hexdigest()}
        leaf = load_der_x509_certificate(der)
        return said | {
            "subject": leaf.subject.rfc4514_string()[:TEXT_LIMIT],
            "issuer": leaf.issuer.rfc4514_string()[:TEXT_LIMIT],
        }
    except Exception:
        # A stranger's certificate, through an interface that is private before Python 3.13.
        return {}
