"""What is there: an endpoint asked, by some thirty connections, without a judgement."""

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from ...._pem import load_authorities
from .. import hello
from ..certificate import SentCertificate, read_certificate
from ..endpoint import Endpoint, NoAnswerError
from ..handshake import Connection, looking_context, present, why
from .head import Head, ask_for_head
from .suites import GROUPS, TLS13_SUITES, older_suites

VERSIONS = {
    "TLSv1.3": hello.TLS13,
    "TLSv1.2": hello.TLS12,
    "TLSv1.1": hello.TLS11,
    "TLSv1": hello.TLS10,
    "SSLv3": hello.SSL3,
}

PATIENCE = 12
"""All connections together may take so many times the timeout of one."""


@dataclass(slots=True)
class Facts:
    """What an endpoint showed.

    ``versions`` maps to None where there was no answer. ``unfinished`` names what could not be looked at to its end.
    ``trust_error`` is OpenSSL's word for why the chain does not verify, ``strict_error`` why it does only without
    RFC 5280's finer points, which Python 3.13 insists on. ``is_let_in`` says whether there was an HTTP answer with the
    client certificate that the user gave, and is None where none was given or asked for.
    """

    endpoint: Endpoint
    at: datetime
    versions: dict[str, bool | None] = field(default_factory=dict)
    suites: dict[str, tuple[str, ...]] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    chain: tuple[SentCertificate, ...] = ()
    trust_error: str | None = None
    strict_error: str | None = None
    client_certificate: Literal["none", "optional", "required"] = "none"
    is_let_in: bool | None = None
    alpn: tuple[str, ...] = ()
    resumption: dict[str, bool] = field(default_factory=dict)
    head: Head | None = None
    unfinished: list[str] = field(default_factory=list)


def inspect(endpoint: Endpoint, *, ca: str | None = None, cert: str | None = None, key: str | None = None) -> Facts:
    """Raises ``NoAnswerError`` if there is no TLS to inspect, ``ConfigurationError`` for files that cannot be used."""
    trusting = _trusting_context(ca)
    presenting = looking_context()
    if cert is not None:
        present(presenting, cert, key)
    endpoint.ends = time.monotonic() + PATIENCE * endpoint.timeout
    facts = Facts(endpoint, datetime.now(UTC))
    _look_at_versions(facts)
    _look_at_certificates(facts)
    with _or_unfinished(facts, "HTTP"):
        _look_at_answers(facts, presenting, has_certificate=cert is not None)
    _look_at_trust(facts, trusting)
    with _or_unfinished(facts, "ALPN"):
        _look_at_protocols(facts, presenting)
    with _or_unfinished(facts, "suites"):
        _look_at_suites(facts)
    with _or_unfinished(facts, "groups"):
        _look_at_groups(facts)
        _look_again(facts)
    return facts


@contextmanager
def _or_unfinished(facts: Facts, what: str) -> Iterator[None]:
    """Silence in the middle of an inspection does not end it: the rest may still be seen."""
    try:
        yield
    except NoAnswerError:
        facts.unfinished.append(what)


def _look_at_versions(facts: Facts) -> None:
    for name, number in VERSIONS.items():
        try:
            taken = hello.ask(facts.endpoint, number, tuple(_suites_of(name)), tuple(GROUPS))
        except NoAnswerError:
            if not facts.versions:
                raise  # nothing has answered yet: no endpoint to speak of
            facts.unfinished.append(name)
            facts.versions[name] = None
        else:
            facts.versions[name] = taken is not None
    if not any(facts.versions.values()):
        raise NoAnswerError(
            "it refuses every TLS hello, or closes the connection (does it want another --server-name?)"
        )


def _look_at_certificates(facts: Facts) -> None:
    with Connection(facts.endpoint, looking_context()) as connection:
        if not connection.chain or (connection.error is not None and not connection.wants_certificate):
            raise NoAnswerError(why(connection.error))
        facts.chain = tuple(map(read_certificate, connection.chain))
        if connection.wants_certificate:
            facts.head = ask_for_head(connection, facts.endpoint) if connection.error is None else None
            facts.client_certificate = "required" if facts.head is None else "optional"


