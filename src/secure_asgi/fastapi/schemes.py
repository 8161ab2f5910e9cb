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

        A required certificate goes with every alternative. The last one is nothing at all, where no layer insists and
        nothing further in does (``is_demanded``).
        """
        asking = [layer for layer in self._layers if path not in layer.exempt]
        tokens = [name for layer in asking if layer.name != "mutual_tls" for name in self._names(layer)]
        certificates = [layer for layer in asking if layer.name == "mutual_tls"]
        is_certificate_enough = bool(certificates) and not any(
            _insists(layer) for layer in asking if layer.name != "mutual_tls"
        )
        always: Requirement = {"mutualTLS": []} if any(_insists(layer) for layer in certificates) else {}
        alternatives: list[Requirement] = [{**always, name: list(scopes)} for name in tokens for scopes in choices]
        if is_certificate_enough:
            alternatives.append({"mutualTLS": []})
        if alternatives and not is_demanded and not any(_insists(layer) for layer in asking):
            alternatives.append({})
        return alternatives

    def _names(self, layer: Any) -> list[str]:
        return ["apiKey"] if layer.name == "api_keys" else list(self._of_bearer(layer, ()))

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


def _insists(layer: Any) -> bool:
    """It refuses requests without its credentials."""
    return bool(layer.required)
