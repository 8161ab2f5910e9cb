"""Does the table of rules fit the routes: no route without a rule, no rule without a route, one answer to each request.

The router takes the first route that matches, and the table the first rule. That both speak of the same thing is shown
here, for all paths at once, by comparing templates; what cannot be shown is a finding.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from .._paths import PathSet
from .._routes import RouteEntry
from .._rule_table import WEBSOCKET, names
from .._templates import Template
from .rules import Rule

Kind = Literal["route_without_rule", "rule_without_route", "rule_shadowed", "rule_misplaced"]

_USUAL: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


@dataclass(frozen=True, slots=True)
class Finding:
    """``sentence`` names the route or the rule, and what to do."""

    kind: Kind
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True)
class Row:
    """A route and a method that reaches it (``"*"`` where any does), and what decides: ``rule``, or an exemption.

    Without either, the default does, or for an opaque route and one with ``{rest:path}`` the rules for parts of it.
    """

    route: RouteEntry
    method: str
    rule: Rule | None
    is_exempt: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """The whole table, and what is wrong with it: nothing, if ``findings`` is empty."""

    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]


def coverage(
    rules: Sequence[Rule], routes: Sequence[RouteEntry], exempt: PathSet, default: Literal["deny", "authenticated"]
) -> Coverage:
    """Compares ``rules`` and ``routes``, each in the order in which they are tried."""
    gate = _Gate(rules, routes, exempt, default)
    rows = tuple(gate.rows())
    shown = tuple(_without_echoes(rows))
    findings = (
        *gate.routes_without_rule(shown),
        *gate.rules_shadowed(),
        *gate.rules_without_route(rows),
        *gate.misplaced(rows),
    )
    return Coverage(shown, findings)


class _Gate:
    def __init__(self, rules: Sequence[Rule], routes: Sequence[RouteEntry], exempt: PathSet, default: str) -> None:
        self._rules = rules
        self._routes = routes
        self._exempt = exempt
        self._default = default
        named = frozenset(method for rule in rules for method in rule.methods or ())
        self._methods = sorted((named | _USUAL) - {WEBSOCKET})

    def rows(self) -> Iterator[Row]:
        """Of what can be reached: a route behind another that takes all its requests answers nobody."""
        for position, route in enumerate(self._routes):
            if route.kind == "barrier":
                continue
            is_exempt = route.template.text in self._exempt
            for method in self._methods_of(route):
                if not self._is_dead(position, route.template, method):
                    yield Row(route, method, self._governing(route, method), is_exempt)

    def routes_without_rule(self, rows: Iterable[Row]) -> Iterator[Finding]:
        if self._default != "deny":
            return
        ruled = {id(row.route) for row in rows if row.rule is not None}
        for row in rows:
            if row.is_exempt or row.rule is not None or (row.route.methods is None and id(row.route) in ruled):
                continue
            if row.route.is_documentation:
                continue  # nobody has written it and forgotten its rule: without one it is refused, like all else
            if not any(self._is_part(rule, row) for rule in self._rules):
                yield Finding(
                    "route_without_rule",
                    f"{_shown(row)} has no rule, so that nobody may use it: add "
                    f'Rule("{row.method}", "{_as_rule(row.route)}", ...), or name it in exempt=',
                )

    def rules_shadowed(self) -> Iterator[Finding]:
        for position, rule in enumerate(self._rules):
            before = [one for one in self._rules[:position] if one.template.covers(rule.template)]
            methods = rule.methods or {"*"}
            if before and all(any(names(one, method) for one in before) for method in methods):
                named = next(one for one in before if names(one, min(methods)))
                yield Finding(
                    "rule_shadowed",
                    f"{rule.name} never decides, because {named.name} stands before it: put it first, or leave it out",
                )

    def rules_without_route(self, rows: Sequence[Row]) -> Iterator[Finding]:
        for rule in self._rules:
            if not any(not row.is_exempt and self._fits(rule, row) for row in rows):
                yield Finding(
                    "rule_without_route",
                    f"{rule.name} fits no route that answers: correct its method or path, or leave it out",
                )

    def misplaced(self, rows: Iterable[Row]) -> Iterator[Finding]:
        """Requests that the router gives to one route and the table to the rule of another."""
        said: set[tuple[int, str]] = set()
        for row in rows:
            if row.is_exempt or row.route.kind == "opaque":
                continue
            position = self._routes.index(row.route)
            for name, template in self._deciding_before(row):
                if row.route.template.has_rest and row.route.template.covers(template):
                    continue  # a rule for a part of it
                if (
                    template.overlaps(row.route.template)
                    and (id(row.route), name) not in said
                    and not self._is_dead(position, template, row.method, row.route.host)
                ):
                    said.add((id(row.route), name))
                    own = row.rule.name if row.rule is not None else "the default"
                    yield Finding(
                        "rule_misplaced",
                        f"{_shown(row)} is under {own}, but for some of its paths {name} decides: order the routes and "
                        "the rules alike, the narrower first",
                    )

    def _deciding_before(self, row: Row) -> Iterator[tuple[str, Template]]:
        """What comes before the row's own rule: the exemptions, and the rules that stand higher."""
        for path in self._exempt.exact:
            yield f"exempt={path!r}", Template.of_route(path)
        for prefix in self._exempt.prefixes:
            yield f"exempt={prefix!r}", Template.of_route(f"{prefix}{{rest:path}}")
        for rule in self._rules:
            if rule is row.rule:
                return
            if row.method == "*" or names(rule, row.method):
                yield rule.name, rule.template

    def _methods_of(self, route: RouteEntry) -> Sequence[str]:
        if route.kind == "websocket":
            return (WEBSOCKET,)
        if route.kind == "opaque":
            return ("*",)
        if route.methods is None:
            return self._methods
        return sorted(route.methods)

    def _governing(self, route: RouteEntry, method: str) -> Rule | None:
        for rule in self._rules:
            if names(rule, method) and rule.template.covers(route.template):
                return rule
        return None

    def _fits(self, rule: Rule, row: Row) -> bool:
        is_named = row.method == "*" or names(rule, row.method)
        return self._is_part(rule, row) or (is_named and rule.template.covers(row.route.template))

    def _is_part(self, rule: Rule, row: Row) -> bool:
        """It decides for some of what the route answers, which is more than one thing."""
        if row.method != "*" and not names(rule, row.method):
            return False
        if row.route.kind == "opaque":
            return rule.template.overlaps(row.route.template)
        return row.route.template.has_rest and row.route.template.covers(rule.template)

    def _is_dead(self, position: int, template: Template, method: str, host: str | None = None) -> bool:
        """Every path of ``template`` is answered by a route that the router tries before the one at ``position``.

        What an opaque route leaves to later ones is not known; behind one that is mounted stands a barrier.
        """
        host = self._routes[position].host if host is None else host
        return any(
            earlier.host in ("", host)
            and (earlier.kind == "barrier" if method == "*" else earlier.kind != "opaque" and earlier.takes(method))
            and earlier.template.covers(template)
            for earlier in self._routes[:position]
        )


def _without_echoes(rows: Iterable[Row]) -> Iterator[Row]:
    """HEAD is mostly GET once more. Not always: FastAPI's routes do not take it, so that it reaches a later one."""
    gets = {(id(row.route), id(row.rule)) for row in rows if row.method == "GET"}
    return (row for row in rows if row.method != "HEAD" or (id(row.route), id(row.rule)) not in gets)


def _as_rule(route: RouteEntry) -> str:
    return route.template.text.removesuffix("{path:path}") + "**" if route.kind == "opaque" else route.template.text


def _shown(row: Row) -> str:
    host = f" on {row.route.host}" if row.route.host else ""
    return f"{row.method} {row.route.template.text}{host} ({row.route.name})"
