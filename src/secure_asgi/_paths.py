"""Which path the router will route on, and whether a layer is exempt there."""

import re
from collections.abc import Iterable

from ._asgi import Scope
from .errors import ConfigurationError

_NOT_PLAIN = re.compile(r"//|\\|/\.\.?(?:/|\Z)|[\x00-\x1f\x7f]")

DOCS = ("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json")
"""FastAPI's documentation paths, unless told otherwise, for ``exempt=``: Swagger UI and its OAuth2 redirect, ReDoc, the
OpenAPI document."""


def route_path(scope: Scope, root_path: str = "") -> str:
    """The path below the scope's ``root_path``: what Starlette's router matches, inside a ``Mount`` too.

    ``root_path``: what the application puts in place of the scope's when it is called, "" for nothing.
    """
    path: str = scope["path"]
    root: str = root_path or scope.get("root_path", "")
    if not root or not path.startswith(root):
        return path
    rest = path[len(root) :]
    return rest if not rest or rest[0] == "/" else path


def route_template(scope: Scope) -> str | None:
    """The answering route's template (``/orders/{id}``), with the path it is mounted under; None without a route.

    A ``Mount`` is no answer: it hands on to an application whose route would be one.
    """
    route = scope.get("route")
    if getattr(route, "endpoint", None) is None:
        return None
    # FastAPI leaves the route of an included router as it was written; the prefix is in a context beside it.
    context = (scope.get("fastapi") or {}).get("effective_route_context")
    if getattr(context, "original_route", None) is route:
        route = context
    template = getattr(route, "path_format", None)
    if not isinstance(template, str):
        return None
    root: str = scope.get("root_path", "")
    return root[len(scope.get("app_root_path", root)) :] + template if root else template


def is_plain(path: str) -> bool:
    """Every router reads this path alike: no empty segment but the last, no dot segment, no backslash, no control.

    A line feed matters most: ``$`` in Starlette's expressions also matches before one that ends the path, so that
    "/admin\\n" is answered by the route "/admin".
    """
    if not path.startswith("/"):
        return False
    if path.isprintable() and "//" not in path and "/." not in path and "\\" not in path:
        return True
    return _NOT_PLAIN.search(path) is None


class PathSet:
    """Exact paths, and whole-segment prefixes written with a trailing slash: ``"/health"``, ``"/public/"``.

    Never a regex, never a substring: ``"/health"`` is not ``"/health/x"`` and ``"/public/"`` is not ``"/publicity"``.
    A path that is not plain lies below no prefix, because another router may read it differently.
    """

    __slots__ = ("exact", "prefixes")

    def __init__(self, paths: str | Iterable[str], *, option: str) -> None:
        given = (paths,) if isinstance(paths, str) or not isinstance(paths, Iterable) else tuple(paths)
        for path in given:
            if not isinstance(path, str) or not path.startswith("/"):
                raise ConfigurationError(
                    f'{option}= takes paths that begin with "/": "/health", or "/public/" with all below; got {path!r}'
                )
        self.exact = frozenset(given)
        # "/" is the root document alone: as a prefix it would exempt everything, and nobody means that.
        self.prefixes = tuple(path for path in given if path.endswith("/") and path != "/")

    @property
    def paths(self) -> tuple[str, ...]:
        """All that were given, in alphabetical order."""
        return tuple(sorted(self.exact))

    def __bool__(self) -> bool:
        return bool(self.exact)

    def __contains__(self, path: str) -> bool:
        if path in self.exact:
            return True
        return bool(self.prefixes) and path.startswith(self.prefixes) and is_plain(path)
