"""What we think of a certificate: read, verified, pinned, not revoked, allowed; and until when that holds.

A verdict belongs to a certificate chain and to the trust anchors and revocation lists of the moment. It holds for a
minute at most, and never past the end of the certificate, or of the revocation list or the day of the pins it rests on,
so that a long connection or a resumed session does not outlive what it was let in with.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from .._cache import TwoGenerations
from .._certificate_names import NameRules
from .._pins import PinSet, spki_pin
from ..denial import Reason
from ..errors import CertificateError
from ..exchange import PeerCertificate, Principal
from .certificate import Given, describe, digest, read_certificates
from .identity import OwnName
from .path import VerifiedPath
from .trust import TrustAnchors

HOLDS = 60.0
"""Seconds after which a certificate is looked at anew."""

UNKNOWN_HOLDS = 1.0
"""Seconds for which "revocation unknown" stands: an outage ends when it ends."""

DAY = 86_400

MAX_KNOWN = 1024
"""Verdicts remembered."""

MAX_KNOWN_SIZE = 16 * 1024
"""Characters of a chain that is remembered: what a client sends must not add up to much memory."""


class Revocation(Protocol):
    """What a source of revocation is asked. ``generation`` grows when what it knows has changed."""

    @property
    def generation(self) -> int: ...

    def look(self) -> None:
        """See to it that it is up to date, without waiting; called with every request."""

    def check(self, path: VerifiedPath, now: float) -> float | Awaitable[float]:
        """Unix time until which the path counts as not revoked, awaitable if one has to wait for it.

        Raises ``CertificateError``.
        """

    async def start(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """``principal`` is None where the certificate has no name of its own: somebody else may know one.

    It holds from ``since`` to ``until`` (unix seconds) and while ``generation`` is that of the judge.
    """

    since: float
    until: float
    generation: int
    peer: PeerCertificate
    principal: Principal | None


@dataclass(frozen=True, slots=True)
class Refused:
    """``peer`` is there only for a certificate that is believed and whose name is not allowed."""

    since: float
    until: float
    generation: int
    peer: PeerCertificate | None
    reason: str
    note: str


Verdict = Admitted | Refused


class Judge:
    """Decides on certificates, and remembers what it decided.

    Without ``anchors`` the handshake's verification is relied on: times, pins of the leaf and names are checked here.
    Never raises: a certificate that cannot be decided on is refused.
    """

    __slots__ = (
        "_anchors",
        "_clock",
        "_intermediates",
        "_known",
        "_own_name",
        "_pins",
        "_rests_on",
        "_revocation",
        "_rules",
    )

    def __init__(
        self,
        *,
        anchors: TrustAnchors | None,
        pins: PinSet | None,
        revocation: Revocation | None,
        rules: NameRules | None,
        own_name: OwnName,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._anchors = anchors
        self._pins = pins
        self._revocation = revocation
        self._rests_on = tuple(each for each in (anchors, revocation) if each is not None)
        self._rules = rules
        self._own_name = own_name
        self._clock = clock
        self._known: TwoGenerations[tuple[Given, ...], Verdict] = TwoGenerations(MAX_KNOWN)
        # A resumed TLS session shows the leaf alone: what it was verified with the first time is kept.
        self._intermediates: TwoGenerations[Given, tuple[bytes, ...]] = TwoGenerations(MAX_KNOWN)

    def judge(self, given: tuple[Given, ...]) -> Verdict | Awaitable[Verdict]:
        """The verdict on a chain, leaf first; awaitable only where the source of revocation has to be waited for."""
        generation = self._look() if self._rests_on else 0
        now = self._clock()
        try:
            verdict = self._known.get(given)
        except TypeError:
            given, verdict = (), None  # what cannot be looked up is no certificate
        # A clock that was set back makes a verdict as worthless as one that has run ahead.
        if verdict is not None and verdict.since <= now <= verdict.until and verdict.generation == generation:
            return verdict
        return self._decide(given, now, generation)

    def _look(self) -> int:
        """The generation: it grows whenever the trust anchors or the revocation lists change, and only then."""
        generation = 0
        for each in self._rests_on:
            each.look()
            generation += each.generation
        return generation

    async def start(self) -> None:
        """Raises ``ConfigurationError`` where trust anchors or revocation lists cannot be had to begin with."""
        for each in self._rests_on:
            await each.start()

    async def close(self) -> None:
        if self._revocation is not None:
            await self._revocation.close()

    def _decide(self, given: tuple[Given, ...], now: float, generation: int) -> Verdict | Awaitable[Verdict]:
        peer = None
        try:
            peer = read_certificates(given)
            path = self._find_path(peer, given, now)
            self._check_pins(peer, path, now)
            clear = self._revocation.check(path, now) if self._revocation is not None else path.not_after
        except CertificateError as refused:
            return self._refuse(refused, given, peer, now, generation)
        if isinstance(clear, int | float):
            return self._admit(given, peer, path, now, clear, generation)
        return self._await_revocation(clear, given, peer, path, generation)

    async def _await_revocation(
        self,
        clear: Awaitable[float],
        given: tuple[Given, ...],
        peer: PeerCertificate,
        path: VerifiedPath,
        generation: int,
    ) -> Verdict:
        try:
            until = await clear
        except CertificateError as refused:
            return self._refuse(refused, given, peer, self._clock(), generation)
        return self._admit(given, peer, path, self._clock(), until, generation)

    def _find_path(self, peer: PeerCertificate, given: tuple[Given, ...], now: float) -> VerifiedPath:
        from cryptography.x509 import load_der_x509_certificate  # only here: loaded with the first certificate

        leaf = load_der_x509_certificate(peer.der)
        if self._anchors is None:
            path = VerifiedPath((leaf,), peer.not_before.timestamp(), peer.not_after.timestamp())
            if now > path.not_after:
                raise CertificateError(Reason.CERTIFICATE_EXPIRED, "expired")
            if now < path.not_before:
                raise CertificateError(Reason.CERTIFICATE_NOT_YET_VALID, "not valid yet")
            return path
        sent = peer.chain or self._intermediates.get(given[0]) or ()
        path = self._anchors.verify(leaf, tuple(map(load_der_x509_certificate, sent)), datetime.fromtimestamp(now, UTC))
        if sent and _is_small(given):
            self._intermediates.put(given[0], sent)
        return path

    def _check_pins(self, peer: PeerCertificate, path: VerifiedPath, now: float) -> None:
        if self._pins is None:
            return
        keys = (peer.spki_pin, *map(spki_pin, path.certificates[1:]))
        if not self._pins.match(keys, datetime.fromtimestamp(now, UTC).date()):
            raise CertificateError(Reason.CERTIFICATE_PIN_MISMATCH, f"no pin on {self._pins.shown(keys)}")

    def _admit(
        self,
        given: tuple[Given, ...],
        peer: PeerCertificate,
        path: VerifiedPath,
        now: float,
        clear: float,
        generation: int,
    ) -> Verdict:
        if self._anchors is not None:
            peer = replace(peer, path=_ders(path))
        until = min(path.not_after, clear, now + HOLDS)
        if self._pins is not None:
            until = min(until, (now // DAY + 1) * DAY - 1e-6)  # pins may end with the day (UTC)
        if self._rules is not None and not self._rules.admit(peer):
            note = f"{describe(peer)}: no name is allowed"
            return self._keep(given, Refused(now, until, generation, peer, Reason.CERTIFICATE_NOT_ALLOWED, note))
        name = self._own_name(peer)
        principal = Principal(method="mtls", subject=name, issuer=peer.issuer) if name else None
        return self._keep(given, Admitted(now, until, generation, peer, principal))

    def _refuse(
        self,
        error: CertificateError,
        given: tuple[Given, ...],
        peer: PeerCertificate | None,
        now: float,
        generation: int,
    ) -> Verdict:
        if peer is None:
            # Not remembered: nothing was verified, and to read it again costs no more than to remember it.
            return Refused(now, now, generation, None, error.reason, f"{digest(given)}: {error.note}")
        holds = UNKNOWN_HOLDS if error.reason == Reason.REVOCATION_UNKNOWN else HOLDS
        note = f"{describe(peer)}: {error.note}"
        return self._keep(given, Refused(now, now + holds, generation, None, error.reason, note))

    def _keep(self, given: tuple[Given, ...], verdict: Verdict) -> Verdict:
        if _is_small(given):
            self._known.put(given, verdict)
        return verdict


def _is_small(given: tuple[Given, ...]) -> bool:
    return sum(map(len, given)) <= MAX_KNOWN_SIZE


def _ders(path: VerifiedPath) -> tuple[bytes, ...]:
    from cryptography.hazmat.primitives.serialization import Encoding  # loaded already, with the certificates

    return tuple(certificate.public_bytes(Encoding.DER) for certificate in path.certificates)
