"""A process that carries out commands on disputes, one after the other, until it is killed."""

import asyncio
import itertools
import sys
from dataclasses import replace

from policies.dispute.commands import (
    AcceptProposal,
    Close,
    Command,
    JoinAsAgent,
    LeaveAsAgent,
    MakeProposal,
    Reopen,
    Tick,
)
from policies.entry import Author
from policies.vocabulary import CommandId, OrderEventType, OrderId, Resolution, Role, UserId
from storage.client import MongoConfig, open_database
from tests.chatserver.disputes.desks import BUYER, FACTS, SELLER, Shop, system
from tests.chatserver.moving_time import NOW, HandClock

AT_ONCE = 4
LATER = 25 * 3600


async def play(shop: Shop, order: OrderId, clock: HandClock, agent: Author) -> None:
    """One dispute through everything that a transaction may be about."""
    await shop.order(replace(FACTS, id=order))
    dispute = (await shop.open("key", order=order)).dispute

    async def run(command: Command) -> None:
        await shop.run(dispute.id, command)
        print("did", flush=True)

    await shop.say(dispute.id, SELLER)
    await run(Close(BUYER, CommandId("close"), "It lights now."))
    await run(Reopen(BUYER, CommandId("reopen"), "No, it does not."))
    event = await shop.event(OrderEventType.DELIVERED, order=order)
    await shop.desk.report_event(order, event)
    clock.advance(4 * LATER)
    await run(Tick(**system("tick")))
    await run(JoinAsAgent(agent, CommandId("join")))
    await run(LeaveAsAgent(agent, CommandId("leave")))
    await run(JoinAsAgent(agent, CommandId("join-again")))
    offer = await shop.run(dispute.id, MakeProposal(SELLER, CommandId("offer"), Resolution.PARTIAL_REFUND, 500))
    assert offer.first is not None
    await run(AcceptProposal(BUYER, CommandId("accept"), offer.first.seq))
    clock.advance(4 * LATER)
    await run(Tick(**system("tick")))


async def main(url: str, name: str, run: str) -> None:
    database = open_database(MongoConfig(url, name, "pymongo", timeout_s=10))
    agent = Author(UserId(f"ada-{run}"), Role.AGENT, "Ada")
    print("ready", flush=True)

    async def lane(lane: int) -> None:
        for number in itertools.count():
            clock = HandClock(NOW)
            await play(Shop(database, clock), OrderId(f"{run}-{lane}-{number}"), clock, agent)

    await asyncio.gather(*map(lane, range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
