"""Asking the issuer whether a token is active: RFC 7662, and signed answers by RFC 9701.

What holds here:

- The token goes to the endpoint and nowhere else: neither into a log nor into an error.
- One call for one token, in a task of its own, however many ask; none that goes away can stop it.
- ``active`` is the JSON ``true``. An answer that cannot be had or believed is an outage, and no verdict on the token.
- What is inactive is remembered for a few seconds, apart from what is active: junk pushes out nothing but junk.
"""

import asyncio
import contextvars
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from .._cache import TwoGenerations
from .._fetch import Fetcher, FetchError, Posted, is_fetchable, without_secrets
from .._loop import refuse_trio
from ..denial import Reason
from ..errors import ConfigurationError, TokenError
from ..secrets import Secret
from .claims import DEFAULT_LEEWAY
from .client_authentication import ClientAuthentication, ClientCertificate, PrivateKey, PrivateKeyJWT, SecretBasic
from .encoding import parse_object
from .signed_answer import MAX_ANSWER_BYTES, SIGNED_TYPE, AnswerError, KeySource, SignedAnswers
from .source import KeysUnavailableError
from .unavailable import UnavailableError

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("secure_asgi")

MAX_TTL = 300.0
"""Seconds. A token that was withdrawn lives that long at most."""
MAX_NEGATIVE_TTL = 60.0
MAX_CALLS = 256
"""Calls under way at a time: those beyond are told to come again, instead of piling up."""
CREDENTIALS_WAIT = 30.0
"""Seconds until it is worth asking again where the endpoint has refused ourselves."""
ALERT_SECONDS = 60.0
_FORM = "application/x-www-form-urlencoded"


class _Failure(NamedTuple):
    """Why there is no answer, and in how many seconds there may be one."""

    why: str
    wait: float = 1.0


_Outcome = dict[str, Any] | _Failure | None
"""The members of an active token; None for one that is not active."""


