"""Looking for unread messages, on a real database."""

import os
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chatserver.webhooks.payloads import ParticipantUnread
from chatserver.webhooks.unread import LONGEST_PAUSE, UnreadLookout
from policies.entry import Author, Draft
from policies.order import OrderFacts, Seller
from policies.room import Party, order_room
from policies.vocabulary import CommandId, EntryKind, OrderCategory, OrderId, Role, RoomId, TrustLevel, UserId
from storage.chain import link
from storage.client import Database
from storage.commit import GroupCommit
from storage.cursors import Cursors
from storage.orders import Orders
from storage.room_log import RoomLog
from storage.rooms import Rooms
from storage.unread import Unread
from tests.chatserver.moving_time import NOW, HandClock

AFTER = timedelta(seconds=60)
ORDER = OrderId("o.1")
ROOM = order_room(ORDER)
BUYER, SELLER = UserId("buyer-1"), UserId("seller-1")


class Talk:
    """An order room with its people, and the lookout."""

    def __init__(self, database: Database, commit: GroupCommit) -> None:
        self.database = database
        self.clock = HandClock()
        self.log = RoomLog(database, commit)
        self.rooms = Rooms(database)
        self.cursors = Cursors(database)
        self.unread = Unread(database, AFTER)
        self.online: set[UserId] = set()
        self.asked = 0
        self._count = 0
        self.orders = Orders(database, self.log, self.rooms, lambda: os.urandom(16))
        seller = Seller(SELLER, "Sue", TrustLevel.VERIFIED)
        self.facts = OrderFacts(ORDER, Party(BUYER, "Bo"), seller, "Lamp", OrderCategory.ITEM, 100, "EUR", NOW, {})
        self.lookout = UnreadLookout(self.unread, self.rooms, self.cursors, self._who, self.clock, AFTER)

    async def _who(self, rooms: Collection[RoomId]) -> dict[RoomId, set[UserId]]:
        self.asked += 1
        return dict.fromkeys(rooms, self.online)

    async def say(self, user: UserId, role: Role) -> int:
        """A message, as a hub writes and marks it; its seq."""
        self._count += 1
        draft = Draft(Author(user, role, user.title()), CommandId(f"c{self._count}"), EntryKind.MESSAGE, {"text": "hi"})
        (entry,) = link(ROOM, await self.log.head(ROOM), [draft], self.clock.now(), lambda: os.urandom(16))
        assert (await self.log.submit([entry])).failure is None
        await self.unread.mark({ROOM: self.clock.now()})
        return entry.seq

    async def look(self, after_s: float = 0) -> list[dict[str, Any]]:
        """Time passes, the lookout looks; all that was told so far."""
        self.clock.advance(after_s)
        while await self.lookout.look():
            pass
        return await self.database.collection("outbox").find({}, sort=[("at", 1), ("_id", 1)])

    async def told(self, after_s: float = 0) -> list[tuple[str, int]]:
        return [(event["data"]["side"], event["data"]["seq"]) for event in await self.look(after_s)]


@pytest.fixture
async def talk(own_database: Database) -> AsyncIterator[Talk]:
    commit = GroupCommit(own_database)
    made = Talk(own_database, commit)
    await made.orders.put(made.facts, NOW)
    yield made
    await commit.close()


async def test_a_message_that_nobody_reads_is_told_after_its_time(talk: Talk) -> None:
    seq = await talk.say(SELLER, Role.SELLER)
    assert await talk.told(59.999) == []
    (event,) = await talk.look(0.001)
    assert event["type"] == "participant.unread"
    ParticipantUnread.model_validate(event["data"])
    assert event["data"] == {
        "room": ROOM,
        "kind": "order",
        "order_id": ORDER,
        "user": BUYER,
        "side": "buyer",
        "seq": seq,
        "at": "2026-01-31T09:30:00.000Z",
        "count": 1,
        "from": {"id": SELLER, "role": "seller", "name": "Seller-1"},
    }
    assert event["_id"] == f"{event['dispute']}:{seq}"
    assert "." not in event["_id"]
    assert event["waiting"]


