"""One room as the client's core keeps it: its entries, and what is being asked about it."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final

from chatserver.client.attempt import Attempt
from chatserver.client.changed_entries import ChangedEntries
from chatserver.client.feed import RoomFeed
from chatserver.client.frames import Entry, Opened, Page
from chatserver.protocol import ClientFrame, History, Join, Limits, Receipt

RECEIPT_PAUSE_S: Final = 0.5
"""Receipts of a room are gathered for this long: a reader may well report each entry."""


class Receipts:
    """Up to where the user has received and read, and what of it the server was told."""

    def __init__(self) -> None:
        self._wanted = (0, 0)
        self._told = (0, 0)
        self.due = 0.0

    def want(self, delivered: int | None, read: int | None) -> None:
        """Positions only ever move forward; what is read has been received."""
        read = max(self._wanted[1], read or 0)
        self._wanted = (max(self._wanted[0], delivered or 0, read), read)

    @property
    def waits(self) -> bool:
        return self._wanted != self._told

    def told(self, now: float) -> tuple[int, int]:
        """What to tell now."""
        self._told, self.due = self._wanted, now + RECEIPT_PAUSE_S
        return self._told

    def forgotten(self) -> None:
        """The connection is lost, and perhaps the last frame with it: tell it again."""
        self._told = (0, 0)


class JoinedRoom:
    """A room that the application wants to be in.

    Args:
        name: the room's id.
        after: the last seq that the application has; None: begin with the latest entries.
        capacity: entries to hold for a slow reader.
        now: the current time.
    """

    def __init__(self, name: str, after: int | None, capacity: int, now: float) -> None:
        self.name = name
        self.feed = RoomFeed(after, capacity)
        self.joined = False
        """Whether it is joined on the connection that stands."""
        self.join = Attempt(due=now)
        self.fetch = Attempt(due=now)
        self.receipts = Receipts()
        self.changed = ChangedEntries()
        self.look = Attempt(due=now)
        """At an entry that has changed."""

    def opened(self, frame: Opened, now: float) -> None:
        self.joined, self.join = True, Attempt()
        first = self.feed.position is None
        self.feed.begin(frame.entries, frame.head)
        if first:
            self.changed.begin(self.feed.position or 0)
        self.read(frame.entries, now)

    def read(self, entries: Sequence[Entry], now: float) -> None:
        """Entries came, all at once: what they say of others concerns those that came before."""
        for seq in self.changed.said_by(entries):
            if not self.feed.reread(seq):
                self.changed.await_sight(seq, now)

    def fetched(self, page: Page, now: float, rng: Random) -> None:
        """Take a page that was asked for. One that brings nothing is asked for again, but not at once."""
        before = self.feed.tail
        self.feed.extend(page.entries)
        self.read(page.entries, now)
        if self.feed.tail == before and self.feed.missing is not None:
            self.fetch.postpone(None, now, rng)
        else:
            self.fetch = Attempt(due=now)

    def looked(self, page: Page, now: float, rng: Random) -> None:
        """An entry that has changed was asked for."""
        if page.entries:
            self.look = Attempt(due=now)
        else:
            self.look.postpone(None, now, rng)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return self.join, self.fetch, self.look

    def lost(self) -> None:
        """The server no longer serves this room to us: it has to be joined again."""
        self.joined, self.join, self.fetch, self.look = False, Attempt(), Attempt(), Attempt()
        self.receipts.forgotten()

    def requests(self, now: float, new_id: Callable[[], str], limits: Limits) -> Iterator[ClientFrame]:
        """What to ask about this room now; it counts as sent."""
        if not self.joined:
            if self.join.ready(now):
                self.join.sent(new_id(), now)
                yield Join(type="join", id=self.join.id, room=self.name, after=self.feed.tail)
            return
        missing = self.feed.missing
        if missing is not None and self.fetch.ready(now):
            self.fetch.sent(new_id(), now)
            yield History(type="history", id=self.fetch.id, room=self.name, after=missing, limit=limits.history_page)
        unseen = self.changed.overdue(now)
        if unseen is not None and self.look.ready(now):
            self.look.sent(new_id(), now)
            yield History(type="history", id=self.look.id, room=self.name, after=unseen - 1, limit=1)
        if self.receipts.waits and self.receipts.due <= now:
            delivered, read = self.receipts.told(now)
            yield Receipt(type="receipt", room=self.name, delivered=delivered, read=read or None)

    def due_times(self) -> Iterator[float]:
        """When something of this room is to be sent, if nothing else happens before."""
        if not self.joined:
            if self.join.sent_at is None:
                yield self.join.due
            return
        if self.fetch.sent_at is None and self.feed.missing is not None:
            yield self.fetch.due
        if self.look.sent_at is None and (unseen_at := self.changed.due) is not None:
            yield max(unseen_at, self.look.due)
        if self.receipts.waits:
            yield self.receipts.due
