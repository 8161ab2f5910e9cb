"""Encrypted access tokens, opened: a signed JWT inside one compact JWE (RFC 7516; RFC 7519 section 5.2, RFC 9068 4).

Form, header, key and lengths are judged here, strictly, before joserfc sees anything; joserfc does the cryptography.
Whatever fails from there on is one and the same refusal. Decryption is no proof of who has sent a token: everybody has
the public key. What comes out is a signed token still to be verified.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..denial import Reason
from ..errors import ConfigurationError, TokenError
from .encoding import decode_base64url, parse_object
from .jws import MAX_HEADER_TEXT, MAX_KID_BYTES, MAX_TOKEN_BYTES, read_header
from .keys import MAX_KEYS, shown

KEY_ALGORITHMS = ("RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A256KW")
KNOWN_KEY_ALGORITHMS = (*KEY_ALGORITHMS, "ECDH-ES+A128KW", "ECDH-ES+A192KW")
CONTENT_ALGORITHMS = ("A256GCM",)
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 4096
"""Longer keys would keep the event loop for several milliseconds with every token, junk included."""


class _Sizes(NamedTuple):
    """Octets, of a content encryption algorithm (RFC 7518 sections 5.2 and 5.3)."""

    key: int
    iv: int
    tag: int


_CONTENT = {
    "A128GCM": _Sizes(16, 12, 16),
    "A192GCM": _Sizes(24, 12, 16),
    "A256GCM": _Sizes(32, 12, 16),
    "A128CBC-HS256": _Sizes(32, 16, 16),
    "A192CBC-HS384": _Sizes(48, 16, 24),
    "A256CBC-HS512": _Sizes(64, 16, 32),
}
_COORDINATES = {"P-256": 32, "P-384": 48, "P-521": 66, "X25519": 32, "X448": 56}
"""Octets of a coordinate of a point, by curve."""
_CURVES = {"EC": ("P-256", "P-384", "P-521"), "OKP": ("X25519", "X448")}
_POINT = {"EC": ("x", "y"), "OKP": ("x",)}
_PRIVATE_MEMBERS = {
    "RSA": ("n", "e", "d", "p", "q", "dp", "dq", "qi"),
    "EC": ("x", "y", "d"),
    "OKP": ("x", "d"),
}
_OPERATIONS = {
    "RSA": ("decrypt", "unwrapKey"),
    "EC": ("deriveKey", "deriveBits"),
    "OKP": ("deriveKey", "deriveBits"),
}
_KEY_WRAP_BYTES = 8
"""By how much AES Key Wrap lengthens a key (RFC 3394)."""
_JWT_TYPES = frozenset(("jwt", "at+jwt"))
_REPLICATED_CLAIMS = ("iss", "sub", "aud")


class Decryption:
    """Opens encrypted access tokens with our own private keys.

    ``keys`` a JWK, or a JWK Set as a ``dict``, with private halves: RSA of 2048 to 4096 bits, EC on P-256, P-384 or
    P-521, OKP on X25519 or X448. Several keys each need a ``kid`` of their own. A key that names its ``alg`` serves
    that one; one that does not, all ``key_algorithms`` of its type. ``key_algorithms`` some of RSA-OAEP-256, ECDH-ES
    and ECDH-ES+A256KW, which are the default, ECDH-ES+A128KW and ECDH-ES+A192KW. ``content_algorithms`` some of
    A256GCM, which is the default, A192GCM, A128GCM, A256CBC-HS512, A192CBC-HS384 and A128CBC-HS256. ``required=False``
    lets tokens that are only signed through as well (RFC 9068 section 4 advises against it). Raises
    ``ConfigurationError``; also if joserfc, the ``jwe`` extra, is not installed.

    It verifies no signature and no claim, and opens nothing compressed, nothing encrypted with a shared secret or a
    password (``dir``, ``A*KW``, ``PBES2-*``), and nothing with RSA's old padding or SHA-1 (``RSA1_5``, ``RSA-OAEP``).
    """

    __slots__ = ("_algorithms", "_by_kid", "_contents", "_decrypt", "_keys", "_registry", "required")

    def __init__(
        self,
        keys: Mapping[str, Any],
        *,
        key_algorithms: str | Iterable[str] = KEY_ALGORITHMS,
        content_algorithms: str | Iterable[str] = CONTENT_ALGORITHMS,
        required: bool = True,
    ) -> None:
        if type(required) is not bool:
            raise ConfigurationError(f"required= is True or False, got {required!r}")
        self.required = required
        self._algorithms = _named(key_algorithms, KNOWN_KEY_ALGORITHMS, "key_algorithms=")
        self._contents = _named(content_algorithms, _CONTENT, "content_algorithms=")
        self._keys = [_prepare(member, self._algorithms) for member in _members(keys)]
        self._by_kid = {key.kid: key for key in self._keys if key.kid is not None}
        if len(self._keys) > 1 and len(self._by_kid) < len(self._keys):
            raise ConfigurationError("keys= has several keys: give each a kid of its own")
        jwe = _load_joserfc().jwe
        # Real issuers repeat iss and aud in the header, which a strict registry refuses as unknown.
        self._registry = jwe.JWERegistry(algorithms=[*self._algorithms, *self._contents], strict_check_header=False)
        self._registry.max_protected_header_length = MAX_HEADER_TEXT
        self._decrypt = jwe.decrypt_compact

    def open(self, token: bytes, max_bytes: int = MAX_TOKEN_BYTES) -> bytes:
        """The signed token inside: three segments, not verified yet.

        ``max_bytes`` is looked at before anything is decoded. A token that is only signed is given back as it is with
        ``required=False``. Raises ``TokenError``: ``TOKEN_UNDECIPHERABLE`` for every failure of the cryptography. Costs
        one private-key operation, on the calling thread.
        """
        if len(token) > max_bytes:
            raise TokenError(Reason.TOKEN_TOO_LARGE, f"{len(token)} bytes")
        segments = token.split(b".", 5)
        if len(segments) == 3:
            if self.required:
                raise TokenError(Reason.TOKEN_NOT_ENCRYPTED)
            return token
        if len(segments) != 5:
            raise TokenError(Reason.TOKEN_MALFORMED, "neither three segments nor five")
        header = _read_header(segments[0])
        key = self._find(header)
        self._check_segments(header, key, segments)
        return _signed_token(self._plaintext(token, key), header)

    def _find(self, header: dict[str, Any]) -> "_PrivateKey":
        algorithm, content, kid = header.get("alg"), header.get("enc"), header.get("kid")
        if not isinstance(algorithm, str) or not isinstance(content, str):
            raise TokenError(Reason.TOKEN_HEADER_INVALID, "alg or enc is not a string")
        if algorithm not in self._algorithms or content not in self._contents:
            raise TokenError(Reason.TOKEN_ALGORITHM_REFUSED)
        if "kid" in header:
            if not isinstance(kid, str) or len(kid.encode()) > MAX_KID_BYTES:
                raise TokenError(Reason.TOKEN_HEADER_INVALID, "kid is not a string of at most 256 bytes")
            key = self._by_kid.get(kid)
            if key is None:
                raise TokenError(Reason.TOKEN_KEY_UNKNOWN, "no decryption key has the kid")
            if algorithm not in key.algorithms:
                raise TokenError(Reason.TOKEN_KEY_MISMATCH)
            return key
        candidates = [key for key in self._keys if algorithm in key.algorithms]
        if len(candidates) != 1:
            raise TokenError(Reason.TOKEN_KEY_UNKNOWN, "no kid, and not one decryption key for the algorithm")
        return candidates[0]

    def _check_segments(self, header: dict[str, Any], key: "_PrivateKey", segments: list[bytes]) -> None:
        try:
            encrypted_key, iv, _, tag = map(decode_base64url, segments[1:])
        except ValueError as error:
            raise TokenError(Reason.TOKEN_MALFORMED, str(error)) from error
        algorithm, sizes = header["alg"], _CONTENT[header["enc"]]
        lengths = (len(encrypted_key), len(iv), len(tag))
        # A tag that is a few octets short would be guessed: only the whole one counts (RFC 7518 section 5).
        if lengths != (_encrypted_key_bytes(algorithm, key, sizes), sizes.iv, sizes.tag):
            raise TokenError(Reason.TOKEN_UNDECIPHERABLE)
        if key.curve:
            _check_agreement(header, key)

    def _plaintext(self, token: bytes, key: "_PrivateKey") -> bytes:
        try:
            plaintext: bytes = self._decrypt(token, key.material, registry=self._registry).plaintext
        except Exception:
            # joserfc, cryptography and an assertion each raise kinds of their own. Which one it was is an oracle
            # to whoever learns it (RFC 7516 section 11.5): it is not kept, not even as the cause.
            raise TokenError(Reason.TOKEN_UNDECIPHERABLE) from None
        return plaintext


@dataclass(frozen=True, slots=True, repr=False)
class _PrivateKey:
    """``curve`` is empty for RSA; ``size`` octets of the modulus or of a coordinate."""

    kid: str | None
    kty: str
    curve: str
    size: int
    algorithms: frozenset[str]
    material: Any


# --- the token -------------------------------------------------------------------------------------------------------


def _read_header(segment: bytes) -> dict[str, Any]:
    """The header, with all in it that does not hang on the key judged."""
    try:
        header = read_header(segment)
    except ValueError as error:
        raise TokenError(Reason.TOKEN_MALFORMED, f"header: {error}") from error
    if "crit" in header:
        raise TokenError(Reason.TOKEN_CRITICAL_HEADER)
    if "zip" in header:
        # A few octets can unpack to gigabytes, and how well it packs tells of what is inside (RFC 8725 section 3.6).
        raise TokenError(Reason.TOKEN_HEADER_INVALID, "zip: compressed tokens are not opened")
    if not _is_jwt_type(header.get("cty")):
        raise TokenError(Reason.TOKEN_TYPE_WRONG, "cty does not say that a JWT is inside")
    if "typ" in header and not _is_jwt_type(header["typ"]):
        raise TokenError(Reason.TOKEN_TYPE_WRONG, "typ of the encrypted token")
    return header


def _is_jwt_type(value: Any) -> bool:
    return isinstance(value, str) and value.lower().removeprefix("application/") in _JWT_TYPES


def _encrypted_key_bytes(algorithm: str, key: _PrivateKey, sizes: _Sizes) -> int:
    """How long the second segment has to be (RFC 7516 section 5.2, steps 9 and 10)."""
    if not key.curve:
        return key.size
    return 0 if algorithm == "ECDH-ES" else sizes.key + _KEY_WRAP_BYTES


def _check_agreement(header: dict[str, Any], key: _PrivateKey) -> None:
    """RFC 7518 section 4.6.1. That the point is on the curve is seen by cryptography, when it is loaded."""
    epk = header.get("epk")
    if not isinstance(epk, dict) or (epk.get("kty"), epk.get("crv")) != (key.kty, key.curve) or "d" in epk:
        raise TokenError(Reason.TOKEN_UNDECIPHERABLE)
    try:
        _check_point(epk, key.kty, key.curve)
        for party in ("apu", "apv"):
            decode_base64url(header.get(party, "").encode("ascii"))
    except (AttributeError, KeyError, ValueError):
        raise TokenError(Reason.TOKEN_UNDECIPHERABLE) from None


def _check_point(jwk: Mapping[str, Any], kty: str, curve: str) -> None:
    """Raises ``KeyError``, ``AttributeError`` or ``ValueError`` if a coordinate is not one of the curve's size."""
    for name in _POINT[kty]:
        if len(decode_base64url(jwk[name].encode("ascii"))) != _COORDINATES[curve]:
            raise ValueError("a coordinate of another curve")


