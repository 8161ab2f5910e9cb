"""Who is counted: a request's key, short whatever it was made from (RL-15)."""

import inspect
from collections.abc import Callable, Hashable
from typing import Literal

from .._asgi import Fields, Scope
from .._identities import UNKNOWN as UNKNOWN
from .._identities import _short, principal_key, read_mask
from .._identities import address_key as address_key
from ..errors import ConfigurationError
from ..exchange import Exchange

KeyFunction = Callable[[Exchange, Scope], str]
"""A key of one's own: plain function, an answer for every request. What it raises is an error, never a pass."""

Identify = Callable[[Exchange, Scope], Hashable]

_PREFLIGHT = b"CORS preflight by "
"""Longer than an IPv6 address, which is the other kind of key in bytes: the two are never mistaken."""


def identify_by(key: Literal["client", "principal"] | KeyFunction, *, ipv6_prefix: int) -> Identify:
    """The function that names a request's key. Raises ``ConfigurationError`` for an option it cannot follow."""
    mask = read_mask(ipv6_prefix)

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


def preflight_key(key: Hashable) -> bytes:
    """The key of a CORS preflight: the same asker, counted apart (RL-16)."""
    return _PREFLIGHT + repr(key).encode()


def is_preflight(fields: Fields) -> bool:
    """Whether an OPTIONS request is one that a browser sends before the real one (Fetch, "CORS-preflight request")."""
    return b"origin" in fields and b"access-control-request-method" in fields
