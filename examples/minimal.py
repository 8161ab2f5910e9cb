"""The least one needs: ``uvicorn examples.minimal:app``.

Every request but the documentation needs a token of the issuer; limits, errors, headers and the audit log are there.
"""

from typing import Any

from fastapi import FastAPI, Request
from starlette.authentication import requires

from secure_asgi import preset, problem_handlers, secure_stack

app = FastAPI(
    middleware=secure_stack(*preset("api", issuer="https://id.example.com", audience="orders", limits="600/minute")),
    exception_handlers=problem_handlers(),
)


@app.get("/orders/{number}")
@requires("orders:read")
async def read(request: Request, number: int) -> dict[str, Any]:
    return {"number": number, "asked_by": request.user.subject}
