"""Mutual TLS with a cached verdict: alone, beside a layer, and by where the certificate comes from; under FastAPI."""

import asyncio
import ssl
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI

from secure_asgi import CRLs, ForwardedCertificate, MutualTLSMiddleware, SanitizedErrorMiddleware
from secure_asgi.exchange import SCOPE_KEY
from secure_asgi.flow import Layer
from secure_asgi.mutual_tls.forwarded import ProxySecret
from secure_asgi.testing.certificates import CertificateAuthority

from .harness import Request, Row, at_most, just, measure, request_through
from .service import HEADERS, request_scope

AUTHORITY = CertificateAuthority()
CLIENT = AUTHORITY.issue("dns:client.example")
PEM = CLIENT.certificate_pem.decode()
SECRET = "correct-horse-battery-staple"

Scope = dict[str, Any]


class EmptyLayer(Layer):
    """A flow and nothing in it: what the first layer costs, whichever it is."""

    name = "empty"


def rows() -> Iterator[Row]:
    answered: list[int] = []
    service = _service(answered)
    with tempfile.TemporaryDirectory() as folder:
        kinds = _kinds(Path(folder))
        variants: dict[str, tuple[Request, int]] = {}
        for kind, (options, scope) in kinds.items():
            apps = {
                "bare": service,
                "empty": EmptyLayer(service),
                "beside": SanitizedErrorMiddleware(service),
                "alone": MutualTLSMiddleware(service, **options),
                "both": SanitizedErrorMiddleware(MutualTLSMiddleware(service, **options)),
            }
            for name, app in apps.items():
                variants[f"{kind}: {name}"] = (request_through(app, scope), 40)
        asyncio.run(_check(variants, answered))
        requests = measure(variants, rounds=61, between=answered.clear)
    first = next(iter(kinds))
    yield just("bare FastAPI request", requests.median(f"{first}: bare"), "us")
    yield just("an empty layer, added", requests.added(f"{first}: empty", f"{first}: bare"), "us")
    for kind in kinds:
        yield just(f"{kind}: the only layer, added", requests.added(f"{kind}: alone", f"{kind}: bare"), "us")
        yield just(f"{kind}: over an empty layer", requests.added(f"{kind}: alone", f"{kind}: empty"), "us")
        yield just(f"{kind}: added beside another layer", requests.added(f"{kind}: both", f"{kind}: beside"), "us")
    yield at_most(
        "mutual TLS with a cached verdict, added to a layer / the bare request",
        requests.combined(lambda one: 100 * (one[f"{first}: both"] - one[f"{first}: beside"]) / one[f"{first}: bare"]),
        2,
        "%",
    )


def _service(answered: list[int]) -> FastAPI:
    """One path with a parameter, answered with JSON: about the least that FastAPI is used for."""
    service = FastAPI()

    @service.get("/orders/{number}")
    async def read(number: int) -> dict[str, Any]:
        answered.append(number)
        return {"id": number, "item": "a pair of red shoes", "quantity": 1, "price": "59.90", "currency": "EUR"}

    return service


def _kinds(folder: Path) -> dict[str, tuple[dict[str, Any], Scope]]:
    """By name, the middleware's options and the request that it lets pass."""
    anchors, lists = folder / "ca.pem", folder / "ca.crl"
    anchors.write_bytes(AUTHORITY.certificate_pem)
    lists.write_bytes(AUTHORITY.revocation_list())
    direct = request_scope(scheme="https") | {"extensions": {"tls": CLIENT.tls_extension()}}
    nginx = ForwardedCertificate("nginx", trusted=ProxySecret("x-proxy-secret", SECRET))
    rfc9440 = ForwardedCertificate("rfc9440", trusted="10.0.0.0/8")
    return {
        "TLS extension": ({}, direct),
        "TLS extension, trust anchors": ({"trust_anchors": anchors}, direct),
        "TLS extension, trust anchors, CRLs": ({"trust_anchors": anchors, "revocation": CRLs(lists)}, direct),
        "nginx, secret": (
            {"source": nginx},
            _forwarded(
                (b"x-ssl-client-cert", quote(PEM, safe="").encode()),
                (b"x-ssl-client-verify", b"SUCCESS"),
                (b"x-proxy-secret", SECRET.encode()),
            ),
        ),
        "RFC 9440, network": (
            {"source": rfc9440, "trust_anchors": anchors},
            _forwarded((b"client-cert", b":%s:" % b64encode(ssl.PEM_cert_to_DER_cert(PEM)))),
        ),
    }


def _forwarded(*lines: tuple[bytes, bytes]) -> Scope:
    """From a proxy, whose address our server hook has recorded."""
    return request_scope([*HEADERS, *lines]) | {"extensions": {SCOPE_KEY: {"peer": ("10.0.0.5", 51234)}}}


async def _check(variants: dict[str, tuple[Request, int]], answered: list[int]) -> None:
    """A refusal costs something else, and must not be measured in an answer's place."""
    for name, (request, _) in variants.items():
        answered.clear()
        await request()
        if answered != [42]:
            raise SystemExit(f"{name}: the request does not reach the application")
