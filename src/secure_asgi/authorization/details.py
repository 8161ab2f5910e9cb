"""What a token grants in ``authorization_details`` (RFC 9396), against what a rule asks.

RFC 9396 section 2 leaves the members of each type to the API: they are compared by one rule that fits the common ones
(section 2.2). Work is bounded by what the rule asks, not by what the token says.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..errors import ConfigurationError
from .placeholders import fill, placeholders_in

MAX_DETAILS: Final = 64
"""Objects of a token that are looked at."""

_DEEPEST = 8


class WantedDetails:
    """``wanted`` one object or several, each of which the token has to grant.

    One is granted by an object of the same ``type`` that has every other member too: a list by a list that holds all
    of its values, an object by an object likewise, anything else by the same value of the same type. ``"{name}"``
    stands for the path parameter of that name. Raises ``ConfigurationError`` for what is no such object.
    """

    __slots__ = ("wanted",)

    def __init__(self, wanted: Mapping[str, Any] | Iterable[Mapping[str, Any]], names: Iterable[str]) -> None:
        given = (wanted,) if isinstance(wanted, Mapping) else tuple(wanted)
        for each in given:
            if not isinstance(each, Mapping) or not isinstance(each.get("type"), str):
                raise ConfigurationError(
                    'authorization_details= takes objects with a type: {"type": "payment_initiation", "actions": '
                    f'["initiate"]}}; got {each!r}'
                )
            _refuse_deep(each, _DEEPEST)
            for name in placeholders_in(each):
                if name not in names:
                    raise ConfigurationError(
                        f"authorization_details= names {{{name}}}, which is no parameter of the rule's path"
                    )
        self.wanted = given

    def granted_by(self, claims: Mapping[str, Any], params: Mapping[str, str]) -> bool:
        granted = claims.get("authorization_details")
        if not isinstance(granted, list):
            return False
        granted = granted[:MAX_DETAILS]
        return all(any(_grants(has, wants, params) for has in granted) for wants in self.wanted)


def _grants(has: Any, wants: Any, params: Mapping[str, str]) -> bool:
    if isinstance(wants, Mapping):
        return isinstance(has, dict) and all(
            name in has and _grants(has[name], wanted, params) for name, wanted in wants.items()
        )
    if isinstance(wants, (list, tuple, set, frozenset)):
        return isinstance(has, list) and all(any(_grants(one, wanted, params) for one in has) for wanted in wants)
    wanted = fill(wants, params)
    # By type too: to Python 1 is True.
    return type(has) is type(wanted) and bool(has == wanted)


def _refuse_deep(wanted: Any, levels: int) -> None:
    if levels == 0:
        raise ConfigurationError(f"authorization_details= is nested more than {_DEEPEST} levels deep")
    if isinstance(wanted, Mapping):
        wanted = wanted.values()
    if not isinstance(wanted, str) and isinstance(wanted, Iterable):
        for each in wanted:
            _refuse_deep(each, levels - 1)
