"""For applications built with FastAPI: who is asking as a parameter, and the layers in the OpenAPI document."""

from .._paths import FASTAPI_DOCS
from .dependencies import CurrentPrincipal as CurrentPrincipal
from .dependencies import require_roles as require_roles
from .dependencies import require_scopes as require_scopes
from .openapi import document_security as document_security

DOCS: tuple[str, ...] = FASTAPI_DOCS
"""FastAPI's documentation paths, for ``exempt=``: Swagger UI and its OAuth2 redirect, ReDoc, the OpenAPI document."""
