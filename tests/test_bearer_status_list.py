"""Token status lists: TSL-1 to TSL-4, from a real HTTP server that is slow, huge, wrong or gone."""

import asyncio
import base64
import re
import zlib

import pytest
import trio

from secure_asgi import ConfigurationError, TokenError
from secure_asgi.bearer.keys import ASYMMETRIC, KeySet
from secure_asgi.bearer.status_list import MAX_LIST_BYTES, MAX_TTL, STALE, StatusList, StatusLists, read_status_list
from secure_asgi.bearer.unavailable import UnavailableError
from secure_asgi.testing import TokenFactory

from .issuer import Issuer

NOW = 1_800_000_000.0
FACTORY = TokenFactory()
KEYS = KeySet(FACTORY.jwks, algorithms=ASYMMETRIC)
URI = "https://status.example.com/1"
MEDIA_TYPE = "application/statuslist+jwt"


def base64url(octets):
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def packed(octets):
    return base64url(zlib.compress(octets, 9))


VECTOR = {"bits": 1, "lst": "eNrbuRgAAhcBXQ"}
STATUSES = {"bits": 4, "lst": packed(bytes([0x10, 0x32, 0xFC, 0x00]))}
"""VALID, INVALID, SUSPENDED, 3, 0x0C, 0x0F, VALID, VALID."""


def token(*, header=None, factory=FACTORY, **claims):
    claims = {"sub": URI, "iat": NOW - 10, "exp": NOW + 600, "ttl": 100, "status_list": STATUSES, **claims}
    claims = {name: value for name, value in claims.items() if value is not None}
    return factory._keys[-1].sign({"typ": "statuslist+jwt", **(header or {})}, claims).encode()


# --- what is on a list ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "lst", "statuses"),
    [
        (1, "eNrbuRgAAhcBXQ", [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]),
        (2, "eNo76fITAAPfAgc", [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]),
        (4, packed(bytes([0x21, 0x43])), [1, 2, 3, 4]),
        (8, packed(bytes([0x21, 0x43])), [0x21, 0x43]),
    ],
    ids=["the draft's of one bit", "the draft's of two bits", "four bits", "eight bits"],
)
def test_statuses(bits, lst, statuses):
    """TSL-3, TSL-4: lowest bits first, and nothing beyond the end."""
    held = read_status_list(token(status_list={"bits": bits, "lst": lst}), KEYS, URI, NOW)
    assert [held.status(index) for index in range(len(statuses))] == statuses
    assert held.status(len(statuses)) is None
    assert held.status(10**400) is None


def test_what_a_list_says_of_itself():
    held = read_status_list(token(nbf=NOW), KEYS, URI, NOW)
    assert held == StatusList(4, bytes([0x10, 0x32, 0xFC, 0x00]), NOW - 10, NOW + 600, 100)
    bare = read_status_list(token(exp=None, ttl=None, header={"typ": MEDIA_TYPE.upper()}), KEYS, URI, NOW)
    assert (bare.expires, bare.ttl) == (None, None)


