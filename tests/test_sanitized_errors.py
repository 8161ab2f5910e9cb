"""SanitizedErrorMiddleware and problem_handlers: requirements ERR-1 to ERR-7, ASVS V16.5."""

import asyncio
import logging
import sys
from typing import Annotated, Literal

import pytest
from fastapi import Depends, FastAPI, HTTPException, Query, WebSocket, WebSocketException
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from secure_asgi.denial import Denial
from secure_asgi.errors import ConfigurationError
from secure_asgi.exchange import exchange_of
from secure_asgi.flow import Layer
from secure_asgi.sanitized_errors import SanitizedErrorMiddleware, problem_handlers, validation_errors

from .asgi import drive, hello, http, http_scope, websocket

DSN = "postgresql://orders:hunter2@db.internal/orders"
PASSWORD = "correct-horse"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


class OutOfStock(Exception):
    pass


class Busy(Exception):
    status_code = 409


class LoginForm(BaseModel):
    user: str
    password: str = Field(max_length=3)


def crash(*_: object) -> None:
    raise RuntimeError(f"could not connect to {DSN}")


def around(app, **options):
    """The whole application inside: Starlette's own error page is sent inside our layer."""
    return SanitizedErrorMiddleware(app, **options)


def nested(app, **options):
    """Among the application's middlewares: Starlette's error page stands outside our layer."""
    app.add_middleware(SanitizedErrorMiddleware, **options)
    return app


def of_starlette(endpoint, **options):
    return Starlette(routes=[Route("/", endpoint)], **options)


def of_fastapi(endpoint, **options):
    app = FastAPI(**options)
    app.get("/")(endpoint)
    return app


@pytest.fixture(params=[around, nested])
def placed(request):
    return request.param


@pytest.fixture(params=[of_starlette, of_fastapi])
def made(request):
    return request.param


def raises(error):
    async def app(scope, receive, send):
        raise error

    return app


# Crashes


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize("debug", [False, True])
def test_a_crash_says_nothing_and_is_logged_under_its_id(placed, made, debug, accept, caplog):
    """ERR-1, ERR-6, ERR-7: wherever the layer stands, in debug mode too. The error still reaches the server."""

    async def endpoint(request=None):
        crash()

    answer = http(placed(made(endpoint, debug=debug)), headers={"accept": accept})
    problem = answer.problem
    instance = problem.pop("instance")
    assert problem == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "The request could not be processed.",
        "request_id": problem["request_id"],
    }
    assert answer.headers["cache-control"] == "no-store"
    assert isinstance(answer.error, RuntimeError)
    (record,) = (record for record in caplog.records if record.name == "secure_asgi.errors")
    assert (record.levelno, f"urn:uuid:{record.error_id}") == (logging.ERROR, instance)
    assert record.request_id == problem["request_id"]
    assert f"error_id={record.error_id} request_id={record.request_id}" in record.getMessage()
    assert record.exc_info[1] is answer.error


def test_a_crash_in_a_dependency(placed):
    def connection():
        crash()

    async def endpoint(value: Annotated[None, Depends(connection)]):
        return value

    answer = http(placed(of_fastapi(endpoint)))
    assert answer.problem["status"] == 500
    assert DSN.encode() not in answer.body


def test_a_crash_in_a_foreign_middleware(placed):
    app = of_starlette(crash)
    app.add_middleware(lambda app: raises(RuntimeError(DSN)))
    assert http(placed(app)).problem["status"] == 500


def test_a_crash_of_a_plain_asgi_app_and_of_a_layer():
    class Broken(Layer):
        def on_request(self, exchange, scope):
            crash()

    for app in (raises(RuntimeError(DSN)), Broken(hello)):
        answer = http(SanitizedErrorMiddleware(app))
        assert "instance" in answer.problem
        assert isinstance(answer.error, RuntimeError)


def test_a_crash_in_the_middle_of_a_stream(placed, made):
    """ERR-7: no second start, no end that looks like a whole answer; the error goes on."""

    async def chunks():
        yield b"one"
        crash()

    async def endpoint(request=None):
        return StreamingResponse(chunks())

    # From 2.4 on Starlette does not listen for a disconnect, which this driver sends when asked again.
    answer = http(placed(made(endpoint)), asgi={"version": "3.0", "spec_version": "2.4"})
    assert (answer.status, answer.body) == (200, b"one")
    assert isinstance(answer.error, RuntimeError)
    assert answer.messages[-1].get("more_body") is True


