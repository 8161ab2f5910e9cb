"""Networks that an option names, and the addresses that may lie in them: read once, in one way."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from .errors import ConfigurationError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def network(text: str, option: str = "trusted") -> Network:
    """One entry of an ``option``. Raises ``ConfigurationError`` for what is no network, or is everybody."""
    try:
        found = ip_network(str(text).replace("%", " "), strict=False)  # a zone names a link, not a network
    except ValueError:
        unix = ' and "unix"' if option == "trusted" else ""
        raise ConfigurationError(
            f'{option}= takes networks ("10.0.0.0/8", "fd00::/8"), addresses{unix}, never a wildcard; got {text!r}'
        ) from None
    if found.prefixlen == 0:
        raise ConfigurationError(f"{option}={text!r} is everybody: give the networks you mean")
    if isinstance(found, IPv6Network) and found.network_address.ipv4_mapped:
        raise ConfigurationError(f"{option}={text!r}: write the IPv4 network that it maps")
    if "/" in text and str(ip_address(text.partition("/")[0])) != str(found.network_address):
        raise ConfigurationError(f"{option}={text!r} has host bits set: write {str(found)!r}")
    return found


def address(host: str) -> Address | None:
    """A socket peer's address; None for a Unix socket, and for what a test client calls itself.

    A link-local peer is known without its link.
    """
    try:
        return unmapped(ip_address(host.partition("%")[0]))
    except ValueError:
        return None


def unmapped(found: Address) -> Address:
    """An IPv4 address in IPv6 clothes (``::ffff:10.0.0.1``) is that IPv4 address, to networks and to limits."""
    return getattr(found, "ipv4_mapped", None) or found
