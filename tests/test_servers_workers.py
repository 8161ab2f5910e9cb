"""Several workers, as each server starts them itself: every one of them tells, and tells the right thing."""

import contextlib
import sys
import time
from collections import Counter

import httpx
import pytest

from .handshake import client_context
from .serving import NAMES, free_port, in_its_own_process, write_certificates

APP = """
import os
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from secure_asgi import MutualTLSMiddleware

app = MutualTLSMiddleware(Starlette(routes=[
    Route("/", lambda request: PlainTextResponse(f"{os.getpid()} {request.user.subject}"))
]))
"""

INSTALLED = """
from secure_asgi.servers import hypercorn
hypercorn.install()
"""

IN_CODE = """
import sys, uvicorn
from secure_asgi.servers.uvicorn import HTTP2Protocol
from secure_asgi.tls import server_context

def context(config, default):
    return server_context("server.pem", "server.key", client_ca="ca.pem", client_auth="required")

if __name__ == "__main__":
    uvicorn.run("workers:app", port=int(sys.argv[1]), workers=2, http=HTTP2Protocol, ssl_context_factory=context)
"""

FILES = "--ssl-certfile server.pem --ssl-keyfile server.key --ssl-ca-certs ca.pem --ssl-cert-reqs 2"

HOOK = "--http secure_asgi.servers.uvicorn:AutoProtocol"

COMMANDS = {
    "uvicorn": f"-m uvicorn workers:app --port {{port}} {FILES} --workers 2 {HOOK}",
    "uvicorn in code": "in_code.py {port}",
    "hypercorn": (
        "-m hypercorn installed:app --bind 127.0.0.1:{port} --workers 2 --certfile server.pem --keyfile server.key "
        "--ca-certs ca.pem --verify-mode CERT_REQUIRED"
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_certificates(tmp_path_factory.mktemp("workers"))
    (folder / "workers.py").write_text(APP)
    (folder / "installed.py").write_text(INSTALLED + APP)
    (folder / "in_code.py").write_text(IN_CODE)
    return folder


@pytest.mark.parametrize("server", COMMANDS)
def test_every_worker_tells(server, folder):
    port, log = free_port(), folder / f"{server}.log"
    command = [sys.executable, *COMMANDS[server].format(port=port).split()]
    with in_its_own_process(command, folder=folder, log=log):
        workers = ask_until_both_have_answered(port, folder, log)
    assert len(workers) == 2
    assert min(workers.values()) >= 1


def ask_until_both_have_answered(port, folder, log) -> Counter:
    """How often each worker has answered; every answer is the right one."""
    contexts = {name: client_context(folder, name) for name in NAMES}
    workers = Counter()
    deadline = time.monotonic() + 20
    while len(workers) < 2 or workers.total() < 20:
        assert time.monotonic() < deadline, f"{workers} {log.read_text()}"
        for name, context in contexts.items():
            with contextlib.suppress(httpx.TransportError):  # not up yet
                answer = httpx.get(f"https://localhost:{port}/", verify=context, trust_env=False)
                worker, subject = answer.text.split()
                assert subject == f"{name}.clients.example"
                workers[worker] += 1
    return workers
