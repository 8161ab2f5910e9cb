"""Security middlewares for FastAPI, Starlette and any ASGI app: each does one thing and says why it said no.

Names are loaded when they are first asked for (PEP 562): importing one middleware imports only what it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "ConfigurationError": "errors",
    "SecureASGIError": "errors",
    "Denial": "denial",
    "Reason": "denial",
    "Reply": "denial",
    "Exchange": "exchange",
    "PeerCertificate": "exchange",
    "Principal": "exchange",
    "exchange_of": "exchange",
    "Layer": "flow",
}
"""Where each public name lives. The ``TYPE_CHECKING`` block below says the same to type checkers: a test compares."""

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    try:
        module = import_module(f".{_HOME[name]}", __name__)
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


if TYPE_CHECKING:
    from .denial import Denial as Denial
    from .denial import Reason as Reason
    from .denial import Reply as Reply
    from .errors import ConfigurationError as ConfigurationError
    from .errors import SecureASGIError as SecureASGIError
    from .exchange import Exchange as Exchange
    from .exchange import PeerCertificate as PeerCertificate
    from .exchange import Principal as Principal
    from .exchange import exchange_of as exchange_of
    from .flow import Layer as Layer
