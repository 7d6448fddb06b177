"""Users whose access was taken away, whatever their tokens say."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from policies.instant import instant
from policies.vocabulary import UserId
from storage.client import Database


@dataclass(frozen=True, slots=True)
class Revocation:
    """Tokens of this user that were issued up to ``at`` open nothing."""

    user: UserId
    at: datetime


class Revocations:
    """Keeps revocations. Every method raises ``policies.errors.Unavailable`` when there is no answer in time."""

    def __init__(self, database: Database) -> None:
        self._revocations = database.collection("revocations")

    async def revoke(self, user: UserId, now: datetime, expires_at: datetime | None = None) -> None:
        """Take a user's access away, as of now.

        Args:
            user: whose.
            now: the time. An earlier revocation of the same user is moved to it.
            expires_at: when the last token they may hold has expired, and this is of no use any more; by default it
                stays until it is lifted.
        """
        values = {"at": instant(now)}
        update: dict[str, Any] = {"$set": values, "$unset": {"expires_at": ""}}
        if expires_at is not None:
            update = {"$set": values | {"expires_at": instant(expires_at)}}
        await self._revocations.update_one({"_id": user}, update, upsert=True)

    async def lift(self, user: UserId) -> bool:
        """Give a user's access back. False when it was not taken away."""
        return await self._revocations.delete_one({"_id": user}) == 1

    async def revoked_at(self, user: UserId) -> datetime | None:
        """When a user's access was taken away, or None."""
        found = await self._revocations.find_one({"_id": user})
        return None if found is None else _decode(found).at

    async def since(self, time: datetime) -> tuple[Revocation, ...]:
        """Revocations at or after a time, oldest first: what a process asks for that may have missed the news."""
        found = await self._revocations.find({"at": {"$gte": instant(time)}}, sort=[("at", 1)])
        return tuple(_decode(document) for document in found)


def _decode(document: Mapping[str, Any]) -> Revocation:
    return Revocation(document["_id"], document["at"])