def test_a_crash_in_a_background_task(placed, made):
    async def endpoint(request=None):
        return PlainTextResponse("done", background=BackgroundTask(crash))

    answer = http(placed(made(endpoint)))
    assert (answer.status, answer.body) == (200, b"done")
    assert isinstance(answer.error, RuntimeError)


@pytest.mark.parametrize(
    ("denial_response", "kinds"),
    [
        pytest.param(True, ["websocket.http.response.start", "websocket.http.response.body"], id="as HTTP"),
        pytest.param(False, ["websocket.close"], id="closed"),
    ],
)
def test_a_crash_before_a_websocket_is_accepted(placed, denial_response, kinds):
    async def endpoint(websocket):
        crash()

    answer = websocket(placed(Starlette(routes=[WebSocketRoute("/ws", endpoint)])), denial_response=denial_response)
    assert [message["type"] for message in answer.messages] == kinds
    assert isinstance(answer.error, RuntimeError)
    if denial_response:
        assert answer.problem["status"] == 500
    else:
        assert answer.close_code == 1011


def test_a_crash_after_a_websocket_is_accepted(placed):
    async def endpoint(websocket):
        await websocket.accept()
        crash()

    answer = websocket(placed(Starlette(routes=[WebSocketRoute("/ws", endpoint)])))
    assert [message["type"] for message in answer.messages] == ["websocket.accept"]
    assert isinstance(answer.error, RuntimeError)


def test_a_500_of_the_application_itself_is_replaced(placed, made, caplog):
    async def endpoint(request=None):
        return JSONResponse({"error": DSN}, status_code=500)

    answer = http(placed(made(endpoint)))
    assert set(answer.problem) == {"type", "title", "status", "detail", "instance", "request_id"}
    assert answer.error is None
    assert "a 500 of the application error_id=" in caplog.text


def test_a_500_that_is_a_problem_already_stays(placed, made):
    async def endpoint(request=None):
        return JSONResponse({"status": 500}, 500, media_type="application/problem+json; charset=utf-8")

    assert http(placed(made(endpoint))).body == b'{"status":500}'


@pytest.mark.parametrize("status", [200, 404, 502, 503])
def test_other_answers_of_the_application_stay(placed, made, status):
    async def endpoint(request=None):
        return PlainTextResponse("own", status)

    answer = http(placed(made(endpoint)))
    assert (answer.status, answer.body) == (status, b"own")


def test_a_refusal_further_in_stays():
    class Gate(Layer):
        def on_request(self, exchange, scope):
            return Denial("acme.broken", 500, "Own words.")

    assert http(SanitizedErrorMiddleware(Gate(hello))).problem["detail"] == "Own words."


def test_head_has_no_content():
    """ERR-5."""
    answer = http(SanitizedErrorMiddleware(raises(RuntimeError())), method="HEAD")
    assert (answer.status, answer.body) == (500, b"")


# Starlette's exceptions, where no handler is


@pytest.mark.parametrize("placed", [around, nested])
def test_an_http_exception_in_a_foreign_middleware_has_its_status(placed):
    """Starlette alone would answer 500: its own handlers stand further in."""
    error = HTTPException(401, "Sign in first.", headers={"WWW-Authenticate": "Bearer", "Content-Length": "1"})
    app = of_starlette(crash)
    app.add_middleware(lambda app: raises(error))
    answer = http(placed(app))
    assert (answer.status, answer.problem["detail"]) == (401, "Sign in first.")
    assert answer.headers["www-authenticate"] == "Bearer"
    # Inside, it was an answer; outside, Starlette's error page has raised it on already.
    assert answer.error is (None if placed is nested else error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(HTTPException(404), {"detail": "There is nothing at this address."}, id="404 unexplained"),
        pytest.param(HTTPException(409), {}, id="the bare phrase says no more than the title"),
        pytest.param(HTTPException(409, "Sold out."), {"detail": "Sold out."}, id="ERR-6 a 4xx's words"),
        pytest.param(
            HTTPException(409, {"detail": "Sold out.", "code": "stock", "status": 1}),
            {"detail": "Sold out.", "code": "stock"},
            id="members, but not in place of ours",
        ),
        pytest.param(HTTPException(409, {"code": 7}), {"code": 7}, id="members alone"),
        pytest.param(HTTPException(409, ["a", "b"]), {"errors": ["a", "b"]}, id="a list"),
        pytest.param(HTTPException(409, {"at": object()}), {}, id="no JSON"),
        pytest.param(HTTPException(409, [object()]), {}, id="a list that is no JSON"),
        pytest.param(HTTPException(409, [float("nan")]), {}, id="a number JSON has not"),
        pytest.param(HTTPException(409, 7), {}, id="a number"),
        pytest.param(HTTPException(503, DSN), {}, id="ERR-6 a 5xx's words are for us"),
        pytest.param(HTTPException(500, DSN), {}, id="nor a 500's"),
        pytest.param(HTTPException(300, "Choose."), {"detail": "Choose."}, id="the least status with a problem"),
        pytest.param(HTTPException(307, headers={"Location": "/x"}), {}, id="a redirect"),
        pytest.param(WebSocketException(1008, DSN), {}, id="a WebSocket's, on HTTP"),
    ],
)
def test_http_exceptions(error, expected):
    problem = http(SanitizedErrorMiddleware(raises(error))).problem
    standard = {name: problem.pop(name) for name in ("type", "title", "status", "request_id")}
    assert standard["status"] == getattr(error, "status_code", 403)
    assert problem == expected


