"""Starting points, with what they cite: options of the middleware under a name. What is given beside one wins."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..errors import ConfigurationError

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "public": {"limits": "60/minute", "key": "client"},
        "standard": {"limits": "600/minute", "key": "principal"},
        # OWASP ASVS 5.0 6.3.1: guessing is slow, and stays so while the storage is down.
        "login": {"limits": "10/15 minutes", "key": "client", "counts": "failures", "on_outage": "closed"},
    }
)

DEFAULTS: Mapping[str, Any] = MappingProxyType({"limits": None, "key": "client", "counts": "all", "on_outage": "local"})


def with_preset(name: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` without its None, over the preset, over the defaults. Raises ``ConfigurationError``."""
    if name is not None and name not in PRESETS:
        raise ConfigurationError(f"preset= is one of {', '.join(map(repr, PRESETS))}, got {name!r}")
    chosen = {option: value for option, value in given.items() if value is not None}
    return {**DEFAULTS, **(PRESETS[name] if name is not None else {}), **chosen}
