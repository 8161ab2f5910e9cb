"""Those who wait for a slot, in one line for each client: lines take turns, and who waits longest in a line is first.

Every operation takes the same time however many wait.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

W = TypeVar("W", bound=Hashable)


class FairQueue(Generic[W]):
    """Waiters of one priority class. A line is there while somebody stands in it."""

    __slots__ = ("_by_length", "_lines", "longest")

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, OrderedDict[W, None]] = OrderedDict()
        # The lines of each length, so that the longest is found without a search.
        self._by_length: dict[int, OrderedDict[Hashable, None]] = {}
        self.longest = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def length(self, client: Hashable) -> int:
        """How many of this client wait."""
        return len(self._lines.get(client, ()))

    def push(self, client: Hashable, waiter: W) -> None:
        """To the end of the client's line; a new line has its turn after all others."""
        line = self._lines.get(client)
        if line is None:
            line = self._lines[client] = OrderedDict()
        line[waiter] = None
        self._note_length(client, len(line) - 1, len(line))

    def pop(self) -> W:
        """The first of the line whose turn it is, which is the last line then. Only where somebody waits."""
        client, line = next(iter(self._lines.items()))
        waiter, _ = line.popitem(last=False)
        self._lines.move_to_end(client)
        self._shorten(client, line)
        return waiter

    def remove(self, client: Hashable, waiter: W) -> None:
        """One who waits no more, wherever in its line."""
        line = self._lines[client]
        del line[waiter]
        self._shorten(client, line)

    def pop_newest(self) -> W:
        """The last of the longest line: who takes the most room gives some. Only where somebody waits."""
        client = next(iter(self._by_length[self.longest]))
        line = self._lines[client]
        waiter, _ = line.popitem()
        self._shorten(client, line)
        return waiter

    def _shorten(self, client: Hashable, line: OrderedDict[W, None]) -> None:
        if not line:
            del self._lines[client]
        self._note_length(client, len(line) + 1, len(line))

    def _note_length(self, client: Hashable, before: int, after: int) -> None:
        if before:
            lines = self._by_length[before]
            del lines[client]
            if not lines:
                del self._by_length[before]
        if after:
            self._by_length.setdefault(after, OrderedDict())[client] = None
        if after > self.longest or self.longest not in self._by_length:
            # One step at a time: a line never changes by more.
            self.longest = after
