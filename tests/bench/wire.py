"""Client connections of the load generator: one WebSocket of one member of one room, for each protocol under test.

A message carries a token of 12 bytes in everything that comes back, ``qzx`` and the number of the message written in
letters: it looks like a word and like no telephone number, as nearly all of what people write. It is found with
``bytes.find``, because parsing JSON for every frame would measure the generator and not the server.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

MARK: Final = b"qzx"
TOKEN_BYTES: Final = 12
CONNECT_TIMEOUT_S: Final = 30.0
TEXT: Final = (b"The parcel arrived with a cracked screen; the seller says it was fine when it left. " * 3)[:220]

_FIRST: Final = 314_159_265
"""The number that stands for 0: with zeros before it, it would have the same letter many times in a row."""
_LETTERS: Final = bytes.maketrans(b"0123456789", b"abcdefghij")
_DIGITS: Final = bytes.maketrans(b"abcdefghij", b"0123456789")


def token(number: int) -> bytes:
    """The token of a message."""
    return MARK + (b"%d" % (_FIRST + number)).translate(_LETTERS)


def number_in(data: bytes) -> int:
    """The number of the message that a frame is about, -1 when it is about none."""
    at = data.find(MARK)
    return int(data[at + len(MARK) : at + TOKEN_BYTES].translate(_DIGITS)) - _FIRST if at >= 0 else -1


@dataclass(frozen=True)
class Seat:
    """A member's place: which room, which of the room's members (0, 1 send; 2 observes), and who they are."""

    url: str
    room: str
    member: int
    user: str
    credential: str = ""

    @property
    def sends(self) -> bool:
        return self.member < 2


class Tally(Protocol):
    """Where a connection reports what came back."""

    def acked(self, number: int) -> None: ...
    def delivered(self, number: int, member: int) -> None: ...
    def refused(self, number: int, answer: bytes) -> None: ...
    def misordered(self) -> None: ...
    def disconnected(self) -> None: ...


class Connection(WSListener):
    """One client; a subclass speaks one server's protocol."""

    HEADERS: ClassVar[Sequence[tuple[str, str]]] = ()

    def __init__(self, seat: Seat, tally: Tally) -> None:
        self.seat = seat
        self.tally = tally
        self.room = seat.room.encode()
        self.transport: WSTransport | None = None
        self._closing = False
        self._joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Connect and join the room.

        Raises:
            TimeoutError: the server did not let the member in in time.
            ConnectionError: it refused; the message says how.
        """
        url = self.seat.url + self.path()
        await ws_connect(
            lambda: self, url, extra_headers=list(self.HEADERS), websocket_handshake_timeout=CONNECT_TIMEOUT_S
        )
        await asyncio.wait_for(self._joined, CONNECT_TIMEOUT_S)

    def close(self) -> None:
        self._closing = True
        if self.transport is not None:
            self.transport.disconnect(False)

    def joined(self) -> None:
        if not self._joined.done():
            self._joined.set_result(None)

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.send(WSMsgType.TEXT, data)

    # What picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.hello()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if not self._joined.done():
            self._joined.set_exception(ConnectionError(f"closed before the join: {transport.close_handshake}"))
        elif not self._closing:
            self.tally.disconnected()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.TEXT:
            self.on_frame(frame.get_payload_as_bytes())
        elif kind == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            transport.disconnect()

    # What a protocol says

    def path(self) -> str:
        raise NotImplementedError

    def hello(self) -> None:
        raise NotImplementedError

    def send(self, number: int) -> None:
        raise NotImplementedError

    def on_frame(self, data: bytes) -> None:
        raise NotImplementedError


class DisputeChat(Connection):
    """This project's protocol. It also checks that entries come strictly in order of seq."""

    HEADERS = (("Sec-WebSocket-Protocol", "dispute-chat.v1"),)

    def __init__(self, seat: Seat, tally: Tally) -> None:
        super().__init__(seat, tally)
        self._next_seq = 0

    def path(self) -> str:
        return "/v1/ws"

    def hello(self) -> None:
        credential = self.seat.credential.encode()
        self.write(
            b'{"type":"connect","id":"c","token":"%s","client":{"name":"bench"},"rooms":[{"room":"%s"}]}'
            % (credential, self.room)
        )

    def send(self, number: int) -> None:
        mark = token(number)
        self.write(b'{"type":"message.send","id":"%s","room":"%s","text":"%s %s"}' % (mark, self.room, mark, TEXT))

    def on_frame(self, data: bytes) -> None:
        if data.startswith(b'{"type":"entry"'):
            seq = _integer_after(data, b'"seq":')
            if seq != self._next_seq:
                self.tally.misordered()
            self._next_seq = seq + 1
            self.tally.delivered(number_in(data), self.seat.member)
        elif data.startswith(b'{"type":"ack"'):
            self.tally.acked(number_in(data))
        elif data.startswith(b'{"type":"joined"'):
            self._next_seq = _integer_after(data, b'"head":') + 1
            self.joined()
        elif data.startswith(b'{"type":"error"'):
            if self._joined.done():
                self.tally.refused(number_in(data), data)
            else:
                self._joined.set_exception(ConnectionError(data.decode()))


def _integer_after(data: bytes, key: bytes) -> int:
    start = data.index(key) + len(key)
    return int(data[start : data.index(b",", start)])


class PlainJson(Connection):
    """``{"t": "join" | "send"}`` -> ``{"t": "joined" | "ack" | "msg"}``: the plain hub of the peers."""

    def path(self) -> str:
        return f"/ws?user={self.seat.user}"

    def hello(self) -> None:
        self.write(b'{"t":"join","room":"%s"}' % self.room)

    def send(self, number: int) -> None:
        self.write(b'{"t":"send","room":"%s","cid":"%s","body":"%s"}' % (self.room, token(number), TEXT))

    def on_frame(self, data: bytes) -> None:
        head = data[:14]
        if b'"msg"' in head:
            self.tally.delivered(number_in(data), self.seat.member)
        elif b'"ack"' in head:
            self.tally.acked(number_in(data))
        elif b'"joined"' in head:
            self.joined()


class SocketIo(Connection):
    """Engine.IO 4 and Socket.IO 5 over WebSocket; a message is an event with an acknowledgement."""

    def path(self) -> str:
        return f"/socket.io/?EIO=4&transport=websocket&user={self.seat.user}"

    def hello(self) -> None:
        pass  # the server speaks first

    def send(self, number: int) -> None:
        mark = token(number)
        self.write(b'42%d["send",{"room":"%s","cid":"%s","body":"%s"}]' % (number, self.room, mark, TEXT))

    def on_frame(self, data: bytes) -> None:
        kind = data[:2]
        if kind == b"42":
            if data.startswith(b'"msg"', 3):
                self.tally.delivered(number_in(data), self.seat.member)
            elif data.startswith(b'"joined"', 3):
                self.joined()
        elif kind == b"43":
            self.tally.acked(int(data[2 : data.index(b"[")]))
        elif kind == b"2":
            self.write(b"3")
        elif kind == b"40":
            self.write(b'42["join","%s"]' % self.room)
        elif kind[:1] == b"0":
            self.write(b"40")
