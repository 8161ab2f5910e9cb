"""Request fields in which proxies forward client certificates: no request brings its own to the application.

Applications and frameworks that read such a field believe it. A name with ``_`` or ``.`` in place of ``-`` counts as
the same, because gateways and header objects fold them into one.
"""

import re

from .._asgi import Scope
from ..exchange import Exchange

CERTIFICATE_FIELDS = (
    b"client-cert",  # RFC 9440, and its -chain
    b"x-forwarded-client-cert",  # Envoy
    b"x-forwarded-ssl-client-cert",
    b"x-forwarded-tls-client-cert",  # Traefik, and its -info
    b"ssl-client-",  # ingress-nginx: -cert, -verify, -subject-dn, ...
    b"x-ssl-client-",  # by custom, behind nginx, Apache and HAProxy
    b"x-ssl-cert",
    b"x-tls-client-cert",
    b"x-client-cert",  # Kong and Google, and all that follows it
    b"x-client-verify",
    b"x-client-dn",
    b"x-arr-clientcert",  # Azure
    b"x-amzn-mtls-clientcert",  # AWS, and its -leaf, -subject, ...
    b"cf-client-cert",  # Cloudflare
    b"cf-cert-",
    b"cloudfront-viewer-cert-",
)
"""Beginnings of names, lower-case."""

_in_every_one = re.compile(rb"c(?:ert|lient)").search
"""One search in all names together, before each is looked at: most requests carry nothing of the kind."""


def strip_certificate_fields(exchange: Exchange, scope: Scope) -> None:
    """Give the scope a header list without them; leave it alone where there are none."""
    fields = exchange.fields(scope)
    if _in_every_one(b"\n".join(fields)):
        forged = {name for name in fields if _folded(name).startswith(CERTIFICATE_FIELDS)}
        if forged:
            scope["headers"] = [line for line in scope["headers"] if line[0].lower() not in forged]


def _folded(name: bytes) -> bytes:
    return name.replace(b"_", b"-").replace(b".", b"-")
