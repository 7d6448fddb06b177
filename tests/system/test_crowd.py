"""Two hundred people talking at once in one room, on two processes."""

import asyncio

from tests.system.conftest import Dial
from tests.system.record import Record
from tests.system.site import Server, Site, unique

PEOPLE = 200
MESSAGES = 2


async def test_200_concurrent_senders_in_one_room_make_one_order_that_all_see(
    site: Site, pair: tuple[Server, Server], dial: Dial, record: Record
) -> None:
    order = site.order(pair[0])
    room = order.room
    crowd = unique("agent")
    peers = [await dial(pair[number % 2], f"{crowd}-{number}", [room], role="agent") for number in range(PEOPLE)]
    texts = [f"{peer.user} {number}" for number in range(MESSAGES) for peer in peers]
    acks = await asyncio.gather(
        *(peer.say(room, f"{peer.user} {number}") for number in range(MESSAGES) for peer in peers)
    )
    entries = await record.whole(room)
    assert len(entries) == PEOPLE * MESSAGES
    for text, ack in zip(texts, acks, strict=True):
        entry = entries[ack["seq"] - 1]
        assert entry.body["text"] == text
        assert (ack["entry_id"], ack["duplicate"]) == (entry.id, False)
    ids = [entry.id for entry in entries]
    for peer in peers:
        await peer.reaches(room, len(entries))
        assert [entry["id"] for entry in peer.entries(room)] == ids
