"""The leases on claimed cases: an agent who disappears does not keep a case for ever.

That an agent has a case is in the dispute's log; the lease only says until when it may be believed. It comes and goes
with the entries that say so, is renewed while the agent is connected, and when it has run out the worker writes that
the agent has left.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from policies.instant import instant
from policies.vocabulary import DisputeId, UserId
from storage.client import Database, Session


@dataclass(frozen=True, slots=True)
class Claim:
    """A case that an agent has."""

    dispute: DisputeId
    agent: UserId
    expires_at: datetime


class Claims:
    """Keeps the leases. Every method raises ``policies.errors.Unavailable`` when there is no answer in time."""

    def __init__(self, database: Database) -> None:
        self._claims = database.collection("claims")

    async def hold(self, claim: Claim, session: Session) -> None:
        """Begin a lease, within the transaction in which the agent takes the case; another agent's ends with it."""
        lease = {"agent": claim.agent, "expires_at": instant(claim.expires_at)}
        await self._claims.update_one({"_id": claim.dispute}, {"$set": lease}, upsert=True, session=session)

    async def release(self, dispute: DisputeId, session: Session) -> None:
        """End the lease, within the transaction in which the agent leaves the case."""
        await self._claims.delete_one({"_id": dispute}, session=session)

    async def end_expired(self, dispute: DisputeId, agent: UserId, now: datetime, session: Session) -> bool:
        """End an agent's lease that has run out, within the transaction in which the agent leaves the case for it.

        Returns:
            Whether it had run out; it may have been renewed, or be another agent's by now.
        """
        query = {"_id": dispute, "agent": agent, "expires_at": {"$lte": instant(now)}}
        return await self._claims.delete_one(query, session=session) == 1

    async def renew(self, agent: UserId, disputes: Collection[DisputeId], until: datetime) -> None:
        """Prolong an agent's leases on those of the disputes that the agent still has."""
        query = {"_id": {"$in": list(disputes)}, "agent": agent}
        await self._claims.update_many(query, {"$max": {"expires_at": instant(until)}})

    async def expired(self, now: datetime, limit: int) -> list[Claim]:
        """Leases that have run out, the longest expired first."""
        found = await self._claims.find({"expires_at": {"$lte": instant(now)}}, sort=[("expires_at", 1)], limit=limit)
        return [Claim(each["_id"], each["agent"], each["expires_at"]) for each in found]
