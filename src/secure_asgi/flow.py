"""``Layer``, and the flow that runs layers: nested to write, flat to run.

A layer is an ordinary ASGI middleware. One that wraps another directly does not nest a second time: the two merge into
one ``Flow``, which runs all their hooks in one pass with one ``send`` wrapper. What the pass promises is written in
``docs/explanation/the-pass.md``; the order of blocks here is the order of a request:

``Layer`` (what one writes) → ``bind`` (merging) → ``Flow`` (gates, the application, unwinding) → ``_Sender`` (the way
out) → ``_Inbox`` (WebSocket messages in). A denial is put on the wire by ``refusal``, resources open in ``lifespan``.
"""

import logging
import weakref
from collections.abc import Awaitable, Callable, Iterable
from datetime import date
from typing import Any, ClassVar, Literal

from ._asgi import ASGIApp, Message, RawHeaders, Receive, Scope, Send
from ._paths import PathSet, route_path, route_template
from .denial import Denial, Reason, Reply
from .errors import ConfigurationError
from .exchange import SCOPE_KEY, Decision, Exchange
from .lifespan import Lifespan
from .refusal import refuse

logger = logging.getLogger("secure_asgi")

Answer = Denial | Reply | Decision | None
OnRequest = Callable[[Exchange, Scope], Answer | Awaitable[Answer]]
OnResponse = Callable[[Exchange, RawHeaders], Denial | None]
OnError = Callable[[Exchange, Exception], Denial | None]
OnMessage = Callable[[Exchange, Message], Denial | Awaitable[Denial | None] | None]
OnSent = Callable[[Exchange], None]
OnEnd = Callable[[Exchange], Awaitable[None] | None]

_Step = tuple[int, "Layer", str, Any]
"""One hook of one layer: depth, layer, the hook's name, the hook."""

INTERNAL_ERROR = Denial(Reason.INTERNAL_ERROR, 500, "The request could not be processed.")


