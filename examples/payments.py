"""Step-up for payments: reading needs a sign-in, paying a strong and recent one, and the consent to that payment.

``uvicorn examples.payments:app``. A client that gets 401 with ``insufficient_user_authentication`` sends its user to
sign in again with the ``acr_values`` and ``max_age`` of the challenge (RFC 9470), and repeats the request with the new
token.
"""

from typing import Any

from fastapi import FastAPI

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

RULES = [
    Rule("GET", "/accounts/{account}", scopes="accounts"),
    Rule(
        "POST",
        "/accounts/{account}/payments",
        scopes="payments",
        # What the user has agreed to at the provider, for this account (RFC 9396).
        authorization_details={"type": "payment_initiation", "actions": ["initiate"], "account": "{account}"},
        acr=("urn:example:passkey", "urn:example:otp"),
        max_age=300,
    ),
]


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

    @app.post("/accounts/{account}/payments")
    async def pay(account: str) -> dict[str, str]:
        return {"account": account, "status": "accepted"}

    return app


app = build()
