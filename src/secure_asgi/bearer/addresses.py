"""Which addresses of an issuer may be fetched. RFC 8414 section 3.1, OpenID Connect Discovery section 4.1."""

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from .._fetch import is_loopback


def metadata_urls(issuer: str) -> tuple[str, str]:
    """Where OpenID Connect appends to the issuer, RFC 8414 section 3.1 inserts before its path."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
    )


async def leads_inside(learned: str, trusted: str) -> bool:
    """JWKS-4: whether a URL that was ``learned`` from outside names an address inside our own network.

    The host of the ``trusted`` URL was configured and may be anywhere. A name that does not resolve leads nowhere from
    here: a proxy may know it. TLS holds what a name may resolve to a moment later: the certificate must be for it.
    """
    parts = urlsplit(learned)
    host = parts.hostname or ""
    if host == urlsplit(trusted).hostname:
        return False
    if is_loopback(host):
        return True
    try:
        # Names for addresses too: 2130706433 and 0x7f.1 are 127.0.0.1 to whoever connects.
        found = await asyncio.get_running_loop().getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(not ipaddress.ip_address(address[4][0]).is_global for address in found)
