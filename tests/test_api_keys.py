"""The middleware: what passes, what is refused and how, and that a refusal tells nothing of which keys there are."""

import asyncio
import hmac
import json
import random
import string

import pytest
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from secure_asgi import BearerAuthMiddleware, ConfigurationError, FailureLimit, Secret
from secure_asgi._challengers import insufficient_authentication, insufficient_scope, unauthenticated
from secure_asgi.api_keys import APIKeyMiddleware, KeyRecord, KeysUnavailableError, MemoryKeys, create_key, rotate
from secure_asgi.api_keys import middleware as module
from secure_asgi.api_keys.text import id_of
from secure_asgi.exchange import Principal, exchange_of
from secure_asgi.flow import Layer
from secure_asgi.testing import TokenFactory

from . import asgi

NOW = 1_790_000_000.0
SHOP = create_key(
    client="shop", prefix="sk_live", scopes=("orders:read", "a"), roles="reader", claims={"tenant": "t1"}, expires=NOW
)
OTHER = create_key(client="shop")
ENDED = create_key(client="shop", expires=NOW - 1)
COMING = create_key(client="shop", not_before=NOW + 1)
TOKENS = TokenFactory(clock=lambda: NOW)


def text(new):
    return new.key.reveal()


def forged(new):
    """The id of a key, with another secret and the right checksum."""
    return with_checksum(text(new)[:-49] + "0" * 43)


def with_checksum(body):
    from secure_asgi.api_keys.text import _checksum

    return body + _checksum(body.encode()).decode()


class Seen:
    """An application that keeps what it was shown."""

    def __init__(self):
        self.scope = None

    async def __call__(self, scope, receive, send):
        self.scope = scope
        await asgi.hello(scope, receive, send)


class Service:
    def __init__(self, keys=None, **options):
        self.app = Seen()
        self.store = MemoryKeys([new.record for new in (SHOP, OTHER, ENDED, COMING)]) if keys is None else keys
        self.now = NOW - 0.5
        self.layer = APIKeyMiddleware(self.app, keys=self.store, **options)
        self.layer._clock = self.layer._now = lambda: self.now

    def ask(self, key=None, *, outside=None, kind=asgi.http, **options):
        fields = [] if key is None else [("x-api-key", one) for one in ([key] if isinstance(key, str) else key)]
        return kind(self.layer if outside is None else outside(self.layer), headers=tuple(fields), **options)


class Watch(Layer):
    """Stands outside, and keeps the exchange."""

    def on_request(self, exchange, scope):
        self.exchange = exchange

    def on_end(self, exchange):
        self.exchange = exchange


def reason_of(service, key, **options):
    watch = []

    def outside(layer):
        watch.append(Watch(layer))
        return watch[0]

    answer = service.ask(key, outside=outside, **options)
    denial = watch[0].exchange.denial
    return answer, (denial.reason if denial else None), (denial.note if denial else "")


def test_a_key_is_a_principal():
    service = Service()
    assert service.ask(text(SHOP)).status == 200
    scope = service.app.scope
    assert scope["user"] == Principal(
        subject="shop",
        client_id="shop",
        scopes=frozenset(("orders:read", "a")),
        roles=frozenset(("reader",)),
        claims={"tenant": "t1"},
        method="api-key",
        token_id=SHOP.record.id,
    )
    assert exchange_of(scope).principal is scope["user"]
    assert scope["auth"].scopes == ("a", "orders:read")
    first = scope["user"]
    service.ask(text(SHOP))
    assert service.app.scope["user"] is first, "made once"


def test_a_changed_record_makes_another_principal():
    service = Service()
    service.ask(text(SHOP))
    service.store.add(KeyRecord(**{**SHOP.record.to_json(), "scopes": "less"}))
    service.ask(text(SHOP))
    assert service.app.scope["user"].scopes == {"less"}


def changed(key, at, to):
    return key[:at] + to + key[at + 1 :] if at >= 0 else key[:at] + to


