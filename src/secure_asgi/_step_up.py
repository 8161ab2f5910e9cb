"""Whether the user has signed in strongly and recently enough: RFC 9470 (step-up authentication)."""

from collections.abc import Collection, Mapping
from typing import Any


def authenticated_enough(
    claims: Mapping[str, Any],
    *,
    acr_values: str | Collection[str] = (),
    max_age: float | None = None,
    now: float,
    leeway: float = 30.0,
) -> bool:
    """Whether ``claims`` (of a token that holds, or of an introspection answer) meet both requirements (STEP-1).

    ``acr_values``: the claim ``acr`` is one of these, code point by code point; none given, any sign-in will do.
    ``max_age``: not more than so many seconds have passed since ``auth_time``; None, it may be of any age. ``now`` in
    seconds since 1970; ``leeway`` seconds of clock skew, for a sign-in in the future too. A claim that is missing or of
    another type meets nothing. Raises nothing.

    It does not know that one ``acr`` is stronger than another: name every one that will do.
    """
    return _is_strong_enough(claims, acr_values) and _is_recent_enough(claims, max_age, now, leeway)


def _is_strong_enough(claims: Mapping[str, Any], acr_values: str | Collection[str]) -> bool:
    if not acr_values:
        return True
    # Otherwise "in" would look for a part of the text.
    accepted = (acr_values,) if isinstance(acr_values, str) else acr_values
    acr = claims.get("acr")
    return isinstance(acr, str) and acr in accepted


def _is_recent_enough(claims: Mapping[str, Any], max_age: float | None, now: float, leeway: float) -> bool:
    if max_age is None:
        return True
    signed_in = claims.get("auth_time")
    if type(signed_in) is not int and type(signed_in) is not float:
        return False
    # Compared, not subtracted: a number from a token may be too large for a float. NaN is in no interval.
    return bool(now - max_age - leeway <= signed_in <= now + leeway)
