"""Every route of the example application, asked by everybody there is, against a table that a person has written.

ASVS 8.1.1, 8.2.1, 8.4.1; OWASP API1, API5. And the other examples: who may, and who may not.
"""

import json
import time
from base64 import urlsafe_b64encode

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from examples import authorization, own_orders, payments, service_to_service, tenants

from secure_asgi import DOCS, MemoryKeys, create_key
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


OFFICE = {"client": ("192.0.2.7", 50000)}

WHO = {
    "nobody": {},
    "user": token() | OFFICE,
    "read": token(scope="orders:read"),
    "write": token(scope="orders:write"),
    "both": token(scope="orders:read orders:write"),
    "admin": token(scope="orders:admin"),
    "acme": token(scope="orders:read", tenant="acme"),
    "other": token(scope="orders:read", tenant="zenith"),
    "mfa": token(scope="orders:write", acr="urn:example:mfa", auth_time=NOW),
    "stale": token(scope="orders:write", acr="urn:example:mfa", auth_time=NOW - 3600),
    "weak": token(scope="orders:write", acr="urn:example:password", auth_time=NOW),
    "audit": token(roles=["auditor"]) | OFFICE,
    "chief": token(roles=["manager"]),
    "key": {"headers": {"x-api-key": KEY.key.reveal()}},
    "cert": certificate(PARTNER),
    "alien": certificate(STRANGER),
}

# 2 answered, e exempt: both 200. The rest is refused: u nobody is known, a sign in again (both 401),
# s scope, r role, p permission, t tenant, c no certificate, x another certificate, n network (403).
DECISIONS = """
                               nobody user read write both admin acme other mfa stale weak audit chief key cert alien
GET /health                       2    2    2     2    2     2    2     2    2    2     2    2     2    2    2    2
GET /me                           u    2    2     2    2     2    2     2    2    2     2    2     2    2    2    2
GET /v1/orders                    u    s    2     s    2     s    2     2    s    s     s    s     s    2    s    s
POST /v1/orders                   u    s    s     s    2     s    s     s    s    s     s    s     s    s    s    s
GET /v1/orders/7                  u    s    2     s    2     2    2     2    s    s     s    s     s    2    s    s
DELETE /v1/orders/7               u    p    p     p    p     p    p     p    p    p     p    p     2    p    p    p
GET /tenants/acme/report          u    s    t     s    t     s    2     t    s    s     s    s     s    t    s    s
POST /payments                    u    s    s     a    a     s    s     s    2    a     a    s     s    s    s    s
GET /partners/prices              u    c    c     c    c     c    c     c    c    c     c    c     c    c    2    x
GET /office/audit                 n    r    n     n    n     n    n     n    n    n     n    2     n    n    n    n
WEBSOCKET /live                   u    s    2     s    2     s    2     2    s    s     s    s     s    2    s    s
GET/HEAD /reports/daily           u    r    r     r    r     r    r     r    r    r     r    2     2    r    r    r
GET/HEAD /openapi.json            e    e    e     e    e     e    e     e    e    e     e    e     e    e    e    e
GET/HEAD /docs                    e    e    e     e    e     e    e     e    e    e     e    e     e    e    e    e
GET/HEAD /docs/oauth2-redirect    e    e    e     e    e     e    e     e    e    e     e    e     e    e    e    e
GET/HEAD /redoc                   e    e    e     e    e     e    e     e    e    e     e    e     e    e    e    e
"""

OUTCOMES = {
    "2": (200, "pass", ""),
    "e": (200, "exempt", ""),
    "u": (401, "deny", "principal_missing"),
    "a": (401, "deny", "authentication_insufficient"),
    "s": (403, "deny", "scope_insufficient"),
    "r": (403, "deny", "role_missing"),
    "p": (403, "deny", "permission_missing"),
    "t": (403, "deny", "claim_mismatch"),
    "c": (403, "deny", "certificate_missing"),
    "x": (403, "deny", "certificate_not_allowed"),
    "n": (403, "deny", "network_not_allowed"),
}

HEADS, *WRITTEN = [line.split() for line in DECISIONS.strip().splitlines()]
LINES = [(method, path, letters) for methods, path, *letters in WRITTEN for method in methods.split("/")]
CASES = [
    pytest.param(f"{method} {path}", who, letter, id=f"{who}: {method} {path}")
    for method, path, letters in LINES
    for who, letter in zip(HEADS, letters, strict=True)
]
ROUTES = routes_of(authorization.app)


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


