"""Two generations: bounded, and what is used stays."""

from secure_asgi._cache import TwoGenerations


def test_what_is_used_stays_and_what_is_not_goes():
    cache = TwoGenerations(4)
    for key in "abcd":
        cache.put(key, key.upper())
        assert cache.get("a") == "A"
    assert cache.get("b") is None
    assert cache.get("d") == "D"
    assert len(cache) <= 4
    cache.clear()
    assert cache.get("a") is None
    assert len(cache) == 0