class Layer:
    """Base of every middleware: subclass it, override the hooks that are needed, and nothing else costs anything.

    ``name`` is the layer's name in decisions and in the order; ``repeatable`` allows two of one slot in a flow.
    ``budget`` bounds (seconds) what an awaitable from ``on_end`` may take. Options common to all gates: ``mode``
    (``"shadow"`` records refusals without sending them, until ``shadow_until``, a UTC date included) and ``exempt``
    (exact paths, or prefixes with a trailing slash). A subclass whose body defines ``__call__`` is a transform:
    it never merges, and drives ``self.app`` itself; hooks that it has too run between it and its application.

    Hooks are plain functions; ``on_request``, ``on_exempt``, ``on_message`` and ``on_end`` may return an awaitable when
    they must wait. A layer keeps no state of one request on itself: that goes into ``exchange.memo``.
    """

    name: ClassVar[str] = "layer"
    repeatable: ClassVar[bool] = False
    budget: float = 0.05
    merges: ClassVar[bool] = True
    idle_hooks: frozenset[str] = frozenset()
    """Hooks that the options of this one layer leave nothing to do: as if they were not overridden."""
    escape_hatches: tuple[str, ...] = ()
    """Options whose names begin with ``insecure_``, as far as they are on; ``secure-asgi check`` shows them."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in cls.__dict__:
            # Decided once, here: tracing tools patch __call__ later, and that must not change how layers compose.
            cls.merges = False

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
        place: str | None = None,
    ) -> None:
        if mode not in ("enforce", "shadow"):
            raise ConfigurationError(f'mode= is "enforce" or "shadow", got {mode!r}')
        if shadow_until is not None and (mode != "shadow" or type(shadow_until) is not date):
            raise ConfigurationError(
                f'shadow_until= is a datetime.date and goes with mode="shadow", got {shadow_until!r} with mode={mode!r}'
            )
        self.mode: str = mode
        self.shadow_until = shadow_until
        self.exempt = PathSet(exempt, option="exempt")
        self.place = self.slot() if place is None else place
        self.passed = Decision(self.place, "pass")
        self.exempted = Decision(self.place, "exempt")
        self.claim: Claim | None = None
        self.app: ASGIApp | None = app
        if app is not None and (self.merges or any(_overrides(self, hook) for hook in _HOOKS)):
            # A transform that inherits hooks has them run around self.app: a gate must not fall away unnoticed.
            self.app = bind(app, self)

    @classmethod
    def slot(cls, **options: Any) -> str:
        """The layer's place in the order; options may change it (a rate limit by client or by principal)."""
        return cls.name

    def on_request(self, exchange: Exchange, scope: Scope) -> Answer | Awaitable[Answer]:
        """Gate: None passes, a ``Decision`` passes too and is recorded, a ``Denial`` refuses, a ``Reply`` answers."""
        return None

    def on_exempt(self, exchange: Exchange, scope: Scope) -> Answer | Awaitable[Answer]:
        """Instead of ``on_request`` on an exempt path."""
        return None

    def on_response(self, exchange: Exchange, headers: RawHeaders) -> Denial | None:
        """Stamp: edits the response head in place; names are lower-case."""
        return None

    def on_message(self, exchange: Exchange, message: Message) -> Denial | Awaitable[Denial | None] | None:
        """Gate on an inbound WebSocket message; a ``Denial`` closes the connection."""
        return None

    def on_error(self, exchange: Exchange, error: Exception) -> Denial | None:
        """Envelope: answers an exception from further in, while no response head has left."""
        return None

    def on_sent(self, exchange: Exchange) -> None:
        """Envelope: once, before the last message of the answer is handed on."""

    def on_end(self, exchange: Exchange) -> Awaitable[None] | None:
        """Envelope: once, when everything further in has ended, however it ended."""
        return None

    def on_application(self, app: ASGIApp) -> None:
        """Once per flow, with the application inside it: when that has started, or else before the first request.

        Raising ``ConfigurationError`` fails the start-up. On a request it is logged: what to answer, the layer knows.
        """

    async def on_startup(self, scope: Scope) -> None:
        """Resource: opens; ``scope["app"]`` is the application with its routes. Raising fails the start-up."""

    async def on_shutdown(self) -> None:
        """Resource: closes what ``on_startup`` or first use has opened."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.app is None:
            raise ConfigurationError(f"{type(self).__name__} wraps no application: give it one as its first argument")
        await self.app(scope, receive, send)


_HOOKS = (
    "on_request",
    "on_exempt",
    "on_response",
    "on_message",
    "on_error",
    "on_sent",
    "on_end",
    "on_application",
    "on_startup",
    "on_shutdown",
)


class Claim:
    """One ``secure()`` or ``secure_stack()`` result serves one application: who came first has it."""

    __slots__ = ("_owner",)

    def __init__(self) -> None:
        self._owner: Callable[[], Any] | None = None

    def take(self, app: Any) -> None:
        owner = self._owner() if self._owner is not None else None
        if owner is None:
            try:
                self._owner = weakref.ref(app)
            except TypeError:  # a class with __slots__ and no place for weak references
                self._owner = lambda: app
        elif owner is not app:
            raise ConfigurationError(
                "one secure_stack() result serves one application, and this one already serves another: "
                "call secure_stack() again for the second"
            )


def bind(app: ASGIApp, layer: Layer) -> "Flow":
    """A flow of ``layer`` around ``app``; merged with the flow that ``app`` already is, if it is one."""
    inner: Any = app
    if isinstance(inner, Layer) and inner.merges:
        inner = inner.app
    if isinstance(inner, Flow):
        return Flow(inner.app, (layer, *inner.layers))
    return Flow(app, (layer,))


def _overrides(layer: Layer, hook: str) -> bool:
    return hook not in layer.idle_hooks and getattr(type(layer), hook) is not getattr(Layer, hook)


class Flow:
    """Layers, outermost first, run as one pass around an application. Made by ``bind``, not by hand."""

    def __init__(self, app: ASGIApp, layers: tuple[Layer, ...]) -> None:
        self.app = app
        self.layers = layers
        self.innermost = len(layers) - 1
        self._refuse_two_of_one_place()
        # Indexed by depth: what is met on the way out from there, innermost first.
        self.stamps = self._outward("on_response")
        self.sent = self._outward("on_sent")
        self.ends = self._outward("on_end")
        self.endings = self._outward("on_error", "on_end")
        self._gates = tuple(
            (index, layer, layer.exempt or None, layer.on_request, layer.passed)
            for index, layer in enumerate(layers)
            if _overrides(layer, "on_request") or _overrides(layer, "on_exempt")
        )
        self._error_layers = tuple(index for index, layer in enumerate(layers) if _overrides(layer, "on_error"))
        self._guards = len(self._error_layers)
        self._inbound = tuple(
            (index, layer, layer.on_message) for index, layer in enumerate(layers) if _overrides(layer, "on_message")
        )
        self._resources = tuple(
            layer for layer in layers if _overrides(layer, "on_startup") or _overrides(layer, "on_shutdown")
        )
        self._strangers = tuple(layer for layer in layers if _overrides(layer, "on_application"))
        self._claims = {layer.claim for layer in layers if layer.claim is not None}

    def _refuse_two_of_one_place(self) -> None:
        seen: set[str] = set()
        for layer in self.layers:
            if layer.place in seen and not layer.repeatable:
                raise ConfigurationError(
                    f"two layers of the kind {layer.place!r} wrap one application: "
                    f"keep one {type(layer).__name__}, with the options of both"
                )
            seen.add(layer.place)

    def _outward(self, *names: str) -> tuple[tuple[_Step, ...], ...]:
        """Per depth, what the layers from there outwards do at one turn of the way out. ``[-1]`` is "nothing"."""
        steps: tuple[_Step, ...] = ()
        outward = []
        for index, layer in enumerate(self.layers):
            own = tuple((index, layer, name, getattr(layer, name)) for name in names if _overrides(layer, name))
            steps = (*own, *steps)
            outward.append(steps)
        return (*outward, ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind != "http" and kind != "websocket":
            return await self._other(kind, scope, receive, send)
        if self._claims:
            self._take_claims(scope)
        if self._strangers:
            self._introduce_late()
        caller = scope
        exchange: Exchange | None = scope.get(SCOPE_KEY)
        is_first = exchange is None
        if exchange is None:
            scope = dict(scope)
            scope[SCOPE_KEY] = exchange = Exchange(scope)
        else:
            exchange.forget_fields()
        if type(scope["headers"]) is not list:
            scope["headers"] = list(scope["headers"])
        if kind == "websocket":
            exchange.awaits_connect = True
        sender = _Sender(self, exchange, scope, send, is_first)
        inbox: _Inbox | None = None
        decisions = exchange.decisions
        entered = -1
        is_through = False
        try:
            try:
                for entered, layer, exempt, hook, decision in self._gates:
                    if exempt is not None and route_path(scope) in exempt:
                        hook, decision = layer.on_exempt, layer.exempted
                    try:
                        answer = hook(exchange, scope)
                        if answer is not None and not isinstance(answer, (Denial, Reply, Decision)):
                            answer = await answer
                    except Exception as crash:
                        if not _survives(exchange, layer, crash):
                            raise
                        continue
                    if answer is None:
                        decisions.append(decision)
                    elif isinstance(answer, Decision):
                        decisions.append(answer)
                    elif not _suspended(exchange, layer, answer):
                        sender.leave_from(entered)
                        if isinstance(answer, Reply):
                            exchange.awaits_connect = False
                            await answer.app(scope, receive, sender)
                        else:
                            await _answer(answer, exchange, scope, receive, sender)
                        break
                else:
                    is_through = True
            except Exception as error:
                if not (self._is_guarded(exchange, entered) or sender.head_left) and _note_failure(
                    exchange, sender, error
                ):
                    sender.leave_from(entered)
                    await _answer(INTERNAL_ERROR, exchange, scope, receive, sender)
                raise
            if is_through:
                entered = self.innermost
                exchange.awaits_connect = False
                exchange.error_layers += self._guards
                if self._inbound and kind == "websocket":
                    inbox = _Inbox(self._inbound, exchange, scope, sender, receive)
                    await self._run_listening(inbox, exchange, scope, sender)
                else:
                    # The bound method: going through the type costs a third more, once a body chunk.
                    await self.app(scope, receive, sender.__call__)
        except BaseException as error:
            is_error = _note_failure(exchange, sender, error)
            if inbox is not None and inbox.is_unwound:
                entered = inbox.failed_at
            steps = self.endings[entered]
            if not await _unwind(steps, exchange, scope, receive, sender, error if is_error else None):
                raise
        else:
            if not (sender.done or exchange.done):
                _note_unfinished(exchange, sender)
            if steps := self.ends[entered]:
                await _unwind(steps, exchange, scope, receive, sender, None)
        finally:
            if is_through:
                exchange.error_layers -= self._guards
            if inbox is not None:
                inbox.error = None
            if is_first:
                exchange.forget_fields()
                # For whoever stands outside: tracing and access logs look for the route in their own scope.
                for key in ("route", "endpoint", "path_params"):
                    if key in scope:
                        caller[key] = scope[key]

    async def _run_listening(self, inbox: "_Inbox", exchange: Exchange, scope: Scope, sender: "_Sender") -> None:
        """The application behind an inbox. A raising ``on_message`` is an error from its layer outwards: the layers
        further in have only met the disconnect that the application was told of."""
        try:
            await self.app(scope, inbox, sender)
        except Exception as ending:
            if inbox.error is None or not _is_ending(ending):
                raise
            _note_failure(exchange, sender, ending)
        if inbox.error is not None:
            inbox.is_unwound = True
            inside = len(self.endings[self.innermost]) - len(self.endings[inbox.failed_at])
            await _unwind(self.endings[self.innermost][:inside], exchange, scope, inbox, sender, None)
            raise inbox.error

    async def _other(self, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        if kind != "lifespan":
            raise RuntimeError(f"secure_asgi does not know the scope type {kind!r} and lets nothing unknown pass")
        if self._resources or self._claims or self._strangers:
            await Lifespan(self.app, self._resources, self._take_claims, self._introduce).run(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _take_claims(self, scope: Scope) -> None:
        app = scope.get("app")
        if app is not None:
            for claim in self._claims:
                claim.take(app)

    def _introduce(self) -> None:
        """Show the application, which has all its routes by now, to the layers that ask for it."""
        strangers, self._strangers = self._strangers, ()
        for layer in strangers:
            layer.on_application(self.app)

    def _introduce_late(self) -> None:
        """There was no lifespan."""
        try:
            self._introduce()
        except ConfigurationError as error:
            logger.error("%s", error)

    def _is_guarded(self, exchange: Exchange, entered: int) -> bool:
        """An error layer stands outside the layer ``entered``: here, or in a flow further out."""
        return exchange.error_layers > 0 or any(index <= entered for index in self._error_layers)


def _survives(exchange: Exchange, layer: Layer, crash: Exception) -> bool:
    """Record a gate that raised; True in shadow mode, where even that must not stop a request."""
    is_shadowed = exchange.shadowed(layer)
    exchange.record(layer.place, "shadow" if is_shadowed else "error", Reason.INTERNAL_ERROR, type(crash).__name__)
    return is_shadowed


def _suspended(exchange: Exchange, layer: Layer, answer: Denial | Reply) -> bool:
    """Record what a layer said; True if shadow mode keeps it from being sent."""
    is_denial = isinstance(answer, Denial)
    note = answer.note if isinstance(answer, Denial) else ""
    if answer.reason and exchange.shadowed(layer):
        exchange.record(layer.place, "shadow", answer.reason, note)
        return True
    exchange.record(layer.place, "deny" if is_denial else "reply", answer.reason, note)
    return False


def _note_failure(exchange: Exchange, sender: "_Sender", error: BaseException) -> bool:
    """Whether ``error`` is one to answer: disconnects and cancellation are endings."""
    is_exception = isinstance(error, Exception)
    is_error = is_exception and not _is_ending(error)
    exchange.error_type = type(error).__name__
    if not (sender.done or exchange.done):
        exchange.outcome = "failed" if is_error else "aborted" if is_exception else "cancelled"
    if not sender.head_left and not exchange.head_left:
        exchange.status = None  # a head from further in that a foreign layer has kept to itself
    return is_error


def _note_unfinished(exchange: Exchange, sender: "_Sender") -> None:
    """The application returned without its last message: fine on an accepted WebSocket, else a cut."""
    exchange.outcome = "complete" if sender.head_left and exchange.status == 101 else "aborted"


def _is_ending(error: BaseException) -> bool:
    """The peer went away. By name: Starlette's classes need not be imported to recognise what nobody has raised."""
    return any(base.__name__ in ("WebSocketDisconnect", "ClientDisconnect") for base in type(error).__mro__)


