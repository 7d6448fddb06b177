"""How far each room's chain has been verified, so that a check goes on where the last one stopped."""

from collections.abc import Collection, Iterable
from typing import Final

from pymongo import UpdateOne

from policies.vocabulary import RoomId, Seq
from storage.chain import Head
from storage.client import Database

_PLACE: Final = ":place"
"""Key of the room up to which the round has come. No room has this id: theirs hold no colon at the beginning."""


class Checkpoints:
    """Keeps verified heads. Every method raises ``policies.errors.Unavailable`` when there is no answer in time."""

    def __init__(self, database: Database) -> None:
        self._checkpoints = database.collection("checkpoints")
        self._rooms = database.collection("rooms")

    async def next_rooms(self, limit: int) -> list[RoomId]:
        """The rooms that are next in the round, which begins again after the last room; move on with ``proceed``."""
        place = await self._checkpoints.find_one({"_id": _PLACE})
        found = await self._rooms.find(
            {"_id": {"$gt": place["room"] if place else ""}}, projection={"_id": 1}, sort=[("_id", 1)], limit=limit
        )
        return [RoomId(room["_id"]) for room in found]

    async def proceed(self, last: RoomId | None) -> None:
        """Say which room the round has come to; None begins a new one."""
        await self._checkpoints.update_one({"_id": _PLACE}, {"$set": {"room": last or ""}}, upsert=True)

    async def verified(self, rooms: Collection[RoomId]) -> dict[RoomId, Head]:
        """The verified heads of those of the rooms that have one."""
        found = await self._checkpoints.find({"_id": {"$in": list(rooms)}})
        return {each["_id"]: Head(Seq(each["seq"]), each["hash"], each["at"]) for each in found}

    async def advance(self, heads: Iterable[tuple[RoomId, Head]]) -> None:
        """Keep verified heads."""
        writes = [
            UpdateOne({"_id": room}, {"$set": {"seq": head.seq, "hash": head.hash, "at": head.at}}, upsert=True)
            for room, head in heads
        ]
        if writes:
            await self._checkpoints.bulk_write(writes)
