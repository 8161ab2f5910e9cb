"""The tour: real requests, each with the answer it must get and the layer that owes it."""

import asyncio
import json
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import websockets.exceptions
from websockets.asyncio.client import connect

from .orders import LIMIT
from .world import World

NOTICED_WITHIN = 7.0
"""Seconds to wait for a new revocation list to be noticed: the file is looked at every five."""

ASK_EVERY = 0.5
"""Seconds between two requests meanwhile; the flood comes later."""


@dataclass
class Seen:
    """What a client saw. ``status`` 0: no HTTP answer at all."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    words: str = ""

    @property
    def problem(self) -> dict[str, Any]:
        """The body if it is a problem document, else empty."""
        if self.headers.get("content-type") != "application/problem+json":
            return {}
        document: dict[str, Any] = json.loads(self.text)
        return document

    @property
    def challenge(self) -> str:
        return self.headers.get("www-authenticate", "")


@dataclass(frozen=True)
class Step:
    """``layer`` owes the answer; ``reason`` is what the audit log must say of it ("" for an allowed request)."""

    layer: str
    asks: str
    act: Callable[[World], Seen]
    wants: str
    holds: Callable[[Seen], bool]
    reason: str = ""


@dataclass(frozen=True)
class Result:
    """What came of a step. ``records`` are those the audit log gained meanwhile."""

    step: Step
    seen: Seen
    is_expected: bool
    milliseconds: float
    records: list[dict[str, Any]]


def take_tour(world: World) -> Iterator[Result]:
    """Each step in turn; the last one asks the audit log about all before it."""
    results: list[Result] = []
    for step in STEPS:
        before = len(world.audit)
        began = time.perf_counter()
        try:
            seen = step.act(world)
            is_expected = step.holds(seen)
        except (httpx.HTTPError, OSError, websockets.exceptions.WebSocketException) as error:
            seen, is_expected = Seen(0, words=type(error).__name__), False
        elapsed = 1000 * (time.perf_counter() - began)
        records = _records_since(world, before, seen.headers.get("x-request-id"))
        results.append(Result(step, seen, is_expected, elapsed, records))
        yield results[-1]
    yield _audit_step(results)


def _records_since(world: World, before: int, request_id: str | None) -> list[dict[str, Any]]:
    """What the log has gained. An answer without content is whole a moment before its record is made."""
    deadline = time.monotonic() + 1
    while True:
        records = list(world.audit.wait())[before:]
        is_there = any(record.get("request_id") == request_id for record in records)
        if is_there or not request_id or not world.audit or time.monotonic() > deadline:
            return records
        time.sleep(0.005)


def _audit_step(results: list[Result]) -> Result:
    """Of each answer that was as expected: one record, found by its request id, that gives the true reason."""
    asked = [result for result in results if result.is_expected and result.seen.status]
    wrong = [result.step.asks for result in asked if not _is_on_record(result)]
    words = f"all {len(asked)} answers on record" if not wrong else f"not on record: {wrong[0]}"
    step = Step("audit", "the audit log, asked about all of it", lambda world: Seen(0), "one true record each", bool)
    return Result(step, Seen(0, words=words), not wrong, 0.0, [])


def _is_on_record(result: Result) -> bool:
    request_id = result.seen.headers.get("x-request-id")
    (*others, last) = [r for r in result.records if r.get("request_id") == request_id] or [{}]
    return not others and last.get("status") == result.seen.status and last.get("reason", "") == result.step.reason


def _call(
    world: World,
    path: str,
    *,
    method: str = "GET",
    certificate: str | None = "shop",
    token: str | None = None,
    base: str = "",
    headers: dict[str, str] | None = None,
) -> Seen:
    """One HTTP request on a connection of its own."""
    sent = {**({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
    with httpx.Client(verify=world.client_tls(certificate), trust_env=False) as client:
        return _seen(client.request(method, (base or world.https) + path, headers=sent))


def _seen(answer: httpx.Response) -> Seen:
    return Seen(answer.status_code, dict(answer.headers), answer.text, answer.reason_phrase)


def _with_token(method: str = "GET", path: str = "/orders/42", **claims: Any) -> Callable[[World], Seen]:
    def act(world: World) -> Seen:
        return _call(world, path, method=method, token=world.tokens.token(**{"scope": "orders:read", **claims}))

    return act


def _foreign_certificate(world: World) -> Seen:
    """Refused in the handshake; under TLS 1.3 the client learns of it when it first reads."""
    try:
        return _call(world, "/whoami", certificate="foreign")
    except httpx.TransportError:
        again = _call(world, "/whoami")
        return Seen(0, words="cut off; a good one gets 200" if again.status == 200 else "")


def _forged_certificate(world: World) -> Seen:
    """A client without one writes another's into the field in which a proxy would forward it (RFC 9440)."""
    der = ssl.PEM_cert_to_DER_cert(world.clients["shop"].certificate_pem.decode())
    return _call(world, "/whoami", certificate=None, headers={"client-cert": f":{b64encode(der).decode()}:"})


