"""One HEAD request, and the little of its answer that matters here: the status and HSTS (RFC 6797)."""

import re
import ssl
from dataclasses import dataclass

from ..endpoint import Endpoint, NoAnswerError
from ..handshake import Connection

MOST = 32 * 1024
"""Bytes of response heads that are read."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |$)")
_INTERIM = re.compile(rb"\A(?:HTTP/1\.1 1[0-9]{2}[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)+")
"""103 and its like, which come before the answer."""
_DIRECTIVE = re.compile(r"\s*([^\s=;]+)\s*(?:=\s*(?:\"([^\"]*)\"|([^\s\";]+))\s*)?")


@dataclass(frozen=True, slots=True)
class Head:
    """``status`` of the answer; ``hsts`` the values of all its HSTS fields."""

    status: int
    hsts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HSTS:
    """``max_age`` in seconds."""

    max_age: int
    include_subdomains: bool
    preload: bool


def ask_for_head(connection: Connection, endpoint: Endpoint) -> Head | None:
    """None if there is no HTTP answer: refused, closed, silent, or something else. Without any credential."""
    request = f"HEAD / HTTP/1.1\r\nHost: {_host(endpoint)}\r\nUser-Agent: secure-asgi\r\nConnection: close\r\n\r\n"
    received = b""
    try:
        connection.write(request.encode())
        while len(received) < MOST and (data := connection.read()):
            received = _INTERIM.sub(b"", received + data)
            head, end, _ = received.partition(b"\r\n\r\n")
            if end:
                return _parsed(head)
    except (ssl.SSLError, NoAnswerError):
        pass
    return None


def parse_hsts(value: str) -> HSTS | None:
    """RFC 6797 section 6.1; None for what a browser would ignore: malformed, a directive twice, no ``max-age``."""
    directives: dict[str, str | None] = {}
    for part in value.split(";"):
        if not part.strip():
            continue
        directive = _DIRECTIVE.fullmatch(part)
        if directive is None or directive[1].lower() in directives:
            return None
        directives[directive[1].lower()] = directive[2] if directive[2] is not None else directive[3]
    age = directives.get("max-age") or ""
    if not re.fullmatch("[0-9]{1,18}", age):
        return None
    return HSTS(int(age), "includesubdomains" in directives, "preload" in directives)


def _parsed(head: bytes) -> Head | None:
    line, *fields = head.split(b"\r\n")
    status = _STATUS.match(line)
    if status is None:
        return None
    named = [field.partition(b":") for field in fields]
    hsts = [value for name, _, value in named if name.strip().lower() == b"strict-transport-security"]
    return Head(int(status[1]), tuple(value.strip().decode("latin-1") for value in hsts))


def _host(endpoint: Endpoint) -> str:
    name = f"[{endpoint.server_name}]" if ":" in endpoint.server_name else endpoint.server_name
    return name if endpoint.port == 443 else f"{name}:{endpoint.port}"
