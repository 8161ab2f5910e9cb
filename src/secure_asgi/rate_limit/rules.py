"""``LimitRule`` and ``Tier``: other limits for some paths, or for some principals."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .._asgi import Scope
from .._options import several
from .._rule_table import read_methods
from .._templates import Template
from ..errors import ConfigurationError
from ..exchange import Exchange, Principal
from .limits import read_limits

Cost = int | Callable[[Exchange, Scope], int]
"""Units that a request takes: a number from 1 on, or a plain function that says so."""


class LimitRule:
    """Limits for ``methods`` of ``path``, in place of the layer's own.

    ``methods`` one or several, ``"*"`` for every HTTP method; GET covers HEAD; ``"WEBSOCKET"`` a WebSocket's handshake.
    ``path`` a template as the router writes them (``"/orders/{id}"``), with ``*`` for one segment and a last ``**`` for
    the rest: all paths of it share one budget of each key. The first rule of a layer that fits decides. ``limits`` as
    for the layer. ``cost`` units of such a request; None: the layer's. ``in_addition``: the layer's own limits hold
    too, decided together with these. ``policy`` public names of the limits. Raises ``ConfigurationError``.
    """

    __slots__ = ("cost", "in_addition", "limits", "methods", "name", "policy", "template")

    def __init__(
        self,
        methods: str | Iterable[str],
        path: str,
        *,
        limits: str | Iterable[str],
        cost: Cost | None = None,
        in_addition: bool = False,
        policy: str | Iterable[str] | None = None,
    ) -> None:
        self.methods = read_methods(methods)
        self.template = Template(path)
        self.name = f"{'*' if self.methods is None else ','.join(sorted(self.methods))} {path}"
        self.limits = read_limits(limits)
        self.cost = cost
        self.policy = policy
        if type(in_addition) is not bool:
            raise ConfigurationError(f"in_addition= is True or False, got {in_addition!r}")
        self.in_addition = in_addition

    def __repr__(self) -> str:
        return f"<LimitRule {self.name}: {'; '.join(map(str, self.limits))}>"


class Tier:
    """Limits of principals that have all of ``scopes``, and each of ``claims`` with that value or one of those values.

    ``name`` is public: part of the limits' names. The first tier of a layer that fits takes the place of its own
    limits. A claim that is a list fits if it holds one of the values. Raises ``ConfigurationError``.
    """

    __slots__ = ("_claims", "_scopes", "limits", "name", "policy")

    def __init__(
        self,
        name: str,
        *,
        limits: str | Iterable[str],
        scopes: str | Iterable[str] = (),
        claims: Mapping[str, Any] | None = None,
        policy: str | Iterable[str] | None = None,
    ) -> None:
        if not isinstance(name, str) or not (name and name.isascii() and name.isprintable()):
            raise ConfigurationError(f"a Tier has a name of printable ASCII characters, got {name!r}")
        self.name = name
        self.limits = read_limits(limits)
        self.policy = policy
        if not all(isinstance(scope, str) for scope in several(scopes)):
            raise ConfigurationError(f"Tier({name!r}, scopes=...) takes the names of scopes, got {scopes!r}")
        if not isinstance(claims, Mapping | None):
            raise ConfigurationError(f"Tier({name!r}, claims=...) is a mapping of names to values, got {claims!r}")
        self._scopes = frozenset(several(scopes))
        self._claims = {
            claim: tuple(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else (wanted,)
            for claim, wanted in (claims or {}).items()
        }
        if not self._scopes and not self._claims:
            raise ConfigurationError(
                f"Tier({name!r}) fits everybody: give it scopes= or claims=, or use the layer's limits="
            )

    def fits(self, principal: Principal) -> bool:
        return self._scopes <= principal.scopes and all(
            claim in principal.claims and _holds(principal.claims[claim], wanted)
            for claim, wanted in self._claims.items()
        )

    def __repr__(self) -> str:
        return f"<Tier {self.name}: {'; '.join(map(str, self.limits))}>"


def _holds(value: Any, wanted: tuple[Any, ...]) -> bool:
    """By type too: to Python True equals 1."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    return any(type(one) is type(other) and one == other for one in values for other in wanted)
