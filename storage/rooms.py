"""The rooms: what is known of each beside its log."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from policies.room import Party, RoomFacts
from policies.vocabulary import RoomId, RoomKind, UserId
from storage.client import Database, Session
from storage.places import decode_place, encode_place

NEWEST_FIRST: Final = [("created_at", -1), ("_id", 1)]


@dataclass(frozen=True, slots=True)
class RoomPage:
    """Some of a user's rooms; ``cursor`` asks for the next ones, None when there are no more."""

    rooms: tuple[RoomFacts, ...]
    cursor: str | None


class Rooms:
    """Reads what is known of rooms. They are made and changed with the order or dispute that they belong to.

    Every method raises ``policies.errors.Unavailable`` when the database does not answer in time.
    """

    def __init__(self, database: Database) -> None:
        self._rooms = database.collection("rooms")

    async def facts(self, room: RoomId) -> RoomFacts | None:
        """The room, or None where there is none."""
        found = await self._rooms.find_one({"_id": room})
        return None if found is None else decode_room(found)

    async def several(self, rooms: Collection[RoomId]) -> dict[RoomId, RoomFacts]:
        """Those of the rooms that exist, in one query."""
        found = await self._rooms.find({"_id": {"$in": list(rooms)}})
        return {document["_id"]: decode_room(document) for document in found}

    async def of_user(self, user: UserId, limit: int, cursor: str | None = None) -> RoomPage:
        """The order and dispute rooms in which a user is buyer or seller, newest first. No party sees a staff log.

        Raises:
            BadRequest: the cursor is none of ours.
        """
        found = await self._rooms.find(of_user_query(user, cursor), sort=NEWEST_FIRST, limit=limit + 1)
        rooms = tuple(decode_room(document) for document in found[:limit])
        return RoomPage(rooms, encode_place(rooms[-1].created_at, rooms[-1].id) if len(found) > limit else None)

    async def create(self, facts: RoomFacts, session: Session) -> None:
        """Add a room, within a transaction."""
        await self._rooms.insert_one(encode_room(facts), session=session)

    async def set_parties(self, room: RoomId, buyer: Party, seller: Party, session: Session) -> None:
        """Say who the parties of an order room are from now on, within a transaction.

        A dispute's rooms keep theirs: who comes later has no part in what was disputed before.
        """
        parties = {"buyer": encode_party(buyer), "seller": encode_party(seller)}
        await self._rooms.update_one({"_id": room}, {"$set": parties}, session=session)

    async def forget_name(self, room: RoomId, user: UserId) -> None:
        """Drop a party's name."""
        for side in ("buyer", "seller"):
            await self._rooms.update_one({"_id": room, f"{side}.id": user}, {"$set": {f"{side}.name": ""}})

    async def set_slow_mode(self, room: RoomId, every_s: int, session: Session) -> None:
        """Say how long a party has to wait between two messages, within the transaction of the entry that says so."""
        update = {"$set": {"slow_mode_s": every_s}} if every_s else {"$unset": {"slow_mode_s": ""}}
        await self._rooms.update_one({"_id": room}, update, session=session)

    async def set_state(self, facts: RoomFacts, session: Session) -> None:
        """Say how a dispute room stands, within the transaction that changes it. Its parties stay as they are."""
        await self._rooms.update_one({"_id": facts.id}, {"$set": _encode_state(facts)}, session=session)


def of_user_query(user: UserId, cursor: str | None) -> dict[str, Any]:
    """Of each side those after the cursor's place, each a range of an index that is in order already."""
    places: list[dict[str, Any]] = [{}]
    if cursor is not None:
        created_at, room = decode_place(cursor)
        places = [{"created_at": {"$lt": created_at}}, {"created_at": created_at, "_id": {"$gt": room}}]
    seen = {"kind": {"$ne": RoomKind.STAFF.value}}
    return {"$or": [{side: user, **seen, **place} for side in ("buyer.id", "seller.id") for place in places]}


def encode_room(facts: RoomFacts) -> dict[str, Any]:
    document = {
        "_id": facts.id,
        "kind": facts.kind.value,
        "order_id": facts.order_id,
        "buyer": encode_party(facts.buyer),
        "seller": encode_party(facts.seller),
        "created_at": facts.created_at,
        "closed": facts.closed,
    }
    if facts.kind is RoomKind.DISPUTE:
        document |= _encode_state(facts)
    return document


def _encode_state(facts: RoomFacts) -> dict[str, Any]:
    return {"closed": facts.closed, "unattended": facts.unattended, "closes_at": facts.closes_at}


def encode_party(party: Party) -> dict[str, Any]:
    return {"id": party.id, "name": party.name}


def decode_room(document: Mapping[str, Any]) -> RoomFacts:
    buyer, seller = document["buyer"], document["seller"]
    return RoomFacts(
        id=document["_id"],
        kind=RoomKind(document["kind"]),
        order_id=document["order_id"],
        buyer=Party(buyer["id"], buyer["name"]),
        seller=Party(seller["id"], seller["name"]),
        created_at=document["created_at"],
        closed=document["closed"],
        unattended=document.get("unattended", False),
        closes_at=document.get("closes_at"),
        slow_mode_s=document.get("slow_mode_s", 0),
    )
