"""Tokens of a real OpenID provider through the middleware: opaque, bound to a proof, encrypted, withdrawn."""

import asyncio
import json

import pytest

from secure_asgi import BearerAuthMiddleware, exchange_of
from secure_asgi.bearer import Decryption, Introspection, Revocations
from secure_asgi.flow import Layer
from secure_asgi.secrets import Secret

from . import asgi
from .provider import SECRETS, ClientKey, audience

URI = "https://api.example.com/"


async def whoami(scope, receive, send):
    principal = exchange_of(scope).principal
    told = {"subject": principal.subject, "method": principal.method, "token_id": principal.token_id}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


class Service:
    def __init__(self, provider, kind, **options):
        self.now, self.reason = 0.0, None

        class Watch(Layer):
            def on_end(watch, exchange):
                self.reason = exchange.denial and exchange.denial.reason

        self.layer = BearerAuthMiddleware(
            whoami, issuer=provider.issuer, audience=audience(kind), http=provider.http(), **options
        )
        self.layer._now = lambda: self.now
        self.app = Watch(self.layer)

    async def ask(self, token, proof=None):
        """What the application told, or why it was not asked."""
        headers = {"authorization": f"{'DPoP' if proof else 'Bearer'} {token}"} | ({"dpop": proof} if proof else {})
        answer = await asgi.drive(self.app, asgi.http_scope(headers=headers), [])
        return json.loads(answer.body) if answer.status == 200 else self.reason


def introspection(provider, client="api", **options):
    return Introspection(
        f"{provider.issuer}/token/introspection",
        client_id=client,
        client_secret=Secret(SECRETS[client]),
        http=provider.http(),
        **options,
    )


@pytest.mark.parametrize("options", [{}, {"client": "api-signed", "signed": True}], ids=["plain", "signed"])
def test_an_opaque_token_is_remembered_for_half_a_minute(provider, options):
    """INT-4, INT-6."""

    async def test():
        service = Service(provider, "opaque", introspection=introspection(provider, **options))
        token = provider.token("opaque")
        assert (await service.ask(token))["subject"] == "shop"
        provider.revoke(token)
        service.now = 29.0
        assert (await service.ask(token))["subject"] == "shop"
        service.now = 31.0
        assert await service.ask(token) == "token_inactive"
        assert await service.ask("no-such-token") == "token_inactive"

    asyncio.run(test())


def test_a_token_that_is_bound_to_a_key(provider):
    """DPOP-8, DPOP-9, DPOP-10."""

    async def test():
        key, thief = ClientKey(), ClientKey()
        service = Service(provider, "es256", dpop="require")
        token = provider.token("es256", key=key)
        proof = key.proof("GET", URI, token)
        assert (await service.ask(token, proof))["method"] == "dpop"
        assert await service.ask(token, proof) == "dpop_proof_replayed"
        assert await service.ask(token, thief.proof("GET", URI, token)) == "token_binding_mismatch"
        assert await service.ask(token, key.proof("POST", URI, token)) == "dpop_proof_invalid"
        assert await service.ask(token) == "token_binding_mismatch"
        assert await service.ask(provider.token("es256")) == "token_binding_mismatch"

    asyncio.run(test())


def test_an_opaque_token_that_is_bound_to_a_key(provider):
    async def test():
        key = ClientKey()
        service = Service(provider, "opaque", introspection=introspection(provider), dpop="accept")
        token = provider.token("opaque", key=key)
        assert (await service.ask(token, key.proof("GET", URI, token)))["method"] == "dpop"
        assert await service.ask(token) == "token_binding_mismatch"

    asyncio.run(test())


def test_an_encrypted_token(provider):
    """JWT-11, AT-3."""

    async def test():
        service = Service(provider, "nested", decryption=Decryption(provider.encryption_key.private))
        assert (await service.ask(provider.token("nested")))["subject"] == "shop"
        assert await service.ask(provider.token("es256")) == "token_not_encrypted"

    asyncio.run(test())


def test_a_token_that_is_withdrawn_here(provider):
    async def test():
        revocations = Revocations()
        service = Service(provider, "es256", revocation=revocations)
        token = provider.token("es256")
        token_id = (await service.ask(token))["token_id"]
        await revocations.revoke(token_id, issuer=provider.issuer, until=4_000_000_000)
        assert await service.ask(token) == "token_revoked"

    asyncio.run(test())
