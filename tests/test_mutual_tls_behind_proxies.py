"""Client certificates through real proxies, configured as the how-to pages say.

First what each proxy hands on, asked of an application that believes everything. Then what ``MutualTLSMiddleware``
makes of it, with each way of trusting a proxy at least once.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from secure_asgi import Layer, MutualTLSMiddleware
from secure_asgi._pins import spki_pin
from secure_asgi.mutual_tls import ForwardedCertificate, ProxyCertificate, ProxySecret
from secure_asgi.testing.certificates import CertificateAuthority
from secure_asgi.tls import server_context

from . import asgi
from .paths import ENVIRONMENT
from .proxies import HOST, Proxy, ask, blocks, connect, files, moved, plain_connection, running
from .serving import free_port, open_websocket, say, uvicorn_serving

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
    (folder / "ca.pem").write_bytes(SERVERS.certificate_pem + INTERNAL.certificate_pem)
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
    await say(json.dumps(told).encode(), scope, receive, send)


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
            return files(OTHERS, self.program)
        all_files = files(NGINX, "nginx")
        ways = [file for file in all_files if "snippets" in file[0]]
        return [ways[self.way], *(file for file in all_files if file not in ways)]


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
        contents = front.files
        for text, replacement in edits:
            assert any(text in content for _, content in contents), text
            contents = [(path, content.replace(text, replacement)) for path, content in contents]
        upstream = f"127.0.0.1:{port}"
        with running(front.program, contents, folder=folder, certificates=certificates, upstream=upstream) as proxy:
            yield Deployment(front, proxy, port)


@pytest.fixture(scope="module", params=FRONTS)
def deployment(request, certificates, tmp_path_factory):
    front = FRONTS[request.param]
    # What nginx and Caddy forward is the leaf alone: the issuing authority is trusted itself.
    anchors = (certificates / "clients-ca.pem", certificates / "issuing-ca.pem")
    with deployed(front, certificates, tmp_path_factory.mktemp(front.program), trust_anchors=anchors) as made:
        yield made


# --- what each hands on --------------------------------------------------------------------------------------------

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


def test_what_is_handed_on(deployment):
    """Each says "no certificate" in its own way; and of what the client says under the same names, nothing is left."""
    claims = CLAIMS[deployment.front.program]
    for lies in ((), claims(DEEP), [*claims(DEEP), *claims(DEEP)]):
        assert about_certificates(deployment.ask("/echo", fields=lies)) == ABSENT[deployment.front.program]
        handed_on = about_certificates(deployment.ask("/echo", client="shop", fields=lies))
        if deployment.front.program == "haproxy":
            assert handed_on.pop("x-ssl-client-chain") == ""
        if deployment.front.program == "nginx":
            # It escapes some characters that others leave.
            handed_on["x-ssl-client-cert"] = quote(unquote(handed_on["x-ssl-client-cert"]), safe="")
        assert handed_on == {name.lower(): value for name, value in claims(SHOP)}


def test_which_aliases_are_handed_on(deployment):
    """Only nginx drops names that others fold into the real one."""
    claims = CLAIMS[deployment.front.program](DEEP)
    aliases = [pair for how in ALIASES for pair in spelt(how, claims)]
    sent = {name.lower() for name, _ in aliases}
    arrived = {name for name, _ in deployment.ask("/echo", fields=aliases).json} & sent
    assert arrived == (set() if deployment.front.program == "nginx" else sent)


ALIASES = {
    "with an underscore": lambda name: name.replace("-", "_"),
    "with a dot": lambda name: name.replace("-", "."),
    "with both": lambda name: name.replace("-", "_", 1).replace("-", "."),
}


def spelt(how, claims):
    return [(ALIASES[how](name), value) for name, value in claims]


def about_certificates(answer):
    """The preset's fields; nothing is there twice."""
    found = [(name, value) for name, value in answer.json if name.startswith(("x-ssl-client-", "client-cert"))]
    assert len(dict(found)) == len(found)
    return dict(found)


