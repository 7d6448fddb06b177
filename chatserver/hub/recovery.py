"""Filling holes from MongoDB: the reading half of ``feed``.

Pub/sub loses messages, and the last message of a quiet room has no successor to show its loss. So the heads of all
live rooms are compared with the log every few seconds, and at once after any trouble with Redis.
"""

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import Final

from chatserver.hub.live_room import LiveRoom
from chatserver.hub.publication import Publication
from chatserver.metrics import Metrics
from policies.errors import ChatError
from policies.vocabulary import RoomId, Seq
from storage.room_log import RoomLog

REPAIR_AFTER_S: Final = 0.02
"""A hole is often filled by what is already on its way; only then is MongoDB asked."""
FETCH_PAGE: Final = 200
HEADS_PAGE: Final = 1_000
READS_MAX: Final = 8
"""Fetches of a process under way at once: after a long loss of Redis thousands of rooms may have holes."""

logger = logging.getLogger(__name__)


class Recovery:
    """Repairs the streams of a process's live rooms.

    Args:
        sweep_s: pause between two comparisons of heads; the actual one varies by a fifth, so that processes started
            together do not ask together.
        live: the rooms in service, owned by the hub.
        deliver: gives a room's members what its feed handed out.
    """

    def __init__(
        self,
        log: RoomLog,
        sweep_s: float,
        random: Random,
        live: dict[RoomId, LiveRoom],
        deliver: Callable[[LiveRoom, list[Publication]], None],
        metrics: Metrics,
    ) -> None:
        self._log = log
        self._sweep_s = sweep_s
        self._random = random
        self._live = live
        self._deliver = deliver
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._due: set[RoomId] = set()
        self._reads = asyncio.Semaphore(READS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    def sweep_now(self) -> None:
        """Something may have been lost: do not wait for the next sweep."""
        self._asked.set()

    def repair_soon(self, live: LiveRoom) -> None:
        """A hole was seen. Unless it closes by itself in a moment, it is fetched."""
        if live.id not in self._due:
            self._due.add(live.id)
            delay = max(REPAIR_AFTER_S, live.feed.retry_at - self._loop.time())
            self._loop.call_later(delay, self._repair, live.id)

    async def run(self) -> None:
        """Sweep until cancelled."""
        try:
            while True:
                try:
                    async with asyncio.timeout(self._sweep_s * self._random.uniform(0.8, 1.2)):
                        await self._asked.wait()
                except TimeoutError:
                    pass
                self._asked.clear()
                await self.sweep()
        finally:
            for task in self._tasks:
                task.cancel()

    async def sweep(self) -> None:
        """Compare every live room's head with the log once."""
        rooms = [room_id for room_id, live in self._live.items() if live.feed.started]
        for start in range(0, len(rooms), HEADS_PAGE):
            try:
                heads = await self._log.heads(rooms[start : start + HEADS_PAGE])
            except ChatError as error:
                logger.warning("heads could not be compared", extra={"code": error.code.value})
                return
            for room_id, head in heads.items():
                self._compare(room_id, head)

    def _compare(self, room_id: RoomId, head: Seq) -> None:
        live = self._live.get(room_id)
        if live is None or not live.feed.started:
            return
        if head > live.feed.known_head:
            live.feed.learn_head(head)
            self._metrics.tails_repaired.inc()
        if live.feed.missing is not None:
            self.repair_soon(live)

    def _repair(self, room_id: RoomId) -> None:
        self._due.discard(room_id)
        live = self._live.get(room_id)
        if live is None or live.feed.missing is None:
            return
        after = live.feed.begin_fetch(self._loop.time())
        if after is None:
            return
        task = self._loop.create_task(self._fetch(live, Seq(after)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(self, live: LiveRoom, after: Seq) -> None:
        try:
            async with self._reads:
                entries = await self._log.read_after(live.id, after, FETCH_PAGE)
        except ChatError as error:
            logger.warning("a hole could not be filled yet", extra={"room": live.id, "code": error.code.value})
            live.feed.fetch_failed(self._loop.time())
        except BaseException:
            live.feed.fetch_failed(self._loop.time())  # the next sweep finds the hole again
            raise
        else:
            self._metrics.gaps_repaired.inc()
            publications = [Publication.of(entry) for entry in entries]
            self._deliver(live, live.feed.end_fetch(publications, self._loop.time()))
        if live.feed.missing is not None:
            self.repair_soon(live)
