"""Ways to make MongoDB and the way to it fail, at chosen moments."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self
from urllib.parse import urlsplit

from pymongo import MongoClient

from chatserver.embedded import Mongod


class FaultyMongod(Mongod):
    """A MongoDB that fails on demand."""

    def _command(self) -> list[str]:
        return [
            *super()._command(),
            *("--setParameter", "enableTestCommands=1"),
            # A transaction whose end was made to fail must not keep its locks for a minute.
            *("--setParameter", "transactionLifetimeLimitSeconds=2"),
        ]


@contextmanager
def failing(url: str, command: str, *, times: int | None = 1, **how: Any) -> Iterator[None]:
    """Let the server's commands of a name fail, so many or all of them, in a way that ``failCommand`` knows."""
    data = {"failCommands": [command], "appName": "dispute-chat", **how}
    mode = "alwaysOn" if times is None else {"times": times}
    with MongoClient[dict[str, Any]](url) as client:
        client.admin.command("configureFailPoint", "failCommand", mode=mode, data=data)
        try:
            yield
        finally:
            client.admin.command("configureFailPoint", "failCommand", mode="off")


class Tap:
    """A way to MongoDB that can be shut, in either direction, while its connections stay open."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self._requests = asyncio.Event()
        self._answers = asyncio.Event()
        self._requests.set()
        self._answers.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    def hold_requests(self) -> None:
        """What is sent from now on arrives when they are let go."""
        self._requests.clear()

    def hold_answers(self) -> None:
        """Requests arrive; answers do not."""
        self._answers.clear()

    def cut(self) -> None:
        """Break all connections; new ones can be made."""
        for task in list(self._tasks):
            task.cancel()

    def let_go(self) -> None:
        self._requests.set()
        self._answers.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"mongodb://127.0.0.1:{port}/?directConnection=true"
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, back = await asyncio.open_connection(self._to.hostname, self._to.port)
        try:
            await asyncio.gather(_pump(reader, back, self._requests), _pump(there, writer, self._answers))
        except asyncio.CancelledError:
            pass  # closed: the streams' own callback would report it as an error
        finally:
            back.close()
            writer.close()
            self._tasks.discard(task)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, gate: asyncio.Event) -> None:
    try:
        while data := await source.read(65536):
            await gate.wait()
            target.write(data)
            await target.drain()
        target.close()
    except ConnectionError:
        target.close()