@pytest.mark.parametrize("status", [204, 304, 100, 200, 600])
def test_a_status_that_is_no_error_with_content_is_a_crash(status):
    """ERR-5."""
    error = HTTPException(400, "x")
    error.status_code = status
    assert http(SanitizedErrorMiddleware(raises(error))).status == 500


def test_headers_no_response_could_carry_are_left_out():
    error = HTTPException(
        429, "x", headers={"Retry-After": "7", "X-A": "a\r\nset-cookie: b", "X B": "c", "X-C": "\xe9"}
    )
    assert set(http(SanitizedErrorMiddleware(raises(error))).headers) == {
        "cache-control",
        "content-length",
        "content-type",
        "retry-after",
    }


@pytest.mark.parametrize(
    ("code", "status"),
    [(1008, 403), (4401, 403), (1011, 500), (1012, 503), (1013, 503)],
)
def test_a_websocket_exception_closes_with_its_code_or_says_it_in_http(code, status):
    app = SanitizedErrorMiddleware(raises(WebSocketException(code, DSN)))
    assert websocket(app, denial_response=False).close_code == code
    assert websocket(app).problem["status"] == status


# expose=


@pytest.mark.parametrize(
    ("expose", "error", "status"),
    [
        pytest.param(OutOfStock, OutOfStock("Sold out."), 400, id="one class"),
        pytest.param([Busy, OutOfStock], OutOfStock("Sold out."), 400, id="several"),
        pytest.param({OutOfStock: 409}, OutOfStock("Sold out."), 409, id="a status"),
        pytest.param({OutOfStock: None}, OutOfStock("Sold out."), 400, id="no status"),
        pytest.param({OutOfStock: 400}, OutOfStock("Sold out."), 400, id="the least status"),
        pytest.param([Busy], Busy("Sold out."), 409, id="the exception's own status"),
        pytest.param({LookupError: 404, KeyError: 410}, KeyError("Sold out."), 410, id="the nearest class"),
        pytest.param({LookupError: 404}, IndexError("Sold out."), 404, id="a subclass"),
        pytest.param([ValidationError], ValidationError.from_exception_data("Sold out.", []), 400, id="a library's"),
    ],
)
def test_exposed(placed, expose, error, status):
    async def endpoint(request):
        raise error

    answer = http(placed(of_starlette(endpoint), expose=expose))
    assert answer.status == status
    assert "Sold out." in answer.problem["detail"]
    assert "instance" not in answer.problem
    assert answer.error is (error if placed is around else None)


@pytest.mark.parametrize("status_code", [500, 200, "409", None])
def test_an_exposed_exception_that_names_no_4xx_is_a_400(status_code):
    error = OutOfStock("Sold out.")
    error.status_code = status_code
    assert http(SanitizedErrorMiddleware(raises(error), expose=OutOfStock)).status == 400


def test_what_is_not_exposed_stays_private():
    assert b"hunter2" not in http(SanitizedErrorMiddleware(raises(OutOfStock(DSN)), expose=Busy)).body


# types_base=


