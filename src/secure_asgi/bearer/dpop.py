"""DPoP proofs (RFC 9449 section 4.3): whoever uses the token has, in this moment, the key it was issued to.

The order is cheapest first, and nothing is decoded of a proof over the size limit. The key that a proof brings proves
nothing by itself: it must be the one in the token's ``cnf.jkt``. Where a proof is valid is compared as RFC 3986 section
6.2 has it, with the address that the client used, as far as the layers outside and ``origin`` know it.
"""

import json
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Iterable, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Any, NamedTuple
from urllib.parse import quote

from .._asgi import HOST_FIELD, Scope
from .._cache import TwoGenerations
from ..denial import Reason
from ..errors import ConfigurationError, TokenError
from ..exchange import Exchange
from .encoding import parse_object
from .jws import read_header, verify
from .keys import ASYMMETRIC, SYMMETRIC, KeySet, named_algorithms
from .nonces import Nonces
from .replay import ReplayStore
from .unavailable import UnavailableError

MAX_PROOF_BYTES = 8 * 1024
MAX_AGE = 60.0
"""Seconds since ``iat``; FAPI 2.0 has the same."""
MAX_AGE_WITH_NONCE = 300.0
"""Where a nonce of ours says how old the proof is, the client's clock need not."""
MAX_AHEAD = 10.0
"""Seconds that ``iat`` may lie in the future."""
CACHED_KEYS = 1024
"""Prepared keys remembered, at some 4 kB each."""
_CLOCK_MARGIN = 10.0
"""Seconds a proof is remembered beyond its time: the clock of another worker may be behind ours."""

_THUMBPRINT_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
_SCHEMES = {"https": "https", "wss": "https", "http": "http", "ws": "http"}
_DEFAULT_PORTS = {"https": 443, "http": 80}
_URI = re.compile(r"(https?)://([^/?#]*)([^?#]*)", re.IGNORECASE)
_NORMAL_PATH = re.compile(r"[A-Za-z0-9_~!$&'()*+,;=:@/-]+")
"""Neither percent-encoding nor dots: nothing to normalise."""
_PATH_SAFE = "/:@!$&'()*+,;=-._~"
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})?")


class Proof(NamedTuple):
    """A proof that held. ``replay_key`` is to be seen once in the next ``seconds``; it holds nothing secret."""

    thumbprint: str
    replay_key: str
    seconds: float


