"""Certificates and keys in PEM files: read in one way, with one sentence for each thing that can be wrong with them.

``shown`` is what a message calls a file: its option and its path.
"""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from ._files import StrPath
from .errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


def certificates_in_file(file: StrPath, shown: str) -> "tuple[Certificate, ...]":
    """All of them, in the file's order; keys and revocation lists are passed over. Raises ``ConfigurationError``."""
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{shown} cannot be read: {error.strerror}") from error
    return certificates_in_pem(data, shown)


def certificates_in_pem(data: bytes, shown: str) -> "tuple[Certificate, ...]":
    """All certificates in ``data``. Raises ``ConfigurationError`` where there is none, or one that does not read."""
    from cryptography import x509

    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except (ValueError, x509.InvalidVersion) as error:
        raise ConfigurationError(f"{shown} holds no readable PEM certificate") from error


def load_authorities(context: ssl.SSLContext, file: StrPath, shown: str, kind: str = "certificate") -> None:
    """Certificates, or revocation lists, of those whom ``context`` is to believe. Raises ``ConfigurationError``."""
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise ConfigurationError(f"{shown} holds no readable PEM {kind}") from error
    except OSError as error:
        raise ConfigurationError(f"{shown} cannot be read: {error.strerror}") from error


def load_own_certificate(
    context: ssl.SSLContext, certfile: StrPath, keyfile: StrPath | None, *, certificate: str, key: str
) -> None:
    """What ``context`` shows of itself, with its key; the last two are what messages call the two files.

    Raises ``ConfigurationError``.
    """
    _must_be_readable(certfile, certificate)
    if keyfile is not None:
        _must_be_readable(keyfile, key)
    try:
        # An empty password: OpenSSL would otherwise stop to ask the terminal for that of an encrypted key.
        context.load_cert_chain(certfile, keyfile, password="")
    except OSError as error:  # SSLError is one, and so is that a file has gone meanwhile
        reason = getattr(error, "reason", None)
        if reason == "KEY_VALUES_MISMATCH":
            raise ConfigurationError(f"{key} is not the key of the first certificate in {certificate}") from error
        raise ConfigurationError(
            f"{certificate} is to hold PEM certificates, leaf first, and {key} an unencrypted PEM key; "
            f"OpenSSL says {reason or 'they are not'}"
        ) from error


def _must_be_readable(file: StrPath, shown: str) -> None:
    """OpenSSL does not say which of two files it cannot open."""
    try:
        with open(file, "rb"):
            pass
    except OSError as error:
        raise ConfigurationError(f"{shown} cannot be read: {error.strerror}") from error
