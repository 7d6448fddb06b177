"""The doorbell between processes: publish and subscribe over Redis, delivered at most once.

Nothing here is the truth. A publication may be lost with a connection, with a full queue or with Redis itself; what
the bus promises is order per channel, and to say so whenever something may have been missed, so that the hub compares
its rooms with the log.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from redis.exceptions import ResponseError

from chatserver.hub.outlet import Outlet
from chatserver.hub.publisher import DEFAULT_TIMES, BusObserver, BusTimes, Uniform
from chatserver.hub.redis_url import REDIS_ERRORS, Client
from chatserver.hub.shards import shards_of
from chatserver.hub.subscriber import Subscriber
from chatserver.hub.tasks import end

log = logging.getLogger(__name__)


class BusCounts:
    """The plainest observer: it counts."""

    def __init__(self) -> None:
        self.publications = 0
        self.receptions = 0
        self.drops = 0
        self.failures: dict[str, int] = {}
        self.is_alive = False

    def published(self, count: int) -> None:
        self.publications += count

    def received(self, count: int) -> None:
        self.receptions += count

    def dropped(self, count: int) -> None:
        self.drops += count

    def failed(self, what: str) -> None:
        self.failures[what] = self.failures.get(what, 0) + 1

    def alive(self, alive: bool) -> None:
        self.is_alive = alive


class Bus:
    """Publishes to channels and holds subscriptions, for one hub process.

    Channels are short names such as ``p:3``; the bus puts the prefix before them. Counting who needs a channel is the
    caller's business.

    Args:
        client: from ``open_redis``; the bus opens connections of its own beside the client's pool.
        prefix: of every channel.
        hub_id: of this process, unique among all.
        on_message: called with channel and payload on the event loop, in order per channel. One that raises is
            logged and counted.
        on_trouble: called with a sentence at every loss of a subscription and at every recovery: messages may have
            been missed, compare all rooms. Not called when the bus comes up at once at ``start``.
        uniform: a random number between two, such as ``random.Random().uniform``.
        times: all times and bounds.
        observer: told what happens, for metrics.
        on_unheard: called with a channel that was published to while nobody was subscribed to it.
    """

    def __init__(
        self,
        client: Client,
        *,
        prefix: str,
        hub_id: str,
        on_message: Callable[[str, bytes], None],
        on_trouble: Callable[[str], None],
        uniform: Uniform,
        times: BusTimes = DEFAULT_TIMES,
        observer: BusObserver | None = None,
        on_unheard: Callable[[str], None] | None = None,
    ) -> None:
        self._shards = shards_of(client, times.connect_s)
        self._prefix = prefix
        self._hub_id = hub_id
        self._on_message = on_message
        self._on_trouble = on_trouble
        self._on_unheard = on_unheard
        self._uniform = uniform
        self._times = times
        self._observer = observer or BusCounts()
        self._names: dict[bytes, str] = {}
        """Full name -> short name of the channels that are wanted."""
        self._subscribers: dict[str, Subscriber] = {}
        self._placed: dict[bytes, Subscriber] = {}
        """Who holds a wanted channel; one whose shard is not known is missing here."""
        self._disturbed = asyncio.Event()
        self._outlet = Outlet(
            self._shards,
            prefix=prefix,
            times=times,
            uniform=uniform,
            observer=self._observer,
            on_refused=self._refused,
            on_homeless=self._disturbed.set,
            on_unheard=self._unheard,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._running = False
        self._troubled = False
        """A loss was reported, and not yet that all is well again."""
        self._alive = False

    @property
    def alive(self) -> bool:
        """Whether the subscriptions work: the latest probe came back in time, from every server they are at.

        A server of which nothing was wanted before does not count until its answer is due.
        """
        return self._alive

    @property
    def waiting(self) -> int:
        """Publications that have not been sent yet."""
        return self._outlet.waiting

    async def start(self) -> None:
        """Connect. Returns when the bus is alive, or when the first attempt failed; then it goes on trying."""
        self._running = True
        self._outlet.open()
        try:
            async with asyncio.timeout(self._times.connect_s):
                await self._shards.refresh()
        except REDIS_ERRORS as error:
            self._observer.failed("topology")
            self._lost(f"Redis cannot be reached: {error}")
        self._place()
        if self._shards.movable:
            self._keep(self._tasks, self._tend())
        await asyncio.gather(*(subscriber.tried.wait() for subscriber in self._subscribers.values()))

    async def stop(self) -> None:
        """Send what is queued, then close every connection."""
        self._running = False
        await end(*self._tasks)
        await asyncio.gather(*self._retiring)
        await asyncio.gather(*(publisher.stop() for publisher in self._outlet.close()))
        await asyncio.gather(*(subscriber.stop() for subscriber in self._subscribers.values()))
        self._subscribers.clear()
        self._placed.clear()
        self._judge_alive()

    async def subscribe(self, channel: str) -> bool:
        """Want a channel, and wait until Redis confirmed the subscription.

        Returns:
            True when messages published from now on arrive. False when Redis is away or did not confirm in time:
            the channel stays wanted, is subscribed as soon as that is possible, and ``on_trouble`` is called then.
        """
        full = self._outlet.full_name(channel)
        self._names[full] = channel
        confirmed = self._hold(full)
        if confirmed is None:
            self._judge_alive()
            self._disturbed.set()
            return False
        if confirmed.done():
            return confirmed.result()
        subscriber = self._placed[full]
        if not subscriber.alive and subscriber.tried.is_set():
            return False
        try:
            async with asyncio.timeout(self._times.confirm_s):
                return await asyncio.shield(confirmed)
        except TimeoutError:
            return False

    def unsubscribe(self, channel: str) -> None:
        """No longer want a channel. Messages that are on their way are not handed over."""
        full = self._outlet.full_name(channel)
        self._names.pop(full, None)
        holder = self._placed.pop(full, None)
        if holder is not None:
            holder.remove(full)
        self._judge_alive()

    def publish(self, channel: str, payload: bytes) -> None:
        """Queue a publication. Never blocks and never raises; everything queued in one turn goes out together."""
        self._outlet.put(channel, payload)

    # Where channels live

    def _hold(self, full: bytes) -> asyncio.Future[bool] | None:
        """Give a channel to the subscriber of its shard, away from another if need be."""
        shard = self._shards.of(full) if self._running else None
        holder = self._placed.pop(full, None)
        if holder is not None and holder.shard != shard:
            holder.remove(full)
        if shard is None:
            return None
        subscriber = self._placed[full] = self._subscriber(shard)
        return subscriber.add(full)

    def _subscriber(self, shard: str) -> Subscriber:
        subscriber = self._subscribers.get(shard)
        if subscriber is None:
            subscriber = self._subscribers[shard] = Subscriber(
                shard,
                self._shards,
                self._own_channel(shard),
                self._times,
                self._uniform,
                self._observer,
                publish=self._outlet.put_full,
                on_message=self._received,
                on_change=self._changed,
                lost=self._troubled,
            )
        return subscriber

    def _own_channel(self, shard: str) -> bytes:
        """A channel on a shard that only this hub publishes to."""
        names = (f"{self._prefix}:probe:{self._hub_id}:{number}".encode() for number in count())
        return next(name for name in names if self._shards.of(name) == shard)

    def _place(self) -> list[asyncio.Future[bool]]:
        """Put every wanted channel where it belongs. Returns the confirmations of those that moved."""
        for shard, subscriber in list(self._subscribers.items()):
            # A node that lost its slots, or the one that the probe's channel was on.
            if self._shards.of(subscriber.probe) != shard:
                self._retire(subscriber)
        moved = []
        for full in self._names:
            before = self._placed.get(full)
            confirmed = self._hold(full)
            if confirmed is not None and self._placed[full] is not before:
                moved.append(confirmed)
        home = self._shards.of(self._outlet.full_name(f"hub:{self._hub_id}"))
        if home is not None:
            self._subscriber(home)  # without any channel there is still one probe to judge the bus by
        used = {home, *(subscriber.shard for subscriber in self._placed.values())}
        for shard, subscriber in list(self._subscribers.items()):
            if shard not in used:
                self._retire(subscriber)
        for publisher in self._outlet.rearranged():
            self._keep(self._retiring, publisher.stop())
        self._judge_alive()
        return moved

    def _retire(self, subscriber: Subscriber) -> None:
        del self._subscribers[subscriber.shard]
        for full in [full for full, holder in self._placed.items() if holder is subscriber]:
            del self._placed[full]
        self._keep(self._retiring, subscriber.stop())

    async def _tend(self) -> None:
        """While something is wrong, ask who owns which channel, and move what is in the wrong place."""
        failures = 0
        while True:
            if self.alive and not self._disturbed.is_set():
                failures = 0
                await self._disturbed.wait()
            self._disturbed.clear()
            await asyncio.sleep(self._times.pause(failures, self._uniform))
            failures += 1
            try:
                await self._shards.refresh()
            except REDIS_ERRORS as error:
                log.debug("the owners of the channels could not be read: %s", error)
                self._observer.failed("topology")
                continue
            moved = self._place()
            if moved:
                self._keep(self._tasks, self._tell_when_confirmed(moved))

    async def _tell_when_confirmed(self, moved: list[asyncio.Future[bool]]) -> None:
        await asyncio.wait(moved)
        self._tell("channels moved to other nodes")

    # What comes back from publishers and subscribers

    def _received(self, full: bytes, payload: bytes) -> None:
        channel = self._names.get(full)
        if channel is None:
            return
        try:
            self._on_message(channel, payload)
        except Exception:  # one message that cannot be handled must not stop all that come after it
            self._observer.failed("callback")
            log.exception("a message on %s could not be handled", channel)

    def _unheard(self, channel: str) -> None:
        if self._on_unheard is None:
            return
        try:
            self._on_unheard(channel)
        except Exception:  # as for messages: the bus goes on
            self._observer.failed("callback")
            log.exception("that nobody listened on %s could not be handled", channel)

    def _changed(self, subscriber: Subscriber, reason: str) -> None:
        if not subscriber.alive:
            self._lost(f"subscriptions at {subscriber.shard} were lost: {reason}")
            return
        told, self._troubled = self._troubled, not self._judge_alive()
        if told:
            self._tell(f"subscriptions at {subscriber.shard} are back")

    def _lost(self, reason: str) -> None:
        self._troubled = True
        self._judge_alive()
        self._disturbed.set()
        self._tell(reason)

    def _refused(self, error: ResponseError) -> None:
        log.warning("Redis refused a publication: %s", error)
        self._disturbed.set()

    def _tell(self, trouble: str) -> None:
        try:
            self._on_trouble(trouble)
        except Exception:  # as for messages: the bus goes on
            self._observer.failed("callback")
            log.exception("trouble could not be reported")

    def _judge_alive(self) -> bool:
        subscribers = self._subscribers.values()
        all_placed = len(self._placed) == len(self._names)
        alive = all_placed and any(s.alive for s in subscribers) and not any(s.lost for s in subscribers)
        if alive != self._alive:
            self._alive = alive
            self._observer.alive(alive)
        return alive

    @staticmethod
    def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        """Run something on the side; a task that nobody holds may vanish."""
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
