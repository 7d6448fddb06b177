"""Tells the hubs of entries that a process without a hub has appended, such as a worker."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from redis.exceptions import ResponseError

from chatserver.hub.live_room import partition_channel, partition_of
from chatserver.hub.mailbag import Mailbag
from chatserver.hub.outlet import Outlet
from chatserver.hub.publication import Publication
from chatserver.hub.publisher import DEFAULT_TIMES, BusObserver, BusTimes, Uniform
from chatserver.hub.redis_url import REDIS_ERRORS, Client
from chatserver.hub.shards import shards_of
from chatserver.hub.tasks import end
from policies.entry import Entry

REFRESH_PAUSE_S: Final = 1.0
"""Before it is asked again who carries the channels."""

log = logging.getLogger(__name__)


class Announcer:
    """The sending half of a hub: it subscribes to nothing, and costs nothing while there is nothing to tell.

    With Redis away, what is announced is dropped after a few seconds; the hubs' sweep of heads finds the entries.

    Args:
        client: from ``open_redis``; connections of its own are opened beside the client's pool.
        prefix: of every channel.
        partitions: channels that rooms are spread over; the same on all processes.
        sender: unlike the id of any hub or other announcer.
        uniform: a random number between two.
        observer: told what happens, for metrics.
        times: all times and bounds.
    """

    def __init__(
        self,
        client: Client,
        *,
        prefix: str,
        partitions: int,
        sender: str,
        uniform: Uniform,
        observer: BusObserver,
        times: BusTimes = DEFAULT_TIMES,
    ) -> None:
        self._shards = shards_of(client, times.connect_s)
        self._partitions = partitions
        self._observer = observer
        self._disturbed = asyncio.Event()
        self._outlet = Outlet(
            self._shards,
            prefix=prefix,
            times=times,
            uniform=uniform,
            observer=observer,
            on_refused=self._refused,
            on_homeless=self._disturbed.set,
        )
        self._mailbag = Mailbag(sender, self._outlet.put, asyncio.get_running_loop().call_soon)
        self._tending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Get to know the shards. Redis may be away: then it is asked again and again."""
        self._outlet.open()
        if self._shards.movable:
            await self._refresh()
            self._tending = asyncio.create_task(self._tend(), name="announcer's shards")

    async def stop(self) -> None:
        """Send what is queued, as far as Redis takes it, and close every connection."""
        await asyncio.sleep(0)  # what was announced in this turn leaves the mailbag with its end
        if self._tending is not None:
            await end(self._tending)
        await asyncio.gather(*(publisher.stop() for publisher in self._outlet.close()))

    def announce(self, entries: Sequence[Entry]) -> None:
        """Tell of entries that are in the log. Never blocks and never raises."""
        for entry in entries:
            channel = partition_channel(partition_of(entry.room, self._partitions))
            self._mailbag.put(channel, "entries", Publication.of(entry).fields())

    def _refused(self, error: ResponseError) -> None:
        log.warning("Redis refused a publication: %s", error)
        self._disturbed.set()

    async def _tend(self) -> None:
        """Whenever who carries which channel seems to have changed, ask."""
        while True:
            await self._disturbed.wait()
            await asyncio.sleep(REFRESH_PAUSE_S)
            await self._refresh()

    async def _refresh(self) -> None:
        self._disturbed.clear()
        try:
            await self._shards.refresh()
        except REDIS_ERRORS as error:
            log.debug("the owners of the channels could not be read: %s", error)
            self._observer.failed("topology")
            self._disturbed.set()
        else:
            await asyncio.gather(*(publisher.stop() for publisher in self._outlet.rearranged()))
