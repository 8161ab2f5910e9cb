"""No answer over plain HTTP but a redirect or a refusal (RFC 6797 section 7.2, RFC 9110 section 15.5.22).

It stands outside everything that looks at credentials, so the answer is the same whether they are good or not.
"""

from collections.abc import Iterable
from datetime import date
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from ._asgi import HOST_FIELD, ASGIApp, Receive, Scope, Send
from .denial import Denial, Reason, Reply
from .errors import ConfigurationError
from .exchange import Exchange
from .flow import Answer, Layer

_CREDENTIAL_FIELDS = frozenset(
    (
        b"authorization",
        b"client-cert",
        b"cookie",
        b"dpop",
        b"proxy-authorization",
        b"x-access-token",
        b"x-api-key",
        b"x-auth-token",
    )
)
_CREDENTIAL_PARAMETERS = frozenset((b"access_token", b"api_key", b"apikey"))
_PATH_SAFE = "/:@!$&'()*+,;=-._~"
"""What may stand in a path as it is (RFC 3986 section 3.3)."""

_DETAIL = "This service answers over HTTPS only."
_UPGRADE = ((b"upgrade", b"TLS/1.2, HTTP/1.1"), (b"connection", b"Upgrade"))
_BAD_HOST = "The request needs one valid Host field."


class HTTPSRedirectMiddleware(Layer):
    """Answers a request that did not come over TLS: redirects it, or refuses it with 403.

    ``plaintext``:

    - ``"auto"`` redirects a GET or HEAD that carries no credential and refuses everything else. A redirect would let a
      client go on leaking its token in every first request, unnoticed; a refusal is noticed.
    - ``"redirect"`` redirects all requests; ``"refuse"`` refuses all.

    A WebSocket is always refused: handshakes follow no redirects. ``host`` is where redirects lead, with ``port``;
    without ``host`` it is the one TrustedHost passed (``exchange.host``), and with neither the request is refused.
    ``status`` of a redirect is 308, 307 or 301 (methods other than GET and HEAD get 308 in its place: 301 lets a client
    turn a POST into a GET). ``upgrade=True`` refuses with 426 where the protocol is HTTP/1.1. ``credentials`` names
    header fields that carry a credential besides the well-known ones.

    A request is secure if ``exchange.is_secure``: the connection is TLS, or TrustedProxy believes that the client's
    was. A path in ``exempt`` is answered over plain HTTP, except to a request that carries a credential. Reason codes:
    ``plaintext``, ``plaintext_redirected``; ``host_missing``, ``host_ambiguous``, ``host_malformed`` (400) where a
    redirect meets a bad Host. Which credentials were seen in clear is in the audit log, by kind and never by value.

    Does not revoke what it saw, and does not make a browser remember: that is HSTS.
    """

    name = "https_redirect"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        plaintext: Literal["auto", "redirect", "refuse"] = "auto",
        host: str | None = None,
        port: int = 443,
        status: Literal[301, 307, 308] = 308,
        upgrade: bool = False,
        credentials: str | Iterable[str] = (),
        mode: Literal["enforce", "shadow"] = "enforce",
        shadow_until: date | None = None,
        exempt: str | Iterable[str] = (),
    ) -> None:
        if plaintext not in ("auto", "redirect", "refuse"):
            raise ConfigurationError(f'plaintext= is "auto", "redirect" or "refuse", got {plaintext!r}')
        if host is not None:
            form = HOST_FIELD.fullmatch(str(host).encode())
            if form is None or form[2]:
                raise ConfigurationError(
                    f'host= is a name alone, "api.example.com" (a port goes into port=); got {host!r}'
                )
        if type(port) is not int or not 0 < port < 65536:
            raise ConfigurationError(f"port= is a TCP port, 1 to 65535; got {port!r}")
        if status not in (301, 307, 308):
            raise ConfigurationError(f"status= is 308, 307 or 301, got {status!r}")
        extra = (credentials,) if isinstance(credentials, str) else tuple(credentials)
        self._plaintext = plaintext
        self._host = host
        self._port = "" if port == 443 else f":{port}"
        self._status = status
        self._upgrade = upgrade
        self._credential_fields = _CREDENTIAL_FIELDS | {name.lower().encode() for name in extra}
        super().__init__(app, mode=mode, shadow_until=shadow_until, exempt=exempt)

    def on_request(self, exchange: Exchange, scope: Scope) -> Answer:
        if exchange.is_secure:
            return None
        seen = self._credentials_in(exchange, scope)
        if self._plaintext == "refuse" or scope["type"] == "websocket":
            return self._refuse(scope, seen)
        if self._plaintext == "auto" and (seen or scope["method"] not in ("GET", "HEAD")):
            return self._refuse(scope, seen)
        return self._redirect(exchange, scope, seen)

    def on_exempt(self, exchange: Exchange, scope: Scope) -> Answer:
        """A health probe may come in clear; a credential may not."""
        if exchange.is_secure:
            return None
        seen = self._credentials_in(exchange, scope)
        return self._refuse(scope, seen) if seen else None

    def _credentials_in(self, exchange: Exchange, scope: Scope) -> list[str]:
        """Kinds of credential that came in clear: names of fields and of query parameters, never values."""
        names = self._credential_fields.intersection(exchange.fields(scope))
        query: bytes = scope.get("query_string") or b""
        parameters = {unquote_to_bytes(pair.partition(b"=")[0]).lower() for pair in query.split(b"&")} if query else ()
        return sorted(name.decode() for name in names.union(_CREDENTIAL_PARAMETERS.intersection(parameters)))

    def _refuse(self, scope: Scope, seen: list[str], why: str = "") -> Denial:
        note = "; ".join(filter(None, (_in_clear(seen), why)))
        if self._upgrade and scope["type"] == "http" and scope.get("http_version") == "1.1":
            return Denial(Reason.PLAINTEXT, 426, _DETAIL, headers=_UPGRADE, note=note)
        return Denial(Reason.PLAINTEXT, 403, _DETAIL, note=note)

    def _redirect(self, exchange: Exchange, scope: Scope, seen: list[str]) -> Answer:
        flaw = _flaw_of_host(exchange, scope)
        if flaw is not None:
            return Denial(flaw, 400, _BAD_HOST)
        host = self._host or exchange.host
        target = _target(scope)
        if not host or target is None:
            why = (
                "the target is no path" if host else "no host to redirect to: give host=, or add TrustedHostMiddleware"
            )
            return self._refuse(scope, seen, why)
        if seen:
            exchange.record(self.place, "reply", Reason.PLAINTEXT, _in_clear(seen))
        status = 308 if self._status == 301 and scope["method"] not in ("GET", "HEAD") else self._status
        return Reply(_Redirect(status, f"https://{host}{self._port}{target}"), reason=Reason.PLAINTEXT_REDIRECTED)


