"""The server's side of a WebSocket, frame by frame."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from chatserver.hub.socket import EXTENSION, payload_of, text_frame
from tests.chatserver.hub.wire import Wire


async def test_accepts_and_hands_texts_to_its_listener() -> None:
    wire = Wire()
    await wire.open()
    assert wire.response is not None
    assert wire.response.status_code == 101
    assert wire.response.headers["Sec-WebSocket-Protocol"] == "dispute-chat.v1"
    wire.client.send_text("hé".encode())
    wire.to_server()
    assert wire.listener.texts == ["hé".encode()]


@given(
    texts=st.lists(st.binary(max_size=300), max_size=8),
    cuts=st.lists(st.integers(min_value=1, max_value=40), max_size=60),
)
def test_texts_arrive_whole_and_in_order_however_tcp_cuts_them(texts: list[bytes], cuts: list[int]) -> None:
    async def run() -> None:
        wire = Wire()
        await wire.open()
        for text in texts:
            wire.client.send_text(text)
        stream = b"".join(wire.client.data_to_send())
        for size in cuts:
            wire.socket.data_received(stream[:size])
            stream = stream[size:]
            if not stream:
                break
        if stream:
            wire.socket.data_received(stream)
        assert wire.listener.texts == texts

    asyncio.run(run())


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
async def test_frames_of_every_length_form_are_read_and_written(size: int) -> None:
    wire = Wire(max_size=70_000)
    await wire.open()
    payload = b"x" * size
    wire.client.send_text(payload)
    wire.to_server()
    assert wire.listener.texts == [payload]
    frame = text_frame(payload)
    assert payload_of(frame) == payload
    wire.socket.write_many([frame])
    assert [bytes(received.data) for received in wire.frames()] == [payload]


async def test_fragments_are_put_together_with_a_ping_between_them() -> None:
    wire = Wire()
    await wire.open()
    wire.client.send_text(b"one ", fin=False)
    wire.client.send_ping(b"?")
    wire.client.send_continuation(b"two ", fin=False)
    wire.client.send_continuation(b"three", fin=True)
    wire.client.send_text(b"next")
    wire.to_server()
    assert wire.listener.texts == [b"one two three", b"next"]
    assert [(frame.opcode, bytes(frame.data)) for frame in wire.frames()] == [(Opcode.PONG, b"?")]


async def test_a_message_at_the_limit_passes_and_one_byte_more_closes_with_1009() -> None:
    wire = Wire(max_size=1000)
    await wire.open()
    wire.client.send_text(b"x" * 1000)
    wire.to_server()
    assert len(wire.listener.texts) == 1
    wire.client.send_text(b"x" * 1001)
    wire.to_server()
    wire.from_server()
    assert wire.client.close_rcvd is not None
    assert wire.client.close_rcvd.code == 1009
    assert wire.transport.closing
    assert len(wire.listener.texts) == 1


async def test_fragments_count_together_against_the_limit() -> None:
    wire = Wire(max_size=1000)
    await wire.open()
    wire.client.send_text(b"x" * 600, fin=False)
    wire.client.send_continuation(b"x" * 401, fin=True)
    wire.to_server()
    wire.from_server()
    assert wire.client.close_rcvd is not None
    assert wire.client.close_rcvd.code == 1009
    assert wire.listener.texts == []


async def test_the_length_of_a_huge_frame_is_enough_to_refuse_it() -> None:
    wire = Wire()
    await wire.open()
    wire.socket.data_received(b"\x81\xff" + (2**40).to_bytes(8) + b"mask")
    wire.from_server()
    assert wire.client.close_rcvd is not None
    assert wire.client.close_rcvd.code == 1009


@pytest.mark.parametrize(
    "raw", [b"\x81\x02hi", b"\x83\x80mask", b"\xc1\x80mask", b"\x80\x80mask"], ids=["unmasked", "opcode", "rsv", "cont"]
)
async def test_violations_of_the_protocol_close_with_1002(raw: bytes) -> None:
    wire = Wire()
    await wire.open()
    wire.socket.data_received(raw)
    wire.from_server()
    assert wire.client.close_rcvd is not None
    assert wire.client.close_rcvd.code == 1002
    assert wire.transport.closing


async def test_binary_is_told_and_not_read() -> None:
    wire = Wire()
    await wire.open()
    wire.client.send_binary(b"\x00")
    wire.to_server()
    assert wire.listener.texts == []
    assert wire.listener.events == ["binary"]


async def test_the_clients_close_is_answered_and_ends_the_connection() -> None:
    wire = Wire()
    await wire.open()
    wire.client.send_close(1000, "done")
    wire.to_server()
    wire.from_server()
    assert wire.client.close_rcvd == Close(1000, "done")
    assert wire.transport.closing
    wire.socket.connection_lost(None)
    wire.socket.connection_lost(None)
    assert wire.listener.events == ["lost"]


async def test_a_close_by_the_server_sends_the_code_once_and_ignores_what_still_comes() -> None:
    wire = Wire()
    await wire.open()
    wire.socket.close(4002, "slow")
    wire.socket.close(4000, "again")
    wire.socket.write_many([text_frame(b"late")])
    wire.client.send_text(b"crossed")
    wire.to_server()
    closes = wire.frames()
    assert [Close.parse(bytes(frame.data)) for frame in closes] == [Close(4002, "slow")]
    assert wire.listener.texts == []
    assert not wire.transport.closing
    wire.to_server()  # the client's answer to the close
    assert wire.transport.closing


async def test_compression_is_used_when_both_want_it() -> None:
    wire = Wire(deflate=True)
    await wire.open()
    text = b"again and again and again and again " * 20
    wire.client.send_text(text)
    assert sum(map(len, wire.client.writes)) < len(text)
    wire.to_server()
    assert wire.listener.texts == [text]
    wire.socket.write_many([text_frame(text), text_frame(b"short")])
    assert len(wire.transport.written) < len(text)
    assert [bytes(frame.data) for frame in wire.frames()] == [text, b"short"]


async def test_several_frames_are_one_write() -> None:
    wire = Wire()
    await wire.open()
    before = wire.transport.writes
    wire.socket.write_many([text_frame(b"a"), text_frame(b"b")])
    assert wire.transport.writes == before + 1
    assert [bytes(frame.data) for frame in wire.frames()] == [b"a", b"b"]


async def test_backpressure_is_told() -> None:
    wire = Wire()
    await wire.open()
    wire.socket.pause_writing()
    assert not wire.socket.writable
    wire.socket.resume_writing()
    assert wire.socket.writable
    assert wire.listener.events == ["writable"]
    wire.socket.pause_reading()
    assert not wire.transport.reading
    wire.socket.resume_reading()
    assert wire.transport.reading


async def test_what_the_client_sends_before_the_application_attached_is_kept() -> None:
    attached = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await attached.wait()
        scope["extensions"][EXTENSION].attach(scope["state"]["listener"], 25.0, 10.0)

    wire = Wire(slow)
    wire.client.send_request(wire.client.connect())
    wire.to_server()
    for _ in range(5):
        await asyncio.sleep(0)
    wire.from_server()
    wire.client.send_text(b"early")
    wire.to_server()
    assert wire.listener.texts == []
    attached.set()
    await wire.settle()
    assert wire.listener.texts == [b"early"]


async def test_a_connection_lost_before_the_application_attached_is_told() -> None:
    attached = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await attached.wait()
        scope["extensions"][EXTENSION].attach(scope["state"]["listener"], 25.0, 10.0)

    wire = Wire(slow)
    wire.client.send_request(wire.client.connect())
    wire.to_server()
    for _ in range(5):
        await asyncio.sleep(0)
    wire.socket.connection_lost(None)
    attached.set()
    await wire.settle()
    assert wire.listener.events == ["lost"]


async def test_a_request_that_is_no_handshake_is_refused() -> None:
    wire = Wire()
    request = wire.client.connect()
    del request.headers["Sec-WebSocket-Key"]
    wire.client.send_request(request)
    wire.to_server()
    assert bytes(wire.transport.written).startswith(b"HTTP/1.1 400 ")
    assert wire.transport.closing


@pytest.mark.parametrize("failure", ["raises", "returns", "denies", "closes"])
async def test_an_application_that_does_not_accept_denies(failure: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if failure == "raises":
            raise ValueError("a fault")
        if failure == "denies":
            headers = [(b"content-type", b"application/problem+json")]
            await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": b"{}"})
        if failure == "closes":
            await send({"type": "websocket.close", "code": 1000})

    wire = Wire(app)
    wire.client.send_request(wire.client.connect())
    wire.to_server()
    await wire.settle()
    status = {"denies": 403, "closes": 403}.get(failure, 500)
    assert bytes(wire.transport.written).startswith(f"HTTP/1.1 {status} ".encode())
    assert wire.transport.closing


async def test_uvicorns_shutdown_sends_whoever_is_left_away() -> None:
    wire = Wire()
    await wire.open()
    assert len(wire.state.connections) == 1
    wire.socket.shutdown()
    (frame,) = wire.frames()
    assert Close.parse(bytes(frame.data)).code == 1012
    wire.socket.connection_lost(None)
    assert not wire.state.connections


async def test_uvicorns_shutdown_answers_a_handshake_under_way() -> None:
    started = asyncio.Event()

    async def never(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        started.set()
        await receive()

    wire = Wire(never)
    wire.client.send_request(wire.client.connect())
    wire.to_server()
    await started.wait()
    wire.socket.shutdown()
    assert bytes(wire.transport.written).startswith(b"HTTP/1.1 503 ")
    wire.socket.connection_lost(None)
    await wire.settle()


class _Timers:
    """Stands in for the loop where only its timers are used."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Any]] = []

    def call_later(self, delay: float, callback: Any, *args: Any) -> "_Timers":
        self.calls.append((delay, lambda: callback(*args)))
        return self

    def cancel(self) -> None:
        """A timer that was replaced."""

    def fire(self) -> float:
        delay, callback = self.calls.pop()
        callback()
        return delay


