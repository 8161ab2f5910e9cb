"""Errors as RFC 9457 problems that say nothing private; what happened goes to the log, under the same id.

OWASP ASVS 5.0 V16.5. The middleware answers crashes; ``problem_handlers()`` puts the framework's own errors (404, 405,
422 ...) into the same shape from inside the application.
"""

import json
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ._asgi import ASGIApp, RawHeaders, Scope
from .denial import TITLES, Denial, Reason
from .errors import ConfigurationError
from .exchange import SCOPE_KEY, Exchange, new_uuid
from .flow import INTERNAL_ERROR, Layer

if TYPE_CHECKING:
    from starlette.responses import Response

logger = logging.getLogger("secure_asgi.errors")

PROBLEM = b"application/problem+json"

DETAILS: Mapping[int, str] = MappingProxyType(
    {
        404: "There is nothing at this address.",
        405: "The method is not allowed here; the Allow field lists those that are.",
        413: "The request content is larger than is accepted here.",
    }
)
"""What is said where the framework itself raised, with nothing but the status phrase."""

NOT_VALID = "The request does not have the form this operation asks for."
VALUE_NOT_VALID = "The value is not valid."
MAX_ERRORS = 50
"""A list of ten thousand wrong items is not answered with ten thousand sentences."""
MAX_NAME = 100
"""Characters kept of a name in an error's place: it may be one that the client made up."""

# Pydantic's messages that are made of the rule alone. All others are withheld, because they quote the value (a union's
# tag, a character of a UUID, a time zone) or hold whatever a validator of the application has put into its exception.
_TELLING_THE_RULE = frozenset(
    """
    missing extra_forbidden json_invalid json_type model_type model_attributes_type dataclass_type none_required
    greater_than greater_than_equal less_than less_than_equal multiple_of finite_number too_short too_long
    iterable_type string_type string_unicode string_too_short string_too_long string_pattern_mismatch string_not_ascii
    enum literal_error dict_type list_type tuple_type set_type frozen_set_type bool_type bool_parsing
    int_type int_parsing int_parsing_size int_from_float float_type float_parsing
    bytes_type bytes_too_short bytes_too_long
    date_type date_parsing date_from_datetime_parsing date_from_datetime_inexact date_past date_future
    time_type time_parsing datetime_type datetime_parsing datetime_from_date_parsing datetime_past datetime_future
    timezone_naive timezone_aware time_delta_type time_delta_parsing union_tag_not_found
    url_type url_parsing url_syntax_violation url_too_long url_scheme uuid_type uuid_version
    decimal_type decimal_parsing decimal_max_digits decimal_max_places decimal_whole_digits
    """.split()  # noqa: SIM905 -- seventy words read better as a paragraph
)

# Ours, or about a content that the problem replaces.
_NOT_KEPT = frozenset(
    (b"cache-control", b"content-encoding", b"content-length", b"content-type", b"etag", b"transfer-encoding")
)
_MEMBERS = frozenset(("type", "title", "status", "detail", "instance", "request_id"))
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BASE = re.compile(r"https?://[!-~]+[/#]")
_ECHOING = frozenset(
    (
        "fastapi.exception_handlers.request_validation_exception_handler",
        "fastapi.exception_handlers.websocket_request_validation_exception_handler",
    )
)

Exposed = type[Exception] | Iterable[type[Exception]] | Mapping[type[Exception], int]


