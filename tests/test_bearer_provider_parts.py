"""Opaque, DPoP-bound and encrypted tokens of a real OpenID provider, at the level of the parts that judge them."""

import asyncio
import hashlib
import time

import httpx
import jwt
import pytest

from secure_asgi import TokenError, verify_access_token
from secure_asgi.bearer.dpop import ProofRules
from secure_asgi.bearer.introspection import Introspection
from secure_asgi.bearer.jwe import Decryption
from secure_asgi.bearer.keys import ASYMMETRIC
from secure_asgi.bearer.replay import MemoryReplayStore
from secure_asgi.bearer.revocation import Revocations
from secure_asgi.bearer.source import StaticKeys
from secure_asgi.bearer.unavailable import UnavailableError
from secure_asgi.exchange import Exchange
from secure_asgi.secrets import Secret

from . import asgi
from .provider import SECRETS, ClientKey, audience, thumbprint_of

MAX_BYTES = 8192


def claims_of(token):
    """Of a token that the provider has just given us, over TLS."""
    return jwt.decode(token, options={"verify_signature": False})


# --- introspection -------------------------------------------------------------------------------------------------


def introspection(provider, client="api", **options):
    options = {"http": provider.http(), **options}
    if client in SECRETS:
        options = {"client_secret": Secret(SECRETS[client]), **options}
    return Introspection(f"{provider.issuer}/token/introspection", client_id=client, **options)


async def ask_all(asked, *tokens):
    """What each of them is; an error as it was raised."""
    await asked.open()
    try:
        answers = (asked.ask(token.encode(), hashlib.sha256(token.encode()).digest()) for token in tokens)
        return [await one for one in map(_settled, answers)]
    finally:
        await asked.close()


async def _settled(answer):
    try:
        return await answer
    except (TokenError, UnavailableError) as error:
        return error


def ask(asked, token):
    (answer,) = asyncio.run(ask_all(asked, token))
    return answer


def signed_introspection(provider):
    asked = introspection(provider, "api-signed", signed=True)
    asked.use_keys(provider.issuer, StaticKeys(published_keys(provider), ASYMMETRIC))
    return asked


def published_keys(provider):
    return httpx.get(f"{provider.issuer}/jwks", verify=provider.tls(), trust_env=False).json()