KEY = text(OTHER)
BAD_INPUT = [
    ("no key", None, 401, "api_key_missing"),
    ("empty", "", 401, "api_key_malformed"),
    ("blank", " ", 401, "api_key_malformed"),
    ("junk", "secret", 401, "api_key_malformed"),
    ("one letter mistyped", changed(KEY, 30, "-"), 401, "api_key_malformed"),
    ("cut short", KEY[:-1], 401, "api_key_malformed"),
    ("one more", KEY + "0", 401, "api_key_malformed"),
    ("a newline after it", KEY + "\n", 401, "api_key_malformed"),
    ("a blank before it", " " + KEY, 401, "api_key_malformed"),
    ("another prefix", "sk" + KEY[3:], 401, "api_key_malformed"),
    ("the case turned", KEY.swapcase(), 401, "api_key_malformed"),
    ("not ASCII", KEY[:-1] + "é", 401, "api_key_malformed"),
    ("a scheme before it", "ApiKey " + KEY, 401, "api_key_malformed"),
    ("quoted", f'"{KEY}"', 401, "api_key_malformed"),
    ("huge", "k" * 100_000, 401, "api_key_malformed"),
    ("huge, and a list from beyond the cap", "k" * 600 + ",", 401, "api_key_malformed"),
    ("an unknown id", text(create_key(client="x")), 401, "api_key_unknown"),
    ("another secret", forged(OTHER), 401, "api_key_unknown"),
    ("the secret of another key", with_checksum(text(SHOP)[:24] + KEY[20:-6]), 401, "api_key_unknown"),
    ("expired", text(ENDED), 401, "api_key_expired"),
    ("not valid yet", text(COMING), 401, "api_key_expired"),
    ("expired, another secret", forged(ENDED), 401, "api_key_unknown"),
    ("two fields", [KEY, KEY], 400, "credentials_ambiguous"),
    ("two fields, one empty", [KEY, ""], 400, "credentials_ambiguous"),
    ("a list", f"{KEY}, {KEY}", 400, "credentials_ambiguous"),
]


@pytest.mark.parametrize(("key", "status", "reason"), [row[1:] for row in BAD_INPUT], ids=[row[0] for row in BAD_INPUT])
def test_bad_input(key, status, reason):
    service = Service()
    answer, why, note = reason_of(service, key)
    assert (answer.status, why) == (status, reason)
    assert service.app.scope is None
    assert ("www-authenticate" in answer.headers) is (status == 401)
    for secret in (KEY, text(ENDED), OTHER.record.digest):
        assert secret not in note
        assert secret.encode() not in answer.body


