"""Fixtures that several files share."""

import pytest


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    """A real OpenID provider, for the tests of one file."""
    from .provider import running_provider

    with running_provider(tmp_path_factory.mktemp("provider")) as running:
        yield running
