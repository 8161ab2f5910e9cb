"""Who is asking, as a short key: what counting and queueing by client have in common (RL-15)."""

import socket
from collections.abc import Callable, Hashable
from hashlib import blake2b

from .errors import ConfigurationError
from .exchange import Principal

UNKNOWN = "unknown"
"""The one key of all clients without an address: fail closed, rather than a budget for each of them."""

_LONGEST = 64
_IPV4_MAPPED = b"\0" * 10 + b"\xff\xff"


class Mask:
    """The leading bits of an IPv6 address."""

    __slots__ = ("_bits", "_last", "size")

    def __init__(self, bits: int) -> None:
        self.size = -(-bits // 8)
        self._last = 0xFF << (-bits % 8) & 0xFF

    def __call__(self, packed: bytes) -> bytes:
        network = packed[: self.size]
        if self._last == 0xFF:
            return network
        return network[:-1] + bytes((network[-1] & self._last,))


def read_mask(ipv6_prefix: int) -> Mask:
    """The option ``ipv6_prefix=``. Raises ``ConfigurationError``."""
    if type(ipv6_prefix) is not int or not 32 <= ipv6_prefix <= 128:
        raise ConfigurationError(f"ipv6_prefix= is a number of bits from 32 to 128, got {ipv6_prefix!r}")
    return Mask(ipv6_prefix)


def address_key(client: str | None, mask: Callable[[bytes], bytes]) -> Hashable:
    """IPv4 as its text, IPv6 as its masked network; an IPv4-mapped address is the IPv4 address it stands for."""
    if client is None:
        return UNKNOWN
    if ":" not in client:
        return client
    try:
        packed = socket.inet_pton(socket.AF_INET6, client.partition("%")[0])
    except (OSError, ValueError):
        return short_key(f"client {client}")
    if packed.startswith(_IPV4_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return mask(packed)


def principal_key(principal: Principal) -> Hashable:
    """Issuer and subject, unambiguous: a subject is unique only at its issuer, and may hold any character."""
    issuer = principal.issuer
    return short_key(f"{len(issuer)}:{issuer}{principal.subject}")


def short_key(name: str) -> Hashable:
    """A long or wide name is kept as its digest: 100 kB of identifier cost what an address costs."""
    if len(name) <= _LONGEST and name.isascii():
        return name
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=20).digest()
