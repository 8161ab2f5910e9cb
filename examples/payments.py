"""Step-up for payments: paying needs a strong and recent sign-in, and the user's consent to that payment.

``uvicorn examples.payments:app``; put your own provider where it says ``id.example.com``. A client that gets 401 with
``insufficient_user_authentication`` sends its user to sign in again with the ``acr_values`` and ``max_age`` of the
challenge (RFC 9470), and repeats the request with the new token.
"""

from typing import Any

from fastapi import FastAPI, HTTPException

from secure_asgi import (
    DOCS,
    AuditMiddleware,
    AuthorizationMiddleware,
    BearerAuthMiddleware,
    Middleware,
    Rule,
    problem_handlers,
    secure_stack,
)

# What the user has agreed to at the provider (RFC 9396). A scope alone would open the accounts of everybody.
READING = {"type": "account_information", "actions": "read_balances", "account": "{account}"}
PAYING = {"type": "payment_initiation", "actions": "initiate", "account": "{account}", "identifier": "{payment}"}

RULES = [
    Rule("GET", "/accounts/{account}", scopes="accounts", authorization_details=READING),
    Rule(
        "POST",
        "/accounts/{account}/payments/{payment}",
        scopes="payments",
        authorization_details=PAYING,
        acr=("urn:example:passkey", "urn:example:otp"),
        max_age=300,
    ),
]

PREPARED = {("7", "p1"): "59.90 EUR to the shoe shop"}
"""Before the user is asked, and never changed after: a rule sees no body, so the amount must not stand in one."""


def build(*, jwks: dict[str, Any] | None = None) -> FastAPI:
    token: dict[str, Any] = {"issuer": "https://id.example.com", "audience": "bank"}
    token |= {"prefetch": False} if jwks is None else {"jwks": jwks}
    app = FastAPI(
        middleware=secure_stack(
            Middleware(AuditMiddleware),
            Middleware(BearerAuthMiddleware, **token, exempt=DOCS),
            Middleware(AuthorizationMiddleware, rules=RULES, exempt=DOCS),
        ),
        exception_handlers=problem_handlers(),
    )

    @app.get("/accounts/{account}")
    async def balance(account: str) -> dict[str, str]:
        return {"account": account, "balance": "59.90"}

    @app.post("/accounts/{account}/payments/{payment}")
    async def pay(account: str, payment: str) -> dict[str, str]:
        if (account, payment) not in PREPARED:
            raise HTTPException(404)
        return {"paid": PREPARED[account, payment]}

    return app


app = build()
