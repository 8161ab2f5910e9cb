"""The Lua scripts, and how one is run: by its digest, which Redis knows from the first time on."""

import asyncio
from functools import partial
from hashlib import sha1
from importlib.resources import files
from typing import Any

from .._redis import RedisLink, RedisUnavailableError
from .outage import StoreUnavailableError

Argument = str | bytes | int


def read_part(name: str) -> str:
    """One file of ``scripts/``."""
    return files(__package__).joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8")


class Script:
    """Some files of ``scripts/`` in one, read when it is first needed."""

    __slots__ = ("_digest", "_parts", "_text")

    def __init__(self, *parts: str) -> None:
        self._parts = parts
        self._text = ""
        self._digest = ""

    @property
    def text(self) -> str:
        if not self._text:
            self._text = "\n".join(map(read_part, self._parts))
        return self._text

    @property
    def digest(self) -> str:
        if not self._digest:
            # Redis names its scripts by SHA-1: a name, and no protection.
            self._digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        return self._digest

    async def run(self, link: RedisLink, keys: tuple[str, ...], *arguments: Argument) -> Any:
        """The answer, in one trip; in two where Redis has forgotten the script, within the time of one command.

        Not sent again after any other failure: it may have run all the same. Raises ``StoreUnavailableError``.
        """
        began = asyncio.get_running_loop().time()
        rest = (len(keys), *keys, *arguments)
        try:
            return await link.ask("EVALSHA", self.digest, *rest)
        except RedisUnavailableError as error:
            if str(error) != "NoScriptError":
                raise StoreUnavailableError(f"Redis: {error}") from error
        try:
            async with asyncio.timeout_at(began + link.timeout):
                return await ask(link, "EVAL", self.text, *rest)
        except TimeoutError:
            raise StoreUnavailableError("Redis: TimeoutError") from None

    def load(self, link: RedisLink) -> Any:
        return ask(link, "SCRIPT LOAD", self.text)


async def ask(link: RedisLink, *command: Argument) -> Any:
    """The answer to one command. Raises ``StoreUnavailableError``."""
    try:
        return await link.ask(*command)
    except RedisUnavailableError as error:
        raise StoreUnavailableError(f"Redis: {error}") from error


class Scripts:
    """Those of one strategy: what is asked of them. Without ``bans`` a hit knows none, and is a tenth quicker."""

    __slots__ = ("hit", "settle", "standing")

    def __init__(self, strategy: str, *, bans: bool) -> None:
        script = partial(Script, "prologue", strategy)
        self.hit = script("bans", "hit") if bans else script("hit")
        self.settle = script("settle")
        self.standing = script("bans", "standing")