class Introspection:
    """The issuer's introspection endpoint, asked about tokens: for ``BearerAuthMiddleware(introspection=...)``.

    ``endpoint`` is its https URL (http on loopback only); ``client_id`` who we are to it. One of these proves it:
    ``client_secret`` (a ``Secret``, sent as HTTP Basic), ``private_key`` (a private JWK as a ``dict``, or PEM: a signed
    assertion, ``private_key_jwt``), or neither, with ``http`` an ``httpx.AsyncClient`` that shows a client certificate.
    ``http`` may also bring CA certificates, a proxy, and connections that stay open; it is never closed here.
    ``assertion_audience`` is the ``aud`` of assertions where the issuer wants another than its own name, such as the
    URL of its token endpoint.

    ``signed=True`` asks for answers as signed JWTs (RFC 9701) and takes no others: of the issuer, to ``client_id``, at
    most five minutes old. ``every_token=True`` asks about JWTs as well, which are then not verified here: one that was
    withdrawn is noticed as soon as an opaque one. ``ttl`` seconds that an active token is used without asking again
    (30, at most 300; 0 asks each time), never beyond its ``exp``: the longest that a withdrawn one lives.
    ``negative_ttl`` seconds for inactive ones (5, at most 60); ``timeout`` seconds for one call as a whole (5);
    ``cache_size`` inactive tokens remembered (10 000).

    Raises ``ConfigurationError`` for a wrong option. It does not look at what the answer claims, and takes no
    encrypted answers.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        client_id: str,
        client_secret: Secret | None = None,
        private_key: PrivateKey | None = None,
        assertion_audience: str | None = None,
        http: "httpx.AsyncClient | None" = None,
        signed: bool = False,
        every_token: bool = False,
        ttl: float = 30.0,
        negative_ttl: float = 5.0,
        timeout: float = 5.0,
        cache_size: int = 10_000,
    ) -> None:
        if not isinstance(endpoint, str) or not is_fetchable(endpoint):
            got = repr(without_secrets(endpoint)) if isinstance(endpoint, str) else type(endpoint).__name__
            raise ConfigurationError(f"an introspection endpoint is an https URL (http on loopback only), got {got}")
        if not isinstance(client_id, str) or not client_id.isascii() or not client_id.isprintable() or not client_id:
            raise ConfigurationError("client_id= is the name of this service at the issuer, in printable ASCII")
        if assertion_audience is not None and (not isinstance(assertion_audience, str) or not assertion_audience):
            raise ConfigurationError("assertion_audience= is the aud of client assertions, a text, or None")
        for option, value in (("signed", signed), ("every_token", every_token)):
            if not isinstance(value, bool):
                raise ConfigurationError(f"{option}= is True or False, got {value!r}")
        if type(cache_size) is not int or cache_size < 2:
            raise ConfigurationError(f"cache_size= is a whole number of tokens from 2 on, got {cache_size!r}")
        self.ttl = _seconds("ttl", ttl, MAX_TTL)
        self.cache_size = cache_size
        self.every_token = every_token
        self._negative_ttl = _seconds("negative_ttl", negative_ttl, MAX_NEGATIVE_TTL)
        if _seconds("timeout", timeout, MAX_TTL) == 0:
            raise ConfigurationError("timeout= is more than 0 seconds")
        self._endpoint = endpoint
        self._client_id = client_id
        self._authentication = _authentication(client_id, client_secret, private_key, http)
        self._audience = assertion_audience
        self._is_signed = signed
        self._types = (SIGNED_TYPE,) if signed else ("application/json",)
        self._fetcher = Fetcher(http, timeout=timeout)
        self._issuer: str | None = None
        self._signed: SignedAnswers | None = None
        self._now = time.monotonic
        self._clock = time.time
        self._inactive: TwoGenerations[bytes, float] = TwoGenerations(cache_size)
        self._calls: dict[bytes, asyncio.Task[_Outcome]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alert_at = 0.0

    def use_keys(self, issuer: str, source: KeySource, *, leeway: float = DEFAULT_LEEWAY) -> None:
        """Who the issuer is, and the keys that it signs answers with: said once, by the middleware.

        Raises ``ConfigurationError`` where another issuer has been named before: its answers would be believed here.
        """
        if self._issuer not in (None, issuer):
            raise ConfigurationError("an Introspection belongs to one issuer: make another one for the second")
        self._issuer = issuer
        self._signed = SignedAnswers(issuer, self._client_id, source, leeway)

    async def ask(self, token: bytes, digest: bytes) -> dict[str, Any]:
        """The members of the answer about an active ``token``, whose SHA-256 is ``digest``; do not change them.

        Raises ``TokenError`` (``TOKEN_INACTIVE``) and ``UnavailableError`` (``INTROSPECTION_UNAVAILABLE``).
        """
        if (self._inactive.get(digest) or 0.0) > self._now():
            raise TokenError(Reason.TOKEN_INACTIVE)
        outcome = await self._landing(token, digest)
        if outcome is None:
            raise TokenError(Reason.TOKEN_INACTIVE)
        if isinstance(outcome, _Failure):
            raise UnavailableError(Reason.INTROSPECTION_UNAVAILABLE, outcome.why, outcome.wait)
        return outcome

    async def open(self) -> None:
        """At start-up, where it can be said aloud that trio will not do. Nothing is asked."""
        refuse_trio("introspection needs asyncio: run the server with it")

    async def close(self) -> None:
        """Stops what is under way: whoever waits for it is told of an outage."""
        calls, self._calls = self._calls, {}
        if calls and self._loop is asyncio.get_running_loop():
            for call in calls.values():
                call.cancel()
            await asyncio.wait(calls.values())

    async def _landing(self, token: bytes, digest: bytes) -> _Outcome:
        """The one call about this token, begun if need be. Who stops waiting does not stop it."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._calls, self._loop = {}, loop  # tasks of a loop that is gone are as good as none
        call = self._calls.get(digest)
        if call is None:
            if len(self._calls) >= MAX_CALLS:
                return _Failure(f"{MAX_CALLS} introspections under way")
            # A context of its own: it belongs to no request, nor to the trace of one.
            call = loop.create_task(self._call(token, digest), context=contextvars.Context())
            self._calls[digest] = call
        await asyncio.wait((call,))
        return _Failure("closed") if call.cancelled() else call.result()

    async def _call(self, token: bytes, digest: bytes) -> _Outcome:
        try:
            answer = await self._fetch(token)
        except FetchError as error:
            return self._failure(error)
        except AnswerError as error:
            return _Failure(str(error))
        except (KeysUnavailableError, UnavailableError) as error:
            return _Failure(f"no keys for a signed answer: {error}", error.wait)
        finally:
            self._calls.pop(digest, None)
        if "active" not in answer:
            return _Failure("an answer without active")
        if answer["active"] is True:
            return answer
        if self._negative_ttl:
            self._inactive.put(digest, self._now() + self._negative_ttl)
        return None

    async def _fetch(self, token: bytes) -> dict[str, Any]:
        """Raises ``FetchError``, ``AnswerError``, and what the source of the keys raises."""
        fields, members = self._authentication.credentials(self._audience or self._issuer or self._endpoint)
        form = urlencode({"token": token, "token_type_hint": "access_token", **members}).encode("ascii")
        document = await self._fetcher.get(
            self._endpoint, types=self._types, max_bytes=MAX_ANSWER_BYTES, posted=Posted(_FORM, form, fields)
        )
        if self._is_signed:
            if self._signed is None:
                raise AnswerError("a signed answer, and no keys to verify it by")
            return await self._signed.read(document.body, self._now(), self._clock())
        try:
            return parse_object(document.body)
        except ValueError as error:
            raise AnswerError(f"an answer that is no JSON object: {type(error).__name__}") from error

    def _failure(self, error: FetchError) -> _Failure:
        if error.status != 401:
            return _Failure(str(error))
        # INT-5: not the client's token was refused, but we were, and every request fails until somebody acts.
        now = self._now()
        if now >= self._alert_at:
            self._alert_at = now + ALERT_SECONDS
            logger.error(
                "%s refuses this service itself: check client_id= and its secret, key or certificate",
                without_secrets(self._endpoint),
            )
        return _Failure(f"the endpoint refuses this service: {error}", CREDENTIALS_WAIT)


def _authentication(client_id: str, secret: Any, private_key: Any, http: Any) -> ClientAuthentication:
    if secret is not None and private_key is not None:
        raise ConfigurationError("the endpoint is shown client_secret= or private_key=, not both: leave one out")
    if private_key is not None:
        return PrivateKeyJWT(client_id, private_key)
    if secret is not None:
        if not isinstance(secret, Secret):
            raise ConfigurationError("client_secret= is a Secret, so that nothing prints it: Secret(...)")
        return SecretBasic(client_id, secret)
    if http is None:
        raise ConfigurationError(
            "the endpoint must know who asks: give client_secret=, private_key=, or http= with a client certificate"
        )
    return ClientCertificate(client_id)


def _seconds(option: str, value: Any, most: float) -> float:
    if type(value) not in (int, float) or not 0 <= value <= most:
        raise ConfigurationError(f"{option}= is seconds from 0 to {most:.0f}, got {value!r}")
    seconds: float = value
    return seconds
