"""An async iterator over what arrives, for one reader."""

import asyncio
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from policies.errors import ChatError

T = TypeVar("T")


class Stream(Generic[T]):
    """Yields what ``take`` has, and waits when it has nothing.

    A cancelled wait loses nothing, so ``asyncio.wait_for(anext(stream), ...)`` is safe. Leaving a loop and starting
    another goes on where the first one stopped. Two tasks cannot wait at the same time.
    """

    def __init__(self, take: Callable[[], T | None]) -> None:
        self._take = take
        self._changed = asyncio.Event()
        self._finished = False
        self._error: ChatError | None = None
        self._waiting = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._waiting:
            raise RuntimeError("another task is waiting on this stream")
        while (item := self._take()) is None:
            if self._error is not None:
                raise self._error.with_traceback(None)
            if self._finished:
                raise StopAsyncIteration
            self._changed.clear()
            self._waiting = True
            try:
                await self._changed.wait()
            finally:
                self._waiting = False
        return item

    def notify(self) -> None:
        """There may be something to take."""
        self._changed.set()

    def finish(self, error: ChatError | None) -> None:
        """Nothing will come any more: after what is there the reader gets ``error``, or the iteration ends."""
        self._finished, self._error = True, error
        self._changed.set()
