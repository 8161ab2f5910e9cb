"""Revocation by asking: OCSP, of a responder that is configured (RFC 6960, RFC 5019; REV-1 to REV-4).

What holds here:

- The event loop never waits for the responder; a request does, if its certificate is new, and at most ``timeout``.
- One question at a time for a certificate, led by no request, in a few threads that are used for nothing else.
- An answer counts by the signature of the issuer, of somebody the issuer has named for it, or of ``responder=``.
- Where there is no answer, nobody passes, unless ``mode="soft"``; "revoked" and "unknown" are answers.
"""

import os
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import quote

from .._cache import TwoGenerations
from .._fetch import Fetcher, Posted, is_web_url, without_secrets
from .._files import StrPath, WatchedFiles
from .._pem import certificates_in_file, certificates_in_pem
from ..denial import Reason
from ..errors import CertificateError, ConfigurationError
from .background import Errand, Errands, Teller
from .crl import Mode, positive
from .ocsp_answer import Answer, AnswerError, make_request, read_answer
from .path import VerifiedPath

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from cryptography.x509.ocsp import OCSPRequest

REFRESH_AT = 0.8
"""Share of an answer's time after which the responder is asked again, beside the requests."""

RETRY_AFTER = 5.0
"""Seconds for which a responder that did not answer is not asked for the same certificate again."""

MAX_ANSWERS = 4096
MAX_BYTES = 64 * 1024
MAX_GET = 255
"""Bytes of a URL, as RFC 5019 section 5 has it."""

_THREADS = 8
_REQUEST_TYPE = "application/ocsp-request"
_ANSWER_TYPES = ("application/ocsp-response",)

Nonce = bool | Literal["require"]


