"""Who of the staff has looked at which dispute."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from bson.errors import InvalidId

from policies.errors import BadRequest
from policies.instant import instant
from policies.vocabulary import DisputeId, Role, RoomId, UserId
from storage.client import Database
from storage.places import decode_place, encode_place


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One look. ``action`` names the way, such as ``dispute.read``; ``details`` say what of it, as plain data.

    ``dispute`` and ``room`` are None where it was none in particular, as with a list.
    """

    at: datetime
    actor: UserId
    role: Role
    action: str
    dispute: DisputeId | None = None
    room: RoomId | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some records; ``cursor`` asks for older ones, None when there are none."""

    records: tuple[AuditRecord, ...]
    cursor: str | None


class Audit:
    """Keeps the records.

    Args:
        database: where.
        kept: how long, None for ever.

    Every method raises ``policies.errors.Unavailable`` when the database does not answer in time.
    """

    def __init__(self, database: Database, kept: timedelta | None = None) -> None:
        self._audit = database.collection("audit")
        self._kept = kept

    async def record(self, *records: AuditRecord) -> None:
        """Keep records; they are durable when this returns."""
        if records:
            await self._audit.insert_many([self._encode(record) for record in records], ordered=False)

    async def page(self, dispute: DisputeId, limit: int, cursor: str | None = None) -> AuditPage:
        """The records of a dispute, newest first.

        Raises:
            BadRequest: the cursor is none of ours.
        """
        order = [("at", -1), ("_id", -1)]
        found = await self._audit.find(page_query(dispute, cursor), sort=order, limit=limit + 1)
        records = found[:limit]
        more = encode_place(records[-1]["at"], str(records[-1]["_id"])) if len(found) > limit else None
        return AuditPage(tuple(map(_decode, records)), more)

    def _encode(self, record: AuditRecord) -> dict[str, Any]:
        document = {
            "_id": ObjectId(),
            "at": instant(record.at),
            "actor": {"id": record.actor, "role": record.role.value},
            "action": record.action,
            "details": dict(record.details),
        }
        if record.dispute is not None:
            document["dispute"] = record.dispute
        if record.room is not None:
            document["room"] = record.room
        if self._kept is not None:
            document["expires_at"] = instant(record.at + self._kept)
        return document


def page_query(dispute: DisputeId, cursor: str | None) -> dict[str, Any]:
    """A range of the index that is in order already."""
    if cursor is None:
        return {"dispute": dispute}
    at, key = decode_place(cursor)
    try:
        last = ObjectId(key)
    except InvalidId as error:
        raise BadRequest("This cursor is not one that was given out.") from error
    return {"dispute": dispute, "at": {"$lte": at}, "$nor": [{"at": at, "_id": {"$gte": last}}]}


def _decode(document: Mapping[str, Any]) -> AuditRecord:
    return AuditRecord(
        at=document["at"],
        actor=document["actor"]["id"],
        role=Role(document["actor"]["role"]),
        action=document["action"],
        dispute=document.get("dispute"),
        room=document.get("room"),
        details=document["details"],
    )
