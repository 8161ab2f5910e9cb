"""TLS for the server's own socket: a hardened ``ssl.SSLContext``, and how long its certificate lasts (no ASGI).

Profiles follow Mozilla's server-side TLS guidelines 6.0; the minimum is RFC 9325 (BCP 195). What the standard library
cannot set before Python 3.15, the key-exchange groups, stays as OpenSSL has it.
"""

import os
import ssl
from typing import Literal

from ..errors import ConfigurationError

StrPath = str | os.PathLike[str]

PROFILES = {"modern": ssl.TLSVersion.TLSv1_3, "intermediate": ssl.TLSVersion.TLSv1_2}
"""The oldest protocol version that each profile speaks."""

TLS12_CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    )
)
"""RFC 9325 section 4.2 and ChaCha20: forward secret, authenticated, nothing else."""

CLIENT_AUTH = {None: ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def server_context(
    certfile: StrPath,
    keyfile: StrPath,
    *,
    profile: Literal["modern", "intermediate"] = "modern",
    client_ca: StrPath | None = None,
    client_auth: Literal["optional", "required"] | None = None,
) -> ssl.SSLContext:
    """A server's TLS context. ``certfile`` is PEM, leaf first, then the intermediates; ``keyfile`` PEM, not encrypted.

    ``profile="modern"`` speaks TLS 1.3 only and resumes no session, so every connection has had its own, full
    handshake. ``"intermediate"`` adds TLS 1.2 for older clients.

    ``client_ca`` is a PEM file of the authorities whose client certificates the handshake accepts; it goes together
    with ``client_auth``: ``"required"`` ends the handshake without a certificate, ``"optional"`` lets it pass, for
    ``MutualTLSMiddleware`` to decide per path. A certificate that is presented and does not verify ends the handshake
    under both. With ``profile="intermediate"`` it is refused: a TLS 1.2 session, which Python cannot keep from being
    resumed, would go on being accepted after its certificate has expired or its authority was removed.

    The context announces HTTP/1.1 (ALPN); for another protocol call ``set_alpn_protocols`` on it. Revocation is not
    checked. Raises ``ConfigurationError`` for options that do not go together and for files that cannot be used.
    """
    if profile not in PROFILES:
        raise ConfigurationError(f'profile= is "modern" or "intermediate", got {profile!r}')
    if client_auth not in CLIENT_AUTH:
        raise ConfigurationError(f'client_auth= is None, "optional" or "required", got {client_auth!r}')
    if client_auth is not None and client_ca is None:
        raise ConfigurationError(
            f"client_auth={client_auth!r} needs client_ca=, the PEM file of the authorities whose clients are accepted"
        )
    if client_ca is not None and client_auth is None:
        raise ConfigurationError(
            'client_ca= asks no client for a certificate on its own: add client_auth="required" or "optional"'
        )
    if client_ca is not None and profile == "intermediate":
        raise ConfigurationError(
            'client_ca= goes with profile="modern": a resumed TLS 1.2 session would not verify the client again'
        )
    context = _hardened(profile)
    _load_own_certificate(context, certfile, keyfile)
    if client_ca is not None:
        _load_client_authorities(context, client_ca)
        context.verify_mode = CLIENT_AUTH[client_auth]
    return context


def _hardened(profile: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = PROFILES[profile]
    context.set_ciphers(TLS12_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_SINGLE_ECDH_USE
    # All suites are good: the client knows best which one its hardware likes.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    # No TLS 1.3 session outlives its connection: a resumed one skips certificate verification.
    context.num_tickets = 0
    # As strict on every Python as 3.13 is elsewhere by default; and a subordinate authority may be the trust anchor.
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load_own_certificate(context: ssl.SSLContext, certfile: StrPath, keyfile: StrPath) -> None:
    for option, file in (("certfile", certfile), ("keyfile", keyfile)):
        _must_be_readable(option, file)
    try:
        # An empty password: OpenSSL would otherwise stop the server to ask the terminal for that of an encrypted key.
        context.load_cert_chain(certfile, keyfile, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigurationError(
                f"keyfile={str(keyfile)!r} is not the key of the first certificate in certfile={str(certfile)!r}"
            ) from error
        raise ConfigurationError(
            f"certfile={str(certfile)!r} is to hold PEM certificates, leaf first, and keyfile={str(keyfile)!r} "
            f"an unencrypted PEM key; OpenSSL says {error.reason or 'they are not'}"
        ) from error


def _load_client_authorities(context: ssl.SSLContext, client_ca: StrPath) -> None:
    _must_be_readable("client_ca", client_ca)
    try:
        context.load_verify_locations(client_ca)
    except ssl.SSLError as error:
        raise ConfigurationError(f"client_ca={str(client_ca)!r} holds no readable PEM certificate") from error
    if not context.cert_store_stats()["x509"]:
        # A revocation list alone loads without complaint, and then nobody could get in.
        raise ConfigurationError(f"client_ca={str(client_ca)!r} holds no certificate")


def _must_be_readable(option: str, file: StrPath) -> None:
    """OpenSSL names no file when it cannot open one; here are several."""
    try:
        with open(file, "rb"):
            pass
    except OSError as error:
        raise ConfigurationError(_unreadable(option, file, error)) from error


def _unreadable(option: str, file: StrPath, error: OSError) -> str:
    return f"{option}={str(file)!r} cannot be read: {error.strerror}"
