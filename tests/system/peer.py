"""A client that hides nothing: it sends what it is told to, keeps all that it gets, and never reconnects."""

import asyncio
import json
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from chatserver.protocol import SUBPROTOCOL
from tests.system.schemas import FrameSchemas

PATIENCE_S: Final = 20.0
"""Far above what any answer takes, also on a busy machine."""

Frame = dict[str, Any]
T = TypeVar("T")
Position = str | tuple[str, int]
"""A room to join, or a room and the last seq that the client has of it."""


def new_id() -> str:
    return uuid.uuid4().hex


class Closed(AssertionError):
    """The connection ended while something was expected."""


class Peer:
    """One WebSocket. Made by ``Peer.dial`` (raw) or ``Peer.enter`` (connected)."""

    def __init__(self, websocket: ClientConnection, schemas: FrameSchemas) -> None:
        self.websocket = websocket
        self.frames: list[Frame] = []
        """Everything received, in order."""
        self.code: int | None = None
        """The close code, once the connection has ended; 1006 when it broke."""
        self._schemas = schemas
        self._inbox: list[Frame] = []
        self._answers: dict[str, list[Frame]] = {}
        self._news = asyncio.Event()
        self._fault: Exception | None = None
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def dial(
        cls,
        url: str,
        schemas: FrameSchemas,
        *,
        subprotocol: str | None = SUBPROTOCOL,
        origin: str | None = None,
        headers: Mapping[str, str] | None = None,
        receive_buffer: int | None = None,
        compression: str | None = None,
    ) -> Self:
        """Open a connection and say nothing.

        Args:
            receive_buffer: size of the kernel's buffer, to be soon full when nobody reads.
            compression: "deflate" to offer it.
        """
        connection: socket.socket | None = None
        if receive_buffer is not None:
            parts = urlsplit(url)
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
        websocket = await connect(
            url,
            sock=connection,
            subprotocols=None if subprotocol is None else [Subprotocol(subprotocol)],
            origin=None if origin is None else Origin(origin),
            additional_headers=headers,
            user_agent_header=None,
            compression=compression,
            max_size=None,
            max_queue=None,
            ping_interval=None,
            open_timeout=PATIENCE_S,
            close_timeout=1.0,
            proxy=None,
        )
        return cls(websocket, schemas)

    @classmethod
    async def enter(
        cls, url: str, schemas: FrameSchemas, token: str, rooms: Iterable[Position] = (), **options: Any
    ) -> Self:
        """Connect as a user and join rooms; their ``joined`` is awaited and left to be taken.

        Args:
            options: of ``dial``.
        """
        peer = await cls.dial(url, schemas, **options)
        rooms = list(rooms)
        try:
            await peer.ask("connect", expect="connected", token=token, rooms=[_position(place) for place in rooms])
            for place in rooms:
                await peer.find("joined", room=_position(place)["room"])
        except BaseException:
            await peer.close()
            raise
        return peer

    # Sending

    async def raw(self, message: str | bytes) -> None:
        """Send a message as it is."""
        await self.websocket.send(message)

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a frame."""
        await self.raw(json.dumps({"type": kind, **fields}, ensure_ascii=False))

    async def ask(self, kind: str, *, expect: str, **fields: Any) -> Frame:
        """Send a command, under an ``id`` of its own unless one is given, and take its answer of the expected type."""
        fields.setdefault("id", new_id())
        await self.send(kind, **fields)
        answer = await self.answer(fields["id"])
        assert answer["type"] == expect, answer
        return answer

    async def say(self, room: str, text: str, **fields: Any) -> Frame:
        """Send a message and take its ``ack``."""
        return await self.ask("message.send", expect="ack", room=room, text=text, **fields)

    async def join(self, room: str, **fields: Any) -> Frame:
        return await self.ask("join", expect="joined", room=room, **fields)

    async def refusal(self, kind: str, code: str, **fields: Any) -> Frame:
        """Send a command that must be refused with a code; the error frame."""
        error = await self.ask(kind, expect="error", **fields)
        assert error["code"] == code, error
        return error

    async def in_step(self) -> None:
        """Come back when all that was sent so far has been handled, and everything sent before has arrived."""
        await self.ask("ping", expect="pong")

    # Receiving

    async def expect(self, kind: str, /, **fields: Any) -> Frame:
        """Take the first frame that is not yet taken, of a type and with these fields."""
        frame = await self.find(kind, **fields)
        self._inbox.remove(frame)
        return frame

    async def find(self, kind: str, /, **fields: Any) -> Frame:
        """As ``expect``, but the frame stays."""
        wanted = {"type": kind, **fields}

        def match() -> Frame | None:
            return next((frame for frame in self._inbox if _matches(frame, wanted)), None)

        return await self.until(match, f"a frame with {wanted}")

    async def answer(self, command: str) -> Frame:
        """Take what answers a command."""

        def match() -> Frame | None:
            answers = self._answers.get(command)
            return answers.pop(0) if answers else None

        frame = await self.until(match, f"an answer to {command}")
        self._inbox.remove(frame)
        return frame

    async def reaches(self, room: str, seq: int) -> None:
        """Wait until an entry has arrived."""

        def match() -> bool | None:
            return True if self.head(room) >= seq else None

        await self.until(match, f"entry {seq} of {room}")

    async def closed(self) -> int:
        """The close code, once the connection has ended."""
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait([self._reader])
        self._check()
        assert self.code is not None
        return self.code

    async def until(self, match: Callable[[], T | None], what: str) -> T:
        """Wait until something that has come is there, and return it; ``match`` looks for it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := match()) is None:
                    self._check()
                    if self._reader.done():
                        raise Closed(f"closed with {self.code} instead of {what}; received: {self._last()}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {what}; received: {self._last()}") from None
        return found

    # What it has seen

    @property
    def user(self) -> str:
        """Who the server says it is."""
        return str(self.of_type("connected")[0]["user"]["id"])

    def entries(self, room: str) -> list[Frame]:
        """The entries of a room in the order in which they came, with ``joined`` or live."""
        found: list[Frame] = []
        for frame in self.frames:
            if frame.get("room") == room:
                if frame["type"] == "joined":
                    found += frame["entries"]
                elif frame["type"] == "entry":
                    found.append(frame["entry"])
        return found

    def seqs(self, room: str) -> list[int]:
        return [entry["seq"] for entry in self.entries(room)]

    def head(self, room: str) -> int:
        """The last seq that has arrived, or 0."""
        for frame in reversed(self.frames):
            if frame.get("room") == room:
                if frame["type"] == "entry":
                    return int(frame["entry"]["seq"])
                if frame["type"] == "joined" and frame["entries"]:
                    return int(frame["entries"][-1]["seq"])
        return 0

    def of_type(self, kind: str) -> list[Frame]:
        return [frame for frame in self.frames if frame["type"] == kind]

    # The connection

    def stop_reading(self) -> None:
        """Leave everything that comes in the kernel's buffers; pings are not answered either."""
        self.websocket.transport.pause_reading()

    def read_on(self) -> None:
        self.websocket.transport.resume_reading()

    def abort(self) -> None:
        """Break the connection, without a word to the server but TCP's."""
        self.websocket.transport.abort()

    async def close(self) -> None:
        """Take leave in order; also of a connection that is gone already."""
        await self.websocket.close()
        await asyncio.wait([self._reader])
        self._check()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _read(self) -> None:
        try:
            async for message in self.websocket:
                frame = self._schemas.parse(message)
                self.frames.append(frame)
                self._inbox.append(frame)
                if "id" in frame:
                    self._answers.setdefault(frame["id"], []).append(frame)
                self._news.set()
        except ConnectionClosed:
            pass
        except AssertionError as fault:
            self._fault = fault
        finally:
            if self.websocket.close_code is not None:
                self.code = self.websocket.close_code
            self._news.set()

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _last(self) -> str:
        """The latest frames, cut to what a person can read."""
        return "; ".join(str(frame)[:500] for frame in self.frames[-20:])


def _position(place: Position) -> dict[str, Any]:
    if isinstance(place, str):
        return {"room": place}
    room, after = place
    return {"room": room, "after": after}


def _matches(frame: Frame, wanted: Frame) -> bool:
    """Whether a frame has these fields, in itself or in its entry."""
    fields = {**frame.get("entry", {}), **frame}
    return all(name in fields and fields[name] == value for name, value in wanted.items())
