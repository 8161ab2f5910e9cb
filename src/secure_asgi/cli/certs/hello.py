"""TLS hellos made by hand (RFC 8446 section 4.1.2, RFC 5246): what a server would choose, whatever OpenSSL we have.

A server answers a hello in clear, in every version: which version, suite and group it takes of those it is offered. So
one that still takes TLS 1.0 or RC4 is found out with an OpenSSL that has forgotten both. No handshake is finished here,
and nothing but the hello is sent.
"""

import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ..printable import printable
from .endpoint import Endpoint, NoAnswerError, Wire, is_address

SSL3, TLS10, TLS11, TLS12, TLS13 = 0x0300, 0x0301, 0x0302, 0x0303, 0x0304

_ALERT, _HANDSHAKE = 21, 22
_SERVER_HELLO, _SERVER_KEY_EXCHANGE, _SERVER_HELLO_DONE = 2, 12, 14
_SERVER_NAME, _GROUPS, _POINT_FORMATS, _SIGNATURES, _VERSIONS, _KEY_SHARE = 0, 10, 11, 13, 43, 51
_WARNING, _NAMED_CURVE = 1, 3

_RECORD_MOST = 16384 + 2048

_SIGNATURE_SCHEMES = (
    *(0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B),
    *(0x0401, 0x0501, 0x0601, 0x0203, 0x0201, 0x0202),
)
"""All that there are, weak ones too: what a certificate is signed with is judged by looking at it."""


@dataclass(slots=True)
class Choice:
    """What a server took of a hello. ``group`` is None where the exchange of keys has none (static RSA)."""

    version: int
    suite: int
    group: int | None = None


def ask(endpoint: Endpoint, version: int, suites: Sequence[int], groups: Sequence[int]) -> Choice | None:
    """What the server takes of what it is offered; None if it refuses.

    Raises ``NoAnswerError``, also for what is not TLS.
    """
    with endpoint.connect() as wire:
        wire.send(client_hello(version, suites, groups, endpoint.server_name))
        try:
            choice = _read(_Records(wire), version)
        except (struct.error, IndexError) as error:
            raise NoAnswerError("it answers with malformed TLS") from error
    # A server may answer with an older version than it was asked for; then it refuses this one.
    return choice if choice is not None and choice.version == version else None


def client_hello(version: int, suites: Sequence[int], groups: Sequence[int], server_name: str) -> bytes:
    """One record with a hello that offers exactly this.

    Under TLS 1.3 it brings no key, and the server names the group that it wants one of (HelloRetryRequest).
    """
    extensions = []
    if not is_address(server_name):  # RFC 6066 section 3: no literal addresses
        name = server_name.encode()
        extensions.append((_SERVER_NAME, _sized(2, b"\0" + _sized(2, name))))
    extensions += [
        (_GROUPS, _sized(2, _numbers(groups))),
        (_POINT_FORMATS, b"\x01\x00"),
        (_SIGNATURES, _sized(2, _numbers(_SIGNATURE_SCHEMES))),
    ]
    if version == TLS13:
        extensions += [(_VERSIONS, _sized(1, _numbers((TLS13,)))), (_KEY_SHARE, _sized(2, b""))]
    written = b"".join(struct.pack("!H", number) + _sized(2, content) for number, content in extensions)
    body = (
        struct.pack("!H", min(version, TLS12))
        + secrets.token_bytes(32)
        + _sized(1, secrets.token_bytes(32) if version == TLS13 else b"")
        + _sized(2, _numbers(suites))
        + b"\x01\x00"
        + (_sized(2, written) if version > SSL3 else b"")
    )
    message = b"\x01" + _sized(3, body)
    return struct.pack("!BH", _HANDSHAKE, min(version, TLS10)) + _sized(2, message)


class _Records:
    """The records that come, one by one."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._ahead = bytearray()

    def next(self) -> tuple[int, bytes] | None:
        """Type and content; None at the end. Raises ``NoAnswerError`` for what is no TLS."""
        head = self._take(5)
        if head is None:
            if self._ahead and self._ahead[0] not in (_ALERT, _HANDSHAKE):
                raise NoAnswerError(_not_tls(bytes(self._ahead)))
            return None
        kind, major, _, size = struct.unpack("!BBBH", head)
        if kind not in (_ALERT, _HANDSHAKE) or major != 3 or size > _RECORD_MOST:
            raise NoAnswerError(_not_tls(head + self._ahead))
        content = self._take(size)
        return None if content is None else (kind, content)

    def _take(self, size: int) -> bytes | None:
        while len(self._ahead) < size:
            data = self._wire.receive()
            if not data:
                return None
            self._ahead += data
        taken = bytes(self._ahead[:size])
        del self._ahead[:size]
        return taken


def _read(records: _Records, version: int) -> Choice | None:
    """Up to the end of the server's first flight, because it may give up in the middle of it."""
    messages = bytearray()
    choice = None
    while (record := records.next()) is not None:
        kind, content = record
        if kind == _ALERT:
            if content[0] == _WARNING:
                continue
            return None
        messages += content
        while len(messages) >= 4 and len(messages) >= (end := 4 + int.from_bytes(messages[1:4])):
            message, body = messages[0], bytes(messages[4:end])
            del messages[:end]
            if message == _SERVER_HELLO:
                choice = _server_hello(body)
                if choice.version == TLS13:
                    return choice
            elif choice is not None and message == _SERVER_KEY_EXCHANGE and body[0] == _NAMED_CURVE:
                choice.group = int.from_bytes(body[1:3])
            elif message == _SERVER_HELLO_DONE:
                return choice
    return None


def _server_hello(body: bytes) -> Choice:
    """Also a HelloRetryRequest, which looks the same and names suite and group as well."""
    version = int.from_bytes(body[:2])
    at = 35 + body[34]
    (suite,) = struct.unpack_from("!H", body, at)
    choice = Choice(version, suite)
    at += 3 + 2
    while at < len(body):
        number, size = struct.unpack_from("!HH", body, at)
        content = body[at + 4 : at + 4 + size]
        at += 4 + size
        if number == _VERSIONS:
            choice.version = int.from_bytes(content)
        elif number == _KEY_SHARE:
            choice.group = int.from_bytes(content[:2])
    return choice


def _not_tls(answer: bytes) -> str:
    if answer.startswith(b"HTTP/"):
        return "it answers plain HTTP, not TLS"
    return f'it does not speak TLS: it answers "{printable(answer.decode("ascii", "backslashreplace"), 40)}"'


def _numbers(values: Sequence[int]) -> bytes:
    return struct.pack(f"!{len(values)}H", *values)


def _sized(width: int, content: bytes) -> bytes:
    """With its length in front, in ``width`` bytes."""
    return len(content).to_bytes(width) + content
