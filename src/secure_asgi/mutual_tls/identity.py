"""Who a certificate stands for: its one name of some kind (RFC 5280 section 4.2.1.6), or what a function says.

"One" is meant: where a certificate has two names of a kind, which of them is meant is not ours to guess.
"""

from collections.abc import Callable, Mapping

from .._certificate_names import is_absolute, is_host, is_mailbox
from .._options import is_plain_function
from ..errors import ConfigurationError
from ..exchange import PeerCertificate, Principal

Identity = Callable[[PeerCertificate], Principal | None]

OwnName = Callable[[PeerCertificate], str | None]


def identity_of(option: str | Identity | None) -> tuple[OwnName, Identity | None]:
    """What ``identity=`` means: a reader of the one name, and the user's own function if there is one.

    Raises ``ConfigurationError``.
    """
    if option is None:
        return own_name, None
    if isinstance(option, str):
        name = _attribute(option.removeprefix("dn:")) if option.startswith("dn:") else _NAMES.get(option)
        if name is not None:
            return name, None
    elif is_plain_function(option):
        return own_name, option
    raise ConfigurationError(
        f'identity= is "spiffe", "uri", "dns", "email", "fingerprint", an attribute of the subject such as "dn:CN", '
        f"or a plain function from PeerCertificate to Principal or None, got {option!r}"
    )


def own_name(peer: PeerCertificate) -> str | None:
    """The only URI name, or without any the only DNS name, or the only e-mail address; None where there is no "only".

    A DNS name that is a wildcard, or no host name at all, names nobody in particular. Nor does what could pass for a
    name of another kind, as an authority may watch over one kind and not over the others.
    """
    if peer.uris:
        return _only(peer.uris, is_absolute)
    if peer.dns:
        return _only(peer.dns, is_host)
    return _only(peer.emails, is_mailbox)


def _only(names: tuple[str, ...], is_good: Callable[[str], bool]) -> str | None:
    return names[0] if len(names) == 1 and is_good(names[0]) else None


def _attribute(kind: str) -> OwnName | None:
    """The only value of an attribute of the subject, as parsed: nothing is searched for in a text.

    None for what is no attribute. An empty value is one too many beside another; and a value with a NUL or a line feed
    has only ever served to be read differently by somebody else.
    """
    from cryptography.x509 import Name  # only here: without such an identity it is loaded with the first certificate

    try:
        (attribute,) = Name.from_rfc4514_string(f"{kind}=xx")
    except ValueError:
        return None
    name = attribute.rfc4514_attribute_name

    def value(peer: PeerCertificate) -> str | None:
        return _only(tuple(text for its, text in peer.attributes if its == name), _is_text)

    return value


def _is_text(value: str) -> bool:
    return value != "" and value.isprintable()


_NAMES: Mapping[str, OwnName] = {
    "spiffe": lambda peer: peer.spiffe_id,
    "uri": lambda peer: _only(peer.uris, is_absolute),
    "dns": lambda peer: _only(peer.dns, is_host),
    "email": lambda peer: _only(peer.emails, is_mailbox),
    "fingerprint": lambda peer: peer.sha256,
}
