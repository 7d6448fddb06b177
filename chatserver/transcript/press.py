"""Few pages are made at once, and few wait for it: a crowd that asks for them must not take the server's memory."""

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
    """

    def __init__(self, seats: int) -> None:
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
            raise Unavailable("Many case files are being made.", retry_after_ms=RETRY_MS)
        self._here += 1
        try:
            async with self._free:
                yield
        finally:
            self._here -= 1
