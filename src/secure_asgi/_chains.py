"""The certificates of a TLS connection's other side, which Python has a public way to ask for since 3.13 only."""

import _ssl
import ssl
from typing import Any, Literal


def chain_of(connection: ssl.SSLObject | ssl.SSLSocket, kind: Literal["verified", "unverified"]) -> tuple[bytes, ...]:
    """DER, leaf first: the path that OpenSSL found, trust anchor last, or what was sent. Empty for a resumed session.

    In the middle of a handshake that fails, and of a client that sent nothing, ``ssl`` may raise anything.
    """
    method = f"get_{kind}_chain"
    read = getattr(connection, method, None)
    if read is not None:  # Python 3.13
        return tuple(read())
    raw: Any = connection
    return tuple(one.public_bytes(_ssl.ENCODING_DER) for one in getattr(raw._sslobj, method)() or ())
