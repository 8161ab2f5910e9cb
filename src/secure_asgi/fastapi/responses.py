"""The refusals of the layers as OpenAPI responses: RFC 9457 problems, one schema for all.

RFC 9110 sections 15.5.2 and 10.2.3, RFC 6585 section 4.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..flow import Layer
from ..rate_limit import RateLimitMiddleware
from ..rate_limit.fields import DESCRIPTIONS
from ..throttle import ThrottleMiddleware

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "A refusal or an error (RFC 9457).",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 300, "maximum": 599},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string", "description": "The id under which this request is known here."},
    },
    "additionalProperties": True,
}

_INVALID: dict[str, Any] = {
    "errors": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["detail", "type", "loc"],
            "properties": {
                "detail": {"type": "string"},
                "type": {"type": "string"},
                "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                "pointer": {"type": "string"},
            },
        },
    }
}

_QUOTA_EXCEEDED: dict[str, Any] = {
    "violated-policies": {
        "type": "array",
        "items": {"type": "string"},
        "description": "The limits that have no room, by the names that they have in the fields.",
    }
}


def free_name(known: Mapping[str, Any], name: str, what: Mapping[str, Any]) -> str:
    """``name``, or the next one under which the application has described nothing else than ``what``."""
    while name in known and known[name] != what:
        name += "_"
    return name


def _field(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


_CHALLENGE = _field("How to authenticate: a challenge for each scheme (RFC 9110 section 11.6.1).")
_WAIT = _field("Seconds to wait before the request is repeated.", "integer")
_RESPONSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "401": ("Unauthenticated", "No credentials that are valid here.", {"WWW-Authenticate": _CHALLENGE}),
    "403": ("Forbidden", "Known, and not allowed to do this.", {"WWW-Authenticate": _CHALLENGE}),
    "429": ("TooManyRequests", "A limit is used up.", {"Retry-After": _WAIT}),
    "503": ("Unavailable", "This cannot be decided at the moment.", {"Retry-After": _WAIT}),
}


class Responses:
    """Adds to operations what ``layers`` answer, and to ``components`` what those responses refer to, once."""

    def __init__(self, layers: Sequence[Layer], components: dict[str, Any]) -> None:
        self._limits = [layer for layer in layers if isinstance(layer, RateLimitMiddleware)]
        self._closing = [layer for layer in self._limits if layer.fails_closed]
        self._throttles = [layer for layer in layers if isinstance(layer, ThrottleMiddleware)]
        self._deciding = [layer for layer in layers if layer.name in ("mutual_tls", "authorization")]
        self._asking = [layer for layer in layers if layer.name in ("bearer", "api_keys")]
        self._scoped = [layer for layer in self._asking if getattr(layer, "required_scopes", ())]
        self._components = components
        self._schema = ""

    def add(self, operation: dict[str, Any], path: str, *, has_dependency: bool) -> None:
        """What the application has declared for a status, or for its hundred, stays."""
        applies = {
            # For want of a certificate, a client is refused with 403.
            "401": _any_at(self._asking, path),
            "403": has_dependency or _any_at([*self._deciding, *self._scoped], path),
            "429": _any_at([*self._limits, *self._refusing(429)], path),
            "503": _any_at([*self._deciding, *self._asking, *self._closing, *self._refusing(503)], path),
        }
        declared: dict[str, Any] = operation.setdefault("responses", {})
        for status, does in applies.items():
            if does and status not in declared and f"{status[0]}XX" not in declared:
                declared[status] = {"$ref": f"#/components/responses/{self._described(status, path)}"}

    def _refusing(self, status: int) -> Sequence[Layer]:
        return [layer for layer in self._throttles if layer.refusal_status == status]

    def problem(self) -> str:
        """The reference to the schema of a problem."""
        if not self._schema:
            self._schema = self.name_in("schemas", "Problem", _SCHEMA)
        return f"#/components/schemas/{self._schema}"

    def name_in(self, section: str, name: str, what: dict[str, Any]) -> str:
        """``what`` among the components under ``name``, or under the next name that the application has not taken."""
        known: dict[str, Any] = self._components.setdefault(section, {})
        name = free_name(known, name, what)
        known[name] = what
        return name

    def _described(self, status: str, path: str) -> str:
        name, description, headers = _RESPONSES[status]
        schema = {"$ref": self.problem()}
        if status == "429":
            schema = {"$ref": self.extended("QuotaExceeded", _QUOTA_EXCEEDED)}
            headers = {**headers, **_quota_fields([layer for layer in self._limits if path not in layer.exempt])}
        content = {"application/problem+json": {"schema": schema}}
        return self.name_in("responses", name, {"description": description, "headers": headers, "content": content})

    def extended(self, name: str, members: dict[str, Any]) -> str:
        """The reference to the schema of a problem that has further members."""
        schema = {"allOf": [{"$ref": self.problem()}, {"type": "object", "properties": members}]}
        return f"#/components/schemas/{self.name_in('schemas', name, schema)}"


def replace_validation_body(document: dict[str, Any], responses: Responses) -> None:
    """The 422 that FastAPI describes, where ``problem_handlers()`` answer another; one of the application's stays."""
    fastapis = {"application/json": {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}}
    for item in document["paths"].values():
        for operation in item.values():
            invalid = operation.get("responses", {}).get("422") if isinstance(operation, dict) else None
            if invalid is not None and invalid.get("content") == fastapis:
                schema = {"$ref": responses.extended("InvalidRequest", _INVALID)}
                invalid["content"] = {"application/problem+json": {"schema": schema}}
    schemas: dict[str, Any] = document["components"].get("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        if f'"#/components/schemas/{unused}"' not in json.dumps(document):
            schemas.pop(unused, None)


def _quota_fields(layers: Sequence[RateLimitMiddleware]) -> dict[str, Any]:
    """What the fields that ``layers`` write say, each once."""
    return {name: _field(*DESCRIPTIONS[name]) for layer in layers for name in layer.field_names}


def _any_at(layers: Sequence[Layer], path: str) -> bool:
    return any(path not in layer.exempt for layer in layers)
