"""How we prove to the issuer's endpoints who we are: RFC 6749 section 2.3.1, RFC 7523 section 2.2, RFC 8705 section 2.

Made anew for each request; what a request carries of it belongs into its head or its form, and into no log.
"""

import base64
import time
from collections.abc import Callable, Mapping
from secrets import token_urlsafe
from typing import Any, Protocol
from urllib.parse import quote_plus

from ..errors import ConfigurationError
from ..secrets import Secret
from .keys import load_pyjwt

ASSERTION_SECONDS = 60
"""What a signed assertion lives: long enough for a request and two clocks that disagree a little."""
MIN_RSA_BITS = 2048
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EC_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA_ALGORITHMS = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))

PrivateKey = Mapping[str, Any] | str | bytes


class ClientAuthentication(Protocol):
    """``credentials(audience)``: fields for the head of one request, and members for its form.

    ``audience`` is who is asked: the issuer, where it is known.
    """

    def credentials(self, audience: str) -> tuple[dict[str, str], dict[str, str]]: ...


class SecretBasic:
    """``client_secret_basic``: both halves form-encoded first (RFC 6749 section 2.3.1, appendix B)."""

    __slots__ = ("_client_id", "_secret")

    def __init__(self, client_id: str, secret: Secret) -> None:
        try:
            secret.reveal().encode("utf-8")
        except UnicodeEncodeError:
            raise ConfigurationError("client_secret= holds half a surrogate pair, which no octets stand for") from None
        self._client_id = client_id
        self._secret = secret

    def credentials(self, audience: str) -> tuple[dict[str, str], dict[str, str]]:
        pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret.reveal())}"
        return {"authorization": f"Basic {base64.b64encode(pair.encode('ascii')).decode('ascii')}"}, {}


class PrivateKeyJWT:
    """``private_key_jwt``: an assertion signed with ``key``, a private JWK (``dict``) or unencrypted PEM.

    The algorithm is the JWK's ``alg``, else the one of the curve, else RS256. ``now`` gives seconds since 1970. Raises
    ``ConfigurationError`` for what is no private key, or an RSA key of less than 2048 bits.
    """

    __slots__ = ("_algorithm", "_client_id", "_headers", "_jwt", "_key", "_now")

    def __init__(self, client_id: str, key: PrivateKey, *, now: Callable[[], float] = time.time) -> None:
        self._jwt = load_pyjwt()
        self._client_id = client_id
        self._now = now
        named, kid = (key.get("alg"), key.get("kid")) if isinstance(key, Mapping) else (None, None)
        self._key = self._load(key)
        self._algorithm = _algorithm_of(self._key, named)
        self._headers = {"kid": kid} if isinstance(kid, str) else None

    def credentials(self, audience: str) -> tuple[dict[str, str], dict[str, str]]:
        issued = int(self._now())
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": audience,
            "jti": token_urlsafe(16),
            "iat": issued,
            "exp": issued + ASSERTION_SECONDS,
        }
        assertion = self._jwt.encode(claims, self._key, algorithm=self._algorithm, headers=self._headers)
        return {}, {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion}

    def _load(self, key: PrivateKey) -> Any:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            if isinstance(key, Mapping):
                named = {"alg": "EdDSA"} if key.get("kty") == "OKP" else {}  # PyJWT's name for both curves
                loaded = self._jwt.PyJWK({**key, **named}).key
            else:
                loaded = load_pem_private_key(key.encode("ascii") if isinstance(key, str) else key, None)
        except Exception:
            # Whatever it is: the text of an error about a private key is not for anybody to read.
            loaded = None
        if not hasattr(loaded, "private_bytes"):
            raise ConfigurationError(
                "private_key= is a private JWK (a dict with d) or an unencrypted PEM, of RSA, P-256, P-384, P-521, "
                "Ed25519 or Ed448; this one cannot be loaded"
            ) from None
        return loaded


class ClientCertificate:
    """``tls_client_auth``: the connection proves it, and the form says who is meant (RFC 8705 section 2)."""

    __slots__ = ("_client_id",)

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id

    def credentials(self, audience: str) -> tuple[dict[str, str], dict[str, str]]:
        return {}, {"client_id": self._client_id}


def _algorithm_of(key: Any, named: Any) -> str:
    """The key's only one, or an RSA key's choice."""
    if hasattr(key, "curve"):
        only = _EC_ALGORITHMS.get(key.curve.name)
    elif hasattr(key, "key_size"):
        if key.key_size < MIN_RSA_BITS:
            raise ConfigurationError(f"private_key= has {key.key_size} bits: take RSA of {MIN_RSA_BITS} bits, or P-256")
        only = "RS256" if named is None else named if named in _RSA_ALGORITHMS else None
    else:
        only, named = "EdDSA", None  # Ed25519 and Ed448, by the name that every issuer knows
    if only is None or named not in (None, only):
        raise ConfigurationError("private_key= has an alg or a curve that no assertion is signed with here")
    return only
