"""What every benchmark runs: one application, one request, and the eight layers around it."""

import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.middleware import Middleware

from secure_asgi import (
    AuditMiddleware,
    BearerAuthMiddleware,
    HSTSMiddleware,
    HTTPSRedirectMiddleware,
    RateLimitMiddleware,
    SanitizedErrorMiddleware,
    SecurityHeadersMiddleware,
    TrustedProxyMiddleware,
    secure,
)
from secure_asgi.testing import TokenFactory

logging.getLogger("secure_asgi").setLevel(logging.ERROR)  # that keys for tests are short is no news here

PROXIES = "10.0.0.0/8"
HOST = "api.example.com"
UNREACHED = "1000000/minute"
"""A limit that counts every request and refuses none."""

ISSUER = TokenFactory(algorithm="RS256")
SCOPE = "orders:read orders:write profile email invoices:read"
TOKEN = ISSUER.token(scope=SCOPE, exp=int(time.time()) + 3600, email="ada.lovelace@example.com", name="Ada Lovelace")

BODY = b'{"id":42,"item":"a pair of red shoes","quantity":1,"price":"59.90","currency":"EUR","paid":true}\r\n'
HEADERS = [
    (b"host", HOST.encode()),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en-GB,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"authorization", b"Bearer " + TOKEN.encode()),
    (b"x-forwarded-for", b"203.0.113.7, 10.0.0.9"),
    (b"x-forwarded-proto", b"https"),
    (b"x-request-id", b"7d9f2c1e-5b34-4c8e-9a51-0f6f3f4f1f2a"),
    (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    (b"cache-control", b"no-cache"),
    (b"connection", b"keep-alive"),
]


def request_scope(
    headers: list[tuple[bytes, bytes]] = HEADERS, *, scheme: str = "http", client: str = "10.0.0.5"
) -> dict[str, Any]:
    """Behind a proxy that has ended TLS, as a server hands it on."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": scheme,
        "path": "/orders/42",
        "raw_path": b"/orders/42",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": (client, 51234),
        "server": ("10.0.0.1", 8000),
        "state": {},
    }


async def orders(scope: Any, receive: Any, send: Any) -> None:
    """The application: 98 bytes of JSON."""
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))],
        }
    )
    await send({"type": "http.response.body", "body": BODY})


def eight_layers(
    app: Any, audit: Callable[[Any], object], *, limits: str = UNREACHED, clock: Callable[[], int] = time.monotonic_ns
) -> Any:
    """The stack under measurement, put together as its users do."""
    return secure(
        app,
        Middleware(SecurityHeadersMiddleware),
        Middleware(HSTSMiddleware),
        Middleware(AuditMiddleware, sinks=audit),
        Middleware(TrustedProxyMiddleware, trusted=PROXIES),
        Middleware(SanitizedErrorMiddleware),
        Middleware(HTTPSRedirectMiddleware, host=HOST),
        Middleware(RateLimitMiddleware, limits=limits, clock=clock),
        Middleware(BearerAuthMiddleware, issuer=ISSUER.issuer, audience=ISSUER.audience, jwks=ISSUER.jwks),
    )


class Discarded:
    """An audit sink that keeps nothing; ``flush`` waits until the writer has caught up."""

    def __init__(self) -> None:
        self.flush: Callable[[], object] = lambda: None

    def __call__(self, record: Any) -> None:
        pass

    def attach(self, flush: Callable[[], object]) -> None:
        self.flush = flush
