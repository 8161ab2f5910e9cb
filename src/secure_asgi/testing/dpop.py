"""DPoP proofs, good and bad, and the key that makes them (RFC 9449 section 4)."""

import json
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any
from uuid import uuid4

from .tokens import _base64url, _generate, _joined

_THUMBPRINT_MEMBERS = ("crv", "e", "kty", "n", "x", "y")


class DPoPKey:
    """A client's key for tests: ``proof()`` makes a proof, ``thumbprint`` is what a token is bound to.

    ``algorithm`` is one of RS256, PS256, ES256, ES384, ES512 and Ed25519. ``clock`` gives seconds since 1970. ``jwk``
    is the public half. A bound token is ``TokenFactory().token(cnf={"jkt": key.thumbprint})``.
    """

    def __init__(self, algorithm: str = "ES256", *, clock: Callable[[], float] = time.time) -> None:
        from jwt import get_algorithm_by_name

        self._algorithm = algorithm
        self._clock = clock
        self._signer = get_algorithm_by_name("EdDSA" if algorithm == "Ed25519" else algorithm)
        self._private = _generate(algorithm)
        public = self._signer.to_jwk(self._private.public_key(), as_dict=True)
        self.jwk: dict[str, Any] = {name: public[name] for name in _THUMBPRINT_MEMBERS if name in public}

    @property
    def thumbprint(self) -> str:
        """``jkt``: the RFC 7638 thumbprint, SHA-256."""
        return _base64url(sha256(json.dumps(self.jwk, sort_keys=True, separators=(",", ":")).encode()).digest())

    def proof(
        self,
        method: str,
        uri: str,
        token: str | None = None,
        *,
        nonce: str | None = None,
        header: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A proof for one request, made now; ``header`` and ``claims`` override by name, None leaves out."""
        payload = {
            "jti": str(uuid4()),
            "htm": method,
            "htu": uri,
            "iat": int(self._clock()),
            "ath": None if token is None else _base64url(sha256(token.encode()).digest()),
            "nonce": nonce,
            **claims,
        }
        head = {"typ": "dpop+jwt", "alg": self._algorithm, "jwk": self.jwk, **(header or {})}
        signed = _joined(_given(head), _given(payload))
        return f"{signed}.{_base64url(self._signer.sign(signed.encode(), self._private))}"


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
