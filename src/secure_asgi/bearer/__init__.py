"""Bearer tokens: a JWT access token in, a principal out.

The story, file by file: ``challenge`` (what the client sent, and what it is told) → ``encoding`` (base64url and JSON,
strictly) → ``keys`` (a JWK Set, prepared) → ``jws`` (form and signature) → ``claims`` (does it hold here and now) →
``binding`` (is it this client's) → ``source`` (where keys come from) → ``middleware``.
"""

from .claims import Claims, verify_access_token
from .jws import verify_jws
from .keys import KeySet
from .middleware import BearerAuthMiddleware

__all__ = ["BearerAuthMiddleware", "Claims", "KeySet", "verify_access_token", "verify_jws"]
