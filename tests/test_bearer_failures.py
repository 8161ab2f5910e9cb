"""A client that keeps guessing is stopped before the next guess costs anything."""

import pytest

from secure_asgi import BearerAuthMiddleware, ConfigurationError
from secure_asgi.bearer import FailureLimit
from secure_asgi.testing import TokenFactory

from . import asgi

NOW = 1_790_000_000
TOKENS = TokenFactory(clock=lambda: NOW)


class Service:
    def __init__(self, **options):
        self.now = 0.0
        self.layer = BearerAuthMiddleware(
            asgi.hello,
            issuer=TOKENS.issuer,
            audience="orders",
            jwks=TOKENS.jwks,
            failure_limit=FailureLimit(3, per=60.0),
            **options,
        )
        self.layer._now = lambda: self.now
        self.layer._clock = lambda: NOW

    def ask(self, token, client=("203.0.113.7", 1)):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return asgi.http(self.layer, headers=headers, client=client)


def test_the_fourth_guess_is_not_looked_at_and_time_forgives():
    service, good = Service(), TOKENS.token()
    assert service.ask(good).status == 200
    assert [service.ask(TOKENS.forged()).status for _ in range(5)] == [401, 401, 401, 429, 429]
    service.now = 20.0
    answer = service.ask(TOKENS.token())
    assert (answer.status, answer.headers["retry-after"]) == (429, "40")
    assert "www-authenticate" not in answer.headers
    assert service.ask(good).status == 200, "remembered: it costs no signature"
    assert service.ask(None).status == 401, "no token is no guess"
    assert service.ask(TOKENS.token(), client=("203.0.113.8", 1)).status == 200
    service.now = 60.0
    assert service.ask(TOKENS.token()).status == 200


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("not:an:address", "not:an:address", True),
    ],
)
def test_who_is_one_client(first, second, is_one):
    limit = FailureLimit(1, per=60.0)
    limit.failed(first, 0.0)
    assert bool(limit.wait(second, 1.0)) is is_one


def test_a_client_without_an_address_is_not_counted():
    limit = FailureLimit(1, per=60.0)
    limit.failed(None, 0.0)
    assert limit.wait(None, 0.0) == 0.0


def test_a_new_window_counts_anew():
    limit = FailureLimit(2, per=10.0)
    for at in (0.0, 11.0):
        limit.failed("a", at)
    assert limit.wait("a", 11.0) == 0.0


@pytest.mark.parametrize(
    ("count", "per"), [(0, 1.0), (1.5, 1.0), (True, 1.0), (1, 0), (1, -1.0), (1, float("inf")), (1, "60")]
)
def test_wrong_options(count, per):
    with pytest.raises(ConfigurationError):
        FailureLimit(count, per=per)
