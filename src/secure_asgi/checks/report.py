"""``check``: the layers, the table of routes, and the findings."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .._routes import RouteEntry, routes_of
from ..authorization import AuthorizationMiddleware
from ..authorization.coverage import Row
from ..rate_limit import RateLimitMiddleware
from .layers import Chain, chains_of
from .stack import findings_of

Severity = Literal["finding", "note"]

_Route = tuple[str, str, str, frozenset[str] | None]
"""Path, host, endpoint and methods: what tells one route from another."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``code`` is stable, ``message`` a sentence. A ``"finding"`` must be repaired, a ``"note"`` is to be known."""

    severity: Severity
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One middleware.

    ``where``: the path it is mounted at, empty for the whole application; ``place``: its place in the order, empty for
    a foreign one; ``mode``: ``"enforce"``, ``"shadow"`` or, foreign, empty; ``shadow_until``: ISO date;
    ``escape_hatches``: options whose names begin with ``insecure_``, as far as they are on.
    """

    where: str
    place: str
    name: str
    mode: str = ""
    shadow_until: str = ""
    exempt: tuple[str, ...] = ()
    escape_hatches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One route and method. ``rule`` is empty if none decides; ``exempt_from`` names places of layers."""

    path: str
    method: str
    host: str
    endpoint: str
    rule: str
    limits: tuple[str, ...]
    exempt_from: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """``findings`` must be repaired (``assert not check(app).findings``); ``notes`` are to be known."""

    layers: tuple[LayerRow, ...]
    routes: tuple[RouteRow, ...]
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    def as_document(self) -> dict[str, Any]:
        """What ``--json`` prints: ``layers``, ``routes``, and ``findings`` with the notes."""
        return {
            "layers": [asdict(row) for row in self.layers],
            "routes": [asdict(row) for row in self.routes],
            "findings": [asdict(one) for one in (*self.findings, *self.notes)],
        }


def check(app: Any) -> Report:
    """Looks at ``app`` (ASGI) as it stands: no lifespan, no request, no socket, no token.

    Does not look into foreign middlewares and what endpoints check by themselves (dependencies, ``requires()``).
    """
    chains = chains_of(app)
    routes = routes_of(app)
    rows = tuple(_rows(chains, routes or []))
    found = [Finding(*one) for one in findings_of(chains, routes)]
    return Report(
        tuple(_layers(chains)),
        rows,
        tuple(one for one in found if one.severity == "finding"),
        tuple(one for one in found if one.severity == "note"),
    )


def _layers(chains: Iterable[Chain]) -> Iterator[LayerRow]:
    for chain in chains:
        for one in chain.found:
            layer = one.layer
            if layer is None:
                yield LayerRow(chain.prefix, "", one.name)
                continue
            until = "" if layer.shadow_until is None else layer.shadow_until.isoformat()
            yield LayerRow(
                chain.prefix, layer.place, one.name, layer.mode, until, layer.exempt.paths, layer.escape_hatches
            )


def _rows(chains: list[Chain], routes: list[RouteEntry]) -> Iterator[RouteRow]:
    ruled = _ruled(chains)
    for route in routes:
        if route.kind == "barrier":
            continue
        text = route.template.text
        over = [chain for chain in chains if _is_below(text, chain.prefix)]
        limits = tuple(limit for chain in over for limit in _limits(chain, text, route))
        exempt = tuple(
            layer.place for chain in over for layer in chain.layers if text[len(chain.prefix) :] in layer.exempt
        )
        anything = "WEBSOCKET" if route.kind == "websocket" else "*"
        methods = ", ".join(sorted(route.methods - {"HEAD"} or route.methods)) if route.methods else anything
        own = ruled.get((text, route.host, route.name, route.methods)) or [(methods, "")]
        for method, rule in own:
            yield RouteRow(text, method, route.host, route.name, rule, limits, exempt)


def _ruled(chains: Iterable[Chain]) -> dict[_Route, list[tuple[str, str]]]:
    """Each method with what its rule asks for. The innermost table has the last word."""
    table: dict[_Route, list[tuple[str, str]]] = {}
    for chain in chains:
        own: dict[_Route, list[tuple[str, str]]] = {}
        for layer in chain.layers:
            if not isinstance(layer, AuthorizationMiddleware):
                continue
            covered = layer.coverage_of(chain.app)
            for row in covered.rows if covered is not None else ():
                key = (chain.prefix + row.route.template.text, row.route.host, row.route.name, row.route.methods)
                summary = _summary(row, layer)
                own.setdefault(key, []).append((row.method, summary))
        table.update(own)
    return table


def _summary(row: Row, layer: AuthorizationMiddleware) -> str:
    if row.is_exempt:
        return ""
    if row.rule is not None:
        return row.rule.summary
    return "authenticated (default)" if layer.default == "authenticated" else ""


def _limits(chain: Chain, path: str, route: RouteEntry) -> Iterator[str]:
    methods = ("WEBSOCKET",) if route.kind == "websocket" else route.methods
    for layer in chain.layers:
        if isinstance(layer, RateLimitMiddleware) and path[len(chain.prefix) :] not in layer.exempt:
            yield from (f"{limit} by {layer.key}" for limit in layer.limits_at(methods, path[len(chain.prefix) :]))


def _is_below(path: str, prefix: str) -> bool:
    return not prefix or path == prefix or path.startswith(f"{prefix}/")
