"""What a client may know of a protected resource before it has a token: RFC 9728."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from .._asgi import Receive, Scope, Send
from .._fetch import is_fetchable, is_web_url
from .._options import several
from .._paths import route_path
from ..denial import Reply
from ..errors import ConfigurationError
from .encoding import decode_base64url, parse_object
from .keys import ASYMMETRIC

WELL_KNOWN = "/.well-known/oauth-protected-resource"
MAX_AGE = 3600.0

_URI = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")
"""RFC 3986 without the fragment: nothing that would end a quoted string or a header field."""
_NAME = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_ALGORITHM = re.compile(r"[A-Za-z0-9-]+")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_METHODS = ("header", "body", "query")
_TRANSLATED = ("resource_name", "resource_documentation", "resource_policy_uri", "resource_tos_uri")

Text = str | Mapping[str, str] | None
"""A text; or texts by language tag (``"de"``), that for ``""`` without one."""


class ProtectedResource:
    """The metadata of one protected resource, made once, and the answer to who asks for it (META-3, META-4).

    ``resource`` is its identifier: the https URL (http on loopback only) that clients call it by, from outside, and
    that tokens name as audience. It comes from here and never from a request's Host (META-5). The other options are
    the members of RFC 9728 section 2, under their names there; those that are empty, None or False are left out.
    ``authorization_servers`` are issuers, ``scopes_supported`` the scopes worth asking for. Texts for people may be
    given by language: ``resource_name={"": "Orders", "de": "Bestellungen"}``. ``signed_metadata`` is a JWT that was
    made elsewhere. ``more`` are members that have no option here, as JSON values. For ``max_age`` seconds (3600) an
    answer may be kept by whoever asked; 0 forbids it.

    ``url`` is where clients find the document, for a challenge's ``resource_metadata``; ``path`` its path, decoded.
    Raises ``ConfigurationError`` for a wrong option. It does not compare these members with what is really enforced,
    nor verify ``signed_metadata``.
    """

    __slots__ = ("_document", "_query", "path", "resource", "url")

    def __init__(
        self,
        resource: str,
        *,
        authorization_servers: str | Iterable[str],
        scopes_supported: str | Iterable[str] = (),
        jwks_uri: str | None = None,
        bearer_methods_supported: str | Iterable[str] = ("header",),
        resource_signing_alg_values_supported: str | Iterable[str] = (),
        resource_name: Text = None,
        resource_documentation: Text = None,
        resource_policy_uri: Text = None,
        resource_tos_uri: Text = None,
        tls_client_certificate_bound_access_tokens: bool = False,
        authorization_details_types_supported: str | Iterable[str] = (),
        dpop_signing_alg_values_supported: str | Iterable[str] = (),
        dpop_bound_access_tokens_required: bool = False,
        signed_metadata: str | None = None,
        more: Mapping[str, Any] | None = None,
        max_age: float = MAX_AGE,
    ) -> None:
        if not _is_resource(resource):
            raise ConfigurationError(
                "resource= is the https URL of this service as clients call it (http on loopback only), without a "
                f"fragment; got {resource!r}"
            )
        self.resource = resource
        self.url = _metadata_url(resource)
        parts = urlsplit(self.url)
        self.path = unquote(parts.path)
        self._query = parts.query.encode("ascii")
        members: dict[str, Any] = {
            "resource": resource,
            "authorization_servers": _issuers(authorization_servers),
            "jwks_uri": _keys_url(jwks_uri),
            "scopes_supported": _names("scopes_supported", scopes_supported, _NAME),
            "bearer_methods_supported": _chosen("bearer_methods_supported", bearer_methods_supported, _METHODS),
            "resource_signing_alg_values_supported": _signing(resource_signing_alg_values_supported),
            **_translated("resource_name", resource_name),
            **_translated("resource_documentation", resource_documentation),
            **_translated("resource_policy_uri", resource_policy_uri),
            **_translated("resource_tos_uri", resource_tos_uri),
            "tls_client_certificate_bound_access_tokens": _flag(
                "tls_client_certificate_bound_access_tokens", tls_client_certificate_bound_access_tokens
            ),
            "authorization_details_types_supported": _names(
                "authorization_details_types_supported", authorization_details_types_supported, _NAME
            ),
            "dpop_signing_alg_values_supported": _chosen(
                "dpop_signing_alg_values_supported", dpop_signing_alg_values_supported, ASYMMETRIC
            ),
            "dpop_bound_access_tokens_required": _flag(
                "dpop_bound_access_tokens_required", dpop_bound_access_tokens_required
            ),
            "signed_metadata": _signed(signed_metadata),
        }
        body = _as_json({name: value for name, value in members.items() if value} | _more(more, members))
        self._document = Reply(_Document(body, _seconds(max_age)))

    def serves(self, scope: Scope) -> bool:
        """Whether an HTTP request is for this document, whatever its method."""
        # The cheap question first: this is asked of every request.
        if not scope["path"].endswith(self.path) or scope["type"] != "http":
            return False
        return route_path(scope) == self.path and scope.get("query_string", b"") == self._query

    def reply(self, scope: Scope) -> Reply:
        """The document for GET and HEAD; 405 for other methods. It asks for no token: who has none is who needs it."""
        return self._document if scope["method"] in ("GET", "HEAD") else _METHOD_NOT_ALLOWED


class _Document:
    """Readable by scripts of every origin: it says the same to everybody, and takes no credentials."""

    __slots__ = ("_body", "_headers")

    def __init__(self, body: bytes, max_age: int) -> None:
        self._body = body
        self._headers = (
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"public, max-age=%d" % max_age if max_age else b"no-store"),
            (b"access-control-allow-origin", b"*"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(self._headers)})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else self._body})


async def _refuse_method(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"allow", b"GET, HEAD"), (b"content-length", b"0"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 405, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


_METHOD_NOT_ALLOWED = Reply(_refuse_method)


def _metadata_url(resource: str) -> str:
    """RFC 9728 section 3.1: inserted after the host. A path that is one slash is none."""
    parts = urlsplit(resource)
    path = "" if parts.path == "/" else parts.path
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{path}{query}"


def _is_resource(url: object) -> bool:
    return isinstance(url, str) and _URI.fullmatch(url) is not None and is_fetchable(url)


def _issuers(given: str | Iterable[str]) -> tuple[str, ...]:
    issuers = _all("authorization_servers", given)
    for issuer in issuers:
        if not _is_resource(issuer) or "?" in issuer:
            raise ConfigurationError(
                "authorization_servers= takes issuers: https URLs (http on loopback only) without query and fragment; "
                f"got {issuer!r}"
            )
    return issuers


def _keys_url(url: str | None) -> str | None:
    if url is not None and not _is_resource(url):
        raise ConfigurationError(f"jwks_uri= is an https URL (http on loopback only), got {url!r}")
    return url


def _signing(given: str | Iterable[str]) -> tuple[str, ...]:
    names = _names("resource_signing_alg_values_supported", given, _ALGORITHM)
    if any(name.lower() == "none" for name in names):
        raise ConfigurationError("resource_signing_alg_values_supported= does not take none: RFC 9728 section 2")
    return names


def _chosen(option: str, given: str | Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    names = _all(option, given)
    for name in names:
        if name not in known:
            raise ConfigurationError(f"{option}= takes some of {', '.join(known)}; got {name!r}")
    return names


def _names(option: str, given: str | Iterable[str], form: re.Pattern[str]) -> tuple[str, ...]:
    names = _all(option, given)
    for name in names:
        if not form.fullmatch(name):
            raise ConfigurationError(
                f"{option}= takes names without spaces, quotes and control characters; got {name!r}"
            )
    return names


def _all(option: str, given: str | Iterable[str]) -> tuple[str, ...]:
    """Each once; those of a set in one order, so that all workers publish the same bytes."""
    names = several(given)
    if not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(f"{option}= takes texts, none of them empty; got {given!r}")
    return tuple(sorted(names) if isinstance(given, (set, frozenset)) else dict.fromkeys(names))


def _flag(option: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{option}= is True or False, got {value!r}")
    return value


def _translated(option: str, given: Text) -> dict[str, str]:
    """RFC 9728 section 2.1: one member for each language, the tag after a ``#``."""
    texts = given if isinstance(given, Mapping) else {"": given}
    members = {}
    for language, text in texts.items() if given is not None else ():
        if language and not (isinstance(language, str) and _LANGUAGE.fullmatch(language)):
            raise ConfigurationError(f'{option}= is a text, or texts by language tag such as "de"; got {language!r}')
        if not isinstance(text, str) or not text or (option != "resource_name" and not _is_page(text)):
            what = "a text" if option == "resource_name" else "an http or https URL"
            raise ConfigurationError(f"{option}= is {what}, or several by language tag; got {text!r}")
        members[f"{option}#{language}" if language else option] = text
    return members


