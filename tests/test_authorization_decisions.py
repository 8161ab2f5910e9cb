"""Every route of the example application, asked by everybody there is, against a table that a person has written.

ASVS 8.1.1, 8.2.1, 8.4.1; OWASP API1, API5. And the other examples: who may, and who may not.
"""

import json
import time
from base64 import urlsafe_b64encode

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from examples import authorization, own_orders, payments, service_to_service, tenants

from secure_asgi import MemoryKeys, create_key
from secure_asgi._routes import routes_of
from secure_asgi.testing import TokenFactory, issue_certificate, recorded_audit

from . import asgi

NOW = int(time.time())
TOKENS = TokenFactory(issuer=authorization.ISSUER, audience="orders")
KEY = create_key(client="shop", scopes="orders:read")
PARTNER = issue_certificate("dns:shop.partners.example")
STRANGER = issue_certificate("dns:shop.example")


def token(**claims):
    return {"headers": {"authorization": f"Bearer {TOKENS.token(**claims)}"}}


def certificate(issued):
    return {"extensions": {"tls": issued.tls_extension()}}


WHO = {
    "nobody": {},
    "user": token(),
    "reader": token(scope="orders:read"),
    "writer": token(scope="orders:read orders:write"),
    "acme": token(scope="orders:read", tenant="acme"),
    "payer": token(scope="orders:write", acr="urn:example:mfa", auth_time=NOW),
    "stale": token(scope="orders:write", acr="urn:example:mfa", auth_time=NOW - 3600),
    "auditor": token(roles=["auditor"]),
    "manager": token(roles=["manager"]),
    "key": {"headers": {"x-api-key": KEY.key.reveal()}},
    "partner": certificate(PARTNER),
    "stranger": certificate(STRANGER),
    "junk": {"headers": {"authorization": "Bearer junk"}},
}

# 2 answered · s scope_insufficient · r role_missing · p permission_missing · t claim_mismatch · c certificate_*
# a authentication_insufficient · n network_not_allowed · u nobody is known · j the token does not hold
DECISIONS = """
                              nobody user reader writer acme payer stale auditor manager key partner stranger junk
GET /health                      2    2     2      2     2     2     2      2       2     2     2       2      j
GET /me                          u    2     2      2     2     2     2      2       2     2     2       2      j
GET /v1/orders                   u    s     2      2     2     s     s      s       s     2     s       s      j
HEAD /reports/daily              u    r     r      r     r     r     r      2       2     r     r       r      j
POST /v1/orders                  u    s     s      2     s     s     s      s       s     s     s       s      j
GET /v1/orders/7                 u    s     2      2     2     s     s      s       s     2     s       s      j
DELETE /v1/orders/7              u    p     p      p     p     p     p      p       2     p     p       p      j
GET /tenants/acme/report         u    s     t      t     2     s     s      s       s     t     s       s      j
POST /payments                   u    s     s      a     s     2     a      s       s     s     s       s      j
GET /partners/prices             u    c     c      c     c     c     c      c       c     c     2       c      j
GET /office/audit                n    n     n      n     n     n     n      n       n     n     n       n      j
WEBSOCKET /live                  u    s     2      2     2     s     s      s       s     2     s       s      j
GET /reports/daily               u    r     r      r     r     r     r      2       2     r     r       r      j
"""

REASONS = {
    "2": {""},
    "s": {"scope_insufficient"},
    "r": {"role_missing"},
    "p": {"permission_missing"},
    "t": {"claim_mismatch"},
    "c": {"certificate_missing", "certificate_not_allowed"},
    "a": {"authentication_insufficient"},
    "n": {"network_not_allowed"},
    "u": {"principal_missing"},
    "j": {"token_malformed"},
}
STATUS = {"2": 200, "u": 401, "j": 401, "a": 401}

HEADS, *LINES = [line.split() for line in DECISIONS.strip().splitlines()]
CASES = [
    (f"{method} {path}", who, letter)
    for method, path, *letters in LINES
    for who, letter in zip(HEADS, letters, strict=True)
]


@pytest.fixture(scope="module")
def asked():
    """The application, and what its audit log says."""
    records = recorded_audit()
    return authorization.build(jwks=TOKENS.jwks, keys=MemoryKeys(KEY.record), sinks=records), records


def ask(app, request, **options):
    options = {"extensions": {"tls": {"client_cert_chain": ()}}, **options}
    method, path = request.split(" ")
    if method == "WEBSOCKET":
        answer = asgi.websocket(app, path, **options)
        return 200 if answer.messages[0]["type"] == "websocket.accept" else answer.status
    return asgi.http(app, path, method=method, **options).status


@pytest.mark.parametrize(("request_", "who", "letter"), CASES, ids=[f"{who}: {asks}" for asks, who, _ in CASES])
def test_the_decision_is_the_one_in_the_table(request_, who, letter, asked):
    app, records = asked
    records.clear()
    assert ask(app, request_, **WHO[who]) == STATUS.get(letter, 403)
    (record,) = records.wait()
    assert record.get("reason", "") in REASONS[letter]
    decided = [one for one in record["decisions"] if one["layer"] == "authorization"]
    # A token that does not hold is refused before there is anything to authorize.
    assert len(decided) == (0 if letter == "j" else 1)
    assert all(one["note"] for one in decided)