class SanitizedErrorMiddleware(Layer):
    """Answers an exception from further in with a problem document, and logs it with the id the client was given.

    Starlette's ``HTTPException`` keeps its status and headers, and below 500 its detail, which was written for the
    client. ``expose`` are exception classes whose text may be shown: a class, several, or ``{OutOfStock: 409}``; with
    no status there, it is the exception's ``status_code`` if that is a 4xx, else 400. Everything else is a 500 with an
    ``instance`` (``urn:uuid:`` of the error id); the log ``secure_asgi.errors`` has the traceback under that id, and
    the error goes on outward, so that the server and tracing tools see it too. A 500 of the application that is no
    problem document (Starlette's own error page) is replaced. ``types_base`` (``"https://errors.example.com/"``) names
    the problem types instead of ``about:blank``. Raises ``ConfigurationError`` for a wrong option.

    Once a response has begun nothing can be replaced: the error goes on, and the server cuts the response off. Bodies
    are not read: an error text that the application sends itself, with another status than 500, goes out as it is.
    """

    name = "sanitized_errors"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        types_base: str | None = None,
        expose: Exposed = (),
    ) -> None:
        self._types_base = _checked_base(types_base)
        self._exposed = _checked_classes(expose)
        super().__init__(app)

    def on_error(self, exchange: Exchange, error: Exception) -> Denial:
        return self._answer(exchange, error)

    def on_response(self, exchange: Exchange, headers: RawHeaders) -> Denial | None:
        if exchange.status != 500 or _is_problem(headers):
            return None
        # Starlette sends its error page from inside ``except``: what it answers is the exception being handled.
        return self._answer(exchange, sys.exception())

    async def on_startup(self, scope: Scope) -> None:
        handlers: Mapping[Any, Any] = getattr(scope["app"], "exception_handlers", None) or {}
        if any(_name_of(handler) in _ECHOING for handler in handlers.values()):
            logger.warning(
                "FastAPI's own 422 handler is in place: it sends back what was submitted, passwords too. "
                "Replace it with FastAPI(exception_handlers=problem_handlers())"
            )

    def _answer(self, exchange: Exchange, error: BaseException | None) -> Denial:
        denial = _http_denial(error) or self._exposed_denial(error) or self._crash(exchange, error)
        return _typed(denial, self._types_base)

    def _exposed_denial(self, error: BaseException | None) -> Denial | None:
        for cls in type(error).__mro__:
            if cls in self._exposed:
                status: object = self._exposed[cls] or getattr(error, "status_code", None)
                if type(status) is not int or not 400 <= status < 500:
                    status = 400
                return Denial(Reason.HTTP_ERROR, status, _text_of(error), note=cls.__name__)
        return None

    def _crash(self, exchange: Exchange, error: BaseException | None) -> Denial:
        error_id = new_uuid()
        kind = type(error).__name__ if error is not None else "a 500 of the application"
        logger.error(
            "%s error_id=%s request_id=%s",
            kind,
            error_id,
            exchange.request_id,
            exc_info=error,
            extra={"error_id": error_id, "request_id": exchange.request_id},
        )
        return replace(INTERNAL_ERROR, error_id=error_id, note=kind)


def problem_handlers(*, types_base: str | None = None) -> dict[Any, Any]:
    """Handlers for ``FastAPI(exception_handlers=...)`` or Starlette's: the framework's own errors as problems.

    ``HTTPException`` of any status (404, 405 with its ``Allow``, 413 ...), and, where FastAPI is installed, its 422
    with a list ``errors`` that holds no submitted value; on a WebSocket it closes with 1008. ``types_base`` as in
    ``SanitizedErrorMiddleware``. There is none for ``Exception`` or 500: Starlette would run it outside all layers.
    """
    from starlette.exceptions import HTTPException

    base = _checked_base(types_base)

    async def http_error(connection: Any, error: Any) -> "Response | None":
        return await _respond(connection, error, base)

    async def validation_error(request: Any, error: Any) -> "Response | None":
        denial = Denial(Reason.HTTP_ERROR, 422, NOT_VALID, members={"errors": validation_errors(error.errors())})
        return _response(request, _typed(denial, base))

    async def websocket_validation_error(websocket: Any, error: Any) -> None:
        await websocket.close(code=1008)

    handlers: dict[Any, Callable[[Any, Any], Awaitable[Response | None]]] = {HTTPException: http_error}
    try:
        from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
    except ImportError:
        return handlers
    return handlers | {
        RequestValidationError: validation_error,
        WebSocketRequestValidationError: websocket_validation_error,
    }


