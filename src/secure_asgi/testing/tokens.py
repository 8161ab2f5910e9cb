"""Tokens, good and bad, and the keys that tell them apart."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4


class TokenFactory:
    """An issuer of access tokens for tests: ``jwks`` is what it publishes, ``token()`` what it issues.

    ``algorithm`` is one of RS, PS and ES 256 to 512, Ed25519 and Ed448. ``clock`` gives seconds since 1970. Claims
    are overridden by name, and left out with None: ``token(scope="orders:read", aud="billing", jti=None)``.
    """

    def __init__(
        self,
        *,
        issuer: str = "https://id.example.com",
        audience: str = "orders",
        algorithm: str = "ES256",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.issuer = issuer
        self.audience = audience
        self._algorithm = algorithm
        self._clock = clock
        self._keys = [_Key(algorithm)]

    @property
    def jwks(self) -> dict[str, Any]:
        """The JWK Set, public halves only; the key in use comes last."""
        return {"keys": [key.public for key in self._keys]}

    def rotate(self, *, keep: bool = True) -> None:
        """A new key signs from now on; without ``keep`` the old ones are withdrawn."""
        self._keys = [*(self._keys if keep else ()), _Key(self._algorithm)]

    def token(self, *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token that holds for five minutes, unless ``claims`` or ``header`` say otherwise."""
        return self._keys[-1].sign(self._header(header), self._claims(claims))

    def unsigned(self, **claims: Any) -> str:
        """``alg: none``."""
        return _joined({**self._header(None), "alg": "none"}, self._claims(claims)) + "."

    def unknown_key(self, **claims: Any) -> str:
        """Signed well, with a key that nobody has published."""
        return _Key(self._algorithm).sign(self._header(None), self._claims(claims))

    def forged(self, **claims: Any) -> str:
        """Signed with another key under the name of the one in use."""
        return _Key(self._algorithm).sign({**self._header(None), "kid": self._keys[-1].kid}, self._claims(claims))

    def encrypted(
        self,
        token: str,
        jwk: Mapping[str, Any],
        *,
        header: Mapping[str, Any] | None = None,
        content_algorithm: str = "A256GCM",
    ) -> str:
        """The token inside a JWE to the public half of ``jwk``; needs joserfc, the ``jwe`` extra.

        The key's ``alg`` is used, or RSA-OAEP-256 or ECDH-ES, by its type. ``header`` parameters are added, or left
        out with None.
        """
        from joserfc import jwe
        from joserfc.jwk import import_key

        defaults = {
            "alg": jwk.get("alg", "RSA-OAEP-256" if jwk["kty"] == "RSA" else "ECDH-ES"),
            "enc": content_algorithm,
            "cty": "JWT",
            "kid": jwk.get("kid"),
        }
        protected = {name: value for name, value in {**defaults, **(header or {})}.items() if value is not None}
        registry = jwe.JWERegistry(algorithms=[protected["alg"], protected["enc"], "DEF"], strict_check_header=False)
        return jwe.encrypt_compact(protected, token, import_key(dict(jwk)), registry=registry)

    def _header(self, more: Mapping[str, Any] | None) -> dict[str, Any]:
        return {"typ": "at+jwt", **(more or {})}

    def _claims(self, more: Mapping[str, Any]) -> dict[str, Any]:
        now = int(self._clock())
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": "user-1",
            "client_id": "client-1",
            "iat": now,
            "exp": now + 300,
            "jti": str(uuid4()),
            **more,
        }
        return {name: value for name, value in claims.items() if value is not None}


class _Key:
    def __init__(self, algorithm: str) -> None:
        from jwt import get_algorithm_by_name

        self.kid = uuid4().hex[:8]
        self._algorithm = algorithm
        self._signer = get_algorithm_by_name("EdDSA" if algorithm.startswith("Ed") else algorithm)
        self._private = _generate(algorithm)
        public = self._signer.to_jwk(self._private.public_key(), as_dict=True)
        public.pop("key_ops", None)
        self.public: dict[str, Any] = {**public, "kid": self.kid, "alg": algorithm, "use": "sig"}

    def sign(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        signed = _joined({"alg": self._algorithm, "kid": self.kid, **header}, claims)
        return f"{signed}.{_base64url(self._signer.sign(signed.encode(), self._private))}"


def _generate(algorithm: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if algorithm in curves:
        return ec.generate_private_key(curves[algorithm])
    if algorithm == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def _joined(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    return ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
