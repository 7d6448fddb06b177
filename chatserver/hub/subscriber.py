"""The listening half of the bus: one connection to one shard, watched by a probe.

redis-py's ``PubSub`` is not used. It reconnects without a word, so that what was published meanwhile is lost
unnoticed, and it sees nothing wrong with a peer that went silent. Here a lost connection is an exception, and a probe
published to a channel of this subscriber's own has to come back in time.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from chatserver.hub.publisher import BusObserver, BusTimes, Uniform
from chatserver.hub.redis_url import REDIS_ERRORS
from chatserver.hub.shards import Link, Shards
from chatserver.hub.tasks import end

log = logging.getLogger(__name__)

_MESSAGES_IN_A_ROW: Final = 64
"""After so many messages the rest of the process has its turn."""


class SubscriptionLost(ConnectionError):
    """The subscriptions of a connection can no longer be relied on; the message says why."""


class Subscriber:
    """Holds the subscriptions of one shard, and says when they may have missed something.

    Args:
        probe: the channel of this subscriber's own that probes are published to.
        publish: sends a payload to a channel, through the same path as every publication.
        on_message: called with channel and payload, in order, on the event loop; must not raise.
        on_change: called when ``alive`` changed and at the first failure to become so, with the reason of a loss.
        lost: it takes the place of one that was lost, which has been reported.
    """

    def __init__(
        self,
        shard: str,
        shards: Shards,
        probe: bytes,
        times: BusTimes,
        uniform: Uniform,
        observer: BusObserver,
        publish: Callable[[bytes, bytes], None],
        on_message: Callable[[bytes, bytes], None],
        on_change: Callable[["Subscriber", str], None],
        *,
        lost: bool,
    ) -> None:
        self.shard = shard
        self.alive = False
        """Everything is confirmed, and the latest probe came back."""
        self.lost = lost
        """An attempt failed, and none has succeeded since."""
        self.probe = probe
        self.tried = asyncio.Event()
        """Set when the first attempt came to an end, well or badly."""
        self._shards = shards
        self._times = times
        self._uniform = uniform
        self._observer = observer
        self._publish = publish
        self._on_message = on_message
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._wanted: dict[bytes, asyncio.Future[bool]] = {}
        """Channels and whether Redis confirmed them."""
        self._unconfirmed: Counter[bytes] = Counter()
        """Subscribe commands on this connection that Redis has not answered."""
        self._leaving: Counter[bytes] = Counter()
        """Likewise unsubscribe commands."""
        self._outbox: list[bytes] = []
        self._received = 0
        """Publications that the observer has not been told of; to count each costs more than to read it."""
        self._wake = asyncio.Event()
        self._connected = False
        self._probe_number = 0
        self._probe_sent: float | None = None
        self._probe_forgiven = False
        self._kind_message = shards.publish.lower().removesuffix(b"publish") + b"message"
        self._kind_subscribe = shards.subscribe.lower()
        self._kind_unsubscribe = shards.unsubscribe.lower()
        self._task = self._loop.create_task(self._run(), name=f"bus subscriber {shard}")

    def add(self, channel: bytes) -> asyncio.Future[bool]:
        """Want a channel. The future becomes true when Redis confirmed it, false if it is given up before."""
        confirmed = self._wanted.get(channel)
        if confirmed is None:
            confirmed = self._wanted[channel] = self._loop.create_future()
            if self._connected:
                self._ask_for(channel)
                self._wake.set()
        return confirmed

    def remove(self, channel: bytes) -> None:
        """No longer want a channel."""
        confirmed = self._wanted.pop(channel, None)
        if confirmed is None:
            return
        if not confirmed.done():
            confirmed.set_result(False)
        if self._connected:
            self._leaving[channel] += 1
            self._outbox.append(_command(self._shards.unsubscribe, channel))
            self._wake.set()

    async def stop(self) -> None:
        await end(self._task)
        for confirmed in self._wanted.values():
            if not confirmed.done():
                confirmed.set_result(False)

    async def _run(self) -> None:
        failures = 0
        while True:
            reason = ""
            try:
                link = await self._shards.dial(self.shard)
                try:
                    await self._converse(link)
                finally:
                    self._connected = False
                    await link.disconnect(nowait=True)
            except* REDIS_ERRORS as group:
                reason = _summary(group)
            except* Exception as group:
                # A fault of ours must not leave the process deaf and believing that all is well.
                reason = _summary(group)
                log.exception("the subscriptions at %s broke", self.shard)
            if self.alive:
                failures = 0
            self._lost(reason)
            await asyncio.sleep(self._times.pause(failures, self._uniform))
            failures += 1

    def _lost(self, reason: str) -> None:
        self._report_received()
        self._observer.failed("subscription" if self.alive else "connect")
        self.alive = False
        for channel, confirmed in self._wanted.items():
            if confirmed.done():
                self._wanted[channel] = self._loop.create_future()
        if not self.lost:
            self.lost = True
            log.warning("subscriptions at %s lost: %s", self.shard, reason)
            self._on_change(self, reason)
        self.tried.set()

    async def _converse(self, link: Link) -> None:
        self._unconfirmed.clear()
        self._leaving.clear()
        self._outbox.clear()
        self._probe_sent = None
        self._connected = True
        for channel in self._wanted:
            self._ask_for(channel)
        # Last, so that a probe that came back also says that everything before it is confirmed.
        self._ask_for(self.probe)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(link))
            group.create_task(self._write(link))

    async def _read(self, link: Link) -> None:
        while True:
            reply = await link.read_response()
            kind = reply[0]
            if kind == self._kind_message:
                if reply[1] == self.probe:
                    self._probe_returned(reply[2])
                else:
                    self._received += 1
                    self._on_message(reply[1], reply[2])
                    if self._received % _MESSAGES_IN_A_ROW == 0:
                        # Nothing above waits as long as there is something to read.
                        await asyncio.sleep(0)
            elif kind == self._kind_subscribe:
                self._confirmed(reply[1])
            elif kind == self._kind_unsubscribe:
                self._left(reply[1])

    async def _write(self, link: Link) -> None:
        times = self._times
        next_probe = self._loop.time()
        while True:
            if self._outbox:
                commands = b"".join(self._outbox)
                self._outbox.clear()
                async with asyncio.timeout(times.reply_s):
                    await link.send_packed_command(commands, check_health=False)
            self._report_received()
            now = self._loop.time()
            if self._probe_sent is None and now >= next_probe:
                self._probe_number += 1
                self._probe_sent = now
                self._probe_forgiven = False
                next_probe = now + times.probe_every_s
                if not self._unconfirmed[self.probe]:
                    self._send_probe()
            deadline = next_probe if self._probe_sent is None else self._probe_sent + times.probe_within_s
            self._wake.clear()
            if self._outbox:
                continue
            try:
                async with asyncio.timeout_at(deadline):
                    await self._wake.wait()
            except TimeoutError:
                self._judge(deadline)

    def _report_received(self) -> None:
        if self._received:
            self._observer.received(self._received)
            self._received = 0

    def _judge(self, deadline: float) -> None:
        """The deadline passed: was it the probe's, and was it Redis that was late?"""
        if self._probe_sent is None:
            return
        now = self._loop.time()
        if now - deadline > self._times.probe_every_s / 4 and not self._probe_forgiven:
            # This process did not run for a while; the answer may lie in the socket, unread.
            self._probe_forgiven = True
            self._probe_sent = now - self._times.probe_within_s + self._times.probe_every_s
            return
        self._observer.failed("probe")
        raise SubscriptionLost(f"a probe did not come back within {self._times.probe_within_s:g} s")

    def _send_probe(self) -> None:
        self._publish(self.probe, b"%d" % self._probe_number)

    def _probe_returned(self, payload: bytes) -> None:
        if payload != b"%d" % self._probe_number:
            return
        self._probe_sent = None
        self._wake.set()
        if not self.alive:
            self.alive = True
            if self.lost:
                self.lost = False
                log.warning("subscriptions at %s restored", self.shard)
            self._on_change(self, "")
            self.tried.set()

    def _ask_for(self, channel: bytes) -> None:
        self._unconfirmed[channel] += 1
        self._outbox.append(_command(self._shards.subscribe, channel))

    def _confirmed(self, channel: bytes) -> None:
        self._unconfirmed[channel] -= 1
        left = self._unconfirmed[channel]
        if left < 0:
            # Nobody here asked: the connection was renewed behind our back, and what came between is lost.
            raise SubscriptionLost("an unexpected confirmation: the connection was renewed")
        if left:
            return
        del self._unconfirmed[channel]
        if channel == self.probe:
            self._send_probe()
            return
        confirmed = self._wanted.get(channel)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(True)

    def _left(self, channel: bytes) -> None:
        if not self._leaving[channel]:
            raise SubscriptionLost("the server ended a subscription: the channel moved to another node")
        self._leaving[channel] -= 1
        if not self._leaving[channel]:
            del self._leaving[channel]


def _command(name: bytes, channel: bytes) -> bytes:
    return b"*2\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(channel), channel)


def _summary(group: BaseExceptionGroup) -> str:
    """The first cause in words; most errors of connections have the same for reader and writer."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
