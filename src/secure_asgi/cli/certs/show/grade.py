"""The judgement: what an inspection found, held against a profile of Mozilla's guidelines 6.0 and RFC 9325."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Literal

from ....hsts import TWO_YEARS
from ....tls import TLS12_CIPHERS
from ...printable import in_days, printable
from ..certificate import SentCertificate
from ..endpoint import is_address
from .head import parse_hsts
from .inspection import Facts

Verdict = Literal["ok", "note", "WRONG"]

GOOD_SUITES = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
GOOD_GROUPS = {"X25519MLKEM768", "X25519", "P-256", "P-384"}
WEAK_GROUPS = {"P-192", "P-224"}
WEAK_HASHES = {"md5", "sha1"}
LEAST_RSA_BITS, LEAST_EC_BITS = 2048, 224
SOON = timedelta(days=30)

_NOT_ALL = "not all could be looked for"


@dataclass(frozen=True, slots=True)
class Profile:
    """``keys`` are those a leaf may have; ``longest`` is how many days it may be valid."""

    name: Literal["modern", "intermediate"]
    versions: frozenset[str]
    suites: frozenset[str]
    keys: frozenset[str]
    longest: int


MODERN = Profile("modern", frozenset({"TLSv1.3"}), frozenset(GOOD_SUITES), frozenset({"EC P-256", "EC P-384"}), 90)
INTERMEDIATE = Profile(
    "intermediate",
    MODERN.versions | {"TLSv1.2"},
    MODERN.suites | set(TLS12_CIPHERS.split(":")),
    MODERN.keys | {"RSA"},
    366,
)
PROFILES: dict[str, Profile] = {profile.name: profile for profile in (MODERN, INTERMEDIATE)}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing looked at. ``found`` and ``why`` are printable: nothing in them steers a terminal."""

    check: str
    found: str
    verdict: Verdict
    why: str


def grade(facts: Facts) -> str:
    """The better of the profiles that it meets, ``"modern"`` or ``"intermediate"``; ``"none"`` if it meets neither.

    ``"unknown"`` if nothing is wrong with what was seen, and something could not be looked at.
    """
    met = next((name for name, profile in PROFILES.items() if meets(judge(facts, profile))), "none")
    return "unknown" if facts.unfinished and met != "none" else met


def meets(lines: Iterable[Line]) -> bool:
    return all(line.verdict != "WRONG" for line in lines)


def judge(facts: Facts, profile: Profile) -> list[Line]:
    """One line for everything that was looked at."""
    return [check(facts, profile) for check in _CHECKS]


def _versions(facts: Facts, profile: Profile) -> Line:
    taken = [name for name, is_taken in facts.versions.items() if is_taken]
    more = [name for name in taken if name not in profile.versions]
    wrong = [f"not of this profile: {_listed(more)}"] if more else []
    if not profile.versions & set(taken):
        wrong.append("none of this profile")
    notes = [f"no {name}" for name in sorted(profile.versions) if facts.versions[name] is False]
    notes += [f"no answer to {name}" for name, is_taken in facts.versions.items() if is_taken is None]
    return _line("versions", _listed(taken), wrong, notes)


def _suites(facts: Facts, profile: Profile) -> Line:
    taken = [name for names in facts.suites.values() for name in names]
    more = [name for name in taken if name not in profile.suites]
    wrong = [f"not of this profile: {_listed(more)}"] if more else []
    notes = [_NOT_ALL] if "suites" in facts.unfinished else []
    return _line("suites", _listed(taken, most=12) or "none", wrong, notes)


def _groups(facts: Facts, profile: Profile) -> Line:
    weak = [name for name in facts.groups if name in WEAK_GROUPS]
    more = [name for name in facts.groups if name not in GOOD_GROUPS | WEAK_GROUPS]
    wrong = [f"too weak: {_listed(weak)}"] if weak else []
    notes = [f"more than the profile names: {_listed(more)}"] if more else []
    if "groups" in facts.unfinished:
        notes.append(_NOT_ALL)
    elif not any("MLKEM" in name for name in facts.groups):
        notes.append("none withstands a quantum computer")
    return _line("key exchange", _listed(facts.groups) or "none", wrong, notes)


def _trust(facts: Facts, profile: Profile) -> Line:
    if facts.trust_error is not None:
        return _line("trust", "does not verify", [printable(facts.trust_error)])
    notes = [f"Python 3.13 refuses it: {printable(facts.strict_error)}"] if facts.strict_error is not None else []
    return _line("trust", "verifies", (), notes)


def _chain(facts: Facts, profile: Profile) -> Line:
    sent = facts.chain
    wrong = [] if _is_in_order(sent) else ["each certificate is to be followed by that of its issuer"]
    notes = ["the root need not be sent"] if len(sent) > 1 and sent[-1].is_own_issuer else []
    return _line("chain", f"{len(sent)} sent", wrong, notes)


def _host_name(facts: Facts, profile: Profile) -> Line:
    host, leaf = facts.endpoint.server_name, facts.chain[0]
    names = _listed(leaf.names, most=4) or "no name"
    return _line("host name", names, () if leaf.is_for(host) else [f"it is not for {host}"])