def _revoked_meanwhile(world: World) -> Seen:
    """On one connection, which outlives what it was let in with."""
    with httpx.Client(verify=world.client_tls("former"), trust_env=False) as client:
        seen = _seen(client.get(world.https + "/whoami"))
        if seen.status != 200:
            return Seen(seen.status, words="before it was revoked")
        world.revoke("former")
        began = time.monotonic()
        while seen.status == 200 and time.monotonic() < began + NOTICED_WITHIN:
            time.sleep(ASK_EVERY)
            seen = _seen(client.get(world.https + "/whoami"))
    seen.words += f", {time.monotonic() - began:.1f} s later"
    return seen


def _feed(token: bool) -> Callable[[World], Seen]:
    return lambda world: asyncio.run(_open_feed(world, token))


async def _open_feed(world: World, token: bool) -> Seen:
    headers = {"authorization": f"Bearer {world.tokens.token(scope='orders:read')}"} if token else {}
    url = world.https.replace("https", "wss") + "/feed"
    try:
        async with (
            asyncio.timeout(10),
            connect(url, ssl=world.client_tls("shop"), additional_headers=headers, proxy=None) as connection,
        ):
            answer = connection.response
            seen_headers = {name.lower(): value for name, value in answer.headers.raw_items()} if answer else {}
            text = str(await connection.recv())
            with suppress(websockets.exceptions.ConnectionClosed):
                await connection.recv()  # until the service has closed: only then is it on record
            return Seen(101, seen_headers, text, "accepted")
    except websockets.exceptions.InvalidStatus as refused:
        answered = refused.response
        headers = {name.lower(): value for name, value in answered.headers.raw_items()}
        return Seen(answered.status_code, headers, (answered.body or b"").decode(), answered.reason_phrase)


def _flood(world: World) -> Seen:
    """On one connection, until somebody says stop."""
    with httpx.Client(verify=world.client_tls("shop"), trust_env=False) as client:
        for count in range(2 * LIMIT):
            seen = _seen(client.get(world.https + "/whoami"))
            if seen.status != 200:
                seen.words += f" after {count} more"
                return seen
    return seen


def _is_refusal(status: int, challenge: str = "") -> Callable[[Seen], bool]:
    return lambda seen: seen.status == status == seen.problem.get("status") and challenge in seen.challenge


INVALID_TOKEN = 'error="invalid_token"'
GOOD_BROWSER_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}

