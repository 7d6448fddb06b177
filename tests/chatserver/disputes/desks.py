"""A desk on a real database, with a clock that is moved by hand, and the people who come to it."""

import itertools
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from chatserver.disputes.desk import Desk, Opened, Opening, Ran
from chatserver.disputes.ledger import Ledger
from policies.dispute.commands import Command, SendMessage
from policies.dispute.policy import Policy
from policies.dispute.state import Dispute
from policies.entry import Author, Draft, Entry
from policies.order import OrderEvent, OrderFacts, Seller
from policies.room import SYSTEM, Party
from policies.vocabulary import (
    CommandId,
    DisputeId,
    EntryKind,
    OrderCategory,
    OrderEventType,
    OrderId,
    Reason,
    Resolution,
    Role,
    RoomId,
    Seq,
    TrustLevel,
    UserId,
)
from storage.chain import link, verify
from storage.claims import Claims
from storage.client import Database
from storage.commit import GroupCommit
from storage.disputes import Disputes
from storage.errors import CommandTaken
from storage.orders import Order, Orders
from storage.outbox import Outbox, OutboxEvent, decode_event
from storage.room_log import RoomLog
from storage.rooms import Rooms
from tests.chatserver.moving_time import NOW, HandClock

HOUR: Final = timedelta(hours=1)
LEASE: Final = timedelta(seconds=60)
ORDER: Final = OrderId("4711")
BUYER: Final = Author(UserId("bo"), Role.BUYER, "Bo")
SELLER: Final = Author(UserId("sue"), Role.SELLER, "Sue")
AGENT: Final = Author(UserId("ada"), Role.AGENT, "Ada")
SENIOR: Final = Author(UserId("eve"), Role.SENIOR_AGENT, "Eve")
FACTS: Final = OrderFacts(
    id=ORDER,
    buyer=Party(BUYER.id, BUYER.name),
    seller=Seller(SELLER.id, SELLER.name, TrustLevel.VERIFIED),
    title="A lamp",
    category=OrderCategory.ITEM,
    amount=1999,
    currency="EUR",
    placed_at=NOW - 48 * HOUR,
)


class Observed:
    """What the desk said of itself."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, str]] = []
        self.lost = 0

    def ran(self, command: str, result: str) -> None:
        self.runs.append((command, result))

    def overtaken(self) -> None:
        self.lost += 1


class Shop:
    """Everything of one process that has to do with disputes, for a test to use. ``commands``: what its command ids
    begin with; those of two shops on one database must differ."""

    def __init__(self, database: Database, clock: HandClock | None = None, commands: str = "c") -> None:
        self.database = database
        self._commands = commands
        self.clock = clock or HandClock()
        self.log = RoomLog(database, GroupCommit(database))
        self.rooms = Rooms(database)
        self.orders = Orders(database, self.log, self.rooms, lambda: os.urandom(16))
        self.disputes = Disputes(database, self.log)
        self.claims = Claims(database)
        self.announced: list[Entry] = []
        self.observed = Observed()
        self.policy = Policy()
        self._numbers = itertools.count(1)
        self.ledger = Ledger(self.log, self.rooms, self.orders, self.disputes, Outbox(database), self.claims, LEASE)
        self.desk = Desk(
            self.ledger,
            clock=self.clock,
            salt=lambda: os.urandom(16),
            new_id=self._new_id,
            policy=lambda: self.policy,
            announce=self._announce,
            observer=self.observed,
        )

    def _new_id(self) -> DisputeId:
        return DisputeId(os.urandom(10).hex())

    async def _announce(self, entries: Sequence[Entry]) -> None:
        self.announced += entries

    def command(self) -> CommandId:
        """A fresh command id."""
        return CommandId(f"{self._commands}{next(self._numbers)}")

    async def order(self, facts: OrderFacts = FACTS) -> Order:
        return (await self.orders.put(facts, self.clock.now())).order

    async def open(self, key: str | None = None, **changes: Any) -> Opened:
        wanted: dict[str, Any] = {
            "order": ORDER,
            "buyer": BUYER,
            "reason": Reason.DEFECTIVE,
            "description": "It does not light.",
            "desired_resolution": Resolution.FULL_REFUND,
        }
        return await self.desk.open(Opening(key=key, **(wanted | changes)))

    async def opened(self) -> Dispute:
        """A new dispute of a new order."""
        await self.order()
        return (await self.open()).dispute

    async def say(self, dispute: DisputeId, author: Author, text: str = "Hello there") -> Ran:
        return await self.run(dispute, SendMessage(author, self.command(), text))

    async def run(self, dispute: DisputeId, command: Command) -> Ran:
        return await self.desk.run(dispute, command)

    async def chat(self, room: RoomId, author: Author, text: str = "Hello there") -> None:
        """Say something the fast way, as the rooms' writers do."""
        draft = Draft(author, self.command(), EntryKind.MESSAGE, {"text": text})
        while True:
            entries = link(room, await self.log.head(room), [draft], self.clock.now(), lambda: os.urandom(16))
            failure = (await self.log.submit(entries)).failure
            if failure is None or isinstance(failure, CommandTaken):  # written after all, when that was not known
                return

    async def event(self, kind: OrderEventType, name: str = "e1", *, order: OrderId = ORDER, **data: Any) -> OrderEvent:
        """Something that happened to the order, recorded but not reported to its disputes yet."""
        event = OrderEvent(name, kind, self.clock.now(), data)
        await self.orders.record_event(order, event, self.clock.now())
        return event

    async def entries(self, dispute: Dispute) -> list[Entry]:
        """The record of a dispute, which holds."""
        entries = await self.log.read_after(dispute.room, Seq(0), 1000)
        assert verify(dispute.room, entries) is None
        return entries

    async def kinds(self, dispute: Dispute) -> list[str]:
        return [entry.kind.value for entry in await self.entries(dispute)]

    async def told(self, dispute: Dispute) -> list[OutboxEvent]:
        found = await self.database.collection("outbox").find({"dispute": dispute.id}, sort=[("n", 1)])
        events = [decode_event(document) for document in found]
        assert [event.n for event in events] == list(range(1, len(events) + 1))
        stored = await self.disputes.get(dispute.id)
        assert stored is not None
        assert stored.told == len(events)
        return events

    async def close(self) -> None:
        await self.desk.close()


def system(command: str) -> dict[str, Any]:
    """The author and the command id of what the server asks itself."""
    return {"author": SYSTEM, "command_id": CommandId(command)}
