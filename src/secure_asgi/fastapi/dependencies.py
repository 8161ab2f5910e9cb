"""Dependencies that read what the layers outside have proven, and refuse as those would; nothing is verified here.

On HTTP a refusal is an ``HTTPException``, which ``problem_handlers()`` puts into the shape of a layer's own answer. On
a WebSocket it is that where the server can answer a handshake with a response, else a close.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, NoReturn

from fastapi import Depends
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketState

from .._challengers import forbidden, insufficient_scope, unauthenticated
from ..denial import TITLES, Denial, Reason
from ..errors import ConfigurationError
from ..exchange import Exchange, Principal, exchange_of

PLACE = "dependency"
"""What the audit record calls the layer that these refusals come from."""

_SCOPE = re.compile(r"[!#-\[\]-~]+")
"""RFC 6749 section 3.3."""
_ROLE = re.compile(r"\S+")


class Dependency(ABC):
    """What asks for a principal; ``document_security`` looks for it among the dependencies of a route.

    ``scopes`` are those it asks for besides.
    """

    scopes: tuple[str, ...] = ()

    async def __call__(self, connection: HTTPConnection) -> Principal:
        # A coroutine function: FastAPI would run a plain one in a worker thread.
        exchange = exchange_of(connection)
        principal = exchange.principal
        if principal is None:
            _refuse(connection, exchange, unauthenticated(exchange, "a dependency asks for a principal"))
        denial = self.lacking(exchange, principal)
        if denial is not None:
            _refuse(connection, exchange, denial)
        return principal

    @abstractmethod
    def lacking(self, exchange: Exchange, principal: Principal) -> Denial | None:
        """The refusal, where the principal is not enough."""


class _Anybody(Dependency):
    """Whoever it is."""

    def lacking(self, exchange: Exchange, principal: Principal) -> Denial | None:
        return None


class _Scopes(Dependency):
    """All of ``scopes``."""

    def __init__(self, scopes: tuple[str, ...]) -> None:
        self.scopes = scopes
        self._needed = frozenset(scopes)

    def lacking(self, exchange: Exchange, principal: Principal) -> Denial | None:
        missing = self._needed - principal.scopes
        if not missing:
            return None
        return insufficient_scope(exchange, self.scopes, f"scopes {' '.join(sorted(missing))} are missing")


class _Roles(Dependency):
    """One of ``roles``."""

    def __init__(self, roles: tuple[str, ...]) -> None:
        self._roles = roles

    def lacking(self, exchange: Exchange, principal: Principal) -> Denial | None:
        if not principal.roles.isdisjoint(self._roles):
            return None
        return forbidden(Reason.ROLE_MISSING, f"none of the roles {' '.join(self._roles)}")


CurrentPrincipal = Annotated[Principal, Depends(_Anybody())]
"""The principal as a parameter: ``async def mine(principal: CurrentPrincipal)``; 401 where there is none."""


def require_scopes(*scopes: str) -> Callable[..., object]:
    """For ``Depends``: the principal, which all of ``scopes`` were granted to.

    401 without a principal; 403 that names the scopes where one is missing (RFC 6750 section 3.1). On HTTP and on
    WebSocket routes. Raises ``ConfigurationError`` for anything that is no scope. Not looked at: what
    ``AuthorizationMiddleware(roles=...)`` makes of a role.
    """
    return _Scopes(_names("require_scopes", _SCOPE, scopes, "printable ASCII without spaces and quotes"))


def require_roles(*roles: str) -> Callable[..., object]:
    """For ``Depends``: the principal, which has one of ``roles`` or several.

    401 without a principal, 403 without the role. Only roles that the token itself names count, not those that
    ``AuthorizationMiddleware(roles=...)`` says another role holds. Raises ``ConfigurationError`` for anything that is
    no role.
    """
    return _Roles(_names("require_roles", _ROLE, roles, "without spaces"))


def _names(function: str, form: re.Pattern[str], given: tuple[object, ...], described: str) -> tuple[str, ...]:
    names = tuple(name for name in given if isinstance(name, str) and form.fullmatch(name))
    if not given or len(names) != len(given):
        raise ConfigurationError(
            f'{function}() takes one or several strings, each {described}: {function}("a", "b"); got {given!r}'
        )
    return tuple(dict.fromkeys(names))


def _refuse(connection: HTTPConnection, exchange: Exchange, denial: Denial) -> NoReturn:
    exchange.denial = denial
    exchange.record(PLACE, "deny", denial.reason, denial.note)
    if isinstance(connection, WebSocket) and not _can_answer(connection):
        raise WebSocketException(denial.websocket_code, TITLES[denial.status])
    # Headers, not a dictionary: a challenge for each scheme goes out as a field of its own.
    raise HTTPException(denial.status, denial.detail, Headers(raw=list(denial.headers)))


def _can_answer(websocket: WebSocket) -> bool:
    """With an HTTP response in place of the handshake; not if a dependency of the application has accepted it."""
    extensions = websocket.scope.get("extensions") or {}
    return "websocket.http.response" in extensions and websocket.application_state == WebSocketState.CONNECTING