def validation_errors(errors: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pydantic's errors without the values: ``detail``, ``type``, ``loc``, and ``pointer`` into a JSON body (RFC 6901).

    A message that can quote the value is replaced by a general sentence. Names the client made up (an extra member, a
    key of a dictionary) do appear in ``loc``, cut at 100 characters.
    """
    return [_published(error) for error, _ in zip(errors, range(MAX_ERRORS), strict=False)]


def _published(error: Mapping[str, Any]) -> dict[str, Any]:
    kind = error["type"]
    loc = [part if isinstance(part, int) else str(part)[:MAX_NAME] for part in error["loc"]]
    published = {"detail": error["msg"] if kind in _TELLING_THE_RULE else VALUE_NOT_VALID, "type": kind, "loc": loc}
    if loc[:1] == ["body"] and kind != "json_invalid":  # there the second part is a position, not a name
        published["pointer"] = "#" + "".join("/" + _pointer_part(part) for part in loc[1:])
    return published


def _pointer_part(part: int | str) -> str:
    return quote(str(part).replace("~", "~0").replace("/", "~1"), safe="~")


def _text_of(error: BaseException | None) -> str:
    """What the application's exception says; nothing where even asking it fails: this must not fail."""
    try:
        return str(error)
    except Exception:
        return ""


def _http_denial(error: BaseException | None) -> Denial | None:
    """What Starlette's exceptions for clients say; None for anything else, and for a status that has no content."""
    from starlette.exceptions import HTTPException, WebSocketException

    if isinstance(error, WebSocketException):
        status = {1011: 500, 1012: 503, 1013: 503}.get(error.code, 403)
        return Denial(Reason.HTTP_ERROR, status, close_code=error.code)
    if not isinstance(error, HTTPException) or not 300 <= error.status_code < 600 or error.status_code == 304:
        return None
    status = error.status_code
    detail, members = _public_part(error.detail, status)
    return Denial(Reason.HTTP_ERROR, status, detail, headers=_kept(error.headers), members=members)


def _public_part(detail: object, status: int) -> tuple[str, dict[str, Any]]:
    """The detail an application gave: a sentence, or FastAPI's arbitrary JSON, whose members become the problem's."""
    from http.client import responses

    if status >= 500:
        return "", {}
    if detail in (responses.get(status), TITLES.get(status)):  # which differ: the first is Python's, and older
        return DETAILS.get(status, ""), {}
    if isinstance(detail, str):
        return detail, {}
    if isinstance(detail, Mapping) and _is_json(detail):
        said = detail.get("detail")
        members = {str(name): value for name, value in detail.items() if name not in _MEMBERS}
        return said if isinstance(said, str) else "", members
    return "", {"errors": detail} if isinstance(detail, list) and _is_json(detail) else {}


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _kept(headers: Mapping[str, str] | None) -> tuple[tuple[bytes, bytes], ...]:
    """The headers an exception brings, but for those no response could carry: this must not fail."""
    lines = (
        (name.lower().encode(), value.encode())
        for name, value in (headers or {}).items()
        if _NAME.fullmatch(name) and value.isascii() and value.isprintable()
    )
    return tuple(line for line in lines if line[0] not in _NOT_KEPT)


def _typed(denial: Denial, types_base: str | None) -> Denial:
    """The denial with a problem type of its own: the base and the status phrase (``.../not-found``)."""
    if types_base is None:
        return denial
    return replace(denial, type=types_base + TITLES.get(denial.status, "error").lower().replace(" ", "-"))


async def _respond(connection: Any, error: Any, types_base: str | None) -> "Response | None":
    from starlette.responses import Response

    denial = _http_denial(error)
    if denial is None:
        return Response(status_code=error.status_code, headers=error.headers)
    denial = _typed(denial, types_base)
    response = _response(connection, denial)
    if connection.scope["type"] == "http":
        return response
    await _refuse_websocket(connection, response, denial.websocket_code)
    return None


async def _refuse_websocket(websocket: Any, response: "Response", code: int) -> None:
    """As an HTTP response before the handshake is over, where the server can; closed with the code otherwise."""
    from starlette.websockets import WebSocketState

    if websocket.client_state == WebSocketState.CONNECTING:
        await websocket.receive()
    is_open = websocket.application_state == WebSocketState.CONNECTING
    if is_open and "websocket.http.response" in (websocket.scope.get("extensions") or {}):
        await websocket.send_denial_response(response)
    else:
        await websocket.close(code=code)


def _response(connection: Any, denial: Denial) -> "Response":
    from starlette.responses import Response

    exchange: Exchange | None = connection.scope.get(SCOPE_KEY)
    document = denial.problem(exchange.request_id if exchange is not None else "")
    if exchange is None:
        # No layer of ours stands outside: an id that no log knows would mislead.
        del document["request_id"]
    response = Response(json.dumps(document, separators=(",", ":")), denial.status, media_type=PROBLEM.decode())
    response.raw_headers += [(b"cache-control", b"no-store"), *denial.headers]
    return response


def _is_problem(headers: RawHeaders) -> bool:
    return any(name == b"content-type" and value.lower().startswith(PROBLEM) for name, value in headers)


def _name_of(handler: object) -> str:
    """By name: FastAPI need not be imported to recognise what nobody has installed."""
    return f"{getattr(handler, '__module__', '')}.{getattr(handler, '__name__', '')}"


def _checked_base(types_base: object) -> str | None:
    if types_base is None or (isinstance(types_base, str) and _BASE.fullmatch(types_base)):
        return types_base
    raise ConfigurationError(
        'types_base= is an absolute address that ends with "/" or "#", as in "https://errors.example.com/", '
        f"got {types_base!r}"
    )


def _checked_classes(expose: Exposed) -> dict[type, int | None]:
    """Status by class; None where the exception decides."""
    given: dict[type, int | None]
    if isinstance(expose, Mapping):
        given = dict(expose)
    else:
        given = dict.fromkeys((expose,) if isinstance(expose, type) else expose)
    for cls, status in given.items():
        if not isinstance(cls, type) or not issubclass(cls, Exception) or cls is Exception:
            raise ConfigurationError(f"expose= takes exception classes of your own, whose text is public, got {cls!r}")
        if status is not None and not (type(status) is int and 400 <= status < 500):
            raise ConfigurationError(f"expose= gives {cls.__name__} a status from 400 to 499, got {status!r}")
    return given
