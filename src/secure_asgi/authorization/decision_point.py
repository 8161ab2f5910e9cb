"""An external decision point."""

from typing import Any

from ..denial import Denial


class DecisionPoint:
    """Placeholder."""

    async def decide(self, access: Any) -> Denial | None:
        return None

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def __call__(self, access: Any) -> bool:
        return True
