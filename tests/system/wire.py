"""A TCP connection on which a test writes what no client library would."""

import asyncio
import contextlib
import socket
from types import TracebackType
from typing import Final, Self

from websockets.frames import Frame, Opcode

from tests.system.site import Server

UPGRADE: Final = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "dispute-chat.v1",
}
"""The headers of a good upgrade request."""


def frame(opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as a client sends it, masked."""
    return Frame(opcode, payload, fin=fin).serialize(mask=True)


class Wire:
    """A connection to a server, closed at the end of ``async with``."""

    def __init__(self, server: Server) -> None:
        self._port = server.port
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        connection = socket.socket()
        # What the server sends and nobody reads shall not hide in the kernel.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
        self.reader, self.writer = await asyncio.open_connection(sock=connection, limit=4096)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def upgrade(self, **headers: str) -> None:
        """Become a WebSocket.

        Args:
            headers: in place of those of ``UPGRADE``.
        """
        chosen = UPGRADE | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in chosen.items())
        self.writer.write(f"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode())
        answer = await self.reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer

    async def pour(self, data: bytes, times: int, within_s: float = 15.0) -> int:
        """Write the same again and again, as fast as it is taken.

        Returns:
            How many times it was taken before the server stopped reading for good, or closed.
        """
        taken = 0
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(within_s):
                for _ in range(times):
                    self.writer.write(data)
                    await self.writer.drain()
                    taken += 1
        return taken

    async def ended(self) -> bytes:
        """What the server still says, up to the end of the connection."""
        said = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while data := await self.reader.read(65536):
                    said += data
        return said
