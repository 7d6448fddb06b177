"""What is known of each piece of evidence: where its bytes are, what they are, and how far it has come.

A piece is announced, uploaded, looked at, and then sealed: an entry in its room's log says so for good, with the hash
of the bytes. The states say what has still to be done, so that whatever was interrupted can be finished by anybody.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from pymongo.errors import DuplicateKeyError

from policies.evidence import Announcement, EvidenceId, MediaType
from policies.instant import instant
from policies.vocabulary import DisputeId, EvidenceKind, Role, RoomId, Seq, UserId
from storage.client import Database
from storage.object_store import StoredObject

DUPLICATES_MAX: Final = 20
LIST_MAX: Final = 1_000


class EvidenceState(StrEnum):
    """How far a piece of evidence has come."""

    ANNOUNCED = "announced"
    """Its upload was signed."""
    QUARANTINED = "quarantined"
    """It is what it was announced as; the scanner has not said yet that it is clean."""
    SEALING = "sealing"
    """It is taken: its objects and its entry are being written."""
    SEALED = "sealed"
    """Its entry stands in the log."""
    REFUSED = "refused"
    """It was not what it was announced as; nothing is kept of it."""
    ABANDONED = "abandoned"
    """Nobody completed it in time."""
    DELETED = "deleted"
    """Its time was up, or its uploader's content was erased: the entry and the hash stay."""


COUNTED: Final = (EvidenceState.ANNOUNCED, EvidenceState.QUARANTINED, EvidenceState.SEALING, EvidenceState.SEALED)
"""States that count for the limit of a side."""
UNFINISHED: Final = (EvidenceState.ANNOUNCED, EvidenceState.QUARANTINED, EvidenceState.SEALING)
"""States in which what was uploaded is still needed."""

ADDED: Final = (EvidenceState.SEALED, EvidenceState.DELETED)
"""States of what an entry stands for."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found when the file was looked at, for staff; ``codes`` are payloads of QR and bar codes."""

    width: int | None = None
    height: int | None = None
    captured_at: datetime | None = None
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """A piece of evidence.

    ``upload`` names its upload in parts, if it came so. ``original`` is the sealed object as it was verified, ``shown``
    and ``thumbnail`` what was made of it, if anything was. ``withdrawn_at``: hidden from the other
    party since. ``touched_at`` is when its state last changed.
    """

    id: EvidenceId
    room: RoomId
    dispute: DisputeId | None
    uploader: UserId
    uploader_name: str
    role: Role
    said: Announcement
    media_type: MediaType
    state: EvidenceState
    announced_at: datetime
    touched_at: datetime
    upload: str | None = None
    original: StoredObject | None = None
    shown: StoredObject | None = None
    thumbnail: StoredObject | None = None
    seen: Seen = field(default_factory=Seen)
    seq: Seq | None = None
    rule: str | None = None
    withdrawn_at: datetime | None = None
    leftover: bool = False

    def now(self, state: EvidenceState, at: datetime, **changed: Any) -> "Evidence":
        """The same, further on."""
        return replace(self, state=state, touched_at=instant(at), **changed)


class Counts(NamedTuple):
    """How many pieces a side has in a room, how many of them of each kind, and how many uploads a user has under way
    there."""

    added: int
    kinds: Mapping[EvidenceKind, int]
    pending: int


