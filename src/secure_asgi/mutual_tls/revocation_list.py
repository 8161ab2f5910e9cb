"""Certificate revocation lists: read, found usable or not, and asked (RFC 5280 sections 5 and 6.3.3; REV-5).

Pure: bytes, certificates and a time in, a verdict out. Where lists come from is in ``crl``.
"""

import hashlib
import time
from binascii import a2b_base64
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, Literal

from .._der import span
from ..denial import Reason
from ..errors import CertificateError
from .parts import extension_of
from .path import VerifiedPath
from .signatures import STRONG_HASHES, is_signed_by

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList, GeneralName, IssuingDistributionPoint

Which = Literal["path", "leaf"]

LEEWAY = 60.0
"""Seconds by which the clock of whoever made a list or an answer may be ahead of ours."""

_PEM_HEAD = b"-----BEGIN X509 CRL-----"
_PEM_FOOT = b"-----END X509 CRL-----"
_PIECE = 64 * 1024
_ENTRIES_AT_A_TIME = 256
_SHELVES = 251  # a prime, for serial numbers that all end alike
_MAX_ISSUERS = 64
_SEQUENCE = 0x30


def read_crl(data: bytes | str) -> "CertificateRevocationList":
    """One list, PEM or DER. Raises ``ValueError`` for anything else. Nothing is verified here."""
    (der,) = read_ders(data.encode() if isinstance(data, str) else data, at_most=1)
    return _parse(der)


def check_revocation(
    path: VerifiedPath, crls: "Iterable[CertificateRevocationList]", at: datetime, *, check: Which = "path"
) -> float:
    """No certificate of ``path`` is revoked, by lists of their issuers: until when that can be said (unix seconds).

    The leaf and every intermediate are asked for, with ``check="leaf"`` the leaf alone; the trust anchor never is: to
    withdraw it, remove it. For each there must be a list of its issuer that is signed with the issuer's key, in force
    at ``at`` (aware), complete, direct, and free of critical extensions that are not understood. A list that is not
    counts as absent. Not for the event loop: a list of 100 000 entries takes tenths of a second.

    Raises ``CertificateError``: ``CERTIFICATE_REVOKED``, or ``REVOCATION_UNKNOWN`` where a list is missing.
    """
    now, until = at.timestamp(), path.not_after
    usable, flaws = [], []
    for crl in crls:
        try:
            one = RevocationList(crl)
            one.must_have_begun(now)
            usable.append(one)
        except ValueError as error:
            flaws.append(str(error))
    for certificate, issuer in to_check(path, check):
        lists, why = best_lists(issuer, usable)
        until = min(until, status(certificate, issuer, lists, now, why=(*flaws, *why)))
    return until


def to_check(path: VerifiedPath, check: Which) -> "Iterable[tuple[Certificate, Certificate]]":
    """Each certificate that is to be asked for, with its issuer."""
    return islice(pairwise(path.certificates), 1 if check == "leaf" else None)


def best_lists(issuer: "Certificate", lists: "Iterable[RevocationList]") -> "tuple[list[RevocationList], list[str]]":
    """The issuer's own lists, the newest of each scope, and why others in its name are not among them."""
    best: dict[IssuingDistributionPoint | None, RevocationList] = {}
    why = []
    for one in lists:
        if one.issuer == issuer.subject:
            flaw, newest = one.flaw(issuer), best.get(one.scope)
            if flaw:
                why.append(flaw)
            elif newest is None or one.order >= newest.order:
                best[one.scope] = one
            else:
                why.append(f"a revocation list with number {one.order[0]}, older than one with {newest.order[0]}")
    return list(best.values()), why


def status(
    certificate: "Certificate",
    issuer: "Certificate",
    lists: "Sequence[RevocationList]",
    now: float,
    why: Iterable[str] = (),
) -> float:
    """Until when a list in force says that the certificate is not revoked. Raises ``CertificateError``.

    That a certificate is revoked is believed of a list that has run out too: nobody is taken back by waiting.
    """
    covering = [one for one in lists if one.covers(certificate)]
    serial = certificate.serial_number
    if any(one.names(serial) for one in covering):
        raise CertificateError(Reason.CERTIFICATE_REVOKED, f"serial {serial:x} of {_shown(issuer)}")
    until = max((one.next_update for one in covering), default=0.0)
    if now < until:
        return until
    if covering:
        note = f"the revocation list of {_shown(issuer)} is not in force: its nextUpdate has passed"
    else:
        note = "; ".join((f"no revocation list of {_shown(issuer)} for this certificate", *dict.fromkeys(why)))
    raise CertificateError(Reason.REVOCATION_UNKNOWN, note[:512])


