"""Keeping reports, and finding them."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from policies.errors import BadRequest
from policies.report import Report, ReportCategory, ReportOutcome, ReportState, Resolved
from policies.vocabulary import RoomId, Seq, UserId
from storage.client import Database
from storage.reports import Reports, report_id
from tests.storage.making import BUYER, NOW, ROOM, SELLER

MS = timedelta(milliseconds=1)
OPEN = frozenset({ReportState.OPEN})


def made(seq: int, *, room: RoomId = ROOM, by: object = BUYER) -> Report:
    author = BUYER if by is BUYER else SELLER
    name = report_id(room, author.id, Seq(seq))
    return Report(name, room, Seq(seq), author, UserId("x"), ReportCategory.SPAM, f"No. {seq}", NOW + seq * MS)


@pytest.fixture
def reports(database: Database) -> Reports:
    return Reports(database)


async def test_what_is_kept_is_what_was_said_and_the_first_stays(reports: Reports) -> None:
    report = made(1)
    assert await reports.add(report)
    assert not await reports.add(replace(report, text="Something else"))
    assert await reports.get(report.id) == report
    assert await reports.get("none") is None
    assert made(1, by=SELLER).id != report.id
    assert made(1, room=RoomId("order-2")).id != report.id


async def test_very_many_at_once_are_no_more_than_one_after_the_other(reports: Reports) -> None:
    most = 5
    since = NOW - MS
    told = await asyncio.gather(*(reports.add_within(made(seq), since, most) for seq in range(1, 41)))
    kept = (await reports.page(OPEN, 100)).reports
    assert len(kept) <= most
    assert sum(each is True for each in told) == len(kept)
    missing = most - len(kept)
    told = [await reports.add_within(made(seq), since, most) for seq in range(100, 110)]
    assert told == [True] * missing + [None] * (10 - missing)
    [again, *_] = (await reports.page(OPEN, 1)).reports
    assert await reports.add_within(again, since, most) is False


async def test_a_report_is_resolved_once(reports: Reports) -> None:
    report = made(1)
    await reports.add(report)
    upheld = Resolved(ReportOutcome.UPHELD, "Right so", UserId("ada"), NOW)
    assert await reports.resolve(report.id, upheld)
    assert not await reports.resolve(report.id, replace(upheld, outcome=ReportOutcome.DISMISSED))
    assert not await reports.resolve("none", upheld)
    assert await reports.get(report.id) == replace(report, resolved=upheld)


async def test_pages_are_in_order_whatever_their_state(reports: Reports) -> None:
    written = [made(seq) for seq in range(1, 8)]
    for report in reversed(written):
        await reports.add(report)
    for report in written[::2]:
        await reports.resolve(report.id, Resolved(ReportOutcome.UPHELD, "", UserId("ada"), NOW))
    for states, expected in ((OPEN, written[1::2]), (frozenset(), written)):
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await reports.page(states, 2, cursor)
            found += [each.id for each in page.reports]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == [each.id for each in expected]
    with pytest.raises(BadRequest):
        await reports.page(OPEN, 2, "!")


async def test_how_many_somebody_has_made_since(reports: Reports) -> None:
    for seq in range(1, 6):
        await reports.add(made(seq))
    await reports.add(made(1, by=SELLER))
    assert await reports.count_of(BUYER.id, NOW, 100) == 5
    assert await reports.count_of(BUYER.id, NOW + 2 * MS, 100) == 3  # after, not at
    assert await reports.count_of(BUYER.id, NOW, 2) == 2


async def test_forgetting_somebody_in_a_room(reports: Reports) -> None:
    mine, elsewhere, theirs = made(1), made(1, room=RoomId("order-2")), made(1, by=SELLER)
    for report in (mine, elsewhere, theirs):
        await reports.add(report)
    assert await reports.forget(ROOM, BUYER.id) == 1
    forgotten = await reports.get(mine.id)
    assert forgotten == replace(mine, text="", reporter=replace(BUYER, name=""))
    assert await reports.get(elsewhere.id) == elsewhere
    assert await reports.get(theirs.id) == theirs
