"""Names in certificates: which are allowed, and which one is the client's own (RFC 5280 section 4.2.1.6).

Comparison is exact, on parsed names of one type; a wildcard stands for one whole label or path segment. There are no
regular expressions, and the common name is never looked at.
"""

from collections.abc import Iterable, Mapping

from ..errors import ConfigurationError
from ..exchange import PeerCertificate

_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_LABEL = _ALPHANUMERIC | frozenset("-_")

_KINDS: Mapping[str, tuple[str, frozenset[str]]] = {
    "dns": (".", _LABEL),
    "uri": ("/", _ALPHANUMERIC | frozenset("-._~")),
    "email": ("@", _ALPHANUMERIC | frozenset("!#$%&'*+-/=?^_`{|}~.")),
}
"""By type of name: what separates its parts, and the characters of a part that a wildcard stands for."""

_EXAMPLES = '"dns:client.example", "dns:*.clients.example", "uri:spiffe://example.org/ns/*" or "email:ops@example.org"'


class NameRules:
    """``allow=``: one rule or several; a certificate is let in if one of its names matches one of them.

    Raises ``ConfigurationError`` for a rule that does not read as one, and for no rule at all.
    """

    __slots__ = ("_exact", "_patterns")

    def __init__(self, rules: str | Iterable[str]) -> None:
        given = (rules,) if isinstance(rules, str) else tuple(rules)
        if not given:
            raise ConfigurationError(
                f"allow= got no rule: leave it out to accept every verified certificate, or give {_EXAMPLES}"
            )
        parsed = tuple(map(_parse, given))
        self._exact = frozenset(rule for rule in parsed if "*" not in rule[1])
        self._patterns = tuple(rule for rule in parsed if "*" in rule[1])

    def admit(self, peer: PeerCertificate) -> bool:
        return any(
            (kind, name) in self._exact
            or any(kind == its and _matches(kind, text, name) for its, text in self._patterns)
            for kind, names in (("dns", peer.dns), ("uri", peer.uris), ("email", peer.emails))
            for name in names
        )


def own_name(peer: PeerCertificate) -> str | None:
    """The only URI name, or without any the only DNS name, or the only e-mail address; None where there is no "only".

    A DNS name that is a wildcard, or no host name at all, names nobody in particular.
    """
    if peer.uris:
        return _only(peer.uris)
    if peer.dns:
        name = _only(peer.dns)
        return name if name is not None and _is_host(name) else None
    return _only(peer.emails)


def lower_domain(email: str) -> str:
    """An e-mail address as it is compared: only what stands behind the @ is free of case."""
    local, at, domain = email.rpartition("@")
    return local + at + domain.lower()


def _only(names: tuple[str, ...]) -> str | None:
    return names[0] if len(names) == 1 else None


def _is_host(name: str) -> bool:
    return all(label and _LABEL.issuperset(label) for label in name.split("."))


def _matches(kind: str, pattern: str, name: str) -> bool:
    separator, plain = _KINDS[kind]
    wanted, parts = pattern.split(separator), name.split(separator)
    return len(wanted) == len(parts) and all(
        _is_plain(part, plain) if want == "*" else part == want for want, part in zip(wanted, parts, strict=True)
    )


def _is_plain(part: str, plain: frozenset[str]) -> bool:
    """Something, and nothing that another reader takes apart again: no dot segment, no escape."""
    return part not in ("", ".", "..") and plain.issuperset(part)


def _parse(rule: str) -> tuple[str, str]:
    """``"dns:Client.example"`` → ``("dns", "client.example")``."""
    kind, _, text = rule.partition(":") if isinstance(rule, str) else ("", "", "")
    if kind.lower() in ("cn", "dn", "subject"):
        raise ConfigurationError(
            f"allow= goes by subject alternative names, a common name is free text: {_EXAMPLES}; got {rule!r}"
        )
    if kind not in _KINDS:
        raise ConfigurationError(f"allow= takes rules such as {_EXAMPLES}; got {rule!r}")
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ConfigurationError(f"allow= takes names in ASCII (a host name as A-labels, xn--...), got {rule!r}")
    match kind:
        case "dns":
            text = text.lower()
            is_good = _is_host(text.removeprefix("*."))
            shape = 'a host name, of which the first label may be "*"'
        case "uri":
            is_good = _is_uri_rule(text)
            shape = 'a URI with its scheme; whole segments of the path may be "*"'
        case _:
            text = lower_domain(text)
            local, _, domain = text.partition("@")
            is_good = _is_host(domain) and (local == "*" or ("*" not in local and local != ""))
            shape = 'an address, in which "*" may stand for all before the @'
    if not is_good:
        raise ConfigurationError(f"allow= wants {kind}: followed by {shape}; got {rule!r}")
    return kind, text


def _is_uri_rule(text: str) -> bool:
    scheme, _, rest = text.partition(":")
    if not (scheme and rest):
        return False
    if "*" not in text:
        return True
    # scheme://authority is written out: with a wildcard there, any trust domain could name its clients into ours.
    head, nothing, authority, *segments = (*text.split("/"), "", "")
    return nothing == "" and "*" not in head + authority and all(part == "*" or "*" not in part for part in segments)
