"""Little of what takes long is done at once, and few wait for it: a crowd that asks for pages, or for texts to be
judged, must not take the server's memory and time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from policies.errors import Unavailable

WAITING_PER_SEAT: Final = 8
RETRY_MS: Final = 5000


class Press:
    """Lets a bounded number work at a time.

    Args:
        seats: how many; eight times as many may wait.
        busy: what the others are told.
    """

    def __init__(self, seats: int, busy: str = "Many case files are being made.") -> None:
        self._busy = busy
        self._free = asyncio.Semaphore(seats)
        self._most = seats * (1 + WAITING_PER_SEAT)
        self._here = 0

    @asynccontextmanager
    async def seat(self) -> AsyncIterator[None]:
        """Wait for a seat, and hold it.

        Raises:
            Unavailable: too many wait already.
        """
        if self._here >= self._most:
            raise Unavailable(self._busy, retry_after_ms=RETRY_MS)
        self._here += 1
        try:
            async with self._free:
                yield
        finally:
            self._here -= 1
