"""Each way of forwarding: what its proxy sends with a good certificate, without one, with a bad one, and nothing else.

nginx 1.22, HAProxy 2.6, Apache 2.4 and Caddy 2.6: as recorded from them. The others were not run. ingress-nginx: as
its template has nginx send it. Traefik: as its source writes it. Envoy, AWS, Google, Azure, Cloudflare and Kong: made
after the vendors' documentation.
"""

import json
from base64 import b64encode
from urllib.parse import quote

import pytest

from secure_asgi import ConfigurationError, Reason
from secure_asgi.errors import CertificateError
from secure_asgi.mutual_tls.fields import CERTIFICATE_FIELDS
from secure_asgi.mutual_tls.forwarded import ForwardedCertificate
from secure_asgi.mutual_tls.forwarded.presets import PRESETS

from .forwarded import (
    B64,
    DER,
    ESCAPED,
    HASH,
    ISSUING_B64,
    ISSUING_DER,
    ISSUING_ESCAPED,
    ISSUING_PEM,
    OUR_PROXY,
    PEM,
    read_from_our_proxy,
)

ONE, BOTH, NONE = (DER,), (DER, ISSUING_DER), ()
UNVERIFIED, MALFORMED = Reason.CERTIFICATE_UNVERIFIED, Reason.CERTIFICATE_MALFORMED

XFCC = f'By=spiffe://example.org/edge;Hash={HASH};Cert="{ESCAPED}"'
CADDY = ":{http.request.tls.client.certificate_der_base64}:"
BLANKS = PEM.replace("\n", " ").strip()


def nginx(certificate=ESCAPED, verify="SUCCESS", *, prefix="x-ssl-client"):
    return {f"{prefix}-cert": certificate, f"{prefix}-verify": verify}


def haproxy(certificate=B64, used="1", verify="0", chain=""):
    return {
        "x-ssl-client-used": used,
        "x-ssl-client-verify": verify,
        "x-ssl-client-cert": certificate,
        "x-ssl-client-chain": chain,
    }


def gcp(leaf=f":{B64}:", present="true", verified="true", chain=""):
    return {
        "x-client-cert-present": present,
        "x-client-cert-chain-verified": verified,
        "x-client-cert-leaf": leaf,
        "x-client-cert-chain": chain,
    }


def cloudflare(certificate=B64, verified="true", revoked="false"):
    return {"cf-client-cert-der-base64": certificate, "cf-cert-verified": verified, "cf-cert-revoked": revoked}


def but(fields, *names):
    return {name: value for name, value in fields.items() if name not in names}


