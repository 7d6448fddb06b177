"""Two desks, as on two processes, at the same moment: of what excludes each other, one happens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from typing import Any

import pytest

from chatserver.disputes.desk import Opened, Ran
from policies.dispute.commands import AcceptProposal, Close, Escalate, JoinAsAgent, MakeProposal, Tick, WithdrawProposal
from policies.dispute.evolve import replay
from policies.dispute.state import Dispute
from policies.errors import ChatError, Conflict, Refused
from policies.vocabulary import OrderEventType, OrderId, Resolution, Stage, Status, WebhookType
from storage.client import Database, MongoConfig, open_database
from tests.chatserver.disputes.desks import AGENT, BUYER, FACTS, HOUR, ORDER, SELLER, SENIOR, Shop, system
from tests.chatserver.moving_time import NOW

ROUNDS = 15


@pytest.fixture
async def shops(own_database: Database, mongo_url: str) -> AsyncIterator[tuple[Shop, Shop]]:
    """The same shop on two processes, with different drivers."""
    other = open_database(MongoConfig(mongo_url, own_database.name, "pymongo", timeout_s=10))
    here = Shop(own_database)
    there = Shop(other, here.clock, commands="d")
    yield here, there
    await there.close()
    await other.close()


async def at_once(*acts: Awaitable[Any]) -> list[Any]:
    """What each came to: a result, or the error that says why not. Anything else is a fault."""
    outcomes = await asyncio.gather(*acts, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, ChatError):
            raise outcome
    return list(outcomes)


async def dispute_number(shop: Shop, number: int) -> Dispute:
    """A new dispute, of an order of its own."""
    order = OrderId(f"{ORDER}-{number}")
    await shop.order(replace(FACTS, id=order))
    return (await shop.open(order=order)).dispute


async def settled(shop: Shop, dispute: Dispute) -> Dispute:
    """What came out: a record that holds, a snapshot that is its replay, an order that agrees with it."""
    state = replay(await shop.entries(dispute))
    current = await shop.disputes.current(dispute.id)
    assert current is not None
    assert current.dispute == state
    order = await shop.orders.get(dispute.order.id)
    assert order is not None
    assert order.active_dispute == (state.id if state.active else None)
    await shop.told(dispute)
    return state


def winners(outcomes: list[Any]) -> list[int]:
    return [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Ran) and outcome.entries]


async def test_an_offer_is_accepted_or_withdrawn(shops: tuple[Shop, Shop]) -> None:
    here, there = shops
    for number in range(ROUNDS):
        dispute = await dispute_number(here, number)
        made = await here.run(dispute.id, MakeProposal(SELLER, here.command(), Resolution.PARTIAL_REFUND, 500))
        assert made.first is not None
        seq = made.first.seq
        first, second = (here, there) if number % 2 else (there, here)
        outcomes = await at_once(
            first.run(dispute.id, AcceptProposal(BUYER, here.command(), seq)),
            second.run(dispute.id, WithdrawProposal(SELLER, there.command(), seq)),
        )
        state = await settled(here, dispute)
        [winner] = winners(outcomes)
        loser = outcomes[1 - winner]
        assert isinstance(loser, Conflict | Refused)
        assert state.status is (Status.RESOLVED if winner == 0 else Status.WAITING_FOR_BUYER)
        refunds = [event for event in await here.told(dispute) if event.type is WebhookType.PAYMENT_REFUND_REQUESTED]
        assert len(refunds) == (winner == 0)


async def test_a_dispute_is_escalated_or_resolved_first(shops: tuple[Shop, Shop]) -> None:
    here, there = shops
    for number in range(ROUNDS):
        here.clock.at = NOW
        dispute = await dispute_number(here, number)
        made = await here.run(dispute.id, MakeProposal(SELLER, here.command(), Resolution.PARTIAL_REFUND, 500))
        assert made.first is not None
        here.clock.advance(25 * 3600)
        outcomes = await at_once(
            here.run(dispute.id, Escalate(BUYER, here.command(), "We do not agree.")),
            there.run(dispute.id, AcceptProposal(BUYER, there.command(), made.first.seq)),
        )
        state = await settled(here, dispute)
        # The parties may still agree in mediation, so both may happen, in this order; never a resolved one escalated.
        assert state.status is Status.RESOLVED
        assert 1 in winners(outcomes)
        assert (state.stage is Stage.MEDIATION) == (0 in winners(outcomes))
        if 0 not in winners(outcomes):
            assert isinstance(outcomes[0], Refused)


async def test_the_clock_and_a_person_at_the_same_moment(shops: tuple[Shop, Shop]) -> None:
    """The seller answers as the time to answer ends: every deadline fires once or not at all."""
    here, there = shops
    for number in range(ROUNDS):
        dispute = await dispute_number(here, number)
        here.clock.at = dispute.attend_by
        here.clock.advance(0.001)
        outcomes = await at_once(
            here.run(dispute.id, Tick(**system("t1"))),
            there.run(dispute.id, Tick(**system("t2"))),
            there.say(dispute.id, SELLER),
        )
        state = await settled(here, dispute)
        assert all(isinstance(outcome, Ran) for outcome in outcomes)
        assert state.stage is Stage.MEDIATION
        assert (await here.kinds(dispute)).count("dispute.escalated") == 1
        escalations = [event for event in await here.told(dispute) if event.type is WebhookType.DISPUTE_ESCALATED]
        assert len(escalations) == 1
        here.clock.at = NOW


async def test_of_two_who_open_a_dispute_one_does(shops: tuple[Shop, Shop]) -> None:
    here, there = shops
    for number in range(ROUNDS):
        order = OrderId(f"{ORDER}-{number}")
        await here.order(replace(FACTS, id=order))
        outcomes = await at_once(*(shop.open(order=order) for shop in (here, there, here, there)))
        [opened] = [outcome for outcome in outcomes if isinstance(outcome, Opened)]
        conflicts = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
        assert [each.details for each in conflicts] == [{"dispute": opened.dispute.id}] * 3
        assert [each.id for each in await here.disputes.of_order(order)] == [opened.dispute.id]
        await settled(here, opened.dispute)


async def test_the_same_key_at_once_is_one_dispute(shops: tuple[Shop, Shop]) -> None:
    here, there = shops
    for number in range(ROUNDS):
        order = OrderId(f"{ORDER}-{number}")
        await here.order(replace(FACTS, id=order))
        outcomes = await at_once(*(shop.open("key", order=order) for shop in (here, there, here, there)))
        assert {outcome.dispute.id for outcome in outcomes} == {outcomes[0].dispute.id}
        assert sorted(outcome.duplicate for outcome in outcomes) == [False, True, True, True]
        await settled(here, outcomes[0].dispute)


async def test_the_same_command_at_once_is_carried_out_once(shops: tuple[Shop, Shop]) -> None:
    here, there = shops
    for number in range(ROUNDS):
        dispute = await dispute_number(here, number)
        offer = MakeProposal(SELLER, here.command(), Resolution.PARTIAL_REFUND, 500)
        outcomes = await at_once(*(shop.run(dispute.id, offer) for shop in (here, there, here)))
        assert sorted(outcome.duplicate for outcome in outcomes) == [False, True, True]
        assert [outcome.first for outcome in outcomes] == [outcomes[0].first] * 3
        await settled(here, dispute)


async def test_of_two_agents_one_gets_the_case(shops: tuple[Shop, Shop]) -> None:
    here, there = shops
    for number in range(ROUNDS):
        dispute = await dispute_number(here, number)
        here.clock.at = NOW + 25 * HOUR
        await here.run(dispute.id, Tick(**system("t")))
        outcomes = await at_once(
            here.run(dispute.id, JoinAsAgent(AGENT, here.command())),
            there.run(dispute.id, JoinAsAgent(SENIOR, there.command())),
        )
        state = await settled(here, dispute)
        [winner] = winners(outcomes)
        assert state.agent is not None
        assert state.agent.id == (AGENT, SENIOR)[winner].id
        assert outcomes[1 - winner].details == {"agent": state.agent.id}
        here.clock.at = NOW


async def test_a_new_dispute_and_an_event_of_the_order_at_once(shops: tuple[Shop, Shop]) -> None:
    """The dispute knows of the event: it was there when the dispute was opened, or it is pending for it."""
    here, there = shops
    for number in range(ROUNDS):
        order = OrderId(f"{ORDER}-{number}")
        await here.order(replace(FACTS, id=order))
        opened, _ = await at_once(here.open(order=order), there.event(OrderEventType.CHARGEBACK_OPENED, order=order))
        for pending in await here.orders.pending_events(10):
            await there.desk.report_event(pending.order, pending.event)
        state = await settled(here, opened.dispute)
        assert state.frozen
        assert await here.orders.pending_events(10) == []


async def test_everybody_at_once(shops: tuple[Shop, Shop]) -> None:
    here, there = shops
    dispute = await dispute_number(here, 0)
    await here.say(dispute.id, SELLER)
    offers = [
        MakeProposal(party, here.command(), Resolution.PARTIAL_REFUND, amount)
        for party, amount in ((SELLER, 100), (BUYER, 900), (SELLER, 200), (BUYER, 800))
    ]
    outcomes = await at_once(
        *(shop.run(dispute.id, offer) for shop, offer in zip((here, there) * 2, offers, strict=True)),
        *(shop.chat(dispute.room, party) for shop in (here, there) for party in (BUYER, SELLER) for _ in range(3)),
        there.run(dispute.id, Close(BUYER, there.command(), "Never mind.")),
    )
    state = await settled(here, dispute)
    assert state.status is Status.WITHDRAWN
    kinds = await here.kinds(dispute)
    assert kinds.count("message") == 13
    assert kinds.count("proposal.made") == len([each for each in outcomes[:4] if isinstance(each, Ran)])
