"""``TokenFactory``: an issuer in your test. It makes keys, a JWK Set, and tokens, good and bad.

Never for production: the keys live in memory and nothing protects them.
"""

import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..bearer.keys import ASYMMETRIC, SYMMETRIC
from ..errors import ConfigurationError
from ..exchange import new_uuid

_CURVES = {"ES256": "SECP256R1", "ES384": "SECP384R1", "ES512": "SECP521R1"}


class TokenFactory:
    """Tokens as ``issuer`` would make them for ``audience``, and tokens as it never would.

    ``BearerAuthMiddleware(issuer=tokens.issuer, audience=tokens.audience, jwks=tokens.jwks)`` accepts what ``token()``
    makes. ``algorithm`` any the middleware knows, HMAC too; ``lifetime`` of a token and ``now`` in seconds since 1970.
    Every maker takes claims by name; a claim that is None is left out. Making RSA keys takes a tenth of a second.
    """

    def __init__(
        self,
        issuer: str = "https://id.example.com",
        audience: str = "orders",
        *,
        algorithm: str = "ES256",
        lifetime: float = 300,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.issuer = issuer
        self.audience = audience
        self.algorithm = algorithm
        self.lifetime = lifetime
        self.now = now
        self._made = 0
        self._published: dict[str, dict[str, Any]] = {}
        self.kid = ""
        self.rotate()

    @property
    def jwks(self) -> dict[str, Any]:
        """The public keys (for HMAC: the secret ones), as the issuer publishes them."""
        return {"keys": [dict(jwk) for jwk in self._published.values()]}

    def rotate(self, *, keep: bool = True) -> str:
        """Sign with a new key from now on; the old one stays published if ``keep``. Returns the new ``kid``."""
        self._made += 1
        self.kid = f"key-{self._made}"
        self._key, jwk = _make_key(self.algorithm)
        if not keep:
            self._published.clear()
        self._published[self.kid] = {**jwk, "kid": self.kid, "alg": self.algorithm, "use": "sig"}
        return self.kid

    def token(self, **claims: Any) -> str:
        """A good token, unless the given claims make it a bad one."""
        return self.sign(self.header(), self.claims(**claims))

    def expired(self, **claims: Any) -> str:
        """A token whose time ended an hour ago."""
        ended = int(self.now()) - 3600
        return self.token(**{"iat": ended - 300, "exp": ended, **claims})

    def unsigned(self, **claims: Any) -> str:
        """``alg: none``, without a signature."""
        return f"{_segment(self.header(alg='none'))}.{_segment(self.claims(**claims))}."

    def unknown_key(self, **claims: Any) -> str:
        """Signed, but by a key whose ``kid`` is in nobody's set."""
        return self.sign(self.header(kid="unknown"), self.claims(**claims))

    def forged(self, **claims: Any) -> str:
        """The right ``kid`` and somebody else's signature."""
        mine, self._key = self._key, _make_key(self.algorithm)[0]
        try:
            return self.token(**claims)
        finally:
            self._key = mine

    def header(self, **members: Any) -> dict[str, Any]:
        """A good header; members that are None are left out."""
        return _without_none({"typ": "at+jwt", "alg": self.algorithm, "kid": self.kid} | members)

    def claims(self, **claims: Any) -> dict[str, Any]:
        """The claims of a good token (RFC 9068 section 2.2); those that are None are left out."""
        issued = int(self.now())
        return _without_none(
            {
                "iss": self.issuer,
                "aud": self.audience,
                "sub": "user-1",
                "client_id": "client-1",
                "iat": issued,
                "exp": issued + self.lifetime,
                "jti": new_uuid(),
            }
            | claims
        )

    def sign(self, header: Mapping[str, Any] | bytes, payload: Mapping[str, Any] | bytes) -> str:
        """A compact JWS of exactly this header and this payload, by our current key and algorithm."""
        signed = f"{_segment(header)}.{_segment(payload)}"
        signature = _algorithm(self.algorithm).sign(signed.encode("ascii"), self._key)
        return f"{signed}.{_base64url(signature)}"


def _without_none(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _segment(part: Mapping[str, Any] | bytes) -> str:
    return _base64url(part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode())


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _algorithm(name: str) -> Any:
    import jwt

    return jwt.get_algorithm_by_name("EdDSA" if name.startswith("Ed") else name)


def _make_key(name: str) -> tuple[Any, dict[str, Any]]:
    """A signing key, and the JWK to verify with."""
    if name not in ASYMMETRIC + SYMMETRIC:
        raise ConfigurationError(f"algorithm= is one of {', '.join(ASYMMETRIC + SYMMETRIC)}; got {name!r}")
    if name in SYMMETRIC:
        key: Any = secrets.token_bytes(64)
        return key, {"kty": "oct", "k": _base64url(key)}
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if name in _CURVES:
        key = ec.generate_private_key(getattr(ec, _CURVES[name])())
    elif name == "Ed448":
        key = ed448.Ed448PrivateKey.generate()
    elif name.startswith("Ed"):
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = _algorithm(name).to_jwk(key.public_key(), as_dict=True)
    return key, {member: value for member, value in jwk.items() if member != "key_ops"}
