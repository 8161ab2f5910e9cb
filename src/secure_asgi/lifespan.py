"""Start-up and shutdown: layers open their resources before the application starts, and close them after it."""

import logging
from collections.abc import Callable
from typing import Any, Literal, Protocol

from ._asgi import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("secure_asgi")


class Resource(Protocol):
    """What lifespan needs of a layer."""

    place: str

    async def on_startup(self, scope: Scope) -> None: ...

    async def on_shutdown(self) -> None: ...


class Lifespan:
    """Opens the layers' resources before the application starts, closes them after it has stopped.

    An application that rejects lifespan does not keep them closed: then the protocol is completed for it.
    """

    __slots__ = ("_app", "_introduce", "_opened", "_resources", "_state", "_take_claims")

    def __init__(
        self,
        app: ASGIApp,
        resources: tuple[Resource, ...],
        take_claims: Callable[[Scope], None],
        introduce: Callable[[], None],
    ) -> None:
        self._app = app
        self._introduce = introduce
        self._resources = resources
        self._take_claims = take_claims
        self._opened: list[Resource] = []
        self._state: Literal["", "started", "failed", "stopped"] = ""

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        startup: Message | None = await receive()
        problem = await self._open(scope)
        if problem:
            await send({"type": "lifespan.startup.failed", "message": problem})
            return

        is_stopping = False

        async def replay() -> Message:
            nonlocal startup, is_stopping
            if self._state == "failed":
                return {"type": "lifespan.shutdown"}  # it had started, and we do not let it
            message, startup = startup, None
            if message is None:
                message = await receive()
                is_stopping = message["type"] == "lifespan.shutdown"
            return message

        async def relay(message: Message) -> None:
            if self._state != "failed":  # then the server has had the last word
                await send(await self._heed(message))

        try:
            try:
                await self._app(scope, replay, relay)
            except Exception:
                if self._state:
                    raise
                logger.info("the application takes no part in lifespan: completed in its stead")
            if not self._state:
                await relay({"type": "lifespan.startup.complete"})
            if self._state == "started":
                if not is_stopping:
                    await receive()
                await relay({"type": "lifespan.shutdown.complete"})
        finally:
            await self._close()

    async def _open(self, scope: Scope) -> str:
        """Outermost first. Returns what went wrong, for the server's log."""
        try:
            self._take_claims(scope)
            for layer in self._resources:
                await layer.on_startup({**scope, "app": scope.get("app") or _with_routes(self._app)})
                self._opened.append(layer)
        except Exception as error:
            logger.error("start-up failed", exc_info=error)
            await self._close()
            return f"{type(error).__name__}: {error}"
        return ""

    async def _heed(self, message: Message) -> Message:
        """Follow what the application says of itself; our resources close before the server hears it has stopped."""
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            try:
                self._introduce()
            except Exception as error:  # whatever it is: the server is told, and not by a traceback
                logger.error("start-up failed", exc_info=error)
                self._state = "failed"
                await self._close()
                return {"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"}
            self._state = "started"
        elif kind == "lifespan.startup.failed":
            self._state = "failed"
            await self._close()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            self._state = "stopped"
            problem = await self._close()
            if problem and kind == "lifespan.shutdown.complete":
                return {"type": "lifespan.shutdown.failed", "message": problem}
        return message

    async def _close(self) -> str:
        """Innermost first, each one whatever became of the others."""
        problem = ""
        while self._opened:
            layer = self._opened.pop()
            try:
                await layer.on_shutdown()
            except Exception as error:
                logger.error("on_shutdown of %s failed", layer.place, exc_info=error)
                problem = problem or f"{layer.place}: {type(error).__name__}: {error}"
            except BaseException:
                await self._close()  # cancelled: the others close all the same
                raise
        return problem


def _with_routes(app: Any) -> Any:
    """The application inside foreign middlewares, as far as they keep it in ``app``."""
    inner = app
    while not hasattr(inner, "routes") and hasattr(inner, "app"):
        inner = inner.app
    return inner if hasattr(inner, "routes") else app