BOMB = zlib.compress(bytes(MAX_LIST_BYTES + 1), 9)
REFUSED = {
    "typ of an access token": (token(header={"typ": "at+jwt"}), "typ 'at+jwt'"),
    "no typ": (FACTORY._keys[-1].sign({}, {"sub": URI, "iat": NOW, "status_list": STATUSES}).encode(), "typ ''"),
    "another list": (token(sub="https://status.example.com/2"), "the list of another place"),
    "no sub": (token(sub=None), "the list of another place"),
    "no iat": (token(iat=None), "iat is not there"),
    "iat to come": (token(iat=NOW + 31), "does not hold yet"),
    "iat that is text": (token(iat="1"), "iat is not a number"),
    "nbf to come": (token(nbf=NOW + 31), "does not hold yet"),
    "nbf that is true": (token(nbf=True), "nbf is not a number"),
    "expired this second": (token(exp=NOW), "it has expired"),
    "exp in milliseconds": (token(exp=NOW * 1000), "exp is not a number"),
    "ttl of nothing": (token(ttl=0), "ttl is not positive"),
    "ttl below nothing": (token(ttl=-1), "ttl is not a number"),
    "no list": (token(status_list=None), "status_list is not an object"),
    "a list that is a list": (token(status_list=[1]), "status_list is not an object"),
    "three bits": (token(status_list={**VECTOR, "bits": 3}), "bits is not 1, 2, 4 or 8"),
    "bits that are true": (token(status_list={**VECTOR, "bits": True}), "bits is not 1, 2, 4 or 8"),
    "bits that are 1.0": (token(status_list={**VECTOR, "bits": 1.0}), "bits is not 1, 2, 4 or 8"),
    "no lst": (token(status_list={"bits": 1}), "lst is not text"),
    "lst with padding": (token(status_list={"bits": 1, "lst": "eNrbuRgAAhcBXQ=="}), "base64url"),
    "lst beyond ASCII": (token(status_list={"bits": 1, "lst": "é"}), "ascii"),
    "lst that is not packed": (token(status_list={"bits": 1, "lst": base64url(b"hello")}), "lst does not unpack"),
    "lst cut off": (token(status_list={"bits": 1, "lst": base64url(zlib.compress(b"abc")[:-1])}), "not one whole"),
    "lst with more after it": (token(status_list={"bits": 1, "lst": base64url(zlib.compress(b"a") + b"b")}), "not one"),
    "raw DEFLATE": (token(status_list={"bits": 1, "lst": base64url(zlib.compress(b"abc")[2:-4])}), "does not unpack"),
    "a bomb": (token(status_list={"bits": 1, "lst": base64url(BOMB)}), "unpacks to more than 8388608 bytes"),
    "another key": (token(factory=TokenFactory()), "token_key_unknown"),
    "alg none": (FACTORY.unsigned(sub=URI).encode(), "token_algorithm_refused"),
    "HTML": (b"<html>", "token_malformed"),
    "nothing": (b"", "token_malformed"),
    "claims that are a list": (FACTORY._keys[-1].sign({"typ": "statuslist+jwt"}, []).encode(), "not one JSON object"),
}


@pytest.mark.parametrize(("refused", "says"), REFUSED.values(), ids=REFUSED)
def test_lists_that_are_none(refused, says):
    """TSL-2, TSL-3."""
    with pytest.raises((TokenError, ValueError), match=re.escape(says)):
        read_status_list(refused, KEYS, URI, NOW)


def test_the_largest_list():
    held = read_status_list(token(status_list={"bits": 1, "lst": packed(bytes(MAX_LIST_BYTES))}), KEYS, URI, NOW)
    assert len(held.octets) == MAX_LIST_BYTES


# --- what it means for a token -------------------------------------------------------------------------------------


class World:
    """A server of lists, and ``StatusLists`` that may ask it; ``now`` is turned by hand."""

    def __init__(self, server, **options):
        self.server, self.now = server, NOW
        self.uri = f"{server.url}/1"
        self.publish()
        options = {"uris": self.uri, "jwks": FACTORY.jwks, "timeout": 2.0, **options}
        if options["uris"] is None:
            options |= {"uris": (), "hosts": server.url.removeprefix("http://")}
        self.lists = StatusLists(**options)
        self.lists._clock = lambda: self.now

    def publish(self, path="/1", **claims):
        body = token(**{"sub": self.server.url + path, "iat": self.now, "exp": NOW + 600, **claims})
        self.answer(200, body, path)

    def answer(self, status, body, path="/1", media_type=MEDIA_TYPE):
        self.server.answers[path] = (status, {"content-type": media_type}, body)

    async def verdict(self, index=0, path="/1"):
        """The reason for which a token is refused, or that it is "good"; waits if it must."""
        try:
            waiting = self.lists.check(self.claims(index, path), self.now)
            if waiting is not None:
                await waiting
        except (TokenError, UnavailableError) as refused:
            return str(refused.reason)
        return "good"

    def claims(self, index=0, path="/1"):
        return {"status": {"status_list": {"idx": index, "uri": self.server.url + path}}}

    def at_once(self, index=0):
        """The same without waiting."""
        assert self.lists.check(self.claims(index), self.now) is None

    async def settle(self):
        tasks = [place.task for place in self.lists._places.values() if place.task]
        await asyncio.wait(tasks)

    @property
    def asked(self):
        return self.server.asked["/1"]


def with_server(test, **options):
    async def run():
        async with Issuer() as server:
            await test(World(server, **options))

    asyncio.run(run())


