"""``BearerAuthMiddleware``: an access token in, a principal out.

RFC 6750, RFC 8725, RFC 9068, RFC 7662, RFC 8705 section 3, RFC 9449, RFC 9470, RFC 9728. Whether a token holds is for
``judge`` to say; here it is taken from the request, remembered, and asked each time whether it is this client's, and
has not been taken back.
"""

import json
import time
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from datetime import date
from hashlib import sha256
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from .._asgi import ASGIApp, Scope
from .._cache import TwoGenerations
from .._failures import FailureLimit, too_many_failures
from .._paths import PathSet, route_path
from .._starlette_user import StarletteUser
from ..denial import Denial, Reason, Reply
from ..errors import ConfigurationError, TokenError
from ..exchange import Exchange, Principal
from ..flow import Layer
from ..secrets import Secret
from .binding import Binding, check_certificate
from .challenge import MALFORMED, Challenges, Scheme, credentials_of, unavailable
from .claims import DEFAULT_LEEWAY, DEFAULT_MAX_BYTES, Profile, checked_size
from .dpop import Proof, ProofRules
from .introspection import Introspection
from .issuers import Issuer, OneIssuer, Resolver, issuers_of
from .judge import CACHE_SECONDS, Judge, Verified
from .jwe import Decryption
from .keys import ASYMMETRIC, KeySet, load_pyjwt
from .metadata import ProtectedResource
from .nonces import Nonces
from .replay import MemoryReplayStore, ReplayStore
from .requirements import Requirements
from .revocation import Revocations
from .source import RemoteKeys, StaticKeys
from .status_list import StatusLists
from .unavailable import UnavailableError

if TYPE_CHECKING:
    import httpx
    from starlette.authentication import AuthCredentials

__all__ = ["CACHE_SECONDS", "CACHE_SIZE", "BearerAuthMiddleware"]

CACHE_SIZE = 10_000
"""Verified tokens remembered, at some 2 kB each."""
_USUAL = b"Bearer "
_MAX_SCHEME = 16
"""Octets allowed for the scheme and the spaces after it."""

Answer = Denial | Reply | None


class _Known(NamedTuple):
    """A token that held. ``deadline`` on the monotonic clock; ``issuer`` and ``keys`` None where it was asked about."""

    principal: Principal
    auth: "AuthCredentials"
    deadline: float
    binding: Binding | None
    issuer: Issuer | None
    keys: KeySet | None


