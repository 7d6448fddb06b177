"""The disputes: a snapshot of each one's state, and how to find them.

The truth is the log of the dispute's room. The snapshot is the state as of one of its entries; it is written in the
transaction of every entry that carries state, and only plain messages may follow the entry that it stands at. They move
deadlines later and never earlier, so a snapshot that lags makes the worker look too early, not too late.
"""

import asyncio
import heapq
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo import UpdateOne

from policies.dispute.evolve import evolve
from policies.dispute.state import Dispute
from policies.entry import Entry
from policies.errors import Unavailable
from policies.instant import instant
from policies.vocabulary import DisputeId, OrderId, Seq, Stage, Status, UserId
from storage.chain import Head, head_of
from storage.client import Database, Session
from storage.dispute_codec import decode_dispute, encode_dispute
from storage.places import decode_place, encode_place
from storage.room_log import RoomLog

COUNT_MAX: Final = 10_000
"""Counting stops here: it is to help somebody choose, and must not read a million keys for that."""
READ_THROUGH: Final = 5_000
"""Disputes of one query where all are read through, and entries of one that are read to show them."""
PREFIX_CHARS: Final = 6
"""So much of a dispute's id must be given for a search: less would find hundreds."""
SOONEST_FIRST: Final = [("queue_at", 1), ("_id", 1)]
NO_DEADLINE_AFTER: Final = timedelta(days=365_000)
"""A dispute in which nothing is due stands in the queue as if something were, so long after its opening: after all in
which something is, the oldest first."""

_ID_PREFIX: Final = re.compile(f"[0-9a-f]{{{PREFIX_CHARS},}}")


@dataclass(frozen=True, slots=True)
class Stored:
    """A snapshot. ``told``: how many events of the dispute the outbox has been given."""

    dispute: Dispute
    told: int


@dataclass(frozen=True, slots=True)
class Current:
    """A dispute as of ``head``, the last entry of its room. ``saved``: up to which entry its snapshot holds."""

    dispute: Dispute
    told: int
    head: Head
    saved: Seq


@dataclass(frozen=True, slots=True)
class Change:
    """A state to replace the one before, of which the outbox had been given ``known`` events, and has ``told`` now."""

    after: Dispute
    known: int
    told: int


@dataclass(frozen=True, slots=True)
class DisputeQuery:
    """Which disputes are asked for: those that meet all that is given.

    Args:
        stages: in one of these; none: any.
        statuses: in one of these; none: any.
        assignee: claimed by this agent.
        unassigned: claimed by nobody.
        q: this dispute (its id, or the first 6 or more characters of it), order, buyer or seller.
        party: this user is buyer or seller.
    """

    stages: frozenset[Stage] = frozenset()
    statuses: frozenset[Status] = frozenset()
    assignee: UserId | None = None
    unassigned: bool = False
    q: str | None = None
    party: UserId | None = None


@dataclass(frozen=True, slots=True)
class DisputePage:
    """Some disputes, soonest deadline first; ``cursor`` asks for the next ones, None when there are no more.

    ``counts``: how many there are by status, whatever statuses were asked for; ``COUNT_MAX`` means that or more.
    Counted for the first page only.
    """

    disputes: tuple[Dispute, ...]
    cursor: str | None
    counts: Mapping[Status, int] = field(default_factory=dict)


