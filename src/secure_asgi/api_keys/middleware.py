"""``APIKeyMiddleware``: an API key in, a principal out.

No standard says how a key is sent; RFC 9110 sections 11.6.1 and 15.5.2 say what a 401 carries.
"""

import hmac
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from .._asgi import ASGIApp, Scope
from .._cache import TwoGenerations
from .._challengers import forbidden
from .._failures import FailureLimit, too_many_failures
from .._options import positive_seconds
from .._starlette_user import StarletteUser
from ..denial import Denial, Reason
from ..errors import ConfigurationError
from ..exchange import Exchange, Principal
from ..flow import Layer
from ..secrets import Secret
from .records import KeyRecord, digest_of, pepper_bytes
from .stores import KeyStore, KeysUnavailableError
from .text import MAX_BYTES, id_of

if TYPE_CHECKING:
    from starlette.authentication import AuthCredentials

logger = logging.getLogger("secure_asgi")

CACHE_SIZE = 10_000
"""Principals remembered, so that a key's next request need not make them again."""

Find = Callable[[str], KeyRecord | Awaitable[KeyRecord | None] | None]

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_TAKEN = ("authorization", "proxy-authorization", "cookie", "host")
_QUOTABLE = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")
_TOKENS = ("bearer", "dpop")
_NO_ID = "0" * 16


