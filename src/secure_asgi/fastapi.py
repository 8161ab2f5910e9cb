"""For applications built with FastAPI."""

from ._paths import FASTAPI_DOCS

DOCS: tuple[str, ...] = FASTAPI_DOCS
"""FastAPI's documentation paths, for ``exempt=``: Swagger UI and its OAuth2 redirect, ReDoc, the OpenAPI document."""
