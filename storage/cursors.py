"""How far each member of a room has received and read, and when they were last seen."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import UpdateOne

from policies.vocabulary import RoomId, Seq, UserId
from storage.chain import KEY_SEPARATOR
from storage.client import Database


@dataclass(frozen=True, slots=True)
class Cursor:
    """A member's place in a room: up to which seq they have received and read. 0 is before the first entry."""

    delivered: Seq
    read: Seq
    last_seen: datetime | None = None


class Cursors:
    """Keeps members' cursors. They only move forward, whatever the order in which they are reported.

    Every method raises ``policies.errors.Unavailable`` when the database does not answer in time.
    """

    def __init__(self, database: Database) -> None:
        self._cursors = database.collection("cursors")

    async def advance(self, batch: Iterable[tuple[RoomId, UserId, int, int]]) -> None:
        """Move cursors forward, in one round trip.

        Args:
            batch: room, user, delivered, read. What was read was also received. Whoever reports it has checked that the
                room has these entries.
        """
        await self._write(
            _upsert(room, user, {"delivered": max(delivered, read), "read": read})
            for room, user, delivered, read in batch
        )

    async def seen(self, batch: Mapping[tuple[RoomId, UserId], datetime]) -> None:
        """Note when users were last connected to rooms, in one round trip."""
        await self._write(
            _upsert(room, user, {"delivered": 0, "read": 0, "last_seen": at}) for (room, user), at in batch.items()
        )

    async def of_room(self, room: RoomId) -> dict[UserId, Cursor]:
        """The cursors of all members of a room who have one."""
        keys = {"$gte": room + KEY_SEPARATOR, "$lt": room + chr(ord(KEY_SEPARATOR) + 1)}
        return {found["user"]: _decode(found) for found in await self._cursors.find({"_id": keys})}

    async def of_user(self, rooms: Collection[RoomId], user: UserId) -> dict[RoomId, Cursor]:
        """A user's cursors in those of the rooms where they have one."""
        found = await self._cursors.find({"_id": {"$in": [_key(room, user) for room in rooms]}})
        return {document["room"]: _decode(document) for document in found}

    async def _write(self, updates: Iterable[UpdateOne]) -> None:
        writes = list(updates)
        if writes:
            await self._cursors.bulk_write(writes)


def _key(room: RoomId, user: UserId) -> str:
    return f"{room}{KEY_SEPARATOR}{user}"


def _upsert(room: RoomId, user: UserId, values: dict[str, Any]) -> UpdateOne:
    update = {"$max": values, "$setOnInsert": {"room": room, "user": user}}
    return UpdateOne({"_id": _key(room, user)}, update, upsert=True)


def _decode(document: dict[str, Any]) -> Cursor:
    return Cursor(document["delivered"], document["read"], document.get("last_seen"))
