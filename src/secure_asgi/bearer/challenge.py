"""What the client sent in ``Authorization``, and what it is told.

RFC 6750 sections 2.1 and 3, RFC 9110 section 11, RFC 9449 section 7 (DPoP), RFC 9470 section 3 (step-up), RFC 9728
section 5.1 (where the metadata is). What can be prepared is made once. Every bad token gets the same bytes: which check
failed is for the audit log alone.
"""

import re
from collections.abc import Collection, Iterable
from math import ceil, inf
from typing import Final, Literal

from .._fetch import is_fetchable
from ..denial import Denial, Reason
from ..errors import ConfigurationError
from .keys import ASYMMETRIC

Scheme = Literal["bearer", "dpop"]

_SCHEME = re.compile(rb"(?:bearer|dpop)(?![!#$%&'*+.^_`|~0-9A-Za-z-])", re.IGNORECASE)
_SECOND = re.compile(rb",[ \t]*(?:bearer|dpop)[ \t]", re.IGNORECASE)
_TOKEN68 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
_QUOTABLE = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")
_LISTABLE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""A member of a list that is separated by spaces: a scope (RFC 6749 section 3.3), an ``acr``."""

LONGEST_WAIT = 3600
"""Seconds: no client is sent away for longer than an hour."""

MALFORMED: Final = b""
"""Credentials of a scheme of ours that hold no token."""


def credentials_of(authorization: bytes) -> tuple[Scheme, bytes] | None:
    """The scheme and its token, or ``MALFORMED``; None for another scheme, which is none of our business.

    The scheme's case does not matter, at least one space follows it, then one token68, nothing else (BRR-1, DPOP-10).
    """
    named = _SCHEME.match(authorization)
    if named is None:
        return None
    end = named.end()
    return "bearer" if end == 6 else "dpop", _token_after(end, authorization)


def is_bearer(credentials: bytes) -> bool:
    """The scheme is Bearer, in any case; at a cost that does not depend on what follows."""
    named = _SCHEME.match(credentials)
    return named is not None and named.end() == 6


class Challenges:
    """The refusals of one protected service, with a challenge for each scheme that it takes (BRR-7).

    ``realm`` names the service. ``dpop`` are the algorithms of DPoP proofs: with any, DPoP is a scheme beside Bearer,
    with ``bearer=False`` the only one. ``resource_metadata`` is the URL of the RFC 9728 document. An error stands only
    in the challenge of the scheme that the client used; one who used a scheme that is not taken is told which are, and
    of no error (RFC 6750 section 3.1). Raises ``ConfigurationError`` for a wrong option.

    Each answer lets scripts of other origins read the challenge (``Access-Control-Expose-Headers``): that alone gives
    no origin access to anything, and a CORS layer outside that has a list of its own replaces this one.
    """

    methods = frozenset(("bearer", "dpop"))

    __slots__ = (
        "_exposed",
        "_invalid_proof",
        "_invalid_token",
        "_offers",
        "ambiguous",
        "malformed",
        "malformed_dpop",
        "missing",
    )

    def __init__(
        self,
        realm: str,
        *,
        dpop: str | Iterable[str] = (),
        bearer: bool = True,
        resource_metadata: str | None = None,
    ) -> None:
        self._offers = _offers(realm, _proof_algorithms(dpop), bearer, resource_metadata)
        offered = self.schemes
        names = b"WWW-Authenticate, DPoP-Nonce" if "dpop" in offered else b"WWW-Authenticate"
        self._exposed = (b"access-control-expose-headers", names)
        # BRR-4: a client that sent no token is told how to, and of no error.
        self.missing = Denial(
            Reason.TOKEN_MISSING,
            401,
            "This needs an access token in the Authorization field.",
            headers=self._fields((), ""),
        )
        self.ambiguous = Denial(
            Reason.CREDENTIALS_AMBIGUOUS,
            400,
            "The request has more than one Authorization field.",
            headers=self._fields(offered, _error("invalid_request", "more than one Authorization field")),
        )
        self.malformed = Denial(
            Reason.CREDENTIALS_MALFORMED,
            400,
            "The Authorization field does not hold one bearer token.",
            headers=self._fields(("bearer",), _error("invalid_request", "not one bearer token")),
        )
        self.malformed_dpop = Denial(
            Reason.CREDENTIALS_MALFORMED,
            400,
            "The Authorization field does not hold one DPoP-bound token.",
            headers=self._fields(("dpop",), _error("invalid_request", "not one DPoP-bound token")),
        )
        invalid_token = _error("invalid_token", "the access token is not valid here")
        self._invalid_token = {scheme: self._fields((scheme,), invalid_token) for scheme in ("bearer", "dpop")}
        self._invalid_proof = self._fields(("dpop",), _error("invalid_dpop_proof", "the DPoP proof is not valid here"))

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """Those that a challenge is given for."""
        return tuple(scheme for scheme, _ in self._offers)

    def not_one_token(self, authorization: bytes) -> Denial:
        """For ``MALFORMED`` credentials: ``malformed``, ``malformed_dpop``, or ``ambiguous``.

        The last where a second pair of scheme and token follows a comma: an intermediary may have joined two fields.
        """
        if _SECOND.search(authorization):
            return self.ambiguous
        return self.malformed if is_bearer(authorization) else self.malformed_dpop

    def invalid(self, reason: str, note: str, scheme: Scheme = "bearer") -> Denial:
        """BRR-6: one answer for every token that does not hold."""
        return Denial(
            reason, 401, "The access token is not valid here.", headers=self._invalid_token[scheme], note=note
        )

    def invalid_proof(self, reason: str, note: str) -> Denial:
        """DPOP-13: one answer for every proof that does not hold."""
        return Denial(reason, 401, "The DPoP proof is not valid here.", headers=self._invalid_proof, note=note)

    def use_nonce(self, nonce: str, note: str) -> Denial:
        """DPOP-12: the proof has to carry ``nonce``, which is of NQCHAR alone."""
        error = _error("use_dpop_nonce", "the DPoP proof needs the nonce in DPoP-Nonce")
        return Denial(
            Reason.DPOP_NONCE_REQUIRED,
            401,
            "The DPoP proof needs the nonce that comes with this answer.",
            headers=(*self._fields(("dpop",), error), (b"dpop-nonce", nonce.encode("ascii"))),
            note=note,
        )

    def insufficient_scope(self, scopes: str | Iterable[str], note: str, scheme: Scheme = "bearer") -> Denial:
        """BRR-6: 403, with the ``scopes`` that are needed in their alphabetical order."""
        error = _error("insufficient_scope", "the access token lacks a scope that this needs")
        named = _listed("scope", sorted({scopes} if isinstance(scopes, str) else set(scopes)))
        return Denial(
            Reason.SCOPE_INSUFFICIENT,
            403,
            "The access token lacks a scope that this needs.",
            headers=self._fields((scheme,), error + named),
            note=note,
        )

    def insufficient_authentication(
        self, acr_values: str | Iterable[str], max_age: float | None, note: str, scheme: Scheme = "bearer"
    ) -> Denial:
        """STEP-1: 401, with the ``acr_values`` that would do, the best first; ``max_age`` in seconds."""
        error = _error("insufficient_user_authentication", "a stronger or more recent sign-in is needed")
        named = _listed("acr_values", (acr_values,) if isinstance(acr_values, str) else acr_values)
        if max_age is not None and 0 <= max_age < inf:
            named += f', max_age="{int(max_age)}"'
        return Denial(
            Reason.AUTHENTICATION_INSUFFICIENT,
            401,
            "This needs a stronger or more recent sign-in of the user.",
            headers=self._fields((scheme,), error + named),
            note=note,
        )

    def _fields(self, told: Collection[str], error: str) -> tuple[tuple[bytes, bytes], ...]:
        """A challenge for each scheme, the ``error`` in those of the schemes ``told``."""
        challenges = [challenge + (error if scheme in told else "") for scheme, challenge in self._offers]
        return (*((b"www-authenticate", challenge.encode("ascii")) for challenge in challenges), self._exposed)


def unavailable(wait: float, note: str, reason: str = Reason.KEYS_UNAVAILABLE) -> Denial:
    """BRR-8: the token was not judged, so it is not called invalid. ``wait`` in seconds."""
    return Denial(
        reason,
        503,
        "Access tokens cannot be checked at the moment. Try again later.",
        headers=((b"retry-after", b"%d" % ceil(min(max(1, wait), LONGEST_WAIT))),),
        note=note,
    )


def _token_after(end: int, credentials: bytes) -> bytes:
    token = credentials[end:].lstrip(b" ")
    if credentials[end : end + 1] != b" " or token.startswith(b"=") or token.rstrip(b"=").translate(None, _TOKEN68):
        return MALFORMED
    return token


def _offers(
    realm: str, algorithms: tuple[str, ...], bearer: bool, resource_metadata: str | None
) -> tuple[tuple[Scheme, str], ...]:
    """The challenge of each scheme, without an error. Bearer first: clients that read one challenge know no other."""
    if not isinstance(realm, str) or not _QUOTABLE.fullmatch(realm):
        raise ConfigurationError(f'realm= is printable ASCII without " and \\, got {realm!r}')
    if not isinstance(bearer, bool):
        raise ConfigurationError(f"bearer= is True or False, got {bearer!r}")
    if not bearer and not algorithms:
        raise ConfigurationError("bearer=False leaves no scheme to present a token with: give dpop= its algorithms")
    common = f'realm="{realm}"'
    if resource_metadata is not None:
        if not _is_quotable_url(resource_metadata):
            raise ConfigurationError(
                f"resource_metadata= is an https URL (http on loopback only), got {resource_metadata!r}"
            )
        common += f', resource_metadata="{resource_metadata}"'
    offers: list[tuple[Scheme, str]] = []
    if bearer:
        offers.append(("bearer", f"Bearer {common}"))
    if algorithms:
        offers.append(("dpop", f'DPoP {common}, algs="{" ".join(algorithms)}"'))
    return tuple(offers)


def _proof_algorithms(dpop: str | Iterable[str]) -> tuple[str, ...]:
    """In one order, whatever the set's: challenges are the same in all workers."""
    named = {dpop} if isinstance(dpop, str) else set(dpop)
    if not named.issubset(ASYMMETRIC):
        raise ConfigurationError(f"dpop= takes some of {', '.join(ASYMMETRIC)}; got {sorted(map(str, named))}")
    return tuple(sorted(named))


def _is_quotable_url(url: object) -> bool:
    return isinstance(url, str) and is_fetchable(url) and _QUOTABLE.fullmatch(url) is not None


def _error(code: str, description: str) -> str:
    return f', error="{code}", error_description="{description}"'


def _listed(parameter: str, values: Iterable[str]) -> str:
    """BRR-5: what cannot stand between the quotes is left out, each value is named once; nothing at all for none."""
    listed = " ".join(value for value in dict.fromkeys(values) if _LISTABLE.fullmatch(value))
    return f', {parameter}="{listed}"' if listed else ""
