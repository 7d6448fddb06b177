"""Claims of agents who vanished, and events of orders that nobody told the disputes of."""

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from chatserver.clock import ShiftedClock
from chatserver.disputes.aftercare import Aftercare
from chatserver.disputes.desk import Desk
from policies.dispute.commands import Escalate, JoinAsAgent, SendMessage
from policies.dispute.state import Dispute
from policies.errors import Unavailable
from policies.order import OrderEvent
from policies.vocabulary import EntryKind, OrderEventType
from storage.client import Database
from tests.chatserver.moving_time import HandClock, Stopwatch
from tests.chatserver.office import AGENT, BUYER, CLAIM_LEASE, HOUR_S, SELLER, Office

JOINED = EntryKind.AGENT_JOINED
LEFT = EntryKind.AGENT_LEFT
LEASE_S = CLAIM_LEASE.total_seconds()


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


@pytest.fixture
def clock(hand: HandClock) -> ShiftedClock:
    return ShiftedClock(hand)


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
async def office(own_database: Database, hand: HandClock) -> AsyncIterator[Office]:
    made = Office(own_database, hand)
    yield made
    await made.close()


@pytest.fixture
def aftercare(office: Office, clock: ShiftedClock, stopwatch: Stopwatch) -> Aftercare:
    return Aftercare(office.desk, office.claims, office.orders, clock, LEASE_S, stopwatch)


@pytest.fixture
async def claimed(office: Office, hand: HandClock) -> Dispute:
    """A dispute that an agent has just claimed."""
    return await claim(office, hand, 1)


async def claim(office: Office, hand: HandClock, number: int) -> Dispute:
    dispute = await office.open(number)
    await office.desk.run(dispute.id, SendMessage(SELLER, office.command_id(), "Let me see."))
    hand.advance(24 * HOUR_S)
    await office.desk.run(dispute.id, Escalate(BUYER, office.command_id(), "Help"))
    await office.desk.run(dispute.id, JoinAsAgent(AGENT, office.command_id()))
    return dispute


async def test_a_claim_lapses_when_its_lease_has_run_out_and_once(
    office: Office, hand: HandClock, aftercare: Aftercare, claimed: Dispute
) -> None:
    hand.advance(LEASE_S - 0.001)
    assert await aftercare.lapse_claims() == 0
    hand.advance(0.001)
    assert await aftercare.lapse_claims() == 1
    assert await aftercare.lapse_claims() == 0
    [left] = [entry for entry in office.announced if entry.kind is LEFT]
    assert left.body["cause"] == "lapsed"
    assert left.body["agent"] == AGENT.id
    assert (await office.desk.state(claimed.id)).agent is None


async def test_a_renewed_claim_stays(office: Office, hand: HandClock, aftercare: Aftercare, claimed: Dispute) -> None:
    hand.advance(LEASE_S / 2)
    await office.claims.renew(AGENT.id, [claimed.id], hand.now() + CLAIM_LEASE)
    hand.advance(LEASE_S - 1)
    assert await aftercare.lapse_claims() == 0
    assert LEFT not in await office.kinds(claimed)


async def test_when_the_sandbox_moves_time_agents_may_renew_their_leases_first(
    office: Office, hand: HandClock, clock: ShiftedClock, stopwatch: Stopwatch, aftercare: Aftercare, claimed: Dispute
) -> None:
    clock.offset = timedelta(days=1)
    assert await aftercare.lapse_claims() == 0
    stopwatch.advance(LEASE_S - 0.1)
    assert await aftercare.lapse_claims() == 0
    stopwatch.advance(0.1)
    hand.advance(LEASE_S)
    assert await aftercare.lapse_claims() == 1
    assert (await office.kinds(claimed)).count(LEFT) == 1


