"""For applications built with FastAPI: who is asking as a parameter, and the layers in the OpenAPI document."""

try:
    import fastapi as _  # noqa: F401 -- only to see whether it is there
except ImportError as error:
    raise ImportError("secure_asgi.fastapi needs FastAPI: pip install 'secure-asgi[fastapi]'") from error

from .._paths import DOCS as DOCS
from .dependencies import CurrentPrincipal as CurrentPrincipal
from .dependencies import require_roles as require_roles
from .dependencies import require_scopes as require_scopes
from .openapi import document_security as document_security
