"""Mutual TLS: what the server says of a connection in, a principal or a 403 out (MTLS-1, MTLS-4, CERT-1, CERT-4)."""

import asyncio
import itertools
import logging
import ssl
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from secure_asgi import CertificateError, ConfigurationError, Principal, Reason, exchange_of
from secure_asgi.mutual_tls import MutualTLSMiddleware, TLSExtension
from secure_asgi.mutual_tls.certificate import MAX_CERTIFICATES, MAX_SIZE, read_certificates
from secure_asgi.mutual_tls.fields import CERTIFICATE_FIELDS
from secure_asgi.mutual_tls.middleware import MAX_KNOWN
from secure_asgi.testing.certificates import CertificateAuthority
from tests.asgi import drive, hello, http, http_scope, websocket, websocket_scope
