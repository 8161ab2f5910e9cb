"""Which rule decides: the first in the list that names the method and the path, found without walking the list.

Each segment of a path selects, by one look into a dictionary, the rules that have it there; the sets are intersected. A
set is a whole number with a bit for each rule, of which the lowest is the first. So the work is bounded by the depth of
the deepest template, whatever the path, and nothing is ever tried twice.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Generic, Protocol, TypeVar

from ._options import several
from ._paths import is_plain
from ._templates import Template
from .errors import ConfigurationError

WEBSOCKET: Final = "WEBSOCKET"
"""The method of a WebSocket, which no HTTP request has."""

_METHOD: Final = re.compile(r"[A-Z][A-Z-]*")


class Ruled(Protocol):
    """What a table is made of: ``methods`` None for every HTTP method."""

    @property
    def methods(self) -> frozenset[str] | None: ...

    @property
    def template(self) -> Template: ...


R = TypeVar("R", bound=Ruled)

_NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})

_Fits = Callable[[str], re.Match[str] | None]
_Position = tuple[dict[str, int], int, tuple[tuple[_Fits, int], ...]]
"""Of one segment: the rules by the text they want there, those that take any other, those whose pattern it must fit."""


def read_methods(given: str | Iterable[str]) -> frozenset[str] | None:
    """The methods that a rule names, None for ``"*"``. Raises ``ConfigurationError`` for what is no method."""
    methods = several(given)
    if methods == ("*",):
        return None
    for method in methods or ("",):
        if not isinstance(method, str) or not _METHOD.fullmatch(method):
            better = f"; write {method.upper()!r}" if isinstance(method, str) and method.isalpha() else ""
            raise ConfigurationError(
                f'methods are "GET", several, "*" alone for all of HTTP, or "WEBSOCKET", in capitals; got {given!r}'
                + better
            )
    return frozenset(methods)


class RuleTable(Generic[R]):
    """``rules`` in the order in which they decide, compiled once."""

    __slots__ = ("_by_method", "_others")

    def __init__(self, rules: Sequence[R]) -> None:
        named = {method for rule in rules for method in rule.methods or ()} | {"HEAD", WEBSOCKET}
        self._by_method = {method: _Paths([rule for rule in rules if names(rule, method)]) for method in named}
        self._others = _Paths([rule for rule in rules if rule.methods is None])

    def find(self, method: str, path: str) -> tuple[R, Mapping[str, str]] | None:
        """The rule, and the parameters of its template in ``path``, as text; None where none decides.

        ``method`` as it came, ``"WEBSOCKET"`` for one: methods are told apart by case (RFC 9110 section 9.1). A path
        that is not plain falls under no rule.
        """
        return self._by_method.get(method, self._others).find(path)


def names(rule: Ruled, method: str) -> bool:
    """HEAD falls under GET, being the same without the body (RFC 9110 section 9.3.2)."""
    if rule.methods is None:
        return method != WEBSOCKET
    return method in rule.methods or (method == "HEAD" and "GET" in rule.methods)


class _Paths(Generic[R]):
    """The rules of one method."""

    __slots__ = ("_by_length", "_deeper", "_entries", "_exact", "_positions")

    def __init__(self, rules: Sequence[R]) -> None:
        templates = [rule.template for rule in rules]
        deepest = max((len(template.segments) for template in templates), default=0)
        self._entries = [(rule, _slots(rule.template)) for rule in rules]
        self._positions = [_position(templates, index) for index in range(deepest)]
        self._by_length = [
            _bits(len(one.segments) < length if one.has_rest else len(one.segments) == length for one in templates)
            for length in range(deepest + 1)
        ]
        self._deeper = _bits(one.has_rest for one in templates)
        self._exact: dict[str, tuple[R, Mapping[str, str]] | None] = {}
        # What decides for a path that is written out is known now. It need not be the rule that writes it.
        self._exact = {one.text: self.find(one.text) for one in templates if one.is_exact}

    def find(self, path: str) -> tuple[R, Mapping[str, str]] | None:
        known = self._exact.get(path)
        if known is not None:
            return known
        if not is_plain(path):
            return None
        positions = self._positions
        # What lies deeper than every template stays in one piece, however long it is.
        texts = path[1:].split("/", len(positions))
        length = len(texts)
        rules = self._by_length[length] if length < len(self._by_length) else self._deeper
        # strict= would cost as much as a segment, and the lengths may differ.
        for (literals, others, patterns), text in zip(positions, texts):  # noqa: B905
            here = literals.get(text, others)
            for fits, those in patterns:
                # Only where it can matter, so that no more patterns are tried than rules are left.
                if those & rules and fits(text):
                    here |= those
            rules &= here
            if not rules:
                return None
        return self._first(rules, texts, path)

    def _first(self, rules: int, texts: list[str], path: str) -> tuple[R, Mapping[str, str]] | None:
        while rules:
            lowest = rules & -rules
            rule, slots = self._entries[lowest.bit_length() - 1]
            if slots is not None:
                return rule, {name: texts[index] for name, index in slots} if slots else _NO_PARAMETERS
            parameters = rule.template.parameters(texts, path)
            if parameters is not None:
                return rule, parameters
            rules ^= lowest
        return None


def _position(templates: Sequence[Template], index: int) -> _Position:
    literals: dict[str, int] = {"": 0}
    patterns: dict[str, tuple[_Fits, int]] = {}
    ended = anything = 0
    for number, template in enumerate(templates):
        bit = 1 << number
        if index >= len(template.segments):
            ended |= bit  # whether it may go on, the length has told
            continue
        segment = template.segments[index]
        if segment.literal is not None:
            literals[segment.literal] = literals.get(segment.literal, 0) | bit
        elif segment.pattern is not None:
            fits, those = patterns.get(segment.form, (segment.pattern.fullmatch, 0))
            patterns[segment.form] = (fits, those | bit)
        else:
            anything |= bit
    # No parameter is empty but the rest.
    by_text = {text: bits | ended | (anything if text else 0) for text, bits in literals.items()}
    return by_text, ended | anything, tuple(patterns.values())


def _slots(template: Template) -> tuple[tuple[str, int], ...] | None:
    """Which segments the parameters are, where they are whole ones; None where the template itself has to say."""
    slots = tuple((name, index) for index, segment in enumerate(template.segments) for name in segment.names)
    is_simple = template.is_whole and len(slots) == len(template.names)
    return slots if is_simple and all(segment.pattern is None for segment in template.segments) else None


def _bits(flags: Iterable[bool]) -> int:
    return sum(1 << number for number, flag in enumerate(flags) if flag)
