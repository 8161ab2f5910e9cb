"""A real memcached for tests: started on a free port, killed, paused and started again at will."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class MemcachedServer:
    """``uri`` stays the same over ``kill()`` and ``start()``; what it held is gone with it."""

    def __init__(self) -> None:
        program = shutil.which("memcached")
        if program is None:
            pytest.skip("memcached is missing: apt-get install memcached")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"memcached://127.0.0.1:{self.port}"
        # It asks for a user to become where root starts it, and takes no notice of that elsewhere.
        self._command = [program, "-u", "nobody", "-l", "127.0.0.1", "-p", str(self.port), "-U", "0"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                if self.ask("version")[0].startswith("VERSION"):
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline, "memcached did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """From now on it accepts, as the kernel does that for it, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # until all of its threads have stopped

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, command: str, end: str = "") -> list[str]:
        """The lines of its answer to a command, up to one that says ``end``."""
        lines: list[str] = []
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection, connection.makefile("rwb") as stream:
            stream.write(command.encode() + b"\r\n")
            stream.flush()
            while line := stream.readline().decode().rstrip():
                lines.append(line)
                if not end or line == end:
                    break
        return lines

    def connections(self) -> int:
        """Those that are open now, without the one that asks."""
        return self._statistic("curr_connections") - 1

    def keys(self) -> list[str]:
        """All of them. A dump can miss one that memcached moves from list to list meanwhile: another one is taken."""
        deadline = time.monotonic() + 10
        while True:
            dump = self.ask("lru_crawler metadump all", "END")
            keys = [line.split()[0].removeprefix("key=") for line in dump if line.startswith("key=")]
            if len(set(keys)) == self._statistic("curr_items"):
                return keys
            assert time.monotonic() < deadline, "memcached dumps other items than it has"
            time.sleep(0.05)

    def _statistic(self, name: str) -> int:
        (line,) = (line for line in self.ask("stats", "END") if line.startswith(f"STAT {name} "))
        return int(line.split()[2])


@contextmanager
def running_memcached() -> Iterator[MemcachedServer]:
    server = MemcachedServer()
    server.start()
    try:
        yield server
    finally:
        server.kill()