def _is_page(url: str) -> bool:
    address, _, fragment = url.partition("#")
    return is_web_url(address) and _URI.fullmatch(address + fragment) is not None


def _signed(token: str | None) -> str | None:
    if token is not None and not _is_signed(token):
        raise ConfigurationError("signed_metadata= is a signed JWT with an iss: RFC 9728 section 2.2")
    return token


def _is_signed(token: str) -> bool:
    """Its form alone: three parts, of which the last is not empty, an algorithm, and who signed."""
    try:
        header, claims, signature = map(decode_base64url, token.encode("ascii").split(b"."))
        is_by_somebody = isinstance(parse_object(claims).get("iss"), str)
        return bool(signature) and is_by_somebody and parse_object(header).get("alg", "none") != "none"
    except (AttributeError, ValueError):
        return False


def _more(more: Mapping[str, Any] | None, members: Mapping[str, Any]) -> dict[str, Any]:
    if more is None:
        return {}
    if not isinstance(more, Mapping) or not all(isinstance(name, str) and name for name in more):
        raise ConfigurationError(f"more= is a mapping of member names to JSON values, got {type(more).__name__}")
    for name in more:
        if name in members or name.partition("#")[0] in _TRANSLATED:
            raise ConfigurationError(f"more= does not take {name}: it is an option of its own")
    # META-4: a member without elements is left out.
    return {name: value for name, value in more.items() if value not in ((), [])}


def _as_json(members: Mapping[str, Any]) -> bytes:
    try:
        body = json.dumps(members, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
        parse_object(body)  # two keys of a dictionary can be one name in JSON: 1 and "1"
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"more= takes what JSON can say, and Unicode texts: {type(error).__name__}") from error
    return body


def _seconds(max_age: float) -> int:
    if not isinstance(max_age, (int, float)) or isinstance(max_age, bool) or not 0 <= max_age < 10**9:
        raise ConfigurationError(f"max_age= is seconds from 0, got {max_age!r}")
    return int(max_age)
