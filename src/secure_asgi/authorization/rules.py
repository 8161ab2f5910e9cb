"""``Rule``: of whom a request to some paths is answered. Everything in it but ``when=`` is decided here, at once.

RFC 6750 section 3.1 (scopes), RFC 9470 (step-up), RFC 9396 (authorization details), RFC 8176 (``amr``); ASVS 5.0 V8.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from .._certificate_names import NameRules
from .._challengers import forbidden, insufficient_authentication, insufficient_scope, unauthenticated
from .._networks import Network, address, network
from .._step_up import authenticated_enough
from .._templates import Template
from ..denial import Denial, Reason
from ..errors import ConfigurationError
from ..exchange import Exchange, Principal
from .details import WantedDetails
from .placeholders import fill, placeholder
from .roles import NOTHING_HELD, Held

_TOKEN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ-")

LEEWAY: Final = 30.0
"""Seconds of clock skew in ``max_age``."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a check has to go by: the principal, and what its roles hold."""

    exchange: Exchange
    principal: Principal
    held: Held
    params: Mapping[str, str]
    now: float


Check = Callable[["Rule", Asked], Denial | None]


class Rule:
    """Who may send a request of ``methods`` to a path of ``path``; all that is asked has to be met.

    ``methods`` one or several, ``"*"`` for every HTTP method; a GET rule covers HEAD. A WebSocket has the method
    ``"WEBSOCKET"``, which only a rule that says so covers. ``path`` a template as the router writes them, with ``*``
    for one segment and a last ``**`` for the rest.

    ``scopes`` all of them granted to the token, ``any_scopes`` at least one of them. ``roles`` at least one of them
    held, ``permissions`` all of them, by what ``AuthorizationMiddleware(roles=...)`` says roles hold. A role grants no
    scope: scopes limit the client and roles its user, and a narrow token of a mighty user stays narrow.
    ``acr`` one of these sign-ins, ``amr`` all of these means used in it, ``max_age`` at most so many seconds ago;
    who has not is asked to sign in again (RFC 9470). ``certificate`` a verified client certificate, True for any, or
    names as ``MutualTLSMiddleware(allow=...)`` takes them. ``claims`` a claim by name, and the value or values it may
    have; a claim that is a list has to hold one of them; ``"{name}"`` is the path parameter of that name, which keeps
    tenants apart. ``networks`` the client's address has to be in, ``denied_networks`` it must not be in; a client
    without an address is in neither, and refused by both. ``authorization_details`` objects that the token has to grant
    (RFC 9396). ``when`` functions of an ``Access`` that say True, or a ``DecisionPoint``. ``public`` asks for nobody at
    all. Without any of these, every principal will do.

    Rules are immutable. Raises ``ConfigurationError`` for a wrong option.
    """

    __slots__ = (
        "_checks",
        "_denied_networks",
        "_networks",
        "any_scopes",
        "methods",
        "name",
        "path",
        "predicates",
        "public",
        "scopes",
        "summary",
        "template",
    )

    name: str
    """As the audit log has it: ``"GET /orders/{id}"``."""
    methods: frozenset[str] | None
    """None: every HTTP method."""
    path: str
    template: Template
    scopes: tuple[str, ...]
    any_scopes: tuple[str, ...]
    predicates: tuple[Callable[..., Any], ...]
    public: bool
    summary: str
    """What is asked, for a person to read."""
    _checks: "tuple[Check, ...]"
    _networks: tuple[Network, ...]
    _denied_networks: tuple[Network, ...]

    def __init__(
        self,
        methods: str | Iterable[str],
        path: str,
        *,
        scopes: str | Iterable[str] = (),
        any_scopes: str | Iterable[str] = (),
        roles: str | Iterable[str] = (),
        permissions: str | Iterable[str] = (),
        acr: str | Iterable[str] = (),
        amr: str | Iterable[str] = (),
        max_age: int | None = None,
        certificate: bool | str | Iterable[str] = False,
        claims: Mapping[str, Any] | None = None,
        networks: str | Iterable[str] = (),
        denied_networks: str | Iterable[str] = (),
        authorization_details: Mapping[str, Any] | Iterable[Mapping[str, Any]] = (),
        when: Callable[..., Any] | Iterable[Callable[..., Any]] = (),
        public: bool = False,
    ) -> None:
        said: dict[str, Any] = {
            "scopes": _words(scopes, "scopes"),
            "any_scopes": _words(any_scopes, "any_scopes"),
            "roles": _words(roles, "roles"),
            "permissions": _words(permissions, "permissions"),
            "acr": _words(acr, "acr"),
            "amr": _words(amr, "amr"),
            "max_age": _seconds(max_age),
            "certificate": certificate,
            "claims": dict(claims or {}),
            "authorization_details": authorization_details,
        }
        where = {"networks": networks, "denied_networks": denied_networks}
        template = Template(path)
        named = _methods(methods)
        predicates = _predicates(when)
        name = f"{'*' if named is None else ','.join(sorted(named))} {path}"
        checks = _checks_of(said, template)
        if public and (checks or predicates):
            raise ConfigurationError(f"{name}: public=True lets everybody in: leave it out, or what asks for somebody")
        self._set(
            name=name,
            methods=named,
            path=path,
            template=template,
            scopes=said["scopes"],
            any_scopes=said["any_scopes"],
            predicates=predicates,
            public=public is True,
            summary=_summary(said | where, predicates, public),
            _checks=checks,
            _networks=_read_networks(networks, "networks"),
            _denied_networks=_read_networks(denied_networks, "denied_networks"),
        )

    def _set(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Rule is immutable: make another one with another {name}")

    def __repr__(self) -> str:
        return f"<Rule {self.name}: {self.summary}>"

    def check(self, exchange: Exchange, params: Mapping[str, str], held: Held | None, now: float) -> Denial | None:
        """What the request lacks, but for ``when=``; None where nothing. ``now`` seconds since 1970."""
        if (self._networks or self._denied_networks) and not self._is_from_allowed(exchange.client):
            return forbidden(Reason.NETWORK_NOT_ALLOWED, self.name)
        if self.public:
            return None
        principal = exchange.principal
        if principal is None:
            return unauthenticated(exchange, self.name)
        if self._checks:
            asked = Asked(exchange, principal, held or NOTHING_HELD, params, now)
            for check in self._checks:
                denial = check(self, asked)
                if denial is not None:
                    return denial
        return None

    def _is_from_allowed(self, client: str | None) -> bool:
        found = None if client is None else address(client)
        if found is None:
            return False
        if any(found in one for one in self._denied_networks):
            return False
        return not self._networks or any(found in one for one in self._networks)


def _checks_of(said: Mapping[str, Any], template: Template) -> tuple[Check, ...]:
    """In an order in which nobody is asked to sign in again for nothing."""
    checks: list[Check] = []
    if said["certificate"] is not False:
        checks.append(_by_certificate(said["certificate"]))
    if said["scopes"]:
        checks.append(_by_scopes(said["scopes"]))
    if said["any_scopes"]:
        checks.append(_by_any_scope(said["any_scopes"]))
    if said["roles"]:
        checks.append(_by_roles(said["roles"]))
    if said["permissions"]:
        checks.append(_by_permissions(said["permissions"]))
    for claim, wanted in said["claims"].items():
        checks.append(_by_claim(claim, wanted, template))
    if said["authorization_details"]:
        checks.append(_by_details(WantedDetails(said["authorization_details"], template.names)))
    if said["acr"] or said["amr"] or said["max_age"] is not None:
        checks.append(_by_sign_in(said["acr"], said["amr"], said["max_age"]))
    return tuple(checks)


def _by_certificate(certificate: bool | str | Iterable[str]) -> Check:
    rules = None if certificate is True else NameRules(certificate, "certificate")  # type: ignore[arg-type]

    def check(rule: Rule, asked: Asked) -> Denial | None:
        peer = asked.exchange.peer_certificate
        if peer is None:
            return forbidden(Reason.CERTIFICATE_MISSING, rule.name)
        if rules is not None and not rules.admit(peer):
            return forbidden(Reason.CERTIFICATE_NOT_ALLOWED, rule.name)
        return None

    return check


def _by_scopes(scopes: tuple[str, ...]) -> Check:
    wanted = frozenset(scopes)

    def check(rule: Rule, asked: Asked) -> Denial | None:
        if wanted <= asked.principal.scopes:
            return None
        lacking = " ".join(sorted(wanted - asked.principal.scopes))
        return insufficient_scope(asked.exchange, wanted, f"{rule.name}: scope {lacking}")

    return check


def _by_any_scope(scopes: tuple[str, ...]) -> Check:
    wanted = frozenset(scopes)

    def check(rule: Rule, asked: Asked) -> Denial | None:
        if not wanted.isdisjoint(asked.principal.scopes):
            return None
        # The challenge has no way to say "one of": RFC 6750 names the scopes that would do, and all of them would.
        return insufficient_scope(asked.exchange, wanted, f"{rule.name}: one scope of {' '.join(sorted(wanted))}")

    return check


def _by_roles(roles: tuple[str, ...]) -> Check:
    wanted = frozenset(roles)

    def check(rule: Rule, asked: Asked) -> Denial | None:
        if not wanted.isdisjoint(asked.held.names):
            return None
        return forbidden(Reason.ROLE_MISSING, f"{rule.name}: one role of {' '.join(sorted(wanted))}")

    return check


def _by_permissions(permissions: tuple[str, ...]) -> Check:
    def check(rule: Rule, asked: Asked) -> Denial | None:
        for permission in permissions:
            if not asked.held.permits(permission):
                return forbidden(Reason.PERMISSION_MISSING, f"{rule.name}: permission {permission}")
        return None

    return check


def _by_claim(claim: str, wanted: Any, template: Template) -> Check:
    values = tuple(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else (wanted,)
    if not isinstance(claim, str) or not values or not all(type(value) in (str, int, bool) for value in values):
        raise ConfigurationError(
            f'claims= maps the name of a claim to a text, a whole number or a boolean, or several: {{"tenant": '
            f'"{{tenant}}"}}; got {claim!r}: {wanted!r}'
        )
    for name in map(placeholder, values):
        if name is not None and name not in template.names:
            raise ConfigurationError(f"claims= names {{{name}}}, which is no parameter of {template.text!r}")

    def check(rule: Rule, asked: Asked) -> Denial | None:
        has = asked.principal.claims.get(claim)
        held = has if isinstance(has, list) else (has,)
        for value in values:
            value = fill(value, asked.params)
            # By type too: to Python 1 is True.
            if any(type(one) is type(value) and one == value for one in held):
                return None
        return forbidden(Reason.CLAIM_MISMATCH, f"{rule.name}: claim {claim}")

    return check


def _by_details(wanted: WantedDetails) -> Check:
    def check(rule: Rule, asked: Asked) -> Denial | None:
        if wanted.granted_by(asked.principal.claims, asked.params):
            return None
        denial = insufficient_scope(asked.exchange, (), f"{rule.name}: authorization_details")
        return replace(denial, reason=Reason.AUTHORIZATION_DETAILS_INSUFFICIENT)

    return check


def _by_sign_in(acr: tuple[str, ...], amr: tuple[str, ...], max_age: int | None) -> Check:
    means = frozenset(amr)

    def check(rule: Rule, asked: Asked) -> Denial | None:
        claims = asked.principal.claims
        if authenticated_enough(claims, acr_values=acr, max_age=max_age, now=asked.now, leeway=LEEWAY):
            used = claims.get("amr")
            if not means or (isinstance(used, list) and all(one in used for one in means)):
                return None
        return insufficient_authentication(asked.exchange, acr, max_age, f"{rule.name}: sign-in")

    return check


def _methods(given: str | Iterable[str]) -> frozenset[str] | None:
    methods = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    if methods == ("*",):
        return None
    for method in methods:
        if not isinstance(method, str) or not method or not _TOKEN.issuperset(method):
            raise ConfigurationError(
                f'methods are "GET", several, "*" alone for all, or "WEBSOCKET", in capitals; got {method!r}'
            )
    if not methods:
        raise ConfigurationError('methods are "GET", several, "*" alone for all, or "WEBSOCKET"; got none')
    return frozenset(methods)


def _words(given: str | Iterable[str], option: str) -> tuple[str, ...]:
    words = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (None,)
    for word in words:
        if not isinstance(word, str) or not word or " " in word:
            raise ConfigurationError(f"{option}= takes one name or several, without spaces in them; got {given!r}")
        if "*" in word and option in ("scopes", "any_scopes", "permissions", "roles"):
            raise ConfigurationError(f"{option}= asks for exact names: a wildcard stands in what a role holds")
    # Sets have an order of their own in every worker, and what is told to clients should not.
    return tuple(sorted(words) if isinstance(given, (set, frozenset)) else words)


def _seconds(max_age: int | None) -> int | None:
    if max_age is not None and (type(max_age) is not int or max_age < 0):
        raise ConfigurationError(f"max_age= is a whole number of seconds from 0 on, or None; got {max_age!r}")
    return max_age


def _read_networks(given: str | Iterable[str], option: str) -> tuple[Network, ...]:
    return tuple(network(text, option) for text in ((given,) if isinstance(given, str) else given))


def _predicates(given: Callable[..., Any] | Iterable[Callable[..., Any]]) -> tuple[Callable[..., Any], ...]:
    predicates = (given,) if callable(given) else tuple(given) if isinstance(given, Iterable) else (given,)
    for predicate in predicates:
        if not callable(predicate):
            raise ConfigurationError(f"when= takes functions of an Access, or a DecisionPoint; got {predicate!r}")
    return predicates


def _summary(said: Mapping[str, Any], predicates: tuple[Any, ...], public: bool) -> str:
    if public:
        parts = ["everybody"]
    else:
        parts = [f"{option} {_shown(value)}" for option, value in said.items() if value not in ((), {}, None, False)]
        parts += [f"when {getattr(predicate, '__name__', type(predicate).__name__)}" for predicate in predicates]
    return "; ".join(parts) or "any principal"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value)
    return ", ".join(_shown(each) for each in value)