@pytest.mark.parametrize(
    ("error", "name"),
    [
        pytest.param(RuntimeError(), "internal-server-error", id="a crash"),
        pytest.param(HTTPException(404), "not-found", id="an HTTP error"),
        pytest.param(OutOfStock(), "conflict", id="an exposed one"),
        pytest.param(HTTPException(418), "error", id="a status we have no phrase for"),
    ],
)
def test_types_base(error, name):
    """ERR-3."""
    app = SanitizedErrorMiddleware(raises(error), types_base="https://errors.example.com/", expose={OutOfStock: 409})
    assert http(app).problem["type"] == f"https://errors.example.com/{name}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"types_base": "errors/"}, "absolute address", id="relative"),
        pytest.param({"types_base": "https://errors.example.com"}, 'ends with "/" or "#"', id="no end"),
        pytest.param({"types_base": "https://e.example/a b/"}, "absolute address", id="a space"),
        pytest.param({"types_base": 1}, "got 1", id="no text"),
        pytest.param({"expose": Exception}, "classes of your own", id="all of them"),
        pytest.param({"expose": BaseException}, "classes of your own", id="and more"),
        pytest.param({"expose": [OutOfStock("x")]}, "exception classes", id="an instance"),
        pytest.param({"expose": int}, "exception classes", id="another class"),
        pytest.param({"expose": {OutOfStock: 500}}, "status from 400 to 499, got 500", id="a server error"),
        pytest.param({"expose": {OutOfStock: True}}, "status from 400 to 499, got True", id="a bool"),
    ],
)
def test_wrong_option(options, message):
    with pytest.raises(ConfigurationError, match=message):
        SanitizedErrorMiddleware(**options)


def test_problem_handlers_check_their_option_too():
    with pytest.raises(ConfigurationError, match="absolute address"):
        problem_handlers(types_base="errors")


# At start-up


def started(app) -> None:
    async def receive():
        return {"type": "lifespan.startup"} if not sent else {"type": "lifespan.shutdown"}

    sent = []

    async def send(message):
        sent.append(message["type"])

    asyncio.run(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize(
    ("made", "warns"),
    [
        pytest.param(FastAPI, True, id="FastAPI as it comes"),
        pytest.param(lambda: FastAPI(exception_handlers=problem_handlers()), False, id="with problem_handlers"),
        pytest.param(Starlette, False, id="Starlette has no 422"),
    ],
)
def test_warns_of_the_422_that_echoes(placed, made, warns, caplog):
    started(placed(made()))
    assert ("FastAPI's own 422 handler is in place" in caplog.text) is warns


def test_an_application_without_handlers_starts(caplog):
    async def app(scope, receive, send):
        raise RuntimeError("no lifespan here")

    started(around(app))
    assert "422" not in caplog.text


# problem_handlers()


def orders(placed=None, **options) -> FastAPI:
    app = FastAPI(exception_handlers=problem_handlers(), **options)

    @app.post("/login")
    async def login(form: LoginForm):
        return form.user

    @app.get("/orders")
    async def read(limit: Annotated[int, Query(le=100)] = 10):
        raise HTTPException(limit, "Own words.", headers={"Retry-After": "7"})

    @app.websocket("/early")
    async def early(websocket: WebSocket):
        raise HTTPException(404, "Own words.")

    @app.websocket("/late")
    async def late(websocket: WebSocket):
        await websocket.accept()
        raise HTTPException(404, "Own words.")

    @app.websocket("/validated")
    async def validated(websocket: WebSocket, limit: int):
        await websocket.accept()

    return placed(app) if placed else app


def post(app, path, body, **headers):
    return http(app, path, method="POST", body=body, headers={"content-type": "application/json", **headers})


@pytest.mark.parametrize(
    ("path", "method", "expected", "kept"),
    [
        pytest.param(
            "/nowhere",
            "GET",
            {"title": "Not Found", "status": 404, "detail": "There is nothing at this address."},
            {},
            id="404",
        ),
        pytest.param(
            "/login",
            "GET",
            {
                "title": "Method Not Allowed",
                "status": 405,
                "detail": "The method is not allowed here; the Allow field lists those that are.",
            },
            {"allow": "POST"},
            id="405",
        ),
    ],
)
def test_the_routers_errors(placed, path, method, expected, kept):
    """ERR-1, ERR-2."""
    answer = http(orders(placed), path, method=method)
    problem = answer.problem
    assert problem == {"type": "about:blank", **expected, "request_id": problem["request_id"]}
    assert {name: answer.headers.get(name) for name in kept} == kept
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        pytest.param(429, "Own words.", id="a 4xx keeps its words"),
        pytest.param(503, None, id="a 5xx does not"),
    ],
)
def test_the_applications_http_exceptions(placed, status, detail):
    async def endpoint(request=None):
        raise HTTPException(status, "Own words.", headers={"Retry-After": "7"})

    answer = http(placed(of_fastapi(endpoint, exception_handlers=problem_handlers())))
    assert (answer.status, answer.problem.get("detail")) == (status, detail)
    assert answer.headers["retry-after"] == "7"
    assert answer.error is None


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_content_has_none(status):
    """ERR-5."""

    async def endpoint(request):
        raise HTTPException(status, headers={"etag": '"x"'})

    answer = http(of_starlette(endpoint, exception_handlers=problem_handlers()))
    assert (answer.status, answer.body, answer.headers) == (status, b"", {"etag": '"x"'})


