"""A whole TLS handshake, and what the server says in it: its certificates, and whether it wants one of ours.

Python tells a client neither which certificates came (before 3.13) nor that one was asked for (still). The messages of
the handshake do; OpenSSL shows them to ``SSLContext._msg_callback``, decrypted, also when the handshake fails later.
"""

import ssl
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from ..._pem import load_own_certificate
from .endpoint import Endpoint, NoAnswerError, Wire

_HANDSHAKE, _CERTIFICATE, _CERTIFICATE_REQUEST = 22, 11, 13

_LEGACY_SERVER_CONNECT = 0x4
"""``ssl.OP_LEGACY_SERVER_CONNECT``, which has its name since Python 3.12 only."""

_Done = TypeVar("_Done")


def looking_context() -> ssl.SSLContext:
    """A client's context that puts up with everything, to see what is there. It verifies nothing: tell it no secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.options |= _LEGACY_SERVER_CONNECT
    return context


class Connection:
    """A connection on which a handshake has been tried. Leaving the block closes it.

    ``error`` is why the handshake failed, or None. ``chain`` holds the certificates that the server sent, DER, leaf
    first; ``wants_certificate`` says that it asked for one of ours.
    """

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, *, session: ssl.SSLSession | None = None) -> None:
        self.error: ssl.SSLError | None = None
        self.chain: tuple[bytes, ...] = ()
        self.wants_certificate = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context._msg_callback = self._see  # type: ignore[attr-defined]
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=endpoint.server_name, session=session
        )
        self._wire: Wire = endpoint.connect()
        try:
            self._run(self.tls.do_handshake)
        except ssl.SSLError as error:
            self.error = error
        except BaseException:
            self._wire.close()
            raise
        finally:
            context._msg_callback = None  # type: ignore[attr-defined]

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._say_farewell()
        self._wire.close()

    def write(self, data: bytes) -> None:
        self._run(lambda: self.tls.write(data))

    def read(self) -> bytes:
        """What has come; nothing at the end. Raises ``ssl.SSLError`` for an alert, ``NoAnswerError`` for a silence."""
        try:
            return self._run(lambda: self.tls.read(16384))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def _run(self, step: Callable[[], _Done]) -> _Done:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._flush()
                if data := self._wire.receive():
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            finally:
                self._flush()

    def _say_farewell(self) -> None:
        """Nobody waits for the answer; but without it a server forgets the session, and nothing could be resumed."""
        with suppress(ssl.SSLError):
            self.tls.unwrap()
        with suppress(NoAnswerError):
            self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._wire.send(self._outgoing.read())

    def _see(self, connection: Any, direction: str, version: int, content: int, message: int, data: bytes) -> None:
        if direction != "read" or content != _HANDSHAKE:
            return
        if message == _CERTIFICATE_REQUEST:
            self.wants_certificate = True
        elif message == _CERTIFICATE:
            self.chain = tuple(_certificates(data[4:], is_tls13=version == ssl.TLSVersion.TLSv1_3))


def present(context: ssl.SSLContext, certfile: str, keyfile: str | None) -> None:
    """Loads the client certificate that the user names. Raises ``ConfigurationError``."""
    key = f"--key {keyfile!r}" if keyfile is not None else "--key"
    load_own_certificate(context, certfile, keyfile, certificate=f"--cert {certfile!r}", key=key)


def chain_of(endpoint: Endpoint) -> tuple[bytes, ...]:
    """The certificates that a server sends, DER, leaf first, whether or not it lets us in. Raises ``NoAnswerError``."""
    with Connection(endpoint, looking_context()) as connection:
        if not connection.chain:
            raise NoAnswerError(why(connection.error))
        return connection.chain


def why(error: ssl.SSLError | None) -> str:
    """A failed handshake, in words."""
    if error is None:
        return "it sends no certificate"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLSyscallError):
        return "it closes the connection during the handshake"
    return f"the handshake fails: {(error.reason or 'unknown').lower().replace('_', ' ')}"


def _certificates(body: bytes, *, is_tls13: bool) -> list[bytes]:
    """Of a Certificate message (RFC 8446 section 4.4.2, RFC 5246 section 7.4.2); OpenSSL has yet to check it."""
    at = 3 + (1 + body[0] if is_tls13 and body else 0)
    found = []
    while at + 3 <= len(body):
        size = int.from_bytes(body[at : at + 3])
        at += 3
        found.append(body[at : at + size])
        at += size
        if is_tls13:
            at += 2 + int.from_bytes(body[at : at + 2])
    return found
