"""What ``import secure_asgi`` and one middleware cost in a process that has FastAPI already."""

import statistics
import subprocess
import sys
from collections.abc import Iterator

from .harness import Row, at_most

MEASURE = """
import fastapi, time
began = time.process_time()
{statement}
print((time.process_time() - began) * 1000)
"""
BESIDE = {
    "import slowapi": "import slowapi",
    "import jwt": "import jwt",
    "import secure": "import secure",
    "from secure_asgi import BearerAuthMiddleware": "from secure_asgi import BearerAuthMiddleware",
}


def milliseconds(statement: str) -> float:
    """CPU time, a fresh interpreter each, median of nine."""
    code = MEASURE.format(statement=statement)
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(9)
    ]
    return statistics.median(runs)


def rows() -> Iterator[Row]:
    yield at_most("import secure_asgi, on top of FastAPI", milliseconds("import secure_asgi"), 5, "ms")
    for what, statement in BESIDE.items():
        yield Row(what, f"{milliseconds(statement):.1f} ms")
