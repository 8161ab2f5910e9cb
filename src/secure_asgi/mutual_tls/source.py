"""Where the client certificate comes from: the TLS connection to this server. (Or ``forwarded``, from a proxy.)

One source is configured; none is ever guessed.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Protocol

from .._asgi import Scope
from ..denial import Reason
from ..errors import CertificateError
from ..exchange import SCOPE_KEY, Exchange
from .certificate import MAX_CERTIFICATES, Given, describe_given


class CertificateSource(Protocol):
    """What ``source=`` is.

    ``field_names`` are the request fields it reads, lower-case: none of them reaches the application. ``way_out`` is
    logged, once, where the deployment lacks what it takes to read a certificate. ``rests_on_handshake`` says that the
    certificate was verified in the handshake of this very connection, or not at all.
    """

    @property
    def needs_trust_anchors(self) -> bool: ...

    @property
    def rests_on_handshake(self) -> bool: ...

    @property
    def field_names(self) -> tuple[bytes, ...]: ...

    @property
    def way_out(self) -> str: ...

    def read(self, exchange: Exchange, scope: Scope) -> tuple[Given, ...]:
        """The certificates, leaf first; empty if the client sent none. Raises ``CertificateError``, nothing else."""


class TLSExtension:
    """The TLS connection to this server itself, as the server describes it (ASGI TLS extension, version 0.2).

    Every key of the extension is treated as optional, because servers differ: ``client_cert_chain`` may be any iterable
    of PEM text or DER bytes, leaf first; ``client_cert`` (DER), from before the specification, is read where there is
    no chain. ``client_cert_name`` alone proves nothing and is not read.
    """

    needs_trust_anchors = False
    rests_on_handshake = True
    field_names: tuple[bytes, ...] = ()

    way_out = (
        "mutual_tls refuses every request, because this server tells applications nothing about TLS (ASGI TLS "
        'extension): run uvicorn with http="secure_asgi.servers.uvicorn:AutoProtocol", or call '
        "secure_asgi.servers.hypercorn.install() in the module that hypercorn loads; with a server that has no such "
        "hook (granian, daphne) end TLS in a proxy in front of it and read its ForwardedCertificate(...)"
    )

    def __repr__(self) -> str:
        return "TLSExtension()"

    def read(self, exchange: Exchange, scope: Scope) -> tuple[Given, ...]:
        """The certificates as the server gave them, leaf first; empty if the client sent none.

        Raises ``CertificateError`` where the server says nothing about TLS, or that verification failed.
        """
        extensions = scope.get("extensions") or {}
        tls = extensions.get("tls")
        if tls is None:
            if exchange.is_secure:
                raise CertificateError(Reason.TLS_UNKNOWN, "no ASGI TLS extension")
            return ()
        try:
            chain = tls.get("client_cert_chain")
            if chain is not None and type(chain) is not tuple:
                chain = _keep(scope, extensions, tls, chain)
            if not chain and tls.get("client_cert"):
                chain = (tls["client_cert"],)
            if tls.get("client_cert_error"):
                which = f"{describe_given(chain)}: " if chain else ""
                raise CertificateError(Reason.CERTIFICATE_UNVERIFIED, f"{which}{tls['client_cert_error']}"[:256])
        except CertificateError:
            raise
        except Exception as error:
            raise CertificateError(Reason.CERTIFICATE_MALFORMED, f"TLS extension: {type(error).__name__}") from error
        return chain or ()


def _keep(scope: Scope, extensions: Mapping[str, Any], tls: Mapping[str, Any], chain: Any) -> tuple[Given, ...]:
    """The chain as a tuple, put into the scope too: an iterator can be read once, and the application may want it."""
    # One more than allowed, so that too many are seen as too many, and an endless one ends.
    kept = (chain,) if isinstance(chain, str | bytes) else tuple(islice(chain, MAX_CERTIFICATES + 1))
    scope["extensions"] = {**extensions, "tls": {**tls, "client_cert_chain": kept}}
    return kept


def is_resumed(scope: Scope) -> bool:
    """The TLS session was resumed: nothing was verified for this connection. (So our server hooks record.)"""
    recorded = (scope.get("extensions") or {}).get(SCOPE_KEY)
    return recorded is not None and "resumed" in recorded


def asks_for_none(scope: Scope) -> bool:
    """The server's TLS context asks no client for a certificate: none can ever come. (So our server hooks record.)"""
    recorded = (scope.get("extensions") or {}).get(SCOPE_KEY)
    return recorded is not None and "asks_for_none" in recorded
