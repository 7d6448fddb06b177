"""The way out to one client, with a bound on what may wait in it."""

from collections.abc import Callable
from typing import Any, Final, Protocol

import orjson

from chatserver.errors import CloseCode
from chatserver.hub.outbound import Outbound
from chatserver.hub.socket import FrameSocket, text_frame
from chatserver.metrics import Metrics

DRAIN_BYTES: Final = 32 * 1024
"""What is handed to the transport at once when it can take more; below the socket's high-water mark."""
TURN_MAX: Final = 64
"""Frames that are written together; more would wait where nothing counts them."""
HOLD_CONGESTED: Final = 1
"""The client does not take what it is sent."""
HOLD_BACKLOG: Final = 2
"""Too many of its frames wait for a command that is under way."""
HOLD_FLOOD: Final = 4
"""It goes on after being refused again and again."""


class Send(Protocol):
    """Sends a ready frame, or queues it; never blocks."""

    def __call__(self, frame: bytes, *, ephemeral: bool = False) -> None: ...


class Turn:
    """The pipes that were given frames in this turn of the event loop; their frames are written when it ends.

    What a client gets in one turn (an acknowledgement and its own entry, a burst of a busy room) then costs one write,
    and a write is the most expensive step on the way of a message.

    Args:
        call_soon: runs a function when this turn of the loop is over.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._pipes: list[Pipe] = []

    def add(self, pipe: "Pipe") -> None:
        """A pipe was given the first frame of this turn."""
        if not self._pipes:
            self._call_soon(self._end)
        self._pipes.append(pipe)

    def _end(self) -> None:
        pipes, self._pipes = self._pipes, []
        for pipe in pipes:
            pipe.flush()


class Pipe:
    """Sends frames to a socket; queues them while the client reads slowly, and cuts it off when too much waits.

    It also holds the other direction: reading stops while any reason to stop stands, because a client that does not
    take its answers, or asks faster than it is answered, is best slowed down by TCP.

    Args:
        turn: of the loop that the socket is on.
        max_frames, max_bytes: what may wait; see ``Outbound``.
    """

    __slots__ = (
        "_frames",
        "_holds",
        "_max_bytes",
        "_max_frames",
        "_metrics",
        "_outbound",
        "_socket",
        "_turn",
        "closed",
    )

    def __init__(self, socket: FrameSocket, turn: Turn, max_frames: int, max_bytes: int, metrics: Metrics) -> None:
        self._socket = socket
        self._turn = turn
        self._frames: list[bytes] | None = None  # of this turn
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._outbound: Outbound | None = None  # most clients read fast and never need one
        self._holds = 0
        self.closed = False
        """Nothing more is sent."""

    def send(self, frame: bytes, *, ephemeral: bool = False) -> None:
        """Send a ready frame. One that may be lost (``ephemeral``) is, when the client reads too slowly."""
        if self.closed:
            return
        if self._outbound is not None:
            self._queue(self._outbound, frame, ephemeral)
        elif self._frames is not None:
            self._frames.append(frame)
            if len(self._frames) >= TURN_MAX:
                self.flush()
        elif self._socket.writable:
            self._frames = [frame]
            self._turn.add(self)
        else:
            self._outbound = Outbound(self._max_frames, self._max_bytes)
            self._queue(self._outbound, frame, ephemeral)

    def flush(self) -> None:
        """The turn is over: write what it brought."""
        frames, self._frames = self._frames, None
        if frames is not None:
            self._socket.write_many(frames)

    def tell(self, frame: dict[str, Any]) -> None:
        """Send a frame that is for this client alone."""
        self.send(text_frame(orjson.dumps(frame)))

    def close(self, code: CloseCode, reason: str) -> None:
        """Close the connection; frames that still wait are dropped, the client resumes from the log."""
        if not self.closed:
            self.flush()
            self.closed = True
            self._outbound = None
            self._metrics.closed(code)
            self._socket.close(code, reason)

    @property
    def congested(self) -> bool:
        """So much waits that the client shall be asked nothing more for now."""
        return self._outbound is not None and self._outbound.congested

    def drain(self) -> bool:
        """The socket takes frames again. Returns whether everything is written and some that may be lost were."""
        missed = False
        while self._outbound is not None and self._socket.writable:
            frames = self._outbound.drain(DRAIN_BYTES)
            if frames:
                self._socket.write_many(frames)
            else:
                missed = self._outbound.dropped > 0
                self._outbound = None
        if not self.congested:
            self.release(HOLD_CONGESTED)
        return missed

    def hold(self, reason: int) -> None:
        """Stop reading for a reason."""
        if not self._holds:
            self._socket.pause_reading()
        self._holds |= reason

    def release(self, reason: int) -> None:
        """A reason not to read is gone."""
        if self._holds:
            self._holds &= ~reason
            if not self._holds:
                self._socket.resume_reading()

    def lost(self) -> None:
        """The connection is gone."""
        self.closed = True
        self._outbound = self._frames = None

    def _queue(self, outbound: Outbound, frame: bytes, ephemeral: bool) -> None:
        dropped = outbound.dropped
        outbound.put(frame, ephemeral)
        if outbound.dropped > dropped:
            self._metrics.queue_drops.inc(outbound.dropped - dropped)
        if outbound.overflowed:
            self._metrics.slow_consumers.inc()
            self.close(CloseCode.SLOW_CONSUMER, "the client reads too slowly")
        elif outbound.congested:
            self.hold(HOLD_CONGESTED)
