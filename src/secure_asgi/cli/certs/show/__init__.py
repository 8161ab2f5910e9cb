"""``secure-asgi certs show``: a live endpoint, inspected and graded."""

import json
import sys
from dataclasses import asdict
from typing import Any

from ....errors import ConfigurationError
from ..certificate import SentCertificate
from ..endpoint import Endpoint, NoAnswerError
from .grade import PROFILES, Line, grade, judge, meets
from .inspection import Facts, inspect


def show(
    target: str,
    *,
    server_name: str | None,
    ca: str | None,
    cert: str | None,
    key: str | None,
    profile: str,
    timeout: float,
    as_json: bool,
) -> int:
    """0 if it meets the profile, 1 if not, 2 if it cannot be inspected, or not to the end.

    Raises ``ConfigurationError`` for options and files that cannot be used.
    """
    if key is not None and cert is None:
        raise ConfigurationError("--key goes with --cert, the certificate that it is the key of")
    endpoint = Endpoint.parse(target, server_name=server_name, timeout=timeout)
    if not as_json:
        _need_rich()
    try:
        facts = inspect(endpoint, ca=ca, cert=cert, key=key)
    except NoAnswerError as error:
        print(f"secure-asgi: {endpoint}: {error}", file=sys.stderr)
        return 2
    lines = judge(facts, PROFILES[profile])
    if as_json:
        print(json.dumps(_document(facts, lines, profile), indent=2))
    else:
        from .report import print_report

        print_report(facts, lines, profile, grade(facts))
    if not meets(lines):
        return 1
    return 2 if facts.unfinished else 0


def _need_rich() -> None:
    try:
        import rich  # noqa: F401
    except ImportError as missing:
        raise ConfigurationError("the table needs rich: pip install 'secure-asgi[cli]', or ask for --json") from missing


def _document(facts: Facts, lines: list[Line], profile: str) -> dict[str, Any]:
    """The keys are documented, and stay."""
    return {
        "endpoint": str(facts.endpoint),
        "address": facts.endpoint.address,
        "server_name": facts.endpoint.server_name,
        "at": facts.at.isoformat(timespec="seconds"),
        "profile": profile,
        "meets_profile": meets(lines) and not facts.unfinished,
        "grade": grade(facts),
        "lines": [asdict(line) for line in lines],
        "versions": facts.versions,
        "suites": facts.suites,
        "groups": facts.groups,
        "chain": [_certificate(one) for one in facts.chain],
        "trust_error": facts.trust_error,
        "strict_error": facts.strict_error,
        "client_certificate": facts.client_certificate,
        "is_let_in": facts.is_let_in,
        "alpn": facts.alpn,
        "resumption": facts.resumption,
        "http_status": facts.head.status if facts.head is not None else None,
        "hsts": facts.head.hsts if facts.head is not None else None,
        "unfinished": facts.unfinished,
    }


def _certificate(one: SentCertificate) -> dict[str, Any]:
    return {
        name: value.isoformat() if name in ("not_before", "not_after") else value for name, value in asdict(one).items()
    }
