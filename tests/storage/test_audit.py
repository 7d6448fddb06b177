import json
from dataclasses import replace
from datetime import timedelta

import pytest
from pymongo import MongoClient

from policies.errors import BadRequest
from policies.vocabulary import DisputeId, Role, RoomId, UserId
from storage.audit import Audit, AuditRecord, page_query
from storage.client import Database
from storage.places import encode_place
from tests.storage.making import NOW

DISPUTE = DisputeId("d1")
READ = AuditRecord(
    NOW, UserId("ada"), Role.AGENT, "dispute.read", DISPUTE, RoomId("dispute-d1"), {"after": 3, "by": "http"}
)


@pytest.fixture
def audit(database: Database) -> Audit:
    return Audit(database)


async def test_records_come_back_as_they_were_the_newest_first(audit: Audit) -> None:
    later = replace(READ, at=NOW + timedelta(seconds=1), role=Role.AUDITOR, details={})
    await audit.record(READ)
    await audit.record(later, replace(READ, dispute=DisputeId("d2")))
    await audit.record()
    page = await audit.page(DISPUTE, 10)
    assert page.records == (later, READ)
    assert page.cursor is None
    assert (await audit.page(DisputeId("d3"), 10)).records == ()


async def test_a_record_of_no_dispute_in_particular(database: Database, audit: Audit) -> None:
    await audit.record(replace(READ, dispute=None, room=None))
    assert (await audit.page(DISPUTE, 10)).records == ()
    assert await database.collection("audit").find_one({"action": "dispute.read"}) is not None


async def test_pages_neither_repeat_nor_skip_records_of_the_same_moment(audit: Audit) -> None:
    await audit.record(*(replace(READ, details={"number": number}) for number in range(7)))
    seen: list[int] = []
    cursor = None
    sizes = []
    while True:
        page = await audit.page(DISPUTE, 3, cursor)
        sizes.append(len(page.records))
        seen += [record.details["number"] for record in page.records]
        cursor = page.cursor
        if cursor is None:
            break
    assert sizes == [3, 3, 1]
    assert sorted(seen) == list(range(7))


@pytest.mark.parametrize("cursor", ["?", encode_place(NOW, "not an id")])
async def test_a_cursor_that_was_not_given_out_is_refused(audit: Audit, cursor: str) -> None:
    with pytest.raises(BadRequest):
        await audit.page(DISPUTE, 10, cursor)


async def test_records_go_when_they_are_to_be_kept_no_longer(database: Database, audit: Audit) -> None:
    await audit.record(READ)
    await Audit(database, timedelta(days=365)).record(READ)
    found = await database.collection("audit").find({}, sort=[("_id", 1)])
    assert [document.get("expires_at") for document in found] == [None, NOW + timedelta(days=365)]
    indexes = await database.command({"listIndexes": "audit"})
    [expiry] = [index for index in indexes["cursor"]["firstBatch"] if "expireAfterSeconds" in index]
    assert (expiry["key"], expiry["expireAfterSeconds"]) == ({"expires_at": 1}, 0)


async def test_pages_are_read_in_order_from_the_index(mongo_url: str, database: Database, audit: Audit) -> None:
    await audit.record(*(replace(READ, at=NOW + timedelta(seconds=number)) for number in range(20)))
    for cursor in (None, (await audit.page(DISPUTE, 5)).cursor):
        find = {"find": "audit", "filter": page_query(DISPUTE, cursor), "sort": {"at": -1, "_id": -1}, "limit": 5}
        with MongoClient[dict[str, object]](mongo_url) as client:
            plan = json.dumps(client[database.name].command("explain", find), default=str)
        assert "COLLSCAN" not in plan
        assert '"stage": "SORT"' not in plan
