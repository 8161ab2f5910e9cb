"""Where to connect, and a connection that keeps to a deadline whatever the other side does."""

import ipaddress
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from ...errors import ConfigurationError, SecureASGIError
from ..printable import printable

MOST_BYTES = 1 << 20
"""What one connection reads at most. Certificate chains and response heads are a thousandth of it."""

_HOST_AND_PORT = re.compile(r"(?:\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:/\[\]]+))(?::(?P<port>[0-9]{1,5}))?")

_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")

_Address = tuple[socket.AddressFamily, Any]


class NoAnswerError(SecureASGIError):
    """The other side cannot be reached, does not speak TLS, or does not come to an end. The message is printable."""


@dataclass(slots=True)
class Endpoint:
    """A host and port as the user named them. ``server_name`` is whom we ask for there: SNI, certificate, ``Host``.

    ``timeout`` (seconds) is for one connection; all of them together end at ``ends`` (of ``time.monotonic``).
    """

    host: str
    port: int
    server_name: str
    timeout: float
    ends: float = field(default=float("inf"))
    _addresses: list[_Address] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str, *, server_name: str | None = None, timeout: float) -> "Endpoint":
        """``HOST:PORT``, ``HOST`` (port 443) or ``[IPv6]:PORT``. Raises ``ConfigurationError`` for anything else."""
        parts = _HOST_AND_PORT.fullmatch(text)
        port = int(parts["port"] or 443) if parts else 0
        if parts is None or not 0 < port < 65536:
            raise ConfigurationError(
                f"an endpoint is written HOST:PORT, as in example.com:443 or [::1]:8443, got {text!r}"
            )
        host = _ascii(parts["literal"] or parts["host"])
        return cls(host, port, host if server_name is None else _ascii(server_name), timeout)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def address(self) -> str:
        """The address that answered first; all connections go there, so that one machine is described, not several."""
        return str(self._addresses[0][1][0])

    def connect(self) -> "Wire":
        """A TCP connection. Raises ``NoAnswerError``."""
        now = time.monotonic()
        deadline = min(now + self.timeout, self.ends)
        if now >= deadline:
            raise NoAnswerError("it answers too slowly to be inspected: --timeout gives it longer")
        if not self._addresses:
            self._addresses = _resolve(self.host, self.port, deadline)
        refusals = []
        for untried, (family, address) in zip(range(len(self._addresses), 0, -1), self._addresses, strict=True):
            wire = Wire(socket.socket(family, socket.SOCK_STREAM), self.timeout, deadline)
            try:
                # Each has its share of the time: one that swallows everything does not hide the next.
                wire.open(address, (deadline - time.monotonic()) / untried)
            except NoAnswerError as error:
                refusals.append(error)
                wire.close()
                continue
            self._addresses = [(family, address)]
            return wire
        raise refusals[0]


class Wire:
    """A socket, all of whose work is over at ``deadline``, and which reads no more than ``MOST_BYTES``."""

    def __init__(self, connection: socket.socket, timeout: float, deadline: float) -> None:
        self._socket = connection
        self._timeout = timeout
        self._deadline = deadline
        self._received = 0

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def open(self, address: Any, seconds: float) -> None:
        try:
            self._socket.settimeout(max(seconds, 0.001))
            self._socket.connect(address)
        except TimeoutError as error:
            raise self._late() from error
        except OSError as error:
            raise NoAnswerError((error.strerror or type(error).__name__).lower()) from error

    def send(self, data: bytes) -> None:
        """A connection that is gone swallows it: what there is to know then comes from ``receive``."""
        try:
            self._wait()
            self._socket.sendall(data)
        except TimeoutError as error:
            raise self._late() from error
        except OSError:
            pass

    def receive(self) -> bytes:
        """What has come, at least one byte; nothing once the other side is gone."""
        try:
            self._wait()
            data = self._socket.recv(65536)
        except TimeoutError as error:
            raise self._late() from error
        except OSError:
            return b""
        self._received += len(data)
        if self._received > MOST_BYTES:
            raise NoAnswerError(f"it sends more than {MOST_BYTES} bytes and comes to no end")
        return data

    def close(self) -> None:
        self._socket.close()

    def _wait(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _late(self) -> NoAnswerError:
        done = "no answer" if not self._received else "no complete answer"
        return NoAnswerError(f"{done} within {self._timeout:g} s")


def is_address(host: str) -> bool:
    """An IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _ascii(host: str) -> str:
    """As it goes over the wire: international names in ASCII, no final dot (RFC 6066 section 3)."""
    if is_address(host):
        return host
    try:
        name = host.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{host!r} is no host name")
    return name


def _resolve(host: str, port: int, deadline: float) -> list[_Address]:
    """In a thread, because the system's resolver keeps to no deadline of ours."""
    found: list[_Address] = []
    problems: list[str] = []

    def ask() -> None:
        try:
            for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                found.append((family, address))
        except OSError as error:
            problems.append(str(error.strerror or error))

    asking = threading.Thread(target=ask, name=f"resolve {host}", daemon=True)
    asking.start()
    asking.join(max(0.0, deadline - time.monotonic()))
    if problems or not found:
        raise NoAnswerError(printable(problems[0]).lower() if problems else "its name is not resolved in time")
    return list(found)
