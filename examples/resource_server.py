"""An OAuth 2.0 resource server with everything a token can be: ``uvicorn examples.resource_server:app``.

It starts without a provider, and says so in its log: put your own where it says ``ISSUER``. JWTs are verified by the
provider's keys, opaque tokens are asked about, bound ones need their certificate or proof, and ``withdraw()`` takes a
token back. With several workers give ``Revocations`` and a ``RedisReplayStore`` the URL of one Redis.
"""

from typing import Any

from fastapi import FastAPI, Request

from secure_asgi import (
    AuditMiddleware,
    BearerAuthMiddleware,
    FailureLimit,
    Introspection,
    Middleware,
    ProtectedResource,
    Revocations,
    Secret,
    problem_handlers,
    secure_stack,
)

ISSUER = "https://id.example.com"
RESOURCE = ProtectedResource(
    "https://api.example.com/", authorization_servers=ISSUER, scopes_supported=("orders:read", "orders:write")
)

revocations = Revocations()

app = FastAPI(
    middleware=secure_stack(
        Middleware(AuditMiddleware),
        Middleware(
            BearerAuthMiddleware,
            issuer=ISSUER,
            audience=RESOURCE.resource,
            introspection=Introspection(
                f"{ISSUER}/introspect", client_id="orders", client_secret=Secret("read it from a file")
            ),
            dpop="accept",
            revocation=revocations,
            failure_limit=FailureLimit(20, per=60.0),
            require_scopes="orders:read",
            resource=RESOURCE,
            readiness_path="/ready",
            prefetch=False,
        ),
    ),
    exception_handlers=problem_handlers(),
)


@app.get("/")
async def who(request: Request) -> dict[str, Any]:
    return {"subject": request.user.subject, "method": request.user.method, "scopes": sorted(request.user.scopes)}


async def withdraw(token_id: str, until: float) -> None:
    """Call it when somebody signs out; ``until`` is the token's ``exp``."""
    await revocations.revoke(token_id, issuer=ISSUER, until=until)
