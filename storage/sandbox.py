"""The sandbox's clock: how far the shared time of all processes is ahead of the real one."""

from datetime import timedelta
from typing import Final

from storage.client import Database

_KEY: Final = "sandbox_clock"
_MILLISECOND: Final = timedelta(milliseconds=1)


class SandboxClock:
    """Keeps the offset. It only grows, so time never goes back for anybody.

    Both methods raise ``policies.errors.Unavailable`` when there is no answer in time.
    """

    def __init__(self, database: Database) -> None:
        self._meta = database.collection("meta")

    async def offset(self) -> timedelta:
        """How far the sandbox is ahead."""
        found = await self._meta.find_one({"_id": _KEY})
        return timedelta() if found is None else found["offset_ms"] * _MILLISECOND

    async def advance(self, by: timedelta) -> timedelta:
        """Move ahead, and say how far ahead that is now."""
        if by < timedelta():
            raise ValueError("the sandbox's time does not go back")
        update = {"$inc": {"offset_ms": by // _MILLISECOND}}
        found = await self._meta.find_one_and_update({"_id": _KEY}, update, upsert=True)
        return timedelta() if found is None else found["offset_ms"] * _MILLISECOND
