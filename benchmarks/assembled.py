"""What people put together today: seven middlewares, every one of them pure ASGI.

No ``BaseHTTPMiddleware``, which would cost as much as everything here together; the token's verification is cached;
the proxy in front is one the server has believed already.
"""

import logging
import os
import time
from typing import Any

import jwt
from asgi_correlation_id import CorrelationIdMiddleware
from secure.middleware import SecureASGIMiddleware
from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware
from slowapi.util import get_remote_address
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Route

from .service import HOST, ISSUER, UNREACHED, request_scope


class JWTBackend(AuthenticationBackend):
    """PyJWT with a prepared key, and a dictionary of the tokens that held."""

    def __init__(self) -> None:
        self._key = jwt.PyJWK(ISSUER.jwks["keys"][0]).key
        self._verified: dict[str, dict[str, Any]] = {}

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser]:
        scheme, _, token = conn.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationError("no token")
        claims = self._verified.get(token)
        if claims is None or claims["exp"] <= time.time():
            try:
                claims = jwt.decode(
                    token, self._key, algorithms=["RS256"], audience=ISSUER.audience, issuer=ISSUER.issuer
                )
            except jwt.InvalidTokenError as error:
                raise AuthenticationError("bad token") from error
            self._verified[token] = claims
        return AuthCredentials(claims.get("scope", "").split()), SimpleUser(claims["sub"])


class AccessLog:
    """One line per request through the standard library's logging, written to a stream that leads nowhere."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._logger = logging.getLogger("benchmarks.access")
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        if not self._logger.handlers:
            handler = logging.StreamHandler(open(os.devnull, "w"))  # noqa: SIM115 -- open as long as the process
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            self._logger.addHandler(handler)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began = time.perf_counter()
        status = 500

        async def noting(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            self._logger.info(
                '%s - "%s %s" %d %.1f ms',
                scope["client"][0],
                scope["method"],
                scope["path"],
                status,
                1000 * (time.perf_counter() - began),
            )


def assembled(app: Any) -> Any:
    stack: Any = AuthenticationMiddleware(app, backend=JWTBackend())
    stack = SlowAPIASGIMiddleware(stack)
    stack = HTTPSRedirectMiddleware(stack)
    stack = TrustedHostMiddleware(stack, allowed_hosts=[HOST])
    stack = SecureASGIMiddleware(stack)
    stack = CorrelationIdMiddleware(stack)
    return AccessLog(stack)


def assembled_scope() -> dict[str, Any]:
    """The same request after a server has believed the proxy; slowapi looks for its limiter and route in the app."""

    async def endpoint(request: Any) -> None:
        """Never called: the raw application answers in its stead."""

    application = Starlette(routes=[Route("/orders/{id}", endpoint)])
    application.state.limiter = Limiter(key_func=get_remote_address, default_limits=[UNREACHED])
    return {**request_scope(scheme="https", client="203.0.113.7"), "app": application}