READ = {
    "rfc9440": ("rfc9440", {"client-cert": f":{B64}:"}, ONE),
    "rfc9440, chain": ("rfc9440", {"client-cert": f":{B64}:", "client-cert-chain": f":{ISSUING_B64}:"}, BOTH),
    "rfc9440, chain on two lines": (
        "rfc9440",
        [
            ("client-cert-chain", f":{ISSUING_B64}:"),
            ("client-cert", f":{B64}:"),
            ("client-cert-chain", f":{B64}:, :{B64}:"),
        ],
        (DER, ISSUING_DER, DER, DER),
    ),
    "rfc9440, none": ("rfc9440", {}, NONE),
    "nginx": ("nginx", nginx(), ONE),
    "nginx, none": ("nginx", {"x-ssl-client-verify": "NONE"}, NONE),
    "nginx, none, both sent": ("nginx", nginx("", "NONE"), NONE),
    "nginx, no TLS": ("nginx", {}, NONE),
    "ingress_nginx": (
        "ingress_nginx",
        nginx(prefix="ssl-client") | {"ssl-client-subject-dn": "CN=shop", "ssl-client-issuer-dn": "CN=Test CA"},
        ONE,
    ),
    "ingress_nginx, none": ("ingress_nginx", {"ssl-client-verify": "NONE"}, NONE),
    "haproxy": ("haproxy", haproxy(), ONE),
    "haproxy, chain": ("haproxy", haproxy(chain=b64encode(ISSUING_DER).decode()), BOTH),
    "haproxy, without the chain's field": ("haproxy", but(haproxy(), "x-ssl-client-chain"), ONE),
    "haproxy, none": ("haproxy", haproxy("", used="0"), NONE),
    "apache": ("apache", nginx(BLANKS), ONE),
    "apache, none": ("apache", nginx("(null)", "NONE"), NONE),
    "apache, no TLS": ("apache", nginx("(null)", "(null)"), NONE),
    "caddy": ("caddy", {"client-cert": f":{B64}:"}, ONE),
    "caddy, none": ("caddy", {"client-cert": CADDY}, NONE),
    "caddy, none, filled in": ("caddy", {"client-cert": "::"}, NONE),
    "envoy_xfcc": ("envoy_xfcc", {"x-forwarded-client-cert": XFCC}, ONE),
    "envoy_xfcc, chain": (
        "envoy_xfcc",
        {"x-forwarded-client-cert": f'{XFCC};Chain="{ESCAPED}{ISSUING_ESCAPED}"'},
        BOTH,
    ),
    "envoy_xfcc, none": ("envoy_xfcc", {}, NONE),
    "envoy_xfcc_json": (
        "envoy_xfcc_json",
        {"x-forwarded-client-cert": json.dumps([{"hash": HASH, "cert": PEM, "chain": [PEM, ISSUING_PEM]}])},
        BOTH,
    ),
    "envoy_xfcc_json, none": ("envoy_xfcc_json", {}, NONE),
    "traefik2": ("traefik2", {"x-forwarded-tls-client-cert": quote(B64, safe="")}, ONE),
    "traefik2, chain": (
        "traefik2",
        {"x-forwarded-tls-client-cert": f"{quote(B64, safe='')},{quote(ISSUING_B64, safe='')}"},
        BOTH,
    ),
    "traefik3": ("traefik3", {"x-forwarded-tls-client-cert": B64}, ONE),
    "traefik3, chain": ("traefik3", {"x-forwarded-tls-client-cert": f"{B64},{ISSUING_B64}"}, BOTH),
    "traefik3, none": ("traefik3", {}, NONE),
    "aws_alb_verify": (
        "aws_alb_verify",
        {"x-amzn-mtls-clientcert-leaf": quote(PEM, safe="+=/"), "x-amzn-mtls-clientcert-subject": "CN=shop"},
        ONE,
    ),
    "aws_alb_passthrough": (
        "aws_alb_passthrough",
        {"x-amzn-mtls-clientcert": quote(PEM + ISSUING_PEM, safe="+=/")},
        BOTH,
    ),
    "aws_alb_passthrough, none": ("aws_alb_passthrough", {}, NONE),
    "gcp": ("gcp", gcp(), ONE),
    "gcp, chain": ("gcp", gcp(chain=f":{ISSUING_B64}:"), BOTH),
    "gcp, none": ("gcp", gcp("", "false", "false"), NONE),
    "azure_app_service": ("azure_app_service", {"x-arr-clientcert": B64}, ONE),
    "azure_app_service, none": ("azure_app_service", {}, NONE),
    "cloudflare": ("cloudflare", cloudflare(), ONE),
    "cloudflare, none": ("cloudflare", but(cloudflare(verified="false"), "cf-client-cert-der-base64"), NONE),
    "kong": ("kong", {"x-client-cert": ESCAPED, "x-client-cert-fingerprint": "41f5e7"}, ONE),
    "kong, none": ("kong", {}, NONE),
}


@pytest.mark.parametrize(("preset", "fields", "certificates"), READ.values(), ids=READ)
def test_what_a_proxy_forwards(preset, fields, certificates):
    assert read_from_our_proxy(preset, fields) == certificates