def test_one_answer_for_every_key_that_does_not_hold():
    """ASVS 6.3.8: neither the status nor the body tells an unknown id from a wrong secret or a key that has ended."""
    service = Service()
    answers = [service.ask(key) for _, key, status, why in BAD_INPUT if status == 401 and why != "api_key_missing"]
    bodies = [{**answer.problem, "request_id": ""} for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["detail"] == "The API key is not valid here."
    assert len({tuple(answer.lines[1:]) for answer in answers}) == 1


def test_the_challenge():
    """RFC 9110 section 15.5.2: a 401 has one."""
    answer = Service(realm="orders", header="X-Key").ask()
    assert answer.headers["www-authenticate"] == 'ApiKey realm="orders"'
    assert answer.headers["access-control-expose-headers"] == "WWW-Authenticate"
    assert answer.problem["detail"] == "This needs an API key in the x-key field."


@pytest.mark.parametrize(
    "key",
    [text(OTHER), text(create_key(client="x")), forged(OTHER), text(ENDED), forged(ENDED)],
    ids=["holds", "unknown id", "wrong secret", "expired", "expired and wrong"],
)
def test_the_same_steps_for_every_key(key, monkeypatch):
    """One look-up, one digest and one comparison of equal lengths, in one order, whether or not there is such a key."""
    steps = []
    digest_of = module.digest_of

    def digest(*given):
        steps.append("digest")
        return digest_of(*given)

    def compare(left, right):
        steps.append(("compare", len(left), len(right)))
        return hmac_compare(left, right)

    hmac_compare = hmac.compare_digest
    service = Service()
    find = service.layer._find
    monkeypatch.setattr(module, "digest_of", digest)
    monkeypatch.setattr(hmac, "compare_digest", compare)
    service.layer._find = lambda key_id: (steps.append("find"), find(key_id))[1]
    service.layer._clock = lambda: (steps.append("clock"), service.now)[1]
    service.ask(key)
    assert steps == ["digest", "find", ("compare", 71, 71), "clock"]


def test_the_record_that_stands_for_no_key_lets_nobody_in(monkeypatch):
    """Even if its id were asked for, and whatever its digest is of."""
    service = Service()
    body = f"key_{module._NO_ID}_{'0' * 43}"
    assert service.ask(with_checksum(body)).status == 401


def test_junk_never_reaches_the_store():
    """100 000 values of every kind: random octets, random letters of the right form, keys with one letter changed."""
    asked = []
    layer = APIKeyMiddleware(asgi.hello, keys=lambda key_id: asked.append(key_id))
    draw = random.Random(7)
    letters = string.ascii_letters + string.digits
    exchange = Exchange()
    for number in range(100_000):
        match number % 4:
            case 0:
                value = draw.randbytes(draw.randrange(120))
            case 1:
                value = "".join(draw.choices(letters + "_-", k=70)).encode()
            case 2:
                value = f"key_{''.join(draw.choices(letters, k=16))}_{''.join(draw.choices(letters, k=49))}".encode()
            case _:
                at = draw.randrange(len(KEY))
                value = changed(KEY, at, draw.choice(letters.replace(KEY[at], ""))).encode()
        exchange.value = value
        assert layer.on_request(exchange, {}) is not None
    assert asked == []


class Exchange:
    """Enough of one for a gate that refuses."""

    challengers = ()
    principal = None
    client = None

    def fields(self, scope):
        return {b"x-api-key": self.value}


@pytest.mark.parametrize("at", range(len(KEY)))
def test_every_letter_counts_in_the_checksum(at):
    other = "a" if KEY[at] != "a" else "b"
    assert id_of(changed(KEY, at, other).encode()) is None


def test_nobody_where_no_key_is_required():
    service = Service(required=False)
    assert service.ask().status == 200
    assert service.app.scope["user"].is_authenticated is False
    assert service.app.scope["auth"].scopes == ()
    assert service.ask("junk").status == 401, "a bad key is refused all the same"


def test_exempt_paths_have_a_user_too():
    service = Service(exempt="/health")
    assert service.ask(text(SHOP), path="/health").status == 200
    assert service.app.scope["user"].is_authenticated is False
    assert service.app.scope["auth"].scopes == ()


@pytest.mark.parametrize("key", [None, "junk", [KEY, KEY], text(ENDED)], ids=["none", "junk", "two", "ended"])
def test_shadow_finds_nobody(key):
    service = Service(mode="shadow")
    assert service.ask(key).status == 200
    assert service.app.scope["user"].is_authenticated is False
    assert exchange_of(service.app.scope).decisions[-1].verdict == "shadow"


def test_websockets():
    service = Service()
    assert service.ask(text(SHOP), kind=asgi.websocket, texts=["a"]).messages[-1]["text"] == "a"
    assert service.ask("junk", kind=asgi.websocket).status == 401
    assert service.ask("junk", kind=asgi.websocket, denial_response=False).close_code == 1008


def test_requires_of_starlette():
    @requires("orders:read")
    async def orders(request):
        return PlainTextResponse(request.user.subject)

    store = MemoryKeys([SHOP.record, OTHER.record])
    app = APIKeyMiddleware(Starlette(routes=[Route("/", orders)]), keys=store)
    app._clock = lambda: NOW - 1
    assert asgi.http(app, headers={"x-api-key": text(SHOP)}).body == b"shop"
    assert asgi.http(app, headers={"x-api-key": text(OTHER)}).status == 403


# --- beside other credentials --------------------------------------------------------------------------------------


def with_bearer(service):
    layer = BearerAuthMiddleware(
        service.layer, issuer=TOKENS.issuer, audience="orders", jwks=TOKENS.jwks, required=False
    )
    layer._clock = lambda: NOW
    return layer


@pytest.mark.parametrize(
    ("token", "key", "status", "method"),
    [
        (False, KEY, 200, "api-key"),
        (True, None, 200, "bearer"),
        (True, KEY, 400, None),
        (True, "junk", 400, None),
        (False, None, 200, ""),
    ],
    ids=["key", "token", "both", "a token and a bad key", "neither"],
)
def test_one_request_one_credential(token, key, status, method):
    service = Service(required=False)
    fields = {"authorization": f"Bearer {TOKENS.token(audience='orders')}"} if token else {}
    fields |= {"x-api-key": key} if key else {}
    answer = asgi.http(with_bearer(service), headers=fields)
    assert answer.status == status
    if status == 200:
        assert getattr(service.app.scope["user"], "method", "") == method
    else:
        assert answer.problem["detail"] == "The request has an access token and an API key: send one of them."


class Certificate(Layer):
    """In the place of mutual TLS: has found a client."""

    name = "mutual_tls"

    def on_request(self, exchange, scope):
        exchange.principal = Principal(subject="cert", method="mtls", scopes=frozenset("c"))


def test_a_certificate_beside_a_key():
    service = Service(required=False)
    service.ask(text(SHOP), outside=Certificate)
    assert service.app.scope["user"].method == "api-key"
    service.ask(outside=Certificate)
    assert (service.app.scope["user"].subject, service.app.scope["auth"].scopes) == ("cert", ("c",))


class Asks(Layer):
    """Stands inside and refuses by whoever authenticates."""

    def __init__(self, app, ask):
        super().__init__(app)
        self.ask = ask

    def on_request(self, exchange, scope):
        return self.ask(exchange)


@pytest.mark.parametrize(
    ("ask", "key", "status", "challenged"),
    [
        (lambda exchange: unauthenticated(exchange, ""), None, 401, True),
        (lambda exchange: insufficient_scope(exchange, "b", ""), KEY, 403, False),
        (lambda exchange: insufficient_authentication(exchange, "b", 1.0, ""), KEY, 403, False),
    ],
    ids=["somebody", "a scope", "a sign-in"],
)
def test_who_asks_for_more_further_in(ask, key, status, challenged):
    layer = APIKeyMiddleware(Asks(asgi.hello, ask), keys=MemoryKeys(OTHER.record), required=False)
    answer = asgi.http(layer, headers={"x-api-key": key} if key else {})
    assert (answer.status, "www-authenticate" in answer.headers) == (status, challenged)


def test_both_challenges():
    layer = APIKeyMiddleware(
        Asks(asgi.hello, lambda exchange: unauthenticated(exchange, "")), keys=MemoryKeys(), required=False
    )
    outer = BearerAuthMiddleware(layer, issuer=TOKENS.issuer, audience="o", jwks=TOKENS.jwks, required=False)
    schemes = [value.split()[0] for name, value in asgi.http(outer).lines if name == "www-authenticate"]
    assert schemes == ["Bearer", "ApiKey"]


# --- failures, pepper, stores that fail ----------------------------------------------------------------------------


def test_who_guesses_is_stopped():
    asked = []
    service = Service(failure_limit=FailureLimit(2, per=60.0))
    find = service.layer._find
    service.layer._find = lambda key_id: (asked.append(key_id), find(key_id))[1]
    assert [service.ask(key).status for key in (forged(OTHER), text(ENDED), KEY, forged(OTHER))] == [401, 401, 429, 429]
    assert len(asked) == 2, "refused before the store is asked"
    answer = service.ask(KEY)
    assert (answer.headers["retry-after"], answer.problem["detail"]) == (
        "60",
        "Too many API keys that were not valid. Try again later.",
    )
    assert service.ask("junk").status == 401, "what costs nothing is not counted"
    assert service.ask(KEY, client=("203.0.113.8", 1)).status == 200
    service.now += 60
    assert service.ask(KEY).status == 200


def test_pepper():
    """ASVS 11.4.2: with the store alone, nobody can tell whether a guess is right."""
    pepper = Secret("p" * 32)
    new = create_key(client="shop", pepper=pepper)
    assert new.record.digest.startswith("hmac-sha256:")
    assert Service(MemoryKeys(new.record), pepper=pepper).ask(text(new)).status == 200
    for wrong in ({}, {"pepper": Secret("q" * 32)}):
        assert Service(MemoryKeys(new.record), **wrong).ask(text(new)).status == 401
    successor, _ = rotate(new.record, overlap=0, pepper=pepper)
    assert Service(MemoryKeys(successor.record), pepper=pepper).ask(text(successor)).status == 200


async def hangs(key_id):
    await asyncio.Event().wait()


async def later(key_id):
    return OTHER.record if key_id == OTHER.record.id else None


async def raises_later(key_id):
    raise KeysUnavailableError("the database is away")


def raises(key_id):
    raise RuntimeError("password=hunter2")


async def gives_text(key_id):
    return "record"


def gives_a_number(key_id):
    return 7


@pytest.mark.parametrize(
    ("keys", "note", "logged"),
    [
        (raises, "RuntimeError", True),
        (raises_later, "the database is away", False),
        (gives_text, "TypeError", True),
        (gives_a_number, "TypeError", True),
        (hangs, "TimeoutError", True),
    ],
)
def test_a_store_that_cannot_say(keys, note, logged, caplog):
    service = Service(keys, timeout=0.01)
    answer, reason, why = reason_of(service, KEY)
    assert (answer.status, reason, why) == (503, "api_keys_unavailable", note)
    assert answer.headers["retry-after"] == "1"
    assert b"hunter2" not in answer.body
    assert bool(caplog.records) is logged
    assert KEY not in caplog.text


def test_a_function_is_a_store():
    service = Service(later)
    assert service.ask(KEY).status == 200
    assert service.ask(text(SHOP)).status == 401


class Opened:
    def __init__(self):
        self.calls = []

    def find(self, key_id):
        return None

    async def open(self):
        self.calls.append("open")

    async def close(self):
        self.calls.append("close")


def test_a_store_is_opened_and_closed():
    async def run():
        store = Opened()
        layer = APIKeyMiddleware(asgi.hello, keys=store)
        await layer.on_startup({})
        await layer.on_shutdown()
        await APIKeyMiddleware(asgi.hello, keys=MemoryKeys()).on_startup({})
        return store.calls

    assert asyncio.run(run()) == ["open", "close"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keys": {}}, "keys="),
        ({"keys": "keys.json"}, "FileKeys"),
        ({"keys": MemoryKeys}, "keys="),
        ({"keys": None}, "keys="),
        ({"header": "Authorization"}, "header="),
        ({"header": "x key"}, "header="),
        ({"header": ""}, "header="),
        ({"header": b"x-api-key"}, "header="),
        ({"required": 1}, "required="),
        ({"realm": 'a"b'}, "realm="),
        ({"realm": ""}, "realm="),
        ({"pepper": "p" * 32}, "pepper="),
        ({"pepper": Secret("p" * 31)}, "pepper="),
        ({"failure_limit": 3}, "failure_limit="),
        ({"timeout": 0}, "timeout="),
    ],
)
def test_wrong_options(options, said):
    with pytest.raises(ConfigurationError, match=said):
        APIKeyMiddleware(asgi.hello, **{"keys": MemoryKeys(), **options})


def test_nothing_shows_a_key():
    """RED-1: no repr, record or document of ours holds a key; no repr its digest."""
    shown = repr(SHOP) + str(SHOP) + repr(SHOP.record) + repr(MemoryKeys(SHOP.record).list()) + f"{SHOP.key}"
    assert text(SHOP) not in shown + json.dumps(SHOP.record.to_json())
    assert SHOP.record.digest not in shown
