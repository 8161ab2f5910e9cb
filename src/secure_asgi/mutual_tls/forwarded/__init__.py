"""The client's certificate as a proxy that ends TLS forwards it, in a request field (RFC 9440 and its older kin).

Anyone can write a request field. So the order is fixed: first it is settled that the request comes from our own proxy
(``trust``), then exactly one way of forwarding is read, the one that was configured (``presets``), strictly
(``encodings``, and ``xfcc`` for Envoy). ``source`` tells this story. What was read is a certificate that the proxy
vouches for, or, where it does not, one that must be verified here.
"""

from .source import ForwardedCertificate
from .trust import ProxyCertificate, ProxySecret

__all__ = ["ForwardedCertificate", "ProxyCertificate", "ProxySecret"]
