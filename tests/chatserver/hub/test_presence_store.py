"""Presence of several processes against a real server."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from chatserver.hub.hubs import HubRegistry
from chatserver.hub.presence_store import Presence, PresenceReader, PresenceStore
from chatserver.hub.redis_url import Client, RedisLimits, close_redis, open_redis
from policies.vocabulary import PresenceState, Role, RoomId, UserId
from tests.eventually import eventually
from tests.proxy import Proxy

ROOM = RoomId("order-1")
AT = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)
ANNA = Presence(ROOM, UserId("anna"), Role.BUYER, "Anna Ä.", PresenceState.ONLINE, AT)
BEN = Presence(ROOM, UserId("ben|{}"), Role.SELLER, "Ben", PresenceState.AWAY, AT)


class Group:
    """The stores of hubs that share a Redis."""

    def __init__(self, url: str) -> None:
        self.prefix = uuid4().hex
        self._url = url
        self._made: list[tuple[HubRegistry, PresenceStore, Client]] = []

    async def hub(
        self, hub_id: str, url: str | None = None, lease_s: float = 1.0, ttl_s: float = 600.0
    ) -> tuple[HubRegistry, PresenceStore]:
        # Only behind a proxy shall Redis seem to be away; a busy machine alone must not do that.
        client = open_redis(url or self._url, RedisLimits(timeout_s=0.3 if url else 10.0))
        registry = HubRegistry(client, prefix=self.prefix, hub_id=hub_id, lease_s=lease_s)
        store = PresenceStore(client, prefix=self.prefix, hubs=registry, ttl_s=ttl_s, retry_s=0.02)
        await registry.start(lambda change: None)
        await store.start()
        self._made.append((registry, store, client))
        return registry, store

    async def close(self) -> None:
        for registry, store, client in self._made:
            await store.stop()
            await registry.leave()
            await close_redis(client)


@pytest.fixture
async def group(redis_url: str) -> AsyncIterator[Group]:
    group = Group(redis_url)
    yield group
    await group.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


async def test_what_one_process_stores_the_others_read(group: Group) -> None:
    _, one = await group.hub("one")
    _, two = await group.hub("two")
    assert await one.set_many([ANNA, BEN])
    assert await two.of_room(ROOM) == [ANNA, BEN]
    assert await two.contributions(ROOM) == [("one", ANNA), ("one", BEN)]
    assert await two.of_room(RoomId("other")) == []


async def test_the_last_of_several_changes_counts(group: Group) -> None:
    _, one = await group.hub("one")
    away = replace(ANNA, state=PresenceState.AWAY)
    assert await one.set_many([ANNA, away, ANNA, away])
    assert await one.of_room(ROOM) == [away]


async def test_a_user_of_two_processes_has_the_better_state_of_both(group: Group) -> None:
    _, one = await group.hub("one")
    _, two = await group.hub("two")
    earlier = replace(ANNA, since=AT - timedelta(hours=1))
    await one.set_many([replace(ANNA, state=PresenceState.AWAY, since=AT - timedelta(days=1))])
    await two.set_many([ANNA])
    assert await one.of_room(ROOM) == [ANNA]
    await one.set_many([earlier])
    assert await two.of_room(ROOM) == [earlier]
    await one.remove_many([(ROOM, ANNA.user)])
    assert await two.of_room(ROOM) == [ANNA]


async def test_many_rooms_at_once(group: Group) -> None:
    _, one = await group.hub("one")
    _, two = await group.hub("two")
    rooms = [RoomId(f"order-{number}") for number in range(1200)]
    assert await one.set_many(replace(ANNA, room=room) for room in rooms)
    found = await two.of_rooms([*rooms, RoomId("empty")])
    assert found == {**{room: [replace(ANNA, room=room)] for room in rooms}, RoomId("empty"): []}
    assert await one.remove_many((room, ANNA.user) for room in rooms)
    assert not any((await two.of_rooms(rooms)).values())


async def test_nothing_to_do_needs_no_redis(group: Group) -> None:
    _, one = await group.hub("one")
    assert await one.set_many([])
    assert await one.remove_many([])
    assert await one.of_rooms([]) == {}


async def test_users_of_a_dead_process_do_not_count_and_are_cleared_away(
    group: Group, redis: Redis, redis_url: str
) -> None:
    async with Proxy(redis_url) as proxy:
        _, dead = await group.hub("dead", proxy.url, lease_s=0.3)
        registry, one = await group.hub("one", lease_s=0.3)
        await dead.set_many([ANNA])
        await one.set_many([BEN])
        assert await one.of_room(ROOM) == [ANNA, BEN]
        proxy.hold()
        await eventually(lambda: registry.live == ("one",))
        assert await one.of_room(ROOM) == [BEN]
        assert await redis.hkeys(f"{group.prefix}:presence:{ROOM}") == [b"one|ben|{}"]


async def test_users_of_a_process_that_is_not_known_yet_do_count(group: Group) -> None:
    registry, one = await group.hub("one", lease_s=600.0)
    _, new = await group.hub("new")
    await new.set_many([ANNA])
    assert "new" not in registry.live
    assert await one.of_room(ROOM) == [ANNA]
    assert "new" in registry.live


async def test_while_redis_is_away_nothing_is_known_and_nothing_is_forgotten(group: Group, redis_url: str) -> None:
    _, two = await group.hub("two")
    async with Proxy(redis_url) as proxy:
        _, one = await group.hub("one", proxy.url, lease_s=600.0)
        await one.set_many([ANNA])
        proxy.hold()
        assert await one.set_many([BEN]) is False
        assert await one.remove_many([(ROOM, ANNA.user)]) is False
        assert await one.of_room(ROOM) == []
        assert await one.announce_all() is False
        proxy.let_go()
        # By itself, without being told that Redis is back.
        found: list[Presence] = []

        async def look() -> None:
            found[:] = await two.of_room(ROOM)

        await eventually(lambda: found == [BEN], look)


async def test_a_redis_that_lost_everything_is_told_everything(group: Group, redis: Redis) -> None:
    _, one = await group.hub("one")
    await one.set_many([ANNA, BEN])
    await redis.delete(f"{group.prefix}:presence:{ROOM}")
    assert await one.of_room(ROOM) == []
    assert await one.announce_all()
    assert await one.of_room(ROOM) == [ANNA, BEN]


async def test_nothing_stays_for_ever_and_what_is_true_is_kept(group: Group, redis: Redis) -> None:
    _, one = await group.hub("one", ttl_s=0.6)
    key = f"{group.prefix}:presence:{ROOM}"
    await one.set_many([ANNA])
    assert 0 < await redis.pttl(key) <= 600
    await redis.persist(key)
    left = 0

    async def look() -> None:
        nonlocal left
        left = await redis.pttl(key)

    await eventually(lambda: left > 0, look)


async def test_a_process_that_stops_takes_its_users_away(group: Group) -> None:
    _, one = await group.hub("one")
    _, two = await group.hub("two")
    await one.set_many([ANNA])
    await two.set_many([BEN])
    await one.stop()
    assert await two.of_room(ROOM) == [BEN]


async def test_a_process_that_is_no_hub_sees_who_is_online(group: Group, redis_url: str, redis: Redis) -> None:
    _, one = await group.hub("one")
    _, two = await group.hub("two")
    other = RoomId("order-2")
    await one.set_many([ANNA, BEN, replace(BEN, room=other, state=PresenceState.ONLINE)])
    await two.set_many([replace(ANNA, room=other, state=PresenceState.AWAY)])
    client = open_redis(redis_url)
    reader = PresenceReader(client, group.prefix)
    empty = RoomId("order-3")
    assert await reader.online([ROOM, other, empty]) == {ROOM: {"anna"}, other: {"ben|{}"}, empty: set()}
    assert await reader.online([]) == {}
    assert sorted(await redis.zrange(f"{group.prefix}:hubs", 0, -1)) == [b"one", b"two"], "it did not become a hub"
    await redis.zrem(f"{group.prefix}:hubs", "one")
    assert (await reader.online([ROOM]))[ROOM] == set(), "what a dead hub left behind does not count"
    await close_redis(client)


async def test_without_redis_nobody_is_known_to_be_online() -> None:
    client = open_redis("redis://127.0.0.1:1", RedisLimits(timeout_s=0.3))
    assert await PresenceReader(client, "p").online([ROOM]) == {ROOM: set()}
    await close_redis(client)
