"""A TLS handshake without a socket, and a little data after it: what each side thinks of the other."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from secure_asgi.testing.certificates import CertificateAuthority, IssuedCertificate


def client_context(folder: Path, name: str | None = None, **settings) -> ssl.SSLContext:
    """TLS as the named client of a folder of certificates does it, or without one; ``settings`` are attributes."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    for setting, value in settings.items():
        setattr(context, setting, value)
    return context


@dataclass
class Connection:
    server: ssl.SSLObject
    client: ssl.SSLObject


def shake(
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    hostname: str = "localhost",
    session: ssl.SSLSession | None = None,
) -> Connection:
    """Both sides done, and one record each way. Raises what the side raised that gave up first."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname=hostname, session=session)
    waiting = [client, server]
    for _ in range(10):
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
        if not waiting:
            break
    assert not waiting, "the handshake does not come to an end"
    client.write(b"ping")
    assert server.read(4) == b"ping"
    server.write(b"pong")
    assert client.read(4) == b"pong"
    return Connection(server, client)


def rsa_twin(authority: CertificateAuthority, issued: IssuedCertificate, bits: int = 2048) -> tuple[bytes, bytes]:
    """The same certificate with an RSA key, from the authority that issued it; certificate and key in PEM."""
    key, like = rsa.generate_private_key(65537, bits), issued.certificate
    builder = x509.CertificateBuilder(
        like.issuer, like.subject, key.public_key(), 7, like.not_valid_before_utc, like.not_valid_after_utc
    )
    for extension in like.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    certificate = builder.sign(authority._key, SHA256()).public_bytes(Encoding.PEM)
    return certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def locked(key_pem: bytes) -> bytes:
    """The key, encrypted: what no server can use without somebody at its terminal."""
    key = load_pem_private_key(key_pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