def test_valid_and_everything_else():
    """TSL-3: 0 passes; invalid, suspended, application-specific and beyond the end do not. One fetch for all."""

    async def test(world):
        reasons = [await world.verdict(index) for index in range(9)]
        assert reasons == ["good"] + ["token_revoked"] * 5 + ["good"] * 2 + ["token_claim_invalid"]
        assert world.asked == 1
        for index, note in ((1, "invalid"), (2, "suspended"), (3, "status 3"), (4, "status 12")):
            with pytest.raises(TokenError) as refused:
                world.at_once(index)
            assert refused.value.note == note

    with_server(test)


@pytest.mark.parametrize(
    "status",
    [
        None,
        "x",
        {},
        [],
        {"other": {"uri": URI}},
        {"status_list": None},
        {"status_list": [URI, 1]},
        {"status_list": {"uri": URI}},
        {"status_list": {"idx": 1}},
        {"status_list": {"idx": -1, "uri": URI}},
        {"status_list": {"idx": True, "uri": URI}},
        {"status_list": {"idx": "1", "uri": URI}},
        {"status_list": {"idx": 1.0, "uri": URI}},
        {"status_list": {"idx": 1, "uri": 7}},
        {"status_list": {"idx": 1, "uri": ""}},
        {"status_list": {"idx": 1, "uri": URI + "/other"}},
        {"status_list": {"idx": 1, "uri": "http://status.example.com/1"}},
        {"status_list": {"idx": 1, "uri": "https://status.example.com:444/1"}},
        {"status_list": {"idx": 1, "uri": "https://status.example.com@evil.example/1"}},
        {"status_list": {"idx": 1, "uri": "https://lists.example.com/#1"}},
        {"status_list": {"idx": 1, "uri": "http://lists.example.com/1"}},
        {"status_list": {"idx": 1, "uri": "https://lists.example.com:444/1"}},
        {"status_list": {"idx": 1, "uri": "https://lists.example.com@evil.example/1"}},
        {"status_list": {"idx": 1, "uri": "https://lists.example.com.evil.example/1"}},
        {"status_list": {"idx": 1, "uri": "http://169.254.169.254/"}},
        {"status_list": {"idx": 1, "uri": "file:///etc/passwd"}},
    ],
    ids=str,
)
def test_a_status_that_cannot_be_asked(status):
    """TSL-1, TSL-3: not fetched, and the token not used."""
    lists = StatusLists(uris=URI, hosts=("Lists.example.com",), jwks=KEYS)
    with pytest.raises(TokenError) as refused:
        lists.check({"status": status}, NOW)
    assert refused.value.reason == "token_claim_invalid"
    assert lists._places == {}


def test_tokens_that_name_no_list():
    assert StatusLists(uris=URI, jwks=KEYS).check({}, NOW) is None
    with pytest.raises(TokenError) as refused:
        StatusLists(uris=URI, jwks=KEYS, required=True).check({}, NOW)
    assert refused.value.reason == "token_claim_missing"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"uris": ()}, "uris= or hosts= names the status lists"),
        ({"uris": "http://status.example.com/1"}, "uris= are https URLs"),
        ({"uris": "https://a:secret@status.example.com/1"}, "got 'https://status.example.com/1'"),
        ({"hosts": "https://status.example.com"}, "hosts= are names"),
        ({"hosts": ("a@b",)}, "hosts= are names"),
        ({"hosts": ("",)}, "hosts= are names"),
        ({"required": 1}, "required= is True or False"),
        ({"ttl": 0}, "ttl= is a positive number, at most 86400"),
        ({"timeout": True}, "timeout= is a positive number"),
        ({"max_bytes": -1}, "max_bytes= is a positive number"),
        ({"capacity": 1001}, "capacity= is a positive number, at most 1000"),
        ({"jwks": {}}, "a JWK Set is a dict"),
        ({"jwks": {"keys": []}}, "jwks= has no key that can verify a status list"),
        ({"http": 7}, "http= is an httpx.AsyncClient"),
    ],
)
def test_wrong_options(options, says):
    with pytest.raises(ConfigurationError, match=says):
        StatusLists(**{"uris": URI, "jwks": KEYS, **options})


