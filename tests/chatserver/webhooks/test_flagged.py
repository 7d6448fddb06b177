"""Telling the marketplace of flagged entries, on a real database."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from chatserver.strikes import Strikes
from chatserver.webhooks.flagged import FlagTeller
from chatserver.webhooks.payloads import ContactFlagged
from policies.dispute.commands import MakeProposal
from policies.flag import Cause, CauseKind, FlagState, Mark
from policies.room import order_room
from policies.strikes import StrikeRules
from policies.vocabulary import Resolution, RoomId
from storage.client import Database, MongoConfig, open_database
from storage.flags import FlagQuery, Flags
from storage.room_log import Ruling
from tests.chatserver.disputes.desks import BUYER, ORDER, SELLER, Shop
from tests.chatserver.disputes.flagging import PHONE, written

ORDER_ROOM = order_room(ORDER)
SECRET = Cause(CauseKind.SECRET, "card", "text", 0, 16, 100, "secret.card")
INSULT = Cause(CauseKind.CONDUCT, "insult", "text", 0, 6, 100, "insult.en")


class Office:
    """A worker that tells of flags, and what it has told."""

    def __init__(self, database: Database, shop: Shop) -> None:
        self.flags = Flags(database)
        self.strikes = Strikes(self.flags, StrikeRules(), shop.clock)
        self.database = database
        self.shop = shop
        self.teller = FlagTeller(self.flags, shop.rooms, self.strikes)

    async def told(self) -> list[dict[str, Any]]:
        while await self.teller.look():
            pass
        found = await self.database.collection("outbox").find({"type": "contact.flagged"}, sort=[("at", 1), ("n", 1)])
        for event in found:
            ContactFlagged.model_validate(event["data"])
        return found


@pytest.fixture
def shop(own_database: Database) -> Shop:
    return Shop(own_database)


@pytest.fixture
def office(own_database: Database, shop: Shop) -> Office:
    return Office(own_database, shop)


async def test_what_is_told_of_an_order_room(shop: Shop, office: Office) -> None:
    await shop.order()
    entry = await written(shop, ORDER_ROOM, SELLER, Mark.WITHHELD, PHONE, INSULT, SECRET)
    [event] = await office.told()
    assert event["data"] == {
        "room": ORDER_ROOM,
        "order_id": ORDER,
        "seq": entry.seq,
        "at": "2026-01-31T09:30:00.000Z",
        "user": SELLER.id,
        "role": "seller",
        "mark": "withheld",
        "categories": ["insult", "phone"],
        "confidence": 100,
        "strikes": 1.0,
        "repeated": False,
    }
    assert "0176" not in str(event)
    assert event["waiting"]
    assert "." not in event["_id"]
    assert len(await office.told()) == 1  # once


async def test_those_of_an_order_room_are_in_order_and_strikes_add_up(shop: Shop, office: Office) -> None:
    await shop.order()
    for mark in (Mark.WARNED, Mark.WITHHELD, Mark.MASKED, Mark.WITHHELD):
        await written(shop, ORDER_ROOM, mark=mark)
        shop.clock.advance(1)
    told = await office.told()
    assert len({event["dispute"] for event in told}) == 1
    assert [event["n"] for event in told] == sorted(event["n"] for event in told)
    assert [event["data"]["mark"] for event in told] == ["warned", "withheld", "masked", "withheld"]
    assert told[-1]["data"]["strikes"] == pytest.approx(3.25, abs=0.01)
    assert told[-1]["data"]["repeated"]


async def test_of_a_dispute_it_is_one_of_its_events(shop: Shop, office: Office) -> None:
    dispute = await shop.opened()
    before = len(await shop.told(dispute))
    await written(shop, dispute.room)
    [event] = await office.told()
    assert (event["dispute"], event["n"]) == (dispute.id, before + 1)
    assert event["data"]["dispute"] == dispute.id
    await shop.run(dispute.id, MakeProposal(SELLER, shop.command(), Resolution.FULL_REFUND))
    events = await shop.told(dispute)  # numbered without a hole
    assert [each.type.value for each in events[before:]] == ["contact.flagged", "proposal.made", "dispute.attended"]


@pytest.mark.parametrize(("mark", "causes"), [(Mark.NOTED, [PHONE]), (Mark.MASKED, [SECRET]), (None, [])])
async def test_what_breaks_no_rule_is_not_told(
    shop: Shop, office: Office, mark: Mark | None, causes: list[Cause]
) -> None:
    await shop.order()
    await written(shop, ORDER_ROOM, BUYER, mark, *causes)
    assert await office.told() == []
    assert await office.teller.look() == 0  # and is not looked at again


FLOOD = Cause(CauseKind.CONDUCT, "flooding", "text", 0, 0, 100, "conduct.flooding")


async def test_a_flood_is_told_and_counted_once_in_ten_minutes(shop: Shop, office: Office) -> None:
    await shop.order()
    for _ in range(60):  # one in half a minute, over half an hour
        await written(shop, ORDER_ROOM, SELLER, Mark.WARNED, FLOOD)
        shop.clock.advance(30)
        await office.teller.look()
    told = await office.told()
    assert [event["data"]["seq"] for event in told] == [1, 22, 43]
    strikes = await office.strikes.of(SELLER.id)
    assert strikes.score == pytest.approx(0.75, abs=0.01)
    waiting = await office.flags.page(FlagQuery(states=frozenset({FlagState.OPEN})), 100)
    assert [entry.seq for entry in waiting.entries] == [1, 22, 43]


async def test_of_very_many_withheld_messages_enough_are_told(shop: Shop, office: Office) -> None:
    await shop.order()
    for number in range(40):
        await written(shop, ORDER_ROOM, SELLER, Mark.WITHHELD, PHONE, *([FLOOD] if number > 5 else []))
        shop.clock.advance(1)
    await written(shop, ORDER_ROOM, BUYER)
    told = await office.told()
    assert [event["data"]["user"] for event in told] == [SELLER.id] * 10 + [BUYER.id]
    assert (await office.strikes.of(SELLER.id)).score == pytest.approx(10, abs=0.01)
    [aside, *_] = (await office.flags.page(FlagQuery(states=frozenset({FlagState.REPEATED})), 100)).entries
    assert aside.seq == 11
    assert aside.hidden


async def test_a_threat_after_very_many_numbers_is_told(shop: Shop, office: Office) -> None:
    await shop.order()
    for _ in range(20):
        await written(shop, ORDER_ROOM, SELLER, Mark.WARNED, PHONE)
        shop.clock.advance(1)
    last = await written(shop, ORDER_ROOM, SELLER, Mark.WITHHELD, replace(INSULT, category="threat"))
    told = await office.told()
    assert len(told) == 11
    assert told[-1]["data"]["seq"] == last.seq


async def test_in_shadow_mode_staff_are_not_flooded_either(shop: Shop, office: Office) -> None:
    await shop.order()
    for _ in range(15):
        await written(shop, ORDER_ROOM, SELLER, Mark.NOTED, PHONE)
    assert await office.told() == []
    assert len((await office.flags.page(FlagQuery(states=frozenset({FlagState.OPEN})), 100)).entries) == 10


async def test_what_was_released_goes_on_standing_for_its_flood(shop: Shop, office: Office) -> None:
    """One action is enough: the next of the flood does not take the place of the one that was nothing."""
    await shop.order()
    first = await written(shop, ORDER_ROOM, SELLER, Mark.WARNED, FLOOD)
    assert await shop.log.rule(first, Ruling(None, FlagState.RELEASED, BUYER.id, shop.clock.now()))
    await written(shop, ORDER_ROOM, SELLER, Mark.WARNED, FLOOD)
    assert await office.told() == []
    assert (await office.strikes.of(SELLER.id)).score == 0


async def test_a_false_alarm_is_not_told(shop: Shop, office: Office) -> None:
    await shop.order()
    entry = await written(shop, ORDER_ROOM, mark=Mark.WARNED)
    assert await shop.log.rule(entry, Ruling(None, FlagState.RELEASED, BUYER.id, shop.clock.now()))
    assert await office.told() == []


@pytest.fixture
async def other(own_database: Database, mongo_url: str, shop: Shop) -> AsyncIterator[Office]:
    """Another worker, which does the same at the same time."""
    database = open_database(MongoConfig(mongo_url, own_database.name, "pymongo", timeout_s=10))
    yield Office(database, shop)
    await database.close()


async def test_workers_and_people_at_once_tell_each_once(shop: Shop, office: Office, other: Office) -> None:
    dispute = await shop.opened()
    rooms: list[RoomId] = [dispute.room, ORDER_ROOM]
    for number in range(10):
        await written(shop, rooms[number % 2])
    people = (
        shop.run(dispute.id, MakeProposal(author, shop.command(), Resolution.PARTIAL_REFUND, 100 + number))
        for number, author in enumerate((BUYER, SELLER, BUYER, SELLER))
    )
    await asyncio.gather(office.told(), other.told(), *people)
    told = await office.told()
    assert len(told) == 10
    assert len({(event["data"]["room"], event["data"]["seq"]) for event in told}) == 10
    await shop.told(dispute)