async def _unwind(
    steps: tuple[_Step, ...],
    exchange: Exchange,
    scope: Scope,
    receive: Receive,
    sender: "_Sender",
    error: BaseException | None,
) -> bool:
    """Layer by layer, innermost first, ``on_error``, then ``on_end``. True if the error was answered for good."""
    is_handled = False
    for position, (index, layer, name, hook) in enumerate(steps):
        try:
            if name == "on_end":
                waiting = hook(exchange)
                if waiting is not None:
                    await _within(layer.budget, waiting)
            elif error is not None and not (is_handled or sender.head_left or exchange.head_left):
                denial = hook(exchange, error)
                if denial is not None:
                    sender.leave_from(index)
                    is_handled = await _answer_error(denial, exchange, scope, receive, sender)
        except Exception as crash:
            _record_crash(exchange, layer, name, crash)
        except BaseException as cut:
            # Cancelled while this layer waited: those further out end all the same, and that is how.
            _note_failure(exchange, sender, cut)
            await _unwind(steps[position + 1 :], exchange, scope, receive, sender, None)
            raise
    return is_handled


async def _answer_error(denial: Denial, exchange: Exchange, scope: Scope, receive: Receive, sender: "_Sender") -> bool:
    """Below 500 the error was an answer in disguise; from 500 on it goes outward too, to the server's log."""
    is_handled = denial.status < 500
    exchange.outcome = None if is_handled else "failed"
    try:
        await _answer(denial, exchange, scope, receive, sender)
    except Exception:
        exchange.outcome = "failed"
        raise
    return is_handled


