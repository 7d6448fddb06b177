import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pymongo import MongoClient

from policies.entry import Entry
from policies.errors import Conflict, NotFound, Unavailable
from policies.order import Changes, Chargeback, OrderEvent, OrderFacts, OrderState, Payment, Seller
from policies.room import SYSTEM, Party, RoomFacts
from policies.vocabulary import (
    DisputeId,
    EntryKind,
    OrderCategory,
    OrderEventType,
    OrderId,
    RoomId,
    RoomKind,
    Seq,
    TrustLevel,
    UserId,
)
from storage.chain import head_of, verify
from storage.client import Database, MongoConfig, open_database
from storage.commit import GroupCommit
from storage.orders import Order, Orders, PendingEvent
from storage.room_log import RoomLog
from storage.rooms import Rooms
from tests.storage.making import NOW, linked, salts

FACTS = OrderFacts(
    id=OrderId("4711"),
    buyer=Party(UserId("b"), "Bo"),
    seller=Seller(UserId("s"), "Sue", TrustLevel.VERIFIED),
    title="A lamp",
    category=OrderCategory.ITEM,
    amount=1999,
    currency="EUR",
    placed_at=NOW,
    details={"colour": "red", "parts": [{"name": "bulb", "count": 2}]},
)
ROOM = RoomId("order-4711")
LATER = NOW + timedelta(minutes=5)
DELIVERED = OrderEvent("e1", OrderEventType.DELIVERED, LATER, {"carrier": "post"})


@pytest.fixture
def orders(database: Database, log: RoomLog) -> Orders:
    return Orders(database, log, Rooms(database), salts())


@pytest.fixture
def rooms(database: Database) -> Rooms:
    return Rooms(database)


async def stored(log: RoomLog) -> list[Entry]:
    entries = await log.read_after(ROOM, Seq(0), 1000)
    assert verify(ROOM, entries) is None
    return entries


async def test_a_new_order_comes_with_its_room(orders: Orders, rooms: Rooms, log: RoomLog) -> None:
    result = await orders.put(FACTS, NOW)
    assert result.created
    assert result.entries == ()
    assert result.order == Order(FACTS, OrderState(), ROOM, NOW, 1)
    assert await orders.get(FACTS.id) == result.order
    assert await rooms.facts(ROOM) == RoomFacts(
        ROOM, RoomKind.ORDER, FACTS.id, Party(UserId("b"), "Bo"), Party(UserId("s"), "Sue"), NOW
    )
    assert await stored(log) == []


async def test_an_unknown_order(orders: Orders, rooms: Rooms) -> None:
    assert await orders.get(OrderId("4711")) is None
    assert await rooms.facts(ROOM) is None


async def test_titles_of_several_orders(orders: Orders) -> None:
    await orders.put(FACTS, NOW)
    await orders.put(replace(FACTS, id=OrderId("4712"), title="A chair"), NOW)
    asked = [OrderId("4711"), OrderId("4712"), OrderId("4713")]
    assert await orders.titles(asked) == {"4711": "A lamp", "4712": "A chair"}


async def test_the_same_facts_again_write_nothing(orders: Orders, log: RoomLog) -> None:
    first = await orders.put(FACTS, NOW)
    again = await orders.put(replace(FACTS, details=dict(FACTS.details)), LATER)
    assert not again.created
    assert again.changes == Changes((), False)
    assert again.entries == ()
    assert again.order == first.order
    assert await stored(log) == []


async def test_changed_facts_are_told_in_the_order_room(orders: Orders, log: RoomLog) -> None:
    await orders.put(FACTS, NOW)
    result = await orders.put(replace(FACTS, title="A red lamp", amount=1899), LATER)
    assert not result.created
    assert result.changes == Changes(("title", "amount"), False)
    assert result.order.facts.title == "A red lamp"
    assert result.order.created_at == NOW
    assert await orders.get(FACTS.id) == result.order
    [entry] = await stored(log)
    assert result.entries == (entry,)
    assert entry.kind is EntryKind.ORDER_UPDATED
    assert entry.author == SYSTEM
    assert entry.at == LATER
    assert entry.body == {"changed": ["title", "amount"]}


async def test_other_parties_are_those_of_the_room_at_once(orders: Orders, rooms: Rooms, log: RoomLog) -> None:
    await orders.put(FACTS, NOW)
    result = await orders.put(replace(FACTS, buyer=Party(UserId("c"), "Cy")), LATER)
    assert result.changes == Changes(("buyer",), True)
    room = await rooms.facts(ROOM)
    assert room is not None
    assert (room.buyer, room.seller) == (Party(UserId("c"), "Cy"), Party(UserId("s"), "Sue"))
    [entry] = await stored(log)
    assert entry.body == {"changed": ["buyer"], "parties": {"buyer": "c", "seller": "s"}}