# --- how long it is kept -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "options", "seconds"),
    [
        ({"ttl": 100}, {}, 100),
        ({"ttl": 900}, {}, 600),
        ({"ttl": None}, {}, 300),
        ({"ttl": None, "exp": None}, {"ttl": 50}, 50),
        ({"ttl": 10 * MAX_TTL, "exp": None}, {}, MAX_TTL),
    ],
    ids=["ttl", "exp comes first", "neither ttl", "nothing at all", "at most a day"],
)
def test_until_exp_or_ttl(claims, options, seconds):
    """TSL-2: whatever HTTP says."""

    async def test(world):
        world.publish(**claims)
        world.server.answers["/1"][1]["cache-control"] = "no-store"
        assert await world.verdict() == "good"
        world.now += 0.79 * seconds
        world.at_once()
        assert world.asked == 1
        world.now = NOW + seconds - 0.01
        world.lists._places[world.uri].refresh_at = NOW + seconds
        world.at_once()
        world.publish(status_list=VECTOR, exp=None)
        world.now = NOW + seconds
        assert await world.verdict() == "token_revoked"
        assert world.asked == 2

    with_server(test, **options)


def test_a_list_in_use_is_fetched_anew_beside_the_requests():
    async def test(world):
        assert await world.verdict() == "good"
        world.publish(status_list=VECTOR, iat=NOW + 1)
        world.now += 80
        world.at_once()
        world.at_once()
        await world.settle()
        assert world.asked == 2
        with pytest.raises(TokenError):
            world.at_once()

    with_server(test)


def test_a_list_that_lives_for_less_than_its_fetch_counts_once():
    async def test(world):
        world.publish(ttl=0.001)
        world.lists._clock = iter([NOW, NOW + 1, NOW + 2, NOW + 3]).__next__
        assert await world.verdict() == "good"
        world.now += 1
        assert await world.verdict() == "good"
        assert world.asked == 2

    with_server(test)


def test_a_list_that_has_expired_when_it_is_there():
    async def test(world):
        world.publish(exp=NOW + 1)
        world.lists._clock = iter([NOW, NOW + 1]).__next__
        assert await world.verdict() == "token_status_unknown"

    with_server(test)


def test_while_the_server_is_down_the_old_one_is_used_and_never_beyond_its_exp():
    async def test(world):
        assert await world.verdict() == "good"
        world.answer(500, b"")
        world.now = NOW + 100
        assert await world.verdict() == "good"
        assert await world.verdict(1) == "token_revoked"
        assert world.asked == 2  # not asked again at once
        world.at_once()
        world.now = NOW + 599.9
        assert await world.verdict() == "good"
        world.now = NOW + 600
        assert await world.verdict() == "token_status_unknown"

    with_server(test)


def test_the_old_one_is_used_for_an_hour_at_most():
    async def test(world):
        world.publish(exp=NOW + 1e6)
        assert await world.verdict() == "good"
        world.answer(500, b"")
        world.now = NOW + 100 + STALE - 1
        assert await world.verdict() == "good"
        world.now += 1
        assert await world.verdict() == "token_status_unknown"

    with_server(test)


def test_a_list_without_exp_is_not_used_beyond_its_time():
    async def test(world):
        world.publish(exp=None)
        assert await world.verdict() == "good"
        world.answer(500, b"")
        world.now = NOW + 100
        assert await world.verdict() == "token_status_unknown"

    with_server(test)


def test_an_older_list_does_not_displace_a_newer_one():
    async def test(world):
        world.publish(status_list=VECTOR)
        assert await world.verdict() == "token_revoked"
        world.publish(iat=NOW - 1)
        world.now += 100
        assert await world.verdict() == "token_revoked"
        assert world.asked == 2

    with_server(test)


# --- a bad server --------------------------------------------------------------------------------------------------

