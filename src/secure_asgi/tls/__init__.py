"""TLS for the server's own socket: a hardened context that follows its files, and how long certificates last."""

from .context import CLIENT_AUTH, PROFILES, TLS12_CIPHERS, server_context
from .expiry import CertificateExpiry, certificates_in, expires_in

__all__ = [
    "CLIENT_AUTH",
    "PROFILES",
    "TLS12_CIPHERS",
    "CertificateExpiry",
    "certificates_in",
    "expires_in",
    "server_context",
]
