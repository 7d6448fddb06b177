"""Which processes write what all of them are sent."""

import asyncio

from tests.eventually import eventually
from tests.system.conftest import Dial, Serve
from tests.system.record import Record
from tests.system.site import Server, Site


async def in_agreement(*servers: Server) -> Server:
    """Wait until every process knows of the others, so that one of them writes. Returns it."""
    await eventually(lambda: sum(server.metric("writing") for server in servers) == 1.0)
    return next(server for server in servers if server.metric("writing"))


async def test_one_process_writes_for_all_as_long_as_that_is_little(site: Site, serve: Serve, dial: Dial) -> None:
    apart = site.apart()
    one, two = await asyncio.gather(*(serve(apart, hub_lease_s=2) for _ in range(2)))
    writer = await in_agreement(one, two)
    orders = [apart.order(one) for _ in range(6)]
    idle = one if writer is two else two
    before = {server.url: server.metric("appended_total") for server in (one, two)}

    def written(server: Server) -> float:
        return server.metric("appended_total") - before[server.url]

    for order in orders:
        buyer, seller = await dial(one, order.buyer, [order.room]), await dial(two, order.seller, [order.room])
        await asyncio.gather(buyer.say(order.room, "Hello?"), seller.say(order.room, "Hello!"))
        await asyncio.gather(buyer.reaches(order.room, 2), seller.reaches(order.room, 2))
    await eventually(lambda: written(writer) + written(idle) == 12.0)
    assert written(idle) == 0.0


async def test_when_it_is_much_others_write_too(site: Site, serve: Serve, dial: Dial, record: Record) -> None:
    apart = site.apart()
    settings = {"hub_lease_s": 2, "messages_per_writer_s": 4, "messages_per_s": 1000, "message_burst": 1000}
    one, two = await asyncio.gather(*(serve(apart, **settings) for _ in range(2)))
    await in_agreement(one, two)
    rooms = [apart.order(one) for _ in range(6)]
    pairs = [
        (order.room, await dial(one, order.buyer, [order.room]), await dial(two, order.seller, [order.room]))
        for order in rooms
    ]
    said = 0
    while one.metric("writing") + two.metric("writing") < 2.0:
        await asyncio.gather(*(peer.say(room, f"{said}") for room, *peers in pairs for peer in peers))
        said += 2
        assert said < 2000
    before = [server.metric("appended_total") for server in (one, two)]
    while not all(server.metric("appended_total") > known for server, known in zip((one, two), before, strict=True)):
        await asyncio.gather(*(peer.say(room, f"{said}") for room, *peers in pairs for peer in peers))
        said += 2
        assert said < 2000
    await in_agreement(one, two)  # nobody says anything any more
    for room, *peers in pairs:
        for peer in peers:
            await peer.reaches(room, said)
            assert peer.seqs(room) == [*range(1, said + 1)]
        assert len(await record.whole(room)) == said


async def test_nobody_waits_for_a_writer_that_was_killed(site: Site, serve: Serve, dial: Dial, record: Record) -> None:
    apart = site.apart()
    servers = await asyncio.gather(*(serve(apart, forward_timeout_s=60, hub_lease_s=2) for _ in range(2)))
    doomed = await in_agreement(*servers)
    other = next(server for server in servers if server is not doomed)
    order = apart.order(other)
    buyer = await dial(other, order.buyer, [order.room])
    await buyer.say(order.room, "one")
    doomed.kill()
    for text in ("two", "three"):
        await buyer.say(order.room, text)
    assert await record.texts(order.room) == ["one", "two", "three"]
