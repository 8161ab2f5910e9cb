"""An issuer that fails in every way a real HTTP server can, under load; what ``test_bearer_keys`` shows one by one."""

import asyncio
import gc
import json
import logging
import socket
import ssl
import time
from contextlib import asynccontextmanager

import httpx
import pytest

from secure_asgi import BearerAuthMiddleware
from secure_asgi._fetch import Document
from secure_asgi.bearer.source import KeysUnavailableError
from secure_asgi.bearer.unavailable import UnavailableError
from secure_asgi.denial import Reason
from secure_asgi.testing import TokenFactory
from secure_asgi.testing.certificates import CertificateAuthority

from . import asgi
from .issuer import Issuer
from .test_bearer_keys import JSON, World, drips, floods, hangs, source_of, with_issuer

METADATA = "/.well-known/openid-configuration"
MAX_LAG = 0.1
"""Seconds that the event loop's thread computes between two beats: what other processes take from us is not counted."""
MAX_BLOCKED = 1.0
"""Seconds on the clock, for what blocks without computing; generous, because the machine may be busy."""


@asynccontextmanager
async def a_loop_that_goes_on():
    """Fails if one turn of the event loop took too long."""
    turns = []

    async def heartbeat():
        while True:
            computed, began = time.thread_time(), time.perf_counter()
            await asyncio.sleep(0.001)
            turns.append((time.thread_time() - computed, time.perf_counter() - began))

    gc.collect()
    gc.freeze()  # the garbage of a whole test run is not the issuer's fault
    beat = asyncio.ensure_future(heartbeat())
    await asyncio.sleep(0)  # its first turn begins before what is watched
    try:
        yield
    finally:
        await asyncio.sleep(0.002)  # the beat that is due comes first
        beat.cancel()
        gc.unfreeze()
    assert max(computed for computed, _ in turns) < MAX_LAG
    assert max(passed for _, passed in turns) < MAX_BLOCKED


class Held:
    """An answer that comes when it is let go; ``is_asked`` is set when somebody waits for it."""

    def __init__(self, status, headers, body):
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
        self.octets = "\r\n".join([*lines, "connection: close", "", ""]).encode() + body
        self.is_asked, self.is_free = asyncio.Event(), asyncio.Event()

    async def __call__(self, writer):
        self.is_asked.set()
        await self.is_free.wait()
        writer.write(self.octets)
        await writer.drain()


def raw(octets):
    async def answers(writer):
        writer.write(octets)
        await writer.drain()

    return answers


async def drips_its_head(writer):
    writer.write(b"HTTP/1.1 200 X\r\n")
    for n in range(100):
        writer.write(b"x-%d: y\r\n" % n)
        await writer.drain()
        await asyncio.sleep(0.05)


