"""What a process without a hub announces arrives at the hubs: on one server, on a Cluster, and after Redis was away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from chatserver.embedded import Valkey
from chatserver.hub.announcer import Announcer
from chatserver.hub.bus import BusCounts
from chatserver.hub.live_room import partition_channel, partition_of
from chatserver.hub.publication import Publication
from chatserver.hub.redis_url import close_redis, open_redis
from policies.entry import Draft, Entry
from policies.room import SYSTEM
from policies.vocabulary import CommandId, EntryKind, RoomId
from storage.chain import genesis, link
from tests.chatserver.hub.station import QUICK, Station, station
from tests.chatserver.moving_time import NOW
from tests.eventually import eventually
from tests.system.redis_groups import Cluster

PARTITIONS = 8


def entries(room: str, count: int) -> list[Entry]:
    drafts = [Draft(SYSTEM, CommandId(f"n:{n}"), EntryKind.NOTICE, {"notice": "talk_first"}) for n in range(count)]
    return link(RoomId(room), genesis(RoomId(room)), drafts, NOW, lambda: b"\0" * 16)


def heard(listener: Station, room: str) -> list[int]:
    """The places of the entries that a hub which serves the room was sent."""
    channel = partition_channel(partition_of(RoomId(room), PARTITIONS))
    return [
        publication.seq
        for payload in listener.on(channel)
        for fields in orjson.loads(payload)["entries"]
        if (publication := Publication.from_fields(fields)).room == room
    ]


@asynccontextmanager
async def announcing(url: str, counts: BusCounts, prefix: str = "t") -> AsyncIterator[Announcer]:
    client = open_redis(url)
    announcer = Announcer(
        client,
        prefix=prefix,
        partitions=PARTITIONS,
        sender="worker",
        uniform=lambda low, high: high,
        observer=counts,
        times=QUICK,
    )
    await announcer.start()
    try:
        yield announcer
    finally:
        await announcer.stop()
        await close_redis(client)


async def listening(listener: Station) -> None:
    for partition in range(PARTITIONS):
        await listener.bus.subscribe(partition_channel(partition))


async def test_entries_of_one_turn_travel_together_on_their_rooms_channel(redis_url: str) -> None:
    counts = BusCounts()
    async with station(redis_url) as hub, announcing(redis_url, counts) as announcer:
        await listening(hub)
        announcer.announce(entries("dispute-a", 3))
        announcer.announce(entries("dispute-b", 1))
        await eventually(lambda: heard(hub, "dispute-a") == [1, 2, 3] and heard(hub, "dispute-b") == [1])
        assert len(hub.messages) <= 2


async def test_what_is_announced_last_is_sent_before_the_end(redis_url: str) -> None:
    counts = BusCounts()
    async with station(redis_url) as hub:
        await listening(hub)
        async with announcing(redis_url, counts) as announcer:
            announcer.announce(entries("dispute-a", 1))
            await eventually(lambda: heard(hub, "dispute-a") == [1])
            announcer.announce(entries("dispute-b", 2))
        await eventually(lambda: heard(hub, "dispute-b") == [1, 2])


async def test_on_a_cluster_each_room_goes_to_the_node_of_its_channel(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        counts = BusCounts()
        async with station(cluster.url) as hub, announcing(cluster.url, counts) as announcer:
            await listening(hub)
            rooms = [f"dispute-{number}" for number in range(40)]
            for room in rooms:
                announcer.announce(entries(room, 1))
            await eventually(lambda: all(heard(hub, room) == [1] for room in rooms))


async def test_with_redis_away_nothing_is_raised_and_later_entries_arrive_again(tmp_path: Path) -> None:
    with Valkey(tmp_path) as valkey:
        counts = BusCounts()
        async with announcing(valkey.url, counts) as announcer:
            announcer.announce(entries("dispute-a", 1))
            await eventually(lambda: counts.publications == 1)
            valkey.pause()
            announcer.announce(entries("dispute-a", 2))
            await eventually(lambda: counts.drops >= 1)
            valkey.resume()
            async with station(valkey.url) as hub:
                await listening(hub)

                def again() -> bool:
                    announcer.announce(entries("dispute-b", 1))
                    return 1 in heard(hub, "dispute-b")

                await eventually(again)


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    yield
    await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in others if "announcer" in task.get_name() or "publisher" in task.get_name()]
