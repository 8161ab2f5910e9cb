"""What a stranger wrote, made fit for a terminal; and a time that is left, in words."""

from datetime import timedelta

LONGEST = 200


def printable(text: str, longest: int = LONGEST) -> str:
    """``text`` with everything that could steer a terminal written as an escape, and its end cut off if it is long.

    That is control characters, line and paragraph separators, characters that turn the direction of writing, and
    whatever else ``str.isprintable`` does not call printable.
    """
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode()
        for one in text[: longest + 1]
    )
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def in_days(left: timedelta) -> str:
    """``"in 12 days"``, ``"in 5 hours"``, ``"3 days ago"``."""
    hours = int(abs(left) / timedelta(hours=1))
    count, unit = (hours // 24, "day") if hours >= 48 else (hours, "hour")
    text = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"in {text}" if left > timedelta() else f"{text} ago"
