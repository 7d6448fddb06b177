"""Marking the rooms that this process writes messages to, so that a worker looks whether they are read."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from chatserver.clock import Clock
from policies.entry import Entry
from policies.errors import Unavailable
from policies.vocabulary import EntryKind, RoomId

GATHER_S: Final = 0.05
"""Marks are gathered for so long: until then a process that is killed takes them along."""
RETRY_S: Final = 1.0
REMEMBERED: Final = 50_000
"""Rooms of which it is remembered when they were marked; of others it costs one more mark."""

log = logging.getLogger(__name__)


class Marking(Protocol):
    """``storage.unread.Unread``."""

    async def mark(self, rooms: Mapping[RoomId, datetime]) -> None: ...


class UnreadMarks:
    """Notes messages that were written, at next to no cost for each.

    Args:
        unread: keeps the marks.
        clock: the deployment's time.
        every: how long a mark holds: at most half of the time after which a room is looked at, so that whatever a
            mark stands for was written well before somebody looks.
        spawn: runs something in the background.
    """

    def __init__(
        self,
        unread: Marking,
        clock: Clock,
        every: timedelta,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._unread = unread
        self._clock = clock
        self._every = every
        self._spawn = spawn
        self._marked: OrderedDict[RoomId, datetime] = OrderedDict()
        self._waiting: dict[RoomId, datetime] = {}
        self._storing = False

    def note(self, entries: Sequence[Entry]) -> None:
        """Entries of one room were appended."""
        if not any(entry.kind is EntryKind.MESSAGE for entry in entries):
            return
        room, now = entries[0].room, self._clock.now()
        marked = self._marked.get(room)
        if marked is not None and now < marked + self._every:
            return
        self._marked[room] = now
        self._marked.move_to_end(room)
        if len(self._marked) > REMEMBERED:
            self._marked.popitem(last=False)
        self._waiting[room] = now
        if not self._storing:
            self._storing = True
            self._spawn(self._store())

    async def flush(self) -> None:
        """Store what waits, as far as the database answers."""
        waiting, self._waiting = self._waiting, {}
        try:
            await self._unread.mark(waiting)
        except BaseException:
            self._waiting = {**waiting, **self._waiting}
            raise

    async def _store(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_S)
                try:
                    await self.flush()
                except Unavailable as error:
                    log.debug("unread messages could not be marked: %s", error)
                    await asyncio.sleep(RETRY_S)
        finally:
            self._storing = False
