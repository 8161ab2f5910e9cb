"""One record per request, whatever became of it; nobody waits for it; nothing is lost without a word."""

import asyncio
import errno
import json
import logging
import stat
import threading
import time

import pytest

from secure_asgi import AuditMiddleware, ConfigurationError, Denial, JSONLinesSink, Layer, LoggingSink, StdoutSink
from secure_asgi.audit.record import CUT, Handed, Request, encode, record_of
from secure_asgi.audit.writer import Writer, _flush_at_exit
from secure_asgi.denial import Reply
from secure_asgi.exchange import Decision, Exchange, PeerCertificate, Principal
from secure_asgi.testing import recorded_audit

from . import asgi
from .paths import run_python


class Gate(Layer):
    name = "gate"

    def __init__(self, app=None, *, says=None, **common):
        self.says = says
        super().__init__(app, **common)

    def on_request(self, exchange, scope):
        return self.says

    def on_message(self, exchange, message):
        return self.says if message.get("text") == "bad" else None


REFUSED = Denial("acme.closed", 403, "Closed.", note="on Sundays")


async def streams_and_crashes(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise RuntimeError("secret")


async def streams_until_the_client_goes(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


async def is_cancelled(scope, receive, send):
    raise asyncio.CancelledError


async def crashes_in_the_background(scope, receive, send):
    await asgi.hello(scope, receive, send)
    raise RuntimeError("secret")


async def crashes(scope, receive, send):
    raise RuntimeError("secret")


RECORDED = [
    ("allowed", asgi.hello, {"outcome": "allowed", "event": "request", "status": 200, "bytes_sent": 5}),
    ("refused", Gate(asgi.hello, says=REFUSED), {"outcome": "denied", "reason": "acme.closed", "note": "on Sundays"}),
    ("refused in shadow", Gate(asgi.hello, says=REFUSED, mode="shadow"), {"outcome": "allowed", "status": 200}),
    ("on an exempt path", Gate(asgi.hello, says=REFUSED, exempt="/orders"), {"outcome": "allowed", "status": 200}),
    (
        "redirected",
        Gate(asgi.hello, says=Reply(asgi.hello, "acme.moved")),
        {"outcome": "denied", "reason": "acme.moved"},
    ),
    ("answered by a gate", Gate(asgi.hello, says=Reply(asgi.hello)), {"outcome": "allowed"}),
    ("crashed", crashes, {"outcome": "failed", "error_type": "RuntimeError"}),
    ("crashed mid-stream", streams_and_crashes, {"outcome": "failed", "status": 200, "error_type": "RuntimeError"}),
    ("cut off by the client", streams_until_the_client_goes, {"outcome": "aborted", "status": 200}),
    ("cancelled", is_cancelled, {"outcome": "cancelled", "error_type": "CancelledError"}),
    ("crashed after the answer", crashes_in_the_background, {"outcome": "allowed", "status": 200}),
]


@pytest.mark.parametrize(("app", "expected"), [row[1:] for row in RECORDED], ids=[row[0] for row in RECORDED])
def test_exactly_one_record(app, expected):
    """AUD-1: refusals, endings of every kind, and what went well."""
    records = recorded_audit()
    asgi.http(AuditMiddleware(app, sinks=records), "/orders", query="access_token=secret")
    (record,) = records.wait()
    assert expected.items() <= record.items()
    assert {"time", "method", "path", "request_id", "duration_ms", "client", "scheme"} <= record.keys()
    assert "secret" not in json.dumps(record)


WEBSOCKETS = [
    ("accepted", asgi.hello, (), {"outcome": "allowed", "status": 101}),
    ("refused", Gate(asgi.hello, says=REFUSED), (), {"outcome": "denied", "status": 403}),
    ("closed by a gate", Gate(asgi.hello, says=None), ("good",), {"outcome": "allowed", "status": 101}),
]


@pytest.mark.parametrize(("app", "texts", "expected"), [row[1:] for row in WEBSOCKETS], ids=[r[0] for r in WEBSOCKETS])
def test_exactly_one_record_per_websocket(app, texts, expected):
    records = recorded_audit()
    asgi.websocket(AuditMiddleware(app, sinks=records), texts=texts)
    (record,) = records.wait()
    assert {**expected, "method": "WEBSOCKET"}.items() <= record.items()


def test_the_answer_carries_the_id_of_its_record():
    """RID-1."""
    records = recorded_audit()
    answer = asgi.http(AuditMiddleware(asgi.hello, sinks=records))
    assert answer.headers["x-request-id"] == records.wait()[0]["request_id"]


def made(**parts):
    """A record from the parts of a request and of an exchange."""
    exchange = Exchange(asgi.http_scope())
    request = Request(
        "GET", parts.pop("path", "/"), "1.1", parts.pop("host", b"a.example"), parts.pop("user_agent", None)
    )
    for name, value in parts.items():
        setattr(exchange, name, value)
    return record_of(Handed(request, exchange, 1_790_000_000.5, 0.5, parts.get("outcome", "complete"), ""))


EVENTS = [
    ("token_expired", 401, "authn_login_fail"),
    ("certificate_missing", 403, "authn_login_fail"),
    ("rate_limited", 429, "excess_rate_limit_exceeded"),
    ("throttle_shed", 503, "excess_rate_limit_exceeded"),
    ("host_unknown", 421, "input_validation_fail"),
    ("internal_error", 500, "sys_crash"),
    ("acme.closed", 403, "authz_fail"),
    ("", 422, "input_validation_fail"),
    ("", 200, "request"),
    ("", None, "request"),
]


@pytest.mark.parametrize(("reason", "status", "event"), EVENTS)
def test_events(reason, status, event):
    """LOGV-2."""
    denial = Denial(reason, status or 0) if reason else None
    assert made(denial=denial, status=status)["event"] == event


def test_who_and_when():
    principal = Principal(subject="u-1", issuer="https://id.example", token_id="t-1", claims={"email": "secret"})
    about = {"sha256": "ab", "subject": "CN=x", "issuer": "CN=ca", "serial": 1, "not_before": None, "not_after": None}
    record = made(principal=principal, peer_certificate=PeerCertificate(der=b"", **about))
    assert record["time"] == "2026-09-21T14:13:20.000000Z"
    assert record["principal"] == {
        "subject": "u-1",
        "issuer": "https://id.example",
        "method": "bearer",
        "token_id": "t-1",
    }
    assert record["certificate"] == {"sha256": "ab", "subject": "CN=x", "issuer": "CN=ca"}


INJECTED = [
    ("a forged line", '/x\r\n{"event":"forged"}'),
    ("a terminal escape", "/\x1b[2J"),
    ("line separators", "/\u2028\u2029\x85"),
    ("bidirectional override", "/\u202egnp"),
    ("delete", "/\x7f"),
    ("a lone surrogate", "/\ud800"),
]


@pytest.mark.parametrize("path", [row[1] for row in INJECTED], ids=[row[0] for row in INJECTED])
def test_nothing_breaks_out_of_a_line(path):
    """INJ-1."""
    line = encode(made(path=path))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["path"] == path


@pytest.mark.parametrize(
    ("parts", "field", "length"),
    [({"path": "/" + "x" * 5000}, "path", 2048), ({"user_agent": b"x" * 1_000_000}, "user_agent", 256)],
)
def test_long_values_are_cut_and_say_so(parts, field, length):
    assert made(**parts)[field] == (parts[field] if isinstance(parts[field], str) else "x" * length)[:length] + CUT


def test_a_repeated_header_shows():
    assert made(user_agent=(b"a", b"b\xff"))["user_agent"] == "a, b\xff"


def test_a_record_is_never_over_its_limit():
    decisions = [Decision("gate", "shadow", "acme.closed", "x" * 100)] * 2000
    line = encode(made(decisions=decisions))
    assert len(line) <= 32 * 1024
    assert json.loads(line)["cut"] is True


WRONG = [
    ({"on_failure": "ignore"}, 'on_failure= is "block" or "drop"'),
    ({"capacity": 0}, "1 or more"),
    ({"sinks": ()}, "name at least one"),
    ({"sinks": 3}, "a callable or several, got 3"),
    ({"sinks": LoggingSink}, "an instance, got the class"),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG)
def test_wrong_options(options, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        AuditMiddleware(asgi.hello, **options)


class Sick:
    """A sink that takes nothing until it is well, then everything."""

    def __init__(self):
        self.is_well, self.taken, self.offered = False, [], threading.Event()

    def __call__(self, record):
        self.offered.set()
        if not self.is_well:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.taken.append(record)


def test_block_answers_503_while_nothing_can_be_recorded_and_loses_nothing(caplog):
    sick = Sick()
    layer = AuditMiddleware(asgi.hello, sinks=sick, capacity=2)
    statuses = [asgi.http(layer).status for _ in range(5)]
    assert statuses == [200, 200, 503, 503, 503]
    refused = asgi.http(layer)
    assert refused.headers["retry-after"] == "1"
    assert sick.offered.wait(5)
    sick.is_well = True
    assert layer._writer.flush()
    assert len(sick.taken) == 2
    assert asgi.http(layer).status == 200
    assert [r.message for r in caplog.records].count("audit sink _CallableSink takes no records") == 1


def test_drop_goes_on_and_counts():
    sick = Sick()
    layer = AuditMiddleware(asgi.hello, sinks=sick, capacity=2, on_failure="drop")
    assert [asgi.http(layer).status for _ in range(5)] == [200] * 5
    sick.is_well = True
    assert layer._writer.flush()
    assert [record.get("dropped") for record in sick.taken] == [None, None, 3]


def test_one_well_sink_is_enough():
    sick, records = Sick(), recorded_audit()
    layer = AuditMiddleware(asgi.hello, sinks=(sick, records), capacity=1)
    for _ in range(3):
        assert asgi.http(layer).status == 200
        records.wait()
    assert len(records) == 3


def test_a_batch_offered_again_is_not_written_twice():
    taken = []

    def chokes_once_on_the_third(record):
        if len(taken) == 2 and "choked" not in state:
            state.add("choked")
            raise ValueError
        taken.append(record["event"])

    state = set()
    writer = Writer([*AuditMiddleware(asgi.hello, sinks=chokes_once_on_the_third)._writer._sinks], 10)
    writer._queue.extend({"event": str(number)} for number in range(4))
    assert writer.flush()
    assert taken == ["0", "1", "2", "3"]


def test_json_lines(tmp_path):
    file = tmp_path / "audit.jsonl"
    file.write_text('{"torn":')
    layer = AuditMiddleware(asgi.hello, sinks=JSONLinesSink(file))
    for path in ("/a", "/b"):
        asgi.http(layer, path)
    assert layer._writer.flush()
    torn, *lines = file.read_text().splitlines()
    assert torn == '{"torn":'
    assert [json.loads(line)["path"] for line in lines] == ["/a", "/b"]
    file.rename(tmp_path / "audit.jsonl.1")
    asgi.http(layer, "/c")
    assert layer._writer.flush()
    assert [json.loads(line)["path"] for line in file.read_text().splitlines()] == ["/c"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    layer._writer.close()
    asgi.http(layer, "/d")
    assert layer._writer.flush()
    assert len(file.read_text().splitlines()) == 2


FULL_DISK = """
import json, resource, sys
from secure_asgi.audit import JSONLinesSink
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sink, batch = JSONLinesSink(sys.argv[1]), [({}, json.dumps({"n": n, "x": "y" * 40})) for n in range(10)]
resource.setrlimit(resource.RLIMIT_FSIZE, (150, resource.RLIM_INFINITY))
try:
    sink.write(batch)
except OSError as error:
    print(error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sink.write(batch)
sink.close()
"""


def test_a_full_disk_tears_one_line_and_loses_none(tmp_path):
    file = tmp_path / "audit.jsonl"
    assert int(run_python("-c", FULL_DISK, file)) == errno.EFBIG
    whole = []
    for line in file.read_text().splitlines():
        try:
            whole.append(json.loads(line)["n"])
        except ValueError:
            continue
    assert whole == list(range(10))


def test_a_device_without_room():
    with pytest.raises(OSError, match="No space left"):
        JSONLinesSink("/dev/full").write([({}, "{}")])


def test_logging_sink(caplog):
    caplog.set_level(logging.INFO, "secure_asgi.audit")
    LoggingSink().write([({"outcome": "allowed"}, "a"), ({"outcome": "denied"}, "d")])
    assert [(r.levelname, r.message, r.secure_asgi["outcome"]) for r in caplog.records] == [
        ("INFO", "a", "allowed"),
        ("WARNING", "d", "denied"),
    ]


def test_stdout_sink(capsys):
    sink = StdoutSink()
    sink.write([({}, "a"), ({}, "b")])
    sink.close()
    assert capsys.readouterr().out == "a\nb\n"


def test_start_and_stop_are_on_record():
    records = recorded_audit()
    layer = AuditMiddleware(asgi.hello, sinks=records)

    async def live():
        await layer.on_startup({})
        await layer.on_shutdown()

    asyncio.run(live())
    assert [record["event"] for record in records] == ["sys_startup", "sys_shutdown"]
    assert not layer._writer._thread.is_alive()


AT_EXIT = """
import asyncio, sys
from secure_asgi import AuditMiddleware, JSONLinesSink
from tests import asgi
asgi.http(AuditMiddleware(asgi.hello, sinks=JSONLinesSink(sys.argv[1])), "/last")
"""


def test_the_interpreters_exit_waits_for_the_writer(tmp_path):
    file = tmp_path / "audit.jsonl"
    run_python("-c", AT_EXIT, file)
    assert json.loads(file.read_text())["path"] == "/last"


def test_an_end_without_a_taker_is_said(caplog):
    writer = Writer([], 10)
    writer.announce("sys_startup")
    writer.close(timeout=0.2)
    assert "1 audit records lost" in caplog.text


def test_the_thread_sleeps_without_traffic_and_wakes(monkeypatch):
    monkeypatch.setattr("secure_asgi.audit.writer.PAUSE", 0.001)
    monkeypatch.setattr("secure_asgi.audit.writer.IDLE_AFTER", 2)
    records = recorded_audit()
    layer = AuditMiddleware(asgi.hello, sinks=records)
    asgi.http(layer)
    deadline = time.monotonic() + 5
    while not layer._writer._is_idle and time.monotonic() < deadline:
        time.sleep(0.001)
    assert layer._writer._is_idle
    asgi.http(layer)
    assert len(records.wait()) == 2


def test_a_writer_that_is_gone_has_nothing_to_flush():
    _flush_at_exit(lambda: None)


def test_at_exit_what_waits_is_written_and_without_a_thread_nothing_does():
    records = recorded_audit()
    layer = AuditMiddleware(asgi.hello, sinks=records)
    layer._writer.close()
    asgi.http(layer)
    _flush_at_exit(lambda: layer._writer)
    assert len(records) == 1


def test_a_thread_that_has_ended_is_followed_by_another():
    records = recorded_audit()
    layer = AuditMiddleware(asgi.hello, sinks=records)
    asgi.http(layer)
    layer._writer.close()
    layer._writer.close()
    asgi.http(layer)
    assert len(records.wait()) == 2


def test_a_line_that_cannot_even_begin(tmp_path):
    """The newline that ends a torn line takes no room that a record counts as written."""
    sink = JSONLinesSink(tmp_path / "audit.jsonl")
    sink._is_torn = True
    sink._note(-1, [b"x"])
    assert sink._is_torn


def test_two_layers_share_nothing():
    first, second = recorded_audit(), recorded_audit()
    asgi.http(AuditMiddleware(asgi.hello, sinks=first))
    asgi.http(AuditMiddleware(asgi.hello, sinks=second))
    assert len(first.wait()) == len(second.wait()) == 1