def test_a_body_over_the_limit_is_a_problem(placed):
    """FastAPI's max_body_size, met while the body is read."""
    app = orders(placed, max_body_size=10)
    inbound = [{"type": "http.request", "body": b'"' + b"x" * 20, "more_body": True}]
    scope = http_scope("/login", method="POST", headers={"content-type": "application/json"})
    answer = asyncio.run(drive(app, scope, inbound))
    assert answer.problem["detail"] == "The request content is larger than is accepted here."
    assert answer.status == 413


def test_a_body_announced_too_large_is_answered_once(placed):
    """There Starlette answers in text, before anyone else: it must stay the only answer."""
    app = orders(placed, max_body_size=10)
    answer = post(app, "/login", b"x" * 20, **{"content-length": "20"})
    assert (answer.status, answer.body) == (413, b"Content Too Large")


def test_a_422_names_the_place_and_never_the_value(placed):
    """ERR-4; the regression: FastAPI sends the whole input back."""
    answer = post(orders(placed), "/login", f'{{"password": "{PASSWORD}"}}'.encode())
    problem = answer.problem
    assert (answer.status, problem["title"]) == (422, "Unprocessable Content")
    assert problem["detail"] == "The request does not have the form this operation asks for."
    assert problem["errors"] == [
        {"detail": "Field required", "type": "missing", "loc": ["body", "user"], "pointer": "#/user"},
        {
            "detail": "String should have at most 3 characters",
            "type": "string_too_long",
            "loc": ["body", "password"],
            "pointer": "#/password",
        },
    ]
    assert PASSWORD.encode() not in answer.body


@pytest.mark.parametrize(
    ("send", "error"),
    [
        pytest.param(
            lambda app: http(app, "/orders", query="limit=101"),
            {
                "detail": "Input should be less than or equal to 100",
                "type": "less_than_equal",
                "loc": ["query", "limit"],
            },
            id="a query parameter has no pointer",
        ),
        pytest.param(
            lambda app: post(app, "/login", b'{"user": '),
            {"detail": "JSON decode error", "type": "json_invalid", "loc": ["body", 9]},
            id="broken JSON has a position",
        ),
    ],
)
def test_422s_outside_the_body(send, error):
    assert send(orders()).problem["errors"] == [error]


class Strict(BaseModel):
    name: str = ""

    @field_validator("name")
    @classmethod
    def check(cls, value: str) -> str:
        raise ValueError(f"{value} is taken")


