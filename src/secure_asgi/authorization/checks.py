"""The checks that a rule is compiled into: each asks one thing, and says what lacks in a private note.

RFC 6750 section 3.1 (scopes), RFC 9470 (step-up), RFC 9396 (authorization details), RFC 8176 (``amr``).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from .._cache import TwoGenerations
from .._certificate_names import NameRules
from .._challengers import forbidden, insufficient_authentication, insufficient_scope
from .._networks import address, network
from .._step_up import authenticated_enough
from .._templates import Template
from ..denial import Denial, Reason
from ..errors import ConfigurationError
from ..exchange import Exchange, Principal
from .details import WantedDetails
from .placeholders import equals, read_value
from .roles import Held

LEEWAY: Final = 30.0
"""Seconds of clock skew in ``max_age``."""
REMEMBERED: Final = 1024
"""Client addresses whose outcome is kept, for each rule that asks for networks."""

Check = Callable[[Exchange, Principal, Mapping[str, str], Held, float], Denial | None]
"""Exchange, principal, path parameters, what its roles hold, seconds since 1970."""


class Networks:
    """``networks`` the client has to be in, ``denied_networks`` it must not be in; the second wins."""

    __slots__ = ("_allowed", "_denied", "_known")

    def __init__(self, allowed: tuple[str, ...], denied: tuple[str, ...]) -> None:
        self._allowed = tuple(network(text, "networks") for text in allowed)
        self._denied = tuple(network(text, "denied_networks") for text in denied)
        self._known: TwoGenerations[str, bool] = TwoGenerations(REMEMBERED)

    def admit(self, client: str | None) -> bool:
        if client is None:
            return False
        known = self._known.get(client)
        if known is None:
            known = self._judge(client)
            self._known.put(client, known)
        return known

    def _judge(self, client: str) -> bool:
        found = address(client)
        if found is None or any(found in one for one in self._denied):
            return False
        return not self._allowed or any(found in one for one in self._allowed)


def by_certificate(rule: str, certificate: Literal[True] | tuple[str, ...]) -> Check:
    names = None if certificate is True else NameRules(certificate, "certificate")

    def check(exchange: Exchange, *_: object) -> Denial | None:
        peer = exchange.peer_certificate
        if peer is None:
            return forbidden(Reason.CERTIFICATE_MISSING, f"{rule}: client certificate")
        if names is None or names.admit(peer):
            return None
        return forbidden(Reason.CERTIFICATE_NOT_ALLOWED, f"{rule}: name in the client certificate")

    return check


def by_scopes(rule: str, scopes: Iterable[str]) -> Check:
    wanted = frozenset(scopes)

    def check(exchange: Exchange, principal: Principal, *_: object) -> Denial | None:
        if wanted <= principal.scopes:
            return None
        return insufficient_scope(exchange, wanted, f"{rule}: scope {_listed(wanted - principal.scopes)}")

    return check


def by_any_scope(rule: str, any_scopes: Iterable[str], scopes: Iterable[str]) -> Check:
    wanted = frozenset(any_scopes)
    # The challenge has no way to say "one of": RFC 6750 names the scopes that would do, and all of them would.
    named = wanted.union(scopes)

    def check(exchange: Exchange, principal: Principal, *_: object) -> Denial | None:
        if not wanted.isdisjoint(principal.scopes):
            return None
        return insufficient_scope(exchange, named, f"{rule}: one scope of {_listed(wanted)}")

    return check


def by_roles(rule: str, roles: Iterable[str]) -> Check:
    wanted = frozenset(roles)

    def check(exchange: Exchange, principal: Principal, params: Mapping[str, str], held: Held, *_: object) -> Any:
        if not wanted.isdisjoint(held.names):
            return None
        return forbidden(Reason.ROLE_MISSING, f"{rule}: one role of {_listed(wanted)}")

    return check


def by_permissions(rule: str, permissions: tuple[str, ...]) -> Check:
    def check(exchange: Exchange, principal: Principal, params: Mapping[str, str], held: Held, *_: object) -> Any:
        for permission in permissions:
            if not held.permits(permission):
                return forbidden(Reason.PERMISSION_MISSING, f"{rule}: permission {permission}")
        return None

    return check


def by_claim(rule: str, claim: str, wanted: Any, template: Template) -> Check:
    given = tuple(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else (wanted,)
    is_good = isinstance(claim, str) and claim != "" and bool(given)
    if not is_good or not all(type(value) in (str, int, bool) for value in given):
        raise ConfigurationError(
            f'claims= maps the name of a claim to a text, a whole number or a boolean, or several: {{"tenant": '
            f'"{{tenant}}"}}; got {claim!r}: {wanted!r}'
        )
    values = tuple(read_value(value, template.names, "claims") for value in given)

    def check(exchange: Exchange, principal: Principal, params: Mapping[str, str], *_: object) -> Denial | None:
        has = principal.claims.get(claim)
        held = has if isinstance(has, list) and all(type(one) is str for one in has) else (has,)
        if any(equals(one, value, params) for value in values for one in held):
            return None
        return forbidden(Reason.CLAIM_MISMATCH, f"{rule}: claim {claim}")

    return check


def by_details(rule: str, wanted: WantedDetails) -> Check:
    def check(exchange: Exchange, principal: Principal, params: Mapping[str, str], *_: object) -> Denial | None:
        if wanted.granted_by(principal.claims, params):
            return None
        denial = insufficient_scope(exchange, (), f"{rule}: authorization_details")
        return replace(denial, reason=Reason.AUTHORIZATION_DETAILS_INSUFFICIENT)

    return check


def by_sign_in(rule: str, acr: tuple[str, ...], amr: tuple[str, ...], max_age: int | None) -> Check:
    means = frozenset(amr)

    def check(
        exchange: Exchange, principal: Principal, params: Mapping[str, str], held: Held, now: float
    ) -> Denial | None:
        claims = principal.claims
        if not authenticated_enough(claims, acr_values=acr, now=now):
            lacking = f"acr, one of {' '.join(acr)}"
        elif means and not _has_all(claims.get("amr"), means):
            lacking = f"amr {_listed(means)}"
        elif not authenticated_enough(claims, max_age=max_age, now=now, leeway=LEEWAY):
            lacking = f"a sign-in within {max_age} s"
        else:
            return None
        return insufficient_authentication(exchange, acr, max_age, f"{rule}: {lacking}")

    return check


def _has_all(used: object, means: frozenset[str]) -> bool:
    return isinstance(used, list) and all(one in used for one in means)


def _listed(names: Iterable[str]) -> str:
    return " ".join(sorted(names))
