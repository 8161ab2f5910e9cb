"""Verifying a token: against the bare signature check, PyJWT, joserfc, Authlib, fastmcp; warm; and junk."""

import json
import os
import time
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from secure_asgi import BearerAuthMiddleware, TokenError
from secure_asgi.bearer.claims import DEFAULT_MAX_BYTES, ClaimRules
from secure_asgi.bearer.keys import KeySet
from secure_asgi.exchange import Exchange
from secure_asgi.flow import Layer
from secure_asgi.testing import TokenFactory

from .harness import Request, Rounds, Row, at_least, at_most, just, measure, request_through
from .service import HEADERS, SCOPE, orders, request_scope

GOALS = {"RS256": 1.45, "ES256": 1.15, "EdDSA": 1.12}
PEERS = ("PyJWT", "joserfc", "Authlib", "fastmcp")


class EmptyLayer(Layer):
    """A flow and nothing in it: what the first layer costs, whichever it is."""

    name = "empty"


class ReadingLayer(Layer):
    """One that has looked into the header fields, as the audit, the trusted proxy and most others do."""

    name = "reading"

    def on_request(self, exchange: Exchange, scope: Any) -> None:
        exchange.fields(scope)


class Tokens:
    """A token of one algorithm, and the ways to verify it."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.name = "Ed25519" if algorithm == "EdDSA" else algorithm
        self.factory = TokenFactory(algorithm=self.name)
        header = {"alg": algorithm}
        self.token = self.factory.token(
            header=header, scope=SCOPE, exp=int(time.time()) + 3600, email="ada@example.com", name="Ada Lovelace"
        )
        member = {**self.factory.jwks["keys"][0], "alg": algorithm}
        self.jwks = {"keys": [member]}
        self.keys = KeySet(self.jwks, algorithms=algorithm)
        self.material: Any = jwt.PyJWK(member, algorithm).key
        self.pem = self.material.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()
        self.rules = ClaimRules(self.factory.issuer, self.factory.audience, "jwt", 30.0, None)

    def ours(self, token: bytes | None = None) -> Callable[[], object]:
        known = self.token.encode() if token is None else token
        rules, keys = self.rules, self.keys
        return lambda: rules.read(known, keys, DEFAULT_MAX_BYTES, time.time())

    def raw(self, token: bytes | None = None) -> Callable[[], object]:
        """``cryptography`` alone, everything prepared."""
        signed, _, tail = (self.token.encode() if token is None else token).rpartition(b".")
        signature, verify, digest = _decoded(tail), self.material.verify, hashes.SHA256()
        if self.algorithm == "RS256":
            scheme = padding.PKCS1v15()
            return lambda: verify(signature, signed, scheme, digest)
        if self.algorithm == "ES256":
            der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
            ecdsa = ec.ECDSA(digest)
            return lambda: verify(der, signed, ecdsa)
        return lambda: verify(signature, signed)

    def plain(self) -> Callable[[], object]:
        """The bare signature with the standard library's base64 and JSON, and no check."""
        raw, parts = self.raw(), self.token.encode().split(b".")

        def run() -> None:
            head, body, _ = (urlsafe_b64decode(part + b"==") for part in parts)
            json.loads(head), json.loads(body)
            raw()

        return run

    def peers(self) -> dict[str, Callable[[], object]]:
        issuer, audience, algorithms = self.factory.issuer, self.factory.audience, [self.algorithm]
        token, member, material = self.token, self.jwks["keys"][0], self.material
        import joserfc.jwk
        import joserfc.jwt

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from authlib.jose import JsonWebKey, JsonWebToken
        wanted: dict[str, Any] = {
            "iss": {"essential": True, "value": issuer},
            "aud": {"essential": True, "value": audience},
            "exp": {"essential": True},
            "sub": {"essential": True},
        }
        joserfc_key, registry = joserfc.jwk.import_key(member), joserfc.jwt.JWTClaimsRegistry(**wanted)
        authlib, authlib_key = JsonWebToken(algorithms), JsonWebKey.import_key(member)
        options: Any = {"require": ["exp", "iss", "aud", "sub"]}
        return {
            "PyJWT": lambda: jwt.decode(
                token, material, algorithms=algorithms, issuer=issuer, audience=audience, options=options
            ),
            "joserfc": lambda: registry.validate(joserfc.jwt.decode(token, joserfc_key, algorithms=algorithms).claims),
            "Authlib": lambda: authlib.decode(token, authlib_key, claims_options=wanted).validate(),
        }

    def fastmcp(self) -> Request:
        from fastmcp.server.auth.providers.jwt import JWTVerifier

        verifier = JWTVerifier(
            public_key=self.pem, issuer=self.factory.issuer, audience=self.factory.audience, algorithm=self.algorithm
        )

        async def run() -> None:
            if await verifier.verify_token(self.token) is None:
                raise SystemExit("fastmcp refuses the token")

        return run


