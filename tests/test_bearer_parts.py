"""The parts of ``BearerAuthMiddleware`` together: what a request with each kind of token gets."""

import asyncio
import base64
import json

import pytest

from secure_asgi import BearerAuthMiddleware, ConfigurationError, exchange_of
from secure_asgi.bearer import Decryption, Issuer, ProtectedResource, Revocations
from secure_asgi.bearer.unavailable import UnavailableError
from secure_asgi.denial import Reason
from secure_asgi.secrets import Secret
from secure_asgi.testing import TokenFactory
from secure_asgi.testing.dpop import DPoPKey

from . import asgi

NOW = 1_790_000_000
TOKENS = TokenFactory(clock=lambda: NOW)
URI = "https://api.example.com/"


async def who(scope, receive, send):
    principal = exchange_of(scope).principal
    found = {"subject": principal.subject, "method": principal.method} if principal else {}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(found).encode()})


class Service:
    """``ask`` gives the answer and the reason of the refusal; ``now`` turns both clocks."""

    def __init__(self, **options):
        self.now, self.reasons = 0.0, []
        reasons = self.reasons

        class Spy(BearerAuthMiddleware):
            def on_end(self, exchange):
                reasons.append(exchange.denial.reason if exchange.denial else "")

        given = {"issuer": TOKENS.issuer, "audience": "orders", "jwks": TOKENS.jwks}
        self.layer = Spy(who, **{**given, **options})
        self.layer._now = lambda: self.now
        self.layer._clock = lambda: NOW + self.now
        if self.layer._proofs is not None:
            self.layer._proofs._clock = self.layer._clock

    def ask(self, authorization=None, proof=None, path="/", **more):
        headers = {} if authorization is None else {"authorization": authorization}
        if proof is not None:
            headers["dpop"] = proof
        answer = asgi.http(self.layer, path, headers=headers, **more)
        return answer, self.reasons[-1]

    def reason(self, *arguments, **more):
        return self.ask(*arguments, **more)[1]


class Store:
    """A replay store that answers what it is told to."""

    def __init__(self, answer):
        self.answer, self.closed = answer, False

    def add(self, key, seconds):
        return self.answer() if callable(self.answer) else self.answer

    async def close(self):
        self.closed = True


async def _later(answer):
    await asyncio.sleep(0)
    if isinstance(answer, Exception):
        raise answer
    return answer


KEY = DPoPKey(clock=lambda: NOW)
GOOD = TOKENS.token()
BOUND = TOKENS.token(cnf={"jkt": KEY.thumbprint})


def proof(token=BOUND, method="GET", uri=URI, **claims):
    return KEY.proof(method, uri, token=token, **claims)


def test_a_bound_token_with_its_proof_once():
    """DPOP-9, DPOP-10: remembered or not, each proof is good for one request."""
    service = Service(dpop="accept")
    first = proof()
    answer, _ = service.ask(f"DPoP {BOUND}", first)
    assert (answer.status, json.loads(answer.body)) == (200, {"subject": "user-1", "method": "dpop"})
    assert service.reason(f"DPoP {BOUND}", first) == "dpop_proof_replayed"
    assert service.reason(f"dpop {BOUND}", proof()) == ""


DPOP = {
    "bound, as Bearer (DPOP-10)": ({}, f"Bearer {BOUND}", True, "token_binding_mismatch"),
    "bound, no proof": ({}, f"DPoP {BOUND}", False, "dpop_proof_missing"),
    "unbound, as DPoP": ({}, f"DPoP {TOKENS.token()}", True, "token_binding_mismatch"),
    "unbound, as Bearer": ({}, f"Bearer {TOKENS.token()}", False, ""),
    "unbound, but required": ({"dpop": "require"}, f"Bearer {TOKENS.token()}", False, "token_binding_mismatch"),
    "bound, while off": ({"dpop": "off"}, f"Bearer {BOUND}", True, "token_binding_unverified"),
    "the scheme, while off": ({"dpop": "off"}, f"DPoP {BOUND}", True, "token_missing"),
    "no token": ({}, "DPoP ", True, "credentials_malformed"),
    "two schemes (DPOP-11)": ({}, f"Bearer {BOUND}, DPoP {BOUND}", True, "credentials_ambiguous"),
    "too large": ({}, "DPoP " + "x" * 9000, True, "token_too_large"),
    "no nonce": ({"dpop_nonce": Secret("n" * 32)}, f"DPoP {BOUND}", True, "dpop_nonce_required"),
}


