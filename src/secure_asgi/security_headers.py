"""Response headers that tell a browser what it must not do with an answer.

OWASP REST Security Cheat Sheet and Secure Headers Project; ASVS 5.0 V3.4; Content Security Policy Level 3.
"""

import re
from collections.abc import Iterable, Mapping
from types import EllipsisType, MappingProxyType
from typing import Literal

from ._asgi import ASGIApp, RawHeaders, Scope
from ._paths import DOCS, PathSet, route_path
from .errors import ConfigurationError
from .exchange import Exchange
from .flow import Layer

CSP = "content-security-policy"
COEP = "cross-origin-embedder-policy"
COOP = "cross-origin-opener-policy"

Values = Mapping[str, str | None]
"""Header values by lower-case name; None leaves the header out."""
Value = str | EllipsisType | None
"""An option: ``...``, the default, is what the preset says."""

API: Values = MappingProxyType(
    {
        # An answer of an API is data: it loads nothing, is framed by nobody, is kept by no cache.
        CSP: "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
    }
)

BROWSER: Values = MappingProxyType(
    {
        **API,
        CSP: "default-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        # Not no-referrer: with that a browser sends "Origin: null" with a form, and a check of the origin fails.
        "referrer-policy": "same-origin",
        COOP: "same-origin",
        "permissions-policy": "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), "
        "microphone=(), payment=(), usb=()",
    }
)

PRESETS: Mapping[str, Values] = MappingProxyType({"api": API, "browser": BROWSER})

