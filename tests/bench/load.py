"""The workload: rooms of three members, messages that count as done when acked and delivered to all three.

Because a message is done only then, a closed loop cannot hide a backlog; in the open loop latencies count from the
moment a message was due, so a server that stalls is charged for the messages that it kept from being sent.
"""

import array
import asyncio
import contextlib
import gc
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.bench.wire import Connection, Seat

MEMBERS: Final = 3
_ACK: Final = 1 << MEMBERS
_WHOLE: Final = (1 << MEMBERS + 1) - 1
_CONNECTING_AT_ONCE: Final = 32


@dataclass
class Counts:
    """What a load has seen over its whole life."""

    sent: int = 0
    acked: int = 0
    delivered: int = 0
    done: int = 0
    refused: int = 0
    repeated: int = 0
    misordered: int = 0
    disconnected: int = 0
    first_refusal: str = ""


@dataclass
class Window:
    """Latencies in seconds within one measured stretch of time."""

    ack: list[float] = field(default_factory=list)
    deliver: list[float] = field(default_factory=list)
    done: int = 0


class Load:
    """Connected members, and for each message who still has to see it."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.connections: list[Connection] = []
        self.senders: list[Connection] = []
        self._due = array.array("d", [0.0])
        self._awaited = bytearray(1)
        """By message number: a bit for each member and one for the ack, cleared as they come."""
        self._window: Window | None = None
        self._turn = 0
        self._looping = False

    # What connections report

    def acked(self, number: int) -> None:
        if self._clear(number, _ACK):
            self.counts.acked += 1
            if self._window is not None:
                self._window.ack.append(time.perf_counter() - self._due[number])
            if not self._awaited[number]:
                self._done()

    def delivered(self, number: int, member: int) -> None:
        if self._clear(number, 1 << member):
            self.counts.delivered += 1
            if self._window is not None:
                self._window.deliver.append(time.perf_counter() - self._due[number])
            if not self._awaited[number]:
                self._done()

    def refused(self, number: int, answer: bytes) -> None:
        self.counts.refused += 1
        self.counts.first_refusal = self.counts.first_refusal or answer.decode()
        if self._looping and number > 0:
            self.send(time.perf_counter())

    def misordered(self) -> None:
        self.counts.misordered += 1

    def disconnected(self) -> None:
        self.counts.disconnected += 1

    def _clear(self, number: int, bit: int) -> bool:
        if 0 < number < len(self._awaited) and self._awaited[number] & bit:
            self._awaited[number] ^= bit
            return True
        self.counts.repeated += 1
        return False

    def _done(self) -> None:
        self.counts.done += 1
        if self._looping:
            self.send(time.perf_counter())

    # What drives it

    async def connect(self, seats: Sequence[Seat], protocol: type[Connection]) -> None:
        """Connect and join everyone; senders take turns in an order that is random and the same in every run."""
        gate = asyncio.Semaphore(_CONNECTING_AT_ONCE)

        async def take(seat: Seat) -> Connection:
            async with gate:
                connection = protocol(seat, self)
                await connection.open()
                return connection

        self.connections = list(await asyncio.gather(*(take(seat) for seat in seats)))
        self.senders = [connection for connection in self.connections if connection.seat.sends]
        random.Random(7).shuffle(self.senders)

    def send(self, due: float) -> None:
        """Send the next message, which was due at ``due`` (``time.perf_counter``)."""
        sender = self.senders[self._turn]
        self._turn = (self._turn + 1) % len(self.senders)
        number = len(self._awaited)
        self._awaited.append(_WHOLE)
        self._due.append(due)
        self.counts.sent += 1
        sender.send(number)

    @contextlib.contextmanager
    def window(self) -> Iterator[Window]:
        """Record latencies while inside."""
        opened = self._window = Window()
        before = self.counts.done
        try:
            yield opened
        finally:
            self._window = None
            opened.done = self.counts.done - before

    @contextlib.asynccontextmanager
    async def closed_loop(self, outstanding: int) -> AsyncIterator[None]:
        """Keep so many messages under way while inside."""
        self._looping = True
        for _ in range(outstanding):
            self.send(time.perf_counter())
        try:
            yield
        finally:
            self._looping = False

    @contextlib.asynccontextmanager
    async def open_loop(self, rate: float) -> AsyncIterator[None]:
        """Send so many messages a second at random (Poisson) times while inside, whatever the server does."""

        async def pump() -> None:
            arrivals = random.Random(11)
            due = time.perf_counter()
            while True:
                due += arrivals.expovariate(rate)
                pause = due - time.perf_counter()
                if pause > 0:
                    await asyncio.sleep(pause)
                self.send(due)

        pumping = asyncio.create_task(pump())
        try:
            yield
        finally:
            pumping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pumping

    async def settle(self, timeout_s: float) -> None:
        """Wait until everything that was sent is done, or for so long."""
        deadline = time.perf_counter() + timeout_s
        # Polled: an event would have to be looked at for every message of the measurement.
        while time.perf_counter() < deadline and self.counts.done + self.counts.refused < self.counts.sent:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """The generator's own pauses must not count as the server's latency."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
