"""A desk with everything behind it on a real database, and a clock that moves by hand."""

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from chatserver.deadlines import DeadlineMetrics, Deadlines, Pace
from chatserver.disputes.desk import Desk, Opening
from chatserver.disputes.ledger import Ledger
from policies.dispute.policy import Policy
from policies.dispute.state import Dispute
from policies.entry import Author, Entry
from policies.order import OrderFacts, Seller
from policies.room import Party
from policies.vocabulary import (
    CommandId,
    DisputeId,
    EntryKind,
    OrderCategory,
    OrderId,
    Reason,
    Resolution,
    Role,
    Seq,
    TrustLevel,
    UserId,
)
from storage.claims import Claims
from storage.client import Database
from storage.commit import GroupCommit
from storage.disputes import Disputes
from storage.orders import Orders
from storage.outbox import Outbox
from storage.room_log import RoomLog
from storage.rooms import Rooms
from tests.chatserver.moving_time import HandClock

BUYER = Author(UserId("bo"), Role.BUYER, "Bo")
SELLER = Author(UserId("sue"), Role.SELLER, "Sue")
AGENT = Author(UserId("ada"), Role.AGENT, "Ada")
CLAIM_LEASE = timedelta(seconds=60)
HOUR_S = 3600.0


class Office:
    """See the module. ``announced`` are the entries that the hubs were told of."""

    def __init__(self, database: Database, clock: HandClock, policy: Policy | None = None) -> None:
        self.database = database
        self.clock = clock
        self.announced: list[Entry] = []
        self.registry = CollectorRegistry()
        self._metrics = DeadlineMetrics(self.registry)
        salts = itertools.count(1)
        self.salt = lambda: next(salts).to_bytes(16, "big")
        self.commit = GroupCommit(database)
        self.log = RoomLog(database, self.commit)
        rooms = Rooms(database)
        self.orders = Orders(database, self.log, rooms, self.salt)
        self.disputes = Disputes(database, self.log)
        self.claims = Claims(database)
        self.ledger = Ledger(self.log, rooms, self.orders, self.disputes, Outbox(database), self.claims, CLAIM_LEASE)
        numbers = itertools.count(1)
        self.desk = Desk(
            self.ledger,
            clock=clock,
            salt=self.salt,
            new_id=lambda: DisputeId(f"{next(numbers):020x}"),
            policy=lambda: policy or Policy(),
            announce=self._tell,
        )
        self._commands = itertools.count(1)

    async def _tell(self, entries: Sequence[Entry]) -> None:
        self.announced += entries

    def deadlines(self, claimant: str = "one", **pace: Any) -> Deadlines:
        """A worker's part, which does not wait for what comes along."""
        return Deadlines(
            disputes=self.disputes,
            ledger=self.ledger,
            desk=self.desk,
            clock=self.clock,
            salt=self.salt,
            announce=self.announced.extend,
            claimant=claimant,
            metrics=self._metrics,
            pace=Pace(**{"gather_s": 0.002, **pace}),
        )

    async def open(self, number: int = 1) -> Dispute:
        """A dispute about an order of its own, opened now."""
        now = self.clock.now()
        order = OrderId(f"o{number}")
        facts = OrderFacts(
            order,
            Party(BUYER.id, BUYER.name),
            Seller(SELLER.id, SELLER.name, TrustLevel.VERIFIED),
            "A lamp",
            OrderCategory.ITEM,
            8_990,
            "EUR",
            now - timedelta(days=2),
        )
        await self.orders.put(facts, now)
        opening = Opening(order, BUYER, Reason.DEFECTIVE, "It does not light.", Resolution.FULL_REFUND)
        return (await self.desk.open(opening)).dispute

    def command_id(self) -> CommandId:
        """One that nobody has used."""
        return CommandId(f"c{next(self._commands)}")

    async def kinds(self, dispute: Dispute) -> list[EntryKind]:
        """What is in a dispute's room."""
        return [entry.kind for entry in await self.log.read_after(dispute.room, Seq(0), 1000)]

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"dispute_chat_deadline_{name}", labels) or 0.0

    async def close(self) -> None:
        await self.desk.close()
        await self.commit.close()
