"""Rooms to be looked at for messages that nobody has read.

Looking at every room again and again would cost too much, so the processes that write messages mark the rooms they
write to, and a marked room is looked at when its messages have had their time. A mark holds for a while: a room that is
written to all the time is marked a few times a minute, and one where nothing happens costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo import UpdateOne

from policies.entry import Author
from policies.instant import instant
from policies.vocabulary import EntryKind, Role, RoomId, Seq, UserId, Visibility
from storage.client import Database, Session
from storage.outbox import Outbox, OutboxEvent

COUNTED: Final = 100
"""Unread messages are counted up to this."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A room that was marked. ``told``: of each reader's stream of events, which message was told last."""

    room: RoomId
    marked_at: datetime
    told: Mapping[str, Seq]


@dataclass(frozen=True, slots=True)
class UnreadMessages:
    """What a member has not read: the first of these messages, and how many there are (``COUNTED`` or more)."""

    first: Seq
    at: datetime
    author: Author
    count: int


class Unread:
    """Keeps the marks. Every method raises ``policies.errors.Unavailable`` when there is no answer in time.

    Args:
        database: where.
        after: how long a message may be unread.
    """

    def __init__(self, database: Database, after: timedelta) -> None:
        self._database = database
        self._watches = database.collection("unread")
        self._entries = database.collection("entries")
        self._outbox = Outbox(database)
        self._after = after

    async def mark(self, rooms: Mapping[RoomId, datetime]) -> None:
        """Messages were written to these rooms, at these times and up to now; in one round trip."""
        if rooms:
            await self._watches.bulk_write([_mark(room, instant(at), self._after) for room, at in rooms.items()])

    async def due(self, now: datetime, limit: int) -> list[Watch]:
        """The rooms to be looked at by now, those that are due longest first."""
        found = await self._watches.find({"due_at": {"$lte": instant(now)}}, sort=[("due_at", 1)], limit=limit)
        return [_decode(document) for document in found]

    async def messages(self, room: RoomId, reader: UserId, after: Seq) -> UnreadMessages | None:
        """The messages of others, after a seq, that a party of the room may see; None where there are none."""
        query = {
            "room": room,
            "seq": {"$gt": after},
            "kind": EntryKind.MESSAGE.value,
            "shown": {"$ne": Visibility.WITHHELD.value},
            "$or": [{"visibility": Visibility.ALL.value}, {"shown": Visibility.ALL.value}],
            "author.id": {"$ne": reader},
        }
        shown = {"_id": 0, "seq": 1, "at": 1, "author": 1}
        found = await self._entries.find(query, projection=shown, sort=[("seq", 1)], limit=COUNTED)
        if not found:
            return None
        first, author = found[0], found[0]["author"]
        written_by = Author(author["id"], Role(author["role"]), author["name"])
        return UnreadMessages(first["seq"], first["at"], written_by, len(found))

    async def tell(self, watch: Watch, event: OutboxEvent) -> bool:
        """Write that a reader has unread messages from ``event.n`` on. False when that was written before."""
        told = f"told.{event.dispute}"

        async def work(session: Session) -> bool:
            query = {"_id": watch.room, told: {"$not": {"$gte": event.n}}}
            if not await self._watches.update_one(query, {"$set": {told: event.n}}, session=session):
                return False
            await self._outbox.put([event], session)
            return True

        return await self._database.transact(work)

    async def look_again(self, watch: Watch, at: datetime | None) -> bool:
        """Look at a room at a time, or not before it is marked again. False when it was marked meanwhile: it stays due,
        since nobody has looked at what was written then.
        """
        update: dict[str, Any] = {"$unset": {"due_at": ""}} if at is None else {"$set": {"due_at": instant(at)}}
        return await self._watches.update_one({"_id": watch.room, "marked_at": watch.marked_at}, update) == 1


def _mark(room: RoomId, at: datetime, after: timedelta) -> UpdateOne:
    update = {"$max": {"marked_at": at}, "$min": {"due_at": at + after}}
    return UpdateOne({"_id": room}, update, upsert=True)


def _decode(document: Mapping[str, Any]) -> Watch:
    return Watch(document["_id"], document["marked_at"], document.get("told", {}))