def _expiry(facts: Facts, profile: Profile) -> Line:
    """A renewal is due when a third of its time is left, thirty days at the most."""
    first = min(facts.chain, key=lambda one: one.not_after)
    left = first.not_after - facts.at
    wrong = [f"expired: {printable(one.subject)}" for one in facts.chain if one.not_after <= facts.at]
    wrong += [f"not valid yet: {printable(one.subject)}" for one in facts.chain if one.not_before > facts.at]
    notes = ["renew it"] if left < min(SOON, (first.not_after - first.not_before) / 3) else []
    return _line("expiry", f"{first.not_after:%Y-%m-%d %H:%M} UTC, {in_days(left)}", wrong, () if wrong else notes)


def _lifetime(facts: Facts, profile: Profile) -> Line:
    leaf = facts.chain[0]
    days = round((leaf.not_after - leaf.not_before) / timedelta(days=1))
    return _line("lifetime", f"{days} days", [f"more than {profile.longest} days"] if days > profile.longest else ())


def _keys(facts: Facts, profile: Profile) -> Line:
    leaf = facts.chain[0].key
    wrong = [f"too weak: {one.key} of {printable(one.subject)}" for one in facts.chain if _is_weak(one)]
    if leaf not in profile.keys and leaf.partition(" ")[0] not in profile.keys:
        wrong.append(f"not of this profile: {leaf}")
    return _line("keys", _listed(one.key for one in facts.chain), wrong)


def _signatures(facts: Facts, profile: Profile) -> Line:
    """A self-signed root is believed for being there, not for its signature."""
    signed = [one for one in facts.chain if not (one.is_own_issuer and len(facts.chain) > 1)]
    weak = [f"too weak: {one.signature} on {printable(one.subject)}" for one in signed if one.hash in WEAK_HASHES]
    return _line("signatures", _listed(dict.fromkeys(one.signature for one in signed)), weak)


def _client_certificate(facts: Facts, profile: Profile) -> Line:
    asked = {"none": "not asked for", "optional": "asked for, optional", "required": "asked for, required"}
    found = asked[facts.client_certificate]
    if facts.is_let_in is None:
        return _line("client certificate", found)
    return _line("client certificate", found, () if facts.is_let_in else ["no HTTP answer with the one given"])


def _alpn(facts: Facts, profile: Profile) -> Line:
    """RFC 9325 section 3.7."""
    if "ALPN" in facts.unfinished:
        return _line("ALPN", _listed(facts.alpn) or "not seen", (), [_NOT_ALL])
    return _line("ALPN", _listed(facts.alpn) or "none", (), () if facts.alpn else ["no protocol is agreed on"])


def _resumption(facts: Facts, profile: Profile) -> Line:
    if not facts.resumption:
        return _line("resumption", "not seen", (), ["could not be tried"])
    resumed = [version for version, is_resumed in facts.resumption.items() if is_resumed]
    notes = ["a resumed session does not verify the client again"]
    return _line(
        "resumption", _listed(resumed) or "none", (), notes if facts.client_certificate != "none" and resumed else ()
    )


def _hsts(facts: Facts, profile: Profile) -> Line:
    """RFC 6797 section 8.1: a browser reads the first field only, and none from an address."""
    if facts.head is None:
        wants = facts.client_certificate == "required"
        return _line("HSTS", "not seen", (), ["give --cert and --key to see it" if wants else "no HTTP answer"])
    if is_address(facts.endpoint.server_name):
        return _line("HSTS", "does not apply to an address")
    if not facts.head.hsts:
        return _line("HSTS", "none", ["no Strict-Transport-Security"])
    read = parse_hsts(facts.head.hsts[0])
    found = printable(facts.head.hsts[0], 80)
    if read is None:
        return _line("HSTS", found, ["browsers ignore it: malformed"])
    wrong = [f"max-age is below {TWO_YEARS}"] if read.max_age < TWO_YEARS else []
    notes = [] if read.include_subdomains else ["without includeSubDomains"]
    notes += ["sent more than once"] if len(facts.head.hsts) > 1 else []
    return _line("HSTS", found, wrong, notes)


_CHECKS = (
    _versions,
    _suites,
    _groups,
    _trust,
    _chain,
    _host_name,
    _expiry,
    _lifetime,
    _keys,
    _signatures,
    _client_certificate,
    _alpn,
    _resumption,
    _hsts,
)


def _is_weak(certificate: SentCertificate) -> bool:
    kind = certificate.key.partition(" ")[0]
    if kind == "RSA":
        return certificate.bits < LEAST_RSA_BITS
    return certificate.bits < LEAST_EC_BITS or kind == "DSA"


def _is_in_order(chain: Sequence[SentCertificate]) -> bool:
    return all(one.issuer == above.subject for one, above in pairwise(chain))


def _listed(names: Iterable[str], most: int = 8) -> str:
    shown = [printable(name, 80) for name in names]
    more = [f"and {len(shown) - most} more"] if len(shown) > most else []
    return ", ".join(shown[:most] + more)


def _line(check: str, found: str, wrong: Sequence[str] = (), notes: Sequence[str] = ()) -> Line:
    verdict: Verdict = "WRONG" if wrong else "note" if notes else "ok"
    return Line(check, found, verdict, "; ".join((*wrong, *notes)))
