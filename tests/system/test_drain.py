"""Planned stops under load: clients are sent elsewhere, and nothing is lost between two servers."""

import asyncio
import os
import re
import signal
import time

from chatserver.errors import CloseCode
from tests.eventually import eventually
from tests.program import descendants
from tests.system.conftest import Dial, Serve
from tests.system.record import Record
from tests.system.site import Server, Site, unique
from tests.system.traveller import Traveller

DRAIN_S = 5.0
SPREAD_S = 1.5
FAST = {"messages_per_s": 100_000, "message_burst": 100_000}


async def talk(who: Traveller, messages: int) -> None:
    for number in range(messages):
        await who.say(f"{who.user} {number}")


async def assert_all_there(record: Record, room: str, travellers: list[Traveller], messages: int) -> None:
    """Every message is in the log once, where its ack said, and everybody has seen all of them once and in order."""
    texts = await record.texts(room)
    assert sorted(texts) == sorted(f"{who.user} {number}" for who in travellers for number in range(messages))
    for who in travellers:
        assert all(texts[ack["seq"] - 1] == text for text, ack in who.acks.items())
        await who.reaches(len(texts))
        assert who.seqs == list(range(1, len(texts) + 1))


async def test_a_stop_under_load_sends_clients_on_and_loses_nothing(
    site: Site, serve: Serve, dial: Dial, record: Record
) -> None:
    apart = site.apart()
    leaving, staying = await asyncio.gather(
        *(serve(apart, drain_s=DRAIN_S, reconnect_spread_s=SPREAD_S, **FAST) for _ in range(2))
    )
    order = apart.order(leaving)
    movers = [Traveller(dial, [leaving, staying], unique("mover"), order.room, role="agent") for _ in range(6)]
    others = [Traveller(dial, [staying], unique("other"), order.room, role="agent") for _ in range(2)]
    everybody = [*movers, *others]
    for each in everybody:
        await each.arrive()
    idle = [await dial(leaving, unique("idle")) for _ in range(20)]
    talking = asyncio.gather(*(talk(each, 40) for each in everybody))
    await others[0].reaches(80)
    assert not talking.done()
    began = time.monotonic()
    leaving.terminate()
    for peer in [*idle, *(mover.peers[0] for mover in movers)]:
        assert await peer.closed() == CloseCode.GOING_AWAY
        bye = peer.of_type("bye")
        assert len(bye) == 1
        assert 0 <= bye[0]["reconnect_after_ms"] <= SPREAD_S * 1000
    assert await leaving.ended() == 0
    assert time.monotonic() - began < DRAIN_S + 2, "with what the interpreter takes to end"
    assert len({peer.of_type("bye")[0]["reconnect_after_ms"] for peer in idle}) > 10, "they come back one by one"
    await talking
    assert all(len(mover.peers) == 2 for mover in movers)
    assert all(len(other.peers) == 1 for other in others)
    await assert_all_there(record, order.room, everybody, 40)


async def test_who_does_not_answer_the_close_does_not_hold_up_the_stop(site: Site, serve: Serve, dial: Dial) -> None:
    server = await serve(site.apart(), drain_s=4)
    order = site.order(server)
    deaf = [await dial(server, unique("agent"), [order.room], role="agent") for _ in range(3)]
    hearing = await dial(server, order.buyer, [order.room])
    for peer in deaf:
        peer.stop_reading()
    began = time.monotonic()
    server.terminate()
    assert await hearing.closed() == CloseCode.GOING_AWAY
    assert await server.ended() == 0
    assert time.monotonic() - began < 4 + 2


async def test_clients_of_a_killed_worker_go_on_at_the_same_address(
    site: Site, serve: Serve, dial: Dial, record: Record
) -> None:
    server = await serve(site.apart(), workers=2, hub_lease_s=2, sweep_s=1, **FAST)
    order = site.order(server)
    travellers = [Traveller(dial, [server], unique("agent"), order.room, role="agent") for _ in range(6)]
    for each in travellers:
        await each.arrive()
    workers = started(server)
    assert len(workers) == 2
    talking = asyncio.gather(*(talk(each, 30) for each in travellers))
    await travellers[0].reaches(20)
    os.kill(workers.pop(), signal.SIGKILL)
    await talking
    await assert_all_there(record, order.room, travellers, 30)
    await eventually(lambda: len(started(server)) == 3)
    async with await dial(server, unique("agent"), [order.room], role="agent") as late:
        assert late.head(order.room) == 180


def started(server: Server) -> set[int]:
    """The worker processes that have ever served."""
    pids = {int(pid) for line in server.program.output for pid in re.findall(r"Started server process \[(\d+)\]", line)}
    assert pids & descendants(server.pid)
    return pids
