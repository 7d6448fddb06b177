"""A TCP proxy that can fall silent without closing, as networks do, and put words into the server's mouth."""

import asyncio
import contextlib
import ssl
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Forwards to one server.

    Args:
        url: ``redis://host:port/...`` of the server.
        tls: what clients must speak TLS with; then ``url`` is ``rediss://...``.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)
        self._tls = tls
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._clients: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"redis{'s' if self._tls else ''}://{host}:{port}/0"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self) -> None:
        """Forward nothing more, in neither direction; connections stay open and new ones are accepted."""
        self._open.clear()

    def let_go(self) -> None:
        self._open.set()

    def say(self, data: bytes) -> None:
        """Send bytes to every client as if the server had."""
        for client in self._clients:
            client.write(data)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there: asyncio.StreamWriter | None = None
        # Cancelled is how it ends with the proxy; asyncio would complain of that at the end of the connection.
        with contextlib.suppress(OSError, asyncio.CancelledError, ExceptionGroup):
            await self._open.wait()
            back, there = await asyncio.open_connection(*self._target)
            self._clients.append(writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, there))
                group.create_task(self._forward(back, writer))
        if writer in self._clients:
            self._clients.remove(writer)
        writer.close()
        if there is not None:
            there.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("closed by the peer")
