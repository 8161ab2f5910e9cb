"""A certificate authority for tests and development: ECDSA P-256, and strict enough for Python 3.13.

Names are written as in ``MutualTLSMiddleware(allow=...)``: ``"dns:client.example"``, ``"uri:spiffe://example.org/a"``,
``"email:ops@example.org"``, and ``"ip:127.0.0.1"`` for servers. Nothing here is meant for production: keys are made
in memory, without protection, and what was revoked is forgotten with the authority.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import ConfigurationError

Usage = Literal["client", "server", "both"]

_PURPOSES: Mapping[Usage, list[x509.ObjectIdentifier]] = {
    "client": [ExtendedKeyUsageOID.CLIENT_AUTH],
    "server": [ExtendedKeyUsageOID.SERVER_AUTH],
    "both": [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
}

_NAMES: Mapping[str, Callable[[str], x509.GeneralName]] = {
    "dns": x509.DNSName,
    "uri": x509.UniformResourceIdentifier,
    "email": x509.RFC822Name,
    "ip": lambda text: x509.IPAddress(ip_address(text)),
}

_CLOCKS_DIFFER = timedelta(minutes=5)
_LEAF_LIFETIME = timedelta(days=30)
_AUTHORITY_LIFETIME = timedelta(days=365)
_LIST_LIFETIME = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate with its key and the authorities between it and the root, leaf first; all PEM.

    ``chain_pem`` is what a server or client presents: the leaf and the intermediates. ``authority_pem`` is the root.
    """

    certificate: x509.Certificate
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    authority_pem: bytes

    @property
    def certificate_pem(self) -> bytes:
        """The leaf alone."""
        return _pem(self.certificate)

    def write(self, certfile: str | os.PathLike[str], keyfile: str | os.PathLike[str]) -> None:
        """The chain into ``certfile``; the key into ``keyfile``, which only its owner can read."""
        Path(certfile).write_bytes(self.chain_pem)
        _write_key(keyfile, self.key_pem)

    def tls_extension(self) -> dict[str, Any]:
        """What a server would say of a connection with this client certificate: for ``scope["extensions"]["tls"]``."""
        chain = x509.load_pem_x509_certificates(self.chain_pem)
        return {
            "server_cert": None,
            "client_cert_chain": tuple(_pem(one).decode() for one in chain),
            "client_cert_name": self.certificate.subject.rfc4514_string(),
            "client_cert_error": None,
            "tls_version": 0x0304,
            "cipher_suite": 0x1301,
        }


