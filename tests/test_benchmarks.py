"""A benchmark compares what does the same work, however the library changes."""

from benchmarks.alike import check_alike


def test_the_fused_function_answers_as_the_layers_do():
    check_alike()
