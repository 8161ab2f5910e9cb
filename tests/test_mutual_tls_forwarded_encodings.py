"""How certificates are written into fields: each decoder takes exactly its own form (MTLS-2, MTLS-5, SF-1)."""

import time
from base64 import b64decode, b64encode
from contextlib import suppress
from hashlib import sha256
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secure_asgi.mutual_tls.certificate import MAX_CERTIFICATES
from secure_asgi.mutual_tls.forwarded import encodings
from secure_asgi.mutual_tls.forwarded.presets import LONG
from secure_asgi.mutual_tls.forwarded.xfcc import xfcc_json, xfcc_text

from .forwarded import B64, DER, ESCAPED, HASH, ISSUING_B64, ISSUING_DER, ISSUING_ESCAPED, ISSUING_PEM, PEM

RFC_9440 = (
    # RFC 9440, appendix A, figure 2.
    ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVkaWF0"
    "ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXfaUgm"
    "nMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAfBgNVHSMEGDAWgBRm"
    "3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY2"
    "9tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1"
    "yhk=:"
)

ONE, BOTH = (DER,), (DER, ISSUING_DER)
BLANKS = PEM.replace("\n", " ").strip()

ACCEPTED = {
    "RFC 9440": ("structured_item", f":{B64}:", ONE),
    "RFC 9440, with parameters": ("structured_item", f':{B64}:;a=1;b="c"', ONE),
    "RFC 9440, with blanks around": ("structured_item", f" :{B64}: ", ONE),
    "a list of one": ("structured_list", f":{B64}:", ONE),
    "a list of two": ("structured_list", f":{B64}: ,\t:{ISSUING_B64}:;p", BOTH),
    "an empty list": ("structured_list", "", ()),
    "base64 of DER": ("base64_der", B64, ONE),
    "Traefik 3": ("base64_ders", f"{B64},{ISSUING_B64}", BOTH),
    "Traefik 2": ("escaped_base64_ders", f"{quote(B64, safe='')},{quote(ISSUING_B64, safe='')}", BOTH),
    "HAProxy's chain": ("base64_concatenated", b64encode(DER + ISSUING_DER), BOTH),
    "short DER": ("base64_concatenated", b64encode(b"\x30\x01\x00\x30\x00"), (b"\x30\x01\x00", b"\x30\x00")),
    "PEM": ("pem", PEM, ONE),
    "Apache: blanks for line feeds": ("pem", BLANKS, ONE),
    "nginx": ("escaped_pem", ESCAPED, ONE),
    "AWS: + = / as they are": ("escaped_pem", quote(PEM, safe="+=/"), ONE),
    "lower-case escapes": ("escaped_pem", ESCAPED.replace("%2B", "%2b").replace("%2F", "%2f"), ONE),
    "a chain of PEM": ("escaped_pems", ESCAPED + ISSUING_ESCAPED, BOTH),
}


