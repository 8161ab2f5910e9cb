"""What a SPIFFE ID is, and which certificates are X.509-SVIDs (SPIFFE-1)."""

import pytest
from cryptography import x509

from secure_asgi import Reason
from secure_asgi.errors import CertificateError
from secure_asgi.mutual_tls.certificate import read_certificates
from secure_asgi.mutual_tls.spiffe import is_spiffe_id, require_svid, trust_domain_of

from .pki import ANY, CLIENT, SERVER, authority, make

ROOT = authority("Root")
ID = "spiffe://example.org/ns/pay"

IDS = {
    "a workload": (ID, True),
    "a trust domain": ("spiffe://example.org", True),
    "every character of a domain": ("spiffe://az09.-_/a", True),
    "every character of a segment": ("spiffe://a/azAZ09.-_", True),
    "three dots": ("spiffe://a/...", True),
    "a domain of 255": (f"spiffe://{'a' * 255}/b", True),
    "a domain of 256": (f"spiffe://{'a' * 256}/b", False),
    "2048 in all": ("spiffe://a/" + "b" * 2037, True),
    "2049 in all": ("spiffe://a/" + "b" * 2038, False),
    "nothing": ("", False),
    "another scheme": ("https://example.org/a", False),
    "the scheme in capitals": ("SPIFFE://example.org/a", False),
    "no scheme": ("example.org/a", False),
    "no slashes": ("spiffe:example.org/a", False),
    "no domain": ("spiffe:///a", False),
    "a domain in capitals": ("spiffe://Example.org/a", False),
    "a domain that is not ASCII": ("spiffe://exämple.org/a", False),
    "a port": ("spiffe://example.org:8443/a", False),
    "a user": ("spiffe://me@example.org/a", False),
    "a wildcard": ("spiffe://*.example.org/a", False),
    "an escape in the domain": ("spiffe://example%2eorg/a", False),
    "an escape in the path": ("spiffe://example.org/a%2fb", False),
    "a slash at the end": ("spiffe://example.org/a/", False),
    "a slash only": ("spiffe://example.org/", False),
    "an empty segment": ("spiffe://example.org/a//b", False),
    "one dot": ("spiffe://example.org/a/./b", False),
    "two dots": ("spiffe://example.org/../b", False),
    "a query": ("spiffe://example.org/a?b", False),
    "a fragment": ("spiffe://example.org/a#b", False),
    "a second element, by a comma": ("spiffe://example.org/eve,By=x", False),
    "a line feed": ("spiffe://example.org/a\n", False),
    "a digit that is not ASCII": ("spiffe://example.org/\u0661", False),
}


@pytest.mark.parametrize(("text", "is_one"), IDS.values(), ids=IDS)
def test_what_a_spiffe_id_is(text, is_one):
    assert is_spiffe_id(text) is is_one


@pytest.mark.parametrize(
    ("spiffe_id", "domain"), [(ID, "example.org"), ("spiffe://example.org", "example.org"), ("spiffe://a/b.c/d", "a")]
)
def test_the_trust_domain(spiffe_id, domain):
    assert trust_domain_of(spiffe_id) == domain


def svid(*names, **options):
    return make("workload", ROOT, **{"names": [f"uri:{ID}", *names], "purposes": (SERVER, CLIENT), **options})


SVIDS = {
    "as SPIRE makes them": svid(),
    "with names of other kinds": svid("dns:pay.example.org", "email:a@example.org"),
    "without extended key usage": svid(purposes=None),
    "with more purposes": svid(purposes=(ANY, CLIENT, SERVER)),
    "with more key usages": svid(usage="digital_signature key_encipherment key_agreement"),
    "without basic constraints": svid(ca=None),
    "without a subject": make("", ROOT, names=[f"uri:{ID}"], names_are_critical=True, purposes=(SERVER, CLIENT)),
    "with critical names beside a subject": svid(names_are_critical=True),
}


@pytest.mark.parametrize("made", SVIDS.values(), ids=SVIDS)
def test_an_svid_and_whom_it_names(made):
    assert require_svid(made.certificate) == ID


SIGNING = (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(ID)]), False)

NO_SVIDS = {
    "no names": (svid(names=()), "0 URI names"),
    "a DNS name only": (svid(names=["dns:pay.example.org"]), "0 URI names"),
    "two SPIFFE IDs": (svid(f"uri:{ID}/2"), "2 URI names"),
    "a second URI": (svid("uri:https://example.org/"), "2 URI names"),
    "the same twice": (svid(f"uri:{ID}"), "2 URI names"),
    "another URI": (svid(names=["uri:https://example.org/a"]), "no SPIFFE ID of a workload"),
    "an ID without a path": (svid(names=["uri:spiffe://example.org"]), "no SPIFFE ID of a workload"),
    "an ID that is none": (svid(names=["uri:spiffe://example.org/a/../b"]), "no SPIFFE ID of a workload"),
    "an authority": (authority("A", ROOT, extensions=[SIGNING]), "a certificate authority"),
    "no key usage": (svid(usage=None), "no critical key usage"),
    "a key usage that is not critical": (svid(usage_is_critical=False), "no critical key usage"),
    "no digitalSignature": (svid(usage="key_agreement"), "without digitalSignature"),
    "keyCertSign": (svid(usage="digital_signature key_cert_sign"), "keyCertSign or cRLSign"),
    "cRLSign": (svid(usage="digital_signature crl_sign"), "keyCertSign or cRLSign"),
    "for clients only": (svid(purposes=(CLIENT,)), "both serverAuth and clientAuth"),
    "for servers only": (svid(purposes=(SERVER,)), "both serverAuth and clientAuth"),
    "for any purpose": (svid(purposes=(ANY,)), "both serverAuth and clientAuth"),
    "no subject, and names that are not critical": (
        make("", ROOT, names=[f"uri:{ID}"], purposes=(SERVER, CLIENT)),
        "names that are not critical",
    ),
    "a name of a kind nobody knows": (
        svid(extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), b"0"), False)]),
        "unreadable",
    ),
}


@pytest.mark.parametrize(("made", "note"), NO_SVIDS.values(), ids=NO_SVIDS)
def test_no_svid_and_why(made, note):
    with pytest.raises(CertificateError) as caught:
        require_svid(made.certificate)
    assert caught.value.reason == Reason.CERTIFICATE_NOT_SVID
    assert note in caught.value.note
    assert len(caught.value.note) <= 256


@pytest.mark.parametrize(
    ("names", "spiffe_id"),
    [
        ([f"uri:{ID}", "dns:a.example"], ID),
        ([f"uri:{ID}", "uri:https://example.org/"], None),
        (["uri:spiffe://example.org"], None),
        (["uri:spiffe://example.org/a/../admin"], None),
        (["dns:a.example"], None),
    ],
    ids=["one", "a second URI", "a trust domain", "a dot segment", "no URI"],
)
def test_a_certificate_that_is_read_has_the_id_of_a_workload_or_none(names, spiffe_id):
    """Which is no proof that it is an SVID."""
    assert read_certificates((make("a", ROOT, names=names).der,)).spiffe_id == spiffe_id
