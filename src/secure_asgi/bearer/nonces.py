"""Nonces that the server gives and recognises without remembering any (RFC 9449 section 9)."""

import time
from base64 import urlsafe_b64encode
from hmac import compare_digest, digest

from ..errors import ConfigurationError
from ..secrets import Secret

MIN_SECRET_BYTES = 32
MIN_SECONDS, MAX_SECONDS = 1.0, 150.0
"""A nonce holds for at most twice its time, and a proof for at most 300 seconds."""
_SIZE = 18
"""Octets of the code that are shown: 24 characters, all of them allowed in a nonce."""


class Nonces:
    """One nonce for everybody in each period of ``seconds``, which holds until the next period has ended too.

    It is the HMAC of the period's number under ``secret`` (at least 32 bytes), so that workers with the same secret and
    clock agree. A client may use one as often as it likes: what it shows is that the proof was not made long before.
    ``seconds`` is 60, at least 1 and at most 150. Raises ``ConfigurationError`` for another secret or other seconds.
    """

    __slots__ = ("_clock", "_held", "_key", "_period", "_seconds", "longest")

    def __init__(self, secret: Secret, *, seconds: float = 60.0) -> None:
        if not isinstance(secret, Secret) or len(secret.reveal().encode()) < MIN_SECRET_BYTES:
            raise ConfigurationError(
                f"the nonces' key is a Secret of at least {MIN_SECRET_BYTES} bytes, the same in all workers"
            )
        if (
            not isinstance(seconds, (int, float))
            or isinstance(seconds, bool)
            or not MIN_SECONDS <= seconds <= MAX_SECONDS
        ):
            raise ConfigurationError(f"seconds= of a nonce is {MIN_SECONDS:g} to {MAX_SECONDS:g}, got {seconds!r}")
        self._key = digest(secret.reveal().encode(), b"secure_asgi DPoP nonce", "sha256")
        self._seconds = seconds
        self._period = -1
        self._held = ("", "")
        self._clock = time.time
        self.longest = 2.0 * seconds
        """Seconds after which no nonce holds any more that holds now."""

    def current(self) -> str:
        """The nonce to give out now."""
        return self._of_now()[0]

    def holds(self, nonce: object) -> bool:
        """It is of this period or of the one before."""
        if not isinstance(nonce, str):
            return False
        given = nonce.encode(errors="replace")
        current, previous = self._of_now()
        # Both are compared: the time taken says nothing.
        return compare_digest(given, current.encode()) | compare_digest(given, previous.encode())

    def _of_now(self) -> tuple[str, str]:
        period = int(self._clock() // self._seconds)
        held = self._held
        if period != self._period:
            held = self._held = (self._of(period), self._of(period - 1))
            self._period = period
        return held

    def _of(self, period: int) -> str:
        return urlsafe_b64encode(digest(self._key, b"%d" % period, "sha256")[:_SIZE]).decode()
