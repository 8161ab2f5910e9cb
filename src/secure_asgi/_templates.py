"""Path templates, as Starlette's router writes them, and how two of them lie to each other.

A template is taken apart into segments, so that "all of its paths are paths of the other" can be decided, which it
cannot be for two regular expressions. What does not come apart (a custom convertor, ``{rest:path}`` in the middle) is
matched by Starlette's expression, and in comparisons passes for everything below what stands before it.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple, Self

from ._paths import is_plain
from .errors import ConfigurationError

_PARAMETER = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-zA-Z_][a-zA-Z0-9_]*))?\}")
_SINGLE = frozenset(("str", "int", "float", "uuid"))
"""Convertors of Starlette's whose text has no slash in it."""


class Segment(NamedTuple):
    """One segment: a ``literal``, or a ``pattern`` for all of it, or any text where both are None.

    ``form`` is the pattern without the names in it. A literal may be empty: that is a trailing slash.
    """

    literal: str | None
    pattern: re.Pattern[str] | None
    form: str
    names: tuple[str, ...]

    def admits(self, text: str) -> bool:
        if self.literal is not None:
            return text == self.literal
        return text != "" and (self.pattern is None or self.pattern.fullmatch(text) is not None)

    def covers(self, other: "Segment") -> bool:
        if other.literal is not None:
            return self.admits(other.literal)
        if self.literal is not None:
            return False
        return self.pattern is None or self.form == other.form

    def overlaps(self, other: "Segment") -> bool:
        """True for two patterns: whether some text fits both is not decided."""
        if other.literal is not None:
            return self.admits(other.literal)
        return self.literal is None or other.admits(self.literal)


class Template:
    """``"/orders/{id}"``: literal segments, and parameters as Starlette writes them (``{id}``, ``{id:int}``).

    ``{name:path}``, as the last segment, is all the rest, which may be empty: ``"/files/{name:path}"`` is "/files/" and
    what lies below, not "/files". Beside these, ``*`` stands for one segment and a last ``**`` for the rest, unnamed.
    ``names`` are those of the parameters; ``is_exact``: it has none; ``is_whole``: its segments say all. Raises
    ``ConfigurationError``, in the name of ``option``, for what is no template.
    """

    __slots__ = ("_expression", "has_rest", "is_exact", "is_whole", "names", "segments", "text")

    def __init__(self, text: str, *, option: str = "path") -> None:
        _refuse_unclear(text, option)
        parts = text[1:].split("/")
        self._read(text, [_STAR.get(part, part) for part in parts], option)

    @classmethod
    def of_route(cls, text: str) -> Self:
        """The template of a route that exists, whatever is written there; a star is a star."""
        template = cls.__new__(cls)
        template._read(text, _renamed(text).removeprefix("/").split("/"), "path")
        return template

    def _read(self, text: str, parts: list[str], option: str) -> None:
        self.text = text
        self._expression: re.Pattern[str] | None = None
        self.has_rest = False
        segments: list[Segment] = []
        for position, part in enumerate(parts):
            if _is_rest(part) and position == len(parts) - 1:
                self.has_rest = True
            elif all(convertor in _SINGLE for _, convertor in _parameters(part)):
                segments.append(_segment(part))
            else:
                self.has_rest = True
                self._expression = _expression("/" + "/".join(parts), option)
                break
        self.segments = tuple(segments)
        self.names = tuple(name for part in parts for name, _ in _parameters(part) if name not in _STARS)
        self.is_whole = self._expression is None
        self.is_exact = not self.has_rest and all(segment.literal is not None for segment in segments)

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def match(self, path: str) -> Mapping[str, str] | None:
        """The parameters, as text, of a path that is one of the template's; None of any other, and of one not plain."""
        if not is_plain(path):
            return None
        texts = path.split("/")[1:]
        length = len(self.segments)
        if (len(texts) <= length) if self.has_rest else (len(texts) != length):
            return None
        if not all(segment.admits(text) for segment, text in zip(self.segments, texts, strict=False)):
            return None
        return self.parameters(texts, path)

    def parameters(self, texts: list[str], path: str) -> Mapping[str, str] | None:
        """Those of a path whose segments ``texts`` have been admitted; its last text may hold what was not split.

        None where only the whole path shows that it is none of the template's.
        """
        if self._expression is not None:
            found = self._expression.fullmatch(path)
            return None if found is None else {name: found[name] for name in self.names}
        if not self.names:
            return {}
        parameters: dict[str, str] = {}
        for segment, text in zip(self.segments, texts, strict=False):
            if segment.pattern is not None:
                found = segment.pattern.fullmatch(text)
                parameters.update({} if found is None else found.groupdict())
            elif segment.names:
                parameters[segment.names[0]] = text
        if len(parameters) < len(self.names):
            parameters[self.names[-1]] = "/".join(texts[len(self.segments) :])
        return parameters

    def covers(self, other: "Template") -> bool:
        """Every path of the other's is one of this one's. False where that cannot be shown."""
        if self._expression is not None:
            return other._expression is not None and self._expression.pattern == other._expression.pattern
        length = len(self.segments)
        if self.has_rest:
            if len(other.segments) < length + (not other.has_rest):
                return False
        elif other.has_rest or len(other.segments) != length:
            return False
        return all(mine.covers(its) for mine, its in zip(self.segments, other.segments, strict=False))

    def overlaps(self, other: "Template") -> bool:
        """Some path may be one of both. True where that cannot be ruled out."""
        mine, its = len(self.segments), len(other.segments)
        if not (self.has_rest or other.has_rest):
            if mine != its:
                return False
        elif (not other.has_rest and its <= mine) or (not self.has_rest and mine <= its):
            return False
        return all(one.overlaps(two) for one, two in zip(self.segments, other.segments, strict=False))


