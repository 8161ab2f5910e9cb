"""Who is counted: a request's key, short whatever it was made from (RL-15)."""

import inspect
import socket
from collections.abc import Callable, Hashable
from hashlib import blake2b
from typing import Literal

from .._asgi import Fields, Scope
from ..errors import ConfigurationError
from ..exchange import Exchange, Principal

KeyFunction = Callable[[Exchange, Scope], str]
"""A key of one's own: plain function, an answer for every request. What it raises is an error, never a pass."""

Identify = Callable[[Exchange, Scope], Hashable]

UNKNOWN = "unknown"
"""The one key of all clients without an address: fail closed, rather than a budget for each of them."""

_LONGEST = 64
_IPV4_MAPPED = b"\0" * 10 + b"\xff\xff"
_PREFLIGHT = b"CORS preflight by "
"""Longer than an IPv6 address, which is the other kind of key in bytes: the two are never mistaken."""


def identify_by(key: Literal["client", "principal"] | KeyFunction, *, ipv6_prefix: int) -> Identify:
    """The function that names a request's key. Raises ``ConfigurationError`` for an option it cannot follow."""
    if type(ipv6_prefix) is not int or not 32 <= ipv6_prefix <= 128:
        raise ConfigurationError(f"ipv6_prefix= is a number of bits from 32 to 128, got {ipv6_prefix!r}")
    mask = _Mask(ipv6_prefix)

    def client(exchange: Exchange, scope: Scope) -> Hashable:
        return address_key(exchange.client, mask)

    def principal(exchange: Exchange, scope: Scope) -> Hashable:
        who = exchange.principal
        return address_key(exchange.client, mask) if who is None else principal_key(who)

    if key == "client":
        return client
    if key == "principal":
        return principal
    if not callable(key) or inspect.iscoroutinefunction(key):
        raise ConfigurationError(
            f'key= is "client", "principal" or a plain function of (exchange, scope) that returns a string, got {key!r}'
        )
    chosen: Callable[[Exchange, Scope], object] = key

    def custom(exchange: Exchange, scope: Scope) -> Hashable:
        name = chosen(exchange, scope)
        if not isinstance(name, str):
            raise TypeError(f"key= must return a string, and returned {type(name).__name__}")
        return _short(name)

    return custom


class _Mask:
    """The leading bits of an IPv6 address."""

    __slots__ = ("_bits", "_last", "size")

    def __init__(self, bits: int) -> None:
        self.size = -(-bits // 8)
        self._last = 0xFF << (-bits % 8) & 0xFF

    def __call__(self, packed: bytes) -> bytes:
        network = packed[: self.size]
        if self._last == 0xFF:
            return network
        return network[:-1] + bytes((network[-1] & self._last,))


def address_key(client: str | None, mask: Callable[[bytes], bytes]) -> Hashable:
    """IPv4 as its text, IPv6 as its masked network; an IPv4-mapped address is the IPv4 address it stands for."""
    if client is None:
        return UNKNOWN
    if ":" not in client:
        return client
    try:
        packed = socket.inet_pton(socket.AF_INET6, client.partition("%")[0])
    except (OSError, ValueError):
        return _short(f"client {client}")
    if packed.startswith(_IPV4_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return mask(packed)


def principal_key(principal: Principal) -> Hashable:
    """Issuer and subject, unambiguous: a subject is unique only at its issuer, and may hold any character."""
    issuer = principal.issuer
    return _short(f"{len(issuer)}:{issuer}{principal.subject}")


def preflight_key(key: Hashable) -> bytes:
    """The key of a CORS preflight: the same asker, counted apart (RL-16)."""
    return _PREFLIGHT + repr(key).encode()


def is_preflight(fields: Fields) -> bool:
    """Whether an OPTIONS request is one that a browser sends before the real one (Fetch, "CORS-preflight request")."""
    return b"origin" in fields and b"access-control-request-method" in fields


def _short(name: str) -> Hashable:
    """A long or wide name is kept as its digest: 100 kB of identifier cost what an address costs."""
    if len(name) <= _LONGEST and name.isascii():
        return name
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=20).digest()