@pytest.mark.parametrize(("decoder", "value", "certificates"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_a_decoder_takes(decoder, value, certificates):
    value = value if isinstance(value, bytes) else value.encode()
    assert getattr(encodings, decoder)(value) == certificates


def test_the_example_of_the_standard():
    """MTLS-2: and its thumbprint, as certificate-bound tokens carry it."""
    (der,) = encodings.structured_item(RFC_9440.encode())
    assert sha256(der).hexdigest() == "bfaf1f7e070f9fa8dd62905f158da73f84a1136624fbafcc9393c8f7287a69eb"


MANY = MAX_CERTIFICATES + 1

REFUSED = {
    "RFC 9440 without colons": ("structured_item", B64),
    "RFC 9440 with one": ("structured_item", f":{B64}"),
    "RFC 9440 as a list": ("structured_item", f":{B64}:, :{B64}:"),
    "RFC 9440 as a text": ("structured_item", f'"{B64}"'),
    "RFC 9440 as a token": ("structured_item", "SUCCESS"),
    "RFC 9440 as an inner list": ("structured_item", f"(:{B64}:)"),
    "RFC 9440 in the URL alphabet": ("structured_item", ":_-8=:"),
    "RFC 9440 with PEM": ("structured_item", f":{BLANKS}:"),
    "RFC 9440, nothing": ("structured_item", ""),
    "RFC 9440, a parameter without a name": ("structured_item", f":{B64}:;"),
    "RFC 9440, parameters without end": ("structured_item", f":{B64}:" + ";a" * 600),
    "not ASCII": ("structured_item", ":é:"),
    "Caddy's placeholder": ("structured_item", ":{http.request.tls.client.certificate_der_base64}:"),
    "a list with something else": ("structured_list", f":{B64}:, 1"),
    "a list with an inner list": ("structured_list", f"(:{B64}:)"),
    "a list with a trailing comma": ("structured_list", f":{B64}:,"),
    "a list that is too long": ("structured_list", ", ".join([":AAAA:"] * MANY)),
    "base64 with blanks": ("base64_der", B64[:8] + " " + B64[8:]),
    "base64 in the URL alphabet": ("base64_der", "MII_-A=="),
    "base64 cut off": ("base64_der", B64[:-1] if B64.endswith("=") else B64 + "A"),
    "base64 with PEM lines": ("base64_der", PEM),
    "base64, several": ("base64_der", f"{B64},{B64}"),
    "Traefik, an empty one": ("base64_ders", f"{B64},!"),
    "Traefik, too many": ("base64_ders", ",".join(["AAAA"] * MANY)),
    "Traefik 3, escaped as 2 does": ("base64_ders", "AA%2B%2F"),
    "Traefik 2, a broken escape": ("escaped_base64_ders", "AA%2"),
    "Traefik 2, too many": ("escaped_base64_ders", ",".join(["AAAA"] * MANY)),
    "HAProxy's chain, not a sequence": ("base64_concatenated", b64encode(b"\x31\x01\x00")),
    "HAProxy's chain, cut off": ("base64_concatenated", b64encode(DER + ISSUING_DER[:-1])),
    "HAProxy's chain, a byte after": ("base64_concatenated", b64encode(DER + b"\x30")),
    "HAProxy's chain, a length that never ends": ("base64_concatenated", b64encode(b"\x30\xff" + b"\xff" * 40)),
    "HAProxy's chain, a length of BER": ("base64_concatenated", b64encode(b"\x30\x80" + b"\x00" * 128)),
    "HAProxy's chain, too many": ("base64_concatenated", b64encode(b"\x30\x00" * MANY)),
    "PEM, two where one belongs": ("pem", PEM + ISSUING_PEM),
    "PEM with a text before": ("pem", "x" + PEM),
    "PEM with a text after": ("pem", PEM + "x"),
    "PEM without its foot": ("pem", PEM.replace("END", "FIN")),
    "PEM of something else": ("pem", PEM.replace("CERTIFICATE", "PRIVATE KEY")),
    "PEM with a comment in it": ("pem", PEM.replace("\n", "\n# ", 1)),
    "Apache's placeholder": ("pem", "(null)"),
    "Apache's placeholder, and more": ("pem", f"(null), {BLANKS}"),
    "nginx, not escaped": ("escaped_pem", PEM),
    "nginx, blanks not escaped": ("escaped_pem", BLANKS),
    "nginx, + for a blank": ("escaped_pem", ESCAPED.replace("%20", "+")),
    "nginx, a broken escape": ("escaped_pem", ESCAPED.replace("%20", "%2", 1)),
    "nginx, escaped twice": ("escaped_pem", quote(ESCAPED, safe="")),
    "nginx, a comma": ("escaped_pem", f"{ESCAPED},{ESCAPED}"),
    "nginx, two": ("escaped_pem", ESCAPED + ISSUING_ESCAPED),
    "nginx, NUL": ("escaped_pem", ESCAPED + "%00"),
    "a chain of PEM that is too long": ("escaped_pems", ESCAPED * MANY),
    "a chain of nothing": ("escaped_pems", ""),
}


@pytest.mark.parametrize(("decoder", "value"), REFUSED.values(), ids=REFUSED)
def test_what_a_decoder_refuses(decoder, value):
    value = value if isinstance(value, bytes) else value.encode()
    with pytest.raises(ValueError):
        getattr(encodings, decoder)(value)


def test_a_plus_is_a_plus():
    """What ``unquote_plus`` would make of it is no base64 any more."""
    assert encodings.unescaped(b"a+b%2Bc") == b"a+b+c"


DECODERS = [
    *(
        getattr(encodings, name)
        for name in sorted({decoder for decoder, *_ in (*ACCEPTED.values(), *REFUSED.values())})
    ),
    xfcc_text,
    xfcc_json,
]
PIECES = [
    *(piece.encode() for piece in (B64, ESCAPED, PEM, BLANKS, HASH, "Cert=", "Hash=", "Chain=", '"cert":', '"hash":')),
    *(bytes((byte,)) for byte in b':;,="\\ \t\n%()[]{}?@*0'),
    b64encode(b"\x30\x03"),
    b"%0A",
    b"\x00",
    b"\xff",
]
PATCHWORK = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)), max_size=24).map(b"".join)


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(value=st.one_of(st.binary(max_size=200), PATCHWORK))
@example(value=b"[" * LONG)
@example(value=b"(" * LONG)
@example(value=b'A="' + b"\\" * LONG)
@example(value=b'A="' + b'\\"' * (LONG // 2))
@example(value=b":" * LONG)
@example(value=b"%" * LONG)
@example(value=b"%41" * (LONG // 3))
@example(value=b"a=;" * (LONG // 3))
@example(value=b":;" + b"a;" * (LONG // 2))
@example(value=b"::;a=" + b"1" * LONG)
@example(value=b"," * LONG)
@example(value=b"-----BEGIN CERTIFICATE-----" * (LONG // 27))
@example(value=b"1" * LONG)
@settings(max_examples=60, deadline=None)
def test_anything_at_all_ends_soon_and_in_certificates_or_an_exception(decode, value):
    """Bounded, far on the safe side of what a busy machine shows: the longest values take a few milliseconds."""
    certificates = ()
    begun = time.process_time()
    with suppress(Exception):
        certificates = decode(value)
    assert type(certificates) is tuple
    assert all(isinstance(one, bytes) for one in certificates)
    assert time.process_time() - begun < 0.25


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4))
def test_what_is_written_is_read(contents):
    """Any bytes, whichever way: what is in them is not for a decoder to say."""
    texts = [b64encode(one).decode() for one in contents]
    blocks = [f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in texts]
    wanted = tuple(contents)
    assert encodings.structured_list(", ".join(f":{text}:" for text in texts).encode()) == wanted
    assert encodings.base64_ders(",".join(texts).encode()) == wanted
    assert encodings.escaped_base64_ders(",".join(quote(text, safe="") for text in texts).encode()) == wanted
    assert encodings.pems("".join(blocks).encode()) == wanted
    assert encodings.escaped_pems(quote("".join(blocks)).encode()) == wanted
    assert encodings.base64_der(texts[0].encode()) == (b64decode(texts[0]),)