def _look_at_answers(facts: Facts, context: ssl.SSLContext, *, has_certificate: bool) -> None:
    """HTTP, with the certificate that the user gave if one is wanted."""
    with Connection(facts.endpoint, context) as connection:
        head = ask_for_head(connection, facts.endpoint) if connection.error is None else None
    facts.head = head or facts.head
    if has_certificate and facts.client_certificate != "none":
        facts.is_let_in = head is not None
    _look_at_resumption(facts, context, connection)


def _look_at_resumption(facts: Facts, context: ssl.SSLContext, connection: Connection) -> None:
    """Once per version: what takes up no session under TLS 1.3 may well do so under 1.2."""
    _resume(facts, context, connection)
    if facts.versions["TLSv1.2"] and "TLSv1.2" not in facts.resumption:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with Connection(facts.endpoint, context) as older:
            pass
        _resume(facts, context, older)
        context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED


def _resume(facts: Facts, context: ssl.SSLContext, before: Connection) -> None:
    if before.error is not None:
        return
    with Connection(facts.endpoint, context, session=before.tls.session) as again:
        if again.error is None:
            facts.resumption[before.tls.version() or ""] = bool(again.tls.session_reused)


def _look_at_trust(facts: Facts, context: ssl.SSLContext) -> None:
    strict = _why_not_trusted(facts.endpoint, context)
    if strict is not None:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        facts.trust_error = _why_not_trusted(facts.endpoint, context)
        facts.strict_error = strict if facts.trust_error is None else None


def _why_not_trusted(endpoint: Endpoint, context: ssl.SSLContext) -> str | None:
    with Connection(endpoint, context) as connection:
        if isinstance(connection.error, ssl.SSLCertVerificationError):
            return connection.error.verify_message
        if not connection.chain:
            raise NoAnswerError(why(connection.error))
        return None  # whatever failed, failed after the certificate was found good


def _look_at_protocols(facts: Facts, context: ssl.SSLContext) -> None:
    for name in ("h2", "http/1.1"):
        context.set_alpn_protocols([name])
        with Connection(facts.endpoint, context) as connection:
            if connection.error is None and connection.tls.selected_alpn_protocol() == name:
                facts.alpn += (name,)
            elif connection.error is not None and connection.wants_certificate:
                raise NoAnswerError("the handshake does not get that far without a certificate")


def _look_at_suites(facts: Facts) -> None:
    """What is taken is left out of the next hello, until one is refused: as many connections as there are suites."""
    for version in ("TLSv1.3", "TLSv1.2"):
        left = dict(_suites_of(version))
        facts.suites[version] = ()
        while facts.versions[version]:
            choice = hello.ask(facts.endpoint, VERSIONS[version], tuple(left), tuple(GROUPS))
            if choice is None or choice.suite not in left:
                break
            facts.suites[version] += (left.pop(choice.suite),)


def _look_at_groups(facts: Facts) -> None:
    """Of the newest version; a server has one list for all. Only suites that exchange keys over a group are offered."""
    version = _newest(facts)
    suites = [number for number, name in _suites_of(version).items() if name.startswith(("TLS_", "ECDHE-"))]
    left = dict(GROUPS)
    while True:
        choice = hello.ask(facts.endpoint, VERSIONS[version], suites, tuple(left))
        if choice is None or choice.group not in left:
            return
        facts.groups += (left.pop(choice.group),)


def _look_again(facts: Facts) -> None:
    """What was taken at first still is: a server that by now refuses us altogether would seem to have no weakness."""
    version = _newest(facts)
    if hello.ask(facts.endpoint, VERSIONS[version], tuple(_suites_of(version)), tuple(GROUPS)) is None:
        raise NoAnswerError("it has begun to refuse us")


def _newest(facts: Facts) -> str:
    return next(name for name in VERSIONS if facts.versions[name])


def _suites_of(version: str) -> Mapping[int, str]:
    return TLS13_SUITES if version == "TLSv1.3" else older_suites()


def _trusting_context(ca: str | None) -> ssl.SSLContext:
    """As lenient as the other in everything but the chain."""
    context = looking_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    if ca is None:
        context.load_default_certs()
    else:
        load_authorities(context, ca, f"--ca {ca!r}")
    return context
