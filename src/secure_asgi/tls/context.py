"""``server_context``: its options, checked, become a context that follows its files."""

from collections.abc import Callable, Iterable
from math import isfinite
from os import PathLike
from typing import Any, Literal

from .._files import LOOK_EVERY, StrPath, paths
from .._options import is_plain_function
from ..errors import ConfigurationError
from .expiry import OnExpiry
from .handshake import OnHandshakeFailure, reporting_class
from .profile import CLIENT_AUTH, PROFILES, Recipe
from .reload import ServerContext


def server_context(
    certfile: StrPath,
    keyfile: StrPath,
    *,
    profile: Literal["modern", "intermediate"] = "modern",
    client_ca: StrPath | Iterable[StrPath] | None = None,
    client_auth: Literal["optional", "required"] | None = None,
    client_crl: StrPath | Iterable[StrPath] | None = None,
    alpn: str | Iterable[str] = "http/1.1",
    reload: float | None = LOOK_EVERY,
    on_expiry: OnExpiry | None = None,
    on_handshake_failure: OnHandshakeFailure | None = None,
) -> ServerContext:
    """A server's TLS context. ``certfile`` is PEM, leaf first, then the intermediates; ``keyfile`` PEM, not encrypted.

    ``profile="modern"`` speaks TLS 1.3 only and resumes no session, so every connection has had its own, full
    handshake. ``"intermediate"`` adds TLS 1.2 for older clients. Its sessions can be resumed until the files change,
    and a resumed one verifies nothing: a client certificate that has expired since is still accepted here. With client
    certificates, give ``MutualTLSMiddleware`` its ``trust_anchors=`` then; it verifies again.

    ``client_ca`` is a PEM file, or several, of the authorities whose client certificates the handshake accepts; it goes
    together with ``client_auth``: ``"required"`` ends the handshake without a certificate, ``"optional"`` lets it pass,
    for ``MutualTLSMiddleware`` to decide per path. A certificate that is presented and does not verify ends the
    handshake under both. ``client_crl`` is a PEM file, or several, of revocation lists. One of the authority that has
    issued the client's certificate must be among them and not past its next update: without it the handshake ends.

    ``alpn`` names the protocols the server speaks, best first: ``("h2", "http/1.1")`` for one that knows HTTP/2.

    ``reload`` is in seconds. When a connection comes in and that much time has passed since the last look at the files,
    they are looked at, and if they were replaced a fresh context is made of them, for this and all later connections.
    If that fails the last good one goes on serving, and the logger ``secure_asgi`` has one line that says why. 0 looks
    at every connection, None never.

    ``on_expiry`` is called with a ``CertificateExpiry`` 30, 14 and 7 days before a certificate of ``certfile`` or
    ``client_ca`` ends and when it has ended, once each; the log has a line then in any case. ``on_handshake_failure``
    is called with a ``HandshakeFailure``, at most ten times a second. Both are plain functions, called where the
    connection is served: they must not wait.

    Raises ``ConfigurationError`` for options that do not go together and for files that cannot be used. Not checked:
    that the certificate is one for the server's name, and the revocation of authorities.
    """
    _check_file("certfile", certfile)
    _check_file("keyfile", keyfile)
    if profile not in PROFILES:
        raise ConfigurationError(f'profile= is "modern" or "intermediate", got {profile!r}')
    authorities, lists = paths("client_ca", client_ca), paths("client_crl", client_crl)
    _check_client_options(authorities, client_auth, lists)
    _check_reload(reload)
    _check_hook("on_expiry", on_expiry)
    _check_hook("on_handshake_failure", on_handshake_failure)
    recipe = Recipe(
        certfile=certfile,
        keyfile=keyfile,
        oldest=PROFILES[profile],
        verify_mode=CLIENT_AUTH[client_auth],
        client_ca=authorities,
        client_crl=lists,
        alpn=_protocols(alpn),
        object_class=reporting_class(on_handshake_failure) if on_handshake_failure is not None else None,
    )
    return ServerContext(recipe, reload, on_expiry)


def _check_file(option: str, given: Any) -> None:
    if not isinstance(given, str | PathLike):
        raise ConfigurationError(f"{option}= is the path of a PEM file, got {given!r}")


def _check_client_options(
    client_ca: tuple[StrPath, ...], client_auth: str | None, client_crl: tuple[StrPath, ...]
) -> None:
    if client_auth not in CLIENT_AUTH:
        raise ConfigurationError(f'client_auth= is None, "optional" or "required", got {client_auth!r}')
    if client_auth is not None and not client_ca:
        raise ConfigurationError(
            f"client_auth={client_auth!r} needs client_ca=, the PEM file of the authorities whose clients are accepted"
        )
    if client_ca and client_auth is None:
        raise ConfigurationError(
            'client_ca= asks no client for a certificate on its own: add client_auth="required" or "optional"'
        )
    if client_crl and not client_ca:
        raise ConfigurationError("client_crl= needs client_ca=, the authorities whose clients it revokes")


def _check_reload(reload: Any) -> None:
    if reload is None:
        return
    if isinstance(reload, bool) or not isinstance(reload, int | float) or not isfinite(reload) or reload < 0:
        raise ConfigurationError(
            f"reload= is a number of seconds between two looks at the files, or None, got {reload!r}"
        )


def _check_hook(option: str, hook: Callable[..., object] | None) -> None:
    if hook is not None and not is_plain_function(hook):
        raise ConfigurationError(f"{option}= is a plain function of one argument, got {hook!r}")


def _protocols(given: str | Iterable[str]) -> tuple[str, ...]:
    protocols = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else ()
    if not protocols or not all(isinstance(one, str) and one.isascii() and 0 < len(one) < 256 for one in protocols):
        raise ConfigurationError(f'alpn= is the name of a protocol or several, like ("h2", "http/1.1"), got {given!r}')
    return protocols
