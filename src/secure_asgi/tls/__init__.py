"""TLS for the server's own socket: a hardened context that follows its files, and how long certificates last."""

from .context import server_context
from .expiry import CertificateExpiry, certificates_in, expires_in
from .handshake import HandshakeFailure
from .profile import CLIENT_AUTH, PROFILES, TLS12_CIPHERS
from .reload import CertificateStatus, ServerContext

__all__ = [
    "CLIENT_AUTH",
    "PROFILES",
    "TLS12_CIPHERS",
    "CertificateExpiry",
    "CertificateStatus",
    "HandshakeFailure",
    "ServerContext",
    "certificates_in",
    "expires_in",
    "server_context",
]