# --- who it is, and who it is not ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("client", "issued"), [("shop", SHOP), ("deep", DEEP)])
def test_the_right_identity(deployment, client, issued):
    """MTLS-2, CERT-1: by an authority itself, and by one between it and the root."""
    answer = deployment.ask(client=client)
    assert answer.status == 200
    assert answer.json["user"] == f"{client}.clients.example"
    assert answer.json["sha256"] == sha256(der(issued)).hexdigest()
    names = {name for name, _ in answer.json["fields"]}
    assert not {name for name in names if name.startswith(("x-ssl-client", "client-cert"))}
    if isinstance(deployment.front.trusted, ProxySecret):
        assert "x-proxy-secret" not in names


def test_without_a_certificate(deployment):
    """MTLS-4: the proxy's way of saying so is understood as just that."""
    answer = deployment.ask()
    assert (answer.status, answer.headers["x-reason"]) == (403, "certificate_missing")


def test_of_another_authority(deployment):
    """CERT-1: as the pages configure them, the proxies themselves do not let it through."""
    try:
        answer = deployment.ask(client="foreign")
    except OSError:
        return
    assert deployment.front.program == "nginx"
    assert answer.status == 400
    assert b"The SSL certificate error" in answer.body


OTHERS_CLAIMS = [
    *by_haproxy(DEEP),
    *by_caddy(DEEP),
    ("Client-Cert-Chain", f":{base64(ISSUING)}:"),
    ("X-Forwarded-Client-Cert", f'Hash={sha256(der(DEEP)).hexdigest()};Cert="{quote(DEEP.certificate_pem, safe="")}"'),
    ("X-Forwarded-Tls-Client-Cert", base64(DEEP)),
    ("SSL-Client-Cert", quote(DEEP.certificate_pem, safe="")),
    ("SSL-Client-Verify", "SUCCESS"),
    ("X-Amzn-Mtls-Clientcert", quote(DEEP.certificate_pem, safe="+=/")),
    ("X-Amzn-Mtls-Clientcert-Leaf", quote(DEEP.certificate_pem, safe="+=/")),
    ("X-ARR-ClientCert", base64(DEEP)),
    ("X-Client-Cert", quote(DEEP.certificate_pem, safe="")),
    ("Cf-Client-Cert-Der-Base64", base64(DEEP)),
    ("Cf-Cert-Verified", "true"),
]


