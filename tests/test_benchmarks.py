"""A benchmark compares what does the same work, however the library changes."""

from .paths import ROOT, run_python


def test_the_fused_function_answers_as_the_layers_do():
    """In a process of its own: a benchmark keeps the library's warnings to itself."""
    run_python("-c", "from benchmarks.alike import check_alike; check_alike()", cwd=ROOT)
