"""``Middleware(...)`` entries of Starlette's, as an application keeps them in ``user_middleware``."""

from typing import Any

from .flow import Layer, bind


def layer_of(entry: Any) -> Layer | None:
    """The layer of an entry of ours, made without an application where it is not made yet; None for a foreign one.

    A foreign one is never made. Raises what the constructor raises.
    """
    cls = entry.cls
    if cls is bind:
        layer: Layer = entry.args[0] if entry.args else entry.kwargs["layer"]
        return layer
    if isinstance(cls, type) and issubclass(cls, Layer):
        return cls(None, *entry.args, **entry.kwargs)
    return None
