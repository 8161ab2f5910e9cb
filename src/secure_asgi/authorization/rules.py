"""``Rule``: of whom a request to some paths is answered. Everything in it but ``when=`` is decided here, at once.

RFC 6750 section 3.1 (scopes), RFC 9470 (step-up), RFC 9396 (authorization details), RFC 8176 (``amr``); ASVS 5.0 V8.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .._challengers import forbidden, unauthenticated
from .._rule_table import read_methods
from .._templates import Template
from ..denial import Denial, Reason
from ..errors import ConfigurationError
from ..exchange import Exchange
from .checks import (
    Check,
    Networks,
    by_any_scope,
    by_certificate,
    by_claim,
    by_details,
    by_permissions,
    by_roles,
    by_scopes,
    by_sign_in,
)
from .details import WantedDetails
from .roles import NOTHING_HELD, Held

_SCOPE: Final = re.compile(r"[!#-\[\]-~]+")
"""RFC 6749 section 3.3; what can be named in a challenge."""
_IN_CHALLENGES: Final = frozenset(("scopes", "any_scopes", "acr"))
_EXACT: Final = frozenset(("scopes", "any_scopes", "roles", "permissions"))


class Rule:
    """Who may send a request of ``methods`` to a path of ``path``; all that is asked has to be met.

    ``methods`` one or several, ``"*"`` for every HTTP method; a GET rule covers HEAD. A WebSocket has the method
    ``"WEBSOCKET"``, which only a rule that says so covers. ``path`` a template as the router writes them, with ``*``
    for one segment and a last ``**`` for the rest.

    ``scopes`` all of them granted to the token, ``any_scopes`` at least one of them; the challenge names all that lack
    (RFC 6750 section 3.1 has no way to say "one of"). ``roles`` at least one of them held, ``permissions`` all of them,
    by what ``AuthorizationMiddleware(roles=...)`` says roles hold. A role grants no scope: scopes limit the client and
    roles its user, and an administrator's narrow token must not become a wide one.
    ``acr`` one of these sign-ins, the best first, ``amr`` all of these means used in it (RFC 8176), ``max_age`` seconds
    since then at most, with 30 of clock skew; who has not is asked to sign in again (RFC 9470), after all else is met.
    ``certificate`` a verified client certificate, True for any, or names as ``MutualTLSMiddleware(allow=...)`` takes
    them. ``claims`` a claim of the top level by its name, and the value or values it may have, by type too (1 is not
    True, ``"1"`` not 1); a claim that is a list of texts has to hold one; ``"{name}"`` is the path parameter of that
    name, as text, which keeps tenants apart (ASVS 8.4.1). A claim that is missing matches nothing.
    ``networks`` the client's trusted address has to be in, ``denied_networks`` it must not be in, which wins; a client
    without an address is refused by both. ``authorization_details`` objects, all of which the token has to grant (RFC
    9396): each by one object of the same ``type`` that has at least the same members. ``when`` functions of an
    ``Access`` that say True, or a ``DecisionPoint``. ``public=True`` asks for nobody at all, but for networks and
    ``when``. Without any of these, every principal will do.

    Rules are immutable. Raises ``ConfigurationError`` for a wrong option.
    """

    __slots__ = (
        "_checks",
        "_networks",
        "_options",
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
    _checks: tuple[Check, ...]
    _networks: Networks | None
    _options: str

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
        certificate: bool | str | Iterable[str] | None = None,
        claims: Mapping[str, Any] | None = None,
        networks: str | Iterable[str] = (),
        denied_networks: str | Iterable[str] = (),
        authorization_details: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None,
        when: Callable[..., Any] | Iterable[Callable[..., Any]] = (),
        public: bool = False,
    ) -> None:
        template = Template(path)
        named = read_methods(methods)
        name = f"{'*' if named is None else ','.join(sorted(named))} {path}"
        details = None if authorization_details is None else WantedDetails(authorization_details, template.names)
        asked: dict[str, Any] = {
            "scopes": _words(scopes, "scopes"),
            "any_scopes": _words(any_scopes, "any_scopes"),
            "roles": _words(roles, "roles"),
            "permissions": _words(permissions, "permissions"),
            "acr": _words(acr, "acr"),
            "amr": _words(amr, "amr"),
            "max_age": _seconds(max_age),
            "certificate": _certificate(certificate),
            "claims": _claims(claims),
            "authorization_details": () if details is None else details.wanted,
        }
        checks = _checks_of(name, asked, details, template)
        if type(public) is not bool:
            raise ConfigurationError(f"public= is True or False, got {public!r}")
        if public and checks:
            raise ConfigurationError(f"{name}: public=True lets everybody in: leave it out, or what asks for somebody")
        where = {"networks": _texts(networks), "denied_networks": _texts(denied_networks)}
        predicates = _predicates(when)
        self._set(
            name=name,
            methods=named,
            path=path,
            template=template,
            scopes=asked["scopes"],
            any_scopes=asked["any_scopes"],
            predicates=predicates,
            public=public,
            summary=_summary(asked | where, predicates, public),
            _checks=checks,
            _networks=Networks(where["networks"], where["denied_networks"]) if any(where.values()) else None,
            # Text: to Python a rule for the claim 1 would equal one for True.
            _options=repr((name, asked, where, public)),
        )

    def _set(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Rule is immutable: make another one with another {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Rule is immutable: make another one without {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rule):
            return NotImplemented
        return self._options == other._options and self.predicates == other.predicates

    def __hash__(self) -> int:
        return hash(self._options)

    def __repr__(self) -> str:
        return f"<Rule {self.name}: {self.summary}>"

    def check(self, exchange: Exchange, params: Mapping[str, str], held: Held | None, now: float) -> Denial | None:
        """What the request lacks, but for ``when=``; None where nothing. ``now`` seconds since 1970."""
        if self._networks is not None and not self._networks.admit(exchange.client):
            return forbidden(Reason.NETWORK_NOT_ALLOWED, f"{self.name}: network of the client")
        if self.public:
            return None
        principal = exchange.principal
        if principal is None:
            return unauthenticated(exchange, f"{self.name}: principal")
        for check in self._checks:
            denial = check(exchange, principal, params, held or NOTHING_HELD, now)
            if denial is not None:
                return denial
        return None


def _checks_of(
    rule: str, asked: Mapping[str, Any], details: WantedDetails | None, template: Template
) -> tuple[Check, ...]:
    """In an order in which nobody is asked to sign in again for nothing."""
    checks: list[Check] = []
    if asked["certificate"]:
        checks.append(by_certificate(rule, asked["certificate"]))
    if asked["scopes"]:
        checks.append(by_scopes(rule, asked["scopes"]))
    if asked["any_scopes"]:
        checks.append(by_any_scope(rule, asked["any_scopes"], asked["scopes"]))
    if asked["roles"]:
        checks.append(by_roles(rule, asked["roles"]))
    if asked["permissions"]:
        checks.append(by_permissions(rule, asked["permissions"]))
    for claim, wanted in asked["claims"].items():
        checks.append(by_claim(rule, claim, wanted, template))
    if details is not None:
        checks.append(by_details(rule, details))
    if asked["acr"] or asked["amr"] or asked["max_age"] is not None:
        checks.append(by_sign_in(rule, asked["acr"], asked["amr"], asked["max_age"]))
    return tuple(checks)


def _words(given: str | Iterable[str], option: str) -> tuple[str, ...]:
    words = _several(given)
    for word in words:
        if not isinstance(word, str) or not word or (option in _IN_CHALLENGES and not _SCOPE.fullmatch(word)):
            plain = ", in printable ASCII without spaces and quotes" if option in _IN_CHALLENGES else ""
            raise ConfigurationError(f"{option}= takes one name or several{plain}; got {given!r}")
        if option in _EXACT and "*" in word:
            raise ConfigurationError(
                f"{option}= asks for exact names: a wildcard stands in what a role holds; got {word!r}"
            )
    # What is the best acr is the order's to say; of the others none is meant, and every worker says them alike.
    return words if option == "acr" else tuple(sorted(set(words)))


def _texts(given: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in _several(given))


def _several(given: Any) -> tuple[Any, ...]:
    """One, or several, as a tuple; what is of another type is left for its reader to refuse."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        return (given,)
    return tuple(sorted(given, key=repr)) if isinstance(given, (set, frozenset)) else tuple(given)