async def test_a_partys_new_name_reaches_the_room(orders: Orders, rooms: Rooms) -> None:
    await orders.put(FACTS, NOW)
    result = await orders.put(replace(FACTS, seller=replace(FACTS.seller, name="Susan")), LATER)
    assert not result.changes.parties
    assert "parties" not in result.entries[0].body
    room = await rooms.facts(ROOM)
    assert room is not None
    assert room.seller == Party(UserId("s"), "Susan")


async def test_facts_that_change_back_and_forth_are_told_each_time(orders: Orders, log: RoomLog) -> None:
    for title in ("A", "B", "A", "B"):
        await orders.put(replace(FACTS, title=title), NOW)
    assert [entry.body for entry in await stored(log)] == [{"changed": ["title"]}] * 3


async def test_an_event_changes_the_state_and_is_told(orders: Orders, log: RoomLog) -> None:
    await orders.put(FACTS, NOW)
    result = await orders.record_event(FACTS.id, DELIVERED, LATER)
    assert result.recorded
    assert result.order.state == OrderState(delivered_at=LATER)
    assert await orders.get(FACTS.id) == result.order
    [entry] = await stored(log)
    assert result.entries == (entry,)
    assert entry.kind is EntryKind.ORDER_UPDATED
    assert entry.author == SYSTEM
    event = {"id": "e1", "type": "delivered", "at": "2026-01-31T09:35:00.250Z", "data": {"carrier": "post"}}
    assert entry.body == {"event": event}


async def test_the_same_event_again_changes_nothing(orders: Orders, log: RoomLog) -> None:
    await orders.put(FACTS, NOW)
    first = await orders.record_event(FACTS.id, DELIVERED, LATER)
    again = await orders.record_event(FACTS.id, DELIVERED, LATER + timedelta(hours=1))
    assert not again.recorded
    assert again.entries == ()
    assert again.order == first.order
    assert len(await stored(log)) == 1


@pytest.mark.parametrize(
    "change",
    [{"type": OrderEventType.CANCELED}, {"at": LATER + timedelta(milliseconds=1)}, {"data": {"carrier": "other"}}],
)
async def test_another_event_under_the_same_id_is_a_conflict(
    orders: Orders, log: RoomLog, change: dict[str, Any]
) -> None:
    await orders.put(FACTS, NOW)
    await orders.record_event(FACTS.id, DELIVERED, LATER)
    with pytest.raises(Conflict):
        await orders.record_event(FACTS.id, replace(DELIVERED, **change), LATER)
    assert len(await stored(log)) == 1


async def test_event_ids_are_the_orders_own(orders: Orders) -> None:
    await orders.put(FACTS, NOW)
    await orders.put(replace(FACTS, id=OrderId("4712")), NOW)
    assert (await orders.record_event(FACTS.id, DELIVERED, LATER)).recorded
    assert (await orders.record_event(OrderId("4712"), DELIVERED, LATER)).recorded


async def test_an_event_of_an_unknown_order(orders: Orders) -> None:
    with pytest.raises(NotFound):
        await orders.record_event(FACTS.id, DELIVERED, LATER)


async def test_state_comes_back_as_it_was(orders: Orders) -> None:
    await orders.put(FACTS, NOW)
    for number, kind in enumerate(OrderEventType):
        await orders.record_event(FACTS.id, OrderEvent(f"e{number}", kind, NOW + timedelta(minutes=number)), LATER)
    order = await orders.get(FACTS.id)
    assert order is not None
    assert order.state.chargeback is Chargeback.LOST
    assert order.state.payment is Payment.FAILED
    assert order.state.delivery_confirmed_at == NOW + timedelta(minutes=1)
    assert order.version == 1 + len(OrderEventType)


# Races


@pytest.fixture
async def elsewhere(mongo: MongoConfig) -> Any:
    """The same orders on another process."""
    database = open_database(mongo)
    log = RoomLog(database, GroupCommit(database))
    yield Orders(database, log, Rooms(database), salts())
    await database.close()


