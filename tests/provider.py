"""A real OpenID provider for tests (``oidc/provider.mjs``): started on a free port, stopped and started at will."""

import base64
import hashlib
import json
import shutil
import ssl
import subprocess
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

from .npm import SOURCE, node, packages
from .serving import free_port

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
        self._node, installed = node(), packages()
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
        (folder / "node_modules").symlink_to(installed)
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
