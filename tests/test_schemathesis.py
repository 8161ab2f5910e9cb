"""A caller who makes up requests from the OpenAPI document: no operation answers without credentials.

schemathesis, its check ``ignored_auth``: where the document says that an operation takes a token, the same request is
sent without it and with a wrong one.
"""

import subprocess
from collections import Counter

import pytest

from secure_asgi.testing import TokenFactory

from .documented import create_app
from .paths import ROOT
from .serving import uvicorn_serving

SCHEMATHESIS = ROOT / ".venv-schemathesis" / "bin" / "schemathesis"


def asked_by_schemathesis(folder, **options):
    """``(exit status, what it printed, how often each handler answered well)``."""
    if not SCHEMATHESIS.exists():
        pytest.skip("schemathesis is missing: make schemathesis")
    tokens, answered = TokenFactory(), Counter()
    token = tokens.token(scope="orders:read orders:write")
    with uvicorn_serving(create_app(tokens, answered=answered, **options)) as port:
        command = [
            *(
                SCHEMATHESIS,
                "run",
                f"http://127.0.0.1:{port}/openapi.json",
                "--header",
                f"Authorization: Bearer {token}",
            ),
            *("--checks", "ignored_auth", "--seed", "1", "--max-examples", "10", "--no-color"),
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout + done.stderr, answered


def test_no_operation_answers_without_credentials(tmp_path):
    status, printed, answered = asked_by_schemathesis(tmp_path)
    assert status == 0, printed
    assert set(answered) == {"read", "health", "place"}, "an operation that never answers proves nothing"


def test_one_that_does_is_found(tmp_path):
    """The check works: one operation is exempt, though the document says that it takes a token."""
    status, printed, _ = asked_by_schemathesis(tmp_path, unguarded="/health")
    assert status == 1, printed
    assert "GET /health" in printed
    assert "API accepts requests without authentication" in printed


def test_one_that_asks_by_itself_does_not_answer_though_the_layer_is_off(tmp_path):
    """A dependency refuses by itself where the layer outside was not asked."""
    status, printed, answered = asked_by_schemathesis(tmp_path, unguarded="/orders")
    assert status == 0, printed
    assert set(answered) == {"read", "health"}
