"""Trailers that pass for request fields: a client writes them after the body, past every proxy that sets fields.

RFC 9110 section 6.5.1 wants them kept apart. uvicorn's ``httptools`` protocol appends them to the list of fields that
it has given to the application, so that a small request shows them from the start. Our protocol classes do not.
"""

import sys

from ._asgi import Scope
from .exchange import SCOPE_KEY

CHUNKED = b"transfer-encoding"
"""The field without which there are no trailers in HTTP/1.1."""

_MIXING = "uvicorn.protocols.http.httptools_impl"
"""Loaded where uvicorn uses it, and by our hook."""


def mixes_in_trailers(scope: Scope) -> bool:
    """This is uvicorn's ``httptools`` protocol without our hook: it takes trailers for request fields."""
    return _MIXING in sys.modules and not (scope.get("extensions") or {}).get(SCOPE_KEY)
