"""What a context is made of: a profile of Mozilla's server-side TLS guidelines 6.0, and the files that go into it.

The minimum is RFC 9325 (BCP 195). What the standard library cannot set before Python 3.15, the key-exchange groups,
stays as OpenSSL has it.
"""

import ssl
from dataclasses import dataclass
from typing import Any

from .._files import StrPath
from .._pem import load_authorities, load_own_certificate
from ..errors import ConfigurationError
from .expiry import CertificateExpiry, certificates_in

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

GROUPS = "X25519:prime256v1:secp384r1"
"""Key exchange, for both profiles; with X25519MLKEM768 in front where OpenSSL knows it (3.5)."""

CLIENT_AUTH = {None: ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A context made of the files as they were, with the server's ``own`` certificates and those of ``client_ca``."""

    context: ssl.SSLContext
    own: tuple[CertificateExpiry, ...]
    authorities: tuple[CertificateExpiry, ...]

    @property
    def certificates(self) -> tuple[CertificateExpiry, ...]:
        return self.own + self.authorities


@dataclass(frozen=True, slots=True)
class Recipe:
    """The options of ``server_context``, checked: what stays the same while the files change."""

    certfile: StrPath
    keyfile: StrPath
    oldest: ssl.TLSVersion
    verify_mode: ssl.VerifyMode
    client_ca: tuple[StrPath, ...]
    client_crl: tuple[StrPath, ...]
    alpn: tuple[str, ...]
    object_class: type[ssl.SSLObject] | None

    @property
    def files(self) -> tuple[StrPath, ...]:
        return (self.certfile, self.keyfile, *self.client_ca, *self.client_crl)

    def make(self) -> Loaded:
        """A context of its own from the files as they are now. Raises ``ConfigurationError`` if they cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.harden(context)
        load_own_certificate(
            context,
            self.certfile,
            self.keyfile,
            certificate=f"certfile={str(self.certfile)!r}",
            key=f"keyfile={str(self.keyfile)!r}",
        )
        for file in self.client_ca:
            _load(context, "client_ca", file, "x509", "certificate")
        for file in self.client_crl:
            _load(context, "client_crl", file, "crl", "revocation list")
        authorities = tuple(one for file in self.client_ca for one in certificates_in(file))
        return Loaded(context, certificates_in(self.certfile), authorities)

    def harden(self, context: ssl.SSLContext) -> None:
        """Everything but the files."""
        context.minimum_version = self.oldest
        context.set_ciphers(TLS12_CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_SINGLE_ECDH_USE
        # All suites are good: the client knows best which one its hardware likes.
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        # No TLS 1.3 session outlives its connection: a resumed one skips certificate verification.
        context.num_tickets = 0
        # As strict on every Python as 3.13 is elsewhere by default; and a subordinate authority may be the anchor.
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        if self.client_crl:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        context.verify_mode = self.verify_mode
        context.set_alpn_protocols(self.alpn)
        if self.object_class is not None:
            context.sslobject_class = self.object_class
        set_groups(context)


def set_groups(context: Any) -> None:
    """The profiles' key-exchange groups, where ``ssl`` can set them (Python 3.15); elsewhere OpenSSL's own stay.

    Never through ``set_ecdh_curve``: it takes one group, and so switches all others off, X25519MLKEM768 among them.
    """
    if hasattr(context, "set_groups"):
        try:
            context.set_groups(f"X25519MLKEM768:{GROUPS}")
        except (ssl.SSLError, ValueError):  # this OpenSSL does not know the first
            context.set_groups(GROUPS)


def _load(context: ssl.SSLContext, option: str, file: StrPath, kind: str, name: str) -> None:
    """Certificates or revocation lists into the store against which clients are verified."""
    shown = f"{option}={str(file)!r}"
    certificates = context.cert_store_stats()["x509"]
    load_authorities(context, file, shown, name)
    loaded = context.cert_store_stats()
    if not loaded[kind]:
        # OpenSSL takes the one for the other without complaint, and then nobody could get in.
        raise ConfigurationError(f"{shown} holds no {name}")
    if kind == "crl" and loaded["x509"] != certificates:
        raise ConfigurationError(f"{shown} holds a certificate, which would be trusted: take it out")
