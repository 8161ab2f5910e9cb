"""Several issuers: each token by the rules and keys of the one it names, and of nobody else."""

import asyncio

import pytest

from secure_asgi import BearerAuthMiddleware, ConfigurationError
from secure_asgi.bearer import Issuer
from secure_asgi.testing import TokenFactory

from . import asgi

NOW = 1_790_000_000
ACME = TokenFactory(issuer="https://acme.example", clock=lambda: NOW)
GLOBEX = TokenFactory(issuer="https://globex.example", audience="billing", algorithm="Ed25519", clock=lambda: NOW)
STRANGER = TokenFactory(issuer="https://stranger.example", clock=lambda: NOW)


def issuer(tokens, **options):
    return Issuer(tokens.issuer, audience=tokens.audience, jwks=tokens.jwks, **options)


LISTED = (issuer(ACME), issuer(GLOBEX, profile="rfc9068", require_bound=False))


class Service:
    def __init__(self, issuers):
        self.now, self.reasons = 0.0, []
        reasons = self.reasons

        class Spy(BearerAuthMiddleware):
            def on_end(self, exchange):
                reasons.append(exchange.denial.reason if exchange.denial else "")

        self.layer = Spy(asgi.hello, issuers=issuers)
        self.layer._now = lambda: self.now
        self.layer._clock = lambda: NOW

    def ask(self, token):
        status = asgi.http(self.layer, headers={"authorization": f"Bearer {token}"}).status
        return status, self.reasons[-1]


HEAD, _, TAIL = ACME.token().split(".")
ANSWERS = {
    "one of them": (ACME.token(), (200, "")),
    "another, by its own rules": (GLOBEX.token(), (200, "")),
    "the rules of the other": (GLOBEX.token(client_id=None), (401, "token_claim_missing")),
    "the audience of the other": (ACME.token(aud="billing"), (401, "token_audience_wrong")),
    "signed by one in the name of the other": (GLOBEX.token(iss=ACME.issuer), (401, "token_algorithm_refused")),
    "nobody's (JWT-12)": (STRANGER.token(), (401, "token_issuer_wrong")),
    "no issuer": (ACME.token(iss=None), (401, "token_claim_missing")),
    "an issuer that is no text": (ACME.token(iss=[ACME.issuer]), (401, "token_claim_invalid")),
    "claims that are none": (f"{HEAD}.e30x.{TAIL}", (401, "token_malformed")),
    "two segments": (f"{HEAD}.{TAIL}", (401, "token_malformed")),
}


@pytest.mark.parametrize(("token", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_a_token_is_judged_by_the_issuer_it_names(token, expected):
    listed = (issuer(ACME, algorithms="ES256"), issuer(GLOBEX, profile="rfc9068"))
    assert Service(listed).ask(token) == expected


def test_a_resolver_is_asked_once_per_issuer_and_its_word_has_a_time():
    asked = []

    def resolve(name):
        asked.append(name)
        return {ACME.issuer: LISTED[0]}.get(name)

    service = Service(resolve)
    assert [service.ask(ACME.token())[0] for _ in range(3)] == [200] * 3
    assert [service.ask(STRANGER.token())[1] for _ in range(3)] == ["token_issuer_wrong"] * 3
    assert asked == [ACME.issuer, STRANGER.issuer]
    service.now = 6.0
    assert service.ask(STRANGER.token())[0] == 401
    service.now = 61.0
    assert service.ask(ACME.token())[0] == 200
    assert asked == [ACME.issuer, STRANGER.issuer, STRANGER.issuer, ACME.issuer]


async def _slowly(name):
    await asyncio.sleep(0)
    return {ACME.issuer: LISTED[0], GLOBEX.issuer: LISTED[0]}.get(name)


async def _failing(name):
    raise OSError("the password of the database")


RESOLVED = {
    "an awaitable": (_slowly, ACME, (200, "")),
    "another issuer than asked for": (_slowly, GLOBEX, (503, "keys_unavailable")),
    "nobody": (_slowly, STRANGER, (401, "token_issuer_wrong")),
    "an outage": (_failing, ACME, (503, "keys_unavailable")),
    "something else": (lambda name: name, ACME, (503, "keys_unavailable")),
}


@pytest.mark.parametrize(("resolve", "tokens", "expected"), RESOLVED.values(), ids=RESOLVED)
def test_what_a_resolver_may_say(resolve, tokens, expected):
    assert Service(resolve).ask(tokens.token()) == expected


WRONG = {
    "none": {"issuers": ()},
    "twice": {"issuers": (LISTED[0], LISTED[0])},
    "a name": {"issuers": ("https://acme.example",)},
    "with issuer=": {"issuers": LISTED, "issuer": "https://acme.example"},
    "with audience=": {"issuers": LISTED, "audience": "orders"},
    "with jwks=": {"issuers": LISTED, "jwks": ACME.jwks},
    "with require_bound=, which would bind nobody": {"issuers": LISTED, "require_bound": True},
    "with max_lifetime=": {"issuers": LISTED, "max_lifetime": 60},
    "with algorithms=": {"issuers": LISTED, "algorithms": "ES256"},
    "with leeway=": {"issuers": LISTED, "leeway": 0},
    "neither": {},
    "no audience": {"issuer": "https://acme.example"},
}


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG)
def test_wrong_options(options):
    with pytest.raises(ConfigurationError):
        BearerAuthMiddleware(**options)


def test_several_issuers_open_with_the_application_and_are_ready_together():
    remote = Issuer("https://127.0.0.1:1", audience="orders", prefetch=False)
    ready = {}
    for name, issuers in {"known": LISTED, "one is not": (*LISTED, remote), "resolved": lambda _: None}.items():
        layer = BearerAuthMiddleware(asgi.hello, issuers=issuers, readiness_path="/ready")

        async def run(layer=layer):
            await layer.on_startup({})
            answer = await asgi.drive(layer, asgi.http_scope("/ready"), [])
            await layer.on_shutdown()
            return answer.status

        ready[name] = asyncio.run(run())
    assert ready == {"known": 200, "one is not": 503, "resolved": 200}


def test_one_issuer_need_not_be_in_a_list():
    assert Service(LISTED[0]).ask(ACME.token())[0] == 200
    assert repr(LISTED[0]) == "Issuer('https://acme.example')"
