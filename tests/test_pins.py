"""Pins: how they are written, when they count, and that everybody else computes the same (RFC 7469 section 2.4)."""

import logging
import shutil
import subprocess
from datetime import UTC, date, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_asgi import ConfigurationError
from secure_asgi._pins import Pin, PinSet, certificate_pin, pin_of, pins_of, spki_pin
from secure_asgi.testing.certificates import CertificateAuthority

A, B, C = (pin_of(name) for name in (b"a", b"b", b"c"))
BASE64 = A.removeprefix("sha256/")
TODAY = date(2027, 3, 1)
YESTERDAY, TOMORROW = TODAY - timedelta(days=1), TODAY + timedelta(days=1)
FAR = TODAY + timedelta(days=31)


def pinned(*pins, **options):
    return PinSet(pins, **{"option": "pins", "is_single_ok": False, **options})


# --- how a pin is written ------------------------------------------------------------------------------------------

NO_PINS = {
    "no prefix": BASE64,
    "another prefix": f"sha1/{BASE64}",
    "the prefix in capitals": f"SHA256/{BASE64}",
    "as curl writes it": f"sha256//{BASE64}",
    "as a header had it": f'pin-sha256="{BASE64}"',
    "nothing after the prefix": "sha256/",
    "SHA-1, 20 bytes": "sha256/" + "A" * 27 + "=",
    "33 bytes": "sha256/" + "A" * 44,
    "hex": "sha256/" + "ab" * 32,
    "without padding": A.rstrip("="),
    "too much padding": A + "=",
    "base64url": f"sha256/{'-' * 43}=",
    "a blank before": f" {A}",
    "a line feed after": f"{A}\n",
    "a blank inside": f"sha256/{BASE64[:20]} {BASE64[20:]}",
    "a stray bit at the end": "sha256/" + "A" * 42 + "B=",
    "no ASCII": f"sha256/{BASE64[:-2]}é=",
    "empty": "",
    "bytes": A.encode(),
    "None": None,
}


@pytest.mark.parametrize("text", NO_PINS.values(), ids=NO_PINS)
def test_no_pins(text):
    with pytest.raises(ConfigurationError, match='a pin is written "sha256/" and the base64 of the SHA-256 of the'):
        Pin(text)


@given(st.binary(min_size=1, max_size=64))
@settings(max_examples=50)
def test_every_pin_that_is_computed_is_written_well(spki):
    assert Pin(pin_of(spki)).until is None


@pytest.mark.parametrize("until", ["2027-03-01", 20270301, datetime(2027, 3, 1, tzinfo=UTC)], ids=repr)
def test_the_last_day_is_a_date(until):
    """A datetime passes for a date, until it is compared with one."""
    with pytest.raises(ConfigurationError, match=r"until= is the last day of a pin, date\(2027, 3, 31\) or None"):
        Pin(A, until)


WRONG_SETS = {
    "none": (pinned, (), "pins= takes two pins at least, of the key in use and of a spare one kept elsewhere, got 0"),
    "one": (pinned, (A,), "got 1; insecure_single_pin=True accepts one"),
    "the same twice": (pinned, (A, Pin(A)), "got 1"),
    "one with two dates": (pinned, (Pin(A, TODAY), A, B), f"pins= has {A} with two different dates"),
    "no pin among them": (pinned, (A, B, "x"), "a pin is written"),
}


@pytest.mark.parametrize(("make", "pins", "sentence"), WRONG_SETS.values(), ids=WRONG_SETS)
def test_wrong_sets(make, pins, sentence):
    with pytest.raises(ConfigurationError) as wrong:
        make(*pins)
    assert sentence in str(wrong.value)


@pytest.mark.parametrize("pins", [None, 7, date], ids=["None", "a number", "a class"])
def test_what_is_no_set(pins):
    with pytest.raises(ConfigurationError, match=r'pins= is "sha256/\.\.\.", Pin\(\.\.\.\), or several of them, got'):
        PinSet(pins, option="pins", is_single_ok=False)


def test_a_confession_is_true_or_false_and_does_not_do_without_any_pin():
    with pytest.raises(ConfigurationError, match="insecure_single_pin= is True or False, got 1"):
        pinned(A, is_single_ok=1)
    with pytest.raises(ConfigurationError, match="got 0"):
        pinned(is_single_ok=True)


@pytest.mark.parametrize("one", [A, Pin(A)], ids=["text", "Pin"])
def test_one_pin_need_not_be_in_a_list(one):
    assert PinSet(one, option="pins", is_single_ok=True).match([A], TODAY)


# --- when it counts ------------------------------------------------------------------------------------------------

