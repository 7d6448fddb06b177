"""A desk that is killed at any moment leaves nothing half done."""

import random
import signal
import uuid
from collections.abc import AsyncIterator

import pytest
from pymongo import MongoClient

from chatserver.disputes.snapshots import check_snapshot, dispute_of_room
from policies.dispute.state import Dispute
from policies.room import staff_room
from policies.vocabulary import RoomId, RoomKind
from storage import schema
from storage.client import Database, MongoConfig, open_database
from tests.chatserver.disputes.desks import Shop
from tests.program import Program

ROUNDS = 8


@pytest.fixture
async def database(mongo_url: str) -> AsyncIterator[Database]:
    database = open_database(MongoConfig(mongo_url, f"crash_{uuid.uuid4().hex[:12]}", timeout_s=10))
    await schema.migrate(database)
    yield database
    with MongoClient[dict[str, object]](mongo_url) as client:
        # Their transactions would keep the database from being dropped for as long as MongoDB keeps them: a minute.
        client.admin.command("killAllSessions", [])
    await database.drop()
    await database.close()


async def require_whole(shop: Shop, dispute: Dispute) -> None:
    """Everything that belongs to a state is there, and nothing that belongs to another one."""
    entries = await shop.entries(dispute)
    assert entries[-1].seq == dispute.seq
    assert await check_snapshot(dispute.id, shop.log, shop.disputes) is None
    await shop.told(dispute)
    room = await shop.rooms.facts(dispute.room)
    assert room is not None
    assert (room.kind, room.closed, room.unattended) == (
        RoomKind.DISPUTE,
        dispute.closed,
        dispute.attended_at is None,
    )
    assert await shop.rooms.facts(staff_room(dispute.id)) is not None
    order = await shop.orders.get(dispute.order.id)
    assert order is not None
    assert order.active_dispute == (dispute.id if dispute.active else None)
    assert order.latest_dispute == dispute.id
    lease = await shop.database.collection("claims").find_one({"_id": dispute.id})
    assert (None if lease is None else lease["agent"]) == (None if dispute.agent is None else dispute.agent.id)


async def test_a_killed_desk_leaves_nothing_half_done(database: Database, mongo_url: str) -> None:
    shop = Shop(database)
    chance = random.Random(4711)
    checked: dict[RoomId, int] = {}
    for number in range(ROUNDS):
        arguments = ["-m", "tests.system.desk_process", mongo_url, database.name, str(number)]
        with Program(arguments) as desk:
            desk.line("ready")
            for _ in range(chance.randrange(1, 40)):
                desk.line("did")
            assert desk.stop(signal.SIGKILL) == -signal.SIGKILL
        found = await database.collection("disputes").find({}, projection={"_id": 1})
        for document in found:
            stored = await shop.disputes.get(document["_id"])
            assert stored is not None
            if checked.get(stored.dispute.room) != stored.dispute.seq:
                await require_whole(shop, stored.dispute)
                checked[stored.dispute.room] = stored.dispute.seq
    disputed = {room async for room in shop.log.rooms_with_entries() if dispute_of_room(room) is not None}
    assert disputed == set(checked)
    orders = await database.collection("orders").find({"active_dispute": {"$ne": None}})
    names = {str(room).removeprefix("dispute-") for room in checked}
    assert {order["active_dispute"] for order in orders} <= names
    assert len(checked) >= 2 * ROUNDS
