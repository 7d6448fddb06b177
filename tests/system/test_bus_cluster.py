"""The bus and its neighbours on a real Cluster, with sharded pub/sub."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis

from chatserver.embedded import Valkey
from chatserver.hub.hubs import HubRegistry
from chatserver.hub.presence_store import Presence, PresenceStore
from chatserver.hub.redis_url import Client, RedisLimits, close_redis, open_redis
from chatserver.hub.seats import Seats
from policies.vocabulary import PresenceState, Role, RoomId, UserId
from tests.chatserver.hub.station import QUICK, Station, station
from tests.eventually import eventually
from tests.system.redis_groups import Cluster

PARTITIONS = [f"p:{number}" for number in range(8)]


@pytest.fixture(scope="module")
def cluster_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def url(cluster_of_module: Cluster) -> str:
    """A Cluster that the test leaves as it is."""
    return cluster_of_module.url


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    client = open_redis(url)
    yield client
    await close_redis(client)


async def channels_of(node: Valkey) -> list[str]:
    """The sharded channels somebody listens to on a node."""
    async with Redis.from_url(node.url) as client:
        run: Any = client.execute_command
        return sorted(name.decode() for name in await run("PUBSUB", "SHARDCHANNELS"))


async def join_all(*stations: Station) -> None:
    for each in stations:
        for channel in PARTITIONS:
            assert await each.bus.subscribe(channel)


async def test_every_channel_lives_on_the_node_of_its_slot(cluster_of_module: Cluster, url: str) -> None:
    async with station(url, "one") as one, station(url, "two") as two:
        await join_all(one, two)
        owners = {channel: cluster_of_module.owner(f"t:{channel}") for channel in PARTITIONS}
        assert len(set(map(id, owners.values()))) == 3
        for node in cluster_of_module.primaries:
            found = [name for name in await channels_of(node) if name.startswith("t:p:")]
            assert found == sorted(f"t:{channel}" for channel, owner in owners.items() if owner is node)
        for number in range(800):
            one.bus.publish(PARTITIONS[number % 8], b"%d" % number)
        await eventually(lambda: len(two.messages) == len(one.messages) == 800)
        for index, channel in enumerate(PARTITIONS):
            assert two.on(channel) == [b"%d" % number for number in range(index, 800, 8)]
        one.bus.unsubscribe("p:0")
        assert await one.bus.subscribe("p:0")
        assert one.troubles == two.troubles == []


async def test_a_killed_subscription_on_one_node_is_reported_and_renewed(cluster_of_module: Cluster, url: str) -> None:
    async with station(url, "one") as one:
        await join_all(one)
        async with Redis.from_url(cluster_of_module.owner("t:p:3").url) as operator:
            run: Any = operator.execute_command
            await run("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: len(one.troubles) >= 2 and one.bus.alive)
        for channel in PARTITIONS:
            one.bus.publish(channel, b"again")
        await eventually(lambda: sorted(one.messages) == [(channel, b"again") for channel in PARTITIONS])


async def test_hubs_presence_and_seats_work_on_a_cluster(client: Client) -> None:
    registry = HubRegistry(client, prefix="h", hub_id="one", lease_s=600.0)
    other = HubRegistry(client, prefix="h", hub_id="two", lease_s=600.0)
    await other.start(lambda change: None)
    await registry.start(lambda change: None)
    assert registry.live == ("one", "two")
    store = PresenceStore(client, prefix="h", hubs=registry)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rooms = [RoomId(f"order-{number}") for number in range(30)]
    everybody = [Presence(room, UserId("u"), Role.BUYER, "U", PresenceState.ONLINE, at) for room in rooms]
    assert await store.set_many(everybody)
    assert await store.of_rooms(rooms) == {presence.room: [presence] for presence in everybody}
    assert await store.remove_many((room, UserId("u")) for room in rooms)
    assert await store.of_room(rooms[0]) == []
    seats = Seats(client, prefix="h", hubs=registry, limit=2)
    taken = await asyncio.gather(*(seats.take(UserId(f"u{n % 10}"), str(n)) for n in range(30)))
    assert taken == [True] * 20 + [False] * 10
    assert await seats.renew()
    for number in range(20):
        await seats.release(UserId(f"u{number % 10}"), str(number))
    await registry.leave()
    await other.leave()


async def test_a_slot_that_moves_takes_its_channel_along(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Cluster(tmp_path_factory.mktemp("moving")) as cluster:
        async with station(cluster.url, "one") as one, station(cluster.url, "two") as two:
            await join_all(one, two)
            source = cluster.owner("t:p:0")
            target = next(node for node in cluster.primaries if node is not source)
            await asyncio.to_thread(cluster.move, "t:p:0", source, target)

            arrived: list[bytes] = []

            async def look() -> None:
                one.bus.publish("p:0", b"after")
                arrived[:] = two.on("p:0")

            await eventually(lambda: bool(arrived), look)
            await eventually(lambda: one.bus.alive and two.bus.alive)
            assert "t:p:0" in await channels_of(target)
            assert one.troubles
            assert two.troubles
            for channel in PARTITIONS[1:]:
                one.bus.publish(channel, b"still")
            await eventually(lambda: all(b"still" in two.on(channel) for channel in PARTITIONS[1:]))


async def test_nodes_that_die(tmp_path_factory: pytest.TempPathFactory) -> None:
    times = replace(QUICK, probe_within_s=0.5, reply_s=0.5, connect_s=0.5)
    with Cluster(tmp_path_factory.mktemp("dying")) as cluster:
        first, second, third = cluster.primaries
        of_third = [channel for channel in PARTITIONS if cluster.owner(f"t:{channel}") is third]
        assert of_third
        async with station(cluster.url, "one", times=times) as one, station(cluster.url, "two", times=times) as two:
            await join_all(one, two)
            of_first = [channel for channel in PARTITIONS if cluster.owner(f"t:{channel}") is first]
            of_others = [channel for channel in PARTITIONS if channel not in of_first]
            assert of_first
            assert of_others

            first.kill()
            await eventually(lambda: not one.bus.alive and not two.bus.alive)
            for channel in of_others:
                one.bus.publish(channel, b"meanwhile")
            await eventually(lambda: all(b"meanwhile" in two.on(channel) for channel in of_others))

            # Its replica takes over.
            await eventually(lambda: one.bus.alive and two.bus.alive, within_s=30.0)
            assert await one.bus.subscribe(of_first[0])
            for channel in PARTITIONS:
                one.bus.publish(channel, b"after")
            await eventually(lambda: all(b"after" in two.on(channel) for channel in PARTITIONS))
            assert set(await channels_of(cluster.replica)) >= {f"t:{channel}" for channel in of_first}

            # This one only falls silent: the others do not wait for it.
            third.pause()
            for channel in PARTITIONS:
                one.bus.publish(channel, b"past the sick one")
            others = [channel for channel in PARTITIONS if channel not in of_third]
            await eventually(lambda: all(b"past the sick one" in two.on(channel) for channel in others), within_s=0.5)
            await eventually(lambda: not one.bus.alive and not two.bus.alive)
            third.resume()
            await eventually(lambda: one.bus.alive and two.bus.alive, within_s=30.0)

            # This one has no replica, and comes back.
            troubles = len(one.troubles)
            second.kill()
            await eventually(lambda: not one.bus.alive and not two.bus.alive)
            second.start()
            await eventually(lambda: one.bus.alive and two.bus.alive, within_s=30.0)
            assert len(one.troubles) >= troubles + 2
            for channel in PARTITIONS:
                one.bus.publish(channel, b"at last")
            await eventually(lambda: all(b"at last" in two.on(channel) for channel in PARTITIONS))


async def test_a_cluster_that_is_absent_at_start() -> None:
    async with station("redis+cluster://127.0.0.1:1", times=QUICK) as one:
        assert one.bus.alive is False
        assert len(one.troubles) == 1
        assert await one.bus.subscribe("p:0") is False
        one.bus.publish("p:0", b"nobody")
        assert one.observer.drops == 1
        await eventually(lambda: one.observer.failures.get("topology", 0) >= 3)
        assert len(one.troubles) == 1
        one.bus.unsubscribe("p:0")


async def test_a_cluster_that_appears_later(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("late")
    with Cluster(folder) as cluster:
        for node in cluster.primaries:
            node.kill()
        cluster.replica.kill()
        async with station(cluster.url, times=QUICK) as one:
            assert await one.bus.subscribe("p:0") is False
            for node in (*cluster.primaries, cluster.replica):
                await asyncio.to_thread(node.start)
            await eventually(lambda: one.bus.alive, within_s=30.0)
            assert len(one.troubles) >= 2
            one.bus.publish("p:0", b"here")
            await eventually(lambda: one.on("p:0") == [b"here"])


async def test_a_client_of_a_cluster_closes_cleanly(url: str) -> None:
    client = open_redis(url, RedisLimits(connections=4))
    assert await client.set("key", "value")
    await close_redis(client)