TEN_MEGABYTES = b" " * 10_000_000
FAULTS = {
    "down": ((503, {}, b""), "status 503"),
    "moved for good": ((301, {"location": "/elsewhere"}, b""), "status 301"),
    "moved for now": ((302, {"location": "/elsewhere"}, b""), "status 302"),
    "see other": ((303, {"location": "/elsewhere"}, b""), "status 303"),
    "moved, same method": ((307, {"location": "/elsewhere"}, b""), "status 307"),
    "moved for good, same method": ((308, {"location": "/elsewhere"}, b""), "status 308"),
    "nothing": ((204, {}, b""), "status 204"),
    "HTML": ((200, {"content-type": "text/html"}, b"<html>"), "content type 'text/html'"),
    "HTML that says it is JSON": ((200, JSON, b"<html>"), "JSON"),
    "garbage": ((200, JSON, bytes(range(256))), "JSON"),
    "ten megabytes": ((200, JSON, TEN_MEGABYTES), "more than"),
    "no end": (floods, "more than"),
    "compressed": ((200, {**JSON, "content-encoding": "gzip"}, b"\x1f\x8b"), "content encoding"),
    "cut off": (
        raw(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"),
        "RemoteProtocol",
    ),
    "hangs up": (raw(b""), "RemoteProtocol"),
    "not HTTP": (raw(b"SSH-2.0-x\r\n"), "RemoteProtocol"),
    "a head without end": (raw(b"HTTP/1.1 200 X\r\n" + b"x: y\r\n" * 100_000), "RemoteProtocol"),
    "slow": (hangs, "Timeout"),
    "drips": (drips, "Timeout"),
    "drips its head": (drips_its_head, "Timeout"),
}


@pytest.mark.parametrize("path", ["/jwks", METADATA], ids=["keys", "metadata"])
@pytest.mark.parametrize(("fault", "complaint"), FAULTS.values(), ids=FAULTS)
def test_an_issuer_at_fault(fault, complaint, path, caplog):
    """JWKS-3, JWKS-4, META-2: 503 and not 401, nothing of the fault said to the client, all of it to the log."""

    async def test(world):
        world.issuer.publish(world.tokens.jwks, path="/elsewhere")
        good, world.issuer.answers[path] = world.issuer.answers[path], fault
        async with a_loop_that_goes_on():
            answer = await world.ask()
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert "www-authenticate" not in answer.headers
        assert world.issuer.url.encode() not in answer.body
        assert complaint.encode() not in answer.body
        (warning,) = (record.message for record in caplog.records if record.levelno == logging.WARNING)
        assert complaint in warning
        assert world.issuer.asked["/elsewhere"] == 0
        world.issuer.answers[path], world.now = good, 10
        assert await world.status() == 200

    with_issuer(test, fetch_timeout=0.3 if complaint == "Timeout" else 5.0)


def test_a_port_that_is_closed_and_open_again():
    """JWKS-3: nobody listens, and the issuer comes back."""

    async def test(world):
        assert await world.status() == 200
        port = world.issuer.close()
        for world.now, expected in ((700, 200), (4300, 503)):
            assert await world.status(world.tokens.token(now=world.now)) == expected
        await world.issuer.open(port)
        world.now = 4400
        assert await world.status() == 200

    async def run():
        async with ClosingIssuer() as issuer:
            await test(World(issuer))

    asyncio.run(run())


class ClosingIssuer(Issuer):
    def close(self):
        self._server.close()
        return int(self.url.rpartition(":")[2])

    async def open(self, port):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)


FIRST = 500


async def arrive(world, tokens, held):
    """Requests a few at a time, as sockets are read; all wait for the same fetch before it ends."""
    asks = []
    for begin in range(0, len(tokens), 20):
        asks += [asyncio.ensure_future(world.status(token)) for token in tokens[begin : begin + 20]]
        await asyncio.sleep(0)
    await held.is_asked.wait()
    held.is_free.set()
    return await asyncio.gather(*asks)


@pytest.mark.parametrize(("is_good", "expected"), [(True, 200), (False, 503)], ids=["answered", "refused"])
def test_five_hundred_first_requests_are_one_fetch(is_good, expected):
    """JWKS-2: whatever comes of it, and nobody else's request waits for five hundred signatures."""

    async def test(world):
        held = world.issuer.answers["/jwks"] = Held(*(world.issuer.answers["/jwks"] if is_good else (500, {}, b"")))
        tokens = [world.tokens.token(n=n) for n in range(FIRST)]
        async with a_loop_that_goes_on():
            statuses = await arrive(world, tokens, held)
        assert set(statuses) == {expected}
        assert (world.issuer.asked[METADATA], world.fetches) == (1, 1)

    with_issuer(test)


def test_a_thousand_unknown_kids_at_once_are_one_fetch_a_cooldown():
    """JWKS-2: while known keys go on, at every moment."""

    async def test(world):
        assert await world.status() == 200
        good = world.issuer.answers["/jwks"]
        for round_ in (2, 3):
            held = world.issuer.answers["/jwks"] = Held(*good)
            tokens = [world.tokens.unknown_key() for _ in range(500)]
            async with a_loop_that_goes_on():
                statuses = await arrive(world, tokens, held)
                statuses += [await world.status(token) for token in tokens]
            assert set(statuses) == {401}
            assert await world.status(world.tokens.token(round=round_)) == 200
            assert world.fetches == round_
            world.now += 30

    with_issuer(test)