def test_no_route_is_missing_from_the_table():
    exempt = {"/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}
    written = {tuple(line[:2]) for line in LINES}
    for route in routes_of(authorization.app):
        if route.kind == "barrier" or route.template.text in exempt:
            continue
        for method in route.methods or {"WEBSOCKET"}:
            assert any(method == one and route.template.match(path) is not None for one, path in written), route


def test_the_office_is_let_in_from_the_office(asked):
    app, _ = asked
    office = ("192.0.2.7", 50000)
    assert ask(app, "GET /office/audit", **WHO["auditor"], client=office) == 200
    assert ask(app, "GET /office/audit", **WHO["reader"], client=office) == 403


def sent(issuer="https://id.example.com", audience="orders", **claims):
    factory = TokenFactory(issuer=issuer, audience=audience)
    return factory.jwks, {"headers": {"authorization": f"Bearer {factory.token(**claims)}"}}


OWN = {"GET /orders": 200, "GET /orders/7": 200, "GET /orders/8": 403, "GET /orders/9": 403}


@pytest.mark.parametrize(("request_", "status"), OWN.items(), ids=OWN)
def test_own_orders_only(request_, status):
    """ASVS 8.2.2."""
    jwks, ann = sent(sub="ann", scope="orders:read")
    app = own_orders.build(jwks=jwks)
    assert ask(app, request_, **ann) == status
    assert json.loads(asgi.http(app, "/orders", **ann).body) == [7]


def test_tenants_are_kept_apart():
    """Neither a token of another tenant, nor one that another tenant's issuer has made for this one."""
    factories = {tenant: TokenFactory(issuer=issuer, audience="reports") for tenant, issuer in tenants.ISSUERS.items()}
    app = tenants.build(jwks={tenant: factory.jwks for tenant, factory in factories.items()})

    def asks(factory, claimed, path):
        signed = factories[factory].token(scope="reports:read", tenant=claimed)
        return ask(app, f"GET /tenants/{path}/report", headers={"authorization": f"Bearer {signed}"})

    assert asks("acme", "acme", "acme") == 200
    assert asks("acme", "acme", "zenith") == 403
    assert asks("zenith", "acme", "acme") == 403
    assert asks("acme", "unknown", "unknown") == 403


PAYMENT = {"type": "payment_initiation", "actions": ["initiate", "cancel"], "account": "7"}
STRONG = {"acr": "urn:example:otp", "auth_time": NOW}

PAYMENTS = {
    "all that is needed": ({"authorization_details": [PAYMENT], **STRONG}, 200),
    "another account": ({"authorization_details": [{**PAYMENT, "account": "8"}], **STRONG}, 403),
    "no consent": (STRONG, 403),
    "a weak sign-in": ({"authorization_details": [PAYMENT], "acr": "pwd", "auth_time": NOW}, 401),
    "an old sign-in": ({"authorization_details": [PAYMENT], **STRONG, "auth_time": NOW - 3600}, 401),
}


@pytest.mark.parametrize("case", PAYMENTS.values(), ids=PAYMENTS)
def test_payments_step_up(case):
    """STEP-1, RFC 9396."""
    claims, status = case
    jwks, payer = sent(audience="bank", scope="payments accounts", **claims)
    app = payments.build(jwks=jwks)
    assert ask(app, "GET /accounts/7", **payer) == 200
    answer = asgi.http(app, "/accounts/7/payments", method="POST", **payer)
    assert answer.status == status
    if status == 401:
        assert 'acr_values="urn:example:passkey urn:example:otp", max_age="300"' in answer.headers["www-authenticate"]


def thumbprint(issued):
    digest = issued.certificate.fingerprint(SHA256())
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_service_to_service():
    """TOK-1: the certificate, the token, and that they belong together."""
    warehouse = issue_certificate("uri:spiffe://example.org/ns/shop/warehouse")
    cashier = issue_certificate("uri:spiffe://example.org/ns/shop/cashier")
    outside = issue_certificate("uri:spiffe://example.org/ns/press/desk")
    factory = TokenFactory(issuer="https://id.example.com", audience="stock")
    app = service_to_service.build(jwks=factory.jwks)

    def asks(request, issued, bound_to, scope="stock:read stock:write"):
        claims = {} if bound_to is None else {"cnf": {"x5t#S256": thumbprint(bound_to)}}
        signed = factory.token(scope=scope, **claims)
        return ask(
            app,
            request,
            headers={"authorization": f"Bearer {signed}"},
            **({} if issued is None else certificate(issued)),
        )

    assert asks("PUT /stock/shoes", warehouse, warehouse) == 200
    assert asks("GET /stock/shoes", cashier, cashier) == 200
    assert asks("PUT /stock/shoes", cashier, cashier) == 403
    assert asks("PUT /stock/shoes", warehouse, warehouse, scope="stock:read") == 403
    assert asks("GET /stock/shoes", outside, outside) == 403
    assert asks("PUT /stock/shoes", warehouse, cashier) == 401
    assert asks("PUT /stock/shoes", warehouse, None) == 401
    assert asks("GET /stock/shoes", None, warehouse) == 403
