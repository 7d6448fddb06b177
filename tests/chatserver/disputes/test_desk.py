"""The desk, on a real database: what a command means for the record, the order, the rooms and the outbox."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chatserver.disputes.desk import keyed_id
from chatserver.disputes.ledger import Ledger, Overtaken
from policies.dispute.actions import available_actions
from policies.dispute.commands import (
    AcceptProposal,
    Close,
    Escalate,
    JoinAsAgent,
    LapseClaim,
    LeaveAsAgent,
    MakeProposal,
    Reopen,
    SendMessage,
    Tick,
)
from policies.dispute.evolve import replay
from policies.dispute.state import Dispute
from policies.entry import Draft, Entry
from policies.errors import ChatError, Conflict, Forbidden, NotFound, Refused, Unavailable
from policies.order import OrderEvent
from policies.room import SYSTEM, Party, RoomFacts, staff_room
from policies.vocabulary import (
    CommandId,
    DisputeId,
    EntryKind,
    OrderEventType,
    OrderId,
    Resolution,
    Role,
    RoomKind,
    Seq,
    SettlementStatus,
    Stage,
    Status,
    UserId,
    WebhookType,
)
from storage.chain import link
from storage.client import Database
from storage.disputes import Disputes
from storage.outbox import Outbox
from storage.room_log import RoomLog
from tests.chatserver.disputes.desks import (
    AGENT,
    BUYER,
    FACTS,
    HOUR,
    LEASE,
    ORDER,
    SELLER,
    SENIOR,
    Shop,
    system,
)
from tests.chatserver.moving_time import NOW

TICK = Tick(**system("tick"))


@pytest.fixture
def shop(own_database: Database) -> Shop:
    return Shop(own_database)


async def snapshot(shop: Shop, dispute: Dispute) -> Dispute:
    stored = await shop.disputes.get(dispute.id)
    assert stored is not None
    return stored.dispute


async def active(shop: Shop) -> DisputeId | None:
    order = await shop.orders.get(ORDER)
    assert order is not None
    return order.active_dispute


def offer(shop: Shop, command: str | None = None, **changes: Any) -> MakeProposal:
    made = MakeProposal(SELLER, CommandId(command) if command else shop.command(), Resolution.PARTIAL_REFUND, 500)
    return replace(made, **changes)


# Opening


async def test_opening_makes_everything_that_a_dispute_needs(shop: Shop) -> None:
    await shop.order()
    opened = await shop.open()
    dispute = opened.dispute
    assert not opened.duplicate
    assert await shop.kinds(dispute) == ["dispute.opened", "notice"]
    assert list(opened.entries) == shop.announced == await shop.entries(dispute)
    assert await snapshot(shop, dispute) == dispute == replay(opened.entries)
    assert await active(shop) == dispute.id
    parties = (Party(BUYER.id, BUYER.name), Party(SELLER.id, SELLER.name))
    room = RoomFacts(dispute.room, RoomKind.DISPUTE, ORDER, *parties, NOW, unattended=True)
    assert await shop.rooms.facts(dispute.room) == room
    staff = staff_room(dispute.id)
    assert await shop.rooms.facts(staff) == RoomFacts(staff, RoomKind.STAFF, ORDER, *parties, NOW)
    told = await shop.told(dispute)
    assert [event.type for event in told] == [WebhookType.DISPUTE_OPENED, WebhookType.PAYMENT_HOLD_REQUESTED]
    assert {event.at for event in told} == {NOW}
    assert shop.observed.runs == [("OpenDispute", "done")]


async def test_a_buyer_who_has_talked_first_is_not_nudged(shop: Shop) -> None:
    order = await shop.order()
    await shop.chat(order.room, SELLER)
    await shop.chat(order.room, BUYER)
    assert await shop.kinds((await shop.open()).dispute) == ["dispute.opened"]


async def test_what_the_rules_refuse_writes_nothing(shop: Shop) -> None:
    await shop.order(replace(FACTS, placed_at=NOW))
    with pytest.raises(Refused) as refused:
        await shop.open()
    assert refused.value.details["rule"] == "too_early"
    assert await shop.disputes.of_order(ORDER) == []
    assert shop.observed.runs == [("OpenDispute", "refused")]


async def test_only_the_buyer_of_an_order_that_exists_opens(shop: Shop) -> None:
    with pytest.raises(NotFound):
        await shop.open()
    await shop.order()
    with pytest.raises(Forbidden):
        await shop.open(buyer=SELLER)


async def test_a_second_dispute_is_a_conflict_that_names_the_first(shop: Shop) -> None:
    first = await shop.opened()
    with pytest.raises(Conflict) as conflict:
        await shop.open()
    assert conflict.value.details == {"dispute": first.id}


async def test_after_the_end_of_one_there_may_be_another(shop: Shop) -> None:
    first = await shop.opened()
    await shop.run(first.id, Close(BUYER, shop.command(), "It lights now."))
    assert await active(shop) is None
    second = (await shop.open()).dispute
    assert await active(shop) == second.id != first.id
    assert [each.id for each in await shop.disputes.of_order(ORDER)] == [first.id, second.id]


async def test_the_same_key_is_the_same_dispute(shop: Shop) -> None:
    await shop.order()
    first = await shop.open(key="k1")
    assert first.dispute.id == keyed_id(ORDER, BUYER, "k1")
    again = await shop.open(key="k1")
    assert again.duplicate
    assert again.entries == ()
    assert again.dispute == first.dispute
    assert shop.announced == list(first.entries)
    assert shop.observed.runs[-1] == ("OpenDispute", "duplicate")


async def test_the_same_key_after_the_dispute_went_on(shop: Shop) -> None:
    await shop.order()
    first = await shop.open(key="k1")
    await shop.say(first.dispute.id, SELLER)
    again = await shop.open(key="k1")
    assert again.duplicate
    assert again.dispute.attended_at == NOW


@pytest.mark.parametrize("change", [{"description": "Other"}, {"desired_resolution": Resolution.REPLACEMENT}])
async def test_the_same_key_for_something_else_is_a_conflict(shop: Shop, change: dict[str, Any]) -> None:
    await shop.order()
    first = await shop.open(key="k1")
    with pytest.raises(Conflict) as conflict:
        await shop.open(key="k1", **change)
    assert conflict.value.details == {"dispute": first.dispute.id}


async def test_a_chargeback_that_came_before_is_in_the_dispute_from_the_beginning(shop: Shop) -> None:
    await shop.order()
    await shop.event(OrderEventType.CHARGEBACK_OPENED)
    dispute = (await shop.open()).dispute
    assert dispute.frozen
    assert dispute.stage is Stage.MEDIATION


# Commands


async def test_the_sellers_first_real_message_attends(shop: Shop) -> None:
    dispute = await shop.opened()
    shop.clock.advance(60)
    empty = await shop.say(dispute.id, SELLER, "...")
    assert [entry.kind for entry in empty.entries] == [EntryKind.MESSAGE]
    ran = await shop.say(dispute.id, SELLER, "I am sorry to hear that.")
    assert [entry.kind for entry in ran.entries] == [EntryKind.MESSAGE, EntryKind.DISPUTE_ATTENDED]
    assert ran.first == ran.entries[0]
    assert ran.state.status is Status.WAITING_FOR_BUYER
    assert await snapshot(shop, dispute) == ran.state == await shop.desk.state(dispute.id)
    room = await shop.rooms.facts(dispute.room)
    assert room is not None
    assert not room.unattended
    assert shop.announced[-2:] == list(ran.entries)
    assert [event.type for event in await shop.told(dispute)][2:] == [WebhookType.DISPUTE_ATTENDED]


async def test_what_was_said_the_fast_way_is_decided_upon(shop: Shop) -> None:
    dispute = await shop.opened()
    await shop.say(dispute.id, SELLER)
    shop.clock.advance(3600)
    await shop.chat(dispute.room, BUYER)
    assert (await snapshot(shop, dispute)).seq == 4
    assert (await shop.desk.state(dispute.id)).seq == 5
    ran = await shop.run(dispute.id, offer(shop))
    assert [entry.seq for entry in ran.entries] == [6]
    assert await snapshot(shop, dispute) == replay(await shop.entries(dispute))


async def test_an_agreement_ends_the_dispute_for_the_order_too(shop: Shop) -> None:
    dispute = await shop.opened()
    made = await shop.run(dispute.id, offer(shop))
    assert made.first is not None
    ran = await shop.run(dispute.id, AcceptProposal(BUYER, shop.command(), made.first.seq))
    assert ran.state.status is Status.RESOLVED
    assert await active(shop) is None
    types = [event.type for event in await shop.told(dispute)]
    assert types[-4:] == [
        WebhookType.PROPOSAL_ACCEPTED,
        WebhookType.DISPUTE_RESOLVED,
        WebhookType.PAYMENT_REFUND_REQUESTED,
        WebhookType.PAYMENT_RELEASE_REQUESTED,
    ]


async def test_no_such_dispute(shop: Shop) -> None:
    nothing = DisputeId("0" * 20)
    with pytest.raises(NotFound):
        await shop.say(nothing, BUYER)
    with pytest.raises(NotFound):
        await shop.desk.state(nothing)


async def test_a_refused_command_writes_nothing(shop: Shop) -> None:
    dispute = await shop.opened()
    with pytest.raises(Refused):
        await shop.run(dispute.id, Escalate(BUYER, shop.command(), "Too slow"))
    assert await shop.kinds(dispute) == ["dispute.opened", "notice"]
    assert shop.observed.runs[-1] == ("Escalate", "refused")


async def test_time_never_goes_back_within_a_dispute(shop: Shop) -> None:
    dispute = await shop.opened()
    shop.clock.advance(-3600)
    ran = await shop.say(dispute.id, SELLER)
    assert {entry.at for entry in ran.entries} == {NOW}


async def test_a_snapshot_that_lags_far_behind_is_brought_up_to_date(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatserver.disputes.desk.LAG_MAX", 3)
    dispute = await shop.opened()
    attended = (await shop.say(dispute.id, SELLER)).state
    for _ in range(2):
        await shop.chat(dispute.room, BUYER)
    assert (await shop.desk.state(dispute.id)).seq == 6
    assert await snapshot(shop, dispute) == attended
    await shop.chat(dispute.room, BUYER)
    state = await shop.desk.state(dispute.id)
    assert await snapshot(shop, dispute) == state
    assert state.seq == 7
    assert len((await shop.run(dispute.id, offer(shop))).entries) == 1


# Retries


async def test_a_command_sent_again_gets_the_first_answer(shop: Shop) -> None:
    dispute = await shop.opened()
    made = await shop.run(dispute.id, offer(shop, "c"))
    shop.clock.advance(60)  # so that the second one would expire later
    again = await shop.run(dispute.id, offer(shop, "c"))
    assert again.duplicate
    assert again.entries == ()
    assert again.first == made.first
    assert again.state == made.state
    assert shop.observed.runs[-1] == ("MakeProposal", "duplicate")


async def test_a_command_that_would_be_refused_by_now_gets_the_first_answer_too(shop: Shop) -> None:
    dispute = await shop.opened()
    close = Close(BUYER, shop.command(), "It lights now.")
    first = await shop.run(dispute.id, close)
    again = await shop.run(dispute.id, close)
    assert again.duplicate
    assert again.first == first.first
    shop.clock.advance(48 * 3600)
    await shop.run(dispute.id, TICK)
    assert (await shop.desk.state(dispute.id)).closed
    assert (await shop.run(dispute.id, close)).duplicate


async def test_a_command_id_used_for_something_else_is_a_conflict(shop: Shop) -> None:
    dispute = await shop.opened()
    await shop.run(dispute.id, offer(shop, "c"))
    with pytest.raises(Conflict) as conflict:
        await shop.run(dispute.id, offer(shop, "c", amount=600))
    assert conflict.value.details == {"seq": 3}
    with pytest.raises(Conflict):
        await shop.run(dispute.id, SendMessage(SELLER, CommandId("c"), "hello"))


async def test_a_refused_command_under_a_used_id_is_refused(shop: Shop) -> None:
    dispute = await shop.opened()
    await shop.run(dispute.id, Close(BUYER, CommandId("c"), "It lights now."))
    with pytest.raises(ChatError):
        await shop.run(dispute.id, Close(BUYER, CommandId("c"), "Another reason."))


# Withdrawing and reopening


async def test_a_reopened_dispute_is_the_orders_active_one_again(shop: Shop) -> None:
    dispute = await shop.opened()
    await shop.run(dispute.id, Close(BUYER, shop.command(), "It lights now."))
    ran = await shop.run(dispute.id, Reopen(BUYER, shop.command(), "No, it does not."))
    assert ran.state.active
    assert await active(shop) == dispute.id


async def test_while_another_is_active_none_is_reopened(shop: Shop) -> None:
    first = await shop.opened()
    await shop.run(first.id, Close(BUYER, shop.command(), "It lights now."))
    second = (await shop.open()).dispute
    with pytest.raises(Conflict) as conflict:
        await shop.run(first.id, Reopen(BUYER, shop.command(), "No, it does not."))
    assert conflict.value.details == {"dispute": second.id}
    assert await active(shop) == second.id
    assert (await shop.desk.state(first.id)).status is Status.WITHDRAWN


async def test_after_a_newer_one_none_is_reopened(shop: Shop) -> None:
    """It is over too, but it may have asked for the same money. The conflict says which one it is."""
    first = await shop.opened()
    await shop.run(first.id, Close(BUYER, shop.command(), "It lights now."))
    second = (await shop.open()).dispute
    await shop.run(second.id, Close(BUYER, shop.command(), "It does light."))
    assert "dispute.reopen" in {
        each.action
        for each in available_actions(await shop.desk.state(first.id), Role.BUYER, BUYER.id, shop.clock.now())
    }
    with pytest.raises(Conflict) as conflict:
        await shop.run(first.id, Reopen(BUYER, shop.command(), "No, it does not."))
    assert conflict.value.details == {"dispute": second.id}
    assert await active(shop) is None


async def test_a_dispute_of_other_people_is_not_reopened(shop: Shop) -> None:
    dispute = await shop.opened()
    await shop.run(dispute.id, Close(BUYER, shop.command(), "It lights now."))
    await shop.orders.put(replace(FACTS, buyer=Party(UserId("cy"), "Cy")), NOW)
    with pytest.raises(Conflict) as conflict:
        await shop.run(dispute.id, Reopen(BUYER, shop.command(), "No, it does not."))
    assert conflict.value.details == {}
    room = await shop.rooms.facts(dispute.room)
    assert room is not None
    assert room.buyer == Party(BUYER.id, BUYER.name)


# The clock


async def test_a_deadline_that_has_passed_fires(shop: Shop) -> None:
    dispute = await shop.opened()
    shop.clock.advance(24 * 3600)
    ran = await shop.run(dispute.id, TICK)  # the deadline itself is still in time; the reminder is due
    assert [entry.kind for entry in ran.entries] == [EntryKind.DEADLINE_APPROACHING]
    shop.clock.advance(0.001)
    ran = await shop.run(dispute.id, TICK)
    assert [entry.kind for entry in ran.entries] == [EntryKind.DISPUTE_ESCALATED]
    assert ran.first is None
    assert (await shop.run(dispute.id, TICK)).entries == ()
    assert shop.observed.runs[-1] == ("Tick", "nothing")


async def test_a_look_too_early_sets_the_next_time(shop: Shop) -> None:
    dispute = await shop.opened()
    await shop.say(dispute.id, SELLER)
    before = await shop.disputes.next_due()
    shop.clock.advance(10 * 3600)
    await shop.chat(dispute.room, BUYER)
    assert await shop.disputes.next_due() == before
    ran = await shop.run(dispute.id, TICK)
    assert ran.entries == ()
    assert before is not None
    assert await shop.disputes.next_due() == before + 10 * HOUR
    assert await snapshot(shop, dispute) == ran.state


async def test_a_closed_room_is_closed_for_everybody(shop: Shop) -> None:
    dispute = await shop.opened()
    await shop.run(dispute.id, Close(BUYER, shop.command(), "It lights now."))
    shop.clock.advance(24 * 3600 + 1)
    await shop.run(dispute.id, TICK)
    room = await shop.rooms.facts(dispute.room)
    assert room is not None
    assert room.closed


# Claims


async def escalated(shop: Shop) -> Dispute:
    dispute = await shop.opened()
    shop.clock.advance(25 * 3600)
    return (await shop.run(dispute.id, TICK)).state


async def test_a_claim_is_a_lease_that_lapses(shop: Shop) -> None:
    dispute = await escalated(shop)
    await shop.run(dispute.id, JoinAsAgent(AGENT, shop.command()))
    until = shop.clock.now() + LEASE
    [claim] = await shop.claims.expired(until, 10)
    assert (claim.dispute, claim.agent, claim.expires_at) == (dispute.id, AGENT.id, until)
    lapse = LapseClaim(**system("lapse"), agent=AGENT.id)
    assert (await shop.run(dispute.id, lapse)).entries == ()
    shop.clock.advance(LEASE.total_seconds())
    ran = await shop.run(dispute.id, lapse)
    assert [entry.kind for entry in ran.entries] == [EntryKind.AGENT_LEFT]
    assert ran.state.agent is None
    assert await shop.claims.expired(until, 10) == []


async def test_a_claim_renewed_at_the_last_moment_does_not_lapse(shop: Shop) -> None:
    dispute = await escalated(shop)
    await shop.run(dispute.id, JoinAsAgent(AGENT, shop.command()))
    shop.clock.advance(LEASE.total_seconds())
    await shop.claims.renew(AGENT.id, [dispute.id], shop.clock.now() + LEASE)
    ran = await shop.run(dispute.id, LapseClaim(**system("lapse"), agent=AGENT.id))
    assert ran.entries == ()
    assert (await shop.desk.state(dispute.id)).agent is not None


async def test_who_leaves_has_no_lease_and_who_takes_over_has_it(shop: Shop) -> None:
    dispute = await escalated(shop)
    await shop.run(dispute.id, JoinAsAgent(AGENT, shop.command()))
    await shop.run(dispute.id, JoinAsAgent(SENIOR, shop.command(), take_over=True))
    [claim] = await shop.claims.expired(shop.clock.now() + LEASE, 10)
    assert claim.agent == SENIOR.id
    await shop.run(dispute.id, LeaveAsAgent(SENIOR, shop.command()))
    assert await shop.claims.expired(shop.clock.now() + LEASE, 10) == []


# Events of the order


async def test_an_event_is_told_to_the_active_dispute_and_then_done(shop: Shop) -> None:
    dispute = await shop.opened()
    event = await shop.event(OrderEventType.CHARGEBACK_OPENED)
    assert [pending.event for pending in await shop.orders.pending_events(10)] == [event]
    await shop.desk.report_event(ORDER, event)
    assert await shop.orders.pending_events(10) == []
    state = await shop.desk.state(dispute.id)
    assert state.frozen
    assert state.stage is Stage.MEDIATION
    await shop.desk.report_event(ORDER, event)  # what a crash before ``event_done`` leads to
    assert (await shop.desk.state(dispute.id)).seq == state.seq


async def test_an_order_without_disputes_has_nothing_pending(shop: Shop) -> None:
    await shop.order()
    event = await shop.event(OrderEventType.DELIVERED)
    assert await shop.orders.pending_events(10) == []
    await shop.desk.report_event(ORDER, event)
    await shop.desk.report_event(OrderId("none"), event)


async def paid(shop: Shop, key: str, name: str = "e9") -> None:
    for kind in (OrderEventType.PAYMENT_REFUNDED, OrderEventType.PAYMENT_RELEASED):
        data: dict[str, Any] = {"amount": 500} if kind is OrderEventType.PAYMENT_REFUNDED else {}
        suffix = "" if kind is OrderEventType.PAYMENT_REFUNDED else ":release"
        event = await shop.event(kind, f"{name}-{kind}", key=f"{key}{suffix}", **data)
        await shop.desk.report_event(ORDER, event)


async def test_a_payment_is_told_to_the_dispute_that_asked_for_it(shop: Shop) -> None:
    first = await shop.opened()
    made = await shop.run(first.id, offer(shop))
    assert made.first is not None
    ended = await shop.run(first.id, AcceptProposal(BUYER, shop.command(), made.first.seq))
    assert ended.state.settlement is not None
    second = (await shop.open()).dispute
    await paid(shop, ended.state.settlement.key)
    settlement = (await shop.desk.state(first.id)).settlement
    assert settlement is not None
    assert settlement.status is SettlementStatus.DONE
    assert (await shop.desk.state(second.id)).refunded == 500
    order = await shop.orders.get(ORDER)
    assert order is not None
    assert order.state.refunded == 500


async def happened(shop: Shop, kind: OrderEventType, name: str, **data: Any) -> None:
    await shop.desk.report_event(ORDER, await shop.event(kind, name, **data))


async def ended_at(shop: Shop, dispute: Dispute) -> Seq:
    return next(entry.seq for entry in await shop.entries(dispute) if entry.kind is EntryKind.DISPUTE_WITHDRAWN)


async def test_a_chargeback_is_told_to_every_dispute_in_which_money_may_move(shop: Shop) -> None:
    first = await shop.opened()
    await shop.run(first.id, Close(BUYER, shop.command(), "It lights now."))
    shop.clock.advance(60)
    await happened(shop, OrderEventType.CHARGEBACK_OPENED, "b1")
    second = (await shop.open()).dispute
    assert [(await shop.desk.state(each.id)).frozen for each in (first, second)] == [True, True]
    shop.clock.advance(60)
    await happened(shop, OrderEventType.CHARGEBACK_WON, "b2")
    assert [(await shop.desk.state(each.id)).frozen for each in (first, second)] == [False, False]
    shop.clock.advance(400 * HOUR.total_seconds())
    assert (await shop.run(first.id, Tick(**system("tick")))).state.closed
    before = await shop.kinds(first)
    await happened(shop, OrderEventType.PAYMENT_RELEASED, "p", key=f"{first.id}:{await ended_at(shop, first)}")
    shop.clock.advance(60)
    await happened(shop, OrderEventType.CHARGEBACK_OPENED, "b3")
    assert (await shop.kinds(first))[len(before) :] == ["order.updated"], "closed and settled, it hears of no bank"
    assert (await shop.desk.state(second.id)).frozen


async def test_a_failed_refund_of_an_earlier_dispute_waits_for_the_bank_too(shop: Shop) -> None:
    first = await shop.opened()
    offer = await shop.run(first.id, MakeProposal(SELLER, shop.command(), Resolution.PARTIAL_REFUND, 500))
    assert offer.first is not None
    state = (await shop.run(first.id, AcceptProposal(BUYER, shop.command(), offer.first.seq))).state
    assert state.settlement is not None
    await happened(shop, OrderEventType.PAYMENT_FAILED, "f", key=state.settlement.key)
    second = (await shop.open()).dispute
    shop.clock.advance(60)
    await happened(shop, OrderEventType.CHARGEBACK_OPENED, "b1")
    told = len(await shop.told(first))
    shop.clock.advance(7 * HOUR.total_seconds())
    await shop.run(first.id, Tick(**system("tick")))
    assert [event.type for event in (await shop.told(first))[told:]] == [], "nobody asks while the bank decides"
    assert (await shop.desk.state(second.id)).frozen


async def agreed(shop: Shop, amount: int) -> Dispute:
    """A dispute that has ended with a partial refund being asked for."""
    opened = await shop.opened()
    offer = await shop.run(opened.id, MakeProposal(SELLER, shop.command(), Resolution.PARTIAL_REFUND, amount))
    assert offer.first is not None
    return (await shop.run(opened.id, AcceptProposal(BUYER, shop.command(), offer.first.seq))).state


async def test_a_refund_that_no_dispute_has_heard_of_is_counted_once_by_a_new_one(shop: Shop) -> None:
    """Whoever took the event in has ended right then, and comes back after the opening."""
    first = await agreed(shop, 500)
    assert first.settlement is not None
    event = await shop.event(OrderEventType.PAYMENT_REFUNDED, "p", key=first.settlement.key, amount=500)
    second = (await shop.open()).dispute
    assert await shop.orders.pending_events(10) == []
    for _ in range(2):
        await shop.desk.report_event(ORDER, event)
        assert (await shop.desk.state(second.id)) == second
    assert (second.refunded, second.asked, second.refundable) == (500, 0, FACTS.amount - 500)
    told = (await shop.desk.state(first.id)).settlement
    assert told is not None
    assert told.refund_done


async def test_an_event_after_the_opening_is_told(shop: Shop) -> None:
    await shop.order()
    await shop.event(OrderEventType.PAYMENT_REFUNDED, "e1", amount=100)
    dispute = (await shop.open()).dispute
    await happened(shop, OrderEventType.PAYMENT_REFUNDED, "e2", amount=100)
    assert (dispute.refunded, (await shop.desk.state(dispute.id)).refunded) == (100, 200)


async def test_an_event_while_a_dispute_is_being_opened(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is another one then: it is read anew, and what happened is told to the dispute before first."""
    first = await agreed(shop, 500)
    assert first.settlement is not None
    key = first.settlement.key
    write = Ledger.open
    events: list[OrderEvent] = []

    async def late(self: Ledger, *args: Any) -> Dispute:
        if not events:
            events.append(await shop.event(OrderEventType.PAYMENT_REFUNDED, "p", key=key, amount=500))
        return await write(self, *args)

    monkeypatch.setattr(Ledger, "open", late)
    second = (await shop.open()).dispute
    await shop.desk.report_event(ORDER, events[0])
    assert await shop.desk.state(second.id) == second
    assert (second.refunded, second.asked) == (500, 0)


