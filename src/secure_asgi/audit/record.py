"""What a record says: an allow-list of fields, each bounded, nothing that could be a credential (RED-1, INJ-1)."""

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..denial import Reason
from ..exchange import Decision, Exchange, Outcome

PATH_LIMIT = 2048
FIELD_LIMIT = 256
RECORD_LIMIT = 32 * 1024
"""Characters; what is longer is cut, and ends in the mark."""
CUT = "...[cut]"

Record = dict[str, Any]
HeaderValue = bytes | tuple[bytes, ...] | None


class Request(NamedTuple):
    """What is kept of a request: copied when it comes in, because the exchange never holds the scope."""

    method: str
    path: str
    http_version: str
    host: HeaderValue
    user_agent: HeaderValue


class Handed(NamedTuple):
    """What the request's own thread hands over; all the rest is done in the writer's."""

    request: Request
    exchange: Exchange
    ended: float
    seconds: float
    outcome: Outcome | None
    error_type: str


def record_of(handed: Handed) -> Record:
    """The record, in its published order; what is absent is left out."""
    request, exchange, ended, seconds, outcome, error_type = handed
    denial = exchange.denial
    refusing = next((d for d in exchange.decisions if d.verdict == "reply" and d.reason), None)
    reason = denial.reason if denial is not None else refusing.reason if refusing is not None else ""
    said = {
        "time": timestamp(ended - seconds),
        "event": _event(reason, exchange),
        "outcome": _outcome(outcome, reason, exchange.status),
        "reason": str(reason),
        "status": exchange.status,
        "method": request.method or "WEBSOCKET",
        "path": cut(request.path, PATH_LIMIT),
        "route": exchange.route,
        "http_version": request.http_version,
        "scheme": exchange.scheme,
        "host": _text(request.host),
        "client": exchange.client,
        "request_id": exchange.request_id,
        "client_request_id": cut(exchange.client_request_id, FIELD_LIMIT),
        "user_agent": _text(request.user_agent),
        "principal": _principal(exchange),
        "certificate": _certificate(exchange),
        "decisions": [_decision(decision) for decision in exchange.decisions],
        "duration_ms": round(1000 * seconds, 3),
        "bytes_sent": exchange.bytes_sent,
        "error_type": error_type,
        "error_id": denial.error_id if denial is not None else "",
        "note": cut(denial.note, FIELD_LIMIT) if denial is not None else "",
    }
    return {name: value for name, value in said.items() if value not in (None, "", {}, [])}


def encode(record: Record) -> str:
    """One line of JSON, ASCII: control, bidirectional and line-breaking characters leave escaped.

    A record over 32 KiB loses its decisions, which are the only part that could be so long, and says so.
    """
    line = json.dumps(record, separators=(",", ":"), default=str).replace("\x7f", "\\u007f")
    if len(line) > RECORD_LIMIT:
        short = {**{name: value for name, value in record.items() if name != "decisions"}, "cut": True}
        line = json.dumps(short, separators=(",", ":"), default=str).replace("\x7f", "\\u007f")[:RECORD_LIMIT]
    return line


def timestamp(seconds: float) -> str:
    """RFC 3339, UTC, microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + CUT


_EVENTS = (
    # By the beginning of the reason: the vocabulary of the OWASP logging cheat sheet.
    ("token_", "authn_login_fail"),
    ("credentials_", "authn_login_fail"),
    ("certificate_", "authn_login_fail"),
    ("tls_", "authn_login_fail"),
    ("proxy_untrusted", "authn_login_fail"),
    ("revocation_unknown", "authn_login_fail"),
    ("rate_limited", "excess_rate_limit_exceeded"),
    ("throttle", "excess_rate_limit_exceeded"),
    ("banned", "excess_rate_limit_exceeded"),
    ("host_", "input_validation_fail"),
    ("forwarded_", "input_validation_fail"),
    ("internal_error", "sys_crash"),
    ("audit_unavailable", "sys_monitor_disabled"),
)
_EVENTS_BY_STATUS = {401: "authn_login_fail", 403: "authz_fail", 429: "excess_rate_limit_exceeded"} | dict.fromkeys(
    (400, 405, 413, 414, 415, 422, 431), "input_validation_fail"
)


def _event(reason: str, exchange: Exchange) -> str:
    status = exchange.status
    if status == 403 and any(d.layer == "authorization" and d.verdict == "deny" for d in exchange.decisions):
        return "authz_fail"  # whatever it asked for: a certificate is no sign-in that failed there
    for beginning, event in _EVENTS:
        if reason.startswith(beginning):
            return event
    return _EVENTS_BY_STATUS.get(status or 0, "request")


def _outcome(outcome: Outcome | None, reason: str, status: int | None) -> str:
    if outcome in ("failed", "aborted", "cancelled"):
        return outcome
    is_refusal = (bool(reason) and reason != Reason.HTTP_ERROR) or status in (401, 403, 429)
    return "denied" if is_refusal else "allowed"


def _text(value: HeaderValue) -> str:
    """A header value for a log: Latin-1, bounded; several lines are joined, so that the repetition shows."""
    if value is None:
        return ""
    joined = value if isinstance(value, bytes) else b", ".join(value)
    return cut(joined[: FIELD_LIMIT + 1].decode("latin-1"), FIELD_LIMIT)


def _principal(exchange: Exchange) -> dict[str, str]:
    who = exchange.principal
    if who is None:
        return {}
    named = {
        "subject": who.subject,
        "issuer": who.issuer,
        "client_id": who.client_id,
        "method": who.method,
        "token_id": who.token_id,
    }
    return {name: cut(value, FIELD_LIMIT) for name, value in named.items() if value}


def _certificate(exchange: Exchange) -> dict[str, str]:
    peer = exchange.peer_certificate
    if peer is None:
        return {}
    named = {"sha256": peer.sha256, "subject": peer.subject, "issuer": peer.issuer}
    return {name: cut(value, FIELD_LIMIT) for name, value in named.items() if value}


def _decision(decision: Decision) -> dict[str, str]:
    said = {
        "layer": decision.layer,
        "verdict": decision.verdict,
        "reason": str(decision.reason),
        "note": cut(decision.note, FIELD_LIMIT),
    }
    return {name: value for name, value in said.items() if value}
