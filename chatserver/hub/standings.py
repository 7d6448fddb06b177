"""Keeping the queue true: how disputes stand after plain messages that this process has written.

A message costs one insert, and writes no snapshot. When another side has spoken, though, the dispute waits for somebody
else than before, and whoever lists disputes should find it so. Its snapshot is brought up to date soon after, beside
the flow of messages; were it not, only the list would be late.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Final, Protocol

from chatserver.disputes.snapshots import dispute_of_room
from policies.entry import Entry
from policies.errors import Unavailable
from policies.vocabulary import PARTIES, DisputeId, EntryKind, Role, RoomId
from storage.disputes import Current

GATHER_S: Final = 1.0
"""Of a lively talk one snapshot is written in so long, and those of many disputes together."""
RETRY_S: Final = 5.0
AT_ONCE: Final = 500
ENTRIES_MOST: Final = 5_000
"""Entries that are read for so many disputes; one with very many since its snapshot is brought up to date when somebody
acts in it, or the worker looks."""
REMEMBERED: Final = 50_000
"""Rooms of which it is remembered who spoke last; of others it costs one look more."""

log = logging.getLogger(__name__)


class Snapshots(Protocol):
    """``storage.disputes.Disputes``."""

    async def current_of(self, disputes: Collection[DisputeId], limit: int) -> list[Current]: ...

    async def put_each_later(self, currents: Sequence[Current]) -> None: ...


class Standings:
    """See the module.

    Args:
        disputes: the snapshots.
        spawn: runs something in the background.
        gather_s: how long what was noted is gathered.
    """

    def __init__(
        self,
        disputes: Snapshots,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        gather_s: float = GATHER_S,
    ) -> None:
        self._disputes = disputes
        self._spawn = spawn
        self._gather_s = gather_s
        self._spoke: OrderedDict[RoomId, Role] = OrderedDict()
        self._waiting: dict[DisputeId, None] = {}
        self._storing = False

    def note(self, entries: Sequence[Entry]) -> None:
        """Entries of one room were appended."""
        room = entries[0].room
        dispute = dispute_of_room(room)
        if dispute is None or not self._another_spoke(room, entries):
            return
        self._waiting[dispute] = None
        if not self._storing:
            self._storing = True
            self._spawn(self._store())

    def _another_spoke(self, room: RoomId, entries: Sequence[Entry]) -> bool:
        """Whether one side has sent a message after the other, or after something that wrote the snapshot."""
        before = last = self._spoke.pop(room, None)
        changed = False
        for entry in entries:
            if entry.kind is not EntryKind.MESSAGE:
                last = None
            elif entry.author.role in PARTIES:
                changed = changed or entry.author.role is not last
                last = entry.author.role
        if last is not None:
            self._spoke[room] = last
            if before is None and len(self._spoke) > REMEMBERED:
                self._spoke.popitem(last=False)
        return changed

    async def flush(self) -> None:
        """Bring up to date what waits, as far as the database answers."""
        while self._waiting:
            taken = dict.fromkeys(list(self._waiting)[:AT_ONCE])
            self._waiting = {each: None for each in self._waiting if each not in taken}
            try:
                currents = await self._disputes.current_of(taken, ENTRIES_MOST)
                await self._disputes.put_each_later([each for each in currents if each.saved < each.head.seq])
            except BaseException:
                self._waiting = {**taken, **self._waiting}
                raise

    async def _store(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(self._gather_s)
                try:
                    await self.flush()
                except Unavailable as error:
                    log.debug("snapshots could not be brought up to date: %s", error)
                    await asyncio.sleep(RETRY_S)
        finally:
            self._storing = False
