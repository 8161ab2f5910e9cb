"""Several tenants, each with an issuer of its own, kept apart by one line: ``uvicorn examples.tenants:app``.

A token is judged by the rules of the issuer that it names, and its ``tenant`` claim has to be the tenant in the path.
That an issuer speaks for its own tenant alone is a second rule, which the predicate holds (ASVS 8.4.1).
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from secure_asgi import (
    DOCS,
    Access,
    AuditMiddleware,
    AuthorizationMiddleware,
    BearerAuthMiddleware,
    Issuer,
    Middleware,
    Rule,
    problem_handlers,
    secure_stack,
)

ISSUERS = {"acme": "https://id.acme.example", "zenith": "https://id.zenith.example"}


async def speaks_for_its_tenant(access: Access) -> bool:
    return access.principal is not None and access.principal.issuer == ISSUERS.get(access.params["tenant"])


def build(*, jwks: Mapping[str, dict[str, Any]] | None = None) -> FastAPI:
    """``jwks`` the keys of each tenant; without, they are fetched from its issuer when they are needed."""
    issuers = [
        Issuer(url, audience="reports", **({"prefetch": False} if jwks is None else {"jwks": jwks[tenant]}))
        for tenant, url in ISSUERS.items()
    ]
    app = FastAPI(
        middleware=secure_stack(
            Middleware(AuditMiddleware),
            Middleware(BearerAuthMiddleware, issuers=issuers, exempt=DOCS),
            Middleware(
                AuthorizationMiddleware,
                rules=Rule(
                    "GET",
                    "/tenants/{tenant}/report",
                    scopes="reports:read",
                    claims={"tenant": "{tenant}"},
                    when=speaks_for_its_tenant,
                ),
                exempt=DOCS,
            ),
        ),
        exception_handlers=problem_handlers(),
    )

    @app.get("/tenants/{tenant}/report")
    async def report(tenant: str) -> dict[str, str]:
        return {"report of": tenant}

    return app


app = build()
