"""OpenAPI security schemes: what the layers in front of an application take as credentials.

OpenAPI 3.1.1 sections 4.8.27 (Security Scheme Object) and 4.8.30 (Security Requirement Object).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..flow import Layer

_AUTHENTICATING = ("mutual_tls", "bearer", "api_keys")
_DISCOVERY = "/.well-known/openid-configuration"

Requirement = dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class OAuth2:
    """What ``document_security`` was told of the authorization server, which no layer knows."""

    authorization_url: str | None = None
    token_url: str | None = None
    flows: tuple[str, ...] = ()
    openid_connect: bool = False


class Schemes:
    """The schemes of ``layers``; ``components`` describes them, ``needed`` says which an operation takes."""

    def __init__(self, layers: Sequence[Layer], oauth2: OAuth2) -> None:
        self._layers: list[Any] = [layer for layer in layers if layer.name in _AUTHENTICATING]
        self._oauth2 = oauth2

    def components(self, scopes: Iterable[str]) -> dict[str, dict[str, Any]]:
        """By name; OAuth2 flows name ``scopes``."""
        described: dict[str, dict[str, Any]] = {}
        for layer in self._layers:
            if layer.name == "mutual_tls":
                described["mutualTLS"] = {"type": "mutualTLS", "description": "A client certificate."}
            elif layer.name == "api_keys":
                described["apiKey"] = {"type": "apiKey", "in": "header", "name": layer.header}
            else:
                described |= self._of_bearer(layer, scopes)
        return described

    def needed(self, path: str, choices: Sequence[Sequence[str]], *, is_demanded: bool) -> list[Requirement]:
        """The alternatives at ``path``, each with one of the ``choices`` of scopes; empty where nothing is looked at.

        What a layer insists on goes with every alternative. The last one is nothing at all, where no layer insists and
        nothing further in does (``is_demanded``).
        """
        asking = [layer for layer in self._layers if path not in layer.exempt]
        insisting = [layer for layer in asking if layer.required]
        alternatives: list[Requirement] = [{}]
        for layer in insisting:
            alternatives = [{**one, **more} for one in alternatives for more in self._accepted(layer, choices)]
        if all(layer.name == "mutual_tls" for layer in insisting):
            # A certificate is enough for a principal; a token beside it makes another one.
            others = [layer for layer in asking if not layer.required]
            by_token = [
                {**one, **more} for layer in others for one in alternatives for more in self._accepted(layer, choices)
            ]
            alternatives = by_token + [one for one in alternatives if one]
        if alternatives and not (is_demanded or insisting):
            alternatives.append({})
        return alternatives if alternatives != [{}] else []

    def _accepted(self, layer: Any, choices: Sequence[Sequence[str]]) -> list[Requirement]:
        """What satisfies ``layer`` alone."""
        if layer.name == "mutual_tls":
            return [{"mutualTLS": []}]
        names = ["apiKey"] if layer.name == "api_keys" else list(self._of_bearer(layer, ()))
        return [{name: list(scopes)} for name in names for scopes in choices]

    def _of_bearer(self, layer: Any, scopes: Iterable[str]) -> dict[str, dict[str, Any]]:
        described: dict[str, dict[str, Any]] = {}
        if "bearer" in layer.schemes:
            described["bearer"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        if "dpop" in layer.schemes:
            described["dpop"] = {
                "type": "http",
                "scheme": "DPoP",
                "description": "An access token bound to a key, with a proof in the DPoP field (RFC 9449).",
            }
        if self._oauth2.flows:
            described["oauth2"] = {"type": "oauth2", "flows": self._flows(dict.fromkeys(scopes, ""))}
        if self._oauth2.openid_connect:
            for number, issuer in enumerate(layer.issuer_urls, 1):
                name = "openIdConnect" if number == 1 else f"openIdConnect{number}"
                described[name] = {"type": "openIdConnect", "openIdConnectUrl": issuer.rstrip("/") + _DISCOVERY}
        return described

    def _flows(self, scopes: Mapping[str, str]) -> dict[str, Any]:
        flows: dict[str, Any] = {}
        for name in self._oauth2.flows:
            flows[name] = {"tokenUrl": self._oauth2.token_url, "scopes": dict(scopes)}
            if name == "authorizationCode":
                flows[name]["authorizationUrl"] = self._oauth2.authorization_url
        return flows
