"""Where things are, and how to start an interpreter that finds them, installed or not."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}


def run_python(*arguments: object, **options) -> str:
    """Standard output of a fresh interpreter; fails with what it printed if it fails."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
