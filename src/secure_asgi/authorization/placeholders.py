"""``"{name}"`` in what a rule asks: the path parameter of that name."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def placeholder(value: object) -> str | None:
    """The name in ``"{name}"``; None for every other value."""
    if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
        return value[1:-1]
    return None


def placeholders_in(value: Any) -> Iterator[str]:
    """The names in a value, and in what it holds."""
    name = placeholder(value)
    if name is not None:
        yield name
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from placeholders_in(each)
    elif not isinstance(value, str) and isinstance(value, Iterable):
        for each in value:
            yield from placeholders_in(each)


def fill(value: Any, params: Mapping[str, str]) -> Any:
    name = placeholder(value)
    return value if name is None else params.get(name)
