"""What a role holds: other roles, and permissions (RBAC with a hierarchy)."""

from collections.abc import Iterable, Mapping
from typing import Final

from .._cache import TwoGenerations
from ..errors import ConfigurationError

REMEMBERED: Final = 1024
"""Different sets of roles whose holdings are kept; tokens name roles, so that there may be any number of sets."""


class Held:
    """All that a principal's roles hold: ``names``, the roles' own among them, and ``prefixes`` (``"orders:"``)."""

    __slots__ = ("names", "prefixes")

    def __init__(self, names: frozenset[str], prefixes: Iterable[str] = ()) -> None:
        self.names = names
        self.prefixes = tuple(prefixes)

    def permits(self, permission: str) -> bool:
        return permission in self.names or (bool(self.prefixes) and permission.startswith(self.prefixes))


NOTHING_HELD: Final = Held(frozenset())


class RoleMap:
    """``mapping`` from a role to what it holds: roles, which hold what they hold in turn, and permissions.

    ``"orders:*"`` is every permission below ``orders:``, at any depth, and ``"*"`` every one; neither is a role. A name
    counts as a role and as a permission, and is compared to the letter. A role that the mapping does not name holds
    itself, as it is written: a wildcard in a token is none. Raises ``ConfigurationError`` for roles that hold each
    other, naming them.
    """

    __slots__ = ("_closures", "_known")

    def __init__(self, mapping: Mapping[str, str | Iterable[str]]) -> None:
        if not isinstance(mapping, Mapping):
            raise ConfigurationError(
                f'roles= maps a role to what it holds: {{"admin": {{"editor", "orders:*"}}}}; got {mapping!r}'
            )
        direct = {role: _names(role, held) for role, held in mapping.items()}
        self._closures: dict[str, frozenset[str]] = {}
        for role in direct:
            self._close(role, direct, ())
        self._known: TwoGenerations[frozenset[str], Held] = TwoGenerations(REMEMBERED)

    def held(self, roles: frozenset[str]) -> Held:
        if not roles:
            return NOTHING_HELD
        known = self._known.get(roles)
        if known is None:
            granted = frozenset[str]().union(*(self._closures.get(role, ()) for role in roles))
            # Only what the mapping grants is a wildcard: the names of a token's roles are somebody else's to choose.
            known = Held(roles | granted, sorted(name[:-1] for name in granted if name.endswith("*")))
            self._known.put(roles, known)
        return known

    def _close(self, role: str, direct: Mapping[str, tuple[str, ...]], above: tuple[str, ...]) -> frozenset[str]:
        if role in above:
            circle = " → ".join((*above[above.index(role) :], role))
            raise ConfigurationError(f"roles= has roles that hold each other: {circle}; let one of them hold the other")
        if role not in self._closures:
            held = direct[role]
            below = [self._close(name, direct, (*above, role)) for name in held if name in direct]
            self._closures[role] = frozenset(held).union(*below)
        return self._closures[role]


def _names(role: object, held: object) -> tuple[str, ...]:
    """In one order, so that what is said of them is the same in every process."""
    names = (held,) if isinstance(held, str) else tuple(held) if isinstance(held, Iterable) else (None,)
    is_good = isinstance(role, str) and role != "" and "*" not in role
    read = tuple(sorted({name for name in names if isinstance(name, str) and _is_name(name)}))
    if not is_good or len(read) < len(set(names)):
        raise ConfigurationError(
            f'roles= takes names, and "orders:*" for all permissions that a role holds below "orders:"; got {role!r}: '
            f"{held!r}"
        )
    return read


def _is_name(name: str) -> bool:
    # What stands before the star of ":*" is something.
    return name != "" and (name == "*" or "*" not in name.removesuffix(":*")) and name != ":*"
