"""Which hub processes live, told by leases in Redis, and which of them writes a partition."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chatserver.hub.redis_url import REDIS_ERRORS, Client

log = logging.getLogger(__name__)

# Redis's clock alone counts, so that processes need not agree on the time. Answers: whether this hub's lease was
# still running, then the living hubs.
_ANNOUNCE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2] * 10)
local answer = redis.call('ZRANGE', KEYS[1], 0, -1)
table.insert(answer, 1, (held and tonumber(held) > now) and '1' or '0')
return answer
"""


@dataclass(frozen=True, slots=True)
class HubChange:
    """What is different since the last announcement.

    Args:
        joined: hubs that were not there before.
        gone: hubs whose lease ended or that left.
        lapsed: this hub's own lease had ended, so others may have dropped what it keeps in Redis: announce it anew.
    """

    joined: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    lapsed: bool = False


class HubRegistry:
    """Keeps this hub's lease and knows the other hubs.

    While Redis is away the last known hubs count; this hub itself always does.

    Args:
        lease_s: a hub that did not announce itself for so long is gone. Announced every quarter of it.
    """

    def __init__(self, client: Client, *, prefix: str, hub_id: str, lease_s: float) -> None:
        self.hub_id = hub_id
        self._client = client
        self._key = f"{prefix}:hubs"
        self._lease_s = lease_s
        self._on_change: Callable[[HubChange], None] | None = None
        self._live: tuple[str, ...] = (hub_id,)
        self._announced = False
        self._task: asyncio.Task[None] | None = None

    @property
    def live(self) -> tuple[str, ...]:
        """Ids of the living hubs, sorted, this one among them."""
        return self._live

    async def start(self, on_change: Callable[[HubChange], None]) -> None:
        """Announce this hub, now and from now on. Redis may be away.

        Args:
            on_change: called when hubs came or went, and when this hub's own lease had lapsed.
        """
        self._on_change = on_change
        await self.announce()
        self._task = asyncio.create_task(self._keep(), name="hub lease")

    async def leave(self) -> None:
        """End the announcements and give the lease back, so that the others need not wait for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._announced = False
        self._live = (self.hub_id,)
        try:
            await self._client.zrem(self._key, self.hub_id)
        except REDIS_ERRORS as error:
            log.debug("the hub could not take leave: %s", error)

    async def announce(self) -> bool:
        """Renew the lease and learn who lives. False when Redis is away: the last known hubs stay."""
        try:
            # redis-py's types cannot tell the asyncio form of eval from the other on a union of clients.
            answer: Any = await self._client.eval(
                _ANNOUNCE, 1, self._key, self.hub_id, str(round(self._lease_s * 1000))
            )
        except REDIS_ERRORS as error:
            log.debug("the hub could not announce itself: %s", error)
            return False
        held, *found = [item.decode() for item in answer]
        lapsed = self._announced and held == "0"
        self._announced = True
        before, self._live = self._live, tuple(sorted(found))
        change = HubChange(
            joined=tuple(hub for hub in self._live if hub not in before),
            gone=tuple(hub for hub in before if hub not in self._live),
            lapsed=lapsed,
        )
        if change != HubChange() and self._on_change is not None:
            self._on_change(change)
        return True

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 4)
            await self.announce()


def writer_of(partition: int, hubs: Sequence[str]) -> str:
    """The hub that appends the messages of a partition, the same seen from every hub with the same list.

    Args:
        hubs: sorted ids of the living hubs, at least one.
    """
    return hubs[partition % len(hubs)]
