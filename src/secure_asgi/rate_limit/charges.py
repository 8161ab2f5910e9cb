"""What a request has been charged, until it is known what it really cost: for handlers, and for the layer's end.

``charge()`` says the real cost; ``attempt()`` counts a name that somebody tries to sign in with. Both are called by the
application, on the request that the layer has let in.
"""

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from ..exchange import exchange_of
from .counting import Verdict
from .fields import REQUESTS
from .plans import Plan

if TYPE_CHECKING:
    from .middleware import RateLimitMiddleware


class Charge:
    """Units that ``layer`` has reserved for a key. ``verdict``: None where it has let the request in without that.
    ``real``: what they turned out to be, None until somebody says."""

    __slots__ = ("key", "layer", "plan", "real", "reserved", "verdict")

    def __init__(
        self, layer: "RateLimitMiddleware", plan: Plan, key: Hashable, verdict: Verdict | None, reserved: int
    ) -> None:
        self.layer = layer
        self.plan = plan
        self.key = key
        self.verdict = verdict
        self.reserved = reserved
        self.real: int | None = None


class Charges(list[Charge]):
    """Those of one request, in its ``memo`` under this class."""


def charge(connection: Mapping[str, Any], cost: int, *, unit: str) -> None:
    """This request has cost ``cost`` units (0 or more): settled when it is over, with each layer of that ``unit``.

    The last call decides. More than was reserved is charged without asking, so that the next request finds less room.
    Raises ``ConfigurationError`` where no such layer has let the request in, ``ValueError`` for a cost that is none.
    """
    if type(cost) is not int or cost < 0:
        raise ValueError(f"a cost is a whole number from 0 on, got {cost!r}")
    charges = exchange_of(connection).memo.get(Charges, ())
    found = [one for one in charges if one.layer.unit == unit]
    if not found:
        raise ConfigurationError(
            f"no rate limit with unit={unit!r} has counted this request"
            + ("; give it another unit=, or settle=" if unit == REQUESTS else "")
        )
    for one in found:
        one.real = cost


async def attempt(connection: Mapping[str, Any], name: str) -> None:
    """Somebody tries to sign in as ``name``: counted with each layer that counts failures, as a client is.

    Await it before the password is looked at. Raises Starlette's ``HTTPException`` (429) while the name has used up its
    failures, from whatever addresses they came; a success gives the attempt back. Raises ``ConfigurationError`` where
    no layer with ``counts="failures"`` has let the request in.
    """
    exchange = exchange_of(connection)
    layers = dict.fromkeys(one.layer for one in exchange.memo.get(Charges, ()) if one.layer.counts == "failures")
    if not layers:
        raise ConfigurationError('no rate limit with counts="failures" has counted this request')
    for layer in layers:
        denial = await layer.count_name(exchange, name)
        if denial is not None:
            from starlette.exceptions import HTTPException

            exchange.denial = denial
            headers = {field.decode(): value.decode() for field, value in denial.headers}
            raise HTTPException(denial.status, denial.detail, headers=headers)