async def test_an_event_may_have_any_id(shop: Shop) -> None:
    """Those of the server's own entries are none that an event's could make."""
    await shop.order()
    await shop.event(OrderEventType.CHARGEBACK_OPENED, "b1")
    dispute = (await shop.open()).dispute
    for number, name in enumerate(("opening", "chargeback", "frozen", "1")):
        shop.clock.advance(60)
        await happened(shop, OrderEventType.CHARGEBACK_WON, f"won{number}")
        assert not (await shop.desk.state(dispute.id)).frozen
        shop.clock.advance(60)
        await happened(shop, OrderEventType.CHARGEBACK_OPENED, name)
        assert (await shop.desk.state(dispute.id)).frozen
    assert await shop.orders.pending_events(10) == []


async def test_a_key_of_another_orders_dispute_concerns_nobody(shop: Shop) -> None:
    dispute = await shop.opened()
    await shop.order(replace(FACTS, id=OrderId("4712")))
    other = (await shop.open(order=OrderId("4712"))).dispute
    event = await shop.event(OrderEventType.PAYMENT_HELD, key=f"{other.id}:1:hold")
    await shop.desk.report_event(ORDER, event)
    assert (await shop.desk.state(other.id)).seq == other.seq
    assert (await shop.desk.state(dispute.id)).seq == dispute.seq + 1


