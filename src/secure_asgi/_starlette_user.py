"""Whom Starlette's ``request.user`` and ``requires()`` find: set on every path, or they answer 500."""

from typing import TYPE_CHECKING

from ._asgi import Scope
from .exchange import Exchange

if TYPE_CHECKING:
    from starlette.authentication import AuthCredentials


class StarletteUser:
    """Fills ``scope["user"]`` and ``scope["auth"]``; made once per layer. Starlette is imported when it is made."""

    __slots__ = ("_make_auth", "_no_auth", "_nobody")

    def __init__(self) -> None:
        from starlette.authentication import AuthCredentials, UnauthenticatedUser

        self._make_auth = AuthCredentials
        self._nobody = UnauthenticatedUser()
        self._no_auth = self.auth_for(frozenset())

    def leave(self, exchange: Exchange, scope: Scope) -> None:
        """Nobody, or who a layer further out has found (a client certificate, a token)."""
        principal = exchange.principal
        scope["user"] = self._nobody if principal is None else principal
        scope["auth"] = self._no_auth if principal is None else self.auth_for(principal.scopes)

    def auth_for(self, scopes: frozenset[str]) -> "AuthCredentials":
        auth = self._make_auth()
        # A tuple, where Starlette declares a list: it is shared by all requests of a credential, and one of them must
        # not add to it.
        auth.scopes = tuple(sorted(scopes))  # type: ignore[assignment]
        return auth
