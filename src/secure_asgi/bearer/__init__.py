"""Bearer tokens: RFC 6750, RFC 7519, RFC 8725, RFC 9068.

Read ``middleware`` first, then ``challenge`` (what is sent and answered), ``jws`` and ``claims`` (whether a token
holds), ``keys`` (prepared once) and ``source`` (where they come from).
"""

from ..errors import TokenError as TokenError
from .claims import Claims as Claims
from .claims import verify_access_token as verify_access_token
from .jws import verify_jws as verify_jws
from .keys import KeySet as KeySet
from .middleware import BearerAuthMiddleware as BearerAuthMiddleware
