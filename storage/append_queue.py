"""Which appends wait, which of them may be committed together, and in what turn. Knows no loop and no database."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bson.raw_bson import RawBSONDocument

from policies.entry import Entry
from policies.vocabulary import RoomId

if TYPE_CHECKING:
    from storage.commit import Outcome


@dataclass(slots=True, eq=False)
class Append:
    """Linked entries of one room on their way, and who waits for their outcome."""

    room: RoomId
    entries: Sequence[Entry]
    documents: list[RawBSONDocument]
    since: float
    """When it came, by the loop's clock."""
    done: "Callable[[Outcome | Exception], None]"
    """Is told once what became of it."""


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
    _behind: dict[RoomId, deque[Append] | None] = field(default_factory=dict)
    """What waits behind the first append of a room. A room is in here while its first one is ready or taken; most have
    nothing behind it."""
    _singles: deque[Append] = field(default_factory=deque)
    _bursts: deque[Append] = field(default_factory=deque)
    _alone: deque[Append] = field(default_factory=deque)
    _suspects: set[RoomId] = field(default_factory=set)
    _bursts_next: bool = False

    def put(self, append: Append) -> None:
        self.waiting += 1
        room = append.room
        if room not in self._behind:
            self._behind[room] = None
            self._make_ready(append)
        elif (line := self._behind[room]) is not None:
            line.append(append)
        else:
            self._behind[room] = deque((append,))

    def take_shared(self) -> Batch | None:
        """The next appends that share a commit."""
        if self._bursts and (self._bursts_next or not self._singles):
            self._bursts_next = False
            return self._taken(self._take_bursts(), ordered=True)
        if self._singles:
            self._bursts_next = True
            count = min(len(self._singles), self.batch)
            return self._taken([self._singles.popleft() for _ in range(count)], ordered=False)
        return None

    def take_suspect(self) -> Batch | None:
        """The next append of a room under suspicion, by itself."""
        return self._taken([self._alone.popleft()], ordered=True) if self._alone else None

    def release(self, room: RoomId) -> None:
        """A room's taken append was written: the next one is ready."""
        self._suspects.discard(room)
        line = self._behind[room]
        if line:
            self._make_ready(line.popleft())
        else:
            del self._behind[room]

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
        line = self._behind.pop(room) or ()
        self.waiting -= len(line)
        return list(line)

    def _make_ready(self, append: Append) -> None:
        if append.room in self._suspects:
            self._alone.append(append)
        elif len(append.documents) == 1:
            self._singles.append(append)
        else:
            self._bursts.append(append)

    def _take_bursts(self) -> list[Append]:
        """Until the batch is full; a burst that is longer than a batch goes by itself."""
        taken = [self._bursts.popleft()]
        entries = len(taken[0].documents)
        while self._bursts and entries + len(self._bursts[0].documents) <= self.batch:
            taken.append(self._bursts.popleft())
            entries += len(taken[-1].documents)
        return taken

    def _taken(self, appends: list[Append], *, ordered: bool) -> Batch:
        self.waiting -= len(appends)
        return Batch(appends, ordered)