class Disputes:
    """Keeps the snapshots.

    Args:
        database: where.
        log: the rooms' logs.

    Every method raises ``policies.errors.Unavailable`` when the database does not answer in time.
    """

    def __init__(self, database: Database, log: RoomLog) -> None:
        self._disputes = database.collection("disputes")
        self._log = log

    # Reading

    async def get(self, dispute: DisputeId) -> Stored | None:
        """The snapshot, or None where there is no such dispute. Good enough to show, not to decide upon."""
        found = await self._disputes.find_one({"_id": dispute})
        return None if found is None else Stored(decode_dispute(found["state"]), found["told"])

    async def current(self, dispute: DisputeId) -> Current | None:
        """The state as of the last entry, or None where there is no such dispute."""
        stored = await self.get(dispute)
        if stored is None:
            return None
        state, head = stored.dispute, None
        # From the snapshot's own entry on: its hash is what the next entry has to be linked to.
        async for entry in self._log.scan(state.room, Seq(state.seq - 1)):
            head = head_of(entry)
            if entry.seq > state.seq:
                state = evolve(state, entry)
        if head is None:
            raise LookupError(f"dispute {dispute}: entry {state.seq} of its room is missing")
        return Current(state, stored.told, head, stored.dispute.seq)

    async def current_of(self, disputes: Collection[DisputeId], limit: int) -> list[Current]:
        """``current`` of several disputes, in two queries.

        Args:
            disputes: up to 1,000.
            limit: most entries to read. A dispute for which they do not suffice is left out, and so is one whose record
                is faulty, or that does not exist: ask for it alone.
        """
        found = await self._disputes.find({"_id": {"$in": list(disputes)}}, projection={"state": 1, "told": 1})
        stored = [each for document in found if (each := _try_decode(document)) is not None]
        entries = await self._log.read_from({each.dispute.room: each.dispute.seq for each in stored}, limit)
        read = ((each, entries.get(each.dispute.room)) for each in stored)
        return [made for each, run in read if run and (made := _try_follow(each, run)) is not None]

    async def as_of_now(self, disputes: Sequence[Dispute]) -> list[Dispute]:
        """Snapshots, each brought up to the plain messages that came after it, in one query.

        Good enough to show: one that very many messages have followed may stay as it is.

        Args:
            disputes: up to 1,000, as read.
        """
        entries = await self._log.read_from({each.room: each.seq for each in disputes}, READ_THROUGH)
        read = ((each, entries.get(each.room)) for each in disputes)
        followed = ((each, _try_follow(Stored(each, 0), run) if run else None) for each, run in read)
        return [each if now is None else now.dispute for each, now in followed]

    async def of_order(self, order: OrderId) -> list[Dispute]:
        """The disputes of an order, those opened first before the others."""
        return await self._find({"order_id": order}, sort=[("opened_at", 1)])

    async def opened_since(self, since: datetime, limit: int) -> list[DisputeId]:
        """The disputes opened at a time or later, the latest first. Reads through all there are, a part at a time."""
        latest: list[tuple[datetime, DisputeId]] = []
        after = ""
        while found := await self._disputes.find(
            {"_id": {"$gt": after}}, projection={"opened_at": 1}, sort=[("_id", 1)], limit=READ_THROUGH
        ):
            here = ((each["opened_at"], each["_id"]) for each in found if each["opened_at"] >= since)
            latest = heapq.nlargest(limit, (*latest, *here))
            after = found[-1]["_id"]
        return [dispute for _, dispute in latest]

    async def several(self, disputes: Collection[DisputeId]) -> dict[DisputeId, Dispute]:
        """Those of the disputes that exist, in one query."""
        return {each.id: each for each in await self._find({"_id": {"$in": list(disputes)}})}

    async def page(self, query: DisputeQuery, limit: int, cursor: str | None = None) -> DisputePage:
        """Some disputes, soonest deadline first.

        Raises:
            BadRequest: the cursor is none of ours.
        """
        queries = page_queries(query, cursor)
        finding = asyncio.gather(*(self._disputes.find(each, sort=SOONEST_FIRST, limit=limit + 1) for each in queries))
        found, counts = await asyncio.gather(finding, self._counts(query, cursor))
        unique = {document["_id"]: document for documents in found for document in documents}
        documents = sorted(unique.values(), key=lambda document: (document["queue_at"], document["_id"]))
        shown = documents[:limit]
        more = encode_place(shown[-1]["queue_at"], shown[-1]["_id"]) if len(documents) > limit else None
        return DisputePage(tuple(decode_dispute(document["state"]) for document in shown), more, counts)

    # For the worker

    async def claim_due(
        self, now: datetime, until: datetime, limit: int, claimant: str, avoid: Collection[DisputeId] = ()
    ) -> list[DisputeId]:
        """Take disputes in which something is due, the longest due first, for a worker to look at.

        Whoever looks writes the next time, by ``advance`` or ``put_later``. Nobody else gets these before ``until``;
        then they are due again, for a worker that has died in between.

        Args:
            now: what is due then or before.
            until: when they are due again.
            limit: most disputes.
            claimant: names the worker; it claims again when this call has returned.
            avoid: not these.
        """
        ids = await self._due(now, limit, avoid)
        if not ids:
            return []
        # One compare-and-swap for all: it takes those that are still due, and each only once.
        due = {"next_at": {"$lte": instant(now)}}
        claim = {"$set": {"next_at": instant(until), "claimed_by": claimant}}
        if await self._disputes.update_many({"_id": {"$in": ids}, **due}, claim) == len(ids):
            return ids
        won = {"_id": {"$in": ids}, "next_at": instant(until), "claimed_by": claimant}
        taken = {document["_id"] for document in await self._disputes.find(won, projection={"_id": 1})}
        return [each for each in ids if each in taken]

    async def claim_each(
        self, now: datetime, until: datetime, limit: int, claimant: str, avoid: Collection[DisputeId] = ()
    ) -> tuple[list[DisputeId], list[DisputeId]]:
        """``claim_due``, but each dispute by itself: for when claiming them together got no answer.

        A process that dies in the middle of a transaction leaves its locks behind, for a minute or more. One dispute
        that is locked so must not keep the others from being claimed.

        Returns:
            Those that were taken, and those that are held up.
        """
        due = {"next_at": {"$lte": instant(now)}}
        claim = {"$set": {"next_at": instant(until), "claimed_by": claimant}}

        async def take(dispute: DisputeId) -> bool | None:
            try:
                return await self._disputes.update_one({"_id": dispute, **due}, claim) == 1
            except Unavailable:
                return None

        ids = await self._due(now, limit, avoid)
        results = dict(zip(ids, await asyncio.gather(*map(take, ids)), strict=True))
        return [each for each in ids if results[each]], [each for each in ids if results[each] is None]

    async def _due(self, now: datetime, limit: int, avoid: Collection[DisputeId]) -> list[DisputeId]:
        query: dict[str, Any] = {"next_at": {"$lte": instant(now)}}
        if avoid:
            query["_id"] = {"$nin": list(avoid)}
        found = await self._disputes.find(query, projection={"_id": 1}, sort=[("next_at", 1)], limit=limit)
        return [document["_id"] for document in found]

    async def next_due(self) -> datetime | None:
        """When a worker has to look at a dispute next; None while nothing is due some day."""
        query = {"next_at": {"$exists": True}}
        found = await self._disputes.find_one(query, projection={"next_at": 1}, sort=[("next_at", 1)])
        return None if found is None else found["next_at"]

    async def put_aside(
        self, dispute: DisputeId, claimant: str, now: datetime, pauses: Sequence[timedelta]
    ) -> timedelta:
        """Look at a dispute again some time later, because looking at it has failed: each time in a row later.

        Args:
            dispute: one that was claimed; if it has been written since, it is not put aside.
            claimant: by whom.
            now: when it failed.
            pauses: by how many times it has failed in a row; the last one holds from then on.

        Returns:
            The pause.
        """
        found = await self._disputes.find_one({"_id": dispute}, projection={"faults": 1})
        faults = 0 if found is None else int(found.get("faults", 0))
        pause = pauses[min(faults, len(pauses) - 1)]
        later = {"next_at": instant(now + pause), "faults": faults + 1}
        await self._disputes.update_one({"_id": dispute, "claimed_by": claimant}, {"$set": later})
        return pause

    async def put_each_later(self, currents: Sequence[Current]) -> None:
        """``put_later`` for several disputes, in one round trip."""
        if currents:
            writes = [
                UpdateOne({"_id": each.dispute.id, "seq": each.saved}, _update(each.dispute)) for each in currents
            ]
            await self._disputes.bulk_write(writes)

    async def put_later(self, dispute: Dispute, saved: Seq) -> None:
        """Bring a snapshot up to plain messages that came after it, when a look at the dispute found nothing to do.

        Args:
            dispute: the state as of its last entry.
            saved: up to which entry the snapshot held; if it is another one now, nothing is written.
        """
        await self._disputes.update_one({"_id": dispute.id, "seq": saved}, _update(dispute))

    # Writing

    async def create(self, dispute: Dispute, told: int, session: Session) -> None:
        """Add a dispute, within the transaction of its first entries."""
        await self._disputes.insert_one(snapshot(dispute, told), session=session)

    async def rewrite(self, before: Dispute, after: Dispute) -> bool:
        """Replace the words in the state of a dispute that has ended. What it is found by stays.

        Returns:
            Whether the snapshot was still that of the same entry; if not, look again.
        """
        query = {"_id": before.id, "seq": before.seq}
        return await self._disputes.update_one(query, {"$set": {"state": encode_dispute(after)}}) == 1

    async def advance(self, change: Change, session: Session) -> bool:
        """Replace a snapshot, within the transaction of the entries that it comes from.

        Returns:
            Whether the snapshot was one of an earlier entry that had told as much as was known; if not, abort the
            transaction and look again. (Who reads the snapshot before and the entries after somebody else's change
            has the state right, but not how much was told of it.)
        """
        query, update = _advance(change)
        return await self._disputes.update_one(query, update, session=session) == 1

    async def advance_each(self, changes: Sequence[Change], session: Session) -> bool:
        """``advance`` for several disputes. If it is not true of all, abort the transaction."""
        writes = [UpdateOne(*_advance(change)) for change in changes]
        return await self._disputes.bulk_write(writes, session=session) == len(writes)

    async def _find(self, query: Mapping[str, Any], sort: Sequence[tuple[str, int]] | None = None) -> list[Dispute]:
        found = await self._disputes.find(query, projection={"state": 1}, sort=sort)
        return [decode_dispute(document["state"]) for document in found]

    async def _counts(self, query: DisputeQuery, cursor: str | None) -> dict[Status, int]:
        if cursor is not None:
            return {}
        found = await self._disputes.aggregate(counts_query(query))
        return dict.fromkeys(Status, 0) | {Status(each["status"]): each["count"] for each in found}