WAYS = {
    "its secret": introspection,
    "an assertion": lambda provider: introspection(
        provider, "api-jwt", private_key=dict(provider.assertion_key.private)
    ),
    "its certificate": lambda provider: introspection(provider, "api-mtls", http=provider.http(provider.api)),
    "its secret, and a signed answer": signed_introspection,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_opaque_token(provider, way):
    """INT-1, INT-2, INT-6: the client shows itself by ..."""
    answer = ask(way(provider), provider.token("opaque"))
    assert isinstance(answer, dict), repr(answer)
    assert answer["iss"] == provider.issuer
    assert (answer["client_id"], answer["scope"], answer["tenant"]) == ("shop", "read", "acme")
    assert answer["aud"] == audience("opaque")
    assert time.time() < answer["exp"] <= time.time() + 120


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_token_that_was_revoked(provider, way):
    """INT-2: with the next question, and the same as one that never was."""
    token = provider.token("opaque")
    provider.revoke(token)
    for inactive in (token, "no-such-token"):
        assert ask(way(provider), inactive).reason == "token_inactive"


def test_a_token_that_is_revoked_while_it_is_known(provider):
    """INT-4: what is good is remembered by whoever asks, not here."""

    async def test():
        asked, token = introspection(provider), provider.token("opaque")
        before = await ask_all(asked, token)
        provider.revoke(token)
        return [*before, *(await ask_all(asked, token))]

    before, after = asyncio.run(test())
    assert before["active"] is True
    assert after.reason == "token_inactive"


NOT_BELIEVED = {
    "a wrong secret": lambda provider: introspection(provider, client_secret=Secret("x" * 40)),
    "another key": lambda provider: introspection(
        provider, "api-jwt", private_key=ClientKey(use="sig", alg="ES256", kid="api-assertion").private
    ),
    "another certificate": lambda provider: introspection(provider, "api-mtls", http=provider.http(provider.shop)),
    "no certificate": lambda provider: introspection(provider, "api-mtls"),
    "an authority that we do not trust": lambda provider: introspection(provider, http=None),
}


@pytest.mark.parametrize("way", NOT_BELIEVED.values(), ids=NOT_BELIEVED)
def test_who_is_not_answered_knows_nothing_of_the_token(provider, way):
    """INT-5: our mistake, or the provider's; never the client's."""
    error = ask(way(provider), provider.token("opaque"))
    assert isinstance(error, UnavailableError), repr(error)
    assert error.reason == "introspection_unavailable"
    for secret in (*SECRETS.values(), "x" * 40):
        assert secret not in f"{error} {error!r}"


def test_an_outage(provider):
    """Down: unavailable, and not remembered as an answer. Up again, it has forgotten the token."""
    token = provider.token("opaque")
    provider.stop()
    try:
        assert ask(introspection(provider), token).reason == "introspection_unavailable"
    finally:
        provider.start()
    assert ask(introspection(provider), token).reason == "token_inactive"
    assert ask(introspection(provider), provider.token("opaque"))["active"] is True


def test_an_opaque_token_that_is_bound(provider):
    """DPOP-8, TOK-2: the answer says to what."""
    key = ClientKey()
    bound = [provider.token("opaque", key=key), provider.token("opaque", certificate=provider.shop)]
    answers = asyncio.run(ask_all(introspection(provider), *bound))
    assert [answer["cnf"] for answer in answers] == [
        {"jkt": key.thumbprint},
        {"x5t#S256": thumbprint_of(provider.shop)},
    ]


# --- DPoP ----------------------------------------------------------------------------------------------------------

ORIGIN = "https://api.example.com"


class Presented:
    """A token that the provider has bound to ``key``, and the rules that look at its proofs."""

    def __init__(self, provider):
        self.key = ClientKey()
        self.token = provider.token(key=self.key)
        self.bound_to = claims_of(self.token)["cnf"]["jkt"]
        self.rules = ProofRules(store=MemoryReplayStore(), origin=ORIGIN)

    def verify(self, proof, method="GET", path="/orders"):
        headers = {"authorization": f"DPoP {self.token}"} | ({"dpop": proof} if proof else {})
        scope = asgi.http_scope(path, method=method, headers=headers)
        return self.rules.verify(Exchange(scope), scope, self.token.encode(), self.bound_to)


def test_a_proof_with_the_token_that_it_is_for(provider):
    """DPOP-3, DPOP-7, DPOP-8."""
    presented = Presented(provider)
    assert presented.bound_to == presented.key.thumbprint
    proof = presented.key.proof("GET", f"{ORIGIN}/orders", presented.token)
    verified = presented.verify(proof)
    assert presented.rules.remember(verified) is None
    with pytest.raises(TokenError) as replayed:
        presented.rules.remember(presented.verify(proof))
    assert replayed.value.reason == "dpop_proof_replayed"


NO_PROOFS = {
    "none": (lambda key, token: None, "dpop_proof_missing"),
    "of another key": (
        lambda key, token: ClientKey().proof("GET", f"{ORIGIN}/orders", token),
        "token_binding_mismatch",
    ),
    "of another method": (lambda key, token: key.proof("POST", f"{ORIGIN}/orders", token), "dpop_proof_invalid"),
    "of another path": (lambda key, token: key.proof("GET", f"{ORIGIN}/refunds", token), "dpop_proof_invalid"),
    "of another token": (lambda key, token: key.proof("GET", f"{ORIGIN}/orders", token[1:]), "dpop_proof_invalid"),
    "as the provider got it": (lambda key, token: key.proof("GET", f"{ORIGIN}/orders"), "dpop_proof_invalid"),
    "of yesterday": (
        lambda key, token: key.proof("GET", f"{ORIGIN}/orders", token, iat=int(time.time()) - 86_400),
        "dpop_proof_invalid",
    ),
}


@pytest.mark.parametrize(("proof", "reason"), NO_PROOFS.values(), ids=NO_PROOFS)
def test_a_proof_that_does_not_hold(provider, proof, reason):
    presented = Presented(provider)
    with pytest.raises(TokenError) as refused:
        presented.verify(proof(presented.key, presented.token))
    assert refused.value.reason == reason


# --- encrypted -----------------------------------------------------------------------------------------------------


def decryption(key):
    return Decryption({"keys": [dict(key.private)]}, key_algorithms=["ECDH-ES"], content_algorithms=["A256GCM"])


def test_a_nested_token(provider):
    """JWE-1: what is inside is signed like every token of the provider."""
    signed = decryption(provider.encryption_key).open(provider.token("nested").encode(), MAX_BYTES)
    verified = verify_access_token(
        signed.decode(),
        published_keys(provider),
        issuer=provider.issuer,
        audience=audience("nested"),
        profile="rfc9068",
    )
    assert (verified.subject, verified.all["tenant"]) == ("shop", "acme")


def test_a_nested_token_for_another_key(provider):
    stranger = ClientKey(use="enc", alg="ECDH-ES", kid=provider.encryption_key.private["kid"])
    with pytest.raises(TokenError) as refused:
        decryption(stranger).open(provider.token("nested").encode(), MAX_BYTES)
    assert refused.value.reason == "token_undecipherable"


# --- revoked here --------------------------------------------------------------------------------------------------


def test_a_jwt_that_is_revoked_here(provider):
    """The provider cannot take a JWT back; the list can, and it takes no other along."""

    async def test():
        revocations, claims, other = Revocations(), *(claims_of(provider.token()) for _ in range(2))
        await revocations.open()
        try:
            revocations.check(claims, time.time())
            await revocations.revoke(claims["jti"], issuer=claims["iss"], until=claims["exp"])
            revocations.check(other, time.time())
            with pytest.raises(TokenError) as refused:
                revocations.check(claims, time.time())
            assert refused.value.reason == "token_revoked"
            await revocations.revoke_subject(other["sub"], issuer=other["iss"], before=time.time() + 1)
            with pytest.raises(TokenError):
                revocations.check(other, time.time())
        finally:
            await revocations.close()

    asyncio.run(test())