async def test_of_several_who_create_an_order_one_does(orders: Orders, elsewhere: Orders, log: RoomLog) -> None:
    results = await asyncio.gather(*(side.put(FACTS, NOW) for side in (orders, elsewhere) * 3))
    assert sorted(result.created for result in results) == [False] * 5 + [True]
    assert all(result.entries == () for result in results)
    assert await stored(log) == []


async def test_concurrent_changes_have_an_order(orders: Orders, elsewhere: Orders, log: RoomLog) -> None:
    await orders.put(FACTS, NOW)
    titles = [f"title {number}" for number in range(6)]
    results = await asyncio.gather(
        *(
            side.put(replace(FACTS, title=title), NOW)
            for side, title in zip([orders, elsewhere] * 3, titles, strict=True)
        )
    )
    entries = await stored(log)
    told = sorted((result.entries[0] for result in results), key=lambda entry: entry.seq)
    assert told == entries
    assert len(entries) == 6
    last = next(result for result in results if result.entries[0] == entries[-1])
    assert await orders.get(FACTS.id) == last.order
    assert last.order.version == 7


async def test_events_facts_and_messages_at_once(orders: Orders, elsewhere: Orders, log: RoomLog) -> None:
    await orders.put(FACTS, NOW)

    async def chat() -> None:
        for number in range(10):
            while (await log.submit(linked(str(number), room=ROOM, head=await log.head(ROOM)))).failure:
                pass

    reported = [OrderEvent(f"e{number}", OrderEventType.PAYMENT_HELD, NOW) for number in range(4)]
    await asyncio.gather(
        chat(),
        *(side.record_event(FACTS.id, event, NOW) for event in reported for side in (orders, elsewhere)),
        orders.put(replace(FACTS, title="A red lamp"), NOW),
    )
    entries = await stored(log)
    assert len(entries) == 10 + 4 + 1
    events = [entry.body["event"]["id"] for entry in entries if "event" in entry.body]
    assert sorted(events) == ["e0", "e1", "e2", "e3"]
    order = await orders.get(FACTS.id)
    assert order is not None
    assert order.facts.title == "A red lamp"
    assert order.state.payment is Payment.HELD
    assert order.version == 1 + 4 + 1


