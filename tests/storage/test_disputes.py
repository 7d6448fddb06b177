import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from policies.dispute.state import Agent, Deadline, Dispute, Rule
from policies.entry import Author, Draft
from policies.errors import BadRequest
from policies.room import Party
from policies.vocabulary import CommandId, DisputeId, EntryKind, OrderId, Role, Seq, Stage, Status, UserId
from storage.chain import link
from storage.client import Database, MongoConfig, Session, open_database
from storage.disputes import (
    COUNT_MAX,
    SOONEST_FIRST,
    Change,
    DisputeQuery,
    Disputes,
    Stored,
    counts_query,
    page_queries,
)
from storage.room_log import RoomLog
from tests.storage.disputes import HOUR, dispute
from tests.storage.making import BUYER, NOW, SELLER, draft, salts

AGENT = Agent(UserId("ada"), Role.AGENT, "Ada", NOW)


@pytest.fixture
def disputes(database: Database, log: RoomLog) -> Disputes:
    return Disputes(database, log)


async def create(database: Database, disputes: Disputes, *made: Dispute, told: int = 0) -> None:
    async def work(session: Session) -> None:
        for each in made:
            await disputes.create(each, told, session)

    await database.transact(work)


async def advance(database: Database, disputes: Disputes, dispute: Dispute, known: int = 0, told: int = 0) -> bool:
    return await database.transact(lambda session: disputes.advance(Change(dispute, known, told), session))


def ids(*numbers: int) -> list[DisputeId]:
    return [dispute(number).id for number in numbers]


async def found(disputes: Disputes, query: DisputeQuery | None = None) -> list[int]:
    page = await disputes.page(query or DisputeQuery(), 100)
    return [int(each.id, 16) for each in page.disputes]


# The snapshot


async def test_a_dispute_comes_back_as_it_was_made(database: Database, disputes: Disputes) -> None:
    await create(database, disputes, dispute(), told=2)
    assert await disputes.get(dispute().id) == Stored(dispute(), 2)
    assert await disputes.get(dispute(2).id) is None


async def test_a_later_state_replaces_an_earlier_one_and_never_the_other_way(
    database: Database, disputes: Disputes
) -> None:
    await create(database, disputes, dispute())
    later = dispute(seq=Seq(5), status=Status.WAITING_FOR_BUYER)
    assert await advance(database, disputes, later, told=3)
    assert await disputes.get(later.id) == Stored(later, 3)
    assert not await advance(database, disputes, replace(later, frozen=True), 3, told=4)
    assert not await advance(database, disputes, dispute(seq=Seq(4)), 3, told=4)
    assert not await advance(database, disputes, dispute(seq=Seq(6)), 2, told=4)
    assert await disputes.get(later.id) == Stored(later, 3)


async def test_disputes_of_an_order_in_the_order_of_their_opening(database: Database, disputes: Disputes) -> None:
    order = dispute().order
    second = dispute(2, order=order, opened_at=NOW + HOUR)
    first = dispute(3, order=order)
    await create(database, disputes, second, first, dispute(4))
    assert await disputes.of_order(order.id) == [first, second]
    assert await disputes.of_order(OrderId("none")) == []


async def test_several_at_once(database: Database, disputes: Disputes) -> None:
    await create(database, disputes, dispute(1), dispute(2), dispute(3))
    assert await disputes.several(ids(1, 3, 4)) == {each.id: each for each in (dispute(1), dispute(3))}
    assert await disputes.several([]) == {}


# What follows the snapshot


async def opened(database: Database, disputes: Disputes, log: RoomLog, *messages: Author) -> Dispute:
    """A dispute of which the snapshot stands at its first entry, and messages that came after it."""
    made = dispute(attended_at=NOW, deadlines=(Deadline(Rule.NO_UPDATE, NOW + 72 * HOUR, NOW),))
    first = Draft(BUYER, CommandId("open"), EntryKind.DISPUTE_OPENED, {})
    drafts = [first, *(draft(f"m{number}", author=author) for number, author in enumerate(messages))]
    for number, each in enumerate(drafts):
        head = await log.head(made.room)
        entries = link(made.room, head, [each], NOW + number * HOUR, salts())
        assert (await log.submit(entries)).failure is None
    await create(database, disputes, made, told=7)
    return made


