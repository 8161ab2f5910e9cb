"""The limit: what the eight layers do, in one function written by hand for this one configuration.

The kernels are the library's (the walk along the proxies, the counters, the challenges, the claims, the audit writer);
what is missing is everything that makes layers: hooks, merging, other options, modes, exempt paths, WebSockets, foreign
middlewares in between. ``check`` (in ``stack``) holds it to the same answers and the same audit records.
"""

import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from starlette.authentication import AuthCredentials

from secure_asgi._asgi import read_fields
from secure_asgi._cache import TwoGenerations
from secure_asgi._paths import route_path, route_template
from secure_asgi.audit.record import Handed
from secure_asgi.audit.record import Request as Asked
from secure_asgi.audit.sinks import as_sink
from secure_asgi.audit.writer import Writer
from secure_asgi.bearer.challenge import MALFORMED, Challenges, credentials_of
from secure_asgi.bearer.claims import DEFAULT_LEEWAY, DEFAULT_MAX_BYTES, ClaimRules, roles_of, scopes_of
from secure_asgi.bearer.keys import ASYMMETRIC, KeySet, named_algorithms
from secure_asgi.bearer.middleware import CACHE_SECONDS
from secure_asgi.denial import Denial, Reason
from secure_asgi.errors import ForwardedError, TokenError
from secure_asgi.exchange import SCOPE_KEY, Decision, Principal, new_uuid
from secure_asgi.flow import INTERNAL_ERROR
from secure_asgi.hsts import _IP_HOST
from secure_asgi.rate_limit.counting import Bucket
from secure_asgi.rate_limit.fields import FOREVER, IETFFields, Policy, horizon_of
from secure_asgi.rate_limit.keys import address_key, is_preflight, preflight_key
from secure_asgi.rate_limit.limits import read_limits
from secure_asgi.rate_limit.memory import MemoryStore
from secure_asgi.rate_limit.refusals import exceeded
from secure_asgi.security_headers import API, CSP, DISCLOSING, DOCS_CSP, HTML_DOCS
from secure_asgi.trusted_proxy.chain import NOBODY, Chain
from secure_asgi.trusted_proxy.middleware import _ACCEPTED_ID, _CLAIMS, _DASHED

from .service import HOST, ISSUER, PROXIES, UNREACHED

logger = logging.getLogger("secure_asgi.errors")

