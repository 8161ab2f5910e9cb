"""Answers a layer gives in the application's stead: values, with no ASGI in them.

``Denial`` becomes an RFC 9457 problem (see ``refusal``); ``Reply`` runs an ASGI app of the layer's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from ._asgi import ASGIApp

TITLES: Mapping[int, str] = MappingProxyType(
    {
        # Typed out: http.HTTPStatus changed its phrases for 413 and 422 between Python versions.
        300: "Multiple Choices",
        301: "Moved Permanently",
        302: "Found",
        303: "See Other",
        307: "Temporary Redirect",
        308: "Permanent Redirect",
        400: "Bad Request",
        401: "Unauthorized",
        402: "Payment Required",
        403: "Forbidden",
        404: "Not Found",
        405: "Method Not Allowed",
        406: "Not Acceptable",
        407: "Proxy Authentication Required",
        408: "Request Timeout",
        409: "Conflict",
        410: "Gone",
        411: "Length Required",
        412: "Precondition Failed",
        413: "Content Too Large",
        414: "URI Too Long",
        415: "Unsupported Media Type",
        416: "Range Not Satisfiable",
        417: "Expectation Failed",
        421: "Misdirected Request",
        422: "Unprocessable Content",
        423: "Locked",
        424: "Failed Dependency",
        425: "Too Early",
        426: "Upgrade Required",
        428: "Precondition Required",
        429: "Too Many Requests",
        431: "Request Header Fields Too Large",
        451: "Unavailable For Legal Reasons",
        500: "Internal Server Error",
        501: "Not Implemented",
        502: "Bad Gateway",
        503: "Service Unavailable",
        504: "Gateway Timeout",
        507: "Insufficient Storage",
        508: "Loop Detected",
        511: "Network Authentication Required",
    }
)


class Reason(StrEnum):
    """Why a request was refused: stable codes, the same in the audit log, in metrics and in tests.

    Closed: other people's layers use codes of their own with a dot in them (``"acme.blocked"``).
    """

    # trusted_proxy
    FORWARDED_MALFORMED = "forwarded_malformed"
    FORWARDED_TOO_LONG = "forwarded_too_long"
    PEER_REWRITTEN = "peer_rewritten"
    # trusted_host
    HOST_MISSING = "host_missing"
    HOST_AMBIGUOUS = "host_ambiguous"
    HOST_MALFORMED = "host_malformed"
    HOST_UNKNOWN = "host_unknown"
    # https_redirect
    PLAINTEXT = "plaintext"
    PLAINTEXT_REDIRECTED = "plaintext_redirected"
    # rate_limit
    RATE_LIMITED = "rate_limited"
    BANNED = "banned"
    COST_EXCEEDED = "cost_exceeded"
    RATE_LIMIT_UNAVAILABLE = "rate_limit_unavailable"
    # mutual_tls
    TLS_UNKNOWN = "tls_unknown"
    CERTIFICATE_MISSING = "certificate_missing"
    CERTIFICATE_UNVERIFIED = "certificate_unverified"
    CERTIFICATE_MALFORMED = "certificate_malformed"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_NOT_ALLOWED = "certificate_not_allowed"
    CERTIFICATE_UNTRUSTED = "certificate_untrusted"
    CERTIFICATE_PURPOSE_WRONG = "certificate_purpose_wrong"
    CERTIFICATE_KEY_WEAK = "certificate_key_weak"
    CERTIFICATE_NOT_SVID = "certificate_not_svid"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATE_PIN_MISMATCH = "certificate_pin_mismatch"
    CERTIFICATE_FIELD_AMBIGUOUS = "certificate_field_ambiguous"
    PROXY_UNTRUSTED = "proxy_untrusted"
    REVOCATION_UNKNOWN = "revocation_unknown"
    # bearer
    TOKEN_MISSING = "token_missing"
    CREDENTIALS_AMBIGUOUS = "credentials_ambiguous"
    CREDENTIALS_MALFORMED = "credentials_malformed"
    TOKEN_TOO_LARGE = "token_too_large"
    TOKEN_MALFORMED = "token_malformed"
    TOKEN_HEADER_INVALID = "token_header_invalid"
    TOKEN_CRITICAL_HEADER = "token_critical_header"
    TOKEN_TYPE_WRONG = "token_type_wrong"
    TOKEN_ALGORITHM_REFUSED = "token_algorithm_refused"
    TOKEN_KEY_UNKNOWN = "token_key_unknown"
    TOKEN_KEY_MISMATCH = "token_key_mismatch"
    TOKEN_SIGNATURE_INVALID = "token_signature_invalid"
    TOKEN_CLAIM_MISSING = "token_claim_missing"
    TOKEN_CLAIM_INVALID = "token_claim_invalid"
    TOKEN_ISSUER_WRONG = "token_issuer_wrong"
    TOKEN_AUDIENCE_WRONG = "token_audience_wrong"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"
    TOKEN_LIFETIME_EXCEEDED = "token_lifetime_exceeded"
    TOKEN_BINDING_UNVERIFIED = "token_binding_unverified"
    TOKEN_BINDING_MISMATCH = "token_binding_mismatch"
    KEYS_UNAVAILABLE = "keys_unavailable"
    TOKEN_NOT_ENCRYPTED = "token_not_encrypted"
    TOKEN_UNDECIPHERABLE = "token_undecipherable"
    TOKEN_INACTIVE = "token_inactive"
    INTROSPECTION_UNAVAILABLE = "introspection_unavailable"
    TOKEN_REVOKED = "token_revoked"
    TOKEN_STATUS_UNKNOWN = "token_status_unknown"
    DPOP_PROOF_MISSING = "dpop_proof_missing"
    DPOP_PROOF_INVALID = "dpop_proof_invalid"
    DPOP_PROOF_REPLAYED = "dpop_proof_replayed"
    DPOP_NONCE_REQUIRED = "dpop_nonce_required"
    REPLAY_STORE_UNAVAILABLE = "replay_store_unavailable"
    SCOPE_INSUFFICIENT = "scope_insufficient"
    AUTHENTICATION_INSUFFICIENT = "authentication_insufficient"
    FAILURES_EXCEEDED = "failures_exceeded"
    # api_keys
    API_KEY_MISSING = "api_key_missing"
    API_KEY_MALFORMED = "api_key_malformed"
    API_KEY_UNKNOWN = "api_key_unknown"
    API_KEY_EXPIRED = "api_key_expired"
    API_KEYS_UNAVAILABLE = "api_keys_unavailable"
    # throttle
    THROTTLED = "throttled"
    THROTTLE_TIMEOUT = "throttle_timeout"
    THROTTLE_SHED = "throttle_shed"
    # authorization
    RULE_MISSING = "rule_missing"
    RULES_INCOMPLETE = "rules_incomplete"
    PRINCIPAL_MISSING = "principal_missing"
    NETWORK_NOT_ALLOWED = "network_not_allowed"
    ROLE_MISSING = "role_missing"
    PERMISSION_MISSING = "permission_missing"
    CLAIM_MISMATCH = "claim_mismatch"
    AUTHORIZATION_DETAILS_INSUFFICIENT = "authorization_details_insufficient"
    PREDICATE_REFUSED = "predicate_refused"
    PREDICATE_FAILED = "predicate_failed"
    DECISION_POINT_REFUSED = "decision_point_refused"
    DECISION_POINT_UNAVAILABLE = "decision_point_unavailable"
    # audit
    AUDIT_UNAVAILABLE = "audit_unavailable"
    # sanitized_errors, and the flow where no error layer stands outside
    INTERNAL_ERROR = "internal_error"
    HTTP_ERROR = "http_error"


@dataclass(frozen=True, slots=True)
class Denial:
    """A refusal, before it has taken the shape of a response.

    ``reason`` a stable code, for the audit log; it never reaches the client. ``status`` of the response.
    ``detail`` is public: what would help an honest client. ``title`` defaults to the status phrase, as RFC 9457
    section 4.2.1 wants for ``about:blank``. ``headers`` go out with it (a challenge, ``Retry-After``).
    ``members`` are extension members of the problem. ``error_id`` (a UUID) is published as ``instance`` and
    names the log record of a crash. ``note`` is private: audit log only. ``close_code`` answers a WebSocket whose
    server cannot send a refusal as an HTTP response.
    """

    reason: str
    status: int
    detail: str = ""
    title: str = ""
    type: str = "about:blank"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    members: Mapping[str, Any] = field(default_factory=dict)
    error_id: str = ""
    note: str = ""
    close_code: int = 0

    @property
    def websocket_code(self) -> int:
        """The close code: 1013 (try again later) for an outage, else 1008 (policy violation)."""
        return self.close_code or (1013 if self.status == 503 else 1011 if self.status >= 500 else 1008)

    def problem(self, request_id: str) -> dict[str, Any]:
        """The RFC 9457 document, as a dictionary in its published order."""
        document: dict[str, Any] = {
            "type": self.type,
            "title": self.title or TITLES.get(self.status, "Error"),
            "status": self.status,
        }
        if self.detail:
            document["detail"] = self.detail
        if self.error_id:
            document["instance"] = f"urn:uuid:{self.error_id}"
        document["request_id"] = request_id
        document.update(self.members)
        return document


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is an ASGI app of the layer's own: a redirect, metadata, a health document.

    With a ``reason`` it stands for a refusal (a redirect instead of the plain-text answer): it is recorded as one,
    and shadow mode suspends it. Without one it is an ordinary answer and is given in shadow mode too.
    """

    app: ASGIApp
    reason: str = ""
