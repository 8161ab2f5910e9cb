"""Request fields in which proxies forward client certificates: no request brings its own to the application.

Applications and frameworks that read such a field believe it. A name with ``_`` or ``.`` in place of ``-`` counts as
the same, because gateways and header objects fold them into one.
"""

import re
from collections.abc import Iterable

from .._asgi import Scope
from ..exchange import Exchange

CERTIFICATE_FIELDS = (
    b"client-cert",  # RFC 9440, and its -chain
    b"x-forwarded-client-cert",  # Envoy
    b"x-forwarded-clientcert",  # Alibaba, and its -subjectdn, -clientverify, ...
    b"x-forwarded-ssl-client-cert",
    b"x-forwarded-tls-client-cert",  # Traefik, and its -info
    b"ssl-client-",  # ingress-nginx: -cert, -verify, -subject-dn, ...
    b"x-ssl-client-",  # by custom, behind nginx, Apache and HAProxy
    b"x-ssl-cert",
    b"tls-client-cert",
    b"x-tls-client-cert",
    b"x-client-cert",  # Kong and Google, and all that follows it
    b"x-clientcert",
    b"x-client-verify",
    b"x-client-dn",
    b"x-cert-",  # Cloudflare's example for a worker
    b"x-arr-clientcert",  # Azure
    b"x-amzn-mtls-clientcert",  # AWS, and its -leaf, -subject, ...
    b"cf-client-cert",  # Cloudflare
    b"cf-cert-",
    b"cloudfront-viewer-cert-",
    b"wl-proxy-client-cert",  # WebLogic
)
"""Beginnings of names, lower-case."""

DASHED = bytes.maketrans(b"_.", b"--")

_in_every_one = re.compile(rb"c(?:ert|lient)").search
"""One search in all names together, before each is looked at: most requests carry nothing of the kind."""


class CertificateFields:
    """All of these fields, and those of ``names`` beside them (lower-case): of one's own choice, or with a secret."""

    __slots__ = ("_names",)

    def __init__(self, names: Iterable[bytes] = ()) -> None:
        self._names = frozenset(name.translate(DASHED) for name in names)

    def strip(self, exchange: Exchange, scope: Scope) -> None:
        """Give the scope a header list without them; leave it alone where there are none, nor can be."""
        if b"transfer-encoding" in exchange.fields(scope):
            # A list of our own: into uvicorn's, its httptools protocol still puts trailers while the body comes.
            scope["headers"] = list(scope["headers"])
        fields = exchange.fields(scope)
        together = b"\n".join(fields)
        if _in_every_one(together) or (self._names and self._may_be_among(together)):
            unwanted = {name for name in fields if self._has(name.translate(DASHED))}
            if unwanted:
                scope["headers"] = [line for line in scope["headers"] if line[0].lower() not in unwanted]

    def _may_be_among(self, together: bytes) -> bool:
        plain = together.translate(DASHED)
        return any(name in plain for name in self._names)

    def _has(self, plain: bytes) -> bool:
        return plain.startswith(CERTIFICATE_FIELDS) or plain in self._names
