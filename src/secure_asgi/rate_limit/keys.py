"""Who is counted: a request's key, short whatever it was made from (RL-15)."""

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from .._asgi import Fields, Scope
from .._identities import address_key, principal_key, read_mask, short_key
from .._options import is_plain_function, several
from .._paths import route_path
from .._routes import RouteEntry, root_path_of, routes_of
from .._rule_table import WEBSOCKET, RuleTable
from .._templates import Template
from ..errors import ConfigurationError
from ..exchange import Exchange

KeyFunction = Callable[[Exchange, Scope], str]
"""A key of one's own: plain function, an answer for every request. What it raises is an error, never a pass."""

_PREFLIGHT = b"CORS preflight by "
"""Longer than an IPv6 address, and no digest begins like that: it is mistaken for no other key in octets."""

Part = Literal["client", "principal", "api-key", "certificate", "route"] | str | KeyFunction
"""One part of a key: one of these words, ``"claim:<name>"``, or a function."""

_CLAIM = "claim:"


class Identify:
    """``key=`` and what it means. ``place`` is the part of the layer's slot that it decides; ``name`` its public name.

    Several parts make one key, unambiguously. Raises ``ConfigurationError`` for a part that it cannot follow.
    """

    __slots__ = ("_root_path", "_routes", "mask", "name", "of", "parts", "place")

    of: Callable[[Exchange, Scope], Hashable]

    def __init__(self, key: Part | Iterable[Part], *, ipv6_prefix: int) -> None:
        self.mask = read_mask(ipv6_prefix)
        self.parts = several(key)
        self.place = place_of(key)
        self._root_path = ""
        self._routes: RuleTable[_Route] | None = None
        readers = [self._reader(part) for part in self.parts]
        if not readers:
            raise ConfigurationError('key= needs at least one part, such as "client"')
        self.name = "-".join(
            part.partition(":")[2] or part if isinstance(part, str) else "custom" for part in self.parts
        )
        self.of = readers[0] if len(readers) == 1 else partial(_joined, tuple(readers))

    @property
    def needs_routes(self) -> bool:
        return "route" in self.parts

    def learn_routes(self, app: Any) -> None:
        """Which paths are one route. An application that shows none has one route for all of them."""
        self._root_path = root_path_of(app)
        routes = routes_of(app) or []
        self._routes = RuleTable([_Route(route) for route in routes if route.kind in ("http", "websocket")])

    def _reader(self, part: Any) -> Callable[[Exchange, Scope], Hashable]:
        known: dict[str, Callable[[Exchange, Scope], Hashable]] = {
            "client": self._client,
            "principal": self._principal,
            "api-key": self._api_key,
            "certificate": self._certificate,
            "route": self._route,
        }
        if isinstance(part, str):
            if part in known:
                return known[part]
            if part.startswith(_CLAIM) and part != _CLAIM:
                return partial(self._claim, part.removeprefix(_CLAIM))
        elif is_plain_function(part):
            return partial(_custom, part)
        raise ConfigurationError(
            'key= is "client", "principal", "api-key", "certificate", "route", "claim:<name>", a plain function of '
            f"(exchange, scope) that returns a string, or several of these; got {part!r}"
        )

    def _client(self, exchange: Exchange, scope: Scope) -> Hashable:
        return address_key(exchange.client, self.mask)

    def _principal(self, exchange: Exchange, scope: Scope) -> Hashable:
        who = exchange.principal
        return address_key(exchange.client, self.mask) if who is None else principal_key(who)

    def _api_key(self, exchange: Exchange, scope: Scope) -> Hashable:
        who = exchange.principal
        if who is None or who.method != "api-key":
            return self._principal(exchange, scope)
        return short_key(f"api-key {who.token_id}")

    def _certificate(self, exchange: Exchange, scope: Scope) -> Hashable:
        certificate = exchange.peer_certificate
        return self._principal(exchange, scope) if certificate is None else bytes.fromhex(certificate.sha256)

    def _claim(self, name: str, exchange: Exchange, scope: Scope) -> Hashable:
        who = exchange.principal
        value = None if who is None else who.claims.get(name)
        if who is None or not isinstance(value, (str, int)):
            return self._principal(exchange, scope)
        # Two issuers may give one name to different tenants; 1 is not "1".
        return short_key(f"claim {len(who.issuer)}:{who.issuer}{value!r}")

    def _route(self, exchange: Exchange, scope: Scope) -> Hashable:
        method = WEBSOCKET if scope["type"] == "websocket" else scope["method"]
        found = None if self._routes is None else self._routes.find(method, route_path(scope, self._root_path))
        return short_key("route" if found is None else f"route {found[0].template.text}")


class _Route(NamedTuple):
    entry: RouteEntry

    @property
    def methods(self) -> frozenset[str] | None:
        # A method that a route refuses is one of its requests all the same.
        return frozenset((WEBSOCKET,)) if self.entry.kind == "websocket" else None

    @property
    def template(self) -> Template:
        return self.entry.template


def place_of(key: Any) -> str:
    """``"client"`` where the key is known before anybody has authenticated, ``"principal"`` where it is after that,
    ``"custom"`` with a function in it."""
    parts = several(key)
    if any(not isinstance(part, str) for part in parts):
        return "custom"
    return "client" if set(parts) <= {"client", "route"} else "principal"


def _custom(function: Callable[[Exchange, Scope], object], exchange: Exchange, scope: Scope) -> Hashable:
    name = function(exchange, scope)
    if not isinstance(name, str):
        raise TypeError(f"key= must return a string, and returned {type(name).__name__}")
    return short_key(name)


def octets_of(key: Hashable) -> tuple[bytes, bytes]:
    """A key's kind, text or octets, and its octets: together they are unambiguous."""
    if isinstance(key, str):
        return b"text ", key.encode("utf-8", "surrogatepass")
    if isinstance(key, bytes):
        return b"octets ", key
    raise TypeError(f"a key is text or octets, got {type(key).__name__}")


def _joined(readers: tuple[Callable[[Exchange, Scope], Hashable], ...], exchange: Exchange, scope: Scope) -> Hashable:
    """A digest over the parts, each with its kind and its length before it."""
    digest = blake2b(digest_size=20)
    for reader in readers:
        kind, raw = octets_of(reader(exchange, scope))
        digest.update(b"%b%d:%b" % (kind, len(raw), raw))
    return digest.digest()


def name_key(name: str) -> Hashable:
    """The key of a name that somebody tries to sign in with, which is no address and no principal."""
    # Of a kind of its own: a function for key= may return any text.
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=20, person=b"name").digest()


def preflight_key(key: Hashable) -> bytes:
    """The key of a CORS preflight: the same asker, counted apart (RL-16)."""
    return _PREFLIGHT + repr(key).encode()


def is_preflight(fields: Fields) -> bool:
    """Whether an OPTIONS request is one that a browser sends before the real one (Fetch, "CORS-preflight request")."""
    return b"origin" in fields and b"access-control-request-method" in fields
