"""``BearerAuthMiddleware``: an access token in, a principal out. RFC 6750, RFC 8725, RFC 9068, RFC 8705 section 3."""

import logging
import time
from collections.abc import Awaitable, Iterable, Mapping
from datetime import date
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .._asgi import ASGIApp, Scope
from .._cache import TwoGenerations
from .._fetch import Fetcher
from ..denial import Denial, Reason
from ..errors import ConfigurationError, TokenError
from ..exchange import Exchange, Principal
from ..flow import Layer
from .binding import bound_certificate, check_certificate
from .challenge import MALFORMED, Challenges, bearer_token, is_bearer, unavailable
from .claims import DEFAULT_LEEWAY, DEFAULT_MAX_BYTES, ClaimRules, Profile, checked_size, roles_of, scopes_of
from .keys import ASYMMETRIC, SYMMETRIC, KeySet, UnknownKeyError, load_pyjwt, named_algorithms
from .source import KeysUnavailableError, RemoteKeys, StaticKeys, is_fetchable

if TYPE_CHECKING:
    import httpx
    from starlette.authentication import AuthCredentials

logger = logging.getLogger("secure_asgi")

CACHE_SIZE = 10_000
"""Verified tokens remembered, at some 2 kB each."""
CACHE_SECONDS = 300.0
LONG_LIFETIME = 86_400.0
"""Seconds from which a token's lifetime is worth one line in the log."""
_USUAL = b"Bearer "
_MAX_SCHEME = 16
"""Octets allowed for the scheme and the spaces after it."""

Answer = Denial | None


class _Verified(NamedTuple):
    """A token that held. ``deadline`` on the monotonic clock; ``bound_to`` the thumbprint of a client certificate."""

    principal: Principal
    auth: "AuthCredentials"
    deadline: float
    bound_to: str | None


