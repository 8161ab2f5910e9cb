"""Real proxies in front of a real uvicorn: each is started on a free port, in a folder of its own, and ended again.

The configurations are those of the how-to pages, word for word; only ports and folders are other ones here. So what
the pages say is what these tests run.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from .handshake import client_context
from .paths import ROOT

HOST = "orders.example.com"
HOWTO = ROOT / "docs" / "howto"
PATH = f"{os.environ['PATH']}:/usr/sbin"


@dataclass(frozen=True)
class Program:
    """``main`` stands around a page's files as in a real installation, and makes one process of the program here."""

    command: str
    package: str
    directory: str
    main: str = ""


PROGRAMS = {
    "nginx": Program(
        "nginx -e {folder}/error.log -c {folder}/etc/nginx/main",
        "nginx-light",
        "nginx",
        """
        daemon off;
        master_process off;
        pid {folder}/nginx.pid;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {folder}/body;
            proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi;
            uwsgi_temp_path {folder}/uwsgi;
            scgi_temp_path {folder}/scgi;
            include conf.d/*.conf;
        }}
        """,
    ),
    "haproxy": Program("haproxy -db -f {folder}/etc/haproxy/haproxy.cfg", "haproxy", "haproxy"),
    "apache": Program(
        "apache2 -X -d {folder} -f {folder}/etc/apache2/main",
        "apache2",
        "apache2",
        """
        LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
        LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
        LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
        LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
        LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
        LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
        ServerName localhost
        PidFile {folder}/apache.pid
        DefaultRuntimeDir {folder}
        Mutex file:{folder}
        ErrorLog {folder}/error.log
        User www-data
        Group www-data
        Listen 127.0.0.1:{port}
        Include {folder}/etc/apache2/sites-available/*.conf
        """,
    ),
    "caddy": Program(
        "caddy run --config {folder}/etc/caddy/main --adapter caddyfile",
        "caddy",
        "caddy",
        """
        {{
            admin off
            auto_https off
            storage file_system {folder}/storage
        }}
        import {folder}/etc/caddy/Caddyfile
        """,
    ),
}


def blocks(page: str, language: str) -> list[str]:
    """The code of a how-to page in one language."""
    found = re.findall(rf"^```{language}\n(.*?)^```", (HOWTO / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no {language}"
    return found


def files(page: str, language: str) -> list[tuple[str, str]]:
    """Path and content of a page's files: each names its own path in its first line."""
    return [(text.split(maxsplit=2)[1], text) for text in blocks(page, language)]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Proxy:
    """A running proxy. ``certificates`` is the folder of ``client_context``."""

    name: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    certificates: Path

    def connect(self, client: str | None = None) -> ssl.SSLSocket:
        return connect(self.port, self.certificates, client)

    def ask(self, path: str = "/", *, client: str | None = None, fields: Iterable[tuple[str, str]] = ()) -> Answer:
        """One request as the named client or as one without a certificate, with fields that no library tidies up."""
        return ask(self.connect(client), path, fields)

    def log(self) -> str:
        return "\n".join(file.read_text(errors="replace") for file in sorted(self.folder.glob("*.log")))


def plain_connection(port: int, *, source: str = "127.0.0.1") -> socket.socket:
    """``source`` is the address that the other end sees: all of 127.0.0.0/8 are ours."""
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))


def connect(port: int, certificates: Path, client: str | None) -> ssl.SSLSocket:
    plain = plain_connection(port)
    try:
        return client_context(certificates, client).wrap_socket(plain, server_hostname=HOST)
    except BaseException:
        plain.close()
        raise


def ask(
    connection: socket.socket, path: str, fields: Iterable[tuple[str, str]] = (), *, stays_open: bool = False
) -> Answer:
    lines = [f"GET {path} HTTP/1.1", f"Host: {HOST}", f"Connection: {'keep-alive' if stays_open else 'close'}"]
    lines += [f"{name}: {value}" for name, value in fields]
    with contextlib.nullcontext() if stays_open else contextlib.closing(connection):
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        response = http.client.HTTPResponse(connection)
        response.begin()
        return Answer(response.status, response.headers, response.read())


@contextlib.contextmanager
def running(
    name: str, contents: Iterable[tuple[str, str]], *, folder: Path, certificates: Path, upstream: str
) -> Iterator[Proxy]:
    """The proxy in front of ``upstream``, the address that stands in for 127.0.0.1:8000.

    ``contents`` are path and text of its files; ``certificates`` becomes their folder ``tls``.
    """
    program = PROGRAMS[name]
    if shutil.which(program.command.split()[0], path=PATH) is None:
        pytest.skip(f"{name} is not installed: apt-get install {program.package}")
    tls = folder / "etc" / program.directory / "tls"
    if tls != certificates:
        shutil.copytree(certificates, tls)
    proxy = _start(name, list(contents), folder, certificates, upstream)
    try:
        yield proxy
    finally:
        _end(proxy.process)


def _start(name: str, contents: list[tuple[str, str]], folder: Path, certificates: Path, upstream: str) -> Proxy:
    for _ in range(5):
        # Another process may take the port before the proxy does; then with another one.
        port = free_port()
        _write(name, contents, folder, port, upstream)
        with open(folder / "output.log", "ab") as log:
            process = subprocess.Popen(
                PROGRAMS[name].command.format(folder=folder).split(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": PATH, "HOME": str(folder), "LANG": "C"},
                cwd=folder,
            )
        proxy = Proxy(name, folder, port, process, certificates)
        try:
            if _is_up(proxy):
                return proxy
        except BaseException:
            _end(process)
            raise
        _end(process)
    raise AssertionError(f"{name} does not start:\n{proxy.log()}")


def _is_up(proxy: Proxy) -> bool:
    """It shakes hands with our certificate (nobody else's on the same port would do), or it has given up."""
    deadline = time.monotonic() + 15
    while proxy.process.poll() is None and time.monotonic() < deadline:
        try:
            proxy.connect().close()
        except OSError:
            time.sleep(0.01)
        else:
            return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _write(name: str, contents: list[tuple[str, str]], folder: Path, port: int, upstream: str) -> None:
    for path, text in contents:
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(moved(text, folder, port, upstream))
    program = PROGRAMS[name]
    (folder / "etc" / program.directory / "main").write_text(dedent(program.main).format(folder=folder, port=port))


def moved(text: str, folder: Path, port: int, upstream: str) -> str:
    """What a page says, at other places: its files in ``folder``, its ports 443 and 8000 where they are free."""
    places = {
        r"(?<![\w.])/(?=(etc|run|srv)/)": f"{folder}/",
        r"\b127\.0\.0\.1:8000\b": upstream,
        r"--port 8000\b": f"--port {upstream.rpartition(':')[2]}",
        r"\b127\.0\.0\.1:443\b": f"127.0.0.1:{port}",
        # Listening on loopback only: a test is no service.
        r"\blisten 443\b": f"listen 127.0.0.1:{port}",
        r"\bbind :443\b": f"bind 127.0.0.1:{port}",
        r"\*:443\b": f"127.0.0.1:{port}",
        rf"^{re.escape(HOST)} \{{": f"{HOST}:{port} {{\n    bind 127.0.0.1",
    }
    for pattern, replacement in places.items():
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