def test_the_first_waiter_goes_away():
    async def test(world):
        held = world.issuer.answers["/jwks"] = Held(*world.issuer.answers["/jwks"])
        first, *others = (asyncio.ensure_future(world.ask()) for _ in range(100))
        await held.is_asked.wait()
        first.cancel()
        others.pop().cancel()
        held.is_free.set()
        assert {answer.status for answer in await asyncio.gather(*others)} == {200}
        assert isinstance((await first).error, asyncio.CancelledError)
        assert world.fetches == 1

    with_issuer(test)


def test_who_goes_away_while_the_others_go_on_holds_up_nobody():
    """Those who wait are let go a few at a time: one that is cancelled between is passed over."""

    async def test(world):
        source = world.source
        held = world.issuer.answers["/jwks"] = Held(*world.issuer.answers["/jwks"])
        waiting = [asyncio.ensure_future(source.wait()) for _ in range(100)]
        await held.is_asked.wait()
        held.is_free.set()
        await waiting[0]
        assert not waiting[-1].done()
        waiting[-2].cancel()
        assert await waiting[-1] is await waiting[0]

    with_issuer(test)


def test_everybody_goes_away():
    async def test(world):
        held = world.issuer.answers["/jwks"] = Held(*world.issuer.answers["/jwks"])
        asks = [asyncio.ensure_future(world.ask()) for _ in range(10)]
        await held.is_asked.wait()
        for ask in asks:
            ask.cancel()
        held.is_free.set()
        await world.settle()
        assert await world.status() == 200
        assert world.fetches == 1

    with_issuer(test)


def test_a_slow_issuer_keeps_nobody_waiting_who_has_known_keys():
    """JWKS-2."""

    async def test(world):
        assert await world.status() == 200
        held = world.issuer.answers["/jwks"] = Held(*world.issuer.answers["/jwks"])
        world.now = 481
        assert [await world.status(world.tokens.token(n=n)) for n in range(20)] == [200] * 20
        await held.is_asked.wait()
        held.is_free.set()
        await world.settle()
        assert world.fetches == 2

    with_issuer(test)


def test_rotation_with_an_overlap():
    """JWKS-3: both keys hold while both are published, the old one not a moment after the next fetch."""

    async def test(world):
        old = world.tokens.token()
        world.tokens.rotate()
        world.issuer.publish(world.tokens.jwks)
        assert [await world.status(old), await world.status()] == [200, 200]
        world.issuer.publish({"keys": [world.tokens.jwks["keys"][0]]})
        kept = world.tokens.jwks["keys"][0]["kid"]
        new = world.tokens.token()
        world.now = 600
        statuses = {await world.status(old), await world.status(new)}
        assert statuses == {200, 401}
        assert set(world.source.current(world.now)._all_kids) == {kept}

    with_issuer(test)


def test_a_withdrawn_key_is_gone_when_its_time_is_up_even_for_a_token_that_is_remembered():
    """JWKS-3: the last key too; and it holds again when it is published again."""

    async def test(world):
        old, members = world.tokens.token(), world.tokens.jwks
        assert await world.status(old) == 200
        world.issuer.publish(TokenFactory().jwks)
        world.now = 600
        assert await world.status(old) == 401
        assert world.fetches == 2
        world.issuer.publish(members)
        world.now = 1200
        assert await world.status(old) == 200

    with_issuer(test)


@pytest.mark.parametrize(
    ("age", "expected"), [(599, 200), (601, 200), (600 + 3599, 200), (600 + 3601, 503)], ids=lambda value: str(value)
)
def test_how_long_keys_outlive_their_time(age, expected):
    """JWKS-3: an hour, from the end of their time, while the issuer fails; then nobody is let in, or called invalid."""

    async def test(world):
        assert await world.status() == 200
        world.issuer.answers.clear()
        world.now = age
        assert await world.status(world.tokens.token(n=1)) == expected
        await world.settle()

    with_issuer(test)