async def test_a_stretch_is_told_once(talk: Talk) -> None:
    await talk.say(SELLER, Role.SELLER)
    await talk.say(SELLER, Role.SELLER)
    assert await talk.told(60) == [("buyer", 1)]
    await talk.say(SELLER, Role.SELLER)
    assert await talk.told(60) == [("buyer", 1)]
    assert await talk.told(10_000) == [("buyer", 1)]


async def test_after_reading_the_next_stretch_is_told(talk: Talk) -> None:
    await talk.say(SELLER, Role.SELLER)
    await talk.look(60)
    await talk.cursors.advance([(ROOM, BUYER, 1, 1)])
    await talk.say(SELLER, Role.SELLER)
    assert await talk.told(59) == [("buyer", 1)]
    assert await talk.told(1) == [("buyer", 1), ("buyer", 2)]


async def test_what_was_read_in_time_is_not_told(talk: Talk) -> None:
    await talk.say(SELLER, Role.SELLER)
    await talk.cursors.advance([(ROOM, BUYER, 1, 1)])
    assert await talk.told(60) == []


async def test_what_was_only_delivered_is_not_read(talk: Talk) -> None:
    await talk.say(SELLER, Role.SELLER)
    await talk.cursors.advance([(ROOM, BUYER, 1, 0)])
    assert await talk.told(60) == [("buyer", 1)]


async def test_who_takes_a_party_s_place_is_told_of_what_they_have_not_read(talk: Talk) -> None:
    await talk.say(SELLER, Role.SELLER)
    await talk.look(60)
    await talk.orders.put(replace(talk.facts, buyer=Party(UserId("buyer-2"), "Bea")), talk.clock.now())
    await talk.say(SELLER, Role.SELLER)
    assert [event["data"]["user"] for event in await talk.look(60)] == [BUYER, "buyer-2"]


async def test_both_sides_are_told_of_what_support_writes(talk: Talk) -> None:
    await talk.say(UserId("agent-1"), Role.AGENT)
    assert sorted(await talk.told(60)) == [("buyer", 1), ("seller", 1)]


async def test_who_is_online_is_told_nothing_until_they_leave(talk: Talk) -> None:
    await talk.say(SELLER, Role.SELLER)
    talk.online = {BUYER}
    assert await talk.told(60) == []
    assert await talk.told(300) == []
    talk.online = set()
    assert await talk.told(LONGEST_PAUSE.total_seconds()) == [("buyer", 1)]


async def test_the_other_side_being_online_changes_nothing(talk: Talk) -> None:
    await talk.say(SELLER, Role.SELLER)
    talk.online = {SELLER, UserId("agent-1")}
    assert await talk.told(60) == [("buyer", 1)]


async def test_a_reader_who_is_there_and_does_not_read_is_looked_at_ever_less(talk: Talk) -> None:
    await talk.say(SELLER, Role.SELLER)
    talk.online = {BUYER}
    for _ in range(24 * 60):
        await talk.look(60)
    assert talk.asked < 24 * 6 + 10


async def test_a_younger_message_waits_for_its_own_time(talk: Talk) -> None:
    """The mark of an older message, read meanwhile, brings the lookout early."""
    await talk.say(SELLER, Role.SELLER)
    talk.clock.advance(50)
    await talk.cursors.advance([(ROOM, BUYER, 1, 1)])
    await talk.say(SELLER, Role.SELLER)
    assert await talk.told(10) == []
    assert await talk.told(49.999) == []
    assert await talk.told(0.001) == [("buyer", 2)]


async def test_quiet_rooms_are_not_looked_at(talk: Talk) -> None:
    await talk.say(SELLER, Role.SELLER)
    await talk.look(60)
    asked = talk.asked
    for _ in range(10):
        await talk.look(3600)
    assert talk.asked == asked


async def test_a_room_that_is_not_there_is_let_be(talk: Talk) -> None:
    await talk.unread.mark({RoomId("order-gone"): NOW})
    assert await talk.told(60) == []
    assert await talk.unread.due(talk.clock.now() + timedelta(days=1), 10) == []
