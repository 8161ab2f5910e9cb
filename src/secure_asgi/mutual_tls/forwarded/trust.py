"""Who may forward certificates: how a proxy of ours is told from everybody else.

Best first: its own client certificate on the connection to us, a secret that only it knows, a Unix socket, an address.
Each has ``authenticate``, which returns if the request comes from the proxy and else raises
``CertificateError(PROXY_UNTRUSTED)``, or ``CertificateError(TLS_UNKNOWN)`` where this server does not tell enough to
decide; ``way_out`` then says what to do about it.
"""

import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from hmac import compare_digest
from typing import Protocol

from ..._asgi import Fields, Scope
from ..._cache import TwoGenerations
from ..._networks import address, network
from ..._pins import Pin, PinSet
from ...denial import Reason
from ...errors import CertificateError, ConfigurationError
from ...exchange import SCOPE_KEY, Exchange
from ..certificate import Given, read_certificates
from ..source import TLSExtension

MIN_SECRET = 16
"""Bytes of a secret; 32 random hexadecimal digits are 128 bits."""

KNOWN_PROXIES = 64
"""Certificates of proxies remembered, and nothing of anybody else."""

KNOWN_PEERS = 1024
"""Addresses of peers whose verdict is remembered."""

_DAY = 86_400

_FIELD_NAME = re.compile(r"[a-z0-9-]+")
_SECRET = re.compile(rb"[\x21-\x7e]+")


class Trust(Protocol):
    """What makes a request one of our proxy's. ``field`` is the request field with a secret, or empty."""

    @property
    def field(self) -> bytes: ...

    @property
    def way_out(self) -> str: ...

    def authenticate(self, exchange: Exchange, scope: Scope) -> None: ...