def _try_decode(document: Mapping[str, Any]) -> Stored | None:
    try:
        return Stored(decode_dispute(document["state"]), document["told"])
    except Exception:  # noqa: BLE001  (one faulty record must not keep the others from being read; alone, it is told)
        return None


def _try_follow(stored: Stored, entries: Sequence[Entry]) -> Current | None:
    """The dispute as of the last of the entries, of which the first is the one that the snapshot stands at."""
    state = stored.dispute
    if entries[0].seq != state.seq:
        return None
    try:
        for entry in entries[1:]:
            state = evolve(state, entry)
    except Exception:  # noqa: BLE001  (as above)
        return None
    return Current(state, stored.told, head_of(entries[-1]), stored.dispute.seq)


def page_queries(query: DisputeQuery, cursor: str | None) -> list[dict[str, Any]]:
    """Queries whose results together are what is asked for; each has an index that gives them in order, but for that
    of a dispute's id, which finds hardly more than one."""
    shared = _shared(query)
    if cursor is not None:
        at, key = decode_place(cursor)
        shared |= {"queue_at": {"$gte": at}, "$nor": [{"queue_at": at, "_id": {"$lte": key}}]}
    return [{**way, **shared} for way in _ways(query)]


def counts_query(query: DisputeQuery) -> list[dict[str, Any]]:
    """The pipeline that counts by status, each one up to ``COUNT_MAX``."""
    ways = _ways(query)
    shared = _shared(query) if len(ways) == 1 else {"$or": ways, **_shared(query)}
    if len(ways) == 1:
        shared = {**ways[0], **shared}

    def count(status: Status) -> list[dict[str, Any]]:
        return [
            {"$match": {**shared, "status": status.value}},
            {"$limit": COUNT_MAX},
            {"$count": "count"},
            {"$set": {"status": status.value}},
        ]

    first, *others = map(count, Status)
    return [*first, *({"$unionWith": {"coll": "disputes", "pipeline": other}} for other in others)]