def rows() -> Iterator[Row]:
    for algorithm, goal in GOALS.items():
        yield from _cold(Tokens(algorithm), goal)
    yield from _junk(Tokens("RS256"))
    yield from _through_the_middleware(Tokens("RS256"))


def _cold(tokens: Tokens, goal: float) -> Iterator[Row]:
    name = tokens.algorithm
    variants = {"ours": tokens.ours(), "raw": tokens.raw(), "plain": tokens.plain(), **tokens.peers()}
    for run in variants.values():
        run()  # each takes the token, or nothing is measured
    measured = measure({"nothing": _block(int), **_blocks(variants), "fastmcp": (tokens.fastmcp(), 30)}, rounds=41)
    yield just(f"{name}: the signature alone", measured.added("raw", "nothing"), "us")
    yield just(f"{name}: ours, all claims checked", measured.added("ours", "nothing"), "us")
    yield at_most(f"{name}: ours / the signature alone", measured.ratio("ours", "raw", "nothing"), goal, "x")
    yield at_most(
        f"{name}: ours / signature, stdlib base64 and json", measured.ratio("ours", "plain", "nothing"), 1, "x"
    )
    for peer in PEERS:
        ratio = measured.ratio(peer, "ours", "nothing")
        if (name, peer) == ("RS256", "PyJWT"):
            yield at_least(f"{name}: {peer} / ours", ratio, 2.3, "x")
        else:
            yield just(f"{name}: {peer} / ours", ratio, "x")


def _junk(tokens: Tokens) -> Iterator[Row]:
    head, body, _ = tokens.token.encode().split(b".")
    none = _encoded(bytes(256))
    long = _encoded(os.urandom(DEFAULT_MAX_BYTES))
    room = DEFAULT_MAX_BYTES - len(head) - len(none) - 2
    headers = {
        "a header never seen": b"1",
        "a header of many objects": b"[" + b",".join([b"{}"] * 1300) + b"]",
        "a header of many numbers": b"[" + b",".join([b"0.1"] * 900) + b"]",
        "a header of 4 kB": b'"' + b"x" * 4000 + b'"',
    }
    kid = tokens.keys.find("RS256", None).kid
    cases = {
        "a wrong signature": b".".join((head, body, none)),
        "8 kB, most of it payload": b".".join((head, long[:room], none)),
        "8 kB, most of it signature": b".".join((head, b"e30", long[: room + len(none) - 3])),
        **{
            name: b".".join((_encoded(b'{"alg":"RS256","kid":"%s","x":%s}' % (str(kid).encode(), value)), body, none))
            for name, value in headers.items()
        },
        "over max_bytes": long + long,
    }
    variants: dict[str, Callable[[], object]] = {}
    for name, token in cases.items():
        variants[name] = _refused(tokens.ours(token), TokenError)
        # The bare check hashes what there is to hash; beside the rest it does the same for an ordinary token.
        sized = ".".join((head.decode(), long[:room].decode(), "")) if "payload" in name else ""
        variants[f"raw {name}"] = _refused(
            tokens.raw((sized.encode() if sized else head + b"." + body + b".") + none), InvalidSignature
        )
    measured = measure({"nothing": _block(int), **_blocks(variants)}, rounds=41)
    for name in cases:
        if name == "over max_bytes":
            yield at_most(f"junk: {name}", measured.added(name, "nothing"), 1, "us")
        else:
            yield at_most(f"junk: {name}, over the bare check", measured.added(name, f"raw {name}"), 5, "us")