async def test_the_current_state_is_the_snapshot_where_nothing_followed(
    database: Database, disputes: Disputes, log: RoomLog
) -> None:
    made = await opened(database, disputes, log)
    current = await disputes.current(made.id)
    assert current is not None
    assert (current.dispute, current.told, current.saved) == (made, 7, 1)
    assert current.head == await log.head(made.room)


async def test_the_current_state_holds_the_messages_that_followed(
    database: Database, disputes: Disputes, log: RoomLog
) -> None:
    made = await opened(database, disputes, log, SELLER, BUYER, SELLER)
    current = await disputes.current(made.id)
    assert current is not None
    assert (current.dispute.seq, current.saved) == (4, 1)
    assert current.head == await log.head(made.room)
    assert current.dispute.last_update_at == NOW + 3 * HOUR
    assert current.dispute.next_at is not None
    assert current.dispute.next_at > NOW + 72 * HOUR - timedelta(days=1)


async def test_no_such_dispute(disputes: Disputes) -> None:
    assert await disputes.current(dispute().id) is None


async def test_a_dispute_without_its_entries_is_a_fault(database: Database, disputes: Disputes) -> None:
    await create(database, disputes, dispute())
    with pytest.raises(LookupError):
        await disputes.current(dispute().id)


async def test_a_snapshot_is_brought_up_to_what_was_seen(database: Database, disputes: Disputes, log: RoomLog) -> None:
    made = await opened(database, disputes, log, SELLER)
    current = await disputes.current(made.id)
    assert current is not None
    await disputes.put_later(current.dispute, current.saved)
    assert await disputes.get(made.id) == Stored(current.dispute, 7)


async def test_a_snapshot_that_went_on_meanwhile_is_left_alone(
    database: Database, disputes: Disputes, log: RoomLog
) -> None:
    made = await opened(database, disputes, log, SELLER)
    later = replace(made, seq=Seq(3), frozen=True)
    await advance(database, disputes, later, 7, told=8)
    await disputes.put_later(replace(made, seq=Seq(2)), Seq(1))
    assert await disputes.get(made.id) == Stored(later, 8)


# Pages


async def test_soonest_deadline_first_and_those_without_one_behind(database: Database, disputes: Disputes) -> None:
    await create(
        database,
        disputes,
        dispute(1, due=5 * HOUR),
        dispute(2, due=None, opened_at=NOW + HOUR),
        dispute(3, due=None),
        dispute(4, due=2 * HOUR),
        dispute(5, due=timedelta(days=3650)),
        dispute(6, due=3 * HOUR),
    )
    assert await found(disputes) == [4, 6, 1, 5, 3, 2]


async def test_the_deadline_counts_not_its_reminder(database: Database, disputes: Disputes) -> None:
    reminded = Deadline(Rule.NO_UPDATE, NOW + 9 * HOUR, NOW, remind_at=NOW + HOUR)
    await create(database, disputes, dispute(1, deadlines=(reminded,)), dispute(2, due=8 * HOUR))
    assert await found(disputes) == [2, 1]


