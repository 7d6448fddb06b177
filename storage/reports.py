"""What members report of each other's entries, for staff to look at."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from policies.entry import Author
from policies.instant import instant
from policies.report import Report, ReportCategory, ReportOutcome, ReportState, Resolved
from policies.vocabulary import Role, RoomId, Seq, UserId
from storage.chain import KEY_SEPARATOR
from storage.client import Database
from storage.places import decode_place, encode_place

REPORT_ID_CHARS = 24


@dataclass(frozen=True, slots=True)
class ReportPage:
    """Some reports; ``cursor`` asks for the next ones, None when there are no more."""

    reports: tuple[Report, ...]
    cursor: str | None


class Reports:
    """Keeps the reports. Every method raises ``policies.errors.Unavailable`` when there is no answer in time."""

    def __init__(self, database: Database) -> None:
        self._reports = database.collection("reports")

    async def get(self, report: str) -> Report | None:
        found = await self._reports.find_one({"_id": report})
        return None if found is None else _decode(found)

    async def add(self, report: Report) -> bool:
        """Keep a report. False when its reporter has reported the same entry before: that one stays."""
        try:
            await self._reports.insert_one(_encode(report))
        except DuplicateKeyError:
            return False
        return True

    async def add_within(self, report: Report, since: datetime, most: int) -> bool | None:
        """The same, unless its reporter would have made more than ``most`` since a time: None. That holds for many at
        once: each is counted after it is kept, and the last of those that stay has seen all the others."""
        if await self.get(report.id) is not None:
            return False
        if await self.count_of(report.reporter.id, since, most) >= most:
            return None
        if not await self.add(report):
            return False
        if await self.count_of(report.reporter.id, since, most + 1) > most:
            await self._reports.delete_one({"_id": report.id})
            return None
        return True

    async def count_of(self, reporter: UserId, since: datetime, most: int) -> int:
        """How many reports somebody has made since a time; counted up to ``most``."""
        query = {"reporter.id": reporter, "at": {"$gt": instant(since)}}
        return len(await self._reports.find(query, projection={"_id": 1}, limit=most))

    async def page(self, states: frozenset[ReportState], limit: int, cursor: str | None = None) -> ReportPage:
        """Reports in some states (none: in any), the oldest first.

        Raises:
            BadRequest: the cursor is none of ours.
        """
        query: dict[str, Any] = {"state": {"$in": sorted(state.value for state in states or ReportState)}}
        if cursor is not None:
            at, key = decode_place(cursor)
            query |= {"at": {"$gte": at}, "$nor": [{"at": at, "_id": {"$lte": key}}]}
        found = await self._reports.find(query, sort=[("at", 1), ("_id", 1)], limit=limit + 1)
        shown = found[:limit]
        more = encode_place(shown[-1]["at"], shown[-1]["_id"]) if len(found) > limit else None
        return ReportPage(tuple(map(_decode, shown)), more)

    async def resolve(self, report: str, resolved: Resolved) -> bool:
        """Note what staff have done about an open report. False when it is not open."""
        update = {
            "state": ReportState.RESOLVED.value,
            "outcome": resolved.outcome.value,
            "note": resolved.note,
            "resolved_by": resolved.by,
            "resolved_at": instant(resolved.at),
        }
        return await self._reports.update_one({"_id": report, "state": ReportState.OPEN.value}, {"$set": update}) == 1

    async def forget(self, room: RoomId, user: UserId) -> int:
        """Drop what a user has said in reports about a room, and their name. How many reports that is about."""
        query = {"reporter.id": user, "room": room}
        return await self._reports.update_many(query, {"$set": {"text": "", "reporter.name": ""}})


def report_id(room: RoomId, reporter: UserId, seq: Seq) -> str:
    """The id of the one report that somebody can make of an entry."""
    named = f"{room}{KEY_SEPARATOR}{reporter}{KEY_SEPARATOR}{seq}"
    return hashlib.sha256(named.encode()).hexdigest()[:REPORT_ID_CHARS]


def _encode(report: Report) -> dict[str, Any]:
    reporter = report.reporter
    return {
        "_id": report.id,
        "room": report.room,
        "seq": report.seq,
        "reporter": {"id": reporter.id, "role": reporter.role.value, "name": reporter.name},
        "about": report.about,
        "category": report.category.value,
        "text": report.text,
        "at": instant(report.at),
        "state": ReportState.OPEN.value,
    }


def _decode(document: Mapping[str, Any]) -> Report:
    reporter = document["reporter"]
    resolved = None
    if document["state"] == ReportState.RESOLVED.value:
        outcome = ReportOutcome(document["outcome"])
        resolved = Resolved(outcome, document["note"], document["resolved_by"], document["resolved_at"])
    return Report(
        id=document["_id"],
        room=document["room"],
        seq=document["seq"],
        reporter=Author(reporter["id"], Role(reporter["role"]), reporter["name"]),
        about=document["about"],
        category=ReportCategory(document["category"]),
        text=document["text"],
        at=document["at"],
        resolved=resolved,
    )
