"""A Redis of a benchmark's own: on a free port of the loopback interface, empty, and gone afterwards."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

START = 10.0
"""Seconds that it may take."""


@contextmanager
def running_redis() -> Iterator[str]:
    """Its URL. Over TCP, as a Redis on another machine is asked."""
    found = shutil.which("redis-server")
    if found is None:
        raise SystemExit("redis-server is missing: apt-get install redis-server")
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        command = [found, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START
    while True:
        try:
            with redis.Redis(port=port) as client:
                client.ping()
                return
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