@pytest.mark.parametrize(("options", "authorization", "has_proof", "reason"), DPOP.values(), ids=DPOP)
def test_which_scheme_goes_with_which_token(options, authorization, has_proof, reason):
    service = Service(**{"dpop": "accept", **options})
    assert service.reason(authorization, proof() if has_proof else None) == reason


STORES = {
    "new, at once": (True, ""),
    "new, later": (lambda: _later(True), ""),
    "seen, later": (lambda: _later(False), "dpop_proof_replayed"),
    "down": (lambda: _later(UnavailableError(Reason.REPLAY_STORE_UNAVAILABLE, "down")), "replay_store_unavailable"),
}


@pytest.mark.parametrize(("answer", "reason"), STORES.values(), ids=STORES)
def test_what_a_replay_store_answers(answer, reason):
    service = Service(dpop="accept", replay_store=Store(answer))
    answer, seen = service.ask(f"DPoP {BOUND}", proof())
    assert seen == reason
    assert answer.status == (503 if reason.endswith("unavailable") else 401 if reason else 200)


def test_a_proof_is_for_the_resource_and_not_for_what_a_proxy_calls_it():
    """DPOP-5, META-5."""
    resource = ProtectedResource("https://shop.example/api", authorization_servers=TOKENS.issuer)
    service = Service(dpop="accept", resource=resource)
    assert service.reason(f"DPoP {BOUND}", proof(uri="https://shop.example/")) == ""
    assert service.reason(f"DPoP {BOUND}", proof()) == "dpop_proof_invalid"


def test_the_challenge_of_a_bad_proof_is_on_dpop_and_a_nonce_comes_with_it():
    service = Service(dpop="accept", dpop_nonce=Secret("n" * 32))
    answer, _ = service.ask(f"DPoP {BOUND}", proof())
    bearer, dpop = (value for name, value in answer.lines if name == "www-authenticate")
    assert answer.status == 401
    assert "error=" not in bearer
    assert 'error="use_dpop_nonce"' in dpop
    (nonce,) = (value for name, value in answer.lines if name == "dpop-nonce")
    assert service.reason(f"DPoP {BOUND}", proof(nonce=nonce)) == ""


REQUIREMENTS = {
    "the scope": ({"require_scopes": "orders:read"}, {"scope": "orders:read"}, 200, ""),
    "not all scopes": ({"require_scopes": ("a", "b")}, {"scope": "a"}, 403, 'scope="a b"'),
    "no scope": ({"require_scopes": "a"}, {}, 403, 'error="insufficient_scope"'),
    "the sign-in (STEP-1)": ({"acr_values": ("mfa", "pwd")}, {"acr": "pwd"}, 200, ""),
    "another sign-in": ({"acr_values": ("mfa", "otp")}, {"acr": "pwd"}, 401, 'acr_values="mfa otp"'),
    "no sign-in": ({"acr_values": "mfa"}, {}, 401, 'error="insufficient_user_authentication"'),
    "fresh": ({"max_age": 60}, {"auth_time": NOW - 50}, 200, ""),
    "stale": ({"max_age": 60}, {"auth_time": NOW - 91}, 401, 'max_age="60"'),
}


@pytest.mark.parametrize(("options", "claims", "status", "told"), REQUIREMENTS.values(), ids=REQUIREMENTS)
def test_what_is_asked_of_every_token(options, claims, status, told):
    answer, _ = Service(**options).ask(f"Bearer {TOKENS.token(**claims)}")
    assert answer.status == status
    assert told in answer.headers.get("www-authenticate", "")