_STAR = {"*": "{_one}", "**": "{_rest:path}"}
_STARS = frozenset(("_one", "_rest"))
"""Names that nobody asks for: what a star stands for."""


def _renamed(text: str) -> str:
    """A mount and a route in it may have parameters of one name."""
    used: set[str] = set()

    def rename(found: re.Match[str]) -> str:
        name = found[1]
        while name in used:
            name += "_"
        used.add(name)
        return f"{{{name}:{found[2] or 'str'}}}"

    return _PARAMETER.sub(rename, text)


def _refuse_unclear(text: object, option: str) -> None:
    if not isinstance(text, str) or not text.startswith("/"):
        raise ConfigurationError(f'{option}= is a path template that begins with "/": "/orders/{{id}}"; got {text!r}')
    if not is_plain(text):
        raise ConfigurationError(f"{option}={text!r} has an empty or a dot segment, or a control: no plain path has")
    names = [found[1] for found in _PARAMETER.finditer(text)]
    if len(set(names)) != len(names) or not _STARS.isdisjoint(names):
        raise ConfigurationError(f"{option}={text!r} has two parameters of one name, or one of ours (_one, _rest)")
    parts = text[1:].split("/")
    for position, part in enumerate(parts):
        is_last = position == len(parts) - 1
        if "*" in part and not (part == "*" or (part == "**" and is_last)):
            raise ConfigurationError(f'{option}={text!r}: "*" is one whole segment, "**" the rest, as the last segment')
        if set("{}") & set(_PARAMETER.sub("", part)):
            raise ConfigurationError(f"{option}={text!r} has a brace that belongs to no parameter: write {{name}}")


def _parameters(part: str) -> list[tuple[str, str]]:
    return [(name, convertor or "str") for name, convertor in _PARAMETER.findall(part)]


def _is_rest(part: str) -> bool:
    found = _PARAMETER.fullmatch(part)
    return found is not None and found[2] == "path"


def _segment(part: str) -> Segment:
    parameters = _parameters(part)
    names = tuple(name for name, _ in parameters if name not in _STARS)
    if not parameters:
        return Segment(part, None, "", ())
    if parameters[0][1] == "str" and _PARAMETER.fullmatch(part):
        return Segment(None, None, "", names)
    pattern = _expression(part, "path")
    return Segment(None, pattern, re.sub(r"\(\?P<[^>]*>", "(", pattern.pattern), names)


def _expression(text: str, option: str) -> re.Pattern[str]:
    """What Starlette makes of it."""
    from starlette.convertors import CONVERTOR_TYPES

    written, end = "", 0
    for found in _PARAMETER.finditer(text):
        convertor = found[2] or "str"
        if convertor not in CONVERTOR_TYPES:
            raise ConfigurationError(
                f"{option}={text!r}: there is no convertor {convertor!r}; register it before, or leave it out"
            )
        written += re.escape(text[end : found.start()]) + f"(?P<{found[1]}>{CONVERTOR_TYPES[convertor].regex})"
        end = found.end()
    return re.compile(written + re.escape(text[end:]))