class ProofRules:
    """What a DPoP proof must be to go with a token here.

    ``store`` remembers which proofs were used. ``nonces`` demands a nonce of ours in each; without them ``iat`` must be
    at most 60 seconds old, with them 300, and never more than 10 ahead. ``algorithms`` defaults to all asymmetric ones.
    ``origin`` is where clients find us, ``"https://api.example.com"``; without it it is the exchange's scheme and the
    Host field. Raises ``ConfigurationError`` for wrong options. It does not look at the token but to hash it.
    """

    __slots__ = ("_clock", "_max_age", "_nonces", "_origin", "_prepared", "_store", "algorithms")

    def __init__(
        self,
        *,
        store: ReplayStore,
        nonces: Nonces | None = None,
        algorithms: str | Iterable[str] = ASYMMETRIC,
        origin: str | None = None,
    ) -> None:
        if not callable(getattr(store, "add", None)):
            raise ConfigurationError(
                "store= remembers proofs: MemoryReplayStore(), RedisReplayStore(url), or what has such an add()"
            )
        if nonces is not None and not isinstance(nonces, Nonces):
            raise ConfigurationError(f"nonces= is Nonces(secret), or None for none; got {type(nonces).__name__}")
        self.algorithms = named_algorithms(algorithms)
        if not self.algorithms.isdisjoint(SYMMETRIC):
            raise ConfigurationError("a DPoP proof is signed with a private key: leave HS* out of algorithms=")
        self._store = store
        self._nonces = nonces
        self._max_age = MAX_AGE if nonces is None else MAX_AGE_WITH_NONCE
        self._origin = None if origin is None else _checked_origin(origin)
        self._prepared: TwoGenerations[bytes, tuple[KeySet, str]] = TwoGenerations(CACHED_KEYS)
        self._clock = time.time

    def verify(self, exchange: Exchange, scope: Scope, token: bytes, bound_to: str) -> Proof:
        """All but the replay. ``bound_to`` is the token's ``cnf.jkt``.

        Raises ``TokenError``: ``DPOP_PROOF_MISSING``, ``DPOP_PROOF_INVALID``, ``DPOP_NONCE_REQUIRED``, or
        ``TOKEN_BINDING_MISMATCH`` where the proof is made with another key than the token's.
        """
        proof = exchange.fields(scope).get(b"dpop")
        if proof is None:
            raise TokenError(Reason.DPOP_PROOF_MISSING)
        if not isinstance(proof, bytes):
            raise _invalid("more than one DPoP field")
        if len(proof) > MAX_PROOF_BYTES:
            raise _invalid(f"{len(proof)} bytes")
        claims = self._signed_claims(proof, bound_to)
        target = self._target(exchange, scope)
        _check_place(claims, "GET" if scope["type"] == "websocket" else scope["method"], target)
        _check_token(claims, token)
        jti = claims.get("jti")
        if not isinstance(jti, str) or not jti:
            raise _invalid("jti is no text")
        return Proof(bound_to, _replay_key(bound_to, target, jti), self._seconds_left(claims))

    def remember(self, proof: Proof) -> Awaitable[None] | None:
        """Whether the proof is used for the first time, which it is only once; an awaitable if the store's ``add`` is.

        Raises ``TokenError(DPOP_PROOF_REPLAYED)``, or ``UnavailableError`` where the store cannot say.
        """
        try:
            is_new = self._store.add(proof.replay_key, proof.seconds)
        except UnavailableError:
            raise
        except Exception as error:
            raise _unavailable(error) from error
        if isinstance(is_new, Awaitable):
            return _wait_for(is_new)
        _require_new(is_new)
        return None

    def _signed_claims(self, proof: bytes, bound_to: str) -> dict[str, Any]:
        segment = proof.partition(b".")[0]
        known = self._prepared.get(segment)
        keys, thumbprint = known or self._prepare(segment, bound_to)
        _require_bound(thumbprint, bound_to)
        try:
            payload = verify(proof, keys, MAX_PROOF_BYTES)[1]
        except TokenError as error:
            raise _invalid(str(error)) from error
        if known is None:
            self._prepared.put(segment, (keys, thumbprint))  # a key that has signed, and that a token is bound to
        try:
            return parse_object(payload)
        except ValueError as error:
            raise _invalid(f"claims: {error}") from error

    def _prepare(self, segment: bytes, bound_to: str) -> tuple[KeySet, str]:
        """The key in a header, as a set of one, and its thumbprint."""
        try:
            header = read_header(segment)
        except ValueError as error:
            raise _invalid(f"header: {error}") from error
        algorithm: Any = header.get("alg")
        jwk: Any = header.get("jwk")
        if header.get("typ") != "dpop+jwt":
            raise _invalid("typ is not dpop+jwt")
        if not isinstance(algorithm, str) or algorithm not in self.algorithms:
            raise _invalid("alg is not one of ours")
        thumbprint = thumbprint_of(jwk)
        if thumbprint is None:
            raise _invalid("jwk is no public key")
        _require_bound(thumbprint, bound_to)  # before the costly part: most thieves have a key of their own
        member = {**jwk, "kid": header["kid"]} if "kid" in header else jwk
        keys = KeySet({"keys": [member]}, algorithms=algorithm, remote=True)
        if not keys:
            raise _invalid(f"jwk: {keys.dropped[0][1] if keys.dropped else 'not for this alg'}")
        return keys, thumbprint

    def _seconds_left(self, claims: Mapping[str, Any]) -> float:
        """How long the proof could still be used; raises where it cannot be now."""
        issued, now = claims.get("iat"), self._clock()
        if not isinstance(issued, (int, float)):  # True is one, and far too old
            raise _invalid("iat is no number")
        # Compared, not subtracted: a whole number may be too large for a float.
        if issued > now + MAX_AHEAD or issued < now - self._max_age:
            raise _invalid("iat is not of now")
        left = issued + self._max_age - now
        if self._nonces is not None:
            if not self._nonces.holds(claims.get("nonce")):
                raise TokenError(Reason.DPOP_NONCE_REQUIRED, "no nonce of ours" if "nonce" in claims else "no nonce")
            left = min(left, self._nonces.longest)
        return left + _CLOCK_MARGIN

    def _target(self, exchange: Exchange, scope: Scope) -> str:
        """The URI that was asked for, without its query, in normal form."""
        try:
            return (self._origin or _origin_of(exchange, scope)) + _normal_path(_path_of(scope))
        except ValueError as error:
            raise _invalid(f"the request: {error}") from error


def thumbprint_of(jwk: Any) -> str | None:
    """The RFC 7638 thumbprint of a public key as a JWK, SHA-256 in base64url; None for what is no such key.

    The members that make the key are hashed as they are written, and not looked into.
    """
    if not isinstance(jwk, Mapping) or not isinstance(jwk.get("kty"), str):
        return None
    names = _THUMBPRINT_MEMBERS.get(jwk["kty"])
    if names is None or not all(isinstance(jwk.get(name), str) for name in names):
        return None
    text = json.dumps({name: jwk[name] for name in names}, separators=(",", ":"), ensure_ascii=False)
    return _digest(text.encode())


