import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from policies.entry import Author, Draft
from policies.flag import FlagState
from policies.vocabulary import CommandId, DisputeId, EntryKind, Role, RoomId, Seq, UserId, Visibility, WebhookType
from storage.chain import link
from storage.client import Database
from storage.outbox import OutboxEvent
from storage.room_log import RoomLog, Ruling
from storage.unread import COUNTED, Unread, Watch
from tests.storage.making import BUYER, NOW, ROOM, SELLER, salts

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
OTHER = RoomId("order-2")


@pytest.fixture
def unread(database: Database) -> Unread:
    return Unread(database, MINUTE)


async def the_watch(unread: Unread) -> Watch:
    (watch,) = await unread.due(NOW + timedelta(days=1), 10)
    return watch


def event(n: int) -> OutboxEvent:
    return OutboxEvent(DisputeId("unread-1"), n, WebhookType.PARTICIPANT_UNREAD, {}, NOW)


async def test_a_marked_room_is_due_when_its_messages_have_had_their_time(unread: Unread) -> None:
    await unread.mark({ROOM: NOW, OTHER: NOW + SECOND})
    assert await unread.due(NOW + MINUTE - timedelta(milliseconds=1), 10) == []
    assert await unread.due(NOW + MINUTE, 10) == [Watch(ROOM, NOW, {})]
    assert [watch.room for watch in await unread.due(NOW + 2 * MINUTE, 10)] == [ROOM, OTHER]
    assert [watch.room for watch in await unread.due(NOW + 2 * MINUTE, 1)] == [ROOM]
    await unread.mark({})


async def test_marking_again_puts_nothing_off(unread: Unread) -> None:
    await unread.mark({ROOM: NOW})
    await unread.mark({ROOM: NOW + 30 * SECOND})
    assert await unread.due(NOW + MINUTE, 10) == [Watch(ROOM, NOW + 30 * SECOND, {})]


async def test_a_room_is_looked_at_again_at_a_time_or_after_the_next_mark(unread: Unread) -> None:
    await unread.mark({ROOM: NOW})
    assert await unread.look_again(await the_watch(unread), NOW + 5 * MINUTE)
    assert await unread.due(NOW + 5 * MINUTE - SECOND, 10) == []
    watch = await the_watch(unread)
    assert await unread.look_again(watch, None)
    assert await unread.due(NOW + timedelta(days=9), 10) == []
    await unread.mark({ROOM: NOW + 2 * MINUTE})
    assert len(await unread.due(NOW + 3 * MINUTE, 10)) == 1


@pytest.mark.parametrize("again", [None, NOW + 9 * MINUTE])
async def test_what_was_marked_while_somebody_looked_is_looked_at(unread: Unread, again: datetime | None) -> None:
    await unread.mark({ROOM: NOW})
    watch = await the_watch(unread)
    await unread.mark({ROOM: NOW + 40 * SECOND})
    assert not await unread.look_again(watch, again)
    assert len(await unread.due(NOW + MINUTE, 10)) == 1


async def test_messages_of_others_that_the_reader_may_see_are_unread(unread: Unread, log: RoomLog) -> None:
    agent = Author(UserId("agent-1"), Role.AGENT, "Ada")
    drafts = [
        Draft(BUYER, CommandId("1"), EntryKind.MESSAGE, {"text": "own"}),
        Draft(SELLER, CommandId("2"), EntryKind.MESSAGE, {"text": "hidden"}, Visibility.WITHHELD),
        Draft(SELLER, CommandId("3"), EntryKind.ORDER_UPDATED, {}),
        Draft(SELLER, CommandId("4"), EntryKind.MESSAGE, {"text": "first"}),
        Draft(BUYER, CommandId("5"), EntryKind.MESSAGE, {"text": "own"}),
        Draft(agent, CommandId("6"), EntryKind.MESSAGE, {"text": "second"}),
    ]
    entries = link(ROOM, await log.head(ROOM), drafts, NOW, salts())
    await log.append_with(entries, lambda _: asyncio.sleep(0))
    found = await unread.messages(ROOM, BUYER.id, Seq(0))
    assert found is not None
    assert (found.first, found.at, found.author, found.count) == (4, NOW, SELLER, 2)
    after = await unread.messages(ROOM, BUYER.id, Seq(4))
    assert after is not None
    assert (after.first, after.author, after.count) == (6, agent, 1)
    assert await unread.messages(ROOM, BUYER.id, Seq(6)) is None
    assert await unread.messages(OTHER, BUYER.id, Seq(0)) is None


