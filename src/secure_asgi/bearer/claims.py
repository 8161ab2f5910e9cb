"""What an access token claims, and whether it holds here and now.

RFC 7519 section 4.1 (registered claims), RFC 8725 section 3 (audience, issuer, typing), RFC 9068 (JWT profile for
access tokens). Comparisons are of code points: no case folding, no trailing slash forgiven.
"""

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ..denial import Reason
from ..errors import ConfigurationError, TokenError
from .binding import bound_certificate, check_certificate, is_thumbprint
from .encoding import parse_object
from .jws import MAX_TOKEN_BYTES, as_bytes, verify
from .keys import ASYMMETRIC, KeySet

Profile = Literal["jwt", "rfc9068"]

MAX_LEEWAY = 300.0
"""Seconds. RFC 7519 speaks of a few minutes; more keeps dead tokens alive."""
DEFAULT_LEEWAY = 30.0
DEFAULT_MAX_BYTES = 8 * 1024
END_OF_TIME = 253_402_300_799
"""9999-12-31T23:59:59Z, in seconds: a later date is a mistake, most often milliseconds."""

_ACCESS_TOKEN_TYPES = frozenset(("at+jwt", "application/at+jwt"))
_PLAIN_TYPES = frozenset(("jwt", "application/jwt"))
_MARKS_OF_OTHERS = ("nonce", "at_hash", "c_hash", "s_hash", "events", "token_introspection")
"""Claims of ID tokens, logout and security event tokens, and signed introspection answers."""
_OTHER_KINDS = frozenset(("refresh", "refresh_token", "offline", "id", "id_token"))
"""What introspection answers call a token that is no access token: it may be active all the same."""
_ABSENT: Any = object()


class Claims(NamedTuple):
    """An access token that holds. ``expires`` is in seconds since 1970; ``all`` every claim, read-only.

    ``scopes`` are those of the ``scope`` string, ``roles`` the strings of the ``roles`` list; ``client_id`` and
    ``token_id`` (``jti``) are empty when the token does not say.
    """

    subject: str
    issuer: str
    audience: tuple[str, ...]
    expires: float
    scopes: frozenset[str]
    roles: frozenset[str]
    client_id: str
    token_id: str
    all: Mapping[str, Any]


def verify_access_token(
    token: str | bytes,
    jwks: Mapping[str, Any] | KeySet,
    *,
    issuer: str,
    audience: str | Iterable[str],
    algorithms: str | Iterable[str] = ASYMMETRIC,
    profile: Profile = "jwt",
    leeway: float = DEFAULT_LEEWAY,
    max_lifetime: float | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    certificate_thumbprint: str | None = None,
    require_bound: bool = False,
    now: float | None = None,
) -> Claims:
    """The whole check of a JWT access token: form, key, signature, type, claims, binding.

    ``jwks`` a JWK Set as a ``dict``, or a ``KeySet`` prepared once, whose own algorithms then count. ``audience`` one
    or several of our names, of which the token must carry one. ``profile="rfc9068"`` also wants ``typ`` ``at+jwt``,
    ``client_id``, ``iat`` and ``jti``. ``leeway`` and ``max_lifetime`` in seconds; ``now`` seconds since 1970, the
    clock if None. ``certificate_thumbprint`` (``PeerCertificate.thumbprint``) is that of the client's certificate, to
    which a token with ``cnf`` must be bound; ``require_bound=True`` refuses tokens without (RFC 8705 section 3). Raises
    ``TokenError`` (with a ``Reason``), and ``ConfigurationError`` for a wrong option.

    It does not ask whether a token was revoked, and refuses one that is bound to anything but a certificate.
    """
    rules = ClaimRules(issuer, audience, profile, leeway, max_lifetime, require_bound)
    if certificate_thumbprint is not None and not is_thumbprint(certificate_thumbprint):
        raise ConfigurationError(
            "certificate_thumbprint= is the base64url of the certificate's SHA-256, 43 characters without padding, "
            f"got {certificate_thumbprint!r}"
        )
    keys = jwks if isinstance(jwks, KeySet) else KeySet(jwks, algorithms=algorithms)
    claims = rules.read(as_bytes(token), keys, checked_size(max_bytes), time.time() if now is None else now)
    bound_to = bound_certificate(claims)
    if bound_to is not None:
        check_certificate(bound_to, certificate_thumbprint)
    audiences = claims["aud"]
    return Claims(
        claims["sub"],
        claims["iss"],
        (audiences,) if isinstance(audiences, str) else tuple(audiences),
        claims["exp"],
        scopes_of(claims),
        roles_of(claims),
        claims.get("client_id", ""),
        claims.get("jti", ""),
        MappingProxyType(claims),
    )


