"""Legal holds: disputes whose evidence must be kept, however old it gets."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from policies.instant import instant
from policies.vocabulary import DisputeId, Role, UserId
from storage.client import Database


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing of a dispute's evidence is deleted while this stands. ``by`` and ``role``: who has asked for it."""

    dispute: DisputeId
    by: UserId
    role: Role
    reason: str
    since: datetime


class Holds:
    """Keeps the holds. Every method raises ``policies.errors.Unavailable`` when there is no answer in time."""

    def __init__(self, database: Database) -> None:
        self._holds = database.collection("holds")

    async def put(self, hold: Hold) -> None:
        """Begin a hold, or give one that stands another reason; it began when it began."""
        said = {"by": hold.by, "role": hold.role.value, "reason": hold.reason}
        update = {"$set": said, "$setOnInsert": {"since": instant(hold.since)}}
        await self._holds.update_one({"_id": hold.dispute}, update, upsert=True)

    async def lift(self, dispute: DisputeId) -> bool:
        """End a hold. Returns whether there was one."""
        return await self._holds.delete_one({"_id": dispute}) == 1

    async def of(self, dispute: DisputeId) -> Hold | None:
        """The hold of a dispute."""
        found = await self._holds.find_one({"_id": dispute})
        if found is None:
            return None
        return Hold(found["_id"], found["by"], Role(found["role"]), found["reason"], found["since"])

    async def any_of(self, disputes: Collection[DisputeId]) -> bool:
        """Whether one of the disputes is held."""
        query = {"_id": {"$in": list(disputes)}}
        return bool(disputes) and await self._holds.find_one(query, projection={"_id": 1}) is not None
