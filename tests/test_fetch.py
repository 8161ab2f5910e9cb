"""The bounded fetch from a thread; what it shares with the one on the event loop is in ``test_bearer_keys``."""

import asyncio
import gc
import time

import pytest

from secure_asgi._fetch import Fetcher, FetchError, Posted, is_web_url, without_secrets

from .web import Web

PLAIN = {"content-type": "text/plain; charset=utf-8"}


@pytest.fixture
def web():
    with Web() as web:
        yield web


def fetch(web, path="/", *, timeout=30.0, **options):
    try:
        return Fetcher(timeout=timeout).get_blocking(
            web.url + path, **{"types": ("text/plain",), "max_bytes": 100, **options}
        )
    finally:
        gc.collect()  # what was left open would be warned of here


def test_a_document(web):
    web.answers["/"] = (200, {**PLAIN, "cache-control": "max-age=60"}, b"hello")
    document = fetch(web)
    assert (document.body, document.max_age) == (b"hello", 60)


def test_from_a_thread_beside_a_running_loop(web):
    web.answers["/"] = (200, PLAIN, b"hello")

    async def run():
        return await asyncio.to_thread(fetch, web)

    assert asyncio.run(run()).body == b"hello"


def test_what_is_posted(web):
    web.answers["/"] = (200, PLAIN, b"hello")
    assert fetch(web, posted=Posted("application/ocsp-request", b"\x00\x01")).body == b"hello"
    assert web.bodies == [("application/ocsp-request", b"\x00\x01")]


FAULTS = {
    "not there": ((404, PLAIN, b""), "status 404"),
    "a redirect": ((302, {"location": "/other"}, b""), "status 302"),
    "HTML": ((200, {"content-type": "text/html"}, b""), "content type 'text/html'"),
    "compressed": ((200, {**PLAIN, "content-encoding": "gzip"}, b"\x1f\x8b"), "content encoding"),
    "too big": ((200, PLAIN, b"x" * 101), "more than 100 bytes"),
    "nobody listens": (None, "ConnectError"),
    "hangs": ("hangs", "TimeoutError|ReadTimeout"),
    "drips": ("drips", "TimeoutError"),
    "drips its head": ("drips_its_head", "TimeoutError"),
    "floods": ("floods", "more than 100 bytes"),
}


@pytest.mark.parametrize(("answer", "complaint"), FAULTS.values(), ids=FAULTS)
def test_a_server_at_fault(answer, complaint, web):
    """REV-4: bounded in time as a whole, whatever comes in between."""
    if answer is None:
        web.stop()
    web.answers["/"] = getattr(web, answer) if isinstance(answer, str) else answer
    began = time.monotonic()
    with pytest.raises(FetchError, match=complaint):
        # Only who never ends is timed: a busy machine must not make a fault of a slow turn.
        fetch(web, timeout=0.4 if isinstance(answer, str) else 30.0, types=("text/plain", "application/pkix-crl"))
    assert time.monotonic() - began < 10
    assert not web.asked["/other"]


def test_no_descriptor_left_for_an_event_loop(monkeypatch):
    def fails():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio, "new_event_loop", fails)
    with pytest.raises(FetchError, match="no event loop"):
        Fetcher().get_blocking("http://localhost/", types=(), max_bytes=1)


URLS = {
    "http://crl.example/ca.crl": True,
    "https://crl.example:8443/ca.crl?v=1": True,
    "http://[::1]/ca.crl": True,
    "ftp://crl.example/ca.crl": False,
    "file:///etc/ca.crl": False,
    "http://": False,
    "http://user:secret@crl.example/": False,
    "http://crl.example/#part": False,
    "http://crl.example/a b": False,
    "http://crl.example/\n": False,
    "http://bücher.example/": False,
    "http://[::1/": False,
    "http://crl.example:x/": False,
}


@pytest.mark.parametrize(("url", "expected"), URLS.items(), ids=map(repr, URLS))
def test_what_may_be_fetched_at_all(url, expected):
    assert is_web_url(url) is expected


def test_a_url_for_the_log():
    for secret in ("me:secret@", ""), ("", "?sig=secret"), ("", "#secret"), ("a@secret@", "?b=secret@#secret"):
        assert without_secrets("https://{}[::1/ca.crl{}".format(*secret)) == "https://[::1/ca.crl"
