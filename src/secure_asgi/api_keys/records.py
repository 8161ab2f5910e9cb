"""What is kept of a key, how one is made, and how one takes another's place.

A key is 256 random bits, so one SHA-256 of it is as hard to turn round as a slow hash of it: these are for what people
choose, and would cost every request what they cost who guesses.
"""

import hmac
import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from ..errors import ConfigurationError
from ..secrets import Secret
from .text import checked_prefix, is_id, new_text

MIN_PEPPER = 32
"""Characters."""
_DIGEST = re.compile(r"(?:sha256|hmac-sha256):[0-9a-f]{64}")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_AS_BEFORE: Final = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """All that is kept of a key: enough to know it again, and not enough to have it.

    ``id`` is public: it names the key in the audit log (``Principal.token_id``) and in the store. ``digest`` is
    ``"sha256:"`` or ``"hmac-sha256:"`` and 64 hex digits. ``client`` becomes ``Principal.subject`` and ``client_id``;
    several keys may be of one client. ``scopes`` and ``roles`` are what the key grants, one or several; ``claims`` any
    JSON for rules and handlers. ``created``, ``not_before`` (from then on) and ``expires`` (no longer) are seconds
    since 1970; None is without bound. ``prefix`` is what the key began with, ``note`` for people.

    Raises ``ConfigurationError`` for a value that is none of these.
    """

    id: str
    digest: str = field(repr=False)
    client: str
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    created: float = 0.0
    not_before: float | None = None
    expires: float | None = None
    prefix: str = "key"
    note: str = ""

    def __post_init__(self) -> None:
        if not is_id(self.id):
            raise ConfigurationError("KeyRecord: id= is 16 letters and digits, as create_key() makes it")
        if not isinstance(self.digest, str) or not _DIGEST.fullmatch(self.digest):
            raise ConfigurationError('KeyRecord: digest= is "sha256:" or "hmac-sha256:" and 64 lower-case hex digits')
        if not isinstance(self.client, str) or not self.client:
            raise ConfigurationError("KeyRecord: client= is the name of who has the key")
        if not isinstance(self.note, str):
            raise ConfigurationError("KeyRecord: note= is text")
        checked_prefix(self.prefix)
        for option in ("scopes", "roles"):
            object.__setattr__(self, option, _names(option, getattr(self, option)))
        object.__setattr__(self, "claims", _claims(self.claims))
        for option in ("created", "not_before", "expires"):
            _check_time(option, getattr(self, option), is_optional=option != "created")

    def to_json(self) -> dict[str, Any]:
        """As a dictionary that ``json.dumps`` takes. It holds the digest and no key."""
        return {
            **{each.name: getattr(self, each.name) for each in fields(self)},
            "scopes": sorted(self.scopes),
            "roles": sorted(self.roles),
            "claims": dict(self.claims),
        }

    @classmethod
    def from_json(cls, document: Any) -> "KeyRecord":
        """What ``to_json`` gave. Raises ``ConfigurationError`` for anything else, an unknown member too: it may be one
        that restricts the key."""
        if not isinstance(document, Mapping):
            raise ConfigurationError("a record of a key is a JSON object")
        known = {each.name for each in fields(cls)}
        if not known.issuperset(document) or not {"id", "digest", "client"}.issubset(document):
            raise ConfigurationError(f"a record of a key has id, digest, client, and of {', '.join(sorted(known))}")
        return cls(**document)


@dataclass(frozen=True, slots=True)
class NewKey:
    """``key.reveal()`` is the key, for its client, this once; ``record`` is for the store."""

    key: Secret
    record: KeyRecord


def create_key(
    *,
    client: str,
    prefix: str = "key",
    scopes: str | Iterable[str] = (),
    roles: str | Iterable[str] = (),
    claims: Mapping[str, Any] | None = None,
    not_before: float | None = None,
    expires: float | None = None,
    note: str = "",
    pepper: Secret | None = None,
) -> NewKey:
    """A new key and its record, which is in no store yet; the options are those of ``KeyRecord``.

    ``pepper`` is that of the middleware, if it has one. Raises ``ConfigurationError`` for a wrong option.
    """
    text, key_id = new_text(checked_prefix(prefix))
    record = KeyRecord(
        id=key_id,
        digest=digest_of(text.encode(), pepper_bytes(pepper)),
        client=client,
        scopes=_names("scopes", scopes),
        roles=_names("roles", roles),
        claims={} if claims is None else claims,
        created=time.time(),
        not_before=not_before,
        expires=expires,
        prefix=prefix,
        note=note,
    )
    return NewKey(Secret(text), record)


def rotate(
    record: KeyRecord, *, overlap: float, expires: float | None = _AS_BEFORE, pepper: Secret | None = None
) -> tuple[NewKey, KeyRecord]:
    """A key that takes the place of ``record``'s, and the old record, which ends in ``overlap`` seconds (0: now).

    Put both into the store. The new key may do what the old one may; ``expires`` is given, or else it lives as long as
    the old one was made to. The old one never lives longer than before. Raises ``ConfigurationError``.
    """
    if isinstance(overlap, bool) or not isinstance(overlap, int | float) or not 0 <= overlap < math.inf:
        raise ConfigurationError(f"overlap= is a number of seconds from 0 on, got {overlap!r}")
    now = time.time()
    if expires == _AS_BEFORE:
        expires = None if record.expires is None else now + max(0.0, record.expires - record.created)
    successor = create_key(
        client=record.client,
        prefix=record.prefix,
        scopes=record.scopes,
        roles=record.roles,
        claims=record.claims,
        expires=expires,
        note=record.note,
        pepper=pepper,
    )
    ends = now + overlap if record.expires is None else min(now + overlap, record.expires)
    return successor, replace(record, expires=ends)


def digest_of(key: bytes, pepper: bytes | None) -> str:
    if pepper is None:
        return f"sha256:{sha256(key).hexdigest()}"
    return f"hmac-sha256:{hmac.digest(pepper, key, 'sha256').hex()}"


def pepper_bytes(pepper: Secret | None) -> bytes | None:
    """Raises ``ConfigurationError`` unless it is a ``Secret`` that is long enough, or None."""
    if pepper is None:
        return None
    if not isinstance(pepper, Secret) or len(pepper.reveal()) < MIN_PEPPER:
        raise ConfigurationError(f"pepper= is a Secret of {MIN_PEPPER} characters or more")
    return pepper.reveal().encode()


def _names(option: str, given: Any) -> frozenset[str]:
    several = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (None,)
    for name in several:
        if not isinstance(name, str) or not _PRINTABLE.fullmatch(name):
            raise ConfigurationError(f"KeyRecord: {option}= is a name without blanks, or several, got {given!r}")
    return frozenset(several)


def _claims(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ConfigurationError("KeyRecord: claims= is a dictionary with text as keys")
    try:
        # The copy: who made the record cannot change it later.
        return MappingProxyType(json.loads(json.dumps(dict(given), allow_nan=False)))
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError("KeyRecord: claims= holds what JSON can hold") from None


def _check_time(option: str, given: Any, *, is_optional: bool) -> None:
    if given is None and is_optional:
        return
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < math.inf:
        raise ConfigurationError(f"KeyRecord: {option}= is seconds since 1970, got {given!r}")