def test_a_revoked_token_is_refused_though_it_is_remembered():
    revocations = Revocations()
    revocations._clock = lambda: NOW
    service, token = Service(revocation=revocations), TOKENS.token(jti="t-1")
    assert service.reason(f"Bearer {token}") == ""
    asyncio.run(revocations.revoke("t-1", issuer=TOKENS.issuer, until=NOW + 300))
    assert service.reason(f"Bearer {token}") == "token_revoked"
    assert service.reason(f"Bearer {TOKENS.token()}") == ""


class Lists:
    def __init__(self, answer):
        self.answer = answer

    def check(self, claims, now):
        return None if self.answer is None else _later(self.answer)

    async def open(self):
        pass

    close = open


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(None, ""), (False, ""), (UnavailableError(Reason.TOKEN_STATUS_UNKNOWN, "down"), "token_status_unknown")],
    ids=["at once", "later", "down"],
)
def test_a_status_list_may_have_to_be_waited_for(answer, reason):
    service = Service(status_lists=Lists(answer), dpop="accept", replay_store=Store(lambda: _later(True)))
    assert service.reason(f"DPoP {BOUND}", proof()) == reason
    assert service.reason(f"Bearer {TOKENS.token()}") == reason


def test_the_metadata_and_the_readiness_need_no_token():
    resource = ProtectedResource("https://api.example.com/", authorization_servers=TOKENS.issuer)
    service = Service(resource=resource, readiness_path="/ready", exempt=resource.path)
    document = service.ask(path=resource.path)[0]
    assert (document.status, json.loads(document.body)["resource"]) == (200, "https://api.example.com/")
    assert json.loads(service.ask(path="/ready")[0].body) == {"status": "ready"}
    refused = service.ask()[0]
    assert f'resource_metadata="{resource.url}"' in refused.headers["www-authenticate"]
    remote = Service(issuer="https://127.0.0.1:1", jwks=None, readiness_path="/ready", exempt="/ready", prefetch=False)
    assert remote.ask(path="/ready")[0].status == 503
    assert asgi.websocket(remote.layer, "/ready").status == 200


WRONG = {
    "a mode": {"dpop": True},
    "a nonce without dpop": {"dpop_nonce": Secret("n" * 32)},
    "a store without dpop": {"replay_store": Store(True)},
    "max_age": {"max_age": -1},
    "max_age as text": {"max_age": "60"},
    "a path": {"readiness_path": "ready"},
}


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG)
def test_wrong_options(options):
    with pytest.raises(ConfigurationError):
        Service(**options)


class Asked:
    """An introspection that answers by the book it is given."""

    ttl = 30.0

    def __init__(self, answers, every_token=False):
        self.answers, self.seen, self.is_open, self.every_token = answers, [], None, every_token

    def use_keys(self, issuer, source, *, leeway):
        self.seen.append(issuer)

    async def ask(self, token, digest):
        self.seen.append(token.decode())
        return self.answers[token.decode()]

    async def open(self):
        self.is_open = True

    async def close(self):
        self.is_open = False


OTHER = TokenFactory(issuer="https://other.example", audience="billing", clock=lambda: NOW)
ANSWER = {"active": True, "sub": "ann", "client_id": "shop", "exp": NOW + 10, "aud": "orders", "iss": TOKENS.issuer}


async def _resolve(name):
    return Issuer(name, audience="orders", jwks=TOKENS.jwks) if name == TOKENS.issuer else None


ISSUERS = {
    "one": {},
    "several": {
        "issuers": [Issuer(each.issuer, audience=each.audience, jwks=each.jwks) for each in (TOKENS, OTHER)],
        "issuer": None,
        "audience": None,
        "jwks": None,
    },
    "a function": {"issuers": _resolve, "issuer": None, "audience": None, "jwks": None},
}
OPAQUE = {
    "good": (ANSWER, {"one": "", "several": "", "a function": ""}),
    "of another audience": (
        {**ANSWER, "aud": "billing"},
        dict.fromkeys(ISSUERS, "token_audience_wrong"),
    ),
    "of nobody": (
        {**ANSWER, "iss": "https://nobody.example"},
        dict.fromkeys(ISSUERS, "token_issuer_wrong"),
    ),
    "that says nothing of its issuer": (
        {name: value for name, value in ANSWER.items() if name != "iss"},
        {"one": "", "several": "token_issuer_wrong", "a function": "token_issuer_wrong"},
    ),
    "expired": ({**ANSWER, "exp": NOW - 31}, dict.fromkeys(ISSUERS, "token_expired")),
}


