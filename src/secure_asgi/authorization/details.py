"""What a token grants in ``authorization_details`` (RFC 9396), against what a rule asks.

RFC 9396 section 2 leaves the members of each type to the API: they are compared by one rule that fits the common ones
(section 2.2). The search goes as deep as the rule does, however deep the token is.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from ..errors import ConfigurationError
from .placeholders import equals, read_value

MAX_DETAILS: Final = 64
"""Objects in a token; with more, it grants nothing."""
MAX_DEPTH: Final = 8
"""Levels of a wanted object."""

_LISTS = frozenset(("locations", "actions", "datatypes", "privileges"))
"""Members that RFC 9396 section 2.2 defines as lists: a rule may give one value alone."""


class WantedDetails:
    """``wanted`` one object or several, each of which an object of the token has to grant.

    One is granted by an object of the same ``type`` that has every other member too: a list by a list that holds all
    of its values, an object by an object likewise, anything else by the same value of the same type. ``"{name}"``
    stands for the path parameter of that name. A claim that is no list of objects with a ``type`` grants nothing.
    Raises ``ConfigurationError`` for what is no such object. It knows no order: an amount is equal, or it is another.
    """

    __slots__ = ("wanted",)

    def __init__(self, wanted: Mapping[str, Any] | Iterable[Mapping[str, Any]], names: Collection[str]) -> None:
        single = isinstance(wanted, Mapping) or not isinstance(wanted, Iterable)
        given: tuple[Any, ...] = (wanted,) if single else tuple(wanted)
        if not given:
            raise ConfigurationError("authorization_details= got no object: leave it out, or give one with its type")
        self.wanted = tuple(_read_object(each, names) for each in given)

    def granted_by(self, claims: Mapping[str, Any], params: Mapping[str, str]) -> bool:
        """Whether ``claims`` grant all of it, with the path's ``params``. Raises nothing."""
        granted = claims.get("authorization_details")
        if not isinstance(granted, list) or len(granted) > MAX_DETAILS:
            return False
        if not all(isinstance(has, dict) and type(has.get("type")) is str for has in granted):
            return False
        return all(any(_grants(has, wants, params) for has in granted) for wants in self.wanted)


def _grants(has: Any, wants: Any, params: Mapping[str, str]) -> bool:
    if isinstance(wants, dict):
        return isinstance(has, dict) and all(
            name in has and _grants(has[name], wanted, params) for name, wanted in wants.items()
        )
    if isinstance(wants, tuple):
        return isinstance(has, list) and all(any(_grants(one, wanted, params) for one in has) for wanted in wants)
    return equals(has, wants, params)


def _read_object(given: object, names: Collection[str]) -> dict[str, Any]:
    kind = given.get("type") if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or not isinstance(kind, str) or not kind or "{" in kind:
        raise ConfigurationError(
            'authorization_details= takes objects with a type: {"type": "payment_initiation", "actions": '
            f'["initiate"]}}; got {given!r}'
        )
    listed = {name: (value,) if name in _LISTS and isinstance(value, str) else value for name, value in given.items()}
    read: dict[str, Any] = _read(listed, names, MAX_DEPTH)
    return read


def _read(given: Any, names: Collection[str], levels: int) -> Any:
    """A copy that nobody else can change: objects as ``dict``, lists as ``tuple``."""
    if levels == 0:
        raise ConfigurationError(f"authorization_details= is nested more than {MAX_DEPTH} levels deep: ask for less")
    if type(given) in (str, int, float, bool):
        return read_value(given, names, "authorization_details")
    if isinstance(given, Mapping) and given and all(isinstance(name, str) for name in given):
        return {name: _read(value, names, levels - 1) for name, value in given.items()}
    if isinstance(given, (list, tuple, set, frozenset)) and given:
        each = sorted(given, key=repr) if isinstance(given, (set, frozenset)) else given
        return tuple(_read(value, names, levels - 1) for value in each)
    raise ConfigurationError(
        "authorization_details= takes texts, numbers, booleans, and lists and objects of them that are not empty; "
        f"got {given!r}"
    )
