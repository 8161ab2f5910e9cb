"""The application that a command is about."""

import sys
from importlib import import_module
from typing import Any

from ..errors import ConfigurationError
from .printable import printable


def load(target: str, is_factory: bool) -> Any:
    """The application that ``target`` names. Raises ``ConfigurationError`` with the cause."""
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise ConfigurationError(f'the application is written "module:attribute", got {printable(target)!r}')
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = import_module(module_name)
    except (Exception, SystemExit) as error:  # somebody's module: it may raise anything, and even end the program
        raise ConfigurationError(f"{printable(module_name)} cannot be imported: {_cause(error)}") from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ConfigurationError(f"{printable(target)} is not there: {_cause(error)}") from error
    if is_factory:
        try:
            found = found()
        except (Exception, SystemExit) as error:
            raise ConfigurationError(f"{printable(target)} made no application: {_cause(error)}") from error
    if not callable(found):
        raise ConfigurationError(f"{printable(target)} is a {type(found).__name__}, no ASGI application")
    return found


def _cause(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {error}", 500)
