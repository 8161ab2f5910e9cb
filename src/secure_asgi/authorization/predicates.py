"""What only a function knows: attributes, the owner of an object. Asked with a deadline, and believed to the letter."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from .._asgi import Scope
from .._challengers import forbidden
from .._options import is_async
from ..denial import Denial, Reason
from ..errors import ConfigurationError
from ..exchange import Exchange, Principal
from .decision_point import DecisionPoint
from .rules import Rule

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

logger = logging.getLogger("secure_asgi")

MAX_THREADS: Final = 32
"""Plain functions that run at a time; one that never returns keeps its thread, but not a request."""


class Access:
    """What is asked for: who (``principal``) does what (``method``, ``path``, ``params``).

    ``principal`` is None under a rule that asks for nobody; ``params`` are the rule's own parameters, as text;
    ``connection`` is a Starlette ``HTTPConnection``: ``access.connection.app.state``, ``.headers``, ``.query_params``.
    The body is not there to be read: it belongs to the handler.
    """

    __slots__ = ("_connection", "_scope", "exchange", "method", "params", "path")

    def __init__(self, exchange: Exchange, scope: Scope, method: str, path: str, params: Mapping[str, str]) -> None:
        self.exchange = exchange
        self.method = method
        self.path = path
        self.params = params
        self._scope = scope
        self._connection: HTTPConnection | None = None

    @property
    def principal(self) -> Principal | None:
        return self.exchange.principal

    @property
    def connection(self) -> "HTTPConnection":
        if self._connection is None:
            from starlette.requests import HTTPConnection

            self._connection = HTTPConnection(self._scope)
        return self._connection


class Predicates:
    """Asks the predicates of a rule, one after the other, all within ``deadline`` seconds.

    An ``async def`` runs on the event loop, a plain function in a thread, so that it may wait for a database. Only True
    lets the request pass, and only False refuses it: anything else, an exception, and a late answer are an outage.
    """

    __slots__ = ("_deadline", "_places")

    def __init__(self, deadline: float) -> None:
        if isinstance(deadline, bool) or not isinstance(deadline, (int, float)) or not 0 < deadline <= 60:
            raise ConfigurationError(f"deadline= is a number of seconds above 0, at most 60; got {deadline!r}")
        self._deadline = deadline
        # Taken and given back by threads and event loops alike: a list does either in one step.
        self._places = [None] * MAX_THREADS

    async def ask(self, rule: Rule, access: Access) -> Denial | None:
        """None where all of them say True. Raises nothing but a cancellation."""
        import anyio

        predicate: Callable[..., Any] = rule.predicates[0]
        try:
            with anyio.fail_after(self._deadline):
                for predicate in rule.predicates:
                    if isinstance(predicate, DecisionPoint):
                        denial = await predicate.decide(access)
                        if denial is not None:
                            return denial
                        continue
                    answer = await self._call(predicate, access)
                    if answer is False:
                        return forbidden(Reason.PREDICATE_REFUSED, f"{rule.name}: {_name(predicate)} says no")
                    if answer is not True:
                        return _failed(rule, predicate, f"gave {type(answer).__name__}, neither True nor False")
        except TimeoutError as late:
            logger.error("%s of %s did not answer in time", _name(predicate), rule.name, exc_info=late)
            return _failed(rule, predicate, "did not answer in time")
        except Exception as crash:  # the user's code: whatever it raises, nobody passes
            logger.error("%s of %s failed", _name(predicate), rule.name, exc_info=crash)
            return _failed(rule, predicate, f"raised {type(crash).__name__}")
        return None

    async def _call(self, predicate: Callable[..., Any], access: Access) -> Any:
        if is_async(predicate):
            return await predicate(access)
        answer = await self._in_a_thread(predicate, access)
        # A plain function may hand on what an async one gave it.
        return await answer if isawaitable(answer) else answer

    async def _in_a_thread(self, predicate: Callable[..., Any], access: Access) -> Any:
        from anyio import CapacityLimiter, to_thread

        try:
            place = [self._places.pop()]
        except IndexError:
            raise BusyError from None
        has_begun = False

        def leave() -> None:
            with suppress(IndexError):  # left already
                self._places.append(place.pop())

        def run() -> Any:
            nonlocal has_begun
            has_begun = True
            try:
                return predicate(access)
            finally:
                leave()

        try:
            # A limiter of its own: the application's threads are the application's.
            return await to_thread.run_sync(run, abandon_on_cancel=True, limiter=CapacityLimiter(1))
        finally:
            if not has_begun:
                leave()


class BusyError(Exception):
    """All threads for predicates are taken."""


def _failed(rule: Rule, predicate: Callable[..., Any], how: str) -> Denial:
    return Denial(
        Reason.PREDICATE_FAILED,
        503,
        "Whether this is allowed cannot be decided at the moment. Try again later.",
        headers=((b"retry-after", b"1"),),
        note=f"{rule.name}: {_name(predicate)} {how}",
    )


def _name(predicate: Callable[..., Any]) -> str:
    return str(getattr(predicate, "__name__", type(predicate).__name__))