def scopes_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """The tokens of ``scope``, split at single spaces and nothing else (RFC 6749 section 3.3)."""
    scope = claims.get("scope")
    return frozenset(filter(None, scope.split(" "))) if scope else frozenset()


def roles_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """The strings of ``roles``. RFC 9068 allows objects there too: they name no role here."""
    roles = claims.get("roles")
    return frozenset(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else frozenset()


def checked_size(max_bytes: int) -> int:
    """The option ``max_bytes``."""
    if type(max_bytes) is not int or not 256 <= max_bytes <= MAX_TOKEN_BYTES:
        raise ConfigurationError(f"max_bytes= is a whole number from 256 to {MAX_TOKEN_BYTES}, got {max_bytes!r}")
    return max_bytes


class ClaimRules:
    """What is asked of a token, prepared once. Raises ``ConfigurationError`` for a wrong option."""

    __slots__ = ("_audience", "_is_typed", "_issuer", "_max_lifetime", "_required", "_required_of_answers", "leeway")

    def __init__(
        self,
        issuer: str,
        audience: str | Iterable[str],
        profile: Profile,
        leeway: float,
        max_lifetime: float | None,
        require_bound: bool = False,
    ) -> None:
        if not isinstance(issuer, str) or not issuer:
            raise ConfigurationError(
                f"issuer= is the iss of your tokens, such as https://id.example.com; got {issuer!r}"
            )
        names = (audience,) if isinstance(audience, str) else tuple(audience or ())
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ConfigurationError(
                f"audience= is the name your tokens have in aud for this service, or several; got {audience!r}: "
                "without it a token for another service would do"
            )
        if profile not in ("jwt", "rfc9068"):
            raise ConfigurationError(f'profile= is "jwt" or "rfc9068", got {profile!r}')
        if not _is_number(leeway) or not 0 <= leeway <= MAX_LEEWAY:
            raise ConfigurationError(f"leeway= is seconds from 0 to {MAX_LEEWAY:.0f}, got {leeway!r}")
        if max_lifetime is not None and (not _is_number(max_lifetime) or max_lifetime <= 0):
            raise ConfigurationError(f"max_lifetime= is a positive number of seconds or None, got {max_lifetime!r}")
        if not isinstance(require_bound, bool):
            raise ConfigurationError(f"require_bound= is True or False, got {require_bound!r}")
        self._issuer = issuer
        self._audience = frozenset(names)
        self.leeway = leeway
        self._max_lifetime = max_lifetime
        self._is_typed = profile == "rfc9068"
        self._required_of_answers = ("cnf",) if require_bound else ()
        self._required = (*(("client_id", "jti", "iat") if self._is_typed else ()), *self._required_of_answers)

    def read(self, token: bytes, keys: KeySet, max_bytes: int, now: float) -> dict[str, Any]:
        """All claims of a token that holds at ``now`` (seconds since 1970). Raises ``TokenError``.

        What it is bound to is not looked at here: a token that holds is remembered, and its binding checked each time.
        """
        header, payload = verify(token, keys, max_bytes)
        try:
            claims = parse_object(payload)
        except ValueError as error:
            raise TokenError(Reason.TOKEN_MALFORMED, f"claims: {error}") from error
        self._check_type(header, claims)
        self._check_parties(claims)
        _require(claims, self._required)
        self._check_times(claims, now)
        return claims

    def read_answer(self, answer: Mapping[str, Any], now: float) -> dict[str, Any]:
        """The claims of a token that its issuer calls active (RFC 7662 section 2.2), if it holds here at ``now``.

        What the issuer says is checked again: the token may be for somebody else, or no access token (INT-3). An
        answer without ``iss`` is the issuer's own word; one without ``sub`` is of a client that acts for itself, which
        then is the subject, as RFC 9068 section 2.2 has it. ``profile`` is of JWTs and asks nothing here. Raises
        ``TokenError``.
        """
        claims = {"iss": self._issuer, **answer}
        claims.pop("active", None)
        if "sub" not in claims and "client_id" in claims:
            claims["sub"] = claims["client_id"]
        _check_kind(claims)
        self._check_parties(claims)
        _require(claims, self._required_of_answers)
        self._check_times(claims, now)
        return claims

    def _check_type(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
        """RFC 8725 section 3.11: another kind of token by the same issuer is no access token."""
        if header.get("cty", "").lower() in _PLAIN_TYPES:
            raise TokenError(Reason.TOKEN_TYPE_WRONG, "a token inside a token")
        kind = header.get("typ")
        if kind is not None:
            kind = kind.lower()
            if kind in _ACCESS_TOKEN_TYPES:
                return
        if self._is_typed or (kind is not None and kind not in _PLAIN_TYPES):
            raise TokenError(Reason.TOKEN_TYPE_WRONG, f"typ {(kind or '')[:32]!a}")
        for mark in _MARKS_OF_OTHERS:
            if mark in claims:
                raise TokenError(Reason.TOKEN_TYPE_WRONG, f"it has {mark}")

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        issuer = claims.get("iss", _ABSENT)
        if issuer != self._issuer:
            raise _missing("iss") if issuer is _ABSENT else TokenError(Reason.TOKEN_ISSUER_WRONG)
        audience = claims.get("aud", _ABSENT)
        if isinstance(audience, str):
            is_ours = audience in self._audience
        elif isinstance(audience, list) and all(isinstance(name, str) for name in audience):
            is_ours = not self._audience.isdisjoint(audience)
        else:
            raise _missing("aud") if audience is _ABSENT else _invalid("aud")
        if not is_ours:
            raise TokenError(Reason.TOKEN_AUDIENCE_WRONG)
        subject = claims.get("sub", _ABSENT)
        if not isinstance(subject, str) or not subject:
            raise _missing("sub") if subject is _ABSENT else _invalid("sub")
        for name in ("jti", "client_id", "scope"):
            if not isinstance(claims.get(name, ""), str):
                raise _invalid(name)

    def _check_times(self, claims: Mapping[str, Any], now: float) -> None:
        expires = claims.get("exp", _ABSENT)
        if not _is_date(expires):
            raise _missing("exp") if expires is _ABSENT else _invalid("exp")
        if now >= expires + self.leeway:
            raise TokenError(Reason.TOKEN_EXPIRED)
        latest = now + self.leeway
        begins, issued = claims.get("nbf", 0), claims.get("iat", 0)
        for name, value in (("nbf", begins), ("iat", issued)):
            if not _is_date(value):
                raise _invalid(name)
            if value > latest:
                raise TokenError(Reason.TOKEN_NOT_YET_VALID, name)
        if self._max_lifetime is not None and expires - claims.get("iat", now) > self._max_lifetime:
            raise TokenError(Reason.TOKEN_LIFETIME_EXCEEDED)


def _require(claims: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if claims.get(name, "") == "":
            raise _missing(name)


def _check_kind(answer: Mapping[str, Any]) -> None:
    """RFC 7662 has one member for it, issuers have others: a refresh token is active too, and opens nothing here."""
    for name in ("token_type", "token_use", "typ"):
        kind = answer.get(name, "")
        if not isinstance(kind, str):
            raise _invalid(name)
        if kind.lower() in _OTHER_KINDS:
            raise TokenError(Reason.TOKEN_TYPE_WRONG, f"{name} {kind.lower()}")
    if answer.get("token_type", "").lower() == "dpop" and "cnf" not in answer:
        # RFC 9449 section 6.2 has the key beside it: without it nothing could be compared.
        raise TokenError(Reason.TOKEN_BINDING_UNVERIFIED, "token_type DPoP without cnf")


def _missing(name: str) -> TokenError:
    return TokenError(Reason.TOKEN_CLAIM_MISSING, name)


def _invalid(name: str) -> TokenError:
    return TokenError(Reason.TOKEN_CLAIM_INVALID, name)


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def _is_date(value: Any) -> bool:
    """NumericDate: a JSON number, never text or true. The parser has refused NaN and infinity."""
    return (type(value) is int or type(value) is float) and 0 <= value <= END_OF_TIME
