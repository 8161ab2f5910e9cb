"""The walk: from the socket's peer leftwards through what our proxies wrote, to the first address that is no proxy.

Pure: no ASGI. ``client_address`` → ``Chain`` (whom to believe) → the two grammars. Standards: RFC 7239; X-Forwarded-For
has none, and is read in the forms seen in practice.
"""

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from .._asgi import read_fields
from .._networks import Address, address, network, unmapped
from ..denial import Reason
from ..errors import ConfigurationError, ForwardedError

MAX_ELEMENTS = 20
MAX_BYTES = 4096


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
    chain = Chain(trusted, hops, source)
    host = peer if isinstance(peer, str) else peer[0] if peer else ""
    origin = chain.peer(host)
    if origin.is_ours:
        origin = chain.walk(host, read_fields(list(headers)).get(chain.field))
    return origin.client


Lines = bytes | tuple[bytes, ...]
"""A field's value as ``Fields`` has it: a tuple where it came on several lines."""


class Origin(NamedTuple):
    """Where a request comes from. ``port`` None: the peer's own. ``is_secure`` None: no proxy said. ``is_proxy``: no
    client behind it is known, and the client is a proxy of ours itself."""

    client: str | None
    port: int | None
    is_secure: bool | None
    is_ours: bool
    is_proxy: bool = False


NOBODY = Origin(None, None, None, False)


class _Hop(NamedTuple):
    """One element of a chain. ``address`` None: ``unknown``, or a name that hides it."""

    address: Address | None
    port: int = 0
    is_secure: bool | None = None


class Chain:
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
        self._networks = tuple(network(text) for text in named if text != "unix")

    def peer(self, host: str) -> Origin:
        """The socket's peer by itself; an empty ``host`` is a Unix socket."""
        peer = address(host)
        if self._hops is not None:
            is_ours = True
        elif host:
            is_ours = self._trusts(peer)
        else:
            is_ours = self._trusts_unix
        return Origin(None if peer is None else str(peer), None, None, is_ours, is_ours)

    def walk(self, host: str, lines: Lines | None, proto: Lines | None = None) -> Origin:
        """From a peer that may speak for others to the client. Raises ``ForwardedError``.

        ``lines`` are the chain's, ``proto`` those of X-Forwarded-Proto, where the chain itself names no scheme.
        """
        origin = self._client(host, lines)
        if proto is not None and origin.is_ours:
            return origin._replace(is_secure=_read_proto(proto))
        return origin

    def _client(self, host: str, lines: Lines | None) -> Origin:
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
                return _behind(hop)
        return peer if hop is None else _behind(hop)._replace(is_proxy=True)

    def _trusts(self, host: Address | None) -> bool:
        return host is not None and any(host in ours for ours in self._networks)

    def _elements(self, lines: Lines | None) -> list[str]:
        """The field's elements, last first."""
        if lines is None:
            return []
        if self._is_one_line and isinstance(lines, tuple):
            raise ForwardedError(Reason.FORWARDED_MALFORMED, "the field came on several lines")
        # Empty elements are ignored, as RFC 9110 section 5.6.1.2 wants.
        elements = [text for element in self._split(_joined(lines)) if (text := element.strip(" \t"))]
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


def _behind(hop: _Hop) -> Origin:
    return Origin(None if hop.address is None else str(hop.address), hop.port, hop.is_secure, True)


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
_SECURE = {"http": False, "ws": False, "https": True, "wss": True}


def _split_plain(text: str) -> Iterator[str]:
    return reversed(text.split(","))


def _split_quoted(text: str) -> Iterator[str]:
    """Elements that may hold quoted strings. Read forwards, a client's open quote would swallow our proxy's element."""
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
        found = IPv4Address(node[1]) if node[1] else unmapped(IPv6Address(node[2])) if node[2] else None
    except ValueError:
        raise ForwardedError(Reason.FORWARDED_MALFORMED, "not an address") from None
    return _Hop(found, port)


def _read_scheme(text: str) -> bool:
    is_secure = _SECURE.get(text.lower())
    if is_secure is None:
        raise ForwardedError(Reason.FORWARDED_MALFORMED, "not a scheme")
    return is_secure


def _read_proto(lines: Lines) -> bool | None:
    """X-Forwarded-Proto. The right-most value: whatever stood there before, the proxy nearest to us wrote this one."""
    value = _joined(lines).rstrip(" \t,").rpartition(",")[2].strip(" \t")
    return _read_scheme(value) if value else None


def _joined(lines: Lines) -> str:
    """Several lines are one list (RFC 7239 section 7.1)."""
    value = lines if isinstance(lines, bytes) else b",".join(lines)
    if len(value) > MAX_BYTES:
        raise ForwardedError(Reason.FORWARDED_TOO_LONG, f"{len(value)} bytes")
    return value.decode("latin-1")
