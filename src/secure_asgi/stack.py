"""The order of the layers, and the two ways to put a stack together: ``secure()`` and ``secure_stack()``.

Layers are given in any order and put into the right one; ``ORDER`` is that order, as data. Every wrong option is a
``ConfigurationError`` on the line of the call, because an error raised later, when Starlette builds its middleware
stack, would surface only as a server that answers 500.
"""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.middleware import Middleware as Middleware
from starlette.types import ASGIApp

from ._paths import DOCS
from .audit import AuditMiddleware
from .authorization import AuthorizationMiddleware
from .bearer import BearerAuthMiddleware
from .errors import ConfigurationError
from .flow import Claim, Layer, bind
from .hsts import HSTSMiddleware
from .https_redirect import HTTPSRedirectMiddleware
from .mutual_tls import MutualTLSMiddleware
from .rate_limit import RateLimitMiddleware
from .sanitized_errors import SanitizedErrorMiddleware
from .security_headers import SecurityHeadersMiddleware
from .trusted_host import TrustedHostMiddleware
from .trusted_proxy import TrustedProxyMiddleware

CORS = "cors"
"""The place of Starlette's CORSMiddleware, and of any foreign middleware that names no other."""

ORDER: tuple[str, ...] = (
    "security_headers",  # stamps stand outermost: every answer passes them, refusals and errors too
    "hsts",
    "audit",  # opens the record before anything can refuse
    "trusted_proxy",  # who is really asking, over which scheme: all decisions below rest on it
    CORS,  # outside the errors: a browser must be able to read a 500
    "sanitized_errors",
    "trusted_host",
    "https_redirect",
    "rate_limit:client",  # before anything costs CPU
    "mutual_tls",
    "bearer",
    "api_keys",
    "authorization",  # who is known by now, and nothing has been spent on who may not
    "rate_limit:principal",
    "rate_limit:custom",
    "throttle:client",  # what is refused for its rate takes no slot
    "throttle:principal",
    "throttle:server",  # innermost: nobody holds one of its slots while waiting for another
)
"""Outermost first. A layer of one's own stands inside all of these, next to the application, unless placed."""


def secure(app: ASGIApp, *layers: Middleware) -> ASGIApp:
    """``app`` inside the given layers; the result is an ASGI app (no FastAPI: keep the FastAPI object for its routes).

    ``layers`` come in any order. A foreign middleware takes the place of CORS, or the one that ``before=`` or
    ``after=`` in its ``Middleware(...)`` names (one of our classes). Raises ``ConfigurationError`` for a wrong option.
    """
    for entry in reversed(_in_order(layers)):
        app = entry.cls(app, *entry.args, **entry.kwargs)
    return app


def secure_stack(*layers: Middleware) -> list[Middleware]:
    """The same for Starlette and FastAPI: ``FastAPI(middleware=secure_stack(...))``.

    Each of our layers is constructed once, here; a rebuilt middleware stack shares them. One result serves one
    application. Foreign middlewares are passed on as they were given.
    """
    return _in_order(layers)


def preset(name: str, **options: Any) -> list[Middleware]:
    """A cited starting point, as a plain list to read and to extend: ``secure_stack(*preset("api", issuer=..., ...))``.

    ``"api"`` (OWASP REST Security Cheat Sheet; ASVS 5.0 V3.4, V4.1): security headers, HSTS, audit, sanitized errors,
    HTTPS, bearer tokens (FastAPI's documentation exempt); with ``trusted=`` or ``hops=`` the trusted proxy, with
    ``allowed_hosts=`` the trusted host, with ``client_certificates=`` (True, or ``allow=`` rules) mutual TLS, with
    ``limits=`` the rate limit, with ``rules=`` authorization. Raises ``ConfigurationError`` for an unknown preset or
    option.
    """
    if name != "api":
        raise ConfigurationError(f'there is a preset "api", and no {name!r}')
    unknown = set(options) - set(_PRESET_OPTIONS)
    if unknown:
        raise ConfigurationError(_unknown_option(f"preset({name!r})", unknown, _PRESET_OPTIONS))
    chosen: dict[type[Layer], dict[str, Any]] = {cls: {} for cls in _PRESET_ALWAYS}
    chosen[BearerAuthMiddleware]["exempt"] = DOCS
    for option, value in options.items():
        cls, its_name = _PRESET_OPTIONS[option]
        if option == "client_certificates" and value is True:
            chosen.setdefault(cls, {})
        elif value is not None and value is not False:
            chosen.setdefault(cls, {})[its_name] = value
    if AuthorizationMiddleware in chosen:
        # Where nobody is asked who they are, nobody can be asked what they may do.
        chosen[AuthorizationMiddleware]["exempt"] = chosen[BearerAuthMiddleware]["exempt"]
    return [_entry(cls, **its_options) for cls, its_options in chosen.items()]


