"""Which hub processes live, told by leases in Redis, and which of them writes a partition."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chatserver.hub.redis_url import REDIS_ERRORS, Client
from chatserver.hub.round_trips import RoundTrips
from chatserver.hub.tasks import end

log = logging.getLogger(__name__)

# Redis's clock alone counts, so that processes need not agree on the time. Answers: whether this hub's lease was
# still running, then the living hubs, each with the end of its lease.
_ANNOUNCE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2] * 10)
local answer = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
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
        self.lease_s = lease_s
        self._trips = RoundTrips(client)
        self._key = f"{prefix}:hubs"
        self._on_change: Callable[[HubChange], None] | None = None
        self._live: tuple[str, ...] = (hub_id,)
        self._leases: dict[str, int] = {}
        self._member = False
        """Between ``start`` and ``leave``."""
        self._announced_at: float | None = None
        """When the last announcement that Redis took was sent, on the event loop's clock."""
        self._task: asyncio.Task[None] | None = None

    @property
    def live(self) -> tuple[str, ...]:
        """Ids of the living hubs, sorted, this one among them."""
        return self._live

    @property
    def leases(self) -> Mapping[str, int]:
        """When the lease of each living hub ends, in milliseconds of Redis's clock: a later end is a sign of life."""
        return self._leases

    async def start(self, on_change: Callable[[HubChange], None]) -> None:
        """Announce this hub, now and from now on. Redis may be away.

        Args:
            on_change: called when hubs came or went, and when this hub's own lease had lapsed.
        """
        self._on_change = on_change
        self._member = True
        await self.announce()
        self._task = asyncio.create_task(self._keep(), name="hub lease")

    async def leave(self) -> None:
        """End the announcements and give the lease back, so that the others need not wait for its end."""
        await end(self._task)
        self._member = False
        self._announced_at = None
        self._live = (self.hub_id,)
        try:
            await self._trips.run([("ZREM", self._key, self.hub_id)])
        except REDIS_ERRORS as error:
            log.debug("the hub could not take leave: %s", error)

    async def announce(self) -> bool:
        """Renew the lease and learn who lives.

        Returns:
            False when Redis is away, and the last known hubs stay; also before ``start`` and after ``leave``.
        """
        if not self._member:
            return False
        now = asyncio.get_running_loop().time()
        command = ("EVAL", _ANNOUNCE, 1, self._key, self.hub_id, round(self.lease_s * 1000))
        try:
            # Those who ask at the same moment each get an answer that is newer than their question.
            answer = (await self._trips.run([command]))[0]
        except REDIS_ERRORS as error:
            log.debug("the hub could not announce itself: %s", error)
            return False
        if not self._member:
            return False
        held, *found = [item.decode() for item in answer]
        self._leases = {hub: int(float(end)) for hub, end in zip(found[::2], found[1::2], strict=True)}
        # An announcement that was given up here may still have reached Redis late, after others saw the lease end.
        before_this = self._announced_at
        lapsed = before_this is not None and (held == "0" or now - before_this >= self.lease_s)
        self._announced_at = now
        before, self._live = self._live, tuple(sorted(self._leases))
        change = HubChange(
            joined=tuple(hub for hub in self._live if hub not in before),
            gone=tuple(hub for hub in before if hub not in self._live),
            lapsed=lapsed,
        )
        if change != HubChange() and self._on_change is not None:
            try:
                self._on_change(change)
            except Exception:  # who does not renew the lease is taken for dead, which is worse than any fault there
                log.exception("a change of hubs could not be handled")
        return True

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self.lease_s / 4)
            await self.announce()


def writer_of(partition: int, hubs: Sequence[str]) -> str:
    """The hub that appends the messages of a partition, the same seen from every hub with the same list.

    Args:
        hubs: sorted ids of the hubs that write, at least one.
    """
    return hubs[partition % len(hubs)]
