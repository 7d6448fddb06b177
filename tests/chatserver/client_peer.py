"""A scripted far end for the client: the test says what it answers, when it is silent and when it hangs up."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from chatserver import protocol
from chatserver.client import ChatClient, Room
from chatserver.frame_examples import EXAMPLES
from chatserver.protocol import PATH, SUBPROTOCOL

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC).isoformat()
ROOM = "order-1"
DISPUTE_CHANGED: dict[str, Any] = EXAMPLES[protocol.DisputeNow]
DISPUTE: dict[str, Any] = DISPUTE_CHANGED["dispute"]
DISPUTE_ROOM: str = DISPUTE_CHANGED["room"]
WAIT_S = 10.0
"""Longest wait of a test for what should happen at once."""


class AtOnce(Random):
    """No jitter: reconnects follow at once."""

    def uniform(self, a: float, b: float) -> float:
        return a


def wire_entry(seq: int, text: str | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "seq": seq,
        "id": f"{seq:032x}",
        "kind": "message",
        "author": {"id": "bob", "role": "seller", "name": "Bob"},
        "at": AT,
        "body": {"text": text if text is not None else f"text {seq}"},
        **fields,
    }


def joined(*seqs: int, room: str = ROOM, **fields: Any) -> dict[str, Any]:
    members = [
        {"user": "ann", "role": "buyer", "name": "Ann", "state": "online"},
        {"user": "bob", "role": "seller", "name": "Bob", "state": "offline", "last_seen": AT},
    ]
    return {
        "type": "joined",
        "room": room,
        "kind": "order",
        "head": max(seqs, default=0),
        "members": members,
        "you": {"role": "buyer"},
        "available_actions": [],
        "entries": [wire_entry(seq) for seq in seqs],
        "more": False,
        "cursors": {"bob": {"delivered": 1, "read": 1}},
        **fields,
    }


LIMITS = {
    "frame_bytes": 32768,
    "message_chars": 4000,
    "messages_per_s": 5.0,
    "message_burst": 10,
    "connections_per_user": 5,
    "rooms_per_connection": 20,
    "history_page": 100,
}


class Wire:
    """One connection, seen from the far end."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.connect: dict[str, Any] = {}
        """The connect frame."""

    async def receive(self, kind: str | None = None) -> dict[str, Any]:
        """The next frame of the client, which must be of this kind."""
        async with asyncio.timeout(WAIT_S):
            frame: dict[str, Any] = orjson.loads(await self.connection.recv())
        assert kind is None or frame["type"] == kind, frame
        return frame

    async def send(self, frame: dict[str, Any] | None = None, /, **fields: Any) -> None:
        await self.connection.send(orjson.dumps(frame if frame is not None else fields), text=True)

    async def connected(self, *, heartbeat_s: float = 25.0, **limits: Any) -> dict[str, Any]:
        """Take the connect frame and answer it, but not for its rooms."""
        self.connect = await self.receive("connect")
        await self.send(
            type="connected",
            id=self.connect["id"],
            session="s1",
            user={"id": "ann", "name": "Ann"},
            server_time=AT,
            heartbeat_s=heartbeat_s,
            limits=LIMITS | limits,
        )
        return self.connect

    async def entry(self, seq: int, text: str | None = None, **fields: Any) -> None:
        await self.send(type="entry", room=ROOM, entry=wire_entry(seq, text, **fields))

    async def ack(self, frame: dict[str, Any], seq: int, *, duplicate: bool = False) -> None:
        await self.send(
            type="ack", id=frame["id"], room=frame["room"], seq=seq, entry_id="e", at=AT, duplicate=duplicate
        )

    async def error(self, frame: dict[str, Any], code: str, *, temporary: bool = False, **fields: Any) -> None:
        await self.send(type="error", id=frame["id"], code=code, message=f"no: {code}", temporary=temporary, **fields)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.connection.close(code, reason)

    def cut(self) -> None:
        """Drop the connection without a word."""
        self.connection.transport.abort()


class Peer:
    """Listens; each connection of the client is handed to the test."""

    def __init__(self) -> None:
        self._accepted: asyncio.Queue[Wire] = asyncio.Queue()
        self._hold = asyncio.Event()
        self.statuses: Iterator[int | None] = itertools.repeat(None)
        """HTTP statuses to answer upgrades with; None accepts."""
        self.server: Server

    @property
    def url(self) -> str:
        port = next(iter(self.server.sockets)).getsockname()[1]
        return f"http://127.0.0.1:{port}"

    async def accept(self) -> Wire:
        """The client's next connection."""
        async with asyncio.timeout(WAIT_S):
            return await self._accepted.get()

    async def handle(self, connection: ServerConnection) -> None:
        await self._accepted.put(Wire(connection))
        await connection.wait_closed()

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        assert request.path == PATH
        assert "token" not in request.path
        status = next(self.statuses)
        return None if status is None else connection.respond(status, "no")

    def client(self, **options: Any) -> ChatClient:
        if "token_provider" not in options:
            options.setdefault("token", "token-1")
        return ChatClient(self.url, rng=AtOnce(), proxy=None, **options)


@asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[Peer]:
    peer = Peer()
    settings: dict[str, Any] = {"subprotocols": [SUBPROTOCOL], "ping_interval": None, "close_timeout": 1.0}
    async with serve(peer.handle, "127.0.0.1", 0, process_request=peer.answer, **(settings | options)) as server:
        peer.server = server
        yield peer


@asynccontextmanager
async def meeting(peer: Peer, **options: Any) -> AsyncIterator[tuple[ChatClient, Wire]]:
    """A client that is connected, and the far end of its connection."""
    client = peer.client(**options)
    entering = asyncio.create_task(client.__aenter__())
    wire = await peer.accept()
    await wire.connected()
    await entering
    try:
        yield client, wire
    finally:
        await client.close()


def joined_dispute(**fields: Any) -> dict[str, Any]:
    actions = DISPUTE_CHANGED["available_actions"]
    case = {"kind": "dispute", "dispute": DISPUTE, "available_actions": actions}
    return joined(room=DISPUTE_ROOM, **(case | fields))


@asynccontextmanager
async def in_dispute(peer: Peer, **fields: Any) -> AsyncIterator[tuple[ChatClient, Room, Wire]]:
    """A client that has joined the room of a dispute."""
    async with meeting(peer) as (client, wire):
        joining = asyncio.create_task(client.join(DISPUTE_ROOM))
        frame = await wire.receive("join")
        await wire.send(joined_dispute(id=frame["id"], **fields))
        yield client, await joining, wire
