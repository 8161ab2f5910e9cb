"""Nobody is taken for another: four clients at once, on every server, event loop and protocol that our hooks cover.

Each of the four keeps several conversations going side by side, a conversation is some connections one after another,
each with many requests, and all of them meet in the one loop of the server. The application answers with the identity
that the middleware has found. ``python -m tests.test_servers_identities 18000`` asks more of each.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import websockets.asyncio.client

from secure_asgi import MutualTLSMiddleware, exchange_of
from secure_asgi.servers.uvicorn import H11Protocol, HttpToolsProtocol

from .handshake import client_context
from .serving import NAMES, hypercorn_serving, tls_context, uvicorn_serving, write_certificates

REQUESTS = 1800
CONVERSATIONS = 3
REQUESTS_EACH = 30
"""On one connection: so there are five of them in a conversation, one after another."""

HTTP2 = "secure_asgi.servers.uvicorn:HTTP2Protocol"


async def who(scope, receive, send):
    """Who is asking, as text; on a WebSocket as often as something is sent."""
    subject = exchange_of(scope).principal.subject
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": subject})
            if message["text"] == "last":
                await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(subject))]})
    await send({"type": "http.response.body", "body": subject.encode()})


APP = MutualTLSMiddleware(who)

# --- clients: one connection, so many requests, and what was answered -----------------------------------------------


async def http_1(port, tls, count):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="localhost")
    answers = []
    for _ in range(count):
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answers.append((await reader.readexactly(length)).decode())
    writer.transport.abort()  # not waiting for a goodbye: under trio hypercorn takes five seconds to say it
    return answers


async def http_2(port, tls, count, *, headers=(), body=b""):
    """All the requests at once, as streams of one connection; a body waits for the head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="localhost")
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="ascii"))
    connection.initiate_connection()
    answers = {}
    request = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/"), *headers]
    for _ in range(count):
        stream = connection.get_next_available_stream_id()
        answers[stream] = b""
        connection.send_headers(stream, dict(request).items(), end_stream=not body)
    waiting = set(answers)
    while waiting:
        writer.write(connection.data_to_send())
        received = await reader.read(65536)
        assert received, "the server has gone"
        for event in connection.receive_data(received):
            if isinstance(event, h2.events.ResponseReceived) and body:
                connection.send_data(event.stream_id, body)
            elif isinstance(event, h2.events.DataReceived):
                answers[event.stream_id] += event.data
            elif isinstance(event, h2.events.StreamEnded):
                waiting.discard(event.stream_id)
    writer.transport.abort()
    return [answer.decode("latin-1") for answer in answers.values()]


async def websocket(port, tls, count):
    connecting = websockets.asyncio.client.connect(
        f"wss://localhost:{port}/", ssl=tls, proxy=None, compression=None, host="127.0.0.1"
    )
    answers = []
    async with connecting as connection:
        for left in reversed(range(count)):
            await connection.send("more" if left else "last")
            answers.append(await connection.recv())
    return answers


async def websocket_over_http_2(port, tls, count):
    """RFC 8441: every stream a WebSocket of its own, with one message each way."""
    headers = [(":method", "CONNECT"), (":protocol", "websocket"), ("sec-websocket-version", "13")]
    answers = await http_2(port, tls, count, headers=headers, body=b"\x81\x84\0\0\0\0last")
    return [answer[2 : 2 + ord(answer[1])] for answer in answers]  # what follows is the frame that closes


# --- cells -----------------------------------------------------------------------------------------------------------

CLIENTS = {
    "HTTP/1.1": (http_1, "http/1.1"),
    "HTTP/2": (http_2, "h2"),
    "WebSocket": (websocket, "http/1.1"),
    "WebSocket over HTTP/2": (websocket_over_http_2, "h2"),
}

CELLS = {
    **{
        f"uvicorn, {loop}, {what}": (uvicorn_serving, {"loop": loop, **options}, what.partition(" on ")[0])
        for loop in ("asyncio", "uvloop")
        for what, options in {
            "HTTP/1.1 on httptools": {"http": HttpToolsProtocol},
            "HTTP/1.1 on h11": {"http": H11Protocol},
            "HTTP/1.1 on zttp": {"http": HTTP2},
            "HTTP/2 on zttp": {"http": HTTP2},
            "WebSocket on websockets": {"ws": "websockets"},
            "WebSocket on websockets-sansio": {"ws": "websockets-sansio", "http": HTTP2},
            "WebSocket on wsproto": {"ws": "wsproto", "http": H11Protocol},
        }.items()
    },
    **{
        f"hypercorn, {loop}, {protocol}": (hypercorn_serving, {"loop": loop}, protocol)
        for loop in ("asyncio", "uvloop", "trio")
        for protocol in CLIENTS
    },
}


async def ask_all(client, port, contexts, requests) -> list[Counter]:
    """What the server took each of the four for."""
    connections = requests // (len(NAMES) * CONVERSATIONS * REQUESTS_EACH)

    async def converse(context):
        return [answer for _ in range(connections) for answer in await client(port, context, REQUESTS_EACH)]

    conversations = [converse(context) for context in contexts for _ in range(CONVERSATIONS)]
    answers = await asyncio.gather(*conversations)
    per_name = [answers[place : place + CONVERSATIONS] for place in range(0, len(answers), CONVERSATIONS)]
    return [Counter(answer for conversation in of_one for answer in conversation) for of_one in per_name]


def identities(cell, folder, requests=REQUESTS) -> dict[str, Counter]:
    serving, options, protocol = CELLS[cell]
    client, alpn = CLIENTS[protocol]
    contexts = [client_context(folder, name) for name in NAMES]
    for context in contexts:
        context.set_alpn_protocols([alpn])
    with serving(APP, tls=tls_context(folder), **options) as port:
        counted = asyncio.run(ask_all(client, port, contexts, requests))
    return dict(zip(NAMES, counted, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::uvicorn.config.UvicornDeprecationWarning")
@pytest.mark.parametrize("cell", CELLS)
def test_zero_wrong_zero_missing(cell, folder):
    """MTLS-1."""
    assert identities(cell, folder) == {name: Counter({f"{name}.clients.example": REQUESTS // 4}) for name in NAMES}


def main(requests: int) -> int:
    """Every cell with so many requests, and what it came to."""
    failed = 0
    with tempfile.TemporaryDirectory() as given:
        folder = write_certificates(Path(given))
        for cell in CELLS:
            began = time.monotonic()
            found = identities(cell, folder, requests)
            right = sum(counts[f"{name}.clients.example"] for name, counts in found.items())
            asked = sum(counts.total() for counts in found.values())
            failed += asked - right
            line = f"{cell:<50} {asked} asked, {asked - right} wrong or missing, {time.monotonic() - began:.1f} s"
            print(line)  # noqa: T201
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS))
