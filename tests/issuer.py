"""An issuer on a real socket that does as it is told: answers, drips, hangs, lies."""

import asyncio
import contextlib
import json
from collections import Counter


class Issuer:
    """``answers``: by path, ``(status, headers, body)`` or a coroutine function of the writer; ``asked`` counts."""

    def __init__(self):
        self.answers, self.asked, self._open = {}, Counter(), set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error):
        self._server.close()
        for writer in self._open:
            writer.close()
        await asyncio.sleep(0)

    def publish(self, jwks, path="/jwks", **headers):
        self.answers[path] = (200, {"content-type": "application/json", **headers}, json.dumps(jwks).encode())

    def describe(self, path="/.well-known/openid-configuration", **metadata):
        document = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks", **metadata}
        self.answers[path] = (200, {"content-type": "application/json"}, json.dumps(document).encode())

    async def _serve(self, reader, writer):
        self._open.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split(b" ")[1].decode()
            self.asked[path] += 1
            answer = self.answers.get(path, (404, {}, b""))
            if callable(answer):
                await answer(writer)
            else:
                status, headers, body = answer
                lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close"]
                lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
        self._open.discard(writer)
        writer.close()
