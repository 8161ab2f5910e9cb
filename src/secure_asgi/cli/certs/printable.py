"""What a stranger wrote, made fit for a terminal."""

LONGEST = 200


def printable(text: str, longest: int = LONGEST) -> str:
    """``text`` with everything that could steer a terminal written as an escape, and its end cut off if it is long.

    That is control characters, line and paragraph separators, characters that turn the direction of writing, and
    whatever else ``str.isprintable`` does not call printable.
    """
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text[: longest + 1]
    )
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
