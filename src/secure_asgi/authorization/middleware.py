"""Authorization: the rule that a request falls under, and whether its principal meets it.

OWASP API Security Top 10 2023 (API1, API3, API5), ASVS 5.0 V8. The order of blocks is the order of a request: the rule,
what it asks of the principal, what its predicates say.
"""

import logging
import time
from collections.abc import Awaitable, Iterable, Mapping
from datetime import date
from typing import Any, Literal

from .._asgi import ASGIApp, Scope
from .._challengers import unauthenticated
from .._paths import route_path
from .._routes import root_path_of, routes_of
from .._rule_table import WEBSOCKET, RuleTable
from ..denial import Denial, Reason
from ..errors import ConfigurationError
from ..exchange import Decision, Exchange
from ..flow import Answer, Layer
from .coverage import Coverage, coverage
from .decision_point import DecisionPoint
from .predicates import Access, Predicates
from .roles import RoleMap
from .rules import Rule

logger = logging.getLogger("secure_asgi")

_NO_RULE = Denial(Reason.RULE_MISSING, 403, "This is not allowed.", note="no rule names this method and path")
_INCOMPLETE = Denial(Reason.RULES_INCOMPLETE, 503, "This service is not set up completely.")


class AuthorizationMiddleware(Layer):
    """Lets a request pass that a rule allows; the first of ``rules`` that names its method and path decides.

    ``rules`` one ``Rule`` or several. ``default`` is for what no rule names: ``"deny"`` refuses it,
    ``"authenticated"`` lets every principal pass. ``coverage`` is for rules and routes that do not fit each other:
    ``"refuse"`` does not start (without a lifespan, every request is refused with 503), ``"report"`` logs them.
    ``roles`` says what a role holds: other roles, and permissions. ``deadline`` seconds for all predicates of a
    request together.

    The path is what the router will route on, below ``root_path``; one that routers read differently (an empty or a dot
    segment, a backslash, a control character) falls under no rule. HEAD falls under the rule for GET, a WebSocket
    under one for ``"WEBSOCKET"`` alone. Raises ``ConfigurationError`` for a wrong option.

    Not checked: who the principal is (a layer further out has proven that), and what a handler does with objects other
    than those its rule's predicates have looked at.
    """

    name = "authorization"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        rules: Rule | Iterable[Rule],
        default: Literal["deny", "authenticated"] = "deny",
        coverage: Literal["refuse", "report"] = "refuse",
        roles: Mapping[str, str | Iterable[str]] | None = None,
        deadline: float = 1.0,
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt)
        if default not in ("deny", "authenticated"):
            raise ConfigurationError(f'default= is "deny" or "authenticated", got {default!r}')
        if coverage not in ("refuse", "report"):
            raise ConfigurationError(f'coverage= is "refuse" or "report", got {coverage!r}')
        self.rules = _rules_of(rules)
        self.default = default
        self._refuses_gaps = coverage == "refuse"
        self._gap: Denial | None = None
        self._root_path = ""
        self._table = RuleTable(self.rules)
        self._roles = RoleMap({} if roles is None else roles)
        self._predicates = Predicates(deadline)
        self._points = _decision_points(self.rules)
        self._passed = {rule.name: Decision(self.place, "pass", note=rule.name) for rule in self.rules}
        self._passed_by_default = Decision(self.place, "pass", note='default="authenticated"')
        self._clock = time.time

    def on_request(self, exchange: Exchange, scope: Scope) -> Answer | Awaitable[Answer]:
        if self._gap is not None:
            return self._gap
        if scope["type"] == "websocket":
            method = WEBSOCKET
        else:
            method = scope["method"]
            if method == WEBSOCKET:  # a token like any other to HTTP, and no WebSocket
                return self._without_rule(exchange)
        path = route_path(scope, self._root_path)
        found = self._table.find(method, path)
        if found is None:
            return self._without_rule(exchange)
        rule, params = found
        principal = exchange.principal
        held = None if principal is None else self._roles.held(principal.roles)
        denial = rule.check(exchange, params, held, self._clock())
        if denial is not None:
            return denial
        if rule.predicates:
            return self._ask(rule, Access(exchange, scope, method, path, params))
        return self._passed[rule.name]

    def on_application(self, app: ASGIApp) -> None:
        self._root_path = root_path_of(app)
        report = self.coverage_of(app)
        if report is None:
            logger.warning(
                "authorization: the application shows no routes, so that its rules cannot be compared to them"
            )
            return
        if not report.findings:
            return
        text = "authorization: rules and routes do not fit\n" + "\n".join(f"- {one}" for one in report.findings)
        if not self._refuses_gaps or self.mode == "shadow":
            logger.warning("%s", text)
            return
        self._gap = _INCOMPLETE
        raise ConfigurationError(text)

    async def on_startup(self, scope: Scope) -> None:
        for point in self._points:
            await point.open()

    async def on_shutdown(self) -> None:
        for point in self._points:
            await point.close()

    def coverage_of(self, app: Any) -> Coverage | None:
        """How the rules fit the routes of ``app``; None where it shows none."""
        routes = routes_of(app)
        return None if routes is None else coverage(self.rules, routes, self.exempt, self.default)

    def find(self, method: str, path: str) -> Rule | None:
        """The rule that decides for this method (``"WEBSOCKET"`` for one) and path."""
        found = self._table.find(method, path)
        return None if found is None else found[0]

    def _without_rule(self, exchange: Exchange) -> Answer:
        if self.default == "deny":
            return _NO_RULE
        if exchange.principal is None:
            return unauthenticated(exchange, 'default="authenticated"')
        return self._passed_by_default

    async def _ask(self, rule: Rule, access: Access) -> Answer:
        denial = await self._predicates.ask(rule, access)
        return self._passed[rule.name] if denial is None else denial


def _rules_of(given: Rule | Iterable[Rule]) -> tuple[Rule, ...]:
    rules = (given,) if isinstance(given, Rule) else tuple(given) if isinstance(given, Iterable) else (given,)
    for rule in rules:
        if not isinstance(rule, Rule):
            raise ConfigurationError(f'rules= takes Rule("GET", "/orders/{{id}}", ...) and the like, got {rule!r}')
    if not rules:
        raise ConfigurationError("rules= got no rule, and without one nothing would be answered: write the first")
    return rules


def _decision_points(rules: Iterable[Rule]) -> tuple[DecisionPoint, ...]:
    asked = (predicate for rule in rules for predicate in rule.predicates if isinstance(predicate, DecisionPoint))
    return tuple(dict.fromkeys(asked))