class BearerAuthMiddleware(Layer):
    """Lets pass who presents a valid access token, and says who it is: ``exchange.principal``, ``request.user``.

    ``issuer`` is the ``iss`` of the tokens, exactly; ``audience`` our name in ``aud``, or several. The keys come from
    the issuer's metadata, from ``jwks_uri``, or from ``jwks`` (a JWK Set, a ``dict``). ``algorithms`` defaults to all
    asymmetric ones; HMAC (``"HS256"`` ...) goes with ``jwks`` only. ``profile="rfc9068"`` wants ``typ`` ``at+jwt``,
    ``client_id``, ``iat`` and ``jti`` too. ``leeway`` seconds of clock skew (30, at most 300); ``max_lifetime`` seconds
    from ``iat`` to ``exp``; ``max_bytes`` of a token (8192, at most 16384). ``required=False`` lets a request without a
    token pass as nobody; a bad token is refused all the same.

    ``issuers`` instead of ``issuer`` and all that belongs to it: several ``Issuer(...)``, or a function from an ``iss``
    to one of them, or None, or an awaitable of it.

    ``introspection``, an ``Introspection(...)``, asks the issuer about tokens that are no JWTs (RFC 7662).
    ``decryption``, a ``Decryption(...)``, opens encrypted tokens (RFC 7516).

    A token that is bound to a key holds only together with it. Bound to a client certificate (``x5t#S256``): with the
    one that ``MutualTLSMiddleware``, standing outside, has put into ``exchange.peer_certificate``. Bound to the key of
    DPoP proofs (``jkt``): with a proof made for this request, if ``dpop`` is ``"accept"`` or ``"require"``, else it is
    refused; ``"require"`` refuses all other tokens. ``dpop_nonce``, a ``Secret`` of 32 characters or more that all
    workers share, wants a nonce of ours in each proof; ``replay_store`` remembers proofs (in memory, for one process,
    unless given). ``require_bound=True`` refuses tokens that are bound to nothing.

    ``revocation`` (``Revocations``) and ``status_lists`` (``StatusLists``) refuse tokens that were taken back, on every
    request. ``failure_limit``, a ``FailureLimit``, refuses with 429 the client that keeps sending bad tokens.

    ``require_scopes`` all have to be granted, else 403 (``insufficient_scope``). ``acr_values`` (one of them, the best
    first) and ``max_age`` (seconds since the user has signed in) ask for a better sign-in, else 401 (RFC 9470).
    ``resource``, a ``ProtectedResource(...)``, is published at its well-known path and named in every challenge (RFC
    9728). ``readiness_path`` answers 200, or 503 while there are no keys to judge tokens by.

    ``jwks_ttl`` seconds that fetched keys are used where the answer has no ``max-age`` (600); ``refresh_cooldown``
    seconds between two fetches for unknown keys (30); ``fetch_timeout`` seconds for one attempt (5); ``http`` an
    ``httpx.AsyncClient`` of one's own (CA certificates, proxy), which stays open; ``prefetch=False`` fetches with the
    first request instead of at start-up.

    Refuses with 401 (no token, or not valid here), 400 (not exactly one token), 403, 429 or 503 (somebody who has to be
    asked cannot be). Raises ``ConfigurationError`` for a wrong option, and at start-up under trio if keys must be
    fetched. It takes no token from the query or a body.
    """

    name = "bearer"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        issuer: str | None = None,
        audience: str | Iterable[str] | None = None,
        issuers: "Iterable[Issuer] | Resolver | None" = None,
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
        introspection: Introspection | None = None,
        decryption: Decryption | None = None,
        dpop: Literal["off", "accept", "require"] = "off",
        dpop_nonce: Secret | None = None,
        replay_store: ReplayStore | None = None,
        require_bound: bool = False,
        revocation: Revocations | None = None,
        status_lists: StatusLists | None = None,
        failure_limit: FailureLimit | None = None,
        require_scopes: str | Iterable[str] = (),
        acr_values: str | Iterable[str] = (),
        max_age: int | None = None,
        resource: ProtectedResource | None = None,
        readiness_path: str | None = None,
        realm: str = "api",
        required: bool = True,
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt)
        load_pyjwt()
        of_one: dict[str, Any] = {
            "issuer": issuer,
            "audience": audience,
            "jwks_uri": jwks_uri,
            "jwks": jwks,
            "jwks_ttl": jwks_ttl,
            "refresh_cooldown": refresh_cooldown,
            "fetch_timeout": fetch_timeout,
            "http": http,
            "prefetch": prefetch,
            "algorithms": algorithms,
            "profile": profile,
            "leeway": leeway,
            "max_lifetime": max_lifetime,
            "require_bound": require_bound,
        }
        believed = OneIssuer(Issuer(**of_one)) if issuers is None else issuers_of(issuers)
        if issuers is not None:
            _refuse_misplaced(of_one)
        self._max_bytes = checked_size(max_bytes)
        self._judge = Judge(believed, introspection, decryption, self._max_bytes)
        if introspection is not None and isinstance(believed, OneIssuer):
            (only,) = believed.known()
            introspection.use_keys(only.issuer, only.source, leeway=leeway)
        self._dpop_mode = _checked_mode(dpop, dpop_nonce, replay_store)
        self._nonces = None if dpop_nonce is None else Nonces(dpop_nonce)
        self._proofs: ProofRules | None = None
        self._replay_store = replay_store
        if dpop != "off":
            self._proofs = ProofRules(
                store=MemoryReplayStore() if replay_store is None else replay_store,
                nonces=self._nonces,
                origin=None if resource is None else _origin_of(resource.resource),
            )
        self._revocation = revocation
        self._status_lists = status_lists
        self._failure_limit = failure_limit
        self._requirements = Requirements(require_scopes, acr_values, max_age, leeway)
        self._resource = resource
        self._readiness = None if readiness_path is None else PathSet(readiness_path, option="readiness_path")
        self._answers_itself = resource is not None or readiness_path is not None
        self._challenges = Challenges(
            realm,
            dpop=() if self._proofs is None else self._proofs.algorithms,
            bearer=dpop != "require",
            resource_metadata=None if resource is None else resource.url,
        )
        self._as_only_challenger = (self._challenges,)
        self._required = required
        # Nothing but the token is asked for: then one that is known and bound to nothing is let in without more ado.
        self._is_token_enough = (
            dpop != "require" and revocation is None and status_lists is None and not self._requirements
        )
        self._now = time.monotonic
        self._clock = time.time
        self._verified: TwoGenerations[bytes, _Known] = TwoGenerations(CACHE_SIZE)
        self._user = StarletteUser()

    @property
    def issuer_urls(self) -> tuple[str, ...]:
        """The issuers that are listed; none where a function names them."""
        return tuple(issuer.issuer for issuer in self._judge.issuers.known())

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """The schemes of ``Authorization`` that are taken."""
        return self._challenges.schemes

    @property
    def required(self) -> bool:
        """A request without a token is refused."""
        return self._required

    @property
    def required_scopes(self) -> frozenset[str]:
        """What every token must grant."""
        return self._requirements.scopes

    def on_request(self, exchange: Exchange, scope: Scope) -> Answer | Awaitable[Answer]:
        if self._answers_itself:
            reply = self._own_document(scope)
            if reply is not None:
                return reply
        self._offer(exchange)
        credentials = exchange.fields(scope).get(b"authorization")
        if credentials is None:
            return self._without_token(exchange, scope)
        if not isinstance(credentials, bytes):
            return self._refuse(exchange, scope, self._challenges.ambiguous)
        if len(credentials) > self._max_bytes + _MAX_SCHEME:
            beginning = self._credentials(credentials[:_MAX_SCHEME])  # at a cost that does not depend on what follows
            if beginning is None:
                return self._without_token(exchange, scope)
            return self._refuse(exchange, scope, self._challenges.invalid(Reason.TOKEN_TOO_LARGE, "", beginning[0]))
        scheme: Scheme = "bearer"
        if credentials.startswith(_USUAL):
            token = credentials[len(_USUAL) :].lstrip(b" ")  # its form is looked at if it is not known
        else:
            presented = self._credentials(credentials)
            if presented is None:
                return self._without_token(exchange, scope)
            scheme, token = presented
        # The digest, not the token: what is kept of a credential must be of no use to who reads our memory. And the
        # token's alone: in all spellings of the scheme, one token could fill it.
        digest = sha256(token).digest()
        now = self._now()
        known = self._verified.get(digest)
        # With other keys than it was verified by, it is verified again: its own may have been withdrawn.
        if (
            known is not None
            and now < known.deadline
            and (known.issuer is None or known.issuer.source.current(now) is known.keys)
        ):
            return self._admit(exchange, scope, scheme, token, known)
        return self._examine(exchange, scope, scheme, credentials, token, digest, now)

    def on_exempt(self, exchange: Exchange, scope: Scope) -> Answer | Awaitable[Answer]:
        """A token on an exempt path is not looked at; Starlette's ``requires`` still finds a user to ask."""
        if self._answers_itself:
            reply = self._own_document(scope)
            if reply is not None:
                return reply
        self._offer(exchange)
        self._user.leave(exchange, scope)
        return None

    async def on_startup(self, scope: Scope) -> None:
        for issuer in self._judge.issuers.known():
            await issuer.source.open(issuer.prefetch)
        for part in (self._judge.introspection, self._revocation, self._status_lists):
            if part is not None:
                await part.open()

    async def on_shutdown(self) -> None:
        for issuer in self._judge.issuers.known():
            await issuer.source.close()
        for part in (self._judge.introspection, self._revocation, self._status_lists, self._replay_store):
            close = getattr(part, "close", None)  # a store of the user's own need not have one
            if close is not None:
                await close()

    def _examine(
        self,
        exchange: Exchange,
        scope: Scope,
        scheme: Scheme,
        credentials: bytes,
        token: bytes,
        digest: bytes,
        now: float,
    ) -> Answer | Awaitable[Answer]:
        """A token that is not known."""
        presented = credentials_of(credentials)
        if presented is None or presented[1] == MALFORMED:
            return self._refuse(exchange, scope, self._challenges.not_one_token(credentials))
        if self._failure_limit is not None:
            wait = self._failure_limit.wait(exchange.client, now)
            if wait:
                return self._refuse(exchange, scope, too_many_failures(wait))
        try:
            verified = self._judge.verified(token, digest, now, self._clock)
        except (TokenError, UnavailableError) as error:
            return self._refused(exchange, scope, scheme, error)
        if isinstance(verified, Verified):
            return self._admit(exchange, scope, scheme, token, self._remember(digest, verified))
        return self._examine_later(exchange, scope, scheme, token, digest, verified)

    async def _examine_later(
        self,
        exchange: Exchange,
        scope: Scope,
        scheme: Scheme,
        token: bytes,
        digest: bytes,
        verdict: Awaitable[Verified],
    ) -> Answer:
        try:
            verified = await verdict
        except (TokenError, UnavailableError) as error:
            return self._refused(exchange, scope, scheme, error)
        answer = self._admit(exchange, scope, scheme, token, self._remember(digest, verified))
        return answer if answer is None or isinstance(answer, (Denial, Reply)) else await answer

    def _remember(self, digest: bytes, verified: Verified) -> _Known:
        """After success only: junk never pushes a genuine token out."""
        principal, binding, seconds, issuer, keys = verified
        if binding is not None and binding.key is not None:
            principal = replace(principal, method="dpop")
        known = _Known(principal, self._user.auth_for(principal.scopes), self._now() + seconds, binding, issuer, keys)
        if seconds > 0:
            self._verified.put(digest, known)
        return known

    def _admit(
        self, exchange: Exchange, scope: Scope, scheme: Scheme, token: bytes, known: _Known
    ) -> Answer | Awaitable[Answer]:
        """Each time: a token is remembered for everybody, is one client's, and may have been taken back since."""
        if known.binding is None and self._is_token_enough and scheme == "bearer":
            exchange.principal = scope["user"] = known.principal
            scope["auth"] = known.auth
            return None
        proof = waiting = None
        try:
            if known.binding is not None or scheme == "dpop" or self._dpop_mode == "require":
                proof = self._check_binding(exchange, scope, scheme, token, known.binding)
            if self._revocation is not None:
                self._revocation.check(known.principal.claims, self._clock())
            if self._status_lists is not None:
                waiting = self._status_lists.check(known.principal.claims, self._clock())
            if waiting is None and proof is not None and self._proofs is not None:
                waiting = self._proofs.remember(proof)
                proof = None
        except (TokenError, UnavailableError) as error:
            return self._refused(exchange, scope, scheme, error)
        if waiting is not None:
            return self._admit_later(exchange, scope, scheme, known, waiting, proof)
        return self._let_in(exchange, scope, scheme, known)

    async def _admit_later(
        self,
        exchange: Exchange,
        scope: Scope,
        scheme: Scheme,
        known: _Known,
        waiting: Awaitable[None],
        proof: Proof | None,
    ) -> Answer:
        try:
            await waiting
            if proof is not None and self._proofs is not None:
                remembering = self._proofs.remember(proof)
                if remembering is not None:
                    await remembering
        except (TokenError, UnavailableError) as error:
            return self._refused(exchange, scope, scheme, error)
        return self._let_in(exchange, scope, scheme, known)

    def _check_binding(
        self, exchange: Exchange, scope: Scope, scheme: Scheme, token: bytes, binding: Binding | None
    ) -> Proof | None:
        """The client has what the token is bound to; the proof that shows it, if it is bound to a DPoP key."""
        if binding is not None and binding.key is not None and self._proofs is None:
            raise TokenError(Reason.TOKEN_BINDING_UNVERIFIED, "bound to a DPoP key, and dpop= is off")
        if binding is not None and binding.certificate is not None:
            peer = exchange.peer_certificate
            check_certificate(binding.certificate, None if peer is None else peer.thumbprint)
        if binding is None or binding.key is None:
            if scheme == "dpop" or self._dpop_mode == "require":
                raise TokenError(Reason.TOKEN_BINDING_MISMATCH, "bound to no DPoP key")
            return None
        if scheme != "dpop" or self._proofs is None:
            raise TokenError(Reason.TOKEN_BINDING_MISMATCH, "bound to a DPoP key, and sent as a bearer token")
        return self._proofs.verify(exchange, scope, token, binding.key)

    def _let_in(self, exchange: Exchange, scope: Scope, scheme: Scheme, known: _Known) -> Answer:
        principal = known.principal
        if self._requirements:
            lacking = self._requirements.lacking(principal, self._clock())
            if lacking is not None:
                return self._refuse(exchange, scope, self._requirements.denial(lacking, self._challenges, scheme))
        exchange.principal = scope["user"] = principal
        scope["auth"] = known.auth
        return None

    def _credentials(self, authorization: bytes) -> tuple[Scheme, bytes] | None:
        """Scheme and token; None for a scheme that is not taken here."""
        presented = credentials_of(authorization)
        return None if presented is None or (presented[0] == "dpop" and self._proofs is None) else presented

    def _without_token(self, exchange: Exchange, scope: Scope) -> Answer:
        if self._required:
            return self._refuse(exchange, scope, self._challenges.missing)
        self._user.leave(exchange, scope)
        return None

    def _refused(
        self, exchange: Exchange, scope: Scope, scheme: Scheme, error: TokenError | UnavailableError
    ) -> Denial:
        if isinstance(error, UnavailableError):
            return self._refuse(exchange, scope, unavailable(error.wait, str(error), error.reason))
        reason, note = error.reason, error.note
        if reason == Reason.DPOP_NONCE_REQUIRED and self._nonces is not None:
            return self._refuse(exchange, scope, self._challenges.use_nonce(self._nonces.current(), note))
        if self._failure_limit is not None:
            self._failure_limit.failed(exchange.client, self._now())
        if reason.startswith("dpop_"):
            return self._refuse(exchange, scope, self._challenges.invalid_proof(reason, note))
        return self._refuse(exchange, scope, self._challenges.invalid(reason, note, scheme))

    def _refuse(self, exchange: Exchange, scope: Scope, denial: Denial) -> Denial:
        if self.mode != "enforce":
            self._user.leave(exchange, scope)  # shadow suspends the refusal: the application finds nobody
        return denial

    def _own_document(self, scope: Scope) -> Reply | None:
        """The metadata, or whether there is something to judge tokens by; None for every other path."""
        if self._resource is not None and self._resource.serves(scope):
            return self._resource.reply(scope)
        if self._readiness is not None and scope["type"] == "http" and route_path(scope) in self._readiness:
            return _readiness([issuer.source for issuer in self._judge.issuers.known()])
        return None

    def _offer(self, exchange: Exchange) -> None:
        """Who asks more of the client than we do has to name our schemes."""
        others = exchange.challengers
        exchange.challengers = (*others, self._challenges) if others else self._as_only_challenger


