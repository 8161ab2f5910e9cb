"""The chains of a connection, whichever way this Python has to ask for them. One Python has one: hence stand-ins."""

import _ssl
from types import SimpleNamespace

import pytest

from secure_asgi._chains import chain_of


def in_public(method, chain):
    return SimpleNamespace(**{method: lambda: list(chain or ())})


def in_private(method, chain):
    """OpenSSL's own object has certificates, and None where there is no chain."""
    raw = chain and [
        SimpleNamespace(public_bytes=lambda form, der=der: {_ssl.ENCODING_DER: der}[form]) for der in chain
    ]
    return SimpleNamespace(_sslobj=SimpleNamespace(**{method: lambda: raw}))


@pytest.mark.parametrize("kind", ["verified", "unverified"])
@pytest.mark.parametrize("connection", [in_public, in_private], ids=["Python 3.13", "before"])
@pytest.mark.parametrize("chain", [(b"leaf", b"root"), (b"leaf",), None], ids=["two", "one", "resumed"])
def test_chains(kind, connection, chain):
    assert chain_of(connection(f"get_{kind}_chain", chain), kind) == (chain or ())