def normal_uri(uri: str) -> str:
    """An http or https URI without query and fragment, in the one form that is compared (RFC 3986 section 6.2).

    Scheme and host in lower case, no default port, ``%XX`` in upper case and only where needed, no dot segments, ``/``
    for an empty path. ``%2F`` stays: it is no slash. Raises ``ValueError`` for every other URI, or none.
    """
    match = _URI.match(uri)
    if match is None:
        raise ValueError("not an http or https URI")
    return _normal_origin(match[1], match[2].removesuffix(":")) + _normal_path(match[3])


def _normal_origin(scheme: str, authority: str) -> str:
    match = HOST_FIELD.fullmatch(authority.encode())
    if match is None:
        raise ValueError("not one host, with a port or without")
    scheme, host = scheme.lower(), match[1].decode().lower()
    port = _DEFAULT_PORTS[scheme] if match[2] is None else int(match[2])
    if not 0 < port < 65536:
        raise ValueError("not a port")
    return f"{scheme}://{host}" if port == _DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{port}"


def _normal_path(path: str) -> str:
    if _NORMAL_PATH.fullmatch(path):
        return path
    encoded = _PERCENT.sub(_normal_percent, quote(path, safe=_PATH_SAFE + "%"))
    kept: list[str] = []
    last = ""
    for last in encoded.split("/")[1:]:
        if last == "..":
            del kept[-1:]
        elif last != ".":
            kept.append(last)
    if last in (".", ".."):
        kept.append("")  # "/a/." is the directory "/a/"
    return "/" + "/".join(kept)


def _normal_percent(match: "re.Match[str]") -> str:
    if match[1] is None:
        raise ValueError("a percent sign that encodes nothing")
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


def _origin_of(exchange: Exchange, scope: Scope) -> str:
    host = exchange.fields(scope).get(b"host")
    if not isinstance(host, bytes):
        raise ValueError("no Host field" if host is None else "more than one Host field")
    scheme = _SCHEMES.get(exchange.scheme)
    if scheme is None:
        raise ValueError("neither http nor https")
    return _normal_origin(scheme, host.decode("latin-1"))


def _path_of(scope: Scope) -> str:
    """The path that the client sent: with ``root_path``, which not every server puts in front of it."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        path = quote(scope["path"], safe=_PATH_SAFE, errors="replace")
    else:
        path = quote(raw.partition(b"?")[0], safe=_PATH_SAFE + "%")
    if not path.startswith("/"):
        raise ValueError("the target is no path")
    root = quote(scope.get("root_path") or "", safe=_PATH_SAFE, errors="replace").rstrip("/")
    return path if not root or path == root or path.startswith(root + "/") else root + path


def _checked_origin(origin: str) -> str:
    try:
        match = _URI.fullmatch(origin) if isinstance(origin, str) else None
        if match is None or match[3] not in ("", "/"):
            raise ValueError("more than an origin")
        return _normal_origin(match[1], match[2])
    except ValueError:
        raise ConfigurationError(
            'origin= is where clients find us, a scheme and a host, perhaps a port: "https://api.example.com"'
        ) from None


def _check_place(claims: Mapping[str, Any], method: str, target: str) -> None:
    if claims.get("htm") != method:
        raise _invalid("htm is not the method")
    uri = claims.get("htu")
    try:
        place = normal_uri(uri) if isinstance(uri, str) else None
    except ValueError as error:
        raise _invalid(f"htu: {error}") from error
    if place != target:
        raise _invalid(f"htu is not {target}")


def _check_token(claims: Mapping[str, Any], token: bytes) -> None:
    shown = claims.get("ath")
    if not isinstance(shown, str) or not compare_digest(shown.encode(), _digest(token).encode()):
        raise _invalid("ath is not of this token")


def _require_bound(thumbprint: str, bound_to: str) -> None:
    if not compare_digest(thumbprint.encode(), bound_to.encode()):
        raise TokenError(Reason.TOKEN_BINDING_MISMATCH, f"bound to key {bound_to}, and {thumbprint} has signed")


def _replay_key(thumbprint: str, target: str, jti: str) -> str:
    """A hash, because a jti may be long. The key's thumbprint goes before it, so that a store can count by client."""
    return f"{thumbprint}:{_digest(f'{target} {jti}'.encode())}"


async def _wait_for(answer: Awaitable[bool]) -> None:
    try:
        is_new = await answer
    except UnavailableError:
        raise
    except Exception as error:
        raise _unavailable(error) from error
    _require_new(is_new)


def _require_new(is_new: bool) -> None:
    if is_new is not True:
        raise TokenError(Reason.DPOP_PROOF_REPLAYED)


def _unavailable(error: Exception) -> UnavailableError:
    """A store of the user's own may raise anything; none of it may let a proof pass."""
    return UnavailableError(Reason.REPLAY_STORE_UNAVAILABLE, type(error).__name__)


def _invalid(note: str) -> TokenError:
    return TokenError(Reason.DPOP_PROOF_INVALID, note)


def _digest(octets: bytes) -> str:
    return urlsafe_b64encode(sha256(octets).digest()).rstrip(b"=").decode()
