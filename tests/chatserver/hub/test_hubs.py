"""The registry of hubs against a real server."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from chatserver.hub.hubs import HubChange, HubRegistry, writer_of
from chatserver.hub.redis_url import Client, RedisLimits, close_redis, open_redis
from tests.eventually import eventually
from tests.proxy import Proxy


class Changes(list[HubChange]):
    """What a registry told."""

    @property
    def joined(self) -> list[str]:
        return [hub for change in self for hub in change.joined]

    @property
    def gone(self) -> list[str]:
        return [hub for change in self for hub in change.gone]


class Group:
    """Registries of one group of hubs."""

    def __init__(self, url: str) -> None:
        self.prefix = uuid4().hex
        self._url = url
        self._made: list[tuple[HubRegistry, Client]] = []

    def make(self, hub_id: str, lease_s: float = 1.0, url: str | None = None) -> HubRegistry:
        client = open_redis(url or self._url, RedisLimits(timeout_s=0.5 if url else 10.0))
        registry = HubRegistry(client, prefix=self.prefix, hub_id=hub_id, lease_s=lease_s)
        self._made.append((registry, client))
        return registry

    async def close(self) -> None:
        for registry, client in self._made:
            await registry.leave()
            await close_redis(client)


@pytest.fixture
async def group(redis_url: str) -> AsyncIterator[Group]:
    group = Group(redis_url)
    yield group
    await group.close()


async def test_hubs_learn_of_each_other(group: Group) -> None:
    b, a = group.make("b"), group.make("a")
    of_a, of_b = Changes(), Changes()
    await b.start(of_b.append)
    assert b.live == ("b",)
    assert of_b == []
    await a.start(of_a.append)
    assert a.live == ("a", "b")
    assert of_a == [HubChange(joined=("b",))]
    await eventually(lambda: b.live == ("a", "b"))
    assert of_b == [HubChange(joined=("a",))]


async def test_one_that_leaves_is_gone_at_the_next_announcement(group: Group) -> None:
    a, b = group.make("a"), group.make("b", lease_s=600.0)
    told = Changes()
    await b.start(Changes().append)
    await a.start(told.append)
    await b.leave()
    assert b.live == ("b",)
    assert await b.announce() is False, "who has left does not come back by accident"
    await eventually(lambda: a.live == ("a",))
    assert told.gone == ["b"]


async def test_one_that_falls_silent_is_gone_when_its_lease_ends(group: Group, redis_url: str) -> None:
    async with Proxy(redis_url) as proxy:
        silent, a = group.make("silent", 0.4, proxy.url), group.make("a", 0.4)
        of_silent, of_a = Changes(), Changes()
        await silent.start(of_silent.append)
        await a.start(of_a.append)
        await eventually(lambda: "a" in of_silent.joined)
        proxy.hold()
        await eventually(lambda: of_a.gone == ["silent"])
        assert a.live == ("a",)
        assert await silent.announce() is False
        assert silent.live == ("a", "silent"), "while Redis is away the last known hubs count"

        proxy.let_go()
        await eventually(lambda: any(change.lapsed for change in of_silent))
        await eventually(lambda: a.live == ("a", "silent"))


async def test_one_that_leaves_while_redis_is_away_is_alone(group: Group, redis_url: str) -> None:
    async with Proxy(redis_url) as proxy:
        a, b = group.make("a"), group.make("b", url=proxy.url)
        await a.start(Changes().append)
        await b.start(Changes().append)
        proxy.hold()
        await b.leave()
        assert b.live == ("b",)


async def test_a_redis_that_lost_everything_is_a_lapsed_lease(group: Group, redis_url: str) -> None:
    a = group.make("a")
    told = Changes()
    await a.start(told.append)
    async with Redis.from_url(redis_url) as client:
        await client.delete(f"{group.prefix}:hubs")
    await eventually(lambda: told == [HubChange(lapsed=True)])


async def test_a_change_that_cannot_be_handled_does_not_end_the_lease(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = group.make("a"), group.make("b")

    def fail(change: HubChange) -> None:
        raise ValueError(str(change))

    await a.start(fail)
    await b.start(Changes().append)
    await eventually(lambda: "could not be handled" in caplog.text)
    await b.leave()
    await eventually(lambda: a.live == ("a",))


@given(st.sets(st.text(min_size=1), min_size=1, max_size=20), st.integers(0, 1023))
def test_every_hub_agrees_on_the_writer_of_a_partition(hubs: set[str], partition: int) -> None:
    assert writer_of(partition, sorted(hubs)) == sorted(hubs)[partition % len(hubs)]


def test_partitions_are_shared_out_evenly() -> None:
    hubs = ["a", "b", "c"]
    writers = [writer_of(partition, hubs) for partition in range(9)]
    assert {hub: writers.count(hub) for hub in hubs} == {"a": 3, "b": 3, "c": 3}
