"""Connections of a user over several processes against a real server."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from chatserver.hub.hubs import HubRegistry
from chatserver.hub.redis_url import Client, RedisLimits, close_redis, open_redis
from chatserver.hub.seats import Seats
from policies.vocabulary import UserId
from tests.eventually import eventually
from tests.proxy import Proxy

ANNA = UserId("anna")
BEN = UserId("ben {1}")


class Group:
    """The seats of hubs that share a Redis."""

    def __init__(self, url: str) -> None:
        self.prefix = uuid4().hex
        self._url = url
        self._made: list[tuple[HubRegistry, Seats, Client]] = []

    async def hub(
        self, hub_id: str, url: str | None = None, lease_s: float = 1.0, seat_s: float = 600.0
    ) -> tuple[HubRegistry, Seats]:
        # Only behind a proxy shall Redis seem to be away; a busy machine alone must not do that.
        limits = RedisLimits(timeout_s=0.3) if url else RedisLimits(timeout_s=10.0, connect_timeout_s=10.0)
        client = open_redis(url or self._url, limits)
        registry = HubRegistry(client, prefix=self.prefix, hub_id=hub_id, lease_s=lease_s)
        seats = Seats(client, prefix=self.prefix, hubs=registry, limit=3, lease_s=seat_s, retry_s=0.02)
        await registry.start(lambda change: None)
        await seats.start()
        self._made.append((registry, seats, client))
        return registry, seats

    async def close(self) -> None:
        for registry, seats, client in self._made:
            await seats.stop()
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


async def test_the_limit_holds_over_all_processes(group: Group) -> None:
    _, one = await group.hub("one")
    _, two = await group.hub("two")
    assert await one.take(ANNA, "1")
    assert await two.take(ANNA, "2")
    assert await one.take(ANNA, "3")
    assert not await two.take(ANNA, "4")
    assert not await one.take(ANNA, "4")
    assert await two.take(BEN, "4"), "everybody has their own seats"
    await one.release(ANNA, "1")
    assert await two.take(ANNA, "5")
    assert not await one.take(ANNA, "6")


async def test_a_seat_that_is_taken_again_is_one_seat(group: Group) -> None:
    _, one = await group.hub("one")
    for _ in range(5):
        assert await one.take(ANNA, "1")
    assert await one.take(ANNA, "2")
    assert await one.take(ANNA, "3")
    assert await one.take(ANNA, "1")
    assert not await one.take(ANNA, "4")


async def test_only_so_many_of_those_who_come_at_once(group: Group) -> None:
    # Nor may the lease of a busy hub run out meanwhile.
    _, one = await group.hub("one", lease_s=5.0)
    _, two = await group.hub("two", lease_s=5.0)
    taken = await asyncio.gather(
        *(hub.take(ANNA, str(number)) for number, hub in enumerate([one, two] * 10)),
        *(one.take(UserId(f"user-{number}"), "1") for number in range(700)),
    )
    assert sum(taken[:20]) == 3
    assert all(taken[20:])


async def test_giving_back_what_is_not_held_does_nothing(group: Group) -> None:
    _, one = await group.hub("one")
    await one.release(ANNA, "never taken")
    assert await one.take(ANNA, "1")
    await one.release(ANNA, "2")
    await one.release(ANNA, "1")
    await one.release(ANNA, "1")


async def test_those_who_come_back_after_a_crash_are_not_refused_for_the_seats_they_had(
    group: Group, redis_url: str
) -> None:
    async with Proxy(redis_url) as proxy:
        registry, one = await group.hub("one", lease_s=0.8)
        _, dead = await group.hub("dead", proxy.url, lease_s=0.8)
        for number in range(3):
            assert await dead.take(ANNA, str(number))
        assert not await one.take(ANNA, "3"), "it showed that it lives"
        proxy.hold()
        assert "dead" in registry.live
        assert await asyncio.gather(*(one.take(ANNA, str(number)) for number in range(3, 6))) == [True] * 3
        assert not await one.take(ANNA, "6")


async def test_a_hub_without_a_registration_refuses_in_bounded_time(group: Group) -> None:
    registry, one = await group.hub("one", lease_s=0.2)
    _, two = await group.hub("two")
    for number in range(3):
        assert await two.take(ANNA, str(number))
    await registry.leave()
    assert not await one.take(ANNA, "3")


async def test_seats_of_a_process_that_is_not_known_yet_are_taken(group: Group) -> None:
    registry, one = await group.hub("one", lease_s=4.0)
    _, new = await group.hub("new")
    for number in range(3):
        assert await new.take(ANNA, str(number))
    assert registry.live == ("one",)
    assert not await one.take(ANNA, "3")


async def test_while_redis_is_away_each_process_counts_its_own(group: Group, redis_url: str) -> None:
    _, two = await group.hub("two")
    async with Proxy(redis_url) as proxy:
        _, one = await group.hub("one", proxy.url, lease_s=600.0)
        assert await two.take(ANNA, "1")
        assert await one.take(ANNA, "2")
        proxy.hold()
        assert await one.take(ANNA, "3")
        assert await one.take(ANNA, "4"), "more than allowed over both, but nobody can know"
        assert not await one.take(ANNA, "5")
        await one.release(ANNA, "2")
        assert await one.take(ANNA, "5")
        assert await one.renew() is False
        proxy.let_go()

        # Afterwards three on one and one on two are too many, so the next is refused; nobody is thrown out.
        outcome: list[bool] = []

        async def look() -> None:
            await two.release(ANNA, "6")
            outcome[:] = [await two.take(ANNA, "6")]

        await eventually(lambda: outcome == [False], look)
        await one.release(ANNA, "3")
        await one.release(ANNA, "4")
        assert await two.take(ANNA, "6"), "the seat given back while Redis was away is free"


async def test_seats_that_redis_lost_count_again(group: Group, redis: Redis) -> None:
    _, one = await group.hub("one")
    _, two = await group.hub("two")
    for number in range(3):
        await one.take(ANNA, str(number))
    await redis.delete(f"{group.prefix}:seats:{ANNA}")
    assert await one.renew()
    assert not await two.take(ANNA, "3")


async def test_seats_are_renewed_and_lapse_otherwise(group: Group, redis: Redis) -> None:
    _, one = await group.hub("one", seat_s=0.6)
    await one.take(ANNA, "1")
    await redis.persist(f"{group.prefix}:seats:{ANNA}")
    left = 0

    async def look() -> None:
        nonlocal left
        left = await redis.pttl(f"{group.prefix}:seats:{ANNA}")

    await eventually(lambda: 0 < left <= 600, look)
    await one.stop()
    _, two = await group.hub("two")
    seats = 1

    async def count() -> None:
        nonlocal seats
        seats = await redis.exists(f"{group.prefix}:seats:{ANNA}")

    await eventually(lambda: seats == 0, count)
    for number in range(3):
        assert await two.take(ANNA, str(number))


async def test_a_seat_whose_taking_was_given_up_is_free(group: Group) -> None:
    _, one = await group.hub("one")
    task = asyncio.create_task(one.take(ANNA, "1"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for number in range(2, 5):
        assert await one.take(ANNA, str(number))
    assert not await one.take(ANNA, "5")
