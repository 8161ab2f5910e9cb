"""Who a certificate stands for: its one name of some kind (RFC 5280 section 4.2.1.6), or what a function says.

"One" is meant: where a certificate has two names of a kind, which of them is meant is not ours to guess.
"""

from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction

from ..errors import ConfigurationError
from ..exchange import PeerCertificate, Principal
from .names import is_host

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
    elif callable(option) and not iscoroutinefunction(option):
        return own_name, option
    raise ConfigurationError(
        f'identity= is "spiffe", "uri", "dns", "email", "fingerprint", an attribute of the subject such as "dn:CN", '
        f"or a plain function from PeerCertificate to Principal or None, got {option!r}"
    )


def own_name(peer: PeerCertificate) -> str | None:
    """The only URI name, or without any the only DNS name, or the only e-mail address; None where there is no "only".

    A DNS name that is a wildcard, or no host name at all, names nobody in particular.
    """
    if peer.uris:
        return _only(peer.uris)
    if peer.dns:
        return _host(peer)
    return _only(peer.emails)


def _only(names: tuple[str, ...]) -> str | None:
    return names[0] if len(names) == 1 else None


def _host(peer: PeerCertificate) -> str | None:
    name = _only(peer.dns)
    return name if name is not None and is_host(name) else None


def _attribute(kind: str) -> OwnName | None:
    """The only value of an attribute of the subject, as parsed: nothing is searched for in a text."""
    if not kind or kind != kind.strip():
        return None

    def value(peer: PeerCertificate) -> str | None:
        return _only(tuple(text for its, text in peer.attributes if its == kind and text))

    return value


_NAMES: Mapping[str, OwnName] = {
    "spiffe": lambda peer: peer.spiffe_id,
    "uri": lambda peer: _only(peer.uris),
    "dns": _host,
    "email": lambda peer: _only(peer.emails),
    "fingerprint": lambda peer: peer.sha256,
}
