"""The sending half of the bus: one connection to one shard, one round trip in flight."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from redis.exceptions import ResponseError

from chatserver.hub.redis_url import REDIS_ERRORS
from chatserver.hub.shards import Link, Shards
from chatserver.hub.tasks import end

log = logging.getLogger(__name__)

Uniform = Callable[[float, float], float]
"""A random number between two, such as ``random.Random().uniform``."""


@dataclass(frozen=True, slots=True)
class BusTimes:
    """The bus's times in seconds and its bounds.

    Args:
        connect_s: longest wait for a connection.
        reply_s: longest wait for the answers to a batch of publications.
        confirm_s: longest wait of ``Bus.subscribe`` for Redis to confirm.
        probe_every_s: pause between liveness probes of a subscription.
        probe_within_s: how long a probe may take before the subscription counts as lost.
        stale_s: a publication that could not be sent for so long is dropped.
        retry_base_s, retry_cap_s: pauses between attempts to connect are random between 0 and the base, doubled
            with each failure up to the cap (full jitter).
        queue_messages: publications that may wait for a shard; beyond it the oldest is dropped.
        queue_bytes: likewise, in bytes.
        batch_bytes: publications of about this size go out together.
    """

    connect_s: float = 2.0
    reply_s: float = 3.0
    confirm_s: float = 2.0
    probe_every_s: float = 1.0
    probe_within_s: float = 3.0
    stale_s: float = 5.0
    retry_base_s: float = 0.1
    retry_cap_s: float = 2.0
    queue_messages: int = 20_000
    queue_bytes: int = 32 * 1024 * 1024
    batch_bytes: int = 256 * 1024

    def pause(self, failures: int, uniform: Uniform) -> float:
        """How long to wait after so many failures in a row."""
        return uniform(0.0, min(self.retry_cap_s, self.retry_base_s * 2.0 ** min(failures, 16)))


DEFAULT_TIMES: Final = BusTimes()


class BusObserver(Protocol):
    """Told what the bus does; made for counters, so every call must be cheap and must not raise."""

    def published(self, count: int) -> None:
        """So many publications were taken by Redis."""

    def received(self, count: int) -> None:
        """So many publications arrived since the last call."""

    def dropped(self, count: int) -> None:
        """So many publications were given up: queue full, too old, or lost with a connection."""

    def failed(self, what: str) -> None:
        """Something went wrong: ``connect``, ``publish``, ``subscription``, ``probe``, ``callback``, ``topology``."""

    def alive(self, alive: bool) -> None:
        """Whether all subscriptions are known to work."""


class Publisher:
    """Sends publications of one shard in order. What waits while a round trip is under way goes out with the next."""

    def __init__(
        self,
        shard: str,
        shards: Shards,
        times: BusTimes,
        uniform: Uniform,
        observer: BusObserver,
        on_refused: Callable[[ResponseError], None],
        on_unheard: Callable[[str], None],
    ) -> None:
        self._shard = shard
        self._shards = shards
        self._times = times
        self._uniform = uniform
        self._observer = observer
        self._on_refused = on_refused
        self._on_unheard = on_unheard
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, bytes, str]] = deque()  # since when, what, to whom
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._connected = False
        self._stopping = False
        self._failures = 0
        self._task = self._loop.create_task(self._run(), name=f"bus publisher {shard}")

    def put(self, command: bytes, channel: str) -> None:
        """Queue one encoded publication to a channel. Never blocks, never raises."""
        times = self._times
        queue = self._queue
        queue.append((self._loop.time(), command, channel))
        self._queued_bytes += len(command)
        if len(queue) > times.queue_messages or self._queued_bytes > times.queue_bytes:
            self._queued_bytes -= len(queue.popleft()[1])
            self._observer.dropped(1)
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Publications in the queue."""
        return len(self._queue)

    async def stop(self) -> None:
        """Send what is queued if there is a connection, for as long as one answer may take, and close it."""
        self._stopping = True
        self._wake.set()
        if self._connected:
            await asyncio.wait({self._task}, timeout=self._times.reply_s)
        await end(self._task)
        if self._queue:
            self._observer.dropped(len(self._queue))
            self._queue.clear()

    async def _run(self) -> None:
        await self._wake.wait()
        while self._queue or not self._stopping:
            what = "connect"
            try:
                link = await self._shards.dial(self._shard)
                what = "publish"
                try:
                    self._connected = True
                    await self._send_all(link)
                finally:
                    self._connected = False
                    await link.disconnect(nowait=True)
            except REDIS_ERRORS as error:
                log.debug("publishing to %s: %s failed: %s", self._shard, what, error)
            except Exception:
                # A fault of ours must not silence the process for good.
                log.exception("publishing to %s broke", self._shard)
            else:
                continue  # sent what was left before the stop
            self._observer.failed(what)
            self._drop_stale()
            await asyncio.sleep(self._times.pause(self._failures, self._uniform))
            self._failures += 1

    async def _send_all(self, link: Link) -> None:
        while True:
            self._drop_stale()
            batch, channels = self._next_batch()
            if not batch:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            taken = 0
            try:
                async with asyncio.timeout(self._times.reply_s):
                    await link.send_packed_command(b"".join(batch), check_health=False)
                    for channel in channels:
                        try:
                            receivers = await link.read_response()
                        except ResponseError as error:
                            self._observer.failed("publish")
                            self._on_refused(error)
                        else:
                            taken += 1
                            if receivers == 0:
                                self._on_unheard(channel)
                self._failures = 0
            finally:
                # Sent once and never again: whoever misses one repairs from the log.
                self._observer.published(taken)
                if taken < len(batch):
                    self._observer.dropped(len(batch) - taken)

    def _next_batch(self) -> tuple[list[bytes], list[str]]:
        queue = self._queue
        batch: list[bytes] = []
        channels: list[str] = []
        size = 0
        while queue and size < self._times.batch_bytes:
            _, command, channel = queue.popleft()
            size += len(command)
            batch.append(command)
            channels.append(channel)
        self._queued_bytes -= size
        return batch, channels

    def _drop_stale(self) -> None:
        queue = self._queue
        oldest = self._loop.time() - self._times.stale_s
        dropped = 0
        while queue and queue[0][0] < oldest:
            self._queued_bytes -= len(queue.popleft()[1])
            dropped += 1
        if dropped:
            self._observer.dropped(dropped)
