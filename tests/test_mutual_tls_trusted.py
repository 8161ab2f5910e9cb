"""The middleware with trust anchors, revocation and pins of its own: all parts together, over ASGI."""

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from secure_asgi import OCSP, CRLs, Middleware, MutualTLSMiddleware, Reason, secure
from secure_asgi._pins import spki_pin
from secure_asgi.audit import AuditMiddleware
from secure_asgi.mutual_tls.middleware import DETAIL
from secure_asgi.testing import recorded_audit
from secure_asgi.testing.certificates import CertificateAuthority

from .asgi import hello, http, websocket
from .test_lifespan import kinds, lifespan

ROOT = CertificateAuthority("Test CA")
ISSUING = ROOT.subordinate()
SHOP = ISSUING.issue("dns:shop.clients.example")
REVOKED = ISSUING.issue("dns:revoked.clients.example")
FOREIGN = CertificateAuthority("Test CA").issue("dns:shop.clients.example")
SERVER = ISSUING.issue("dns:shop.clients.example", usage="server")
SVID = ROOT.issue("uri:spiffe://example.org/ns/pay", usage="both")
OF_ANOTHER_DOMAIN = ROOT.issue("uri:spiffe://elsewhere.example/ns/pay", usage="both")
ISSUING.revoke(REVOKED)


def pin(pem):
    return spki_pin(load_pem_x509_certificate(pem))


OTHER_PIN = "sha256/" + "A" * 43 + "="
OURS = ROOT.certificate_pem


def lists(folder, *authorities):
    (folder / "crl.pem").write_bytes(b"".join(each.revocation_list() for each in authorities))
    return CRLs(folder / "crl.pem")


def nobody_there(folder):
    """A responder's address at which nothing answers (port 9 is "discard")."""
    return OCSP("http://127.0.0.1:9/", timeout=2.0)


CASES = {
    "a path to the anchor": (SHOP, {}, None),
    "an authority of the same name": (FOREIGN, {}, Reason.CERTIFICATE_UNTRUSTED),
    "a certificate of a server": (SERVER, {}, Reason.CERTIFICATE_PURPOSE_WRONG),
    "too many in between": (SHOP, {"max_depth": 0}, Reason.CERTIFICATE_UNTRUSTED),
    "an X.509-SVID of its trust domain": (SVID, {"trust_anchors": {"example.org": OURS}}, None),
    "one of another": (OF_ANOTHER_DOMAIN, {"trust_anchors": {"example.org": OURS}}, Reason.CERTIFICATE_UNTRUSTED),
    "no X.509-SVID": (SHOP, {"trust_anchors": {"example.org": OURS}}, Reason.CERTIFICATE_NOT_SVID),
    "on no list": (SHOP, {"revocation": lambda folder: lists(folder, ROOT, ISSUING)}, None),
    "revoked": (REVOKED, {"revocation": lambda folder: lists(folder, ROOT, ISSUING)}, Reason.CERTIFICATE_REVOKED),
    "no list of its issuer": (SHOP, {"revocation": lambda folder: lists(folder, ROOT)}, Reason.REVOCATION_UNKNOWN),
    "a responder that is down": (SHOP, {"revocation": nobody_there}, Reason.REVOCATION_UNKNOWN),
    "its key is pinned": (SHOP, {"pins": (pin(SHOP.certificate_pem), OTHER_PIN)}, None),
    "its authority's key is pinned": (SHOP, {"pins": (pin(ISSUING.certificate_pem), OTHER_PIN)}, None),
    "another key is pinned": (SHOP, {"pins": OTHER_PIN, "insecure_single_pin": True}, Reason.CERTIFICATE_PIN_MISMATCH),
    "a name that is not allowed": (SHOP, {"allow": "dns:pay.example"}, Reason.CERTIFICATE_NOT_ALLOWED),
}


@pytest.mark.parametrize(("issued", "options", "reason"), CASES.values(), ids=CASES)
def test_let_in_or_refused_with_one_record_that_says_why(tmp_path, issued, options, reason):
    """MTLS-4, CERT-1, CERT-3, SPIFFE-1, REV-3; the client is told one and the same, HTTP and WebSocket alike."""
    if "revocation" in options:
        options = options | {"revocation": options["revocation"](tmp_path)}
    records = recorded_audit()
    app = secure(
        hello,
        Middleware(AuditMiddleware, sinks=records),
        Middleware(MutualTLSMiddleware, **{"trust_anchors": OURS} | options),
    )
    extensions = {"tls": issued.tls_extension()}
    answer, upgrade = http(app, extensions=extensions), websocket(app, extensions=extensions)
    first, second = records.wait()
    if reason is None:
        assert answer.status == 200
        assert upgrade.messages[0]["type"] == "websocket.accept"
        assert first["certificate"]["sha256"] == digest(issued)
        return
    assert (answer.status, answer.problem["detail"], upgrade.status) == (403, DETAIL, 403)
    assert reason not in answer.body.decode()
    (decision,) = [one for one in first["decisions"] if one["layer"] == "mutual_tls"]
    assert (first["reason"], second["reason"], decision["verdict"]) == (reason, reason, "deny")
    assert f"sha256={digest(issued)} issuer={issued.certificate.issuer.rfc4514_string()}" in decision["note"]


def test_what_it_rests_on_is_loaded_with_the_application_or_the_application_does_not_start(tmp_path):
    closed = []

    class Lists(CRLs):
        async def close(self):
            closed.append(self)

    def start():
        layer = MutualTLSMiddleware(
            hello_and_lifespan, trust_anchors=tmp_path / "ca.pem", revocation=Lists(tmp_path / "crl.pem")
        )
        return lifespan(layer)

    lists(tmp_path, ROOT, ISSUING)
    (tmp_path / "ca.pem").write_bytes(OURS)
    assert kinds(start()) == ["startup.complete", "shutdown.complete"]
    assert len(closed) == 1
    for missing in ("crl.pem", "ca.pem"):
        (tmp_path / missing).unlink()
        told = start()
        assert kinds(told) == ["startup.failed"]
        assert missing in told[0]["message"]


async def hello_and_lifespan(scope, receive, send):
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def digest(issued):
    return issued.certificate.fingerprint(SHA256()).hex()