async def _answer(denial: Denial, exchange: Exchange, scope: Scope, receive: Receive, sender: "_Sender") -> None:
    """Refuse; a client that has gone away is no error, but the end of it."""
    exchange.denial = denial
    try:
        await refuse(denial, exchange, scope, receive, sender)
    except OSError:
        is_cut = True
    else:
        is_cut = not sender.done
    if is_cut and exchange.outcome != "failed":
        exchange.outcome = "aborted"


async def _within(budget: float, waiting: Awaitable[None]) -> None:
    import anyio  # only here: a flow whose layers never wait at the end never loads it

    with anyio.fail_after(budget, shield=True):
        await waiting


def _record_crash(exchange: Exchange, layer: Layer, hook: str, crash: Exception) -> None:
    """A hook that may not stop the answer has failed: silent to the client, on record for us."""
    exchange.record(layer.place, "error", Reason.INTERNAL_ERROR, f"{hook}: {type(crash).__name__}")
    logger.error("%s of %s failed", hook, layer.place, exc_info=crash)


_HEADS = frozenset(("http.response.start", "websocket.accept", "websocket.http.response.start"))


def _is_last(kind: str, message: Message, has_trailers: bool) -> bool:
    """The message that ends an answer."""
    match kind:
        case "http.response.body" | "http.response.zerocopysend":
            return not message.get("more_body", False) and not has_trailers
        case "http.response.trailers":
            return not message.get("more_trailers", False)
        case "http.response.pathsend":
            return not has_trailers
        case "websocket.http.response.body":
            return not message.get("more_body", False)
        case _:
            return kind == "websocket.close"