def _seconds(max_age: int | None) -> int | None:
    if max_age is not None and (type(max_age) is not int or max_age < 0):
        raise ConfigurationError(f"max_age= is a whole number of seconds from 0 on, or None; got {max_age!r}")
    return max_age


def _certificate(given: Any) -> Any:
    if given is None or given is False:
        return None
    if given is True:
        return True
    names = _several(given)
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(
            f"certificate= is True, or names as MutualTLSMiddleware(allow=...) takes them; got {given!r}"
        )
    return names


def _claims(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy, in which nobody else changes what a rule asks."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not given:
        raise ConfigurationError(
            f'claims= maps claims to values they may have, {{"tenant": "{{tenant}}"}}, or is left out, got {given!r}'
        )
    return {claim: wanted if isinstance(wanted, dict) else _several(wanted) for claim, wanted in given.items()}


def _predicates(given: Any) -> tuple[Callable[..., Any], ...]:
    predicates = (given,) if callable(given) else _several(given)
    for predicate in predicates:
        if not callable(predicate):
            raise ConfigurationError(f"when= takes functions of an Access, or a DecisionPoint; got {predicate!r}")
    return predicates


def _summary(asked: Mapping[str, Any], predicates: tuple[Any, ...], public: bool) -> str:
    parts = [f"{option} {_shown(value)}" for option, value in asked.items() if value not in ((), {}, None)]
    parts += [f"when {getattr(predicate, '__name__', type(predicate).__name__)}" for predicate in predicates]
    return "; ".join((["everybody"] if public else []) + parts) or "any principal"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_shown(each)}" for name, each in value.items())
    if isinstance(value, tuple):
        return ", ".join(_shown(each) for each in value)
    return value if isinstance(value, str) else repr(value).strip("'")