async def test_an_order_whose_room_never_stands_still_is_given_up_for_now(
    orders: Orders, log: RoomLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded: somebody else's entry comes first at each attempt."""
    await orders.put(FACTS, NOW)
    read_head = RoomLog.head

    async def overtaken(self: RoomLog, room: RoomId) -> Any:
        head = await read_head(self, room)
        [entry] = linked(f"overtaking-{head.seq}", room=room, head=head)
        await self.submit([entry])
        return head

    monkeypatch.setattr(RoomLog, "head", overtaken)
    monkeypatch.setattr("storage.orders.ATTEMPTS", 3)
    with pytest.raises(Unavailable):
        await orders.put(replace(FACTS, title="new"), NOW)
    with pytest.raises(Unavailable):
        await orders.record_event(FACTS.id, DELIVERED, NOW)
    monkeypatch.undo()
    entries = await stored(log)
    assert len(entries) == 6
    assert (await orders.put(replace(FACTS, title="new"), NOW)).entries[0].prev_hash == head_of(entries[-1]).hash


# Disputes of an order


async def take(database: Database, orders: Orders, known: Order, dispute: str) -> bool:
    return await database.transact(lambda session: orders.take_dispute(known, DisputeId(dispute), session))


async def test_an_order_takes_one_dispute_in_at_a_time(database: Database, orders: Orders) -> None:
    order = (await orders.put(FACTS, NOW)).order
    assert (order.active_dispute, order.latest_dispute) == (None, None)
    assert await take(database, orders, order, "d1")
    taken = await orders.get(FACTS.id)
    assert taken == replace(order, version=2, active_dispute=DisputeId("d1"), latest_dispute=DisputeId("d1"))
    assert not await take(database, orders, order, "d2")
    assert not await take(database, orders, taken, "d2")
    assert await orders.get(FACTS.id) == taken


async def test_a_dispute_is_not_taken_in_on_what_is_no_longer_so(database: Database, orders: Orders) -> None:
    order = (await orders.put(FACTS, NOW)).order
    await orders.record_event(FACTS.id, DELIVERED, LATER)
    assert not await take(database, orders, order, "d1")


async def test_an_order_is_free_again_after_its_dispute(database: Database, orders: Orders) -> None:
    order = (await orders.put(FACTS, NOW)).order
    await take(database, orders, order, "d1")
    await database.transact(lambda session: orders.leave_dispute(FACTS.id, DisputeId("d9"), session))
    assert (known := await orders.get(FACTS.id)) is not None
    assert known.active_dispute == "d1"
    await database.transact(lambda session: orders.leave_dispute(FACTS.id, DisputeId("d1"), session))
    assert (known := await orders.get(FACTS.id)) is not None
    assert (known.active_dispute, known.latest_dispute, known.version) == (None, "d1", 3)
    assert await take(database, orders, known, "d2")


async def taken_and_left(database: Database, orders: Orders, *disputes: str) -> None:
    """Disputes of an order, one after the other, all ended."""
    await orders.put(FACTS, NOW)
    for dispute in disputes:
        order = await orders.get(FACTS.id)
        assert order is not None
        assert await take(database, orders, order, dispute)
        await database.transact(partial(orders.leave_dispute, FACTS.id, DisputeId(dispute)))


async def test_a_dispute_does_not_come_back_after_a_newer_one(database: Database, orders: Orders) -> None:
    """It would not know what the newer one asked to be paid back."""
    await taken_and_left(database, orders, "d1", "d2")
    for name, came in (("d1", False), ("d2", True)):
        retake = partial(orders.retake_dispute, FACTS.id, DisputeId(name), FACTS.buyer.id, FACTS.seller.id)
        assert await database.transact(retake) is came


@pytest.mark.parametrize(
    ("buyer", "seller", "taken"), [("b", "s", True), ("c", "s", False), ("b", "t", False), ("s", "b", False)]
)
async def test_a_reopened_dispute_comes_back_to_the_same_parties(
    database: Database, orders: Orders, buyer: str, seller: str, taken: bool
) -> None:
    await taken_and_left(database, orders, "d1")
    name, parties = DisputeId("d1"), (UserId(buyer), UserId(seller))
    came = await database.transact(lambda session: orders.retake_dispute(FACTS.id, name, *parties, session))
    assert came is taken
    again = await database.transact(lambda session: orders.retake_dispute(FACTS.id, name, *parties, session))
    assert not again
    order = await orders.get(FACTS.id)
    assert order is not None
    assert order.active_dispute == ("d1" if taken else None)


@pytest.mark.parametrize(
    "change",
    [
        {"buyer": Party(UserId("c"), "Cy")},
        {"seller": Seller(UserId("t"), "Tom", TrustLevel.VERIFIED)},
        {"currency": "USD"},
    ],
)
async def test_during_a_dispute_parties_and_currency_do_not_change(
    database: Database, orders: Orders, log: RoomLog, change: dict[str, Any]
) -> None:
    await take(database, orders, (await orders.put(FACTS, NOW)).order, "d1")
    with pytest.raises(Conflict) as conflict:
        await orders.put(replace(FACTS, **change), LATER)
    assert conflict.value.details == {"dispute": "d1"}
    assert await stored(log) == []
    renamed = replace(FACTS, title="A red lamp", amount=5, buyer=Party(UserId("b"), "Bob"))
    assert (await orders.put(renamed, LATER)).order.active_dispute == "d1"


# Events that disputes have to hear of


async def test_an_event_of_an_order_without_disputes_is_done_with(orders: Orders) -> None:
    await orders.put(FACTS, NOW)
    assert not (await orders.record_event(FACTS.id, DELIVERED, LATER)).pending
    assert await orders.pending_events(10) == []


async def test_an_event_is_pending_until_it_is_done(database: Database, orders: Orders) -> None:
    await take(database, orders, (await orders.put(FACTS, NOW)).order, "d1")
    await database.transact(lambda session: orders.leave_dispute(FACTS.id, DisputeId("d1"), session))
    second = replace(DELIVERED, id="e0", type=OrderEventType.PAYMENT_REFUNDED, data={"amount": 7})
    assert (await orders.record_event(FACTS.id, DELIVERED, LATER)).pending
    assert (await orders.record_event(FACTS.id, second, LATER + timedelta(seconds=1))).pending
    first = PendingEvent(FACTS.id, DELIVERED, LATER)
    assert await orders.pending_events(10) == [first, PendingEvent(FACTS.id, second, LATER + timedelta(seconds=1))]
    assert await orders.pending_events(1) == [first]
    assert (await orders.record_event(FACTS.id, DELIVERED, LATER)).pending
    await orders.event_done(FACTS.id, "e1")
    await orders.event_done(FACTS.id, "e1")
    assert [pending.event for pending in await orders.pending_events(10)] == [second]
    assert not (await orders.record_event(FACTS.id, DELIVERED, LATER)).pending


async def test_what_is_pending_of_other_orders(database: Database, orders: Orders) -> None:
    for name in ("o1", "o2", "o3"):
        facts = replace(FACTS, id=OrderId(name))
        await take(database, orders, (await orders.put(facts, NOW)).order, f"d-{name}")
        await orders.record_event(OrderId(name), DELIVERED, LATER)
    found = await orders.pending_events(10, [OrderId("o1"), OrderId("o3")])
    assert [pending.order for pending in found] == ["o2"]


async def test_what_is_pending_of_one_order(database: Database, orders: Orders) -> None:
    for name in ("o1", "o10"):
        facts = replace(FACTS, id=OrderId(name))
        await take(database, orders, (await orders.put(facts, NOW)).order, f"d-{name}")
    for number, name in enumerate(("b", "a", "c")):
        event = replace(DELIVERED, id=name)
        await orders.record_event(OrderId("o1"), event, LATER + timedelta(seconds=number))
    await orders.record_event(OrderId("o10"), replace(DELIVERED, id="d"), LATER)
    await orders.event_done(OrderId("o1"), "c")
    assert [event.id for event in await orders.pending_events_of(OrderId("o1"))] == ["b", "a"]
    assert await orders.pending_events_of(OrderId("o")) == []


async def test_since_which_version_an_event_is_part_of_an_order(database: Database, orders: Orders) -> None:
    before = (await orders.put(FACTS, NOW)).order
    after = (await orders.record_event(FACTS.id, DELIVERED, LATER)).order
    assert after.version == before.version + 1 == await orders.version_with(FACTS.id, DELIVERED.id)
    assert await orders.version_with(FACTS.id, "e0") is None
    await database.collection("order_events").update_one({"event_id": DELIVERED.id}, {"$unset": {"version": ""}})
    assert await orders.version_with(FACTS.id, DELIVERED.id) is None, "a release before did not keep it"


async def test_asking_for_pending_events_reads_nothing_else(mongo_url: str, database: Database, orders: Orders) -> None:
    await orders.put(FACTS, NOW)
    for number in range(20):
        await orders.record_event(FACTS.id, replace(DELIVERED, id=f"e{number}"), LATER)
    find = {"find": "order_events", "filter": {"pending": True}, "sort": {"received_at": 1}, "limit": 10}
    with MongoClient[dict[str, Any]](mongo_url) as client:
        plan = client[database.name].command("explain", find, verbosity="executionStats")
    assert plan["executionStats"]["totalKeysExamined"] == plan["executionStats"]["totalDocsExamined"] == 0


async def test_refunds_are_part_of_an_orders_state(orders: Orders) -> None:
    await orders.put(FACTS, NOW)
    for number, amount in enumerate((500, 99)):
        event = OrderEvent(f"r{number}", OrderEventType.PAYMENT_REFUNDED, LATER, {"amount": amount})
        await orders.record_event(FACTS.id, event, LATER)
    order = await orders.get(FACTS.id)
    assert order is not None
    assert order.state.refunded == 599


@pytest.mark.parametrize(
    ("data", "refunded"),
    [
        ({"key": "d1:6"}, 500),
        ({"key": "d1:4"}, 200),
        ({"key": "d1:9"}, 0),
        ({"key": "d1:6", "amount": 700}, 700),
        ({"key": "d2:6"}, 1999),
        ({"key": "other"}, 1999),
        ({}, 1999),
    ],
)
async def test_a_refund_that_names_only_our_key_is_of_what_was_asked_for(
    orders: Orders, database: Database, data: dict[str, Any], refunded: int
) -> None:
    await orders.put(FACTS, NOW)
    earlier = {"key": "d1:4", "refund": 300, "refund_paid": 100}
    state = {"settlement": {"key": "d1:6", "refund": 500, "refund_paid": 0}, "earlier": [earlier]}
    disputes = database.collection("disputes")
    people = {"buyer": "b", "seller": "s", "assignee": None}
    times = {"opened_at": NOW, "queue_at": NOW}
    kept = {**people, **times, "stage": "negotiation", "status": "resolved", "seq": 6, "told": 0, "state": state}
    await disputes.insert_one({"_id": "d1", "order_id": FACTS.id, **kept})
    await disputes.insert_one({"_id": "d2", "order_id": "another", **kept})
    told = await orders.record_event(FACTS.id, OrderEvent("e2", OrderEventType.PAYMENT_REFUNDED, LATER, data), LATER)
    assert told.order.state.refunded == refunded