STEPS: tuple[Step, ...] = (
    Step(
        "https",
        "plain HTTP, nothing secret in it",
        lambda world: _call(world, "/orders/42?full=1", base=world.http),
        "308 to https",
        lambda seen: seen.status == 308 and seen.headers["location"].endswith("/orders/42?full=1"),
        "plaintext_redirected",
    ),
    Step(
        "https",
        "plain HTTP with a token",
        lambda world: _call(world, "/orders/42", base=world.http, token="leaked"),
        "403, no redirect",
        lambda seen: _is_refusal(403)(seen) and "HTTPS" in seen.problem["detail"],
        "plaintext",
    ),
    Step(
        "hsts",
        "the same over TLS",
        lambda world: _call(world, "/whoami"),
        "HSTS, once",
        lambda seen: seen.headers.get("strict-transport-security") == "max-age=63072000; includeSubDomains",
    ),
    Step(
        "headers",
        "is it inert in a browser",
        lambda world: _call(world, "/whoami"),
        "nosniff, no-store",
        lambda seen: GOOD_BROWSER_HEADERS.items() <= seen.headers.items(),
    ),
    Step(
        "mtls",
        "no client certificate",
        lambda world: _call(world, "/whoami", certificate=None),
        "403",
        _is_refusal(403),
        "certificate_missing",
    ),
    Step(
        "mtls",
        "a certificate of another CA",
        _foreign_certificate,
        "refused in TLS",
        lambda seen: seen.status == 0 and bool(seen.words),
    ),
    Step(
        "mtls",
        "our CA, another name",
        lambda world: _call(world, "/whoami", certificate="stranger"),
        "403",
        _is_refusal(403),
        "certificate_not_allowed",
    ),
    Step(
        "mtls",
        "a Client-Cert field, forged",
        _forged_certificate,
        "not believed, 403",
        _is_refusal(403),
        "certificate_missing",
    ),
    Step(
        "mtls",
        "revoked, its connection open",
        _revoked_meanwhile,
        "200, then 403",
        _is_refusal(403),
        "certificate_revoked",
    ),
    Step(
        "bearer",
        "no token",
        lambda world: _call(world, "/orders/42"),
        "401, bare challenge",
        lambda seen: _is_refusal(401, "Bearer")(seen) and "error" not in seen.challenge,
        "token_missing",
    ),
    Step(
        "bearer",
        "an expired token",
        _with_token(exp=1_700_000_000),
        "401",
        _is_refusal(401, INVALID_TOKEN),
        "token_expired",
    ),
    Step(
        "bearer",
        "a token for somebody else",
        _with_token(aud="billing"),
        "401",
        _is_refusal(401, INVALID_TOKEN),
        "token_audience_wrong",
    ),
    Step(
        "bearer",
        "alg: none",
        lambda world: _call(world, "/orders/42", token=world.tokens.unsigned(scope="orders:read")),
        "401",
        _is_refusal(401, INVALID_TOKEN),
        "token_algorithm_refused",
    ),
    Step(
        "bearer",
        "a key nobody published",
        lambda world: _call(world, "/orders/42", token=world.tokens.unknown_key(scope="orders:read")),
        "401",
        _is_refusal(401, INVALID_TOKEN),
        "token_key_unknown",
    ),
    Step(
        "authorization",
        "a scope it lacks",
        _with_token("DELETE"),
        "403",
        _is_refusal(403),
        "scope_insufficient",
    ),
    Step(
        "authorization",
        "a path that no rule names",
        _with_token(path="/orders/42/notes"),
        "403",
        _is_refusal(403),
        "rule_missing",
    ),
    Step(
        "bearer",
        "all as it should be",
        _with_token(),
        "200",
        lambda seen: seen.status == 200 and '"number":42' in seen.text.replace(" ", ""),
    ),
    Step("bearer", "WebSocket, no token", _feed(token=False), "401", _is_refusal(401, "Bearer"), "token_missing"),
    Step(
        "bearer",
        "WebSocket with a token",
        _feed(token=True),
        "accepted",
        lambda seen: seen.status == 101 and seen.text.startswith("order 42"),
    ),
    Step(
        "proxy",
        "X-Forwarded-For: 1.2.3.4, from nobody",
        lambda world: _call(world, "/whoami", headers={"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "http"}),
        "not believed",
        lambda seen: seen.status == 200 and "1.2.3.4" not in seen.text,
    ),
    Step(
        "errors",
        "a crash, with a password in it",
        _with_token(path="/crash"),
        "500, its id, no more",
        lambda seen: _is_refusal(500)(seen) and "request_id" in seen.problem and "hunter2" not in seen.text,
        "internal_error",
    ),
    Step(
        "headers",
        "the documentation page",
        lambda world: _call(world, "/docs"),
        "200 HTML",
        lambda seen: seen.status == 200 and "swagger-ui" in seen.text,
    ),
    Step(
        "rate_limit",
        "a flood",
        _flood,
        "429, Retry-After",
        lambda seen: _is_refusal(429)(seen) and int(seen.headers["retry-after"]) >= 1,
        "rate_limited",
    ),
)
