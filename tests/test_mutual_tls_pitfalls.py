"""Pitfalls of no one part: what is believed of a connection, asked of all parts together (MTLS-1, REV-6)."""

import ssl

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID

from secure_asgi import CRLs, MutualTLSMiddleware
from secure_asgi.mutual_tls import OCSP
from tests.asgi import hello, http
from tests.handshake import client_context
from tests.pki import authority, make
from tests.serving import tell, uvicorn_serving, write_certificates
from tests.web import Web


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


def context_of(folder, verify_mode):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = verify_mode
    return context


@pytest.mark.parametrize("mode", [ssl.CERT_NONE, ssl.CERT_OPTIONAL], ids=["asks nobody", "asks"])
def test_a_context_chosen_by_the_servers_name_demands_nothing(folder, mode):
    """``verify_mode`` is not switched with the context: whoever sends no certificate is through, to be refused here."""
    first, strict = context_of(folder, mode), context_of(folder, ssl.CERT_REQUIRED)
    first.sni_callback = lambda connection, host, context: setattr(connection, "context", strict)
    with uvicorn_serving(MutualTLSMiddleware(tell), tls=first) as port:
        statuses = []
        for client in (None, "a"):
            with httpx.Client(verify=client_context(folder, client), trust_env=False) as session:
                statuses.append(session.get(f"https://localhost:{port}/").status_code)
    assert statuses == [403, 403 if mode == ssl.CERT_NONE else 200]


def pointing_at(url):
    """A certificate that names places: of its revocation list, its responder, and its issuer's certificate."""
    place = x509.UniformResourceIdentifier(url)
    points = x509.CRLDistributionPoints([x509.DistributionPoint([place], None, None, None)])
    methods = (AuthorityInformationAccessOID.OCSP, AuthorityInformationAccessOID.CA_ISSUERS)
    access = x509.AuthorityInformationAccess([x509.AccessDescription(method, place) for method in methods])
    return [(points, False), (access, False)]


@pytest.mark.parametrize("asks", [CRLs, OCSP], ids=["lists", "a responder"])
@pytest.mark.parametrize("is_ours", [True, False], ids=["ours", "a stranger's"])
def test_no_place_that_a_certificate_names_is_ever_asked(is_ours, asks):
    """Whoever makes a certificate would else send this server where he likes."""
    root = authority("Root")
    with Web() as named, Web() as configured:
        made = make("client", root if is_ours else authority("Another"), extensions=pointing_at(named.url))
        app = MutualTLSMiddleware(hello, trust_anchors=root.certificate, revocation=asks(configured.url, timeout=2))
        chain = (made.certificate.public_bytes(Encoding.DER),)
        assert http(app, extensions={"tls": {"client_cert_chain": chain}}).status == 403
        assert not named.asked
        assert bool(configured.asked) is is_ours
