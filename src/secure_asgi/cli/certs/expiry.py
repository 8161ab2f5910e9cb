"""``secure-asgi certs expiry``: what is left of every certificate, for cron and for monitoring."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ...errors import ConfigurationError
from ...tls import certificates_in
from ..printable import in_days, printable
from .certificate import read_certificate
from .endpoint import Endpoint, NoAnswerError
from .handshake import chain_of


@dataclass(frozen=True, slots=True)
class _Found:
    source: str
    subject: str
    sha256: str
    not_after: datetime
    remaining: timedelta


def expiry(targets: Sequence[str], *, warn_days: int, timeout: float, as_json: bool, quiet: bool) -> int:
    """0 if every certificate lasts longer than ``warn_days``, 1 if one does not, 2 if one could not be looked at.

    2 has precedence: a look that could not be taken must not pass for a smaller trouble.
    """
    if warn_days < 0:
        raise ConfigurationError(f"--warn-days is 0 or more, got {warn_days}")
    now = datetime.now(UTC)
    found: list[_Found] = []
    failed: dict[str, str] = {}
    for target in targets:
        try:
            found += _look_at(target, now, timeout)
        except (ConfigurationError, NoAnswerError) as error:
            failed[target] = str(error)
    found.sort(key=lambda one: one.remaining)
    threshold = timedelta(days=warn_days)
    ending = [one for one in found if one.remaining <= threshold]
    if as_json:
        print(json.dumps(_document(found, failed, warn_days), indent=2))
    else:
        _print_lines(ending if quiet else found, threshold)
    for target, problem in failed.items():
        print(f"secure-asgi: {target}: {problem}", file=sys.stderr)
    return 2 if failed else 1 if ending else 0


def _look_at(target: str, now: datetime, timeout: float) -> Iterable[_Found]:
    """What is a file is a file; anything else is an endpoint if it is written like one."""
    if os.path.exists(target) or ":" not in target:
        return [
            _Found(target, one.subject, one.sha256, one.not_after, one.remaining)
            for one in certificates_in(target, at=now)
        ]
    sent = map(read_certificate, chain_of(Endpoint.parse(target, timeout=timeout)))
    return [_Found(target, one.subject, one.sha256, one.not_after, one.not_after - now) for one in sent]


def _print_lines(found: Sequence[_Found], threshold: timedelta) -> None:
    width = max((len(one.source) for one in found), default=0)
    for one in found:
        verdict = "expired" if one.remaining <= timedelta() else "ending" if one.remaining <= threshold else "ok"
        until = f"{one.not_after:%Y-%m-%d %H:%M}Z"
        print(f"{verdict:<8}{in_days(one.remaining):<14}{until}  {one.source:<{width}}  {printable(one.subject)}")


def _document(found: Sequence[_Found], failed: dict[str, str], warn_days: int) -> dict[str, Any]:
    """The keys are documented, and stay."""
    return {
        "warn_days": warn_days,
        "certificates": [
            {
                "source": one.source,
                "subject": one.subject,
                "sha256": one.sha256,
                "not_after": one.not_after.isoformat(),
                "remaining_seconds": int(one.remaining.total_seconds()),
                "within_warn_days": one.remaining <= timedelta(days=warn_days),
            }
            for one in found
        ],
        "failed": [{"source": target, "error": problem} for target, problem in failed.items()],
    }
