"""The layers in front of an application, in its OpenAPI document: what they take, and how they refuse.

OpenAPI 3.1.1, RFC 9457. The document is read from the layers as they are; nothing here decides about a request.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts

from .._asgi import ASGIApp
from .._entries import layer_of
from .._templates import Template
from ..errors import ConfigurationError
from ..flow import Flow, Layer
from .dependencies import Dependency
from .responses import Responses, free_name, replace_validation_body
from .schemes import OAuth2, Requirement, Schemes

_FLOWS = ("authorizationCode", "clientCredentials")


def document_security(
    app: ASGIApp,
    *,
    layers: Layer | Iterable[Layer] | None = None,
    authorization_url: str | None = None,
    token_url: str | None = None,
    flows: str | Iterable[str] | None = None,
    openid_connect: bool = False,
) -> None:
    """Has the OpenAPI document of ``app`` say what the layers in front of it ask for and answer.

    ``app`` is the ``FastAPI`` object, or what ``secure()`` has made of it. ``layers`` are those to describe, where
    they are neither in ``FastAPI(middleware=...)`` nor around ``app``. ``token_url`` of the authorization server adds
    OAuth 2.0, by the client credentials grant, and with ``authorization_url`` by the authorization code grant too;
    ``flows`` names which of ``"authorizationCode"`` and ``"clientCredentials"`` are meant. ``openid_connect=True`` adds
    OpenID Connect, with the discovery document of each listed issuer.

    The document is made when it is first asked for, and again when routes were added: call this at any time before or
    after routes. Called again, the later options hold. What the application has declared itself, security and responses
    of an operation, stays as it is. Raises ``ConfigurationError`` for a wrong option.
    """
    fastapi, around = _unwrapped(app)
    given = None if layers is None else _several(layers)
    for layer in given or ():
        if not isinstance(layer, Layer):
            raise ConfigurationError(f"layers= takes layers that were made, BearerAuthMiddleware(...), got {layer!r}")
    if not isinstance(openid_connect, bool):
        raise ConfigurationError(f"openid_connect= is True or False, got {openid_connect!r}")
    oauth2 = _oauth2(authorization_url, token_url, flows, openid_connect)
    known: Any = fastapi.openapi
    make = known.make if isinstance(known, _Document) else known
    # FastAPI's own documentation has it replaced so; to mypy it is a method.
    fastapi.openapi = _Document(fastapi, make, around if given is None else given, oauth2)  # type: ignore[method-assign]


class _Document:
    """``FastAPI.openapi``, with the layers in it. What FastAPI keeps of its own document is left alone."""

    def __init__(
        self, app: FastAPI, make: Callable[[], dict[str, Any]], layers: tuple[Layer, ...], oauth2: OAuth2
    ) -> None:
        self.make = make
        self._app = app
        self._given = layers
        self._oauth2 = oauth2
        self._made: tuple[dict[str, Any], list[Any], dict[str, Any]] | None = None

    def __call__(self) -> dict[str, Any]:
        plain, entries = self.make(), list(self._app.user_middleware)
        # FastAPI hands out one dictionary until routes are added: then there is another.
        if self._made is None or self._made[0] is not plain or self._made[1] != entries:
            self._made = (plain, entries, self._documented(deepcopy(plain)))
        return self._made[2]

    def _documented(self, document: dict[str, Any]) -> dict[str, Any]:
        layers = (*_layers_of(self._app), *self._given)
        # Before OpenAPI 3.1, only the schemes of an authorization server could be listed with scopes.
        is_current = not document["openapi"].startswith("3.0")
        schemes = Schemes(layers, self._oauth2, names_certificates=is_current)
        rules = _rules(layers)
        components: dict[str, Any] = document.setdefault("components", {})
        responses = Responses(layers, components)
        asked: list[tuple[_Operation, list[Requirement]]] = []
        scopes = dict.fromkeys(sorted(scope for layer in layers for scope in getattr(layer, "required_scopes", ())))
        for operation in _operations(self._app, document):
            need = _need(operation, rules)
            scopes |= dict.fromkeys(scope for choice in need.choices for scope in choice)
            asked.append((operation, schemes.needed(operation.path, need.choices, is_demanded=need.is_demanded)))
            responses.add(operation.described, operation.path, has_dependency=bool(operation.dependencies))
        names = _describe(schemes.components(scopes), components)
        for operation, alternatives in asked:
            if alternatives and "security" not in operation.described:
                listed = alternatives if is_current else _without_scopes(alternatives)
                operation.described["security"] = [
                    {names[name]: scopes for name, scopes in one.items()} for one in listed
                ]
        if _puts_validation_into_problems(self._app):
            replace_validation_body(document, responses)
        if not components:
            del document["components"]
        return document


@dataclass(frozen=True, slots=True)
class _Operation:
    method: str
    path: str
    """As it is routed, convertors and all."""
    described: dict[str, Any]
    """Its part of the document, to be edited."""
    dependencies: tuple[Dependency, ...]


@dataclass(frozen=True, slots=True)
class _Need:
    choices: tuple[tuple[str, ...], ...]
    """Of scopes: one of them is enough."""
    is_demanded: bool
    """Somebody further in than the layers that authenticate refuses a request without a principal."""


_Rules = tuple[Any, ...]
"""The layers that hold a table of rules, ``AuthorizationMiddleware``."""


def _need(operation: _Operation, authorization: _Rules) -> _Need:
    asked = tuple(dict.fromkeys(scope for dependency in operation.dependencies for scope in dependency.scopes))
    choices: tuple[tuple[str, ...], ...] = (asked,)
    is_demanded = bool(operation.dependencies)
    for layer in authorization:
        if operation.path in layer.exempt:
            continue
        rule = rule_for(layer.rules, operation.method, operation.path)
        if rule is None:
            is_demanded = True
        elif not rule.public:
            is_demanded = True
            each: Iterable[tuple[str, ...]] = [(one,) for one in sorted(rule.any_scopes)] or [()]
            choices = tuple(
                tuple(dict.fromkeys((*known, *sorted(rule.scopes), *one))) for known in choices for one in each
            )
    return _Need(choices, is_demanded)


def _describe(schemes: dict[str, dict[str, Any]], components: dict[str, Any]) -> dict[str, str]:
    """Puts ``schemes`` beside those that the application has declared; by their names, those they have there."""
    names: dict[str, str] = {}
    if schemes:
        known: dict[str, Any] = components.setdefault("securitySchemes", {})
        names = {name: free_name(known, name, scheme) for name, scheme in schemes.items()}
        known |= {names[name]: scheme for name, scheme in schemes.items()}
    return names


def rule_for(rules: Iterable[Any], method: str, path: str) -> Any:
    """The first rule that names every path of the route ``path``; None where there is none.

    A rule that names some of them only is for another route, as ``/orders/mine`` is beside ``/orders/{id}``.
    """
    route = Template.of_route(path)
    for rule in rules:
        is_named = method in rule.methods if rule.methods is not None else method != "WEBSOCKET"
        if (is_named or (method == "HEAD" and "GET" in (rule.methods or ()))) and rule.template.covers(route):
            return rule
    return None


def _operations(app: FastAPI, document: dict[str, Any]) -> Iterator[_Operation]:
    for context in iter_route_contexts(app.routes):
        described = document["paths"].get(context.path_format or "", {})
        for method in sorted(context.methods or ()):
            operation = described.get(method.lower())
            # A route that is not in the document has no part in it: its path may be that of one that is.
            if operation is not None and getattr(context, "include_in_schema", False):
                dependencies = tuple(_dependencies_of(getattr(context, "dependant", None)))
                yield _Operation(method, context.path or "", operation, dependencies)


def _dependencies_of(dependant: Any) -> Iterator[Dependency]:
    for one in getattr(dependant, "dependencies", ()):
        if isinstance(one.call, Dependency):
            yield one.call
        yield from _dependencies_of(one)


def _layers_of(app: FastAPI) -> Iterator[Layer]:
    """The layers in ``FastAPI(middleware=...)``; one given as its class and options is made once more, to be read."""
    for entry in app.user_middleware:
        layer = layer_of(entry)
        if layer is not None:
            yield layer


def _rules(layers: tuple[Layer, ...]) -> _Rules:
    return tuple(layer for layer in layers if layer.name == "authorization")


def _unwrapped(app: Any) -> tuple[FastAPI, tuple[Layer, ...]]:
    """The FastAPI object inside, and the layers around it."""
    around: list[Layer] = []
    inner = app
    while not isinstance(inner, FastAPI):
        if isinstance(inner, Flow):
            around += inner.layers
        elif isinstance(inner, Layer) and not inner.merges:
            around.append(inner)
        inner = getattr(inner, "app", None)
        if inner is None:
            raise ConfigurationError(
                f"document_security() takes the FastAPI object, or what secure() has made of it; got {app!r}"
            )
    return inner, tuple(around)


def _oauth2(
    authorization_url: str | None, token_url: str | None, flows: str | Iterable[str] | None, openid_connect: bool
) -> OAuth2:
    for option, url in (("authorization_url", authorization_url), ("token_url", token_url)):
        if url is not None and not (isinstance(url, str) and url.startswith(("https://", "http://", "/"))):
            raise ConfigurationError(f"{option}= is an address of the authorization server, https://..., got {url!r}")
    if flows is None:
        possible = (authorization_url is not None, token_url is not None)
        named = tuple(flow for flow, can in zip(_FLOWS, possible, strict=True) if can)
    else:
        named = _several(flows)
    if not all(flow in _FLOWS for flow in named):
        raise ConfigurationError(f'flows= takes "authorizationCode" and "clientCredentials", got {flows!r}')
    if (named or authorization_url is not None) and token_url is None:
        raise ConfigurationError("an OAuth 2.0 flow needs token_url=, the token endpoint of the authorization server")
    if "authorizationCode" in named and authorization_url is None:
        raise ConfigurationError('flows="authorizationCode" needs authorization_url=, where users sign in')
    return OAuth2(authorization_url=authorization_url, token_url=token_url, flows=named, openid_connect=openid_connect)


def _several(given: Any) -> tuple[Any, ...]:
    return (given,) if isinstance(given, str | Layer) or not isinstance(given, Iterable) else tuple(given)


def _without_scopes(alternatives: list[dict[str, list[str]]]) -> list[dict[str, list[str]]]:
    """OpenAPI 3.0: an empty list for whatever is no scheme of an authorization server."""
    plain = [
        {name: scopes if name.startswith(("oauth2", "openIdConnect")) else [] for name, scopes in one.items()}
        for one in alternatives
    ]
    return [json.loads(text) for text in dict.fromkeys(json.dumps(one) for one in plain)]


def _puts_validation_into_problems(app: FastAPI) -> bool:
    """``problem_handlers()`` are installed."""
    handlers: Mapping[Any, Any] = app.exception_handlers
    module = getattr(handlers.get(RequestValidationError), "__module__", "")
    return module == "secure_asgi.sanitized_errors"
