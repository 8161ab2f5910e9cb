"""Who is really asking, and over which scheme: ``X-Forwarded-For`` or ``Forwarded`` (RFC 7239), read from the right.

Anyone can write these fields. What can be believed is what our own proxies appended, and that stands at the right-hand
end: the walk (``chain``) begins at the socket's peer and goes leftwards as long as it meets proxies of ours. The first
address that is none of them is the client. What stands further left the client wrote itself, and it is not read.
"""

import re
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from typing import Literal

from .._asgi import ASGIApp, Fields, RawHeaders, Scope
from .._trailers import CHUNKED, mixes_in_trailers
from ..denial import Denial, Reason
from ..errors import ForwardedError
from ..exchange import SCOPE_KEY, Exchange
from ..flow import Layer, logger
from .chain import NOBODY, Chain, Origin

CACHED = 1024
"""Chains whose outcome is remembered, so that one is parsed once per client and not once per request."""

_FOR, _PROTO, _REQUEST_ID = b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id"
_BESIDE_FOR = frozenset((_PROTO, b"x-forwarded-port", b"x-forwarded-prefix"))
_CLAIMS = _BESIDE_FOR | {
    b"forwarded",
    _FOR,
    # Claims of a host, a scheme or a client that nobody here judges:
    b"cf-connecting-ip",
    b"cf-connecting-ipv6",
    b"fastly-client-ip",
    b"fly-client-ip",
    b"forwarded-for",
    b"front-end-https",
    b"true-client-ip",
    b"x-azure-clientip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-envoy-external-address",
    b"x-forwarded",
    b"x-forwarded-by",
    b"x-forwarded-host",
    b"x-forwarded-protocol",
    b"x-forwarded-scheme",
    b"x-forwarded-server",
    b"x-forwarded-ssl",
    b"x-original-forwarded-for",
    b"x-original-host",
    b"x-real-ip",
    b"x-scheme",
    b"x-url-scheme",
}
_CERTIFICATES = frozenset(
    (b"x-forwarded-client-cert", b"x-forwarded-tls-client-cert", b"x-forwarded-tls-client-cert-info")
)
"""Left to mutual TLS, which has a trust rule of its own for them."""

_DASHED = bytes.maketrans(b"_.", b"--")
_ACCEPTED_ID = re.compile(rb"[A-Za-z0-9_-]{8,128}")

TRAILER = (
    "several lines, of which the last may be a trailer, written past the proxy: run uvicorn with "
    'http="secure_asgi.servers.uvicorn:AutoProtocol", or with http="h11"'
)

_REWRITTEN = Denial(Reason.PEER_REWRITTEN, 403, "The server cannot tell where this request comes from.")
_REFUSALS = {
    Reason.FORWARDED_MALFORMED: "A forwarding header field of this request is malformed.",
    Reason.FORWARDED_TOO_LONG: "A forwarding header field of this request is too long.",
}