REFUSED = {
    "rfc9440, a chain alone": ("rfc9440", {"client-cert-chain": f":{ISSUING_B64}:"}, MALFORMED),
    "rfc9440, a chain that is no list": ("rfc9440", {"client-cert": f":{B64}:", "client-cert-chain": B64}, MALFORMED),
    "rfc9440, too many": (
        "rfc9440",
        {"client-cert": ":AA==:", "client-cert-chain": ",".join([":AA==:"] * 10)},
        MALFORMED,
    ),
    "rfc9440, too long": ("rfc9440", {"client-cert": ":" + "A" * 16_384 + ":"}, MALFORMED),
    "rfc9440, too long together": (
        "rfc9440",
        {"client-cert": ":AA==:", "client-cert-chain": ":" + "A" * 65_536 + ":"},
        MALFORMED,
    ),
    "nginx, not trusted": ("nginx", nginx(verify="FAILED:unable to verify the first certificate"), UNVERIFIED),
    "nginx, NONE with a certificate": ("nginx", nginx(verify="NONE"), UNVERIFIED),
    "nginx, no verdict": ("nginx", {"x-ssl-client-cert": ESCAPED}, UNVERIFIED),
    "nginx, a verdict in another case": ("nginx", nginx(verify="success"), UNVERIFIED),
    "nginx, two verdicts on a line": ("nginx", nginx(verify="SUCCESS, SUCCESS"), UNVERIFIED),
    "nginx, a verdict without a certificate": ("nginx", {"x-ssl-client-verify": "SUCCESS"}, UNVERIFIED),
    "nginx, failed without a certificate": ("nginx", {"x-ssl-client-verify": "FAILED:x"}, UNVERIFIED),
    "nginx, $ssl_client_cert": ("nginx", nginx(BLANKS), MALFORMED),
    "nginx, too long": ("nginx", nginx("A" * 16_385), MALFORMED),
    "ingress_nginx, optional_no_ca": ("ingress_nginx", nginx(verify="FAILED:x", prefix="ssl-client"), UNVERIFIED),
    "haproxy, another verdict": ("haproxy", haproxy(verify="10"), UNVERIFIED),
    "haproxy, not used": ("haproxy", haproxy(used="0"), UNVERIFIED),
    "haproxy, verdict alone": ("haproxy", but(haproxy(), "x-ssl-client-used"), UNVERIFIED),
    "haproxy, used alone": ("haproxy", but(haproxy(), "x-ssl-client-verify"), UNVERIFIED),
    "haproxy, used without a certificate": ("haproxy", haproxy("", used="1"), UNVERIFIED),
    "haproxy, failed without a certificate": ("haproxy", haproxy("", used="0", verify="21"), UNVERIFIED),
    "haproxy, a chain alone": ("haproxy", haproxy("", used="0", chain=ISSUING_B64), MALFORMED),
    "apache, generous": ("apache", nginx(BLANKS, "GENEROUS"), UNVERIFIED),
    "apache, failed": ("apache", nginx(BLANKS, "FAILED:unable to verify"), UNVERIFIED),
    "apache, a placeholder verified": ("apache", nginx("(null)", "SUCCESS"), UNVERIFIED),
    "apache, a placeholder and more": ("apache", nginx(f"(null) {BLANKS}"), MALFORMED),
    "apache, a certificate without verdict": ("apache", nginx(BLANKS, "(null)"), UNVERIFIED),
    "caddy, a placeholder and more": ("caddy", {"client-cert": f"{CADDY}, :{B64}:"}, MALFORMED),
    "caddy, a placeholder of something else": (
        "caddy",
        {"client-cert": ":{http.request.tls.client.subject}:"},
        MALFORMED,
    ),
    "envoy_xfcc, two elements": ("envoy_xfcc", {"x-forwarded-client-cert": f"{XFCC},{XFCC}"}, MALFORMED),
    "envoy_xfcc, no certificate": ("envoy_xfcc", {"x-forwarded-client-cert": f"Hash={HASH}"}, MALFORMED),
    "envoy_xfcc, too long": ("envoy_xfcc", {"x-forwarded-client-cert": XFCC + ";DNS=" + "a" * 65_536}, MALFORMED),
    "envoy_xfcc_json, text": ("envoy_xfcc_json", {"x-forwarded-client-cert": XFCC}, MALFORMED),
    "envoy_xfcc_json, no bottom": ("envoy_xfcc_json", {"x-forwarded-client-cert": "[" * 65_536}, MALFORMED),
    "traefik3, of Traefik 2": ("traefik3", {"x-forwarded-tls-client-cert": quote(B64 + "+/", safe="")}, MALFORMED),
    "aws_alb_verify, two": ("aws_alb_verify", {"x-amzn-mtls-clientcert-leaf": ESCAPED + ISSUING_ESCAPED}, MALFORMED),
    "aws_alb_passthrough, + for blanks": (
        "aws_alb_passthrough",
        {"x-amzn-mtls-clientcert": quote(PEM, safe="+=/").replace("%20", "+")},
        MALFORMED,
    ),
    "gcp, not verified": ("gcp", gcp(verified="false"), UNVERIFIED),
    "gcp, not present": ("gcp", gcp(present="false"), UNVERIFIED),
    "gcp, no verdict": ("gcp", but(gcp(), "x-client-cert-chain-verified"), UNVERIFIED),
    "gcp, too large for Google": ("gcp", gcp(""), UNVERIFIED),
    "gcp, a chain on two lines": (
        "gcp",
        [*gcp().items(), ("x-client-cert-chain", f":{ISSUING_B64}:")],
        Reason.CERTIFICATE_FIELD_AMBIGUOUS,
    ),
    "azure_app_service, PEM": ("azure_app_service", {"x-arr-clientcert": BLANKS}, MALFORMED),
    "cloudflare, not verified": ("cloudflare", cloudflare(verified="false"), UNVERIFIED),
    "cloudflare, revoked": ("cloudflare", cloudflare(revoked="true"), UNVERIFIED),
    "cloudflare, no word of revocation": ("cloudflare", but(cloudflare(), "cf-cert-revoked"), UNVERIFIED),
    "cloudflare, verified without a certificate": ("cloudflare", cloudflare(""), UNVERIFIED),
    "kong, DER": ("kong", {"x-client-cert": B64}, MALFORMED),
}


