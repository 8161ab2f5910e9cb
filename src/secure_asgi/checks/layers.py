"""The layers around and inside an application, outermost first, without calling it."""

import sys
from dataclasses import dataclass, field
from typing import Any

from .._entries import layer_of
from ..flow import Flow, Layer


@dataclass(slots=True)
class Found:
    """One middleware of a chain: a layer of ours, or the name of a foreign one; ``problem`` if it cannot be made."""

    name: str
    layer: Layer | None = None
    problem: str = ""


@dataclass(slots=True)
class Chain:
    """The middlewares around what is served below ``prefix``, and the application in the midst of them."""

    prefix: str
    app: Any
    found: list[Found] = field(default_factory=list)

    @property
    def layers(self) -> list[Layer]:
        return [one.layer for one in self.found if one.layer is not None]


def chains_of(app: Any) -> list[Chain]:
    """That of the whole application first, then those of its mounts that have middlewares of their own."""
    chains: list[Chain] = []
    _follow(app, "", chains, ())
    return chains


def _follow(app: Any, prefix: str, chains: list[Chain], entered: tuple[Any, ...]) -> None:
    """``entered``: the applications it is inside of, so that no cycle is followed."""
    chain = Chain(prefix, app)
    while not any(app is one for one in entered):
        entered = (*entered, app)
        chain.app = app
        inner = getattr(app, "app", None)
        if isinstance(app, Flow):
            chain.found += [Found(type(layer).__name__, layer) for layer in app.layers]
        elif isinstance(app, Layer):
            if not (isinstance(inner, Flow) and app in inner.layers):  # else the flow tells of it
                chain.found.append(Found(type(app).__name__, app))
        elif _has_routes(app):
            chain.found += [_constructed(entry) for entry in getattr(app, "user_middleware", ())]
            chains.append(chain)
            _follow_routes(app.routes, prefix, chains, entered)
            return
        elif inner is not None:
            chain.found.append(Found(type(app).__name__))
        if inner is None:
            break
        app = inner
    chains.append(chain)


def _follow_routes(routes: Any, prefix: str, chains: list[Chain], entered: tuple[Any, ...]) -> None:
    """Mounts and hosts, those of routers that FastAPI has included among them."""
    from starlette.routing import Host, Mount

    fastapi_routing = sys.modules.get("fastapi.routing")  # an application of FastAPI's has imported it
    for route in routes if fastapi_routing is None else fastapi_routing.iter_route_contexts(list(routes)):
        original = getattr(route, "original_route", route)
        if isinstance(original, (Mount, Host)):
            _follow(original.app, prefix + getattr(route, "path", ""), chains, entered)


def _has_routes(app: Any) -> bool:
    return isinstance(getattr(app, "routes", None), (list, tuple))


def _constructed(entry: Any) -> Found:
    name = getattr(entry.cls, "__name__", type(entry.cls).__name__)
    try:
        layer = layer_of(entry)
    except Exception as error:  # a wrong option: the finding says which, whatever class of error it was
        return Found(name, problem=f"{name} cannot be made: {type(error).__name__}: {error}")
    return Found(name) if layer is None else Found(type(layer).__name__, layer)
