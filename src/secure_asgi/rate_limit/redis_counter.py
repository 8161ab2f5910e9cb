"""``RedisCounter``: one question to Redis a request, and none for a key whose answer is known."""

import struct
from collections.abc import Awaitable, Hashable, Sequence
from typing import TYPE_CHECKING

from .counting import Banned, Bucket, Reading, Verdict
from .deny_cache import DenyCache
from .outage import StoreUnavailableError
from .redis_layout import Layout, read_numbers

if TYPE_CHECKING:
    from .redis_store import RedisStore

_BANNED = 2
"""The first number of an answer that is no verdict."""


class RedisCounter:
    """``Counter`` over some buckets of a ``RedisStore``. Its standings are ``Reading``s.

    A receipt is None for a refusal, else the microsecond of the charge, and what GCRA needs besides.
    """

    __slots__ = ("_layout", "_store", "denied")

    def __init__(self, store: "RedisStore", buckets: Sequence[Bucket]) -> None:
        self._store = store
        self._layout = Layout(buckets, store.strategy)
        self.denied = DenyCache(store.longest_denial)

    def hit(self, key: Hashable, cost: int, bans: bool = True) -> Verdict | Banned | Awaitable[Verdict | Banned]:
        """As in ``Counter``. A refusal that this process knows of is answered at once. What is awaited raises
        ``StoreUnavailableError``."""
        store = self._store
        ban = store.ban if bans else None
        name = store.name(key)
        now = store.clock()
        if ban is not None and (left := store.ban_known(name, now)):
            return Banned(left)
        refusal = self.denied.find(name, cost, now)
        if refusal is not None:
            if ban is None:
                return False, refusal.readings(now), None
            if refusal.counted + refusal.strikes + 1 < ban.after:
                refusal.strikes += 1
                refusal.struck = now
                return False, refusal.readings(now), None
        return self._ask(name, cost, now, bans and ban is not None)

    def read(self, index: int, standing: Reading, cost: int) -> Reading:
        return standing

    def settle(self, key: Hashable, verdict: Verdict, reserved: int, real: int) -> Awaitable[None] | None:
        """As in ``Counter``. What is awaited raises ``StoreUnavailableError``."""
        if verdict[2] is None or real == reserved:
            return None
        return self._settle(self._store.name(key), verdict[2], reserved, real)

    async def _ask(self, name: str, cost: int, began: int, bans: bool) -> Verdict | Banned:
        store = self._store
        layout = self._layout
        prefix = store.prefix(name)
        strikes = 0
        if store.ban is None or not bans:
            answer = read_numbers(await store.scripts.hit.run(store.link, layout.keys(prefix), layout.constants, cost))
        else:
            strikes = self.denied.take_strikes(name, began, store.ban.per)
            keys = (*layout.keys(prefix), *store.ban_keys(name))
            said = await store.scripts.hit.run(store.link, keys, layout.constants, cost, store.ban.packed, strikes)
            answer = read_numbers(said)
            if len(answer) == 3 and answer[0] == _BANNED:
                return store.note_ban(name, answer[1], answer[2], began)
            store.note_no_ban(name, began)
        if len(answer) != 2 + layout.stride * len(layout.buckets) or answer[0] > 1:
            raise StoreUnavailableError("Redis: an answer that is no verdict")
        readings = layout.readings(answer[2:], layout.stride)
        if answer[0]:
            marks = [*zip(answer[4::4], answer[5::4], strict=True)] if layout.stride == 4 else []
            return True, readings, (answer[1], b"".join([struct.pack(">2d", *mark) for mark in marks]))
        if all(free >= cost for free, _ in readings):
            raise StoreUnavailableError("Redis: a refusal where all units fit")
        self.denied.remember(name, cost, readings, began, strikes + 1)
        return False, readings, None

    async def _settle(self, name: str, receipt: tuple[int, bytes], reserved: int, real: int) -> None:
        store = self._store
        at, marks = receipt
        arguments = (self._layout.constants, real - reserved, at, reserved, *((marks,) if marks else ()))
        await store.scripts.settle.run(store.link, self._layout.keys(store.prefix(name)), *arguments)
        if real < reserved:
            self.denied.forget(name)