def _signed_token(plaintext: bytes, header: dict[str, Any]) -> bytes:
    segments = plaintext.split(b".", 5)
    if len(segments) != 3:
        why = "encrypted twice" if len(segments) == 5 else "not a signed token"
        raise TokenError(Reason.TOKEN_MALFORMED, f"inside: {why}")
    replicated = [name for name in _REPLICATED_CLAIMS if name in header]
    if replicated:
        _check_replicated(header, replicated, segments[1])
    return plaintext


def _check_replicated(header: dict[str, Any], names: list[str], payload: bytes) -> None:
    """Claims that the header repeats for who cannot decrypt are the token's own (RFC 7519 section 5.3)."""
    try:
        claims = parse_object(decode_base64url(payload))
    except ValueError as error:
        raise TokenError(Reason.TOKEN_MALFORMED, f"inside: {error}") from error
    if any(name not in claims or claims[name] != header[name] for name in names):
        raise TokenError(Reason.TOKEN_HEADER_INVALID, "a claim in the header is not the token's")


# --- the keys --------------------------------------------------------------------------------------------------------


def _named(option: str | Iterable[str], known: Iterable[str], name: str) -> frozenset[str]:
    names = frozenset((option,) if isinstance(option, str) else option)
    unknown = names.difference(known)
    if unknown or not names:
        got = ", ".join(sorted(repr(each) for each in unknown)) or "none"
        raise ConfigurationError(f"{name} takes some of {', '.join(known)}; got {got}")
    return names