@pytest.mark.parametrize(("preset", "fields", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(preset, fields, reason):
    with pytest.raises(CertificateError) as refused:
        read_from_our_proxy(preset, fields)
    assert refused.value.reason == reason


def test_there_is_a_sample_of_every_preset():
    assert {preset for preset, _, certificates in READ.values() if certificates} == set(PRESETS)
    assert {preset for preset, _, _ in REFUSED.values()} >= set(PRESETS) - {"traefik2"}


@pytest.mark.parametrize("preset", PRESETS)
def test_fields_of_other_presets_are_not_read(preset):
    """MTLS-3: one way is configured; the ones that its proxy does not overwrite are the client's to write."""
    own = set(PRESETS[preset].names.values())
    for other, fields, certificates in READ.values():
        strange = [(name, value) for name, value in dict(fields).items() if name not in own]
        if other != preset and certificates:
            assert read_from_our_proxy(preset, strange) == ()


@pytest.mark.parametrize("preset", PRESETS)
def test_no_field_of_a_preset_reaches_the_application(preset):
    for name in PRESETS[preset].names.values():
        assert name.encode().startswith(CERTIFICATE_FIELDS)


def test_which_presets_forward_what_nobody_has_verified():
    needing = {name for name, preset in PRESETS.items() if preset.needs_trust_anchors}
    assert needing == {"caddy", "traefik2", "traefik3", "aws_alb_passthrough", "azure_app_service", "kong"}
    assert ForwardedCertificate("kong", trusted=OUR_PROXY).needs_trust_anchors is True
    assert ForwardedCertificate("nginx", trusted=OUR_PROXY).needs_trust_anchors is False


def test_renamed_fields():
    names = {"certificate": "X-Partner-PEM", "verify": "X-Partner-OK"}
    renamed = [("x-partner-pem", ESCAPED), ("x-partner-ok", "SUCCESS")]
    assert read_from_our_proxy("nginx", renamed, fields=names) == ONE
    assert read_from_our_proxy("nginx", nginx(), fields=names) == NONE
    source = ForwardedCertificate("nginx", trusted=OUR_PROXY, fields={"verify": "x-partner-ok"})
    assert source.field_names == (b"x-ssl-client-cert", b"x-partner-ok", b"x-proxy-secret")


BAD_FIELDS = {
    "fixed names": ("aws_alb_verify", {"certificate": "x-a"}, "its names are fixed"),
    "an unknown part": ("nginx", {"verified": "x-a"}, "has the parts certificate, verify; got 'verified'"),
    "an underscore": ("nginx", {"verify": "x_a"}, "letters, digits and hyphens, got 'x_a'"),
    "not a text": ("nginx", {"verify": 7}, "got 7"),
    "two parts in one field": ("nginx", {"verify": "X-SSL-Client-Cert"}, "one name to two parts"),
    "no mapping": ("nginx", ("x-a", "x-b"), "got ('x-a', 'x-b')"),
    "the secret's field": ("nginx", {"verify": "X-Proxy-Secret"}, "header='x-proxy-secret' is a field"),
}


@pytest.mark.parametrize(("preset", "fields", "sentence"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_names_that_cannot_be(preset, fields, sentence):
    with pytest.raises(ConfigurationError) as refused:
        ForwardedCertificate(preset, trusted=OUR_PROXY, fields=fields)
    assert sentence in str(refused.value)


def test_unknown_presets():
    with pytest.raises(ConfigurationError, match=r"preset= is one of rfc9440, nginx, .*; got 'iis'"):
        ForwardedCertificate("iis", trusted=OUR_PROXY)
    with pytest.raises(ConfigurationError, match="got \\['nginx'\\]"):
        ForwardedCertificate(["nginx"], trusted=OUR_PROXY)