class APIKeyMiddleware(Layer):
    """Lets pass who presents an API key that is valid, and says who it is: ``exchange.principal``, ``request.user``.

    ``keys`` is a store (``MemoryKeys``, ``FileKeys``, ``RedisKeys``), or a function from a key's id to its
    ``KeyRecord``, or None, or an awaitable of it; such a function must not block, and has ``timeout`` seconds (1) if it
    is awaited. ``header`` is the one field that a key is taken from. ``required=False`` lets a request without a key
    pass as nobody, or as who a layer further out has found; a bad key is refused all the same. ``pepper`` is a
    ``Secret`` of 32 characters or more with which the digests of the store were made. ``failure_limit``, a
    ``FailureLimit``, answers 429 to the client that keeps sending keys that do not hold. ``realm`` stands in the
    challenge, ``WWW-Authenticate: ApiKey``, which is not a registered scheme.

    Refuses with 401 (no key, or one that is not valid here; always the same answer), 400 (more than one credential:
    several keys, or an access token beside the key), 429, or 503 (the store cannot say). A client certificate beside a
    key is fine, and the key says who it is. Works with the same steps whether or not there is such a key. Raises
    ``ConfigurationError`` for a wrong option, and at start-up what the store raises. It takes no key from the query, a
    cookie or a body.
    """

    name = "api_keys"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        keys: KeyStore | Find,
        header: str = "x-api-key",
        required: bool = True,
        realm: str = "api",
        pepper: Secret | None = None,
        failure_limit: FailureLimit | None = None,
        timeout: float = 1.0,
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt)
        self._keys = keys
        self._find = _finder(keys)
        self.header = _checked_header(header)
        self._field = self.header.encode()
        if not isinstance(required, bool):
            raise ConfigurationError(f"required= is True or False, got {required!r}")
        if failure_limit is not None and not isinstance(failure_limit, FailureLimit):
            raise ConfigurationError("failure_limit= is a FailureLimit(10, per=900)")
        self.required = required
        self._pepper = pepper_bytes(pepper)
        self._failure_limit = failure_limit
        self._timeout = positive_seconds("timeout", timeout)
        self._challenges = KeyChallenges(realm, header.lower())
        self._as_only_challenger = (self._challenges,)
        self._user = StarletteUser()
        # Of no key: what an unknown id is compared with, so that it takes the same steps.
        self._nobodys = KeyRecord(id=_NO_ID, digest=digest_of(secrets.token_bytes(32), self._pepper), client="nobody")
        self._known: TwoGenerations[str, tuple[KeyRecord, Principal, AuthCredentials]] = TwoGenerations(CACHE_SIZE)
        self._now = time.monotonic
        self._clock = time.time

    def on_request(self, exchange: Exchange, scope: Scope) -> Denial | Awaitable[Denial | None] | None:
        self._offer(exchange)
        text = exchange.fields(scope).get(self._field)
        if text is None:
            if self.required:
                return self._refuse(exchange, scope, self._challenges.missing)
            self._user.leave(exchange, scope)
            return None
        if not isinstance(text, bytes):
            return self._refuse(exchange, scope, self._challenges.several)
        principal = exchange.principal
        if principal is not None and principal.method in _TOKENS:
            return self._refuse(exchange, scope, self._challenges.beside_token)
        key_id = None if len(text) > MAX_BYTES else id_of(text)
        if key_id is None:
            # A list: an intermediary may have joined two fields.
            is_list = b"," in text[:MAX_BYTES]
            return self._refuse(exchange, scope, self._challenges.several if is_list else self._challenges.malformed)
        if self._failure_limit is not None:
            wait = self._failure_limit.wait(exchange.client, self._now())
            if wait:
                return self._refuse(exchange, scope, too_many_failures(wait, "API keys"))
        digest = digest_of(text, self._pepper)
        try:
            record = self._find(key_id)
        except Exception as error:  # a store of the user's own may raise anything
            return self._unavailable(exchange, scope, error)
        if record is None or isinstance(record, KeyRecord):
            return self._judge(exchange, scope, key_id, digest, record)
        return self._judge_later(exchange, scope, key_id, digest, record)

    def on_exempt(self, exchange: Exchange, scope: Scope) -> None:
        """A key on an exempt path is not looked at; Starlette's ``requires`` still finds a user to ask."""
        self._offer(exchange)
        self._user.leave(exchange, scope)

    async def on_startup(self, scope: Scope) -> None:
        await _call_if_there(self._keys, "open")

    async def on_shutdown(self) -> None:
        await _call_if_there(self._keys, "close")

    async def _judge_later(
        self, exchange: Exchange, scope: Scope, key_id: str, digest: str, finding: Awaitable[KeyRecord | None]
    ) -> Denial | None:
        from anyio import fail_after

        try:
            with fail_after(self._timeout):
                record = await finding
            if record is not None and not isinstance(record, KeyRecord):
                raise TypeError("keys= gave what is no KeyRecord")
        except Exception as error:  # likewise, and a time-out
            return self._unavailable(exchange, scope, error)
        return self._judge(exchange, scope, key_id, digest, record)

    def _judge(
        self, exchange: Exchange, scope: Scope, key_id: str, digest: str, record: KeyRecord | None
    ) -> Denial | None:
        """All is looked at before anything is decided: the time it takes says nothing of which was wrong."""
        held = self._nobodys if record is None else record
        is_key = hmac.compare_digest(digest, held.digest)
        now = self._clock()
        has_begun = held.not_before is None or held.not_before <= now
        is_over = held.expires is not None and held.expires <= now
        if not is_key or is_over or not has_begun:
            if self._failure_limit is not None:
                self._failure_limit.failed(exchange.client, self._now())
            reason = Reason.API_KEY_EXPIRED if is_key else Reason.API_KEY_UNKNOWN
            note = f"key {key_id}{'' if has_begun or not is_key else ', not valid yet'}"
            return self._refuse(exchange, scope, self._challenges.invalid(reason, note))
        known = self._known.get(key_id)
        if known is None or known[0] is not held:
            known = self._remember(key_id, held)
        exchange.principal = scope["user"] = known[1]
        scope["auth"] = known[2]
        return None

    def _remember(self, key_id: str, record: KeyRecord) -> "tuple[KeyRecord, Principal, AuthCredentials]":
        principal = Principal(
            subject=record.client,
            client_id=record.client,
            scopes=record.scopes,
            roles=record.roles,
            claims=record.claims,
            method="api-key",
            token_id=record.id,
        )
        known = (record, principal, self._user.auth_for(record.scopes))
        self._known.put(key_id, known)
        return known

    def _unavailable(self, exchange: Exchange, scope: Scope, error: Exception) -> Denial:
        if isinstance(error, KeysUnavailableError):
            note = str(error)
        else:
            note = type(error).__name__
            logger.error("API keys: the store failed", exc_info=error)
        return self._refuse(exchange, scope, self._challenges.unavailable(note))

    def _refuse(self, exchange: Exchange, scope: Scope, denial: Denial) -> Denial:
        if self.mode != "enforce":
            self._user.leave(exchange, scope)  # shadow suspends the refusal: the application finds nobody
        return denial

    def _offer(self, exchange: Exchange) -> None:
        """Who asks more of the client than we do has to name our way."""
        others = exchange.challengers
        exchange.challengers = (*others, self._challenges) if others else self._as_only_challenger