def _members(keys: Any) -> list[Any]:
    members = keys.get("keys", [keys]) if isinstance(keys, Mapping) else None
    if not isinstance(members, (list, tuple)) or not 0 < len(members) <= MAX_KEYS:
        raise ConfigurationError(
            f'keys= takes a private JWK or a JWK Set, {{"keys": [...]}}, with 1 to {MAX_KEYS} keys, as a dict'
        )
    return list(members)


def _prepare(member: Any, allowed: frozenset[str]) -> _PrivateKey:
    if not isinstance(member, Mapping) or not isinstance(member.get("kid", ""), str):
        raise ConfigurationError("keys= takes JWKs as dicts, whose kid is a string")
    where = f"the key {shown(member['kid'])} of keys=" if "kid" in member else "the key of keys="
    kty: Any = member.get("kty")
    curve: Any = member.get("crv")
    if kty == "RSA":
        curve = ""
    elif not any(kty == name and curve in curves for name, curves in _CURVES.items()):
        raise ConfigurationError(f"{where} has to be RSA, EC on P-256, P-384 or P-521, or OKP on X25519 or X448")
    operations = member.get("key_ops", _OPERATIONS[kty])
    serves = isinstance(operations, (list, tuple)) and any(name in operations for name in _OPERATIONS[kty])
    if member.get("use", "enc") != "enc" or not serves:
        raise ConfigurationError(f"{where} is not for decryption: leave it out, or give it use enc")
    family, named = "RSA" if kty == "RSA" else "ECDH", member.get("alg")
    algorithms = frozenset(name for name in allowed if name.startswith(family) and named in (None, name))
    if not algorithms:
        raise ConfigurationError(f"{where} serves none of key_algorithms=: change its alg, or add it there")
    size, material = _load(member, where)
    return _PrivateKey(member.get("kid"), kty, curve, size, algorithms, material)