class _Sender:
    """The flow's ``send``: stamps the head, notices the end, and drops what comes after a refusal.

    Not a coroutine function: it returns the server's own awaitable, so a body chunk costs no coroutine more.
    It may hold the scope, because nothing in the scope leads back to it.
    """

    __slots__ = (
        "_exchange",
        "_flow",
        "_has_trailers",
        "_is_first",
        "_muted_by",
        "_scope",
        "_send",
        "_sent_from",
        "_stamps_from",
        "done",
        "head_left",
    )

    def __init__(self, flow: Flow, exchange: Exchange, scope: Scope, send: Send, is_first: bool) -> None:
        self._flow = flow
        self._exchange = exchange
        self._scope = scope
        self._send = send
        self._is_first = is_first
        self._has_trailers = False
        self._muted_by = -1
        self._stamps_from = self._sent_from = flow.innermost
        self.head_left = False
        self.done = False

    def leave_from(self, depth: int) -> None:
        """What is sent from now on comes from layer ``depth``, not from the application: it meets the layers from there
        outwards."""
        self._stamps_from = self._sent_from = depth

    def __call__(self, message: Message) -> Awaitable[None]:
        kind: str = message["type"]
        if self._muted_by >= 0:
            return self._drop(kind, message)
        if kind == "http.response.body":  # first: the only message there are many of
            if self._is_first and (body := message.get("body")):
                self._exchange.bytes_sent += len(body)
            if not (message.get("more_body") or self._has_trailers):
                self._finish()
        elif kind in _HEADS:
            self._note_head(101 if kind == "websocket.accept" else message["status"])
            self._has_trailers = message.get("trailers", False)
            if stamps := self._flow.stamps[self._stamps_from]:
                return self._stamp_and_send(stamps, message)
        elif _is_last(kind, message, self._has_trailers):
            if kind == "websocket.close" and not self.head_left:
                self._note_head(403)  # what a server answers to a handshake that is closed
            self._finish()
        return self._send(message)

    def _note_head(self, status: int) -> None:
        exchange = self._exchange
        exchange.status = status
        if exchange.route is None:
            exchange.route = route_template(self._scope)
        self.head_left = True
        if self._is_first:
            exchange.head_left = True

    def _stamp_and_send(self, stamps: tuple[_Step, ...], message: Message) -> Awaitable[None]:
        exchange = self._exchange
        headers = [(name.lower(), value) for name, value in message.get("headers") or ()]
        for index, layer, _, on_response in stamps:
            try:
                denial = on_response(exchange, headers)
            except Exception as crash:
                _record_crash(exchange, layer, "on_response", crash)
                continue
            if denial is not None:
                return self._replace(index, denial)
        return self._send({**message, "headers": headers})

    def _finish(self) -> None:
        """The last message is about to leave, or to be dropped: ``on_sent`` of the layers that it passes."""
        if self.done:
            return
        self.done = True
        exchange = self._exchange
        if self._is_first:
            exchange.done = True
        if exchange.outcome is None:
            exchange.outcome = "complete"
        for index, layer, name, on_sent in self._flow.sent[self._sent_from]:
            if index > self._muted_by:
                try:
                    on_sent(exchange)
                except Exception as crash:
                    _record_crash(exchange, layer, name, crash)

    def _mute(self, index: int) -> "_Sender":
        """Layer ``index`` takes the answer over: the way out for it, and nothing more for those further in."""
        own = _Sender(self._flow, self._exchange, self._scope, self._send, self._is_first)
        own._sent_from = index
        own.head_left = self.head_left
        self._muted_by = index
        self.head_left = True
        return own

    async def _replace(self, index: int, denial: Denial) -> None:
        """Layer ``index`` will not have this head: its refusal goes out instead, from outside itself."""
        own = self._mute(index)
        own.head_left = False
        own._stamps_from = index - 1
        exchange = self._exchange
        exchange.denial = denial
        if denial.status >= 500:
            exchange.outcome = "failed"
        await refuse(denial, exchange, self._scope, None, own)

    async def close(self, index: int, code: int) -> None:
        """Layer ``index`` closes an open WebSocket, unless somebody has done so already."""
        if not self.done and self._muted_by < 0:
            await self._mute(index)({"type": "websocket.close", "code": code, "reason": ""})

    def _drop(self, kind: str, message: Message) -> Awaitable[None]:
        """Said to nobody; but the layers between the application and the one that answered learn of its end."""
        if _is_last(kind, message, self._has_trailers):
            self._finish()
        return _nothing()


