"""An HTTP server in threads of its own, so that it goes on while an event loop hangs: answers as it is told."""

import contextlib
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Web:
    """``answers``: by path, ``(status, headers, body)`` or a function of the handler; ``asked`` counts requests.

    ``bodies`` is what was posted. ``stop()`` closes the port, as a server that goes down does.
    """

    def __init__(self):
        self.answers, self.asked, self.bodies = {}, Counter(), []
        self.gone = threading.Event()

    def __enter__(self):
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                web.asked[self.path] += 1
                posted = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.command == "POST":
                    web.bodies.append((self.headers["content-type"], posted))
                answer = web.answers.get(self.path, (404, {}, b"")) if not callable(web.answers) else web.answers
                if callable(answer):
                    # The client may have hung up: that is what some tests are about.
                    with contextlib.suppress(OSError):
                        answer(self, posted)
                else:
                    self.answer(*answer)

            do_POST = do_GET

            def answer(self, status, headers, body):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # tests connect many at a time

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def stop(self):
        self.gone.set()
        self._server.shutdown()
        self._server.server_close()

    def __exit__(self, *error):
        if not self.gone.is_set():
            self.stop()

    def hangs(self, handler, posted):
        self.gone.wait(30)

    def drips(self, handler, posted):
        """A byte now and then: every single read is quick, the whole never ends."""
        handler.send_response(200)
        handler.send_header("content-type", "application/pkix-crl")
        handler.end_headers()
        while not self.gone.wait(0.02):
            handler.wfile.write(b"0")

    def drips_its_head(self, handler, posted):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nx: ")
        while not self.gone.wait(0.02):
            handler.wfile.write(b"0")

    def floods(self, handler, posted):
        handler.send_response(200)
        handler.send_header("content-type", "application/pkix-crl")
        handler.end_headers()
        while not self.gone.is_set():
            handler.wfile.write(b"0" * 65536)