async def test_a_claim_that_cannot_lapse_does_not_keep_the_others(
    office: Office,
    hand: HandClock,
    aftercare: Aftercare,
    claimed: Dispute,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = await claim(office, hand, 2)
    await office.database.collection("disputes").update_one({"_id": claimed.id}, {"$set": {"state.status": "nonsense"}})
    hand.advance(LEASE_S)
    with caplog.at_level(logging.ERROR):
        assert await aftercare.lapse_claims() == 1
    assert (await office.kinds(other)).count(LEFT) == 1


@pytest.fixture
async def left_behind(office: Office, hand: HandClock) -> Dispute:
    """A dispute of whose order an event was recorded by a process that ended right then."""
    dispute = await office.open()
    await report(office, hand, dispute, "e1")
    return dispute


async def report(office: Office, hand: HandClock, dispute: Dispute, name: str) -> None:
    event = OrderEvent(name, OrderEventType.DELIVERED, hand.now())
    assert (await office.orders.record_event(dispute.order.id, event, hand.now())).pending


async def test_a_dispute_hears_of_an_event_that_was_left_behind_and_once(
    office: Office, hand: HandClock, aftercare: Aftercare, left_behind: Dispute
) -> None:
    hand.advance(4.999)
    assert await aftercare.report_events() == 0, "whoever took it in has the time to tell"
    hand.advance(0.001)
    assert await aftercare.report_events() == 1
    assert await aftercare.report_events() == 0
    assert (await office.kinds(left_behind)).count(EntryKind.ORDER_UPDATED) == 1


async def test_an_event_that_cannot_be_told_does_not_keep_the_others(
    office: Office,
    hand: HandClock,
    aftercare: Aftercare,
    left_behind: Dispute,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = await office.open(2)
    await report(office, hand, other, "e2")
    tell = Desk.report_event

    async def fail_for_one(self: Desk, order: Any, event: OrderEvent) -> None:
        if event.id == "e1":
            raise RuntimeError("broken")
        await tell(self, order, event)

    monkeypatch.setattr(Desk, "report_event", fail_for_one)
    hand.advance(5)
    assert await aftercare.report_events() == 1
    assert (await office.kinds(other)).count(EntryKind.ORDER_UPDATED) == 1


async def test_an_order_that_cannot_be_told_is_left_alone_longer_each_time(
    office: Office,
    hand: HandClock,
    stopwatch: Stopwatch,
    aftercare: Aftercare,
    left_behind: Dispute,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its later events wait for the first one; those of other orders, however many fail before them, do not."""
    await report(office, hand, left_behind, "e2")
    other = await office.open(2)
    await report(office, hand, other, "e3")
    tell = Desk.report_event
    tried: list[str] = []

    async def fail_for_one(self: Desk, order: Any, event: OrderEvent) -> None:
        tried.append(event.id)
        if order == left_behind.order.id and failing:
            raise Unavailable("Somebody holds its lock.")
        await tell(self, order, event)

    failing = True
    monkeypatch.setattr(Desk, "report_event", fail_for_one)
    monkeypatch.setattr("chatserver.disputes.aftercare.AT_ONCE", 2)
    hand.advance(5)
    with pytest.raises(Unavailable):
        await aftercare.report_events()
    assert tried == ["e1"]
    assert await aftercare.report_events() == 1
    assert tried == ["e1", "e3"]
    assert (await office.kinds(other)).count(EntryKind.ORDER_UPDATED) == 1
    for pause in (5, 30, 120, 600, 600):
        stopwatch.advance(pause - 0.1)
        assert await aftercare.report_events() == 0
        stopwatch.advance(0.1)
        tried.clear()
        with pytest.raises(Unavailable):
            await aftercare.report_events()
        assert tried == ["e1"]
    failing = False
    stopwatch.advance(600)
    assert await aftercare.report_events() == 2
    assert (await office.kinds(left_behind)).count(EntryKind.ORDER_UPDATED) == 2


async def test_a_database_that_does_not_answer_is_not_asked_for_every_order(
    office: Office, hand: HandClock, aftercare: Aftercare, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await report(office, hand, await office.open(number), "e")
    asked: list[object] = []

    async def silent(_: Desk, order: object, __: object) -> None:
        asked.append(order)
        raise Unavailable("The database did not answer in time.")

    monkeypatch.setattr(Desk, "report_event", silent)
    hand.advance(5)
    with pytest.raises(Unavailable):
        await aftercare.report_events()
    assert len(asked) == 3


async def test_a_silent_database_is_said(
    hand: HandClock, aftercare: Aftercare, left_behind: Dispute, claimed_too: Dispute, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: object) -> None:
        raise Unavailable("The database did not answer in time.")

    monkeypatch.setattr(Desk, "report_event", silent)
    monkeypatch.setattr(Desk, "run", silent)
    hand.advance(LEASE_S)
    with pytest.raises(Unavailable):
        await aftercare.report_events()
    with pytest.raises(Unavailable):
        await aftercare.lapse_claims()


@pytest.fixture
async def claimed_too(office: Office, hand: HandClock, left_behind: Dispute) -> Dispute:
    return await claim(office, hand, 2)
