"""How disputes stand after plain messages, on a real database."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Sequence
from typing import Any

import pytest

from chatserver.hub.standings import Standings
from chatserver.hub.tasks import end
from policies.dispute.commands import MakeProposal
from policies.dispute.state import Dispute
from policies.entry import Author, Entry
from policies.errors import Unavailable
from policies.room import order_room
from policies.vocabulary import DisputeId, Resolution, RoomId, Seq, Status
from storage.client import Database
from storage.disputes import Current, DisputeQuery
from tests.chatserver.disputes.desks import AGENT, BUYER, ORDER, SELLER, Shop
from tests.eventually import eventually


class Counted:
    """The snapshots, which say how often they were read; away while they are told to be."""

    def __init__(self, shop: Shop) -> None:
        self._disputes = shop.disputes
        self.read: list[list[DisputeId]] = []
        self.away = False

    async def current_of(self, disputes: Collection[DisputeId], limit: int) -> list[Current]:
        if self.away:
            raise Unavailable("away")
        self.read.append(list(disputes))
        return await self._disputes.current_of(disputes, limit)

    async def put_each_later(self, currents: Sequence[Current]) -> None:
        await self._disputes.put_each_later(currents)


@pytest.fixture
def shop(own_database: Database) -> Shop:
    return Shop(own_database)


@pytest.fixture
def counted(shop: Shop) -> Counted:
    return Counted(shop)


@pytest.fixture
async def standings(counted: Counted) -> AsyncIterator[Standings]:
    tasks: list[asyncio.Task[None]] = []

    def spawn(work: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.create_task(work))

    yield Standings(counted, spawn, gather_s=0.01)
    await end(*tasks)


@pytest.fixture
async def dispute(shop: Shop) -> Dispute:
    """One that waits for the buyer."""
    opened = await shop.opened()
    return (await shop.say(opened.id, SELLER)).state


async def says(shop: Shop, standings: Standings, room: RoomId, author: Author) -> None:
    """A message by the fast way, as a room's writer sends and publishes it."""
    await shop.chat(room, author)
    standings.note([await last(shop, room)])


async def last(shop: Shop, room: RoomId) -> Entry:
    return (await shop.log.read_before(room, None, 1))[0]


async def listed(shop: Shop, status: Status) -> list[DisputeId]:
    page = await shop.disputes.page(DisputeQuery(statuses=frozenset({status})), 10)
    assert page.counts[status] == len(page.disputes)
    return [each.id for each in page.disputes]


async def test_who_is_waited_for_is_found_by_that_soon_after(
    shop: Shop, standings: Standings, dispute: Dispute
) -> None:
    await says(shop, standings, dispute.room, BUYER)
    assert await listed(shop, Status.WAITING_FOR_BUYER) == [dispute.id]
    await standings.flush()
    assert await listed(shop, Status.WAITING_FOR_SELLER) == [dispute.id]
    assert await listed(shop, Status.WAITING_FOR_BUYER) == []
    await says(shop, standings, dispute.room, SELLER)
    await standings.flush()
    assert await listed(shop, Status.WAITING_FOR_BUYER) == [dispute.id]


async def test_it_is_done_in_the_background_and_together(
    shop: Shop, counted: Counted, standings: Standings, dispute: Dispute
) -> None:
    for author in (BUYER, SELLER, BUYER, SELLER, BUYER):
        await shop.chat(dispute.room, author)
    for entry in await shop.log.read_after(dispute.room, dispute.seq, 10):
        standings.note([entry])

    async def stored() -> Seq:
        found = await shop.disputes.get(dispute.id)
        assert found is not None
        return found.dispute.seq

    await eventually(lambda: bool(counted.read))
    while await stored() != dispute.seq + 5:  # noqa: ASYNC110  (what is waited for is in the database)
        await asyncio.sleep(0.01)
    assert counted.read == [[dispute.id]]


async def test_only_another_side_makes_it_look(
    shop: Shop, counted: Counted, standings: Standings, dispute: Dispute
) -> None:
    await says(shop, standings, dispute.room, BUYER)
    await standings.flush()
    for author in (BUYER, AGENT, BUYER):
        await says(shop, standings, dispute.room, author)
    await says(shop, standings, order_room(ORDER), BUYER)
    await standings.flush()
    assert len(counted.read) == 1
    offer = MakeProposal(SELLER, shop.command(), Resolution.PARTIAL_REFUND, 500)
    standings.note((await shop.run(dispute.id, offer)).entries)
    await standings.flush()
    assert len(counted.read) == 1, "whoever wrote that has written the snapshot"
    await says(shop, standings, dispute.room, BUYER)
    await standings.flush()
    assert len(counted.read) == 2


async def test_what_the_database_did_not_take_is_done_later(
    shop: Shop, counted: Counted, standings: Standings, dispute: Dispute
) -> None:
    counted.away = True
    await says(shop, standings, dispute.room, BUYER)
    with pytest.raises(Unavailable):
        await standings.flush()
    counted.away = False
    await standings.flush()
    assert await listed(shop, Status.WAITING_FOR_SELLER) == [dispute.id]


async def test_a_snapshot_that_somebody_else_has_written_meanwhile_stays(
    shop: Shop, standings: Standings, counted: Counted, dispute: Dispute
) -> None:
    await says(shop, standings, dispute.room, BUYER)
    put = counted.put_each_later

    async def late(currents: Sequence[Current]) -> None:
        await shop.run(dispute.id, MakeProposal(SELLER, shop.command(), Resolution.PARTIAL_REFUND, 500))
        await put(currents)

    counted.put_each_later = late  # type: ignore[method-assign]
    await standings.flush()
    stored = await shop.disputes.get(dispute.id)
    assert stored is not None
    assert len(stored.dispute.offers) == 1