class ProxyCertificate:
    """The proxy has a client certificate of its own on the connection to us, and its key is one of ``pins``.

    ``pins`` are written ``"sha256/<base64>"`` or ``Pin("sha256/...", until=date)``; two at least, the key in use and a
    spare one, unless ``insecure_single_pin=True``. The certificate must be valid now. Its chain, purpose and revocation
    are not looked at: the pin names the key itself, and the handshake has shown that the proxy holds it.

    Raises ``ConfigurationError`` for what is no pin, or too few of them.
    """

    field = b""
    way_out = (
        "mutual_tls refuses every request, because this server tells applications nothing about TLS (ASGI TLS "
        'extension), so that no proxy can be known by its certificate: run uvicorn with http="secure_asgi.servers.'
        'uvicorn:AutoProtocol", or hypercorn through secure_asgi.servers.hypercorn, or let the proxy prove itself with '
        "ProxySecret(...)"
    )

    def __init__(self, pins: str | Pin | Iterable[str | Pin], *, insecure_single_pin: bool = False) -> None:
        self._pins = PinSet(pins, option="pins", is_single_ok=insecure_single_pin)
        self.escape_hatches = ("insecure_single_pin",) if insecure_single_pin else ()
        self._source = TLSExtension()
        self._known: TwoGenerations[tuple[Given, ...], tuple[float, float]] = TwoGenerations(KNOWN_PROXIES)
        self._clock: Callable[[], float] = time.time

    def __repr__(self) -> str:
        return "ProxyCertificate(...)"

    def authenticate(self, exchange: Exchange, scope: Scope) -> None:
        given = self._given(exchange, scope)
        now = self._clock()
        try:
            period = self._known.get(given)
        except TypeError:
            raise _untrusted("the proxy's certificate is neither PEM text nor DER bytes") from None
        if period is None or not period[0] <= now <= period[1]:
            self._judge(given, now)

    def _given(self, exchange: Exchange, scope: Scope) -> tuple[Given, ...]:
        try:
            given = self._source.read(exchange, scope)
        except CertificateError as error:
            if error.reason == Reason.TLS_UNKNOWN:
                raise
            raise _untrusted(f"the proxy's certificate: {error}") from error
        if not given:
            raise _untrusted("no certificate on the connection from the proxy")
        return given

    def _judge(self, given: tuple[Given, ...], now: float) -> None:
        """Remember from when to when the certificate counts: while valid, and until midnight, when pins may end."""
        try:
            peer = read_certificates(given)
        except CertificateError as error:
            raise _untrusted(f"the proxy's certificate: {error}") from error
        begin, end = peer.not_before.timestamp(), peer.not_after.timestamp()
        if not begin <= now <= end:
            raise _untrusted("the proxy's certificate has expired, or is not valid yet")
        if not self._pins.match((peer.spki_pin,), datetime.fromtimestamp(now, UTC).date()):
            raise _untrusted(f"the proxy's key is not pinned: {peer.spki_pin}")
        midnight = (now // _DAY + 1) * _DAY
        self._known.put(given, (begin, min(end, midnight - 1e-6)))


class ProxySecret:
    """The proxy sends a secret in a request field that it sets itself and nobody else knows.

    ``header`` is the field's name; ``secret`` is what must stand there, or several of which one must, while the secret
    is being changed. 16 bytes at least, printable ASCII without blanks: ``openssl rand -hex 32`` makes one. Compared in
    constant time; the field never reaches the application. It is worth no more than the way it takes: on a network that
    others share, TLS belongs between the proxy and this server.

    Raises ``ConfigurationError`` for a name that is none and for a secret that is too short.
    """

    way_out = ""

    def __init__(self, header: str, secret: str | bytes | Iterable[str | bytes]) -> None:
        self.field = field_name(header, option="header")
        self._secrets = tuple(map(_secret, (secret,) if isinstance(secret, str | bytes) else secret))
        if not self._secrets:
            raise ConfigurationError("secret= names no secret: give the one that the proxy sends")

    def __repr__(self) -> str:
        return f"ProxySecret({self.field.decode()!r}, ...)"

    def authenticate(self, exchange: Exchange, scope: Scope) -> None:
        given = exchange.fields(scope).get(self.field)
        if given is None:
            raise _untrusted("no secret of the proxy")
        if isinstance(given, tuple):
            raise _untrusted("the proxy's secret came on several lines")
        is_ours = False
        for secret in self._secrets:
            # To the end of the list, whichever matched: time tells nobody which.
            is_ours |= compare_digest(given, secret)
        if not is_ours:
            raise _untrusted("not the secret of the proxy")


class ProxyPeers:
    """The proxy is known by where it connects from: ``networks`` as ``"10.0.0.0/8"``, or ``"unix"`` for a Unix socket.

    The peer is the one that our server hook recorded. ``scope["client"]`` may have been taken from a request field by
    then; ``trusts_scope_client`` takes it all the same where there is no hook. It is read as the server gave it, before
    a layer of ours wrote the client's address there.
    """

    field = b""
    way_out = (
        "mutual_tls refuses every request, because this server does not tell who is at the other end of the socket, so "
        'that no proxy can be known by its address: run uvicorn with http="secure_asgi.servers.uvicorn:AutoProtocol", '
        "or hypercorn through secure_asgi.servers.hypercorn (where a server has no such hook: "
        "insecure_scope_client=True, and on uvicorn --no-proxy-headers too), or let the proxy prove itself with "
        "ProxySecret(...)"
    )

    def __init__(self, networks: Iterable[str], *, trusts_scope_client: bool) -> None:
        named = tuple(networks)
        if not named:
            raise ConfigurationError("trusted= names no proxy: give their networks, or ProxySecret(...)")
        self._named = named
        self._networks = tuple(network(text) for text in named if text != "unix")
        self._trusts_unix = "unix" in named
        self._trusts_scope_client = trusts_scope_client
        self._is_ours = lru_cache(KNOWN_PEERS)(self._lies_within)

    def __repr__(self) -> str:
        return repr(self._named)

    def authenticate(self, exchange: Exchange, scope: Scope) -> None:
        recorded = (scope.get("extensions") or {}).get(SCOPE_KEY)
        if recorded is not None and "peer" in recorded:
            peer = recorded["peer"]
        elif self._trusts_scope_client:
            peer = exchange.server_client
            if peer is not None and peer[0] and (peer[1] == 0 or _claims(exchange.fields(scope), peer[0])):
                raise CertificateError(Reason.TLS_UNKNOWN, "the peer has been replaced by what a field claims")
        else:
            raise CertificateError(Reason.TLS_UNKNOWN, "no server hook has recorded the peer")
        host = peer[0] if peer else ""
        if not (self._is_ours(host) if host else self._trusts_unix):
            raise _untrusted(f"from {host or 'a Unix socket'}")

    def _lies_within(self, host: str) -> bool:
        found = address(host)
        return found is not None and any(found in ours for ours in self._networks)


def _claims(fields: Fields, host: str) -> bool:
    """X-Forwarded-For names that address with a port, which uvicorn then takes for the peer's too.

    (Where it names no port, uvicorn writes port 0, which no socket's peer has.)
    """
    claimed = fields.get(b"x-forwarded-for", ())
    together = (claimed if isinstance(claimed, bytes) else b",".join(claimed)).decode("latin-1")
    return any(host == entry.strip().rpartition(":")[0].strip("[]") for entry in together.split(",") if ":" in entry)


def field_name(name: object, *, option: str) -> bytes:
    """A request field's name as ASGI has it. Raises ``ConfigurationError``."""
    lower = name.lower() if isinstance(name, str) else ""
    # No underscore: that is how an alias of another field is spelt, and many proxies drop such names.
    if not _FIELD_NAME.fullmatch(lower):
        raise ConfigurationError(f"{option}= takes names of letters, digits and hyphens, got {name!r}")
    return lower.encode()


def _secret(given: str | bytes) -> bytes:
    """Never shown, not in an error either."""
    secret = given.encode() if isinstance(given, str) else given
    if not isinstance(secret, bytes) or len(secret) < MIN_SECRET or not _SECRET.fullmatch(secret):
        raise ConfigurationError(
            f"secret= takes {MIN_SECRET} bytes at least, printable ASCII without blanks, as `openssl rand -hex 32` "
            "makes them; the one given is shorter or has other characters"
        )
    return secret


def _untrusted(note: str) -> CertificateError:
    return CertificateError(Reason.PROXY_UNTRUSTED, note[:256])
