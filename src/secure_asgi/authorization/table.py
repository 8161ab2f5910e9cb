"""Which rule decides: the first in the list that names the method and the path, found without walking the list.

Rules are compiled into a tree of segments. Each node is met at most once in a search, so that no path costs more than
the table is large; what a path has beyond the deepest template is never taken apart.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from .._templates import Template, is_plain
from .rules import Rule

WEBSOCKET: Final = "WEBSOCKET"

_NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


class _Entry(NamedTuple):
    """``rank`` is the rule's place in the list."""

    rank: int
    rule: Rule
    template: Template


class _Methods:
    """The entries of one template, by method: the lowest rank for each that is named, and for all others."""

    __slots__ = ("_named", "_others")

    def __init__(self) -> None:
        self._named: dict[str, tuple[_Entry, ...]] = {}
        self._others: tuple[_Entry, ...] = ()

    def add(self, entry: _Entry) -> None:
        methods = entry.rule.methods
        if methods is None:
            self._others += (entry,)
            for method in self._named:
                if method != WEBSOCKET:
                    self._named[method] += (entry,)
            return
        # HEAD is GET without the body (RFC 9110 section 9.3.2).
        for method in methods | ({"HEAD"} if "GET" in methods else set()):
            others = self._others if method != WEBSOCKET else ()
            self._named[method] = (*self._named.get(method, others), entry)

    def of(self, method: str) -> tuple[_Entry, ...]:
        """In the order of their ranks."""
        return self._named.get(method, self._others if method != WEBSOCKET else ())


class _Node:
    __slots__ = ("anything", "ends", "literals", "patterns", "rests")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.patterns: dict[str, tuple[re.Pattern[str], _Node]] = {}
        self.anything: _Node | None = None
        self.ends: _Methods | None = None
        self.rests: _Methods | None = None


class RuleTable:
    """``rules`` in the order in which they decide."""

    __slots__ = ("_depth", "_exact", "_root")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._root = _Node()
        self._depth = max((len(rule.template.segments) for rule in rules), default=0)
        for rank, rule in enumerate(rules):
            self._add(_Entry(rank, rule, rule.template))
        # What decides for a path that is written out: looked up at once, whatever other rules it falls under besides.
        self._exact = {
            template.text: {method: self._search(method, template.text) for method in _named_methods(rules)}
            for template in (rule.template for rule in rules)
            if template.is_exact
        }

    def find(self, method: str, path: str) -> tuple[Rule, Mapping[str, str]] | None:
        """The rule, and the parameters of its template in ``path``, as text; None where none decides.

        ``method`` upper-case, ``"WEBSOCKET"`` for one. A path that is not plain falls under no rule.
        """
        exact = self._exact.get(path)
        if exact is not None and method in exact:
            return exact[method]
        return self._search(method, path)

    def _add(self, entry: _Entry) -> None:
        node = self._root
        for segment in entry.template.segments:
            if segment.literal is not None:
                node = node.literals.setdefault(segment.literal, _Node())
            elif segment.pattern is not None:
                node = node.patterns.setdefault(segment.form, (segment.pattern, _Node()))[1]
            else:
                if node.anything is None:
                    node.anything = _Node()
                node = node.anything
        if entry.template.has_rest:
            node.rests = node.rests or _Methods()
            node.rests.add(entry)
        else:
            node.ends = node.ends or _Methods()
            node.ends.add(entry)

    def _search(self, method: str, path: str) -> tuple[Rule, Mapping[str, str]] | None:
        if not is_plain(path):
            return None
        texts = path.split("/", self._depth + 1)
        del texts[0]
        found = self._lowest(self._root, method, path, texts, 0, None)
        if found is None:
            return None
        return found.rule, (found.template.parameters(texts, path) or {}) if found.template.names else _NO_PARAMETERS

    def _lowest(
        self, node: _Node, method: str, path: str, texts: list[str], at: int, best: _Entry | None
    ) -> _Entry | None:
        if node.rests is not None and at < len(texts):
            best = _better(node.rests.of(method), texts, path, best)
        if at == len(texts):
            return best if node.ends is None else _better(node.ends.of(method), texts, path, best)
        text = texts[at]
        following = node.literals.get(text)
        if following is not None:
            best = self._lowest(following, method, path, texts, at + 1, best)
        if text:
            for pattern, following in node.patterns.values():
                if pattern.fullmatch(text):
                    best = self._lowest(following, method, path, texts, at + 1, best)
            if node.anything is not None:
                best = self._lowest(node.anything, method, path, texts, at + 1, best)
        return best


def _better(entries: Iterable[_Entry], texts: list[str], path: str, best: _Entry | None) -> _Entry | None:
    for entry in entries:
        if best is not None and best.rank < entry.rank:
            break
        if entry.template.is_whole or entry.template.parameters(texts, path) is not None:
            return entry
    return best


def _named_methods(rules: Iterable[Rule]) -> set[str]:
    named = {method for rule in rules for method in rule.methods or ()}
    return named | {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", WEBSOCKET}