async def test_a_dispute_that_refuses_an_event_does_not_keep_it_pending(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.opened()
    event = await shop.event(OrderEventType.DELIVERED)

    def refuse(*_: object) -> None:
        raise Refused("no", details={"rule": "none"})

    monkeypatch.setattr("chatserver.disputes.desk.decide", refuse)
    await shop.desk.report_event(ORDER, event)
    assert await shop.orders.pending_events(10) == []


async def test_an_event_that_could_not_be_told_stays_pending(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.opened()
    event = await shop.event(OrderEventType.DELIVERED)

    def fail(*_: object) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr("chatserver.disputes.desk.decide", fail)
    with pytest.raises(Unavailable):
        await shop.desk.report_event(ORDER, event)
    assert [pending.event for pending in await shop.orders.pending_events(10)] == [event]


# While a dispute is active


@pytest.mark.parametrize(
    "change",
    [{"buyer": Party(UserId("cy"), "Cy")}, {"seller": replace(FACTS.seller, id=UserId("dan"))}, {"currency": "USD"}],
)
async def test_parties_and_currency_stay_as_they_are(shop: Shop, change: dict[str, Any]) -> None:
    dispute = await shop.opened()
    with pytest.raises(Conflict) as conflict:
        await shop.orders.put(replace(FACTS, **change), NOW)
    assert conflict.value.details == {"dispute": dispute.id}
    await shop.run(dispute.id, Close(BUYER, shop.command(), "It lights now."))
    assert (await shop.orders.put(replace(FACTS, **change), NOW)).changes.fields


async def test_all_else_may_be_corrected(shop: Shop) -> None:
    dispute = await shop.opened()
    corrected = replace(FACTS, title="A red lamp", amount=2500, buyer=Party(BUYER.id, "Bo B."))
    assert (await shop.orders.put(corrected, NOW)).order.active_dispute == dispute.id
    assert (await shop.desk.state(dispute.id)).order.amount == 1999


# Faults


class Broken(Exception):
    """A step failed."""


STEPS = [
    (Disputes, "advance"),
    (Outbox, "put"),
    (Ledger, "_tell_order"),
]


@pytest.mark.parametrize(("part", "method"), STEPS)
async def test_when_a_step_fails_nothing_was_done(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, part: type, method: str
) -> None:
    dispute = await shop.opened()
    before = await snapshot(shop, dispute)
    told = await shop.told(dispute)

    async def fail(*_: object) -> None:
        raise Broken

    close = Close(BUYER, shop.command(), "It lights now.")
    with monkeypatch.context() as patch:
        patch.setattr(part, method, fail)
        with pytest.raises(Broken):
            await shop.run(dispute.id, close)
    assert await snapshot(shop, dispute) == before == replay(await shop.entries(dispute))
    assert await shop.told(dispute) == told
    assert await active(shop) == dispute.id
    assert not (await shop.run(dispute.id, close)).duplicate


@pytest.mark.parametrize(("part", "method"), [(Disputes, "create"), (Outbox, "put")])
async def test_when_a_step_of_opening_fails_there_is_no_dispute(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, part: type, method: str
) -> None:
    await shop.order()

    async def fail(*_: object) -> None:
        raise Broken

    with monkeypatch.context() as patch:
        patch.setattr(part, method, fail)
        with pytest.raises(Broken):
            await shop.open(key="k")
    name = keyed_id(ORDER, BUYER, "k")
    assert await shop.disputes.get(name) is None
    assert await shop.rooms.facts(staff_room(name)) is None
    assert await active(shop) is None
    assert not (await shop.open(key="k")).duplicate


async def test_a_command_whose_caller_went_away_is_finished_and_told(shop: Shop) -> None:
    dispute = await shop.opened()
    waiting = asyncio.ensure_future(shop.say(dispute.id, SELLER))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await shop.close()
    assert await shop.kinds(dispute) == ["dispute.opened", "notice", "message", "dispute.attended"]
    assert [entry.seq for entry in shop.announced] == [1, 2, 3, 4]


async def test_a_failure_that_nobody_waits_for_is_no_noise(shop: Shop) -> None:
    waiting = asyncio.ensure_future(shop.say(DisputeId("0" * 20), SELLER))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await shop.close()


async def test_entries_that_cannot_be_announced_are_written_all_the_same(shop: Shop) -> None:
    dispute = await shop.opened()

    async def silent(_: Sequence[Entry]) -> None:
        raise Unavailable("Redis is away")

    shop.desk._announce = silent
    ran = await shop.say(dispute.id, SELLER)
    assert await snapshot(shop, dispute) == ran.state


async def test_a_dispute_that_never_stands_still_is_given_up_for_now(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispute = await shop.opened()
    await shop.say(dispute.id, SELLER)
    current = Disputes.current

    async def overtaken(self: Disputes, name: DisputeId) -> Any:
        found = await current(self, name)
        await shop.chat(dispute.room, BUYER)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Disputes, "current", overtaken)
        patch.setattr("chatserver.disputes.desk.ATTEMPTS", 3)
        with pytest.raises(Unavailable) as busy:
            await shop.run(dispute.id, offer(shop))
    assert busy.value.retry_after_ms == 1000
    assert shop.observed.lost == 3
    assert shop.observed.runs[-1] == ("MakeProposal", "unavailable")


async def test_an_order_that_never_stands_still_is_given_up_for_now(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.order()
    talked = RoomLog.has_message_of
    titles = iter(range(100))

    async def overtaken(self: RoomLog, *arguments: Any) -> bool:
        await shop.orders.put(replace(FACTS, title=f"title {next(titles)}"), NOW)
        return await talked(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RoomLog, "has_message_of", overtaken)
        patch.setattr("chatserver.disputes.desk.ATTEMPTS", 3)
        with pytest.raises(Unavailable):
            await shop.open()
    assert await shop.disputes.of_order(ORDER) == []


async def test_a_first_answer_that_cannot_be_read_yet(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    dispute = await shop.opened()
    await shop.run(dispute.id, offer(shop, "c"))

    async def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(RoomLog, "find", nothing)
    with pytest.raises(Unavailable) as unavailable:
        await shop.run(dispute.id, offer(shop, "c"))
    assert unavailable.value.retry_after_ms == 200


async def test_a_snapshot_that_is_ahead_is_not_overwritten(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot is never behind what it was; if it were ahead of the log, nothing may be built on it."""
    dispute = await shop.opened()
    await shop.database.collection("disputes").update_one({"_id": dispute.id}, {"$set": {"seq": 99}})
    monkeypatch.setattr("chatserver.disputes.desk.ATTEMPTS", 2)
    with pytest.raises(Unavailable):
        await shop.say(dispute.id, SELLER)
    assert [entry.seq for entry in await shop.entries(dispute)] == [1, 2]


async def test_a_change_between_reading_the_snapshot_and_the_entries_is_noticed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is right then, but not how much of it was told: the same number would be given to two events."""
    dispute = await shop.opened()
    get = Disputes.get

    async def slowly(self: Disputes, name: DisputeId) -> Any:
        stored = await get(self, name)
        monkeypatch.undo()
        await shop.say(dispute.id, SELLER)
        return stored

    monkeypatch.setattr(Disputes, "get", slowly)
    await shop.run(dispute.id, offer(shop))
    assert shop.observed.lost == 1
    assert [event.type for event in await shop.told(dispute)][2:] == [
        WebhookType.DISPUTE_ATTENDED,
        WebhookType.PROPOSAL_MADE,
    ]


async def test_several_disputes_at_once_are_written_all_or_none(shop: Shop) -> None:
    dispute = await shop.opened()
    current = await shop.disputes.current(dispute.id)
    assert current is not None
    draft = Draft(SYSTEM, CommandId("n"), EntryKind.NOTICE, {"notice": "room_closed"})
    entries = link(dispute.room, current.head, [draft], NOW, lambda: bytes(16))
    with pytest.raises(Overtaken):
        await shop.ledger.write_each([(replace(current, told=current.told + 1), entries)])
    assert await snapshot(shop, dispute) == dispute
    await shop.ledger.write_each([(current, entries)])
    assert (await snapshot(shop, dispute)).closed
    assert await shop.entries(dispute) == [*shop.announced, *entries]


async def test_a_dispute_begins_with_an_entry(shop: Shop) -> None:
    with pytest.raises(ValueError, match="begins with an entry"):
        await shop.ledger.open(await shop.order(), [])


async def test_the_system_is_the_author_of_what_follows(shop: Shop) -> None:
    dispute = await shop.opened()
    ran = await shop.say(dispute.id, SELLER)
    assert [entry.author for entry in ran.entries] == [SELLER, SYSTEM]
    assert ran.entries[1].body["entry"] == Seq(3)


async def test_a_stray_time_is_cut_to_what_the_record_keeps(shop: Shop) -> None:
    await shop.order()
    shop.clock.at = NOW + timedelta(microseconds=1_999)
    dispute = (await shop.open()).dispute
    assert dispute.opened_at == NOW + timedelta(milliseconds=1)
    assert await snapshot(shop, dispute) == dispute
