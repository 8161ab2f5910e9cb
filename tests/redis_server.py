"""A real Redis for tests: started on a free port, killed and started again at will; with Sentinel, and as a cluster."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

MASTER = "mymaster"
_SLOTS = 16384


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(happened: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class RedisServer:
    """``url`` stays the same over ``kill()`` and ``start()``; what it held is gone with it. ``options`` are of its
    command line, behind the program's name. A Sentinel is the same program, with ``--sentinel`` and its file."""

    def __init__(self, folder: Path, *options: str) -> None:
        found = shutil.which("redis-server")
        if found is None:
            pytest.skip("redis-server is missing: apt-get install redis-server")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        own = ["--port", str(self.port), "--bind", "127.0.0.1"]
        if "--sentinel" not in options:
            own += ["--save", "", "--appendonly", "no"]
        self._command = [found, *options, *own]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        self._process = subprocess.Popen(
            [*self._command, *more], cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers, "redis-server did not start", 10)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It keeps its port and its connections, and does nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def command(self, *words: Any, password: str | None = None) -> Any:
        """The answer to one command, over a connection of its own."""
        with redis.Redis(port=self.port, password=password) as client:
            return client.execute_command(*words)

    def info(self, section: str) -> dict[str, Any]:
        found: dict[str, Any] = self.command("INFO", section)
        return found

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


@contextmanager
def running_redis(folder: Path, *options: str) -> Iterator[RedisServer]:
    server = RedisServer(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Replicated:
    """A master, its replica, and a Sentinel that puts the one for the other within about two seconds."""

    def __init__(self, folder: Path, password: str = "") -> None:
        secret = ("--requirepass", password, "--masterauth", password) if password else ()
        self.master = RedisServer(folder, "--repl-diskless-sync-delay", "0", *secret)
        self.replica = RedisServer(folder, "--replicaof", "127.0.0.1", str(self.master.port), *secret)
        self._password = password or None
        settings = [
            f"sentinel monitor {MASTER} 127.0.0.1 {self.master.port} 1",
            f"sentinel down-after-milliseconds {MASTER} 500",
            f"sentinel failover-timeout {MASTER} 2000",
        ]
        if password:
            settings += [f"sentinel auth-pass {MASTER} {password}", f"requirepass {password}"]
        file = folder / "sentinel.conf"
        file.write_text("\n".join([*settings, ""]))
        self.sentinel = RedisServer(folder, str(file), "--sentinel")
        login = f":{password}@" if password else ""
        self.url = f"redis+sentinel://{login}127.0.0.1:{self.sentinel.port}/{MASTER}"

    def start(self) -> None:
        self.master.start()
        self.replica.start()
        # A Sentinel that meets a master without replicas asks for them again only after ten seconds.
        until(lambda: b"master_link_status:up" in self._told(self.replica, "replication"), "the replica is alone")
        until(lambda: b"slave0:" in self._told(self.master, "replication"), "the master is alone")
        self.sentinel.start()
        until(lambda: b"slaves=1" in self._told(self.sentinel, "sentinel"), "the Sentinel knows no replica")

    def kill(self) -> None:
        for server in (self.sentinel, self.replica, self.master):
            server.kill()

    def _told(self, server: RedisServer, section: str) -> bytes:
        with redis.Redis(port=server.port, password=self._password) as client:
            client.response_callbacks.clear()
            told: bytes = client.execute_command("INFO", section)
            return told


@contextmanager
def running_sentinel(folder: Path, password: str = "") -> Iterator[Replicated]:
    servers = Replicated(folder, password)
    try:
        servers.start()
        yield servers
    finally:
        servers.kill()


class Cluster:
    """Three masters without replicas, a third of the slots each. A server keeps what it knows of the others in a file
    of its own, so that it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.servers = []
        self._buses = [free_port() for _ in range(3)]
        for number, bus in enumerate(self._buses):
            own = folder / str(number)
            own.mkdir()
            options = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1000")
            self.servers.append(RedisServer(own, *options))
        self.url = f"redis+cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.servers)}"

    def start(self) -> None:
        for number, server in enumerate(self.servers):
            server.start()
            first, last = (_SLOTS * part // 3 for part in (number, number + 1))
            server.command("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
            server.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server, bus in zip(self.servers[1:], self._buses[1:], strict=True):
            self.servers[0].command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        until(self.is_whole, "the cluster did not form")

    def is_whole(self) -> bool:
        return all(
            b"cluster_state:ok" in server.command("CLUSTER", "INFO")
            and b"cluster_known_nodes:3" in server.command("CLUSTER", "INFO")
            for server in self.servers
        )

    def kill(self) -> None:
        for server in self.servers:
            server.kill()


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


async def deaf(reader, writer):
    """Accepts, reads, and never answers: for ``asyncio.start_server``."""
    while await reader.read(1024):
        pass
    writer.close()