LIES = {
    "the fields themselves": lambda claims: claims,
    "twice": lambda claims: [*claims, *claims],
    "in capitals": lambda claims: [(name.upper(), value) for name, value in claims],
    "one of them": lambda claims: claims[-1:],
    "that there is none": lambda claims: [(name, "(null)") for name, _ in claims],
    "an empty one": lambda claims: [(name, "") for name, _ in claims],
    "on two lines": lambda claims: [(name, f"{value[:40]}\r\n {value[40:]}") for name, value in claims],
    "a blank before the colon": lambda claims: [(f"{name} ", value) for name, value in claims],
    "the fields of all others": lambda claims: [pair for pair in OTHERS_CLAIMS if pair[0] not in dict(claims)],
    "a chain": lambda claims: [*claims, ("X-SSL-Client-Chain", base64(ISSUING)), ("Client-Cert-Chain", ":AA==:")],
    "a guess at the secret": lambda claims: [*claims, ("X-Proxy-Secret", "a-guess-of-32-random-characters")],
    "to come from the proxy": lambda claims: [
        *claims,
        ("X-Forwarded-For", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
    ],
    "that the sign is for this hop": lambda claims: [*claims, ("Connection", claims[0][0])],
    "that the secret is for this hop": lambda claims: [*claims, ("Connection", "X-Proxy-Secret")],
    "after the body": lambda claims: [("Transfer-Encoding", "chunked\r\n\r\n2\r\nhi\r\n0"), *claims],
    "an alias with an underscore": lambda claims: spelt("with an underscore", claims),
    "an alias with a dot": lambda claims: spelt("with a dot", claims),
    "an alias with both": lambda claims: spelt("with both", claims),
}
"""What a client says who is ``SHOP``, or nobody, and would like to be ``DEEP``."""

AMBIGUOUS = (403, "certificate_field_ambiguous")
NOT_HTTP = (400, None)
OUTCOMES = {
    ("on two lines", "nginx"): NOT_HTTP,
    ("on two lines", "apache"): NOT_HTTP,
    **{("a blank before the colon", program): NOT_HTTP for program in CLAIMS},
    **{(lie, program): AMBIGUOUS for lie in LIES if "alias" in lie for program in CLAIMS if program != "nginx"},
    # Apache does drop what a client's Connection field names, after it has set it.
    ("that the sign is for this hop", "apache"): (403, "certificate_unverified"),
    ("that the secret is for this hop", "apache"): (403, "proxy_untrusted"),
}
"""Where a lie has another effect than none."""


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_makes_nobody_else_of_a_client(deployment, lie):
    """MTLS-3: it stays who it is, or is refused; and no field of the kind gets to the application."""
    fields = LIES[lie](CLAIMS[deployment.front.program](DEEP))
    outcome = OUTCOMES.get((lie, deployment.front.program), (200, None))
    answer = deployment.ask(client="shop", fields=fields)
    assert (answer.status, answer.headers["x-reason"]) == outcome
    if answer.status == 200:
        assert answer.json["user"] == "shop.clients.example"
        assert not {name for name, _ in answer.json["fields"]} & {name.lower() for name, _ in OTHERS_CLAIMS}
    # Without a certificate of its own it stays nobody.
    assert deployment.ask(fields=fields).status == (400 if outcome == NOT_HTTP else 403)


# --- past the proxy ------------------------------------------------------------------------------------------------


def test_past_the_proxy(deployment, certificates):
    """MTLS-3: straight to the application's port, with all that the proxy would say."""
    front, port = deployment.front, deployment.port
    claims = CLAIMS[front.program](SHOP)
    if front.trusted == "unix":
        assert port == 0  # there is none
    elif front.way == 2:
        with pytest.raises(OSError):
            ask(connect(port, certificates, None), "/", claims)
        with pytest.raises(OSError):
            ask(connect(port, certificates, "shop"), "/", claims)
        answer = ask(connect(port, certificates, "colleague"), "/", claims)
        assert (answer.status, answer.headers["x-reason"]) == (403, "proxy_untrusted")
    else:
        from_elsewhere = [("X-Forwarded-For", "127.0.0.1")]
        wrong = [("X-Proxy-Secret", SECRET.replace("r", "R"))]
        twice = [("X-Proxy-Secret", SECRET), ("X-Proxy-Secret", SECRET)]
        for more in (from_elsewhere, wrong, twice):
            answer = ask(plain_connection(port, source="127.0.0.2"), "/", claims + more)
            assert (answer.status, answer.headers["x-reason"]) == (403, "proxy_untrusted")


# --- configured otherwise than the pages say -----------------------------------------------------------------------


def test_a_location_that_sets_nothing(certificates, tmp_path):
    """The secret stands beside the fields, so where nginx does not set them it does not vouch for them either."""
    forgetful = ("    location / {", "    location /forgotten { proxy_pass http://127.0.0.1:8000; }\n    location / {")
    with deployed(FRONTS["nginx, secret"], certificates, tmp_path, forgetful) as made:
        for client in (None, "shop"):
            answer = made.ask("/forgotten", client=client, fields=by_nginx(DEEP))
            assert (answer.status, answer.headers["x-reason"]) == (403, "proxy_untrusted")
        assert made.ask("/", client="shop", fields=by_nginx(DEEP)).json["user"] == "shop.clients.example"


def test_an_haproxy_that_removes_odd_names(certificates, tmp_path):
    strict = ("    mode http\n", "    mode http\n    option http-restrict-req-hdr-names delete\n")
    with deployed(FRONTS["haproxy, network"], certificates, tmp_path, strict) as made:
        aliases = [alias for how in ALIASES for alias in spelt(how, by_haproxy(DEEP))]
        assert made.ask(client="shop", fields=aliases).json["user"] == "shop.clients.example"


def test_an_nginx_that_lets_every_name_through(certificates, tmp_path):
    lax = ("    location / {", "    underscores_in_headers on;\n    ignore_invalid_headers off;\n    location / {")
    with deployed(FRONTS["nginx, secret"], certificates, tmp_path, lax) as made:
        for how in ALIASES:
            answer = made.ask(client="shop", fields=spelt(how, by_nginx(DEEP)))
            assert (answer.status, answer.headers["x-reason"]) == AMBIGUOUS


LAX = {
    "nginx": ("nginx, secret", (" optional;", " optional_no_ca;"), "certificate_unverified"),
    "haproxy": (
        "haproxy, network",
        (" verify optional", " verify optional ca-ignore-err all crt-ignore-err all"),
        "certificate_unverified",
    ),
    "apache": ("apache, secret", (" optional\n", " optional_no_ca\n"), "certificate_unverified"),
    # Nothing that Caddy hands on tells of it.
    "caddy": (
        "caddy, network",
        ("verify_if_given\n            trusted_ca_cert_file /etc/caddy/tls/clients-ca.pem", "request"),
        "certificate_untrusted",
    ),
}


@pytest.mark.parametrize(("front", "edit", "reason"), LAX.values(), ids=LAX)
def test_a_proxy_that_lets_every_certificate_through(front, edit, reason, certificates, tmp_path):
    """CERT-1: each says that it has not verified it, and where one does not, it is verified here."""
    anchors = certificates / "clients-ca.pem"
    with deployed(FRONTS[front], certificates, tmp_path, edit, trust_anchors=anchors) as made:
        answer = made.ask(client="foreign")
        assert (answer.status, answer.headers["x-reason"]) == (403, reason)
        assert made.ask(client="shop").status == 200


# --- chains, connections, WebSockets -------------------------------------------------------------------------------


def test_a_chain_that_is_handed_on_is_verified_up_to_the_root(certificates, tmp_path):
    """CERT-1: only the root is trusted here; what lies between comes along."""
    anchors = certificates / "clients-ca.pem"
    with deployed(FRONTS["haproxy, network"], certificates, tmp_path, trust_anchors=anchors) as made:
        assert made.ask(client="deep").json["user"] == "deep.clients.example"
        # The proxies keep connections to the application, and use them for whoever comes next.
        clients = ("shop", "deep", None) * 10
        kept = {client: made.proxy.connect(client) for client in set(clients)}
        for client in clients:
            answer = ask(kept[client], "/", stays_open=True)
            assert (answer.json["user"] if client else answer.status) == (
                f"{client}.clients.example" if client else 403
            )
        for connection in kept.values():
            connection.close()


def test_a_chain_that_is_not_handed_on_is_missed(certificates, tmp_path):
    """What the page says of nginx."""
    anchors = certificates / "clients-ca.pem"
    with deployed(FRONTS["nginx, secret"], certificates, tmp_path, trust_anchors=anchors) as made:
        answer = made.ask(client="deep")
        assert (answer.status, answer.headers["x-reason"]) == (403, "certificate_untrusted")
        assert made.ask(client="shop").status == 200


def test_a_websocket(deployment):
    """Over HTTP/1.1 each passes it on, with the same fields and the same answers."""
    lies = CLAIMS[deployment.front.program](DEEP)
    status, text = open_websocket(deployment.proxy.connect("shop"), f"wss://{HOST}/", lies)
    assert (status, json.loads(text)["user"]) == (101, "shop.clients.example")
    assert open_websocket(deployment.proxy.connect(), f"wss://{HOST}/", lies) == (403, None)


def test_no_process_is_left(certificates, tmp_path):
    """The harness ends what it has started, whatever happens meanwhile."""
    with contextlib.suppress(ZeroDivisionError), deployed(FRONTS["nginx, secret"], certificates, tmp_path) as made:
        raise ZeroDivisionError
    assert made.proxy.process.returncode is not None
    assert not Path(f"/proc/{made.proxy.process.pid}").exists()


# --- Envoy, which is not run here ----------------------------------------------------------------------------------

RECORDED = json.loads((Path(__file__).parent / "recorded" / "envoy_1_40.json").read_text())
"""As Envoy 1.40.0 wrote them; its how-to page was run with that too."""

RECORDED_OUTCOMES = {
    ("hash, cert, chain", "shop"): "spiffe://example.org/shop",
    ("hash, cert, chain", "deep"): "spiffe://example.org/deep",
    ("hash, cert, chain", "eve"): "spiffe://example.org/eve,By=x;URI=spiffe://example.org/admin",
    ("hash, cert, chain", "deep, spoof"): "spiffe://example.org/deep",
    ("everything", "shop"): "spiffe://example.org/shop",
    ("everything", "eve"): "certificate_malformed",
    ("everything", "mallory"): "certificate_malformed",
    ("hash, uri", "shop"): "certificate_malformed",
    ("append", "deep, spoof"): "certificate_malformed",
    ("json", "shop"): "spiffe://example.org/shop",
    ("json", "deep"): "spiffe://example.org/deep",
    ("json", "mallory"): "spiffe://example.org/mallory,Hash=",
    ("json append", "deep, spoof"): "certificate_malformed",
}


@pytest.mark.parametrize(("details", "client"), RECORDED_OUTCOMES, ids=" of ".join)
def test_recorded_from_envoy(details, client):
    """MTLS-6: never the name that somebody else wrote into a name."""
    preset = "envoy_xfcc_json" if "json" in details else "envoy_xfcc"
    source = ForwardedCertificate(preset, trusted=BY_SECRET)
    app = application(source=source, trust_anchors=RECORDED["authority"].encode(), identity="uri")
    fields = {"x-proxy-secret": SECRET, "x-forwarded-client-cert": RECORDED["fields"][details][client]}
    answer = asgi.http(app, headers=fields)
    expected = RECORDED_OUTCOMES[details, client]
    if answer.status == 200:
        assert json.loads(answer.body)["user"].startswith(expected)
    else:
        assert (answer.status, answer.headers["x-reason"]) == (403, expected)


# --- the page, from top to bottom ----------------------------------------------------------------------------------


def test_the_nginx_page_to_the_letter(tmp_path):
    """Its commands make the certificates, start the application and ask; what they answer is what stands there."""
    port = free_port()
    make_certificates, start = (_here(text, tmp_path, port) for text in blocks(NGINX, "sh"))
    for path, text in files(NGINX, "py"):
        file = tmp_path / path.lstrip("/")
        file.parent.mkdir(parents=True)
        file.write_text(_here(text, tmp_path, port))
    _shell(make_certificates)
    certificates = tmp_path / "etc" / "nginx" / "tls"
    # By which the harness knows that it is our nginx which answers.
    shutil.copy(certificates / "server.pem", certificates / "ca.pem")
    front = FRONTS["nginx, secret"]
    with (
        started(start, port, tmp_path / "uvicorn.log"),
        running(
            "nginx", front.files, folder=tmp_path, certificates=certificates, upstream=f"127.0.0.1:{port}"
        ) as proxy,
    ):
        asked, lied, audited = (_console(text) for text in blocks(NGINX, "console"))
        _holds([*asked, *lied], tmp_path, port, proxy.port)
        while (tmp_path / "srv" / "orders" / "audit.jsonl").read_text().count('"denied"') < 4:
            time.sleep(0.01)  # it is written by a thread of its own
        _holds(audited, tmp_path, port, proxy.port)


@contextlib.contextmanager
def started(command, port, log):
    """The page's server; ended together with the shell it was started from."""
    with open(log, "w") as output:
        environment = ENVIRONMENT | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        shell = subprocess.Popen(
            ["bash", "-c", command], stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        while True:
            assert shell.poll() is None, log.read_text()
            with contextlib.suppress(OSError):
                plain_connection(port).close()
                break
            time.sleep(0.02)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)
            shell.wait(timeout=10)
            while True:
                os.killpg(shell.pid, 0)
                time.sleep(0.01)


def _here(text, folder, port, proxy_port=443):
    return moved(text, folder, proxy_port, f"127.0.0.1:{port}")


def _shell(script):
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _console(text):
    """The commands of a console, each with the lines it is answered with."""
    return [(command, answer) for command, _, answer in (part.partition("\n") for part in text.split("$ ")[1:])]


def _holds(console, folder, port, proxy_port):
    """In one shell, from command to command; ``...`` stands for what is never the same."""
    mark = "--- next ---"
    script = "".join(f"{command}\necho '{mark}'\n" for command, _ in console)
    printed = _shell(_here(script, folder, port, proxy_port)).split(f"{mark}\n")
    for (command, answer), found in zip(console, printed, strict=False):
        pattern = re.escape(answer).replace(re.escape("..."), ".*?")
        assert re.fullmatch(pattern, found), f"{command}\n{found}"
