"""The ASGI shapes, named once.

The same shapes as ``starlette.types``, without importing Starlette: floors 0 to 2 load in no time.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

RawHeaders = list[tuple[bytes, bytes]]
"""Header fields as they go on the wire: one tuple a line, in order, repeated names allowed."""

Fields = dict[bytes, bytes | tuple[bytes, ...]]
"""Request header fields by lower-case name. A name that came on several lines has all its values in a tuple."""

HOST_FIELD = re.compile(rb"([0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
"""What a Host field may look like: a name or an IPv4 address, or an IPv6 address in brackets; perhaps a port."""


def read_fields(raw: RawHeaders) -> Fields:
    """Fold header lines into a dictionary without ever choosing between two of them.

    One C call where no name is repeated and all are lower-case, as every server sends them;
    a repeated name keeps all its lines, so that a reader of a single-valued field sees the ambiguity.
    """
    fields: Fields = dict(raw)
    if len(fields) == len(raw) and (not fields or b"".join(fields).islower()):
        return fields
    folded: Fields = {}
    for name, value in raw:
        key = name.lower()
        known = folded.get(key)
        if known is None:
            folded[key] = value
        else:
            folded[key] = (known, value) if isinstance(known, bytes) else (*known, value)
    return folded