class EvidenceStore:
    """Keeps what is known of evidence. Every method raises ``policies.errors.Unavailable`` when there is no answer."""

    def __init__(self, database: Database) -> None:
        self._evidence = database.collection("evidence")

    async def add(self, evidence: Evidence) -> bool:
        """Keep a piece that was announced. Once it is sealed, a worker looks how long it is to be kept.

        Returns:
            False when there is one of that id already.
        """
        try:
            await self._evidence.insert_one(_encode(evidence) | {"look_at": evidence.announced_at})
        except DuplicateKeyError:
            return False
        return True

    async def get(self, evidence: EvidenceId) -> Evidence | None:
        found = await self._evidence.find_one({"_id": evidence})
        return None if found is None else _decode(found)

    async def advance(self, before: Evidence, after: Evidence) -> bool:
        """Replace a piece as it was by what it is now. False when somebody else has, meanwhile."""
        query = {"_id": before.id, "state": before.state.value, "touched_at": before.touched_at}
        return await self._evidence.update_one(query, {"$set": _encode(after)}) == 1

    async def counts(self, room: RoomId, role: Role, uploader: UserId) -> Counts:
        """What a side and a user have in a room."""
        states = [state.value for state in COUNTED]
        found = await self._evidence.find(
            {"room": room, "state": {"$in": states}},
            projection={"role": 1, "state": 1, "uploader.id": 1, "said.kind": 1},
        )
        kinds = Counter(EvidenceKind(each["said"]["kind"]) for each in found if each["role"] == role.value)
        announced = EvidenceState.ANNOUNCED.value
        pending = sum(each["state"] == announced and each["uploader"]["id"] == uploader for each in found)
        return Counts(kinds.total(), kinds, pending)

    async def of_room(self, room: RoomId) -> list[Evidence]:
        """All sealed pieces of a room, the oldest first."""
        found = await self._evidence.find(
            {"room": room, "state": EvidenceState.SEALED.value}, sort=[("announced_at", 1)], limit=LIST_MAX
        )
        return [_decode(each) for each in found]

    async def kinds(self, room: RoomId) -> set[tuple[Role, EvidenceKind]]:
        """Who has added what to a room, not counting what was withdrawn."""
        found = await self._evidence.find(
            {"room": room, "state": {"$in": [state.value for state in ADDED]}, "withdrawn_at": None},
            projection={"role": 1, "said.kind": 1},
        )
        return {(Role(each["role"]), EvidenceKind(each["said"]["kind"])) for each in found}

    async def alike(self, evidence: Evidence) -> list[Evidence]:
        """Other sealed pieces of exactly the same bytes, in any room."""
        query = {"said.sha256": evidence.said.sha256, "_id": {"$ne": evidence.id}, "state": EvidenceState.SEALED.value}
        found = await self._evidence.find(query, sort=[("announced_at", 1)], limit=DUPLICATES_MAX)
        return [_decode(each) for each in found]

    async def unfinished(self, state: EvidenceState, before: datetime, limit: int) -> list[Evidence]:
        """Pieces that stand in a state since a time, the longest first."""
        query = {"state": state.value, "touched_at": {"$lt": instant(before)}}
        return [_decode(each) for each in await self._evidence.find(query, sort=[("touched_at", 1)], limit=limit)]

    async def leftovers(self, before: datetime, limit: int) -> list[Evidence]:
        """Pieces that ended before a time, but whose objects were perhaps not all deleted, the longest first."""
        query = {"leftover": True, "touched_at": {"$lt": instant(before)}}
        return [_decode(each) for each in await self._evidence.find(query, sort=[("touched_at", 1)], limit=limit)]

    async def to_look_at(self, now: datetime, limit: int) -> list[Evidence]:
        """Sealed pieces of which it is time to ask how long they are to be kept, the longest due first."""
        query = {"state": EvidenceState.SEALED.value, "look_at": {"$lte": instant(now)}}
        return [_decode(each) for each in await self._evidence.find(query, sort=[("look_at", 1)], limit=limit)]

    async def look_later(self, evidence: EvidenceId, at: datetime) -> None:
        """Ask again then."""
        await self._evidence.update_one({"_id": evidence}, {"$set": {"look_at": instant(at)}})

    async def of_uploader(self, room: RoomId, uploader: UserId) -> list[Evidence]:
        """All that a user has added or begun to add in a room."""
        found = await self._evidence.find({"room": room, "uploader.id": uploader})
        return [_decode(each) for each in found]

    async def rooms_of(self, uploader: UserId) -> list[RoomId]:
        """The rooms in which a user has added evidence, or begun to. Reads through all there is."""
        found = await self._evidence.aggregate([{"$match": {"uploader.id": uploader}}, {"$group": {"_id": "$room"}}])
        return sorted(each["_id"] for each in found)

    async def several(self, evidence: Collection[EvidenceId]) -> dict[EvidenceId, Evidence]:
        """Those of the pieces that there are, in one query."""
        found = await self._evidence.find({"_id": {"$in": list(evidence)}})
        return {each["_id"]: _decode(each) for each in found}

    async def after(self, evidence: EvidenceId | None, limit: int) -> list[Evidence]:
        """All pieces in the order of their ids, a page at a time."""
        query = {} if evidence is None else {"_id": {"$gt": evidence}}
        return [_decode(each) for each in await self._evidence.find(query, sort=[("_id", 1)], limit=limit)]


def _encode(evidence: Evidence) -> dict[str, Any]:
    said, seen = evidence.said, evidence.seen
    return {
        "_id": evidence.id,
        "room": evidence.room,
        "dispute": evidence.dispute,
        "uploader": {"id": evidence.uploader, "name": evidence.uploader_name},
        "role": evidence.role.value,
        "said": {
            "filename": said.filename,
            "media_type": said.media_type,
            "size": said.size,
            "sha256": said.sha256,
            "kind": said.kind.value,
            "caption": said.caption,
            "captured_at": said.captured_at,
            "origin": said.origin,
        },
        "media_type": evidence.media_type.value,
        "state": evidence.state.value,
        "announced_at": evidence.announced_at,
        "touched_at": evidence.touched_at,
        "upload": evidence.upload,
        "original": _encode_object(evidence.original),
        "shown": _encode_object(evidence.shown),
        "thumbnail": _encode_object(evidence.thumbnail),
        "seen": {
            "width": seen.width,
            "height": seen.height,
            "captured_at": seen.captured_at,
            "codes": list(seen.codes),
        },
        "seq": evidence.seq,
        "rule": evidence.rule,
        "withdrawn_at": evidence.withdrawn_at,
        "leftover": evidence.leftover,
    }


def _encode_object(stored: StoredObject | None) -> dict[str, Any] | None:
    if stored is None:
        return None
    return {"key": stored.key, "size": stored.size, "etag": stored.etag, "version": stored.version}


def _decode_object(document: Mapping[str, Any] | None) -> StoredObject | None:
    if document is None:
        return None
    return StoredObject(document["key"], document["size"], document["etag"], document["version"])


def _decode(document: Mapping[str, Any]) -> Evidence:
    said, seen = document["said"], document["seen"]
    return Evidence(
        id=document["_id"],
        room=document["room"],
        dispute=document["dispute"],
        uploader=document["uploader"]["id"],
        uploader_name=document["uploader"]["name"],
        role=Role(document["role"]),
        said=Announcement(
            said["filename"],
            said["media_type"],
            said["size"],
            said["sha256"],
            EvidenceKind(said["kind"]),
            said["caption"],
            said["captured_at"],
            said["origin"],
        ),
        media_type=MediaType(document["media_type"]),
        state=EvidenceState(document["state"]),
        announced_at=document["announced_at"],
        touched_at=document["touched_at"],
        upload=document["upload"],
        original=_decode_object(document["original"]),
        shown=_decode_object(document["shown"]),
        thumbnail=_decode_object(document["thumbnail"]),
        seen=Seen(seen["width"], seen["height"], seen["captured_at"], tuple(seen["codes"])),
        seq=document["seq"],
        rule=document["rule"],
        withdrawn_at=document["withdrawn_at"],
        leftover=document["leftover"],
    )
