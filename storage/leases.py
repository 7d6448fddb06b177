"""Named leases: of all processes, one at a time holds a name, until it gives it back or stops renewing it."""

from datetime import datetime, timedelta

from pymongo.errors import DuplicateKeyError

from policies.instant import instant
from storage.client import Database


class Leases:
    """Keeps leases. Every method raises ``policies.errors.Unavailable`` when there is no answer in time.

    A holder must stop what the lease allows before it expires by its own clock: nobody tells it.
    """

    def __init__(self, database: Database) -> None:
        self._leases = database.collection("leases")

    async def acquire(self, name: str, holder: str, now: datetime, lasting: timedelta) -> bool:
        """Take a lease that is free, expired, or held by this holder already. False when somebody else holds it."""
        query = {"_id": name, "$or": [{"holder": holder}, {"expires_at": {"$lte": instant(now)}}]}
        try:
            await self._leases.update_one(query, {"$set": _held(holder, now, lasting)}, upsert=True)
        except DuplicateKeyError:  # it exists and did not match: it is held
            return False
        return True

    async def renew(self, name: str, holder: str, now: datetime, lasting: timedelta) -> bool:
        """Keep a lease for longer. False when it was lost: it expired, or somebody else has it."""
        query = {"_id": name, "holder": holder, "expires_at": {"$gt": instant(now)}}
        return await self._leases.update_one(query, {"$set": _held(holder, now, lasting)}) == 1

    async def release(self, name: str, holder: str) -> bool:
        """Give a lease back. False when this holder does not have it."""
        return await self._leases.delete_one({"_id": name, "holder": holder}) == 1


def _held(holder: str, now: datetime, lasting: timedelta) -> dict[str, object]:
    return {"holder": holder, "expires_at": instant(now + lasting)}
