"""Who bears a token: RFC 6750 at the door, RFC 7519 and RFC 9068 for what is in it.

A request with a token that was verified before costs a hash and a look-up; only one that has no keys to go by waits.
"""

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
from .challenge import MALFORMED, Challenges, bearer_token, unavailable
from .claims import DEFAULT_LEEWAY, DEFAULT_MAX_BYTES, ClaimRules, Profile, checked_size, roles_of, scopes_of
from .keys import ASYMMETRIC, SYMMETRIC, KeySet, UnknownKeyError, named_algorithms
from .source import KeysUnavailableError, RemoteKeys, StaticKeys, is_fetchable

if TYPE_CHECKING:
    import httpx

CACHED_TOKENS = 10_000
CACHED_FOR = 300.0
"""Seconds after which a token is verified anew, at the latest."""


class _Verified(NamedTuple):
    """A token that held. ``deadline`` on the monotonic clock."""

    principal: Principal
    auth: Any
    deadline: float


class BearerAuthMiddleware(Layer):
    """Admits requests whose ``Authorization: Bearer`` token is a JWT of ``issuer`` for ``audience``.

    Keys come from the issuer's metadata, from ``jwks_uri``, or are given as ``jwks`` (a ``dict``). ``algorithms`` are
    those accepted, all asymmetric ones by default. ``profile="rfc9068"`` wants the full profile, ``"jwt"`` the parts of
    it that every issuer has. ``required=False`` lets requests without a token through as nobody; a token that is sent
    must hold all the same. ``leeway``, ``max_lifetime``, ``jwks_ttl``, ``refresh_cooldown`` and ``fetch_timeout`` are in
    seconds, ``max_bytes`` bounds a token. ``realm`` names the service in challenges, by default its audience. ``http``
    is an ``httpx.AsyncClient`` of one's own. Raises ``ConfigurationError`` for a wrong option.

    The principal is in the exchange, in ``request.user``, and its scopes in ``request.auth``, so that Starlette's
    ``requires()`` works. It does not look for tokens in queries or forms, decide what a scope allows, know of revoked
    tokens, or accept one that is bound to a key (``cnf``), which it cannot check.
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
        algorithms: str | Iterable[str] = ASYMMETRIC,
        profile: Profile = "jwt",
        leeway: float = DEFAULT_LEEWAY,
        max_lifetime: float | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        realm: str | None = None,
        required: bool = True,
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        from starlette.authentication import AuthCredentials, UnauthenticatedUser

        if type(required) is not bool:
            raise ConfigurationError(f"required= is True or False, got {required!r}")
        for option, seconds in (
            ("jwks_ttl", jwks_ttl),
            ("refresh_cooldown", refresh_cooldown),
            ("fetch_timeout", fetch_timeout),
        ):
            if type(seconds) not in (int, float) or not 0 < seconds < float("inf"):
                raise ConfigurationError(f"{option}= is a positive number of seconds, got {seconds!r}")
        audiences = (audience,) if isinstance(audience, str) else tuple(audience)
        self._rules = ClaimRules(issuer, audiences, profile, leeway, max_lifetime)
        self._max_bytes = checked_size(max_bytes)
        self._challenges = Challenges(realm if realm is not None else audiences[0])
        names = named_algorithms(algorithms)
        self._source: StaticKeys | RemoteKeys
        if jwks is not None:
            if jwks_uri is not None:
                raise ConfigurationError("give jwks= (the keys) or jwks_uri= (where they are), not both")
            self._source = StaticKeys(jwks, names)
        else:
            _check_remote(issuer, jwks_uri, names)
            fetcher = Fetcher(http, timeout=fetch_timeout)
            self._source = RemoteKeys(
                issuer, jwks_uri, names, fetcher, ttl=jwks_ttl, cooldown=refresh_cooldown, timeout=fetch_timeout
            )
        self._is_required = required
        self._credentials = AuthCredentials
        self._nobody = (UnauthenticatedUser(), AuthCredentials())
        self._verified: TwoGenerations[bytes, _Verified] = TwoGenerations(CACHED_TOKENS)
        self._verified_with: KeySet | None = None
        self._now = time.monotonic
        self._wall = time.time
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt)

    async def on_startup(self, scope: Scope) -> None:
        await self._source.open(prefetch=True)

    async def on_shutdown(self) -> None:
        await self._source.close()

    def on_request(self, exchange: Exchange, scope: Scope) -> Denial | Awaitable[Denial | None] | None:
        self.on_exempt(exchange, scope)
        credentials = exchange.fields(scope).get(b"authorization")
        if credentials is None:
            return self._challenges.missing if self._is_required else None
        if not isinstance(credentials, bytes):
            return self._challenges.ambiguous
        token = bearer_token(credentials)
        if token is None:
            return self._challenges.missing if self._is_required else None
        if token == MALFORMED:
            return self._challenges.malformed
        if len(token) > self._max_bytes:
            return self._challenges.invalid(Reason.TOKEN_TOO_LARGE, f"{len(token)} bytes")
        keys = self._source.current(self._now())
        if keys is None:
            return self._wait(token, exchange, scope)
        try:
            return self._judge(token, keys, exchange, scope)
        except UnknownKeyError as unknown:
            if self._source.may_know(unknown.kid, self._now()):
                return self._look_again(token, unknown.kid, exchange, scope)
            return self._challenges.invalid(unknown.reason, unknown.note)

    def on_exempt(self, exchange: Exchange, scope: Scope) -> None:
        """Nobody, unless somebody is known already (by a certificate): ``requires()`` must find an answer."""
        if "auth" not in scope:
            scope["user"], scope["auth"] = self._nobody

    async def _wait(self, token: bytes, exchange: Exchange, scope: Scope) -> Denial | None:
        """There are no keys to go by yet."""
        try:
            keys = await self._source.wait()
            try:
                return self._judge(token, keys, exchange, scope)
            except UnknownKeyError as unknown:
                # They were fetched for this very request, or just before: a second look would find the same.
                return self._challenges.invalid(unknown.reason, unknown.note)
        except KeysUnavailableError as error:
            return unavailable(error.wait, str(error))

    async def _look_again(self, token: bytes, kid: str | None, exchange: Exchange, scope: Scope) -> Denial | None:
        """The key may be one that the issuer has published since."""
        try:
            keys = await self._source.look_again(kid)
        except KeysUnavailableError as error:
            return unavailable(error.wait, str(error))
        try:
            return self._judge(token, keys, exchange, scope)
        except UnknownKeyError as unknown:
            return self._challenges.invalid(unknown.reason, unknown.note)

    def _judge(self, token: bytes, keys: KeySet, exchange: Exchange, scope: Scope) -> Denial | None:
        """None and a principal, or the refusal. Raises ``UnknownKeyError``."""
        if keys is not self._verified_with:
            # What another set has verified may be signed with a key that was withdrawn.
            self._verified.clear()
            self._verified_with = keys
        digest = sha256(token).digest()
        known = self._verified.get(digest)
        if known is None or self._now() >= known.deadline:
            try:
                known = self._verify(token, keys)
            except UnknownKeyError:
                raise
            except TokenError as error:
                return self._challenges.invalid(error.reason, error.note)
            self._verified.put(digest, known)
        exchange.principal = known.principal
        scope["user"], scope["auth"] = known.principal, known.auth
        return None

    def _verify(self, token: bytes, keys: KeySet) -> _Verified:
        wall = self._wall()
        claims = self._rules.read(token, keys, self._max_bytes, wall)
        scopes = scopes_of(claims)
        principal = Principal(
            subject=claims["sub"],
            issuer=claims["iss"],
            client_id=claims.get("client_id", ""),
            scopes=scopes,
            roles=roles_of(claims),
            claims=MappingProxyType(claims),
            method="bearer",
            token_id=claims.get("jti", ""),
        )
        lifetime = min(claims["exp"] + self._rules.leeway - wall, CACHED_FOR)
        return _Verified(principal, self._credentials(("authenticated", *sorted(scopes))), self._now() + lifetime)


def _check_remote(issuer: str, jwks_uri: str | None, algorithms: frozenset[str]) -> None:
    option, url = ("issuer", issuer) if jwks_uri is None else ("jwks_uri", jwks_uri)
    if not isinstance(url, str) or not is_fetchable(url):
        raise ConfigurationError(
            f"{option}= is where the keys are fetched: an https:// URL (http:// to this machine only), got {url!r}; "
            "or give the keys with jwks="
        )
    if not algorithms.isdisjoint(SYMMETRIC):
        raise ConfigurationError("HMAC algorithms need the secret, which no issuer publishes: give it with jwks=")
