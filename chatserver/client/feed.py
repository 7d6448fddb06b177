"""A room's entries on their way to the reader: each once, in order, whatever the network did to them."""

from collections import deque
from collections.abc import Iterable

from chatserver.client.frames import Entry


class RoomFeed:
    """Puts entries in order, drops repeats, and knows what is missing. No I/O.

    ``position`` is the last seq the reader has taken, ``tail`` the last one that is ready for them: the buffer holds
    position + 1 .. tail. What arrives beyond a hole waits aside until the hole is filled.

    Memory is bounded: at most ``capacity`` entries are ready and as many wait aside. When the reader is slower than
    the room, later entries are dropped and fetched again from history once half of the buffer is free, so a reader
    that stops costs a fixed amount and still misses nothing.

    Args:
        after: the last seq the application has, or None to begin with what the server shows first.
        capacity: entries to hold for a slow reader.
    """

    def __init__(self, after: int | None, capacity: int) -> None:
        self._capacity = capacity
        self._position = after
        self._ready: deque[Entry] = deque()
        self._aside: dict[int, Entry] = {}
        self.head = after or 0
        """The highest seq known to exist."""

    @property
    def position(self) -> int | None:
        return self._position

    @property
    def tail(self) -> int | None:
        """Where to go on from; None before the first ``begin`` of a feed without a position."""
        return None if self._position is None else self._position + len(self._ready)

    @property
    def missing(self) -> int | None:
        """The seq after which entries should be fetched now; None when nothing is missing or the buffer is too full."""
        tail = self.tail
        if tail is None or tail >= self.head or len(self._ready) > self._capacity // 2:
            return None
        return tail

    def begin(self, entries: list[Entry], head: int) -> None:
        """Take the entries of a ``joined`` answer; the first one of all sets the position when there was none."""
        if self._position is None:
            self._position = entries[0].seq - 1 if entries else head
        self.head = max(self.head, head)
        self.extend(entries)

    def extend(self, entries: Iterable[Entry]) -> None:
        """Take a page of history."""
        for entry in entries:
            self.offer(entry)

    def offer(self, entry: Entry) -> None:
        """Take one entry, from wherever it comes."""
        tail = self.tail
        if tail is None:
            return  # not joined yet: the joined answer will hold it
        self.head = max(self.head, entry.seq)
        if entry.seq == tail + 1 and len(self._ready) < self._capacity:
            self._append(entry)
            self._close_hole()
        elif entry.seq > tail and len(self._aside) < self._capacity:
            self._aside[entry.seq] = entry

    def amend(self, entry: Entry) -> None:
        """Take in that an entry has changed, where its reader has not taken it yet."""
        if entry.seq in self._aside:
            self._aside[entry.seq] = entry
        elif self._position is not None and 0 <= (place := entry.seq - self._position - 1) < len(self._ready):
            self._ready[place] = entry

    def reread(self, seq: int) -> bool:
        """An entry has changed, and how is not known: what is held from it on is dropped and fetched again.

        Returns:
            False when its reader has it already.
        """
        if self._position is None or seq <= self._position:
            return False
        while len(self._ready) >= seq - self._position:
            self._ready.pop()
        self._aside = {place: entry for place, entry in self._aside.items() if place < seq}
        return True

    def take(self) -> Entry | None:
        """The next entry for the reader, or None when it has to wait."""
        if not self._ready:
            return None
        entry = self._ready.popleft()
        self._position = entry.seq
        self._close_hole()
        return entry

    def _append(self, entry: Entry) -> None:
        self._ready.append(entry)
        self._aside.pop(entry.seq, None)

    def _close_hole(self) -> None:
        while self._aside and self.tail is not None and len(self._ready) < self._capacity:
            following = self._aside.get(self.tail + 1)
            if following is None:
                return
            self._append(following)
