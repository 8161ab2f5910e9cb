"""A policy decision point: another service that knows who may do what, asked over HTTP.

OpenID AuthZEN Authorization API 1.0 section 6 (access evaluation), or the data API of Open Policy Agent. A refusal and
an outage are told apart: 403 and 503. What is asked says who somebody is, so that it stands in no log.
"""

import asyncio
import contextvars
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal

from .._challengers import forbidden
from .._fetch import Fetcher, FetchError, Posted, is_fetchable, without_secrets
from .._loop import refuse_trio
from .._options import positive_seconds
from ..denial import Denial, Reason
from ..errors import ConfigurationError
from ..secrets import Secret

if TYPE_CHECKING:
    import httpx

    from .predicates import Access

logger = logging.getLogger("secure_asgi")

MAX_BYTES: Final = 64 * 1024
"""Of an answer."""
MAX_QUESTIONS: Final = 64
"""Different questions under way at a time; another one is refused with 503 at once."""
MAX_FAILURES: Final = 5
"""In a row, after which nothing is asked for ``PAUSE`` seconds: a request need not wait to learn what is known."""
PAUSE: Final = 1.0

_JSON = ("application/json",)
_ABOUT_THE_QUESTION: Final = frozenset({400, 413, 414, 422})
"""Statuses that say nothing of the point: whoever provokes them must not shut out everybody else."""

Part = Callable[["Access"], Mapping[str, Any]]
_Outcome = bool | str
"""The decision, or why there is none. No exception: one that many wait for would hold the frames of all of them."""