class _Redirect:
    """An ASGI app: one redirect, without content."""

    __slots__ = ("_location", "_status")

    def __init__(self, status: int, location: str) -> None:
        self._status = status
        self._location = location

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"location", self._location.encode()),
            (b"content-length", b"0"),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _in_clear(seen: list[str]) -> str:
    return f"credential in clear: {', '.join(seen)}" if seen else ""


def _flaw_of_host(exchange: Exchange, scope: Scope) -> Reason | None:
    """What is wrong with the Host field itself, whatever host the redirect leads to (RFC 9112 section 3.2)."""
    value = exchange.fields(scope).get(b"host")
    if value is None:
        return Reason.HOST_MISSING if scope.get("http_version") == "1.1" else None
    if isinstance(value, tuple):
        return Reason.HOST_AMBIGUOUS
    return None if HOST_FIELD.fullmatch(value) else Reason.HOST_MALFORMED


def _target(scope: Scope) -> str | None:
    """Path and query as they were sent, with what may not stand in a Location percent-encoded; None if no path."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        path = quote(scope["path"], safe=_PATH_SAFE, errors="replace")
    else:
        path = quote(raw.partition(b"?")[0], safe=_PATH_SAFE + "%")
    query = quote(scope.get("query_string") or b"", safe=_PATH_SAFE + "%?")
    if not path.startswith("/"):
        return None
    return f"{path}?{query}" if query else path
