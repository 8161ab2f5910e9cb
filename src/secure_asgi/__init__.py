"""Security middlewares for FastAPI, Starlette and any ASGI app: each does one thing and says why it said no.

Names are loaded when they are first asked for (PEP 562): importing one middleware imports only what it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "Pin": "_pins",
    "AuditMiddleware": "audit",
    "JSONLinesSink": "audit",
    "LoggingSink": "audit",
    "StdoutSink": "audit",
    "APIKeyMiddleware": "api_keys",
    "FileKeys": "api_keys",
    "KeyRecord": "api_keys",
    "KeysUnavailableError": "api_keys",
    "MemoryKeys": "api_keys",
    "NewKey": "api_keys",
    "RedisKeys": "api_keys",
    "create_key": "api_keys",
    "rotate": "api_keys",
    "Access": "authorization",
    "AuthorizationMiddleware": "authorization",
    "DecisionPoint": "authorization",
    "Rule": "authorization",
    "BearerAuthMiddleware": "bearer",
    "Claims": "bearer",
    "Decryption": "bearer",
    "FailureLimit": "bearer",
    "Introspection": "bearer",
    "Issuer": "bearer",
    "KeySet": "bearer",
    "MemoryReplayStore": "bearer",
    "ProtectedResource": "bearer",
    "RedisReplayStore": "bearer",
    "Revocations": "bearer",
    "StatusLists": "bearer",
    "verify_access_token": "bearer",
    "verify_jws": "bearer",
    "Denial": "denial",
    "Reason": "denial",
    "Reply": "denial",
    "CertificateError": "errors",
    "ConfigurationError": "errors",
    "ForwardedError": "errors",
    "RejectedError": "errors",
    "SecureASGIError": "errors",
    "TokenError": "errors",
    "Decision": "exchange",
    "Exchange": "exchange",
    "PeerCertificate": "exchange",
    "Principal": "exchange",
    "exchange_of": "exchange",
    "DOCS": "_paths",
    "CurrentPrincipal": "fastapi",
    "document_security": "fastapi",
    "require_roles": "fastapi",
    "require_scopes": "fastapi",
    "Layer": "flow",
    "HSTSMiddleware": "hsts",
    "HTTPSRedirectMiddleware": "https_redirect",
    "CRLs": "mutual_tls",
    "ForwardedCertificate": "mutual_tls",
    "MutualTLSMiddleware": "mutual_tls",
    "OCSP": "mutual_tls",
    "ProxyCertificate": "mutual_tls",
    "ProxySecret": "mutual_tls",
    "TLSExtension": "mutual_tls",
    "verify_certificate": "mutual_tls",
    "PinMismatch": "pinning",
    "PinnedTransport": "pinning",
    "Ban": "rate_limit",
    "LimitRule": "rate_limit",
    "RateLimitMiddleware": "rate_limit",
    "Tier": "rate_limit",
    "attempt": "rate_limit",
    "charge": "rate_limit",
    "SanitizedErrorMiddleware": "sanitized_errors",
    "problem_handlers": "sanitized_errors",
    "Secret": "secrets",
    "SecurityHeadersMiddleware": "security_headers",
    "Middleware": "stack",
    "preset": "stack",
    "secure": "stack",
    "secure_stack": "stack",
    "Adaptive": "throttle",
    "ThrottleMiddleware": "throttle",
    "expires_in": "tls",
    "server_context": "tls",
    "TrustedHostMiddleware": "trusted_host",
    "TrustedProxyMiddleware": "trusted_proxy",
    "client_address": "trusted_proxy",
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
    from ._paths import DOCS as DOCS
    from ._pins import Pin as Pin
    from .api_keys import APIKeyMiddleware as APIKeyMiddleware
    from .api_keys import FileKeys as FileKeys
    from .api_keys import KeyRecord as KeyRecord
    from .api_keys import KeysUnavailableError as KeysUnavailableError
    from .api_keys import MemoryKeys as MemoryKeys
    from .api_keys import NewKey as NewKey
    from .api_keys import RedisKeys as RedisKeys
    from .api_keys import create_key as create_key
    from .api_keys import rotate as rotate
    from .audit import AuditMiddleware as AuditMiddleware
    from .audit import JSONLinesSink as JSONLinesSink
    from .audit import LoggingSink as LoggingSink
    from .audit import StdoutSink as StdoutSink
    from .authorization import Access as Access
    from .authorization import AuthorizationMiddleware as AuthorizationMiddleware
    from .authorization import DecisionPoint as DecisionPoint
    from .authorization import Rule as Rule
    from .bearer import BearerAuthMiddleware as BearerAuthMiddleware
    from .bearer import Claims as Claims
    from .bearer import Decryption as Decryption
    from .bearer import FailureLimit as FailureLimit
    from .bearer import Introspection as Introspection
    from .bearer import Issuer as Issuer
    from .bearer import KeySet as KeySet
    from .bearer import MemoryReplayStore as MemoryReplayStore
    from .bearer import ProtectedResource as ProtectedResource
    from .bearer import RedisReplayStore as RedisReplayStore
    from .bearer import Revocations as Revocations
    from .bearer import StatusLists as StatusLists
    from .bearer import verify_access_token as verify_access_token
    from .bearer import verify_jws as verify_jws
    from .denial import Denial as Denial
    from .denial import Reason as Reason
    from .denial import Reply as Reply
    from .errors import CertificateError as CertificateError
    from .errors import ConfigurationError as ConfigurationError
    from .errors import ForwardedError as ForwardedError
    from .errors import RejectedError as RejectedError
    from .errors import SecureASGIError as SecureASGIError
    from .errors import TokenError as TokenError
    from .exchange import Decision as Decision
    from .exchange import Exchange as Exchange
    from .exchange import PeerCertificate as PeerCertificate
    from .exchange import Principal as Principal
    from .exchange import exchange_of as exchange_of
    from .fastapi import CurrentPrincipal as CurrentPrincipal
    from .fastapi import document_security as document_security
    from .fastapi import require_roles as require_roles
    from .fastapi import require_scopes as require_scopes
    from .flow import Layer as Layer
    from .hsts import HSTSMiddleware as HSTSMiddleware
    from .https_redirect import HTTPSRedirectMiddleware as HTTPSRedirectMiddleware
    from .mutual_tls import OCSP as OCSP
    from .mutual_tls import CRLs as CRLs
    from .mutual_tls import ForwardedCertificate as ForwardedCertificate
    from .mutual_tls import MutualTLSMiddleware as MutualTLSMiddleware
    from .mutual_tls import ProxyCertificate as ProxyCertificate
    from .mutual_tls import ProxySecret as ProxySecret
    from .mutual_tls import TLSExtension as TLSExtension
    from .mutual_tls import verify_certificate as verify_certificate
    from .pinning import PinMismatch as PinMismatch
    from .pinning import PinnedTransport as PinnedTransport
    from .rate_limit import Ban as Ban
    from .rate_limit import LimitRule as LimitRule
    from .rate_limit import RateLimitMiddleware as RateLimitMiddleware
    from .rate_limit import Tier as Tier
    from .rate_limit import attempt as attempt
    from .rate_limit import charge as charge
    from .sanitized_errors import SanitizedErrorMiddleware as SanitizedErrorMiddleware
    from .sanitized_errors import problem_handlers as problem_handlers
    from .secrets import Secret as Secret
    from .security_headers import SecurityHeadersMiddleware as SecurityHeadersMiddleware
    from .stack import Middleware as Middleware
    from .stack import preset as preset
    from .stack import secure as secure
    from .stack import secure_stack as secure_stack
    from .throttle import Adaptive as Adaptive
    from .throttle import ThrottleMiddleware as ThrottleMiddleware
    from .tls import expires_in as expires_in
    from .tls import server_context as server_context
    from .trusted_host import TrustedHostMiddleware as TrustedHostMiddleware
    from .trusted_proxy import TrustedProxyMiddleware as TrustedProxyMiddleware
    from .trusted_proxy import client_address as client_address
