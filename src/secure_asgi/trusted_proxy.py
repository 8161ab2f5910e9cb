"""Who is really asking, and over which scheme: ``X-Forwarded-For`` or ``Forwarded`` (RFC 7239), read from the right.

Anyone can write these fields. What can be believed is what our own proxies appended, and that stands at the right-hand
end: the walk begins at the socket's peer and goes leftwards as long as it meets proxies of ours. The first address that
is none of them is the client. What stands further left the client wrote itself, and it is not read.

``TrustedProxyMiddleware`` → ``client_address`` (the same decision without ASGI) → ``_Chain`` (whom to believe, and the
walk) → the two grammars → what becomes of a request's scope.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal, NamedTuple

from ._asgi import ASGIApp, Fields, RawHeaders, Scope, read_fields
from .denial import Denial, Reason
from .errors import ConfigurationError, ForwardedError
from .exchange import SCOPE_KEY, Exchange
from .flow import Layer, logger

MAX_ELEMENTS = 20
MAX_BYTES = 4096
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
_SECURE = {"http": False, "ws": False, "https": True, "wss": True}

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
        chain = _Chain(trusted, hops, source)
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
        if is_rewritten:
            self._warn_once()
            origin, denial = _NOBODY, _REWRITTEN
        else:
            origin, denial = self._origin(host, fields)
        _publish(origin, port, exchange, scope)
        self._strip(origin.is_ours, exchange, scope, fields)
        return denial

    def on_exempt(self, exchange: Exchange, scope: Scope) -> None:
        """Exempt from being refused. What is believed, and what is removed, stays the same."""
        self.on_request(exchange, scope)

    def on_response(self, exchange: Exchange, headers: RawHeaders) -> None:
        if all(name != _REQUEST_ID for name, _ in headers):
            headers.append((_REQUEST_ID, exchange.request_id.encode()))

    def _origin(self, host: str, fields: Fields) -> "tuple[_Origin, Denial | None]":
        peer = self._peer(host)
        if not peer.is_ours:
            return peer, None
        try:
            origin = self._walk(host, fields.get(self._field))
            if self._reads_proto and origin.is_ours and _PROTO in fields:
                origin = origin._replace(is_secure=_last_proto(fields[_PROTO]))
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
                "requests are refused (peer_rewritten): uvicorn has replaced the socket's peer by what a header claims; "
                "run it with proxy_headers=False (--no-proxy-headers) or with our protocol class "
                "(secure_asgi.servers.uvicorn)"
            )


def client_address(
    peer: str | tuple[str, int] | None,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    trusted: str | Iterable[str] | None = None,
    hops: int | None = None,
    source: str = "x-forwarded-for",
) -> str | None:
    """The client's address, as ``TrustedProxyMiddleware`` finds it; None for ``unknown`` and for a Unix socket.

    ``peer`` is the socket's peer (None or ``""``: a Unix socket), ``headers`` the request's header lines. Raises
    ``ForwardedError`` if an element between us and the trust boundary is malformed or the field is too long. Does not
    see whether ``peer`` has been rewritten: give the socket's own.
    """
    chain = _Chain(trusted, hops, source)
    host = peer if isinstance(peer, str) else peer[0] if peer else ""
    origin = chain.peer(host)
    if origin.is_ours:
        origin = chain.walk(host, read_fields(list(headers)).get(chain.field))
    return origin.client


_Address = IPv4Address | IPv6Address


class _Origin(NamedTuple):
    """Where a request comes from. ``port`` None: the peer's own. ``is_secure`` None: no proxy said."""

    client: str | None
    port: int | None
    is_secure: bool | None
    is_ours: bool


_NOBODY = _Origin(None, None, None, False)


class _Hop(NamedTuple):
    """One element of a chain. ``address`` None: ``unknown``, or a name that hides it."""

    address: _Address | None
    port: int = 0
    is_secure: bool | None = None


