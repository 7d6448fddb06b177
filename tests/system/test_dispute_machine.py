"""Random play against the real store: two desks, as on two processes with different drivers, act at the same moments.

What a dispute may do is tried on the rules alone (tests/policies/dispute/test_machine.py). Here it is whether the store
keeps to it when everything happens at once: retries, crossing answers, two workers, events told twice, messages on the
fast path, and a second dispute of the same order.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any, Final

import pytest

from chatserver.disputes import desk
from chatserver.disputes.desk import Ran
from chatserver.disputes.snapshots import check_snapshot
from policies.dispute.commands import Command, SendMessage, Tick
from policies.dispute.effects import told
from policies.dispute.evolve import evolve, replay
from policies.dispute.policy import Opening, Policy, Terms
from policies.dispute.state import Dispute
from policies.entry import Author, Draft, Entry
from policies.errors import ChatError
from policies.order import OrderEvent, OrderFacts
from policies.room import SYSTEM
from policies.vocabulary import (
    CommandId,
    DisputeId,
    EntryKind,
    OrderEventType,
    OrderId,
    Reason,
    Resolution,
    TrustLevel,
    WebhookType,
)
from storage import schema
from storage.chain import link
from storage.client import Database, MongoConfig, open_database
from tests.chatserver.disputes.desks import Shop
from tests.policies.dispute.moves import a_likely_move, an_event, any_move, is_explained
from tests.policies.dispute.story import BUYER, FACTS, SELLER
from tests.policies.dispute.test_machine import AUTHORS

PLAYS: Final = 6
STEPS: Final = 25
MOST_AT_ONCE: Final = 4
HOUR: Final = timedelta(hours=1)
MONEY: Final = frozenset({WebhookType.PAYMENT_REFUND_REQUESTED, WebhookType.PAYMENT_RELEASE_REQUESTED})

Act = Callable[[], Awaitable[Any]]


@pytest.fixture
async def shops(mongo_url: str) -> AsyncIterator[tuple[Shop, Shop]]:
    name = f"machine_{os.urandom(6).hex()}"
    here: Database = open_database(MongoConfig(mongo_url, name, timeout_s=10))
    there: Database = open_database(MongoConfig(mongo_url, name, "pymongo", timeout_s=10))
    await schema.migrate(here)
    one = Shop(here)
    two = Shop(there, one.clock, commands="d")
    yield one, two
    await one.close()
    await two.close()
    await here.drop()
    await here.close()
    await there.close()


async def test_whatever_happens_at_once_the_record_holds(shops: tuple[Shop, Shop]) -> None:
    done: Counter[str] = Counter()
    for number in range(PLAYS):
        play = Play(shops, Random(number))
        await play.begin()
        for _ in range(STEPS):
            await play.step()
            play.time_passes()
        await play.settle()
        done += play.done
    assert {"written", "answered again", "reported", "refused", "opened again"} <= done.keys()
    assert done["written"] > PLAYS * STEPS / 2


class Play:
    """One order and its disputes."""

    def __init__(self, shops: tuple[Shop, Shop], dice: Random) -> None:
        self.shops = shops
        self.clock = shops[0].clock
        self.dice = dice
        self.order = OrderId(f"o{dice.getrandbits(64)}")
        self.facts: OrderFacts = replace(FACTS, id=self.order, placed_at=self.clock.now() - 48 * HOUR)
        self.disputes: list[DisputeId] = []
        self.answered: list[tuple[DisputeId, Command, Entry]] = []
        self.done: Counter[str] = Counter()
        self.numbers = 0
        terms = {"settle": dice.choice(("at_once", "when_final")), "second_person_above": {"EUR": 6000}}
        always = Opening(windows=dict.fromkeys(TrustLevel, timedelta(days=3000)))
        for shop in shops:
            shop.policy = Policy(opening=always, terms=Terms.model_validate(terms))

    @property
    def shop(self) -> Shop:
        """Either process."""
        return self.dice.choice(self.shops)

    async def begin(self) -> None:
        await self.shop.order(self.facts)
        await self.open()
        assert len(self.disputes) == 1

    async def open(self) -> None:
        """Both processes open one at the same moment. When none is active, one of them does."""
        await asyncio.gather(*(self.open_at(shop) for shop in self.shops))

    async def open_at(self, shop: Shop) -> None:
        opening = desk.Opening(self.order, BUYER, Reason.DEFECTIVE, "The lamp does not work.", Resolution.REPLACEMENT)
        try:
            opened = await shop.desk.open(opening)
        except ChatError as error:
            self.refused(error)
            return
        if self.disputes:
            self.done["opened again"] += 1
        self.disputes.append(opened.dispute.id)

    # Steps

    async def step(self) -> None:
        """One to four things at once, each decided on what could be read a moment before."""
        dispute = self.dice.choice(self.disputes[-2:])
        state = await self.shop.desk.state(dispute)
        acts = [self.act(state) for _ in range(self.dice.randint(1, MOST_AT_ONCE))]
        await asyncio.gather(*(act() for act in acts))

    def act(self, state: Dispute) -> Act:
        kind = self.dice.randint(0, 19)
        if not state.active and not self.dice.randint(0, 2):
            return self.open
        if kind < 10:
            move = a_likely_move(self.dice, state, self.clock.now())
            return self.nothing if move is None else self.moving(state, *move)
        if kind < 13:
            return self.moving(state, *any_move(self.dice))
        if kind < 15:
            return self.reporting(state)
        if kind < 16:
            return self.open
        if kind < 17 and self.answered:
            return self.again(*self.dice.choice(self.answered))
        if kind < 18 and state.active:
            return self.chatting(state)
        return self.working(state)

    async def nothing(self) -> None:
        """Nobody may do anything."""

    def moving(self, state: Dispute, author: Author, kind: type[Any], fields: dict[str, Any]) -> Act:
        self.numbers += 1
        command = kind(author, CommandId(f"c{self.numbers}"), **fields)
        shop = self.shop
        return lambda: self.run(shop, state.id, command)

    def working(self, state: Dispute) -> Act:
        """Both workers come at once."""

        async def work() -> None:
            for _ in range(2):
                ticks = [self.run(shop, state.id, Tick(SYSTEM, CommandId("tick"))) for shop in self.shops]
                await asyncio.gather(*ticks)

        return work

    def reporting(self, state: Dispute) -> Act:
        """The marketplace reports an event, and both processes tell the dispute."""
        kind, at, data = an_event(self.dice, [state], self.clock.now())
        if kind is OrderEventType.CANCELED:  # then nothing could be opened again
            kind = OrderEventType.DELIVERED
        self.numbers += 1
        event = OrderEvent(f"e{self.numbers}", kind, at, data)

        async def report() -> None:
            await self.shops[0].orders.record_event(self.order, event, self.clock.now())
            await asyncio.gather(*(shop.desk.report_event(self.order, event) for shop in self.shops))
            self.done["reported"] += 1

        return report

    def chatting(self, state: Dispute) -> Act:
        """A message on the fast path; the seller's takes the desk's until they have attended."""
        author = self.dice.choice((BUYER, SELLER))
        text = f"Message {self.dice.randint(0, 9)}"
        if author is SELLER and state.attended_at is None:
            return self.moving(state, author, SendMessage, {"text": text})
        shop = self.shop
        self.numbers += 1
        draft = Draft(author, CommandId(f"m{self.numbers}"), EntryKind.MESSAGE, {"text": text})

        async def chat() -> None:
            while True:
                head = await shop.log.head(state.room)
                at = self.clock.now()
                entries = link(state.room, head, [draft], at, lambda: os.urandom(16))
                if (await shop.log.submit(entries)).failure is None:
                    return

        return chat

    def again(self, dispute: DisputeId, command: Command, first: Entry) -> Act:
        """A person who did not see the answer sends it again, maybe to the other process."""
        shop = self.shop

        async def retry() -> None:
            ran = await shop.run(dispute, command)
            assert ran.duplicate
            assert ran.first is not None
            assert ran.first.seq == first.seq
            self.done["answered again"] += 1

        return retry

    async def run(self, shop: Shop, dispute: DisputeId, command: Command) -> None:
        try:
            ran: Ran = await shop.run(dispute, command)
        except ChatError as error:
            self.refused(error)
            return
        if ran.entries:
            self.done["written"] += 1
        if ran.first is not None:
            self.answered.append((dispute, command, ran.first))

    def refused(self, error: ChatError) -> None:
        assert is_explained(error), error.message
        self.done["refused"] += 1

    def time_passes(self) -> None:
        hours = self.dice.choice((0, 0, 0.001, 1, 5, 25, 49))
        self.clock.advance(hours * 3600)

    # What must hold in the end

    async def settle(self) -> None:
        shop = self.shop
        active = [dispute for dispute in self.disputes if (await self.check(shop, dispute)).active]
        order = await shop.orders.get(self.order)
        assert order is not None
        assert active == ([] if order.active_dispute is None else [order.active_dispute])

    async def check(self, shop: Shop, dispute: DisputeId) -> Dispute:
        state = await shop.desk.state(dispute)
        entries = await shop.entries(state)  # which verifies the chain
        assert replay(entries) == state
        assert await check_snapshot(dispute, shop.log, shop.disputes) is None
        assert all(entry.author.role in AUTHORS[entry.kind] for entry in entries)
        stored = await shop.told(state)
        before, expected = None, []
        for entry in entries:
            after = evolve(before, entry)
            expected += [(event.type, event.data) for event in told(before, entry, after)]
            before = after
        assert [(event.type, event.data) for event in stored] == expected
        asked = [(event.type, event.data["key"], event.data["attempt"]) for event in stored if event.type in MONEY]
        assert len(asked) == len(set(asked)), "money was asked for twice"
        await self.check_clock(shop, dispute)
        return state

    async def check_clock(self, shop: Shop, dispute: DisputeId) -> None:
        """After the worker has come, nothing is left to do, and the snapshot says when there is."""
        await shop.run(dispute, Tick(SYSTEM, CommandId("tick")))
        ran = await shop.run(dispute, Tick(SYSTEM, CommandId("tick")))
        assert ran.entries == ()
        snapshot = await shop.disputes.get(dispute)
        assert snapshot is not None
        assert snapshot.dispute.next_at is None or snapshot.dispute.next_at >= self.clock.now()
