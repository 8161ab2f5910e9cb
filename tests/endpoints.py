"""Servers of the worst and the best kind, each in a thread: what is inspected by the command line."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n"
    b"strict-transport-security: max-age=63072000; includeSubDomains\r\n\r\n"
)


@contextlib.contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port where each connection is given to ``handle``, in a thread of its own; all are closed at the end."""
    listening = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            handle(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                open_ones.append(connection)
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listening.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listening.close()
        for connection in open_ones:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def tls(context: ssl.SSLContext, answer: bytes = ANSWER) -> Callable[[socket.socket], None]:
    """TLS, and one ``answer`` to whatever is asked first."""

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            if wrapped.recv(16384):
                wrapped.sendall(answer)

    return handle


def saying(answer: bytes) -> Callable[[socket.socket], None]:
    """Bytes that are no TLS handshake; then the end."""

    def handle(connection: socket.socket) -> None:
        connection.recv(16384)
        connection.sendall(answer)

    return handle


def silent(connection: socket.socket) -> None:
    """Takes all and says nothing, until the client goes."""
    while connection.recv(65536):
        pass
