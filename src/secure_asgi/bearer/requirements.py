"""What is asked of every token beside being valid: scopes (RFC 6750 section 3.1), a better sign-in (RFC 9470)."""

from collections.abc import Iterable
from typing import Literal

from .._step_up import authenticated_enough
from ..denial import Denial
from ..errors import ConfigurationError
from ..exchange import Principal
from .challenge import Challenges, Scheme

Lacking = Literal["scope", "authentication"]


class Requirements:
    """``scopes`` all of which have to be granted; one of ``acr_values``; ``max_age`` seconds since the sign-in."""

    __slots__ = ("_acr_values", "_leeway", "_max_age", "scopes")

    def __init__(
        self, scopes: str | Iterable[str], acr_values: str | Iterable[str], max_age: int | None, leeway: float
    ) -> None:
        self.scopes = frozenset((scopes,) if isinstance(scopes, str) else scopes)
        self._acr_values = (acr_values,) if isinstance(acr_values, str) else tuple(acr_values)
        if max_age is not None and (type(max_age) is not int or max_age < 0):
            raise ConfigurationError(f"max_age= is a whole number of seconds from 0 on, or None; got {max_age!r}")
        self._max_age = max_age
        self._leeway = leeway

    def __bool__(self) -> bool:
        return bool(self.scopes or self._acr_values) or self._max_age is not None

    def lacking(self, principal: Principal, now: float) -> Lacking | None:
        """The first of what is not met. ``now`` seconds since 1970."""
        if not self.scopes <= principal.scopes:
            return "scope"
        is_enough = authenticated_enough(
            principal.claims, acr_values=self._acr_values, max_age=self._max_age, now=now, leeway=self._leeway
        )
        return None if is_enough else "authentication"

    def denial(self, lacking: Lacking, challenges: Challenges, scheme: Scheme) -> Denial:
        if lacking == "scope":
            return challenges.insufficient_scope(self.scopes, "", scheme)
        return challenges.insufficient_authentication(self._acr_values, self._max_age, "", scheme)
