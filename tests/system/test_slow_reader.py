"""Who does not read what is sent costs a bounded amount of memory, is cut off, and loses nothing by it."""

import asyncio

import psutil
import pytest

from chatserver.errors import CloseCode
from tests.system.conftest import Dial
from tests.system.peer import Peer
from tests.system.site import Server, Site, unique

WIDE = "\N{PACKAGE}" * 4_000
"""The largest message, 16 kB on the wire."""
MIB = 1024 * 1024
SMALL_BUFFER = 4096


@pytest.fixture
def memory(fast: Server) -> psutil.Process:
    return psutil.Process(fast.pid)


async def test_slow_readers_are_cut_off_with_4002_in_bounded_memory_and_lose_nothing(
    site: Site, fast: Server, dial: Dial, memory: psutil.Process
) -> None:
    order = site.order(fast)
    room = order.room
    buyer = await dial(fast, order.buyer, [room])
    slow = [await dial(fast, unique("agent"), [room], role="agent", receive_buffer=SMALL_BUFFER) for _ in range(10)]
    await buyer.say(room, WIDE)
    for peer in slow:
        await peer.reaches(room, 1)
        peer.stop_reading()
    cut_off = fast.metric("slow_consumers_total")
    before = memory.memory_info().rss
    sent = 1
    while (gone := fast.metric("slow_consumers_total") - cut_off) < len(slow):
        # Those who were cut off have a few seconds to read of it: the others shall follow soon.
        more = 1 if gone else 20
        await asyncio.gather(*(buyer.say(room, WIDE) for _ in range(more)))
        sent += more
        assert sent * len(WIDE.encode()) < 32 * MIB, "beyond what the kernel and the queue may hold"
    grown = memory.memory_info().rss - before
    # Each has a queue of 1 MiB and the transport's 64 KiB; the rest is what the process needs by itself.
    assert grown < len(slow) * 1.1 * MIB + 12 * MIB
    for peer in slow:
        peer.read_on()
    codes = await asyncio.gather(*(peer.closed() for peer in slow))
    assert set(codes) == {CloseCode.SLOW_CONSUMER}
    for peer in slow[:3]:
        assert await complete(await dial(fast, peer.user, role="agent"), peer, room, sent) == list(range(1, sent + 1))
    await buyer.reaches(room, sent)
    assert buyer.seqs(room) == list(range(1, sent + 1)), "those who read have seen nothing of it"


async def complete(back: Peer, before: Peer, room: str, head: int) -> list[int]:
    """All that a member has seen, having resumed and read the rest from history."""
    seqs = before.seqs(room)
    joined = await back.join(room, after=seqs[-1])
    seqs += [entry["seq"] for entry in joined["entries"]]
    while seqs[-1] < head:
        page = await back.ask("history", expect="history", room=room, after=seqs[-1], limit=100)
        seqs += [entry["seq"] for entry in page["entries"]]
    return seqs


async def test_who_asks_and_does_not_read_the_answers_has_to_wait(
    site: Site, fast: Server, dial: Dial, memory: psutil.Process
) -> None:
    order = site.order(fast)
    room = order.room
    buyer = await dial(fast, order.buyer, [room])
    await asyncio.gather(*(buyer.say(room, WIDE) for _ in range(60)))
    greedy = await dial(fast, order.seller, [room], receive_buffer=SMALL_BUFFER)
    greedy.stop_reading()
    before = memory.memory_info().rss
    for number in range(50):
        await greedy.send("history", id=f"page-{number}", room=room, limit=100)
    for _ in range(10):
        await buyer.in_step()
    assert memory.memory_info().rss - before < 16 * MIB, "fifty answers of a megabyte were not made"
    greedy.read_on()
    answers = [await greedy.answer(f"page-{number}") for number in range(50)]
    assert {answer["type"] for answer in answers} == {"history"}, "a client that reads on gets all of them"
    await buyer.say(room, "And on it goes")
    await greedy.expect("entry", seq=61)