async def _nothing() -> None:
    pass


class _Inbox:
    """The ``receive`` of a WebSocket some layer listens to; after a refusal the application hears of a disconnect."""

    __slots__ = ("_code", "_exchange", "_hooks", "_receive", "_sender", "error", "failed_at", "is_unwound")

    def __init__(
        self,
        inbound: tuple[tuple[int, Layer, OnMessage], ...],
        exchange: Exchange,
        scope: Scope,
        sender: _Sender,
        receive: Receive,
    ) -> None:
        path = route_path(scope)
        self._hooks = [hook for hook in inbound if path not in hook[1].exempt]
        self._exchange = exchange
        self._sender = sender
        self._receive = receive
        self._code = 0
        self.error: Exception | None = None
        self.failed_at = -1
        self.is_unwound = False

    async def __call__(self) -> Message:
        if self._code:
            return self._goodbye()
        message = await self._receive()
        if message["type"] != "websocket.receive":
            return message
        exchange = self._exchange
        for index, layer, on_message in self._hooks:
            try:
                said = on_message(exchange, message)
                denial = said if said is None or isinstance(said, Denial) else await said
            except Exception as crash:
                if _survives(exchange, layer, crash):
                    continue
                self.error, self.failed_at = crash, index
                exchange.outcome = "failed"
                denial = INTERNAL_ERROR
            else:
                if denial is None or _suspended(exchange, layer, denial):
                    continue
            exchange.denial = denial
            self._code = denial.websocket_code
            await self._sender.close(index, self._code)
            return self._goodbye()
        return message

    def _goodbye(self) -> Message:
        return {"type": "websocket.disconnect", "code": self._code, "reason": ""}
