"""Prepared keys: each member of a JWK Set once, strictly, so that a token costs a look-up and a signature.

RFC 7517 (JWK), RFC 7518 section 6, RFC 8037 and RFC 9864 (Ed25519, Ed448). PyJWT builds the key objects and verifies,
but for ECDSA, which is faster here; what a key may be used for is decided here. A member that cannot be used is left
out and named in ``dropped``: one bad key never takes the good ones with it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..denial import Reason
from ..errors import ConfigurationError, TokenError
from .ecdsa import ecdsa_verifier
from .encoding import decode_base64url

RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ASYMMETRIC = (*RSA, "ES256", "ES384", "ES512", "Ed25519", "Ed448", "EdDSA")
SYMMETRIC = ("HS256", "HS384", "HS512")
MAX_KEYS = 100
ADVISED_RSA_BITS = 3072
"""Less is accepted from 2048 on (RFC 7518 section 3.3) and logged (ASVS 11.2.3)."""
MAX_RSA_BITS = 16384
"""More is refused by OpenSSL."""
MAX_SHOWN = 64
_MAX_MEMO = 64

_EC_ALGORITHMS = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
_OKP_ALGORITHMS = {"Ed25519": ("Ed25519", "EdDSA"), "Ed448": ("Ed448", "EdDSA")}
_PUBLIC_MEMBERS = {"RSA": ("n", "e"), "EC": ("x", "y"), "OKP": ("x",), "oct": ("k",)}
_SECRET_MEMBERS = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))

Verify = Callable[[bytes, Any, bytes], bool]


@dataclass(frozen=True, slots=True)
class Key:
    """One key for one algorithm: ``verify(signed, material, signature)`` says whether it holds."""

    kid: str | None
    algorithm: str
    verify: Verify
    material: Any


class UnknownKeyError(TokenError):
    """No key is known by that name: a fresh key set may have it."""

    def __init__(self, kid: str | None) -> None:
        super().__init__(Reason.TOKEN_KEY_UNKNOWN)
        self.kid = kid


class KeySet:
    """The usable keys of a JWK Set (a ``dict``), for the given ``algorithms`` and no others. Immutable.

    Made once and given to ``verify_jws`` or ``verify_access_token`` it saves them preparing the keys for every token.
    A key that names its ``alg`` serves that one; one that does not, all ``algorithms`` of its type and curve. Two keys
    of the same ``kid`` for the same algorithm are ambiguous: neither is used. ``dropped`` says, as ``(kid, why)``, what
    was left out. Private members are ignored; with ``remote=True`` a private or symmetric key is left out, because a
    published secret is none. Raises ``ConfigurationError`` for unknown ``algorithms`` and for what is no JWK Set.
    """

    __slots__ = ("_all_kids", "_by_algorithm", "_by_name", "algorithms", "dropped", "memo", "small")

    def __init__(self, jwks: Mapping[str, Any], *, algorithms: str | Iterable[str], remote: bool = False) -> None:
        self.algorithms = named_algorithms(algorithms)
        members = jwks.get("keys") if isinstance(jwks, Mapping) else None
        if not isinstance(members, (list, tuple)):
            raise ConfigurationError('a JWK Set is a dict with a list of keys: {"keys": [...]}')
        if len(members) > MAX_KEYS:
            raise ConfigurationError(f"a JWK Set has at most {MAX_KEYS} keys, got {len(members)}")
        self.dropped: list[tuple[str, str]] = []
        self.small: list[str] = []
        self.memo: dict[bytes, tuple[dict[str, Any], Key]] = {}
        self._all_kids: set[str] = set()
        self._by_name: dict[tuple[str, str], Key] = {}
        self._by_algorithm: dict[str, list[Key]] = {}
        self._index([key for member in members for key in self._prepare(member, remote)])

    def _prepare(self, member: Any, remote: bool) -> list[Key]:
        kid = member.get("kid") if isinstance(member, dict) else None
        if isinstance(kid, str):
            self._all_kids.add(kid)
        try:
            keys = _prepare(member, self.algorithms, remote)
        except _UnusableError as error:
            self.dropped.append((shown(kid), str(error)))
            return []
        if keys and member["kty"] == "RSA" and keys[0].material.key_size < ADVISED_RSA_BITS:
            self.small.append(shown(kid))
        return keys

    def _index(self, keys: list[Key]) -> None:
        times: Counter[tuple[str, str | None]] = Counter(
            (key.algorithm, key.kid) for key in keys if key.kid is not None
        )
        for name, count in times.items():
            if count > 1:
                self.dropped.append((shown(name[1]), f"the kid is there {count} times for {name[0]}: none is used"))
        for key in keys:
            if times[key.algorithm, key.kid] > 1:
                continue
            self._by_algorithm.setdefault(key.algorithm, []).append(key)
            if key.kid is not None:
                self._by_name[key.algorithm, key.kid] = key

    def __bool__(self) -> bool:
        """Something can be verified with it."""
        return bool(self._by_algorithm)

    def find(self, algorithm: str, kid: str | None) -> Key:
        """The one key for a token's header. Raises ``TokenError``; ``UnknownKeyError`` where a fresh set may help."""
        if kid is None:
            candidates = self._by_algorithm.get(algorithm, ())
            if len(candidates) != 1:
                raise UnknownKeyError(None)
            return candidates[0]
        key = self._by_name.get((algorithm, kid))
        if key is None:
            if kid in self._all_kids:
                raise TokenError(Reason.TOKEN_KEY_MISMATCH)
            raise UnknownKeyError(kid)
        return key

    def remember(self, segment: bytes, header: dict[str, Any], key: Key) -> None:
        """A header segment of a token whose signature held: the next one like it need not be parsed."""
        if len(self.memo) >= _MAX_MEMO:
            self.memo.clear()
        self.memo[segment] = (header, key)