async def test_messages_are_counted_as_they_are_shown_now(unread: Unread, log: RoomLog) -> None:
    drafts = [
        Draft(SELLER, CommandId("1"), EntryKind.MESSAGE, {"text": "released"}, Visibility.WITHHELD),
        Draft(SELLER, CommandId("2"), EntryKind.MESSAGE, {"text": "redacted"}),
        Draft(SELLER, CommandId("3"), EntryKind.MESSAGE, {"text": "left alone"}),
    ]
    released, redacted, _ = entries = link(ROOM, await log.head(ROOM), drafts, NOW, salts())
    assert (await log.submit(entries)).failure is None
    staff = UserId("ada")
    assert await log.rule(released, Ruling(Visibility.ALL, FlagState.RELEASED, staff, NOW))
    assert await log.rule(redacted, Ruling(Visibility.WITHHELD, FlagState.CONFIRMED, staff, NOW))
    found = await unread.messages(ROOM, BUYER.id, Seq(0))
    assert found is not None
    assert (found.first, found.count) == (1, 2)
    found = await unread.messages(ROOM, BUYER.id, Seq(1))
    assert found is not None
    assert (found.first, found.count) == (3, 1)


async def test_unread_messages_are_counted_up_to_a_number(unread: Unread, log: RoomLog) -> None:
    drafts = [Draft(SELLER, CommandId(str(n)), EntryKind.MESSAGE, {"text": "x"}) for n in range(COUNTED + 1)]
    await log.append_with(link(ROOM, await log.head(ROOM), drafts, NOW, salts()), lambda _: asyncio.sleep(0))
    for read, count in ((0, COUNTED), (1, COUNTED), (2, COUNTED - 1)):
        found = await unread.messages(ROOM, BUYER.id, Seq(read))
        assert found is not None
        assert found.count == count


async def test_a_stretch_is_told_once_however_many_try(unread: Unread, database: Database) -> None:
    await unread.mark({ROOM: NOW})
    watch = await the_watch(unread)
    assert sum(await asyncio.gather(*(unread.tell(watch, event(4)) for _ in range(5)))) == 1
    assert not await unread.tell(watch, event(3))
    assert (await the_watch(unread)).told == {"unread-1": 4}
    assert await unread.tell(watch, event(5))
    assert [found["_id"] for found in await database.collection("outbox").find({}, sort=[("n", 1)])] == [
        "unread-1:4",
        "unread-1:5",
    ]


async def test_each_reader_is_told_of_its_own(unread: Unread) -> None:
    await unread.mark({ROOM: NOW})
    watch = await the_watch(unread)
    assert await unread.tell(watch, event(4))
    assert await unread.tell(watch, replace(event(4), dispute=DisputeId("unread-2")))
    assert (await the_watch(unread)).told == {"unread-1": 4, "unread-2": 4}


async def test_nothing_is_told_of_a_room_that_was_never_marked(unread: Unread, database: Database) -> None:
    assert not await unread.tell(Watch(ROOM, NOW, {}), event(1))
    assert await database.collection("outbox").find({}) == []


async def test_idle_rooms_cost_nothing(unread: Unread, database: Database) -> None:
    await unread.mark({RoomId(f"order-{number}"): NOW for number in range(200)})
    for watch in await unread.due(NOW + MINUTE, 200):
        await unread.look_again(watch, None)
    find = {"find": "unread", "filter": {"due_at": {"$lte": NOW + MINUTE}}, "sort": {"due_at": 1}}
    stats = (await database.command({"explain": find, "verbosity": "executionStats"}))["executionStats"]
    assert stats["totalDocsExamined"] + stats["totalKeysExamined"] == 0
