"""Rate limits. The story is in ``middleware``; ``counting`` says what all ways to count have in common.

Who: ``keys``. How much: ``limits``, ``rules``, ``presets``, put together in ``plans``. Counted in ``memory`` (one file
a strategy), ``redis_store`` or ``limits_store``, with ``outage`` for when these are down. Told in ``fields`` and
``refusals``; ``charges`` are settled at the end, and ``bans`` keep out who never stops.
"""

from .bans import Ban as Ban
from .charges import attempt as attempt
from .charges import charge as charge
from .keys import KeyFunction as KeyFunction
from .middleware import RateLimitMiddleware as RateLimitMiddleware
from .rules import LimitRule as LimitRule
from .rules import Tier as Tier