class DecisionPoint:
    """Asks ``url`` whether a request may pass; given as ``Rule(..., when=DecisionPoint(...))``.

    ``url`` the access evaluation endpoint, https (http on this machine alone). ``http`` an ``httpx.AsyncClient`` of
    one's own (certificates, proxy), which is never closed here; ``token`` a ``Secret`` that is sent as bearer token.
    ``timeout`` seconds for one answer as a whole, 0.2 by default. ``subject``, ``resource`` and ``context`` are
    functions of an ``Access`` that give these parts of the question instead of ours. ``dialect`` is ``"authzen"``, or
    ``"opa"``: the same question as ``input``, and a ``result`` that is the decision.

    Equal questions at one time are one request; an answer is never kept. Anything but a decision is an outage: no
    answer in time, another status than 200, more than 64 KiB, a redirect, other content than JSON. After five of them
    in a row, nothing is asked for a second, and again after each further one; a question that the point will not take
    (400, 413, 414, 422) does not count. Raises ``ConfigurationError`` for a wrong option. Needs asyncio. It does
    not send the body of the request, nor its header fields.
    """

    def __init__(
        self,
        url: str,
        *,
        http: "httpx.AsyncClient | None" = None,
        token: Secret | None = None,
        timeout: float = 0.2,
        subject: Part | None = None,
        resource: Part | None = None,
        context: Part | None = None,
        dialect: Literal["authzen", "opa"] = "authzen",
    ) -> None:
        if not isinstance(url, str) or not is_fetchable(url):
            raise ConfigurationError("DecisionPoint() takes an https URL (http on loopback only), without a user in it")
        if token is not None and not isinstance(token, Secret):
            raise ConfigurationError("token= is a Secret(...): text would be shown wherever options are")
        if token is not None and not (token.reveal().isascii() and token.reveal().isprintable()):
            raise ConfigurationError("token= is printable ASCII: strip the end of the line that a file has")
        if dialect not in ("authzen", "opa"):
            raise ConfigurationError(f'dialect= is "authzen" or "opa", got {dialect!r}')
        for option, part in (("subject", subject), ("resource", resource), ("context", context)):
            if part is not None and not callable(part):
                raise ConfigurationError(f"{option}= is a function of an Access that gives a mapping, got {part!r}")
        self._url = url
        self._parts: dict[str, Part] = {
            "subject": subject or _subject,
            "resource": resource or _resource,
            "context": context or _context,
        }
        self._dialect = dialect
        self._token = token
        self._fetcher = Fetcher(http, timeout=positive_seconds("timeout", timeout))
        self._open: Fetcher | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._under_way: dict[bytes, asyncio.Task[_Outcome]] = {}
        self._failures = 0
        self._rests_until = 0.0
        self._now = time.monotonic

    def __repr__(self) -> str:
        return f"<DecisionPoint {without_secrets(self._url)}>"

    async def __call__(self, access: "Access") -> bool:
        """The decision, for a predicate that goes on asking. Raises ``OutageError``."""
        outcome = await self._answer(self._question(access))
        if isinstance(outcome, str):
            raise OutageError(f"{self!r}: {outcome}")
        return outcome

    async def decide(self, access: "Access") -> Denial | None:
        """None if it may pass; 403 if not, 503 if that is not known."""
        try:
            if await self(access):
                return None
        except OutageError as outage:
            return Denial(
                Reason.DECISION_POINT_UNAVAILABLE,
                503,
                "Whether this is allowed cannot be decided at the moment. Try again later.",
                headers=((b"retry-after", b"1"),),
                note=str(outage),
            )
        return forbidden(Reason.DECISION_POINT_REFUSED, f"{access.method} {access.path}: {self!r} says no")

    async def open(self) -> None:
        """At start-up, where it can be said aloud that trio will not do. Nothing is asked."""
        refuse_trio("DecisionPoint needs asyncio: run the server on it, not on trio")

    async def close(self) -> None:
        """Stops what is under way, whose requests are told of an outage, and closes the connections."""
        tasks, self._under_way = tuple(self._under_way.values()), {}
        fetcher, self._open = self._open, None
        if self._loop is None or self._loop is not asyncio.get_running_loop():
            return
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if fetcher is not None:
            await fetcher.close()

    def _question(self, access: "Access") -> Posted:
        question: dict[str, Any] = {name: dict(part(access)) for name, part in self._parts.items()}
        question["action"] = {"name": access.method}
        sent = {"input": question} if self._dialect == "opa" else question
        body = json.dumps(sent, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        fields = {"x-request-id": access.exchange.request_id}
        if self._token is not None:
            fields["authorization"] = f"Bearer {self._token.reveal()}"
        return Posted("application/json", body, fields)

    async def _answer(self, posted: Posted) -> _Outcome:
        if self._now() < self._rests_until:
            return f"has failed {MAX_FAILURES} times in a row, and is left alone for a second"
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # What belongs to another loop can be neither awaited nor closed from this one.
            self._loop, self._open, self._opening, self._under_way = loop, None, asyncio.Lock(), {}
        key = sha256(posted.body).digest()
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= MAX_QUESTIONS:
                return f"{MAX_QUESTIONS} questions are under way"
            # A context of its own: it belongs to no request, nor to the trace of one.
            task = self._under_way[key] = loop.create_task(self._ask(key, posted), context=contextvars.Context())
        # No request leads: one that is cancelled stops waiting, and the others have their answer.
        await asyncio.wait((task,))
        return "closed" if task.cancelled() else task.result()

    async def _ask(self, key: bytes, posted: Posted) -> _Outcome:
        under_way = self._under_way  # another one, once this is closed
        try:
            fetcher = await self._kept_open()
            document = await fetcher.get(self._url, types=_JSON, max_bytes=MAX_BYTES, posted=posted)
            decision = _decision(document.body, self._dialect)
        except FetchError as error:
            return self._failed(str(error), counts=error.status not in _ABOUT_THE_QUESTION)
        except (ValueError, RecursionError):
            return self._failed("an answer that holds no decision")
        except Exception as error:
            return self._failed(type(error).__name__)  # making a client failed
        finally:
            under_way.pop(key, None)
        self._failures = 0
        return decision

    async def _kept_open(self) -> Fetcher:
        """A handshake for each decision would take longer than a decision may."""
        async with self._opening:  # the first questions come together, and each would leave a client behind
            if self._open is None:
                self._open = await self._fetcher.kept_open()
            return self._open

    def _failed(self, why: str, *, counts: bool = True) -> str:
        if counts:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                self._rests_until = self._now() + PAUSE
        logger.warning("%r: %s", self, why)
        return why


class OutageError(Exception):
    """There is no decision. The message is for the audit log, and holds nothing of the question."""


def _decision(body: bytes, dialect: str) -> bool:
    """Raises ``ValueError`` for anything but a decision."""
    answer = json.loads(body.decode(), object_pairs_hook=_without_duplicates)
    if not isinstance(answer, dict):
        raise ValueError("no object")
    if dialect == "authzen":
        decision = answer.get("decision")
    else:
        # OPA leaves out a result that no rule defines: what no policy allows is refused.
        decision = answer.get("result", False)
        if isinstance(decision, dict):
            said = [decision[name] for name in ("decision", "allow") if name in decision]
            if not said or not all(isinstance(each, bool) for each in said):
                raise ValueError("no decision")
            decision = all(said)  # two that disagree are no permission
    if not isinstance(decision, bool):
        raise ValueError("no decision")
    return decision


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError("a member stands there twice")
        members[name] = value
    return members


def _subject(access: "Access") -> Mapping[str, Any]:
    principal = access.principal
    if principal is None:
        return {"type": "anonymous", "id": "anonymous"}
    return {
        "type": "user",
        "id": principal.subject,
        "properties": {
            "issuer": principal.issuer,
            "client_id": principal.client_id,
            "scopes": sorted(principal.scopes),
            "roles": sorted(principal.roles),
            "method": principal.method,
        },
    }


def _resource(access: "Access") -> Mapping[str, Any]:
    return {"type": "route", "id": access.path, "properties": dict(access.params)}


def _context(access: "Access") -> Mapping[str, Any]:
    return {"client": access.exchange.client}