class Asserted(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def check(cls, value: str) -> str:
        assert value == "", f"{value} is taken"
        return value


class Custom(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def check(cls, value: str) -> str:
        raise PydanticCustomError("taken", "{value} is taken", {"value": value})


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


@pytest.mark.parametrize(
    ("model", "value", "kind"),
    [
        pytest.param(Strict, {"name": PASSWORD}, "value_error", id="a validator's own words"),
        pytest.param(Asserted, {"name": PASSWORD}, "assertion_error", id="an assertion's"),
        pytest.param(Custom, {"name": PASSWORD}, "taken", id="a kind of one's own"),
        pytest.param(Owner, {"pet": {"kind": PASSWORD}}, "union_tag_invalid", id="a union's tag"),
    ],
)
def test_messages_that_quote_the_value_are_withheld(model, value, kind):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(model).validate_python(value)
    assert PASSWORD in str(caught.value)
    (published,) = validation_errors(caught.value.errors())
    assert (published["detail"], published["type"]) == ("The value is not valid.", kind)
    assert PASSWORD not in repr(published)


@pytest.mark.parametrize(
    ("loc", "published", "pointer"),
    [
        pytest.param(("body",), ["body"], "#", id="the whole"),
        pytest.param(("body", "items", 0, "a/b~c"), ["body", "items", 0, "a/b~c"], "#/items/0/a~1b~0c", id="escaped"),
        pytest.param(("body", "ä %"), ["body", "ä %"], "#/%C3%A4%20%25", id="in a fragment"),
        pytest.param(("body", "x" * 101), ["body", "x" * 100], "#/" + "x" * 100, id="a name the client made up"),
        pytest.param(("header", "x-a"), ["header", "x-a"], None, id="a header"),
    ],
)
def test_places(loc, published, pointer):
    """ERR-4: a JSON pointer as a URI fragment (RFC 6901 section 6)."""
    (error,) = validation_errors([{"type": "missing", "loc": loc, "msg": "Field required", "input": PASSWORD}])
    assert (error["loc"], error.get("pointer")) == (published, pointer)


def test_a_thousand_errors_are_not_a_thousand_sentences():
    error = {"type": "missing", "loc": ("body",), "msg": "Field required"}
    assert len(validation_errors([error] * 1000)) == 50


@pytest.mark.parametrize(
    ("path", "denial_response", "kinds", "code"),
    [
        pytest.param(
            "/early", True, ["websocket.http.response.start", "websocket.http.response.body"], 0, id="as HTTP"
        ),
        pytest.param("/early", False, ["websocket.close"], 1008, id="closed"),
        pytest.param("/late", True, ["websocket.accept", "websocket.close"], 1008, id="after the handshake"),
        pytest.param("/validated", True, ["websocket.close"], 1008, id="not valid"),
    ],
)
def test_websockets(placed, path, denial_response, kinds, code):
    """The regression: FastAPI's close reason holds the errors with the input."""
    answer = websocket(orders(placed), path, query=f"limit={PASSWORD}", denial_response=denial_response)
    assert [message["type"] for message in answer.messages] == kinds
    assert answer.error is None
    assert PASSWORD not in repr(answer.messages)
    if code:
        assert answer.close_code == code
    else:
        assert (answer.status, answer.problem["detail"]) == (404, "Own words.")


@pytest.mark.parametrize("received", [False, True])
def test_a_websocket_is_refused_after_its_connect_and_asked_for_it_once(received):
    async def endpoint(websocket):
        if received:
            await websocket.receive()
        raise HTTPException(404, "Own words.")

    app = Starlette(routes=[WebSocketRoute("/ws", endpoint)], exception_handlers=problem_handlers())
    order = []

    async def listening(scope, receive, send):
        async def heard():
            message = await receive()
            order.append(message["type"])
            return message

        async def said(message):
            order.append(message["type"])
            await send(message)

        await app(scope, heard, said)

    assert websocket(listening).problem["detail"] == "Own words."
    assert order == ["websocket.connect", "websocket.http.response.start", "websocket.http.response.body"]


def test_the_request_id_is_the_exchanges_and_absent_without_one():
    seen = []

    async def endpoint(request):
        seen.append(exchange_of(request).request_id)
        raise HTTPException(404)

    app = of_starlette(endpoint, exception_handlers=problem_handlers())
    assert http(around(app)).problem["request_id"] == seen[0]
    assert "request_id" not in http(orders(), "/nowhere").problem


def test_handlers_name_their_types():
    app = Starlette(exception_handlers=problem_handlers(types_base="https://errors.example.com/#"))
    assert http(app).problem["type"] == "https://errors.example.com/#not-found"


def test_there_is_no_handler_that_starlette_would_move_outside():
    assert not {Exception, 500} & set(problem_handlers())


def test_without_fastapi_there_is_starlettes_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi.exceptions", None)
    assert [cls.__name__ for cls in problem_handlers()] == ["HTTPException"]


# Regressions: what a peer sent to the client


def test_the_text_of_an_exception_is_never_sent(placed, made):
    """A DSN with its password, in the exception, its cause and its notes."""

    async def endpoint(request=None):
        try:
            crash()
        except RuntimeError as error:
            failure = ValueError(DSN)
            failure.add_note(DSN)
            raise failure from error

    answer = http(placed(made(endpoint, debug=True, exception_handlers=problem_handlers())))
    assert b"hunter2" not in answer.body
    assert "hunter2" not in repr(answer.lines)


def test_an_exception_that_cannot_even_say_what_it_is():
    class Mute(Exception):
        def __str__(self):
            raise ValueError("secret")

    async def app(scope, receive, send):
        raise Mute

    answer = http(SanitizedErrorMiddleware(app, expose=Mute))
    assert answer.status == 400
    assert b"secret" not in answer.body