def _through_the_middleware(tokens: Tokens) -> Iterator[Row]:
    def guarded() -> BearerAuthMiddleware:
        return BearerAuthMiddleware(
            orders, issuer=tokens.factory.issuer, audience=tokens.factory.audience, jwks=tokens.factory.jwks
        )

    warm, forgetful = guarded(), guarded()
    head, body, _ = tokens.token.encode().split(b".")
    long = _encoded(os.urandom(DEFAULT_MAX_BYTES))
    forgotten = request_through(EmptyLayer(forgetful), _scope(tokens.token.encode()))

    async def cold() -> None:
        forgetful._verified.clear()
        await forgotten()

    read = request_through(ReadingLayer(forgetful), _scope(tokens.token.encode()))

    async def cold_reading() -> None:
        forgetful._verified.clear()
        await read()

    variants: dict[str, tuple[Request, int]] = {
        "empty": (request_through(EmptyLayer(orders), _scope(tokens.token.encode())), 100),
        "reading": (request_through(ReadingLayer(orders), _scope(tokens.token.encode())), 100),
        "cold": (cold, 30),
        "warm": (request_through(EmptyLayer(warm), _scope(tokens.token.encode())), 100),
        "warm, reading": (request_through(ReadingLayer(warm), _scope(tokens.token.encode())), 100),
        "cold, reading": (cold_reading, 30),
        "junk": (request_through(EmptyLayer(warm), _scope(b".".join((head, body, _encoded(bytes(256)))))), 30),
        "over": (request_through(EmptyLayer(warm), _scope(long + long)), 30),
        "PyJWT": (_blocks({"PyJWT": tokens.peers()["PyJWT"]})["PyJWT"][0], 30),
    }
    measured: Rounds = measure(variants, rounds=41)
    for name in ("cold", "warm", "junk", "over"):
        yield just(f"middleware, {name}: added to an empty layer", measured.added(name, "empty"), "us")
    yield just(
        "middleware, warm: added to a layer that has read the fields", measured.added("warm, reading", "reading"), "us"
    )
    yield at_least("middleware, the only layer: cold / warm", measured.ratio("cold", "warm", "empty"), 20, "x")
    yield at_least(
        "middleware, beside a layer that has read the fields: cold / warm",
        measured.ratio("cold, reading", "warm, reading", "reading"),
        20,
        "x",
    )
    yield just(
        "PyJWT / middleware, warm", measured.combined(lambda one: one["PyJWT"] / (one["warm"] - one["empty"])), "x"
    )


def _scope(token: bytes) -> dict[str, Any]:
    rest = [field for field in HEADERS if field[0] != b"authorization"]
    return request_scope([*rest, (b"authorization", b"Bearer " + token)])


def _blocks(variants: dict[str, Callable[[], object]]) -> dict[str, tuple[Request, int]]:
    return {name: _block(run) for name, run in variants.items()}


def _block(run: Callable[[], object]) -> tuple[Request, int]:
    async def request() -> None:
        run()

    return request, 30


def _refused(run: Callable[[], object], error: type[Exception]) -> Callable[[], object]:
    def check() -> None:
        try:
            run()
        except error:
            return
        raise SystemExit("junk is taken for a token")

    return check


def _encoded(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def _decoded(text: bytes) -> bytes:
    return urlsafe_b64decode(text + b"==")