class RevocationList:
    """A list that could be used, if its signature is the issuer's: that is what ``flaw`` says.

    ``issuer`` a name; ``scope`` the issuing distribution point, None for a list of everything; ``order`` grows from one
    list of an issuer and scope to the next; times are unix seconds. Immutable, and free of the megabytes it was read
    from. Raises ``ValueError`` with the reason why it cannot be used.
    """

    __slots__ = (
        "_flaws",
        "_hash",
        "_key_id",
        "_padding",
        "_serials",
        "_signature",
        "_signed",
        "issuer",
        "next_update",
        "order",
        "scope",
        "this_update",
    )

    def __init__(self, crl: "CertificateRevocationList", der: bytes | None = None) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding

        try:
            self._read(crl, der if der is not None else crl.public_bytes(Encoding.DER))
        except ValueError:
            raise
        except Exception as error:
            # The parser sees what a stranger may have sent, and has more ways to fail than it documents.
            raise ValueError(f"a revocation list that cannot be read: {type(error).__name__}") from error
        self._flaws: dict[Certificate, str] = {}

    def _read(self, crl: "CertificateRevocationList", der: bytes) -> None:
        self.issuer = crl.issuer
        self.this_update = crl.last_update_utc.timestamp()
        if crl.next_update_utc is None:
            raise ValueError("a revocation list without nextUpdate")
        self.next_update = crl.next_update_utc.timestamp()
        number, self.scope, self._key_id = _read_extensions(crl)
        self.order = (number, self.this_update)
        self._signature = crl.signature
        self._padding = crl.signature_algorithm_parameters
        self._hash, self._signed = _digested(der, crl.signature_hash_algorithm)
        self._serials = _read_serials(crl)

    def names(self, serial: int) -> bool:
        """The certificate with that serial number is revoked. A look-up, however long the list."""
        return serial in self._serials[serial % _SHELVES]

    def must_have_begun(self, now: float) -> None:
        """Raises ``ValueError`` for a list from the future: as the newest it would displace the one in force."""
        if self.this_update > now + LEEWAY:
            raise ValueError("a revocation list from the future (thisUpdate)")

    @property
    def is_proven(self) -> bool:
        """Some issuer has been found to have signed it."""
        return "" in self._flaws.values()

    def flaw(self, issuer: "Certificate") -> str:
        """Why this is no list of that issuer's, whose name it has; empty if it is. Remembered."""
        flaw = self._flaws.get(issuer)
        if flaw is None:
            if len(self._flaws) >= _MAX_ISSUERS:
                self._flaws.clear()
            flaw = self._flaws[issuer] = self._find_flaw(issuer)
        return flaw

    def _find_flaw(self, issuer: "Certificate") -> str:
        from cryptography import x509

        key_id = extension_of(issuer, x509.SubjectKeyIdentifier)
        if self._key_id is not None and key_id is not None and key_id.digest != self._key_id:
            return "a revocation list of another key of that name"
        usage = extension_of(issuer, x509.KeyUsage)
        if usage is not None and not usage.crl_sign:
            return "the issuer's certificate does not let it sign revocation lists (cRLSign)"
        if not is_signed_by(issuer.public_key(), self._signature, self._signed, self._hash, self._padding):
            return "a revocation list whose signature is not the issuer's"
        return ""

    def covers(self, certificate: "Certificate") -> bool:
        """The certificate is one that the list would name if it were revoked (RFC 5280 section 6.3.3 (b))."""
        from cryptography import x509

        scope = self.scope
        if scope is None:
            return True
        constraints = extension_of(certificate, x509.BasicConstraints)
        is_authority = constraints is not None and constraints.ca
        if scope.only_contains_user_certs if is_authority else scope.only_contains_ca_certs:
            return False
        return scope.full_name is None or not _distribution_points(certificate).isdisjoint(scope.full_name)


def read_lists(data: bytes, *, at_most: int) -> tuple[RevocationList, ...]:
    """The lists in a file, PEM or DER, ready to be asked. Raises ``ValueError``, for all if one cannot be used."""
    return tuple(RevocationList(_parse(der), der) for der in read_ders(data, at_most=at_most))


def read_ders(data: bytes, *, at_most: int) -> list[bytes]:
    """The lists as DER, from DER (one) or PEM, with text around it as openssl writes it. Raises ``ValueError``."""
    if data[:1] == bytes((_SEQUENCE,)):
        return [data]
    ders: list[bytes] = []
    begin = data.find(_PEM_HEAD)
    while begin >= 0:
        end = data.find(_PEM_FOOT, begin)
        if end < 0:
            raise ValueError("a PEM revocation list that breaks off")
        if len(ders) >= at_most:
            raise ValueError(f"more than {at_most} revocation lists")
        ders.append(_decode(data[begin + len(_PEM_HEAD) : end]))
        begin = data.find(_PEM_HEAD, end)
    if not ders:
        raise ValueError("neither a PEM nor a DER revocation list")
    return ders


