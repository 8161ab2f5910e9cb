"""What can be wrong with a stack and its table: findings, which must be repaired, and notes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

from .._paths import DOCS
from .._routes import RouteEntry
from ..authorization import AuthorizationMiddleware
from ..flow import Layer
from ..stack import ORDER
from .layers import Chain

Told = tuple[Literal["finding", "note"], str, str]
"""Severity, code, sentence."""

AUTHENTICATING = ("mutual_tls", "bearer", "api_keys")

_MISSING = (
    ("https_redirect", "no_https", "no HTTPSRedirectMiddleware: plain HTTP is answered, unless the server refuses it"),
    ("sanitized_errors", "no_error_layer", "no SanitizedErrorMiddleware: errors may tell clients about the inside"),
    ("audit", "no_audit", "no AuditMiddleware: refusals leave no record"),
    ("authorization", "no_authorization", "no AuthorizationMiddleware: no table says who may do what"),
)


def findings_of(chains: Sequence[Chain], routes: Sequence[RouteEntry] | None) -> Iterator[Told]:
    """All of them, the table's first."""
    for chain in chains:
        yield from _table(chain)
    for chain in chains:
        for one in chain.found:
            if one.problem:
                yield "finding", "layer_broken", one.problem
        yield from _order(chain)
        yield from _hatches(chain)
    yield from _authentication(chains)
    layers = [layer for chain in chains for layer in chain.layers]
    for name, code, sentence in _MISSING:
        if not any(layer.name == name for layer in layers):
            yield "note", code, sentence
    if routes is None:
        yield "note", "routes_unknown", "the application has no routes that could be listed, so no table is shown"
        return
    yield from _exemptions(chains, routes)
    yield from _documentation(chains, routes)
    for route in routes:
        if route.kind == "opaque":
            yield (
                "note",
                "opaque",
                f"{route.template.text} ({route.name}) has routes of its own that cannot be listed",
            )


def _table(chain: Chain) -> Iterator[Told]:
    for layer in chain.layers:
        if isinstance(layer, AuthorizationMiddleware):
            covered = layer.coverage_of(chain.app)
            for one in covered.findings if covered is not None else ():
                yield "finding", one.kind, one.sentence


def _order(chain: Chain) -> Iterator[Told]:
    ranked = [layer for layer in chain.layers if layer.place in ORDER]
    for outer, inner in pairwise(ranked):
        if ORDER.index(outer.place) > ORDER.index(inner.place) and not _is_deliberate(outer, inner):
            yield (
                "finding",
                "order",
                f"{outer.place} stands outside {inner.place}, and belongs inside it: add_middleware puts the last one "
                "outermost, secure_stack() puts them in order",
            )


def _is_deliberate(outer: Layer, inner: Layer) -> bool:
    """Placed by one ``secure()`` or ``secure_stack()``, which differs from the order only where ``before=`` said so."""
    return outer.claim is not None and outer.claim is inner.claim


def _hatches(chain: Chain) -> Iterator[Told]:
    for layer in chain.layers:
        for option in layer.escape_hatches:
            yield "note", "escape_hatch", f"{layer.place} has {option}=True"
        if layer.mode == "shadow" and layer.shadow_until is None:
            yield "note", "shadow", f"{layer.place} refuses nothing (shadow), and no shadow_until= ends that"


def _authentication(chains: Sequence[Chain]) -> Iterator[Told]:
    outside: list[Layer] = []
    has_others = False
    for chain in chains:
        # A mount's layers stand inside those of the application; two mounts do not guard each other.
        layers = chain.layers if not chain.prefix else [*outside, *chain.layers]
        others = has_others or any(one.layer is None or one.layer.place not in ORDER for one in chain.found)
        if not chain.prefix:
            outside, has_others = layers, others
        gates = [layer for layer in layers if layer.name in AUTHENTICATING]
        if _nobody_has(gates):
            yield (
                "finding",
                "nobody_gets_in",
                "bearer and api_keys both insist, and a request with a token and a key is refused: required=False on "
                "both, and let authorization ask for somebody",
            )
        authorization = [layer for layer in chain.layers if layer.name == "authorization"]
        if not authorization:
            continue
        if not gates:
            yield (
                "note" if others else "finding",
                "nothing_authenticates",
                "authorization asks for principals, and no layer of ours makes any: add BearerAuthMiddleware, "
                "APIKeyMiddleware or MutualTLSMiddleware",
            )
        if authorization[0].mode == "enforce":
            for gate in gates:
                if gate.mode == "shadow":
                    yield (
                        "note",
                        "shadow_alone",
                        f"{gate.place} is in shadow mode and authorization is not: whoever has no valid credentials is "
                        "refused there all the same",
                    )


def _nobody_has(gates: Sequence[Layer]) -> bool:
    """A credential of one kind and of the other, which are not taken in one request."""
    insisting: list[Any] = [gate for gate in gates if gate.name in ("bearer", "api_keys") and gate.mode == "enforce"]
    return {gate.name for gate in insisting if gate.required} == {"bearer", "api_keys"}


def _exemptions(chains: Sequence[Chain], routes: Sequence[RouteEntry]) -> Iterator[Told]:
    for chain in chains:
        for layer in chain.layers:
            for path in layer.exempt.paths:
                whole = chain.prefix + path
                # preset() exempts FastAPI's documentation without being asked.
                if path not in DOCS and not any(_is_met(whole, route) for route in routes):
                    yield "note", "exempt_without_route", f"{layer.place} exempts {whole}, which is no route"


def _is_met(path: str, route: RouteEntry) -> bool:
    if route.kind == "barrier":  # it ends the search, and answers nothing
        return False
    if route.template.match(path) is not None:
        return True
    return path.endswith("/") and path != "/" and route.template.text.startswith(path)


def _documentation(chains: Sequence[Chain], routes: Sequence[RouteEntry]) -> Iterator[Told]:
    """ASVS 5.0 13.4.5."""
    gates = [layer for layer in chains[0].layers if layer.name in AUTHENTICATING or layer.name == "authorization"]
    served = [route.template.text for route in routes if route.template.text in DOCS]
    is_open = [path for path in served if all(path in gate.exempt or gate.mode == "shadow" for gate in gates)]
    if is_open:
        yield "note", "documentation_open", f"anybody can read the documentation: {', '.join(is_open)} (ASVS 13.4.5)"
