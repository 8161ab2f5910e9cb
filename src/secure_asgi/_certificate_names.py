"""Names in certificates, and which of them are allowed (RFC 5280 section 4.2.1.6).

Comparison is exact, on parsed names of one type; a wildcard stands for one whole label, path segment or attribute.
There are no regular expressions, and no text of a whole subject is ever searched.
"""

from collections.abc import Iterable, Mapping

from .errors import ConfigurationError
from .exchange import PeerCertificate

_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_LABEL = _ALPHANUMERIC | frozenset("-_")
_SCHEME = _ALPHANUMERIC | frozenset("+-.")

_Attributes = tuple[tuple[str, str], ...]

_KINDS: Mapping[str, tuple[str, frozenset[str]]] = {
    "dns": (".", _LABEL),
    "uri": ("/", _ALPHANUMERIC | frozenset("-._~")),
    "email": ("@", _ALPHANUMERIC | frozenset("!#$%&'*+-/=?^_`{|}~.")),
}
"""By type of name: what separates its parts, and the characters of a part that a wildcard stands for."""

_EXAMPLES = (
    '"dns:client.example", "dns:*.clients.example", "uri:spiffe://example.org/ns/*", "email:ops@example.org" '
    'or "dn:O=Example,CN=client"'
)


class NameRules:
    """``allow=``, or another ``option``: one rule or several; a certificate is let in if a name of its matches one.

    Raises ``ConfigurationError`` for a rule that does not read as one, and for no rule at all.
    """

    __slots__ = ("_exact", "_patterns", "_subjects")

    def __init__(self, rules: str | Iterable[str], option: str = "allow") -> None:
        given = (rules,) if isinstance(rules, str) else tuple(rules)
        if not given:
            raise ConfigurationError(
                f"{option}= got no rule: leave it out to accept every verified certificate, or give {_EXAMPLES}"
            )
        parsed = tuple(_parse(rule, option) for rule in given if not _is_subject(rule))
        self._subjects = tuple(_parse_subject(rule, option) for rule in given if _is_subject(rule))
        self._exact = frozenset(rule for rule in parsed if "*" not in rule[1])
        self._patterns = tuple(rule for rule in parsed if "*" in rule[1])

    def admit(self, peer: PeerCertificate) -> bool:
        return any(
            (kind, name) in self._exact
            or any(kind == its and _matches(kind, text, name) for its, text in self._patterns)
            for kind, names in (("dns", peer.dns), ("uri", peer.uris), ("email", peer.emails))
            for name in names
        ) or any(_has_subject(peer.attributes, wanted) for wanted in self._subjects)


def lower_domain(email: str) -> str:
    """An e-mail address as it is compared: only what stands behind the @ is free of case."""
    local, at, domain = email.rpartition("@")
    return local + at + domain.lower()


def is_host(name: str) -> bool:
    """Labels of letters, digits, hyphens and underscores, with dots between: no wildcard, nothing empty."""
    return all(label and _LABEL.issuperset(label) for label in name.split("."))


def is_absolute(uri: str) -> bool:
    """It has a scheme (RFC 5280 section 4.2.1.6), so that it cannot pass for a host name."""
    scheme, colon, rest = uri.partition(":")
    return bool(colon and rest and scheme[:1].isalpha()) and _SCHEME.issuperset(scheme)


def is_mailbox(email: str) -> bool:
    """Something plain, one @, a host name: it can pass for neither a host name nor a URI."""
    local, at, domain = email.partition("@")
    return bool(at and local) and _KINDS["email"][1].issuperset(local) and is_host(domain)


def _matches(kind: str, pattern: str, name: str) -> bool:
    separator, plain = _KINDS[kind]
    wanted, parts = pattern.split(separator), name.split(separator)
    return len(wanted) == len(parts) and all(
        _is_plain(part, plain) if want == "*" else part == want for want, part in zip(wanted, parts, strict=True)
    )


def _is_plain(part: str, plain: frozenset[str]) -> bool:
    """Something, and nothing that another reader takes apart again: no dot segment, no escape."""
    return part not in ("", ".", "..") and plain.issuperset(part)


def _parse(rule: str, option: str) -> tuple[str, str]:
    """``"dns:Client.example"`` → ``("dns", "client.example")``."""
    kind, _, text = rule.partition(":") if isinstance(rule, str) else ("", "", "")
    if kind == "spiffe":
        kind, text = "uri", rule
    if kind.lower() in ("cn", "subject"):
        raise ConfigurationError(
            f"{option}= goes by subject alternative names, or by all the attributes you name: {_EXAMPLES}; got {rule!r}"
        )
    if kind not in _KINDS:
        raise ConfigurationError(f"{option}= takes rules such as {_EXAMPLES}; got {rule!r}")
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ConfigurationError(f"{option}= takes names in ASCII (a host name as A-labels, xn--...), got {rule!r}")
    match kind:
        case "dns":
            text = text.lower()
            is_good = is_host(text.removeprefix("*."))
            shape = 'a host name, of which the first label may be "*"'
        case "uri":
            is_good = _is_uri_rule(text)
            shape = 'a URI with its scheme; whole segments of the path may be "*"'
        case _:
            text = lower_domain(text)
            local, _, domain = text.partition("@")
            is_good = is_host(domain) and (local == "*" or ("*" not in local and local != ""))
            shape = 'an address, in which "*" may stand for all before the @'
    if not is_good:
        raise ConfigurationError(f"{option}= wants {kind}: followed by {shape}; got {rule!r}")
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


def _is_subject(rule: object) -> bool:
    return isinstance(rule, str) and rule.startswith("dn:")


def _parse_subject(rule: str, option: str) -> _Attributes:
    """``"dn:O=Example,CN=*"`` → ``(("O", "Example"), ("CN", "*"))``."""
    from cryptography.x509 import Name  # only here: without such a rule it is loaded with the first certificate

    try:
        wanted = tuple((each.rfc4514_attribute_name, str(each.value)) for each in Name.from_rfc4514_string(rule[3:]))
    except ValueError:
        wanted = ()
    kinds = {kind for kind, _ in wanted}
    if not wanted or len(kinds) != len(wanted) or any("*" in value and value != "*" for _, value in wanted):
        raise ConfigurationError(
            f"{option}= wants dn: followed by attributes as RFC 4514 writes them, each type once, each value to the "
            f'letter or "*"; got {rule!r}'
        )
    return wanted


def _has_subject(attributes: _Attributes, wanted: _Attributes) -> bool:
    """Every attribute that is asked for is there once, and says what it should. Others may be there besides."""
    return all([_fits(text, value) for its, text in attributes if its == kind] == [True] for kind, value in wanted)


def _fits(text: str, value: str) -> bool:
    return text == value or (value == "*" and text != "" and text.isprintable())