class KeyChallenges:
    """What a client is told. ``ApiKey`` is no registered scheme: a 401 has to name one, and there is none for keys."""

    methods = frozenset(("api-key",))

    __slots__ = ("_headers", "beside_token", "malformed", "missing", "several")

    def __init__(self, realm: str, header: str) -> None:
        if not isinstance(realm, str) or not _QUOTABLE.fullmatch(realm):
            raise ConfigurationError(f'realm= is printable ASCII without " and \\, got {realm!r}')
        self._headers = (
            (b"www-authenticate", f'ApiKey realm="{realm}"'.encode()),
            # Scripts of other origins may read the challenge: that alone gives no origin access to anything.
            (b"access-control-expose-headers", b"WWW-Authenticate"),
        )
        self.missing = Denial(
            Reason.API_KEY_MISSING, 401, f"This needs an API key in the {header} field.", headers=self._headers
        )
        self.malformed = self.invalid(Reason.API_KEY_MALFORMED, "")
        self.several = Denial(Reason.CREDENTIALS_AMBIGUOUS, 400, "The request has more than one API key.")
        self.beside_token = Denial(
            Reason.CREDENTIALS_AMBIGUOUS, 400, "The request has an access token and an API key: send one of them."
        )

    def invalid(self, reason: str, note: str) -> Denial:
        """One answer for every key that does not hold (ASVS 6.3.8)."""
        return Denial(reason, 401, "The API key is not valid here.", headers=self._headers, note=note)

    def unavailable(self, note: str) -> Denial:
        """The key was not judged, so it is not called invalid."""
        return Denial(
            Reason.API_KEYS_UNAVAILABLE,
            503,
            "API keys cannot be checked at the moment. Try again later.",
            headers=((b"retry-after", b"1"),),
            note=note,
        )

    def insufficient_scope(self, scopes: Iterable[str], note: str, scheme: Any) -> Denial:
        """403: there is no way to ask for another key."""
        return forbidden(Reason.SCOPE_INSUFFICIENT, note)

    def insufficient_authentication(
        self, acr_values: Iterable[str], max_age: float | None, note: str, scheme: Any
    ) -> Denial:
        """403: no user has signed in, and none can."""
        return forbidden(Reason.AUTHENTICATION_INSUFFICIENT, note)


def _finder(keys: Any) -> Find:
    find: Find = getattr(keys, "find", keys)
    if isinstance(keys, str | type) or not callable(find):
        raise ConfigurationError(
            'keys= is a store, MemoryKeys(records), FileKeys("keys.json") or RedisKeys(url), or a function from an id '
            f"to a KeyRecord or None; got {type(keys).__name__}"
        )
    return find


def _checked_header(header: Any) -> str:
    name = header.lower() if isinstance(header, str) else ""
    if not _FIELD_NAME.fullmatch(name) or name in _TAKEN:
        raise ConfigurationError(
            f'header= is the name of a field that has no other use, such as "x-api-key"; got {header!r}'
        )
    return name


async def _call_if_there(store: Any, method: str) -> None:
    call = getattr(store, method, None)  # a store of the user's own need not have one
    if call is not None:
        await call()