class _Chain:
    """Whom to believe and which field to read: the options, checked once."""

    def __init__(self, trusted: str | Iterable[str] | None, hops: int | None, source: str) -> None:
        if (trusted is None) == (hops is None):
            raise ConfigurationError(
                'give exactly one of trusted= (your proxies\' networks: "10.0.0.0/8", "unix") and hops= (how many '
                f"proxies there always are); got trusted={trusted!r}, hops={hops!r}"
            )
        if hops is not None and (type(hops) is not int or not 1 <= hops <= MAX_ELEMENTS):
            raise ConfigurationError(f"hops= is the number of your proxies, 1 to {MAX_ELEMENTS}; got {hops!r}")
        named = (trusted,) if isinstance(trusted, str) else tuple(trusted or ())
        if hops is None and not named:
            raise ConfigurationError(
                "trusted= names no proxy: give their networks, or leave TrustedProxyMiddleware out if there is none"
            )
        self.field = _field_name(source)
        self._hops = hops
        self._is_one_line = source not in ("x-forwarded-for", "forwarded")
        self._read = _read_forwarded if self.field == b"forwarded" else _read_addresses
        self._split = _split_quoted if self.field == b"forwarded" else _split_plain
        self._trusts_unix = "unix" in named
        self._networks = tuple(_network(text) for text in named if text != "unix")

    def peer(self, host: str) -> _Origin:
        """The socket's peer by itself; an empty ``host`` is a Unix socket."""
        address = _peer_address(host)
        if self._hops is not None:
            is_ours = True
        elif host:
            is_ours = self._trusts(address)
        else:
            is_ours = self._trusts_unix
        return _Origin(None if address is None else str(address), None, None, is_ours)

    def walk(self, host: str, lines: bytes | tuple[bytes, ...] | None) -> _Origin:
        """From a peer that may speak for others to the client. Raises ``ForwardedError``."""
        peer = self.peer(host)
        elements = self._elements(lines)
        if self._hops is not None:
            if len(elements) < self._hops:
                return peer._replace(is_ours=False)
            return _behind([self._read(element) for element in elements[: self._hops]][-1])
        hop = None
        for element in elements:
            hop = self._read(element)
            if not self._trusts(hop.address):
                break
        return peer if hop is None else _behind(hop)

    def _trusts(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)

    def _elements(self, lines: bytes | tuple[bytes, ...] | None) -> list[str]:
        """The field's elements, last first. Several lines are one list (RFC 7239 section 7.1)."""
        if lines is None:
            return []
        if isinstance(lines, tuple):
            if self._is_one_line:
                raise ForwardedError(Reason.FORWARDED_MALFORMED, "the field came on several lines")
            lines = b",".join(lines)
        if len(lines) > MAX_BYTES:
            raise ForwardedError(Reason.FORWARDED_TOO_LONG, f"{len(lines)} bytes")
        # Empty elements are ignored, as RFC 9110 section 5.6.1.2 wants.
        elements = [text for element in self._split(lines.decode("latin-1")) if (text := element.strip(" \t"))]
        if len(elements) > MAX_ELEMENTS:
            raise ForwardedError(Reason.FORWARDED_TOO_LONG, f"{len(elements)} elements")
        return elements


def _field_name(source: str) -> bytes:
    if source in ("x-forwarded-for", "forwarded"):
        return source.encode()
    kind, _, name = str(source).lower().partition(":")
    # No underscore: that is how an alias of another field is spelt, and many proxies drop such names.
    if kind != "header" or not re.fullmatch(r"[a-z0-9-]+", name) or name in ("x-forwarded-for", "forwarded"):
        raise ConfigurationError(
            'source= is "x-forwarded-for", "forwarded" or "header:" with the name of another field, '
            f'"header:cf-connecting-ip"; got {source!r}'
        )
    return name.encode()


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(str(text), strict=False)
    except ValueError:
        raise ConfigurationError(
            'trusted= takes networks ("10.0.0.0/8", "fd00::/8"), addresses and "unix", and trusts nobody by a wildcard; '
            f"got {text!r}"
        ) from None
    if network.prefixlen == 0:
        raise ConfigurationError(
            f"trusted={text!r} believes everybody: give your proxies' networks, or hops= if you know only how many"
        )
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
        raise ConfigurationError(f"trusted={text!r}: write the IPv4 network that it maps")
    if "/" in text and str(ip_address(text.partition("/")[0])) != str(network.network_address):
        raise ConfigurationError(f"trusted={text!r} has host bits set: write {str(network)!r}")
    return network


def _behind(hop: _Hop) -> _Origin:
    return _Origin(None if hop.address is None else str(hop.address), hop.port, hop.is_secure, True)


def _peer_address(host: str) -> _Address | None:
    """None for a Unix socket, and for what a test client calls itself. A link-local peer is known without its link."""
    try:
        return _unmapped(ip_address(host.partition("%")[0]))
    except ValueError:
        return None


def _unmapped(address: _Address) -> _Address:
    """An IPv4 address in IPv6 clothes (``::ffff:10.0.0.1``) is that IPv4 address, to networks and to limits."""
    return getattr(address, "ipv4_mapped", None) or address


# The two grammars. Both are split from the right-hand end, where our proxies wrote.

_OBFUSCATED = "_[0-9A-Za-z._-]+"
_NODE = re.compile(
    rf"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\]|(?:(?i:unknown)|{_OBFUSCATED}))(?::(?:([0-9]{{1,5}})|{_OBFUSCATED}))?"
)
_TOKEN = r"[0-9A-Za-z!#$%&'*+.^_`|~-]+"
_PAIR = re.compile(
    rf'({_TOKEN})=(?:({_TOKEN})|"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*)")(?:;|\Z)'
)
_ESCAPE = re.compile(r"\\(.)")


