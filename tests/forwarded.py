"""Certificates as proxies forward them, and one request with such fields, read as the middleware reads it."""

import ssl
from base64 import b64encode
from hashlib import sha256
from urllib.parse import quote

from secure_asgi.exchange import Exchange
from secure_asgi.mutual_tls.forwarded import ForwardedCertificate, ProxySecret
from secure_asgi.testing.certificates import CertificateAuthority

AUTHORITY = CertificateAuthority("Test CA")
ISSUING = AUTHORITY.subordinate()
SHOP = ISSUING.issue("uri:spiffe://example.org/shop", "dns:shop.example")

PEM, ISSUING_PEM = SHOP.certificate_pem.decode(), ISSUING.certificate_pem.decode()
DER, ISSUING_DER = ssl.PEM_cert_to_DER_cert(PEM), ssl.PEM_cert_to_DER_cert(ISSUING_PEM)
B64, ISSUING_B64 = b64encode(DER).decode(), b64encode(ISSUING_DER).decode()
HASH = sha256(DER).hexdigest()
ESCAPED, ISSUING_ESCAPED = quote(PEM, safe=""), quote(ISSUING_PEM, safe="")

SECRET = "correct-horse-battery-staple"
OUR_PROXY = ProxySecret("x-proxy-secret", SECRET)


def lines(fields):
    """Header lines of ``{name: value}``, or of pairs where a name is repeated."""
    pairs = fields.items() if isinstance(fields, dict) else fields
    return [(name.lower().encode(), value if isinstance(value, bytes) else value.encode()) for name, value in pairs]


def scope_with(fields, **more):
    return {"type": "http", "headers": [(b"host", b"a.example"), *lines(fields)], **more}


def read(source, fields, **more):
    """What the source makes of one request."""
    scope = scope_with(fields, **more)
    return source.read(Exchange(scope), scope)


def read_from_our_proxy(preset, fields, /, **options):
    source = ForwardedCertificate(preset, trusted=OUR_PROXY, **options)
    pairs = list(fields.items()) if isinstance(fields, dict) else list(fields)
    return read(source, [("x-proxy-secret", SECRET), *pairs])