MATCHES = {
    "the first key": (pinned(A, B), [A, C], True),
    "the last key": (pinned(A, B), [C, B], True),
    "no key": (pinned(A, B), [C], False),
    "no keys at all": (pinned(A, B), [], False),
    "keys that are read once": (pinned(A, B), iter([C, B]), True),
    "on its last day": (pinned(Pin(A, TODAY), B), [A], True),
    "on the day after": (pinned(Pin(A, YESTERDAY), B), [A], False),
    "lapsed, beside one that has not": (pinned(Pin(A, YESTERDAY), Pin(B, TODAY)), [A, B], True),
    "lapsed, beside one without an end": (pinned(Pin(A, YESTERDAY), B), [A, B], True),
    "all lapsed: nobody, rather than everybody": (pinned(Pin(A, YESTERDAY), Pin(B, YESTERDAY)), [A, B], False),
}


@pytest.mark.parametrize(("pins", "keys", "is_match"), MATCHES.values(), ids=MATCHES)
def test_match(pins, keys, is_match):
    assert pins.match(keys, TODAY) is is_match


def test_what_did_not_match_is_shown_with_the_day_it_lapsed():
    assert pinned(Pin(A, YESTERDAY), B).shown([A, C]) == f"{A} (pinned until 2027-02-28), {C}"


def warnings(caplog, pins, keys, times=1):
    with caplog.at_level(logging.WARNING, "secure_asgi"):
        for _ in range(times):
            pins.match(keys, TODAY)
    return [record.getMessage() for record in caplog.records]


def test_the_log_says_once_that_what_matches_is_about_to_lapse(caplog):
    told = warnings(caplog, pinned(Pin(A, TOMORROW), B), [A], times=3)
    assert told == [
        "pins=: what matches is pinned until 2027-03-02 and refused from the day after: pin the key that comes next"
    ]


@pytest.mark.parametrize(
    ("pins", "keys"),
    [
        pytest.param(pinned(Pin(A, FAR), B), [A], id="not within thirty days"),
        pytest.param(pinned(Pin(A, TOMORROW), B), [B], id="another key is in use"),
        pytest.param(pinned(Pin(A, TOMORROW), B), [A, B], id="an authority of it is pinned too"),
        pytest.param(pinned(Pin(A, TOMORROW), Pin(B, FAR)), [A, B], id="an authority of it is pinned for longer"),
        pytest.param(pinned(Pin(A, YESTERDAY), B), [A], id="refused already"),
    ],
)
def test_the_log_says_nothing_where_nobody_is_about_to_be_locked_out(caplog, pins, keys):
    assert warnings(caplog, pins, keys) == []


def test_the_thirtieth_day_before_the_last_is_soon(caplog):
    assert len(warnings(caplog, pinned(Pin(A, TODAY + timedelta(days=30)), B), [A])) == 1


# --- the pin of a certificate --------------------------------------------------------------------------------------

KEYS = {
    "RSA": ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "RSA-PSS, whose parameters are part of the key": ["RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"],
    "P-256": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "P-256, the point compressed": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "Ed25519": ["ED25519"],
}


def openssl(*arguments, **options):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt install openssl")
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, **options).stdout


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("version", ["3", "1"])
def test_the_pin_is_the_one_that_openssl_computes(kind, version, tmp_path):
    """Of the key as it stands in the certificate, not as a library would write it. Version 1 has no version in it."""
    key, certfile = tmp_path / "key", tmp_path / "certificate.pem"
    openssl("genpkey", "-algorithm", *KEYS[kind], "-out", key)
    if "compressed" in kind:
        openssl("ec", "-in", key, "-conv_form", "compressed", "-out", key)
    request = openssl("req", "-new", "-key", key, "-subj", "/CN=x")
    extensions = tmp_path / "extensions"
    extensions.write_text("subjectAltName=DNS:x.example" if version == "3" else "")
    openssl("x509", "-req", "-signkey", key, "-extfile", extensions, "-out", certfile, input=request)
    public = openssl("x509", "-in", certfile, "-pubkey", "-noout")
    expected = pin_of(openssl("pkey", "-pubin", "-outform", "der", input=public))

    (certificate,) = x509.load_pem_x509_certificates(certfile.read_bytes())
    assert certificate.version.name == f"v{version}"
    assert spki_pin(certificate) == certificate_pin(certificate.public_bytes(Encoding.DER)) == expected
    assert pins_of(certfile) == (expected,)


AUTHORITY = CertificateAuthority("Test CA")
SERVER = AUTHORITY.subordinate().issue("dns:partner.example", usage="server")


def test_the_pins_of_a_file_are_in_its_order(tmp_path):
    file = tmp_path / "chain.pem"
    file.write_bytes(SERVER.chain_pem + SERVER.authority_pem)
    path = [*x509.load_pem_x509_certificates(SERVER.chain_pem + SERVER.authority_pem)]
    assert len(path) == 3
    assert pins_of(str(file)) == tuple(map(spki_pin, path))


def test_a_file_without_certificates(tmp_path):
    (tmp_path / "x.pem").write_bytes(SERVER.key_pem)
    with pytest.raises(ConfigurationError) as wrong:
        pins_of(tmp_path / "x.pem")
    assert str(wrong.value) == f"'{tmp_path / 'x.pem'}' holds no readable PEM certificate"
