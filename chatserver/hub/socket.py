"""The server side of one WebSocket: a uvicorn protocol class made for fan-out.

uvicorn hands every upgraded connection to the class named by its ``ws=`` option. This one runs the ASGI application
for the handshake only (so Starlette routes the request, checks the Origin and accepts or denies), after which the
application *attaches* a listener and returns. From then on there is no task, no queue and no ASGI message per frame:

- a complete, uncompressed text frame goes straight to the listener, pings and pongs are answered here;
- everything else (fragments, compression, close frames, violations) is judged by the ``websockets`` library, which
  is given whole frames only;
- the listener writes ready-made frames, encoded once and shared by every socket they go to.
"""

import asyncio
import logging
from http import HTTPStatus
from random import random
from typing import Any, Final, Protocol, cast

from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN, Side
from websockets.protocol import Protocol as WireProtocol
from websockets.server import ServerProtocol

from chatserver.hub.handshake import Handshake

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled part
    from websockets.utils import apply_mask

EXTENSION: Final = "dispute_chat.socket"
"""Key of the ASGI scope's ``extensions`` under which the application finds its ``FrameSocket``."""

CLOSE_TIMEOUT_S: Final = 5.0
"""How long a peer may take to answer a close frame before its connection is aborted."""
WRITE_HIGH: Final = 64 * 1024
"""Bytes that the transport holds before the listener's bounded queue takes over. Small, because it counts against
the memory that a stuck peer costs; large enough for one write per loop turn in ordinary use."""

_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_PING: Final = 0x89
_PONG: Final = 0x8A
_MASK_BYTES: Final = 4
_MAX_CONTROL: Final = 2 + 4 + 125
"""A masked control frame, RFC 6455 5.5."""
_PING_FRAME: Final = Frame(Opcode.PING, b"").serialize(mask=False)

logger = logging.getLogger(__name__)


