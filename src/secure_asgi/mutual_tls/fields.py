"""Request fields in which proxies forward client certificates: no request brings its own to the application.

Applications and frameworks that read such a field believe it. A name with ``_`` or ``.`` in place of ``-`` counts as
the same, because gateways and header objects fold them into one.
"""

from collections.abc import Iterable
from operator import itemgetter

from .._asgi import RawHeaders, Scope
from .._trailers import CHUNKED

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

MAX_HARMLESS = 512
"""Names remembered as harmless. Clients make names up: when there are so many, it begins anew."""

MAX_NAME = 64
"""Octets of a name that is remembered."""

_name_of = itemgetter(0)


class CertificateFields:
    """All of these fields, and those of ``names`` beside them (lower-case): of one's own choice, or with a secret."""

    __slots__ = ("_harmless", "_names")

    def __init__(self, names: Iterable[bytes] = ()) -> None:
        self._names = frozenset(name.translate(DASHED) for name in names)
        # Requests come with the same few names again and again: each is looked at once.
        self._harmless: set[bytes] = set()

    def strip(self, scope: Scope) -> None:
        """Give the scope a header list without them; leave it alone where there are none, nor can be.

        A request with a chunked body has a list of its own from then on: into the server's, uvicorn's httptools
        protocol still puts trailers.
        """
        lines: RawHeaders = scope["headers"]
        if not self._harmless.issuperset(map(_name_of, lines)):
            kept = [line for line in lines if line[0] in self._harmless or self._is_harmless(line[0])]
            if len(kept) < len(lines) or CHUNKED in map(_name_of, lines):
                scope["headers"] = kept

    def _is_harmless(self, name: bytes) -> bool:
        if name in self._names:
            return False  # without another look: our own proxy sends these with every request
        if name == CHUNKED:
            return True  # with another look each time
        plain = name.lower().translate(DASHED)
        if plain.startswith(CERTIFICATE_FIELDS) or plain in self._names:
            return False
        if len(name) <= MAX_NAME:
            if len(self._harmless) >= MAX_HARMLESS:
                self._harmless.clear()
            self._harmless.add(name)
        return True