def _split_plain(text: str) -> Iterator[str]:
    return reversed(text.split(","))


def _split_quoted(text: str) -> Iterator[str]:
    """Elements that may hold quoted strings. Read forwards, a client's open quote would swallow what our proxy wrote."""
    end = at = len(text)
    while True:
        comma = text.rfind(",", 0, at)
        quote = text.rfind('"', 0, at)
        if quote > comma:
            at = max(_opening_quote(text, quote), 0)
            continue
        yield text[comma + 1 : end]
        if comma < 0:
            return
        end = at = comma


def _opening_quote(text: str, closing: int) -> int:
    """Where the quoted string began that ends at ``closing``; negative if nowhere."""
    at = text.rfind('"', 0, closing)
    while at > 0 and text[at - 1] == "\\":
        at = text.rfind('"', 0, at)
    return at


def _read_addresses(element: str) -> _Hop:
    """An element of X-Forwarded-For, in the forms seen in practice: bare IPv6 and quotes too."""
    if len(element) > 1 and element[0] == element[-1] == '"':
        element = element[1:-1]
    is_bare_ipv6 = element.count(":") > 1 and element[0] != "["
    return _read_node(f"[{element}]" if is_bare_ipv6 else element)


def _read_forwarded(element: str) -> _Hop:
    """An element of Forwarded (RFC 7239 section 4): pairs, each name at most once, unknown names ignored."""
    pairs: dict[str, str] = {}
    at = 0
    while at < len(element):
        if element[at] == ";":
            at += 1
            continue
        pair = _PAIR.match(element, at)
        if pair is None:
            raise ForwardedError(Reason.FORWARDED_MALFORMED, "not a list of pairs")
        name = pair[1].lower()
        if name in pairs:
            raise ForwardedError(Reason.FORWARDED_MALFORMED, "a parameter twice in one element")
        pairs[name] = pair[2] or _ESCAPE.sub(r"\1", pair[3])
        at = pair.end()
    hop = _read_node(pairs["for"]) if "for" in pairs else _Hop(None)
    return hop._replace(is_secure=_read_scheme(pairs["proto"])) if "proto" in pairs else hop


def _read_node(text: str) -> _Hop:
    """A node (RFC 7239 section 6): an address, ``unknown`` or an obfuscated name, perhaps with a port."""
    node = _NODE.fullmatch(text)
    port = int(node[3] or 0) if node else 0
    if node is None or port > 65535:
        raise ForwardedError(Reason.FORWARDED_MALFORMED, "not an address")
    try:
        # As ipaddress reads them: no octal, no short form; a zone did not get this far.
        address = IPv4Address(node[1]) if node[1] else _unmapped(IPv6Address(node[2])) if node[2] else None
    except ValueError:
        raise ForwardedError(Reason.FORWARDED_MALFORMED, "not an address") from None
    return _Hop(address, port)


def _read_scheme(text: str) -> bool:
    is_secure = _SECURE.get(text.lower())
    if is_secure is None:
        raise ForwardedError(Reason.FORWARDED_MALFORMED, "not a scheme")
    return is_secure


def _last_proto(lines: bytes | tuple[bytes, ...]) -> bool | None:
    """The right-most value: whatever stood there before, the proxy nearest to us wrote this one."""
    last = lines if isinstance(lines, bytes) else b",".join(lines)
    value = last.decode("latin-1").rstrip(" \t,").rpartition(",")[2].strip(" \t")
    return _read_scheme(value) if value else None


# What becomes of the scope.


def _socket_peer(scope: Scope) -> tuple[str, int, bool]:
    """The peer's host (empty for a Unix socket), its port, and whether it is no peer but what a header claimed."""
    recorded = (scope.get("extensions") or {}).get(SCOPE_KEY) or {}
    is_raw = "peer" in recorded
    client = recorded["peer"] if is_raw else scope.get("client")
    if not client or not client[0]:
        return "", 0, False
    # No socket's peer has port 0; uvicorn writes it beside an address it took from X-Forwarded-For.
    return client[0], client[1], not is_raw and client[1] == 0


def _publish(origin: _Origin, peer_port: int, exchange: Exchange, scope: Scope) -> None:
    exchange.client = origin.client
    port = peer_port if origin.port is None else origin.port
    scope["client"] = None if origin.client is None else (origin.client, port)
    if origin.is_secure is not None:
        is_websocket = scope["type"] == "websocket"
        exchange.scheme = ("wss" if is_websocket else "https") if origin.is_secure else "ws" if is_websocket else "http"
    scope["scheme"] = exchange.scheme


def _escaped(lines: bytes | tuple[bytes, ...]) -> str:
    value = lines if isinstance(lines, bytes) else b", ".join(lines)
    return value[:128].decode("latin-1").encode("unicode_escape").decode("ascii")[:128]
