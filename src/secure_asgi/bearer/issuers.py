"""Whose tokens are believed: one issuer, a list of them, or whoever a function knows. RFC 8725 section 3.8 (JWT-12).

Each has rules and keys of its own, and a token is judged by those of the issuer that it names: the name chooses among
what was configured and is believed no further, since it must then hold under that issuer's keys.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .._cache import TwoGenerations
from .._fetch import Fetcher, is_fetchable
from .._options import positive_seconds
from ..denial import Reason
from ..errors import ConfigurationError, TokenError
from .claims import DEFAULT_LEEWAY, ClaimRules, Profile
from .encoding import decode_base64url, parse_object
from .keys import ASYMMETRIC, SYMMETRIC, named_algorithms
from .source import RemoteKeys, StaticKeys
from .unavailable import UnavailableError

if TYPE_CHECKING:
    import httpx

MAX_RESOLVED = 1_000
"""Issuers that are kept of those a function has named."""
RESOLVED_SECONDS = 60.0
"""For which the function's word is taken. The tokens of an issuer that was removed are remembered beyond it."""
UNKNOWN_SECONDS = 5.0


class Issuer:
    """An issuer whose tokens are believed, and the rules for them: see ``BearerAuthMiddleware`` for each option.

    Raises ``ConfigurationError`` for a wrong one.
    """

    __slots__ = ("issuer", "prefetch", "rules", "source")

    def __init__(
        self,
        issuer: str,
        *,
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
        require_bound: bool = False,
    ) -> None:
        self.issuer = issuer
        self.prefetch = prefetch
        self.rules = ClaimRules(issuer, audience, profile, leeway, max_lifetime, require_bound)
        names = named_algorithms(algorithms)
        if jwks is not None:
            if jwks_uri is not None:
                raise ConfigurationError("the keys come from jwks= or from jwks_uri=, not from both: leave one out")
            self.source: StaticKeys | RemoteKeys = StaticKeys(jwks, names)
        else:
            _check_remote(issuer, jwks_uri, names)
            self.source = RemoteKeys(
                issuer,
                jwks_uri,
                names,
                Fetcher(http, timeout=positive_seconds("fetch_timeout", fetch_timeout)),
                ttl=positive_seconds("jwks_ttl", jwks_ttl),
                cooldown=positive_seconds("refresh_cooldown", refresh_cooldown),
                timeout=fetch_timeout,
            )

    def __repr__(self) -> str:
        return f"Issuer({self.issuer!r})"


Resolver = Callable[[str], "Issuer | Awaitable[Issuer | None] | None"]


class OneIssuer:
    """The usual case: no token needs to be asked whose it is."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    def known(self) -> tuple[Issuer, ...]:
        return (self._issuer,)

    def of(self, token: bytes, now: float) -> Issuer | Awaitable[Issuer]:
        return self._issuer

    def named(self, name: str, now: float) -> Issuer | Awaitable[Issuer]:
        return self._issuer


class ListedIssuers:
    """Several, by name."""

    def __init__(self, issuers: Iterable[Issuer]) -> None:
        self._by_name: dict[str, Issuer] = {}
        for issuer in issuers:
            if not isinstance(issuer, Issuer):
                raise ConfigurationError(f"issuers= takes Issuer(...) objects, got {type(issuer).__name__}")
            if issuer.issuer in self._by_name:
                raise ConfigurationError(f"issuers= names {issuer.issuer!r} twice: keep one")
            self._by_name[issuer.issuer] = issuer
        if not self._by_name:
            raise ConfigurationError("issuers= names no issuer: list at least one")

    def known(self) -> tuple[Issuer, ...]:
        return tuple(self._by_name.values())

    def of(self, token: bytes, now: float) -> Issuer | Awaitable[Issuer]:
        return self.named(claimed_issuer(token), now)

    def named(self, name: str, now: float) -> Issuer | Awaitable[Issuer]:
        issuer = self._by_name.get(name)
        if issuer is None:
            raise TokenError(Reason.TOKEN_ISSUER_WRONG)
        return issuer


class ResolvedIssuers:
    """Whoever the function knows. It is asked once in ``RESOLVED_SECONDS`` for each, and its failing is an outage.

    An ``Issuer`` holds the keys that were fetched for it: a function that makes a new one each time has them fetched
    each time.
    """

    def __init__(self, resolve: Resolver) -> None:
        self._resolve = resolve
        self._resolved: TwoGenerations[str, tuple[Issuer | None, float]] = TwoGenerations(MAX_RESOLVED)

    def known(self) -> tuple[Issuer, ...]:
        return ()

    def of(self, token: bytes, now: float) -> Issuer | Awaitable[Issuer]:
        return self.named(claimed_issuer(token), now)

    def named(self, name: str, now: float) -> Issuer | Awaitable[Issuer]:
        resolved = self._resolved.get(name)
        if resolved is None or resolved[1] <= now:
            return self._ask(name, now)
        return _existing(resolved[0])

    async def _ask(self, name: str, now: float) -> Issuer:
        try:
            found = self._resolve(name)
            issuer = await found if inspect.isawaitable(found) else found
        except Exception as error:
            # It is the user's code, most often a database that is down: nothing is known of the token.
            raise UnavailableError(Reason.KEYS_UNAVAILABLE, f"issuers= failed: {type(error).__name__}") from error
        if issuer is not None and (not isinstance(issuer, Issuer) or issuer.issuer != name):
            raise UnavailableError(
                Reason.KEYS_UNAVAILABLE, "issuers= has named something else than the issuer asked for"
            )
        self._resolved.put(name, (issuer, now + (UNKNOWN_SECONDS if issuer is None else RESOLVED_SECONDS)))
        return _existing(issuer)


def claimed_issuer(token: bytes) -> str:
    """The ``iss`` that a JWS claims, before anything is verified: good for choosing rules and for nothing else."""
    segments = token.split(b".", 3)
    if len(segments) != 3:
        raise TokenError(Reason.TOKEN_MALFORMED, "not three segments")
    try:
        name = parse_object(decode_base64url(segments[1])).get("iss")
    except ValueError as error:
        raise TokenError(Reason.TOKEN_MALFORMED, f"claims: {error}") from error
    if not isinstance(name, str):
        raise TokenError(Reason.TOKEN_CLAIM_MISSING if name is None else Reason.TOKEN_CLAIM_INVALID, "iss")
    return name


def issuers_of(given: "Iterable[Issuer] | Resolver") -> ListedIssuers | ResolvedIssuers:
    """The option ``issuers``."""
    if isinstance(given, Issuer):
        return ListedIssuers((given,))
    if callable(given):
        return ResolvedIssuers(given)
    return ListedIssuers(given)


def _existing(issuer: Issuer | None) -> Issuer:
    if issuer is None:
        raise TokenError(Reason.TOKEN_ISSUER_WRONG)
    return issuer


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