class BearerAuthMiddleware(Layer):
    """Lets pass who presents a valid JWT access token, and says who it is: ``exchange.principal``, ``request.user``.

    ``issuer`` is the ``iss`` of the tokens, exactly; ``audience`` our name in ``aud``, or several. The keys come from
    the issuer's metadata, from ``jwks_uri``, or from ``jwks`` (a JWK Set, a ``dict``). ``algorithms`` defaults to all
    asymmetric ones; HMAC (``"HS256"`` ...) goes with ``jwks`` only. ``profile="rfc9068"`` wants ``typ`` ``at+jwt``,
    ``client_id``, ``iat`` and ``jti`` too. ``leeway`` seconds of clock skew (30, at most 300); ``max_lifetime`` seconds
    from ``iat`` to ``exp``; ``max_bytes`` of a token (8192, at most 16384). ``required=False`` lets a request without a
    token pass as nobody; a bad token is refused all the same.

    A token that is bound to a client certificate (``cnf`` with ``x5t#S256``) holds only together with it: with the one
    that ``MutualTLSMiddleware``, standing outside, has put into ``exchange.peer_certificate``. ``require_bound=True``
    refuses tokens that are bound to nothing.

    ``jwks_ttl`` seconds that fetched keys are used where the answer has no ``max-age`` (600); ``refresh_cooldown``
    seconds between two fetches for unknown keys (30); ``fetch_timeout`` seconds for one attempt (5); ``http`` an
    ``httpx.AsyncClient`` of one's own (CA certificates, proxy), which stays open; ``prefetch=False`` fetches with the
    first request instead of at start-up.

    Refuses with 401 (no token, or not valid here), 400 (not exactly one token) or 503 (no keys to judge it by). Raises
    ``ConfigurationError`` for a wrong option, and at start-up under trio if keys must be fetched. It does not check
    scopes, ask whether a token was revoked, or take tokens from the query or a body; tokens bound to anything but a
    certificate are refused.
    """

    name = "bearer"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        issuer: str,
        audience: str | Iterable[str],
        jwks_uri: str | None = None,
        jwks: Mapping[str, Any] | None = None,
        jwks_ttl: float = 600.0,
        refresh_cooldown: float = 30.0,
        fetch_timeout: float = 5.0,
        http: "httpx.AsyncClient | None" = None,
        prefetch: bool = True,
        algorithms: str | Iterable[str] = ASYMMETRIC,
        profile: Profile = "jwt",
        leeway: float = DEFAULT_LEEWAY,
        max_lifetime: float | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        require_bound: bool = False,
        realm: str = "api",
        required: bool = True,
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt)
        load_pyjwt()
        self._rules = ClaimRules(issuer, audience, profile, leeway, max_lifetime, require_bound)
        self._max_bytes = checked_size(max_bytes)
        self._challenges = Challenges(realm)
        self._required = required
        self._prefetch = prefetch
        names = named_algorithms(algorithms)
        if jwks is not None:
            if jwks_uri is not None:
                raise ConfigurationError("the keys come from jwks= or from jwks_uri=, not from both: leave one out")
            self._source: StaticKeys | RemoteKeys = StaticKeys(jwks, names)
        else:
            _check_remote(issuer, jwks_uri, names)
            self._source = RemoteKeys(
                issuer,
                jwks_uri,
                names,
                Fetcher(http, timeout=_positive("fetch_timeout", fetch_timeout)),
                ttl=_positive("jwks_ttl", jwks_ttl),
                cooldown=_positive("refresh_cooldown", refresh_cooldown),
                timeout=fetch_timeout,
            )
        self._now = time.monotonic
        self._clock = time.time
        self._keys: KeySet | None = None
        self._verified: TwoGenerations[bytes, _Verified] = TwoGenerations(CACHE_SIZE)
        self._has_warned = False

        from starlette.authentication import AuthCredentials, UnauthenticatedUser

        self._make_auth = AuthCredentials
        self._nobody = UnauthenticatedUser()
        self._no_auth = self._auth_for(frozenset())

    def on_request(self, exchange: Exchange, scope: Scope) -> Answer | Awaitable[Answer]:
        credentials = exchange.fields(scope).get(b"authorization")
        if credentials is None:
            return self._without_token(exchange, scope)
        if not isinstance(credentials, bytes):
            return self._refuse(exchange, scope, self._challenges.ambiguous)
        if len(credentials) > self._max_bytes + _MAX_SCHEME:
            if not is_bearer(credentials):
                return self._without_token(exchange, scope)
            return self._refuse(exchange, scope, self._challenges.invalid(Reason.TOKEN_TOO_LARGE, ""))
        now = self._now()
        keys = self._source.current(now)
        if credentials.startswith(_USUAL):
            token: bytes | None = credentials[len(_USUAL) :].lstrip(b" ")  # its form is looked at if it is not known
        else:
            token = bearer_token(credentials)
        if token is None:
            return self._without_token(exchange, scope)
        # The digest, not the token: what is kept of a credential must be of no use to who reads our memory. And the
        # token's alone: in all spellings of the scheme, one token could fill it.
        digest = sha256(token).digest()
        if keys is not None:
            if keys is not self._keys:
                self._adopt(keys)
            known = self._verified.get(digest)
            if known is not None and now < known.deadline:
                return self._admit(exchange, scope, known)
        if bearer_token(credentials) == MALFORMED:
            return self._refuse(exchange, scope, self._challenges.malformed)
        if keys is None:
            return self._wait_for_keys(exchange, scope, token, digest)
        try:
            return self._judge(exchange, scope, token, digest, keys)
        except UnknownKeyError as unknown:
            if self._source.may_know(unknown.kid, now):
                return self._wait_for_keys(exchange, scope, token, digest, unknown)
            return self._refuse(exchange, scope, self._challenges.invalid(unknown.reason, unknown.note))

    def on_exempt(self, exchange: Exchange, scope: Scope) -> None:
        """A token on an exempt path is not looked at; Starlette's ``requires`` still finds a user to ask."""
        self._pass_unverified(exchange, scope)

    async def on_startup(self, scope: Scope) -> None:
        await self._source.open(self._prefetch)

    async def on_shutdown(self) -> None:
        await self._source.close()

    async def _wait_for_keys(
        self, exchange: Exchange, scope: Scope, token: bytes, digest: bytes, unknown: UnknownKeyError | None = None
    ) -> Answer:
        """Judge the token by keys that have to be fetched: because there are none, or none of that name."""
        try:
            keys = await (self._source.wait() if unknown is None else self._source.look_again(unknown.kid))
        except KeysUnavailableError as error:
            return self._refuse(exchange, scope, unavailable(error.wait, str(error)))
        if keys is not self._keys:
            self._adopt(keys)
        try:
            return self._judge(exchange, scope, token, digest, keys)
        except UnknownKeyError as still_unknown:
            doubt = self._source.doubt()
            if doubt is not None:
                return self._refuse(exchange, scope, unavailable(doubt.wait, str(doubt)))
            return self._refuse(exchange, scope, self._challenges.invalid(still_unknown.reason, still_unknown.note))

    def _judge(self, exchange: Exchange, scope: Scope, token: bytes, digest: bytes, keys: KeySet) -> Answer:
        """Raises ``UnknownKeyError`` where other keys could know better."""
        clock = self._clock()
        try:
            claims = self._rules.read(token, keys, self._max_bytes, clock)
            bound_to = bound_certificate(claims)
        except UnknownKeyError:
            raise
        except TokenError as error:
            return self._refuse(exchange, scope, self._challenges.invalid(error.reason, error.note))
        if not self._has_warned and claims["exp"] - claims.get("iat", clock) > LONG_LIFETIME:
            self._has_warned = True
            logger.warning("%s issues tokens that live longer than a day: max_lifetime= refuses such", claims["iss"])
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
        deadline = self._now() + min(claims["exp"] + self._rules.leeway - clock, CACHE_SECONDS)
        verified = _Verified(principal, self._auth_for(scopes), deadline, bound_to)
        self._verified.put(digest, verified)  # after success only: junk never pushes a genuine token out
        return self._admit(exchange, scope, verified)

    def _admit(self, exchange: Exchange, scope: Scope, token: _Verified) -> Answer:
        """Each time: a token is remembered for everybody, and is one client's."""
        if token.bound_to is not None:
            peer = exchange.peer_certificate
            try:
                check_certificate(token.bound_to, None if peer is None else peer.thumbprint)
            except TokenError as error:
                return self._refuse(exchange, scope, self._challenges.invalid(error.reason, error.note))
        exchange.principal = scope["user"] = token.principal
        scope["auth"] = token.auth
        return None

    def _adopt(self, keys: KeySet) -> None:
        """Another key set: whatever the old one has verified is verified again, for its key may be gone."""
        self._keys = keys
        self._verified.clear()

    def _without_token(self, exchange: Exchange, scope: Scope) -> Answer:
        if self._required:
            return self._refuse(exchange, scope, self._challenges.missing)
        self._pass_unverified(exchange, scope)
        return None

    def _refuse(self, exchange: Exchange, scope: Scope, denial: Denial) -> Denial:
        if self.mode != "enforce":
            self._pass_unverified(exchange, scope)  # shadow suspends the refusal: the application finds nobody
        return denial

    def _pass_unverified(self, exchange: Exchange, scope: Scope) -> None:
        """Nobody, or who a layer further out has found (a client certificate)."""
        principal = exchange.principal
        scope["user"] = self._nobody if principal is None else principal
        scope["auth"] = self._no_auth if principal is None else self._auth_for(principal.scopes)

    def _auth_for(self, scopes: frozenset[str]) -> "AuthCredentials":
        auth = self._make_auth()
        # A tuple: it is shared by all requests of a token, and one of them must not add to it.
        auth.scopes = tuple(sorted(scopes))  # type: ignore[assignment]
        return auth


def _check_remote(issuer: str, jwks_uri: str | None, algorithms: frozenset[str]) -> None:
    if not algorithms.isdisjoint(SYMMETRIC):
        raise ConfigurationError(
            "HMAC keys are never published: give the key with jwks=, or leave HS* out of algorithms="
        )
    option, url = ("issuer", issuer) if jwks_uri is None else ("jwks_uri", jwks_uri)
    if not isinstance(url, str) or not is_fetchable(url) or (jwks_uri is None and "?" in url):
        raise ConfigurationError(
            f"{option}= is an https URL (http on loopback only), or give the keys with jwks=; got {url!r}"
        )


def _positive(option: str, seconds: float) -> float:
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 < seconds < float("inf"):
        raise ConfigurationError(f"{option}= is a positive number of seconds, got {seconds!r}")
    return seconds