@pytest.mark.parametrize(("request_", "who", "letter"), CASES)
def test_the_decision_is_the_one_in_the_table(request_, who, letter, asked):
    app, records = asked
    records.clear()
    status, verdict, reason = OUTCOMES[letter]
    assert ask(app, request_, **WHO[who]) == status
    (record,) = records.wait()
    assert record.get("reason", "") == reason
    # LOGV-2
    assert record["event"] == {200: "request", 401: "authn_login_fail", 403: "authz_fail"}[status]
    (decided,) = [one for one in record["decisions"] if one["layer"] == "authorization"]
    assert (decided["verdict"], decided.get("reason", "")) == (verdict, reason)
    # Which rule it was is on record too; an exempt path has none.
    assert ("note" in decided) == (verdict != "exempt")


def test_every_principal_has_a_column():
    assert list(WHO) == HEADS


def test_every_route_has_a_line_and_every_line_a_route():
    """By the route that answers, as the router finds it: another's line does not count for a new route."""

    def answering(method, path):
        return next((one for one in ROUTES if one.takes(method) and one.template.match(path) is not None), None)

    methods = {"websocket": {"WEBSOCKET"}, "opaque": {"*"}}
    there = {
        (method, route)
        for route in ROUTES
        if route.kind != "barrier"
        for method in methods.get(route.kind, route.methods or {"*"})
    }
    assert {(method, answering(method, path)) for method, path, _ in LINES} == there


@pytest.mark.parametrize(("method", "path"), [line[:2] for line in LINES], ids=lambda part: part)
def test_a_token_that_does_not_hold_opens_nothing(method, path, asked):
    """Not what is public either. It is refused before there is anything to authorize."""
    app, records = asked
    records.clear()
    junk = {"headers": {"authorization": "Bearer junk"}}
    is_exempt = path in DOCS
    assert ask(app, f"{method} {path}", **junk) == (200 if is_exempt else 401)
    (record,) = records.wait()
    assert record.get("reason", "") == ("" if is_exempt else "token_malformed")
    assert any(one["layer"] == "authorization" for one in record["decisions"]) == is_exempt


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


READING = {"type": "account_information", "actions": ["read_balances"], "account": "7"}
PAYING = {"type": "payment_initiation", "actions": ["initiate", "cancel"], "account": "7", "identifier": "p1"}
STRONG = {"acr": "urn:example:otp", "auth_time": NOW}

PAYMENTS = {
    # claims beside the scopes: the payment, the balance
    "all that is needed": ({"authorization_details": [READING, PAYING], **STRONG}, 200, 200),
    "another account": ({"authorization_details": [{**PAYING, "account": "8"}], **STRONG}, 403, 403),
    "another payment": ({"authorization_details": [READING, {**PAYING, "identifier": "p2"}], **STRONG}, 403, 200),
    "halves of two consents": (
        {"authorization_details": [{**PAYING, "account": "8"}, {**PAYING, "identifier": "p2"}], **STRONG},
        403,
        403,
    ),
    "no consent": (STRONG, 403, 403),
    "a weak sign-in": ({"authorization_details": [READING, PAYING], "acr": "pwd", "auth_time": NOW}, 401, 200),
    "an old sign-in": ({"authorization_details": [READING, PAYING], **STRONG, "auth_time": NOW - 3600}, 401, 200),
}


@pytest.mark.parametrize("case", PAYMENTS.values(), ids=PAYMENTS)
def test_payments_step_up(case):
    """STEP-1, RFC 9396."""
    claims, paying, reading = case
    jwks, payer = sent(audience="bank", scope="payments accounts", **claims)
    app = payments.build(jwks=jwks)
    assert ask(app, "GET /accounts/7", **payer) == reading
    answer = asgi.http(app, "/accounts/7/payments/p1", method="POST", **payer)
    assert answer.status == paying
    if paying == 401:
        assert 'acr_values="urn:example:passkey urn:example:otp", max_age="300"' in answer.headers["www-authenticate"]


def test_a_payment_that_was_not_prepared_is_not_made():
    jwks, payer = sent(
        audience="bank", scope="payments", authorization_details=[{**PAYING, "identifier": "p2"}], **STRONG
    )
    assert ask(payments.build(jwks=jwks), "POST /accounts/7/payments/p2", **payer) == 404


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