@pytest.mark.parametrize("issuers", ISSUERS)
@pytest.mark.parametrize(("answer", "reasons"), OPAQUE.values(), ids=OPAQUE)
def test_an_opaque_token_is_checked_by_the_rules_of_its_issuer(answer, reasons, issuers):
    """INT-3."""
    service = Service(introspection=Asked({"opaque": answer}), **ISSUERS[issuers])
    assert service.reason("Bearer opaque") == reasons[issuers]


def test_an_answer_is_used_until_the_token_ends_and_not_at_all_without_a_ttl():
    """INT-4."""
    asked = Asked({"opaque": ANSWER})
    service = Service(introspection=asked)
    for service.now in (0.0, 9.0, 11.0):
        assert service.reason("Bearer opaque") == ""
    assert asked.seen == [TOKENS.issuer, "opaque", "opaque"]
    asked.ttl = 0.0
    service = Service(introspection=asked)
    for _ in range(2):
        assert service.reason("Bearer opaque") == ""
    assert asked.seen.count("opaque") == 4


ENCRYPTION_KEY = {
    "kty": "OKP",
    "crv": "X25519",
    "x": "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo",
    "d": "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo",
}
READ = {
    "a JWT": (TOKENS.token(), False, False),
    "dots, but no JWT": ("a.b.c", False, True),
    "an encrypted one": (TOKENS.encrypted(TOKENS.token(), ENCRYPTION_KEY), True, False),
    "an encrypted one that we cannot open": (TOKENS.encrypted(TOKENS.token(), ENCRYPTION_KEY), False, True),
}


@pytest.mark.parametrize(("token", "can_open", "is_asked_about"), READ.values(), ids=READ)
def test_what_is_read_and_what_is_asked_about(token, can_open, is_asked_about):
    asked = Asked({token: ANSWER})
    service = Service(introspection=asked, decryption=Decryption(ENCRYPTION_KEY) if can_open else None)
    assert service.reason(f"Bearer {token}") == ""
    assert (token in asked.seen) is is_asked_about


def test_every_token_is_asked_about_where_that_is_wanted():
    asked = Asked({GOOD: ANSWER}, every_token=True)
    assert Service(introspection=asked).reason(f"Bearer {GOOD}") == ""
    assert GOOD in asked.seen


def test_the_parts_open_and_close_with_the_application():
    asked, store, bare = (
        Asked({}),
        Store(True),
        Service(dpop="accept", replay_store=type("Bare", (), {"add": lambda *_: True})()),
    )
    service = Service(introspection=asked, dpop="accept", replay_store=store)

    async def run():
        await service.layer.on_startup({})
        assert asked.is_open
        await service.layer.on_shutdown()
        await bare.layer.on_shutdown()

    asyncio.run(run())
    assert (asked.is_open, store.closed) == (False, True)


def test_a_store_that_answers_at_once_after_a_list_that_did_not():
    service = Service(status_lists=Lists(False), dpop="accept")
    first = proof()
    assert service.reason(f"DPoP {BOUND}", first) == ""
    assert service.reason(f"DPoP {BOUND}", first) == "dpop_proof_replayed"


def test_a_body_that_is_signed_and_is_not_base64url():
    """JWT-2: a spelling of its own would be a token of its own to whoever counts or revokes."""
    key = TOKENS._keys[-1]
    head, body, _ = TOKENS.token().split(".")
    signed = f"{head}.{body}{'A' * ((1 - len(body)) % 4)}"  # a length that no octets have
    signature = base64.urlsafe_b64encode(key._signer.sign(signed.encode(), key._private)).rstrip(b"=").decode()
    assert Service().reason(f"Bearer {signed}.{signature}") == "token_malformed"
