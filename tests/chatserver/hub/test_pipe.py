"""The way out to one client: what is written when, what waits, and when it is cut off."""

from collections.abc import Callable
from typing import cast

import orjson
import pytest
from prometheus_client import CollectorRegistry

from chatserver.errors import CloseCode
from chatserver.hub.pipe import HOLD_BACKLOG, HOLD_CONGESTED, HOLD_FLOOD, TURN_MAX, Pipe, Turn
from chatserver.hub.socket import FrameSocket, payload_of, text_frame
from chatserver.metrics import Metrics


class Socket:
    """Where the pipe writes to; ``writable`` is the transport's word."""

    def __init__(self) -> None:
        self.writable = True
        self.writes: list[list[bytes]] = []
        self.closes: list[tuple[int, str]] = []
        self.reading = True
        self.takes = 1_000_000

    def write_many(self, frames: list[bytes]) -> None:
        self.writes.append([payload_of(frame) for frame in frames])
        self.takes -= sum(map(len, frames))
        if self.takes <= 0:
            self.writable = False

    def close(self, code: int, reason: str) -> None:
        self.closes.append((code, reason))

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Loop:
    """Runs what was put off to the end of the turn."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.calls.append(callback)

    def end_turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def socket() -> Socket:
    return Socket()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def pipe(socket: Socket, loop: Loop, metrics: Metrics) -> Pipe:
    return Pipe(cast(FrameSocket, socket), Turn(loop.call_soon), 8, 65_536, metrics)


def frame(text: str) -> bytes:
    return text_frame(text.encode())


def test_frames_of_one_turn_are_one_write(pipe: Pipe, socket: Socket, loop: Loop) -> None:
    pipe.send(frame("a"))
    pipe.tell({"b": 1})
    assert socket.writes == []
    loop.end_turn()
    assert socket.writes == [[b"a", orjson.dumps({"b": 1})]]
    pipe.send(frame("c"))
    loop.end_turn()
    assert socket.writes[1:] == [[b"c"]]


def test_a_long_turn_does_not_gather_without_bound(pipe: Pipe, socket: Socket) -> None:
    for _ in range(TURN_MAX):
        pipe.send(frame("x"))
    assert [len(write) for write in socket.writes] == [TURN_MAX]


def test_a_slow_client_gets_what_waited_in_order_when_it_reads_again(pipe: Pipe, socket: Socket, loop: Loop) -> None:
    socket.writable = False
    for text in ("1", "2", "3"):
        pipe.send(frame(text))
    loop.end_turn()
    assert socket.writes == []
    socket.writable = True
    pipe.drain()
    pipe.send(frame("4"))
    loop.end_turn()
    assert [text for write in socket.writes for text in write] == [b"1", b"2", b"3", b"4"]


def test_what_waits_stays_in_the_queue_while_the_transport_is_full(pipe: Pipe, socket: Socket) -> None:
    socket.writable = False
    big = "x" * 20_000
    for _ in range(3):
        pipe.send(frame(big))
    socket.writable = True
    socket.takes = 1
    pipe.drain()
    assert len(socket.writes) == 1
    socket.writable, socket.takes = True, 1_000_000
    pipe.drain()
    assert [len(text) for write in socket.writes for text in write] == [20_000] * 3


def test_a_client_that_falls_too_far_behind_is_cut_off_once(pipe: Pipe, socket: Socket, metrics: Metrics) -> None:
    socket.writable = False
    for number in range(12):
        pipe.send(frame(str(number)))
    assert socket.closes == [(CloseCode.SLOW_CONSUMER, "the client reads too slowly")]
    assert pipe.closed
    assert b"dispute_chat_slow_consumers_total 1.0" in metrics.exposition()
    pipe.drain()
    assert socket.writes == []


def test_ephemeral_frames_make_room_before_anybody_is_cut_off(pipe: Pipe, socket: Socket, metrics: Metrics) -> None:
    socket.writable = False
    for number in range(4):
        pipe.send(frame(f"typing {number}"), ephemeral=True)
    for number in range(8):
        pipe.send(frame(f"entry {number}"))
    assert socket.closes == []
    assert b"dispute_chat_queue_drops_total 4.0" in metrics.exposition()
    socket.writable = True
    pipe.drain()
    assert [text for write in socket.writes for text in write] == [f"entry {n}".encode() for n in range(8)]


def test_reading_stops_while_any_reason_stands(pipe: Pipe, socket: Socket) -> None:
    pipe.hold(HOLD_BACKLOG)
    pipe.hold(HOLD_FLOOD)
    pipe.release(HOLD_BACKLOG)
    assert not socket.reading
    pipe.release(HOLD_FLOOD)
    assert socket.reading
    pipe.release(HOLD_CONGESTED)
    assert socket.reading


def test_a_client_that_asks_faster_than_it_reads_stalls_itself(pipe: Pipe, socket: Socket) -> None:
    socket.writable = False
    for number in range(6):
        pipe.send(frame(str(number)))
    assert not socket.reading
    socket.writable = True
    pipe.drain()
    assert socket.reading


def test_what_was_said_in_this_turn_is_written_before_the_close(pipe: Pipe, socket: Socket, loop: Loop) -> None:
    pipe.tell({"type": "bye"})
    pipe.close(CloseCode.GOING_AWAY, "going away")
    pipe.close(CloseCode.SERVER_ERROR, "again")
    pipe.send(frame("late"))
    loop.end_turn()
    assert socket.writes == [[b'{"type":"bye"}']]
    assert socket.closes == [(CloseCode.GOING_AWAY, "going away")]


def test_nothing_is_written_to_a_lost_connection(pipe: Pipe, socket: Socket, loop: Loop) -> None:
    pipe.send(frame("a"))
    pipe.lost()
    loop.end_turn()
    pipe.send(frame("b"))
    loop.end_turn()
    assert socket.writes == []