FAULTS = {
    "500": (500, b"", MEDIA_TYPE),
    "404": (404, b"", MEDIA_TYPE),
    "a redirect": (302, b"", MEDIA_TYPE),
    "HTML": (200, b"<html>", "text/html"),
    "JSON": (200, b"{}", "application/json"),
    "garbage": (200, b"\xff\x00" * 100, MEDIA_TYPE),
    "10 MB": (200, b"a" * 10_000_000, MEDIA_TYPE),
    "another list": (200, token(sub="https://status.example.com/other"), MEDIA_TYPE),
    "a bomb": (200, token(status_list={"bits": 1, "lst": base64url(BOMB)}), MEDIA_TYPE),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_list_that_cannot_be_had(fault, caplog):
    """503, asked ever less, and well again with the first good answer."""
    status, body, media_type = fault

    async def test(world):
        world.answer(status, body, media_type=media_type)
        assert await world.verdict() == "token_status_unknown"
        with pytest.raises(UnavailableError) as unknown:
            world.at_once()
        assert unknown.value.wait == 1.0
        assert world.asked == 1
        for pause, asked in ((1, 2), (1, 2), (1, 3)):
            world.now += pause
            assert await world.verdict() == "token_status_unknown"
            assert world.asked == asked
        world.publish()
        world.now += 30
        assert await world.verdict() == "good"
        assert world.lists._places[world.uri].failures == 0

    with_server(test)
    assert "status list http://127.0.0.1" in caplog.text


def test_a_list_that_drips():
    async def test(world):
        async def hang(writer):
            writer.write(f"HTTP/1.1 200 X\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: 9\r\n\r\n".encode())
            await asyncio.Event().wait()

        world.server.answers["/1"] = hang
        assert await world.verdict() == "token_status_unknown"

    with_server(test, timeout=0.1)


def test_many_requests_one_fetch_which_survives_the_first():
    async def test(world):
        first = asyncio.create_task(world.verdict())
        rest = [asyncio.create_task(world.verdict(index % 2)) for index in range(500)]
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*rest) == ["good", "token_revoked"] * 250
        assert world.asked == 1
        assert first.cancelled()

    with_server(test)


def test_a_large_list_does_not_hold_up_the_event_loop():
    async def test(world):
        import os

        octets = os.urandom(2**20) + bytes(MAX_LIST_BYTES - 2**20)
        world.publish(status_list={"bits": 1, "lst": packed(octets)})
        lags, loop = [], asyncio.get_running_loop()

        async def beat():
            while True:
                began = loop.time()
                await asyncio.sleep(0.005)
                lags.append(loop.time() - began - 0.005)

        heart = asyncio.create_task(beat())
        assert await world.verdict(10**6 * 9) == "good"
        heart.cancel()
        assert max(lags) < 0.2  # 50 ms on a machine with nothing else to do

    with_server(test)


# --- several lists, keys -------------------------------------------------------------------------------------------


def test_lists_beyond_the_capacity_push_out_the_one_that_ends_first():
    async def test(world):
        for path, ttl in (("/1", 100), ("/2", 50), ("/3", 70)):
            world.publish(path, ttl=ttl)
            assert await world.verdict(path=path) == "good"
        assert sorted(world.lists._places) == [f"{world.server.url}/{path}" for path in (1, 3)]

    with_server(test, uris=None, capacity=2)


def test_no_more_fetches_at_once_than_lists():
    async def test(world):
        async def hang(writer):
            await asyncio.Event().wait()

        world.server.answers["/1"] = hang
        first = asyncio.create_task(world.verdict())
        await asyncio.sleep(0)
        world.publish("/2")
        assert await world.verdict(path="/2") == "token_status_unknown"
        await world.lists.close()
        assert await first == "token_status_unknown"
        assert await world.verdict(path="/2") == "good"

    with_server(test, uris=None, capacity=1)


async def later():
    return KEYS


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (KEYS, "good"),
        (lambda: KEYS, "good"),
        (later, "good"),
        (lambda: None, "token_status_unknown"),
        (lambda: 1 / 0, "token_status_unknown"),
        (KeySet(TokenFactory().jwks, algorithms=ASYMMETRIC), "token_status_unknown"),
    ],
    ids=["a key set", "a function", "an async function", "no keys yet", "a function that fails", "others"],
)
def test_keys(keys, reason):
    async def test(world):
        assert await world.verdict() == reason

    with_server(test, jwks=keys)


def test_open_and_close():
    async def test(world):
        await world.lists.open()
        await world.lists.close()
        assert await world.verdict() == "good"
        await world.lists.close()

    with_server(test)
    with pytest.raises(ConfigurationError, match="status lists are fetched with asyncio"):
        trio.run(StatusLists(uris=URI, jwks=KEYS).open)


def test_a_second_event_loop():
    """What the first has fetched is kept; its tasks are as good as none."""
    lists = StatusLists(uris=URI, jwks=KEYS)

    async def run():
        with pytest.raises(UnavailableError):
            await lists.check({"status": {"status_list": {"idx": 0, "uri": URI}}}, NOW)
        await lists.close()

    async def nothing(*arguments, **more):
        return token() and None

    lists._fetcher = type("Nothing", (), {"get": nothing})
    lists._clock = lambda: NOW
    asyncio.run(run())
    lists._places[URI].retry_at = 0
    asyncio.run(run())
