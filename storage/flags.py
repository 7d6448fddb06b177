"""Flagged entries: what staff have to look at, what adds up to a user's strikes, and what the marketplace is told."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from policies.entry import Entry
from policies.flag import FlagState, Mark
from policies.vocabulary import DisputeId, RoomId, UserId
from storage.client import Database, Session
from storage.documents import decode_entry, entry_key
from storage.outbox import Outbox, OutboxEvent
from storage.places import decode_place, encode_place

UNTOLD: Final = {"flag.untold": True}
OLDEST_FIRST: Final = [("at", 1)]
COUNTED: Final = frozenset(FlagState) - {FlagState.REPEATED}


@dataclass(frozen=True, slots=True)
class FlagQuery:
    """Which flags are asked for; nothing in a field means any."""

    states: frozenset[FlagState] = frozenset()
    marks: frozenset[Mark] = frozenset()
    user: UserId | None = None
    room: RoomId | None = None


@dataclass(frozen=True, slots=True)
class FlagPage:
    """Some flagged entries; ``cursor`` asks for the next ones, None when there are no more."""

    entries: tuple[Entry, ...]
    cursor: str | None


class Flags:
    """Reads flagged entries. Every method raises ``policies.errors.Unavailable`` when there is no answer in time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries = database.collection("entries")
        self._disputes = database.collection("disputes")
        self._outbox = Outbox(database)

    async def page(self, query: FlagQuery, limit: int, cursor: str | None = None) -> FlagPage:
        """Flagged entries, the oldest first.

        Raises:
            BadRequest: the cursor is none of ours.
        """
        found = await self._entries.find(flag_query(query, cursor), sort=[("at", 1), ("_id", 1)], limit=limit + 1)
        shown = found[:limit]
        more = encode_place(shown[-1]["at"], shown[-1]["_id"]) if len(found) > limit else None
        return FlagPage(tuple(map(decode_entry, shown)), more)

    async def of_user(self, user: UserId, since: datetime, limit: int) -> list[Entry]:
        """A user's flagged entries since a time that count, the newest first."""
        found = await self._entries.find(of_user_query(user, since), sort=[("at", -1)], limit=limit)
        return [decode_entry(document) for document in found]

    async def before(self, entry: Entry, since: datetime, limit: int) -> list[Entry]:
        """The flagged entries of an entry's author in its room that came before it, since a time, and count."""
        query = of_user_query(entry.author.id, since) | {"room": entry.room, "seq": {"$lt": entry.seq}}
        found = await self._entries.find(query, sort=[("at", -1)], limit=limit)
        return [decode_entry(document) for document in found]

    async def repeated(self, entry: Entry) -> None:
        """Note that a flag adds nothing to those before it, unless staff have said something of it meanwhile."""
        query = {**UNTOLD, "_id": _key(entry), "flag.state": FlagState.OPEN.value}
        update = {"$set": {"flag.state": FlagState.REPEATED.value}, "$unset": {"flag.untold": ""}}
        await self._entries.update_one(query, update)

    async def untold(self, limit: int) -> list[Entry]:
        """Flagged entries of which the marketplace has not been told, the oldest first.

        The sort must be that of the index, or MongoDB reads all entries there are.
        """
        found = await self._entries.find(UNTOLD, sort=OLDEST_FIRST, limit=limit)
        return sorted(map(decode_entry, found), key=lambda entry: (entry.at, entry.seq))

    async def tell(self, entry: Entry, event: OutboxEvent | None, dispute: DisputeId | None = None) -> bool:
        """Write what the marketplace is told of a flagged entry, and that it was.

        Args:
            event: None where there is nothing to tell.
            dispute: whose next event it is, whatever ``event.n`` says.

        Returns:
            Whether it was still to be told.
        """

        async def work(session: Session) -> bool:
            query = {**UNTOLD, "_id": _key(entry)}
            if not await self._entries.update_one(query, {"$unset": {"flag.untold": ""}}, session=session):
                return False
            if event is not None:
                n = event.n if dispute is None else await self._next_number(dispute, session)
                numbered = OutboxEvent(event.dispute, n, event.type, event.data, event.at)
                await self._outbox.put([numbered], session)
            return True

        return await self._database.transact(work)

    async def _next_number(self, dispute: DisputeId, session: Session) -> int:
        """Take the next number of a dispute's events. Whoever changes the dispute at the same moment looks again."""
        await self._disputes.update_one({"_id": dispute}, {"$inc": {"told": 1}}, session=session)
        found = await self._disputes.find_one({"_id": dispute}, projection={"told": 1}, session=session)
        if found is None:
            raise LookupError(f"there is no dispute {dispute}")
        return int(found["told"])


def of_user_query(user: UserId, since: datetime) -> dict[str, Any]:
    """The states are named so that those which do not count, of which there may be very many, are not even seen."""
    return {"author.id": user, "flag.state": {"$in": _words(COUNTED)}, "at": {"$gte": since}}


def flag_query(query: FlagQuery, cursor: str | None) -> dict[str, Any]:
    """All states are named where any will do: as many ranges of one index, merged in order."""
    asked: dict[str, Any] = {"flag.state": {"$in": _words(query.states or FlagState)}}
    if query.marks:
        asked["flag.mark"] = {"$in": _words(query.marks)}
    if query.user is not None:
        asked["author.id"] = query.user
    if query.room is not None:
        asked["room"] = query.room
    if cursor is not None:
        at, key = decode_place(cursor)
        asked |= {"at": {"$gte": at}, "$nor": [{"at": at, "_id": {"$lte": key}}]}
    return asked


def _key(entry: Entry) -> str:
    return entry_key(entry.room, entry.author.id, entry.command_id)


def _words(vocabulary: Iterable[FlagState] | Iterable[Mark]) -> list[str]:
    return sorted(word.value for word in vocabulary)
