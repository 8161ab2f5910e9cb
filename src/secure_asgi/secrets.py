"""``Secret``: text that is used and never shown."""

from .errors import ConfigurationError


class Secret:
    """A password or key as text: ``reveal()`` gives it, and nothing else does.

    ``repr``, ``str`` and formatting show stars; it cannot be pickled, copied into JSON or compared with text. Raises
    ``ConfigurationError`` if it is empty. It does not wipe memory: Python cannot.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not text:
            raise ConfigurationError(f"a Secret is made of text that is not empty, got {type(text).__name__}")
        self._text = text

    def reveal(self) -> str:
        """The text. Where this stands in code is where it can leak."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")
