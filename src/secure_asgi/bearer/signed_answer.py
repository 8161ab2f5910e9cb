"""An introspection answer as a signed JWT: RFC 9701 section 5. Who can forge the transport still cannot forge it."""

from collections.abc import Mapping
from typing import Any, Protocol

from ..errors import TokenError
from .claims import END_OF_TIME
from .encoding import parse_object
from .jws import verify
from .keys import KeySet, UnknownKeyError

SIGNED_TYPE = "application/token-introspection+jwt"
MAX_ANSWER_BYTES = 64 * 1024
MAX_AGE = 300.0
"""Seconds since ``iat``: an answer of yesterday says nothing about today."""
_TYPES = frozenset((SIGNED_TYPE, "token-introspection+jwt"))


class AnswerError(Exception):
    """The answer is none; the message is for the log. It says nothing about the token."""


class KeySource(Protocol):
    """Where the issuer's keys come from, as ``StaticKeys`` and ``RemoteKeys`` have it."""

    def current(self, now: float) -> KeySet | None: ...
    def may_know(self, kid: str | None, now: float) -> bool: ...
    async def wait(self) -> KeySet: ...
    async def look_again(self, kid: str | None) -> KeySet: ...


class SignedAnswers:
    """Reads answers that ``issuer`` has signed for ``client_id``; ``leeway`` seconds between two clocks."""

    __slots__ = ("_client_id", "_issuer", "_leeway", "_source")

    def __init__(self, issuer: str, client_id: str, source: KeySource, leeway: float) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._source = source
        self._leeway = leeway

    async def read(self, body: bytes, monotonic: float, now: float) -> dict[str, Any]:
        """What is inside: the members of RFC 7662. Raises ``AnswerError``, and what the source of the keys raises.

        ``monotonic`` for the keys, ``now`` in seconds since 1970 for the dates.
        """
        try:
            header, payload = await self._verify(body, monotonic)
            claims = parse_object(payload)
        except TokenError as error:
            raise AnswerError(f"a signed answer that does not hold: {error}") from error
        except ValueError as error:
            raise AnswerError(f"a signed answer without claims: {error}") from error
        self._check(header, claims, now)
        answer: dict[str, Any] = claims["token_introspection"]
        return answer

    async def _verify(self, body: bytes, now: float) -> tuple[dict[str, Any], bytes]:
        keys = self._source.current(now) or await self._source.wait()
        try:
            return verify(body, keys, MAX_ANSWER_BYTES)
        except UnknownKeyError as unknown:
            if not self._source.may_know(unknown.kid, now):
                raise
            return verify(body, await self._source.look_again(unknown.kid), MAX_ANSWER_BYTES)

    def _check(self, header: Mapping[str, Any], claims: Mapping[str, Any], now: float) -> None:
        """INT-6: an access token, or an answer to somebody else, is no answer to us."""
        if header.get("typ", "").lower() not in _TYPES:
            raise AnswerError("a signed answer of another typ")
        if claims.get("iss") != self._issuer:
            raise AnswerError("a signed answer of another iss")
        audience = claims.get("aud")
        if audience != self._client_id and not (isinstance(audience, list) and self._client_id in audience):
            raise AnswerError("a signed answer to another aud")
        issued, expires = _date(claims, "iat"), _date({"exp": END_OF_TIME, **claims}, "exp")
        if not now - MAX_AGE - self._leeway <= issued <= now + self._leeway or expires + self._leeway <= now:
            raise AnswerError("a signed answer of another time")
        if type(claims.get("token_introspection")) is not dict:
            raise AnswerError("a signed answer without token_introspection")


def _date(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if type(value) is not int and type(value) is not float:
        raise AnswerError(f"a signed answer without {name}")
    return value
