"""Which of 200 rules decides, and whether it is met: the layer alone, and under FastAPI beside a dependency."""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request

from secure_asgi import AuthorizationMiddleware, Principal, Rule, SanitizedErrorMiddleware
from secure_asgi.exchange import Exchange
from secure_asgi.flow import Layer

from .harness import Request as Asked
from .harness import Row, at_most, just, measure, request_through
from .service import request_scope

ANN = Principal(subject="ann", scopes=frozenset({"orders:read", "orders:write"}), roles=frozenset({"clerk"}))
RESOURCES = 50
PATHS = {"a literal path": "/r49", "a parameter": "/r49/1042", "two parameters": "/r49/1042/items/7"}


def rules() -> list[Rule]:
    """Four for each of fifty resources, the one that decides here among the last."""
    return [
        rule
        for number in range(RESOURCES)
        for rule in (
            Rule("GET", f"/r{number}", scopes="orders:read"),
            Rule("GET", f"/r{number}/{{id}}", scopes="orders:read"),
            Rule(("PUT", "DELETE"), f"/r{number}/{{id}}", scopes="orders:write", roles="admin"),
            Rule("GET", f"/r{number}/{{id}}/items/{{item}}", scopes={"orders:read", "orders:write"}),
        )
    ]


class Known(Layer):
    """Stands for a layer that authenticates, so that it costs nothing here."""

    name = "known"

    def on_request(self, exchange: Exchange, scope: dict[str, Any]) -> None:
        exchange.principal = scope["user"] = ANN


def rows() -> Iterator[Row]:
    layer = AuthorizationMiddleware(None, rules=rules(), coverage="report")
    decisions: dict[str, tuple[Asked, int]] = {"nothing": _block(lambda: None)}
    for name, path in PATHS.items():
        decisions[name] = _block(_decided(layer, path))
        decisions[f"loop: {name}"] = _block(_looped(layer, path), 10)
    measured = measure(decisions)
    for name in PATHS:
        yield at_most(f"the decision among 200 rules: {name}", measured.added(name, "nothing"), 2, "us")
    yield just("a loop over the same rules: a parameter", measured.added("loop: a parameter", "nothing"), "us")

    scope = {**request_scope(), "path": "/r49/1042", "raw_path": b"/r49/1042", "method": "GET"}
    apps: dict[str, Any] = {
        "bare": Known(_service()),
        "layer": Known(AuthorizationMiddleware(_service(), rules=rules(), coverage="report")),
        "layer, beside errors": Known(
            SanitizedErrorMiddleware(AuthorizationMiddleware(_service(), rules=rules(), coverage="report"))
        ),
        "errors": Known(SanitizedErrorMiddleware(_service())),
        "dependency": Known(_service(guarded=True)),
    }
    requests = measure({name: (request_through(app, scope), 20) for name, app in apps.items()}, rounds=31)
    yield just("a bare FastAPI request, the principal known", requests.median("bare"), "us")
    yield just("AuthorizationMiddleware, added", requests.added("layer", "bare"), "us")
    yield just("a FastAPI dependency that checks the same scope, added", requests.added("dependency", "bare"), "us")
    yield just(
        "the dependency / the middleware",
        requests.combined(lambda one: (one["dependency"] - one["bare"]) / (one["layer"] - one["bare"])),
        "x",
    )


def _decided(layer: AuthorizationMiddleware, path: str) -> Callable[[], object]:
    scope = {**request_scope(), "path": path, "method": "GET"}
    exchange = Exchange(scope)
    exchange.principal = ANN
    if layer.on_request(exchange, scope) is not layer.on_request(exchange, scope):
        raise SystemExit(f"{path} does not pass")
    return lambda: layer.on_request(exchange, scope)


def _looped(layer: AuthorizationMiddleware, path: str) -> Callable[[], object]:
    """What one would write: the first template that matches, then its scopes."""
    written = layer.rules

    def run() -> bool:
        for rule in written:
            if (rule.methods is None or "GET" in rule.methods) and rule.template.match(path) is not None:
                return set(rule.scopes) <= ANN.scopes
        return False

    return run


def _service(*, guarded: bool = False) -> FastAPI:
    app = FastAPI()

    async def require_read(request: Request) -> None:
        if not {"orders:read"} <= request.user.scopes:
            raise HTTPException(403)

    @app.get("/r49/{id}", dependencies=[Depends(require_read)] if guarded else [])
    async def read(id: int) -> dict[str, int]:
        return {"id": id}

    return app


def _block(run: Callable[[], object], count: int = 200) -> tuple[Asked, int]:
    async def request() -> None:
        run()

    return request, count
