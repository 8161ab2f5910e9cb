"""The authorities whose clients are believed: from files that may be replaced, for everybody or per trust domain."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Union

from .._files import StrPath, WatchedFiles
from ..denial import Reason
from ..errors import CertificateError, ConfigurationError
from .path import MAX_DEPTH, AnchorSet, VerifiedPath, check_options, named, read_pem_or_der, verify_path, why_no_anchor
from .spiffe import is_trust_domain, require_svid, trust_domain_of

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

Anchor = Union[StrPath, bytes, "Certificate"]
"""A file, what could be in it, or a certificate that has been read."""

Anchors = Anchor | Iterable[Anchor]

logger = logging.getLogger("secure_asgi")

_SHAPES = "the path of a file, its content as bytes, or an x509.Certificate"

_EVERYBODY = ""
"""The one entry where authorities are not told apart by trust domain."""


class TrustAnchors:
    """Authorities, roots or not, to one of whom the path of a client certificate must lead.

    ``given`` is a file (PEM with any number of certificates, or one in DER), its content as bytes, an
    ``x509.Certificate``, or several of these. Or it is a mapping from SPIFFE trust domains to any of those: then a
    client certificate must be an X.509-SVID, and only the authorities of its own trust domain can vouch for it.

    ``max_depth`` intermediates at most may stand between the leaf and its anchor. ``require_client_eku=False`` accepts
    a leaf without extended key usage; one that has it must name clientAuth all the same.

    Files are read on first use, or by ``start``, and again when they have been replaced. A file that cannot be read
    any more, or holds no certificate, is logged once, and what it held before stays in force. ``generation`` grows
    whenever the authorities have changed: a verdict reached under another one no longer holds.

    Raises ``ConfigurationError`` for options that are wrong; files are not looked at yet.
    """

    __slots__ = (
        "_anchors",
        "_by_domain",
        "_depth",
        "_found",
        "_is_mapping",
        "_needs_eku",
        "_sources",
        "_watched",
        "generation",
    )

    def __init__(
        self,
        given: Anchors | Mapping[str, Anchors],
        *,
        max_depth: int = MAX_DEPTH,
        require_client_eku: bool = True,
    ) -> None:
        check_options(max_depth=max_depth, require_client_eku=require_client_eku)
        self._is_mapping = isinstance(given, Mapping)
        self._by_domain = _per_domain(given)
        self._sources = tuple(chain.from_iterable(self._by_domain.values()))
        self._watched = WatchedFiles(source.file for source in self._sources if source.file is not None)
        self._depth = max_depth
        self._needs_eku = require_client_eku
        self._found: dict[str, tuple[Certificate, ...]] = dict.fromkeys(self._by_domain, ())
        self._anchors: dict[str, AnchorSet] = {}
        self.generation = 0

    def look(self) -> None:
        """Read the files again if they have been replaced. Costs next to nothing until a look is due."""
        if self._watched.have_changed():
            self._load()

    async def start(self) -> None:
        """Read the files now, and say of every authority that can vouch for nobody why that is.

        Raises ``ConfigurationError`` for a file that cannot be read or holds no certificate, and where no authority is
        left at all.
        """
        self._watched.have_changed()
        complaints = self._load()
        if complaints:
            raise ConfigurationError(f"trust_anchors= {complaints[0]}")
        for domain, anchors in self._anchors.items():
            if anchors.store is None:
                of_domain = f" of trust domain {domain}" if domain else ""
                raise ConfigurationError(f"trust_anchors= no certificate{of_domain} is one that can vouch for a client")

    def verify(self, leaf: "Certificate", intermediates: "Sequence[Certificate]", at: datetime) -> VerifiedPath:
        """The path from ``leaf`` to an authority, valid at ``at``. Raises ``CertificateError``."""
        self.look()
        domain = trust_domain_of(require_svid(leaf)) if self._is_mapping else _EVERYBODY
        anchors = self._anchors.get(domain)
        if anchors is None:
            raise CertificateError(Reason.CERTIFICATE_UNTRUSTED, f"no trust anchor{f' of {domain}' * bool(domain)}")
        return verify_path(leaf, intermediates, anchors, at, max_depth=self._depth, require_client_eku=self._needs_eku)

    def _load(self) -> list[str]:
        """What is wrong with the files; nothing if they are good."""
        complaints = [complaint for source in self._sources for complaint in source.read()]
        if complaints:
            self._watched.look_again()
        found = {
            domain: tuple(chain.from_iterable(source.certificates for source in sources))
            for domain, sources in self._by_domain.items()
        }
        if found != self._found:
            self._found = found
            self._anchors = {domain: AnchorSet(some) for domain, some in found.items() if some}
            self.generation += 1
            for one in chain.from_iterable(found.values()):
                _warn_of(one)
        return complaints


class _Source:
    """Certificates that were handed over, or those of a file, as they were when it was last good."""

    __slots__ = ("_told", "certificates", "file")

    def __init__(self, file: "StrPath | None", certificates: "tuple[Certificate, ...]" = ()) -> None:
        self.file = file
        self.certificates = certificates
        self._told = ""

    def read(self) -> list[str]:
        """Read the file, if it is one: what is wrong with it, which is logged once."""
        if self.file is None:
            return []
        try:
            self.certificates = read_pem_or_der(Path(self.file).read_bytes())
        except OSError as error:
            complaint = f"file {os.fspath(self.file)!r} cannot be read: {error.strerror}"
        except ValueError:
            complaint = f"file {os.fspath(self.file)!r} holds no readable certificate"
        else:
            self._told = ""
            return []
        if complaint != self._told:
            self._told = complaint
            kept = (
                f"the {len(self.certificates)} from before are kept" if self.certificates else "nobody is let in by it"
            )
            logger.error("trust anchors: %s; %s", complaint, kept)
        return [complaint]


def _per_domain(given: Anchors | Mapping[str, Anchors]) -> "dict[str, tuple[_Source, ...]]":
    if not isinstance(given, Mapping):
        return {_EVERYBODY: _sources(given)}
    for domain in given:
        if not (isinstance(domain, str) and is_trust_domain(domain)):
            raise ConfigurationError(
                f'trust_anchors= as a mapping has SPIFFE trust domains as keys, such as "example.org", got {domain!r}'
            )
    if not given:
        raise ConfigurationError("trust_anchors= is an empty mapping: name a trust domain and its authorities")
    return {domain: _sources(some) for domain, some in given.items()}


def _sources(given: Anchors) -> tuple[_Source, ...]:
    from cryptography.x509 import Certificate

    is_one = isinstance(given, str | os.PathLike | bytes | Certificate)
    several = (given,) if is_one else tuple(given) if isinstance(given, Iterable) else ()
    if not several:
        raise ConfigurationError(f"trust_anchors= takes {_SHAPES}, one or several, got {repr(given)[:80]}")
    return tuple(map(_source, several))


def _source(given: object) -> _Source:
    from cryptography.x509 import Certificate

    if isinstance(given, Certificate):
        return _Source(None, (given,))
    if isinstance(given, bytes):
        try:
            return _Source(None, read_pem_or_der(given))
        except ValueError as error:
            raise ConfigurationError("trust_anchors= got bytes without a readable certificate, PEM or DER") from error
    if isinstance(given, str) and "-----BEGIN " in given:
        raise ConfigurationError("trust_anchors= takes a str for the path of a file: give PEM text as bytes, .encode()")
    if isinstance(given, str | os.PathLike):
        return _Source(given)
    raise ConfigurationError(f"trust_anchors= takes {_SHAPES}, one or several, got {repr(given)[:80]}")


def _warn_of(certificate: "Certificate") -> None:
    reason = why_no_anchor(certificate)
    if certificate.not_valid_after_utc < datetime.now(UTC):
        reason = f"it expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if reason:
        logger.warning("trust anchors: %r vouches for nobody: %s", named(certificate), reason)
