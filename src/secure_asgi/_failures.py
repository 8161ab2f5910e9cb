"""``FailureLimit``: who guesses credentials is stopped before the next guess costs a signature or a look-up."""

from math import ceil

from ._cache import TwoGenerations
from ._options import positive_seconds
from .denial import Denial, Reason
from .errors import ConfigurationError

MAX_CLIENTS = 20_000


class FailureLimit:
    """At most ``count`` refused credentials of one client in ``per`` seconds; until these are over, none is looked at.

    A client is an address (an IPv6 one by its /64), as ``exchange.client`` knows it: behind a proxy that needs
    ``TrustedProxyMiddleware``, else all clients are one. An access token that is remembered passes all the same; a
    request without credentials is no failure. A client without an address (a Unix socket) is not counted.
    ``MAX_CLIENTS`` are remembered; who has more addresses than that is counted anew. Each process counts for itself.
    """

    __slots__ = ("_clients", "_count", "_per")

    def __init__(self, count: int, *, per: float) -> None:
        if type(count) is not int or count < 1:
            raise ConfigurationError(f"FailureLimit() takes a whole number of failures from 1 on, got {count!r}")
        self._count = count
        self._per = positive_seconds("per", per)
        self._clients: TwoGenerations[str, tuple[int, float]] = TwoGenerations(MAX_CLIENTS)

    def wait(self, client: str | None, now: float) -> float:
        """Seconds until the client's next credential is looked at; 0: at once. ``now`` on a monotonic clock."""
        failures = None if client is None else self._clients.get(_network(client))
        if failures is None or failures[0] < self._count:
            return 0.0
        return max(0.0, failures[1] - now)

    def failed(self, client: str | None, now: float) -> None:
        if client is None:
            return
        network = _network(client)
        failures = self._clients.get(network)
        count, until = (0, now + self._per) if failures is None or failures[1] <= now else failures
        self._clients.put(network, (count + 1, until))


def too_many_failures(wait: float, what: str = "access tokens") -> Denial:
    """429, and nothing about the credential that came with it: it was not looked at. ``wait`` in seconds."""
    return Denial(
        Reason.FAILURES_EXCEEDED,
        429,
        f"Too many {what} that were not valid. Try again later.",
        headers=((b"retry-after", b"%d" % max(1, ceil(wait))),),
    )


def _network(client: str) -> str:
    """The address, or the /64 that one IPv6 subscriber has whole."""
    if ":" not in client:
        return client
    from ipaddress import IPv6Address

    try:
        return str(int(IPv6Address(client.partition("%")[0])) >> 64)
    except ValueError:
        return client
