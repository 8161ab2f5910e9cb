"""Which event loop runs, for what needs asyncio."""

import asyncio

from .errors import ConfigurationError


def refuse_trio(sentence: str) -> None:
    """At start-up, where it can be said aloud. Raises ``ConfigurationError`` with ``sentence`` outside asyncio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(sentence) from None
