"""``"{name}"`` in what a rule asks: the path parameter of that name, whole and as text."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Stands for the path parameter ``name``."""

    name: str

    def __repr__(self) -> str:
        return f"'{{{self.name}}}'"


Wanted = str | int | float | bool | Placeholder
"""A single value that a rule asks for."""


def read_value(value: str | int | float | bool, names: Collection[str], option: str) -> Wanted:
    """A value of an option. Raises ``ConfigurationError`` for a placeholder that the path does not have."""
    if not isinstance(value, str) or not ("{" in value or "}" in value):
        return value
    name = value[1:-1]
    if value != f"{{{name}}}" or name not in names:
        raise ConfigurationError(
            f'{option}= has a placeholder that is no parameter of the path, or not the whole value: write "{{name}}" '
            f"with a name of the path's; got {value!r}"
        )
    return Placeholder(name)


def equals(has: object, wanted: Wanted, params: Mapping[str, str]) -> bool:
    """By type too: to Python 1 is True. A parameter that is missing or empty equals nothing."""
    if isinstance(wanted, Placeholder):
        text = params.get(wanted.name)
        return bool(text) and type(has) is str and has == text
    return type(has) is type(wanted) and bool(has == wanted)