class CertificateAuthority:
    """Issues certificates under one root, which is made on construction.

    ``authority.issue("dns:client.example")`` gives a client certificate; ``certificate_pem`` goes into the file that
    ``server_context(client_ca=...)`` and ``ssl.create_default_context(cafile=...)`` read.
    """

    def __init__(self, name: str = "Test CA", *, parent: "CertificateAuthority | None" = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._above: tuple[x509.Certificate, ...] = parent._path if parent is not None else ()
        issuer, issuer_key = (parent._certificate, parent._key) if parent is not None else (None, self._key)
        now = datetime.now(UTC)
        self._certificate: x509.Certificate = (
            _builder(_common_name(name), self._key.public_key(), issuer)
            .not_valid_before(now - _CLOCKS_DIFFER)
            .not_valid_after(now + _AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(issuer_key, SHA256())
        )
        self._revoked: dict[int, datetime] = {}
        self._lists = 0

    @classmethod
    def load(cls, certfile: str | os.PathLike[str], keyfile: str | os.PathLike[str]) -> "CertificateAuthority":
        """One that ``write`` has stored. Raises ``ConfigurationError`` for files that are not an authority's."""
        certificates, key = _stored(certfile, keyfile)
        authority = cls()
        authority._certificate, *above = certificates
        authority._key, authority._above = key, tuple(above)
        return authority

    def write(self, certfile: str | os.PathLike[str], keyfile: str | os.PathLike[str]) -> None:
        """The certificate and those above it into ``certfile``; the key into ``keyfile``, for its owner only."""
        Path(certfile).write_bytes(b"".join(map(_pem, self._path)))
        _write_key(keyfile, _key_pem(self._key))

    @property
    def certificate_pem(self) -> bytes:
        """This authority's own certificate."""
        return _pem(self._certificate)

    @property
    def _path(self) -> tuple[x509.Certificate, ...]:
        """From here up to the root."""
        return (self._certificate, *self._above)

    def subordinate(self, name: str = "Test issuing CA") -> "CertificateAuthority":
        """An intermediate authority: what it issues carries its certificate along."""
        return CertificateAuthority(name, parent=self)

    def issue(
        self,
        *names: str,
        usage: Usage = "client",
        common_name: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> IssuedCertificate:
        """A certificate for ``names``, valid from five minutes ago for thirty days.

        ``not_before`` and ``not_after`` (aware) make one that has expired or is not valid yet. ``common_name`` is the
        subject, by default the first name; no name at all gives a certificate without alternative names.
        """
        if usage not in _PURPOSES:
            raise ConfigurationError(f'usage= is "client", "server" or "both", got {usage!r}')
        alternatives = [_general_name(name) for name in names]
        if not_before is None:
            not_before = datetime.now(UTC) - _CLOCKS_DIFFER
            if not_after is not None:
                not_before = min(not_before, not_after - _LEAF_LIFETIME)
        subject = common_name if common_name is not None else names[0].partition(":")[2] if names else "nameless"
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_common_name(subject), key.public_key(), self._certificate)
            .not_valid_before(not_before)
            .not_valid_after(not_after or not_before + _LEAF_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_PURPOSES[usage]), critical=False)
        )
        if alternatives:
            # RFC 5280 section 4.2.1.6: critical exactly when there is no subject.
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=not subject)
        certificate = builder.sign(self._key, SHA256())
        *intermediates, root = self._path
        return IssuedCertificate(
            certificate,
            b"".join(map(_pem, (certificate, *intermediates))),
            _key_pem(key),
            _pem(root),
        )

    def revoke(self, issued: "IssuedCertificate | CertificateAuthority") -> None:
        """Put it on the revocation lists that are made from now on."""
        certificate = issued.certificate if isinstance(issued, IssuedCertificate) else issued._certificate
        if certificate.issuer != self._certificate.subject:
            raise ConfigurationError("a certificate is revoked by the authority that issued it")
        self._revoked.setdefault(certificate.serial_number, datetime.now(UTC))

    def revocation_list(self, *, next_update: datetime | None = None, number: int | None = None) -> bytes:
        """What is revoked, as a PEM list (CRL) that is in force from five minutes ago for seven days.

        ``next_update`` (aware) is when the next list is due; one that has passed makes a list that has run out.
        ``number`` is one more each time, unless given.
        """
        self._lists = number if number is not None else self._lists + 1
        this_update = datetime.now(UTC) - _CLOCKS_DIFFER
        if next_update is None:
            next_update = this_update + _LIST_LIFETIME
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(min(this_update, next_update - _CLOCKS_DIFFER))
            .next_update(next_update)
            .add_extension(x509.CRLNumber(self._lists), critical=False)
            .add_extension(_authority_key(self._key.public_key()), critical=False)
        )
        for serial, since in self._revoked.items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)


def issue_certificate(*names: str, authority: CertificateAuthority | None = None, **options: Any) -> IssuedCertificate:
    """One certificate: ``issue_certificate("uri:spiffe://example.org/billing").write("client.pem", "client.key")``.

    Its authority is made for it unless one is given; ``options`` are those of ``CertificateAuthority.issue``.
    """
    return (authority or CertificateAuthority()).issue(*names, **options)


def _general_name(text: str) -> x509.GeneralName:
    kind, _, value = text.partition(":")
    if kind not in _NAMES or not value:
        raise ConfigurationError(f'names are written "dns:...", "uri:...", "email:..." or "ip:...", got {text!r}')
    try:
        return _NAMES[kind](value)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no {kind} name for a certificate: {error}") from error


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])] if text else [])


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Certificate | None
) -> x509.CertificateBuilder:
    """What every certificate has; the two key identifiers because Python 3.13 refuses a certificate without them."""
    issuer_key = key if issuer is None else issuer.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_authority_key(issuer_key), critical=False)
    )


def _authority_key(key: Any) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_key(keyfile: str | os.PathLike[str], key_pem: bytes) -> None:
    # A new file: an old one would keep its mode, and whoever had it open could read on.
    Path(keyfile).unlink(missing_ok=True)
    with open(os.open(keyfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key_pem)


def _stored(
    certfile: str | os.PathLike[str], keyfile: str | os.PathLike[str]
) -> tuple[list[x509.Certificate], ec.EllipticCurvePrivateKey]:
    try:
        certificates = x509.load_pem_x509_certificates(Path(certfile).read_bytes())
        key = load_pem_private_key(Path(keyfile).read_bytes(), None)
        is_authority = certificates[0].extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except OSError as error:
        raise ConfigurationError(f"{str(error.filename)!r} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension):
        is_authority = False
    if not is_authority or not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(
            f"{str(certfile)!r} is to hold an authority's PEM certificate and {str(keyfile)!r} its unencrypted EC key"
        )
    if key.public_key() != certificates[0].public_key():
        raise ConfigurationError(f"{str(keyfile)!r} is not the key of the certificate in {str(certfile)!r}")
    return certificates, key