def test_an_issuer_that_publishes_nothing_usable_is_one_that_fails():
    """Keys are not replaced by none."""

    async def test(world):
        assert await world.status() == 200
        world.issuer.publish({"keys": [{"kty": "RSA", "kid": "x"}]})
        world.now = 700
        assert await world.status(world.tokens.token(n=1)) == 200
        assert world.source.is_ready

    with_issuer(test)


P256 = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}
BAD_KEYS = {
    "no object": "key",
    "null": None,
    "no type": {"kid": "bad"},
    "an unknown type": {"kty": "AKP", "kid": "bad", "alg": "ML-DSA-44", "pub": "AA"},
    "a symmetric key": {"kty": "oct", "kid": "bad", "k": "A" * 43},
    "a private key": {**P256, "kid": "bad", "d": "A" * 43},
    "not on the curve": {**P256, "kid": "bad"},
    "for encryption": {**P256, "kid": "bad", "use": "enc"},
    "a kid that is a number": {**P256, "kid": 7},
    "not base64url": {**P256, "kid": "bad", "x": "="},
    "small": {"kty": "RSA", "kid": "bad", "n": "AQAB", "e": "AQAB"},
    "an exponent of one": {"kty": "RSA", "kid": "bad", "n": "_" * 342, "e": "AQ"},
}


@pytest.mark.parametrize("bad", BAD_KEYS.values(), ids=BAD_KEYS)
def test_one_bad_key_does_not_take_the_good_ones_with_it(bad):
    """JWKS-1."""

    async def test(world):
        world.issuer.publish({"keys": [bad, *world.tokens.jwks["keys"], bad]})
        assert await world.status() == 200
        assert world.source.current(0).dropped

    with_issuer(test)


def test_a_hundred_keys_are_prepared_in_one_turn():
    """The most a set may have, of the dearest kinds."""

    async def test(world):
        members = [TokenFactory(algorithm=algorithm).jwks["keys"][0] for algorithm in ("ES512", "Ed25519", "RS256")]
        many = [{**members[n % 3], "kid": f"k{n}"} for n in range(99)]
        world.issuer.publish({"keys": [*many, *world.tokens.jwks["keys"]]})
        async with a_loop_that_goes_on():
            assert await world.status() == 200

    with_issuer(test)


NAMES = {
    "keys.example.net": "93.184.216.34",
    "six.example.net": "2606:4700::1111",
    "inside.example.net": "10.0.0.7",
    "link.example.net": "169.254.169.254",
    "here.example.net": "127.0.0.1",
    "here-too.example.net": "::1",
    "mapped.example.net": "::ffff:10.0.0.7",
    "unique.example.net": "fd00::7",
    "localhost.": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "0x7f.1": "127.0.0.1",
}
LEARNED = {
    "an address on the Internet": ("93.184.216.34", True),
    "a name on the Internet": ("keys.example.net", True),
    "a name with an IPv6 address": ("six.example.net", True),
    "a name unknown here": ("unknown.example.net", True),
    "the issuer's own": ("id.example.com", True),
    "a private address": ("10.0.0.7", False),
    "the cloud's metadata": ("169.254.169.254", False),
    "an IPv6 address of one's own": ("[fd00::7]", False),
    "an IPv4 address in IPv6": ("[::ffff:10.0.0.7]", False),
    "this machine": ("localhost", False),
    "this machine, with a dot": ("localhost.", False),
    "this machine, below": ("a.localhost", False),
    "this machine as a number": ("2130706433", False),
    "this machine in hex": ("0x7f.1", False),
    "a name for a private address": ("inside.example.net", False),
    "a name for the cloud's metadata": ("link.example.net", False),
    "a name for this machine": ("here.example.net", False),
    "a name for this machine in IPv6": ("here-too.example.net", False),
    "a name for a mapped address": ("mapped.example.net", False),
    "a name for an address of one's own": ("unique.example.net", False),
}


