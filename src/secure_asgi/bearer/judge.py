"""From a token to what it proves: by the keys of its issuer, or by the issuer's own answer.

What is known at once is answered at once; only a token whose keys have to be fetched, or whose issuer has to be asked,
costs an awaitable.
"""

import logging
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any, NamedTuple

from ..exchange import Principal
from .binding import Binding, binding_of
from .claims import roles_of, scopes_of
from .introspection import Introspection
from .issuers import Issuer, ListedIssuers, OneIssuer, ResolvedIssuers
from .jwe import Decryption
from .keys import KeySet, UnknownKeyError

logger = logging.getLogger("secure_asgi")

LONG_LIFETIME = 86_400.0
"""Seconds from which a token's lifetime is worth one line in the log."""
CACHE_SECONDS = 300.0


class Verified(NamedTuple):
    """What a token has proved. It holds for ``seconds``, and only as long as ``keys`` are those of the ``issuer``.

    Both are None where the issuer was asked about the token instead.
    """

    principal: Principal
    binding: Binding | None
    seconds: float
    issuer: Issuer | None
    keys: KeySet | None


class Judge:
    """``issuers`` that are believed; ``decryption`` and ``introspection`` as ``BearerAuthMiddleware`` has them."""

    def __init__(
        self,
        issuers: OneIssuer | ListedIssuers | ResolvedIssuers,
        introspection: Introspection | None,
        decryption: Decryption | None,
        max_bytes: int,
    ) -> None:
        self.issuers = issuers
        self.introspection = introspection
        self._decryption = decryption
        self._max_bytes = max_bytes
        self._has_warned = False

    def verified(
        self, token: bytes, digest: bytes, now: float, clock: Callable[[], float]
    ) -> Verified | Awaitable[Verified]:
        """``now`` on the monotonic clock, ``clock`` seconds since 1970. Raises ``TokenError``, ``UnavailableError``."""
        if self.introspection is not None and (self.introspection.every_token or self._is_opaque(token)):
            return self._introspected(self.introspection, token, digest, now, clock)
        if self._decryption is not None:
            token = self._decryption.open(token, self._max_bytes)
        issuer = self.issuers.of(token, now)
        if not isinstance(issuer, Issuer):
            return self._resolved(issuer, token, now, clock)
        return self._by_keys(issuer, token, now, clock)

    def _is_opaque(self, token: bytes) -> bool:
        """Not ours to read. A JWT begins as every JSON object does in base64url; opaque tokens may have dots too."""
        dots = token.count(b".") if token.startswith(b"ey") else 0
        return dots != 2 and (dots != 4 or self._decryption is None)

    def _by_keys(
        self, issuer: Issuer, token: bytes, now: float, clock: Callable[[], float]
    ) -> Verified | Awaitable[Verified]:
        keys = issuer.source.current(now)
        if keys is None:
            return self._with_other_keys(issuer, token, clock, None)
        try:
            return self._read(issuer, token, keys, clock())
        except UnknownKeyError as unknown:
            if issuer.source.may_know(unknown.kid, now):
                return self._with_other_keys(issuer, token, clock, unknown)
            raise

    async def _resolved(
        self, issuer: Awaitable[Issuer], token: bytes, now: float, clock: Callable[[], float]
    ) -> Verified:
        verified = self._by_keys(await issuer, token, now, clock)
        return verified if isinstance(verified, Verified) else await verified

    async def _with_other_keys(
        self, issuer: Issuer, token: bytes, clock: Callable[[], float], unknown: UnknownKeyError | None
    ) -> Verified:
        """By keys that have to be fetched: because there are none, or none of that name."""
        source = issuer.source
        keys = await (source.wait() if unknown is None else source.look_again(unknown.kid))
        try:
            return self._read(issuer, token, keys, clock())
        except UnknownKeyError:
            doubt = source.doubt()
            if doubt is not None:
                raise doubt from None
            raise

    def _read(self, issuer: Issuer, token: bytes, keys: KeySet, at: float) -> Verified:
        """Raises ``UnknownKeyError`` where other keys could know better."""
        claims = issuer.rules.read(token, keys, self._max_bytes, at)
        binding = binding_of(claims)
        if not self._has_warned and claims["exp"] - claims.get("iat", at) > LONG_LIFETIME:
            self._has_warned = True
            logger.warning("%s issues tokens that live longer than a day: max_lifetime= refuses such", claims["iss"])
        seconds = min(claims["exp"] + issuer.rules.leeway - at, CACHE_SECONDS)
        return Verified(principal_of(claims), binding, seconds, issuer, keys)

    async def _introspected(
        self, introspection: Introspection, token: bytes, digest: bytes, now: float, clock: Callable[[], float]
    ) -> Verified:
        answer = await introspection.ask(token, digest)
        named = answer.get("iss")
        issuer = self.issuers.named(named if isinstance(named, str) else "", now)
        if not isinstance(issuer, Issuer):
            issuer = await issuer
        at = clock()
        claims = issuer.rules.read_answer(answer, at)
        seconds = min(claims["exp"] - at, introspection.ttl)
        return Verified(principal_of(claims), binding_of(claims), seconds, None, None)


def principal_of(claims: dict[str, Any]) -> Principal:
    return Principal(
        subject=claims["sub"],
        issuer=claims["iss"],
        client_id=claims.get("client_id", ""),
        scopes=scopes_of(claims),
        roles=roles_of(claims),
        claims=MappingProxyType(claims),
        token_id=claims.get("jti", ""),
    )
