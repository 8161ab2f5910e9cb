"""One request and its response, as every layer sees it: what *we* decided about it.

What the wire said (method, path, headers) stays in the scope, which each flow reads as it was handed. The exchange
never holds the scope, a ``receive`` or a ``send``: it adds no reference cycle.
"""

import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from os import urandom
from types import MappingProxyType
from typing import Any, Literal, Protocol

from ._asgi import Fields, RawHeaders, Scope, read_fields
from .denial import Denial
from .errors import ConfigurationError

SCOPE_KEY = "secure_asgi"
"""The scope's entry that holds the exchange, and the ``extensions`` entry our server hooks write the raw peer to."""

NO_ADDRESS = "unknown"
"""What our server hooks record for a peer that went away before it could be asked for its address."""

MAX_DECISIONS = 100
"""Decisions kept of one exchange; what comes after is not recorded."""

Outcome = Literal["complete", "failed", "aborted", "cancelled"]
Verdict = Literal["pass", "exempt", "deny", "reply", "shadow", "error"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What one layer decided: ``layer`` is its slot; ``reason`` is empty for a pass, ``note`` is private."""

    layer: str
    verdict: Verdict
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCertificate:
    """A client certificate that was believed: the leaf's identity, parsed once.

    ``der`` the leaf; ``chain`` what the peer sent after it, DER, leaf excluded; ``sha256`` of the leaf, lower-case hex;
    ``subject`` and ``issuer`` RFC 4514 text, for showing, never for comparing; ``attributes`` the subject's parsed
    ``(type, value)`` pairs in the order of the certificate, types as RFC 4514 names them (``"CN"``) or dotted;
    ``dns``, ``uris`` and ``emails`` the subject alternative names by type. ``spki_pin`` is ``"sha256/..."`` of the
    public key (RFC 7469 section 2.4). ``path`` is the verified path, DER, leaf first and trust anchor last; empty where
    nothing was verified in this process. Validity times are aware, UTC.
    """

    der: bytes = field(repr=False)
    sha256: str
    subject: str
    issuer: str
    serial: int
    not_before: datetime
    not_after: datetime
    dns: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    chain: tuple[bytes, ...] = field(default=(), repr=False)
    attributes: tuple[tuple[str, str], ...] = ()
    spki_pin: str = ""
    path: tuple[bytes, ...] = field(default=(), repr=False)
    spiffe_id: str | None = None

    @property
    def thumbprint(self) -> str:
        """``x5t#S256``: base64url of the leaf's SHA-256, without padding (RFC 8705 section 3.1)."""
        return urlsafe_b64encode(bytes.fromhex(self.sha256)).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking, as proven by ``method``. Also a Starlette user: it is what ``request.user`` holds.

    ``subject`` is unique only together with ``issuer``. ``scopes`` and ``roles`` are what the proof grants, nothing
    inferred. ``claims`` is read-only; ``token_id`` the token's ``jti``.
    """

    subject: str
    issuer: str = ""
    client_id: str = ""
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    method: Literal["bearer", "dpop", "mtls", "api-key"] = "bearer"
    token_id: str = ""

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        return self.subject

    @property
    def identity(self) -> str:
        return self.subject


class Challenger(Protocol):
    """How a client is told to authenticate, or to do it better: a layer that authenticates gives one to the exchange.

    ``methods`` are the ``Principal.method`` values it answers for, ``scheme`` below one of them. ``missing`` is the
    answer to a request without its credentials.
    """

    @property
    def methods(self) -> frozenset[str]: ...

    @property
    def missing(self) -> Denial: ...

    def insufficient_scope(self, scopes: Iterable[str], note: str, scheme: Any) -> Denial: ...

    def insufficient_authentication(
        self, acr_values: Iterable[str], max_age: float | None, note: str, scheme: Any
    ) -> Denial: ...


class Shadowable(Protocol):
    """What the exchange needs of a layer to know whether its refusals are suspended today."""

    mode: str
    shadow_until: date | None


class Exchange:
    """State of one request, made by the first flow that meets it; ``exchange_of(connection)`` finds it.

    ``client`` (an address, None when unknown or a Unix socket) and ``scheme`` are what is trusted, not what was
    claimed: the socket's own until a layer knows better. ``peer`` is the raw socket peer if our server hook recorded
    it; ``server_client`` is what the server put into ``scope["client"]``, before a layer of ours did.
    ``client_is_proxy``: no client behind it is known, and it is one of our own proxies.
    ``client_request_id`` is an X-Request-ID that was not believed, escaped. ``host`` is what TrustedHost passed,
    lower-case and without a port, else empty. ``challengers`` are of the layers that authenticate, and that the request
    has passed, outermost first. ``denial`` is the refusal that was sent; ``decisions`` what each gate
    decided, shadow verdicts too; ``status`` the one sent (101 for an accepted WebSocket); ``route`` the template, known
    from the response head on; ``outcome`` is None while the answer is under way; ``error_type`` the class name of what
    was raised, never the exception. ``memo`` is what a layer must remember for its stamp or end, by layer; never put
    the scope in it. ``bytes_sent`` counts body bytes; ``started`` is ``time.perf_counter()``, seconds.
    """

    __slots__ = (
        "_fields",
        "_raw_headers",
        "_request_id",
        "_shadowed",
        "awaits_connect",
        "bytes_sent",
        "challengers",
        "client",
        "client_is_proxy",
        "client_request_id",
        "decisions",
        "denial",
        "done",
        "error_layers",
        "error_type",
        "head_left",
        "host",
        "memo",
        "outcome",
        "peer",
        "peer_certificate",
        "principal",
        "route",
        "scheme",
        "server_client",
        "started",
        "status",
    )

    def __init__(self, scope: Scope) -> None:
        self.started = time.perf_counter()
        kind = "ws" if scope["type"] == "websocket" else "http"
        self.scheme: str = scope.get("scheme") or kind
        self.peer: tuple[str, int] | None = None
        client: tuple[str, int] | None = scope.get("client")
        self.server_client = client
        extensions = scope.get("extensions")
        if extensions:
            recorded = extensions.get(SCOPE_KEY)
            if recorded:
                # scope["client"] may already be what a header claimed.
                client = self.peer = recorded.get("peer")
            if "tls" in extensions:
                # The socket's own scheme, whatever a server made of a header (ASGI TLS extension; HTTPS-1): our hook
                # fills the extension on every TLS connection, so one that it recorded without is in clear.
                self.scheme = kind + "s"
            elif recorded:
                self.scheme = kind
        self.client: str | None = client[0] if client and client[0] and client[0] != NO_ADDRESS else None
        self.client_is_proxy: bool = False
        self.host: str = ""
        self.client_request_id: str = ""
        self.peer_certificate: PeerCertificate | None = None
        self.principal: Principal | None = None
        self.challengers: tuple[Challenger, ...] = ()
        self.denial: Denial | None = None
        self.decisions: list[Decision] = []
        self.status: int | None = None
        self.route: str | None = None
        self.outcome: Outcome | None = None
        self.error_type: str = ""
        self.bytes_sent: int = 0
        self.head_left: bool = False
        self.done: bool = False
        self.error_layers: int = 0
        self.awaits_connect: bool = False
        self._request_id: str = ""
        self.memo: dict[Any, Any] = {}
        self._raw_headers: RawHeaders | None = None
        self._fields: Fields | None = None
        self._shadowed: dict[Shadowable, bool] | None = None

    @property
    def is_secure(self) -> bool:
        """The client's own connection was TLS, as far as we trust what says so."""
        return self.scheme in ("https", "wss")

    @property
    def request_id(self) -> str:
        """The id under which this request is known, a UUID unless a trusted proxy gave one (RID-1)."""
        if not self._request_id:
            self._request_id = new_uuid()
        return self._request_id

    @request_id.setter
    def request_id(self, value: str) -> None:
        self._request_id = value

    def echo_request_id(self, headers: RawHeaders) -> None:
        """Tell the client the id its request is known under, unless the application has told it one (RID-1)."""
        if b"x-request-id" not in dict(headers):
            headers.append((b"x-request-id", self.request_id.encode()))

    def fields(self, scope: Scope) -> Fields:
        """The request's header fields, read once per flow and again when a layer has replaced the list."""
        raw: RawHeaders = scope["headers"]
        fields = self._fields
        if fields is None or raw is not self._raw_headers:
            fields = self._fields = read_fields(raw)
            self._raw_headers = raw
        return fields

    def forget_fields(self) -> None:
        """Called by each flow as it begins, because what stands outside it may have edited the list in place; and at
        the end, because a record that waits to be written need not keep the request's credentials in memory."""
        self._raw_headers = self._fields = None

    def shadowed(self, layer: Shadowable) -> bool:
        """The layer's refusals are recorded and not sent. Decided once per request: midnight cannot split it."""
        if layer.mode == "enforce":
            return False
        if self._shadowed is None:
            self._shadowed = {}
        known = self._shadowed.get(layer)
        if known is None:
            known = layer.shadow_until is None or today() <= layer.shadow_until
            self._shadowed[layer] = known
        return known

    def record(self, layer: str, verdict: Verdict, reason: str = "", note: str = "") -> None:
        # Bounded: a long WebSocket whose messages are refused in shadow mode has something to say about each.
        if len(self.decisions) < MAX_DECISIONS:
            self.decisions.append(Decision(layer, verdict, reason, note))


def exchange_of(connection: Mapping[str, Any]) -> Exchange:
    """The exchange of a scope, a Starlette ``Request`` or a ``WebSocket``.

    Raises ``ConfigurationError`` where no layer of ours stands outside the caller.
    """
    try:
        exchange: Exchange = connection[SCOPE_KEY]
    except KeyError:
        raise ConfigurationError(
            "no secure_asgi layer stands outside this code: wrap the app with secure() or add one of the middlewares"
        ) from None
    return exchange


def new_uuid() -> str:
    """A random UUID (version 4) as text, at a third of ``uuid.uuid4()``'s cost."""
    digits = urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def today() -> date:
    """The UTC date, on which ``shadow_until`` turns."""
    return datetime.now(UTC).date()
