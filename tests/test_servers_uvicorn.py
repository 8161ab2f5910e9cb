"""What is uvicorn's own about its hook; what all hooks have in common is in ``test_servers_hooks``."""

import builtins
import importlib
import json
import socket
import sys

import httpx
import pytest
from uvicorn.protocols.http.auto_zttp_impl import AutoZttpProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

import secure_asgi.servers
from secure_asgi import ConfigurationError, MutualTLSMiddleware
from secure_asgi.servers import uvicorn as hook

from .handshake import client_context
from .serving import open_websocket_at, tell, tls_context, uvicorn_serving, write_certificates

HTTP2 = "secure_asgi.servers._uvicorn_http2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::uvicorn.config.UvicornDeprecationWarning")
@pytest.mark.parametrize("ws", ["websockets", "websockets-sansio", "wsproto"])
@pytest.mark.parametrize("http", [hook.HttpToolsProtocol, hook.H11Protocol, hook.HTTP2Protocol])
def test_every_websocket_implementation_under_every_http_protocol(http, ws, folder):
    with uvicorn_serving(MutualTLSMiddleware(tell), http=http, ws=ws, tls=tls_context(folder, "http/1.1")) as port:
        _, text = open_websocket_at(port, client_context(folder, "c"), "/ws")
    told = json.loads(text)
    assert told["user"] == "c.clients.example"
    assert told["extensions"]["secure_asgi"]["peer"] == told["client"]


def test_fresh_context_variables_for_every_request_take_nothing_away(folder):
    """uvicorn's ``reset_contextvars``: what is kept in a context variable is gone then."""
    with uvicorn_serving(MutualTLSMiddleware(tell), reset_contextvars=True, tls=tls_context(folder)) as port:
        answer = httpx.get(f"https://localhost:{port}/", verify=client_context(folder, "a"), trust_env=False)
    assert answer.json()["user"] == "a.clients.example"


def test_http_2_in_clear_by_prior_knowledge():
    with (
        uvicorn_serving(tell, http=hook.HTTP2Protocol, ws="none") as port,
        httpx.Client(http1=False, http2=True, trust_env=False) as client,
    ):
        told = client.get(f"http://127.0.0.1:{port}/").json()
    assert told["http_version"] == "2"
    assert told["extensions"]["secure_asgi"] == {"peer": told["client"]}
    assert "tls" not in told["extensions"]


def test_from_files_the_http_2_protocol_offers_it_by_alpn(folder):
    """uvicorn makes the context then, and asks the class what to offer."""
    files = {"ssl_certfile": folder / "server.pem", "ssl_keyfile": folder / "server.key"}
    context = client_context(folder)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        uvicorn_serving(tell, http="secure_asgi.servers.uvicorn:HTTP2Protocol", **files) as port,
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        assert secured.selected_alpn_protocol() == "h2"


def test_a_websocket_class_is_made_once():
    assert hook.telling(WebSocketsSansIOProtocol) is hook.telling(WebSocketsSansIOProtocol)


@pytest.fixture
def without(monkeypatch):
    """Makes modules unimportable by a part of their name, and forgets what was made of them."""

    def hide(*parts):
        real = builtins.__import__

        def import_without(name, *rest, **more):
            if any(part in name for part in parts):
                raise ImportError(name)
            return real(name, *rest, **more)

        monkeypatch.delitem(sys.modules, hook.__name__)
        monkeypatch.delitem(sys.modules, HTTP2, raising=False)
        for name in ("uvicorn", "_uvicorn_http2"):  # put back at the end, whatever an import leaves there
            monkeypatch.setattr(secure_asgi.servers, name, None, raising=False)
        monkeypatch.setattr(builtins, "__import__", import_without)

    return hide


def test_without_uvicorn_it_says_what_to_install(without):
    without("uvicorn.")
    with pytest.raises(ConfigurationError, match=r"pip install 'secure-asgi\[uvicorn\]'"):
        importlib.import_module(hook.__name__)


def test_without_httptools_it_is_h11(without):
    without("httptools")
    again = importlib.import_module(hook.__name__)
    assert again.AutoProtocol is again.H11Protocol
    with pytest.raises(ConfigurationError, match=r"pip install 'uvicorn>=0\.54' httptools"):
        assert again.HttpToolsProtocol


def test_without_zttp_there_is_no_http_2_and_it_says_what_to_install(without):
    without("zttp")
    again = importlib.import_module(hook.__name__)
    assert issubclass(again.AutoProtocol, hook.HttpToolsProtocol.__mro__[2])
    with pytest.raises(ConfigurationError, match=r"pip install 'uvicorn>=0\.54' zttp"):
        assert again.HTTP2Protocol


def test_what_it_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'HTTP3Protocol'"):
        assert hook.HTTP3Protocol


def test_a_uvicorn_that_hands_over_otherwise_is_not_served_with(without, monkeypatch):
    without()
    monkeypatch.delattr(AutoZttpProtocol, "_switch")
    with pytest.raises(ConfigurationError, match=r"pip install 'uvicorn>=0\.54,<0\.55'"):
        assert importlib.import_module(hook.__name__).HTTP2Protocol


def echo_fields(after_the_body):
    """Answers with the names of the request's fields, as they are at first or once the body is there."""

    async def app(scope, receive, send):
        names = [name.decode() for name, _ in scope["headers"]]
        while (await receive())["more_body"]:
            pass
        if after_the_body:
            names = [name.decode() for name, _ in scope["headers"]]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": json.dumps(names).encode()})

    return app


@pytest.mark.parametrize("after_the_body", [False, True])
@pytest.mark.parametrize("http", [hook.HttpToolsProtocol, hook.H11Protocol, hook.HTTP2Protocol])
def test_a_trailer_is_no_request_field(http, after_the_body):
    """RFC 9110 section 6.5.1: a proxy sets its own fields in the head, and HAProxy lets all trailers pass."""
    request = (
        b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n0\r\nclient-cert: :AA==:\r\nx-forwarded-for: 10.0.0.1\r\n\r\n"
    )
    with (
        uvicorn_serving(echo_fields(after_the_body), http=http) as port,
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
    ):
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b'["host", "transfer-encoding"]' in answer