def _decode(text: bytes) -> bytes:
    """base64, piece by piece, between which other threads run: megabytes in one call would hold them all up."""
    pieces, rest = [], b""
    for at in range(0, len(text), _PIECE):
        rest += text[at : at + _PIECE].translate(None, b" \t\r\n")
        whole = len(rest) & ~3
        pieces.append(a2b_base64(rest[:whole], strict_mode=True))
        rest = rest[whole:]
        time.sleep(0)
    if rest:
        raise ValueError("a PEM revocation list that is not base64")
    return b"".join(pieces)


def _parse(der: bytes) -> "CertificateRevocationList":
    from cryptography.x509 import load_der_x509_crl

    try:
        return load_der_x509_crl(der)
    except Exception as error:
        raise ValueError(f"not a revocation list: {error}"[:256]) from error


def _read_extensions(crl: "CertificateRevocationList") -> "tuple[int, IssuingDistributionPoint | None, bytes | None]":
    """Number, scope, and the identifier of the key. Raises ``ValueError`` for what is not understood here."""
    from cryptography import x509

    number = scope = key_id = None
    for extension in crl.extensions:
        value = extension.value
        if isinstance(value, x509.CRLNumber) and not extension.critical:
            number = value.crl_number
        elif isinstance(value, x509.IssuingDistributionPoint):
            scope = _checked(value)
        elif isinstance(value, x509.AuthorityKeyIdentifier):
            key_id = value.key_identifier
        elif isinstance(value, x509.DeltaCRLIndicator):
            raise ValueError("a delta revocation list: give the complete one")
        elif extension.critical:
            raise ValueError(f"a revocation list with a critical extension {extension.oid.dotted_string}")
    if number is None:
        raise ValueError("a revocation list without a number (cRLNumber), so that an older one would not be noticed")
    return number, scope, key_id


def _checked(scope: "IssuingDistributionPoint") -> "IssuingDistributionPoint":
    if scope.indirect_crl:
        raise ValueError("an indirect revocation list, which names certificates of several issuers")
    if scope.only_some_reasons is not None:
        raise ValueError("a revocation list for some reasons only")
    if scope.only_contains_attribute_certs:
        raise ValueError("a revocation list of attribute certificates")
    if scope.relative_name is not None:
        raise ValueError("a revocation list with a relative distribution point name")
    return scope


def _read_serials(crl: "CertificateRevocationList") -> tuple[set[int], ...]:
    """The serial numbers on the list. Raises ``ValueError`` where an entry means something else than "revoked".

    On shelves, because one large set would now and then be moved to a larger place, all at once.
    """
    shelves: tuple[set[int], ...] = tuple(set() for _ in range(_SHELVES))
    for count, entry in enumerate(crl):
        if not count % _ENTRIES_AT_A_TIME:
            # Lets other threads run: holding on for the 5 ms that Python allows would show in every request.
            time.sleep(0)
        for extension in entry.extensions:
            _check_entry(extension)
        serial = entry.serial_number
        shelves[serial % _SHELVES].add(serial)
    return shelves


def _check_entry(extension: Any) -> None:
    from cryptography import x509

    value = extension.value
    if isinstance(value, x509.CRLReason):
        if value.reason is x509.ReasonFlags.remove_from_crl:
            raise ValueError("a revocation list that takes entries back, as only delta lists may")
    elif isinstance(value, x509.CertificateIssuer):
        raise ValueError("an indirect revocation list, which names certificates of several issuers")
    elif extension.critical and not isinstance(value, x509.InvalidityDate):
        raise ValueError(f"a revocation list with a critical entry extension {extension.oid.dotted_string}")


def _digested(der: bytes, hash_algorithm: Any) -> tuple[Any, bytes]:
    """What the signature is over, as ``is_signed_by`` takes it: a digest, or with the Edwards curves the list itself.

    Cut out and hashed here, because ``cryptography`` writes the whole list anew for it and holds all threads up for
    that: 25 to 90 ms for 100 000 entries.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    begin = span(der, 0)[0]
    signed = memoryview(der)[begin : span(der, begin)[1]]
    if hash_algorithm is None:
        return None, bytes(signed)
    if hash_algorithm.name not in STRONG_HASHES:
        raise ValueError(f"a revocation list signed with {hash_algorithm.name}")
    return Prehashed(hash_algorithm), hashlib.new(hash_algorithm.name, signed).digest()


def _distribution_points(certificate: "Certificate") -> "set[GeneralName]":
    """Names of the places where the certificate says its list is; for comparing, never for fetching."""
    from cryptography import x509

    points = extension_of(certificate, x509.CRLDistributionPoints)
    return {name for point in points or () for name in point.full_name or () if point.crl_issuer is None}


def _shown(certificate: "Certificate") -> str:
    return certificate.subject.rfc4514_string()[:256]