LINES = tuple((name.encode(), value.encode()) for name, value in API.items() if value is not None)
DOCS_LINES = tuple((name, DOCS_CSP.encode() if name == CSP.encode() else value) for name, value in LINES)
DROPPED = frozenset(name.encode() for name in DISCLOSING)
WATCHED = DROPPED | {name for name, _ in LINES} | {b"strict-transport-security", b"x-request-id"}
HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
UNREAD = _CLAIMS - {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-prefix"}
CREDENTIALS = frozenset(
    b"authorization client-cert cookie dpop proxy-authorization x-access-token x-api-key x-auth-token".split()
)
PASSES = [
    Decision(layer, "pass")
    for layer in ("security_headers", "hsts", "audit", "trusted_proxy", "https_redirect", "rate_limit:client", "bearer")
]
TO_PROXY, TO_HTTPS, TO_LIMIT, TO_BEARER = PASSES[:3], PASSES[:4], PASSES[:5], PASSES[:6]
FULL = Denial(
    Reason.AUDIT_UNAVAILABLE, 503, "The request cannot be recorded at the moment.", headers=((b"retry-after", b"1"),)
)


class Seen:
    """What the exchange is to the layers: the record of one request. Defaults are the class's, and cost nothing."""

    peer_certificate = None

    __slots__ = (
        "bytes_sent",
        "client",
        "client_request_id",
        "decisions",
        "denial",
        "error_type",
        "outcome",
        "principal",
        "request_id",
        "route",
        "scheme",
        "status",
    )

    def __init__(self, client: str | None, scheme: str) -> None:
        self.client = client
        self.scheme = scheme
        self.request_id = ""
        self.client_request_id = ""
        self.principal: Principal | None = None
        self.denial: Denial | None = None
        self.decisions = PASSES
        self.status: int | None = None
        self.route: str | None = None
        self.outcome: str | None = None
        self.error_type = ""
        self.bytes_sent = 0


def fused(
    app: Any, audit: Callable[[Any], object], *, limits: str = UNREACHED, clock: Callable[[], int] = time.monotonic_ns
) -> Any:
    """``app`` behind all eight concerns, with the options of ``service.eight_layers``."""
    chain = Chain(PROXIES, None, "x-forwarded-for")
    peer_of = lru_cache(1024)(chain.peer)
    walk = lru_cache(1024)(chain.walk)
    counted = read_limits(limits)
    policies = tuple(Policy(f"client-{limit.seconds}s", limit, 1) for limit in counted)
    buckets = [Bucket(policy.name, policy.limit, policy.limit.amount) for policy in policies]
    tell = IETFFields(policies).write
    counter = MemoryStore(strategy="sliding-window", max_keys=250_000, clock=clock).counter(buckets)
    hit, read = counter.hit, counter.read
    challenges = Challenges("api")
    keys = KeySet(ISSUER.jwks, algorithms=named_algorithms(ASYMMETRIC))
    rules = ClaimRules(ISSUER.issuer, (ISSUER.audience,), "jwt", DEFAULT_LEEWAY, None)
    verified: TwoGenerations[bytes, tuple[Principal, Any, float]] = TwoGenerations(10_000)
    writer = Writer([as_sink(audit)], 10_000)
    attach = getattr(audit, "attach", None)
    if attach is not None:
        attach(writer.flush)
    put = writer.put
    perf_counter, wall, monotonic = time.perf_counter, time.time, time.monotonic

    def refusal(standings: Any) -> Denial:
        return exceeded(policies, [read(0, standings[0], 1)], 1, "")

    def verify(token: bytes) -> tuple[Principal, Any, float]:
        now = wall()
        claims = rules.read(token, keys, DEFAULT_MAX_BYTES, now)
        scopes = scopes_of(claims)
        principal = Principal(
            subject=claims["sub"],
            issuer=claims["iss"],
            client_id=claims.get("client_id", ""),
            scopes=scopes,
            roles=roles_of(claims),
            claims=MappingProxyType(claims),
            token_id=claims.get("jti", ""),
        )
        lifetime = min(claims["exp"] + rules.leeway - now, CACHE_SECONDS)
        return principal, AuthCredentials(("authenticated", *sorted(scopes))), monotonic() + lifetime

    async def run(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        started = perf_counter()
        scope = dict(scope)
        raw = scope["headers"]
        fields = read_fields(raw)
        host, port = scope["client"] or ("", 0)
        seen = Seen(host or None, scope.get("scheme") or "http")
        scope[SCOPE_KEY] = seen
        named = fields.get(b"host")
        is_named_by_ip = isinstance(named, bytes) and _IP_HOST.fullmatch(named) is not None
        asked = Asked(scope["method"], scope["path"], scope.get("http_version", ""), named, fields.get(b"user-agent"))
        path = route_path(scope)
        lines = DOCS_LINES if path in HTML_DOCS else LINES
        standings: Any = None
        head_left = done = False

        def hand_over() -> None:
            ended = perf_counter() - started
            put(Handed(asked, seen, wall(), ended, seen.outcome, seen.error_type))  # type: ignore[arg-type]

        def answer(message: Any) -> Awaitable[None]:
            nonlocal head_left, done
            kind = message["type"]
            if kind == "http.response.body":
                seen.bytes_sent += len(message.get("body", b""))
                if not message.get("more_body", False) and not done:
                    done = True
                    if seen.outcome is None:
                        seen.outcome = "complete"
                    hand_over()
            elif kind == "http.response.start":
                status = seen.status = message["status"]
                seen.route = route_template(scope)
                head_left = True
                headers = [(name.lower(), value) for name, value in message["headers"]]
                if standings is not None:
                    tell(headers, [read(0, standings[0], 1)], FOREVER if status < 300 else horizon_of(headers))
                if WATCHED.isdisjoint(dict(headers)):
                    headers.append((b"x-request-id", seen.request_id.encode()))
                    if seen.scheme == "https" and not is_named_by_ip:
                        headers.append(HSTS)
                    headers += lines
                else:
                    merge(headers, seen, lines, seen.scheme == "https" and not is_named_by_ip)
                return send({**message, "headers": headers})
            return send(message)

        async def refuse(denial: Denial, decided: list[Decision], layer: str) -> None:
            seen.denial = denial
            if layer:
                seen.decisions = [*decided, Decision(layer, "deny", denial.reason, denial.note)]
            body = json.dumps(denial.problem(seen.request_id), separators=(",", ":")).encode()
            headers = [
                (b"content-type", b"application/problem+json"),
                (b"content-length", b"%d" % len(body)),
                (b"cache-control", b"no-store"),
                *denial.headers,
            ]
            await answer({"type": "http.response.start", "status": denial.status, "headers": headers})
            await answer({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

        try:
            if writer.is_full:
                seen.request_id = new_uuid()
                return await refuse(FULL, PASSES[:2], "audit")

            # Whom it comes from.
            origin = peer_of(host)
            flaw: Denial | None = None
            if origin.is_ours:
                try:
                    origin = walk(host, fields.get(b"x-forwarded-for"), fields.get(b"x-forwarded-proto"))
                except ForwardedError as error:
                    flaw = Denial(
                        error.reason, 400, "A forwarding header field of this request is malformed.", note=error.note
                    )
                    origin = NOBODY
            seen.client = origin.client
            scope["client"] = (
                None if origin.client is None else (origin.client, port if origin.port is None else origin.port)
            )
            if origin.is_secure is not None:
                seen.scheme = "https" if origin.is_secure else "http"
            scope["scheme"] = seen.scheme
            given = fields.get(b"x-request-id")
            if origin.is_ours and isinstance(given, bytes) and _ACCEPTED_ID.fullmatch(given):
                seen.request_id = given.decode()
            else:
                seen.request_id = new_uuid()
            names = b" ".join(fields)
            if not origin.is_ours or not UNREAD.isdisjoint(fields) or b"_" in names or b"." in names:
                scope["headers"] = [line for line in raw if not claims_something(line[0], origin.is_ours)]
            if flaw is not None:
                return await refuse(flaw, TO_PROXY, "trusted_proxy")

            # Over what.
            if seen.scheme != "https":
                clear = CREDENTIALS.intersection(fields)
                if clear or scope["method"] not in ("GET", "HEAD"):
                    note = f"credential in clear: {b', '.join(sorted(clear)).decode()}" if clear else ""
                    denial = Denial(Reason.PLAINTEXT, 403, "This service answers over HTTPS only.", note=note)
                    return await refuse(denial, TO_HTTPS, "https_redirect")
                seen.decisions = [*TO_HTTPS, Decision("https_redirect", "reply", Reason.PLAINTEXT_REDIRECTED)]
                location = f"https://{HOST}".encode() + scope["raw_path"]
                headers = [(b"location", location), (b"content-length", b"0"), (b"cache-control", b"no-store")]
                await answer({"type": "http.response.start", "status": 308, "headers": headers})
                return await answer({"type": "http.response.body", "body": b""})

            # How often.
            client = seen.client
            key: Any = (
                client if client is not None and ":" not in client else address_key(client, lambda packed: packed[:7])
            )
            if scope["method"] == "OPTIONS" and is_preflight(fields):
                key = preflight_key(key)
            admitted, standings, _ = hit(key, 1)
            if not admitted:
                return await refuse(refusal(standings), TO_LIMIT, "rate_limit:client")

            # On whose behalf.
            credentials = fields.get(b"authorization")
            presented = credentials_of(credentials) if isinstance(credentials, bytes) else None
            token = presented[1] if presented is not None and presented[0] == "bearer" else None
            if not token or len(token) > DEFAULT_MAX_BYTES:
                denial = (
                    challenges.ambiguous
                    if isinstance(credentials, tuple)
                    else challenges.malformed
                    if token == MALFORMED
                    else challenges.missing
                    if token is None
                    else challenges.invalid(Reason.TOKEN_TOO_LARGE, f"{len(token)} bytes")
                )
                return await refuse(denial, TO_BEARER, "bearer")
            digest = sha256(token).digest()
            known = verified.get(digest)
            if known is None or monotonic() >= known[2]:
                try:
                    known = verify(token)
                except TokenError as error:
                    return await refuse(challenges.invalid(error.reason, error.note), TO_BEARER, "bearer")
                verified.put(digest, known)
            seen.principal = scope["user"] = known[0]
            scope["auth"] = known[1]

            await app(scope, receive, answer)
        except Exception as error:
            seen.error_type = type(error).__name__
            if not done:
                seen.outcome = "failed"
                if not head_left:
                    error_id = new_uuid()
                    logger.error(
                        "%s error_id=%s request_id=%s", seen.error_type, error_id, seen.request_id, exc_info=error
                    )
                    standings = None
                    await refuse(replace(INTERNAL_ERROR, error_id=error_id, note=seen.error_type), PASSES, "")
            raise
        except BaseException as error:
            seen.error_type = type(error).__name__
            if not done:
                seen.outcome = "cancelled"
            raise
        finally:
            if not done:
                done = True
                seen.outcome = seen.outcome or "aborted"
                hand_over()

    return run


def merge(
    headers: list[tuple[bytes, bytes]], seen: Seen, lines: tuple[tuple[bytes, bytes], ...], has_hsts: bool
) -> None:
    """Where the application has set a header of ours: its own stays, but for HSTS and the disclosing ones."""
    headers[:] = [line for line in headers if line[0] not in DROPPED and line[0] != HSTS[0]]
    present = {name for name, _ in headers}
    if b"x-request-id" not in present:
        headers.append((b"x-request-id", seen.request_id.encode()))
    if has_hsts:
        headers.append(HSTS)
    headers += [line for line in lines if line[0] not in present]


def claims_something(name: bytes, is_ours: bool) -> bool:
    plain = name.translate(_DASHED)
    if is_ours and plain == name:
        return name in UNREAD
    return plain in _CLAIMS or plain == b"x-request-id" or plain.startswith(b"x-forwarded-")