class OCSP:
    """Asks the responder at ``url`` (http will do, as answers are signed) whether the client's certificate is revoked.

    ``mode="hard"`` refuses a certificate for which there is no answer, ``"soft"`` lets it pass with a line in the log.
    ``nonce=True`` sends one, which an answer that has one must repeat; ``"require"`` refuses answers without, which
    responders that prepare theirs cannot give; ``False`` sends none, and asks with GET where the URL stays short, so
    that caches on the way may answer. ``timeout`` seconds for one question, and for a request that waits for it.

    ``responder`` is the certificate that signs the answers, and then nobody else may: a PEM file, which may hold
    several and be replaced, PEM bytes, or an ``x509.Certificate``. By default the issuer signs, or a certificate that
    it has issued for this purpose and excused from revocation itself (id-pkix-ocsp-nocheck).

    Answers are kept until their ``nextUpdate`` and for no more than ``max_age`` seconds; an answer without
    ``nextUpdate`` is not believed when it is older than that. Only the leaf is asked for. No URL is ever taken from a
    certificate. ``generation`` grows when a certificate that was good has been revoked. Raises ``ConfigurationError``.
    """

    def __init__(
        self,
        url: str,
        *,
        mode: Mode = "hard",
        nonce: Nonce = True,
        timeout: float = 2.0,
        responder: "StrPath | bytes | Certificate | None" = None,
        max_age: float = 600.0,
    ) -> None:
        if not isinstance(url, str) or not is_web_url(url):
            got = without_secrets(url) if isinstance(url, str) else url
            raise ConfigurationError(
                f"OCSP() takes the http or https URL of the responder, without user name and fragment, got {got!r}"
            )
        if mode not in get_args(Mode):
            raise ConfigurationError(f'mode= is "hard" or "soft", got {mode!r}')
        if not (isinstance(nonce, bool) or nonce == "require"):
            raise ConfigurationError(f'nonce= is True, False or "require", got {nonce!r}')
        self._url = url
        self._is_soft = mode == "soft"
        self._nonce: Nonce = nonce
        self._timeout = positive("timeout", timeout)
        self._max_age = positive("max_age", max_age)
        self._responders = _Responders(responder)
        self._fetcher = Fetcher(timeout=timeout)
        self._errands = Errands(_THREADS)
        self._teller = Teller()
        self._answers: TwoGenerations[tuple[Certificate, int], Answer] = TwoGenerations(MAX_ANSWERS)
        self._clock: Callable[[], float] = time.monotonic
        self.generation = 0

    def look(self) -> None:
        """Nothing to look after: each certificate is asked for when it is there."""

    def check(self, path: VerifiedPath, now: float) -> float | Awaitable[float]:
        """Until when (unix seconds) it holds that the leaf is not revoked; awaitable if the responder must be asked.

        Raises ``CertificateError``: ``CERTIFICATE_REVOKED`` or ``REVOCATION_UNKNOWN``.
        """
        if len(path.certificates) < 2:
            return path.not_after  # a trust anchor itself: who does not want it takes it out
        leaf, issuer = path.certificates[:2]
        answer = self._answers.get((issuer, leaf.serial_number))
        if answer is None or not answer.holds_at(now):
            return self._ask_and_judge(leaf, issuer, now)
        if now >= answer.ask_again:
            self._send(leaf, issuer, now)
        return self._judge(answer)

    async def start(self) -> None:
        """Raises ``ConfigurationError`` if the file of ``responder=`` cannot be used."""
        from anyio import to_thread

        await to_thread.run_sync(self._responders.certificates)

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _ask_and_judge(self, leaf: "Certificate", issuer: "Certificate", now: float) -> float:
        errand = self._send(leaf, issuer, now)
        if errand is not None:
            await errand.landed(self._timeout)
        answer = self._answers.get((issuer, leaf.serial_number))
        if answer is None or not answer.holds_at(now):
            answer = self._no_answer(answer, f"no answer within {self._timeout:g} s", now)
        return self._judge(answer)

    def _judge(self, answer: Answer) -> float:
        if answer.verdict == "good" or (answer.verdict == "none" and self._is_soft):
            return answer.until
        if answer.verdict == "revoked":
            raise CertificateError(Reason.CERTIFICATE_REVOKED, f"OCSP: {answer.note}")
        raise CertificateError(Reason.REVOCATION_UNKNOWN, f"OCSP: {answer.note}")

    def _send(self, leaf: "Certificate", issuer: "Certificate", now: float) -> Errand | None:
        deadline = self._clock() + self._timeout
        return self._errands.send((issuer, leaf.serial_number), partial(self._ask, leaf, issuer, now, deadline))

    def _ask(self, leaf: "Certificate", issuer: "Certificate", now: float, deadline: float) -> None:
        """In a thread: the question, and what is to be remembered of it. Past ``deadline`` nobody waits any longer."""
        key = (issuer, leaf.serial_number)
        before = self._answers.get(key)
        try:
            if self._clock() >= deadline:
                raise AnswerError("not asked, because too many other questions were waiting")
            request = make_request(leaf, issuer, with_nonce=bool(self._nonce))
            answer = self._read(self._fetch(request), request, issuer, now)
        except Exception as error:
            # Fetching and parsing each have their own; whatever it is, there is no answer.
            answer = self._no_answer(before, (str(error) or type(error).__name__)[:256], now)
        self._remember(key, before, answer)

    def _fetch(self, request: "OCSPRequest") -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding

        body = request.public_bytes(Encoding.DER)
        short = f"{self._url.rstrip('/')}/{quote(b64encode(body), safe='')}"
        if self._nonce or len(short) > MAX_GET:
            # With a nonce every question is a new one, which no cache has the answer to.
            url, posted = self._url, Posted(_REQUEST_TYPE, body)
        else:
            url, posted = short, None
        return self._fetcher.get_blocking(url, types=_ANSWER_TYPES, max_bytes=MAX_BYTES, posted=posted).body

    def _read(self, body: bytes, request: "OCSPRequest", issuer: "Certificate", now: float) -> Answer:
        answer = read_answer(
            body,
            request,
            issuer,
            responders=self._responders.certificates(),
            needs_nonce=self._nonce == "require",
            now=now,
            max_age=self._max_age,
        )
        return replace(answer, since=now, ask_again=now + REFRESH_AT * (answer.until - now))

    def _remember(self, key: "tuple[Certificate, int]", before: Answer | None, answer: Answer) -> None:
        self._answers.put(key, answer)
        if before is not None and before.verdict == "good" and answer.verdict == "revoked":
            self.generation += 1

    def _no_answer(self, before: Answer | None, why: str, now: float) -> Answer:
        """What to go by meanwhile: what is known while it holds, and what was revoked stays so."""
        self._teller.warn(f"OCSP: {without_secrets(self._url)}: {why}")
        if before is not None and before.holds_at(now):
            return replace(before, ask_again=now + RETRY_AFTER)
        if before is not None and before.verdict == "revoked":
            return replace(before, until=now + RETRY_AFTER, since=now)
        return Answer("none", now + RETRY_AFTER, why, since=now)


class _Responders:
    """The certificates that ``responder=`` names; of a file, as it is now. Raises ``ConfigurationError``."""

    def __init__(self, given: "StrPath | bytes | Certificate | None") -> None:
        from cryptography.x509 import Certificate

        self._file: StrPath | None = None
        self._known: tuple[Certificate, ...] | None = None
        if isinstance(given, Certificate):
            self._known = (given,)
        elif isinstance(given, bytes):
            self._known = certificates_in_pem(given, "responder=")
        elif isinstance(given, str | os.PathLike) and os.fspath(given):
            self._file = given
            self._watched = WatchedFiles((given,))
        elif given is not None:
            raise ConfigurationError(f"responder= is a PEM file, PEM bytes or an x509.Certificate, got {given!r}")

    def certificates(self) -> "tuple[Certificate, ...] | None":
        """None if none is configured. Reads the file again where it was replaced. Raises ``ConfigurationError``."""
        if self._file is not None and (self._watched.have_changed() or self._known is None):
            self._known = None
            self._known = certificates_in_file(self._file, f"responder={os.fspath(self._file)!r}")
        return self._known
