"""The client's side of pinning: an httpx transport that talks to nobody but the holder of a pinned key.

Pins narrow and never replace: the server's certificate is verified against the trust anchors and the host name as ever,
and then its path must hold a pinned public key (RFC 7469 section 2.6). That is looked at as the TLS handshake ends:
httpx's own hooks come when the request has been sent.
"""

import ssl
from collections.abc import Iterable
from importlib.util import find_spec
from os import PathLike
from threading import Lock
from typing import Any, Self

from ._chains import chain_of
from ._files import StrPath, paths
from ._pem import load_authorities, load_own_certificate
from ._pins import Pin, PinSet, certificate_pin, pins_of
from .errors import ConfigurationError
from .exchange import today

try:
    import httpx
except ImportError:
    raise ConfigurationError("secure_asgi.pinning needs httpx: pip install httpx") from None

__all__ = ["Pin", "PinMismatch", "PinnedTransport", "pins_of"]


class PinMismatch(httpx.ConnectError):
    """The server is verified and holds none of the pinned keys: nothing was sent to it.

    ``host`` is its name; ``seen`` the pins of its verified path, leaf first: what to pin, if the change was expected.
    """

    def __init__(self, message: str, *, host: str = "", seen: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.host = host
        self.seen = seen


class PinnedTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """``httpx.Client(transport=PinnedTransport(...))``, and ``httpx.AsyncClient`` alike: every host must hold a pin.

    ``pins`` are ``"sha256/<base64>"`` or ``Pin(...)``; the server's own key counts, and that of each authority in its
    verified path. ``insecure_single_pin=True`` accepts a single one. ``trust_anchors`` is a PEM file of authorities, or
    several, in place of those that httpx trusts; ``certificate`` the pair of PEM files (certificate, key) shown to a
    server that asks for one. ``http2``, ``limits`` and ``retries`` (of a failed connect) are httpx's. Files are read on
    entering the client or with the first request, off the event loop.

    Raises ``PinMismatch``, an ``httpx.ConnectError``, before the first byte of the request; ``httpx.ConnectError`` for
    a certificate or host name that does not verify; ``httpx.UnsupportedProtocol`` for a URL that is not https; and
    ``ConfigurationError`` for a wrong option or file.

    It builds its TLS context itself: one that was handed in would have to be changed, for whoever else uses it, and
    could have verification switched off. It knows no proxy. Revocation is not checked, and a connection that is open
    is not checked again.
    """

    def __init__(
        self,
        pins: str | Pin | Iterable[str | Pin],
        *,
        trust_anchors: StrPath | Iterable[StrPath] | None = None,
        certificate: tuple[StrPath, StrPath] | None = None,
        insecure_single_pin: bool = False,
        http2: bool = False,
        limits: httpx.Limits | None = None,
        retries: int = 0,
    ) -> None:
        self._pins = PinSet(pins, option="pins", is_single_ok=insecure_single_pin)
        self._trust_anchors = paths("trust_anchors", trust_anchors)
        self._certificate = _pair(certificate)
        self._options = _httpx_options(http2, limits, retries)
        self._lock = Lock()
        self._transports: tuple[httpx.HTTPTransport, httpx.AsyncHTTPTransport] | None = None

    def __enter__(self) -> Self:
        self._open()
        return self

    async def __aenter__(self) -> Self:
        await self._open_aside()
        return self

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        _check_scheme(request)
        transport, _ = self._transports or self._open()
        return transport.handle_request(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        _check_scheme(request)
        _, transport = self._transports or await self._open_aside()
        return await transport.handle_async_request(request)

    def close(self) -> None:
        if self._transports is not None:
            self._transports[0].close()

    async def aclose(self) -> None:
        if self._transports is not None:
            await self._transports[1].aclose()

    def _open(self) -> tuple[httpx.HTTPTransport, httpx.AsyncHTTPTransport]:
        """Both, under one TLS context; of two threads one waits for the other."""
        with self._lock:
            if self._transports is None:
                context = _verifying(self._trust_anchors)
                if self._certificate is not None:
                    _load_certificate(context, *self._certificate)
                _pin(context, self._pins)
                self._transports = (
                    httpx.HTTPTransport(verify=context, **self._options),
                    httpx.AsyncHTTPTransport(verify=context, **self._options),
                )
            return self._transports

    async def _open_aside(self) -> tuple[httpx.HTTPTransport, httpx.AsyncHTTPTransport]:
        """Reading the CA bundle takes some 20 ms, which the event loop does not have. asyncio or trio."""
        from anyio import to_thread

        return await to_thread.run_sync(self._open)


def _pin(context: ssl.SSLContext, pins: PinSet) -> None:
    """Make each handshake under ``context`` end with the check, on sockets (sync) and in memory (async)."""

    def check(connection: ssl.SSLSocket | ssl.SSLObject) -> None:
        # Of a resumed session there is none: then nothing matches.
        seen = tuple(map(certificate_pin, chain_of(connection, "verified")))
        if not pins.match(seen, today()):
            host = connection.server_hostname or ""
            message = f"{host} holds no pinned key; its verified path has {pins.shown(seen)}"
            raise PinMismatch(message, host=host, seen=seen)

    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            try:
                check(self)
            except BaseException:
                self.close()  # nobody else has it yet
                raise

    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            check(self)

    context.sslsocket_class = PinnedSocket
    context.sslobject_class = PinnedObject


def _verifying(trust_anchors: tuple[StrPath, ...]) -> ssl.SSLContext:
    if trust_anchors:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which verifies, the host name too
        for file in trust_anchors:
            load_authorities(context, file, f"trust_anchors={str(file)!r}")
        if not context.cert_store_stats()["x509"]:
            # A revocation list alone loads without complaint.
            raise ConfigurationError(f"trust_anchors= holds no certificate: {', '.join(map(str, trust_anchors))}")
    else:
        context = httpx.create_ssl_context(trust_env=False)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a second handshake would not be looked at
    # As strict on every Python as 3.13 is by default; and a subordinate authority may be the trust anchor.
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _load_certificate(context: ssl.SSLContext, certfile: StrPath, keyfile: StrPath) -> None:
    certificate, key = f"certificate=({str(certfile)!r}, ...)", f"certificate=(..., {str(keyfile)!r})"
    load_own_certificate(context, certfile, keyfile, certificate=certificate, key=key)


def _check_scheme(request: httpx.Request) -> None:
    if request.url.scheme != "https":
        raise httpx.UnsupportedProtocol(
            f"a pinned transport asks https URLs only, got {request.url.scheme}://{request.url.host}"
        )


def _httpx_options(http2: bool, limits: httpx.Limits | None, retries: int) -> dict[str, Any]:
    if not isinstance(http2, bool):
        raise ConfigurationError(f"http2= is True or False, got {http2!r}")
    if http2 and find_spec("h2") is None:
        raise ConfigurationError("http2=True needs h2: pip install h2")
    if limits is not None and not isinstance(limits, httpx.Limits):
        raise ConfigurationError(f"limits= is httpx.Limits(...), got {limits!r}")
    if type(retries) is not int or retries < 0:
        raise ConfigurationError(f"retries= is a whole number from 0, got {retries!r}")
    return {"http2": http2, "retries": retries, "trust_env": False, **({"limits": limits} if limits else {})}


def _pair(given: tuple[StrPath, StrPath] | None) -> tuple[StrPath, StrPath] | None:
    is_pair = isinstance(given, tuple) and len(given) == 2 and all(isinstance(one, str | PathLike) for one in given)
    if given is not None and not is_pair:
        raise ConfigurationError(f'certificate= is ("client.pem", "client.key") or None, got {given!r}')
    return given
