"""Mutual TLS: from the client's certificate to an identity (RFC 8446 section 4.4.2, RFC 5280).

Read ``middleware`` first: it tells the story. ``source`` is where the certificate comes from, ``certificate`` what is
in it, ``names`` which names are allowed, ``fields`` which request fields could pass for it.
"""

from .middleware import MutualTLSMiddleware
from .source import TLSExtension
from .verification import verify_certificate

__all__ = ["MutualTLSMiddleware", "TLSExtension", "verify_certificate"]
