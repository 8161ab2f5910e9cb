"""Client certificates through real proxies, configured as the how-to pages say.

First what each proxy hands on, asked of an application that believes everything. Then what ``MutualTLSMiddleware``
makes of it, with each way of trusting a proxy at least once.
"""

import contextlib
import json
import ssl
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote, unquote

import pytest
import websockets.exceptions
import websockets.sync.client

from secure_asgi import Layer, MutualTLSMiddleware
from secure_asgi.mutual_tls import ForwardedCertificate, ProxyCertificate, ProxySecret
from secure_asgi._pins import spki_pin
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import server_context

from .handshake import client_context
from .proxies import HOST, Proxy, ask, blocks, connect, running
from .serving import uvicorn_serving

NGINX = "mutual-tls-behind-nginx.md"
OTHERS = "mutual-tls-behind-a-proxy.md"

SECRET = "replace-me-by-32-random-characters"
"""As in the pages."""

CLIENTS = CertificateAuthority("Clients CA")
ISSUING = CLIENTS.subordinate("Issuing CA")
SERVERS = CertificateAuthority("Servers CA")
INTERNAL = CertificateAuthority("Internal CA")

OURS = INTERNAL.issue("dns:proxy.internal")
"""The proxy's own certificate, where it shows one to the application."""

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
        "proxy": OURS,
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
    """Answers with the user, the hash of its certificate and the fields that it got to see."""
    told = {"user": scope["user"].display_name, "sha256": scope["secure_asgi"].peer_certificate.sha256}
    await _answer(told | {"fields": _fields(scope)}, scope, receive, send)


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


def by_nginx(certificate):
    return [("X-SSL-Client-Verify", "SUCCESS"), ("X-SSL-Client-Cert", quote(certificate.certificate_pem, safe=""))]


def by_haproxy(certificate):
    return [("X-SSL-Client-Used", "1"), ("X-SSL-Client-Verify", "0"), ("X-SSL-Client-Cert", base64(certificate))]


def by_apache(certificate):
    pem = certificate.certificate_pem.decode().replace("\n", " ")
    return [("X-SSL-Client-Verify", "SUCCESS"), ("X-SSL-Client-Cert", pem)]


def by_caddy(certificate):
    return [("Client-Cert", f":{base64(certificate)}:")]


def base64(certificate):
    return b64encode(der(certificate)).decode()


def der(certificate):
    return ssl.PEM_cert_to_DER_cert(certificate.certificate_pem.decode())


CLAIMS = {"nginx": by_nginx, "haproxy": by_haproxy, "apache": by_apache, "caddy": by_caddy}
"""How each says that it has verified a certificate. A client that says the same is lying."""


@dataclass(frozen=True)
class Front:
    """A proxy and how it is trusted. ``way`` counts nginx's ways to the application, in the order of the page."""

    program: str
    trusted: Any
    way: int = 0

    @property
    def files(self):
        if self.program != "nginx":
            return blocks(OTHERS, self.program)
        files = blocks(NGINX, "nginx")
        ways = [file for file in files if "snippets" in file[0]]
        return [ways[self.way], *(file for file in files if file not in ways)]


BY_SECRET = ProxySecret("x-proxy-secret", SECRET)
FRONTS = {
    "nginx, secret": Front("nginx", BY_SECRET),
    "nginx, Unix socket": Front("nginx", "unix", way=1),
    "nginx, certificate": Front(
        "nginx", ProxyCertificate((spki_pin(OURS.certificate), "sha256/" + "A" * 43 + "=")), way=2
    ),
    "haproxy, network": Front("haproxy", "127.0.0.1/32"),
    "apache, secret": Front("apache", BY_SECRET),
    "caddy, network": Front("caddy", "127.0.0.1/32"),
}


@dataclass(frozen=True)
class Deployment:
    """A proxy, and the application's own port behind it."""

    front: Front
    proxy: Proxy
    port: int

    def ask(self, *arguments, **options):
        return self.proxy.ask(*arguments, **options)


@contextlib.contextmanager
def deployed(front, certificates, folder, *edits, **options):
    """``edits`` are ``(text, replacement)`` in the page's configuration; ``options`` are the middleware's."""
    socket_path = folder / "run" / "orders" / "app.sock"
    socket_path.parent.mkdir(parents=True)
    settings = {"path": str(socket_path)} if front.way == 1 else {}
    if front.way == 2:
        settings["tls"] = server_context(
            certificates / "app.pem",
            certificates / "app.key",
            client_ca=certificates / "internal-ca.pem",
            client_auth="required",
        )
    source = ForwardedCertificate(front.program, trusted=front.trusted)
    # The field that names us, for uvicorn to believe: what it then takes for the client must make no difference.
    settings["forwarded_allow_ips"] = "*"
    with uvicorn_serving(application(source=source, **options), **settings) as port:
        files = front.files
        for text, replacement in edits:
            assert any(text in content for _, content in files), text
            files = [(path, content.replace(text, replacement)) for path, content in files]
        upstream = f"127.0.0.1:{port}"
        with running(front.program, files, folder=folder, certificates=certificates, upstream=upstream) as proxy:
            yield Deployment(front, proxy, port)


@pytest.fixture(scope="module", params=FRONTS)
def deployment(request, certificates, tmp_path_factory):
    front = FRONTS[request.param]
    # What nginx and Caddy forward is the leaf alone: the issuing authority is trusted itself.
    anchors = (certificates / "clients-ca.pem", certificates / "issuing-ca.pem")
    with deployed(front, certificates, tmp_path_factory.mktemp(front.program), trust_anchors=anchors) as made:
        yield made


# --- what each hands on --------------------------------------------------------------------------------------------

PRESENT = {
    "nginx": lambda fields: (fields["x-ssl-client-verify"], unquote(fields["x-ssl-client-cert"])),
}
ABSENT = {
    "nginx": {"x-ssl-client-verify": "NONE"},
    "haproxy": {
        "x-ssl-client-used": "0",
        "x-ssl-client-verify": "0",
        "x-ssl-client-cert": "",
        "x-ssl-client-chain": "",
    },
    "apache": {"x-ssl-client-verify": "NONE", "x-ssl-client-cert": "(null)"},
    "caddy": {"client-cert": ":{http.request.tls.client.certificate_der_base64}:"},
}
OURS_TO_SET = ("x-ssl-client-", "client-cert")


def about_certificates(answer):
    """The fields of the preset and their aliases; nothing is there twice."""
    found = [(name, value) for name, value in answer.json if plain(name).startswith(OURS_TO_SET)]
    assert len(dict(found)) == len(found)
    return dict(found)


def plain(name):
    return name.replace("_", "-").replace(".", "-")


def lowered(pairs):
    return {name.lower(): value for name, value in pairs}


def test_what_is_handed_on(deployment):
    """Mutual TLS behind a proxy begins with what it says; each says "no certificate" in its own way."""
    claims = CLAIMS[deployment.front.program]
    assert about_certificates(deployment.ask("/echo")) == ABSENT[deployment.front.program]
    handed_on = about_certificates(deployment.ask("/echo", client="shop"))
    if deployment.front.program == "haproxy":
        assert handed_on.pop("x-ssl-client-chain") == ""
    if deployment.front.program == "nginx":
        # With another set of characters escaped.
        handed_on["x-ssl-client-cert"] = quote(unquote(handed_on["x-ssl-client-cert"]), safe="")
    assert handed_on == lowered(claims(SHOP))