async def test_the_heartbeat_pings_and_asks_for_an_answer() -> None:
    wire = Wire()
    await wire.open()
    timers = _Timers()
    wire.socket._loop = timers  # type: ignore[assignment]
    wire.socket._ping()
    (ping,) = wire.frames()
    assert ping.opcode is Opcode.PING
    wire.to_server()  # the client's pong
    assert timers.fire() == 10.0
    assert wire.listener.events == []
    assert timers.fire() == 15.0  # the next ping, 25 s after the first
    assert timers.fire() == 10.0  # and nobody has answered it
    assert wire.listener.events == ["no heartbeat"]


async def test_a_peer_that_does_not_answer_a_close_is_cut_off() -> None:
    wire = Wire()
    await wire.open()
    timers = _Timers()
    wire.socket._loop = timers  # type: ignore[assignment]
    wire.socket.close(4004, "no heartbeat")
    assert timers.fire() == 5.0
    assert wire.transport.aborted


def test_a_ping_too_long_for_a_control_frame_is_a_violation() -> None:
    async def run() -> None:
        wire = Wire()
        await wire.open()
        wire.socket.data_received(Frame(Opcode.TEXT, b"x" * 126).serialize(mask=True).replace(b"\x81", b"\x89", 1))
        wire.from_server()
        assert wire.client.close_rcvd is not None
        assert wire.client.close_rcvd.code == 1002

    asyncio.run(run())
