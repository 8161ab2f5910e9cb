"""Envoy's XFCC: one element, and of it only a certificate that its hash vouches for (MTLS-6)."""

import json
import ssl
from hashlib import sha256
from urllib.parse import quote

import pytest

from secure_asgi.mutual_tls.forwarded.xfcc import MAX_PAIRS, xfcc_json, xfcc_text

from .forwarded import AUTHORITY, DER, ESCAPED, HASH, ISSUING_DER, ISSUING_ESCAPED, ISSUING_PEM, PEM

BY = "By=spiffe://example.org/edge"
VOUCHED = f'{BY};Hash={HASH};Cert="{ESCAPED}"'

EVE = AUTHORITY.issue("uri:spiffe://example.org/eve")
EVE_PEM = EVE.certificate_pem.decode()
EVE_DER = ssl.PEM_cert_to_DER_cert(EVE_PEM)
EVE_HASH, EVE_ESCAPED = sha256(EVE_DER).hexdigest(), quote(EVE_PEM, safe="")
EVES = f'{BY};Hash={EVE_HASH};Cert="{EVE_ESCAPED}"'

ACCEPTED = {
    # As Envoy 1.39 writes it, all details on.
    "all that Envoy sends": (
        f'{VOUCHED};Chain="{ESCAPED}{ISSUING_ESCAPED}";Subject="CN=shop";URI=spiffe://example.org/shop;DNS=shop.example',
        (DER, ISSUING_DER),
    ),
    "hash and certificate alone": (f'Hash={HASH};Cert="{ESCAPED}"', (DER,)),
    "in another order": (f'Cert="{ESCAPED}";{BY};Hash={HASH}', (DER,)),
    "keys in another case": (f'hash={HASH};CERT="{ESCAPED}"', (DER,)),
    "the hash in capitals": (f'Hash={HASH.upper()};Cert="{ESCAPED}"', (DER,)),
    "without quotes, as the grammar has it": (f"Hash={HASH};Cert={ESCAPED}", (DER,)),
    "a chain without the leaf": (f'{VOUCHED};Chain="{ISSUING_ESCAPED}"', (DER, ISSUING_DER)),
    "a chain of the leaf alone": (f'{VOUCHED};Chain="{ESCAPED}"', (DER,)),
    "no names": (f'{VOUCHED};Subject="";URI=;DNS=', (DER,)),
    "several names": (f"{VOUCHED};URI=spiffe://a/b;DNS=a.example;DNS=b.example;By=spiffe://c/d", (DER,)),
    "an equals sign in a name": (f"{VOUCHED};URI=https://a.example/?b=c", (DER,)),
    "a comma in a quoted subject": (f'{VOUCHED};Subject="CN=BC, O=\\"Acme, Inc; Ltd\\""', (DER,)),
    "an escaped comma in a subject": (f'{VOUCHED};Subject="O=Acme\\, Inc,CN=shop"', (DER,)),
    "a subject that ends in a backslash": (f'{VOUCHED};Subject="CN=a\\\\";URI=spiffe://a/b', (DER,)),
    "a subject of some language": (f'{VOUCHED};Subject="CN=Bücher"', (DER,)),
}


@pytest.mark.parametrize(("value", "certificates"), ACCEPTED.values(), ids=ACCEPTED)
def test_one_element(value, certificates):
    assert xfcc_text(value.encode()) == certificates


# What a client can get into the text by the names in a certificate of its own, which Envoy does not quote.
INJECTIONS = {
    "a second element by a name": f"{EVES};URI=spiffe://example.org/eve,By=x;URI=spiffe://example.org/admin",
    "a second element with somebody's public certificate": f"{EVES};URI=spiffe://example.org/eve,{VOUCHED}",
    "somebody's certificate in the same element": f'{EVES};URI=spiffe://example.org/eve;Cert="{ESCAPED}"',
    "its hash too": f'{EVES};URI=spiffe://example.org/eve;Hash={HASH};Cert="{ESCAPED}"',
    "its hash too, in another case": f'{EVES};URI=spiffe://example.org/eve;hASH={HASH};cERT="{ESCAPED}"',
    "its hash, where Envoy sends no certificate": f'Hash={EVE_HASH};URI=a;Hash={HASH};Cert="{ESCAPED}"',
    "a certificate, where Envoy sends none": f'Hash={EVE_HASH};URI=spiffe://example.org/eve;Cert="{ESCAPED}"',
    "a quote out of the subject": f'{EVES};Subject="CN=a\\";Hash={HASH};Cert="{ESCAPED}"',
    "a quote that swallows what follows": f'{EVES};Subject="CN=a\\";URI=spiffe://example.org/admin',
    "a quote in a name": f'{EVES};URI=spiffe://example.org/eve";DNS="a',
    "an element from the client before ours": f"Hash=spoof;URI=spiffe://example.org/admin,{VOUCHED}",
    "an empty element before ours": f",{VOUCHED}",
    "an empty element after ours": f"{VOUCHED},",
}