async def test_pages_neither_repeat_nor_skip(database: Database, disputes: Disputes) -> None:
    made = [dispute(number, due=(number // 3) * HOUR) for number in range(1, 12)]
    await create(database, disputes, *made)
    seen: list[int] = []
    cursor = None
    sizes = []
    while True:
        page = await disputes.page(DisputeQuery(), 4, cursor)
        sizes.append(len(page.disputes))
        seen += [int(each.id, 16) for each in page.disputes]
        assert bool(page.counts) == (cursor is None)
        cursor = page.cursor
        if cursor is None:
            break
    assert sizes == [4, 4, 3]
    assert seen == list(range(1, 12))


async def test_a_page_that_is_just_full_is_the_last_one(database: Database, disputes: Disputes) -> None:
    await create(database, disputes, dispute(1), dispute(2))
    assert (await disputes.page(DisputeQuery(), 2)).cursor is None
    assert (await disputes.page(DisputeQuery(), 1)).cursor is not None


async def test_a_cursor_that_was_not_given_out_is_refused(disputes: Disputes) -> None:
    with pytest.raises(BadRequest):
        await disputes.page(DisputeQuery(), 10, "?")


REVIEWED: dict[str, Any] = {"stage": Stage.MEDIATION, "status": Status.UNDER_REVIEW}
MANY = (
    dispute(1),
    dispute(2, **REVIEWED),
    dispute(3, **REVIEWED, agent=AGENT),
    dispute(4, stage=Stage.APPEAL, status=Status.UNDER_REVIEW, buyer=Party(UserId("cy"), "Cy")),
    dispute(5, status=Status.WITHDRAWN, seller=Party(UserId("bo"), "Bo"), buyer=Party(UserId("sue"), "Sue")),
    dispute(0xABCDEF0123456789ABCD, status=Status.RESOLVED, seller=Party(UserId("cy"), "Cy")),
)


FOUND: list[tuple[DisputeQuery, list[int]]] = [
    (DisputeQuery(), [1, 2, 3, 4, 5, 0xABCDEF0123456789ABCD]),
    (DisputeQuery(stages=frozenset({Stage.MEDIATION})), [2, 3]),
    (DisputeQuery(stages=frozenset({Stage.MEDIATION, Stage.APPEAL})), [2, 3, 4]),
    (DisputeQuery(statuses=frozenset({Status.UNDER_REVIEW})), [2, 3, 4]),
    (DisputeQuery(frozenset({Stage.APPEAL}), frozenset({Status.RESOLVED})), []),
    (DisputeQuery(assignee=UserId("ada")), [3]),
    (DisputeQuery(stages=frozenset({Stage.MEDIATION}), unassigned=True), [2]),
    (DisputeQuery(party=UserId("bo")), [1, 2, 3, 5, 0xABCDEF0123456789ABCD]),
    (DisputeQuery(party=UserId("cy")), [4, 0xABCDEF0123456789ABCD]),
    (DisputeQuery(party=UserId("cy"), statuses=frozenset({Status.RESOLVED})), [0xABCDEF0123456789ABCD]),
    (DisputeQuery(party=UserId("cy"), q="sue"), [4]),
    (DisputeQuery(party=UserId("cy"), q="o1"), []),
    (DisputeQuery(q="o4"), [4]),
    (DisputeQuery(q="o"), []),
    (DisputeQuery(q="sue"), [1, 2, 3, 4, 5]),
    (DisputeQuery(q="cy", statuses=frozenset({Status.RESOLVED})), [0xABCDEF0123456789ABCD]),
    (DisputeQuery(q=dispute(3).id), [3]),
    (DisputeQuery(q="abcdef"), [0xABCDEF0123456789ABCD]),
    (DisputeQuery(q="abcdef0"), [0xABCDEF0123456789ABCD]),
    (DisputeQuery(q="abcde"), []),
    (DisputeQuery(q="abcdef1"), []),
    (DisputeQuery(q="000000"), [1, 2, 3, 4, 5]),
]


async def test_what_is_asked_for_is_found(database: Database, disputes: Disputes) -> None:
    await create(database, disputes, *MANY)
    for query, numbers in FOUND:
        page = await disputes.page(query, 100)
        assert [int(each.id, 16) for each in page.disputes] == numbers, query
        for status, count in page.counts.items():
            narrowed = replace(query, statuses=frozenset({status}))
            assert count == len((await disputes.page(narrowed, 100)).disputes), narrowed


async def test_counts_are_by_status_whatever_status_is_asked_for(database: Database, disputes: Disputes) -> None:
    await create(database, disputes, *MANY)
    page = await disputes.page(DisputeQuery(statuses=frozenset({Status.RESOLVED})), 1)
    assert page.counts == {
        Status.WAITING_FOR_SELLER: 1,
        Status.WAITING_FOR_BUYER: 0,
        Status.UNDER_REVIEW: 3,
        Status.AWAITING_FULFILLMENT: 0,
        Status.RESOLVED: 1,
        Status.WITHDRAWN: 1,
    }


async def test_counting_stops_at_a_bound(
    database: Database, disputes: Disputes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert COUNT_MAX == 10_000
    monkeypatch.setattr("storage.disputes.COUNT_MAX", 2)
    await create(database, disputes, *(dispute(number) for number in range(3)))
    assert (await disputes.page(DisputeQuery(), 10)).counts[Status.WAITING_FOR_SELLER] == 2


def stages_of(plan: Any) -> set[str]:
    """Every stage that occurs in what ``explain`` says of the plan that won."""
    if isinstance(plan, dict):
        own = {plan["stage"]} if isinstance(plan.get("stage"), str) else set()
        return own.union(*(stages_of(part) for name, part in plan.items() if name != "rejectedPlans"))
    return set().union(*map(stages_of, plan)) if isinstance(plan, list) else set()


def explained(mongo_url: str, name: str, command: dict[str, Any]) -> tuple[set[str], int, int]:
    """The stages of a plan, and how many keys and documents it looked at."""
    with MongoClient[dict[str, Any]](mongo_url) as client:
        plan = client[name].command("explain", command, verbosity="executionStats")
    text = json.dumps(plan, default=str)
    assert "COLLSCAN" not in text.split('"rejectedPlans"')[0]
    stats = plan.get("executionStats", {})
    return stages_of(plan), stats.get("totalKeysExamined", 0), stats.get("totalDocsExamined", 0)


ASKED = [
    DisputeQuery(),
    DisputeQuery(stages=frozenset({Stage.MEDIATION})),
    DisputeQuery(statuses=frozenset({Status.UNDER_REVIEW, Status.RESOLVED})),
    DisputeQuery(frozenset({Stage.MEDIATION}), frozenset({Status.UNDER_REVIEW})),
    DisputeQuery(assignee=UserId("ada")),
    DisputeQuery(stages=frozenset({Stage.MEDIATION}), unassigned=True),
    DisputeQuery(party=UserId("bo")),
    DisputeQuery(party=UserId("bo"), statuses=frozenset({Status.UNDER_REVIEW})),
    DisputeQuery(q="sue"),
]


async def test_pages_are_read_in_order_from_the_indexes(mongo_url: str, database: Database, disputes: Disputes) -> None:
    mixed = [(stage, status, agent) for stage in Stage for status in Status for agent in (AGENT, None, None) * 5]
    made = [
        dispute(number, due=number * HOUR, stage=stage, status=status, agent=agent)
        for number, (stage, status, agent) in enumerate(mixed)
    ]
    await create(database, disputes, *made)
    for query in ASKED:
        first = await disputes.page(query, 5)
        for each in [*page_queries(query, None), *page_queries(query, first.cursor)]:
            find = {"find": "disputes", "filter": each, "sort": dict(SOONEST_FIRST), "limit": 6}
            stages, keys, documents = explained(mongo_url, database.name, find)
            if "order_id" not in each and "_id" not in each:  # those find a handful at most
                assert "SORT" not in stages, each
                assert documents <= 40, each
                assert keys <= 80, each


async def test_counts_are_read_from_the_indexes(mongo_url: str, database: Database, disputes: Disputes) -> None:
    await create(database, disputes, *MANY)
    for query in ASKED:
        command = {"aggregate": "disputes", "pipeline": counts_query(query), "cursor": {}}
        assert "IXSCAN" in explained(mongo_url, database.name, command)[0]


# What is due


async def due(disputes: Disputes, at: timedelta, lasting: timedelta = HOUR, limit: int = 100) -> Sequence[DisputeId]:
    return await disputes.claim_due(NOW + at, NOW + at + lasting, limit, "w")


async def test_what_is_due_is_claimed_the_longest_due_first(database: Database, disputes: Disputes) -> None:
    await create(database, disputes, dispute(1, due=3 * HOUR), dispute(2, due=2 * HOUR), dispute(3, due=None))
    assert await due(disputes, 2 * HOUR - timedelta(milliseconds=1)) == []
    assert await due(disputes, 3 * HOUR) == ids(2, 1)
    assert await due(disputes, 3 * HOUR) == []


async def test_no_more_are_claimed_than_asked_for(database: Database, disputes: Disputes) -> None:
    await create(database, disputes, *(dispute(number, due=number * HOUR) for number in (1, 2, 3)))
    assert await due(disputes, 9 * HOUR, limit=2) == ids(1, 2)
    assert await due(disputes, 9 * HOUR, limit=2) == ids(3)


async def test_a_reminder_is_due_too(database: Database, disputes: Disputes) -> None:
    reminded = Deadline(Rule.NO_UPDATE, NOW + 9 * HOUR, NOW, remind_at=NOW + HOUR)
    await create(database, disputes, dispute(1, deadlines=(reminded,)))
    assert await due(disputes, HOUR) == ids(1)


async def test_what_a_dead_worker_claimed_is_due_again(database: Database, disputes: Disputes) -> None:
    await create(database, disputes, dispute(1, due=HOUR))
    assert await due(disputes, HOUR, lasting=timedelta(seconds=30)) == ids(1)
    assert await due(disputes, HOUR + timedelta(seconds=29)) == []
    assert await due(disputes, HOUR + timedelta(seconds=30)) == ids(1)


async def test_a_change_of_state_sets_the_next_time(database: Database, disputes: Disputes) -> None:
    await create(database, disputes, dispute(1, due=HOUR))
    await due(disputes, HOUR)
    await advance(database, disputes, dispute(1, due=5 * HOUR, seq=Seq(2)))
    assert await disputes.next_due() == NOW + 5 * HOUR
    assert await due(disputes, 4 * HOUR) == []
    assert await due(disputes, 5 * HOUR) == ids(1)


async def test_a_dispute_in_which_nothing_is_due_any_more_is_not_looked_at(
    database: Database, disputes: Disputes
) -> None:
    await create(database, disputes, dispute(1, due=HOUR))
    await due(disputes, HOUR)
    await advance(database, disputes, dispute(1, due=None, seq=Seq(2)))
    assert await disputes.next_due() is None
    assert await due(disputes, 100 * HOUR) == []


async def test_a_look_that_found_nothing_sets_the_next_time(database: Database, disputes: Disputes) -> None:
    await create(database, disputes, dispute(1, due=HOUR))
    await due(disputes, HOUR)
    await disputes.put_later(dispute(1, due=HOUR * 7, seq=Seq(4)), Seq(1))
    assert await disputes.next_due() == NOW + 7 * HOUR


async def test_several_workers_claim_each_dispute_once(
    database: Database, disputes: Disputes, mongo: MongoConfig
) -> None:
    await create(database, disputes, *(dispute(number, due=HOUR) for number in range(100)))
    other = open_database(mongo)
    sides = [disputes, Disputes(other, RoomLog(other, None))]  # type: ignore[arg-type]  # reads no log
    until = NOW + 2 * HOUR
    for _ in range(5):
        claims = await asyncio.gather(
            *(
                side.claim_due(NOW + HOUR, until, 30, f"w{number}")
                for number in range(6)
                for side in sides[number % 2 :][:1]
            )
        )
        taken = [each for claim in claims for each in claim]
        assert len(taken) == len(set(taken)) > 0
        rest = await disputes.claim_due(NOW + HOUR, until, 100, "rest")
        assert sorted([*taken, *rest]) == ids(*range(100))
        await asyncio.gather(*(disputes.put_later(dispute(number, due=HOUR), Seq(1)) for number in range(100)))
    await other.close()


async def test_asking_what_is_due_reads_the_partial_index(
    mongo_url: str, database: Database, disputes: Disputes
) -> None:
    await create(database, disputes, *(dispute(number, due=number * HOUR) for number in range(50)))
    find = {"find": "disputes", "filter": {"next_at": {"$lte": NOW}}, "sort": {"next_at": 1}, "limit": 100}
    stages, keys, documents = explained(mongo_url, database.name, find)
    assert "SORT" not in stages
    assert (keys, documents) == (1, 1)
