from secure_asgi import Denial, Layer

from . import asgi


class Deny(Layer):
    name = "deny"

    def on_request(self, exchange, scope):
        return Denial("acme.no", 403, "No.")


class Stamp(Layer):
    name = "stamp"

    def on_response(self, exchange, headers):
        headers.append((b"x-stamp", b"1"))


def test_smoke():
    app = Stamp(Deny(asgi.hello))
    got = asgi.http(app)
    assert got.status == 403
    assert got.headers["x-stamp"] == "1"
    assert got.problem["detail"] == "No."
    assert asgi.websocket(app).status == 403
    assert asgi.websocket(app, denial_response=False).close_code == 1008
    assert asgi.http(Stamp(asgi.hello)).headers["x-stamp"] == "1"
