"""Which appends wait, which of them may be committed together, and in what turn. Knows no loop and no database."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bson.raw_bson import RawBSONDocument

from policies.entry import Entry
from policies.vocabulary import RoomId

if TYPE_CHECKING:
    from storage.commit import Outcome


@dataclass(slots=True, eq=False)
class Append:
    """Linked entries of one room on their way, and the future that waits for their outcome."""

    room: RoomId
    entries: Sequence[Entry]
    documents: list[RawBSONDocument]
    since: float
    """When it came, by the loop's clock."""
    outcome: "asyncio.Future[Outcome]"


@dataclass(frozen=True, slots=True)
class Batch:
    """Appends of different rooms to be committed together; ``ordered``: inserts stop at the first that fails."""

    appends: list[Append]
    ordered: bool


@dataclass(slots=True)
class AppendQueue:
    """The appends that wait.

    Of a room only the first may be taken; the next one is ready when that is released. Single entries and longer
    appends (bursts) wait apart, because only equals share a batch, and take turns. Rooms under suspicion wait apart.

    Args:
        batch: most entries of a batch.
    """

    batch: int
    waiting: int = 0
    """Appends that were not taken yet."""
    _lines: dict[RoomId, deque[Append]] = field(default_factory=dict)
    """What waits, by room. A room is in here while its first append is ready or taken."""
    _singles: deque[RoomId] = field(default_factory=deque)
    _bursts: deque[RoomId] = field(default_factory=deque)
    _alone: deque[RoomId] = field(default_factory=deque)
    _suspects: set[RoomId] = field(default_factory=set)
    _bursts_next: bool = False

    def put(self, append: Append) -> None:
        self.waiting += 1
        line = self._lines.get(append.room)
        if line is not None:
            line.append(append)
            return
        self._lines[append.room] = deque((append,))
        self._make_ready(append.room)

    def take_shared(self) -> Batch | None:
        """The next appends that share a commit."""
        if self._bursts and (self._bursts_next or not self._singles):
            self._bursts_next = False
            return Batch(self._take(self._burst_rooms()), ordered=True)
        if self._singles:
            self._bursts_next = True
            count = min(len(self._singles), self.batch)
            return Batch(self._take(self._singles.popleft() for _ in range(count)), ordered=False)
        return None

    def take_suspect(self) -> Batch | None:
        """The next append of a room under suspicion, by itself."""
        return Batch(self._take((self._alone.popleft(),)), ordered=True) if self._alone else None

    def release(self, room: RoomId) -> None:
        """A room's taken append was written: the next one is ready."""
        self._suspects.discard(room)
        if self._lines[room]:
            self._make_ready(room)
        else:
            del self._lines[room]

    def give_up(self, room: RoomId, *, suspect: bool | None) -> list[Append]:
        """A room's taken append was not written, or nobody knows: all that waits behind it comes back unwritten.

        Args:
            room: the room.
            suspect: whether it may be to blame, so that its next appends wait apart until one has an outcome; None
                when the append was not even tried, which says nothing.
        """
        if suspect:
            self._suspects.add(room)
        elif suspect is not None:
            self._suspects.discard(room)
        line = self._lines.pop(room)
        self.waiting -= len(line)
        return list(line)

    def _make_ready(self, room: RoomId) -> None:
        line = self._lines[room]
        if room in self._suspects:
            self._alone.append(room)
        elif len(line[0].documents) == 1:
            self._singles.append(room)
        else:
            self._bursts.append(room)

    def _burst_rooms(self) -> list[RoomId]:
        """Until the batch is full; a burst that is longer than a batch goes by itself."""
        rooms = [self._bursts.popleft()]
        entries = self._length(rooms[0])
        while self._bursts and entries + self._length(self._bursts[0]) <= self.batch:
            rooms.append(self._bursts.popleft())
            entries += self._length(rooms[-1])
        return rooms

    def _length(self, room: RoomId) -> int:
        return len(self._lines[room][0].documents)

    def _take(self, rooms: Iterable[RoomId]) -> list[Append]:
        taken = [self._lines[room].popleft() for room in rooms]
        self.waiting -= len(taken)
        return taken
