"""A connected ``FrameSocket`` without a network: what a client sends goes in, what the server writes comes out."""

import asyncio
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from chatserver.hub.socket import EXTENSION, FrameSocket


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.writes = 0
        self.closing = False
        self.aborted = False
        self.reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("203.0.113.9", 4321), "sockname": ("127.0.0.1", 8000)}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits here."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.aborted, "written to an aborted transport"
        self.written += data
        self.writes += 1

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Listener:
    """Notes what the socket tells."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.events: list[str] = []

    def on_text(self, payload: bytes) -> None:
        self.texts.append(payload)

    def on_binary(self) -> None:
        self.events.append("binary")

    def on_writable(self) -> None:
        self.events.append("writable")

    def on_no_heartbeat(self) -> None:
        self.events.append("no heartbeat")

    def on_lost(self) -> None:
        self.events.append("lost")


async def accept_and_attach(scope: Any, receive: Any, send: Any) -> None:
    """The application: accepts, attaches the listener that the test put into the scope's state."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": "dispute-chat.v1"})
    scope["extensions"][EXTENSION].attach(scope["state"]["listener"], 25.0, 10.0)


class Wire:
    """A socket of the server's and a client's protocol beside it.

    Args:
        app: the ASGI application that answers the handshake.
        max_size: largest message in bytes.
        deflate: offer compression on both sides.
    """

    def __init__(self, app: Any = accept_and_attach, *, max_size: int = 32 * 1024, deflate: bool = False) -> None:
        config = Config(app, ws_max_size=max_size, ws_per_message_deflate=deflate, log_config=None)
        config.load()
        self.state = ServerState()
        self.listener = Listener()
        self.transport = Transport()
        self.socket = FrameSocket(config, self.state, {"listener": self.listener})
        self.socket.connection_made(self.transport)
        extensions = [ClientPerMessageDeflateFactory()] if deflate else None
        self.client = ClientProtocol(
            parse_uri("ws://chat.example/v1/ws"),
            extensions=extensions,
            subprotocols=[Subprotocol("dispute-chat.v1")],
            max_size=None,
        )
        self.response: Response | None = None

    async def open(self) -> None:
        """Shake hands."""
        self.client.send_request(self.client.connect())
        self.to_server()
        await self.settle()
        (self.response, *_) = cast(list[Response], self.from_server())

    async def settle(self) -> None:
        """Let the handshake's task run to its end."""
        await asyncio.gather(*self.state.tasks)

    def to_server(self) -> None:
        """Hand over what the client has to send."""
        for data in self.client.data_to_send():
            if data:
                self.socket.data_received(data)

    def from_server(self) -> list[Any]:
        """What the client makes of what the server wrote since the last call."""
        data, self.transport.written = bytes(self.transport.written), bytearray()
        if data:
            self.client.receive_data(data)
        return self.client.events_received()

    def frames(self) -> list[Frame]:
        return [event for event in self.from_server() if isinstance(event, Frame)]