MALFORMED = {
    "nothing": "",
    "no certificate": f"{BY};Hash={HASH};URI=spiffe://example.org/shop",
    "no hash": f'{BY};Cert="{ESCAPED}"',
    "an empty hash": f'Hash=;Cert="{ESCAPED}"',
    "the hash of another": f'Hash={EVE_HASH};Cert="{ESCAPED}"',
    "a hash that is no text": f'Hash=é;Cert="{ESCAPED}"',
    "two certificates in one": f'Hash={HASH};Cert="{ESCAPED}{ISSUING_ESCAPED}"',
    "a certificate twice": f'{VOUCHED};Cert="{ESCAPED}"',
    "a hash twice": f"{VOUCHED};Hash={HASH}",
    "a chain twice": f'{VOUCHED};Chain="{ESCAPED}";Chain="{ESCAPED}"',
    "a subject twice": f'{VOUCHED};Subject="";Subject=""',
    "a chain of nothing": f'{VOUCHED};Chain=""',
    "a certificate that is not escaped": f'Hash={HASH};Cert="{PEM}"',
    "a certificate with escaped quotes": f'Hash={HASH};Cert="\\"{ESCAPED}"',
    "a quote without end": f'Hash={HASH};Cert="{ESCAPED}',
    "something after a quote": f'Hash={HASH};Cert="{ESCAPED}"x',
    "a key without a value": f"{VOUCHED};DNS",
    "a value without a key": f"{VOUCHED};=a",
    "a key that nobody knows": f"{VOUCHED};Issuer=a",
    "a pair that ends in a semicolon": f"{VOUCHED};",
    "a blank after a semicolon": f"{VOUCHED}; DNS=a",
    "more pairs than a certificate has names": VOUCHED + ";DNS=a" * MAX_PAIRS,
    "JSON": json.dumps([{"hash": HASH, "cert": PEM}]),
}


@pytest.mark.parametrize("value", [*INJECTIONS.values(), *MALFORMED.values()], ids=[*INJECTIONS, *MALFORMED])
def test_all_else_is_refused(value):
    with pytest.raises((ValueError, KeyError)):
        xfcc_text(value.encode())


ELEMENT = {"hash": HASH, "cert": PEM}

ACCEPTED_JSON = {
    "all that Envoy sends": (
        ELEMENT | {"chain": [PEM, ISSUING_PEM], "subject": "CN=shop", "uri": ["spiffe://a/b"], "dns": ["shop.example"]},
        (DER, ISSUING_DER),
    ),
    "hash and certificate alone": (ELEMENT, (DER,)),
    "a chain without the leaf": (ELEMENT | {"chain": [ISSUING_PEM]}, (DER, ISSUING_DER)),
    "a name that would be an injection in the text": (
        ELEMENT | {"uri": [f'spiffe://a/b,Hash={EVE_HASH};Cert="{EVE_ESCAPED}"', '"}],[{"hash":"']},
        (DER,),
    ),
    "a key that nobody knows yet": (ELEMENT | {"by": ["spiffe://example.org/edge"]}, (DER,)),
}


@pytest.mark.parametrize(("element", "certificates"), ACCEPTED_JSON.values(), ids=ACCEPTED_JSON)
def test_one_object_of_the_json_format(element, certificates):
    assert xfcc_json(json.dumps([element]).encode()) == certificates


MALFORMED_JSON = {
    "the text format": VOUCHED,
    "an object without a list": json.dumps(ELEMENT),
    "an empty list": "[]",
    "two elements": json.dumps([ELEMENT, ELEMENT]),
    "a certificate twice": f'[{{"hash": "{HASH}", "cert": {json.dumps(EVE_PEM)}, "cert": {json.dumps(PEM)}}}]',
    "no hash": json.dumps([{"cert": PEM}]),
    "no certificate": json.dumps([{"hash": HASH}]),
    "the hash of another": json.dumps([ELEMENT | {"hash": EVE_HASH}]),
    "a hash that is a number": json.dumps([ELEMENT | {"hash": 7}]),
    "a certificate that is a list": json.dumps([ELEMENT | {"cert": [PEM]}]),
    "two certificates in one": json.dumps([ELEMENT | {"cert": PEM + ISSUING_PEM}]),
    "a chain that is a text": json.dumps([ELEMENT | {"chain": PEM}]),
    "a chain that is too long": json.dumps([ELEMENT | {"chain": [PEM] * 11}]),
    "a chain with two in one": json.dumps([ELEMENT | {"chain": [PEM + ISSUING_PEM]}]),
    "something after it": json.dumps([ELEMENT]) + ",",
    "a list without a bottom": "[" * 65_536,
    "another encoding": json.dumps([ELEMENT]).encode("utf-16"),
    "a number that is too long": "[" + "1" * 5000 + "]",
}


@pytest.mark.parametrize("value", MALFORMED_JSON.values(), ids=MALFORMED_JSON)
def test_all_else_is_refused_of_the_json_format(value):
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError, RecursionError)):
        xfcc_json(value if isinstance(value, bytes) else value.encode())