_entry: Any = Middleware  # its options are typed by its class, which is known to the caller only

_PRESET_ALWAYS: tuple[type[Layer], ...] = (
    SecurityHeadersMiddleware,
    HSTSMiddleware,
    AuditMiddleware,
    SanitizedErrorMiddleware,
    HTTPSRedirectMiddleware,
    BearerAuthMiddleware,
)

_PRESET_OPTIONS: Mapping[str, tuple[type[Layer], str]] = {
    "issuer": (BearerAuthMiddleware, "issuer"),
    "audience": (BearerAuthMiddleware, "audience"),
    "jwks_uri": (BearerAuthMiddleware, "jwks_uri"),
    "jwks": (BearerAuthMiddleware, "jwks"),
    "algorithms": (BearerAuthMiddleware, "algorithms"),
    "profile": (BearerAuthMiddleware, "profile"),
    "realm": (BearerAuthMiddleware, "realm"),
    "http": (BearerAuthMiddleware, "http"),
    "exempt": (BearerAuthMiddleware, "exempt"),
    "trusted": (TrustedProxyMiddleware, "trusted"),
    "hops": (TrustedProxyMiddleware, "hops"),
    "source": (TrustedProxyMiddleware, "source"),
    "allowed_hosts": (TrustedHostMiddleware, "allowed_hosts"),
    "host": (HTTPSRedirectMiddleware, "host"),
    "plaintext": (HTTPSRedirectMiddleware, "plaintext"),
    "client_certificates": (MutualTLSMiddleware, "allow"),
    "limits": (RateLimitMiddleware, "limits"),
    "rules": (AuthorizationMiddleware, "rules"),
    "roles": (AuthorizationMiddleware, "roles"),
    "sinks": (AuditMiddleware, "sinks"),
}


def _in_order(layers: tuple[Middleware, ...]) -> list[Middleware]:
    claim = Claim()
    taken: dict[str, str] = {}
    placed: list[tuple[tuple[float, int], Middleware]] = []
    for position, entry in enumerate(layers):
        if not isinstance(entry, Middleware):
            raise ConfigurationError(f"layers are given as Middleware(TheClass, option=...), got {entry!r}")
        cls: Any = entry.cls
        options = dict(entry.kwargs)
        side: dict[str, Any] = {word: options.pop(word) for word in ("before", "after") if word in options}
        if isinstance(cls, type) and issubclass(cls, Layer):
            layer = _construct(cls, entry.args, options)
            if layer.place in taken and not layer.repeatable:
                raise ConfigurationError(
                    f"{cls.__name__} and {taken[layer.place]} take the same place ({layer.place}): "
                    "keep one, with the options of both"
                )
            taken[layer.place] = cls.__name__
            place = layer.place
            layer.claim = claim
            made = _entry(bind, layer) if layer.merges else _entry(cls, *entry.args, **options)
        else:
            place = CORS
            made = _entry(cls, *entry.args, **options)
        placed.append(((_rank(cls, place, side), position), made))
    return [made for _, made in sorted(placed, key=lambda item: item[0])]


def _construct(cls: type[Layer], args: tuple[Any, ...], options: dict[str, Any]) -> Layer:
    try:
        return cls(None, *args, **options)
    except TypeError as error:
        from inspect import signature  # only to explain a mistake

        known = [name for name in signature(cls.__init__).parameters if name not in ("self", "app")]
        unknown = set(options) - set(known)
        if unknown:
            raise ConfigurationError(_unknown_option(cls.__name__, unknown, known)) from None
        raise ConfigurationError(
            f"{cls.__name__}: {str(error).rpartition('() ')[2]}; it takes {', '.join(known)}"
        ) from error


def _unknown_option(where: str, unknown: set[str], known: Any) -> str:
    from difflib import get_close_matches

    name = min(unknown)
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    advice = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
    return f"{where} has no option {name!r}: {advice}"


def _rank(cls: Callable[..., Any], place: str, side: dict[str, Any]) -> float:
    """The place as a number; half a step outside or inside the one that ``before=`` or ``after=`` names."""
    if not side:
        return ORDER.index(place) if place in ORDER else len(ORDER)
    if len(side) == 2:
        raise ConfigurationError(f"{cls.__name__}: give before= or after=, not both")
    ((word, anchor),) = side.items()
    anchor_place = anchor.slot() if isinstance(anchor, type) and issubclass(anchor, Layer) else anchor
    if anchor_place not in ORDER:
        raise ConfigurationError(
            f"{cls.__name__}: {word}= names one of our middlewares or a place ({', '.join(ORDER)}), got {anchor!r}"
        )
    return ORDER.index(anchor_place) + (-0.5 if word == "before" else 0.5)
