"""A scanner's word on the profiles: sslyze, against Mozilla's guidelines as it knows them (TLS-4).

What is scanned takes client certificates and does without: of a server that insists on one sslyze says nothing, and
ends with 0 all the same. So its word is read, not its exit status.
"""

import contextlib
import re
import socket
import subprocess
import sys
import time

import pytest

from secure_asgi.testing.certificates import CertificateAuthority

from .handshake import rsa_twin
from .paths import ENVIRONMENT, ROOT
from .serving import free_port, in_its_own_process

SSLYZE = ROOT / ".venv-sslyze" / "bin" / "python"
PAGE = ROOT / "docs" / "howto" / "pass-a-tls-scan.md"

SERVED = [("modern", "ecdsa"), ("intermediate", "ecdsa"), ("intermediate", "rsa")]

SERVE = """
import sys, uvicorn
from secure_asgi.tls import server_context
from tests.asgi import hello

profile, key, port = sys.argv[1:]

def context(config, default):
    return server_context(f"{key}.pem", f"{key}.key", profile=profile, client_ca="ca.pem", client_auth="optional")

uvicorn.run(hello, port=int(port), lifespan="off", log_level="error", ssl_context_factory=context)
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """What sslyze says, by what it was asked of: all servers at once, because a scan is mostly waiting."""
    if not SSLYZE.exists():
        pytest.skip("sslyze is missing: make sslyze")
    folder = tmp_path_factory.mktemp("scanned")
    authority = CertificateAuthority("Test CA")
    (folder / "ca.pem").write_bytes(authority.certificate_pem)
    issued = authority.issue("dns:localhost", usage="server")
    issued.write(folder / "ecdsa.pem", folder / "ecdsa.key")
    certificate, key = rsa_twin(authority, issued)
    (folder / "rsa.pem").write_bytes(certificate)
    (folder / "rsa.key").write_bytes(key)
    # The file of the how-to, to the letter.
    (groups,) = re.findall(r"```ini\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (folder / "openssl.cnf").write_text(groups)
    with contextlib.ExitStack() as stack:
        ports = {served: stack.enter_context(_serving(folder, *served)) for served in SERVED}
        scans = {served: stack.enter_context(_scanning(folder, served[0], port)) for served, port in ports.items()}
        return {served: scan.communicate(timeout=60)[0] for served, scan in scans.items()}


@contextlib.contextmanager
def _serving(folder, profile, key):
    port, log = free_port(), folder / f"{profile}-{key}.log"
    environment = {**ENVIRONMENT, "OPENSSL_CONF": str(folder / "openssl.cnf")}
    command = [sys.executable, "-c", SERVE, profile, key, str(port)]
    with in_its_own_process(command, folder=folder, log=log, environment=environment) as server:
        deadline = time.monotonic() + 30
        while not _is_open(port):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield port


def _is_open(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _scanning(folder, profile, port):
    arguments = [f"--mozilla_config={profile}", "--certinfo_ca_file", str(folder / "ca.pem"), f"localhost:{port}"]
    command = [SSLYZE, "-m", "sslyze", *arguments]
    return subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.parametrize("served", SERVED, ids="-".join)
def test_compliant(verdicts, served):
    assert "OK - Compliant" in verdicts[served], verdicts[served]
