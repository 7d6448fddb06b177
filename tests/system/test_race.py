"""Two processes that append to the same room without knowing of each other, and the check of what they wrote."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from chatserver.embedded.ports import LOOPBACK, free_port
from storage.client import MongoConfig, open_database
from tests.system.conftest import Dial, Serve
from tests.system.peer import Frame
from tests.system.record import Record
from tests.system.site import Site

ROUNDS = 20
"""Nearly always the first is enough. On a busy machine one process may be done before the other begins."""


@pytest.fixture(scope="module")
def lonely(mongo_url: str) -> Iterator[Site]:
    """A deployment without any Redis: no process can ask another one to write."""
    with Site.prepare(mongo_url, f"redis://{LOOPBACK}:{free_port()}/0") as site:
        yield site


@pytest.fixture
async def own_record(lonely: Site) -> AsyncIterator[Record]:
    record = Record(open_database(MongoConfig(lonely.mongo_url, lonely.database)))
    yield record
    await record.close()


async def test_two_processes_that_race_leave_one_whole_record_and_tampering_is_found(
    lonely: Site, serve: Serve, dial: Dial, own_record: Record
) -> None:
    limits = {"messages_per_s": 100_000, "message_burst": 100_000, "sweep_s": 1}
    one, two = await asyncio.gather(serve(lonely, **limits), serve(lonely, **limits))
    order = lonely.order(one)
    room = order.room
    peers = [
        await dial(server, f"agent-{server.port}-{number}", [room], role="agent")
        for number in range(5)
        for server in (one, two)
    ]
    texts: list[str] = []
    acks: list[Frame] = []
    for turn in range(ROUNDS):
        said = [(peer, f"{number} of {place} in {turn}") for number in range(20) for place, peer in enumerate(peers)]
        texts += [text for _, text in said]
        acks += await asyncio.gather(*(peer.say(room, text) for peer, text in said))
        if one.metric("conflicts_total") + two.metric("conflicts_total") > 0:
            break
    else:
        pytest.fail("they have never met")
    written = await own_record.texts(room)
    assert sorted(written) == sorted(texts)
    assert [written[ack["seq"] - 1] for ack in acks] == texts
    for peer in peers:
        await peer.reaches(room, len(texts))
        assert peer.seqs(room) == list(range(1, len(texts) + 1))

    verified = await asyncio.to_thread(lonely.run, "verify", "--all", check=False)
    assert (verified.returncode, verified.stdout) == (0, f"1 room, {len(texts)} entries verified: all hold\n")

    others = [lonely.order(one).room for _ in range(3)]
    for number, other in enumerate(others):
        user = f"agent-{number}"
        peer = await dial(one, user, [other], role="agent")
        for text in ("first", "second", "third"):
            await peer.say(other, text)
    entries = own_record.database.collection("entries")
    rewritten, removed, moved = others
    await entries.update_one({"room": rewritten, "seq": 2}, {"$set": {"body.text": "I never said that"}})
    assert await entries.delete_one({"room": removed, "seq": 2}) == 1
    await entries.update_one({"room": moved, "seq": 3}, {"$set": {"author.role": "seller"}})
    verified = await asyncio.to_thread(lonely.run, "verify", "--all", check=False)
    assert verified.returncode == 1
    assert sorted(verified.stdout.splitlines()[:-1]) == sorted(
        [
            f"{rewritten}: broken at entry 2 (its content was changed)",
            f"{removed}: broken at entry 2 (an entry is missing, doubled or out of order)",
            f"{moved}: broken at entry 3 (its metadata or its hash was changed)",
        ]
    )
    assert verified.stdout.splitlines()[-1].endswith("3 broken")
    assert (await asyncio.to_thread(lonely.run, "verify", room)).stdout.endswith("all hold\n")
