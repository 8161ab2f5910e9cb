"""A person at FastAPI's documentation page, in headless Chromium (``browser/swagger_ui.mjs``)."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .npm import node, packages

SOURCE = Path(__file__).parent / "browser"
SECONDS = 100
"""For all that the person does: a browser starts slowly on a busy machine."""


def use_swagger_ui(folder: Path, **settings: Any) -> dict[str, Any]:
    """What the page shows for each of ``calls=``; skips the test where a browser or Node is missing."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is missing: apt-get install chromium")
    program, installed = node(), packages(SOURCE)
    # A module finds its packages beside itself, where it really lies: hence a copy.
    script = shutil.copy(SOURCE / "swagger_ui.mjs", folder)
    (folder / "node_modules").symlink_to(installed)
    done = subprocess.run(
        [program, script],
        input=json.dumps({"chromium": chromium, "elsewhere": None, "screenshot": None, **settings}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