DOCS_CSP = (
    "default-src 'none'; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    "font-src https://fonts.gstatic.com; "
    "img-src 'self' data: https://fastapi.tiangolo.com https://cdn.redoc.ly; "
    "connect-src 'self'; worker-src blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""For Swagger UI and ReDoc as FastAPI serves them. Inline scripts, because FastAPI writes one into the page that is
another for each application and each path it is mounted under: a hash would be right for some requests only."""

DOCS_VALUES: Values = MappingProxyType(
    {
        CSP: DOCS_CSP,
        COEP: None,  # it would keep out the scripts of the page
        COOP: None,  # it would cut the OAuth2 window off from the page that opened it
    }
)

HTML_DOCS = tuple(path for path in DOCS if not path.endswith(".json"))

DISCLOSING = (
    "server",
    "x-powered-by",
    "x-aspnet-version",
    "x-aspnetmvc-version",
    "x-backend-server",
    "x-envoy-upstream-service-time",
    "x-generator",
    "x-php-version",
    "x-powered-cms",
    "x-runtime",
    "x-server",
    "x-server-name",
    "x-sourcemap",
    "sourcemap",
)
"""Names that tell what the answer was made with: an application that relays other services hands them on."""

_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "csp": CSP,
        "csp_report_only": "content-security-policy-report-only",
        "cache_control": "cache-control",
        "x_content_type_options": "x-content-type-options",
        "x_frame_options": "x-frame-options",
        "referrer_policy": "referrer-policy",
        "cross_origin_resource_policy": "cross-origin-resource-policy",
        "cross_origin_opener_policy": COOP,
        "cross_origin_embedder_policy": COEP,
        "permissions_policy": "permissions-policy",
        "x_permitted_cross_domain_policies": "x-permitted-cross-domain-policies",
        "reporting_endpoints": "reporting-endpoints",
    }
)

_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "x-content-type-options": frozenset({"nosniff"}),
        "x-frame-options": frozenset({"DENY", "SAMEORIGIN"}),
        "cross-origin-resource-policy": frozenset({"same-origin", "same-site", "cross-origin"}),
        COOP: frozenset({"same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none"}),
        COEP: frozenset({"require-corp", "credentialless", "unsafe-none"}),
        "x-permitted-cross-domain-policies": frozenset(
            {"none", "master-only", "by-content-type", "by-ftp-filename", "all", "none-this-response"}
        ),
        "referrer-policy": frozenset(
            {
                "no-referrer",
                "no-referrer-when-downgrade",
                "same-origin",
                "origin",
                "strict-origin",
                "origin-when-cross-origin",
                "strict-origin-when-cross-origin",
                "unsafe-url",
            }
        ),
    }
)
"""The fields whose value is one word: a misspelt one makes browsers ignore the field without a sound."""

_UNQUOTED = frozenset(
    {"none", "self", "unsafe-inline", "unsafe-eval", "unsafe-hashes", "strict-dynamic", "report-sample"}
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?")


class SecurityHeadersMiddleware(Layer):
    """Gives every HTTP answer the headers of a preset, and takes away those that tell what made it.

    ``preset`` is ``"api"`` (answers are data) or ``"browser"`` (answers are pages). An option named after a header sets
    its value, and None leaves it out; ``csp`` is short for the name it has. A header that the application has set stays
    as it is. ``overrides`` are other values by path, ``{"/embed/": {"x-frame-options": None}}``: exact, or a
    prefix with a trailing slash, the more specific wins; a value given there wins over the application's.
    ``docs=True`` lets Swagger UI and ReDoc work at FastAPI's paths; other paths are given as ``docs="/api/docs"``, and
    ``docs=False`` treats them like any other. ``remove`` are the names taken away. Raises ``ConfigurationError`` for a
    value a browser would ignore.

    On an accepted WebSocket it writes nothing. It does not set ``Strict-Transport-Security`` (``HSTSMiddleware`` does),
    adds no ``Content-Type``, and makes no nonce for an inline script.
    """

    name = "security_headers"

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        preset: Literal["api", "browser"] = "api",
        docs: bool | str | Iterable[str] = True,
        csp: Value = ...,
        csp_report_only: Value = ...,
        cache_control: Value = ...,
        x_content_type_options: Value = ...,
        x_frame_options: Value = ...,
        referrer_policy: Value = ...,
        cross_origin_resource_policy: Value = ...,
        cross_origin_opener_policy: Value = ...,
        cross_origin_embedder_policy: Value = ...,
        permissions_policy: Value = ...,
        x_permitted_cross_domain_policies: Value = ...,
        reporting_endpoints: Value = ...,
        overrides: Mapping[str, Values] | None = None,
        remove: str | Iterable[str] = DISCLOSING,
    ) -> None:
        if preset not in PRESETS:
            raise ConfigurationError(f'preset= is "api" or "browser", got {preset!r}')
        given = {
            "csp": csp,
            "csp_report_only": csp_report_only,
            "cache_control": cache_control,
            "x_content_type_options": x_content_type_options,
            "x_frame_options": x_frame_options,
            "referrer_policy": referrer_policy,
            "cross_origin_resource_policy": cross_origin_resource_policy,
            "cross_origin_opener_policy": cross_origin_opener_policy,
            "cross_origin_embedder_policy": cross_origin_embedder_policy,
            "permissions_policy": permissions_policy,
            "x_permitted_cross_domain_policies": x_permitted_cross_domain_policies,
            "reporting_endpoints": reporting_endpoints,
        }
        own = _checked({option: value for option, value in given.items() if value is not ...}, "")
        self._remove = _removed(remove)
        self._everywhere = {**PRESETS[preset], **own}
        self._stamp = _Stamp(self._everywhere, self._remove)
        self._by_path = self._stamps_by_path(_docs_paths(docs), overrides or {})
        self._paths = PathSet(self._by_path, option="overrides")
        self._prefixes = sorted((path for path in self._by_path if path.endswith("/")), key=len, reverse=True)
        super().__init__(app)

    def on_request(self, exchange: Exchange, scope: Scope) -> None:
        path = route_path(scope)
        if path in self._paths:
            exchange.memo[self] = self._stamp_of(path)

    def on_response(self, exchange: Exchange, headers: RawHeaders) -> None:
        if exchange.status == 101:
            return
        stamp: _Stamp = exchange.memo.get(self, self._stamp)
        if stamp.watched.isdisjoint(dict(headers)):
            headers += stamp.lines
        else:
            stamp.merge_into(headers)

    def _stamps_by_path(self, docs: tuple[str, ...], overrides: Mapping[str, Values]) -> "dict[str, _Stamp]":
        for_docs: Values = self._everywhere
        if self._everywhere.get(CSP) is not None:
            for_docs = {**self._everywhere, **DOCS_VALUES}
        stamps = {path: _Stamp(for_docs, self._remove) for path in docs}
        if not isinstance(overrides, Mapping):
            raise ConfigurationError(
                f'overrides= is {{"/path": {{"header-name": "value" or None}}}}, got {overrides!r}'
            )
        for path, values in overrides.items():
            other = _checked(values, f"overrides[{path!r}]: ")
            base = for_docs if path in docs else self._everywhere
            stamps[path] = _Stamp({**base, **other}, self._remove, forced=other)
        return stamps

    def _stamp_of(self, path: str) -> "_Stamp":
        exact = self._by_path.get(path)
        if exact is not None:
            return exact
        return next(self._by_path[prefix] for prefix in self._prefixes if path.startswith(prefix))


class _Stamp:
    """What one kind of answer gets, prepared: ``lines`` in the common case, ``merge_into`` where names collide."""

    __slots__ = ("_dropped", "lines", "watched")

    def __init__(self, values: Values, remove: frozenset[bytes], forced: Values = MappingProxyType({})) -> None:
        self.lines = tuple(
            (name.encode(), value.encode("latin-1")) for name, value in values.items() if value is not None
        )
        self._dropped = remove | {name.encode() for name, value in forced.items() if value is not None}
        self.watched = self._dropped | {name for name, _ in self.lines}

    def merge_into(self, headers: RawHeaders) -> None:
        """What the application has set stays, but for the names that are dropped."""
        headers[:] = [line for line in headers if line[0] not in self._dropped]
        present = {name for name, _ in headers}
        headers += [line for line in self.lines if line[0] not in present]


def _docs_paths(docs: bool | str | Iterable[str]) -> tuple[str, ...]:
    if isinstance(docs, bool):
        return HTML_DOCS if docs else ()
    given = (docs,) if isinstance(docs, str) else tuple(docs)
    PathSet(given, option="docs")
    return given


def _removed(names: str | Iterable[str]) -> frozenset[bytes]:
    given = (names,) if isinstance(names, str) else tuple(names)
    for name in given:
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"remove= takes names of header fields, got {name!r}")
    return frozenset(name.lower().encode() for name in given)


def _checked(values: Mapping[str, object], where: str) -> dict[str, str | None]:
    """The values by field name, each one a browser will understand."""
    if not isinstance(values, Mapping):
        raise ConfigurationError(f'{where}give the headers as {{"header-name": "value" or None}}, got {values!r}')
    checked: dict[str, str | None] = {}
    for option, value in values.items():
        name = _field_name(option, where)
        if value is None:
            checked[name] = None
            continue
        if not isinstance(value, str) or not _FIELD_VALUE.fullmatch(value):
            raise ConfigurationError(
                f"{where}{option} is one line of Latin-1 text, or None to leave it out, got {value!r}"
            )
        _refuse_misspelt(name, value, where)
        checked[name] = value
    return checked


def _field_name(option: object, where: str) -> str:
    name = str(option).lower().replace("_", "-")
    name = _OPTIONS.get(name.replace("-", "_"), name)
    if name not in _OPTIONS.values():
        raise ConfigurationError(f"{where}no header {option!r} is set here, only {', '.join(_OPTIONS.values())}")
    return name


def _refuse_misspelt(name: str, value: str, where: str) -> None:
    words = _WORDS.get(name)
    if words is not None:
        # Referrer-Policy alone may list several, for older browsers.
        said = [word.strip() for word in value.split(",")] if name == "referrer-policy" else [value]
        if not words.issuperset(said):
            raise ConfigurationError(f"{where}{name} is one of {', '.join(sorted(words))}, got {value!r}")
    elif name.startswith(CSP):
        _check_policy(value, f"{where}{name}")


def _check_policy(policy: str, where: str) -> None:
    """The two mistakes that make a policy say something else: a keyword without quotes, a directive given twice."""
    seen: set[str] = set()
    for directive in policy.split(";"):
        name, *sources = directive.lower().split() or [""]
        if name and name in seen:
            raise ConfigurationError(f"{where} gives {name} twice, and browsers read only the first: join the two")
        seen.add(name)
        for source in sources:
            if source in _UNQUOTED:
                raise ConfigurationError(f"{where} says {source} in {name}, which is a host name: write '{source}'")