def _shared(query: DisputeQuery) -> dict[str, Any]:
    """What holds of every dispute that is asked for, in whichever way it is found."""
    shared: dict[str, Any] = {}
    # Where no index of its own leads to a dispute, all stages and statuses are named: as many ranges of one index.
    direct = query.q is not None or query.party is not None
    if query.stages or not direct:
        shared["stage"] = {"$in": sorted(query.stages or Stage)}
    if query.statuses or not direct:
        shared["status"] = {"$in": sorted(query.statuses or Status)}
    if query.assignee is not None or query.unassigned:
        shared["assignee"] = query.assignee
    if query.party is not None and query.q is not None:
        shared["$and"] = [{"$or": _named(query.q)}]
    return shared


def _ways(query: DisputeQuery) -> list[dict[str, Any]]:
    if query.party is not None:
        return [{"buyer": query.party}, {"seller": query.party}]
    return [{}] if query.q is None else _named(query.q)


def _named(q: str) -> list[dict[str, Any]]:
    identity: Any = {"$gte": q, "$lt": f"{q}g"} if _ID_PREFIX.fullmatch(q) else q
    return [{"_id": identity}, {"order_id": q}, {"buyer": q}, {"seller": q}]


def _advance(change: Change) -> tuple[dict[str, Any], dict[str, Any]]:
    query = {"_id": change.after.id, "seq": {"$lt": change.after.seq}, "told": change.known}
    update = _update(change.after)
    update["$set"]["told"] = change.told
    return query, update


def snapshot(dispute: Dispute, told: int) -> dict[str, Any]:
    """The document that a dispute is kept in."""
    return {"_id": dispute.id, "opened_at": dispute.opened_at, "told": told, **_fields(dispute)}


def _update(dispute: Dispute) -> dict[str, Any]:
    update: dict[str, Any] = {"$set": _fields(dispute), "$unset": {"claimed_by": "", "faults": ""}}
    if dispute.next_at is None:
        update["$unset"]["next_at"] = ""
    return update


def _fields(dispute: Dispute) -> dict[str, Any]:
    """The state, and what is asked by; the id, the time of opening and ``told`` come on top."""
    due = min((deadline.due_at for deadline in dispute.deadlines), default=None)
    fields = {
        "order_id": dispute.order.id,
        "buyer": dispute.buyer.id,
        "seller": dispute.seller.id,
        "stage": dispute.stage.value,
        "status": dispute.status.value,
        "assignee": None if dispute.agent is None else dispute.agent.id,
        "queue_at": dispute.opened_at + NO_DEADLINE_AFTER if due is None else due,
        "seq": dispute.seq,
        "state": encode_dispute(dispute),
    }
    if dispute.next_at is not None:
        fields["next_at"] = dispute.next_at
    return fields
