"""Mutual TLS: from the client's certificate to an identity (RFC 8446 section 4.4.2, RFC 5280).

Read ``middleware`` first: it tells the story. ``source`` (the TLS connection to this server) and ``forwarded`` (a proxy
in front of it) are where the certificate comes from, ``fields`` the request fields that could pass for one,
``certificate`` what is in it. ``verdict`` is what we think of it and for how long: ``trust`` and ``path`` (does it lead
to an authority we trust), ``spiffe``, ``crl`` and ``ocsp`` (is it revoked), and ``identity`` (who is it).
"""

from .crl import CRLs, check_revocation, read_crl
from .forwarded import ForwardedCertificate, ProxyCertificate, ProxySecret
from .middleware import MutualTLSMiddleware
from .ocsp import OCSP
from .source import TLSExtension
from .verification import verify_certificate

__all__ = [
    "OCSP",
    "CRLs",
    "ForwardedCertificate",
    "MutualTLSMiddleware",
    "ProxyCertificate",
    "ProxySecret",
    "TLSExtension",
    "check_revocation",
    "read_crl",
    "verify_certificate",
]
