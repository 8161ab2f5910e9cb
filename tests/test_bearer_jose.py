"""Cross-check with another implementation, npm's jose, in both directions: signatures, encryption, thumbprints."""

import json
import shutil
import subprocess

import pytest
from joserfc import jwk

from secure_asgi import TokenError
from secure_asgi.bearer import verify_jws
from secure_asgi.bearer.jwe import Decryption
from secure_asgi.testing import TokenFactory

from .npm import SOURCE, node, packages

PAYLOAD = '{"iss":"https://id.example.com","sub":"Zoë"}'
SIZE = 16 * 1024
RSA_KEY = jwk.RSAKey.generate_key(2048).as_dict(private=True)


def private(kind, what):
    return kind.generate_key(what).as_dict(private=True)


SIGNING = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), RSA_KEY),
    "ES256": private(jwk.ECKey, "P-256"),
    "ES384": private(jwk.ECKey, "P-384"),
    "ES512": private(jwk.ECKey, "P-521"),
    "Ed25519": private(jwk.OKPKey, "Ed25519"),
    "EdDSA": private(jwk.OKPKey, "Ed25519"),
    "HS256": private(jwk.OctKey, 256),
    "HS384": private(jwk.OctKey, 384),
    "HS512": private(jwk.OctKey, 512),
}
ISSUED = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
RECIPIENTS = {
    "RSA": RSA_KEY,
    **{name: private(jwk.ECKey, name) for name in ("P-256", "P-384", "P-521")},
    "X25519": private(jwk.OKPKey, "X25519"),
}
CONTENTS = ("A128GCM", "A192GCM", "A256GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512")
AGREEMENTS = ("ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW")
NESTED = [("RSA", "RSA-OAEP-256", content) for content in CONTENTS] + [
    (curve, algorithm, content)
    for curve in RECIPIENTS
    if curve != "RSA"
    for algorithm, content in zip(AGREEMENTS, ("A256GCM", "A128CBC-HS256", "A192GCM", "A256CBC-HS512"), strict=True)
]


@pytest.fixture(scope="module")
def jose(tmp_path_factory):
    """Asks jose: one process for a list of requests, its answers as a list."""
    program, folder = node(), tmp_path_factory.mktemp("jose")
    script = shutil.copy(SOURCE / "jose.mjs", folder)
    (folder / "node_modules").symlink_to(packages())

    def ask(requests):
        done = subprocess.run([program, script], input=json.dumps(requests), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


def values(answers):
    assert not [answer["error"] for answer in answers if "error" in answer]
    return [answer["value"] for answer in answers]


def public(key):
    return jwk.import_key(key).as_dict(private=False)


def test_what_jose_signs_is_verified_here(jose):
    """Each algorithm by its name, and no token under another's."""
    requests = [
        {"operation": "sign", "payload": PAYLOAD, "header": {"alg": name}, "jwk": key} for name, key in SIGNING.items()
    ]
    for (name, key), token in zip(SIGNING.items(), values(jose(requests)), strict=True):
        jwks = {"keys": [key if key["kty"] == "oct" else public(key)]}
        header, payload = verify_jws(token, jwks, algorithms=name)
        assert (header["alg"], payload.decode()) == (name, PAYLOAD)
        head, body, signature = token.split(".")
        with pytest.raises(TokenError, match="token_signature_invalid"):
            verify_jws(f"{head}.{body[:-4]}AAAA.{signature}", jwks, algorithms=name)


def test_what_is_issued_here_is_verified_by_jose(jose):
    tokens = {name: TokenFactory(algorithm=name) for name in ISSUED}
    requests = [
        {"operation": "verify", "token": factory.token(sub=name), "jwk": factory.jwks["keys"][0], "algorithm": name}
        for name, factory in tokens.items()
    ]
    assert [json.loads(payload)["sub"] for payload in values(jose(requests))] == list(tokens)


def test_jose_refuses_what_is_forged_here(jose):
    factory = TokenFactory()
    requests = [
        {"operation": "verify", "token": token, "jwk": factory.jwks["keys"][0], "algorithm": "ES256"}
        for token in (factory.forged(), factory.unsigned())
    ]
    assert ["error" in answer for answer in jose(requests)] == [True, True]


def test_what_jose_encrypts_is_opened_here(jose):
    token = TokenFactory().token()
    requests = [
        {
            "operation": "encrypt",
            "plaintext": token,
            "header": {"alg": algorithm, "enc": content, "cty": "JWT"},
            "jwk": public(RECIPIENTS[recipient]),
        }
        for recipient, algorithm, content in NESTED
    ]
    for (recipient, algorithm, content), made in zip(NESTED, values(jose(requests)), strict=True):
        decryption = Decryption(RECIPIENTS[recipient], key_algorithms=algorithm, content_algorithms=content)
        assert decryption.open(made.encode(), SIZE).decode() == token


def test_what_is_encrypted_here_is_opened_by_jose(jose):
    factory = TokenFactory()
    token = factory.token()
    requests = [
        {
            "operation": "decrypt",
            "token": factory.encrypted(
                token, RECIPIENTS[recipient], header={"alg": algorithm}, content_algorithm=content
            ),
            "jwk": RECIPIENTS[recipient],
            "algorithm": algorithm,
            "content": content,
        }
        for recipient, algorithm, content in NESTED
    ]
    assert values(jose(requests)) == [token] * len(NESTED)


def test_thumbprints(jose):
    """RFC 7638: those that proofs of possession are compared by, too."""
    thumbprint_of = pytest.importorskip("secure_asgi.bearer.dpop").thumbprint_of
    keys = [public(key) for key in (*SIGNING.values(), *RECIPIENTS.values()) if key["kty"] != "oct"]
    asked = values(jose([{"operation": "thumbprint", "jwk": key} for key in keys]))
    assert asked == [jwk.import_key(key).thumbprint() for key in keys]
    assert asked == [thumbprint_of(key) for key in keys]