def _load(member: Mapping[str, Any], where: str) -> tuple[int, Any]:
    """joserfc's key, of the members that matter alone, and its size in octets."""
    kty = member["kty"]
    parts = {name: member[name] for name in _PRIVATE_MEMBERS[kty] if name in member}
    if "d" not in parts:
        raise ConfigurationError(f"{where} is public: the private one is needed, with d")
    jwk = _load_joserfc().jwk
    try:
        octets = {name: decode_base64url(value.encode("ascii")) for name, value in parts.items()}
        if kty == "RSA":
            bits = int.from_bytes(octets["n"]).bit_length()
            if MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
                return (bits + 7) // 8, _rsa_key_class(jwk).import_key({"kty": kty, **parts})
        else:
            _check_point(member, kty, member["crv"])
            key = (jwk.ECKey if kty == "EC" else jwk.OKPKey).import_key({"kty": kty, "crv": member["crv"], **parts})
            if key.__class__.import_key(key.raw_value).as_dict()["x"] != parts["x"]:
                raise ValueError("d is another key's")
            return _COORDINATES[member["crv"]], key
    except Exception:
        # joserfc, cryptography and the dictionary each raise kinds of their own, and their texts may show the key.
        raise ConfigurationError(f"{where} cannot be loaded: it is no well-formed private JWK") from None
    raise ConfigurationError(f"{where} has {bits} bits: an RSA key here has {MIN_RSA_BITS} to {MAX_RSA_BITS}")


def _rsa_key_class(jwk: Any) -> Any:
    """joserfc's RSA key, which never says that it could not decrypt.

    joserfc puts a random content key in the place of one of the wrong length, and goes on: so a bad encrypted key and
    a bad tag are one failure, at one place, after the same work (RFC 7516 section 11.5).
    """

    # joserfc is loaded late and has no type here: hence what mypy is told in this class and the next.
    class SilentKey(jwk.RSAKey):  # type: ignore[misc]
        def get_op_key(self, operation: str) -> Any:
            return _SilentOperation(super().get_op_key(operation))

    return SilentKey


class _SilentOperation:
    __slots__ = ("_key",)

    def __init__(self, key: Any) -> None:
        self._key = key

    def decrypt(self, ciphertext: bytes, padding: Any) -> bytes:
        try:
            opened: bytes = self._key.decrypt(ciphertext, padding)
            return opened
        except ValueError:
            return b""


def _load_joserfc() -> Any:
    try:
        import joserfc.jwe
        import joserfc.jwk
    except ImportError:
        raise ConfigurationError("encrypted tokens need joserfc: pip install 'secure-asgi[jwe]'") from None
    return joserfc