def _refuse_misplaced(of_one: dict[str, Any]) -> None:
    """An option that would apply to none of several issuers is not passed over: it may be the one that refuses."""
    defaults = {name: parameter.default for name, parameter in signature(Issuer).parameters.items()}
    defaults |= {"issuer": None, "audience": None}  # which an Issuer must have
    misplaced = [f"{name}=" for name, value in of_one.items() if value != defaults[name]]
    if misplaced:
        raise ConfigurationError(f"with issuers= these belong inside each Issuer(...): {', '.join(misplaced)}")


def _checked_mode(dpop: str, nonce: Secret | None, store: ReplayStore | None) -> str:
    if dpop not in ("off", "accept", "require"):
        raise ConfigurationError(f'dpop= is "off", "accept" or "require", got {dpop!r}')
    if dpop == "off" and (nonce is not None or store is not None):
        raise ConfigurationError('dpop_nonce= and replay_store= belong to dpop="accept" or dpop="require"')
    return dpop


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _readiness(sources: list[StaticKeys | RemoteKeys]) -> Reply:
    from starlette.responses import Response

    for source in sources:
        source.keep_fresh()  # who is not ready is sent no request that would have the keys fetched
    is_ready = all(source.is_ready for source in sources)
    body = json.dumps({"status": "ready" if is_ready else "no keys"}).encode()
    headers = {"cache-control": "no-store"}
    return Reply(Response(body, 200 if is_ready else 503, headers, media_type="application/json"))
