"""OpenAPI security schemes: what the layers in front of an application take as credentials.

OpenAPI 3.1.1 sections 4.8.27 (Security Scheme Object) and 4.8.30 (Security Requirement Object).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
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
    """The schemes of ``layers``; ``components`` describes them, ``needed`` says which an operation takes.

    ``names_certificates=False``: OpenAPI 3.0 has no scheme for a client certificate, and none is named.
    """

    def __init__(self, layers: Sequence[Layer], oauth2: OAuth2, *, names_certificates: bool) -> None:
        self._layers: list[Any] = [layer for layer in layers if layer.name in _AUTHENTICATING]
        self._oauth2 = oauth2
        self._names_certificates = names_certificates

    def components(self, scopes: Iterable[str]) -> dict[str, dict[str, Any]]:
        """By name; OAuth2 flows name ``scopes``."""
        described: dict[str, dict[str, Any]] = {}
        for layer in self._layers:
            if layer.name == "mutual_tls":
                if self._names_certificates:
                    described["mutualTLS"] = {"type": "mutualTLS", "description": "A client certificate."}
            elif layer.name == "api_keys":
                described["apiKey"] = {"type": "apiKey", "in": "header", "name": layer.header}
            else:
                described |= self._of_bearer(layer, scopes)
        return described

    def needed(self, path: str, choices: Sequence[Sequence[str]], *, is_demanded: bool) -> list[Requirement]:
        """The alternatives at ``path``, each with one of the ``choices`` of scopes; empty where nothing is looked at.

        What the layers that insist take stands in every alternative, side by side. Where one of them takes a token or a
        key, the others' are none: a request carries one of these. The last alternative is nothing at all, where no
        layer insists and nothing further in does (``is_demanded``).
        """
        asking = [layer for layer in self._layers if path not in layer.exempt]
        certificates = [layer for layer in asking if layer.name == "mutual_tls"]
        others = [layer for layer in asking if layer.name != "mutual_tls"]
        insisting = [layer for layer in others if layer.required]
        is_certificate_needed = any(layer.required for layer in certificates)
        found: list[Requirement] = []
        for scopes in choices:
            if insisting:
                found += [_together(one) for one in product(*(self._requirements(each, scopes) for each in insisting))]
            else:
                found += [one for layer in others for one in self._requirements(layer, scopes)]
        if is_certificate_needed:
            found = [{"mutualTLS": [], **one} for one in found]
        if certificates and not insisting:
            found += [{"mutualTLS": list(scopes)} for scopes in choices]
        if found and not is_demanded and not insisting and not is_certificate_needed:
            found.append({})
        return found if self._names_certificates else _without_certificates(found)

    def _requirements(self, layer: Any, scopes: Iterable[str]) -> list[Requirement]:
        """One of these is enough for ``layer``, which may ask for scopes of its own."""
        names = ["apiKey"] if layer.name == "api_keys" else list(self._of_bearer(layer, ()))
        own = sorted(getattr(layer, "required_scopes", ()))
        return [{name: list(dict.fromkeys((*own, *scopes)))} for name in names]

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


def _together(requirements: Iterable[Requirement]) -> Requirement:
    return {name: scopes for one in requirements for name, scopes in one.items()}


def _without_certificates(requirements: list[Requirement]) -> list[Requirement]:
    """What asks for a certificate alone falls away: without it nothing would be left, which means that all may call."""
    return [
        {name: scopes for name, scopes in one.items() if name != "mutualTLS"}
        for one in requirements
        if list(one) != ["mutualTLS"]
    ]
