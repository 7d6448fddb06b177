"""The bus and its neighbours on a master that Sentinels watch, over a failover."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from chatserver.hub.hubs import HubRegistry
from chatserver.hub.redis_url import RedisLimits, close_redis, open_redis
from tests.chatserver.hub.station import QUICK, station
from tests.eventually import eventually
from tests.system.redis_groups import Watched


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with Watched(tmp_path) as group:
        yield group


@pytest.mark.parametrize("how", ["killed", "silent"])
async def test_a_failover_is_trouble_and_then_all_is_well_at_the_new_master(watched: Watched, how: str) -> None:
    times = replace(QUICK, probe_within_s=0.5, reply_s=0.5)
    client = open_redis(watched.url, RedisLimits(timeout_s=0.5, connect_timeout_s=0.5))
    registry = HubRegistry(client, prefix="t", hub_id="one", lease_s=2.0)
    async with station(watched.url, "one", times=times) as one, station(watched.url, "two", times=times) as two:
        assert one.bus.alive
        await registry.start(lambda change: None)
        await one.bus.subscribe("p:0")
        await two.bus.subscribe("p:0")
        one.bus.publish("p:0", b"before")
        await eventually(lambda: two.on("p:0") == [b"before"])
        if how == "killed":
            watched.master.kill()
        else:
            watched.master.pause()
        await eventually(lambda: not one.bus.alive and not two.bus.alive)
        await eventually(lambda: one.bus.alive and two.bus.alive, within_s=30.0)
        for each in (one, two):
            assert "lost" in each.troubles[0]
            assert "back" in each.troubles[-1]
        one.bus.publish("p:0", b"after")
        await eventually(lambda: two.on("p:0") == [b"before", b"after"])
        assert await registry.announce()
        assert registry.live == ("one",)
        async with Redis.from_url(watched.replica.url) as new_master:
            assert (await new_master.info("replication"))["role"] == "master"
            assert dict(await new_master.pubsub_numsub("t:p:0")) == {b"t:p:0": 2}
        await registry.leave()
    await close_redis(client)
