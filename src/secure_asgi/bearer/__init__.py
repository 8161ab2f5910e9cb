"""Bearer tokens: an access token in, a principal out.

The story, file by file: ``challenge`` (what the client sent, and what it is told) → ``encoding`` (base64url and JSON,
strictly) → ``keys`` (a JWK Set, prepared) → ``jws`` (form and signature) → ``claims`` (does it hold here and now) →
``jwe`` (encrypted tokens) → ``source`` (where keys come from) → ``issuers`` (whose tokens) → ``introspection`` (asking
the issuer) → ``judge`` (what a token proves). Then, on every request: ``binding``, ``dpop``, ``replay`` and ``nonces``
(is it this client's) → ``revocation`` and ``status_list`` (was it taken back) → ``requirements`` (is it
enough). ``metadata`` tells clients where tokens come from; ``middleware`` is all of it.
"""

from .._failures import FailureLimit
from .claims import Claims, verify_access_token
from .introspection import Introspection
from .issuers import Issuer
from .jwe import Decryption
from .jws import verify_jws
from .keys import KeySet
from .metadata import ProtectedResource
from .middleware import BearerAuthMiddleware
from .replay import MemoryReplayStore, RedisReplayStore, ReplayStore
from .revocation import Revocations
from .status_list import StatusLists

__all__ = [
    "BearerAuthMiddleware",
    "Claims",
    "Decryption",
    "FailureLimit",
    "Introspection",
    "Issuer",
    "KeySet",
    "MemoryReplayStore",
    "ProtectedResource",
    "RedisReplayStore",
    "ReplayStore",
    "Revocations",
    "StatusLists",
    "verify_access_token",
    "verify_jws",
]
