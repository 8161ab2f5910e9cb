"""JWT access tokens of a real OpenID provider: discovery over TLS, algorithms, key rotation, outage, certificates."""

import asyncio
import json

import httpx
import pytest

from secure_asgi import BearerAuthMiddleware, MutualTLSMiddleware, exchange_of
from secure_asgi.flow import Layer

from . import asgi
from .provider import ClientKey, audience, thumbprint_of
from .serving import tls_context, uvicorn_serving


async def whoami(scope, receive, send):
    """Answers with who is asking, and by what claims."""
    principal = exchange_of(scope).principal
    told = {"subject": principal.subject, "scopes": sorted(principal.scopes), "claims": dict(principal.claims)}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


class Watch(Layer):
    """Keeps why the last request was refused."""

    reason = None

    def on_end(self, exchange):
        self.reason = exchange.denial and exchange.denial.reason


class Guarded:
    """An application that trusts the provider, and a clock to turn."""

    def __init__(self, provider, kind="es256", **options):
        options = {"issuer": provider.issuer, "http": provider.http(), **options}
        self.now = 0.0
        self.layer = BearerAuthMiddleware(whoami, audience=audience(kind), **options)
        (issuer,) = self.layer._judge.issuers.known()
        self.source = issuer.source
        self.layer._now = self.source._now = lambda: self.now
        self.app = self.watch = Watch(self.layer)

    async def ask(self, token):
        return await asgi.drive(self.app, asgi.http_scope(headers={"authorization": f"Bearer {token}"}), [])

    async def status(self, token):
        return (await self.ask(token)).status


# --- one token -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["jwt", "rfc9068"])
@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "Ed25519"])
def test_a_token_of_each_algorithm(provider, algorithm, profile):
    """META-1, JWKS-1: all that is known of the provider is its name; AT-1, AT-2: it issues what RFC 9068 wants."""
    kind = algorithm.lower()
    guarded = Guarded(provider, kind, profile=profile, algorithms=algorithm)
    answer = asyncio.run(guarded.ask(provider.token(kind)))
    assert answer.status == 200, guarded.watch.reason
    told = json.loads(answer.body)
    assert (told["subject"], told["scopes"], told["claims"]["tenant"]) == ("shop", ["read"], "acme")


REFUSED = {
    "for another audience": ("rs256", {}, "token_audience_wrong"),
    "of another algorithm": ("es256", {"algorithms": "RS256"}, "token_algorithm_refused"),
    "not bound where it must be": ("es256", {"require_bound": True}, "token_claim_missing"),
    "that lives too long": ("es256", {"max_lifetime": 60.0}, "token_lifetime_exceeded"),
    "opaque": ("opaque", {}, "token_malformed"),
    "encrypted": ("nested", {}, "token_malformed"),
}


@pytest.mark.parametrize(("kind", "options", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_token_that_does_not_hold_here(provider, kind, options, reason):
    guarded = Guarded(provider, **options)
    assert asyncio.run(guarded.status(provider.token(kind))) == 401
    assert guarded.watch.reason == reason


def test_a_token_that_is_bound_to_a_key_is_no_bearer_token(provider):
    """DPOP-10: whoever presents it without a proof is refused."""
    guarded, key = Guarded(provider), ClientKey()
    assert asyncio.run(guarded.status(provider.token(key=key))) == 401
    assert guarded.watch.reason == "token_binding_unverified"


def test_a_provider_whose_authority_is_not_trusted_is_not_believed(provider):
    """Nor is its token called invalid: nobody could judge it."""
    guarded = Guarded(provider, http=None)
    assert asyncio.run(guarded.status(provider.token())) == 503
    assert guarded.watch.reason == "keys_unavailable"


def test_another_name_for_the_same_provider_is_another_issuer(provider):
    """META-2."""
    guarded = Guarded(provider, issuer=f"{provider.issuer}/")
    assert asyncio.run(guarded.status(provider.token())) == 503
    assert "metadata of another issuer" in guarded.source._failure


# --- other keys, and none ------------------------------------------------------------------------------------------


def test_keys_that_were_replaced(provider):
    """A new key is looked for at once; what the old one has signed is worth nothing from then on."""

    async def test():
        guarded, old = Guarded(provider), provider.token()
        assert await guarded.status(old) == 200
        provider.stop()
        provider.start()
        assert await guarded.status(old) == 200  # nobody has said yet that its key is gone
        assert await guarded.status(provider.token()) == 200
        assert await guarded.status(old) == 401
        assert guarded.watch.reason == "token_key_unknown"

    asyncio.run(test())


def test_an_outage_with_keys(provider):
    """What is signed with known keys passes, seen before or not; of what is not, nobody says that it is invalid."""
    other = provider.token()

    async def test():
        guarded, tokens = Guarded(provider), [provider.token(), provider.token()]
        provider.stop()
        provider.start()
        seen, unseen = provider.token(), provider.token()
        assert await guarded.status(seen) == 200
        provider.stop()
        try:
            assert [await guarded.status(token) for token in (seen, unseen)] == [200, 200]
            assert [await guarded.status(token) for token in (other, *tokens)] == [503, 503, 503]
            guarded.now += 600  # their time is up, and they cannot be had anew
            assert await guarded.status(unseen) == 200
            guarded.now += 3600
            assert await guarded.status(unseen) == 503
        finally:
            provider.start()

    asyncio.run(test())


def test_an_outage_without_keys(provider):
    """503 with the time to come again, and then it is well."""

    async def test():
        guarded = Guarded(provider)
        provider.stop()
        try:
            await guarded.layer.on_startup({"type": "lifespan"})  # a provider that is down stops no start
            answer = await guarded.ask("e30.e30.e30")
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        finally:
            provider.start()
        guarded.now += 1
        assert await guarded.status(provider.token()) == 200
        await guarded.layer.on_shutdown()

    asyncio.run(test())


# --- bound to a certificate, on a real connection ------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(provider):
    """A uvicorn that asks for client certificates, and does not insist."""
    bearer = BearerAuthMiddleware(
        whoami, issuer=provider.issuer, audience=audience("es256"), http=provider.http(), require_bound=True
    )
    app = MutualTLSMiddleware(bearer, required=False)
    with uvicorn_serving(app, tls=tls_context(provider.folder, "http/1.1")) as port:
        yield f"https://localhost:{port}"


def present(provider, url, token, certificate):
    fields = {"authorization": f"Bearer {token}"}
    return httpx.get(url, headers=fields, verify=provider.tls(certificate), trust_env=False)


def test_a_token_that_is_bound_to_a_certificate(provider, url):
    """TOK-2, TOK-4: with it, on this connection, and with nothing else."""
    token = provider.token(certificate=provider.shop)
    answer = present(provider, url, token, provider.shop)
    assert answer.status_code == 200
    assert answer.json()["claims"]["cnf"] == {"x5t#S256": thumbprint_of(provider.shop)}
    for certificate in (provider.stranger, None):
        refused = present(provider, url, token, certificate)
        assert refused.status_code == 401
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]
        assert token not in refused.text


def test_a_token_that_is_bound_to_nothing_where_one_must_be(provider, url):
    """TOK-3."""
    assert present(provider, url, provider.token(), provider.shop).status_code == 401
