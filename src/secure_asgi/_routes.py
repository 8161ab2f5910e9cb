"""The routes of an application, in the order in which its router tries them, through mounts and included routers.

Nothing that answers is passed over: what cannot be looked into is there as one opaque entry for all that lies below it.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from ._templates import Template

_DEEPEST: Final = 32
"""Middlewares around middlewares; one that wraps itself ends here."""

_REST: Final = "/{path:path}"
_READING: Final = frozenset(("GET", "HEAD"))
_ANY_OF: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")


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

    @property
    def is_documentation(self) -> bool:
        """FastAPI's own: Swagger UI, ReDoc, the OpenAPI document, wherever they are served."""
        return self.name.startswith("fastapi.applications:FastAPI.setup.")

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
    return None if inner is None else list(_Walk().below(inner, "", ""))


def root_path_of(app: Any) -> str:
    """The ``root_path`` that ``app`` will put in place of the server's when it is called (FastAPI), or ""."""
    path = getattr(_with_routes(app), "root_path", "")
    return path if isinstance(path, str) else ""


def _with_routes(app: Any) -> Any:
    """The application in ``app`` that has routes, or the route that it is; None without one."""
    from starlette.routing import BaseRoute

    for _ in range(_DEEPEST):
        if app is None or isinstance(app, BaseRoute) or isinstance(getattr(app, "routes", None), list):
            return app
        app = getattr(app, "app", None)
    return None


class _Walk:
    """``entered``: the applications it is in, so that one that is mounted in itself is not followed for ever."""

    def __init__(self) -> None:
        self._entered: list[Any] = []

    def below(self, app: Any, prefix: str, host: str) -> Iterator[RouteEntry]:
        from starlette.routing import BaseRoute

        self._entered.append(app)
        for route in _flat([app] if isinstance(app, BaseRoute) else app.routes):
            yield from self._entry(route, prefix, host)
        yield from self._low_priority(getattr(app, "router", app), prefix, host)
        default = getattr(getattr(app, "router", app), "default", None)
        if default is not None and not _is_of_the_framework(default):
            yield _opaque(prefix + _REST, host, default)
        self._entered.pop()

    def _entry(self, route: Any, prefix: str, host: str) -> Iterator[RouteEntry]:
        from starlette.routing import Host, Mount, Route, WebSocketRoute

        # As written, for its class; what holds here, with the prefixes of the routers it came through, is on ``route``.
        written = getattr(route, "original_route", route)
        if not _is_of_the_framework(getattr(type(written), "matches", None)):
            yield _opaque(prefix + _REST, host, written)
        elif isinstance(written, Mount):
            inside = prefix + route.path.rstrip("/")
            yield from self._inside(route.app, inside, host)
            yield RouteEntry("barrier", None, Template.of_route(inside + _REST), _name(route.app), host)
        elif isinstance(written, Host):
            # One within another answers for what fits both, which no template says: told apart by both.
            both = written.host if host in ("", written.host) else f"{host}, {written.host}"
            yield from self._inside(route.app, prefix, both)
        elif isinstance(written, WebSocketRoute):
            yield RouteEntry("websocket", None, Template.of_route(prefix + route.path), _name(route.endpoint), host)
        elif isinstance(written, Route):
            methods, takes_all = _methods(route)
            template = Template.of_route(prefix + route.path)
            is_listed = bool(getattr(route, "include_in_schema", True))
            yield RouteEntry("http", methods, template, _name(route.endpoint), host, takes_all, is_listed)
        else:
            yield _opaque(prefix + _REST, host, written)

    def _inside(self, app: Any, prefix: str, host: str) -> Iterator[RouteEntry]:
        inner = _with_routes(app)
        if inner is None or any(inner is one for one in self._entered):
            yield _opaque(prefix + _REST, host, app)
        else:
            yield from self.below(inner, prefix, host)

    def _low_priority(self, router: Any, prefix: str, host: str) -> Iterator[RouteEntry]:
        """FastAPI's static frontends, which answer where no route does."""
        frontends: list[tuple[str, Any]] = []
        for route in getattr(router, "_iter_low_priority_routes", tuple)():
            group = getattr(getattr(route, "original_route", route), "routes", None)
            if group is None:
                yield from self._entry(route, prefix, host)
                continue
            inside = prefix + getattr(route, "frontend_prefix", "").rstrip("/")
            frontends += [(inside + one.path.rstrip("/"), route) for one in group]
        for path, route in sorted(frontends, key=lambda found: len(found[0]), reverse=True):
            for text in (path, path + _REST) if path else (_REST,):
                yield RouteEntry("http", _READING, Template.of_route(text), _name(route), host, include_in_schema=False)


def _flat(routes: Iterable[Any]) -> Iterator[Any]:
    """FastAPI keeps an included router as one route; it alone can say which routes that makes."""
    routing = sys.modules.get("fastapi.routing")  # an application of FastAPI's has imported it
    if routing is None:
        return iter(routes)
    flat: Iterator[Any] = routing.iter_route_contexts(list(routes))
    return flat


def _methods(route: Any) -> tuple[frozenset[str] | None, bool]:
    from starlette.endpoints import HTTPEndpoint

    declared, endpoint = frozenset(route.methods or ()), route.endpoint
    if declared:
        return declared, False
    if not (isinstance(endpoint, type) and issubclass(endpoint, HTTPEndpoint)):
        return None, True
    if endpoint.dispatch is not HTTPEndpoint.dispatch:
        return None, True
    # A class answers what it has a function for, and refuses the rest itself.
    has = {method for method in _ANY_OF if hasattr(endpoint, method.lower())}
    return frozenset(has | {"HEAD"} if "GET" in has else has) or None, True


def _is_of_the_framework(function: Any) -> bool:
    """We know what it matches, or that it answers 404: of another one nobody can say."""
    return getattr(function, "__module__", "").startswith(("starlette.", "fastapi."))


def _opaque(path: str, host: str, what: Any) -> RouteEntry:
    return RouteEntry("opaque", None, Template.of_route(path), _name(what), host)


def _name(endpoint: Any) -> str:
    while isinstance(endpoint, partial):
        endpoint = endpoint.func
    named = endpoint if hasattr(endpoint, "__qualname__") else type(endpoint)
    return f"{named.__module__}:{named.__qualname__}"
