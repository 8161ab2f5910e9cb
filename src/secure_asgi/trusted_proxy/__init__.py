"""The client behind our own proxies: ``middleware`` tells the story, ``chain`` is the decision without ASGI."""

from .chain import client_address
from .middleware import TrustedProxyMiddleware

__all__ = ["TrustedProxyMiddleware", "client_address"]