@pytest.mark.parametrize(("host", "is_asked"), LEARNED.values(), ids=LEARNED)
def test_where_metadata_may_send_us(host, is_asked, monkeypatch):
    """JWKS-4: what an issuer on the Internet says leads to no address of ours, under whatever name."""

    def resolve(name, port, *args, **options):
        address = NAMES.get(name, name)
        if not address[-1].isdigit() and ":" not in address:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    asked = []
    uri = f"https://{host}/jwks"

    class Scripted:
        async def get(self, url, **bounds):
            asked.append(url)
            return Document(json.dumps({"issuer": "https://id.example.com", "jwks_uri": uri}).encode(), None)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    layer = BearerAuthMiddleware(asgi.hello, issuer="https://id.example.com", audience="orders")
    source_of(layer)._fetcher = Scripted()
    assert asgi.http(layer, headers={"authorization": f"Bearer {TokenFactory().token()}"}).status == 503
    assert (uri in asked) == is_asked


class PrivateIssuer(Issuer):
    """Over TLS, with a certificate of a private authority."""

    def __init__(self, tmp_path):
        super().__init__()
        self.authority = CertificateAuthority()
        certificate = self.authority.issue("dns:localhost", "ip:127.0.0.1", usage="server")
        certificate.write(tmp_path / "cert.pem", tmp_path / "key.pem")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        self.url = f"https://localhost:{self._server.sockets[0].getsockname()[1]}"
        return self


@pytest.mark.parametrize(("is_trusted", "expected"), [(False, 503), (True, 200)], ids=["unknown", "in http="])
def test_a_private_authority(is_trusted, expected, tmp_path):
    """JWKS-4: TLS is verified; a CA of one's own comes with ``http=``."""

    async def run():
        async with PrivateIssuer(tmp_path) as issuer:
            context = ssl.create_default_context(cadata=issuer.authority.certificate_pem.decode())
            async with httpx.AsyncClient(verify=context) as client:
                world = World(issuer, **({"http": client} if is_trusted else {}))
                assert await world.status() == expected

    asyncio.run(run())


def test_ready_is_who_can_judge_a_token_at_once():
    async def test(world):
        source = world.source
        ready = []
        for world.now in (0, 1, 599, 600):
            ready.append(source.is_ready)
            await world.status() if world.now == 0 else None
        assert ready == [False, True, True, False]
        assert world.fetches == 1

    with_issuer(test)


def test_stale_keys_are_ready_as_long_as_they_are_used():
    async def test(world):
        source = world.source
        assert await world.status() == 200
        world.issuer.answers.clear()
        for world.now, expected in ((600, True), (4199, True), (4200, False)):
            source.keep_fresh()
            await world.settle()
            assert source.is_ready is expected

    with_issuer(test)


def test_a_worker_without_requests_becomes_ready():
    """A probe would else wait for keys, and the keys for a request that only who is ready is sent."""

    async def test(world):
        source = world.source
        for world.now, fetches in ((0, 1), (479, 1), (480, 2), (900, 2), (2000, 3)):
            source.keep_fresh()
            await world.settle()
            assert source.is_ready
            assert world.fetches == fetches
        world.issuer.answers.clear()
        for world.now in (3000, 3000.5):
            source.keep_fresh()
            await world.settle()
        assert world.issuer.asked["/jwks"] == 4

    with_issuer(test)


def test_given_keys_are_ready():
    tokens = TokenFactory()
    source = source_of(BearerAuthMiddleware(issuer=tokens.issuer, audience="orders", jwks=tokens.jwks))
    source.keep_fresh()
    assert source.is_ready


def test_no_keys_is_one_of_the_reasons_to_be_unavailable():
    error = KeysUnavailableError(3.0, "why")
    assert isinstance(error, UnavailableError)
    assert (error.reason, error.wait, str(error)) == (Reason.KEYS_UNAVAILABLE, 3.0, "why")