class TrustedProxyMiddleware(Layer):
    """Finds the client behind our proxies and its scheme; publishes both in the scope and in the exchange.

    Exactly one of two ways to say which proxies are ours:

    - ``trusted``: their networks, ``"10.0.0.0/8"`` or several, and ``"unix"`` for a Unix socket. The walk stops at the
      first address that is in none of them.
    - ``hops``: how many there are, always (1 to 20). The client is the ``hops``-th address from the right. Fewer
      addresses mean that the request did not come through all of them: then nothing it says is believed.

    ``source`` is the one field they write: ``"x-forwarded-for"``, ``"forwarded"`` (RFC 7239) or ``"header:<name>"``
    (``"header:cf-connecting-ip"``: as X-Forwarded-For, but on one line). The scheme comes from the element that names
    the client (``forwarded``), else from the last value of X-Forwarded-Proto. X-Request-ID becomes the id of the
    request if a proxy of ours sent it and it looks like one; each response carries the id.

    All other claims are removed from the request; all claims are, unless a proxy of ours sent it. No claim of a host is
    believed. ``scope["client"]`` becomes an IP address with its port (0 if not known), or None.

    Refuses with 400 ``forwarded_malformed`` or ``forwarded_too_long`` (over 20 elements or 4 KiB) and with 403
    ``peer_rewritten``, where uvicorn has overwritten the socket's peer before we could see it. Raises
    ``ConfigurationError`` for a network that is none or that is everybody, and for a wrong ``hops`` or ``source``.

    Does not check that the proxies do write the field: one that hands on a client's own defeats this.
    """

    name = "trusted_proxy"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        trusted: str | Iterable[str] | None = None,
        hops: int | None = None,
        source: str = "x-forwarded-for",
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        chain = Chain(trusted, hops, source)
        self._field = chain.field
        self._reads_proto = chain.field != b"forwarded"
        self._peer = lru_cache(CACHED)(chain.peer)
        self._walk = lru_cache(CACHED)(chain.walk)
        self._claims = _CLAIMS | {chain.field, _REQUEST_ID}
        self._unread = _CLAIMS - {chain.field} - (_BESIDE_FOR if self._reads_proto else frozenset())
        self._has_warned = False
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt)

    def on_request(self, exchange: Exchange, scope: Scope) -> Denial | None:
        fields = exchange.fields(scope)
        host, port, is_rewritten = _socket_peer(scope)
        denial: Denial | None
        if is_rewritten:
            self._warn_once()
            origin, denial = NOBODY, _REWRITTEN
        else:
            origin, denial = self._origin(host, fields, scope)
        _publish(origin, port, exchange, scope)
        self._strip(origin.is_ours, exchange, scope, fields)
        return denial

    def on_exempt(self, exchange: Exchange, scope: Scope) -> None:
        """Exempt from being refused. What is believed, and what is removed, stays the same."""
        self.on_request(exchange, scope)

    def on_response(self, exchange: Exchange, headers: RawHeaders) -> None:
        exchange.echo_request_id(headers)

    def _origin(self, host: str, fields: Fields, scope: Scope) -> tuple[Origin, Denial | None]:
        peer = self._peer(host)
        if not peer.is_ours:
            return peer, None
        chain, proto = fields.get(self._field), fields.get(_PROTO) if self._reads_proto else None
        try:
            if CHUNKED in fields and (type(chain) is tuple or type(proto) is tuple) and mixes_in_trailers(scope):
                # The last line, which would be believed first, may be the client's own.
                raise ForwardedError(Reason.FORWARDED_MALFORMED, TRAILER)
            origin = self._walk(host, chain, proto)
        except ForwardedError as error:
            # In shadow mode and on exempt paths the request goes on: as if no proxy of ours had sent it.
            return peer._replace(is_ours=False), Denial(
                error.reason, 400, _REFUSALS[Reason(error.reason)], note=error.note
            )
        return origin, None

    def _strip(self, is_ours: bool, exchange: Exchange, scope: Scope, fields: Fields) -> None:
        """Take the request's id over, or set it aside; remove the claims that must not reach the application."""
        given = fields.get(_REQUEST_ID)
        keeps_id = given is None
        if is_ours and isinstance(given, bytes) and _ACCEPTED_ID.fullmatch(given):
            exchange.request_id = given.decode()
            keeps_id = True
        elif given is not None:
            exchange.client_request_id = _escaped(given)
        names = b" ".join(fields)
        if (
            keeps_id
            and (self._unread if is_ours else self._claims).isdisjoint(fields)
            and (is_ours or b"x-forwarded-" not in names)
            and b"_" not in names
            and b"." not in names
        ):
            return
        scope["headers"] = [
            line for line in scope["headers"] if not self._is_unwanted(line[0].lower(), is_ours, keeps_id)
        ]

    def _is_unwanted(self, name: bytes, is_ours: bool, keeps_id: bool) -> bool:
        plain = name.translate(_DASHED)
        if is_ours and plain == name:
            return name in self._unread or (name == _REQUEST_ID and not keeps_id)
        # An alias (x_forwarded_for) is from nobody: whatever folds "_" into "-" would read it as the real field.
        return plain in self._claims or (plain.startswith(b"x-forwarded-") and plain not in _CERTIFICATES)

    def _warn_once(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.error(
                "requests are refused (peer_rewritten): uvicorn has replaced the socket's peer by what a header "
                "claims; run it with proxy_headers=False (--no-proxy-headers) or with our protocol class "
                "(secure_asgi.servers.uvicorn)"
            )


def _socket_peer(scope: Scope) -> tuple[str, int, bool]:
    """The peer's host (empty for a Unix socket), its port, and whether it is no peer but what a header claimed."""
    recorded = (scope.get("extensions") or {}).get(SCOPE_KEY)
    if recorded and "peer" in recorded:
        host, port = recorded["peer"] or ("", 0)
        return host, port, False
    host, port = scope.get("client") or ("", 0)
    # No socket's peer has port 0; uvicorn writes it beside an address it took from X-Forwarded-For.
    return host, port, port == 0 and bool(host)


def _publish(origin: Origin, peer_port: int, exchange: Exchange, scope: Scope) -> None:
    exchange.client = origin.client
    exchange.client_is_proxy = origin.is_proxy
    port = peer_port if origin.port is None else origin.port
    scope["client"] = None if origin.client is None else (origin.client, port)
    if origin.is_secure is not None:
        plain = "ws" if scope["type"] == "websocket" else "http"
        exchange.scheme = plain + "s" if origin.is_secure else plain
    scope["scheme"] = exchange.scheme


def _escaped(lines: bytes | tuple[bytes, ...]) -> str:
    value = lines if isinstance(lines, bytes) else b", ".join(lines)
    return value[:128].decode("latin-1").encode("unicode_escape").decode("ascii")[:128]
