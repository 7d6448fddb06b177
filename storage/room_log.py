"""The log of a room: the one noun through which entries are appended and read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pymongo.errors import BulkWriteError

from policies.entry import Entry
from policies.flag import FlagState
from policies.vocabulary import CommandId, EntryKind, RoomId, Seq, UserId, Visibility
from storage.chain import Head, genesis
from storage.client import Database, Session
from storage.commit import GroupCommit, Outcome, append_failure
from storage.documents import decode_entry, encode_entry, entry_key
from storage.errors import HeadMoved

SCAN_PAGE: Final = 500
"""Entries that a scan holds in memory at once."""
RULINGS_KEPT: Final = 20
"""Idempotency keys of the latest rulings on an entry that are kept."""
HEADS_MAX: Final = 1000
"""Rooms of one ``heads`` query."""


_ERASED: Final = {"$set": {"body": {}, "author.name": ""}, "$unset": {"salt": "", "whole": "", "flag": ""}}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What staff have said of an entry: how it is shown from now on (None: as before), and the state of its flag, if it
    has one. ``command`` is the idempotency key of a ruling that has no entry of its own."""

    shown: Visibility | None
    state: FlagState
    by: UserId
    at: datetime
    command: str | None = None


class RoomLog:
    """Appends to and reads from the rooms' logs.

    Reads come from the primary and see only what no failover can take back. Every method that asks the database raises
    ``policies.errors.Unavailable`` when there is no answer in time.
    """

    def __init__(self, database: Database, commit: GroupCommit) -> None:
        self._database = database
        self._entries = database.collection("entries")
        self._commit = commit

    # Appending

    def submit(self, entries: Sequence[Entry]) -> "asyncio.Future[Outcome]":
        """Append plain entries of one room; see ``GroupCommit.submit``."""
        return self._commit.submit(entries)

    def put(self, entries: Sequence[Entry], done: Callable[[Outcome | Exception], None]) -> None:
        """The same with a callback, which costs less than a future; see ``GroupCommit.put``."""
        self._commit.put(entries, done)

    async def append_with(self, entries: Sequence[Entry], work: Callable[[Session], Awaitable[None]]) -> None:
        """Append entries that carry state: they and what ``work`` writes are durable together, or not at all.

        Finished even when the caller is cancelled. ``work`` may run more than once. Link to these entries only when
        this has returned.

        Args:
            entries: linked entries of one room; at least one.
            work: writes to other collections, with the session passed to each operation.

        Raises:
            HeadMoved: another writer was first: reload the head, decide again.
            CommandTaken: the room has an entry of this author and command id already.
            Unavailable: the outcome is unknown; the same command may be sent again.
            Exception: what ``work`` raised; then nothing was written.
        """
        await self.append_each_with([entries], work)

    async def append_each_with(
        self, runs: Sequence[Sequence[Entry]], work: Callable[[Session], Awaitable[None]]
    ) -> None:
        """``append_with`` for several rooms at once, each with a run of its own: all are durable together, or none.

        One transaction costs little more for many rooms than for one. But one room in which somebody else was first
        keeps the others from being written too, so this is for what can be tried again room by room.
        """
        entries = [entry for run in runs for entry in run]
        documents = [encode_entry(entry) for entry in entries]

        async def append(session: Session) -> None:
            await self._require_predecessors([run[0] for run in runs], session)
            try:
                await self._entries.insert_many(documents, ordered=True, session=session)
            except BulkWriteError as error:
                refused = error.details["writeErrors"][0]
                raise append_failure(refused, entries[refused["index"]]) from error
            await work(session)

        await self._database.transact(append)

    # Reading

    async def head(self, room: RoomId) -> Head:
        """The last entry's place, hash and time; the place before the first one for a room without entries."""
        found = await self._entries.find_one(
            {"room": room}, projection={"_id": 0, "seq": 1, "hash": 1, "at": 1}, sort=[("seq", -1)]
        )
        if found is None:
            return genesis(room)
        head = Head(found["seq"], found["hash"], found["at"])
        self._commit.confirm(head)
        return head

    async def heads(self, rooms: Collection[RoomId]) -> dict[RoomId, Seq]:
        """The last seq of each of up to 1,000 rooms, 0 for one without entries, in one query.

        The sort runs against the order of the unique index (room, seq), so that the first of each group is the room's
        last entry, and MongoDB jumps from room to room within the index without reading what lies between.
        """
        if len(rooms) > HEADS_MAX:
            raise ValueError(f"heads of {len(rooms)} rooms were asked for, at most {HEADS_MAX} are answered")
        heads = dict.fromkeys(rooms, Seq(0))
        if heads:
            heads.update({found["_id"]: found["seq"] for found in await self._entries.aggregate(heads_query(rooms))})
        return heads

    async def read_at(self, places: Mapping[RoomId, Seq]) -> dict[RoomId, Entry]:
        """The entry at one place of each of up to 1,000 rooms, in one query; a place without an entry is left out."""
        if len(places) > HEADS_MAX:
            raise ValueError(f"entries of {len(places)} rooms were asked for, at most {HEADS_MAX} are answered")
        wanted = _at({room: seq for room, seq in places.items() if seq > 0})
        found = await self._entries.find({"$or": wanted}) if wanted else []
        return {document["room"]: decode_entry(document) for document in found}

    async def read_from(self, places: Mapping[RoomId, Seq], limit: int) -> dict[RoomId, list[Entry]]:
        """The entries from one place on of each of up to 1,000 rooms, oldest first, in one query.

        Args:
            places: the first seq that is wanted, by room.
            limit: most entries; rooms for which they do not suffice are left out, and so are those with an entry that
                this release cannot read.
        """
        if len(places) > HEADS_MAX:
            raise ValueError(f"entries of {len(places)} rooms were asked for, at most {HEADS_MAX} are answered")
        wanted = [{"room": {"$in": rooms}, "seq": {"$gte": seq}} for seq, rooms in _by_seq(places).items()]
        if not wanted:
            return {}
        found = await self._entries.find({"$or": wanted}, sort=[("room", 1), ("seq", 1)], limit=limit)
        read: dict[RoomId, list[Entry]] = {}
        left_out = {found[-1]["room"]} if len(found) == limit else set()  # the last room may go on
        for document in found:
            try:
                read.setdefault(document["room"], []).append(decode_entry(document))
            except (KeyError, TypeError):
                left_out.add(document["room"])
        return {room: entries for room, entries in read.items() if room not in left_out}

    async def read_after(self, room: RoomId, after: Seq, limit: int) -> list[Entry]:
        """The first ``limit`` entries after a seq, oldest first."""
        found = await self._entries.find({"room": room, "seq": {"$gt": after}}, sort=[("seq", 1)], limit=limit)
        return [decode_entry(document) for document in found]

    async def read_before(self, room: RoomId, before: Seq | None, limit: int) -> list[Entry]:
        """The last ``limit`` entries before a seq, or of all, oldest first."""
        query: dict[str, Any] = {"room": room}
        if before is not None:
            query["seq"] = {"$lt": before}
        found = await self._entries.find(query, sort=[("seq", -1)], limit=limit)
        return [decode_entry(document) for document in reversed(found)]

    async def read(self, room: RoomId, seq: Seq) -> Entry | None:
        """The entry at a place; None where there is none."""
        found = await self._entries.find_one({"room": room, "seq": seq})
        return None if found is None else decode_entry(found)

    async def find(self, room: RoomId, author: UserId, command_id: CommandId) -> Entry | None:
        """What an author's command wrote, if it did."""
        found = await self._entries.find_one({"_id": entry_key(room, author, command_id), "room": room})
        return None if found is None else decode_entry(found)

    async def find_all(
        self, room: RoomId, commands: Collection[tuple[UserId, CommandId]]
    ) -> dict[tuple[UserId, CommandId], Entry]:
        """``find`` for several commands of a room, in one query; those that wrote nothing are left out."""
        keys = {entry_key(room, author, command): (author, command) for author, command in commands}
        found = await self._entries.find({"_id": {"$in": list(keys)}, "room": room})
        return {keys[document["_id"]]: decode_entry(document) for document in found}

    async def scan(self, room: RoomId, after: Seq = Seq(0)) -> AsyncIterator[Entry]:  # noqa: B008  (an int)
        """All entries after a seq, oldest first, in bounded memory."""
        while page := await self.read_after(room, after, SCAN_PAGE):
            for entry in page:
                yield entry
            after = page[-1].seq

    async def rooms_with_entries(self) -> AsyncIterator[RoomId]:
        """Every room that has entries, whatever the other collections know of it."""
        query: Mapping[str, Any] = {}
        while found := await self._entries.find_one(
            query, projection={"_id": 0, "room": 1}, sort=[("room", 1), ("seq", 1)]
        ):
            yield found["room"]
            query = {"room": {"$gt": found["room"]}}

    async def has_message_of(self, room: RoomId, author: UserId) -> bool:
        """Whether somebody has said something in a room."""
        query = {"room": room, "author.id": author, "kind": EntryKind.MESSAGE.value}
        return await self._entries.find_one(query, projection={"_id": 1}) is not None

    # Ruling

    async def rule(self, read: Entry, ruling: Ruling, session: Session = None) -> bool:
        """Note beside an entry what staff have said of it. What changes who sees it belongs into the transaction of the
        entry that says so.

        Args:
            read: the entry as it was when they said it.

        Returns:
            Whether it still was so; if not, look again.
        """
        query: dict[str, Any] = {
            "_id": entry_key(read.room, read.author.id, read.command_id),
            "room": read.room,
            "salt": {"$exists": True},
            "shown": {"$exists": False} if read.shown is None else read.shown.value,
            "flag.state": {"$exists": False} if read.flag is None else read.flag.state.value,
        }
        update: dict[str, Any] = {}
        if ruling.shown is not None:
            update["$set"] = {"shown": ruling.shown.value}
        if read.flag is not None:
            flag = {"flag.state": ruling.state.value, "flag.decided_by": ruling.by, "flag.decided_at": ruling.at}
            update["$set"] = {**update.get("$set", {}), **flag}
            if ruling.command is not None:
                newest = {"$each": [ruling.command], "$slice": -RULINGS_KEPT}
                update["$push"] = {"flag.commands": newest}
            if ruling.state is FlagState.RELEASED:  # the marketplace need not be told of a false alarm
                update["$unset"] = {"flag.untold": ""}
        return await self._entries.update_one(query, update, session=session) == 1

    async def was_ruled(self, entry: Entry, command: str) -> bool:
        """Whether a ruling without an entry of its own was made under this idempotency key."""
        key = entry_key(entry.room, entry.author.id, entry.command_id)
        return await self._entries.find_one({"_id": key, "flag.commands": command}, projection={"_id": 1}) is not None

    # Erasing

    async def erase(self, room: RoomId, *, author: UserId | None = None, seqs: Collection[Seq] | None = None) -> int:
        """Drop the content of entries for good: body, author's name and salt, and what was found in it.

        The chain still holds.

        Args:
            room: the room.
            author: erase what this user wrote;
            seqs: erase these entries; with ``author``, those of them that the user wrote.

        Returns:
            How many entries lost their content now; 0 when it is done again.
        """
        if author is None and seqs is None:
            raise ValueError("say whose entries or which ones")
        query: dict[str, Any] = {"room": room, "salt": {"$exists": True}}
        if author is not None:
            query["author.id"] = author
        if seqs is not None:
            query["seq"] = {"$in": list(seqs)}
        return await self._entries.update_many(query, _ERASED)

    async def _require_predecessors(self, entries: Sequence[Entry], session: Session) -> None:
        """An entry written behind one that is not there would be a hole; the unique key alone does not see that."""
        followers = [entry for entry in entries if entry.seq > 1]
        if not followers:
            return
        before = _at({entry.room: Seq(entry.seq - 1) for entry in followers})
        found = await self._entries.find(
            before[0] if len(before) == 1 else {"$or": before},
            projection={"_id": 0, "room": 1, "hash": 1},
            session=session,
        )
        hashes = {document["room"]: document["hash"] for document in found}
        for entry in followers:
            if hashes.get(entry.room) != entry.prev_hash:
                raise HeadMoved(entry.room, entry.seq)


def _by_seq(places: Mapping[RoomId, Seq]) -> dict[Seq, list[RoomId]]:
    """The rooms of each place. MongoDB plans every branch of a query by itself, which costs more than the reading does:
    rooms of the same place share a branch."""
    grouped: dict[Seq, list[RoomId]] = {}
    for room, seq in places.items():
        grouped.setdefault(seq, []).append(room)
    return grouped


def _at(places: Mapping[RoomId, Seq]) -> list[dict[str, Any]]:
    """The branches of a query for one entry of each room."""
    return [{"room": {"$in": rooms}, "seq": seq} for seq, rooms in _by_seq(places).items()]


def heads_query(rooms: Collection[RoomId]) -> list[Mapping[str, Any]]:
    """The pipeline that ``RoomLog.heads`` runs."""
    return [
        {"$match": {"room": {"$in": list(rooms)}}},
        {"$sort": {"room": -1, "seq": -1}},
        {"$group": {"_id": "$room", "seq": {"$first": "$seq"}}},
    ]