def text_frame(payload: bytes) -> bytes:
    """A text frame ready for the wire, unmasked and uncompressed (RFC 6455 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload


def payload_of(frame: bytes) -> bytes:
    """The payload of a frame made by ``text_frame``."""
    size = frame[1]
    return frame[2:] if size < 126 else frame[4:] if size == 126 else frame[10:]


class Listener(Protocol):
    """What a socket tells the one it is attached to. Every call is synchronous and must not block."""

    def on_text(self, payload: bytes) -> None:
        """A text message arrived; its bytes are not yet known to be UTF-8."""

    def on_binary(self) -> None:
        """A binary message arrived; the protocol has none."""

    def on_writable(self) -> None:
        """The transport drained after ``writable`` was False."""

    def on_no_heartbeat(self) -> None:
        """The peer left a ping unanswered for the timeout."""

    def on_lost(self) -> None:
        """The connection is gone; called once."""


class FrameSocket(asyncio.Protocol):
    """One WebSocket connection; see the module. Made by uvicorn, used by a ``Listener``."""

    __slots__ = (
        "_accepted",
        "_close_timer",
        "_closing",
        "_config",
        "_handshake",
        "_heartbeat",
        "_heartbeat_timer",
        "_listener",
        "_loop",
        "_lost",
        "_message",
        "_partial",
        "_ping_due",
        "_pong_due",
        "_reading",
        "_server",
        "_state",
        "_wire",
        "transport",
        "writable",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server = server_state
        self._state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.writable = True
        """False while the peer reads more slowly than is written."""
        self._handshake: Handshake | None = None
        self._listener: Listener | None = None
        self._wire: WireProtocol | None = None
        self._partial = b""  # what is not handled yet: an incomplete frame, or all while reading is paused
        self._reading = True
        self._ping_due: bytes | None = None  # payload of the latest ping that a full socket has kept unanswered
        self._accepted = False
        self._closing = False
        self._lost = False
        self._message: bytearray | None = None  # the fragments of a text message so far
        self._pong_due = False
        self._heartbeat = (0.0, 0.0)
        self._heartbeat_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._server.connections.add(self)  # type: ignore[arg-type]  # uvicorn names its own classes only
        self.transport.set_write_buffer_limits(high=WRITE_HIGH)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        for timer in (self._heartbeat_timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        self._closing = self._lost = True
        self._partial = b""
        self._wire = None
        if self._handshake is not None:
            self._handshake.gone.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.on_lost()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        payload, self._ping_due = self._ping_due, None
        if payload is not None:
            self._answer_ping(payload)
        if self._listener is not None:
            self._listener.on_writable()

    def eof_received(self) -> bool:
        return False  # a half-closed WebSocket is of no use: let the transport close

    def data_received(self, data: bytes) -> None:
        if not self._accepted:
            self._receive_handshake(data)
        else:
            self._receive_frames(data)

    def shutdown(self) -> None:
        """Called by uvicorn when it stops, after the hub's own drain: whoever is left is told to come back."""
        if self._accepted:
            self.close(1012, "service restart")
        elif self._handshake is not None:
            self._handshake.deny(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self.transport.close()

    # For the application and its listener

    def attach(self, listener: Listener, heartbeat_s: float, heartbeat_timeout_s: float) -> None:
        """Hand the accepted connection to a listener and start the heartbeat.

        The first ping comes after a random part of ``heartbeat_s``, so that connections made together
        do not ping together.
        """
        self._listener = listener
        self._heartbeat = (heartbeat_s, heartbeat_timeout_s)
        if self._lost:  # between accept and attach
            self.connection_lost(None)
            return
        self._heartbeat_timer = self._loop.call_later(heartbeat_s * random(), self._ping)  # noqa: S311
        handshake, self._handshake = self._handshake, None
        if handshake is not None and handshake.early:
            self._receive_frames(bytes(handshake.early))

    def write_many(self, frames: list[bytes]) -> None:
        """Write frames made by ``text_frame``, at once; to a closing connection they are dropped."""
        if self._closing:
            return
        if self._wire is not None and self._wire.extensions:
            for frame in frames:
                self._wire.send_text(payload_of(frame))
            frames = self._wire.data_to_send()
        self.transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame; the connection is aborted when the peer does not answer in time."""
        if self._closing:
            return
        self._closing = True
        self.transport.write(Frame(Opcode.CLOSE, Close(code, reason).serialize()).serialize(mask=False))
        self._close_timer = self._loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)

    def pause_reading(self) -> None:
        """Let the peer wait: TCP's flow control slows down whoever sends more than is handled. What has arrived already
        waits too, for it can be thousands of frames."""
        self._reading = False
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        self._reading = True
        if not self.transport.is_closing():
            self.transport.resume_reading()
            if self._partial:
                self._loop.call_soon(self._receive_frames, b"")

    # Handshake

    def _receive_handshake(self, data: bytes) -> None:
        if self._handshake is None:
            self._handshake = Handshake(
                self._config,
                self._server,
                self._state,
                self.transport,
                self._loop,
                self._accept,
                (EXTENSION, self),
            )
        self._handshake.receive(data)

    def _accept(self, protocol: ServerProtocol) -> None:
        """The handshake is done. Compression needs the library for every frame; without it few frames do."""
        self._accepted = True
        if protocol.extensions:
            self._wire = self._new_wire()
            self._wire.extensions = protocol.extensions

    def _new_wire(self) -> WireProtocol:
        return WireProtocol(Side.SERVER, state=OPEN, max_size=self._config.ws_max_size, logger=logger)

    # Frames

    def _receive_frames(self, data: bytes) -> None:
        if self._listener is None:
            if self._closing:  # refused: only the answer to our close frame is of interest
                if data[0] == _CLOSE:
                    self.transport.close()
            elif self._handshake is not None:  # accepted, not yet attached: the application's next step
                self._handshake.early += data
            return
        if self._partial:
            data = self._partial + data
        size, start = len(data), 0
        while start < size and self._reading:
            mask_at, end = _frame_bounds(data, start)
            if end - mask_at > self._config.ws_max_size + _MASK_BYTES:
                self._judge(data[start:])  # too big: the library says so from the header alone
                start = size
            elif end > size:
                break
            else:
                self._receive_frame(data, start, mask_at, end)
                start = end
            if self._listener is None:
                return
        self._partial = data[start:]

    def _receive_frame(self, data: bytes, start: int, mask_at: int, end: int) -> None:
        assert self._listener is not None
        first = data[start] if data[start + 1] & 0x80 else 0  # an unmasked frame is for the library to refuse
        if first == _TEXT and self._message is None:
            if not self._closing:
                payload_at = mask_at + _MASK_BYTES
                self._listener.on_text(apply_mask(data[payload_at:end], data[mask_at:payload_at]))
        elif first == _PONG and end - start <= _MAX_CONTROL:
            self._pong_due = False
        elif first == _PING and end - start <= _MAX_CONTROL:
            self._answer_ping(apply_mask(data[mask_at + _MASK_BYTES : end], data[mask_at : mask_at + _MASK_BYTES]))
        else:
            self._judge(data[start:end])

    def _answer_ping(self, payload: bytes) -> None:
        """A peer that does not read gets one pong when it does, for its latest ping, as RFC 6455 5.5.3 allows."""
        if not self.writable:
            self._ping_due = payload
        elif not self._closing:
            self.transport.write(Frame(Opcode.PONG, payload).serialize(mask=False))

    def _judge(self, frame: bytes) -> None:
        """Give a frame that is out of the ordinary to the websockets library and do what it says."""
        wire = self._wire
        if wire is None:
            wire = self._wire = self._new_wire()
        wire.receive_data(frame)
        for event in wire.events_received():
            assert isinstance(event, Frame)
            self._receive_judged(event)
        output = b"".join(wire.data_to_send())
        if wire.close_rcvd is not None or wire.parser_exc is not None:
            if not self._closing:
                self._closing = True
                self.transport.write(output)
            self.transport.close()

    def _receive_judged(self, frame: Frame) -> None:
        if self._listener is None or self._closing:
            return
        if frame.opcode is Opcode.TEXT:
            self._message = bytearray(frame.data)
        elif frame.opcode is Opcode.CONT and self._message is not None:
            self._message += frame.data
        elif frame.opcode is Opcode.BINARY:
            self._listener.on_binary()
            return
        else:
            return
        if frame.fin:
            message, self._message = self._message, None
            self._listener.on_text(bytes(message))

    # Heartbeat

    def _ping(self) -> None:
        if self._closing:
            return
        self._pong_due = True
        self.transport.write(_PING_FRAME)
        self._heartbeat_timer = self._loop.call_later(self._heartbeat[1], self._check_pong)

    def _check_pong(self) -> None:
        if self._pong_due:
            if self._listener is not None:
                self._listener.on_no_heartbeat()
            return
        interval, timeout = self._heartbeat
        self._heartbeat_timer = self._loop.call_later(max(0.0, interval - timeout), self._ping)


def _frame_bounds(data: bytes, start: int) -> tuple[int, int]:
    """Where the frame's masking key and its end are; an end beyond the data while the header is incomplete."""
    have = len(data) - start
    if have < 2:
        return start, start + 2
    size = data[start + 1] & 0x7F
    header = start + 2
    if size == 126:
        if have < 4:
            return start, start + 4
        size = int.from_bytes(data[header : header + 2])
        header += 2
    elif size == 127:
        if have < 10:
            return start, start + 10
        size = int.from_bytes(data[header : header + 8])
        header += 8
    masked = data[start + 1] & 0x80
    return header, header + (_MASK_BYTES if masked else 0) + size
