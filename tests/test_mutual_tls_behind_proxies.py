"""Client certificates through real proxies, configured as the how-to pages say.

First what each proxy hands on, asked of an application that believes everything. Then what ``MutualTLSMiddleware``
makes of it, with each way of trusting a proxy at least once.
"""

import contextlib
import json
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from secure_asgi import Layer, MutualTLSMiddleware
from secure_asgi.mutual_tls import ForwardedCertificate, ProxyCertificate, ProxySecret
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import server_context

from .proxies import HOST, Proxy, ask, blocks, connect, running, serving

NGINX = "mutual-tls-behind-nginx.md"
OTHERS = "mutual-tls-behind-a-proxy.md"

SECRET = "replace-me-by-32-random-characters"
"""As in the pages."""

CLIENTS = CertificateAuthority("Clients CA")
ISSUING = CLIENTS.subordinate("Issuing CA")
SERVERS = CertificateAuthority("Servers CA")
INTERNAL = CertificateAuthority("Internal CA")

SHOP = CLIENTS.issue("dns:shop.clients.example")
DEEP = ISSUING.issue("dns:deep.clients.example")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "ca.pem").write_bytes(SERVERS.certificate_pem)
    (folder / "clients-ca.pem").write_bytes(CLIENTS.certificate_pem)
    (folder / "issuing-ca.pem").write_bytes(ISSUING.certificate_pem)
    (folder / "internal-ca.pem").write_bytes(INTERNAL.certificate_pem)
    issued = {
        "server": SERVERS.issue(f"dns:{HOST}", usage="server"),
        "shop": SHOP,
        "deep": DEEP,
        "foreign": CertificateAuthority("Foreign").issue("dns:shop.clients.example"),
        "app": INTERNAL.issue("dns:orders.internal", f"dns:{HOST}", usage="server"),
        "proxy": INTERNAL.issue("dns:proxy.internal"),
        "colleague": INTERNAL.issue("dns:colleague.internal"),
    }
    for name, certificate in issued.items():
        certificate.write(folder / f"{name}.pem", folder / f"{name}.key")
    # HAProxy looks for the key there.
    (folder / "server.pem.key").write_bytes(issued["server"].key_pem)
    return folder


# --- the application -----------------------------------------------------------------------------------------------


class Telltale(Layer):
    """Tells in the answer why there was a refusal, which is nobody's business but a test's."""

    name = "telltale"

    def on_response(self, exchange, headers):
        if exchange.denial:
            headers.append((b"x-reason", str(exchange.denial.reason).encode()))


async def tell(scope, receive, send):
    """Answers with the user and the names of the fields that it got to see."""
    certificate = scope["secure_asgi"].peer_certificate
    told = {"user": scope["user"].display_name, "sha256": certificate.sha256, "fields": _fields(scope)}
    await _answer(told, scope, receive, send)


async def echo(scope, receive, send):
    await _answer(_fields(scope), scope, receive, send)


def _fields(scope):
    return [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]


async def _answer(told, scope, receive, send):
    body = json.dumps(told).encode()
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": body.decode()})
        await send({"type": "websocket.close"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


def application(**options):
    gate = Telltale(MutualTLSMiddleware(tell, **options))

    async def app(scope, receive, send):
        await (echo if scope["path"] == "/echo" else gate)(scope, receive, send)

    return app


# --- the proxies ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Front:
    """A proxy and how it is trusted. ``snippet`` numbers nginx's ways to the application, in the order of the page."""

    program: str
    trusted: Any
    snippet: int = 0

    @property
    def files(self):
        if self.program != "nginx":
            return blocks(OTHERS, self.program)
        *snippets, site = sorted(blocks(NGINX, "nginx"), key=lambda file: "conf.d" in file[0])
        return [snippets[self.snippet], site]

    @property
    def claims(self) -> Callable[[bytes], list[tuple[str, str]]]:
        return CLAIMS[self.program]


def by_nginx(pem):
    return [("X-SSL-Client-Verify", "SUCCESS"), ("X-SSL-Client-Cert", quote(pem.decode(), safe=""))]


def by_haproxy(pem):
    der = b64encode(ssl.PEM_cert_to_DER_cert(pem.decode())).decode()
    return [("X-SSL-Client-Used", "1"), ("X-SSL-Client-Verify", "0"), ("X-SSL-Client-Cert", der)]


def by_apache(pem):
    return [("X-SSL-Client-Verify", "SUCCESS"), ("X-SSL-Client-Cert", pem.decode().replace("\n", " "))]


def by_caddy(pem):
    return [("Client-Cert", f":{b64encode(ssl.PEM_cert_to_DER_cert(pem.decode())).decode()}:")]


CLAIMS = {"nginx": by_nginx, "haproxy": by_haproxy, "apache": by_apache, "caddy": by_caddy}
"""How each says that it has verified a certificate; a client that says the same is lying."""

FRONTS = {
    "nginx, secret": Front("nginx", ProxySecret("x-proxy-secret", SECRET)),
    "nginx, Unix socket": Front("nginx", "unix", snippet=1),
    "nginx, certificate": Front("nginx", ProxyCertificate((INTERNAL, CLIENTS)), snippet=2),
    "haproxy, network": Front("haproxy", "127.0.0.1/32"),
    "apache, secret": Front("apache", ProxySecret("x-proxy-secret", SECRET)),
    "caddy, network": Front("caddy", "127.0.0.1/32"),
}
