"""The routes of an application, in the order in which its router tries them, through mounts and included routers.

Nothing that answers is passed over: what cannot be looked into is there as one opaque entry for all that lies below it.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from ._templates import Template

_DEEPEST: Final = 32
"""Mounts within mounts; an application that is mounted in itself ends here."""

_REST: Final = "/{path:path}"


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One route. ``name`` its endpoint (``"module:function"``), ``host`` the only one it answers for, or "".

    ``kind``: an ``"opaque"`` one is an application that shows no routes, and answers all methods and WebSockets;
    a ``"barrier"`` stands behind the routes of a mount, which answers 404 for all else below it. ``methods`` are those
    answered, None for any; ``takes_all``: the others are refused by this route and reach no later one.
    """

    kind: Literal["http", "websocket", "opaque", "barrier"]
    methods: frozenset[str] | None
    template: Template
    name: str
    host: str = ""
    takes_all: bool = False
    include_in_schema: bool = True

    def takes(self, method: str) -> bool:
        """A request of this method (``"WEBSOCKET"`` for one) to a path of the template gets no further than here."""
        if self.kind in ("opaque", "barrier"):
            return True
        if self.kind == "websocket" or method == "WEBSOCKET":
            return self.kind == "websocket" and method == "WEBSOCKET"
        return self.takes_all or self.methods is None or method in self.methods


def routes_of(app: Any) -> list[RouteEntry] | None:
    """All routes of ``app``, also inside middlewares that keep it in ``app``; None where it shows none."""
    inner = _with_routes(app)
    return None if inner is None else list(_entries(inner, "", "", 0))


def root_path_of(app: Any) -> str:
    """The ``root_path`` that ``app`` will put in place of the server's when it is called (FastAPI), or ""."""
    path = getattr(_with_routes(app), "root_path", "")
    return path if isinstance(path, str) else ""


def _with_routes(app: Any) -> Any:
    """The application in ``app`` that has routes; None without one."""
    for _ in range(_DEEPEST):
        if isinstance(getattr(app, "routes", None), list):
            return app
        app = getattr(app, "app", None)
        if app is None:
            break
    return None


def _entries(app: Any, prefix: str, host: str, depth: int) -> Iterator[RouteEntry]:
    for route in _flat(app.routes):
        yield from _entry(route, prefix, host, depth)
    yield from _frontends(app, prefix, host)


def _flat(routes: Iterable[Any]) -> Iterator[Any]:
    """FastAPI keeps an included router as one route; it alone can say which routes that makes."""
    routing = sys.modules.get("fastapi.routing")  # an application of FastAPI's has imported it
    if routing is None:
        return iter(routes)
    flat: Iterator[Any] = routing.iter_route_contexts(list(routes))
    return flat


def _entry(route: Any, prefix: str, host: str, depth: int) -> Iterator[RouteEntry]:
    from starlette.routing import Host, Mount, Route, WebSocketRoute

    # As written, for its class; what holds here, with the prefixes of the routers it came through, is on ``route``.
    written = getattr(route, "original_route", route)
    if not _is_of_the_framework(written):
        yield _opaque(prefix + _REST, host, written)
    elif isinstance(written, Mount):
        yield from _mounted(route.app, prefix + route.path.rstrip("/"), host, depth)
    elif isinstance(written, Host):
        yield from _mounted(route.app, prefix, written.host, depth)
    elif isinstance(written, WebSocketRoute):
        yield RouteEntry("websocket", None, Template.of_route(prefix + route.path), _name(route.endpoint), host)
    elif isinstance(written, Route):
        methods, takes_all = _methods(route)
        template = Template.of_route(prefix + route.path)
        is_listed = bool(getattr(route, "include_in_schema", True))
        yield RouteEntry("http", methods, template, _name(route.endpoint), host, takes_all, is_listed)
    else:
        yield _opaque(prefix + _REST, host, written)


def _mounted(app: Any, prefix: str, host: str, depth: int) -> Iterator[RouteEntry]:
    inner = _with_routes(app)
    if inner is None or depth >= _DEEPEST:
        yield _opaque(prefix + _REST, host, app)
        return
    yield from _entries(inner, prefix, host, depth + 1)
    yield RouteEntry("barrier", None, Template.of_route(prefix + _REST), _name(app), host)


def _frontends(app: Any, prefix: str, host: str) -> Iterator[RouteEntry]:
    """Static files that FastAPI serves where no route matches."""
    router = getattr(app, "router", app)
    for group in getattr(router, "_iter_low_priority_routes", tuple)():
        inside = prefix + getattr(group, "frontend_prefix", "").rstrip("/")
        paths = [route.path for route in getattr(getattr(group, "original_route", group), "routes", ())]
        for path in paths or ["/"]:
            yield _opaque(inside + path.rstrip("/") + _REST, host, group)


def _methods(route: Any) -> tuple[frozenset[str] | None, bool]:
    if route.methods is not None:
        return frozenset(route.methods), False
    endpoint = route.endpoint
    # A class-based endpoint answers what it has a function for, and refuses the rest itself.
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    has = frozenset(method for method in known if isinstance(endpoint, type) and hasattr(endpoint, method.lower()))
    return (has | {"HEAD"} if "GET" in has else has) or None, True


def _is_of_the_framework(route: Any) -> bool:
    """Its ``matches`` is one we know: of another one nobody can say what it matches."""
    module = getattr(getattr(type(route), "matches", None), "__module__", "")
    return module.startswith(("starlette.", "fastapi."))


def _opaque(path: str, host: str, what: Any) -> RouteEntry:
    return RouteEntry("opaque", None, Template.of_route(path), _name(what), host)


def _name(endpoint: Any) -> str:
    named = endpoint if hasattr(endpoint, "__qualname__") else getattr(endpoint, "func", None) or type(endpoint)
    return f"{getattr(named, '__module__', '')}:{getattr(named, '__qualname__', named)}"