def named_algorithms(algorithms: str | Iterable[str]) -> frozenset[str]:
    """The option as a set; symmetric and asymmetric never together (RFC 8725 section 3.1)."""
    names = frozenset((algorithms,) if isinstance(algorithms, str) else algorithms)
    unknown = names.difference(ASYMMETRIC, SYMMETRIC)
    if unknown or not names:
        got = ", ".join(sorted(repr(name) for name in unknown)) or "none"
        raise ConfigurationError(f"algorithms= takes some of {', '.join(ASYMMETRIC + SYMMETRIC)}; got {got}")
    if not names.isdisjoint(SYMMETRIC) and not names.isdisjoint(ASYMMETRIC):
        raise ConfigurationError(
            "algorithms= has HMAC and public-key algorithms together, so that a public key could pass for a secret: "
            "keep one kind"
        )
    return names


class _UnusableError(Exception):
    """A member of a set that cannot verify anything here."""


def _prepare(member: Any, algorithms: frozenset[str], remote: bool) -> list[Key]:
    """The member as a key for each algorithm it serves; empty if it serves none that is configured."""
    if not isinstance(member, dict):
        raise _UnusableError("not a JSON object")
    kty, kid = member.get("kty"), member.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise _UnusableError("kid is not a string")
    if not isinstance(kty, str) or kty not in _PUBLIC_MEMBERS:
        raise _UnusableError("unknown kty")
    if remote and not _SECRET_MEMBERS.isdisjoint(member):
        raise _UnusableError("a secret in a published set")
    _require_for_signatures(member)
    serves = [name for name in _algorithms_of(member) if name in algorithms]
    return _build(member, serves) if serves else []


def _require_for_signatures(member: dict[str, Any]) -> None:
    if member.get("use", "sig") != "sig":
        raise _UnusableError("use is not sig")
    if "key_ops" in member:
        operations = member["key_ops"]
        # The private half of a signing key says "sign", and its public half verifies.
        wanted = {"verify", "sign"} if "d" in member else {"verify"}
        if not isinstance(operations, list) or not any(name in operations for name in wanted):
            raise _UnusableError("key_ops without verify")


def _algorithms_of(member: dict[str, Any]) -> tuple[str, ...]:
    """What the key can serve: its own ``alg`` if it names one, and only if its type and curve agree."""
    kty, curve, named = member["kty"], member.get("crv"), member.get("alg")
    possible: tuple[str, ...] = ()
    if kty == "RSA":
        possible = RSA
    elif kty == "oct":
        possible = SYMMETRIC
    elif isinstance(curve, str):
        possible = (_EC_ALGORITHMS if kty == "EC" else _OKP_ALGORITHMS).get(curve, ())
    if not possible:
        raise _UnusableError("unknown crv")
    if named is None:
        return possible
    if named not in possible:
        raise _UnusableError("alg does not fit the key")
    return (named,)


def _build(member: dict[str, Any], names: list[str]) -> list[Key]:
    """PyJWT's key object, of the public members alone, each canonical base64url."""
    jwt = load_pyjwt()
    public: dict[str, Any] = {name: member[name] for name in ("kty", "crv") if name in member}
    keys: list[Key] = []
    try:
        for part in _PUBLIC_MEMBERS[member["kty"]]:
            decode_base64url(member[part].encode("ascii"))
            public[part] = member[part]
        material = jwt.PyJWK(public, _pyjwt_name(names[0])).key
        for name in names:
            algorithm = jwt.get_algorithm_by_name(_pyjwt_name(name))
            algorithm.prepare_key(material)  # refuses a public key as an HMAC secret, whatever form it has
            if not algorithm.check_key_length(material):
                verify = (
                    ecdsa_verifier(public["crv"], algorithm.hash_alg()) if member["kty"] == "EC" else algorithm.verify
                )
                keys.append(Key(member.get("kid"), name, verify, material))
    except Exception as error:
        # PyJWT, cryptography and the dictionary each raise kinds of their own, and a bad member is only left out.
        raise _UnusableError(f"cannot be loaded: {type(error).__name__}") from error
    if not keys:
        raise _UnusableError(f"too short for {names[0]}")
    if member["kty"] == "RSA" and material.key_size > MAX_RSA_BITS:
        raise _UnusableError("too long")
    return keys


def _pyjwt_name(name: str) -> str:
    """PyJWT knows the two Edwards curves under the older, common name."""
    return "EdDSA" if name.startswith("Ed") else name


def load_pyjwt() -> Any:
    try:
        import jwt
        import jwt.algorithms
    except ImportError:
        raise ConfigurationError("tokens need PyJWT and cryptography: pip install 'pyjwt[crypto]'") from None
    return jwt


def shown(kid: Any) -> str:
    """A kid for the log: it is the issuer's or the client's text, and must not break out of a line."""
    return ascii(kid)[:MAX_SHOWN]
